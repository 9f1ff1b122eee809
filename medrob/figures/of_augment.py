"""Figures of the images themselves: what there is, what corruption and augmentation make of it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from medrob.figures.panels import Drawing, bare, legend, lines, picture, sized
from medrob.figures.style import looks, word

__all__ = ["augmentations", "corruption_grid", "image_distance", "montage"]

CONDITION = ["corruption", "severity"]


def montage(
    images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], *, columns: int = 8
) -> Drawing:
    """The first images of each class, a row a class.

    Args:
        images: uint8 (N, H, W, C). labels: int (N,), or (N, L) zeros and ones.
        class_names: a name a class. columns: how many of each.
    """
    figure, axes = sized(len(class_names) / columns * 1.08, len(class_names), columns)
    for k, row in enumerate(axes):
        member = labels[:, k] == 1 if labels.ndim == 2 else labels == k
        for ax in row:
            bare(ax)
        for ax, image in zip(row, images[np.flatnonzero(member)[:columns]], strict=False):
            picture(ax, image)
        row[0].set_ylabel(textwrap.fill(class_names[k], 12, break_long_words=False))
    return figure


def corruption_grid(
    conditions: Mapping[tuple[str, int], np.ndarray],
    rmse: Mapping[tuple[str, int], float],
    *,
    title: str = "",
) -> Drawing:
    """One image under every corruption (rows) and severity (columns), with the RMSE of the picture.

    Args:
        conditions: (corruption, severity) -> uint8 (H, W, C); ("clean", 0) stands first in each row.
        rmse: (corruption, severity) -> RMSE against clean, grey levels.
    """
    names = [name for name in dict.fromkeys(name for name, _ in conditions) if name != "clean"]
    severities = sorted({severity for _, severity in conditions})
    figure, axes = sized(1.1 * len(names) / len(severities), len(names), len(severities))
    for name, row in zip(names, axes, strict=True):
        for severity, ax in zip(severities, row, strict=True):
            condition = (name, severity) if severity else ("clean", 0)
            picture(ax, conditions[condition])
            if severity:
                ax.set_xlabel(f"{rmse[condition]:.1f}", labelpad=1)
        row[0].set_ylabel(word(name))
    for severity, ax in zip(severities, axes[0], strict=True):
        ax.set_title(f"severity {severity}" if severity else "clean")
    figure.suptitle(title, fontsize="medium")
    figure.supxlabel("below each picture: RMSE against clean, grey levels (0-255)", fontsize="small")
    return figure


def image_distance(distances: pd.DataFrame) -> Drawing:
    """RMSE, PSNR and SSIM of the picture against severity, a line a corruption; bands: 5-95 % of images."""
    panels = {"rmse": "RMSE (grey levels)", "psnr": "PSNR (dB)", "ssim": "SSIM (1 = same)"}
    rows = distances[distances["severity"] > 0].replace(np.inf, np.nan)  # PSNR of an unchanged picture
    figure, axes = sized(0.45, 1, len(panels))
    for ax, (metric, label) in zip(axes[0], panels.items(), strict=True):
        groups = rows.groupby(CONDITION, sort=False)[metric]
        ends = {"low": groups.quantile(0.05), "high": groups.quantile(0.95)}
        spread = pd.DataFrame({"value": groups.mean()} | ends).reset_index().sort_values("severity")
        lines(ax, spread, "corruption", "severity", looks(rows["corruption"]))
        ax.set(xlabel="severity", ylabel=label, xticks=sorted(rows["severity"].unique()))
    legend(figure, axes[0], most=4)
    return figure


def augmentations(examples: Mapping[str, np.ndarray], original: np.ndarray) -> Drawing:
    """What each augmentation policy makes of one image.

    Args:
        examples: policy -> uint8 (columns, H, W, C). original: uint8 (H, W, C).
    """
    columns = 1 + max(len(images) for images in examples.values())
    figure, axes = sized(1.04 * len(examples) / columns, len(examples), columns)
    for (name, images), row in zip(examples.items(), axes, strict=True):
        for ax, image in zip(row, [original, *images], strict=True):
            picture(ax, image)
        row[0].set_ylabel(name)
    axes[0][0].set_title("original")
    return figure
