"""Figures of the question: does what moves the map cost skill, and does it tell of failure?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from medrob.figures import draw
from medrob.figures.draw import Drawing, Look, finish, looks, sized
from medrob.figures.of_heatmaps import drift_by_layer
from medrob.words import Failed, word

__all__ = ["alarms", "drift_by_class", "drop_against_drift", "image_boxes"]
__all__ += ["image_scatter", "signals", "strata_bars"]

HATCHES = ("", "////", "....", "xxxx")  # of classes; of more than these, all are drawn as one
FLIPS = {"preserved": Look("C0", "o"), "flipped": Look("C3", "X")}


def drift_by_class(
    mean: pd.DataFrame, scores: pd.DataFrame, *, method: str, severity: int, failed: Failed = ()
) -> Drawing:
    """`medrob.analysis.drift_by_class` by layer: a panel a corruption, a line a class; above: AUC drop."""
    drops = _drops(scores).xs(severity, level="severity")
    titles = {name: f"{word(name)}: {drop:+.3f}" for name, drop in drops.items()}
    note = f"{word(method, failed)}, severity {severity}; above: AUC drop"
    return drift_by_layer(mean, panels="corruption", by="of", titles=titles, note=note)


def drop_against_drift(pairs: pd.DataFrame, *, layers: Sequence[str], failed: Failed = ()) -> Drawing:
    """AUC drop against mean drift: a row a layer, a column a severity, a point a corruption, bars: 95 %.

    pairs: from `medrob.analysis.drop_and_drift`.
    """
    pairs = pairs[pairs["layer"].isin(layers)]
    if pairs.dropna(subset=["value", "drop"]).empty:
        return draw.nothing("no usable map, or no AUC")
    look, ends = looks(pairs["corruption"]), ["drop", "drop_low", "drop_high"]
    figure, panels = _layers_by_severity(pairs, layers, height=0.2, above=0.12)
    limits = {}
    for axis, columns in (("xlim", [*draw.VALUE]), ("ylim", ends)):
        low, high = pairs[columns].min(axis=None), pairs[columns].max(axis=None)
        room = max(high - low, 1e-3) * 0.08
        limits[axis] = (low - room, high + room)
    for ax, group in panels:
        draw.least_squares(ax, group["value"], group["drop"])
        for row in group.to_dict("records"):
            draw.bars(ax, row, row["drop"], look[row["corruption"]])
            draw.bars(ax, row, row["value"], look[row["corruption"]], columns=ends, upright=True)
        if group.dropna(subset=["value", "drop"]).empty:
            draw.empty(ax, "no usable map,\nor no AUC")
        ax.set(**limits)
    below = f"{draw.DRIFT}, {word(pairs['method'].iloc[0], failed)}"
    return finish(figure, below=below, beside="AUC drop against clean", handles=draw.key(look))


def image_scatter(points: pd.DataFrame, *, classes: Sequence[str], failed: Failed = ()) -> Drawing:
    """Loss of margin against drift, a point an image and corruption: a row a layer, a column a severity.

    Colour: the corruption; marker: the class. At most half a per cent of the points of a panel lie beyond
    each of its edges. points: from `medrob.analysis.moved_and_fell`.
    """
    points = points.dropna(subset=["rmse", "drop"])
    if points.empty:
        return draw.nothing("no picture has a usable map").noted(markers="")
    of, names = _classes(points, classes)
    look, shapes, several = looks(points["corruption"]), looks(names), len(names) > 1
    layers = list(dict.fromkeys(points["layer"]))
    figure, panels = _layers_by_severity(points, layers, height=0.22, above=0.16)
    of_panels = points.groupby(["layer", "severity"], observed=True)[["rmse", "drop"]]
    (_, low), (right, high) = of_panels.quantile(0.005).min(), of_panels.quantile(0.995).max()
    room = 0.05 * max(high - low, 1e-3)
    for ax, group in panels:
        for name, part in group.groupby(of[group.index], sort=False):
            dots = ax.scatter(
                part["rmse"], part["drop"], s=2.5, alpha=0.5, linewidth=0, rasterized=True,
                c=[look[corruption].colour for corruption in part["corruption"]], marker=shapes[name].marker,
            )  # fmt: skip
            # The figure draws the dots of all panels first, as one picture: far smaller files.
            dots.remove()
            figure.add_artist(dots)
        ax.patch.set_visible(False)
        ax.set(xlim=(0, right * 1.05 or 1), ylim=(low - room, high + room))
    handles = draw.key({name: Look(colour, "o") for name, (colour, _) in look.items()})
    handles += draw.key({name: Look("0.3", marker) for name, (_, marker) in shapes.items()}, str) * several
    below = f"{draw.DRIFT}, {word(points['method'].iloc[0], failed)}"
    finish(figure, below=below, beside="drop of the clean class's logit margin", handles=handles)
    return figure.noted(markers="Grey markers: the class, that is, the true label. " * several)


def image_boxes(
    points: pd.DataFrame, scores: pd.DataFrame, *, classes: Sequence[str], failed: Failed = ()
) -> Drawing:
    """Drift of the images of each class under each corruption, a row a severity; above: the AUC drop.

    Boxes hold the middle half, whiskers reach at most 1.5 times its length; hatching: the class.
    points: from `medrob.analysis.moved_and_fell`, of one method and layer.
    """
    points = points.dropna(subset=["rmse"])
    if points.empty:
        return draw.nothing("no picture has a usable map").noted(classes="each class (the true label)")
    of, shown = _classes(points, classes)
    look, drops, severities = looks(points["corruption"]), _drops(scores), sorted(set(points["severity"]))
    figure, axes = sized(0.19 * len(severities) + 0.14, len(severities), sharex=True, sharey=True)
    for severity, ax in zip(severities, axes.flat, strict=True):
        sns.boxplot(
            points[points["severity"] == severity], x="corruption", y="rmse", hue=of, order=list(look),
            hue_order=shown, ax=ax, fliersize=0.8, linewidth=0.6, legend=False, palette=["0.9"] * len(shown),
        )  # fmt: skip
        for container, hatch in zip(ax.containers, HATCHES, strict=False):
            for box in container.boxes:
                box.set_hatch(hatch)
        above = dict(ha="center", va="bottom", transform=ax.get_xaxis_transform(), fontsize="x-small")
        for place, (name, (colour, _)) in enumerate(look.items()):
            drop = drops.get((name, severity), np.nan)
            ax.text(place, 1.0, f"{drop:+.3f}" if np.isfinite(drop) else "–", **above)
            ax.axvspan(place - 0.46, place + 0.46, color=colour, alpha=0.12, linewidth=0, zorder=0)
        ax.set(ylabel=f"severity {severity}", xlabel="")
    axes[-1][0].set_xticks(range(len(look)), map(word, look), rotation=30 if len(look) > 6 else 0)
    beside = f"{draw.DRIFT}, {word(points['method'].iloc[0], failed)}, {points['layer'].iloc[0]}"
    if len(shown) == 1:
        return finish(figure, beside=beside, axes=()).noted(classes="all classes together")
    box = dict(facecolor="0.9", edgecolor="0.3")
    handles = [Patch(hatch=hatch, label=name, **box) for name, hatch in zip(shown, HATCHES, strict=False)]
    finish(figure, beside=beside, handles=handles)
    return figure.noted(classes="each class (the true label, by hatching)")


def _drops(scores: pd.DataFrame) -> pd.Series:
    """The AUC drop of all classes by corruption and severity."""
    auc = scores[(scores["metric"] == "auc") & (scores["class"] == "all")]
    return auc.set_index(["corruption", "severity"])["drop"]


def _classes(points: pd.DataFrame, classes: Sequence[str]) -> tuple[pd.Series, list[str]]:
    """The class of each point, and all of them; one for all, if there are many or none is known (-1)."""
    known = sorted(set(points["label"]))
    if not 1 < len(known) <= len(HATCHES) or known[0] < 0:
        return pd.Series("all", points.index, name="of"), ["all"]
    return points["label"].map(dict(enumerate(classes))).rename("of"), [classes[k] for k in known]


def _layers_by_severity(
    rows: pd.DataFrame, layers: Sequence[str], *, height: float, above: float
) -> tuple[Drawing, list[tuple[Axes, pd.DataFrame]]]:
    """A figure with a row a layer and a column a severity: panels, and their rows."""
    severities = sorted(set(rows["severity"]))
    figure, axes = sized(min(height, 1.1 / len(layers)) * len(layers) + above, len(layers), len(severities))
    wide, panels = len(layers) > 9, []
    for layer, label, row in zip(layers, draw.layer_labels(layers), axes, strict=True):
        for severity, ax in zip(severities, row, strict=True):
            here = rows[(rows["layer"] == layer) & (rows["severity"] == severity)]
            draw.level(ax)
            ax.label_outer()  # all will have the same limits; to share them would be far slower
            panels.append((ax, here))
        row[0].set_ylabel(label if wide else f"layer {label}", rotation=0 if wide else 90)
    for severity, ax in zip(severities, axes[0], strict=True):
        ax.set_title(f"severity {severity}")
    return figure, panels


def strata_bars(strata: pd.DataFrame, *, layer: str, failed: Failed = ()) -> Drawing:
    """Drift of preserved and of flipped images (`medrob.analysis.strata`) by severity, a panel a method."""
    rows = strata[(strata["layer"] == layer) & strata["value"].notna()]
    methods = list(dict.fromkeys(rows["method"]))
    if not methods:
        return draw.nothing(f"every map of {layer} is degenerate").noted(lacking=" (every map is degenerate)")
    figure, axes = draw.grid(len(methods), 5, 0.36)
    for ax, method in zip(axes.flat, methods, strict=False):
        for (kind, look), shift in zip(FLIPS.items(), (-0.08, 0.08), strict=True):
            group = rows[(rows["method"] == method) & (rows["stratum"] == kind)]
            style = draw.Style(linestyle="-", label=f"prediction {kind}", upright=True)
            if len(group):
                draw.bars(ax, group, group["severity"] + shift, look, **style)
        ax.set(title=word(method, failed), xticks=sorted(set(rows["severity"])))
    lacking = ""
    for kind in set(FLIPS) - set(rows["stratum"]):
        lost = f"every map of a {kind} prediction is degenerate"
        lacking = lost if kind in set(strata["stratum"]) else f"no prediction is {kind}"
    below = f"severity ({layer}; {lacking})" if lacking else f"severity ({layer})"
    return finish(figure, below=below, beside=draw.DRIFT).noted(lacking=lacking and f" ({lacking})")


def signals(failure: pd.DataFrame) -> Drawing:
    """AUROC of each signal at the highest severity, a row a signal, for each event, within strata.

    failure: from `medrob.analysis.failure`. Colours tell what has to be known for a signal.
    """
    failure = failure[failure["severity"] == failure["severity"].max()]
    if failure["auroc"].isna().all():
        return draw.nothing("nothing to detect: no usable map, or within a class none or all fail")
    names, look = list(dict.fromkeys(failure["signal"])), looks(failure["league"])
    events = failure.groupby("event", sort=False)
    figure, axes = sized(0.14 + 0.05 * len(names), 1, len(events), sharey=True)
    for ax, (event, rows) in zip(axes[0], events, strict=True):
        for league, part in rows.groupby("league", sort=False):
            columns = ("auroc", "low", "high")
            draw.bars(
                ax, part, part["signal"].map(names.index), look[str(league)], columns=columns, label=league
            )
        draw.level(ax, 0.5, upright=True, dotted=True)
        ax.set(title=f"prediction {event}", xlabel="AUROC within class", xlim=(-0.03, 1.03))
    draw.named_ticks(axes[0][0], [word(name) for name in names])
    return finish(figure, lettered=True, axes=axes[0][:1])


def alarms(found: pd.DataFrame) -> Drawing:
    """How well each signal finds the errors of the network, a row a signal: AUROC and AUGRC.

    found: from `medrob.analysis.alarms`; colours tell clean, corrupted and all pictures apart.
    """
    if found.empty or not found.query("pictures == 'all'")["errors"].any():
        return draw.nothing("no alarm to judge: no errors, or several labels an image")
    signals, groups = list(dict.fromkeys(found["signal"])), looks(found["pictures"])
    figure, axes = sized(0.14 + 0.055 * len(signals), 1, 2, sharey=True)
    for ax, metric in zip(axes[0], ("auroc", "augrc"), strict=True):
        for i, (pictures, look) in enumerate(groups.items()):
            rows = found[(found["metric"] == metric) & (found["pictures"] == pictures)]
            place = [signals.index(name) + draw.aside(i, len(groups)) for name in rows["signal"]]
            draw.bars(ax, rows, place, look, markersize=4, label=pictures)
        ax.set_xlabel(f"{word(metric)} ({'higher' if metric == 'auroc' else 'lower'} is better)")
    draw.level(axes[0][0], 0.5, upright=True, dotted=True)
    draw.named_ticks(axes[0][0], [word(name) for name in signals])
    return finish(figure, axes=axes[0][:1])
