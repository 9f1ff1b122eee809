"""The figure on the first page, and those of several runs: how far they differ."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medrob.analysis import LEVEL, OPEN, QUESTIONS, Question, corrected_p
from medrob.figures import draw
from medrob.figures.draw import Look, bars, by_severity, empty, finish, from_clean, level, lines, looks, sized
from medrob.figures.of_analysis import AUROC, conditions
from medrob.words import Failed, p_value, word

__all__ = ["runs_compared", "summary"]

PANELS = "aabbcc;dddeee;ffgghh"  # (f) to (h): the declared tests
KINDS = {"pooled": Look("0.65", "s"), "within severity": Look("0.1", "o"), "partial": Look("0.4", "^")}
SIGNALS = {"drift": Look("0.1", "o"), "clean class": Look("0.4", "D"), "image rmse": Look("0.65", "^")}
MEASURES = {"auc": "AUC", "drop": "AUC drop", "drift": "drift"}


def summary(
    scores: pd.DataFrame, pairs: pd.DataFrame, tests: pd.DataFrame, failure: pd.DataFrame,
    answers: pd.DataFrame, *, method: str, layer: str, failed: Failed = (),
) -> Figure:  # fmt: skip
    """Does it still work, does it still look there, does a moving map tell of failure? Eight panels.

    Besides the scores: tables from `medrob.analysis`, with the answers for this method and layer; pairs are
    from `drop_and_drift`.
    """
    rows = from_clean(scores[(scores["class"] == "all") & (scores["metric"] == "auc")])
    pairs = pairs[pairs["layer"] == layer]
    look, note = draw.coloured(draw.at_worst(rows), "AUC drop at the highest severity")
    figure, panels = plt.subplot_mosaic(PANELS, height_ratios=[1, 1, 0.6], figsize=draw.size(0.82))
    works, there, together, ranks, warns, *answer = (panels[letter] for letter in "abcdefgh")
    by_severity(works, rows, look, title="does it still work?", xlabel="severity (0 = clean)", ylabel="AUC")
    level(works, 0.5, "chance")
    moved = pairs[pairs["value"].notna()]
    start = dict.fromkeys(draw.VALUE, 0.0)  # that of the clean picture
    clean = pd.DataFrame({"corruption": moved["corruption"].unique(), "severity": 0, **start})
    lines(there, pd.concat([clean, moved[[*clean]]]), "corruption", "severity", look)
    there.set(title="does it still look there?", xlabel="severity (0 = clean)", ylabel="RMSE of maps")
    there.set_xticks(works.get_xticks())
    if moved.empty:
        empty(there, "every map is degenerate")
    _together(together, moved.dropna(subset=["drop"]), look)
    name = word(method, failed)
    _association(ranks, tests[(tests["method"] == method) & tests["kind"].isin(KINDS)], name)
    flipped = failure[failure["event"] == "flipped"]
    _warning(warns, flipped[flipped["signal"].isin(SIGNALS)])
    for ax, question, row in zip(answer, QUESTIONS, answers.to_dict("records"), strict=True):
        _answer(ax, question, row)
    note = note.removeprefix("; ").replace("in", "(a) to (c), in", 1)
    return finish(figure, below=note, lettered=True, axes=[works])


def _together(ax: Axes, pairs: pd.DataFrame, look: Mapping[str, Look]) -> None:
    """AUC drop against drift."""
    conditions(ax, pairs, look)
    ax.set(title="drop against drift", xlabel="RMSE of maps", ylabel="AUC drop")
    if pairs.empty:
        empty(ax, "no usable map, or no AUC:\none class alone")


def _association(ax: Axes, rows: pd.DataFrame, name: str) -> None:
    """Rank correlation of drop and drift by layer: pooled looks strong, within severity is the evidence."""
    layers = list(dict.fromkeys(rows["layer"]))
    size = min(4.0, 28 / max(len(layers), 1))  # so that none hides its neighbour
    for (kind, look), shift in zip(KINDS.items(), (-0.28, 0.0, 0.28), strict=True):
        group = rows[rows["kind"] == kind]
        place = group["layer"].map(layers.index).astype(float) + shift
        bars(ax, group, place, look, upright=True, markersize=size, label=kind)
    level(ax)
    ax.set(ylim=(-1.05, 1.05), xlim=(-0.6, max(len(layers), 1) - 0.4), xlabel=f"layer ({name})")
    draw.layer_ticks(ax, layers)
    ax.set(title="the same, in ranks", ylabel="rank correlation")
    if rows["value"].notna().any():
        ax.legend(loc="lower right", fontsize=draw.SMALL, ncols=3, columnspacing=0.8, handletextpad=0.1)
    else:
        empty(ax, "not defined: no usable map, no AUC,\nor nothing that differs")


def _warning(ax: Axes, rows: pd.DataFrame) -> None:
    """AUROC for a flipped prediction against severity: the drift of one layer, and the baselines."""
    names = {"drift": "drift of the map"}
    lines(ax, rows, "signal", "severity", SIGNALS, columns=AUROC, label=lambda s: names.get(s, word(s)))
    level(ax, 0.5, "chance")
    ax.set(
        title="does drift go with a flip?", xlabel="severity", ylabel="AUROC within class", ylim=(-0.1, 1.05)
    )
    ax.set_xticks(sorted(rows["severity"].unique()))
    if rows.loc[rows["signal"] == "drift", "auroc"].notna().any():
        ax.legend(loc="lower left", fontsize=draw.SMALL, ncols=2, columnspacing=0.8)
    else:
        empty(ax, "nothing to detect: no usable map,\nor within a class no picture or all flip")


def _answer(ax: Axes, question: Question, row: Mapping) -> None:
    """A test declared beforehand: its value, its verdict, and what keeps a small p from being a yes."""
    (p, _), why = corrected_p(row), ""
    if p < LEVEL and row["verdict"] == OPEN:
        why = ": a control shows it, too" if row["controls"] else ": the interval holds 0"
    if np.isfinite(row["value"]):
        bars(ax, row, 0, Look("0.1", "o"), elinewidth=1)
    ax.vlines(0, -0.6, 0.5, color="0.6", linewidth=0.8, linestyle=":")  # not through the words
    said = f"{row['verdict']}{why}\n{p_value(row)}".strip()
    ax.text(0, 0.6, said, fontsize=draw.SMALL, ha="center", va="bottom")
    reach = 1.05 * question.reach
    ax.set(xlim=(-reach, reach), ylim=(-0.6, 2.6), yticks=[], title=question.title, xlabel=question.axis)


def runs_compared(compared: pd.DataFrame) -> Figure:
    """`medrob.analysis.compare_runs`: (a) AUC, (b) drift by severity, (c) less the first run."""
    look = looks(compared["run"])
    first, *others = look
    seeds = compared.groupby("run")["seeds"].first()
    names = {run: run + f" and {n - 1} other seed{'s' * (n > 2)}" * (n > 1) for run, n in seeds.items()}
    figure, [axes] = sized(0.42, 1, 3, width_ratios=[1, 1, 1.1])
    rows = compared[compared["severity"] != "all"]
    rows = rows.assign(place=rows["severity"].replace("clean", "0").astype(int))
    for ax, measure, label in zip(axes, ("auc", "drift"), ("AUC", "RMSE of maps"), strict=False):
        lines(ax, rows[rows["measure"] == measure], "run", "place", look, label=lambda run: names[run])
        ax.set(xlabel="severity (0 = clean)", ylabel=label, title="mean over corruptions")
        ax.locator_params(axis="x", integer=True)
    axes[1].set_ylim(bottom=0)
    ax, every = axes[2], compared[compared["severity"] == "all"]
    ax.set(title=f"less {first}", xlabel="difference, over all severities")
    level(ax, upright=True)
    draw.named_ticks(ax, list(MEASURES.values()))
    columns = ("difference", "difference_low", "difference_high")
    for row in every[every["run"].isin(others) & every["difference"].notna()].to_dict("records"):
        place = list(MEASURES).index(row["measure"]) + draw.aside(others.index(row["run"]), len(others))
        bars(ax, row, place, look[row["run"]], columns=columns)
    return finish(figure, lettered=True, most=4)
