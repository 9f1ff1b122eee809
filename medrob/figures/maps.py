"""Figures of saliency: the maps themselves, and how far they move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from medrob.analysis import mean_drift
from medrob.check import require
from medrob.figures.style import (
    METRIC_LABELS,
    SALIENCY,
    band,
    below,
    beside,
    colours,
    layer_labels,
    legend_of,
    markers,
    nothing,
    picture,
    said,
    sized,
    word,
)

MOSTLY = 0.1  # share of degenerate maps above which a marker is open: that of `medrob.analysis.headline`


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
        ax.set_title(layer if len(maps) < 7 else fill(layer, 11), fontsize="x-small")
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

    Markers are open where over a tenth of the maps are degenerate; below stands how many images count.

    Args:
        mean: from `medrob.analysis.mean_drift`, one row for each panel, line and layer.
        panels, lines: the columns that make the panels and the lines.
        titles: panel -> title, where its name is not enough. note: said below, such as the severity.
    """
    rows = mean[mean["value"].notna()]
    if rows.empty:
        why = "every map is degenerate" if len(mean) else "there are no maps"
        return nothing(f"{why} ({note})" if note else why)
    shown, layers = (list(dict.fromkeys(mean[c])) for c in (panels, "layer"))
    names = list(dict.fromkeys(rows[lines]))
    shades, shapes = colours(names), markers(names)
    columns = min(len(shown), 3)
    lines_of_panels = -(-len(shown) // columns)
    figure, axes = sized(0.38 * lines_of_panels + 0.06, lines_of_panels, columns, sharey=True)
    for ax, panel in zip(axes.flat, shown, strict=False):
        here = rows[rows[panels] == panel]
        if here.empty:
            said(ax, "every map is degenerate")
        for name, group in here.groupby(lines, sort=False):
            whole = group.set_index("layer").reindex(layers)  # no line across a layer without maps
            band(
                ax, range(len(layers)), *(list(whole[c]) for c in ("value", "low", "high")),
                colour=shades[name], marker=shapes[name], label=word(str(name)),
            )  # fmt: skip
            few = group[group["degenerate"] > MOSTLY]
            at = [layers.index(layer) for layer in few["layer"]]
            ax.plot(at, few["value"], shapes[name], color=shades[name], markerfacecolor="white", zorder=3)
        ax.set(title=(titles or {}).get(panel, word(panel)), xticks=range(len(layers)))
        ax.set_xticklabels(layer_labels(layers), rotation=45)
    if metric == "rmse":
        axes.flat[0].set_ylim(bottom=0)
    for ax in axes.flat[len(shown) :]:
        ax.axis("off")
    notes = [note] if note else []
    low, high = rows["images"].min(), rows["images"].max()
    notes.append(f"n = {high if low == high else f'{low} to {high}'} images a point")
    if (rows["degenerate"] > MOSTLY).any():
        notes.append("open: over 10 % of maps degenerate")
    below(figure, f"layer, shallow to deep ({'; '.join(notes)})")
    beside(figure, METRIC_LABELS.get(metric, metric))
    legend_of(figure, axes)
    return figure


def drift_by_class(
    drift: pd.DataFrame, scores: pd.DataFrame, classes: Sequence[str], *, method: str, severity: int
) -> Figure:
    """Drift of one method from shallow to deep: a panel a corruption, a line a class, the AUC drop above.

    Args:
        drift: from `medrob.drift.measure`. scores: from `medrob.evaluation.score`.
        classes: the names of the labels.

    Raises:
        ValueError: a table without a column.
    """
    require(drift, ["severity", "method", "label", "corruption", "layer"], "drift")
    require(scores, ["corruption", "severity", "class", "metric", "drop"], "scores")
    rows = drift[(drift["severity"] == severity) & (drift["method"] == method)]
    rows = rows.assign(of=rows["label"].map(dict(enumerate(classes))).astype(object).fillna("all"))
    mean = mean_drift(rows.sort_values("label", kind="stable"), ("corruption", "of", "layer"))
    at = scores[(scores["metric"] == "auc") & (scores["class"] == "all") & (scores["severity"] == severity)]
    titles = {row.corruption: f"{word(row.corruption)}: {row.drop:+.3f}" for row in at.itertuples()}
    note = f"{word(method)}, severity {severity}; above: AUC drop"
    return drift_by_layer(mean, panels="corruption", lines="of", titles=titles, note=note)
