"""What every figure is made of: the style, names in words, looks; lines, bars, legends and labels."""

import hashlib
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle
from textwrap import fill
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from matplotlib.lines import Line2D

from medrob.words import word

Style = dict[str, Any]  # keywords for matplotlib
TEXTWIDTH = 418.0  # points of TeX, of which an inch has 72.27
MARKERS = "osD^vPX<>*hpdH8"
SMALL = 7.0  # points: no letter of a figure is smaller
HIGHEST = 1.25  # of a figure, in widths of the text: below it, a page has room for the caption
PANELS = 12  # of a figure at most
LINES = 8  # in colour at most
CHANGE = "change at the highest severity"
LETTER = 0.42  # the width of a letter, in sizes of the font
DRIFT = "drift: RMSE of maps (0-1)"
SCALED = "normalised drift (0: the same map)"
VALUE = ("value", "low", "high")  # columns of a number and its 95 % interval
Look = namedtuple("Look", "colour marker")  # how one thing is drawn in every panel of a figure
OTHERS = {"others": Look("0.8", "")}  # all that have no look of their own

# Fonts for what STIX lacks; those that the system has are taken.
CJK = {"Noto Sans CJK SC", "Noto Sans CJK JP", "Hiragino Sans GB", "Microsoft YaHei", "WenQuanYi Zen Hei"}


def use_style(textwidth: float = TEXTWIDTH) -> None:
    """Set matplotlib up for a text so many TeX points wide, as LaTeX's ``\\the\\textwidth`` prints it."""
    sns.set_theme(context="paper", style="ticks", palette="colorblind")
    small = Style.fromkeys(("legend.fontsize", "xtick.labelsize", "ytick.labelsize"), 8)
    normal = Style.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), 9)
    settings: Any = normal | small | {
        "figure.figsize": (textwidth / 72.27, 0.5 * textwidth / 72.27),
        "figure.dpi": 90, "savefig.dpi": 300, "figure.constrained_layout.use": True,
        "font.family": ["STIXGeneral", *sorted(CJK & set(get_font_names()))],
        "mathtext.fontset": "stix", "text.parse_math": False,  # a dollar sign in the name of a class is one
        "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6,
        "lines.linewidth": 1.2, "lines.markersize": 4, "legend.frameon": False,
        "image.cmap": "gray", "image.interpolation": "nearest",
        "pdf.fonttype": 42, "svg.hashsalt": "medrob",
    }  # fmt: skip
    mpl.rcParams.update(settings)


def short(name: str, most: int = 40) -> str:
    """A name that fits: the middle of a long one is left out, for which its checksum tells it from others."""
    sign = hashlib.sha256(name.encode()).hexdigest()[:4]
    return name if len(name) <= most else f"{name[: max(most - 14, 1)]}…{sign}…{name[-8:]}"


def layer_labels(layers: Sequence[str]) -> list[str]:
    """Short labels, without what all names begin with: ``layer4.1`` -> ``4.1``, ``features.3`` -> ``3``."""
    roots = {name.partition(".")[0] for name in layers if name != "input"}
    root = roots.pop() if len(roots) == 1 else "layer"
    begin = "layer" if root.startswith("layer") else f"{root}."
    return [name.removeprefix(begin) for name in layers]


def folded(name: str, letters: int) -> str:
    """A name in lines of so many letters, broken between words; of a longer word the middle is left out."""
    words = " ".join(short(part, max(letters, 26)) for part in name.split(" "))
    return fill(words, letters, break_long_words=False)


def alike(values: Mapping[str, np.ndarray], within: float = 1e-4) -> dict[str, list[str]]:
    """The first of the names whose arrays agree -> all of these names: they are drawn once."""
    groups: dict[str, list[str]] = {}
    for name, array in values.items():
        comparable = (first for first in groups if values[first].shape == array.shape)
        near = (n for n in comparable if np.allclose(values[n], array, atol=within, equal_nan=True))
        groups.setdefault(next(near, name), []).append(name)
    return groups


def most(effects: pd.Series, of: str, count: int = PANELS) -> tuple[list[str], str]:
    """The names of the `count` largest effects (up or down), in their order, and a note if some are left out.

    effects: `of` what the note says, by name, at the highest severity.
    """
    largest = set(effects.abs().fillna(0).nlargest(count).index)
    note = f"; the {count} of {len(effects)} with the largest {of}" if len(effects) > count else ""
    return [str(name) for name in effects.index if name in largest], note


def coloured(effects: pd.Series, of: str) -> tuple[dict[str, Look], str]:
    """The looks of the `LINES` names with the largest effects; the others are grey. A note as in `most`."""
    (names, note), every = most(effects, of, LINES), looks(effects.index)
    chosen = {name: every[name] for name in names}
    return chosen | (OTHERS if note else {}), note.replace("; ", "; in colour: ")


def at_worst(rows: pd.DataFrame, column: str = "drop", by: str = "corruption") -> pd.Series:
    """The mean of a column at the highest severity, by corruption, in the order of the rows."""
    rows = rows[rows["severity"] == rows["severity"].max()]
    return rows.groupby(by, sort=False)[column].mean()


def layer_ticks(ax: Axes, layers: Sequence[str]) -> None:
    """A tick for each layer, or for every second, third, ... where there are more than ten."""
    every = slice(None, None, 1 + (len(layers) - 1) // 10)
    ax.set_xticks(range(len(layers))[every], layer_labels(layers)[every], rotation=45)


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A colour and a marker for each name, so that grey print tells them apart, too."""
    palette = [*sns.color_palette("colorblind"), *sns.color_palette("dark")]
    pairs = zip(dict.fromkeys(names), cycle(palette), cycle(MARKERS), strict=False)
    return {name: Look(colour, marker) for name, colour, marker in pairs}


def least_squares(ax: Axes, x: pd.Series, y: pd.Series, colour: Any = "0.5") -> None:
    """The line of least squares through three points or more: it describes, and tests nothing."""
    if len(x) > 2:
        style = Style(color=colour, line_kws=Style(linewidth=0.9, zorder=1))
        sns.regplot(x=x.to_numpy(), y=y.to_numpy(), ax=ax, scatter=False, ci=None, **style)


def sized(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure as wide as the text and `height` times as high, with a grid of axes (rows, columns)."""
    return plt.subplots(rows, columns, figsize=size(height), squeeze=False, **options)


def size(height: float) -> tuple[float, float]:
    """The size in inches of a figure as wide as the text and `height` times as high, if a page allows it."""
    width = mpl.rcParams["figure.figsize"][0]
    return width, width * min(height, HIGHEST)


def grid(count: int, most: int, height: float, above: float = 0.06) -> tuple[Figure, np.ndarray]:
    """A figure with so many panels that share their axes, at most `most` in a row; see `sized`."""
    columns = min(max(count, 1), most)
    rows = -(-max(count, 1) // columns)
    figure, axes = sized(height * rows + above, rows, columns, sharey=True, sharex=True)
    for ax in axes.flat[count:]:
        ax.axis("off")
    for ax in axes.flat[max(count - columns, 0) : count]:
        ax.tick_params(labelbottom=True)  # also above a place that is left free
    return figure, axes


def lines(
    ax: Axes, rows: pd.DataFrame, by: str, x: str, looks: Mapping[str, Look], *,
    columns: Sequence[str] = VALUE, order: Sequence[str] | None = None, label: Callable[[str], str] = word,
) -> None:  # fmt: skip
    """A line for each value of the column `by` (its `label` is in the legend), with its interval as a band.

    `order`: all values of x, where they are names: no line then crosses one that a group lacks. What is not
    among the looks is one of the `OTHERS`: a grey line without its interval.
    """
    for name, group in rows.groupby(by, sort=False):
        if order is not None:
            group = group.set_index(x).reindex(order)
        place = group[x] if order is None else range(len(order))
        value, low, high = (group[column] for column in columns)
        if str(name) not in looks:
            ax.plot(place, value, color=OTHERS["others"].colour, label="others", linewidth=0.7, zorder=1)
            continue
        colour, marker = looks[str(name)]
        edge = Style(markeredgecolor="white", markeredgewidth=0.4)
        ax.plot(place, value, color=colour, marker=marker, label=label(str(name)), **edge)
        ax.fill_between(place, low, high, color=colour, alpha=0.18, linewidth=0)


def by_severity(ax: Axes, rows: pd.DataFrame, look: Mapping[str, Look], **labels: Any) -> None:
    """A line for each corruption, and a tick for each severity."""
    lines(ax, rows, "corruption", "severity", look)
    ax.set(xticks=sorted(set(rows["severity"])), **labels)


def from_clean(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows; every corruption begins with the clean one, so that each line starts there."""
    dirty, clean = (rows[(rows["corruption"] == "clean") == of] for of in (False, True))
    return pd.concat([*(clean.assign(corruption=name) for name in dirty["corruption"].unique()), dirty])


def bars(
    ax: Axes, row: Any, place: Any, look: Look, *, columns: Sequence[str] = VALUE, upright: bool = False,
    **options: Any,
) -> None:  # fmt: skip
    """A point with its interval, along y if `upright`, or one for each row of a frame."""
    value, low, high = (np.asarray(row[column], float) for column in columns)
    ends = np.stack([np.maximum(value - low, 0), np.maximum(high - value, 0)]).reshape(2, -1)
    xy = dict(x=place, y=value, yerr=ends) if upright else dict(x=value, y=place, xerr=ends)
    plain = dict(color=look.colour, marker=look.marker, linestyle="", elinewidth=0.8)
    ax.errorbar(**xy, **plain | options)


def key(looks: Mapping[str, Look], label: Callable[[str], str] = word) -> list[Line2D]:
    """Entries of a legend: a marker and a name each."""
    return [
        Line2D([], [], color=look.colour, marker=look.marker or "o", linestyle="", label=label(name))
        for name, look in looks.items()
    ]


def finish(
    figure: Figure, *, below: str = "", beside: str = "", lettered: bool = False,
    axes: Iterable[Axes] | None = None, handles: Sequence[Any] = (), most: int = 5,
) -> Figure:  # fmt: skip
    """The figure with what its panels share: labels of the axes, (a), (b), ... before titles, a legend above.

    The legend has the handles, else the entries of the axes (None: of all), in at most `most` columns.
    """
    width, height = 72 * figure.get_size_inches()
    if below:
        figure.supxlabel(_wrapped(below, width), fontsize="medium")
    if beside:
        taken = 1.5 * mpl.rcParams["font.size"] * len(figure.get_supxlabel().splitlines())
        figure.supylabel(_wrapped(beside, height - 2 * taken), fontsize="medium")
    for ax, name in zip(figure.axes if lettered else (), "abcdefghijklmnopqrstuvwxyz", strict=False):
        ax.set_title(f"({name}) {ax.get_title()}", loc="center")
    found: dict[str, Any] = {handle.get_label(): handle for handle in handles}
    for ax in (() if handles else figure.axes) if axes is None else axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    found = {short(label): handle for label, handle in found.items()}
    if found:
        size = mpl.rcParams["legend.fontsize"]
        widths = [size * (LETTER * len(label) + 4.8) for label in found]
        columns = range(min(len(found), most), 1, -1)  # matplotlib cuts off what does not fit
        fits = (n for n in columns if sum(map(max, np.array_split(widths, n))) <= width)
        figure.legend(list(found.values()), list(found), loc="outside upper center", ncols=next(fits, 1))
    return figure


def _wrapped(text: str, points: float) -> str:
    """The text in lines of at most that length."""
    return fill(text, int((0.95 * points - 8) / LETTER / mpl.rcParams["font.size"]), break_long_words=False)


def level(ax: Axes, at: float = 0.0, label: str = "", *, upright: bool = False) -> None:
    """A thin grey line at zero; or one that the legend names, such as "chance": dotted."""
    draw = ax.axvline if upright else ax.axhline
    look = Style(color="0.35", linestyle=":", linewidth=1, label=label) if label else Style(color="0.6")
    draw(at, **{"linewidth": 0.7, "zorder": 0.5} | look)


def named_ticks(ax: Axes, names: Sequence[str]) -> None:
    """A row for each name, the first on top."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)


def aside(i: int, count: int, width: float = 0.5) -> float:
    """How far from its tick the i-th of so many points stands: together they are centred on it."""
    return width * (i - (count - 1) / 2) / count


def strips(rows: Mapping[str, np.ndarray], count: int, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Under each title its pictures (N, H, W, C), up to `count`, side by side; `columns` titles in a row."""
    height, width = next(iter(rows.values())).shape[1:3]
    lines = -(-len(rows) // columns)
    figure, axes = sized((height / width / count / columns + 0.05) * lines, lines, columns)
    for ax in axes.flat:
        picture(ax, None)
    for ax, (title, images) in zip(axes.flat, rows.items(), strict=False):
        picture(ax, strip(images, count))
        ax.images[0].set_interpolation("antialiased")
        ax.set_title(title, pad=3)
    return figure, [*axes.flat[: len(rows)]]


def strip(images: np.ndarray, count: int, paper: int = 255) -> np.ndarray:
    """Pictures (N, H, W, C) as one, a little apart; where there are fewer than `count`, paper follows."""
    gap = 1 + images.shape[2] // 32
    apart = [(0, count - len(images)), (0, 0), (0, gap), (0, 0)]
    return np.hstack([*np.pad(images, apart, constant_values=paper)])[:, :-gap]


def picture(ax: Axes, image: np.ndarray | None) -> None:
    """A uint8 (H, W, C) image, grey levels 0-255, without ticks and frame; None: only no ticks and frame."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    if image is not None:
        ax.imshow(image[..., 0] if image.shape[-1] == 1 else image, vmin=0, vmax=255)


def empty(ax: Axes, why: str) -> None:
    """Say in a panel why it is empty."""
    paper = Style(facecolor="white", edgecolor="none", pad=1.5)  # hides a line of zero behind the words
    middle = Style(ha="center", va="center", transform=ax.transAxes)
    ax.text(0.5, 0.5, why, **middle, fontsize="small", bbox=paper, zorder=5)
