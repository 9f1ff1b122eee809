"""The one-page figure: does it still work, does it still look there, does a moving map warn of failure?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from medrob.analysis import QUESTIONS, Finding
from medrob.check import require
from medrob.evaluation import require_scores
from medrob.figures.of_test import from_clean
from medrob.figures.panels import VALUE, Drawing, bars, empty, legend, letters, level, lines, sized
from medrob.figures.style import Failed, Look, layer_labels, looks, word
from medrob.words import p_value

__all__ = ["summary"]

KINDS = {"pooled": Look("0.65", "s"), "within severity": Look("0.1", "o"), "partial": Look("0.4", "^")}
SIGNALS = {"drift": Look("0.1", "o"), "low confidence": Look("0.4", "D"), "image rmse": Look("0.65", "^")}


def summary(
    scores: pd.DataFrame,
    pairs: pd.DataFrame,
    fits: pd.DataFrame,
    tests: pd.DataFrame,
    failure: pd.DataFrame,
    answers: pd.DataFrame,
    *,
    method: str,
    layer: str,
    failed: Failed = (),
) -> Drawing:
    """Six panels: AUC and drift against severity, how they go together, drift as a warning, the answer.

    Args:
        scores: from `medrob.evaluation.score`. The other tables are from `medrob.analysis`:
        pairs, fits: from `drop_and_drift` and `lines_over_corruptions`. tests: from `tests`.
        failure: from `failure`. answers: from `answers`, to the tests declared for this method and layer.
        method, layer: what the answer is about.

    Raises:
        ValueError: scores without a column or the clean AUC.
    """
    require(scores, ["class"], "scores")
    rows = scores[scores["class"] == "all"]
    require_scores(rows, ["value", "low", "high", "drop"], "auc")
    rows = from_clean(rows[rows["metric"] == "auc"])
    pairs, fits = (table[table["layer"] == layer] for table in (pairs, fits))
    look, name = looks(rows["corruption"]), word(method, failed)
    figure, axes = sized(1.16, 3, 2)
    lines(axes[0][0], rows, "corruption", "severity", look)
    axes[0][0].set(title="does it still work?", xlabel="severity (0 = clean)", ylabel="AUC")
    _drift(axes[0][1], pairs[pairs["value"].notna()], look)
    axes[0][1].set(title="does it still look there?", ylabel=f"RMSE of maps\n{name}, {layer}")
    _drop_and_drift(axes[1][0], pairs.dropna(subset=["value", "drop"]), fits, look)
    _association(axes[1][1], tests[tests["method"] == method])
    axes[1][1].set_xlabel(f"layer ({name})")
    _warning(axes[2][0], failure[failure["event"] == "flipped"], method, layer)
    _answer(axes[2][1], answers)
    letters(axes.flat)
    legend(figure, axes[0][:1])
    return figure


def _drift(ax: Axes, pairs: pd.DataFrame, look: Mapping[str, Look]) -> None:
    """Drift against severity; it begins at 0, that of the clean picture."""
    start = pd.DataFrame(
        {"corruption": pairs["corruption"].unique(), "severity": 0, **dict.fromkeys(VALUE, 0.0)}
    )
    lines(ax, pd.concat([start, pairs[[*start]]]), "corruption", "severity", look)
    ax.set_xlabel("severity (0 = clean)")
    if pairs.empty:
        empty(ax, "every map is degenerate")


def _drop_and_drift(ax: Axes, pairs: pd.DataFrame, fits: pd.DataFrame, look: Mapping[str, Look]) -> None:
    """A point a condition; a grey line through those of each severity, as severity alone must fool nobody."""
    for row in pairs.to_dict("records"):
        colour, marker = look[row["corruption"]]
        ax.plot(row["value"], row["drop"], color=colour, marker=marker, linestyle="", markersize=5.5)
        ax.annotate(
            row["severity"],
            (row["value"], row["drop"]),
            ha="center",
            va="center",
            fontsize=4.5,
            color="white",
        )
    for _, fit in fits.groupby("severity"):
        ax.plot(fit["drift"], fit["drop"], color="0.55", linewidth=0.8, zorder=1)
    level(ax)
    ax.set(title="do drop and drift go together?", ylabel="AUC drop against clean")
    ax.set_xlabel("RMSE of maps (the number is the severity)")
    if pairs.empty:
        empty(ax, "no usable map, or no AUC:\none class alone")


def _association(ax: Axes, tests: pd.DataFrame) -> None:
    """Rank correlation of drop and drift by layer: pooled looks strong, within severity is the evidence."""
    rows = tests[tests["kind"].isin(KINDS)]
    layers = list(dict.fromkeys(rows["layer"]))
    size = min(4.0, 28 / max(len(layers), 1))  # so that none hides its neighbour
    for (kind, look), shift in zip(KINDS.items(), (-0.28, 0.0, 0.28), strict=True):
        group = rows[rows["kind"] == kind]
        place = group["layer"].map(layers.index).astype(float) + shift
        bars(ax, group, place, look, upright=True, markersize=size, label=kind)
    level(ax)
    ax.set(ylim=(-1.05, 1.05), xlim=(-0.6, max(len(layers), 1) - 0.4))
    ax.set_xticks(range(len(layers)), layer_labels(layers), fontsize="x-small")
    ax.set(title="the same, in ranks", ylabel="rank correlation")
    if rows["value"].notna().any():
        ax.legend(loc="lower right", fontsize="x-small", ncols=3, columnspacing=0.8, handletextpad=0.1)
    else:
        empty(ax, "not defined: no usable map, no AUC,\nor nothing that differs")


def _warning(ax: Axes, rows: pd.DataFrame, method: str, layer: str) -> None:
    """AUROC for a flipped prediction against severity: the drift of one layer, and the baselines."""
    drift = (rows["signal"] == "drift") & (rows["method"] == method) & (rows["layer"] == layer)
    known = rows.loc[drift, "auroc"].notna().any()
    # What needs no map is of the pictures that have the declared one.
    shown = pd.concat([rows[drift], rows[rows["signal"].isin(["low confidence", "image rmse"])]])
    lines(
        ax, shown, "signal", "severity", SIGNALS, columns=("auroc", "low", "high"),
        label=lambda name: "drift of the map" if name == "drift" else word(name),
    )  # fmt: skip
    level(ax, 0.5, dotted=True)
    ax.set(title="does drift warn of a flip?", xlabel="severity", ylabel="AUROC within class", ylim=(0, 1.02))
    ax.set_xticks(sorted(rows["severity"].unique()))
    if known:
        ax.legend(loc="best", fontsize="x-small")
    else:
        empty(ax, "nothing to detect: no usable map,\nor within a class no picture or all flip")


def _answer(ax: Axes, answers: pd.DataFrame) -> None:
    """The tests declared beforehand, each from chance to perfect, with its verdict."""
    for y, (question, row) in enumerate(zip(QUESTIONS, answers.to_dict("records"), strict=True)):
        # From chance, drawn at 0, to perfect, at 1.
        shown = {c: (row[c] - question.chance) / (1 - question.chance) for c in VALUE}
        if np.isfinite(row["value"]):
            bars(ax, shown, y, Look("0.1", "o"), elinewidth=1)
        verdict = ", ".join(filter(None, (row["verdict"], p_value(Finding.of(row)))))
        ax.text(-1, y - 0.2, f"{question.title}: {verdict}", fontsize="x-small", va="bottom")
        ax.vlines(0, y - 0.12, y + 0.42, color="0.6", linewidth=0.8, linestyle=":")  # not through the words
    ax.set(xlim=(-1.05, 1.05), ylim=(len(answers) - 0.5, -0.8), yticks=[])
    ax.set(title="the answer, declared beforehand", xlabel="correlation; 2 AUROC - 1 for the warning")
