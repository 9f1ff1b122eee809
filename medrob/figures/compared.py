"""Figures of several runs: how far they differ, and whether they agree on the steadiest method."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medrob.analysis import MAP, NO, OPPOSITE, QUESTIONS, YES, Finding
from medrob.check import require
from medrob.figures.style import band, colours, letter, markers, noted, nothing, sized, word

FIRST = "What follows is said of the first run."
MEASURES = {"auc": "AUC", "drop": "AUC drop", "drift": "drift"}


def runs_compared(compared: pd.DataFrame) -> Figure:
    """(a) AUC and (b) drift against severity, a line a run; (c) differences to the first run; bands: 95 %.

    One run alone has no (c).

    Args:
        compared: from `medrob.analysis.compare_runs`.
    """
    names = list(dict.fromkeys(compared["run"]))
    shades, shapes = colours(names), markers(names)
    figure, axes = sized(0.42, 1, 3, width_ratios=[1, 1, 1.1]) if len(names) > 1 else sized(0.42, 1, 2)
    for (name, measure), group in compared.groupby(["run", "measure"], sort=False):
        if measure == "drop":
            continue
        rows = group[group["severity"] != "all"]
        place = [0 if s == "clean" else int(s) for s in rows["severity"]]
        band(
            axes[0][int(measure == "drift")], place, *(list(rows[c]) for c in ("value", "low", "high")),
            colour=shades[name], marker=shapes[name], label=_pooled(group, name),
        )  # fmt: skip
    for ax, label in zip(axes[0], ("AUC", "RMSE of maps"), strict=False):
        ax.set(xlabel="severity (0 = clean)", ylabel=label, title="mean over corruptions")
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0][1].set_ylim(bottom=0)
    if len(names) > 1:
        _differences(axes[0][2], compared[compared["severity"] == "all"], names)
    letter(figure, axes[0])
    figure.legend(
        *axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=min(len(names), 4)
    )
    if len(names) == 1:
        said = dict(compared=f"Run {names[0]}", maps="its declared map", intervals="bands: 95 % intervals.")
    else:
        said = dict(
            compared=f"Runs side by side ({', '.join(names)})",
            maps="each run's declared map",
            intervals="(c) differences to the first run; bands and bars: 95 % intervals. " + FIRST,
        )
    return noted(figure, **said)


def _pooled(group: pd.DataFrame, name: str) -> str:
    """The name of a run, and how many seeds are taken together under it."""
    seeds = int(group["seeds"].iloc[0])
    return name if seeds == 1 else f"{name} and {seeds - 1} other seed{'s' if seeds > 2 else ''}"


def _differences(ax: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    """Each run less the first, over all severities, with the interval of the difference."""
    ax.set(title=f"less {names[0]}", xlabel="difference, over all severities")
    ax.axvline(0, color="0.6", linewidth=0.8)
    ax.set_yticks(range(len(MEASURES)), MEASURES.values())
    ax.set_ylim(len(MEASURES) - 0.5, -0.5)
    shades, shapes = colours(names), markers(names)
    others = rows[rows["run"] != names[0]]
    for row in others[others["difference"].notna()].to_dict("records"):
        shift = _aside(names.index(row["run"]) - 1, len(names) - 1)
        value, low, high = (row[f"difference{end}"] for end in ("", "_low", "_high"))
        ax.errorbar(
            value, list(MEASURES).index(row["measure"]) + shift,
            xerr=[[max(value - low, 0)], [max(high - value, 0)]],
            color=shades[row["run"]], marker=shapes[row["run"]], elinewidth=0.9,
        )  # fmt: skip


def answers_compared(asked: pd.DataFrame) -> Figure:
    """The declared tests of every run, a panel a test; bars: 95 %.

    Black: yes, or the other way round; grey: no; white: not shown.

    The dotted line is chance, the grey strip what is too near to it to matter.

    Args:
        asked: from `medrob.analysis.answers_of_runs`.
    """
    require(asked, ["run", *MAP, "name", "value", "low", "high", "verdict"], "asked")
    runs = list(dict.fromkeys(asked["run"]))
    if not runs:
        return noted(nothing("no run was asked"), compared="none", first="")
    figure, axes = sized(0.2 + 0.045 * len(runs), 1, len(QUESTIONS), sharey=True)
    for ax, question in zip(axes[0], QUESTIONS, strict=True):
        chance, small = question.chance, question.small
        ax.axvspan(chance - small, chance + small, color="0.9", linewidth=0)
        ax.axvline(chance, color="0.5", linewidth=0.8, linestyle=":")
        for row in asked[asked["name"] == question.name].to_dict("records"):
            found, y = Finding.of(row), runs.index(row["run"])
            if not np.isfinite(found.value):
                ax.text(chance, y, row["verdict"], ha="center", va="center", fontsize="x-small")
                continue
            errors = [[max(found.value - found.low, 0)], [max(found.high - found.value, 0)]]
            ax.errorbar(
                found.value, y, xerr=errors, color="0.1", marker="o", elinewidth=0.9,
                markerfacecolor={YES: "0.1", OPPOSITE: "0.1", NO: "0.65"}.get(row["verdict"], "white"),
            )  # fmt: skip
        ax.set(title=question.title, xlabel=question.axis, xlim=(-0.03, 1.03) if chance else (-1.06, 1.06))
    where = asked.drop_duplicates("run").set_index("run")
    axes[0][0].set_yticks(range(len(runs)), runs)
    axes[0][0].set_ylim(len(runs) - 0.5, -0.5)
    letter(figure, axes[0])
    maps = [f"{word(m)} at {layer}" for m, layer in zip(where["method"], where["layer"], strict=True)]
    each = [f"{run}: {name}" for run, name in zip(runs, maps, strict=True)]
    told = "; ".join(each) if len(set(maps)) > 1 else f"{', '.join(runs)}: {maps[0]}"
    return noted(figure, compared=told, first=FIRST * (len(runs) > 1))


def method_ranks(ranked: pd.DataFrame) -> Figure:
    """Mean drift of every method in every run, the steadiest first; bars: 95 %, numbers: the rank.

    Args:
        ranked: from `medrob.analysis.ranks`.
    """
    rows = ranked[ranked["rank"].notna()]
    if rows.empty:
        runs = list(dict.fromkeys(ranked["run"]))
        return _of_runs(nothing("no method has usable maps in every run"), runs)
    order = list(rows.groupby("method", sort=False)["rank"].mean().sort_values(kind="stable").index)
    runs = list(dict.fromkeys(rows["run"]))
    shades, shapes = colours(runs), markers(runs)
    figure, axes = sized(0.14 + 0.05 * max(len(order), 3))
    ax = axes[0][0]
    for run, group in rows.groupby("run", sort=False):
        y = np.array([order.index(m) for m in group["method"]]) + _aside(runs.index(run), len(runs))
        errors = [
            (group["value"] - group["low"]).clip(lower=0),
            (group["high"] - group["value"]).clip(lower=0),
        ]
        ax.errorbar(
            group["value"], y, xerr=errors, color=shades[run], marker=shapes[run], linestyle="",
            elinewidth=0.9, label=run,
        )  # fmt: skip
        for place, row in zip(y, group.to_dict("records"), strict=True):
            ax.annotate(
                f"{row['rank']:g}", (row["high"], place), xytext=(4, 0), textcoords="offset points",
                va="center", fontsize="x-small",
            )  # fmt: skip
    where = rows.groupby("method")["layer"].agg(lambda names: ", ".join(dict.fromkeys(names)))
    ax.set_yticks(range(len(order)), [f"{word(m)}, {where[m]}" for m in order])
    ax.set_ylim(len(order) - 0.5, -0.5)
    kind = (
        "normalised drift (1: the map of another picture)" if rows["metric"].iloc[0] == "normalised" else ""
    )
    ax.set_xlabel(f"mean {kind or 'RMSE of maps (0-1)'}; the number is the rank")
    if len(runs) > 1:
        figure.legend(loc="outside upper center", ncols=min(len(runs), 4))
    return _of_runs(figure, runs)


def _aside(i: int, count: int) -> float:
    """How far from its tick the i-th of so many points stands: together they are centred on it."""
    return 0.5 * (i - (count - 1) / 2) / count


def _of_runs(figure: Figure, runs: list[str]) -> Figure:
    """Note for the caption which runs are ranked."""
    several = len(runs) > 1
    where = f"the runs {', '.join(runs)}" if several else f"run {', '.join(runs)}"
    return noted(figure, where=where, first=f" {FIRST}" * several)
