"""The one-page figure: does it still work, does it still look there, does the one warn of the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medrob.figures.style import band, colours, letter, markers, sized, word


def summary(
    scores: pd.DataFrame, mean: pd.DataFrame, association: pd.DataFrame, failure: pd.DataFrame,
    *, method: str, layer: str,
) -> Figure:  # fmt: skip
    """Four panels: AUC and drift against severity, their association, and drift as a warning.

    Args:
        scores, mean, association, failure: from `medrob.evaluation.score` and `medrob.analysis`.
        method, layer: the maps of panels (b) and (d).
    """
    figure, axes = sized(0.8, 2, 2)
    rows = scores[(scores["metric"] == "auc") & (scores["class"] == "all")]
    names = [n for n in dict.fromkeys(rows["corruption"]) if n != "clean"]
    shades, shapes = colours(names), markers(names)
    clean = rows[rows["corruption"] == "clean"].iloc[0]
    moved = mean[(mean["method"] == method) & (mean["layer"] == layer)]
    for name in names:
        look: dict[str, Any] = dict(colour=shades[name], marker=shapes[name], label=word(name))
        group = rows[rows["corruption"] == name]
        columns = [[clean[c], *group[c]] for c in ("value", "low", "high")]
        band(axes[0][0], [0, *group["severity"]], *columns, **look)
        group = moved[moved["corruption"] == name]
        columns = [[0.0, *group[c]] for c in ("value", "low", "high")]
        band(axes[0][1], [0, *group["severity"]], *columns, **look)
    axes[0][0].set(title="does it still work?", xlabel="severity (0 = clean)", ylabel="AUC")
    axes[0][1].set(title="does it still look there?", xlabel="severity (0 = clean)")
    axes[0][1].set_ylabel(f"RMSE of maps\n{word(method)}, {layer}")
    _association(axes[1][0], association, method)
    _warning(axes[1][1], failure, method, layer)
    letter(figure, axes.flat)
    handles = axes[0][0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=min(len(names), 5))
    return figure


def runs_compared(runs: pd.DataFrame) -> Figure:
    """AUC and drift against severity, the mean over the corruptions, a line a run.

    Args:
        runs: from `medrob.analysis.compare_runs`.
    """
    figure, axes = sized(0.42, 1, 2)
    names = list(dict.fromkeys(runs["run"]))
    shades, shapes = colours(names), markers(names)
    for name, group in runs.groupby("run", sort=False):
        for ax, column in zip(axes[0], ("auc", "drift"), strict=True):
            ax.plot(group["severity"], group[column], color=shades[name], marker=shapes[name], label=name)
    axes[0][0].set(xlabel="severity (0 = clean)", ylabel="AUC, mean over corruptions")
    axes[0][1].set(xlabel="severity (0 = clean)", ylabel="RMSE of maps, mean over corruptions")
    axes[0][0].legend(fontsize="x-small")
    letter(figure, axes[0])
    return figure


def _association(ax: Axes, association: pd.DataFrame, method: str) -> None:
    """Rank correlation of drop and drift by layer: pooled looks strong, within severity is the evidence."""
    rows = association[association["method"] == method]
    layers = list(dict.fromkeys(rows["layer"]))
    kinds = {
        "pooled": ("0.65", "s", -0.15),
        "within severity": ("0.1", "o", 0.0),
        "partial": ("0.4", "^", 0.15),
    }
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
            label=kind,
        )
    ax.axhline(0, color="0.6", linewidth=0.6)
    ax.set(ylim=(-1.05, 1.05), xticks=range(len(layers)), xlabel=f"layer ({word(method)})")
    ax.set_xticklabels([layer.removeprefix("layer") for layer in layers], fontsize="x-small")
    ax.set(title="do drop and drift go together?", ylabel="rank correlation")
    ax.legend(loc="lower right", fontsize="x-small", ncols=3, columnspacing=0.8, handletextpad=0.1)


def _warning(ax: Axes, failure: pd.DataFrame, method: str, layer: str) -> None:
    """AUROC for a flipped prediction against severity: the drift of one layer, and the baselines."""
    rows = failure[failure["event"] == "flipped"]
    drift = rows[(rows["method"] == method) & (rows["layer"] == layer)]
    lines = {"drift of the map": drift}
    lines |= {name: rows[rows["signal"] == name] for name in ("low confidence", "image rmse")}
    for (name, group), colour, marker in zip(lines.items(), ("0.1", "0.4", "0.65"), "oD^", strict=True):
        band(
            ax, list(group["severity"]), list(group["auroc"]), list(group["low"]), list(group["high"]),
            colour=colour, marker=marker, label=name.replace("rmse", "RMSE"),
        )  # fmt: skip
    ax.axhline(0.5, color="0.6", linewidth=0.6, linestyle=":")
    ax.set(
        title="does drift warn of a flip?", xlabel="severity", ylabel="AUROC (0.5 = chance)", ylim=(0.2, 1.02)
    )
    ax.set_xticks(sorted(rows["severity"].unique()))
    ax.legend(loc="lower left", fontsize="x-small")
