"""The table of results that all tests of trust share: means over images, and their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from medrob.evaluation import bootstrap_weights, interval

COLUMNS = (
    *("method", "layer", "test", "stage", "corruption", "severity"),
    *("images", "degenerate", "value", "low", "high", "chance"),
    *("above", "above_low", "above_high"),
)
RESAMPLES = 2000
TOGETHER = 256  # rows resampled at once: bounds the memory


class Entry(NamedTuple):
    """One row of the table, with its values image by image.

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


def means(entries: Sequence[Entry], *, seed: int) -> pd.DataFrame:
    """Means over images with 95 % bootstrap intervals over images.

    Args:
        entries: all with the same images in the same order.
        seed: of the bootstrap; the same resamples for all rows.

    Returns:
        A row per entry, with the columns `COLUMNS`: images (that count), degenerate (left out), value,
        low, high, chance (mean over the images that count); above, above_low, above_high: the value minus
        chance, image by image, so that what makes an image easy for any map does not count. NaN where no
        image counts, or chance is not known; an interval needs two images.
    """
    if not entries:
        return pd.DataFrame(columns=list(COLUMNS))
    values = np.stack([np.asarray(entry.values, float) for entry in entries], 1)  # (N, rows)
    chance = np.stack([np.broadcast_to(entry.chance, len(values)) for entry in entries], 1).astype(float)
    known = np.isfinite(values)
    weights = bootstrap_weights(len(values), RESAMPLES, seed)
    value, low, high = _intervals(weights, values)
    above, above_low, above_high = _intervals(weights, values - chance)
    frame = pd.DataFrame([entry._asdict() for entry in entries]).assign(
        images=known.sum(0), degenerate=(~known).sum(0), value=value, low=low, high=high,
        chance=_mean(np.ones((1, len(values))), np.where(known, chance, np.nan))[0],
        above=above, above_low=above_low, above_high=above_high,
    )  # fmt: skip
    return frame[list(COLUMNS)]


def _intervals(weights: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of the columns of (N, rows) over the known values, and the ends of their intervals: (rows,)."""
    samples = (_mean(weights, values[:, i : i + TOGETHER]) for i in range(0, values.shape[1], TOGETHER))
    low, high = np.array([interval(column) for part in samples for column in part.T]).T
    alone = np.isfinite(values).sum(0) < 2  # one image has no spread
    low, high = np.where(alone, np.nan, low), np.where(alone, np.nan, high)
    return _mean(np.ones((1, len(values))), values)[0], low, high


def _mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means over the known values (N, rows) for weights (B, N): (B, rows); NaN where nothing weighs."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return (weights @ np.where(known, values, 0)) / (weights @ known)
