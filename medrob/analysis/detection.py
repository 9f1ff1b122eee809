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
        all images (the first column of the weights is 1). NaN where no stratum holds an event and an image
        without one.
    """
    sums, expected = np.zeros((len(events), 4, weights.shape[1])), np.zeros(len(events))
    strata = members(group)
    for values, happened in zip(signal, events.swapaxes(0, 1), strict=True):
        for known in (at[np.isfinite(values[at])] for at in strata):
            order = known[np.argsort(-values[known], kind="stable")]  # highest signal first
            count = happened[:, order].sum(1)
            kinds = np.flatnonzero((count > 0) & (count < len(order)))
            if not len(kinds):
                continue
            w = weights[order]
            seen = _running(w)
            for kind in kinds:
                event = happened[kind, order]
                sums[kind] += _sums(values[order], event, w, seen)
                expected[kind] += random_precision(len(event), int(event.sum())) * event.sum()
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
    rest = (events - 1) / (n - 1) if n > 1 else 0.0
    return (harmonic + rest * (n - harmonic)) / n


def compared(use: np.ndarray, event: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pictures in use whose stratum holds an event and a picture without one, and events among them.

    Each an array (conditions,).
    """
    count = np.zeros((2, len(use)), int)
    for c, (known, happened) in enumerate(zip(use, event, strict=True)):
        for at in members(group):
            n, events = int(known[at].sum()), int(happened[at][known[at]].sum())
            if 0 < events < n:
                count[:, c] += n, events
    return count[0], count[1]


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


def _sums(s: np.ndarray, event: np.ndarray, w: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Of one stratum, sorted: pairs in order, all pairs, precisions, events: (4, B). `seen`: sums of w."""
    falls = np.r_[True, s[1:] < s[:-1]]
    begin, group = np.flatnonzero(falls), np.cumsum(falls) - 1
    at = np.flatnonzero(event)
    first, last = begin[group[at]], np.r_[begin[1:], len(s)][group[at]]  # the tied images of each event
    rank = np.r_[0, np.cumsum(event)]
    ours = w[at]
    hits = _running(ours)
    hit, all_seen = hits[rank[last]], seen[last]
    above = (seen[first] - hits[rank[first]] + all_seen - hit) / 2  # no event, and a higher signal
    precision = np.divide(hit, all_seen, out=np.zeros_like(hit), where=all_seen > 0)
    pairs = hits[-1] * (seen[-1] - hits[-1])
    return np.stack([pairs - (ours * above).sum(0), pairs, (ours * precision).sum(0), hits[-1]])


def _running(w: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, ... rows: (n + 1, B). Block by block, which is faster than NumPy's cumsum."""
    step = 32
    found = np.zeros((1 + -(-len(w) // step) * step, w.shape[1]), w.dtype)
    found[1 : len(w) + 1] = w
    blocks = found[1:].reshape(-1, step, w.shape[1])
    for i in range(1, step):
        blocks[:, i] += blocks[:, i - 1]
    for before, block in zip(blocks[:-1, -1], blocks[1:], strict=True):
        block += before
    return found[: len(w) + 1]


def centred_ranks(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Midranks along the last axis among the known values of the same class, less their mean; else 0."""
    found = np.empty(values.shape)
    for at in members(group):
        found[..., at] = _centred(values[..., at])
    return found


def _centred(values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    ranks = rankdata(np.where(known, values, np.inf), axis=-1)  # the others come last and push nobody up
    return np.where(known, ranks - (known.sum(-1, keepdims=True) + 1) / 2, 0)


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
        if not 0 < event[known].sum() < len(known):
            continue
        curves, count = _curves(values[known], event[known], weights[known], alarms)
        total += curves * count[:, None]
        pairs += count
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / pairs[:, None]


def _curves(
    s: np.ndarray, event: np.ndarray, w: np.ndarray, alarms: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of one stratum: the share found (B, alarms), 0 where there is no pair, and the pairs (B,)."""
    order = np.argsort(-s, kind="stable")
    s, event, w = s[order], event[order], w[order]
    ends = np.r_[0, np.flatnonzero(np.r_[s[1:] < s[:-1], True]) + 1]
    hits, false = _running(w * event[:, None])[ends], _running(w * ~event[:, None])[ends]
    pairs = hits[-1] * false[-1]
    found = np.zeros((w.shape[1], len(alarms)))
    for b in np.flatnonzero(pairs > 0):
        found[b] = np.interp(alarms, false[:, b] / false[-1, b], hits[:, b] / hits[-1, b])
    return found, pairs
