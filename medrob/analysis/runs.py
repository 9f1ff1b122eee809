"""Runs beside each other: their differences, with intervals."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from medrob.analysis.evidence import Evidence
from medrob.analysis.layout import CONDITION, MAP, ends, estimate
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
    held = {name: [set(e.conditions) for e in repeated] for name, repeated in runs.items()}
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
        parts = [_samples(e, keys, number) for e, number in zip(repeated, numbers, strict=True)]
        # The mean over the repetitions of a run, which are resampled with the images.
        shares = resampled(len(parts), repeated[0].resamples, _seed(0, g)).astype(float) / len(parts)
        found = {key: (shares * np.stack([part[key] for part in parts], 1)).sum(1) for key in parts[0]}
        if g == 0:
            first, first_method, first_data, pairing = found, method, set(numbers), ""
        else:
            pairing = PAIRED if len(set(numbers)) == 1 and set(numbers) == first_data else INDEPENDENT
        images = (len(repeated[0].unit_of_all), len(repeated[0].images))
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


def _samples(evidence: Evidence, keys: pd.MultiIndex, data: int) -> Samples:
    """The measures of a run on resamples of its images, which are the same for the same data."""
    w = evidence.drawn_of_all(evidence.resamples, _seed(0, 1, data) if data else 0)
    order = evidence.conditions.get_indexer(keys)
    aucs = condition_aucs(evidence, w)
    clean, aucs = aucs[:, :1], aucs[:, 1:][:, order]
    shares = w[:, evidence.place]
    shares[1:] += np.nan if evidence.unit.max() + 1 < FEWEST else 0  # of all images there may be enough
    usable = np.where(evidence.vanished[evidence.head] == 1, np.nan, evidence.moved[evidence.head])
    drift = condition_means(usable[order], shares)
    severities = keys.get_level_values("severity").to_numpy()
    found = {("auc", "clean"): clean[:, 0]}
    for measure, values in {"auc": aucs, "drop": clean - aucs, "drift": drift}.items():
        levels = {(measure, str(s)): values[:, severities == s].mean(1) for s in np.unique(severities)}
        found |= levels | {(measure, OVERALL): np.mean(list(levels.values()), axis=0)}
    return found
