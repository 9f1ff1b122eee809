"""The one-page figure: does it still work, does it still look there, does the one warn of the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medrob.analysis import QUESTIONS, Finding, answers
from medrob.check import require
from medrob.evaluation import require_scores
from medrob.figures.style import Colour, band, colours, layer_labels, letter, markers, said, sized, word


def summary(
    scores: pd.DataFrame, mean: pd.DataFrame, tests: pd.DataFrame, failure: pd.DataFrame,
    *, method: str, layer: str, severity: int,
) -> Figure:  # fmt: skip
    """Six panels: AUC and drift against severity, how they go together, drift as a warning, the answer.

    Args:
        scores, mean, failure: from `medrob.evaluation.score` and `medrob.analysis`.
        tests: from `medrob.analysis.tests`.
        method, layer, severity: what the answer is about.

    Raises:
        ValueError: scores without a column or the clean AUC; see also `medrob.analysis.answers`.
    """
    figure, axes = sized(1.16, 3, 2)
    require(scores, ["class"], "scores")
    rows = scores[scores["class"] == "all"]
    require_scores(rows, ["value", "low", "high", "drop"], "auc")
    rows = rows[rows["metric"] == "auc"]
    names = [n for n in dict.fromkeys(rows["corruption"]) if n != "clean"]
    shades, shapes = colours(names), markers(names)
    clean = rows[rows["corruption"] == "clean"].iloc[0]
    moved = mean[(mean["method"] == method) & (mean["layer"] == layer)]
    for name in names:
        look: dict[str, Any] = dict(colour=shades[name], marker=shapes[name], label=word(name))
        group = rows[rows["corruption"] == name]
        columns = [[clean[c], *group[c]] for c in ("value", "low", "high")]
        band(axes[0][0], [0, *group["severity"]], *columns, **look)
        group = moved[(moved["corruption"] == name) & moved["value"].notna()]
        if group.empty:
            continue
        columns = [[0.0, *group[c]] for c in ("value", "low", "high")]
        band(axes[0][1], [0, *group["severity"]], *columns, **look)
    axes[0][0].set(title="does it still work?", xlabel="severity (0 = clean)", ylabel="AUC")
    axes[0][1].set(title="does it still look there?", xlabel="severity (0 = clean)")
    if not moved["value"].notna().any():
        said(axes[0][1], "every map is degenerate")
    axes[0][1].set_ylabel(f"RMSE of maps\n{word(method)}, {layer}")
    _drop_and_drift(axes[1][0], rows, moved, shades, shapes)
    axes[1][0].set(title="do drop and drift go together?", ylabel="AUC drop against clean")
    axes[1][0].set_xlabel("RMSE of maps (the number is the severity)")
    _association(axes[1][1], tests, method)
    _warning(axes[2][0], failure, method, layer)
    _answer(axes[2][1], tests)
    letter(figure, axes.flat)
    handles = axes[0][0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=min(len(names), 5))
    return figure


def _drop_and_drift(
    ax: Axes,
    scores: pd.DataFrame,
    moved: pd.DataFrame,
    shades: Mapping[str, Colour],
    shapes: Mapping[str, str],
) -> None:
    """A point a condition; a grey line through those of each severity, as severity alone must fool nobody."""
    both = scores.merge(moved, on=["corruption", "severity"], suffixes=("_score", "")).dropna(
        subset=["value", "drop"]
    )
    for row in both.to_dict("records"):
        name = row["corruption"]
        ax.plot(
            row["value"], row["drop"], color=shades[name], marker=shapes[name], linestyle="", markersize=5.5
        )
        ax.annotate(
            row["severity"],
            (row["value"], row["drop"]),
            ha="center",
            va="center",
            fontsize=4.5,
            color="white",
        )
    for _, group in both.groupby("severity"):
        x, y = group["value"].to_numpy(float), group["drop"].to_numpy(float)
        if len(x) > 2 and np.ptp(x) > 1e-9:
            slope, cut = np.polyfit(x, y, 1)
            ends = np.array([x.min(), x.max()])
            ax.plot(ends, cut + slope * ends, color="0.55", linewidth=0.8, zorder=1)
    ax.axhline(0, color="0.6", linewidth=0.6)
    if both.empty:
        said(ax, "no usable map, or no AUC:\none class alone")


def _answer(ax: Axes, tests: pd.DataFrame) -> None:
    """The tests declared beforehand, each from chance to perfect, with its verdict."""
    rows = answers(tests).to_dict("records")
    for y, (question, row) in enumerate(zip(QUESTIONS, rows, strict=True)):
        found, verdict = Finding.of(row), row["verdict"]
        scale = 1 - question.chance  # from chance, drawn at 0, to perfect, at 1
        value, low, high = ((v - question.chance) / scale for v in (found.value, found.low, found.high))
        if np.isfinite(value):
            errors = [[max(value - low, 0)], [max(high - value, 0)]]
            ax.errorbar(value, y, xerr=errors, color="0.1", marker="o", elinewidth=1)
        p = f", {found.told_p()}" if np.isfinite(found.p) else ""
        ax.text(-1, y - 0.2, f"{question.title}: {verdict}{p}", fontsize="x-small", va="bottom")
        ax.vlines(0, y - 0.12, y + 0.42, color="0.6", linewidth=0.8, linestyle=":")  # not through the words
    ax.set(xlim=(-1.05, 1.05), ylim=(len(rows) - 0.5, -0.8), yticks=[])
    ax.set_title("the answer, declared beforehand")
    ax.set_xlabel("correlation; 2 AUROC - 1 for the warning")


def _association(ax: Axes, association: pd.DataFrame, method: str) -> None:
    """Rank correlation of drop and drift by layer: pooled looks strong, within severity is the evidence."""
    kinds = {
        "pooled": ("0.65", "s", -0.28),
        "within severity": ("0.1", "o", 0.0),
        "partial": ("0.4", "^", 0.28),
    }
    rows = association[(association["method"] == method) & association["kind"].isin(kinds)]
    layers = list(dict.fromkeys(rows["layer"]))
    for kind, (colour, marker, shift) in kinds.items():
        group = rows[rows["kind"] == kind]
        place = np.array([layers.index(layer) for layer in group["layer"]], float) + shift
        errors = [
            (group["value"] - group["low"]).clip(lower=0),
            (group["high"] - group["value"]).clip(lower=0),
        ]
        ax.errorbar(
            place,
            group["value"],
            yerr=errors,
            color=colour,
            marker=marker,
            linestyle="",
            elinewidth=0.8,
            markersize=min(4.0, 28 / max(len(layers), 1)),  # so that none hides its neighbour
            label=kind,
        )
    ax.axhline(0, color="0.6", linewidth=0.6)
    ax.set(ylim=(-1.05, 1.05), xlim=(-0.6, max(len(layers), 1) - 0.4))
    ax.set(xticks=range(len(layers)), xlabel=f"layer ({word(method)})")
    ax.set_xticklabels(layer_labels(layers), fontsize="x-small")
    ax.set(title="the same, in ranks", ylabel="rank correlation")
    if rows["value"].notna().any():
        ax.legend(loc="lower right", fontsize="x-small", ncols=3, columnspacing=0.8, handletextpad=0.1)
    else:
        said(ax, "not defined: no usable map, no AUC,\nor nothing that differs")


def _warning(ax: Axes, failure: pd.DataFrame, method: str, layer: str) -> None:
    """AUROC for a flipped prediction against severity: the drift of one layer, and the baselines."""
    rows = failure[failure["event"] == "flipped"]
    drift = rows[(rows["method"] == method) & (rows["layer"] == layer)]
    lines = {"drift of the map": drift}  # what needs no map is of the pictures that have the declared one
    lines |= {name: rows[rows["signal"] == name] for name in ("low confidence", "image rmse")}
    for (name, group), colour, marker in zip(lines.items(), ("0.1", "0.4", "0.65"), "oD^", strict=True):
        band(
            ax, list(group["severity"]), list(group["auroc"]), list(group["low"]), list(group["high"]),
            colour=colour, marker=marker, label=name.replace("rmse", "RMSE"),
        )  # fmt: skip
    ax.axhline(0.5, color="0.6", linewidth=0.6, linestyle=":")
    ax.set(title="does drift warn of a flip?", xlabel="severity", ylabel="AUROC within class", ylim=(0, 1.02))
    ax.set_xticks(sorted(rows["severity"].unique()))
    if drift["auroc"].notna().any():
        ax.legend(loc="best", fontsize="x-small")
    else:
        said(ax, "nothing to detect: no usable map,\nor within a class no picture or all flip")
