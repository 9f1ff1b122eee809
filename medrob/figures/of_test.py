"""Figures of the scores: how much is lost, where, and how sure the network is of its mistakes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns

from medrob.check import require
from medrob.evaluation import require_scores
from medrob.figures.panels import Drawing, below, beside, grid, legend, level, lines, nothing, sized
from medrob.figures.style import ink, looks, word

__all__ = ["drop_heatmap", "reliability", "severity_curves"]


def from_clean(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows whose every corruption begins with the clean one, so that each line starts there."""
    dirty = rows[rows["corruption"] != "clean"]
    clean = rows[rows["corruption"] == "clean"]
    return pd.concat([*(clean.assign(corruption=name) for name in dirty["corruption"].unique()), dirty])


def severity_curves(scores: pd.DataFrame, *, metric: str = "auc") -> Drawing:
    """A score against severity: a panel a class and one for all, a line a corruption, bands: 95 % intervals.

    Args:
        scores: from `medrob.evaluation.score`. metric: one of its metrics (accuracy: recall, for a class).

    Raises:
        ValueError: a column, the metric or its clean value is missing.
    """
    require_scores(scores, ["value", "low", "high"], metric)
    rows = from_clean(scores[scores["metric"] == metric])
    classes = list(dict.fromkeys(rows["class"]))
    figure, axes = grid(len(classes), 4, min(0.42, 1.2 / -(-len(classes) // 4)), above=0)
    for ax, name in zip(axes.flat, classes, strict=False):
        lines(ax, rows[rows["class"] == name], "corruption", "severity", looks(rows["corruption"]))
        if metric == "auc":
            level(ax, 0.5, dotted=True)
        ax.set(title="all classes" if name == "all" else name, xticks=range(int(rows["severity"].max()) + 1))
    for row in axes:
        row[0].set_ylabel(word(metric))
    below(figure, "severity (0 = clean)")
    legend(figure, axes.flat)
    return figure


def drop_heatmap(scores: pd.DataFrame) -> Drawing:
    """The AUC drop against clean of every corruption (rows) and severity (columns); bold: interval above 0.

    Args:
        scores: from `medrob.evaluation.score`.

    Raises:
        ValueError: a column is missing.
    """
    require(scores, ["corruption", "severity", "class", "metric", "drop", "drop_low"], "scores")
    rows = scores[(scores["metric"] == "auc") & (scores["class"] == "all") & (scores["severity"] > 0)]
    if rows["drop"].isna().all():
        return nothing("the drop of the AUC is not defined")
    wide = rows.pivot(index="corruption", columns="severity", values=["drop", "drop_low"])
    wide = wide.loc[wide["drop"].mean(axis=1).sort_values(ascending=False).index]
    drop, low = wide["drop"], wide["drop_low"]
    limit = float(np.nanmax(np.abs(drop.to_numpy()), initial=0.05))
    figure, axes = sized(0.1 + 0.075 * len(drop))
    ax = axes[0][0]
    sns.heatmap(
        drop, ax=ax, annot=True, fmt="+.3f", cmap="vlag", vmin=-limit, vmax=limit, linewidths=0.5,
        cbar_kws={"label": "AUC drop against clean"}, annot_kws={"fontsize": 8},
        yticklabels=[word(name) for name in drop.index],
    )  # fmt: skip
    known = drop.notna().to_numpy()  # a cell without a number has no text
    papers = ax.collections[0].get_facecolor()[known.ravel()]
    for text, bound, paper in zip(ax.texts, low.to_numpy()[known], papers, strict=True):
        text.set(fontweight="bold" if bound > 0 else "normal", color=ink(paper))
    bold = "bold: the 95 % interval of the drop lies above 0"
    ax.set(xlabel=f"severity ({bold if low.notna().any(axis=None) else 'no intervals'})", ylabel="")
    return figure


def reliability(bins: pd.DataFrame) -> Drawing:
    """Share right against confidence, clean and each corruption at the highest severity.

    The size of the markers is the share of the images.

    Args:
        bins: from `medrob.evaluation.reliability`.

    Raises:
        ValueError: a column is missing.
    """
    require(bins, ["corruption", "severity", "confidence", "accuracy", "images"], "bins")
    severity = int(bins["severity"].max())
    clean = bins[bins["corruption"] == "clean"].sort_values("confidence")
    dirty = bins[(bins["severity"] == severity) & (bins["corruption"] != "clean")]
    names = looks(dirty["corruption"])
    figure, axes = grid(len(names), 3, 0.3, above=0.05)
    for ax, (name, (colour, marker)) in zip(axes.flat, names.items(), strict=False):
        group = dirty[dirty["corruption"] == name].sort_values("confidence")
        ax.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle=":")
        ax.plot(clean["confidence"], clean["accuracy"], color="0.35", linewidth=1, marker=".", label="clean")
        ax.plot(group["confidence"], group["accuracy"], color=colour, linewidth=1)
        ax.scatter(
            group["confidence"], group["accuracy"], s=6 + 90 * group["images"] / group["images"].sum(),
            color=colour, marker=marker, zorder=3, edgecolor="white", linewidth=0.4,
        )  # fmt: skip
        ax.set(title=word(name), xlim=(0, 1.06), ylim=(-0.04, 1.08))
    if names:
        axes.flat[0].legend(loc="upper left")
    area = "area of the coloured markers: share of the images"
    below(figure, f"confidence of the network (severity {severity}; {area})")
    beside(figure, "share of right predictions")
    return figure.noted(severity=severity)
