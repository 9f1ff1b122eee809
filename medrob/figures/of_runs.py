"""The figure on the first page, and those of several runs: how far they differ, what each answers."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from medrob.analysis import OPPOSITE, QUESTIONS, YES, Finding
from medrob.figures import draw
from medrob.figures.draw import Drawing, Look, bars, empty, finish, level, lines, looks, sized
from medrob.figures.of_scores import from_clean
from medrob.words import Failed, p_value, word

__all__ = ["answers_compared", "runs_compared", "summary"]

KINDS = {"pooled": Look("0.65", "s"), "within severity": Look("0.1", "o"), "partial": Look("0.4", "^")}
SIGNALS = {"drift": Look("0.1", "o"), "clean class": Look("0.4", "D"), "image rmse": Look("0.65", "^")}
MEASURES = {"auc": "AUC", "drop": "AUC drop", "drift": "drift"}


def summary(
    scores: pd.DataFrame, pairs: pd.DataFrame, tests: pd.DataFrame, failure: pd.DataFrame,
    answers: pd.DataFrame, *, method: str, layer: str, failed: Failed = (),
) -> Drawing:  # fmt: skip
    """Does it still work, does it still look there, does a moving map tell of failure? Six panels.

    Besides the scores: tables from `medrob.analysis`, with the answers for this method and layer; pairs are
    from `drop_and_drift`.
    """
    rows = from_clean(scores[scores["class"] == "all"], "auc")
    pairs = pairs[pairs["layer"] == layer]
    look, name = looks(rows["corruption"]), word(method, failed)
    figure, [[works, there], [together, ranks], [warns, answer]] = sized(1.16, 3, 2)
    lines(works, rows, "corruption", "severity", look)
    works.set(title="does it still work?", xlabel="severity (0 = clean)", ylabel="AUC")
    moved = pairs[pairs["value"].notna()]
    start = dict.fromkeys(draw.VALUE, 0.0)  # that of the clean picture
    clean = pd.DataFrame({"corruption": moved["corruption"].unique(), "severity": 0, **start})
    lines(there, pd.concat([clean, moved[[*clean]]]), "corruption", "severity", look)
    there.set(title="does it still look there?", xlabel="severity (0 = clean)")
    there.set_ylabel(f"RMSE of maps\n{name}, {layer}")
    if moved.empty:
        empty(there, "every map is degenerate")
    _drop_and_drift(together, moved.dropna(subset=["drop"]), look)
    _association(ranks, tests[(tests["method"] == method) & tests["kind"].isin(KINDS)], name)
    flipped = failure[failure["event"] == "flipped"]
    _warning(warns, flipped[flipped["signal"].isin(SIGNALS)])
    _answer(answer, answers)
    return finish(figure, lettered=True, axes=[works])


def _drop_and_drift(ax: Axes, pairs: pd.DataFrame, look: Mapping[str, Look]) -> None:
    """A point a condition; a grey line through those of each severity, as severity alone must fool nobody."""
    digit = draw.Style(ha="center", va="center", fontsize=4.5, color="white")
    for row in pairs.to_dict("records"):
        colour, marker = look[row["corruption"]]
        ax.plot(row["value"], row["drop"], color=colour, marker=marker, linestyle="", markersize=5.5)
        ax.annotate(row["severity"], (row["value"], row["drop"]), **digit)
    for _, group in pairs.groupby("severity"):
        draw.least_squares(ax, group["value"], group["drop"])
    level(ax)
    ax.set(title="do drop and drift go together?", ylabel="AUC drop against clean")
    ax.set_xlabel("RMSE of maps (the number is the severity)")
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
    ax.set_xticks(range(len(layers)), draw.layer_labels(layers), fontsize="x-small")
    ax.set(title="the same, in ranks", ylabel="rank correlation")
    if rows["value"].notna().any():
        ax.legend(loc="lower right", fontsize="x-small", ncols=3, columnspacing=0.8, handletextpad=0.1)
    else:
        empty(ax, "not defined: no usable map, no AUC,\nor nothing that differs")


def _warning(ax: Axes, rows: pd.DataFrame) -> None:
    """AUROC for a flipped prediction against severity: the drift of one layer, and the baselines."""
    names = {"drift": "drift of the map"}
    columns = ("auroc", "low", "high")
    lines(ax, rows, "signal", "severity", SIGNALS, columns=columns, label=lambda s: names.get(s, word(s)))
    level(ax, 0.5, dotted=True)
    ax.set(title="does drift go with a flip?", xlabel="severity", ylabel="AUROC within class", ylim=(0, 1.02))
    ax.set_xticks(sorted(rows["severity"].unique()))
    if rows.loc[rows["signal"] == "drift", "auroc"].notna().any():
        ax.legend(loc="best", fontsize="x-small")
    else:
        empty(ax, "nothing to detect: no usable map,\nor within a class no picture or all flip")


def _answer(ax: Axes, answers: pd.DataFrame) -> None:
    """The tests declared beforehand, each with its verdict; a gain is drawn five times as large."""
    for y, (question, row) in enumerate(zip(QUESTIONS, answers.to_dict("records"), strict=True)):
        if np.isfinite(row["value"]):
            bars(ax, {c: row[c] / question.reach for c in draw.VALUE}, y, Look("0.1", "o"), elinewidth=1)
        verdict = ", ".join(filter(None, (row["verdict"], p_value(Finding.of(row)))))
        ax.text(-1, y - 0.2, f"{question.title}: {verdict}", fontsize="x-small", va="bottom")
        ax.vlines(0, y - 0.12, y + 0.42, color="0.6", linewidth=0.8, linestyle=":")  # not through the words
    ax.set(xlim=(-1.05, 1.05), ylim=(len(answers) - 0.5, -0.8), yticks=[])
    ax.set(title="the tests declared beforehand", xlabel="correlation; 5 x gain in AUROC")


def runs_compared(compared: pd.DataFrame) -> Drawing:
    """`medrob.analysis.compare_runs`: (a) AUC, (b) drift by severity, (c) if several: less the first."""
    look = looks(compared["run"])
    first, *others = look
    seeds = compared.groupby("run")["seeds"].first()
    names = {run: run + f" and {n - 1} other seed{'s' * (n > 2)}" * (n > 1) for run, n in seeds.items()}
    figure, [axes] = sized(0.42, 1, 3, width_ratios=[1, 1, 1.1]) if others else sized(0.42, 1, 2)
    rows = compared[compared["severity"] != "all"]
    rows = rows.assign(place=rows["severity"].replace("clean", "0").astype(int))
    for ax, measure, label in zip(axes, ("auc", "drift"), ("AUC", "RMSE of maps"), strict=False):
        lines(ax, rows[rows["measure"] == measure], "run", "place", look, label=lambda run: names[run])
        ax.set(xlabel="severity (0 = clean)", ylabel=label, title="mean over corruptions")
        ax.locator_params(axis="x", integer=True)
    axes[1].set_ylim(bottom=0)
    facts = dict(compared=f"Run {first}", maps="its declared map", intervals="bands: 95 % intervals.")
    if others:
        ax, every = axes[2], compared[compared["severity"] == "all"]
        ax.set(title=f"less {first}", xlabel="difference, over all severities")
        level(ax, upright=True)
        draw.named_ticks(ax, list(MEASURES.values()))
        columns = ("difference", "difference_low", "difference_high")
        for row in every[every["run"].isin(others) & every["difference"].notna()].to_dict("records"):
            place = list(MEASURES).index(row["measure"]) + draw.aside(others.index(row["run"]), len(others))
            bars(ax, row, place, look[row["run"]], columns=columns)
        facts = dict(compared=f"Runs side by side ({', '.join(look)})", maps="each run's declared map")
        bands = "bands and bars: 95 % intervals."
        facts["intervals"] = f"(c) differences to the first run; {bands} {draw.FIRST}"
    return finish(figure, lettered=True, most=4).noted(**facts)


def answers_compared(asked: pd.DataFrame, *, failed: Failed = ()) -> Drawing:
    """The declared tests of every run (`medrob.analysis.answers_of_runs`), a panel a test; bars: 95 %.

    Black: yes, or the other way round; white: undecided. The dotted line is chance.
    """
    runs = list(dict.fromkeys(asked["run"]))
    faces = {YES: "0.1", OPPOSITE: "0.1"}
    figure, axes = sized(0.2 + 0.045 * len(runs), 1, len(QUESTIONS), sharey=True)
    for ax, question in zip(axes[0], QUESTIONS, strict=True):
        level(ax, upright=True, dotted=True)
        for row in asked[asked["name"] == question.name].to_dict("records"):
            y, face = runs.index(row["run"]), faces.get(row["verdict"], "white")
            if np.isfinite(row["value"]):
                bars(ax, row, y, Look("0.1", "o"), markerfacecolor=face)
            else:
                ax.text(0, y, row["verdict"], ha="center", va="center", fontsize="x-small")
        ax.set(
            title=question.title, xlabel=question.axis, xlim=(-1.06 * question.reach, 1.06 * question.reach)
        )
    draw.named_ticks(axes[0][0], runs)
    where = asked.drop_duplicates("run").itertuples()
    maps = {row.run: f"{word(row.method, failed)} at {row.layer}" for row in where}
    each = "; ".join(f"{run}: {name}" for run, name in maps.items())
    compared = each if len(set(maps.values())) > 1 else f"{', '.join(runs)}: {maps[runs[0]]}"
    return finish(figure, lettered=True).noted(compared=compared, first=draw.FIRST * (len(runs) > 1))
