"""Runs beside each other: their differences, with intervals."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from medrob.analysis.evidence import Evidence
from medrob.analysis.layout import CONDITION, MAP, ends, estimate
from medrob.analysis.links import condition_aucs
from medrob.analysis.questions import grid
from medrob.evaluation import FEWEST, resampled

OVERALL = "all"
PAIRED, INDEPENDENT = "same images", "independent"
STAGES = ("01_augment", "02_train", "04_heatmaps")  # whose parameters change the numbers that are compared
IDLE = ("run", "device", "batch_size")  # but for these ("batch_size" of the training apart)
Samples = dict[tuple[str, str], np.ndarray]  # (measure, severity) -> values (1 + resamples,)


def compare_runs(runs: Mapping[str, Sequence[Evidence]], data: Mapping[str, str]) -> pd.DataFrame:
    """AUC, drop and mean drift of each run, and the difference to the first run.

    Everything is a mean over corruptions at a severity, and over the severities ("all"), of the conditions
    that all runs hold; a ValueError if there are none. Of repetitions the mean is given, and they are
    resampled, too; of fewer than five such an interval is too narrow. The drift leaves out degenerate maps.

    Args:
        runs: name -> the evidence of the run and of its repetitions, which differ in the seed alone.
        data: name -> the checksum of its test images. The bootstrap takes the same images for all runs that
            have the same ones, so that differences are paired.

    Returns:
        measure ("auc", "drop", "drift"), run, severity, value, low, high, difference (of drift NaN where the
        methods differ), difference_low, difference_high, pairing ("same images", "independent"; "" for the
        first run), seeds, method, layer (declared), left_out (conditions that not all have, in words).
    """
    held = {name: [set(e.conditions) for e in repeated] for name, repeated in runs.items()}
    common = set.intersection(*(conditions for parts in held.values() for conditions in parts))
    if not common:
        each = "; ".join(f"{name} holds {grid(set().union(*parts))}" for name, parts in held.items())
        raise ValueError(f"the runs have no condition in common, so they cannot be compared: {each}")
    keys = pd.MultiIndex.from_tuples(sorted(common), names=CONDITION)
    sets = list(dict.fromkeys(data[name] for name in runs))
    rows: list[tuple] = []
    for g, (name, repeated) in enumerate(runs.items()):
        method, layer = repeated[0].declared_map
        parts = [_samples(evidence, keys, sets.index(data[name])) for evidence in repeated]
        # The mean over the repetitions of a run, which are resampled with the images.
        shares = resampled(len(parts), repeated[0].resamples, _seed(0, g)).astype(float) / len(parts)
        found = {key: (shares * np.stack([part[key] for part in parts], 1)).sum(1) for key in parts[0]}
        if g == 0:
            first, first_method = found, method
        pairing = "" if g == 0 else PAIRED if data[name] == sets[0] else INDEPENDENT
        known = (pairing, len(repeated), method, layer, grid(set().union(*held[name]) - common))
        for (measure, severity), values in found.items():
            alike = g > 0 and (measure != "drift" or method == first_method)
            gap = values - first[measure, severity] if alike else np.full(len(values), np.nan)
            rows.append((measure, name, severity, *estimate(values), *estimate(gap), *known))
    columns = ["measure", "run", "severity", "value", "low", "high", *ends("difference"), "pairing", "seeds"]
    frame = pd.DataFrame(rows, columns=[*columns, *MAP, "left_out"])
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


def _samples(evidence: Evidence, keys: pd.MultiIndex, data: int) -> Samples:
    """The measures of a run on resamples of its images, which are the same for the same data."""
    w = evidence.drawn(evidence.unit_of_all, evidence.resamples, _seed(0, 1, data) if data else 0)
    order = evidence.conditions.get_indexer(keys)
    aucs = condition_aucs(evidence, w)
    clean, aucs = aucs[:, :1], aucs[:, 1:][:, order]
    shares = w[:, evidence.place]
    shares[1:] += np.nan if evidence.unit.max() + 1 < FEWEST else 0  # of all images there may be enough
    usable = np.where(evidence.vanished[evidence.head] == 1, np.nan, evidence.moved[evidence.head])
    known = np.isfinite(usable[order]).T
    with np.errstate(invalid="ignore"):
        drift = (shares @ np.nan_to_num(usable[order]).T) / (shares @ known.astype(shares.dtype))
    severities = keys.get_level_values("severity").to_numpy()
    found = {("auc", "clean"): clean[:, 0]}
    for measure, values in {"auc": aucs, "drop": clean - aucs, "drift": drift}.items():
        levels = {(measure, str(s)): values[:, severities == s].mean(1) for s in np.unique(severities)}
        found |= levels | {(measure, OVERALL): np.mean(list(levels.values()), axis=0)}
    return found
