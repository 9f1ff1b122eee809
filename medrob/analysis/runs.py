"""Runs beside each other: differences with intervals, and which method is steadiest in each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from medrob.analysis.evidence import Evidence
from medrob.analysis.layout import CONDITION, MAP, Cube, cube, ends, estimate, held, resampled
from medrob.analysis.links import condition_aucs, condition_means
from medrob.analysis.maps import USABLE, twins
from medrob.analysis.questions import grid
from medrob.corruptions import CLEAN

MEASURES = ("auc", "drop", "drift")
OVERALL, AT_CLEAN = "all", "clean"
PAIRED, INDEPENDENT = "same images", "independent"
STAGES = ("01_augment", "02_train", "04_heatmaps")  # whose parameters change the numbers that are compared
IDLE = ("run", "device", "batch_size", "export")  # but for these ("batch_size" of the training apart)
METRICS = ("normalised", "rmse")
Samples = dict[tuple[str, str], np.ndarray]  # (measure, severity) -> values (1 + resamples,)


def compare_runs(
    runs: Mapping[str, Sequence[Evidence]], fingerprints: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """AUC, drop and mean drift of each run, and how far each is from the first run.

    Everything is a mean over corruptions at a severity, and over the severities. Runs are compared on the
    conditions that all of them hold. The bootstrap takes the same images for all runs that have the same
    images and labels, so that differences are paired; runs on other images are resampled on their own. Where
    a run was repeated with other seeds, the mean over seeds is given, and seeds are resampled, too; of fewer
    than five seeds such an interval is too narrow.

    Args:
        runs: name -> the evidence of the run and of its repetitions, which differ in the seed alone.
        fingerprints: name -> the checksum of its data in ``run.json``; runs whose differ are not paired.

    Returns:
        A row per measure ("auc", "drop", "drift"), run and severity ("clean", "1", ..., "all"): value, low,
        high, difference (less the first run's; NaN for that one), difference_low, difference_high, pairing
        ("same images" or "independent"; "" for the first run), seeds, images, explained (images with a
        drift), method, layer (declared), conditions (that are compared) and left_out (this run's others, in
        words). The difference of drift is NaN where the methods differ.

    Raises:
        ValueError: no condition that all runs hold.
    """
    of_run = {name: set().union(*(held(e.drift) for e in repeated)) for name, repeated in runs.items()}
    common = set.intersection(*(held(e.drift) for repeated in runs.values() for e in repeated))
    if not common:
        each = "; ".join(f"{name} holds {grid(conditions)}" for name, conditions in of_run.items())
        raise ValueError(f"the runs have no condition in common, so they cannot be compared: {each}")
    keys = pd.MultiIndex.from_tuples(sorted(common), names=CONDITION)
    weights = _weights(runs, fingerprints or {})
    first: tuple[Samples, str, set[int]] | None = None
    rows = []
    for g, (name, repeated) in enumerate(runs.items()):
        method, layer = repeated[0].declared_map
        samples = [_samples(e, keys, method, layer, weights[name, s][1]) for s, e in enumerate(repeated)]
        # The mean over the repetitions of a run, which are resampled with the images.
        shares = resampled(len(samples), repeated[0].resamples, _seed(0, g)).astype(float) / len(samples)
        found = {key: (shares * np.stack([s[key] for s in samples], 1)).sum(1) for key in samples[0]}
        data = {weights[name, s][0] for s in range(len(repeated))}
        if first is None:
            first, pairing = (found, method, data), ""
        else:
            pairing = PAIRED if len(data) == 1 and data == first[2] else INDEPENDENT
        images = (len(repeated[0].all_images), repeated[0].drift["image"].nunique())
        left_out = grid(of_run[name] - common)
        known = (pairing, len(repeated), *images, method, layer, len(keys), left_out)
        for (measure, severity), values in found.items():
            alike = pairing != "" and (measure != "drift" or method == first[1])
            gap = values - first[0][measure, severity] if alike else np.full(len(values), np.nan)
            rows.append((measure, name, severity, *estimate(values), *estimate(gap), *known))
    columns = ["measure", "run", "severity", "value", "low", "high", *ends("difference"), "pairing", "seeds"]
    frame = pd.DataFrame(rows, columns=[*columns, "images", "explained", *MAP, "conditions", "left_out"])
    return frame.sort_values("measure", key=lambda m: m.map(MEASURES.index), kind="stable", ignore_index=True)


def repetitions(parameters: Mapping[str, Mapping[str, Mapping]]) -> dict[str, list[str]]:
    """Runs that differ in nothing but the seed of the training, together under the name of the first.

    Args:
        parameters: run -> stage -> its parameters (``Run(...).params``).
    """
    groups: list[tuple[dict, list[str]]] = []
    for run, stages in parameters.items():
        same = {stage: {k: v for k, v in stages.get(stage, {}).items() if k not in IDLE} for stage in STAGES}
        same["02_train"] |= {"batch_size": stages.get("02_train", {}).get("batch_size"), "seed": None}
        members = next((members for known, members in groups if known == same), None)
        if members is None:
            groups.append((same, [run]))
        else:
            members.append(run)
    return {members[0]: members for _, members in groups}


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _weights(
    runs: Mapping[str, Sequence[Evidence]], fingerprints: Mapping[str, str]
) -> dict[tuple[str, int], tuple[int, np.ndarray]]:
    """For each run and repetition: which data it is, and weights (1 + resamples, images), alike if it is."""
    seen: dict[tuple, int] = {}
    found = {}
    for name, repeated in runs.items():
        for s, evidence in enumerate(repeated):
            table = evidence.predictions
            clean = table[table["corruption"] == CLEAN[0]].sort_values("image")
            truth = clean[["image", *[c for c in clean if str(c).split("_")[0] == "label"]]].to_numpy()
            data = (fingerprints.get(name, ""), truth.shape, truth.tobytes())
            number = seen.setdefault(data, len(seen))
            seed = _seed(0, 1, number) if number else 0
            found[name, s] = (number, resampled(len(clean), evidence.resamples, seed))
    return found


def _samples(evidence: Evidence, keys: pd.MultiIndex, method: str, layer: str, w: np.ndarray) -> Samples:
    alone = evidence.only(method, layer)
    order = alone.moved.conditions.get_indexer(keys)
    aucs = condition_aucs(alone, w)
    clean, aucs = aucs[:, :1], aucs[:, 1:][:, order]
    drift = condition_means(alone.moved.values[0][order], w[:, alone.place])
    severities = keys.get_level_values("severity").to_numpy()
    found = {("auc", AT_CLEAN): clean[:, 0]}
    for measure, values in {"auc": aucs, "drop": clean - aucs, "drift": drift}.items():
        levels = {(measure, str(s)): values[:, severities == s].mean(1) for s in np.unique(severities)}
        found |= levels | {(measure, OVERALL): np.mean(list(levels.values()), axis=0)}
    return found


# -- Methods in order of stability ----------------------------------------------------------------------


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
    metric = next(m for m in METRICS if all(m in evidence.drift for evidence in runs.values()))
    rows, samples = [], {}
    for name, evidence in runs.items():
        moved = cube(evidence.drift, metric)
        w = resampled(len(moved.images), evidence.resamples)
        places = _deepest(moved)
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


def _deepest(moved: Cube) -> dict[str, int]:
    """For each method the place of its deepest usable map; of its last one if none is."""
    flat = np.isnan(moved.values).mean((1, 2))
    found: dict[str, int] = {}
    for i, (method, _) in enumerate(moved.maps):
        if method not in found or flat[i] <= USABLE or flat[found[method]] > USABLE:
            found[method] = i
    return found


def agreement(ranked: pd.DataFrame) -> pd.Series:
    """Do the runs order the methods alike? Kendall's W of `ranks`, 0 = not at all, 1 = all alike.

    p: how often methods that change places at random, in each run on its own, agree as much (10,000 times).

    Returns:
        w, p, runs, methods. NaN with fewer than two runs or three methods.
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
