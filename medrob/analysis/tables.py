"""What the tables of a run must hold, and the same values laid out as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medrob.check import require, require_numbers
from medrob.corruptions.conditions import CLEAN
from medrob.evaluation import class_names

CONDITION = ["corruption", "severity"]
MAP = ["method", "layer"]
INPUT = "input"  # the layer of methods that explain the input itself


def require_all(predictions: pd.DataFrame, drift: pd.DataFrame, distances: pd.DataFrame, metric: str) -> None:
    """The three tables hold the columns and the conditions that the analysis needs, and drift has rows."""
    require(drift, ["image", *CONDITION, *MAP, metric], "drift")
    class_names(predictions, also=["predicted"])
    require(distances, ["image", *CONDITION, "rmse"], "corruptions")
    require_numbers(distances, ["rmse"], "corruptions")
    if metric == "rmse" and "degenerate" in drift:
        require_numbers(drift[~drift["degenerate"].astype(bool)], [metric], "drift")
    if not len(drift):
        raise ValueError("the table drift has no rows; run 04_heatmaps on at least one image")
    asked = set(drift[CONDITION].drop_duplicates().itertuples(index=False, name=None))
    for name, frame, more in (("predictions", predictions, {CLEAN}), ("corruptions", distances, set())):
        missing = (asked | more) - set(frame[CONDITION].drop_duplicates().itertuples(index=False, name=None))
        if missing:
            raise ValueError(f"the table {name} lacks the conditions {sorted(missing)}, which drift holds")


def require_map(rows: pd.DataFrame, method: str, layer: str, name: str) -> None:
    """Raise a ValueError unless the table has rows of this method at this layer."""
    known = rows[MAP].drop_duplicates()
    if not ((known["method"] == method) & (known["layer"] == layer)).any():
        there = "; ".join(
            f"{m} at {', '.join(map(str, group['layer']))}"
            for m, group in known[known["method"] != ""].groupby("method", sort=False)
        )
        raise ValueError(
            f"method={method!r}, layer={layer!r} is not in the table {name}; it has {there or 'none'}"
        )


def grid(conditions: set[tuple[str, int]]) -> str:
    """Conditions in words: ``contrast 1-5; fog 3``."""
    levels: dict[str, list[int]] = {}
    for corruption, severity in sorted(conditions):
        levels.setdefault(corruption, []).append(severity)
    return "; ".join(f"{name} {', '.join(map(str, at))}" for name, at in levels.items())


def by_image(drift: pd.DataFrame, metric: str, by: Sequence[str]) -> pd.DataFrame:
    """A row an image, a column a group, all of them, even where there is nothing but NaN."""
    return drift.groupby(["image", *by], observed=True)[metric].mean().unstack(list(by))


@dataclass(frozen=True)
class Cube:
    """One metric of the drift as an array.

    Attributes:
        values: float64 (maps, conditions, images); NaN where a map is degenerate or was not made.
        maps: (method, layer), in their order in the table. conditions: (corruption, severity), likewise.
        images: sorted indices.
    """

    values: np.ndarray
    maps: list[tuple[str, str]]
    conditions: pd.MultiIndex
    images: np.ndarray

    @property
    def corruptions(self) -> np.ndarray:
        """The corruption of each condition."""
        return self.conditions.get_level_values("corruption").to_numpy()

    @property
    def severities(self) -> np.ndarray:
        """The severity of each condition."""
        return self.conditions.get_level_values("severity").to_numpy()

    def of(self, method: str, layer: str) -> np.ndarray:
        """The values of one map, (conditions, images)."""
        return self.values[self.maps.index((method, layer))]


def cube(drift: pd.DataFrame, metric: str) -> Cube:
    """Lay out one metric of the drift.

    Raises:
        ValueError: a column is missing, or an image has two values for the same condition and map.
    """
    require(drift, ["image", *CONDITION, *MAP, metric], "drift")
    images, image = np.unique(drift["image"].to_numpy(), return_inverse=True)
    pair, maps = _codes(drift, MAP)
    condition, conditions = _codes(drift, CONDITION)
    shape = (len(maps), len(conditions), len(images))
    at = (pair * shape[1] + condition) * shape[2] + image
    if len(np.unique(at)) < len(at):
        raise ValueError(
            "the table drift holds two rows of the same image, condition, method and layer; "
            "drop the repeated ones"
        )
    values = np.full(shape, np.nan)
    values.ravel()[at] = drift[metric].to_numpy(float)
    keys = pd.MultiIndex.from_tuples(conditions, names=CONDITION)
    return Cube(values, maps, keys, images)


def _codes(frame: pd.DataFrame, columns: Sequence[str]) -> tuple[np.ndarray, list[tuple]]:
    """A number for each row, and the values that it stands for, in order of appearance."""
    parts = [pd.factorize(frame[column]) for column in columns]
    code = parts[0][0]
    for more, words in parts[1:]:
        code = code * len(words) + more
    code, found = pd.factorize(code)
    places = np.unravel_index(found, [len(words) for _, words in parts])
    values = [np.asarray(words)[p].tolist() for p, (_, words) in zip(places, parts, strict=True)]
    return code, list(zip(*values, strict=True))


def laid(
    frame: pd.DataFrame, columns: Sequence[str], conditions: pd.MultiIndex, images: np.ndarray, name: str
) -> dict[str, np.ndarray]:
    """Columns of a table with a row an image and condition, each as an array (conditions, images).

    Raises:
        ValueError: an image is missing in a condition, or stands there twice.
    """
    row = conditions.get_indexer(pd.MultiIndex.from_frame(frame[CONDITION]))
    known = np.isin(frame["image"], images) & (row >= 0)
    at = row[known] * len(images) + np.searchsorted(images, frame["image"].to_numpy()[known])
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
        values = frame[column].to_numpy()[known]
        array = np.empty(count.size, values.dtype)
        array[at] = values
        found[column] = array.reshape(count.shape)
    return found
