"""How large can a drift be? Its floor, its ceilings, and drift in shares of the way between them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Unpack

import numpy as np
import pandas as pd
from torch import nn

from medrob.progress import bar
from medrob.saliency.explain import STOCHASTIC
from medrob.similarity import Maps, compare
from medrob.trust.randomisation import cascade
from medrob.trust.subject import Asked, Key, others, subject
from medrob.trust.table import Entry, table

ROUNDING = 1e-4  # of an RMSE of min-max maps: below, they are one, as in `medrob.analysis.twins`
TESTS = ("floor", "ceiling-image", "ceiling-weights")


def scale(
    model: nn.Module,
    images: np.ndarray,
    *,
    seed: int = 0,
    **asked: Unpack[Asked],
) -> pd.DataFrame:
    """RMSE between min-max maps where nothing has changed, and where everything has.

    ``floor``: the same image again, with other noise (the next seed): 0 for deterministic methods.
    ``ceiling-image``: the map of another image, each of which is taken once.
    ``ceiling-weights``: the same image, by the network with all its weights lost (`cascade`).

    Args:
        model: left as found.
        images: uint8 (N, H, W, C). asked: methods, layers, targets, batch_size, device and settings, as of
            `medrob.saliency.explain`.
        seed: of the other image, of the random weights and of the bootstrap.

    Returns:
        Rows with the columns `medrob.trust.COLUMNS`. The ceiling by another image is NaN, with a warning,
        if there is one image only.

    Raises:
        TypeError, ValueError: as `medrob.saliency.explain`.
    """
    what = subject(model, images, **asked)
    if len(what) == 1:
        warnings.warn("there is one image only: ceiling-image, the map of another, is NaN", stacklevel=2)
    other, again = others(len(what), seed), replace(what.settings, seed=what.settings.seed + 1)
    *_, (_, untrained) = cascade(model, seed=seed)
    noisy = replace(what, methods=[method for method in what.methods if method in STOCHASTIC])
    found: dict[tuple[str, Key], list[np.ndarray]] = {}
    for rows in bar(list(what.batches()), desc="scaling", unit="batch"):
        mine = {key: Maps(maps) for key, maps in what.maps(model, rows).items()}
        second = (
            {key: Maps(maps) for key, maps in noisy.maps(model, rows, settings=again).items()}
            if noisy.methods
            else {}
        )
        theirs = what.maps(model, other[rows]) if len(what) > 1 else {}
        random = what.maps(untrained, rows)
        for key, maps in mine.items():
            nothing = np.full(len(rows), np.nan)
            pairs = {
                "floor": second.get(key, maps),
                "ceiling-image": theirs.get(key),
                "ceiling-weights": random[key],
            }
            for test, b in pairs.items():
                value = nothing if b is None else compare(maps, b, ["rmse"])["rmse"]
                found.setdefault((test, key), []).append(value)
    entries = [Entry(*key, test, np.concatenate(values)) for (test, key), values in found.items()]
    return table(sorted(entries, key=lambda entry: TESTS.index(entry.test)), seed=seed)


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
