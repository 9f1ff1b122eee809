"""What a number with its interval and p says, corrections for many tests, and what chance would give."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

LEVEL = 0.05
# What is too little to matter, fixed beforehand: a small correlation is .1, a small difference of means .2
# standard deviations (Cohen 1988), which is an AUROC of .556 (Rice & Harris 2005).
SMALL = {"correlation": 0.1, "auroc": 0.056, "gain": 0.01}
HOLM, FDR = "Holm", "Benjamini-Hochberg"
YES, OPPOSITE, NO, OPEN, UNDEFINED = "yes", "the other way round", "no", "not shown", "not defined"


@dataclass(frozen=True)
class Finding:
    """A number with its interval and p, as read from a row; correction: how p was corrected, "" if not."""

    value: float
    low: float
    high: float
    p: float
    correction: str = ""

    @classmethod
    def of(cls, row: Mapping | pd.Series, names: Sequence[str] = ("value", "low", "high")) -> Finding:
        """From a row of a table; p_adjusted is taken where the row has it."""
        corrected = "p_adjusted" in row and np.isfinite(row["p_adjusted"])
        p = row["p_adjusted"] if corrected else row.get("p", np.nan)
        value, low, high = (float(row[name]) for name in names)
        return cls(value, low, high, float(p), row["correction"] if corrected else "")

    def verdict(self, *, chance: float, small: float, tested: bool = True) -> str:
        """Is the value above chance?

        "no": the whole interval lies within `small` of chance, too little to matter. "yes" or "the other way
        round": it does not, lies wholly on that side, and, if tested, p is below .05. Else "not shown".
        """
        if not np.isfinite([self.value, self.low, self.high]).all():
            return UNDEFINED
        if self.low > chance - small and self.high < chance + small:
            return NO
        sure = self.p < LEVEL if tested else True
        if sure and (self.low > chance or self.high < chance):
            return YES if self.low > chance else OPPOSITE
        return OPEN


def holm(p: Sequence[float] | np.ndarray | pd.Series) -> np.ndarray:
    """p values of one family, adjusted so that its chance of any false alarm stays the level (Holm 1979).

    NaN is no test: it stays NaN and does not count.
    """
    p = np.asarray(p, float)
    found, known = np.full(len(p), np.nan), np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known])]
    steps = np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1))
    found[order] = np.minimum(steps, 1)
    return found


# Images, or whole corruptions, that change places (Phipson & Smyth 2010)


def image_orders(group: np.ndarray, count: int) -> np.ndarray:
    """Orders of the images, the first as they are, then random ones: (1 + count, images).

    Only images of one group change places, those that the network predicts alike when clean: see `detection`.
    """
    rng = np.random.default_rng(0)
    orders = np.tile(np.arange(len(group)), (1 + count, 1))
    for k in np.unique(group):
        at = np.flatnonzero(group == k)
        orders[1:, at] = rng.permuted(orders[1:, at], axis=1)
    return orders


def corruption_orders(conditions: pd.MultiIndex, count: int) -> np.ndarray:
    """Orders (orders, conditions) that exchange whole corruptions; all of them, if there are at most `count`.

    The five severities of one corruption are not five independent cases: they move together. Where the
    corruptions do not have the same severities, conditions of one severity change places instead.
    """
    rng = np.random.default_rng(0)
    grid = pd.Series(np.arange(len(conditions)), index=conditions).unstack("severity")
    if grid.isna().to_numpy().any():
        severity = conditions.get_level_values("severity").to_numpy()
        places = np.argsort(severity, kind="stable")
        changed = np.stack([places, *(np.lexsort((rng.random(len(places)), severity)) for _ in range(count))])
    else:
        rows = grid.to_numpy(np.int64)
        if math.factorial(len(rows)) <= count:
            changes = list(itertools.permutations(range(len(rows))))
        else:
            changes = [range(len(rows)), *(rng.permutation(len(rows)) for _ in range(count))]
        places, changed = rows.ravel(), rows[np.array(changes)].reshape(len(changes), -1)
    orders = np.empty(changed.shape, np.int64)
    orders[:, places] = changed
    return orders


def exchanged(a: np.ndarray, b: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """Sums over the images of a b in each condition, when whole images of b change places.

    Args:
        a: (maps, conditions, images), 0 in the mean over the images of a group.
        b: (conditions, images), of any mean.
        orders: from `image_orders`.

    Returns:
        (maps, conditions, orders).
    """
    return np.stack([part @ row[orders].T for part, row in zip(a.swapaxes(0, 1), b, strict=True)], 1)


def exchange_p(sums: np.ndarray) -> np.ndarray:
    """Two-sided p of the first of the sums (..., orders), beside the others: (...).

    All conditions of an image stay together, as they depend on each other: give sums over the conditions.
    The sum itself is compared, no ratio, so that the test is exact also where `a` of `exchanged` is 0 for
    want of a map.
    """
    size = np.abs(sums)
    near = 1e-9 * size.max(-1, keepdims=True)  # rounding
    return (size >= size[..., :1] - near).mean(-1)
