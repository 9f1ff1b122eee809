"""Figures of several runs: how far they differ, what each answers, which method is the steadiest in all."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from medrob.analysis import NO, OPPOSITE, QUESTIONS, YES
from medrob.check import require
from medrob.figures.panels import (
    VALUE,
    Drawing,
    aside,
    bars,
    legend,
    letters,
    level,
    lines,
    named_ticks,
    nothing,
    sized,
)
from medrob.figures.style import FIRST, Failed, Look, looks, word

__all__ = ["answers_compared", "method_ranks", "runs_compared"]

MEASURES = {"auc": "AUC", "drop": "AUC drop", "drift": "drift"}


def runs_compared(compared: pd.DataFrame) -> Drawing:
    """(a) AUC and (b) drift against severity, a line a run; (c) differences to the first run; bands: 95 %.

    One run alone has no (c).

    Args:
        compared: from `medrob.analysis.compare_runs`.
    """
    look = looks(compared["run"])
    first, *others = look
    seeds = compared.groupby("run")["seeds"].first()
    figure, axes = sized(0.42, 1, 3, width_ratios=[1, 1, 1.1]) if others else sized(0.42, 1, 2)
    rows = compared[compared["severity"] != "all"]
    rows = rows.assign(place=rows["severity"].replace("clean", "0").astype(int))
    for ax, measure, label in zip(axes[0], ("auc", "drift"), ("AUC", "RMSE of maps"), strict=False):
        group = rows[rows["measure"] == measure]
        lines(ax, group, "run", "place", look, label=lambda run: _with_seeds(run, int(seeds[run])))
        ax.set(xlabel="severity (0 = clean)", ylabel=label, title="mean over corruptions")
        ax.locator_params(axis="x", integer=True)
    axes[0][1].set_ylim(bottom=0)
    if others:
        every = compared[(compared["severity"] == "all") & (compared["run"] != first)]
        _differences(axes[0][2], every, look)
    letters(axes[0])
    legend(figure, axes[0][:1], most=4)
    if not others:
        maps, intervals = "its declared map", "bands: 95 % intervals."
        return figure.noted(compared=f"Run {first}", maps=maps, intervals=intervals)
    return figure.noted(
        compared=f"Runs side by side ({', '.join(look)})",
        maps="each run's declared map",
        intervals=f"(c) differences to the first run; bands and bars: 95 % intervals. {FIRST}",
    )


def _with_seeds(run: str, seeds: int) -> str:
    """The name of a run, and how many seeds are taken together under it."""
    return run if seeds == 1 else f"{run} and {seeds - 1} other seed{'s' if seeds > 2 else ''}"


def _differences(ax: Axes, rows: pd.DataFrame, look: dict[str, Look]) -> None:
    """Each run less the first, over all severities, with the interval of the difference."""
    first, *others = look
    ax.set(title=f"less {first}", xlabel="difference, over all severities")
    level(ax, upright=True)
    named_ticks(ax, list(MEASURES.values()))
    for row in rows[rows["difference"].notna()].to_dict("records"):
        place = list(MEASURES).index(row["measure"]) + aside(others.index(row["run"]), len(others))
        bars(ax, row, place, look[row["run"]], columns=("difference", "difference_low", "difference_high"))


def answers_compared(asked: pd.DataFrame, *, failed: Failed = ()) -> Drawing:
    """The declared tests of every run, a panel a test; bars: 95 %.

    Black: yes, or the other way round; grey: no; white: not shown. The dotted line is chance, the grey strip
    what is too near to it to matter.

    Args:
        asked: from `medrob.analysis.answers_of_runs`.
    """
    require(asked, ["run", "method", "layer", "name", *VALUE, "verdict"], "asked")
    runs = list(dict.fromkeys(asked["run"]))
    faces = {YES: "0.1", OPPOSITE: "0.1", NO: "0.65"}
    figure, axes = sized(0.2 + 0.045 * len(runs), 1, len(QUESTIONS), sharey=True)
    for ax, question in zip(axes[0], QUESTIONS, strict=True):
        chance, small = question.chance, question.small
        ax.axvspan(chance - small, chance + small, color="0.9", linewidth=0)
        level(ax, chance, upright=True, dotted=True)
        for row in asked[asked["name"] == question.name].to_dict("records"):
            y, face = runs.index(row["run"]), faces.get(row["verdict"], "white")
            if np.isfinite(row["value"]):
                bars(ax, row, y, Look("0.1", "o"), markerfacecolor=face)
            else:
                ax.text(chance, y, row["verdict"], ha="center", va="center", fontsize="x-small")
        ax.set(title=question.title, xlabel=question.axis, xlim=(-0.03, 1.03) if chance else (-1.06, 1.06))
    named_ticks(axes[0][0], runs)
    letters(axes[0])
    where = asked.drop_duplicates("run")
    maps = [f"{word(m, failed)} at {layer}" for m, layer in zip(where["method"], where["layer"], strict=True)]
    each = [f"{run}: {name}" for run, name in zip(runs, maps, strict=True)]
    compared = "; ".join(each) if len(set(maps)) > 1 else f"{', '.join(runs)}: {maps[0]}"
    return figure.noted(compared=compared, first=FIRST * (len(runs) > 1))


def method_ranks(ranked: pd.DataFrame, *, failed: Failed = ()) -> Drawing:
    """Mean drift of every method in every run, the steadiest first; bars: 95 %, numbers: the rank.

    Args:
        ranked: from `medrob.analysis.ranks`.
    """
    runs = list(dict.fromkeys(ranked["run"]))
    where = f"the runs {', '.join(runs)}" if len(runs) > 1 else f"run {', '.join(runs)}"
    facts = dict(where=where, first=f" {FIRST}" * (len(runs) > 1))
    rows = ranked[ranked["rank"].notna()]
    if rows.empty:
        return nothing("no method has usable maps in every run").noted(**facts)
    methods = rows.groupby("method", sort=False)
    order = list(methods["rank"].mean().sort_values(kind="stable").index)
    layers = methods["layer"].agg(lambda names: ", ".join(dict.fromkeys(names)))
    figure, axes = sized(0.14 + 0.05 * max(len(order), 3))
    ax = axes[0][0]
    for i, (run, look) in enumerate(looks(runs).items()):
        group = rows[rows["run"] == run]
        place = group["method"].map(order.index) + aside(i, len(runs))
        bars(ax, group, place, look, label=run, elinewidth=0.9)
        for y, row in zip(place, group.to_dict("records"), strict=True):
            ax.annotate(
                f"{row['rank']:g}", (row["high"], y), xytext=(4, 0), textcoords="offset points",
                va="center", fontsize="x-small",
            )  # fmt: skip
    named_ticks(ax, [f"{word(m, failed)}, {layers[m]}" for m in order])
    normalised = rows["metric"].iloc[0] == "normalised"
    kind = "normalised drift (1: the map of another picture)" if normalised else "RMSE of maps (0-1)"
    ax.set_xlabel(f"mean {kind}; the number is the rank")
    if len(runs) > 1:
        legend(figure, axes[0], most=4)
    return figure.noted(**facts)
