"""How far the maps of a run move: means over images, by whatever is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medrob.analysis.layout import CONDITION, MAP
from medrob.check import require
from medrob.evaluation import bootstrap_weights, interval

STRATA = ("all", "preserved", "flipped")


def mean_drift(
    drift: pd.DataFrame,
    by: Sequence[str] = (*CONDITION, *MAP),
    *,
    metric: str = "rmse",
    stratum: str = "all",
) -> pd.DataFrame:
    """Mean drift of each group of maps, over the images whose maps are not degenerate.

    Args:
        drift: from `medrob.drift.measure`.
        by: the columns that make a group; within it, an image's values are averaged first.
        metric: the column of the drift.
        stratum: "all", "preserved" or "flipped": by whether the network still predicts the same class.

    Returns:
        The columns of `by`, then stratum, value, low, high (2,000 resamples of the images; at least two
        images), images (that count), degenerate (share).
    """
    require(drift, [*by, "image", "preserved", "degenerate", metric], "drift")
    if stratum not in STRATA:
        raise ValueError(f"stratum={stratum!r}; the strata are {', '.join(STRATA)}")
    if stratum != "all":
        drift = drift[drift["preserved"] == (stratum == "preserved")]
    by = list(by)
    columns = [*by, "stratum", "value", "low", "high", "images", "degenerate"]
    if not len(drift):
        return pd.DataFrame(columns=columns)
    flat = drift.groupby(by, sort=False, observed=True)["degenerate"].mean()
    wide = drift.groupby(["image", *by], observed=True)[metric].mean().unstack(by)
    wide = wide.reindex(columns=flat.index)  # a row an image, a column a group, in the order of the table
    x, known = np.nan_to_num(wide.to_numpy()), wide.notna().to_numpy()
    w = bootstrap_weights(len(wide), 2000)
    with np.errstate(invalid="ignore"):
        samples = (w @ x) / (w @ known)
        value = x.sum(0) / known.sum(0)
    limits = np.array([interval(column) for column in samples.T]).reshape(-1, 2)
    limits[known.sum(0) < 2] = np.nan  # one image has no spread
    frame = flat.index.to_frame(index=False).assign(stratum=stratum, value=value)
    frame["low"], frame["high"] = limits.T
    return frame.assign(images=known.sum(0), degenerate=flat.to_numpy())[columns]


def strata(drift: pd.DataFrame, *, metric: str = "rmse") -> pd.DataFrame:
    """`mean_drift` by severity, method and layer for all, prediction-preserved and flipped images."""
    parts = [mean_drift(drift, ("severity", *MAP), metric=metric, stratum=s) for s in STRATA]
    parts = [part.sort_values("severity", kind="stable") for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True)


def by_layer(means: pd.DataFrame, *, severity: int) -> pd.DataFrame:
    """The means at a severity as a table: a row a method, a column a layer, in the order of the maps."""
    rows = means[means["severity"] == severity]
    wide = rows.set_index(["method", "layer"])["value"].unstack("layer")
    return wide[list(dict.fromkeys(means["layer"]))]
