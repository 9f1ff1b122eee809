"""The table of results that all tests of trust share: means over images, and their intervals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from medrob.evaluation import Interval, drop_interval, mean_interval, means_with_intervals, share_interval

COLUMNS = (
    "method", "layer", "test", "stage", "corruption", "severity", "images", "degenerate",
    "value", "low", "high", "chance", "above", "above_low", "above_high",
)  # fmt: skip


SHARE, CHANGE = "pointing", "change"  # a test whose values are 0 or 1; a stage whose values are differences


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


def means(
    entries: Sequence[Entry], *, seed: int, groups: np.ndarray | pd.Series | None = None
) -> pd.DataFrame:
    """Means over images, the same ones in every entry, with 95 % bootstrap intervals over images.

    `groups` (N,), as the patient is one, are drawn whole.

    A row per entry: images (that count), degenerate (left out), value, low, high, chance (mean over the
    images that count); above, above_low, above_high: the value minus chance, image by image, so that what
    makes an image easy for any map does not count (but for pointing: a share less the mean of chance). NaN
    where none counts; an interval needs `medrob.evaluation.FEWEST` of them, or groups.
    """
    if not entries:
        return pd.DataFrame(columns=list(COLUMNS))
    values = np.stack([np.asarray(entry.values, float) for entry in entries], 1)  # (N, rows)
    chance = np.stack([np.broadcast_to(entry.chance, len(values)) for entry in entries], 1).astype(float)
    known = np.isfinite(values)
    units = {} if groups is None else {"group": np.asarray(groups)}
    images = pd.DataFrame(units, index=range(len(values)))
    kinds = [_kind(entry) for entry in entries] + [mean_interval] * len(entries)
    found = means_with_intervals(np.concatenate([values, values - chance], 1), images, seed, kinds=kinds)
    (value, above), (low, above_low), (high, above_high) = (np.split(numbers, 2) for numbers in found)
    frame = pd.DataFrame([entry._asdict() for entry in entries]).assign(
        images=known.sum(0), degenerate=(~known).sum(0), value=value, low=low, high=high,
        chance=pd.DataFrame(np.where(known, chance, np.nan)).mean(),
        above=above, above_low=above_low, above_high=above_high,
    )  # fmt: skip
    shares = frame["test"] == SHARE
    for end in ("low", "high"):
        frame.loc[shares, f"above_{end}"] = frame[end] - frame["chance"]
    return frame[list(COLUMNS)]


def _kind(entry: Entry) -> Interval:
    """How the interval of an entry is made: pointing is a share of the images, which may be 0 or 1."""
    share = drop_interval if entry.stage == CHANGE else share_interval
    return share if entry.test == SHARE else mean_interval
