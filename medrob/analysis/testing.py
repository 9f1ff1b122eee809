"""Tests and verdicts: chance by exchanging images, corrections for many tests, and yes, no or not shown."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from medrob.analysis.tables import MAP, require_map
from medrob.check import require

WITHIN, PER_IMAGE = "within severity", "per image"
EVERY = "all"

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

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return UNDEFINED
        if not np.isfinite(self.p):
            return f"{self.value:+.2f} ({self.low:+.2f} to {self.high:+.2f})"
        return f"{self.value:+.2f} ({self.low:+.2f} to {self.high:+.2f}, {self.told_p()})"

    def plain(self) -> str:
        """Without p: what is described, not tested."""
        return str(Finding(self.value, self.low, self.high, np.nan))

    def unsigned(self) -> str:
        """Without the plus signs: an AUROC."""
        return str(self).replace("+", "")

    def told_p(self) -> str:
        """``Holm p = .012``: p, and how it is corrected."""
        p = "p < .001" if self.p < 0.001 else f"p = {self.p:.3f}".replace("0.", ".")
        return f"{self.correction or 'uncorrected'} {p}"


def exchanges(group: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Orders of the images, the first as they are, then random ones: (1 + count, images).

    Only images of the same group change places, those that the network predicts alike when clean: see
    `medrob.analysis.detection`.
    """
    rng = np.random.default_rng(seed)
    orders = np.tile(np.arange(len(group)), (1 + count, 1))
    for k in np.unique(group):
        at = np.flatnonzero(group == k)
        orders[1:, at] = rng.permuted(orders[1:, at], axis=1)
    return orders


def exchanged(a: np.ndarray, b: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """Sums over the images of a b in each condition, when whole images of b change places.

    Args:
        a: (maps, conditions, images), 0 in the mean over the images of a group.
        b: (conditions, images), of any mean.
        orders: from `exchanges`.

    Returns:
        (maps, conditions, orders).
    """
    return np.stack([here @ row[orders].T for here, row in zip(a.swapaxes(0, 1), b, strict=True)], 1)


def exchange_p(sums: np.ndarray) -> np.ndarray:
    """Two-sided p of the first of the sums (..., orders), beside the others: (...); NaN without others.

    All conditions of an image stay together, as they depend on each other: give sums over the conditions.
    The sum itself is compared, no ratio, so that the test is exact also where `a` of `exchanged` is 0 for
    want of a map (Phipson & Smyth 2010).
    """
    if sums.shape[-1] < 2:
        return np.full(sums.shape[:-1], np.nan)
    size = np.abs(sums)
    near = 1e-9 * size.max(-1, keepdims=True)  # rounding
    return (size >= size[..., :1] - near).mean(-1)


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


def warning(event: str, severity: int) -> str:
    """The kind of the test that drift warns of an event at a severity."""
    return f"{event}, severity {severity}"


def family(severity: int) -> tuple[str, str, str]:
    """The three tests that are declared beforehand, of one method and layer (see `headline`).

    Between conditions: drift and drop of AUC within severity. Per image: drift and drop of the margin.
    Warning: drift of flipped predictions at this severity, the highest. The two that look at images compare
    only those of the same condition that the network predicts alike when clean.
    """
    return WITHIN, PER_IMAGE, warning("flipped", severity)


def all_tests(association: pd.DataFrame, images: pd.DataFrame, failure: pd.DataFrame) -> pd.DataFrame:
    """All tests in one table.

    Args:
        association, images, failure: from `association`, `per_image` and `failure`.

    Returns:
        method, layer, kind, corruption (a name, or "all"), value (a rank correlation, or an AUROC), low,
        high, p, across_classes (the value if the class is not held fixed; NaN between conditions).
    """
    columns = [*MAP, "kind", "corruption", "value", "low", "high", "p", "across_classes"]
    drift = failure[failure["signal"] == "drift"].rename(columns={"auroc": "value"})
    kinds = [warning(event, s) for event, s in zip(drift["event"], drift["severity"], strict=True)]
    links = association.assign(corruption=EVERY, across_classes=np.nan)
    parts = (links, images, drift.assign(kind=kinds, corruption=EVERY))
    return pd.concat([part[columns] for part in parts if len(part)], ignore_index=True)


def adjust(rows: pd.DataFrame, *, method: str, layer: str, kinds: Collection[str]) -> pd.DataFrame:
    """Correct p for the number of tests: the family declared beforehand by Holm, the rest as exploration.

    Args:
        rows: from `all_tests`.
        method, layer: of the declared family, over all corruptions; see `headline`.
        kinds: of the declared family; see `family`.

    Returns:
        The rows with three more columns: family ("declared" or "exploration"), p_adjusted and correction:
        "Holm" (1979) in the family, "Benjamini-Hochberg" (1995, the false discovery rate) in the rest. NaN
        where p is.
        "pooled" correlations grow with severity by construction; they are described, not tested: NaN.

    Raises:
        ValueError: a missing column, a method or layer that is not there, or a declared kind.
    """
    require(rows, [*MAP, "kind", "corruption", "p"], "tests")
    require_map(rows, method, layer, "tests")
    declared = (
        (rows["method"] == method)
        & (rows["layer"] == layer)
        & rows["kind"].isin(kinds)
        & (rows["corruption"] == EVERY)
    ).to_numpy()
    if missing := set(kinds) - set(rows["kind"][declared]):
        there = ", ".join(dict.fromkeys(rows["kind"]))
        raise ValueError(f"kinds={sorted(missing)} are declared but not in the table tests; it has {there}")
    tested = rows["p"].notna().to_numpy() & (rows["kind"] != "pooled").to_numpy()
    found = np.full(len(rows), np.nan)
    p = rows["p"].to_numpy(float)
    found[declared & tested] = holm(p[declared & tested])
    if (~declared & tested).any():
        found[~declared & tested] = false_discovery_control(p[~declared & tested])
    family, correction = (np.where(declared, *pair) for pair in (("declared", "exploration"), (HOLM, FDR)))
    return rows.assign(family=family, p_adjusted=found, correction=correction)


def rows_of(rows: pd.DataFrame, method: str, layer: str, name: str) -> pd.DataFrame:
    """The rows of one method and layer over all corruptions, by kind; a ValueError if there are none."""
    require(rows, [*MAP, "kind", "value", "low", "high", "p"], name)
    require_map(rows, method, layer, name)
    here = rows[(rows["method"] == method) & (rows["layer"] == layer)]
    if "corruption" in here:
        here = here[here["corruption"] == EVERY]
    return here.set_index("kind")
