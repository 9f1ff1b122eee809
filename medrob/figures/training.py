"""Figures of the training: did it learn, when did it stop, what did it cost."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from medrob.figures.style import legend_of, letter, sized

SPLITS = {"train": ("C0", "o"), "val": ("C1", "s")}


def kept_epoch(history: pd.DataFrame, monitor: str = "auc") -> int:
    """The epoch whose weights were kept.

    It has the highest validation AUC (of equal ones, the lowest validation loss, and of these the first), or
    with ``monitor="loss"`` the lowest validation loss.
    """
    by, ascending = (["auc", "loss"], [False, True]) if monitor == "auc" else (["loss"], [True])
    val = history[history["split"] == "val"]
    return int(val.sort_values(by, ascending=ascending, kind="stable")["epoch"].iloc[0])


def learning_curves(history: pd.DataFrame, *, monitor: str = "auc") -> Figure:
    """Loss and AUC against the epoch, training and validation; a line marks the weights that were kept.

    Which those are, see `kept_epoch`.
    """
    best = kept_epoch(history, monitor)
    figure, axes = sized(0.42, 1, 2)
    for ax, metric, label in zip(axes[0], ("loss", "auc"), ("loss (nats)", "AUC"), strict=True):
        for split, (colour, marker) in SPLITS.items():
            rows = history[history["split"] == split]
            name = "training" if split == "train" else "validation"
            ax.plot(rows["epoch"], rows[metric], color=colour, marker=marker, label=name)
        ax.axvline(best, color="0.4", linestyle=":", linewidth=1, label=f"kept: epoch {best}", zorder=0)
        ax.set(xlabel="epoch", ylabel=label)
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0][0].set_ylim(bottom=0)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    letter(figure, axes[0])
    return figure


def performance(history: pd.DataFrame) -> Figure:
    """Seconds, images a second and peak memory against the epoch; that of the GPU if one was used."""
    panels = {"seconds": "seconds", "images_per_second": "images / s", "memory_mb": "peak memory (MB)"}
    if history["gpu_memory_mb"].any():
        panels["gpu_memory_mb"] = "peak GPU memory (MB)"
    figure, axes = sized(0.36, 1, len(panels))
    for ax, (column, label) in zip(axes[0], panels.items(), strict=True):
        for split, (colour, marker) in SPLITS.items():
            rows = history[history["split"] == split]
            name = "training" if split == "train" else "validation"
            ax.plot(rows["epoch"], rows[column], color=colour, marker=marker, label=name)
        ax.set(xlabel="epoch", ylabel=label)
        ax.set_ylim(0, 1.1 * history[column].max())
        ax.xaxis.get_major_locator().set_params(integer=True)
    legend_of(figure, axes[0])
    letter(figure, axes[0])
    return figure
