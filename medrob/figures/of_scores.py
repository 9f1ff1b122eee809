"""Figures of the pictures, of the training and of the scores: what there is, and what is lost."""

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import pandas as pd

from medrob.figures import draw
from medrob.figures.draw import Drawing, finish, grid, lines, looks, short, sized
from medrob.words import word

__all__ = ["augmentations", "corruption_grid", "drop_heatmap", "image_distance", "learning_curves"]
__all__ += ["montage", "operating_points", "performance", "reliability", "severity_curves"]

SPLITS = {("train", "training"): "C0o-", ("val", "validation"): "C1s-"}


def montage(
    images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], masks: np.ndarray | None = None,
    *, each: int = 8, columns: int = 1,
) -> Drawing:  # fmt: skip
    """So many pictures of each class, from its first to its last; `columns` classes stand in a row.

    images: uint8 (N, H, W, C). labels: int (N,), or (N, L) zeros and ones. masks: bool (N, H, W), outlined.
    """
    height, width = images.shape[1:3]
    rows = -(-len(class_names) // columns)
    figure, axes = sized((height / width / each / columns + 0.05) * rows, rows, columns)
    for ax in axes.flat:
        draw.picture(ax, None)
    for k, (ax, name) in enumerate(zip(axes.flat, class_names, strict=False)):
        member = np.flatnonzero(labels[:, k] if labels.ndim == 2 else labels == k)
        few = member[np.unique(np.linspace(0, len(member) - 1, each).astype(int))] if len(member) else member
        missing = np.full((each - len(few), *images.shape[1:]), 255, np.uint8)
        draw.picture(ax, np.hstack([*images[few], *missing]))
        ax.images[0].set_interpolation("antialiased")
        ax.set_title(f"{short(name, 90 // columns)} ({len(member):,})")
        if masks is not None and masks[few].any():
            outlined = np.hstack([*masks[few], *np.zeros(missing.shape[:3], bool)])
            ax.contour(outlined, [0.5], colors="C1", linewidths=0.7)
    return figure


def augmentations(examples: Mapping[str, np.ndarray], original: np.ndarray) -> Drawing:
    """What each augmentation policy (its name -> uint8 (columns, H, W, C)) makes of one image (H, W, C)."""
    figure, axes = draw.pictures(1.04, [*examples], [[original, *images] for images in examples.values()])
    axes[0][0].set_title("original")
    return figure


def corruption_grid(
    conditions: Mapping[tuple[str, int], np.ndarray], rmse: Mapping[tuple[str, int], float], *, title: str
) -> Drawing:
    """One image under every corruption (rows) and severity (columns), with the RMSE of the picture.

    conditions: (corruption, severity) -> uint8 (H, W, C); ("clean", 0) stands first in each row.
    rmse: (corruption, severity) -> RMSE against clean, grey levels.
    """
    names = [name for name in dict.fromkeys(name for name, _ in conditions) if name != "clean"]
    severities = sorted({severity for _, severity in conditions})
    rows = [[(name, severity) if severity else ("clean", 0) for severity in severities] for name in names]
    shown = [[conditions[condition] for condition in row] for row in rows]
    figure, axes = draw.pictures(1.1, [word(name) for name in names], shown)
    for (_, severity), ax in zip(rows[0], axes[0], strict=True):
        ax.set_title(f"severity {severity}" if severity else "clean")
    for condition, ax in zip(chain(*rows), axes.flat, strict=True):
        ax.set_xlabel(f"{rmse[condition]:.1f}" if condition[1] else "", labelpad=1)
    figure.suptitle(short(title), fontsize="medium")
    figure.supxlabel("below each picture: RMSE against clean, grey levels (0-255)", fontsize="small")
    return figure


def image_distance(spread: pd.DataFrame) -> Drawing:
    """RMSE, PSNR and SSIM of the picture against severity, a line a corruption; bands: 5-95 % of images."""
    panels = {"rmse": "RMSE (grey levels)", "psnr": "PSNR (dB)", "ssim": "SSIM (1 = same)"}
    figure, axes = sized(0.45, 1, len(panels))
    for ax, (metric, label) in zip(axes[0], panels.items(), strict=True):
        rows = spread[spread["metric"] == metric]
        lines(ax, rows, "corruption", "severity", looks(rows["corruption"]))
        ax.set(xlabel="severity", ylabel=label, xticks=sorted(set(rows["severity"])))
    return finish(figure, most=4)


def learning_curves(history: pd.DataFrame, kept: int) -> Drawing:
    """Loss and AUC against the epoch, training and validation; a line marks the epoch kept (0: none)."""
    figure, axes = _against_epoch(history, 0.42, {"loss": "loss (nats)", "auc": "AUC"})
    for ax in axes:
        label = f"kept: epoch {kept}" if kept else "not trained here"
        ax.axvline(kept, color="0.4", linestyle=":", linewidth=1, label=label, zorder=0)
    axes[0].set_ylim(bottom=0)
    return finish(figure, lettered=True)


def performance(history: pd.DataFrame) -> Drawing:
    """Seconds, images a second and peak memory against the epoch; that of the GPU if one was used."""
    panels = {"seconds": "seconds", "images_per_second": "images / s", "memory_mb": "peak memory (MB)"}
    if history["gpu_memory_mb"].any():
        panels["gpu_memory_mb"] = "peak GPU memory (MB)"
    figure, axes = _against_epoch(history, 0.36, panels)
    for ax, column in zip(axes, panels, strict=True):
        ax.set_ylim(0, 1.1 * history[column].max())
    return finish(figure, lettered=True)


def _against_epoch(history: pd.DataFrame, height: float, panels: Mapping[str, str]) -> tuple:
    """A figure and its panels: one for each column (-> its label), a line for training and for validation."""
    figure, [axes] = sized(height, 1, len(panels))
    for ax, (column, label) in zip(axes, panels.items(), strict=True):
        for (split, name), look in SPLITS.items():
            if len(rows := history[history["split"] == split]):
                ax.plot(rows["epoch"], rows[column], look, label=name)
        ax.set(xlabel="epoch", ylabel=label)
        ax.locator_params(axis="x", integer=True)
        if history["epoch"].nunique() == 1:  # one point: no fractions of an epoch
            ax.set_xticks(history["epoch"].unique())
    return figure, axes


def from_clean(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of a metric; every corruption begins with the clean one, so that each line starts there."""
    rows = scores[scores["metric"] == metric]
    dirty = rows[rows["corruption"] != "clean"]
    clean = rows[rows["corruption"] == "clean"]
    return pd.concat([*(clean.assign(corruption=name) for name in dirty["corruption"].unique()), dirty])


def severity_curves(scores: pd.DataFrame, *, metric: str = "auc") -> Drawing:
    """A score against severity: a panel a class and one for all, a line a corruption, bands: 95 % intervals.

    scores: from `medrob.evaluation.score`. metric: one of its metrics (accuracy: recall, for a class).
    """
    rows = from_clean(scores, metric)
    classes = list(dict.fromkeys(rows["class"]))
    figure, axes = grid(len(classes), 4, min(0.42, 1.2 / -(-len(classes) // 4)), above=0)
    for ax, name in zip(axes.flat, classes, strict=False):
        lines(ax, rows[rows["class"] == name], "corruption", "severity", looks(rows["corruption"]))
        if metric == "auc":
            draw.level(ax, 0.5, dotted=True)
        ax.set(
            title="all classes" if name == "all" else short(name, 24),
            xticks=range(int(rows["severity"].max()) + 1),
        )
    return finish(figure, below="severity (0 = clean)", beside=word(metric))


def operating_points(points: pd.DataFrame, positive: str, thresholds: Mapping[str, float]) -> Drawing:
    """Sensitivity and specificity of a class against severity, a line a corruption, at a fixed threshold."""
    points = points[points["class"] == positive]
    if points.empty:
        return draw.nothing(f"no operating point for {short(positive)}").noted(
            positive=positive, threshold="-"
        )
    figure, axes = grid(2, 2, 0.46, above=0)
    for ax, metric in zip(axes.flat, ("sensitivity", "specificity"), strict=True):
        rows = from_clean(points, metric)
        lines(ax, rows, "corruption", "severity", looks(rows["corruption"]))
        ax.set(title=metric, ylim=(-0.03, 1.03), xticks=range(int(rows["severity"].max()) + 1))
    finish(figure, below="severity (0 = clean)", beside=f"share of the images (alarm: {short(positive, 24)})")
    return figure.noted(positive=positive, threshold=f"{thresholds[positive]:.2f}")


def drop_heatmap(scores: pd.DataFrame) -> Drawing:
    """The AUC drop against clean: a row a corruption, a column a severity; bold: its interval is above 0."""
    rows = scores[(scores["metric"] == "auc") & (scores["class"] == "all") & (scores["severity"] > 0)]
    if rows["drop"].isna().all():
        return draw.nothing("the drop of the AUC is not defined")
    wide = rows.pivot(index="corruption", columns="severity", values=["drop", "drop_low"])
    wide = wide.loc[wide["drop"].mean(axis=1).sort_values(ascending=False).index]
    drop, low = wide["drop"], wide["drop_low"]
    limit = float(np.nanmax(np.abs(drop.to_numpy()), initial=0.05))
    figure, [[ax]] = sized(0.1 + 0.075 * len(drop))
    draw.cells(
        ax, drop, "+.3f", [word(name) for name in drop.index], cmap="vlag", vmin=-limit, vmax=limit,
        cbar_kws={"label": "AUC drop against clean"}, annot_kws={"fontsize": 8},
    )  # fmt: skip
    for text, bound in zip(ax.texts, low.to_numpy()[drop.notna()], strict=True):
        text.set_fontweight("bold" if bound > 0 else "normal")
    bold = "bold: the 95 % interval of the drop lies above 0"
    ax.set_xlabel(f"severity ({bold if low.notna().any(axis=None) else 'no intervals'})")
    return figure


def reliability(bins: pd.DataFrame) -> Drawing:
    """Share right against confidence, clean and each corruption at the highest severity.

    The size of the markers is the share of the images. bins: from `medrob.evaluation.reliability`.
    """
    severity = int(bins["severity"].max())
    clean = bins[bins["corruption"] == "clean"].sort_values("confidence")
    dirty = bins[(bins["severity"] == severity) & (bins["corruption"] != "clean")]
    names = looks(dirty["corruption"])
    figure, axes = grid(len(names), 3, 0.3, above=0.05)
    for ax, (name, (colour, marker)) in zip(axes.flat, names.items(), strict=False):
        group = dirty[dirty["corruption"] == name].sort_values("confidence")
        ax.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle=":")
        ax.plot(clean["confidence"], clean["accuracy"], color="0.35", linewidth=1, marker=".", label="clean")
        ax.plot(group["confidence"], group["accuracy"], color=colour, linewidth=1)
        ax.scatter(
            group["confidence"], group["accuracy"], s=6 + 90 * group["images"] / group["images"].sum(),
            color=colour, marker=marker, zorder=3, edgecolor="white", linewidth=0.4,
        )  # fmt: skip
        ax.set(title=word(name), xlim=(0, 1.06), ylim=(-0.04, 1.08))
    axes.flat[0].legend(loc="upper left")
    area = "area of the coloured markers: share of the images"
    below = f"confidence of the network (severity {severity}; {area})"
    return finish(figure, below=below, beside="share of right predictions", axes=()).noted(severity=severity)
