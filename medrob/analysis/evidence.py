"""Which maps are evidence of their own: twins are counted once, and methods that fail a check are marked."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob.analysis.tables import MAP, cube

SAME = 1e-4  # RMSE of min-max maps (0-1); rounding in float32 makes some 1e-6


def twins(drift: pd.DataFrame) -> pd.DataFrame:
    """Methods whose maps are the same one at a layer: one piece of evidence, not several.

    At the last block of a network that ends in average pooling and one linear layer, Grad-CAM, HiResCAM
    and XGrad-CAM are identical; LayerCAM is element-wise Grad-CAM at every layer with activations >= 0.
    Two methods count as twins where all their drifts (RMSE) agree within 1e-4, over at least four
    comparisons that differ.

    Args:
        drift: from `medrob.drift.measure`.

    Returns:
        A row for each method that repeats an earlier one: method, layer, same_as.
    """
    moved = cube(drift, "rmse")
    rows = []
    for layer in dict.fromkeys(name for _, name in moved.maps):
        first: dict[str, np.ndarray] = {}
        for method in (m for m, name in moved.maps if name == layer):
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
    """The drift without the rows of methods that repeat an earlier one at that layer (`twins`)."""
    repeated = pd.MultiIndex.from_frame(twins(drift)[MAP])
    return drift[~pd.MultiIndex.from_frame(drift[MAP]).isin(repeated)].reset_index(drop=True)


def say_twins(drift: pd.DataFrame) -> str:
    """In words: which methods are the same map, and where."""
    found = twins(drift)
    if found.empty:
        return "No two methods give the same map: each is evidence of its own."
    lines = []
    for (layer, one), group in found.groupby(["layer", "same_as"], sort=False):
        lines.append(f"{layer}: {' = '.join([one, *group['method']])} are one map, one piece of evidence.")
    return "\n".join(lines)
