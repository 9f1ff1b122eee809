"""Runs beside each other: differences with intervals, and which method is steadiest in each."""

import json
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from medrob.analysis.evidence import Evidence
from medrob.analysis.layout import CONDITION, MAP, USABLE, cube, ends, estimate, twins
from medrob.analysis.links import condition_aucs, condition_means
from medrob.analysis.questions import grid
from medrob.evaluation import FEWEST, resampled

OVERALL = "all"
PAIRED, INDEPENDENT = "same images", "independent"
STAGES = ("01_augment", "02_train", "04_heatmaps")  # whose parameters change the numbers that are compared
IDLE = ("run", "device", "batch_size", "export")  # but for these ("batch_size" of the training apart)
Samples = dict[tuple[str, str], np.ndarray]  # (measure, severity) -> values (1 + resamples,)


def compare_runs(
    runs: Mapping[str, Sequence[Evidence]], fingerprints: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """AUC, drop and mean drift of each run, and the difference to the first run.

    Everything is a mean over corruptions at a severity, and over the severities ("all"), of the conditions
    that all runs hold; a ValueError if there are none. The bootstrap takes the same images for all runs that
    have the same images and labels, so that differences are paired. Of repetitions the mean is given, and
    they are resampled, too; of fewer than five such an interval is too narrow.

    Args:
        runs: name -> the evidence of the run and of its repetitions, which differ in the seed alone.
        fingerprints: name -> the checksum of its data; runs in which it differs are not paired.

    Returns:
        measure ("auc", "drop", "drift"), run, severity, value, low, high, difference (of drift NaN where the
        methods differ), difference_low, difference_high, pairing ("same images", "independent"; "" for the
        first run), seeds, images, explained (images with a drift), method, layer (declared), conditions (that
        are compared), left_out (this run's others, in words).
    """
    held = {name: [set(e.moved.conditions) for e in repeated] for name, repeated in runs.items()}
    common = set.intersection(*(conditions for parts in held.values() for conditions in parts))
    if not common:
        each = "; ".join(f"{name} holds {grid(set().union(*parts))}" for name, parts in held.items())
        raise ValueError(f"the runs have no condition in common, so they cannot be compared: {each}")
    keys = pd.MultiIndex.from_tuples(sorted(common), names=CONDITION)
    seen: dict[tuple[str, bytes], int] = {}  # data -> its number
    rows: list[tuple] = []
    for g, (name, repeated) in enumerate(runs.items()):
        method, layer = repeated[0].declared_map
        fingerprint = (fingerprints or {}).get(name, "")
        numbers = [seen.setdefault((fingerprint, e.truth), len(seen)) for e in repeated]
        parts = [_samples(e, keys, method, layer, n) for e, n in zip(repeated, numbers, strict=True)]
        # The mean over the repetitions of a run, which are resampled with the images.
        shares = resampled(len(parts), repeated[0].resamples, _seed(0, g)).astype(float) / len(parts)
        found = {key: (shares * np.stack([part[key] for part in parts], 1)).sum(1) for key in parts[0]}
        if g == 0:
            first, first_method, first_data, pairing = found, method, set(numbers), ""
        else:
            pairing = PAIRED if len(set(numbers)) == 1 and set(numbers) == first_data else INDEPENDENT
        images = (repeated[0].every["predicted"].shape[1], len(repeated[0].moved.images))
        left_out = grid(set().union(*held[name]) - common)
        known = (pairing, len(repeated), *images, method, layer, len(keys), left_out)
        for (measure, severity), values in found.items():
            alike = g > 0 and (measure != "drift" or method == first_method)
            gap = values - first[measure, severity] if alike else np.full(len(values), np.nan)
            rows.append((measure, name, severity, *estimate(values), *estimate(gap), *known))
    columns = ["measure", "run", "severity", "value", "low", "high", *ends("difference"), "pairing", "seeds"]
    frame = pd.DataFrame(rows, columns=[*columns, "images", "explained", *MAP, "conditions", "left_out"])
    order = ["auc", "drop", "drift"]
    return frame.sort_values("measure", key=lambda m: m.map(order.index), kind="stable", ignore_index=True)


def repetitions(parameters: Mapping[str, Mapping[str, Mapping]]) -> dict[str, list[str]]:
    """Runs that differ in nothing but the seed of the training, together under the name of the first.

    From run -> stage -> its parameters (``Run(...).params``).
    """
    groups: dict[str, list[str]] = {}
    for run, stages in parameters.items():
        same = {stage: {k: v for k, v in stages.get(stage, {}).items() if k not in IDLE} for stage in STAGES}
        same["02_train"] |= {"batch_size": stages.get("02_train", {}).get("batch_size"), "seed": None}
        groups.setdefault(json.dumps(same, sort_keys=True), []).append(run)
    return {members[0]: members for members in groups.values()}


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _samples(evidence: Evidence, keys: pd.MultiIndex, method: str, layer: str, data: int) -> Samples:
    """The measures of a run on resamples of its images, which are the same for the same data."""
    alone = evidence.only(method, layer)
    seed = _seed(0, 1, data) if data else 0
    w = alone.drawn_of_all(evidence.resamples, seed)
    order = alone.moved.conditions.get_indexer(keys)
    aucs = condition_aucs(alone, w)
    clean, aucs = aucs[:, :1], aucs[:, 1:][:, order]
    shares = w[:, alone.place]
    shares[1:] += np.nan if alone.unit.max() + 1 < FEWEST else 0  # of all images there may be enough
    drift = condition_means(cube(alone.drift).values[0][order], shares)
    severities = keys.get_level_values("severity").to_numpy()
    found = {("auc", "clean"): clean[:, 0]}
    for measure, values in {"auc": aucs, "drop": clean - aucs, "drift": drift}.items():
        levels = {(measure, str(s)): values[:, severities == s].mean(1) for s in np.unique(severities)}
        found |= levels | {(measure, OVERALL): np.mean(list(levels.values()), axis=0)}
    return found


def ranks(
    runs: Mapping[str, Evidence], failed: Mapping[str, Collection[tuple[str, str]]] | None = None
) -> pd.DataFrame:
    """Methods in order of stability, 1 = the least mean drift over the conditions, in each run.

    Each method is taken at its deepest layer at which at most a tenth of the maps are degenerate (the last if
    none is); metric: the drift is normalised (`medrob.trust.normalised`) if all runs have that column, else
    the RMSE. Ranked are the methods that are usable in every run and repeat none of the others, same_as, with
    rank_low and rank_high. fails: it is in `failed` (name -> `medrob.analysis.failed`) of its run.
    """
    metric = "normalised" if all("normalised" in e.drift for e in runs.values()) else "rmse"
    rows, samples = [], {}
    for name, evidence in runs.items():
        moved = cube(evidence.drift, metric)
        places: dict[str, int] = {}
        flat = np.isnan(moved.values).mean((1, 2))
        for i, (method, _) in enumerate(moved.maps):  # the deepest usable map, or the last
            if method not in places or flat[i] <= USABLE or flat[places[method]] > USABLE:
                places[method] = i
        w = evidence.drawn(evidence.resamples)
        means = samples[name] = {m: condition_means(moved.values[i], w).mean(1) for m, i in places.items()}
        same = twins(evidence.drift).set_index(MAP)["same_as"].to_dict()
        for method, i in places.items():
            key, twin = moved.maps[i], same.get(moved.maps[i], "")
            if twin and moved.maps[places[twin]][1] != key[1]:  # which is taken at another layer
                twin = ""
            fails = key in (failed or {}).get(name, ())
            rows.append((name, *key, metric, *estimate(means[method]), *(np.nan,) * 3, twin, fails))
    columns = ["run", *MAP, "metric", "value", "low", "high", *ends("rank"), "same_as", "fails"]
    frame = pd.DataFrame(rows, columns=columns)
    good = frame[frame["value"].notna() & (frame["same_as"] == "")]
    count = good.groupby("method", sort=False)["run"].nunique()
    if kept := list(count.index[count == len(runs)]):  # usable in every run, and of its own
        for run, means in samples.items():
            order = rankdata(np.stack([means[m] for m in kept], 1), axis=1)
            for method, rank in zip(kept, order.T, strict=True):
                at = (frame["run"] == run) & (frame["method"] == method)
                frame.loc[at, ends("rank")] = estimate(rank)
    return frame


def agreement(ranked: pd.DataFrame) -> pd.Series:
    """Do the runs order the methods alike? w: Kendall's W of `ranks`, 0 = not at all, 1 = all alike.

    p: how often methods that change places at random, in each run on its own, agree as much (10,000 times).
    NaN with fewer than two runs or three methods.
    """
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
    """Kendall's coefficient of concordance of midranks (..., runs, methods), corrected for ties.

    Kendall & Gibbons (1990). NaN where every run ties all methods.
    """
    m, n = ranks.shape[-2:]
    spread = ((ranks.sum(-2) - m * (n + 1) / 2) ** 2).sum(-1)
    # Of untied ranks the sum of squares about the mean is (n^3 - n) / 12; ties take away their part.
    most = m * ((ranks - (n + 1) / 2) ** 2).sum((-1, -2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return spread / most
