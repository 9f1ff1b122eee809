"""Runs beside each other: differences with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import pandas as pd

from medrob.analysis.associations import condition_aucs, condition_means
from medrob.analysis.maps import headline
from medrob.analysis.tables import CONDITION, MAP, cube, grid, require_map
from medrob.check import require
from medrob.corruptions.conditions import CLEAN
from medrob.evaluation import bootstrap_weights, interval

Tables = tuple[pd.DataFrame, pd.DataFrame]
MEASURES = ("auc", "drop", "drift")
OVERALL, AT_CLEAN = "all", "clean"
PAIRED, INDEPENDENT = "same images", "independent"
STAGES = ("01_augment", "02_train", "04_heatmaps")  # whose parameters change the numbers that are compared
IDLE = ("run", "device", "batch_size", "export")  # but for these ("batch_size" of the training apart)
COLUMNS = [
    "measure", "run", "severity", "value", "low", "high", "difference", "difference_low", "difference_high",
    "pairing", "seeds", "images", "explained", *MAP, "conditions", "left_out",
]  # fmt: skip


def compare_runs(
    runs: Mapping[str, Tables | Sequence[Tables]],
    *,
    fingerprints: Mapping[str, str] | None = None,
    metric: str = "rmse",
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """AUC, drop and mean drift of each run, and how far each is from the first run.

    Everything is a mean over corruptions at a severity, and over the severities. Runs are compared on the
    conditions that all of them hold. The bootstrap takes the same images for all runs that have the same
    images and labels, so that differences are paired; runs on other images are resampled on their own. Where
    a run was repeated with other seeds, the mean over seeds is given, and seeds are resampled, too; of fewer
    than five seeds such an interval is too narrow.

    Args:
        runs: name -> (predictions, drift), or a list of such pairs that differ in the seed alone.
        fingerprints: name -> a text that says which data it was, such as the checksum in ``run.json``; runs
            whose texts differ are not paired.
        metric: the column of the drift; it is taken at the `headline` of each run.
        resamples, seed: of the bootstrap.

    Returns:
        A row per measure ("auc", "drop", "drift"), run and severity ("clean", "1", ..., "all"): value, low,
        high, difference (less the first run's; NaN for that one), difference_low, difference_high, pairing
        ("same images" or "independent"; "" for the first run), seeds, images, explained (images with a
        drift), method, layer, conditions (that are compared) and left_out (this run's others, in words). The
        difference of drift is NaN where the methods differ; where the layers do, `medrob.words.runs` says so.

    Raises:
        ValueError: no runs, a table without a column, no condition that all runs hold.
    """
    groups = {name: _listed(name, given) for name, given in runs.items()}
    keys, left_out = _shared(groups)
    weights = _weights(groups, fingerprints or {}, resamples, seed)
    first: tuple[dict[tuple[str, str], np.ndarray], tuple[str, str], set[int]] | None = None
    rows = []
    for g, (name, tables) in enumerate(groups.items()):
        at = headline(tables[0][1])
        known = dict(zip(MAP, at, strict=True), conditions=len(keys), left_out=left_out[name])
        counts = [t["image"].nunique() for t in tables[0]]
        found = _over_seeds(
            [_samples(t, keys, at, metric, weights[name, s][1]) for s, t in enumerate(tables)],
            int(np.random.SeedSequence([seed, g]).generate_state(1)[0]),
        )
        data = {weights[name, s][0] for s in range(len(tables))}
        if first is None:
            first, pairing = (found, at, data), ""
        else:
            pairing = PAIRED if len(data) == 1 and data == first[2] else INDEPENDENT
        for (measure, severity), values in found.items():
            alike = pairing != "" and (measure != "drift" or at[0] == first[1][0])
            gap = values - first[0][measure, severity] if alike else np.full(len(values), np.nan)
            numbers = (values[0], *interval(values[1:]), gap[0], *interval(gap[1:]))
            rows.append((measure, name, severity, *numbers, pairing, len(tables), *counts, *known.values()))
    frame = pd.DataFrame(rows, columns=COLUMNS)
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
        found = next((members for known, members in groups.values() if known == same), None)
        if found is None:
            groups[run] = (same, [run])
        else:
            found.append(run)
    return {name: members for name, (_, members) in groups.items()}


def _listed(name: str, given: Tables | Sequence[Tables]) -> list[Tables]:
    """The pairs of tables of a run, checked."""
    alone = len(given) == 2 and isinstance(given[0], pd.DataFrame)
    pairs = cast("list[Tables]", [given] if alone else list(given))
    if not pairs:
        raise ValueError(f"run {name!r} has no tables; give (predictions, drift) or a list of such pairs")
    for predictions, drift in pairs:
        require(predictions, ["image", *CONDITION, "predicted"], f"predictions of run {name!r}")
        require(drift, ["image", *CONDITION, *MAP, "degenerate"], f"drift of run {name!r}")
    return pairs


def _shared(groups: Mapping[str, list[Tables]]) -> tuple[pd.MultiIndex, dict[str, str]]:
    """The conditions that every run holds, and in words what each run holds besides."""
    if not groups:
        raise ValueError("there are no runs to compare; give at least one")
    held = {
        name: [
            set(drift[CONDITION].drop_duplicates().itertuples(index=False, name=None)) for _, drift in tables
        ]
        for name, tables in groups.items()
    }
    common = set.intersection(*(keys for sets in held.values() for keys in sets))
    if not common:
        told = "; ".join(f"{name} holds {grid(set.union(*sets))}" for name, sets in held.items())
        raise ValueError(f"the runs have no condition in common, so they cannot be compared: {told}")
    left_out = {name: grid(set.union(*sets) - common) for name, sets in held.items()}
    return pd.MultiIndex.from_tuples(sorted(common), names=CONDITION), left_out


def _weights(
    groups: Mapping[str, list[Tables]], fingerprints: Mapping[str, str], resamples: int, seed: int
) -> dict[tuple[str, int], tuple[int, np.ndarray]]:
    """For each run and repetition: which data it is, and weights (1 + resamples, images), alike if it is."""
    seen: dict[tuple, int] = {}
    found = {}
    for name, tables in groups.items():
        for s, (predictions, _) in enumerate(tables):
            clean = predictions[predictions["corruption"] == CLEAN[0]].sort_values("image")
            truth = clean[["image", *[c for c in clean if str(c).split("_")[0] == "label"]]].to_numpy()
            data = (fingerprints.get(name, ""), truth.shape, truth.tobytes())
            number = seen.setdefault(data, len(seen))
            own = seed if number == 0 else int(np.random.SeedSequence([seed, 1, number]).generate_state(1)[0])
            n = len(clean)
            w = np.concatenate([np.ones((1, n), np.float32), bootstrap_weights(n, resamples, own)])
            found[name, s] = (number, w)
    return found


def _samples(
    tables: Tables, keys: pd.MultiIndex, at: tuple[str, str], metric: str, w: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """(measure, severity) -> values (1 + resamples,) of one run."""
    predictions, drift = tables
    require_map(drift, *at, "drift")
    images = np.unique(predictions["image"])
    aucs = condition_aucs(predictions, keys, images, w)
    rows = drift[(drift["method"] == at[0]) & (drift["layer"] == at[1])]
    moved = cube(rows, metric)
    order = moved.conditions.get_indexer(keys)
    means = condition_means(moved.of(*at)[order], w[:, np.searchsorted(images, moved.images)])
    found = {("auc", AT_CLEAN): aucs[:, 0]}
    severities = keys.get_level_values("severity").to_numpy()
    parts = {"auc": aucs[:, 1:], "drop": aucs[:, :1] - aucs[:, 1:], "drift": means}
    for measure, values in parts.items():
        levels = {str(s): values[:, severities == s].mean(1) for s in np.unique(severities)}
        found |= {(measure, s): value for s, value in levels.items()}
        found[measure, OVERALL] = np.mean(list(levels.values()), axis=0)
    return found


def _over_seeds(
    samples: list[dict[tuple[str, str], np.ndarray]], seed: int
) -> dict[tuple[str, str], np.ndarray]:
    """The mean over the repetitions of a run, which are resampled with the images."""
    count = len(samples)
    resamples = len(next(iter(samples[0].values()))) - 1
    v = np.concatenate([np.ones((1, count)), bootstrap_weights(count, resamples, seed)]) / count
    return {key: (v * np.stack([one[key] for one in samples], 1)).sum(1) for key in samples[0]}
