"""One style for every figure: sizes, colours, markers and the words on the axes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from weakref import WeakKeyDictionary

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

Colour = str | tuple[float, float, float]
POINTS_PER_INCH = 72.27  # TeX points
TEXTWIDTH = 418.0
MARKERS = "osD^vPX<>*hpdH8"
SALIENCY = "inferno"
WORDS = {
    "auc": "AUC",
    "ece": "ECE",
    "nll": "NLL",
    "f1": "F1",
    "ce": "CE",
    "be": "BE",
    "rbe": "rBE",
    "relative ce": "relative CE",
    "road": "ROAD",
    "balanced_accuracy": "balanced accuracy",
    "brier": "Brier score",
    "rmse": "RMSE",
    "ssim": "SSIM",
    "psnr": "PSNR",
    "image rmse": "image RMSE",
    "iou10": "top-10 % overlap",
    "spearman": "Spearman correlation",
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "hirescam": "HiResCAM",
    "xgradcam": "XGrad-CAM",
    "layercam": "LayerCAM",
    "gradcam-elementwise": "element-wise Grad-CAM",
    "smoothgradcam++": "Smooth Grad-CAM++",
    "eigencam": "Eigen-CAM",
    "scorecam": "Score-CAM",
    "sscam": "SS-CAM",
    "iscam": "IS-CAM",
    "ablationcam": "Ablation-CAM",
    "saliency": "gradient",
    "input-x-gradient": "input x gradient",
    "integrated-gradients": "integrated gradients",
    "smoothgrad": "SmoothGrad",
    "guided-backprop": "guided backpropagation",
    "deeplift": "DeepLift",
}
METRIC_LABELS = {
    "rmse": "drift: RMSE of maps (0-1)",
    "ssim": "SSIM of maps (1 = same)",
    "spearman": "rank correlation of maps (1 = same)",
    "iou10": "overlap of the top 10 % (1 = same)",
}


FACTS: WeakKeyDictionary[Figure, dict[str, str]] = WeakKeyDictionary()  # what `noted` has kept
FAILED: dict[str, list[str]] = {}  # methods that are marked, and their layers; `use_style` sets it


def use_style(textwidth: float = TEXTWIDTH, *, failed: Iterable[tuple[str, str]] = ()) -> None:
    """Set matplotlib up for a thesis.

    Args:
        textwidth: width of a figure in TeX points, as LaTeX's ``\\the\\textwidth`` prints it.
        failed: the (method, layer) pairs that fail randomisation (`medrob.analysis.failed`): those methods
            are marked with a dagger in every figure and table from now on.

    Raises:
        ValueError: a width that is not positive.
    """
    if isinstance(textwidth, bool) or not isinstance(textwidth, (int, float)) or not 100 <= textwidth <= 2000:
        raise ValueError(f"textwidth={textwidth!r}: give points, such as 418 (100 to 2000)")
    FAILED.clear()
    for method, layer in failed:
        FAILED.setdefault(method, []).append(layer)
    sns.set_theme(context="paper", style="ticks", palette="colorblind")
    mpl.rcParams.update(
        {
            "figure.figsize": (textwidth / POINTS_PER_INCH, 0.5 * textwidth / POINTS_PER_INCH),
            "figure.dpi": 90,
            "savefig.dpi": 300,
            "figure.constrained_layout.use": True,
            "font.family": "STIXGeneral",
            "mathtext.fontset": "stix",
            "font.size": 9,
            "axes.titlesize": 9,
            "axes.labelsize": 9,
            "legend.fontsize": 8,
            "xtick.labelsize": 8,
            "ytick.labelsize": 8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.6,
            "lines.linewidth": 1.2,
            "lines.markersize": 4,
            "legend.frameon": False,
            "pdf.fonttype": 42,
            "svg.hashsalt": "medrob",
            "image.cmap": "gray",
            "image.interpolation": "nearest",
        }
    )


def failures() -> str:
    """What the dagger means, if a method has one."""
    found = "; ".join(f"{word(method)[:-1]} at {', '.join(layers)}" for method, layers in FAILED.items())
    return f"† fails randomisation: {found}." if FAILED else ""


def word(name: str) -> str:
    """The words for a name of a table: ``gaussian_noise`` -> ``gaussian noise``, ``auc`` -> ``AUC``."""
    return WORDS.get(name, name.split("/")[-1].replace("_", " ")) + "†" * (name in FAILED)


def layer_labels(layers: Sequence[str]) -> list[str]:
    """Short labels, less what all names begin with: ``layer4.1`` -> ``4.1``, ``features.3`` -> ``3``."""
    roots = {name.partition(".")[0] for name in layers if name != "input"}
    root = roots.pop() if len(roots) == 1 else "layer"
    begin = "layer" if root.startswith("layer") else f"{root}."
    return [name.removeprefix(begin) for name in layers]


def colours(names: Iterable[str]) -> dict[str, tuple[float, float, float]]:
    """A colour for each name: seaborn's colour-blind palette up to ten, evenly spread hues beyond."""
    names = list(dict.fromkeys(names))
    palette = sns.color_palette("colorblind" if len(names) <= 10 else "husl", len(names))
    return dict(zip(names, palette, strict=True))


def markers(names: Iterable[str]) -> dict[str, str]:
    """A marker for each name, so that grey print tells them apart."""
    return {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(dict.fromkeys(names))}


def sized(height: float, rows: int = 1, columns: int = 1, **options: object) -> tuple[Figure, np.ndarray]:
    """A figure as wide as the text and `height` times as high, with a grid of axes (rows, columns)."""
    width = mpl.rcParams["figure.figsize"][0]
    figure, axes = plt.subplots(rows, columns, figsize=(width, width * height), squeeze=False, **options)  # type: ignore[call-overload]
    return figure, axes


def noted(figure: Figure, **facts: object) -> Figure:
    """Keep what the caption must say of what was drawn, such as ``severity=5``; see `facts`."""
    FACTS.setdefault(figure, {}).update({name: str(value) for name, value in facts.items()})
    return figure


def facts(figure: Figure) -> Mapping[str, str]:
    """What `noted` has kept of a figure; {} of others."""
    return FACTS.get(figure, {})


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
    lines: list[str] = []
    for part in re.split(" (?!%)", text):
        longer = f"{lines[-1]} {part}" if lines else part
        if lines and TextPath((0, 0), longer, prop=font).get_extents().width <= room:
            lines[-1] = longer
        else:
            lines.append(part)
    return "\n".join(lines)


def ink(paper: Colour | np.ndarray) -> str:
    """Black or white, whichever stands out more from the paper: a contrast of at least 4.5 to 1."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(paper)]  # type: ignore[arg-type]
    luminance = float(np.dot([0.2126, 0.7152, 0.0722], linear))  # WCAG 2
    return "black" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "white"


def bare(ax: Axes) -> None:
    """No ticks and no frame: a picture."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def picture(ax: Axes, image: np.ndarray) -> None:
    """Show a uint8 (H, W, C) image, grey levels 0-255."""
    bare(ax)
    ax.imshow(image[..., 0] if image.shape[-1] == 1 else image, vmin=0, vmax=255)


def band(
    ax: Axes, x: Sequence[float], value: Sequence[float], low: Sequence[float], high: Sequence[float],
    *, colour: Colour, marker: str, label: str,
) -> None:  # fmt: skip
    """A line with its interval as a band."""
    ax.plot(x, value, color=colour, marker=marker, label=label, markeredgecolor="white", markeredgewidth=0.4)
    ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)


def letter(figure: Figure, axes: Iterable[Axes]) -> None:
    """Put (a), (b), ... before the titles of the panels."""
    for ax, name in zip(axes, "abcdefghijklmnopqrstuvwxyz", strict=False):
        ax.set_title(f"({name}) {ax.get_title()}", loc="center")


def legend_of(figure: Figure, axes: np.ndarray, most: int = 5) -> None:
    """One legend above for all panels, an entry for each thing that is drawn in one of them."""
    handles: dict[str, Artist] = {}
    for ax in axes.flat:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        columns = min(len(handles), most)
        figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=columns)


def said(ax: Axes, why: str) -> None:
    """Say in an empty panel why it is empty."""
    paper = dict(facecolor="white", edgecolor="none", pad=1.5)  # over a line of zero, or of what needs no map
    ax.text(
        0.5, 0.5, why, ha="center", va="center", transform=ax.transAxes, fontsize="small",
        bbox=paper, zorder=5,
    )  # fmt: skip


def nothing(why: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure, axes = sized(0.2)
    bare(axes[0][0])
    said(axes[0][0], why)
    return figure
