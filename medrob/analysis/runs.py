"""Runs beside each other: differences with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from medrob.analysis.association import condition_aucs, condition_means
from medrob.analysis.evidence import Evidence
from medrob.analysis.layout import CONDITION, MAP, ends, estimate, held, resampled
from medrob.analysis.questions import grid
from medrob.corruptions import CLEAN

MEASURES = ("auc", "drop", "drift")
OVERALL, AT_CLEAN = "all", "clean"
PAIRED, INDEPENDENT = "same images", "independent"
STAGES = ("01_augment", "02_train", "04_heatmaps")  # whose parameters change the numbers that are compared
IDLE = ("run", "device", "batch_size", "export")  # but for these ("batch_size" of the training apart)
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
        fingerprints: name -> a text that says which data it was, such as the checksum in ``run.json``; runs
            whose texts differ are not paired.

    Returns:
        A row per measure ("auc", "drop", "drift"), run and severity ("clean", "1", ..., "all"): value, low,
        high, difference (less the first run's; NaN for that one), difference_low, difference_high, pairing
        ("same images" or "independent"; "" for the first run), seeds, images, explained (images with a
        drift), method, layer (declared), conditions (that are compared) and left_out (this run's others, in
        words). The difference of drift is NaN where the methods differ.

    Raises:
        ValueError: no runs, or no condition that all runs hold.
    """
    keys, left_out = _shared(runs)
    weights = _weights(runs, fingerprints or {})
    first: tuple[Samples, str, set[int]] | None = None
    rows = []
    for g, (name, repeated) in enumerate(runs.items()):
        method, layer = (repeated[0].declared[part] for part in MAP)
        samples = [_samples(e, keys, method, layer, weights[name, s][1]) for s, e in enumerate(repeated)]
        found = _over_seeds(samples, _seed(repeated[0].seed, g))
        data = {weights[name, s][0] for s in range(len(repeated))}
        if first is None:
            first, pairing = (found, method, data), ""
        else:
            pairing = PAIRED if len(data) == 1 and data == first[2] else INDEPENDENT
        images = (len(repeated[0].all_images), repeated[0].drift["image"].nunique())
        known = (pairing, len(repeated), *images, method, layer, len(keys), left_out[name])
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
    groups: dict[str, tuple[dict, list[str]]] = {}
    for run, stages in parameters.items():
        same = {stage: {k: v for k, v in stages.get(stage, {}).items() if k not in IDLE} for stage in STAGES}
        same["02_train"] |= {"batch_size": stages.get("02_train", {}).get("batch_size"), "seed": None}
        members = next((members for known, members in groups.values() if known == same), None)
        if members is None:
            groups[run] = (same, [run])
        else:
            members.append(run)
    return {name: members for name, (_, members) in groups.items()}


def _shared(runs: Mapping[str, Sequence[Evidence]]) -> tuple[pd.MultiIndex, dict[str, str]]:
    """The conditions that every run holds, and in words what each run holds besides."""
    if not runs:
        raise ValueError("there are no runs to compare; give at least one")
    sets = {name: [held(evidence.drift) for evidence in repeated] for name, repeated in runs.items()}
    common = set.intersection(*(keys for parts in sets.values() for keys in parts))
    if not common:
        each = "; ".join(f"{name} holds {grid(set.union(*parts))}" for name, parts in sets.items())
        raise ValueError(f"the runs have no condition in common, so they cannot be compared: {each}")
    left_out = {name: grid(set.union(*parts) - common) for name, parts in sets.items()}
    return pd.MultiIndex.from_tuples(sorted(common), names=CONDITION), left_out


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
            seed = _seed(evidence.seed, 1, number) if number else evidence.seed
            found[name, s] = (number, resampled(len(clean), evidence.resamples, seed))
    return found


def _samples(evidence: Evidence, keys: pd.MultiIndex, method: str, layer: str, w: np.ndarray) -> Samples:
    alone = evidence.only(method=method).only(layer=layer)
    moved, order = alone.moved, alone.moved.conditions.get_indexer(keys)
    aucs = condition_aucs(alone, w)
    clean, aucs = aucs[:, :1], aucs[:, 1:][:, order]
    explained = w[:, np.searchsorted(alone.all_images, moved.images)]
    parts = {"auc": aucs, "drop": clean - aucs, "drift": condition_means(moved.values[0][order], explained)}
    severities = keys.get_level_values("severity").to_numpy()
    found = {("auc", AT_CLEAN): clean[:, 0]}
    for measure, values in parts.items():
        levels = {(measure, str(s)): values[:, severities == s].mean(1) for s in np.unique(severities)}
        found |= levels | {(measure, OVERALL): np.mean(list(levels.values()), axis=0)}
    return found


def _over_seeds(samples: list[Samples], seed: int) -> Samples:
    """The mean over the repetitions of a run, which are resampled with the images."""
    count, resamples = len(samples), len(next(iter(samples[0].values()))) - 1
    v = resampled(count, resamples, seed).astype(float) / count
    return {key: (v * np.stack([sample[key] for sample in samples], 1)).sum(1) for key in samples[0]}
