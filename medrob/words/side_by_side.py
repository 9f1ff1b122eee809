"""What several runs say beside each other."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pandas as pd

from medrob.analysis.runs import INDEPENDENT, OVERALL
from medrob.analysis.tables import MAP
from medrob.analysis.testing import (
    LEVEL,
    OPPOSITE,
    UNDEFINED,
    YES,
    Finding,
)
from medrob.check import require


def runs(compared: pd.DataFrame) -> str:
    """In words: how each run differs from the first, over all severities.

    Args:
        compared: from `compare_runs`.
    """
    columns = ["measure", "run", "severity", "difference", "pairing", "seeds", *MAP, "left_out"]
    require(compared, columns, "compared")
    names = list(dict.fromkeys(compared["run"]))
    lines = []
    left = compared[compared["left_out"] != ""].drop_duplicates("run")
    for row in left.itertuples():
        lines.append(f"Left out, as not every run has it: of {row.run}, {row.left_out}.")
    if len(names) == 1:
        seeds = int(compared["seeds"].iloc[0])
        told = (
            "one run" if seeds == 1 else f"one network, trained with {seeds} seeds, which are taken together"
        )
        return "\n".join([*lines, f"There is {told}: nothing to compare it with."])
    first = compared[compared["run"] == names[0]].iloc[0]
    for name in names[1:]:
        rows = compared[(compared["run"] == name) & (compared["severity"] == OVERALL)].set_index("measure")
        parts = [_difference(rows.loc[measure]) for measure in ("auc", "drop", "drift")]
        own, other = (f"{r['method']} at {r['layer']}" for r in (rows.loc["drift"], first))
        if own != other and np.isfinite(rows.loc["drift", "difference"]):
            parts[-1] += f", but not like with like: {own} beside {other}"
        lines.append(f"{name} against {names[0]}: {'; '.join(parts)}.")
        if rows.loc["auc", "pairing"] == INDEPENDENT:
            lines.append("  They are on other images, so the intervals are those of independent samples.")
    return "\n".join(lines)


def _difference(row: pd.Series) -> str:
    names = {"auc": "AUC under corruption", "drop": "AUC drop", "drift": "drift"}
    found = Finding.of(row, ("difference", "difference_low", "difference_high"))
    verdict = found.verdict(chance=0, small=0, tested=False)
    if verdict == UNDEFINED:
        why = "other methods or no usable map" if row.name == "drift" else "a class is missing"
        return f"{names[str(row.name)]} cannot be compared ({why})"
    told = {YES: "higher", OPPOSITE: "lower"}.get(verdict, "not shown to differ")
    return f"{names[str(row.name)]} {told}, {found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def ranks(ranked: pd.DataFrame, agreed: pd.Series) -> str:
    """In words: which method is steadiest, and whether runs agree on the order.

    Args:
        ranked: from `ranks`. agreed: from `agreement`.
    """
    require(ranked, ["run", *MAP, "rank", "same_as", "fails"], "ranks")
    good = ranked.dropna(subset="rank")
    if good.empty:
        return "No method can be ranked: none has usable maps in every run."
    order = good.groupby("method", sort=False)["rank"].mean().sort_values(kind="stable")
    if len(order) == 1:
        return f"There is one method that can be ranked, {order.index[0]}: nothing to compare it with."
    bad = ", ".join(dict.fromkeys(good[good["fails"]]["method"]))
    lines = [f"From the steadiest map to the least steady: {_in_order(order, good)}."]
    if bad:
        lines.append(f"Steady or not, {bad} failed randomisation: no claim to stability.")
    if agreed["runs"] < 2:
        return "\n".join([*lines, "There is one run: whether others agree is not known."])
    if not np.isfinite(agreed["w"]):
        return "\n".join([*lines, "Too few methods to say whether the runs agree."])
    least = math.factorial(int(agreed["methods"])) ** (1 - int(agreed["runs"]))  # all orders alike, by chance
    if least >= LEVEL:
        what = f"{agreed['runs']:.0f} runs of {agreed['methods']:.0f} methods"
        told = f"That runs agree cannot be shown with {what}"
        why = f"p is at least {least:.2f} (Kendall's W = {agreed['w']:.2f})"
        return "\n".join([*lines, f"{told}: {why}."])
    shown = "agree" if agreed["p"] < LEVEL else "are not shown to agree"
    p = Finding(0, 0, 0, agreed["p"]).told_p()
    return "\n".join(
        [*lines, f"The {agreed['runs']:.0f} runs {shown} on the order: Kendall's W = {agreed['w']:.2f}, {p}."]
    )


def _in_order(order: pd.Series, good: pd.DataFrame) -> str:
    """Methods by mean rank; ≈ between neighbours unless a run tells them apart, and none the other way."""
    low, high = (good.pivot(index="run", columns="method", values=f"rank_{end}") for end in ("low", "high"))
    text = order.index[0]
    for one, other in pairwise(order.index):
        apart = (high[one] < low[other]).any() and not (high[other] < low[one]).any()
        text += f"{', ' if apart else ' ≈ '}{other}"
    return text + (" (≈: the data do not tell their ranks apart)" if "≈" in text else "")
