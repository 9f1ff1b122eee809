"""How well a signal finds events: AUROC, average precision and ROC curves within strata, for many resamples.

Everywhere: signal (strata, images), NaN where there is none; happened bool (strata, images); weights
(images, B), a column a resample. Only images of the same stratum are compared with each other.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata


def detect(
    signal: np.ndarray, happened: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """AUROC and average precision within strata.

    AUROC: the share of pairs (event, no event) of a stratum in which the event has the higher signal; ties
    count half; each stratum weighs as many pairs as it has (van Elteren 1960). Average precision: mean over
    the events of the precision at their signal within their stratum, tied signals as one step.

    Returns:
        auroc (B,), precision (B,), chance: the average precision of a signal that knows nothing, on all
        images (the first column of the weights is 1). NaN where no stratum holds an event and an image
        without one.
    """
    right, pairs, precise, events = np.zeros((4, weights.shape[1]))
    expected = 0.0
    for values, event in zip(signal, happened, strict=True):
        known = np.isfinite(values)
        if not 0 < event[known].sum() < known.sum():
            continue
        up, count, found = _sums(values[known], event[known], weights[known])
        here = weights[known & event].sum(0)
        right, pairs = right + up, pairs + count
        precise, events = precise + found, events + here
        expected += event[known].mean() * event[known].sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        return right / pairs, precise / events, float(expected / events[0])


def _sums(s: np.ndarray, event: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of one stratum, (B,) each: weight of the pairs in order, of all pairs, sum of the precisions."""
    order = np.argsort(-s, kind="stable")  # highest signal first
    s, event, w = s[order], event[order], w[order]
    begin = np.flatnonzero(np.r_[True, s[1:] < s[:-1]])
    group = np.cumsum(np.r_[True, s[1:] < s[:-1]]) - 1
    at = np.flatnonzero(event)
    first, last = begin[group[at]], np.r_[begin[1:], len(s)][group[at]]  # the tied images of each event
    rank = np.r_[0, np.cumsum(event)]
    ours = w[at]
    seen, hits = _running(w), _running(ours)
    hit = hits[rank[last]]
    above = (seen[first] - hits[rank[first]] + seen[last] - hit) / 2  # no event, and a higher signal
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(seen[last] > 0, hit / seen[last], 0)
    pairs = hits[-1] * (seen[-1] - hits[-1])
    return pairs - (ours * above).sum(0), pairs, (ours * precision).sum(0)


def _running(w: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, ... rows: (n + 1, B)."""
    found = np.zeros((len(w) + 1, w.shape[1]), w.dtype)
    np.cumsum(w, axis=0, out=found[1:])
    return found


def centred_ranks(values: np.ndarray) -> np.ndarray:
    """Midranks of each row among its known values, less their mean; 0 where not known."""
    found = np.zeros(values.shape)
    for row, out in zip(values, found, strict=True):
        known = np.isfinite(row)
        if known.any():
            out[known] = rankdata(row[known]) - (known.sum() + 1) / 2
    return found


def roc_within(
    signal: np.ndarray, happened: np.ndarray, weights: np.ndarray, alarms: np.ndarray
) -> np.ndarray:
    """Share of the events found at given shares of false alarms: (B, alarms).

    The curve of each stratum is read at the same shares of false alarms and the mean weighs strata by their
    pairs (Fawcett 2006), so that the area below it is the AUROC of `detect`.
    """
    total, pairs = np.zeros((weights.shape[1], len(alarms))), np.zeros(weights.shape[1])
    for values, event in zip(signal, happened, strict=True):
        known = np.isfinite(values)
        if not 0 < event[known].sum() < known.sum():
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
