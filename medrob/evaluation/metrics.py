"""Every score as a function of image weights, so that a bootstrap of thousands of resamples is one call.

To add a score, write a function with `@metric`: it appears in every table. scikit-learn knows most of these
scores, too, but takes one weighting of the images at a time; the tests compare the two.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cached_property

import numpy as np

from medrob.data import TASKS
from medrob.evaluation.bootstrap import auc as weighted_auc

BINS = 15  # of the calibration error (Guo et al. 2017)

Values = tuple[np.ndarray, np.ndarray]  # over all classes (B,), and for each class (B, K)


class Judged:
    """Predictions of N images under B weightings of them, and the counts from which scores are made.

    Attributes:
        p: float64 (N, K). y: int (N,), or (N, K) if multi-label. w: (B, N), 0 or more.
        hot, guess: bool (N, K), the classes that an image has, and those that the network gives it.
    """

    def __init__(self, p: np.ndarray, y: np.ndarray, w: np.ndarray, task: str) -> None:
        self.p, self.y, self.w, self.task = p, y, w, task
        self.multilabel = task == "multilabel"
        classes = np.eye(p.shape[1], dtype=bool)
        self.hot = y.astype(bool) if self.multilabel else classes[y]
        self.guess = p > 0.5 if self.multilabel else classes[p.argmax(1)]

    @cached_property
    def total(self) -> np.ndarray:
        """(B,): the weight of all images."""
        return self.w.sum(1)

    @cached_property
    def right(self) -> np.ndarray:
        """Bool: whether an image is recognised (N,), or each of its labels (N, K)."""
        return np.asarray(self.hot == self.guess if self.multilabel else (self.hot & self.guess).any(1))

    @cached_property
    def hits(self) -> np.ndarray:
        """(B, K): the weight of the images of a class that are recognised."""
        return self.w @ (self.hot & self.guess)

    @cached_property
    def truths(self) -> np.ndarray:
        """(B, K): the weight of the images of a class."""
        return self.w @ self.hot

    @cached_property
    def recall(self) -> np.ndarray:
        """(B, K): NaN for a class without images."""
        return self.hits / self.truths


METRICS: dict[str, Callable[[Judged], Values]] = {}  # in the order in which they are shown


def metric(function: Callable[[Judged], Values]) -> Callable[[Judged], Values]:
    """Register a score under the name of its function."""
    METRICS[function.__name__] = function
    return function


def metrics(probabilities: np.ndarray, labels: np.ndarray, task: str) -> dict[str, float]:
    """The scores of a prediction.

    Args:
        probabilities: (N, K), one column a class (two for a binary task).
        labels: int (N,), or (N, K) zeros and ones for a multi-label task.
        task: one of `medrob.data.TASKS`.

    Returns:
        A value for each of `METRICS`. A score that needs a class of which there is no image is NaN, with
        a warning.

    Raises:
        ValueError: shapes that do not fit, probabilities that are not finite or not in 0-1.
    """
    p, y = check_scores(probabilities, labels, task)
    return {name: float(value[0]) for name, (value, _) in evaluate(p, y, np.ones((1, len(p))), task).items()}


def evaluate(p: np.ndarray, y: np.ndarray, w: np.ndarray, task: str) -> dict[str, Values]:
    """Every score, over all classes and for each, under the weightings w (B, N) of the images."""
    judged = Judged(p, y, w, task)
    with np.errstate(invalid="ignore", divide="ignore"):  # a class without images: 0 / 0 = NaN
        return {name: function(judged) for name, function in METRICS.items()}


@metric
def auc(j: Judged) -> Values:
    """Of the positive class if binary, else the mean over classes one-vs-rest or over labels.

    As MedMNIST does (Yang et al. 2023).
    """
    each = np.stack([weighted_auc(q, hot, j.w) for q, hot in zip(j.p.T, j.hot.T, strict=True)], 1)
    return each[:, 1] if j.task == "binary" else each.mean(1), each


@metric
def accuracy(j: Judged) -> Values:
    """For a class: the share of its images that are recognised (recall)."""
    overall = j.w @ j.right.reshape(len(j.p), -1).mean(1) / j.total
    return overall, (j.w @ j.right) / j.total[:, None] if j.multilabel else j.recall


@metric
def balanced_accuracy(j: Judged) -> Values:
    """Mean recall; for a class the mean of its recall and of the share of the others not taken for it."""
    specificity = (j.w @ (~j.hot & ~j.guess)) / (j.w @ ~j.hot)
    each = (j.recall + specificity) / 2
    return (each if j.multilabel else j.recall).mean(1), each


@metric
def f1(j: Judged) -> Values:
    """Mean over the classes."""
    guesses = j.w @ j.guess
    each = np.where(j.truths + guesses > 0, 2 * j.hits / (j.truths + guesses), np.nan)
    return each.mean(1), each


@metric
def ece(j: Judged) -> Values:
    """Expected calibration error, in `BINS` equal bins of the highest probability (of each label's).

    For a class: how far its probability is from how often it is so (Kull et al. 2019).
    """
    if j.multilabel:
        sure = np.maximum(j.p, 1 - j.p)
        each = np.stack([_gaps(s, right, j.w) for s, right in zip(sure.T, j.right.T, strict=True)], 1)
        return each.mean(1), each
    each = np.stack([_gaps(q, hot, j.w) for q, hot in zip(j.p.T, j.hot.T, strict=True)], 1)
    return _gaps(j.p.max(1), j.right, j.w), each


@metric
def brier(j: Judged) -> Values:
    """Sum over the classes of the squared error; for a class its term."""
    squares = (j.p - j.hot) ** 2
    return j.w @ squares.sum(1) / j.total, j.w @ squares / j.total[:, None]


@metric
def nll(j: Judged) -> Values:
    """Negative log-likelihood in nats; for a class the mean over its images."""
    clipped = np.clip(j.p, 1e-12, 1)
    if j.multilabel:
        losses = -np.log(np.where(j.hot, clipped, np.clip(1 - j.p, 1e-12, 1)))
        return j.w @ losses.mean(1) / j.total, j.w @ losses / j.total[:, None]
    overall = j.w @ -np.log(clipped[np.arange(len(j.p)), j.y]) / j.total
    return overall, j.w @ (-np.log(clipped) * j.hot) / j.truths


def _gaps(sure: np.ndarray, correct: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The calibration error (B,) of probabilities (N,) that something is so, and whether it was."""
    bins = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = (correct - sure)[:, None] * np.eye(BINS)[bins]
    return np.abs(w @ gaps).sum(1) / w.sum(1)


def check_scores(
    probabilities: np.ndarray, labels: np.ndarray, task: str, names: tuple[str, ...] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities as float64 and labels, if they fit each other and the task; see `metrics`.

    A class whose AUC is not defined is warned of by its number, or its name if `names` are given.
    """
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels)
    if task not in TASKS:
        raise ValueError(f"task={task!r} is unknown; the tasks are {', '.join(TASKS)}")
    several = task == "multilabel"
    if p.ndim != 2 or not p.size or y.shape != (p.shape if several else p.shape[:1]):
        needed = "(N, classes), both of one shape" if several else "(N, classes) and labels of shape (N,)"
        raise ValueError(f"probabilities have shape {p.shape}, labels {y.shape}; give {needed}, N at least 1")
    if task == "binary" and p.shape[1] != 2:
        raise ValueError(f"a binary task needs two columns of probabilities, got {p.shape[1]}")
    if not np.isfinite(p).all() or p.min() < -1e-6 or p.max() > 1 + 1e-6:
        raise ValueError("probabilities must be finite and in 0-1; got NaN, infinity or logits")
    highest = 1 if several else p.shape[1] - 1
    if y.dtype.kind not in "iub" or not 0 <= y.min() <= y.max() <= highest:
        raise ValueError(f"labels are {y.dtype} such as {y.flat[0]!r}; give integers from 0 to {highest}")
    hot = y.astype(bool) if task == "multilabel" else np.eye(p.shape[1], dtype=bool)[y]
    positives = hot.sum(0)
    alone = np.flatnonzero((positives == 0) | (positives == len(p)))
    if alone.size:
        which = ", ".join(names[k] if names else str(k) for k in alone)
        warnings.warn(f"class {which}: no image has it, or every image has it; its AUC is NaN", stacklevel=3)
    return p, y
