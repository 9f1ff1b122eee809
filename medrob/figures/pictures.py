"""Figures of the images themselves: what there is, what corruption and augmentation make of it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from medrob.figures.style import band, colours, markers, picture, sized, word


def montage(
    images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], *, columns: int = 8
) -> Figure:
    """The first images of each class, a row a class.

    Args:
        images: uint8 (N, H, W, C). labels: int (N,), or (N, L) zeros and ones.
        class_names: a name a class. columns: how many of each.
    """
    figure, axes = sized(len(class_names) / columns * 1.08, len(class_names), columns)
    for k, row in enumerate(axes):
        member = labels[:, k] == 1 if labels.ndim == 2 else labels == k
        for ax in row:
            ax.axis("off")
        for ax, image in zip(row, images[np.flatnonzero(member)[:columns]], strict=False):
            ax.axis("on")
            picture(ax, image)
        row[0].axis("on")
        row[0].set_xticks([])
        row[0].set_yticks([])
        row[0].set_ylabel(textwrap.fill(class_names[k], 12))
    return figure


def corruption_grid(
    conditions: Mapping[tuple[str, int], np.ndarray],
    rmse: Mapping[tuple[str, int], float],
    *,
    title: str = "",
) -> Figure:
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
            key = (name, severity) if severity else ("clean", 0)
            picture(ax, conditions[key])
            if severity:
                ax.set_xlabel(f"{rmse[key]:.1f}", labelpad=1)
        row[0].set_ylabel(word(name))
    for severity, ax in zip(severities, axes[0], strict=True):
        ax.set_title(f"severity {severity}" if severity else "clean")
    figure.suptitle(title, fontsize="medium")
    figure.supxlabel("below each picture: RMSE against clean, grey levels (0-255)", fontsize="small")
    return figure


def image_distance(distances: pd.DataFrame) -> Figure:
    """RMSE, PSNR and SSIM of the picture against severity, a line a corruption; bands: 5-95 % of images."""
    panels = {"rmse": "RMSE (grey levels)", "psnr": "PSNR (dB)", "ssim": "SSIM (1 = same)"}
    dirty = distances[distances["severity"] > 0]
    names = list(dirty["corruption"].unique())
    shades, shapes = colours(names), markers(names)
    figure, axes = sized(0.45, 1, len(panels))
    for ax, (metric, label) in zip(axes[0], panels.items(), strict=True):
        for name, group in dirty.groupby("corruption", sort=False):
            finite = group.replace(np.inf, np.nan).groupby("severity")[metric]
            low, high = finite.quantile(0.05), finite.quantile(0.95)
            mean = finite.mean()
            band(
                ax, list(mean.index), list(mean), list(low), list(high),
                colour=shades[name], marker=shapes[name], label=word(str(name)),
            )  # fmt: skip
        ax.set(xlabel="severity", ylabel=label, xticks=sorted(dirty["severity"].unique()))
    figure.legend(
        *axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=min(len(names), 4)
    )
    return figure


def augmentations(examples: Mapping[str, np.ndarray], original: np.ndarray) -> Figure:
    """What each augmentation policy makes of one image.

    Args:
        examples: policy -> uint8 (columns, H, W, C). original: uint8 (H, W, C).
    """
    columns = 1 + max(len(images) for images in examples.values())
    figure, axes = sized(1.04 * len(examples) / columns, len(examples), columns)
    for (name, images), row in zip(examples.items(), axes, strict=True):
        picture(row[0], original)
        row[0].set_ylabel(name)
        for ax, image in zip(row[1:], images, strict=True):
            picture(ax, image)
    axes[0][0].set_title("original")
    return figure
