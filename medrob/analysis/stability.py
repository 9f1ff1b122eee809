"""Which method is steadiest, and do runs agree on it?"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from medrob.analysis.associations import condition_means
from medrob.analysis.maps import agree
from medrob.analysis.tables import CONDITION, MAP, Cube, cube
from medrob.check import require
from medrob.evaluation import bootstrap_weights, interval

USABLE = 0.1  # the share of maps that may be degenerate, as in `headline`
METRICS = ("normalised", "rmse")


def ranks(
    runs: Mapping[str, pd.DataFrame],
    *,
    failed: Mapping[str, Collection[tuple[str, str]]] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Methods in order of stability, 1 = the least mean drift, in each run.

    Each method is taken at its deepest layer at which at most a tenth of the maps are degenerate; the drift
    is normalised (`medrob.trust.normalised`) if all runs have that column, else the RMSE. Ranked are the
    methods that are usable in every run and repeat none of the others.

    Args:
        runs: name -> drift.
        failed: name -> the (method, layer) pairs that fail randomisation there (`failed`): steady or not,
            such a map has no claim to stability, as it does not depend on the network.
        resamples, seed: of the bootstrap over images.

    Returns:
        run, method, layer (the last one if none is usable), metric, value (mean over the conditions), low,
        high, rank, rank_low, rank_high (NaN if not ranked), same_as (the earlier method whose map it is; ""
        if none), fails (randomisation).

    Raises:
        ValueError: no runs, or a table without a column or rows.
    """
    if not runs:
        raise ValueError("there are no runs to rank methods in; give at least one")
    metric = next(m for m in METRICS if m == "rmse" or all(m in drift for drift in runs.values()))
    frames, samples = [], {}
    for name, drift in runs.items():
        require(drift, ["image", *CONDITION, *MAP, metric], f"drift of run {name!r}")
        if not len(drift):
            raise ValueError(f"the drift of run {name!r} has no rows")
        moved = cube(drift, metric)
        w = bootstrap_weights(len(moved.images), resamples, seed)
        w = np.concatenate([np.ones((1, len(moved.images)), np.float32), w])
        places = _deepest(moved)
        means = {m: condition_means(moved.values[i], w).mean(1) for m, i in places.items()}
        samples[name] = means
        bad = set((failed or {}).get(name, ()))
        repeated = _repeated(moved, places)
        frames += [
            (
                name,
                *moved.maps[i],
                metric,
                means[m][0],
                *interval(means[m][1:]),
                repeated[m],
                moved.maps[i] in bad,
            )
            for m, i in places.items()
        ]
    frame = pd.DataFrame(frames, columns=["run", *MAP, "metric", "value", "low", "high", "same_as", "fails"])
    return _ranked(frame, samples)


def _deepest(moved: Cube) -> dict[str, int]:
    """For each method the place of its deepest usable map; of its last one if none is."""
    flat = np.isnan(moved.values).mean((1, 2))
    found: dict[str, int] = {}
    for i, (method, _) in enumerate(moved.maps):
        if method not in found or flat[i] <= USABLE or flat[found[method]] > USABLE:
            found[method] = i
    return found


def _repeated(moved: Cube, places: Mapping[str, int]) -> dict[str, str]:
    """For each method the earlier one whose map it repeats at the same layer; "" if none."""
    found: dict[str, str] = {}
    for method, i in places.items():
        same = (
            one
            for one, j in places.items()
            if one in found and not found[one] and moved.maps[i][1] == moved.maps[j][1]
            if agree(moved.values[i].ravel(), moved.values[j].ravel())
        )
        found[method] = next(same, "")
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
            numbers |= {(run, m): (r[0], *interval(r[1:])) for m, r in zip(kept, order.T, strict=True)}
    nothing = (np.nan,) * 3
    keys = zip(frame["run"], frame["method"], strict=True)
    found = np.array([numbers.get(key, nothing) for key in keys]).reshape(-1, 3)
    columns = [
        "run",
        *MAP,
        "metric",
        "value",
        "low",
        "high",
        "rank",
        "rank_low",
        "rank_high",
        "same_as",
        "fails",
    ]
    return frame.assign(rank=found[:, 0], rank_low=found[:, 1], rank_high=found[:, 2])[columns]


def agreement(ranked: pd.DataFrame, *, permutations: int = 10000, seed: int = 0) -> pd.Series:
    """Do the runs order the methods alike? Kendall's W, 0 = not at all, 1 = all alike.

    p: how often methods that change places at random, in each run on its own, agree as much.

    Args:
        ranked: from `ranks`.

    Returns:
        w, p, runs, methods. NaN with fewer than two runs or three methods.
    """
    require(ranked, ["run", "method", "rank"], "ranks")
    wide = ranked.dropna(subset="rank").pivot(index="run", columns="method", values="rank")
    about = {"runs": ranked["run"].nunique(), "methods": wide.shape[1]}
    if len(wide) < 2 or wide.shape[1] < 3:
        return pd.Series({"w": np.nan, "p": np.nan} | about)
    x = wide.to_numpy()
    found = kendall_w(x)
    rng = np.random.default_rng(seed)
    null = kendall_w(rng.permuted(np.broadcast_to(x, (permutations, *x.shape)), axis=2))
    p = (1 + (null >= found - 1e-9).sum()) / (1 + permutations)
    return pd.Series({"w": float(found), "p": float(p)} | about)


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
