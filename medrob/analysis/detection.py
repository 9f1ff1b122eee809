"""What happened to every explained image, and how well a signal finds it: AUROC, precision and ROC curves.

A stratum is a condition and the class that the network predicts for the clean image. Only images of the same
stratum are compared with each other: a corruption that drives every prediction into one class flips exactly
the images of the others, and maps of different classes move differently, so that across classes drift would
"warn" of what the class alone decides. Arrays: signal (conditions, images), NaN where there is none; happened
bool (conditions, images); weights (images, B), a column a resample; group int (images,), the class.
"""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
from scipy.stats import binomtest, rankdata

from medrob.evaluation import interval


def members(group: np.ndarray) -> list[np.ndarray]:
    """The places of the images of each class."""
    return [np.flatnonzero(group == k) for k in np.unique(group)]


def detect(
    signal: np.ndarray, events: np.ndarray, weights: np.ndarray, group: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """AUROC and average precision within strata, for each of several events (kinds, conditions, images).

    AUROC: the share of pairs (event, no event) of a stratum in which the event has the higher signal; ties
    count half; each stratum weighs as many pairs as it has (van Elteren 1960). Average precision: mean over
    the events of the precision at their signal within their stratum, tied signals as one step.

    Returns:
        For each kind: auroc (B,), precision (B,), chance: the mean average precision of random orders, on
        all images (the first column of the weights is 1). NaN where no stratum holds both.
    """
    sums, expected = np.zeros((len(events), 4, weights.shape[1])), np.zeros(len(events))
    strata = members(group)
    for values, happened in zip(signal, events.swapaxes(0, 1), strict=True):
        for known in (at[np.isfinite(values[at])] for at in strata):
            order = known[np.argsort(-values[known], kind="stable")]  # highest signal first
            count = happened[:, order].sum(1)
            for kind in np.flatnonzero((count > 0) & (count < len(order))):
                sums[kind] += _sums(values[order], happened[kind, order], weights[order])
                expected[kind] += random_precision(len(order), int(count[kind])) * count[kind]
    with np.errstate(invalid="ignore", divide="ignore"):
        return [
            (right / pairs, precise / count, float(chance / count[0]))
            for (right, pairs, precise, count), chance in zip(sums, expected, strict=True)
        ]


@lru_cache(maxsize=4096)
def random_precision(n: int, events: int) -> float:
    """Mean average precision of n images in random order (Bestgen 2015).

    The precision at the k-th image, given that it is an event, is (1 + (k - 1) (events - 1) / (n - 1)) / k.
    """
    harmonic = float((1 / np.arange(1, n + 1)).sum())
    return (harmonic + (events - 1) / (n - 1) * (n - harmonic)) / n


def _sums(s: np.ndarray, event: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Of one stratum, highest signal first: pairs in order, all pairs, precisions, events: (4, B)."""
    falls = np.r_[True, s[1:] < s[:-1]]
    begin, tied = np.flatnonzero(falls), np.cumsum(falls) - 1
    at = np.flatnonzero(event)
    first, last = begin[tied[at]], np.r_[begin[1:], len(s)][tied[at]]  # the tied images of each event
    rank, ours = np.r_[0, np.cumsum(event)], w[at]
    seen, hits = running(w), running(ours)
    hit, all_seen = hits[rank[last]], seen[last]
    above = (seen[first] - hits[rank[first]] + all_seen - hit) / 2  # no event, and a higher signal
    precision = np.divide(hit, all_seen, out=np.zeros_like(hit), where=all_seen > 0)
    pairs = hits[-1] * (seen[-1] - hits[-1])
    return np.stack([pairs - (ours * above).sum(0), pairs, (ours * precision).sum(0), hits[-1]])


def running(w: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, ... rows: (n + 1, B). Row by row, which is faster than NumPy's cumsum."""
    found = np.concatenate([np.zeros((1, w.shape[1]), w.dtype), w])
    for before, row in itertools.pairwise(found):
        row += before
    return found


def steps(signal: np.ndarray, *weights: np.ndarray) -> list[np.ndarray]:
    """Sums of weights (n, B) over the images of lowest signal: 0, then up to each end of a group of ties."""
    order = np.argsort(signal, kind="stable")
    s = signal[order]
    ends = np.r_[0, np.flatnonzero(np.r_[s[1:] > s[:-1], True]) + 1]
    return [running(w[order])[ends] for w in weights]


def roc_within(
    signal: np.ndarray, happened: np.ndarray, weights: np.ndarray, group: np.ndarray, alarms: np.ndarray
) -> np.ndarray:
    """Share of the events found at given shares of false alarms: (B, alarms).

    The curve of each stratum is read at the same shares of false alarms and the mean weighs strata by their
    pairs (Fawcett 2006), so that the area below it is the AUROC of `detect`.
    """
    total, pairs = np.zeros((weights.shape[1], len(alarms))), np.zeros(weights.shape[1])
    for (values, event), at in itertools.product(zip(signal, happened, strict=True), members(group)):
        known = at[np.isfinite(values[at])]
        hit, w = event[known, None], weights[known]
        if 0 < hit.sum() < len(known):
            hits, false = steps(-values[known], w * hit, w * ~hit)
            count = hits[-1] * false[-1]
            for b in np.flatnonzero(count > 0):
                shares = false[:, b] / false[-1, b], hits[:, b] / hits[-1, b]
                total[b] += np.interp(alarms, *shares) * count[b]
            pairs += count
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / pairs[:, None]


def compared(use: np.ndarray, event: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images in use whose stratum holds an event and the rest, and events among them: (conditions,) each."""
    counts = np.zeros((2, len(use)), int)
    for at in members(group):
        n, k = use[:, at].sum(1), (use & event)[:, at].sum(1)
        counts += np.stack([n, k]) * ((k > 0) & (k < n))
    return counts[0], counts[1]


def auroc_interval(samples: np.ndarray, events: int, rest: int) -> tuple[float, float]:
    """Of a bootstrap of an AUROC: `interval`, but for a perfect one, of which all resamples are the same.

    That is as sure as so many hits out of the smaller of the two groups: Wilson's interval (1927).
    """
    low, high = interval(samples[1:])
    if low == high and samples[0] in (0.0, 1.0) and (n := min(events, rest)):
        found = binomtest(round(samples[0] * n), n).proportion_ci(method="wilson")
        return float(found.low), float(found.high)
    return low, high


def precision_interval(samples: np.ndarray) -> tuple[float, float]:
    """Of a bootstrap of average precision, which images drawn twice raise: moved back to its value."""
    low, high = interval(samples[1:])
    middle = np.nanmedian(samples[1:]) if np.isfinite(low) else np.nan
    return max(low - middle + samples[0], 0.0), min(high - middle + samples[0], 1.0)


def centred_ranks(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Midranks along the last axis among the known values of the same class, less their mean; else 0."""
    found = np.empty(values.shape)
    for at in members(group):
        known = np.isfinite(values[..., at])
        ranks = rankdata(np.where(known, values[..., at], np.inf), axis=-1)  # the others come last
        found[..., at] = np.where(known, ranks - (known.sum(-1, keepdims=True) + 1) / 2, 0)
    return found
