"""How large can a drift be? Its floor, its ceilings, and drift in shares of the way between them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from medrob.drift import Explainer, Key, PreparedMaps, compare
from medrob.progress import bar
from medrob.saliency import STOCHASTIC
from medrob.trust.means import Entry, means
from medrob.trust.randomisation import another_image, cascade

ROUNDING = 1e-4  # of an RMSE of min-max maps: below, they are one, as in `medrob.analysis.twins`
TESTS = ("floor", "ceiling-image", "ceiling-weights")


def scale(
    explainer: Explainer, images: np.ndarray, targets: np.ndarray | int | None = None, *, seed: int = 0
) -> pd.DataFrame:
    """RMSE between min-max maps where nothing has changed, and where everything has.

    ``floor``: the same image again, with other noise (the next seed): 0 for deterministic methods.
    ``ceiling-image``: the map of another image, each of which is taken once.
    ``ceiling-weights``: the same image, by the network with all its weights lost (`cascade`).

    Args:
        explainer, images, targets: see `medrob.drift.Explainer` and its `classes`.
        seed: of the other image, of the random weights and of the bootstrap.

    Returns:
        Rows with the columns `medrob.trust.COLUMNS`. The ceiling by another image is NaN, with a warning,
        if there is one image only.
    """
    classes, n = explainer.classes(images, targets), len(images)
    if n == 1:
        warnings.warn("there is one image only: ceiling-image, the map of another, is NaN", stacklevel=2)
    settings = replace(explainer.settings, seed=explainer.settings.seed + 1)
    noisy = [method for method in explainer.methods if method in STOCHASTIC]
    *_, (_, untrained) = cascade(explainer.model, seed=seed)
    other = another_image(n, seed)
    values = {(test, key): np.full(n, np.nan) for test in TESTS for key in explainer.pairs}
    for rows in bar(list(explainer.batches(n)), desc="scaling", unit="batch"):
        here = images[rows], rows, classes[rows]
        mine = {key: PreparedMaps(maps) for key, maps in explainer.maps(*here)[0].items()}
        # Without noise the second map is the first.
        again = replace(explainer, methods=noisy, settings=settings).maps(*here)[0] if noisy else {}
        there = other[rows]
        ends: dict[str, dict[Any, Any]] = {
            "floor": mine | again,
            "ceiling-image": explainer.maps(images[there], there, classes[there])[0] if n > 1 else {},
            "ceiling-weights": replace(explainer, model=untrained).maps(*here)[0],
        }
        for test, maps in ends.items():
            for key, moved in maps.items():
                values[test, key][rows] = compare(mine[key], moved, "rmse")["rmse"]
    return means([Entry(*key, test, value) for (test, key), value in values.items()], seed=seed)


def normalised(drift: pd.DataFrame, trust: pd.DataFrame) -> pd.Series:
    """Drift between its floor (0) and the map of another image (1): (rmse - floor) / (ceiling - floor).

    Args:
        drift: has the columns method, layer, rmse.
        trust: holds the rows of `scale`.

    Returns:
        A value per row of `drift`, with its index; above 1 where a map moves further than to that of
        another image. NaN where the ceiling is not above the floor by more than rounding makes (1e-4: all
        images have the same map), or a method and layer has none.
    """
    limits = trust[trust["test"].isin(TESTS)].pivot(index=["method", "layer"], columns="test", values="value")
    limits = limits.reindex(pd.MultiIndex.from_frame(drift[["method", "layer"]]))
    floor, ceiling = limits["floor"].to_numpy(), limits["ceiling-image"].to_numpy()
    span = np.where(ceiling - floor > ROUNDING, ceiling - floor, np.nan)
    return pd.Series((drift["rmse"].to_numpy() - floor) / span, drift.index, name="normalised")


def between(maps: Mapping[Key, np.ndarray]) -> pd.DataFrame:
    """How alike the maps of two methods are at the same layer: the median rank correlation over the images.

    Args:
        maps: from `medrob.saliency.explain`, ``{(method, layer): raw maps (N, h, w)}``.

    Returns:
        A row for each two methods at each layer: layer, method, other, value, images (whose maps count).
    """
    prepared = {key: PreparedMaps(raw) for key, raw in maps.items()}
    rows = []
    for (method, layer), (other, its_layer) in combinations(prepared, 2):
        if layer == its_layer:
            values = compare(prepared[method, layer], prepared[other, layer], "spearman")["spearman"]
            known = values[np.isfinite(values)]
            rows.append((layer, method, other, np.median(known) if len(known) else np.nan, len(known)))
    return pd.DataFrame(rows, columns=["layer", "method", "other", "value", "images"])
