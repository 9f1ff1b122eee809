"""Runs beside each other: their differences, with intervals."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from medrob.analysis.evidence import Evidence
from medrob.analysis.layout import MAP, ends, estimate
from medrob.analysis.links import condition_aucs
from medrob.evaluation import FEWEST

OVERALL = "all"
STAGES = ("01_augment", "02_train", "04_heatmaps")  # whose parameters change the numbers that are compared
IDLE = ("run", "device", "batch_size")  # but for these ("batch_size" of the training apart)
Samples = dict[tuple[str, str], np.ndarray]  # (measure, severity) -> values (1 + resamples,)


def compare_runs(runs: Mapping[str, Sequence[Evidence]], data: Mapping[str, str]) -> pd.DataFrame:
    """AUC, drop and mean drift of each run, and the difference to the first run.

    Everything is a mean over corruptions at a severity, and over the severities ("all"). Of repetitions the
    mean is given, and the interval counts how they differ (`_seeds`). The drift leaves out degenerate maps.

    Args:
        runs: name -> the evidence of the run and of its repetitions, which differ in the seed alone.
        data: name -> the checksum of its test images.

    Returns:
        measure ("auc", "drop", "drift"), run, severity, value, low, high, difference, difference_low,
        difference_high: paired, as the same images are drawn for all runs; NaN for the first run, for one
        that was tested on other images or under other conditions (not alike), and of drift where the methods
        differ; alike, seeds, method, layer (declared).
    """
    (first, known), *_ = runs.items()
    rows, before = [], Samples()
    for g, (name, repeated) in enumerate(runs.items()):
        method, layer = repeated[0].declared_map
        parts = [_samples(evidence) for evidence in repeated]
        shares = _seeds(len(parts), repeated[0].resamples, g)
        found = {key: (shares * np.stack([part[key] for part in parts], 1)).sum(1) for key in parts[0]}
        before = before or found
        alike = data[name] == data[first] and set(repeated[0].conditions) == set(known[0].conditions)
        for (measure, severity), values in found.items():
            other = measure == "drift" and method != known[0].declared_map[0]
            gap = values - before[measure, severity] if g and alike and not other else values * np.nan
            numbers = (*estimate(values), *estimate(gap), alike, len(repeated), method, layer)
            rows.append((measure, name, severity, *numbers))
    columns = ["measure", "run", "severity", "value", "low", "high", *ends("difference")]
    frame = pd.DataFrame(rows, columns=[*columns, "alike", "seeds", *MAP])
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


def _seeds(n: int, resamples: int, seed: int) -> np.ndarray:
    """Weights (1 + resamples, n) under which means of n numbers spread as Student's t about their own mean.

    Resamples of two or three repetitions spread too little: their intervals held the mean in .51 and .75.
    """
    rng, shares = np.random.default_rng(seed), np.full((1 + resamples, n), 1 / n)
    if n > 1:
        moves = rng.normal(size=(resamples, n)) / np.sqrt(n * rng.chisquare(n - 1, (resamples, 1)))
        shares[1:] += moves - moves.mean(1, keepdims=True)
    return shares


def _samples(evidence: Evidence) -> Samples:
    """The measures of a run on resamples of its images, which are the same for the same data."""
    w, severities = evidence.drawn(evidence.unit_of_all, evidence.resamples), evidence.severities
    aucs = condition_aucs(evidence, w)
    clean, aucs = aucs[:, :1], aucs[:, 1:]
    shares = w[:, evidence.place]
    shares[1:] += np.nan if evidence.unit.max() + 1 < FEWEST else 0  # of all images there may be enough
    usable = np.where(evidence.degenerate[evidence.head] == 1, np.nan, evidence.moved[evidence.head])
    known = np.isfinite(usable).T
    with np.errstate(invalid="ignore"):
        drift = (shares @ np.nan_to_num(usable).T) / (shares @ known.astype(shares.dtype))
    found = {("auc", "clean"): clean[:, 0]}
    for measure, values in {"auc": aucs, "drop": clean - aucs, "drift": drift}.items():
        levels = {(measure, str(s)): values[:, severities == s].mean(1) for s in np.unique(severities)}
        found |= levels | {(measure, OVERALL): np.mean(list(levels.values()), axis=0)}
    return found
