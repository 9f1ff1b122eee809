"""The tables of a run as arrays, which of its maps a text quotes, and which are one and the same."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medrob.evaluation import interval

CONDITION = ["corruption", "severity"]
MAP = ["method", "layer"]
NORMALISED = "normalised"  # the column of the drift as a share of the distance to another picture's map
INPUT = "input"  # the layer of methods that explain the input itself
FOLDS = 5  # of images, for models that predict those they have not seen
LEARNING = (1 + FOLDS / (FOLDS - 1)) ** 0.5  # Nadeau & Bengio (2003), of the spread
FINE = 7  # positions along the side of a map
SAME = 1e-4  # RMSE of min-max maps (0-1); rounding in float32 makes some 1e-6


def axes_of(drift: pd.DataFrame) -> tuple[pd.MultiIndex, pd.MultiIndex, pd.Index]:
    """The maps (method, layer) and conditions of the drift, in the order of the table, and its images."""
    maps, conditions = (pd.MultiIndex.from_frame(drift[by].drop_duplicates()) for by in (MAP, CONDITION))
    return maps, conditions, pd.Index(np.unique(drift["image"]), name="image")


def laid(table: pd.DataFrame, columns: Sequence[str], name: str, *axes: pd.Index) -> dict[str, np.ndarray]:
    """Columns of a table as arrays with these axes; a ValueError unless it has one row for each place."""
    places = []
    for axis in axes:
        key = pd.MultiIndex.from_frame(table[[*axis.names]])
        places.append(axis.get_indexer(key if axis.nlevels > 1 else key.get_level_values(0)))
    known, shape = np.all([place >= 0 for place in places], axis=0), [len(axis) for axis in axes]
    at = np.ravel_multi_index([place[known] for place in places], shape)
    counts = np.bincount(at, minlength=int(np.prod(shape)))
    if (counts != 1).any():
        parts = f"{(counts == 0).sum()} rows and has {(counts > 1).sum()} more than once"
        raise ValueError(f"the table {name} lacks {parts}; run the notebook again that writes it")
    rows = np.flatnonzero(known)[np.argsort(at)]
    return {column: table[column].to_numpy()[rows].reshape(shape) for column in columns}


def rows_of(rows: pd.DataFrame, method: str, layer: str, name: str) -> pd.DataFrame:
    """The rows of one map; a ValueError says which maps the table has instead, if it has none."""
    found = rows[(rows["method"] == method) & (rows["layer"] == layer)]
    if found.empty:
        there = rows.loc[rows["method"] != "", MAP].drop_duplicates().itertuples(index=False)
        has = ", ".join(f"{method} at {layer}" for method, layer in there) or "none"
        raise ValueError(f"method={method!r}, layer={layer!r} is not in the table {name}; it has {has}")
    return found


def ends(name: str) -> list[str]:
    """The columns of a value and its interval: ``["gain", "gain_low", "gain_high"]``."""
    return [name, f"{name}_low", f"{name}_high"]


def estimate(samples: np.ndarray) -> tuple[float, float, float]:
    """Value, low and high of samples (1 + resamples,), the first of which is the value."""
    return (samples[0], *interval(samples[1:]))


def wider(ends: tuple[float, float, float]) -> tuple[float, float, float]:
    """An interval that also counts what a model has learnt from: `LEARNING` times as wide.

    Resamples take models as they are: in simulated worlds they held what a map adds in 78 to 85 % of the
    tables, widened in 91 to 94 %.
    """
    value, low, high = ends
    return value, value + LEARNING * (low - value), min(value + LEARNING * (high - value), 1.0)


def headline(drift: pd.DataFrame) -> tuple[str, str]:
    """The method and layer that a text quotes: Grad-CAM if it is there, at the deepest block of fine maps.

    Fine: at least 7 positions along each side, as the last block of the published networks has at 224 px; if
    no layer has so many, the one with the most. Only the network and the size of the pictures decide. A table
    without the column size has fine maps alone.
    """
    methods = list(dict.fromkeys(drift["method"]))
    method = "gradcam" if "gradcam" in methods else methods[0]
    sized = drift[drift["method"] == method].assign(size=drift.get("size", FINE))
    sizes = sized.groupby("layer", sort=False, observed=True)["size"].first()
    return method, str(sizes.index[sizes >= min(FINE, sizes.max())][-1])


def twins(drift: pd.DataFrame) -> pd.DataFrame:
    """Methods that repeat another one at a layer: one piece of evidence, not several. method, layer, same_as.

    At the last block of a network that ends in average pooling and one linear layer, Grad-CAM, HiResCAM
    and XGrad-CAM are identical; LayerCAM is element-wise Grad-CAM at every layer with activations >= 0.
    Two methods count as twins where all their drifts (RMSE) agree within 1e-4, over at least four
    comparisons that differ; named are those after the first, which is Grad-CAM if it is one of them.
    """
    axes, found = axes_of(drift), []
    values = dict(zip(axes[0], laid(drift, ["rmse"], "drift", *axes)["rmse"], strict=True))
    first: dict[tuple[str, str], np.ndarray] = {}
    layers = list(dict.fromkeys(layer for _, layer in values))
    for method, layer in sorted(values, key=lambda m: (layers.index(m[1]), m[0] != "gradcam")):
        x = values[method, layer].ravel()
        same = (m for (m, at), y in first.items() if at == layer and _agree(x, y))
        if twin := next(same, None):
            found.append((method, layer, twin))
        else:
            first[method, layer] = x
    return pd.DataFrame(found, columns=[*MAP, "same_as"])


def _agree(x: np.ndarray, y: np.ndarray) -> bool:
    known = np.isfinite(x) & np.isfinite(y)
    alone = np.isfinite(x) != np.isfinite(y)  # a map at the border of degenerate, judged apart by rounding
    enough = len(np.unique(x[known])) >= 4
    return enough and alone.mean() <= 0.01 and bool((np.abs(x - y)[known] <= SAME).all())


def distinct(drift: pd.DataFrame) -> pd.DataFrame:
    """The drift without the rows of methods that repeat another one at that layer (`twins`)."""
    again = pd.MultiIndex.from_frame(twins(drift)[MAP])
    return drift[~pd.MultiIndex.from_frame(drift[MAP]).isin(again)].reset_index(drop=True)
