"""The table of results that all tests of trust share: means over images, and their intervals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from medrob.evaluation import FEWEST, drawn, interval, units

COLUMNS = (
    "method", "layer", "test", "stage", "corruption", "severity", "images", "degenerate",
    "value", "low", "high", "chance", "above", "above_low", "above_high",
)  # fmt: skip
RESAMPLES = 2000
TOGETHER = 256  # rows resampled at once: bounds the memory


class Entry(NamedTuple):
    """One row of the table, with its values image by image."""

    method: str
    layer: str
    test: str
    values: np.ndarray  # float (N,), NaN where a map is degenerate
    chance: np.ndarray | float = np.nan  # what a map without knowledge would get; NaN = not known
    stage: str = ""
    corruption: str = "clean"
    severity: int = 0


def means(entries: Sequence[Entry], *, seed: int, images: pd.DataFrame | None = None) -> pd.DataFrame:
    """Means over images, the same ones in every entry, with 95 % bootstrap intervals over images.

    `images` is a table of them, whose groups, in a column group, are drawn whole.

    A row per entry: images (that count), degenerate (left out), value, low, high, chance (mean over the
    images that count); above, above_low, above_high: the value minus chance, image by image, so that what
    makes an image easy for any map does not count. NaN where none counts; an interval needs `FEWEST` of them,
    or groups.
    """
    if not entries:
        return pd.DataFrame(columns=list(COLUMNS))
    values = np.stack([np.asarray(entry.values, float) for entry in entries], 1)  # (N, rows)
    chance = np.stack([np.broadcast_to(entry.chance, len(values)) for entry in entries], 1).astype(float)
    known = np.isfinite(values)
    images = pd.DataFrame(index=range(len(values))) if images is None else images
    weights, unit = drawn(images, RESAMPLES, seed)[1:], units(images)
    few = np.array([len(np.unique(unit[column])) < FEWEST for column in known.T])
    value, low, high = _intervals(weights, values, few)
    above, above_low, above_high = _intervals(weights, values - chance, few)
    frame = pd.DataFrame([entry._asdict() for entry in entries]).assign(
        images=known.sum(0), degenerate=(~known).sum(0), value=value, low=low, high=high,
        chance=_mean(np.ones((1, len(values))), np.where(known, chance, np.nan))[0],
        above=above, above_low=above_low, above_high=above_high,
    )  # fmt: skip
    return frame[list(COLUMNS)]


def _intervals(weights: np.ndarray, values: np.ndarray, few: np.ndarray) -> np.ndarray:
    """Means of the columns of (N, rows) over the known values, and the ends of their intervals: (3, rows).

    few: (rows,), of which there are none.
    """
    parts = [values[:, i : i + TOGETHER] for i in range(0, values.shape[1], TOGETHER)]
    ends = np.array([interval(column) for part in parts for column in _mean(weights, part).T]).T
    return np.array([_mean(np.ones((1, len(values))), values)[0], *np.where(few, np.nan, ends)])


def _mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means over the known values (N, rows) for weights (B, N): (B, rows); NaN where nothing weighs."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return (weights @ np.where(known, values, 0)) / (weights @ known)
