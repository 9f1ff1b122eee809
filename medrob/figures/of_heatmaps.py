"""Figures of saliency: the maps themselves, how far they move, and whether they can be trusted."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
import pandas as pd

from medrob.figures import draw
from medrob.figures.draw import Drawing, Look, aside, bars, finish, lines, looks, sized
from medrob.words import Failed, word

__all__ = ["drift_by_layer", "drift_scale", "faithfulness", "localisation", "overlay_grid", "randomisation"]
__all__ += ["row_labels"]

MOSTLY = 0.1  # share of degenerate maps above which a marker is open: that of `medrob.analysis.headline`
SAME = 1e-4  # of rank correlations: rounding
LESION = {"energy": "energy inside the lesion", "pointing": "pointing game", "iou": "intersection over union"}
LIMITS = {  # what a drift is held against: name in the legend, look
    "floor": ("same picture again", Look("0.2", "|")),
    "ceiling-image": ("another picture", Look("0.35", "s")),
    "ceiling-weights": ("random network", Look("0.6", "D")),
}


def overlay_grid(
    images: np.ndarray, maps: Mapping[tuple[str, str], np.ndarray], rows: Sequence[str], *,
    mask: np.ndarray | None = None,
) -> Drawing:  # fmt: skip
    """Heatmaps over the picture: a row a condition, a column a map, the picture itself at the left.

    images: uint8 (R, H, W, C), one for each row and its text. mask: bool (H, W), outlined in every panel.
    maps: (method, layer) -> raw maps (R, h, w), titled by their layer or, of several methods, by the method
    (its last layer); each is shown from 0 to its own maximum.
    """
    several = len({method for method, _ in maps}) > 1
    titled = {word(method) if several else layer: stack for (method, layer), stack in maps.items()}
    height, width = images.shape[1:3]
    box = (-0.5, width - 0.5, height - 0.5, -0.5)  # maps are coarser than the picture they cover
    figure, axes = sized(len(rows) / max(len(titled) + 2, 7) * 1.06 + 0.03, len(rows), len(titled) + 1)
    for i, row in enumerate(axes):
        for ax in row:
            draw.picture(ax, images[i])
            if mask is not None and mask.any():
                ax.contour(mask, levels=[0.5], colors="#4dff88", linewidths=0.6)
        for ax, stack in zip(row[1:], titled.values(), strict=True):
            heat = np.maximum(stack[i], 0)
            if heat.max() > 0:
                shown = dict(cmap="inferno", vmin=0, vmax=heat.max(), interpolation="bilinear")
                ax.imshow(heat, alpha=0.55, extent=box, **shown)
            else:
                draw.empty(ax, "empty")
        row[0].set_ylabel(rows[i], rotation=0, ha="right", va="center", fontsize="x-small")
    for ax, title in zip(axes[0], ["picture", *titled], strict=True):
        ax.set_title(title if len(titled) < 7 else fill(title, 11), fontsize="x-small")
    return figure


def row_labels(
    conditions: Sequence[tuple[str, int]], scores: pd.DataFrame, distances: pd.DataFrame, image: int
) -> list[str]:
    """The text beside each row of an overlay grid: AUC and accuracy of the condition, RMSE of the image."""
    at = ["corruption", "severity"]
    wide = scores[scores["class"] == "all"].pivot(index=at, columns="metric", values="value")
    rmse = distances[distances["image"] == image].set_index(at)["rmse"]
    return [
        f"{word(name)}{(severity and f' {severity}') or ''}\nAUC {wide.loc[(name, severity), 'auc']:.3f}\n"
        f"accuracy {wide.loc[(name, severity), 'accuracy']:.3f}\nimage RMSE {rmse.loc[(name, severity)]:.0f}"
        for name, severity in conditions
    ]


def drift_by_layer(
    mean: pd.DataFrame, *, note: str, panels: str = "method", by: str = "corruption",
    titles: Mapping[str, str] | None = None, failed: Failed = (),
) -> Drawing:  # fmt: skip
    """Drift from shallow to deep: a panel a method, a line a corruption, bands: 95 % intervals.

    Markers are open where over a tenth of the maps are degenerate; below stand the note and how many images
    count. mean: from `medrob.analysis.mean_drift`, a row for each of the columns `panels`, `by` and layer.
    """
    rows = mean[mean["value"].notna()]
    if rows.empty:
        return draw.nothing(f"every map is degenerate ({note})")
    shown, layers = (list(dict.fromkeys(mean[column])) for column in (panels, "layer"))
    look, few = looks(rows[by]), rows["degenerate"] > MOSTLY
    figure, axes = draw.grid(len(shown), 3, 0.38)
    for ax, panel in zip(axes.flat, shown, strict=False):
        here = rows[panels] == panel
        if not here.any():
            draw.empty(ax, "every map is degenerate")
        lines(ax, rows[here], by, "layer", look, order=layers)
        for name, group in rows[here & few].groupby(by, sort=False):
            place = [layers.index(layer) for layer in group["layer"]]
            colour, marker = look[name]
            ax.plot(place, group["value"], marker, color=colour, markerfacecolor="white", zorder=3)
        ax.set_title((titles or {}).get(panel, word(panel, failed)))
        ax.set_xticks(range(len(layers)), draw.layer_labels(layers), rotation=45)
    axes.flat[0].set_ylim(bottom=0)
    least, most = rows["images"].min(), rows["images"].max()
    notes = [note, f"n = {most if least == most else f'{least} to {most}'} images a point"]
    notes += ["open: over 10 % of maps degenerate"] * bool(few.any())
    return finish(figure, below=f"layer, shallow to deep ({'; '.join(notes)})", beside=draw.DRIFT)


def randomisation(trust: pd.DataFrame, *, layer: str, failed: Failed = ()) -> Drawing:
    """(a) Similarity of a layer's maps while the network loses its weights from the head down; (b) at last.

    Dashed line: the map of another image. trust: holds the rows of `medrob.trust.randomisation`.
    """
    rows = trust[trust["test"] == "randomisation"]
    figure, [[ax, beside]] = sized(0.42, 1, 2, width_ratios=[1, 1.15])
    here = rows[(rows["layer"] == layer) & rows["value"].notna()]
    stages = list(dict.fromkeys(rows["stage"]))
    # Methods whose values are the same at every stage are one line: its first method -> all of them.
    wide = here.pivot(index="stage", columns="method", values="value")
    same: dict[str, list[str]] = {}
    for method in dict.fromkeys(here["method"]):
        twins = (m for m in same if np.allclose(wide[m], wide[method], atol=SAME, equal_nan=True))
        same.setdefault(next(twins, method), []).append(method)
    for i, (method, names) in enumerate(same.items()):
        # Side by side, so that no marker hides another.
        place = here["stage"].map(stages.index) + aside(i, len(same), 0.09 * len(same))
        name = " = ".join(word(m, failed) for m in names)
        group = here[here["method"] == method].assign(place=place, name=name)
        lines(ax, group, "name", "place", {name: looks(same)[method]})
    if here["chance"].notna().any():
        chance = here["chance"].mean()
        ax.axhline(chance, color="0.5", linestyle="--", linewidth=0.8)
        there = dict(xycoords=("axes fraction", "data"), va="bottom", ha="right")
        ax.annotate("another image", (1, chance), fontsize="x-small", color="0.3", **there)
    if here.empty:
        draw.empty(ax, f"no map at {layer} can be compared")
    draw.level(ax)
    ax.set(title=f"maps of {layer}", ylabel="rank correlation with the map\nof the trained network")
    ax.set(xlabel="part of the network lost last")
    ax.set_xticks(range(len(stages)), stages, rotation=45)
    lost = rows[rows["stage"].isin(stages[-1:])]
    methods, layers = (list(dict.fromkeys(lost[column])) for column in ("method", "layer"))
    values = lost.pivot(index="method", columns="layer", values="value").reindex(methods)[layers]
    size, labels = {"fontsize": "xx-small"}, draw.layer_labels(layers)
    draw.cells(
        beside, values.round(2) + 0.0, ".2f", [word(m, failed) for m in methods],
        xticklabels=labels, cmap="RdBu_r", vmin=-1, vmax=1, cbar=False, annot_kws=size,
    )  # fmt: skip
    for text in beside.texts:
        text.set_text(text.get_text().replace("0.", "."))
    beside.set(title="all weights lost", xlabel="layer", facecolor="0.85")  # grey where no map is left
    beside.tick_params(length=0, labelsize="x-small")
    beside.tick_params(axis="x", rotation=45)
    return finish(figure, lettered=True, most=3)


def faithfulness(trust: pd.DataFrame, *, layer: str, failed: Failed = ()) -> Drawing:
    """Insertion, deletion and ROAD of every method at a layer (and of maps of the input); bars: 95 %.

    Open circles: a random map of that resolution. trust: holds the rows of `medrob.trust.faithfulness`.
    """
    tests = ["insertion", "deletion", "road"]
    rows = trust[trust["layer"].isin([layer, "input"]) & trust["test"].isin(tests)]
    methods = list(dict.fromkeys(rows["method"]))
    figure, [axes] = sized(0.12 + 0.04 * max(len(methods), 4), 1, len(tests), sharey=True)
    for ax, test in zip(axes, tests, strict=True):
        group = rows[rows["test"] == test]
        place = [methods.index(method) for method in group["method"]]
        bars(ax, group, place, Look("C0", "o"), label="the method")
        hollow = dict(color="0.4", marker="o", markerfacecolor="none", linestyle="")
        ax.plot(group["chance"], place, label="a random map", **hollow)
        ax.set_title(f"{word(test)} ({'lower' if test == 'deletion' else 'higher'}: better)")
    draw.named_ticks(axes[0], [word(m, failed) for m in methods])
    return finish(figure, below=f"probability of the class explained: area; of ROAD: difference ({layer})")


def localisation(trust: pd.DataFrame, *, method: str, layer: str, failed: Failed = ()) -> Drawing | None:
    """Does the map still lie on the lesion? Against severity, a line a corruption; bars: 95 %.

    Dotted: the best that so few positions allow. Dashed: chance, at each severity for the images that count
    there, and a band from the least to the most of the corruptions. Below each severity: how many images
    count, from the least to the most.
    trust: holds the rows of `medrob.trust.localisation`; None if it has none, as no lesion is known.
    """
    if trust.empty:
        return None
    rows = trust[(trust["method"] == method) & (trust["layer"] == layer)]
    best, rows = rows[rows["stage"] == "attainable"], rows[rows["stage"] == ""]
    names = looks(n for n in rows[rows["test"] == "energy"]["corruption"] if n != "clean")
    figure, [axes] = sized(0.42, 1, 3)
    small = draw.Style(upright=True, markersize=3, elinewidth=0.7)
    for ax, (test, title) in zip(axes, LESION.items(), strict=True):
        here = rows[rows["test"] == test]
        clean = here[here["corruption"] == "clean"]
        for i, (name, look) in enumerate(names.items()):
            group = here[here["corruption"] == name].sort_values("severity")
            place = [*clean["severity"], *group["severity"] + aside(i, len(names), 0.6)]
            line = draw.Style(linestyle="-", linewidth=0.7, label=word(name))
            bars(ax, pd.concat([clean, group]), place, look, **small, **line)
        bars(ax, clean, clean["severity"], Look("0.1", "o"), **small)
        by_severity = here.groupby("severity")
        if here["value"].notna().any():
            chance = by_severity["chance"].agg(["mean", "min", "max"])
            ax.plot(chance.index, chance["mean"], color="0.3", linestyle="--", linewidth=0.8, label="chance")
            ax.fill_between(chance.index, chance["min"], chance["max"], color="0.3", alpha=0.2, linewidth=0)
            for value in best.loc[best["test"] == test, "value"]:
                draw.level(ax, value, dotted=True, label="attainable")
            ax.set_ylim(bottom=0)
        else:
            draw.empty(ax, "no map to compare")
        count = by_severity["images"].agg(["min", "max"])
        ticks = [f"{s}\n{low}" + f"–{high}" * (low < high) for s, low, high in count.itertuples()]
        ax.set_title(title)
        ax.set_xticks(list(count.index), ticks, fontsize="x-small")
    axes[0].set_ylabel("mean over the images with a lesion")
    below = f"severity (0 = clean), below it the images that count; {word(method, failed)}, {layer}"
    return finish(figure, below=below, lettered=True, most=3)


def drift_scale(
    trust: pd.DataFrame, mean: pd.DataFrame, *, layer: str, twins: pd.DataFrame, failed: Failed = ()
) -> Drawing:
    """How large is a drift? Each method's corruptions between its floor and its ceilings; bars: 95 %.

    Methods that are one map (`medrob.analysis.twins`) are drawn once, under all their names.
    trust: holds the rows of `medrob.trust.scale`, and those of the worst case, if it was run.
    mean: from `medrob.analysis.mean_drift` by severity, method and layer.
    """
    rows = trust[trust["layer"].isin([layer, "input"]) & trust["test"].isin(LIMITS)]
    names = {method: [method] for method in rows[rows["test"] == "ceiling-image"]["method"]}
    for row in twins[twins["layer"] == layer].itertuples():
        if {row.method, row.same_as} <= set(names):
            names[row.same_as] += names.pop(row.method)
    methods = list(names)
    tallest = max(map(len, names.values()), default=1)
    figure, [[ax]] = sized(0.16 + max(0.045 * max(len(methods), 4), 0.03 * len(methods) * tallest))
    moved = mean[mean["layer"].isin([layer, "input"])].assign(test="corruption")
    for row in pd.concat([rows, moved]).query("method in @methods and value.notna()").to_dict("records"):
        y = methods.index(row["method"])
        if row["test"] in LIMITS:
            bars(ax, row, y, LIMITS[row["test"]][1])
        else:
            above = dict(fontsize="x-small", ha="center", va="bottom")
            ax.text(row["value"], y - 0.12, f"{row['severity']:.0f}", **above)
            bars(ax, row, y, Look("C0", "o"), markersize=3)
    draw.named_ticks(ax, [" =\n".join(word(m, failed) for m in same) for same in names.values()])
    inputs = "; methods of the input: there" if "input" in set(rows["layer"]) - {layer} else ""
    ax.set(xlabel=f"RMSE of maps (0-1), {layer}{inputs}", xlim=(-0.01, None))
    shown = dict(look for test, look in LIMITS.items() if test in set(rows["test"]))
    return finish(figure, handles=draw.key({"corruption, severity 1-5": Look("C0", "o"), **shown}), most=3)
