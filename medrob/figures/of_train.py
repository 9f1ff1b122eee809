"""Figures of the training: did it learn, when did it stop, what did it cost."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from medrob.figures.panels import Drawing, legend, letters, sized
from medrob.figures.style import SPLITS

__all__ = ["learning_curves", "performance"]


def learning_curves(history: pd.DataFrame, kept: int) -> Drawing:
    """Loss and AUC against the epoch, training and validation; a line marks the epoch that was kept."""
    figure, axes = sized(0.42, 1, 2)
    for ax, column, label in zip(axes[0], ("loss", "auc"), ("loss (nats)", "AUC"), strict=True):
        _against_epoch(ax, history, column, label)
        ax.axvline(kept, color="0.4", linestyle=":", linewidth=1, label=f"kept: epoch {kept}", zorder=0)
    axes[0][0].set_ylim(bottom=0)
    legend(figure, axes[0])
    letters(axes[0])
    return figure


def performance(history: pd.DataFrame) -> Drawing:
    """Seconds, images a second and peak memory against the epoch; that of the GPU if one was used."""
    panels = {"seconds": "seconds", "images_per_second": "images / s", "memory_mb": "peak memory (MB)"}
    if history["gpu_memory_mb"].any():
        panels["gpu_memory_mb"] = "peak GPU memory (MB)"
    figure, axes = sized(0.36, 1, len(panels))
    for ax, (column, label) in zip(axes[0], panels.items(), strict=True):
        _against_epoch(ax, history, column, label)
        ax.set_ylim(0, 1.1 * history[column].max())
    legend(figure, axes[0])
    letters(axes[0])
    return figure


def _against_epoch(ax: Axes, history: pd.DataFrame, column: str, label: str) -> None:
    """A line for training and one for validation."""
    for (split, name), colour, marker in zip(SPLITS.items(), ("C0", "C1"), "os", strict=True):
        rows = history[history["split"] == split]
        ax.plot(rows["epoch"], rows[column], color=colour, marker=marker, label=name)
    ax.set(xlabel="epoch", ylabel=label)
    ax.locator_params(axis="x", integer=True)
