"""Every score as a function of image weights, so that a bootstrap of thousands of resamples is one call.

To add a score, write a function and enter it in `METRICS`: it appears in every table. scikit-learn knows most
of them, too, but takes one weighting of the images at a time; the tests compare the two.
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import binomtest, t

BINS = 15  # of the calibration error (Guo et al. 2017)
FEWEST = 5  # images, or groups, below which a bootstrap says nothing: its resamples hardly differ
MANY = 50  # units from which percentiles of resamples of shares hold
TOGETHER = 256  # columns resampled at once: bounds the memory

Interval = Callable[[np.ndarray, int], tuple[float, float]]
Values = tuple[np.ndarray, np.ndarray]  # over all classes (B,), and for each class (B, K)


def resampled(n: int, resamples: int, seed: int = 0) -> np.ndarray:
    """Weights of n images, float32 (1 + resamples, n): as they are, then the bootstrap; rows sum to n."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    drawn = np.bincount(rows.ravel(), minlength=n * resamples).reshape(resamples, n)
    return np.concatenate([np.ones((1, n), np.float32), drawn.astype(np.float32)])


def drawn(images: pd.DataFrame, resamples: int, seed: int = 0) -> np.ndarray:
    """`resampled` for the rows of a table, one an image; whole groups (column group), where it has them.

    Images of one patient are no independent cases, so they are drawn together (Field & Welsh 2007). Fewer
    than `FEWEST` have no resamples: these weigh NaN, and so is every interval made of them.
    """
    unit = units(images)
    weights = resampled(int(unit.max(initial=-1)) + 1, resamples, seed)[:, unit]
    weights[1:] = weights[1:] if len(np.unique(unit)) >= FEWEST else np.nan
    return weights


def units(images: pd.DataFrame) -> np.ndarray:
    """What each row, an image, belongs to, int (N,): its group, or without the column group itself."""
    if "group" not in images:
        return np.arange(len(images))
    return np.unique(images["group"], return_inverse=True)[1]


def fewest(positive: np.ndarray, unit: np.ndarray) -> int:
    """Units (N,) with a positive case (..., N), or with one that is not, whichever are fewer."""
    unit = np.broadcast_to(unit, positive.shape)
    return min(len(np.unique(unit[positive == has])) for has in (True, False))


def interval(samples: np.ndarray) -> tuple[float, float]:
    """The central 95 % of samples (percentile bootstrap, Efron 1979); NaN if none is finite."""
    kept = samples[np.isfinite(samples)]
    low, high = np.quantile(kept, [0.025, 0.975]) if kept.size else (np.nan, np.nan)
    return float(low), float(high)


def share_interval(samples: np.ndarray, cases: int, units: int = 0) -> tuple[float, float]:
    """`interval` of shares or AUCs, the first of which is the value; NaN where there are no resamples.

    cases: that it is of (of an AUC, the smaller class; 0 = it is no share). Of 0 or 1, which all resamples
    repeat: Wilson's (1927). units: that are resampled, 0 = the cases. Of fewer than `MANY`, percentiles are
    too narrow: t times the spread of the resamples, on the logit scale.
    """
    (low, high), share, units = interval(samples[1:]), float(samples[0]), units or cases
    if low == high and share in (0, 1) and cases:
        low, high = binomtest(round(share * cases), cases).proportion_ci(method="wilson")
    elif low < high and cases and units < MANY:
        reach = t.ppf(0.975, units - 1) * np.nanstd(samples[1:]) / (share * (1 - share))
        low, high = expit(logit(share) + np.array([-reach, reach])).tolist()
    return low, high


def mean_interval(samples: np.ndarray, units: int) -> tuple[float, float]:
    """`interval` of a mean, the first of the samples; of fewer than `MANY` units t times their spread."""
    low, high = interval(samples[1:])
    if low < high and units < MANY:  # the spread of resamples is that of n units, not of n - 1
        reach = t.ppf(0.975, units - 1) * np.nanstd(samples[1:]) * (units / (units - 1)) ** 0.5
        low, high = float(samples[0] - reach), float(samples[0] + reach)
    return low, high


def drop_interval(samples: np.ndarray, cases: int, units: int = 0) -> tuple[float, float]:
    """`interval` of paired differences of what `share_interval` takes.

    Where no case changes, or all do, resamples have no spread: two cases are added, one that falls and one
    that rises (Bonett & Price 2012).
    """
    (low, high), drop, units = interval(samples[1:]), float(samples[0]), units or cases
    if cases and (low == high or (low < high and units < MANY)):
        spread, n = np.nanstd(samples[1:]), cases + 2
        if low == high:
            spread = ((cases * drop**2 + 2) / n**2 - (drop * cases) ** 2 / n**3) ** 0.5
            drop = drop * cases / n
        reach = t.ppf(0.975, units - 1) * spread
        low, high = float(max(drop - reach, -1)), float(min(drop + reach, 1))
    return low, high


def means_with_intervals(
    values: np.ndarray, images: pd.DataFrame, seed: int = 0, *, kinds: Sequence[Interval] = ()
) -> np.ndarray:
    """Means of columns (N, columns) over their known values: value, low and high, (3, columns).

    Rows are those of `images`, `drawn` 2,000 times; no interval where fewer than `FEWEST` units have a value.
    kinds: of each column, how its interval is made; none = `mean_interval`.
    """
    weights, unit, known = drawn(images, 2000, seed), units(images), np.isfinite(values)
    ends, filled = np.full((2, values.shape[1]), np.nan), np.where(known, values, 0)
    for start in range(0, values.shape[1], TOGETHER):
        part = slice(start, start + TOGETHER)
        with np.errstate(invalid="ignore"):
            samples = (weights @ filled[:, part]) / (weights @ known[:, part])
        for k, column in enumerate(samples.T, start):
            if (count := len(np.unique(unit[known[:, k]]))) >= FEWEST:
                ends[:, k] = (kinds[k] if kinds else mean_interval)(column, count)
    with np.errstate(invalid="ignore"):
        return np.array([filled.sum(0) / known.sum(0), *ends])


def auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve (B,) of scores (N,) for weightings of the images (B, N); ties count half.

    NaN where the positives or the negatives weigh nothing (Hanley & McNeil 1982, weighted).
    """
    others = np.flatnonzero(~positive)[np.argsort(scores[~positive], kind="stable")]
    low, high = (np.searchsorted(scores[others], scores[positive], side) for side in ("left", "right"))
    up, down = weights[:, positive], np.zeros((len(weights), len(others) + 1), weights.dtype)
    np.cumsum(weights[:, others], axis=1, out=down[:, 1:])
    below = down[:, low] if np.array_equal(low, high) else (down[:, low] + down[:, high]) / 2
    with np.errstate(invalid="ignore"):
        return (up * below).sum(1) / (up.sum(1) * down[:, -1])


class Judged:
    """Predictions of N images under B weightings of them, and the counts from which scores are made."""

    def __init__(self, p: np.ndarray, y: np.ndarray, w: np.ndarray, task: str) -> None:
        self.p, self.w, self.task = p, w, task  # float64 (N, K); (B, N), 0 or more
        self.multilabel = task == "multilabel"
        classes = np.eye(p.shape[1], dtype=bool)
        # The classes that an image has, and those that the network gives it: (N, K).
        self.hot = y.astype(bool) if self.multilabel else classes[y]
        self.guess = p > 0.5 if self.multilabel else classes[p.argmax(1)]
        # Whether an image is recognised (N,), or each of its labels (N, K).
        right = self.hot == self.guess if self.multilabel else (self.hot & self.guess).any(1)
        self.right = np.asarray(right)
        # The weight of all images (B,), of those of a class that are recognised, and of all of it (B, K).
        self.total, self.hits, self.truths = w.sum(1), w @ (self.hot & self.guess), w @ self.hot
        self.recall = self.hits / self.truths  # NaN for a class without images


def metrics(probabilities: np.ndarray, labels: np.ndarray, task: str) -> dict[str, float]:
    """A value for each of `METRICS`; probabilities are (N, K), labels int (N,), or (N, K) if multi-label."""
    scores = evaluate(probabilities, labels, np.ones((1, len(labels))), task)
    return {name: float(value[0]) for name, (value, _) in scores.items()}


def evaluate(
    p: np.ndarray, y: np.ndarray, w: np.ndarray, task: str, names: tuple[str, ...] = ()
) -> dict[str, Values]:
    """Every score for the weightings w (B, N); NaN, with a warning, where it needs a class without images."""
    with np.errstate(invalid="ignore", divide="ignore"):  # a class without images: 0 / 0 = NaN
        judged = Judged(np.asarray(p, np.float64), y, w, task)
        alone = np.flatnonzero(judged.hot.all(0) | ~judged.hot.any(0))
        if alone.size:
            which = "class " + ", ".join(names[k] if names else str(k) for k in alone)
            warnings.warn(f"{which}: no image has it, or every image has it; its AUC is NaN", stacklevel=3)
        return {name: function(judged) for name, function in METRICS.items()}


def ranked(j: Judged) -> Values:
    """Of the positive class if binary, else the mean over classes one-vs-rest or labels, as in MedMNIST."""
    each = np.stack([auc(q, hot, j.w) for q, hot in zip(j.p.T, j.hot.T, strict=True)], 1)
    return each[:, 1] if j.task == "binary" else each.mean(1), each


def accuracy(j: Judged) -> Values:
    """For a class: the share of its images that are recognised (recall)."""
    overall = j.w @ j.right.reshape(len(j.p), -1).mean(1) / j.total
    return overall, (j.w @ j.right) / j.total[:, None] if j.multilabel else j.recall


def balanced_accuracy(j: Judged) -> Values:
    """Mean recall; for a class the mean of its recall and of the share of the others not taken for it."""
    specificity = (j.w @ (~j.hot & ~j.guess)) / (j.w @ ~j.hot)
    each = (j.recall + specificity) / 2
    return (each if j.multilabel else j.recall).mean(1), each


def f1(j: Judged) -> Values:
    """Mean over the classes."""
    guesses = j.w @ j.guess
    each = np.where(j.truths + guesses > 0, 2 * j.hits / (j.truths + guesses), np.nan)
    return each.mean(1), each


def ece(j: Judged) -> Values:
    """Calibration error in bins of the highest probability; for a class, of its own (Kull et al. 2019).

    Of the first weighting alone: bins overestimate the error of few images, and of resamples even more, so
    that no interval would hold (Roelofs et al. 2022).
    """
    sure, so = (np.maximum(j.p, 1 - j.p), j.right) if j.multilabel else (j.p, j.hot)
    each = np.stack([_gaps(q, true, j.w[:1]) for q, true in zip(sure.T, so.T, strict=True)], 1)
    return each.mean(1) if j.multilabel else _gaps(j.p.max(1), j.right, j.w[:1]), each


def brier(j: Judged) -> Values:
    """Sum over the classes of the squared error; for a class its term."""
    squares = (j.p - j.hot) ** 2
    return j.w @ squares.sum(1) / j.total, j.w @ squares / j.total[:, None]


def nll(j: Judged) -> Values:
    """Negative log-likelihood in nats; for a class the mean over its images."""
    losses = -np.log(np.clip(j.p, 1e-12, 1))
    if j.multilabel:
        losses = np.where(j.hot, losses, -np.log(np.clip(1 - j.p, 1e-12, 1)))
        return j.w @ losses.mean(1) / j.total, j.w @ losses / j.total[:, None]
    return j.w @ losses[j.hot] / j.total, j.w @ (losses * j.hot) / j.truths


METRICS: dict[str, Callable[[Judged], Values]] = {  # in the order in which they are shown
    "auc": ranked, "accuracy": accuracy, "balanced_accuracy": balanced_accuracy, "f1": f1,
    "ece": ece, "brier": brier, "nll": nll,
}  # fmt: skip


def _gaps(sure: np.ndarray, correct: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The calibration error (B,) of probabilities (N,) that something is so, and whether it was."""
    bins = np.clip(np.ceil(sure * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = (correct - sure)[:, None] * np.eye(BINS)[bins]
    return np.abs(w @ gaps).sum(1) / w.sum(1)
