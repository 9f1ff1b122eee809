"""The conditions under which a data set is judged: clean, and every corruption at every severity."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from medrob.corruptions.apply import corrupt
from medrob.corruptions.pixels import Images

Condition = tuple[str, int]  # corruption, severity
CLEAN: Condition = ("clean", 0)
SEVERITIES = (1, 2, 3, 4, 5)


def grid(corruptions: Iterable[str]) -> list[Condition]:
    """Clean, then every corruption at every severity: ``[("clean", 0), ("contrast", 1), ...]``."""
    return [CLEAN, *((name, severity) for name in corruptions for severity in SEVERITIES)]


def apply_condition(images: Images, condition: Condition, *, seed: int, index: np.ndarray) -> Images:
    """Images of a data set under a condition; severity 0 is the untouched image.

    Noise is keyed by an image's place in its data set: it does not depend on which other images are chosen.

    Args:
        images: uint8 (N, H, W, C). index: int (N,), their places in the data set.

    Returns:
        uint8 (N, H, W, C).
    """
    corruption, severity = condition
    if severity == 0 or not len(images):
        return images
    runs = np.split(np.arange(len(index)), np.flatnonzero(np.diff(index) != 1) + 1)  # neighbours go together
    parts = [corrupt(images[r], corruption, severity, seed=seed, start=int(index[r[0]])) for r in runs]
    return np.concatenate(parts)


def examples(
    images: Images, index: int, conditions: Iterable[Condition], *, seed: int
) -> dict[Condition, Images]:
    """One image of a data set under several conditions: ``{condition: uint8 (H, W, C)}``."""
    picture, place = images[index : index + 1], np.array([index])
    return {c: apply_condition(picture, c, seed=seed, index=place)[0] for c in conditions}
