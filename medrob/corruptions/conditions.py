"""The conditions under which a data set is judged: clean, and every corruption at every severity."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from medrob.corruptions import corrupt

Condition = tuple[str, int]  # corruption, severity
CLEAN: Condition = ("clean", 0)
SEVERITIES = (1, 2, 3, 4, 5)


def grid(corruptions: Iterable[str]) -> list[Condition]:
    """Clean, then every corruption at every severity: ``[("clean", 0), ("contrast", 1), ...]``."""
    return [CLEAN, *((name, severity) for name in corruptions for severity in SEVERITIES)]


def apply(images: np.ndarray, condition: Condition, *, seed: int, index: np.ndarray) -> np.ndarray:
    """Images of a data set under a condition; severity 0 is the untouched image.

    Noise is keyed by the image's place in the data set, so it is the same whatever it is chosen with.

    Args:
        images: uint8 (N, H, W, C). index: int (N,), their places in the data set.

    Returns:
        uint8 (N, H, W, C).
    """
    corruption, severity = condition
    if severity == 0 or not len(images):
        return images
    neighbours = np.split(np.arange(len(index)), np.flatnonzero(np.diff(index) != 1) + 1)
    parts = [
        corrupt(images[rows], corruption, severity, seed=seed, start=int(index[rows[0]]))
        for rows in neighbours
    ]
    return np.concatenate(parts)


def examples(
    images: np.ndarray, index: int, conditions: Iterable[Condition], *, seed: int
) -> dict[Condition, np.ndarray]:
    """One image of a data set under several conditions: ``{condition: uint8 (H, W, C)}``."""
    one = images[index : index + 1]
    return {
        condition: apply(one, condition, seed=seed, index=np.array([index]))[0] for condition in conditions
    }
