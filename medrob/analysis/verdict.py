"""From a number to a verdict: yes, no or not shown, by rules fixed beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

LEVEL = 0.05
# What is too little to matter, fixed beforehand: a small correlation is .1, a small difference of means .2
# standard deviations (Cohen 1988), which is an AUROC of .556 (Rice & Harris 2005).
SMALL = {"correlation": 0.1, "auroc": 0.056, "gain": 0.01}
YES, OPPOSITE, NO, OPEN, UNDEFINED = "yes", "the other way round", "no", "not shown", "not defined"


@dataclass(frozen=True)
class Finding:
    """A number with its interval and p (corrected, if that is known), as read from a row."""

    value: float
    low: float
    high: float
    p: float
    corrected: bool = False

    @classmethod
    def of(cls, row: Mapping | pd.Series, names: tuple[str, str, str] = ("value", "low", "high")) -> Finding:
        """From a row of a table; p_adjusted is taken where the row has it."""
        corrected = "p_adjusted" in row and np.isfinite(row["p_adjusted"])
        p = row["p_adjusted"] if corrected else row.get("p", np.nan)
        value, low, high = (float(row[name]) for name in names)
        return cls(value, low, high, float(p), bool(corrected))

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

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return UNDEFINED
        if not np.isfinite(self.p):
            return f"{self.value:+.2f} ({self.low:+.2f} to {self.high:+.2f})"
        return f"{self.value:+.2f} ({self.low:+.2f} to {self.high:+.2f}, {self.told_p()})"

    def told_p(self) -> str:
        """``p = .012``, and whether it is corrected."""
        p = "p < .001" if self.p < 0.001 else f"p = {self.p:.3f}".replace("0.", ".")
        return f"corrected {p}" if self.corrected else p
