"""What several runs say beside each other. The last sentences of notebook 05."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pandas as pd

from medrob.analysis import INDEPENDENT, LEVEL, NO, OPEN, OPPOSITE, OVERALL, UNDEFINED, YES, Finding
from medrob.words.phrases import count, finding, name, number, p_value, place, side, text

MEASURES = {  # of the table of runs: its name, and why it cannot be compared
    "auc": ("the AUC under corruption", "a class is missing"),
    "drop": ("the AUC drop", "a class is missing"),
    "drift": ("drift", "other methods or no usable map"),
}
VERDICTS = (YES, OPPOSITE, NO, OPEN, UNDEFINED)


def runs(compared: pd.DataFrame) -> str:
    """How each run differs from the first, over all severities."""
    left = compared[compared["left_out"] != ""].drop_duplicates("run")
    lines = [
        f"Of {name(row.run)}, {name(row.left_out)} is left out, as not every run has it."
        for row in left.itertuples()
    ]
    first, *others = dict.fromkeys(compared["run"])
    if not others:
        seeds = int(compared["seeds"].iloc[0])
        what = "one run" if seeds == 1 else f"one network, trained with {seeds} seeds that are taken together"
        return text(*lines, f"There is {what}: there is nothing to compare it with.")
    rows = compared[compared["severity"] == OVERALL].set_index(["run", "measure"])
    for run in others:
        parts = [_difference(rows.loc[(run, measure)], *words) for measure, words in MEASURES.items()]
        drift, reference = rows.loc[(run, "drift")], rows.loc[(first, "drift")]
        if place(drift) != place(reference) and np.isfinite(drift["difference"]):
            parts[-1] += f", but not like with like: {place(drift)} beside {place(reference)}"
        line = f"{name(run)} against {name(first)}: {'; '.join(parts)}."
        if rows.loc[(run, "auc"), "pairing"] == INDEPENDENT:
            line += " They are on other images, so the intervals are those of independent samples."
        lines.append(line)
    return text(lines)


def _difference(row: pd.Series, label: str, why: str) -> str:
    """How one measure differs from that of the first run."""
    found = finding(row, "difference")
    said = f"is {side(found, 'higher', 'lower', 'not shown to differ')}, {number(found, '+.3f')}"
    return f"{label} {said if np.isfinite(found.value) else f'cannot be compared ({why})'}"


def answers(asked: pd.DataFrame) -> str:
    """Does the answer hold from run to run?"""
    total, begin, lines, everywhere = asked["run"].nunique(), "", [], 0
    if asked["conditions"].nunique() > 1:
        each = asked.groupby("run", sort=False)["conditions"].first()
        held = "; ".join(f"{name(run)}: {name(conditions)}" for run, conditions in each.items())
        begin = f"The runs hold different conditions, and were asked about these ({held})."
    for question, rows in asked.groupby("question", sort=False):
        of_verdict = rows.groupby(pd.Categorical(rows["verdict"], VERDICTS), observed=True)["run"]
        parts = [f"{verdict} in {len(runs)} ({', '.join(map(name, runs))})" for verdict, runs in of_verdict]
        lines.append(f"{question} {'; '.join(parts)}.")
        everywhere += (rows["verdict"] == YES).all()
    where, end = (f"Over these {total} runs", " in every run") if total > 1 else ("In this run", "")
    yes = f"{everywhere} of {count(len(lines), 'question')}"
    return text(begin, lines, f"{where}, {yes} have the answer yes{end}.")


def ranks(ranked: pd.DataFrame, agreed: pd.Series) -> str:
    """Which method is steadiest, and do the runs agree on the order (`medrob.analysis.agreement`)?"""
    good = ranked.dropna(subset="rank")
    order = list(good.groupby("method", sort=False)["rank"].mean().sort_values(kind="stable").index)
    if not order:
        return "No method can be ranked: none has usable maps in every run."
    if len(order) == 1:
        return f"Only one method can be ranked, {name(order[0])}: there is nothing to compare it with."
    failed = ", ".join(map(name, dict.fromkeys(good.loc[good["fails"], "method"])))
    return text(
        f"From the steadiest map to the least steady: {_in_order(order, good)}.",
        f"Steady or not, {failed} failed randomisation and cannot claim stability." if failed else "",
        _agreement(agreed),
    )


def _agreement(agreed: pd.Series) -> str:
    """Whether the runs agree on the order."""
    if agreed["runs"] < 2:
        return "There is one run, so it is not known whether others agree."
    if not np.isfinite(agreed["w"]):
        return "There are too few methods to say whether the runs agree."
    least = math.factorial(int(agreed["methods"])) ** (1 - int(agreed["runs"]))  # all orders alike, by chance
    runs, w = count(agreed["runs"], "run"), f"Kendall's W = {agreed['w']:.2f}"
    if least >= LEVEL:
        methods = count(agreed["methods"], "method")
        return f"That they agree cannot be shown with {runs} of {methods}: p is at least {least:.2f} ({w})."
    said = "agree" if agreed["p"] < LEVEL else "are not shown to agree"
    return f"The {runs} {said} on the order: {w}, {p_value(Finding(0, 0, 0, agreed['p']))}."


def _in_order(order: list[str], good: pd.DataFrame) -> str:
    """Methods by mean rank; ≈ between neighbours unless a run tells them apart, and none the other way."""
    low, high = (good.pivot(index="run", columns="method", values=f"rank_{end}") for end in ("low", "high"))
    said = name(order[0])
    for method, after in pairwise(order):
        apart = (high[method] < low[after]).any() and not (high[after] < low[method]).any()
        said += f"{', ' if apart else ' ≈ '}{name(after)}"
    return said + (" (≈: the data do not tell their ranks apart)" if "≈" in said else "")
