"""The tables of a run as arrays: conditions by images, and maps by conditions by images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medrob.check import require
from medrob.evaluation import bootstrap_weights, interval

CONDITION = ["corruption", "severity"]
MAP = ["method", "layer"]
EVERY = "all"  # corruptions
INPUT = "input"  # the layer of methods that explain the input itself


@dataclass(frozen=True)
class Cube:
    """One column of the drift as an array.

    Attributes:
        values: float64 (maps, conditions, images); NaN where a map is degenerate or was not made.
        maps: (method, layer), in their order in the table. conditions: (corruption, severity), likewise.
        images: sorted indices.
    """

    values: np.ndarray
    maps: list[tuple[str, str]]
    conditions: pd.MultiIndex
    images: np.ndarray

    def of(self, method: str, layer: str) -> np.ndarray:
        """The values of one map, (conditions, images)."""
        return self.values[self.maps.index((method, layer))]


def cube(drift: pd.DataFrame, column: str = "rmse") -> Cube:
    """Lay out one column of the drift.

    Raises:
        ValueError: a column is missing, or an image has two values for the same condition and map.
    """
    require(drift, ["image", *CONDITION, *MAP, column], "drift")
    images, image = np.unique(drift["image"].to_numpy(), return_inverse=True)
    pair, maps = _numbered(drift, MAP)
    condition, conditions = _numbered(drift, CONDITION)
    shape = (len(maps), len(conditions), len(images))
    at = (pair * shape[1] + condition) * shape[2] + image
    if len(np.unique(at)) < len(at):
        raise ValueError(
            "the table drift holds two rows of the same image, condition, method and layer; "
            "drop the repeated ones"
        )
    values = np.full(shape, np.nan)
    values.ravel()[at] = drift[column].to_numpy(float)
    return Cube(values, maps, pd.MultiIndex.from_tuples(conditions, names=CONDITION), images)


def _numbered(table: pd.DataFrame, columns: list[str]) -> tuple[np.ndarray, list[tuple]]:
    """A number for each row, and the values that it stands for, in order of appearance."""
    number = table.groupby(columns, sort=False, observed=True).ngroup().to_numpy()
    return number, list(table[columns].drop_duplicates().itertuples(index=False, name=None))


def laid(
    table: pd.DataFrame, columns: Sequence[str], conditions: pd.MultiIndex, images: np.ndarray, name: str
) -> dict[str, np.ndarray]:
    """Columns of a table with a row an image and condition, each as an array (conditions, images).

    Raises:
        ValueError: an image is missing in a condition, or stands there twice.
    """
    row = conditions.get_indexer(pd.MultiIndex.from_frame(table[CONDITION]))
    known = np.isin(table["image"], images) & (row >= 0)
    at = row[known] * len(images) + np.searchsorted(images, table["image"].to_numpy()[known])
    count = np.bincount(at, minlength=len(conditions) * len(images)).reshape(len(conditions), -1)
    if (count != 1).any():
        c, i = np.argwhere(count != 1)[0]
        corruption, severity = conditions[c]
        raise ValueError(
            f"the table {name} holds image {images[i]} {count[c, i]} times for {corruption}, severity "
            f"{severity}; it needs every image that drift holds once in each condition"
        )
    found = {}
    for column in columns:
        values = table[column].to_numpy()[known]
        array = np.empty(count.size, values.dtype)
        array[at] = values
        found[column] = array.reshape(count.shape)
    return found


def resampled(n: int, resamples: int, seed: int) -> np.ndarray:
    """Weights of n images, float32 (1 + resamples, n): as they are, then the bootstrap."""
    return np.concatenate([np.ones((1, n), np.float32), bootstrap_weights(n, resamples, seed)])


def held(table: pd.DataFrame) -> set[tuple[str, int]]:
    """The conditions of a table."""
    return set(table[CONDITION].drop_duplicates().itertuples(index=False, name=None))


def ends(name: str) -> list[str]:
    """The columns of a value and its interval: ``["gain", "gain_low", "gain_high"]``."""
    return [name, f"{name}_low", f"{name}_high"]


def estimate(samples: np.ndarray) -> tuple[float, float, float]:
    """Value, low and high of samples (1 + resamples,), the first of which is the value."""
    return (samples[0], *interval(samples[1:]))


def require_map(rows: pd.DataFrame, method: str, layer: str, name: str) -> None:
    """Raise a ValueError unless the table has rows of this method at this layer."""
    known = rows[MAP].drop_duplicates()
    if not ((known["method"] == method) & (known["layer"] == layer)).any():
        groups = known[known["method"] != ""].groupby("method", sort=False)["layer"]
        there = "; ".join(f"{m} at {', '.join(map(str, layers))}" for m, layers in groups)
        raise ValueError(
            f"method={method!r}, layer={layer!r} is not in the table {name}; it has {there or 'none'}"
        )
