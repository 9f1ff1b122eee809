"""The maps of a run: how far they move, which one a text quotes, which are the same.

Intervals are 95 % percentile bootstraps over images (2,000 resamples unless said otherwise); an image
carries all its conditions, so scores and drift are resampled together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medrob.analysis.tables import CONDITION, MAP, by_image, cube
from medrob.check import require
from medrob.evaluation import bootstrap_weights, interval

STRATA = ("all", "preserved", "flipped")
SAME = 1e-4  # RMSE of min-max maps (0-1); rounding in float32 makes some 1e-6


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
        The columns of `by`, then stratum, value, low, high, images (that count), degenerate (share). An
        interval needs two images.
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
    limits[known.sum(0) < 2] = np.nan  # one image has no spread
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
    parts = [part.sort_values("severity", kind="stable") for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True)


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


def twins(drift: pd.DataFrame) -> pd.DataFrame:
    """Methods whose maps are the same one at a layer: one piece of evidence, not several.

    At the last block of a network that ends in average pooling and one linear layer, Grad-CAM, HiResCAM
    and XGrad-CAM are identical; LayerCAM is element-wise Grad-CAM at every layer with activations >= 0.
    Two methods count as twins where all their drifts (RMSE) agree within 1e-4, over at least four
    comparisons that differ.

    Args:
        drift: from `medrob.drift.measure`.

    Returns:
        A row for each method that repeats another one, Grad-CAM before all, else the earlier: method,
        layer, same_as.
    """
    moved = cube(drift, "rmse")
    rows = []
    for layer in dict.fromkeys(name for _, name in moved.maps):
        first: dict[str, np.ndarray] = {}
        here = [m for m, name in moved.maps if name == layer]
        for method in sorted(here, key=lambda m: m != "gradcam"):  # the one that a text quotes comes first
            x = moved.of(method, layer).ravel()
            if found := next((one for one, y in first.items() if agree(x, y)), None):
                rows.append((method, layer, found))
            else:
                first[method] = x
    return pd.DataFrame(rows, columns=[*MAP, "same_as"])


def agree(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether two methods' drifts are those of one map; see `twins`."""
    known = np.isfinite(x) & np.isfinite(y)
    alone = np.isfinite(x) != np.isfinite(y)  # a map at the border of degenerate, judged apart by rounding
    enough = len(np.unique(x[known])) >= 4
    return enough and alone.mean() <= 0.01 and bool((np.abs(x - y)[known] <= SAME).all())


def distinct(drift: pd.DataFrame) -> pd.DataFrame:
    """The drift without the rows of methods that repeat another one at that layer (`twins`)."""
    repeated = pd.MultiIndex.from_frame(twins(drift)[MAP])
    return drift[~pd.MultiIndex.from_frame(drift[MAP]).isin(repeated)].reset_index(drop=True)
