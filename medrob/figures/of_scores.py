"""Figures of the pictures, of the training and of the scores: what there is, and what is lost."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from medrob.figures import draw
from medrob.figures.draw import Look, finish, short
from medrob.words import word

__all__ = ["augmentations", "corruption_grid", "image_distance", "learning_curves"]
__all__ += ["montage", "operating_points", "reliability", "severity_curves"]

SPLITS = {("train", "training"): "C0o-", ("val", "validation"): "C1s-"}
FEW = 5  # corruptions; more stand in two columns


def montage(
    images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], masks: np.ndarray | None = None,
    *, each: int = 8, columns: int = 1,
) -> Figure:  # fmt: skip
    """So many pictures of each class, from its first to its last; `columns` classes stand in a row.

    images: uint8 (N, H, W, C). labels: int (N,), or (N, L) zeros and ones. masks: bool (N, H, W), outlined.
    """
    members = [
        np.flatnonzero(labels[:, k] if labels.ndim == 2 else labels == k) for k in range(len(class_names))
    ]
    few = [m[np.unique(np.linspace(0, len(m) - 1, each).astype(int))] if len(m) else m for m in members]
    titles = [f"{short(n, 60 // columns)} ({len(m):,})" for n, m in zip(class_names, members, strict=True)]
    figure, axes = draw.strips({t: images[m] for t, m in zip(titles, few, strict=True)}, each, columns)
    for ax, shown in zip(axes, few, strict=True):
        if masks is not None and masks[shown].any():
            outlined = draw.strip(masks[shown][..., None], each, paper=0)
            ax.contour(outlined[..., 0], [0.5], colors="C1", linewidths=0.7)
    return figure


def augmentations(examples: Mapping[str, np.ndarray], original: np.ndarray) -> Figure:
    """What each augmentation policy (its name -> uint8 (columns, H, W, C)) makes of one image (H, W, C)."""
    rows = {word(name): np.stack([original, *images]) for name, images in examples.items()}
    return draw.strips(rows, max(map(len, rows.values())))[0]


def corruption_grid(
    conditions: Mapping[tuple[str, int], np.ndarray], rmse: Mapping[tuple[str, int], float]
) -> Figure:
    """One image clean and at each severity, under every corruption, with the RMSE of the picture.

    conditions: (corruption, severity) -> uint8 (H, W, C), with ("clean", 0).
    rmse: (corruption, severity) -> RMSE against clean, grey levels.
    """
    names = list(dict.fromkeys(name for name, severity in conditions if severity))
    severities = sorted({severity for _, severity in conditions if severity})
    clean = conditions["clean", 0]
    rows = {word(n): np.stack([clean, *(conditions[n, s] for s in severities)]) for n in names}
    figure, axes = draw.strips(rows, len(severities) + 1, 1 + (len(names) > FEW))
    for ax, name in zip(axes, names, strict=True):
        labels = ["clean", *(f"{s}: {rmse[name, s]:.1f}" for s in severities)]
        middles = (np.arange(len(labels)) + 0.5) * ax.get_xlim()[1] / len(labels)
        ax.set_xticks(middles, labels, fontsize=draw.SMALL)
        ax.tick_params(length=0, pad=1)
    return finish(figure, below="severity: RMSE against clean, grey levels (0-255)")


def image_distance(spread: pd.DataFrame) -> Figure:
    """RMSE, PSNR and SSIM of the picture against severity, a line a corruption; bands: 5-95 % of images."""
    panels = {"rmse": "RMSE (grey levels)", "psnr": "PSNR (dB)", "ssim": "SSIM (1 = same)"}
    look, note = draw.coloured(
        draw.at_worst(spread[spread["metric"] == "rmse"], "value"), "RMSE at the highest severity"
    )
    figure, axes = draw.sized(0.45, 1, len(panels))
    for ax, (metric, label) in zip(axes[0], panels.items(), strict=True):
        draw.by_severity(ax, spread[spread["metric"] == metric], look, ylabel=label)
    return finish(figure, below=f"severity{note}")


def learning_curves(history: pd.DataFrame, kept: int) -> Figure | None:
    """Loss and AUC against the epoch, training and validation; a line marks the epoch kept (0: no figure)."""
    if not kept:
        return None
    figure, [axes] = draw.sized(0.42, 1, 2)
    for ax, (column, label) in zip(axes, {"loss": "loss (nats)", "auc": "AUC"}.items(), strict=True):
        for (split, name), look in SPLITS.items():
            rows = history[history["split"] == split]
            ax.plot(rows["epoch"], rows[column], look, label=name)
        draw.level(ax, kept, f"kept: epoch {kept}", upright=True)
        ax.set(xlabel="epoch", ylabel=label)
        ax.locator_params(axis="x", integer=True, min_n_ticks=1)
    axes[0].set_ylim(bottom=0)
    return finish(figure, lettered=True)


def severity_curves(scores: pd.DataFrame, *, metric: str = "auc") -> Figure:
    """A score against severity: a panel a class and one for all, a line a corruption, bands: 95 % intervals.

    One panel for two classes whose scores are those of all, as the AUC is.
    scores: from `medrob.evaluation.score`. metric: one of its metrics (accuracy: recall, for a class).
    """
    rows = draw.from_clean(scores[scores["metric"] == metric])
    values = {str(name): group["value"].to_numpy() for name, group in rows.groupby("class", sort=False)}
    same = len(values) == 3 and len(draw.alike(values, 1e-9)) == 1
    single, note = draw.most(draw.at_worst(rows, by="class").drop("all"), draw.CHANGE, draw.PANELS - 1)
    look, lines_note = draw.coloured(draw.at_worst(rows[rows["class"] == "all"]), draw.CHANGE)
    classes = ["all", *([] if same else single)]
    figure, axes = draw.grid(len(classes), 4, min(0.42, 1.2 / -(-len(classes) // 4)), above=0)
    for ax, name in zip(axes.flat, classes, strict=False):
        every = "both classes (they are the same)" if same else "all classes"
        title = every if name == "all" else draw.folded(name, 24)
        draw.by_severity(ax, rows[rows["class"] == name], look, title=title)
        if metric == "auc":
            draw.level(ax, 0.5, "chance")
    note = note.replace("; the", "; classes: the") + lines_note
    return finish(figure, below=f"severity (0 = clean){note}", beside=word(metric))


def operating_points(points: pd.DataFrame, positive: str) -> Figure | None:
    """Sensitivity and specificity of a class against severity, a line a corruption, at a fixed threshold.

    None if the class has no threshold.
    """
    points = points[points["class"] == positive]
    if points.empty:
        return None
    falls = points[(points["metric"] == "sensitivity") & (points["severity"] > 0)]
    look, note = draw.coloured(draw.at_worst(falls), "change of sensitivity at the highest severity")
    figure, axes = draw.grid(2, 2, 0.46, above=0)
    for ax, metric in zip(axes.flat, ("sensitivity", "specificity"), strict=True):
        rows = draw.from_clean(points[points["metric"] == metric])
        draw.by_severity(ax, rows, look, title=metric, ylim=(-0.03, 1.03))
    beside = f"share of the images (alarm: {short(positive, 24)})"
    return finish(figure, below=f"severity (0 = clean){note}", beside=beside)


def reliability(bins: pd.DataFrame) -> Figure:
    """Share right against confidence: clean, and each corruption at the highest severity; bands: 95 %.

    bins: from `medrob.evaluation.reliability`.
    """
    severity = int(bins["severity"].max())
    rows = bins[bins["severity"].isin([0, severity])].sort_values("confidence", kind="stable")
    wrong = ((1 - rows["accuracy"]) * rows["images"]).groupby(rows["corruption"]).sum()
    corruptions = [name for name in bins["corruption"].unique() if name != "clean"]
    names, note = draw.most(wrong[corruptions], "number of errors", draw.PANELS - 1)
    figure, axes = draw.grid(len(names) + 1, 3, 0.3, above=0.1)
    look = dict.fromkeys(rows["corruption"], Look("C0", "o"))
    curve = draw.Style(columns=("accuracy", "low", "high"), label=lambda _: "right predictions")
    for ax, name in zip(axes.flat, ["clean", *names], strict=False):
        here = rows[rows["corruption"] == name]
        draw.lines(ax, here, "corruption", "confidence", look, **curve)
        ax.plot([0, 1], [0, 1], color="0.35", linewidth=1, linestyle=":", label="as sure as right")
        ax.set(title=word(name), xlim=(0, 1.04), ylim=(-0.04, 1.04))
    n = bins.loc[bins["severity"] == 0, "images"].sum()
    below = f"confidence of the network (severity {severity}; n = {n:,} a panel{note})"
    return finish(figure, below=below, beside="share of right predictions")
