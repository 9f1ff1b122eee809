"""Many tests: the family that was declared beforehand, and the rest."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from medrob.analysis.tables import MAP, require, require_map

WITHIN, PER_IMAGE = "within severity", "per image"
EVERY = "all"


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
    Warning: drift of flipped predictions at this severity, the highest.
    """
    return WITHIN, PER_IMAGE, warning("flipped", severity)


def all_tests(association: pd.DataFrame, images: pd.DataFrame, failure: pd.DataFrame) -> pd.DataFrame:
    """All tests in one table.

    Args:
        association, images, failure: from `association`, `per_image` and `failure`.

    Returns:
        method, layer, kind, corruption (a name, or "all"), value (a rank correlation, or an AUROC), low,
        high, p.
    """
    columns = [*MAP, "kind", "corruption", "value", "low", "high", "p"]
    drift = failure[failure["signal"] == "drift"].rename(columns={"auroc": "value"})
    kinds = [warning(event, s) for event, s in zip(drift["event"], drift["severity"], strict=True)]
    parts = (association.assign(corruption=EVERY), images, drift.assign(kind=kinds, corruption=EVERY))
    return pd.concat([part[columns] for part in parts if len(part)], ignore_index=True)


def adjust(rows: pd.DataFrame, *, method: str, layer: str, kinds: Collection[str]) -> pd.DataFrame:
    """Correct p for the number of tests: the family declared beforehand by Holm, the rest as exploration.

    Args:
        rows: from `all_tests`.
        method, layer: of the declared family, over all corruptions; see `headline`.
        kinds: of the declared family; see `family`.

    Returns:
        The rows with two more columns: family ("declared" or "exploration") and p_adjusted: Holm's (1979) in
        the family, Benjamini & Hochberg's (1995) false discovery rate in the rest. NaN where p is.
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
    return rows.assign(family=np.where(declared, "declared", "exploration"), p_adjusted=found)
