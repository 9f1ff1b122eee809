"""What every figure is made of: panels, bands, bars, level lines, legends, and words for what is missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath

from medrob.figures.style import Look, word

VALUE = ("value", "low", "high")  # columns of a number and its 95 % interval


class Drawing(Figure):
    """A figure that carries what its caption must say of what was drawn, such as ``severity=5``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.facts: dict[str, str] = {}

    def noted(self, **facts: object) -> Drawing:
        """Keep facts for the caption."""
        self.facts |= {name: str(value) for name, value in facts.items()}
        return self


def facts_of(figure: Figure) -> dict[str, str]:
    """What the caption must say of a figure; {} of one that was not drawn here."""
    return getattr(figure, "facts", {})


def sized(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Drawing, np.ndarray]:
    """A figure as wide as the text and `height` times as high, with a grid of axes (rows, columns)."""
    width = mpl.rcParams["figure.figsize"][0]
    return plt.subplots(
        rows, columns, figsize=(width, width * height), squeeze=False, FigureClass=Drawing, **options
    )


def grid(count: int, most: int, height: float, above: float = 0.06) -> tuple[Drawing, np.ndarray]:
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
    ax: Axes,
    rows: pd.DataFrame,
    by: str,
    x: str,
    looks: Mapping[str, Look],
    *,
    columns: tuple[str, str, str] = VALUE,
    order: Sequence[str] | None = None,
    label: Callable[[str], str] = word,
) -> None:
    """A line for each group of rows, with its interval as a band.

    Args:
        ax, rows: where and what. by: the column that makes the lines. x: the column along the axis.
        looks: of each line. columns: value, low and high. label: name of a line -> its entry in the legend.
        order: all values of x, where they are names: no line then crosses one that a group lacks.
    """
    for name, group in rows.groupby(by, sort=False):
        if order is not None:
            group = group.set_index(x).reindex(order)
        place = group[x] if order is None else range(len(order))
        value, low, high = (group[column] for column in columns)
        colour, marker = looks[str(name)]
        ax.plot(
            place, value, color=colour, marker=marker, label=label(str(name)),
            markeredgecolor="white", markeredgewidth=0.4,
        )  # fmt: skip
        ax.fill_between(place, low, high, color=colour, alpha=0.18, linewidth=0)


def bars(
    ax: Axes, row: Any, place: Any, look: Look, *, columns: tuple[str, str, str] = VALUE,
    upright: bool = False, **options: Any,
) -> None:  # fmt: skip
    """A point with its interval, or one for each row of a frame.

    Args:
        ax, row: where and what: anything with these columns as items. place: on the other axis.
        look: of the points. upright: intervals along y; else along x. options: of `Axes.errorbar`.
    """
    value, low, high = (np.asarray(row[column], float) for column in columns)
    ends = np.stack([np.maximum(value - low, 0), np.maximum(high - value, 0)]).reshape(2, -1)
    xy = dict(x=place, y=value, yerr=ends) if upright else dict(x=value, y=place, xerr=ends)
    ax.errorbar(
        **xy, **{"color": look.colour, "marker": look.marker, "linestyle": "", "elinewidth": 0.8, **options}
    )


def key(looks: Mapping[str, Look], label: Callable[[str], str] = word, **options: Any) -> list[Artist]:
    """Entries of a legend: a marker and a name each."""
    return [
        Line2D([], [], color=look.colour, marker=look.marker, linestyle="", label=label(name), **options)
        for name, look in looks.items()
    ]


def legend(figure: Figure, axes: Iterable[Axes] = (), *, handles: Sequence[Any] = (), most: int = 5) -> None:
    """One legend above all panels: the handles, or an entry for each thing that is drawn in a panel."""
    found: dict[str, Any] = {handle.get_label(): handle for handle in handles}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        columns = _columns(list(found), min(len(found), most), 72 * figure.get_figwidth())
        figure.legend(list(found.values()), list(found), loc="outside upper center", ncols=columns)


def _columns(labels: list[str], most: int, room: float) -> int:
    """How many columns of a legend fit into so many points; matplotlib would cut off what does not."""
    size = mpl.rcParams["legend.fontsize"]
    font = FontProperties(size=size)
    widths = [TextPath((0, 0), label, prop=font).get_extents().width + 4.8 * size for label in labels]
    fits = (n for n in range(most, 1, -1) if sum(map(max, np.array_split(widths, n))) <= room)
    return next(fits, 1)


def level(ax: Axes, at: float = 0.0, *, upright: bool = False, dotted: bool = False, label: str = "") -> None:
    """A thin grey line: zero, or chance (dotted)."""
    draw = ax.axvline if upright else ax.axhline
    draw(at, color="0.6", linewidth=0.7, linestyle=":" if dotted else "-", label=label or None)


def letters(axes: Iterable[Axes]) -> None:
    """Put (a), (b), ... before the titles of the panels."""
    for ax, name in zip(axes, "abcdefghijklmnopqrstuvwxyz", strict=False):
        ax.set_title(f"({name}) {ax.get_title()}", loc="center")


def named_ticks(ax: Axes, names: Sequence[str], **options: Any) -> None:
    """A row for each name, the first on top."""
    ax.set_yticks(range(len(names)), names, **options)
    ax.set_ylim(len(names) - 0.5, -0.5)


def aside(i: int, count: int, width: float = 0.5) -> float:
    """How far from its tick the i-th of so many points stands: together they are centred on it."""
    return width * (i - (count - 1) / 2) / count


def same_limits(axes: np.ndarray, x: tuple[float, float], y: tuple[float, float]) -> None:
    """The same limits in every panel, numbers at the outer ones. Axes that share theirs draw far slower."""
    for ax in axes.flat:
        ax.set(xlim=x, ylim=y)
        ax.label_outer()


def below(figure: Figure, text: str) -> None:
    """The label of all x axes, in as many lines as the width of the figure needs."""
    figure.supxlabel(_wrapped(text, 72 * figure.get_figwidth()), fontsize="medium")


def beside(figure: Figure, text: str) -> None:
    """The label of all y axes, in as many lines as the height above `below` (call that first) needs."""
    taken = 1.5 * mpl.rcParams["font.size"] * len(figure.get_supxlabel().splitlines())
    figure.supylabel(_wrapped(text, 72 * figure.get_figheight() - 2 * taken), fontsize="medium")


def _wrapped(text: str, points: float) -> str:
    """The text in lines of at most that length, but for longer words."""
    font = FontProperties(size=mpl.rcParams["font.size"])
    room = 0.93 * points - 8  # on screen, where letters stand on whole dots, they take more room
    rows: list[str] = []
    for part in re.split(" (?!%)", text):
        longer = f"{rows[-1]} {part}" if rows else part
        if rows and TextPath((0, 0), longer, prop=font).get_extents().width <= room:
            rows[-1] = longer
        else:
            rows.append(part)
    return "\n".join(rows)


def bare(ax: Axes) -> None:
    """No ticks and no frame: a picture."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def picture(ax: Axes, image: np.ndarray) -> None:
    """Show a uint8 (H, W, C) image, grey levels 0-255."""
    bare(ax)
    ax.imshow(image[..., 0] if image.shape[-1] == 1 else image, vmin=0, vmax=255)


def empty(ax: Axes, why: str) -> None:
    """Say in a panel why it is empty."""
    paper = dict(facecolor="white", edgecolor="none", pad=1.5)  # hides a line of zero behind the words
    ax.text(
        0.5,
        0.5,
        why,
        ha="center",
        va="center",
        transform=ax.transAxes,
        fontsize="small",
        bbox=paper,
        zorder=5,
    )


def nothing(why: str) -> Drawing:
    """A figure that says why there is nothing to draw."""
    figure, axes = sized(0.2)
    bare(axes[0][0])
    empty(axes[0][0], why)
    return figure
