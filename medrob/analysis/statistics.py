"""How well a signal finds failures, what chance alone would give, and what a number with its interval says.

A stratum is a condition and the class predicted for the clean image. Only images of the same stratum are
compared, or change places: a corruption that drives every prediction into one class flips exactly the images
of the others, and maps of different classes move differently, so that across classes drift would "warn" of
what the class alone decides. Arrays: signal (conditions, images), NaN where there is no map; happened bool
(conditions, images); weights (B, images), a row a resample; group int (images,), the class.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from medrob.evaluation import auc

LEVEL = 0.05
ORDERS = 10_000  # of corruptions, at most: with 2,000 a p near .05 still hung on the draw
TOGETHER = 1024  # images exchanged at once: bounds the memory
HOLM, FDR = "Holm", "Benjamini-Hochberg"
# There is no "no": a proof that there is too little to matter would have to draw corruptions as well.
YES, OPPOSITE, OPEN, UNDEFINED = "yes", "the other way round", "undecided", "not defined"


def bounds(row: Mapping | pd.Series, stem: str = "value") -> tuple[float, float, float]:
    """A number of a row with its interval: value, low and high, or gain, gain_low and gain_high."""
    start = "" if stem in ("value", "auroc") else f"{stem}_"
    return float(row[stem]), float(row[f"{start}low"]), float(row[f"{start}high"])


def corrected_p(row: Mapping | pd.Series) -> tuple[float, str]:
    """p of a row, NaN where nothing is tested, and how it was corrected: "" if it was not."""
    if np.isfinite(row.get("p_adjusted", np.nan)):
        return float(row["p_adjusted"]), row["correction"]
    return float(row.get("p", np.nan)), ""


def verdict(row: Mapping | pd.Series, stem: str = "value", *, tested: bool = True) -> str:
    """Is a number of a row above 0?

    "yes" or "the other way round": the interval, if there is one, lies wholly on that side, and, if tested, p
    is below .05. Without interval the test alone decides. Else "undecided"; so it is, too, where a negative
    control finds a link, too, or could not be judged (column controls).
    """
    value, low, high = bounds(row, stem)
    p, _ = corrected_p(row)
    if tested and np.isfinite(p) and np.isnan([low, high]).all():
        low = high = value
    if not np.isfinite([value, low, high]).all():
        return UNDEFINED
    if (tested and not p < LEVEL) or row.get("controls", ""):
        return OPEN
    return YES if low > 0 else OPPOSITE if high < 0 else OPEN


def holm(p: Sequence[float] | np.ndarray | pd.Series) -> np.ndarray:
    """p values of one family, adjusted by Holm (1979); NaN is no test: it stays NaN and does not count."""
    p = np.asarray(p, float)
    found, known = np.full(len(p), np.nan), np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known])]
    found[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return found


def members(group: np.ndarray) -> list[np.ndarray]:
    """The places of the images of each class."""
    return [np.flatnonzero(group == k) for k in np.unique(group)]


def image_orders(group: np.ndarray, count: int) -> np.ndarray:
    """Orders (1 + count, images) within a class, the first as it is (Phipson & Smyth 2010)."""
    rng = np.random.default_rng(0)
    orders = np.tile(np.arange(len(group)), (1 + count, 1))
    for at in members(group):
        orders[1:, at] = rng.permuted(orders[1:, at], axis=1)
    return orders


def corruption_orders(conditions: pd.MultiIndex, count: int = ORDERS) -> np.ndarray:
    """Orders (orders, conditions) that exchange whole corruptions; all of them, if there are at most `count`.

    The five severities of one corruption are not five independent cases: they move together.
    """
    grid = pd.Series(np.arange(len(conditions)), index=conditions).unstack("severity")
    assert grid.notna().all(axis=None), "corruptions of different severities cannot change places"
    places, n = grid.to_numpy(np.int64), len(grid)
    if math.factorial(n) <= count:
        changes = np.array(list(itertools.permutations(range(n))))
    else:
        rng = np.random.default_rng(0)
        changes = np.array([np.arange(n), *(rng.permutation(n) for _ in range(count))])
    orders = np.empty((len(changes), places.size), np.int64)
    orders[:, places.ravel()] = places[changes].reshape(len(changes), -1)
    return orders


def exchanged(a: np.ndarray, b: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """Sums (orders,) of a b, when whole images of b, all their conditions, change places.

    a (conditions, images) has a mean of 0 over the images of a class, b (conditions, images) any. The sum
    itself is compared, no ratio, so that the test is exact also where a is 0 for want of a map.
    """
    total, n = np.zeros(len(orders)), a.shape[1]
    for rows in np.split(np.arange(n), range(TOGETHER, n, TOGETHER)):
        product = a[:, rows].T @ b  # of each image with the one that takes its place
        total += product[np.arange(len(rows)), orders[:, rows]].sum(1)
    return total


def flipped(scores: np.ndarray, unit: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Sums (1 + draws,) of scores (images,), which are 0 on average if nothing is there, with other signs.

    All that a unit holds changes its sign together, whatever the units' sizes, and however their spread
    differs (the wild cluster bootstrap of a score: Cameron et al. 2008; Kline & Santos 2012).
    """
    return signs @ np.bincount(unit, scores, signs.shape[1])


def two_sided(sums: np.ndarray) -> float:
    """How often a sum is as far from 0 as the first of them, which counts, too."""
    size = np.abs(sums)
    return float((size >= size[0] - 1e-9 * size.max()).mean())  # rounding


def detect(signal: np.ndarray, happened: np.ndarray, weights: np.ndarray, group: np.ndarray) -> np.ndarray:
    """AUROC within strata: (B,). NaN if no stratum holds an event and the rest.

    The share of pairs (event, none) of a stratum in which the event has the higher signal; ties count half;
    each stratum weighs as many pairs as it has (van Elteren 1960).
    """
    higher, pairs = np.zeros((2, len(weights)))
    for values, event in zip(signal, happened, strict=True):
        for at in members(group):
            found = event[at]
            if np.isfinite(values[at]).all() and 0 < found.sum() < len(found):
                w = weights[:, at]
                count = w[:, found].sum(1) * w[:, ~found].sum(1)
                higher += np.where(count > 0, count * auc(values[at], found, w), 0)
                pairs += count
    with np.errstate(invalid="ignore", divide="ignore"):
        return higher / pairs


def any_of(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Which images are of a stratum in which a value is not 0: bool, of the shape (conditions, images)."""
    found = np.zeros(values.shape, bool)
    for at in members(group):
        found[:, at] = values[:, at].any(1, keepdims=True)
    return found


def centred_ranks(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Midranks along the last axis among the images of the same class, less their mean; 0 for NaN."""
    found = np.empty(values.shape)
    for at in members(group):
        found[..., at] = rankdata(values[..., at], axis=-1) - (len(at) + 1) / 2
    return np.nan_to_num(found)
