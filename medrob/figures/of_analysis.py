"""Figures of the question: does what moves the map cost skill, and does it tell of failure? And of runs."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medrob.analysis import LEVEL, OPEN, QUESTIONS, Question, corrected_p
from medrob.figures import draw
from medrob.figures.draw import Look, bars, empty, finish, level, lines, looks, sized
from medrob.figures.of_heatmaps import drift_by_layer
from medrob.words import Failed, p_value, word

__all__ = ["alarms", "drift_by_class", "drop_against_drift", "image_scatter", "runs_compared", "signals"]
__all__ += ["summary"]

CLASSES = 8  # that are told apart; more are drawn as one
AUROC = ("auroc", "low", "high")
PANELS = "aabbcc;dddeee;ffgghh"  # of the summary; (f) to (h): the declared tests
KINDS = {"pooled": Look("0.65", "s"), "within severity": Look("0.1", "o"), "partial": Look("0.4", "^")}
SIGNALS = {"drift": Look("0.1", "o"), "clean class": Look("0.4", "D"), "image rmse": Look("0.65", "^")}
MEASURES = {"auc": "AUC", "drop": "AUC drop", "drift": "drift"}


def drift_by_class(
    mean: pd.DataFrame, scores: pd.DataFrame, *, method: str, severity: int, failed: Failed = ()
) -> Figure | None:
    """`medrob.analysis.drift_by_class` by layer: a panel a corruption, a line a class; above: AUC drop."""
    rows = scores.query("metric == 'auc' and `class` == 'all' and severity == @severity")
    drops = rows.set_index("corruption")["drop"]
    titles = {name: f"{word(name)}: {drop:+.3f}" for name, drop in drops.items()}
    note = f"{word(method, failed)}, severity {severity}; above: AUC drop"
    return drift_by_layer(mean, panels="corruption", by="of", titles=titles, note=note)


def drop_against_drift(pairs: pd.DataFrame, *, layers: Sequence[str], failed: Failed = ()) -> Figure | None:
    """AUC drop against mean drift: a panel a layer, a point a condition, larger with severity; bars: 95 %.

    pairs: from `medrob.analysis.drop_and_drift`; None if no map or no AUC is usable. Of more than twelve
    layers so many are drawn, from the first to the last.
    """
    pairs = pairs[pairs["layer"].isin(layers)]
    if pairs.dropna(subset=["value", "drop"]).empty:
        return None
    shown = np.unique(np.linspace(0, len(layers) - 1, draw.PANELS).astype(int))
    look, note = draw.coloured(draw.at_worst(pairs), "AUC drop at the highest severity")
    figure, axes = draw.grid(len(shown), 3, min(0.38, 1.1 / -(-len(shown) // 3)))
    for ax, k in zip(axes.flat, shown, strict=False):
        group = pairs[pairs["layer"] == layers[k]].dropna(subset=["value", "drop"])
        conditions(ax, group, look, ends=True)
        if group.empty:
            empty(ax, "no usable map,\nor no AUC")
        ax.set_title(layers[k])
    below = f"{draw.DRIFT}, {word(pairs['method'].iloc[0], failed)}{note}"
    return finish(figure, below=below, beside="AUC drop against clean", handles=draw.key(look))


def conditions(ax: Axes, pairs: pd.DataFrame, look: Mapping[str, Look], *, ends: bool = False) -> None:
    """A point a condition, larger with severity, perhaps with its intervals; a grey line a severity, as
    severity alone must fool nobody.
    """
    drop = ("drop", "drop_low", "drop_high")
    for row in pairs.to_dict("records"):
        of = look.get(row["corruption"], Look("0.8", "o"))
        if ends and row["corruption"] in look:
            thin = draw.Style(markersize=0, alpha=0.5)
            bars(ax, row, row["drop"], of, **thin)
            bars(ax, row, row["value"], of, columns=drop, upright=True, **thin)
        size = draw.Style(
            markersize=2.5 + 0.7 * row["severity"], markeredgecolor="white", markeredgewidth=0.4
        )
        ax.plot(row["value"], row["drop"], color=of.colour, marker=of.marker, linestyle="", **size)
    for _, group in pairs.groupby("severity"):
        draw.least_squares(ax, group["value"], group["drop"])
    level(ax)


def image_scatter(points: pd.DataFrame, *, classes: Sequence[str], failed: Failed = ()) -> Figure | None:
    """Loss of margin against drift at the highest severity: a panel a corruption, a point an image.

    Lines: least squares of each class; more than `CLASSES`, or unknown ones, are drawn as one.
    points: from `medrob.analysis.moved_and_fell`, of one method and layer; None if no map is usable.
    """
    severity = points["severity"].max()
    points = points[points["severity"] == severity].dropna(subset=["rmse", "drop"])
    if points.empty:
        return None
    known = sorted(set(points["label"]))
    apart = 1 < len(known) <= CLASSES and known[0] >= 0
    points = points.assign(drawn_as=points["label"].map(dict(enumerate(classes))) if apart else "all")
    look = looks([classes[k] for k in known] if apart else ["all"])
    panels = points.groupby("corruption", sort=False)
    shown, note = draw.most(panels["drop"].mean(), "mean change of the margin")
    figure, axes = draw.grid(len(shown), 3, 0.34, above=0.1)
    for ax, corruption in zip(axes.flat, shown, strict=False):
        for name, group in panels.get_group(corruption).groupby("drawn_as", sort=False):
            style = draw.Style(color=look[name].colour, markersize=3, alpha=0.5, markeredgewidth=0)
            ax.plot(group["rmse"], group["drop"], look[name].marker, **style, rasterized=True)
            draw.least_squares(ax, group["rmse"], group["drop"], look[name].colour)
        level(ax)
        ax.set_title(word(corruption))
    axes.flat[0].set_xlim(left=0)
    of_map = f"{word(points['method'].iloc[0], failed)}, {points['layer'].iloc[0]}, severity {severity}"
    beside, handles = "drop of the clean class's logit margin", draw.key(look, str) if apart else ()
    return finish(figure, below=f"{draw.DRIFT}, {of_map}{note}", beside=beside, handles=handles)


def signals(failure: pd.DataFrame) -> Figure | None:
    """AUROC of each signal at the highest severity, a row a signal, for each event, within strata.

    failure: from `medrob.analysis.failure`; None if there is nothing to detect. Colours tell what has to be
    known for a signal.
    """
    failure = failure[failure["severity"] == failure["severity"].max()]
    if failure["auroc"].isna().all():
        return None
    events = {f"prediction {event}": rows for event, rows in failure.groupby("event", sort=False)}
    figure = _ranked(events, "league", AUROC, 0.05)
    for ax, title in zip(figure.axes, events, strict=True):
        level(ax, 0.5, "chance", upright=True)
        ax.set(title=title, xlabel="AUROC within class", xlim=(-0.03, 1.03))
        if events[title]["auroc"].isna().all():
            empty(ax, f"nothing to detect:\nwithin a class none or all are {title.split()[-1]}")
    return finish(figure, lettered=True)


def alarms(found: pd.DataFrame) -> Figure | None:
    """How well each signal finds the errors of the network, a row a signal: AUROC and AUGRC.

    found: from `medrob.analysis.alarms`; None if there are no errors, or several labels an image. Colours
    tell clean, corrupted and all pictures apart.
    """
    if found.empty or not found.query("pictures == 'all'")["errors"].any():
        return None
    better = {"auroc": "higher", "augrc": "lower"}
    metrics = {metric: found[found["metric"] == metric] for metric in better}
    figure = _ranked(metrics, "pictures", draw.VALUE, 0.055, apart=0.5)
    for ax, metric in zip(figure.axes, metrics, strict=True):
        ax.set_xlabel(f"{word(metric)} ({better[metric]} is better)")
    level(figure.axes[0], 0.5, "chance", upright=True)
    return finish(figure)


def _ranked(
    panels: Mapping[str, pd.DataFrame], by: str, columns: Sequence[str], height: float, apart: float = 0
) -> Figure:
    """Panels with a row a signal, of that height: a point and its interval for each value of `by`."""
    every = pd.concat(panels.values())
    names, look = list(every["signal"].unique()), looks(every[by])
    figure, [axes] = sized(0.16 + height * len(names), 1, len(panels), sharey=True)
    for ax, rows in zip(axes, panels.values(), strict=True):
        for i, (kind, of) in enumerate(look.items()):
            part = rows[rows[by] == kind]
            place = [names.index(name) + draw.aside(i, len(look), apart) for name in part["signal"]]
            bars(ax, part, place, of, columns=columns, markersize=4, label=kind)
    draw.named_ticks(axes[0], list(map(word, names)))
    return figure


def summary(
    scores: pd.DataFrame, pairs: pd.DataFrame, tests: pd.DataFrame, failure: pd.DataFrame,
    answers: pd.DataFrame, *, method: str, layer: str, failed: Failed = (),
) -> Figure:  # fmt: skip
    """Does it still work, does it still look there, does a moving map tell of failure? Eight panels.

    Besides the scores: tables from `medrob.analysis`, with the answers for this method and layer; pairs are
    from `drop_and_drift`.
    """
    rows = draw.from_clean(scores[(scores["class"] == "all") & (scores["metric"] == "auc")])
    pairs = pairs[pairs["layer"] == layer]
    look, note = draw.coloured(draw.at_worst(rows), "AUC drop at the highest severity")
    figure, panels = plt.subplot_mosaic(PANELS, height_ratios=[1, 1, 0.6], figsize=draw.size(0.82))
    works, there, together, ranks, warns, *answer = (panels[letter] for letter in "abcdefgh")
    draw.by_severity(
        works, rows, look, title="does it still work?", xlabel="severity (0 = clean)", ylabel="AUC"
    )
    level(works, 0.5, "chance")
    moved = pairs[pairs["value"].notna()]
    start = dict.fromkeys(draw.VALUE, 0.0)  # that of the clean picture
    clean = pd.DataFrame({"corruption": moved["corruption"].unique(), "severity": 0, **start})
    lines(there, pd.concat([clean, moved[[*clean]]]), "corruption", "severity", look)
    there.set(title="does it still look there?", xlabel="severity (0 = clean)", ylabel="RMSE of maps")
    there.set_xticks(works.get_xticks())
    if moved.empty:
        empty(there, "every map is degenerate")
    moved = moved.dropna(subset=["drop"])
    conditions(together, moved, look)
    together.set(title="drop against drift", xlabel="RMSE of maps", ylabel="AUC drop")
    if moved.empty:
        empty(together, "no usable map, or no AUC:\none class alone")
    name = word(method, failed)
    _association(ranks, tests[(tests["method"] == method) & tests["kind"].isin(KINDS)], name)
    flipped = failure[failure["event"] == "flipped"]
    _warning(warns, flipped[flipped["signal"].isin(SIGNALS)])
    for ax, question, row in zip(answer, QUESTIONS, answers.to_dict("records"), strict=True):
        _answer(ax, question, row)
    note = note.removeprefix("; ").replace("in", "(a) to (c), in", 1)
    return finish(figure, below=note, lettered=True, axes=[works])


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
        why = ": a control stops it" if row["controls"] else ": the interval holds 0"
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
