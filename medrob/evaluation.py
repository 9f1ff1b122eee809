"""Prediction and scores: every score is a function of image weights, so a bootstrap is one call."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from medrob.conditions import CLEAN, Condition
from medrob.conditions import apply as corrupted
from medrob.data import TASKS, ImageDataset, check_images
from medrob.models import activate, pick_device
from medrob.progress import bar

BINS = 15  # of the calibration error (Guo et al. 2017)


def predict(
    model: nn.Module, images: np.ndarray, *, batch_size: int = 256, device: str | None = None
) -> np.ndarray:
    """Class probabilities.

    Args:
        model: takes grey levels 0-255 (N, C, H, W), gives logits; its mode is given back as it was.
        images: uint8 (N, H, W, C).
        batch_size: images a pass.
        device: where to compute; None = where the model is.

    Returns:
        float32 (N, K): softmax over the classes, or a sigmoid for each label of a multi-label network.

    Raises:
        TypeError, ValueError: images of another type or shape, a batch of none, results not finite.
    """
    images = check_images(images)
    _check_batch(batch_size)
    where = pick_device(device) if device else next(model.parameters()).device
    config = getattr(model, "config", {})
    training = model.training
    outputs = []
    try:
        model.to(where).eval()
        with torch.inference_mode():
            for i in range(0, len(images), batch_size):
                x = torch.from_numpy(images[i : i + batch_size]).to(where).permute(0, 3, 1, 2)
                outputs.append(activate(model(x).float(), config.get("task", "multiclass")).cpu())
    finally:
        model.train(training)
    if not outputs:
        return np.empty((0, config.get("num_classes", 0)), np.float32)
    probabilities = torch.cat(outputs).numpy()
    if not np.isfinite(probabilities).all():
        raise ValueError("the network gives NaN or infinite outputs; its weights are damaged, train it again")
    return probabilities


def predict_conditions(
    model: nn.Module,
    dataset: ImageDataset,
    conditions: Iterable[Condition],
    *,
    seed: int = 0,
    batch_size: int = 256,
    device: str | None = None,
) -> pd.DataFrame:
    """Predict the data set under every condition, a batch at a time.

    Returns:
        A row per condition and image: image, corruption, severity, label (``label_<class>``, 0 or 1,
        if multi-label), predicted (the most probable class), ``p_<class>``...
    """
    _check_batch(batch_size)
    frames = []
    for corruption, severity in bar(list(conditions), desc="predicting", unit="condition"):
        parts = [
            predict(
                model,
                corrupted(dataset.images[rows], (corruption, severity), seed=seed, index=rows),
                batch_size=batch_size,
                device=device,
            )
            for rows in np.split(np.arange(len(dataset)), range(batch_size, len(dataset), batch_size))
        ]
        p = np.concatenate(parts)
        if dataset.labels.ndim == 1:
            truth = {"label": dataset.labels}
        else:
            truth = {f"label_{n}": y for n, y in zip(dataset.class_names, dataset.labels.T, strict=True)}
        frames.append(
            pd.DataFrame(
                {
                    "image": np.arange(len(dataset)),
                    "corruption": corruption,
                    "severity": severity,
                    **truth,
                    "predicted": p.argmax(1),
                    **{f"p_{n}": column for n, column in zip(dataset.class_names, p.T, strict=True)},
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _check_batch(size: int) -> None:
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ValueError(f"batch_size={size!r}: give a whole number of at least 1")


def metrics(probabilities: np.ndarray, labels: np.ndarray, task: str) -> dict[str, float]:
    """The scores of a prediction.

    Args:
        probabilities: (N, K), one column a class (two for a binary task).
        labels: int (N,), or (N, K) zeros and ones for a multi-label task.
        task: one of `medrob.data.TASKS`.

    Returns:
        ``{"auc", "accuracy", "balanced_accuracy", "f1", "ece", "brier", "nll"}``. AUC: of the
        positive class if binary, else the mean over classes one-vs-rest or over labels, as MedMNIST
        does (Yang et al. 2023). F1: mean over classes. ECE: 15 equal bins of the highest
        probability (of each label's, if multi-label). Brier: sum over the classes of the squared
        error. NLL in nats. A score that needs a class of which there is no image is NaN, with a warning.

    Raises:
        ValueError, TypeError: shapes that do not fit, probabilities that are not finite or not in 0-1.
    """
    p, y = check_scores(probabilities, labels, task)
    rows = _per_label(p, y, np.ones((1, len(p))), task)
    return {name: float(value[0]) for name, value in _overall(rows, task).items()}


def check_scores(
    probabilities: np.ndarray, labels: np.ndarray, task: str, names: tuple[str, ...] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels, if they fit each other and the task; see `metrics`.

    A class that cannot be judged is warned of by its number, or its name if `names` are given.
    """
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels)
    if task not in TASKS:
        raise ValueError(f"task={task!r} is unknown; the tasks are {', '.join(TASKS)}")
    if p.ndim != 2 or not len(p) or not p.shape[1]:
        raise ValueError(f"probabilities have shape {p.shape}; give (N, classes) of at least one image")
    if task == "binary" and p.shape[1] != 2:
        raise ValueError(f"a binary task needs two columns of probabilities, got {p.shape[1]}")
    if y.shape != (p.shape if task == "multilabel" else p.shape[:1]):
        raise ValueError(f"labels have shape {y.shape}, probabilities {p.shape}, task {task!r}")
    if y.dtype.kind not in "iub":
        raise TypeError(f"labels are {y.dtype}; give class numbers as integers")
    if not np.isfinite(p).all() or p.min() < -1e-6 or p.max() > 1 + 1e-6:
        raise ValueError("probabilities must be finite and in 0-1; got NaN, infinity or logits")
    highest = 1 if task == "multilabel" else p.shape[1] - 1
    if not 0 <= y.min() <= y.max() <= highest:
        raise ValueError(f"labels run from {y.min()} to {y.max()}; allowed are 0 to {highest}")
    hot = y.astype(bool) if task == "multilabel" else np.eye(p.shape[1], dtype=bool)[y]
    positives = hot.sum(0)
    alone = np.flatnonzero((positives == 0) | (positives == len(p)))
    if alone.size:
        which = ", ".join(names[k] if names else str(k) for k in alone)
        warnings.warn(
            f"class {which}: no image with it or none without it; its AUC is NaN",
            stacklevel=3,
        )
    return p, y


def auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve for many weightings of the images at once; ties count half.

    Args:
        scores: (N,). positive: bool (N,). weights: (B, N), 0 or more.

    Returns:
        (B,); NaN where the positives or the negatives weigh nothing (Hanley & McNeil 1982, weighted).
    """
    order = np.argsort(scores, kind="stable")
    first = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    weights, positive = weights[:, order], positive[order]
    up = np.add.reduceat(weights * positive, first, axis=1)
    down = np.add.reduceat(weights * ~positive, first, axis=1)
    below = np.cumsum(down, axis=1) - down / 2
    with np.errstate(invalid="ignore"):
        return (up * below).sum(1) / (up.sum(1) * down.sum(1))


def _per_label(p: np.ndarray, y: np.ndarray, w: np.ndarray, task: str) -> dict[str, Any]:
    """Every score for weights w (B, N): arrays (B,) for all images and (B, K) for the classes."""
    multilabel = task == "multilabel"
    hot = y.astype(bool) if multilabel else np.eye(p.shape[1], dtype=bool)[y]
    guess = p > 0.5 if multilabel else np.eye(p.shape[1], dtype=bool)[p.argmax(1)]
    total = w.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        hits, truths, guesses = w @ (hot & guess), w @ hot, w @ guess
        recall = hits / truths
        f1 = np.where(truths + guesses > 0, 2 * hits / (truths + guesses), np.nan)
        right = (hot == guess) if multilabel else (hot & guess).any(1)
        specificity = (w @ (~hot & ~guess)) / (w @ ~hot)
    clipped = np.clip(p, 1e-12, 1)
    if multilabel:
        nll = -np.log(np.where(hot, clipped, np.clip(1 - p, 1e-12, 1))).mean(1)
        sure, correct = np.maximum(p, 1 - p), right
    else:
        nll = -np.log(clipped[np.arange(len(p)), y])
        sure, correct = p.max(1), right
    return {
        "auc": np.stack([auc(p[:, k], hot[:, k], w) for k in range(p.shape[1])], 1),
        "accuracy": w @ right.reshape(len(p), -1).mean(1) / total,
        "recall": recall,
        "class_accuracy": (w @ right) / total[:, None] if multilabel else recall,
        "class_balanced": (recall + specificity) / 2,
        "f1": f1,
        "ece": _ece(sure, np.asarray(correct), w),
        "brier": w @ ((p - hot) ** 2).sum(1) / total,
        "nll": w @ nll / total,
    }


def _ece(sure: np.ndarray, correct: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Expected calibration error of (N,), or of the mean over the labels of (N, L): (B,)."""
    if sure.ndim == 2:
        return np.mean([_ece(s, c, w) for s, c in zip(sure.T, correct.T, strict=True)], axis=0)
    bins = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = (correct - sure)[:, None] * np.eye(BINS)[bins]
    return np.abs(w @ gaps).sum(1) / w.sum(1)


def _overall(rows: dict[str, Any], task: str) -> dict[str, np.ndarray]:
    """The scores over all classes, (B,) each, in the order in which they are shown."""
    balanced = rows["class_balanced"] if task == "multilabel" else rows["recall"]
    return {
        "auc": rows["auc"][:, 1] if task == "binary" else rows["auc"].mean(1),
        "accuracy": rows["accuracy"],
        "balanced_accuracy": balanced.mean(1),
        "f1": rows["f1"].mean(1),
        "ece": rows["ece"],
        "brier": rows["brier"],
        "nll": rows["nll"],
    }


def bootstrap_weights(n: int, resamples: int, seed: int = 0) -> np.ndarray:
    """How often each of n images stands in each resample: float32 (resamples, n), rows sum to n."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    return np.bincount(rows.ravel(), minlength=n * resamples).reshape(resamples, n).astype(np.float32)


def interval(samples: np.ndarray) -> tuple[float, float]:
    """The central 95 % of samples (percentile bootstrap, Efron 1979); NaN if none is finite."""
    kept = samples[np.isfinite(samples)]
    if not kept.size:
        return float("nan"), float("nan")
    low, high = np.quantile(kept, [0.025, 0.975])
    return float(low), float(high)


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
        value, low, high, drop (clean value - value), drop_low, drop_high: 95 % intervals. For a class,
        "auc" is one-vs-rest and "accuracy" the share of its images that are recognised (recall).
    """
    names = tuple(c.removeprefix("p_") for c in predictions if str(c).startswith("p_"))
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
    rows = _per_label(p, labels, w, task)
    for metric, value in _overall(rows, task).items():
        yield ("all", metric), value
    for k, name in enumerate(names):
        yield (name, "auc"), rows["auc"][:, k]
        yield (name, "accuracy"), rows["class_accuracy"][:, k]


def reliability(predictions: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """How often the network is right when it is so sure: a row per condition and bin of confidence.

    Returns:
        corruption, severity, confidence (mean of the bin), accuracy (share right), images.
    """
    p = predictions.filter(regex="^p_").to_numpy()
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
