"""Figures of the question: does what moves the map cost skill, and does it tell of failure?"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medrob.figures import draw
from medrob.figures.draw import Look, finish, looks, sized
from medrob.figures.of_heatmaps import drift_by_layer
from medrob.words import Failed, word

__all__ = ["alarms", "drift_by_class", "drop_against_drift", "image_scatter", "signals"]

CLASSES = 8  # that are told apart; more are drawn as one
AUROC = ("auroc", "low", "high")


def drift_by_class(
    mean: pd.DataFrame, scores: pd.DataFrame, *, method: str, severity: int, failed: Failed = ()
) -> Figure:
    """`medrob.analysis.drift_by_class` by layer: a panel a corruption, a line a class; above: AUC drop."""
    drops = _drops(scores).xs(severity, level="severity")
    titles = {name: f"{word(name)}: {drop:+.3f}" for name, drop in drops.items()}
    note = f"{word(method, failed)}, severity {severity}; above: AUC drop"
    return drift_by_layer(mean, panels="corruption", by="of", titles=titles, note=note)


def drop_against_drift(pairs: pd.DataFrame, *, layers: Sequence[str], failed: Failed = ()) -> Figure:
    """AUC drop against mean drift: a panel a layer, a point a condition, larger with severity; bars: 95 %.

    pairs: from `medrob.analysis.drop_and_drift`. Of more than twelve layers so many are drawn, from the
    first to the last.
    """
    pairs = pairs[pairs["layer"].isin(layers)]
    if pairs.dropna(subset=["value", "drop"]).empty:
        return draw.nothing("no usable map, or no AUC")
    shown = np.unique(np.linspace(0, len(layers) - 1, draw.PANELS).astype(int))
    look, note = draw.coloured(draw.at_worst(pairs), "AUC drop at the highest severity")
    figure, axes = draw.grid(len(shown), 3, min(0.38, 1.1 / -(-len(shown) // 3)))
    for ax, k in zip(axes.flat, shown, strict=False):
        group = pairs[pairs["layer"] == layers[k]].dropna(subset=["value", "drop"])
        conditions(ax, group, look, ends=True)
        if group.empty:
            draw.empty(ax, "no usable map,\nor no AUC")
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
            draw.bars(ax, row, row["drop"], of, **thin)
            draw.bars(ax, row, row["value"], of, columns=drop, upright=True, **thin)
        size = draw.Style(
            markersize=2.5 + 0.7 * row["severity"], markeredgecolor="white", markeredgewidth=0.4
        )
        ax.plot(row["value"], row["drop"], color=of.colour, marker=of.marker, linestyle="", **size)
    for _, group in pairs.groupby("severity"):
        draw.least_squares(ax, group["value"], group["drop"])
    draw.level(ax)


def image_scatter(points: pd.DataFrame, *, classes: Sequence[str], failed: Failed = ()) -> Figure:
    """Loss of margin against drift at the highest severity: a panel a corruption, a point an image.

    Lines: least squares of each class. At most half a per cent of the points lie beyond each edge.
    points: from `medrob.analysis.moved_and_fell`, of one method and layer.
    """
    severity = points["severity"].max()
    points = points[points["severity"] == severity].dropna(subset=["rmse", "drop"])
    if points.empty:
        return draw.nothing("no picture has a usable map")
    of, names = _classes(points, classes)
    look, panels = looks(names), points.groupby("corruption", sort=False)[["rmse", "drop"]]
    shown, note = draw.most(panels.mean()["drop"], "mean change of the margin")
    figure, axes = draw.grid(len(shown), 3, 0.34, above=0.1)
    for ax, corruption in zip(axes.flat, shown, strict=False):
        here = points[points["corruption"] == corruption]
        for name, group in here.groupby(of[here.index], sort=False):
            style = draw.Style(color=look[name].colour, markersize=3, alpha=0.5, markeredgewidth=0)
            ax.plot(group["rmse"], group["drop"], look[name].marker, **style, rasterized=True)
            draw.least_squares(ax, group["rmse"], group["drop"], look[name].colour)
        draw.level(ax)
        ax.set_title(word(corruption))
    (_, low), (right, high) = panels.quantile(0.005).min(), panels.quantile(0.995).max()
    room = 0.05 * max(high - low, 1e-3)
    axes.flat[0].set(xlim=(0, right * 1.05 or 1), ylim=(low - room, high + room))
    of_map = f"{word(points['method'].iloc[0], failed)}, {points['layer'].iloc[0]}, severity {severity}"
    beside, handles = "drop of the clean class's logit margin", draw.key(look, str) * (len(names) > 1)
    return finish(figure, below=f"{draw.DRIFT}, {of_map}{note}", beside=beside, handles=handles)


def _drops(scores: pd.DataFrame) -> pd.Series:
    """The AUC drop of all classes by corruption and severity."""
    auc = scores[(scores["metric"] == "auc") & (scores["class"] == "all")]
    return auc.set_index(["corruption", "severity"])["drop"]


def _classes(points: pd.DataFrame, classes: Sequence[str]) -> tuple[pd.Series, list[str]]:
    """The class of each point, and all of them; one for all, if there are many or none is known (-1)."""
    known = sorted(set(points["label"]))
    if not 1 < len(known) <= CLASSES or known[0] < 0:
        return pd.Series("all", points.index, name="of"), ["all"]
    return points["label"].map(dict(enumerate(classes))).rename("of"), [classes[k] for k in known]


def signals(failure: pd.DataFrame) -> Figure:
    """AUROC of each signal at the highest severity, a row a signal, for each event, within strata.

    failure: from `medrob.analysis.failure`. Colours tell what has to be known for a signal.
    """
    failure = failure[failure["severity"] == failure["severity"].max()]
    if failure["auroc"].isna().all():
        return draw.nothing("nothing to detect: no usable map, or within a class none or all fail")
    events = {f"prediction {event}": rows for event, rows in failure.groupby("event", sort=False)}
    figure = _ranked(events, "league", AUROC, 0.05)
    for ax, title in zip(figure.axes, events, strict=True):
        draw.level(ax, 0.5, "chance", upright=True)
        ax.set(title=title, xlabel="AUROC within class", xlim=(-0.03, 1.03))
        if events[title]["auroc"].isna().all():
            draw.empty(ax, f"nothing to detect:\nwithin a class none or all are {title.split()[-1]}")
    return finish(figure, lettered=True)


def alarms(found: pd.DataFrame) -> Figure:
    """How well each signal finds the errors of the network, a row a signal: AUROC and AUGRC.

    found: from `medrob.analysis.alarms`; colours tell clean, corrupted and all pictures apart.
    """
    if found.empty or not found.query("pictures == 'all'")["errors"].any():
        return draw.nothing("no alarm to judge: no errors, or several labels an image")
    better = {"auroc": "higher", "augrc": "lower"}
    metrics = {metric: found[found["metric"] == metric] for metric in better}
    figure = _ranked(metrics, "pictures", draw.VALUE, 0.055, apart=0.5)
    for ax, metric in zip(figure.axes, metrics, strict=True):
        ax.set_xlabel(f"{word(metric)} ({better[metric]} is better)")
    draw.level(figure.axes[0], 0.5, "chance", upright=True)
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
            draw.bars(ax, part, place, of, columns=columns, markersize=4, label=kind)
    draw.named_ticks(axes[0], list(map(word, names)))
    return figure
