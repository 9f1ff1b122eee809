"""Which method is steadiest, and do runs agree on it?"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from medrob.analysis.association import condition_means
from medrob.analysis.evidence import Evidence
from medrob.analysis.layout import MAP, Cube, cube, ends, estimate, resampled
from medrob.analysis.map_choice import USABLE, twins
from medrob.check import require

METRICS = ("normalised", "rmse")


def ranks(
    runs: Mapping[str, Evidence], failed: Mapping[str, Collection[tuple[str, str]]] | None = None
) -> pd.DataFrame:
    """Methods in order of stability, 1 = the least mean drift, in each run.

    Each method is taken at its deepest layer at which at most a tenth of the maps are degenerate; the drift
    is normalised (`medrob.trust.normalised`) if all runs have that column, else the RMSE. Ranked are the
    methods that are usable in every run and repeat none of the others.

    Args:
        runs: name -> evidence.
        failed: name -> the (method, layer) pairs that fail randomisation there (`failed`): steady or not,
            such a map has no claim to stability, as it does not depend on the network.

    Returns:
        run, method, layer (the last one if none is usable), metric, value (mean over the conditions), low,
        high, rank, rank_low, rank_high (NaN if not ranked), same_as (the method whose map it is; "" if
        none), fails (randomisation).
    """
    if not runs:
        raise ValueError("there are no runs to rank methods in; give at least one")
    metric = next(m for m in METRICS if all(m in evidence.drift for evidence in runs.values()))
    rows, samples = [], {}
    for name, evidence in runs.items():
        moved = cube(evidence.drift, metric)
        w = resampled(len(moved.images), evidence.resamples, evidence.seed)
        places = _deepest(moved)
        means = {m: condition_means(moved.values[i], w).mean(1) for m, i in places.items()}
        samples[name] = means
        bad = set((failed or {}).get(name, ()))
        same = twins(evidence.drift).set_index(MAP)["same_as"].to_dict()
        for method, i in places.items():
            key, twin = moved.maps[i], same.get(moved.maps[i], "")
            if twin and moved.maps[places[twin]][1] != key[1]:  # which is taken at another layer
                twin = ""
            rows.append((name, *key, metric, *estimate(means[method]), twin, key in bad))
    frame = pd.DataFrame(rows, columns=["run", *MAP, "metric", "value", "low", "high", "same_as", "fails"])
    return _ranked(frame, samples)


def _deepest(moved: Cube) -> dict[str, int]:
    """For each method the place of its deepest usable map; of its last one if none is."""
    flat = np.isnan(moved.values).mean((1, 2))
    found: dict[str, int] = {}
    for i, (method, _) in enumerate(moved.maps):
        if method not in found or flat[i] <= USABLE or flat[found[method]] > USABLE:
            found[method] = i
    return found


def _ranked(frame: pd.DataFrame, samples: Mapping[str, Mapping[str, np.ndarray]]) -> pd.DataFrame:
    """Add rank, rank_low and rank_high for the methods that every run has, usable and of its own."""
    good = frame[frame["value"].notna() & (frame["same_as"] == "")]
    count = good.groupby("method", sort=False)["run"].nunique()
    kept = list(count.index[count == frame["run"].nunique()])
    numbers: dict[tuple[str, str], tuple[float, float, float]] = {}
    for run, means in samples.items():
        if kept:
            order = rankdata(np.stack([means[m] for m in kept], 1), axis=1)
            numbers |= {(run, m): estimate(r) for m, r in zip(kept, order.T, strict=True)}
    keys = zip(frame["run"], frame["method"], strict=True)
    frame[ends("rank")] = np.array([numbers.get(key, (np.nan,) * 3) for key in keys])
    return frame[["run", *MAP, "metric", "value", "low", "high", *ends("rank"), "same_as", "fails"]]


def agreement(ranked: pd.DataFrame) -> pd.Series:
    """Do the runs order the methods alike? Kendall's W, 0 = not at all, 1 = all alike.

    p: how often methods that change places at random, in each run on its own, agree as much (10,000 times).

    Args:
        ranked: from `ranks`.

    Returns:
        w, p, runs, methods. NaN with fewer than two runs or three methods.
    """
    require(ranked, ["run", "method", "rank"], "ranks")
    wide = ranked.dropna(subset="rank").pivot(index="run", columns="method", values="rank")
    counts = {"runs": ranked["run"].nunique(), "methods": wide.shape[1]}
    if len(wide) < 2 or wide.shape[1] < 3:
        return pd.Series({"w": np.nan, "p": np.nan} | counts)
    x = wide.to_numpy()
    w = kendall_w(x)
    shuffled = np.random.default_rng(0).permuted(np.broadcast_to(x, (10_000, *x.shape)), axis=2)
    p = (1 + (kendall_w(shuffled) >= w - 1e-9).sum()) / 10_001
    return pd.Series({"w": float(w), "p": float(p)} | counts)


def kendall_w(ranks: np.ndarray) -> np.ndarray:
    """Kendall's coefficient of concordance, corrected for ties (Kendall & Gibbons 1990).

    Args:
        ranks: (..., runs, methods), midranks in each run.

    Returns:
        (...); NaN where every run ties all methods.
    """
    m, n = ranks.shape[-2:]
    spread = ((ranks.sum(-2) - m * (n + 1) / 2) ** 2).sum(-1)
    # Of untied ranks the sum of squares about the mean is (n^3 - n) / 12; ties take away their part.
    most = m * ((ranks - (n + 1) / 2) ** 2).sum((-1, -2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return spread / most
