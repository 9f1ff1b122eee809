"""Figures of the question: does what moves the map cost the network its skill?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.stats import t as student

from medrob.check import require
from medrob.evaluation import bootstrap_weights
from medrob.figures.style import (
    METRIC_LABELS,
    Colour,
    below,
    beside,
    colours,
    layer_labels,
    markers,
    noted,
    nothing,
    said,
    sized,
    word,
)

HATCHES = ("", "////", "....", "xxxx")  # of classes; of more than these, all are drawn as one
RESAMPLES = 200  # of the lines' bands


def drop_against_drift(
    scores: pd.DataFrame, mean: pd.DataFrame, *, method: str, layers: Sequence[str], metric: str = "rmse"
) -> Figure:
    """AUC drop against mean drift: a row a layer, a column a severity, a point a corruption, bars: 95 %.

    Line and band: least squares over the corruptions of that panel and the 95 % interval of the line.

    Args:
        scores: from `medrob.evaluation.score`. mean: from `medrob.analysis.mean_drift`.

    Raises:
        ValueError: scores without a column.
    """
    require(scores, ["corruption", "severity", "class", "metric", "drop", "drop_low", "drop_high"], "scores")
    drops = scores[(scores["metric"] == "auc") & (scores["class"] == "all") & (scores["severity"] > 0)]
    moved = mean[(mean["method"] == method) & mean["layer"].isin(layers)]
    both = drops.merge(moved, on=["corruption", "severity"], suffixes=("_score", ""))
    if both.dropna(subset=["value", "drop"]).empty:
        return nothing(f"{word(method)}: no usable map, or no AUC")
    names = list(dict.fromkeys(drops["corruption"]))
    shades, shapes = colours(names), markers(names)
    severities = sorted(drops["severity"].unique())
    height = min(0.2, 1.1 / len(layers)) * len(layers) + 0.12
    figure, axes = sized(height, len(layers), len(severities))
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
        known = group.dropna(subset=["value", "drop"])
        _line(ax, known["value"].to_numpy(float), known["drop"].to_numpy(float))
        if known.empty:
            said(ax, "no usable map,\nor no AUC")
    _same_limits(axes)
    for ax in axes.flat:
        ax.axhline(0, color="0.6", linewidth=0.6)
    _rows_named(axes, layers)
    for severity, ax in zip(severities, axes[0], strict=True):
        ax.set_title(f"severity {severity}")
    below(figure, f"{METRIC_LABELS.get(metric, metric)}, {word(method)}")
    beside(figure, "AUC drop against clean")
    figure.legend(handles=_points(shades, shapes), loc="outside upper center", ncols=min(len(names), 5))
    return figure


def image_scatter(
    rows: pd.DataFrame, *, classes: Sequence[str] = (), metric: str = "rmse", seed: int = 0
) -> Figure:
    """Loss of margin against drift, a point an image and corruption: a row a layer, a column a severity.

    Colour: the corruption; marker: the class. Line and band: least squares and its 95 % interval, which
    resamples images. At most half a per cent of the points of a panel lie beyond each of its edges.

    Args:
        rows: from `medrob.analysis.moved_and_fell`, of one method.
        classes: the names of the labels. metric: the column of the drift.
    """
    rows = rows.dropna(subset=[metric, "drop"])
    layers, severities = list(dict.fromkeys(rows["layer"])), sorted(rows["severity"].unique())
    if not layers:
        return noted(nothing("no picture has a usable map"), markers="")
    names, labels = list(dict.fromkeys(rows["corruption"])), _classes(rows, classes)
    shades, shapes = colours(names), markers(labels.values())
    palette = np.array(list(shades.values()))
    height = min(0.22, 1.1 / len(layers)) * len(layers) + 0.16
    figure, axes = sized(height, len(layers), len(severities))
    for (layer, severity), group in rows.groupby(["layer", "severity"], sort=False, observed=True):
        ax = axes[layers.index(layer)][severities.index(severity)]
        known = group["label"] if "label" in group else pd.Series(-1, group.index)
        for label, part in group.groupby(known, sort=False):
            dots = ax.scatter(
                part[metric], part["drop"], s=2.5, alpha=0.5, linewidth=0, rasterized=True,
                c=palette[pd.Index(names).get_indexer(part["corruption"])],
                marker=shapes[labels.get(label, "all")],
            )  # fmt: skip
            _behind(ax, dots)
        _clustered(ax, group, metric, seed)
    inner = rows.groupby(["layer", "severity"], observed=True)[[metric, "drop"]]  # of a panel
    (left, low), (right, high) = inner.quantile(0.005).min(), inner.quantile(0.995).max()
    room = 0.05 * max(high - low, 1e-3)
    wide = (0 if metric == "rmse" else left, right * 1.05 if right > 0 else axes[0][0].get_xlim()[1])
    _limited(axes, wide, (low - room, high + room))
    _rows_named(axes, layers)
    for severity, ax in zip(severities, axes[0], strict=True):
        ax.set_title(f"severity {severity}")
    for ax in axes.flat:
        ax.axhline(0, color="0.6", linewidth=0.6)
    below(figure, f"{METRIC_LABELS.get(metric, metric)}, {word(rows['method'].iloc[0])}")
    beside(figure, "drop of the clean class's logit margin")
    handles = _points(shades, dict.fromkeys(names, "o"))
    if len(labels) > 1:
        handles += _points(dict.fromkeys(labels.values(), "0.3"), shapes)
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 5))
    told = "Grey markers: the class, that is, the true label. " if len(labels) > 1 else ""
    return noted(figure, markers=told)


def image_boxes(
    rows: pd.DataFrame, scores: pd.DataFrame, *, classes: Sequence[str] = (), metric: str = "rmse"
) -> Figure:
    """Drift of the images of each class under each corruption, a row a severity; above: the AUC drop.

    Boxes hold the middle half, whiskers reach at most 1.5 times its length; hatching: the class.

    Args:
        rows: from `medrob.analysis.moved_and_fell`, of one method and layer.
        scores: from `medrob.evaluation.score`. classes: the names of the labels. metric: of the drift.

    Raises:
        ValueError: scores without a column.
    """
    require(scores, ["corruption", "severity", "class", "metric", "drop"], "scores")
    rows = rows.dropna(subset=[metric])
    if rows.empty:
        return noted(nothing("no picture has a usable map"), classes="each class (the true label)")
    labels = _classes(rows, classes)
    rows = rows.assign(of=rows["label"].map(labels).fillna("all") if "label" in rows else "all")
    names, severities = list(dict.fromkeys(rows["corruption"])), sorted(rows["severity"].unique())
    of = [name for name in dict.fromkeys(labels.values()) if name in set(rows["of"])]
    drops = scores[(scores["metric"] == "auc") & (scores["class"] == "all")]
    drops = drops.set_index(["corruption", "severity"])["drop"]
    figure, axes = sized(0.19 * len(severities) + 0.14, len(severities), sharex=True, sharey=True)
    for severity, ax in zip(severities, axes[:, 0], strict=True):
        sns.boxplot(
            rows[rows["severity"] == severity], x="corruption", y=metric, hue="of", order=names, hue_order=of,
            ax=ax, fliersize=0.8, linewidth=0.6, legend=False, palette=["0.9"] * len(of),
        )  # fmt: skip
        for container, name in zip(ax.containers, of, strict=False):
            for box in container.boxes:
                box.set_hatch(HATCHES[of.index(name) % len(HATCHES)])
        for place, name in enumerate(names):
            drop = drops.get((name, severity), np.nan)
            text = f"{drop:+.3f}" if np.isfinite(drop) else "–"
            ax.text(
                place,
                1.0,
                text,
                transform=ax.get_xaxis_transform(),
                ha="center",
                va="bottom",
                fontsize="x-small",
            )
        ax.set(ylabel=f"severity {severity}", xlabel="")
    for place, name in enumerate(names):
        for row in axes[:, 0]:
            shade = colours(names)[name]
            row.axvspan(place - 0.46, place + 0.46, color=shade, alpha=0.12, linewidth=0, zorder=0)
    axes[-1][0].set_xticks(range(len(names)), [word(n) for n in names], rotation=30 if len(names) > 6 else 0)
    about = f"{word(rows['method'].iloc[0])}, {rows['layer'].iloc[0]}"
    beside(figure, f"{METRIC_LABELS.get(metric, metric)}, {about}")
    if len(of) > 1:
        patches = [
            Patch(facecolor="0.9", edgecolor="0.3", hatch=HATCHES[i % len(HATCHES)], label=name)
            for i, name in enumerate(of)
        ]
        figure.legend(handles=patches, loc="outside upper center", ncols=min(len(of), 5))
    told = "each class (the true label, by hatching)" if len(of) > 1 else "all classes together"
    return noted(figure, classes=told)


def _classes(rows: pd.DataFrame, classes: Sequence[str]) -> dict[int, str]:
    """Number of a label -> its name; one group for all, if there are many or none is known."""
    known = sorted(set(rows["label"])) if "label" in rows else []
    if not 1 < len(known) <= len(HATCHES) or min(known) < 0:
        return dict.fromkeys(known or [-1], "all")
    return {k: str(classes[k]) if k < len(classes) else f"class {k}" for k in known}


def _rows_named(axes: np.ndarray, layers: Sequence[str]) -> None:
    """Each row of panels by its layer, in full where there is room for it."""
    room = len(layers) <= 9
    for label, row in zip(layer_labels(layers), axes, strict=True):
        row[0].set_ylabel(f"layer {label}" if room else label, rotation=90 if room else 0)


def _points(shades: Mapping[str, Colour], shapes: Mapping[str, str]) -> list[Line2D]:
    """Handles of a legend."""
    return [
        Line2D([], [], color=shades[n], marker=shapes[n], linestyle="", label=word(str(n))) for n in shades
    ]


def _line(ax: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """Least squares with the 95 % interval of the line, where three points or more differ."""
    if len(x) < 3 or np.ptp(x) < 1e-9:
        return
    at = np.linspace(x.min(), x.max(), 40)
    slope, cut = np.polyfit(x, y, 1)
    rest, centred = y - slope * x - cut, x - x.mean()
    error = np.sqrt((rest**2).sum() / (len(x) - 2) * (1 / len(x) + (at - x.mean()) ** 2 / (centred**2).sum()))
    half = student.ppf(0.975, len(x) - 2) * error
    ax.plot(at, cut + slope * at, color="0.25", linewidth=0.9, zorder=1)
    ax.fill_between(
        at, cut + slope * at - half, cut + slope * at + half, color="0.5", alpha=0.15, linewidth=0
    )


def _clustered(ax: Axes, group: pd.DataFrame, metric: str, seed: int) -> None:
    """Least squares over the points of a panel; its band resamples images with all their points."""
    x, y = group[metric].to_numpy(float), group["drop"].to_numpy(float)
    images, place = np.unique(group["image"], return_inverse=True)
    if len(images) < 3 or np.ptp(x) < 1e-9:
        return
    sums = np.stack([np.bincount(place, v) for v in (np.ones(len(x)), x, y, x * x, x * y)], 1)
    w = np.concatenate([np.ones((1, len(images))), bootstrap_weights(len(images), RESAMPLES, seed)])
    n, sx, sy, sxx, sxy = (w @ sums).T
    slope = (sxy - sx * sy / n) / np.maximum(sxx - sx**2 / n, 1e-12)
    left, right = np.quantile(x, [0.005, 0.995])
    at = np.linspace(left, right, 40)
    lines = (sy / n)[:, None] + slope[:, None] * (at - (sx / n)[:, None])
    ax.plot(at, lines[0], color="0.1", linewidth=1)
    ax.fill_between(at, *np.quantile(lines[1:], [0.025, 0.975], axis=0), color="0.1", alpha=0.25, linewidth=0)


def _behind(ax: Axes, dots: Collection) -> None:
    """Hand the dots of a panel to the figure, which draws those of all panels first: as one picture."""
    dots.remove()
    ax.figure.add_artist(dots)
    ax.patch.set_visible(False)


def _limited(axes: np.ndarray, wide: tuple[float, float], tall: tuple[float, float]) -> None:
    """The same limits in every panel, numbers at the outer ones. Axes that share theirs draw far slower."""
    for ax in axes.flat:
        ax.set(xlim=wide, ylim=tall)
        ax.label_outer()


def _same_limits(axes: np.ndarray) -> None:
    """Limits by the points and their bars, not by the bands of the lines, which may be very wide."""
    bars = [bar for ax in axes.flat for bar in ax.containers]
    sides, tops = ([v for bar in bars for v in _reach(bar, axis)] for axis in (0, 1))
    _limited(axes, _padded(sides or [0, 1]), _padded(tops or [0, 1]))


def _reach(bar: object, axis: int) -> list[float]:
    """Where the bars of a point end."""
    segments = [s for lines in bar[2] for s in lines.get_segments() if np.ndim(s) == 2]  # type: ignore[index]
    return [float(v) for segment in segments for v in segment[:, axis] if np.isfinite(v)]


def _padded(values: Sequence[float]) -> tuple[float, float]:
    room = max(max(values) - min(values), 1e-3) * 0.08
    return min(values) - room, max(values) + room
