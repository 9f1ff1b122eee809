"""Every score as a function of image weights, so that a bootstrap is one call."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from medrob.data import TASKS

BINS = 15  # of the calibration error (Guo et al. 2017)


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
    rows = per_label(p, y, np.ones((1, len(p))), task)
    return {name: float(value[0]) for name, value in overall(rows, task).items()}


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
    others = np.flatnonzero(~positive)[np.argsort(scores[~positive], kind="stable")]
    low, high = (np.searchsorted(scores[others], scores[positive], side) for side in ("left", "right"))
    up, down = weights[:, positive], np.zeros((len(weights), len(others) + 1), weights.dtype)
    np.cumsum(weights[:, others], axis=1, out=down[:, 1:])
    below = down[:, low] if np.array_equal(low, high) else (down[:, low] + down[:, high]) / 2
    with np.errstate(invalid="ignore"):
        return (up * below).sum(1) / (up.sum(1) * down[:, -1])


def per_label(p: np.ndarray, y: np.ndarray, w: np.ndarray, task: str) -> dict[str, Any]:
    """Every score for weights w (B, N): arrays (B,) for all images and (B, K) for the classes."""
    multilabel = task == "multilabel"
    hot = y.astype(bool) if multilabel else np.eye(p.shape[1], dtype=bool)[y]
    guess = p > 0.5 if multilabel else np.eye(p.shape[1], dtype=bool)[p.argmax(1)]
    total = w.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        hits, truths, guesses = w @ (hot & guess), w @ hot, w @ guess
        recall = hits / truths
        f1 = np.where(truths + guesses > 0, 2 * hits / (truths + guesses), np.nan)
        right = np.asarray((hot == guess) if multilabel else (hot & guess).any(1))
        specificity = (w @ (~hot & ~guess)) / (w @ ~hot)
    clipped, squares = np.clip(p, 1e-12, 1), (p - hot) ** 2
    if multilabel:
        losses = -np.log(np.where(hot, clipped, np.clip(1 - p, 1e-12, 1)))
        nll, class_nll = losses.mean(1), w @ losses / total[:, None]
        class_ece = np.stack([_ece(s, c, w) for s, c in zip(np.maximum(p, 1 - p).T, right.T, strict=True)], 1)
        ece = class_ece.mean(1)
    else:
        nll = -np.log(clipped[np.arange(len(p)), y])
        with np.errstate(invalid="ignore", divide="ignore"):
            class_nll = w @ (-np.log(clipped) * hot) / truths
        class_ece = np.stack([_ece(s, h, w) for s, h in zip(p.T, hot.T, strict=True)], 1)
        ece = _ece(p.max(1), right, w)
    return {
        "auc": np.stack([auc(p[:, k], hot[:, k], w) for k in range(p.shape[1])], 1),
        "accuracy": w @ right.reshape(len(p), -1).mean(1) / total,
        "recall": recall,
        "class_accuracy": (w @ right) / total[:, None] if multilabel else recall,
        "class_balanced": (recall + specificity) / 2,
        "f1": f1,
        "ece": ece,
        "class_ece": class_ece,
        "brier": w @ squares.sum(1) / total,
        "class_brier": w @ squares / total[:, None],
        "nll": w @ nll / total,
        "class_nll": class_nll,
    }


def _ece(sure: np.ndarray, correct: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Expected calibration error of probabilities (N,) that something is so, and whether it was: (B,)."""
    bins = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = (correct - sure)[:, None] * np.eye(BINS)[bins]
    return np.abs(w @ gaps).sum(1) / w.sum(1)


def overall(rows: dict[str, Any], task: str) -> dict[str, np.ndarray]:
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


def by_class(rows: dict[str, Any]) -> dict[str, np.ndarray]:
    """The same scores for each class, (B, K) each; see `medrob.evaluation.score`."""
    return {
        "auc": rows["auc"],
        "accuracy": rows["class_accuracy"],
        "balanced_accuracy": rows["class_balanced"],
        "f1": rows["f1"],
        "ece": rows["class_ece"],
        "brier": rows["class_brier"],
        "nll": rows["class_nll"],
    }
