"""Figures of saliency: the maps themselves, how far they move, and whether that goes with the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medrob.figures.style import METRIC_LABELS, SALIENCY, band, bare, colours, markers, picture, sized, word


def overlay_grid(
    images: np.ndarray, maps: Mapping[str, np.ndarray], rows: Sequence[str], *, mask: np.ndarray | None = None
) -> Figure:
    """Heatmaps over the picture: a row a condition, a column a layer, the picture itself at the left.

    Args:
        images: uint8 (R, H, W, C), one a row. maps: layer -> raw maps (R, h, w); each map is shown
            from 0 to its own maximum. rows: the text at the left of each row.
        mask: bool (H, W), outlined in every panel (the lesion, if it is known).
    """
    height, width = images.shape[1:3]
    figure, axes = sized(len(rows) / max(len(maps) + 2, 7) * 1.06 + 0.03, len(rows), len(maps) + 1)
    for i, row in enumerate(axes):
        for ax in row:
            picture(ax, images[i])
            if mask is not None and mask.any():
                ax.contour(mask, levels=[0.5], colors="#4dff88", linewidths=0.6)
        for ax, stack in zip(row[1:], maps.values(), strict=True):
            heat = np.maximum(stack[i], 0)
            if heat.max() > 0:
                box = (-0.5, width - 0.5, height - 0.5, -0.5)
                ax.imshow(
                    heat,
                    cmap=SALIENCY,
                    alpha=0.55,
                    vmin=0,
                    vmax=heat.max(),
                    extent=box,
                    interpolation="bilinear",
                )
            else:
                ax.text(
                    0.5, 0.5, "empty", ha="center", va="center", fontsize="x-small", transform=ax.transAxes
                )
        row[0].set_ylabel(rows[i], rotation=0, ha="right", va="center", fontsize="x-small")
    axes[0][0].set_title("picture", fontsize="x-small")
    for ax, layer in zip(axes[0][1:], maps, strict=True):
        ax.set_title(layer.replace("layer", "layer "), fontsize="x-small")
    return figure


def row_labels(
    conditions: Sequence[tuple[str, int]], scores: pd.DataFrame, distances: pd.DataFrame, image: int
) -> list[str]:
    """The text beside each row of an overlay grid: AUC and accuracy of the condition, RMSE of the image."""
    wide = scores[scores["class"] == "all"].pivot(
        index=["corruption", "severity"], columns="metric", values="value"
    )
    away = distances[distances["image"] == image].set_index(["corruption", "severity"])["rmse"]
    return [
        f"{word(name)}{(severity and f' {severity}') or ''}\nAUC {wide.loc[(name, severity), 'auc']:.3f}\n"
        f"accuracy {wide.loc[(name, severity), 'accuracy']:.3f}\nimage RMSE {away.loc[(name, severity)]:.0f}"
        for name, severity in conditions
    ]


def drift_by_layer(
    mean: pd.DataFrame,
    *,
    panels: str = "method",
    lines: str = "corruption",
    metric: str = "rmse",
    titles: Mapping[str, str] | None = None,
    note: str = "",
) -> Figure:
    """Drift from shallow to deep: a panel a method, a line a corruption, bands: 95 % intervals.

    Args:
        mean: from `medrob.analysis.mean_drift`, one row for each panel, line and layer.
        panels, lines: the columns that make the panels and the lines.
        titles: panel -> title, where its name is not enough. note: said below, such as the severity.
    """
    rows = mean[mean["value"].notna()]
    shown, layers = list(dict.fromkeys(rows[panels])), list(dict.fromkeys(mean["layer"]))
    names = list(dict.fromkeys(rows[lines]))
    shades, shapes = colours(names), markers(names)
    columns = min(max(len(shown), 1), 3)
    lines_of_panels = -(-max(len(shown), 1) // columns)
    figure, axes = sized(0.38 * lines_of_panels + 0.06, lines_of_panels, columns, sharey=True)
    for ax, panel in zip(axes.flat, shown, strict=False):
        for name, group in rows[rows[panels] == panel].groupby(lines, sort=False):
            place = [layers.index(layer) for layer in group["layer"]]
            band(
                ax, place, list(group["value"]), list(group["low"]), list(group["high"]),
                colour=shades[name], marker=shapes[name], label=word(str(name)),
            )  # fmt: skip
        ax.set(title=(titles or {}).get(panel, word(panel)), xticks=range(len(layers)))
        ax.set_xticklabels([layer.removeprefix("layer") for layer in layers], rotation=45)
    if metric == "rmse":
        axes.flat[0].set_ylim(bottom=0)
    for ax in axes.flat[len(shown) :]:
        ax.axis("off")
    figure.supxlabel(f"layer, shallow to deep{note and f' ({note})'}", fontsize="medium")
    figure.supylabel(METRIC_LABELS.get(metric, metric), fontsize="medium")
    if shown:
        handles = axes.flat[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=min(len(names), 5))
    return figure


def drop_against_drift(
    scores: pd.DataFrame, mean: pd.DataFrame, *, method: str, layers: Sequence[str], metric: str = "rmse"
) -> Figure:
    """AUC drop against mean drift: a row a layer, a column a severity, a point a corruption, bars: 95 %.

    Args:
        scores: from `medrob.evaluation.score`. mean: from `medrob.analysis.mean_drift`.
    """
    drops = scores[(scores["metric"] == "auc") & (scores["class"] == "all") & (scores["severity"] > 0)]
    moved = mean[(mean["method"] == method) & mean["layer"].isin(layers)]
    both = drops.merge(moved, on=["corruption", "severity"], suffixes=("_score", ""))
    names = list(dict.fromkeys(drops["corruption"]))
    shades, shapes = colours(names), markers(names)
    severities = sorted(drops["severity"].unique())
    figure, axes = sized(0.2 * len(layers) + 0.1, len(layers), len(severities), sharex="row", sharey=True)
    for (layer, severity), group in both.groupby(["layer", "severity"], sort=False, observed=True):
        ax = axes[list(layers).index(layer)][severities.index(severity)]
        for row in group.to_dict("records"):
            x, y = row["value"], row["drop"]
            ax.errorbar(
                x, y, xerr=[[max(x - row["low"], 0)], [max(row["high"] - x, 0)]],
                yerr=[[max(y - row["drop_low"], 0)], [max(row["drop_high"] - y, 0)]],
                color=shades[row["corruption"]], marker=shapes[row["corruption"]],
                linestyle="", elinewidth=0.8,
            )  # fmt: skip
    for ax in axes.flat:
        ax.axhline(0, color="0.6", linewidth=0.6)
    for layer, row in zip(layers, axes, strict=True):
        row[0].set_ylabel(layer.replace("layer", "layer "))
    for severity, ax in zip(severities, axes[0], strict=True):
        ax.set_title(f"severity {severity}")
    figure.supylabel("AUC drop against clean", fontsize="medium")
    figure.supxlabel(f"{METRIC_LABELS.get(metric, metric)}, {word(method)}", fontsize="medium")
    points = [Line2D([], [], color=shades[n], marker=shapes[n], linestyle="", label=word(n)) for n in names]
    figure.legend(handles=points, loc="outside upper center", ncols=min(len(names), 5))
    return figure


def strata_bars(strata: pd.DataFrame, *, layer: str, metric: str = "rmse") -> Figure:
    """Drift of prediction-preserved and of flipped images against severity, a panel a method.

    Args:
        strata: from `medrob.analysis.strata`.
    """
    rows = strata[(strata["layer"] == layer) & strata["value"].notna()]
    methods = list(dict.fromkeys(rows["method"]))
    kinds = {"preserved": ("C0", "o"), "flipped": ("C3", "X")}
    figure, axes = sized(0.4, 1, max(len(methods), 1), sharey=True)
    for ax, method in zip(axes[0], methods, strict=False):
        for kind, (colour, marker) in kinds.items():
            group = rows[(rows["method"] == method) & (rows["stratum"] == kind)].sort_values("severity")
            shift = -0.08 if kind == "preserved" else 0.08
            ax.errorbar(
                group["severity"] + shift, group["value"],
                yerr=[group["value"] - group["low"], group["high"] - group["value"]],
                color=colour, marker=marker, label=f"prediction {kind}", elinewidth=0.8,
            )  # fmt: skip
        ax.set(title=word(method), xticks=sorted(rows["severity"].unique()))
    if not methods:
        bare(axes[0][0])
        axes[0][0].text(0.5, 0.5, f"every map of {layer} is degenerate", ha="center")
        return figure
    axes[0][0].set_ylabel(METRIC_LABELS.get(metric, metric), fontsize="small")
    figure.supxlabel(f"severity ({layer})", fontsize="medium")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def warnings(failure: pd.DataFrame, *, severity: int = 5, event: str = "flipped") -> Figure:
    """How well drift warns of a failure: AUROC by layer, a line a method; dashed: what needs no map.

    Args:
        failure: from `medrob.analysis.failure`.
    """
    rows = failure[(failure["severity"] == severity) & (failure["event"] == event)]
    maps = rows[rows["signal"] == "drift"]
    layers, methods = list(dict.fromkeys(maps["layer"])), list(dict.fromkeys(maps["method"]))
    shades, shapes = colours(methods), markers(methods)
    figure, axes = sized(0.5)
    ax = axes[0][0]
    for method, group in maps.groupby("method", sort=False):
        place = [layers.index(layer) for layer in group["layer"]]
        band(
            ax, place, list(group["auroc"]), list(group["low"]), list(group["high"]),
            colour=shades[method], marker=shapes[method], label=word(str(method)),
        )  # fmt: skip
    for row, dashes in zip(rows[rows["signal"] != "drift"].itertuples(), ("--", "-.", ":"), strict=False):
        ax.axhline(
            row.auroc, color="0.25", linestyle=dashes, linewidth=1, label=row.signal.replace("rmse", "RMSE")
        )
    ax.axhline(0.5, color="0.7", linewidth=0.8)
    ax.annotate("chance", (len(layers) - 0.55, 0.5), fontsize="x-small", color="0.4", va="bottom", ha="right")
    count, cases = (int(rows[c].max()) if len(rows) else 0 for c in ("events", "cases"))
    ax.set(
        xticks=range(len(layers)), xlabel=f"layer, shallow to deep (severity {severity})",
        ylabel=f"AUROC for: prediction {event}", title=f"{count} of {cases} predictions {event}",
    )  # fmt: skip
    ax.set_xticklabels([layer.removeprefix("layer") for layer in layers])
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure
