"""What a number with its interval and p says: yes, no or not shown; and corrections for many tests."""

from __future__ import annotations

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
    def of(cls, row: Mapping | pd.Series, names: tuple[str, str, str] = ("value", "low", "high")) -> Finding:
        """From a row of a table; p_adjusted is taken where the row has it."""
        corrected = "p_adjusted" in row and np.isfinite(row["p_adjusted"])
        p = row["p_adjusted"] if corrected else row.get("p", np.nan)
        value, low, high = (float(row[name]) for name in names)
        return cls(value, low, high, float(p), row["correction"] if corrected else "")

    def verdict(self, *, chance: float, small: float, tested: bool = True) -> str:
        """Is the value above chance?

        "no": the whole interval lies so near to chance that what is left is too little to matter. "yes" or
        "the other way round": it does not, lies wholly on that side, and p is below .05. Else "not shown".

        Args:
            chance: the value where there is nothing. small: how far from it is too little to matter.
            tested: whether there must be a p.
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
