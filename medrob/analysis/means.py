"""Mean drift with intervals, and the map that a text quotes.

Intervals are 95 % percentile bootstraps over images (2,000 resamples unless said otherwise); an image
carries all its conditions, so scores and drift are resampled together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medrob.analysis.tables import CONDITION, MAP, by_image, require
from medrob.evaluation import bootstrap_weights, interval

STRATA = ("all", "preserved", "flipped")


def mean_drift(
    drift: pd.DataFrame,
    by: Sequence[str] = (*CONDITION, *MAP),
    *,
    metric: str = "rmse",
    stratum: str = "all",
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean drift of each group of maps, over the images whose maps are not degenerate.

    Args:
        drift: from `medrob.drift.measure`.
        by: the columns that make a group; within it, an image's values are averaged first.
        metric: the column of the drift.
        stratum: "all", "preserved" or "flipped": by whether the network still predicts the same class.
        resamples, seed: of the bootstrap.

    Returns:
        The columns of `by`, then stratum, value, low, high, images (that count), degenerate (share).
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
    wide = by_image(drift, metric, by).reindex(columns=flat.index)
    x, known = np.nan_to_num(wide.to_numpy()), wide.notna().to_numpy()
    w = bootstrap_weights(len(wide), resamples, seed)
    with np.errstate(invalid="ignore"):
        samples = (w @ x) / (w @ known)
        value = x.sum(0) / known.sum(0)
    limits = np.array([interval(column) for column in samples.T]).reshape(-1, 2)
    frame = flat.index.to_frame(index=False).assign(
        stratum=stratum, value=value, low=limits[:, 0], high=limits[:, 1], images=known.sum(0)
    )
    return frame.assign(degenerate=flat.to_numpy())[columns]


def strata(
    drift: pd.DataFrame, *, metric: str = "rmse", resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """`mean_drift` by severity, method and layer for all, prediction-preserved and flipped images."""
    by = ("severity", *MAP)
    parts = [mean_drift(drift, by, metric=metric, stratum=s, resamples=resamples, seed=seed) for s in STRATA]
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def headline(drift: pd.DataFrame) -> tuple[str, str]:
    """The method and layer that a text quotes: Grad-CAM if it is there, at the deepest usable block.

    Usable: at most a tenth of its maps are degenerate; if no layer is, the one with the fewest. Chosen
    before any result is looked at.

    Raises:
        ValueError: the table lacks a column, or has no rows.
    """
    require(drift, [*MAP, "degenerate"], "drift")
    if not len(drift):
        raise ValueError("the table drift has no rows; run 04_heatmaps on at least one image")
    methods = list(dict.fromkeys(drift["method"]))
    method = "gradcam" if "gradcam" in methods else methods[0]
    bad = drift[drift["method"] == method].groupby("layer", sort=False, observed=True)["degenerate"].mean()
    usable = bad[bad <= 0.1] if (bad <= 0.1).any() else bad[bad == bad.min()]
    return method, str(usable.index[-1])
