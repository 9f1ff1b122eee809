"""The scores of every condition with intervals, the drop against clean, and the reliability diagram."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from medrob.corruptions.conditions import CLEAN
from medrob.evaluation.bootstrap import bootstrap_weights, interval
from medrob.evaluation.metrics import by_class, check_scores, overall, per_label
from medrob.evaluation.table import class_names
from medrob.progress import bar


def score(predictions: pd.DataFrame, task: str, *, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Scores of every condition, and their drop against clean, with bootstrap intervals.

    Images are resampled, the same ones for clean and corrupted (a paired bootstrap), so the
    interval of a drop is far narrower than that of a score.

    Args:
        predictions: from `predict_conditions`; must hold the condition ("clean", 0).
        task: one of `medrob.data.TASKS`.
        resamples: of the bootstrap; 0 = no intervals (NaN).
        seed: of the bootstrap.

    Returns:
        A row per condition, class and metric: corruption, severity, class ("all" or a name), metric,
        value, low, high, drop (clean value - value), drop_low, drop_high: 95 % intervals. For a class: AUC
        and F1 one-vs-rest; accuracy, the share of its images that are recognised (recall); balanced
        accuracy, the mean of that and of the share of the others that are not taken for it; Brier, its term
        of the sum; NLL, the mean over its images; ECE, how far its probability is from how often it is so
        (Kull et al. 2019). Of several labels an image: each as a decision of its own. ECE in bins is biased
        upwards on few images, and so are its resamples, more than it is: compare it between conditions of
        the same images, and read no ECE of a few hundred as a distance from 0 (Roelofs et al. 2022).

    Raises:
        ValueError: see `class_names`; no clean condition, or a condition with other images.
    """
    names = class_names(predictions, also=[] if task == "multilabel" else ["label"])
    groups = dict(iter(predictions.groupby(["corruption", "severity"], sort=False)))
    if CLEAN not in groups:
        raise ValueError("predictions lack the condition ('clean', 0), against which drops are measured")
    if not isinstance(resamples, int) or isinstance(resamples, bool) or resamples < 0:
        raise ValueError(f"resamples={resamples!r}: give a whole number, 0 = no intervals")
    n = len(groups[CLEAN])
    w = np.concatenate([np.ones((1, n), np.float32), bootstrap_weights(n, resamples, seed)])
    samples = {}
    for key in bar(sorted(groups, key=lambda k: k != CLEAN), desc="scoring", unit="condition"):
        if not np.array_equal(groups[key]["image"], groups[CLEAN]["image"]):
            raise ValueError(f"condition {key} holds other images than clean")
        samples[key] = dict(_samples(groups[key], names, task, w))
    rows = []
    for (corruption, severity), values in samples.items():
        for (name, metric), value in values.items():
            drop = samples[CLEAN][name, metric] - value
            low, high = interval(value[1:])
            drop_low, drop_high = interval(drop[1:])
            rows.append(
                (corruption, severity, name, metric, value[0], low, high, drop[0], drop_low, drop_high)
            )
    columns = [
        "corruption",
        "severity",
        "class",
        "metric",
        "value",
        "low",
        "high",
        "drop",
        "drop_low",
        "drop_high",
    ]
    return pd.DataFrame(rows, columns=columns)


def _samples(
    group: pd.DataFrame, names: tuple[str, ...], task: str, w: np.ndarray
) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """((class, metric), values (B,)) of one condition."""
    y = group["label"] if task != "multilabel" else group[[f"label_{n}" for n in names]]
    p, labels = check_scores(group[[f"p_{n}" for n in names]].to_numpy(), y.to_numpy(), task, names)
    rows = per_label(p, labels, w, task)
    for metric, value in overall(rows, task).items():
        yield ("all", metric), value
    for metric, values in by_class(rows).items():
        for k, name in enumerate(names):
            yield (name, metric), values[:, k]


def reliability(predictions: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """How often the network is right when it is so sure: a row per condition and bin of confidence.

    Returns:
        corruption, severity, confidence (mean of the bin), accuracy (share right), images.
    """
    p = predictions[[f"p_{name}" for name in class_names(predictions, also=["predicted"])]].to_numpy()
    if "label" in predictions:
        sure, right = p.max(1), (predictions["predicted"] == predictions["label"]).to_numpy(float)
    else:  # multi-label: every label of every image is a decision of its own
        sure = np.maximum(p, 1 - p).ravel()
        right = ((p > 0.5) == predictions.filter(regex="^label_").to_numpy()).astype(float).ravel()
    frame = predictions[["corruption", "severity"]]
    frame = frame.loc[frame.index.repeat(len(sure) // len(frame))].assign(
        confidence=sure, accuracy=right, bin=np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    )
    grouped = frame.groupby(["corruption", "severity", "bin"], sort=False)
    means = grouped[["confidence", "accuracy"]].mean()
    return means.assign(images=grouped.size()).reset_index().drop(columns="bin")
