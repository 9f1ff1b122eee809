"""What figures draw through and between the points: lines of least squares, mean drift of each class."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import t as student

from medrob.analysis.drift_means import mean_drift
from medrob.check import require
from medrob.evaluation import bootstrap_weights

RESAMPLES = 200  # of the bands over images
STEPS = 40  # points of a line
COLUMNS = ["layer", "severity", "drift", "drop", "low", "high"]


def drop_and_drift(scores: pd.DataFrame, mean: pd.DataFrame, *, method: str) -> pd.DataFrame:
    """The AUC drop of every condition beside the mean drift of one method.

    Args:
        scores: from `medrob.evaluation.score`. mean: from `mean_drift`.

    Returns:
        A row per condition and layer: the columns of `mean`, and drop, drop_low, drop_high.

    Raises:
        ValueError: scores without a column.
    """
    ends = ["drop", "drop_low", "drop_high"]
    require(scores, ["corruption", "severity", "class", "metric", *ends], "scores")
    auc = scores[(scores["metric"] == "auc") & (scores["class"] == "all") & (scores["severity"] > 0)]
    moved = mean[mean["method"] == method]
    return auc[["corruption", "severity", *ends]].merge(moved, on=["corruption", "severity"])


def lines_over_corruptions(pairs: pd.DataFrame) -> pd.DataFrame:
    """Least squares of drop against drift over the corruptions of each layer and severity.

    Args:
        pairs: from `drop_and_drift`.

    Returns:
        layer, severity, drift, drop, low, high (95 % interval of the line): the points along each line. A
        panel has none where fewer than three corruptions are known, or all have the same drift.
    """
    return _lines(pairs.dropna(subset=["value", "drop"]), "value", "corruption", _least_squares)


def lines_over_images(points: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Least squares of margin drop against drift over the images and corruptions of each layer and severity.

    Args:
        points: from `moved_and_fell`, of one method.
        seed: of the bootstrap, which resamples images with all their points.

    Returns:
        As `lines_over_corruptions`. A line leaves out the outermost half per cent of the points.
    """

    def fit(x: np.ndarray, y: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, ...]:
        return _clustered(x, y, image, seed)

    return _lines(points.dropna(subset=["rmse", "drop"]), "rmse", "image", fit)


def drift_by_class(
    drift: pd.DataFrame, classes: Sequence[str], *, method: str, severity: int
) -> pd.DataFrame:
    """Mean drift of one method at one severity, for each corruption, class and layer; see `mean_drift`.

    Args:
        drift: from `medrob.drift.measure`. classes: the names of the labels.

    Returns:
        The columns of `mean_drift`, with ``of``: the class of the images, "all" where an image has several.

    Raises:
        ValueError: drift without a column.
    """
    require(drift, ["severity", "method", "label", "corruption", "layer"], "drift")
    rows = drift[(drift["severity"] == severity) & (drift["method"] == method)]
    rows = rows.assign(of=rows["label"].map(dict(enumerate(classes))).astype(object).fillna("all"))
    return mean_drift(rows.sort_values("label", kind="stable"), ("corruption", "of", "layer"))


def _lines(rows: pd.DataFrame, x: str, unit: str, fit: Callable[..., tuple[np.ndarray, ...]]) -> pd.DataFrame:
    """A line for each layer and severity in which three units or more are known and the drift differs."""
    parts = []
    for (layer, severity), group in rows.groupby(["layer", "severity"], sort=False, observed=True):
        drift, drop = group[x].to_numpy(float), group["drop"].to_numpy(float)
        if group[unit].nunique() > 2 and np.ptp(drift) >= 1e-9:
            line = dict(zip(COLUMNS[2:], fit(drift, drop, group[unit].to_numpy()), strict=True))
            parts.append(pd.DataFrame({"layer": layer, "severity": severity, **line}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS, dtype=float)


def _least_squares(x: np.ndarray, y: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, ...]:
    """Where the line is drawn, its height there and the ends of its 95 % interval (Student's t)."""
    at = np.linspace(x.min(), x.max(), STEPS)
    slope, intercept = np.polyfit(x, y, 1)
    residuals, centred = y - slope * x - intercept, x - x.mean()
    variance = (residuals**2).sum() / (len(x) - 2)
    error = np.sqrt(variance * (1 / len(x) + (at - x.mean()) ** 2 / (centred**2).sum()))
    half = student.ppf(0.975, len(x) - 2) * error
    line = intercept + slope * at
    return at, line, line - half, line + half


def _clustered(x: np.ndarray, y: np.ndarray, image: np.ndarray, seed: int) -> tuple[np.ndarray, ...]:
    """As `_least_squares`; the interval resamples images: weighted sums of each image add up."""
    images, place = np.unique(image, return_inverse=True)
    sums = np.stack([np.bincount(place, v) for v in (np.ones(len(x)), x, y, x * x, x * y)], 1)
    weights = bootstrap_weights(len(images), RESAMPLES, seed)
    n, sx, sy, sxx, sxy = (np.concatenate([np.ones((1, len(images))), weights]) @ sums).T
    slope = (sxy - sx * sy / n) / np.maximum(sxx - sx**2 / n, 1e-12)
    left, right = np.quantile(x, [0.005, 0.995])
    at = np.linspace(left, right, STEPS)
    lines = (sy / n)[:, None] + slope[:, None] * (at - (sx / n)[:, None])
    return at, lines[0], *np.quantile(lines[1:], [0.025, 0.975], axis=0)
