"""The tables of a run as arrays: conditions by images, and maps by conditions by images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

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
    """Lay out one column of the drift; a ValueError if an image has two values of a condition and map."""
    tables = {"map": drift[MAP], "condition": drift[CONDITION]}
    pair, condition = (
        table.groupby(list(table), sort=False, observed=True).ngroup().to_numpy() for table in tables.values()
    )
    maps, conditions = (
        list(table.drop_duplicates().itertuples(index=False, name=None)) for table in tables.values()
    )
    images, image = np.unique(drift["image"].to_numpy(), return_inverse=True)
    shape = len(maps), len(conditions), len(images)
    at = np.ravel_multi_index((pair, condition, image), shape)
    if len(np.unique(at)) < len(at):
        raise ValueError(
            "the table drift holds two rows of the same image, condition, method and layer; "
            "drop the repeated ones"
        )
    values = np.full(shape, np.nan)
    values.ravel()[at] = drift[column].to_numpy(float)
    return Cube(values, maps, pd.MultiIndex.from_tuples(conditions, names=CONDITION), images)


def laid(
    table: pd.DataFrame, columns: Sequence[str], conditions: pd.MultiIndex, images: np.ndarray, name: str
) -> dict[str, np.ndarray]:
    """Columns of a table with a row an image and condition, each as an array (conditions, images).

    Raises:
        ValueError: an image is missing in a condition, or stands there twice.
    """
    known = pd.MultiIndex.from_frame(table[["image", *CONDITION]])
    wanted = pd.MultiIndex.from_tuples([(image, *condition) for condition in conditions for image in images])
    for bad, times in ((wanted[~wanted.isin(known)], 0), (known[known.duplicated()], 2)):
        if len(bad):
            image, corruption, severity = bad[0]
            raise ValueError(
                f"the table {name} holds image {image} {times} times for {corruption}, severity {severity}; "
                "it needs every image that drift holds once in each condition"
            )
    rows = table.iloc[known.get_indexer(wanted)]
    return {column: rows[column].to_numpy().reshape(len(conditions), -1) for column in columns}


def rows_of(rows: pd.DataFrame, method: str, layer: str, name: str) -> pd.DataFrame:
    """The rows of one map; a ValueError says which maps the table has instead, if it has none."""
    found = rows[(rows["method"] == method) & (rows["layer"] == layer)]
    if found.empty:
        groups = rows[rows["method"] != ""].drop_duplicates(MAP).groupby("method", sort=False)["layer"]
        there = "; ".join(f"{m} at {', '.join(map(str, layers))}" for m, layers in groups)
        raise ValueError(
            f"method={method!r}, layer={layer!r} is not in the table {name}; it has {there or 'none'}"
        )
    return found


def resampled(n: int, resamples: int, seed: int = 0) -> np.ndarray:
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
