"""Figures of the scores: how much is lost, where, and how sure the network is of its mistakes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from medrob.check import require
from medrob.evaluation import require_scores
from medrob.figures.style import band, below, beside, colours, ink, markers, noted, nothing, sized, word


def severity_curves(scores: pd.DataFrame, *, metric: str = "auc") -> Figure:
    """A score against severity: a panel a class and one for all, a line a corruption, bands: 95 % intervals.

    Args:
        scores: from `medrob.evaluation.score`. metric: one of its metrics (accuracy: recall, for a class).

    Raises:
        ValueError: a column, the metric or its clean value is missing.
    """
    require_scores(scores, ["value", "low", "high"], metric)
    rows = scores[scores["metric"] == metric]
    classes = list(dict.fromkeys(rows["class"]))
    clean = rows[rows["corruption"] == "clean"].set_index("class")
    names = [n for n in dict.fromkeys(rows["corruption"]) if n != "clean"]
    shades, shapes = colours(names), markers(names)
    columns = min(len(classes), 4)
    lines = -(-len(classes) // columns)
    figure, axes = sized(min(0.42, 1.2 / lines) * lines, lines, columns, sharey=True, sharex=True)
    for ax, name in zip(axes.flat, classes, strict=False):
        at_clean = clean.loc[name]
        for corruption, group in rows[rows["class"] == name].groupby("corruption", sort=False):
            if corruption == "clean":
                continue
            data = {c: [at_clean[c], *group[c]] for c in ("value", "low", "high")}
            band(
                ax, [0, *group["severity"]], data["value"], data["low"], data["high"],
                colour=shades[corruption], marker=shapes[corruption], label=word(str(corruption)),
            )  # fmt: skip
        if metric == "auc":
            ax.axhline(0.5, color="0.5", linestyle=":", linewidth=0.8)
        ax.set(title="all classes" if name == "all" else name, xticks=range(int(rows["severity"].max()) + 1))
    for ax in axes.flat[len(classes) :]:
        ax.axis("off")
    for row in axes:
        row[0].set_ylabel(word(metric))
    below(figure, "severity (0 = clean)")
    handles = axes.flat[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=min(len(names), 5))
    return figure


def drop_heatmap(scores: pd.DataFrame, *, metric: str = "auc") -> Figure:
    """The drop against clean of every corruption (rows) and severity (columns); bold: interval above 0.

    Args:
        scores: from `medrob.evaluation.score`. metric: one of its metrics.

    Raises:
        ValueError: a column is missing.
    """
    require(scores, ["corruption", "severity", "class", "metric", "drop", "drop_low"], "scores")
    rows = scores[(scores["metric"] == metric) & (scores["class"] == "all") & (scores["severity"] > 0)]
    if rows["drop"].isna().all():
        return nothing(f"the drop of the {word(metric)} is not defined")
    wide = {c: rows.pivot(index="corruption", columns="severity", values=c) for c in ("drop", "drop_low")}
    order = wide["drop"].mean(axis=1).sort_values(ascending=False).index
    drop, low = (wide[c].loc[order] for c in ("drop", "drop_low"))
    limit = float(np.nanmax(np.abs(drop.to_numpy()), initial=0.05))
    figure, axes = sized(0.1 + 0.075 * len(order))
    ax = axes[0][0]
    sns.heatmap(
        drop, ax=ax, annot=True, fmt="+.3f", cmap="vlag", vmin=-limit, vmax=limit, linewidths=0.5,
        cbar_kws={"label": f"{word(metric)} drop against clean"}, annot_kws={"fontsize": 8},
        yticklabels=[word(name) for name in order],
    )  # fmt: skip
    bounds = low.to_numpy()[drop.notna().to_numpy()]  # a cell without a number has no text
    papers = ax.collections[0].get_facecolor()[drop.notna().to_numpy().ravel()]
    for text, bound, paper in zip(ax.texts, bounds, papers, strict=True):
        text.set(fontweight="bold" if bound > 0 else "normal", color=ink(paper))
    known = (
        "bold: the 95 % interval of the drop lies above 0" if low.notna().any(axis=None) else "no intervals"
    )
    ax.set(xlabel=f"severity ({known})", ylabel="")
    return figure


def reliability(bins: pd.DataFrame, *, severity: int | None = None) -> Figure:
    """Share right against confidence, clean and each corruption at one severity; size: share of the images.

    Args:
        bins: from `medrob.evaluation.reliability`. severity: None = the highest of the table.

    Raises:
        ValueError: a column is missing.
    """
    require(bins, ["corruption", "severity", "confidence", "accuracy", "images"], "bins")
    severity = int(bins["severity"].max()) if severity is None else severity
    clean = bins[bins["corruption"] == "clean"].sort_values("confidence")
    dirty = bins[(bins["severity"] == severity) & (bins["corruption"] != "clean")]
    names = list(dict.fromkeys(dirty["corruption"]))
    shades, shapes = colours(names), markers(names)
    figure, axes = sized(
        0.3 * (-(-max(len(names), 1) // 3)) + 0.05, -(-max(len(names), 1) // 3), 3, sharex=True, sharey=True
    )
    for ax, name in zip(axes.flat, names, strict=False):
        ax.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle=":")
        ax.plot(clean["confidence"], clean["accuracy"], color="0.35", linewidth=1, marker=".", label="clean")
        group = dirty[dirty["corruption"] == name].sort_values("confidence")
        ax.plot(group["confidence"], group["accuracy"], color=shades[name], linewidth=1)
        ax.scatter(
            group["confidence"], group["accuracy"], s=6 + 90 * group["images"] / group["images"].sum(),
            color=shades[name], marker=shapes[name], zorder=3, edgecolor="white", linewidth=0.4,
        )  # fmt: skip
        ax.set(title=word(name), xlim=(0, 1.06), ylim=(-0.04, 1.08))
    for ax in axes.flat[len(names) :]:
        ax.axis("off")
    if len(names):
        axes.flat[0].legend(loc="upper left")
    area = "area of the coloured markers: share of the images"
    below(figure, f"confidence of the network (severity {severity}; {area})")
    beside(figure, "share of right predictions")
    return noted(figure, severity=severity)
