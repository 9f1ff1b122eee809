"""What the tables of a run must hold, and the columns that name a condition and a map."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from medrob.conditions import CLEAN

CONDITION = ["corruption", "severity"]
MAP = ["method", "layer"]


def require(frame: pd.DataFrame, columns: Sequence[str], name: str) -> None:
    """Raise a ValueError unless the table has the columns."""
    missing = [column for column in columns if column not in frame]
    if missing:
        raise ValueError(
            f"the table {name} lacks {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}"
        )


def require_all(predictions: pd.DataFrame, drift: pd.DataFrame, distances: pd.DataFrame, metric: str) -> None:
    """The three tables hold the columns and the conditions that `association` and `failure` need."""
    require(drift, ["image", *CONDITION, *MAP, metric], "drift")
    require(predictions, ["image", *CONDITION, "predicted"], "predictions")
    require(distances, ["image", *CONDITION, "rmse"], "corruptions")
    asked = set(drift[CONDITION].itertuples(index=False, name=None))
    for name, frame, more in (("predictions", predictions, {CLEAN}), ("corruptions", distances, set())):
        missing = (asked | more) - set(frame[CONDITION].itertuples(index=False, name=None))
        if missing:
            raise ValueError(f"the table {name} lacks the conditions {sorted(missing)}, which drift holds")


def by_image(drift: pd.DataFrame, metric: str, by: Sequence[str]) -> pd.DataFrame:
    """A row an image, a column a group, all of them, even where there is nothing but NaN."""
    return drift.groupby(["image", *by], observed=True)[metric].mean().unstack(list(by))
