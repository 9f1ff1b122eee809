"""One style for every figure: sizes, colours, markers and the words on the axes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.colors import to_rgb

Colour = str | tuple[float, float, float]
Failed = Collection[tuple[str, str]]  # (method, layer) pairs that fail randomisation
POINTS_PER_INCH = 72.27  # TeX points
TEXTWIDTH = 418.0
MARKERS = "osD^vPX<>*hpdH8"
SALIENCY = "inferno"
DASHES = ("--", "-.", ":", (0, (6, 2, 1, 2, 1, 2)))  # of signals that need no map
SPLITS = {"train": "training", "val": "validation"}
FIRST = "What follows is said of the first run."
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
DRIFT = "drift: RMSE of maps (0-1)"


class Look(NamedTuple):
    """How one thing is drawn in every panel of a figure."""

    colour: Colour
    marker: str


FLIPS = {"preserved": Look("C0", "o"), "flipped": Look("C3", "X")}


def use_style(textwidth: float = TEXTWIDTH) -> None:
    """Set matplotlib up for a thesis.

    Args:
        textwidth: width of a figure in TeX points, as LaTeX's ``\\the\\textwidth`` prints it.

    Raises:
        ValueError: a width that is not within 100 to 2000.
    """
    if isinstance(textwidth, bool) or not isinstance(textwidth, (int, float)) or not 100 <= textwidth <= 2000:
        raise ValueError(f"textwidth={textwidth!r}: give points, such as 418 (100 to 2000)")
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


def word(name: str, failed: Failed = ()) -> str:
    """The label of a name: ``gaussian_noise`` -> ``gaussian noise``; a dagger marks a method that failed."""
    dagger = "†" * any(name == method for method, _ in failed)
    return WORDS.get(name, name.split("/")[-1].replace("_", " ")) + dagger


def layer_labels(layers: Sequence[str]) -> list[str]:
    """Short labels, without what all names begin with: ``layer4.1`` -> ``4.1``, ``features.3`` -> ``3``."""
    roots = {name.partition(".")[0] for name in layers if name != "input"}
    root = roots.pop() if len(roots) == 1 else "layer"
    begin = "layer" if root.startswith("layer") else f"{root}."
    return [name.removeprefix(begin) for name in layers]


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A colour and a marker for each name, so that grey print tells them apart, too.

    seaborn's colour-blind palette up to ten, evenly spread hues beyond.
    """
    names = list(dict.fromkeys(names))
    palette = sns.color_palette("colorblind" if len(names) <= 10 else "husl", len(names))
    return {name: Look(palette[i], MARKERS[i % len(MARKERS)]) for i, name in enumerate(names)}


def ink(paper: Colour | np.ndarray) -> str:
    """Black or white, whichever stands out more from the paper: a contrast of at least 4.5 to 1."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(paper)]  # type: ignore[arg-type]
    luminance = float(np.dot([0.2126, 0.7152, 0.0722], linear))  # WCAG 2
    return "black" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "white"
