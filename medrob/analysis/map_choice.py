"""Which map a text quotes, and which maps are one and the same."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob.analysis.layout import MAP, Cube, cube
from medrob.check import require

USABLE = 0.1  # the share of maps that may be degenerate; declared
SAME = 1e-4  # RMSE of min-max maps (0-1); rounding in float32 makes some 1e-6


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
    usable = bad[bad <= max(USABLE, bad.min())]
    return method, str(usable.index[-1])


def twins(drift: pd.DataFrame) -> pd.DataFrame:
    """Methods whose maps are the same one at a layer: one piece of evidence, not several.

    At the last block of a network that ends in average pooling and one linear layer, Grad-CAM, HiResCAM
    and XGrad-CAM are identical; LayerCAM is element-wise Grad-CAM at every layer with activations >= 0.
    Two methods count as twins where all their drifts (RMSE) agree within 1e-4, over at least four
    comparisons that differ.

    Returns:
        A row for each method that repeats another one, Grad-CAM before all, else the earlier: method,
        layer, same_as.
    """
    return pd.DataFrame(repeated(cube(drift)), columns=[*MAP, "same_as"])


def repeated(moved: Cube) -> list[tuple[str, str, str]]:
    """The rows of `twins`: method, layer, same_as."""
    found = []
    for layer in dict.fromkeys(name for _, name in moved.maps):
        first: dict[str, np.ndarray] = {}
        methods = [m for m, name in moved.maps if name == layer]
        for method in sorted(methods, key=lambda m: m != "gradcam"):  # the one that a text quotes comes first
            x = moved.of(method, layer).ravel()
            if same := next((other for other, y in first.items() if _agree(x, y)), None):
                found.append((method, layer, same))
            else:
                first[method] = x
    return found


def _agree(x: np.ndarray, y: np.ndarray) -> bool:
    known = np.isfinite(x) & np.isfinite(y)
    alone = np.isfinite(x) != np.isfinite(y)  # a map at the border of degenerate, judged apart by rounding
    enough = len(np.unique(x[known])) >= 4
    return enough and alone.mean() <= 0.01 and bool((np.abs(x - y)[known] <= SAME).all())


def distinct(drift: pd.DataFrame) -> pd.DataFrame:
    """The drift without the rows of methods that repeat another one at that layer (`twins`)."""
    repeated = pd.MultiIndex.from_frame(twins(drift)[MAP])
    return drift[~pd.MultiIndex.from_frame(drift[MAP]).isin(repeated)].reset_index(drop=True)
