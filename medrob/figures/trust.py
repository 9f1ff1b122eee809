"""Figures of trust: do maps depend on the network, does the network need them, do they lie on the lesion?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medrob.analysis import MAP, require_map
from medrob.check import require
from medrob.figures.style import (
    band,
    below,
    colours,
    ink,
    layer_labels,
    legend_of,
    letter,
    markers,
    said,
    sized,
    word,
)

SAME = 1e-4  # of rank correlations: rounding
TITLES = {
    "insertion": "insertion (higher: better)",
    "deletion": "deletion (lower: better)",
    "road": "ROAD (higher: better)",
    "energy": "energy inside the lesion",
    "pointing": "pointing game",
    "iou": "intersection over union",
}


def randomisation(trust: pd.DataFrame, *, layer: str) -> Figure:
    """(a) Similarity of maps while the network loses its weights from the head down; (b) when all are lost.

    Args:
        trust: holds the rows of `medrob.trust.randomisation`.
        layer: of panel (a). Grey line: the map of another image. Methods marked † fail: see
            `medrob.analysis.verdicts`.
    """
    rows = trust[trust["test"] == "randomisation"]
    figure, axes = sized(0.42, 1, 2, width_ratios=[1, 1.15])
    here = rows[(rows["layer"] == layer) & rows["value"].notna()]
    stages = list(dict.fromkeys(rows["stage"]))
    lines = _alike(here)
    shades, shapes = colours(lines), markers(lines)
    for i, (method, same) in enumerate(lines.items()):
        group = here[here["method"] == method]
        aside = 0.09 * (i - (len(lines) - 1) / 2)  # side by side, so that no marker hides another
        place = [stages.index(stage) + aside for stage in group["stage"]]
        band(
            axes[0][0], place, *(list(group[c]) for c in ("value", "low", "high")),
            colour=shades[method], marker=shapes[method], label=" = ".join(map(word, same)),
        )  # fmt: skip
    ax = axes[0][0]
    if here["chance"].notna().any():
        chance = here["chance"].mean()
        ax.axhline(chance, color="0.5", linestyle="--", linewidth=0.8)
        ax.annotate(
            "another image", (1, chance), xycoords=("axes fraction", "data"),
            fontsize="x-small", color="0.3", va="bottom", ha="right",
        )  # fmt: skip
    if here.empty:
        said(ax, f"no map at {layer} can be compared")
    ax.axhline(0, color="0.7", linewidth=0.6)
    ax.set(title=f"maps of {layer}", ylabel="rank correlation with the map\nof the trained network")
    ax.set_xticks(range(len(stages)), stages, rotation=45)
    ax.set_xlabel("part of the network lost last")
    _table(axes[0][1], rows[rows["stage"] == stages[-1]] if stages else rows, "all weights lost")
    letter(figure, axes[0])
    if not here.empty:
        figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _alike(rows: pd.DataFrame) -> dict[str, list[str]]:
    """Methods whose values are the same at every stage are one line: its first method -> all of them."""
    lines: dict[str, list[str]] = {}
    wide = rows.pivot(index="stage", columns="method", values="value")
    for method in dict.fromkeys(rows["method"]):
        same = (one for one in lines if np.allclose(wide[one], wide[method], atol=SAME, equal_nan=True))
        lines.setdefault(next(same, method), []).append(method)
    return lines


def _table(ax: Axes, rows: pd.DataFrame, title: str) -> None:
    """Values by method and layer as a heatmap with its numbers; grey where there is none."""
    methods, layers = (list(dict.fromkeys(rows[c])) for c in ("method", "layer"))
    wide = rows.pivot(index="method", columns="layer", values="value").reindex(methods)[layers]
    cells = ax.imshow(wide.to_numpy(float), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    ax.set_facecolor("0.85")
    for (i, j), value in np.ndenumerate(wide.to_numpy(float)):
        text = f"{round(value, 2) + 0:.2f}".replace("0.", ".") if np.isfinite(value) else "–"
        colour = ink(cells.to_rgba(value)) if np.isfinite(value) else "black"
        ax.text(j, i, text, ha="center", va="center", fontsize="xx-small", color=colour)
    ax.set_yticks(range(len(methods)), [word(m) for m in methods], fontsize="x-small")
    names = layer_labels(layers)
    ax.set_xticks(range(len(layers)), names, fontsize="x-small", rotation=45)
    ax.set(title=title, xlabel="layer")
    ax.tick_params(length=0)


def faithfulness(trust: pd.DataFrame, *, layer: str) -> Figure:
    """Insertion, deletion and ROAD of every method at a layer (and of maps of the input); bars: 95 %.

    Args:
        trust: holds the rows of `medrob.trust.faithfulness`. Open circles: a random map of that resolution.
    """
    rows = trust[trust["layer"].isin([layer, "input"])]
    tests = [test for test in ("insertion", "deletion", "road") if test in set(rows["test"])]
    methods = list(dict.fromkeys(rows[rows["test"].isin(tests)]["method"]))
    figure, axes = sized(0.12 + 0.04 * max(len(methods), 4), 1, max(len(tests), 1), sharey=True)
    for ax, test in zip(axes[0], tests, strict=False):
        for row in rows[rows["test"] == test].itertuples():
            y = methods.index(row.method)
            low, high = max(row.value - row.low, 0), max(row.high - row.value, 0)
            ax.errorbar(row.value, y, xerr=[[low], [high]], color="C0", marker="o", elinewidth=0.8)
            ax.plot(row.chance, y, color="0.4", marker="o", markerfacecolor="none", linestyle="")
        ax.set_title(TITLES[test])
    axes[0][0].set_yticks(range(len(methods)), [word(m) for m in methods])
    axes[0][0].set_ylim(len(methods) - 0.5, -0.5)
    below(figure, f"probability of the class explained: area; of ROAD: difference ({layer})")
    handles = [
        Line2D([], [], color="C0", marker="o", label="the method"),
        Line2D([], [], color="0.4", marker="o", markerfacecolor="none", linestyle="", label="a random map"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return figure


def localisation(trust: pd.DataFrame, *, method: str, layer: str) -> Figure:
    """Does the map still lie on the lesion? Against severity, a line a corruption; bars: 95 %.

    Dashed: chance, at each severity for the images that count there, and a band from the least to the most
    of the corruptions. Below each severity: how many images count, from the least to the most.

    Args:
        trust: holds the rows of `medrob.trust.localisation`.
    """
    needed = ["test", "stage", "corruption", "severity", "value", "low", "high", "chance", "images"]
    require(trust, [*MAP, *needed], "trust")
    require_map(trust[trust["test"] == "energy"], method, layer, "trust")
    rows = trust[(trust["method"] == method) & (trust["layer"] == layer) & (trust["stage"] == "")]
    names = [n for n in dict.fromkeys(rows[rows["test"] == "energy"]["corruption"]) if n != "clean"]
    shades, shapes = colours(names), markers(names)
    figure, axes = sized(0.42, 1, 3)
    for ax, test in zip(axes[0], ("energy", "pointing", "iou"), strict=True):
        here = rows[rows["test"] == test]
        clean = here[here["corruption"] == "clean"]
        for i, name in enumerate(names):
            group = here[here["corruption"] == name].sort_values("severity")
            place = group["severity"] + 0.6 * (i - (len(names) - 1) / 2) / len(names)  # side by side
            ax.plot(
                [0, *place], [*clean["value"], *group["value"]], color=shades[name], marker=shapes[name],
                markersize=3, linewidth=0.7, label=word(name),
            )  # fmt: skip
            ax.vlines(place, group["low"], group["high"], color=shades[name], linewidth=0.7)
        ax.plot(clean["severity"], clean["value"], color="0.1", marker="o", markersize=3)
        ax.vlines(clean["severity"], clean["low"], clean["high"], color="0.1", linewidth=0.7)
        if len(here) and here["value"].notna().any():
            chance = here.groupby("severity")["chance"].agg(["mean", "min", "max"])
            ax.plot(chance.index, chance["mean"], color="0.3", linestyle="--", linewidth=0.8, label="chance")
            ax.fill_between(chance.index, chance["min"], chance["max"], color="0.3", alpha=0.2, linewidth=0)
            ax.set_ylim(bottom=0)
        else:
            said(ax, "no map to compare")
        count = here.groupby("severity")["images"].agg(["min", "max"])
        ticks = [f"{s}\n{low}" + f"–{high}" * (low < high) for s, low, high in count.itertuples()]
        ax.set(title=TITLES[test])
        ax.set_xticks(list(count.index), ticks, fontsize="x-small")
    axes[0][0].set_ylabel("mean over the images with a lesion")
    letter(figure, axes[0])
    below(figure, f"severity (0 = clean), below it the images that count; {word(method)}, {layer}")
    legend_of(figure, axes, most=3)
    return figure


def drift_scale(
    trust: pd.DataFrame, mean: pd.DataFrame, *, layer: str, twins: pd.DataFrame | None = None
) -> Figure:
    """How large is a drift? Each method's corruptions between its floor and its ceilings; bars: 95 %.

    Args:
        trust: holds the rows of `medrob.trust.scale`, and those of the worst case, if it was run.
        mean: from `medrob.analysis.mean_drift` by severity, method and layer.
        twins: from `medrob.analysis.twins`: methods that are one map are drawn once, under all their names.
    """
    limits = {
        "floor": ("same picture again", "|", "0.2"),
        "max-sensitivity": ("worst of random noise", "v", "C2"),
        "attack": ("attack", "X", "C3"),
        "ceiling-image": ("another picture", "s", "0.35"),
        "ceiling-weights": ("random network", "D", "0.6"),
    }
    here = trust[trust["layer"].isin([layer, "input"]) & trust["test"].isin(limits)]
    moved = mean[mean["layer"].isin([layer, "input"])]
    methods = list(dict.fromkeys(here[here["test"] == "ceiling-image"]["method"]))
    names = {method: [method] for method in methods}
    for row in [] if twins is None else twins[twins["layer"] == layer].itertuples():
        if {row.method, row.same_as} <= set(names):
            names[row.same_as] += names.pop(row.method)
    methods = list(names)
    tallest = max(map(len, names.values()), default=1)
    figure, axes = sized(0.16 + max(0.045 * max(len(methods), 4), 0.03 * len(methods) * tallest))
    ax = axes[0][0]
    for test, (_, marker, colour) in limits.items():
        for row in here[here["test"] == test].itertuples():
            if row.method in methods and np.isfinite(row.value):
                _point(ax, row, methods.index(row.method), marker, colour)
    for row in moved.itertuples():
        if row.method in methods and np.isfinite(row.value):
            y = methods.index(row.method)
            ax.text(row.value, y - 0.12, str(row.severity), fontsize="x-small", ha="center", va="bottom")
            _point(ax, row, y, "o", "C0", size=3)
    ax.set_yticks(range(len(methods)), [" =\n".join(map(word, names[m])) for m in methods])
    ax.set_ylim(len(methods) - 0.4, -0.6)
    ax.set_xlim(left=-0.01)
    also = "; methods of the input: there" if "input" in set(here["layer"]) - {layer} else ""
    ax.set_xlabel(f"RMSE of maps (0-1), {layer}{also}")
    shown = [test for test in limits if test in set(here["test"])]
    handles = [Line2D([], [], color="C0", marker="o", linestyle="", label="corruption, severity 1-5")]
    handles += [
        Line2D([], [], color=limits[t][2], marker=limits[t][1], linestyle="", label=limits[t][0])
        for t in shown
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _point(ax: Axes, row: object, y: float, marker: str, colour: str, size: float | None = None) -> None:
    value, low, high = (getattr(row, name) for name in ("value", "low", "high"))
    ax.errorbar(
        value, y, xerr=[[max(value - low, 0)], [max(high - value, 0)]],
        color=colour, marker=marker, elinewidth=0.8, markersize=size,
    )  # fmt: skip
