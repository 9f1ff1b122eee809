"""The table of results that all tests of trust share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from medrob.evaluation import bootstrap_weights, interval

COLUMNS = (
    *("method", "layer", "test", "stage", "corruption", "severity"),
    *("images", "degenerate", "value", "low", "high", "chance"),
)
RESAMPLES = 2000
_TOGETHER = 256  # rows resampled at once: bounds the memory


class Entry(NamedTuple):
    """One row to be, with its values image by image.

    Attributes:
        values: float (N,), NaN where a map is degenerate.
        chance: what a map without knowledge would get, for each image (N,) or for all; NaN = not known.
    """

    method: str
    layer: str
    test: str
    values: np.ndarray
    chance: np.ndarray | float = np.nan
    stage: str = ""
    corruption: str = "clean"
    severity: int = 0


def table(entries: Sequence[Entry], *, resamples: int = RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """Means over images with 95 % bootstrap intervals over images.

    Args:
        entries: all with the same images in the same order.
        resamples, seed: of the bootstrap; the same resamples for all rows.

    Returns:
        A row per entry, with the columns `COLUMNS`: images (that count), degenerate (left out), value,
        low, high, chance (mean over the images that count). NaN where no image counts.
    """
    if not entries:
        return pd.DataFrame(columns=list(COLUMNS))
    values = np.stack([np.asarray(entry.values, float) for entry in entries], 1)  # (N, rows)
    known = np.isfinite(values)
    weights = bootstrap_weights(len(values), resamples, seed)
    parts = [slice(i, i + _TOGETHER) for i in range(0, len(entries), _TOGETHER)]
    samples = (_mean(weights, values[:, part], known[:, part]) for part in parts)
    limits = np.array([interval(column) for part in samples for column in part.T]).reshape(-1, 2)
    chance = np.stack([np.broadcast_to(entry.chance, len(values)) for entry in entries], 1).astype(float)
    once = np.ones((1, len(values)))
    frame = pd.DataFrame([entry._asdict() for entry in entries]).assign(
        images=known.sum(0),
        degenerate=(~known).sum(0),
        value=_mean(once, values, known)[0],
        low=limits[:, 0],
        high=limits[:, 1],
        chance=_mean(once, chance, known & np.isfinite(chance))[0],
    )
    return frame[list(COLUMNS)]


def _mean(weights: np.ndarray, values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Means over the known values (N, rows) for weights (B, N): (B, rows); NaN where nothing weighs."""
    with np.errstate(invalid="ignore"):
        return (weights @ np.where(known, values, 0)) / (weights @ known)
