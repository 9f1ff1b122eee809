"""The scores of every condition with intervals, the drop against clean, and the reliability diagram."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob.check import check_integer
from medrob.corruptions import CLEAN
from medrob.evaluation.bootstrap import interval, value_and_resamples
from medrob.evaluation.metrics import check_scores, evaluate
from medrob.evaluation.predictions import class_names
from medrob.progress import bar

KEYS, ENDS = ["corruption", "severity", "class", "metric"], ["value", "low", "high"]
DECILES = 10  # bins of the reliability diagram


def score(predictions: pd.DataFrame, task: str, *, resamples: int = 2000) -> pd.DataFrame:
    """Scores of every condition, and their drop against clean, with bootstrap intervals.

    Images are resampled, the same ones for clean and corrupted (a paired bootstrap), so the
    interval of a drop is far narrower than that of a score.

    Args:
        predictions: from `predict_conditions`; must hold the condition ("clean", 0).
        task: one of `medrob.data.TASKS`.
        resamples: of the bootstrap; 0 = no intervals (NaN).

    Returns:
        A row per condition, class and metric of `METRICS`: corruption, severity, class ("all" or a name; one
        label of several is a decision of its own), metric, value, low, high, drop (clean value - value),
        drop_low, drop_high: 95 % intervals. ECE in bins is biased upwards on few images, and its resamples
        even more: compare it between conditions of the same images, and do not read an ECE of a few hundred
        images as a distance from 0 (Roelofs et al. 2022).

    Raises:
        ValueError: see `class_names`; no clean condition, or a condition with other images.
    """
    names = class_names(predictions, also=[] if task == "multilabel" else ["label"])
    groups = dict(iter(predictions.groupby(["corruption", "severity"], sort=False)))
    if CLEAN not in groups:
        raise ValueError("predictions lack the condition ('clean', 0), against which drops are measured")
    w = value_and_resamples(len(groups[CLEAN]), check_integer("resamples", resamples, 0))
    samples = {}
    for key in bar(sorted(groups, key=lambda k: k != CLEAN), desc="scoring", unit="condition"):
        if not np.array_equal(groups[key]["image"], groups[CLEAN]["image"]):
            raise ValueError(f"condition {key} holds other images than clean")
        samples[key] = _samples(groups[key], names, task, w)
    rows = []
    for condition, values in samples.items():
        for key, value in values.items():
            drop = samples[CLEAN][key] - value
            numbers = (value[0], *interval(value[1:]), drop[0], *interval(drop[1:]))
            rows.append((*condition, *key, *numbers))
    return pd.DataFrame(rows, columns=[*KEYS, *ENDS, "drop", "drop_low", "drop_high"])


def _samples(
    group: pd.DataFrame, names: tuple[str, ...], task: str, w: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """The scores (B,) of one condition by class and metric."""
    y = group["label"] if task != "multilabel" else group[[f"label_{n}" for n in names]]
    p, labels = check_scores(group[[f"p_{n}" for n in names]].to_numpy(), y.to_numpy(), task, names)
    scores = evaluate(p, labels, w, task)
    overall = {("all", metric): value for metric, (value, _) in scores.items()}
    return overall | {
        (name, metric): each[:, k] for metric, (_, each) in scores.items() for k, name in enumerate(names)
    }


def reliability(predictions: pd.DataFrame) -> pd.DataFrame:
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
        confidence=sure, accuracy=right, bin=np.clip(np.ceil(sure * DECILES).astype(int) - 1, 0, DECILES - 1)
    )
    grouped = frame.groupby(["corruption", "severity", "bin"], sort=False)
    means = grouped[["confidence", "accuracy"]].mean()
    return means.assign(images=grouped.size()).reset_index().drop(columns="bin")
