"""Figures of saliency: the maps themselves, how far they move, and whether they can be trusted."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medrob.analysis import THRESHOLD
from medrob.figures import draw
from medrob.figures.draw import Look, aside, bars, finish, lines, looks, short, sized
from medrob.words import Failed, word

__all__ = ["condition_titles", "drift_by_layer", "faithfulness", "localisation", "map_grid"]
__all__ += ["overlays", "randomisation"]

MOSTLY = 0.1  # share of degenerate maps above which a marker is open: that of `medrob.analysis.headline`
MAPS = 8  # beside a picture at most, as their names must stay readable
LESION = {"energy": "energy inside the lesion", "pointing": "pointing game", "iou": "intersection over union"}


def overlays(
    images: np.ndarray, maps: np.ndarray, titles: Sequence[str], *, mask: np.ndarray | None = None
) -> Figure:
    """A column for each condition: the picture, and below it one map over it.

    images: uint8 (N, H, W, C), each with its raw map (N, h, w) and title. mask: bool (H, W), outlined.
    """
    figure, axes = _panels(2, len(images), images, lines=2)
    for (above, below), image, heat, title in zip(axes.T, images, maps, titles, strict=False):
        _overlay(above, image, None, mask)
        _overlay(below, image, heat, mask)
        above.set_title(title, fontsize=draw.SMALL)
    return figure


def map_grid(
    images: np.ndarray, maps: Mapping[tuple[str, str], np.ndarray], rows: Sequence[str], *,
    mask: np.ndarray | None = None,
) -> Figure:  # fmt: skip
    """A row for each picture (R, H, W, C): itself and up to `MAPS` of its maps, from the first to the last.

    maps: (method, layer) -> raw maps (R, h, w), titled by their layer or, of several methods, by the method
    (its last layer). Maps that agree are drawn once. mask: bool (H, W), outlined in every panel.
    """
    several = len({method for method, _ in maps}) > 1
    heat = {word(method) if several else layer: np.maximum(m, 0) for (method, layer), m in maps.items()}
    scaled = {title: m / np.maximum(m.max((1, 2), keepdims=True), 1e-30) for title, m in heat.items()}
    same = [*draw.alike(scaled, 1e-3).items()]
    columns = [same[k] for k in np.unique(np.linspace(0, len(same) - 1, MAPS).astype(int))]
    titles = ["picture", *(" =\n".join(names) for _, names in columns)]
    lines = max(title.count("\n") for title in titles) + 1
    figure, axes = _panels(len(rows), len(titles), images, lines)
    for i, row in enumerate(axes):
        for ax, heat_of in zip(row, [None, *(scaled[first][i] for first, _ in columns)], strict=False):
            _overlay(ax, images[i], heat_of, mask)
        beside = dict(rotation=0, ha="right", va="center", fontsize=draw.SMALL)
        row[0].set_ylabel(draw.folded(rows[i], 9), **beside)
    for ax, title in zip(axes[0], titles, strict=False):
        ax.set_title(title, fontsize=draw.SMALL)
    return figure


def _panels(rows: int, columns: int, images: np.ndarray, lines: int) -> tuple[Figure, np.ndarray]:
    """Axes for pictures of one size, no wider than a quarter of the text, with titles of so many lines."""
    height, width = images.shape[1:3]
    wide = max(columns, 4)
    figure, axes = sized(rows / wide * height / width + 0.03 * lines, rows, wide)
    for ax in axes[:, columns:].flat:
        ax.remove()
    return figure, axes


def _overlay(ax: Axes, image: np.ndarray, heat: np.ndarray | None, mask: np.ndarray | None) -> None:
    """A picture; over it a raw map, if it is given, from 0 to its own maximum; the outline of the mask."""
    draw.picture(ax, image)
    height, width = image.shape[:2]
    if heat is not None and heat.max() > 0:
        box = (-0.5, width - 0.5, height - 0.5, -0.5)  # maps are coarser than the picture they cover
        top = heat.max()
        ax.imshow(heat, "inferno", vmin=0, vmax=top, extent=box, alpha=0.55, interpolation="bilinear")
    elif heat is not None:
        draw.empty(ax, "empty")
    if mask is not None and mask.any():
        x, y = range(-1, width + 1), range(-1, height + 1)  # the outline closes at the edge of the picture
        ax.contour(x, y, np.pad(mask, 1), [0.5], colors="#4dff88", linewidths=0.6)


def condition_titles(
    conditions: Sequence[tuple[str, int]], predictions: pd.DataFrame, image: int
) -> list[str]:
    """The name of each condition, and below it the class predicted for the image and its probability."""
    of_image = predictions[predictions["image"] == image].set_index(["corruption", "severity"])
    p = of_image.filter(regex="^p_").rename(columns=lambda name: name.removeprefix("p_"))
    titles = []
    for name, severity in conditions:
        of_classes = p.loc[(name, severity)]
        condition = f"{word(name)} {severity or ''}".strip()
        titles.append(f"{condition}\n{short(of_classes.idxmax(), 17)} {of_classes.max():.2f}")
    return titles


def drift_by_layer(
    mean: pd.DataFrame, *, note: str, panels: str = "method", by: str = "corruption",
    titles: Mapping[str, str] | None = None, failed: Failed = (),
) -> Figure | None:  # fmt: skip
    """Normalised drift from shallow to deep: a panel a method, a line a corruption, bands: 95 % intervals.

    Raw drift would not do: every layer has a scale of its own. Markers are open where over a tenth of the
    maps are degenerate; below stand the note and how many images count.
    mean: from `medrob.analysis.mean_drift`, a row for each of the columns `panels`, `by` and layer; None if
    every map is degenerate.
    """
    rows = mean[mean["value"].notna()]
    if rows.empty:
        return None
    moved = mean["value"].groupby(mean[panels], sort=False).mean()
    (shown, left_out), layers = draw.most(moved, "mean drift"), list(dict.fromkeys(mean["layer"]))
    look, note_of_lines = draw.coloured(rows.groupby(by, sort=False)["value"].mean(), "mean drift")
    few = rows["degenerate"] > MOSTLY
    figure, axes = draw.grid(len(shown), 3, 0.38)
    for ax, panel in zip(axes.flat, shown, strict=False):
        here = rows[panels] == panel
        if not here.any():
            draw.empty(ax, "every map is degenerate")
        lines(ax, rows[here], by, "layer", look, order=layers)
        for name, group in rows[here & few & rows[by].isin(look)].groupby(by, sort=False):
            place = [layers.index(layer) for layer in group["layer"]]
            colour, marker = look[name]
            ax.plot(place, group["value"], marker, color=colour, markerfacecolor="white", zorder=3)
        draw.level(ax, 1, "map of another picture")
        ax.set_title((titles or {}).get(panel, word(panel, failed)))
        draw.layer_ticks(ax, layers)
    axes.flat[0].set_ylim(bottom=0)
    least, most = rows["images"].min(), rows["images"].max()
    count = f"n = {most if least == most else f'{least} to {most}'} images a point"
    below = f"layer, shallow to deep ({note}; {count}{left_out}{note_of_lines})"
    return finish(figure, below=below, beside=draw.SCALED)


def randomisation(trust: pd.DataFrame, *, layer: str, failed: Failed = ()) -> Figure:
    """(a) Similarity of a layer's maps while the network loses its weights from the head down; (b) at last.

    Dotted lines: the map of another image, and the limit above which a method fails when all weights are
    lost. trust: holds the rows of `medrob.trust.randomisation`.
    """
    rows = trust[trust["test"] == "randomisation"]
    figure, [[ax, beside]] = sized(0.48, 1, 2, width_ratios=[1, 1.15])
    here = rows[(rows["layer"] == layer) & rows["value"].notna()]
    stages = list(dict.fromkeys(rows["stage"]))
    wide = here.pivot(index="stage", columns="method", values="value")
    same = draw.alike({method: wide[method].to_numpy() for method in dict.fromkeys(here["method"])})
    for i, (method, names) in enumerate(same.items()):
        # Side by side, so that no marker hides another.
        place = here["stage"].map(stages.index) + aside(i, len(same), 0.09 * len(same))
        name = " = ".join(word(m, failed) for m in names)
        group = here[here["method"] == method].assign(place=place, name=name)
        lines(ax, group, "name", "place", {name: looks(same)[method]}, label=str)
    ax.axhline(THRESHOLD, color="C3", linestyle="--", linewidth=1, label=f"limit {THRESHOLD:g}")
    if here["chance"].notna().any():
        draw.level(ax, here["chance"].mean(), "map of another image")
    if here.empty:
        draw.empty(ax, f"no map at {layer} can be compared")
    draw.level(ax)
    ax.set(title=f"maps of {layer}", ylabel="rank correlation with the map\nof the trained network")
    ax.set(xlabel="part of the network lost last")
    ax.set_xticks(range(len(stages)), stages, rotation=45)
    lost = rows[rows["stage"].isin(stages[-1:])]
    methods, layers = (list(dict.fromkeys(lost[column])) for column in ("method", "layer"))
    values = lost.pivot(index="method", columns="layer", values="value").reindex(methods)[layers]
    sns.heatmap(
        values.round(2) + 0.0, ax=beside, annot=True, fmt=".2f", linewidths=0.5, cmap="RdBu_r", vmin=-1,
        vmax=1, cbar=False, annot_kws={"fontsize": draw.SMALL}, xticklabels=draw.layer_labels(layers),
        yticklabels=[word(m, failed) for m in methods],
    )  # fmt: skip
    for text in beside.texts:
        text.set_text(text.get_text().replace("0.", "."))
    # Grey where no map is left.
    beside.set(title="all weights lost", xlabel="layer", ylabel="", facecolor="0.85")
    beside.tick_params(length=0, labelsize=draw.SMALL)
    beside.tick_params(axis="x", rotation=45)
    return finish(figure, lettered=True, most=3)


def faithfulness(table: pd.DataFrame, *, layer: str, failed: Failed = ()) -> Figure:
    """How much better than a random map is each, by insertion, deletion and ROAD? Bars: paired 95 %.

    table: from `medrob.analysis.faithfulness_table`, of maps of that layer and of the input.
    """
    methods, tests = (list(dict.fromkeys(table[column])) for column in ("method", "test"))
    figure, [axes] = sized(0.17 + 0.04 * max(len(methods), 4), 1, max(len(tests), 1), sharey=True)
    for ax, test in zip(axes, tests, strict=False):
        group = table[table["test"] == test]
        place = [methods.index(method) for method in group["method"]]
        bars(ax, group, place, Look("C0", "o"), columns=("above", "above_low", "above_high"))
        draw.level(ax, 0, "a random map of that resolution", upright=True)
        ax.set_title(word(test))
    draw.named_ticks(axes[0], [word(m, failed) for m in methods])
    return finish(figure, below=f"gain over a random map, in probability of the class explained ({layer})")


def localisation(trust: pd.DataFrame, *, method: str, layer: str, failed: Failed = ()) -> Figure | None:
    """Does the map still lie on the lesion? Against severity, a line a corruption; bands: 95 %.

    Dashed: chance, at each severity for the images that count there; in the titles, the best that so few
    positions allow. Below each severity: how many images count, from the least to the most.
    trust: holds the rows of `medrob.trust.localisation`; None if it has none, as no lesion is known.
    """
    if trust.empty:
        return None
    rows = trust[(trust["method"] == method) & (trust["layer"] == layer)]
    best, rows = rows[rows["stage"] == "attainable"], rows[rows["stage"] == ""]
    rows = draw.from_clean(rows).sort_values("severity", kind="stable")
    energy = rows[(rows["test"] == "energy") & (rows["corruption"] != "clean")]
    clean, worst = draw.at_worst(energy[energy["severity"] == 0], "value"), draw.at_worst(energy, "value")
    look, note = draw.coloured(worst - clean.reindex(worst.index), f"{draw.CHANGE}, of the energy")
    figure, [axes] = sized(0.5, 1, 3)
    for ax, (test, title) in zip(axes, LESION.items(), strict=True):
        here = rows[rows["test"] == test]
        lines(ax, here, "corruption", "severity", look)
        by_severity = here.groupby("severity")
        if here["value"].notna().any():
            chance = by_severity["chance"].mean()
            ax.plot(chance.index, chance, color="0.3", linestyle="--", linewidth=1, label="chance")
            for value in best.loc[best["test"] == test, "value"]:  # as a line, it would press the others down
                title += f"\n(attainable: {value:.2f})"
            ax.set_ylim(bottom=0)
        else:
            draw.empty(ax, "no map to compare")
        count = by_severity["images"].agg(["min", "max"])
        ticks = [f"{s}\n{low}" + f"–{high}" * (low < high) for s, low, high in count.itertuples()]
        ax.set_title(title)
        ax.set_xticks(list(count.index), ticks, fontsize=draw.SMALL)
    axes[0].set_ylabel("mean over the images with a lesion")
    below = f"severity (0 = clean), below it the images that count; {word(method, failed)}, {layer}{note}"
    return finish(figure, below=below, lettered=True, most=4)
