"""Corruption errors: how much a network loses to corruption, beside a reference network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from medrob.check import require, require_numbers
from medrob.corruptions import CLEAN, Condition
from medrob.evaluation.bootstrap import interval, value_and_resamples

LEAST = 0.05  # a relative error over a smaller denominator says nothing

# AlexNet on MedMNIST-C: balanced error, clean and mean over corruptions (Di Salvo et al. 2024).
ALEXNET = {
    "pathmnist": (0.0884, 0.2770),
    "chestmnist": (0.2839, 0.3677),
    "dermamnist": (0.3986, 0.6147),
    "octmnist": (0.2020, 0.3687),
    "pneumoniamnist": (0.1009, 0.2654),
    "retinamnist": (0.5582, 0.6486),
    "breastmnist": (0.1454, 0.2994),
    "bloodmnist": (0.0184, 0.1125),
    "tissuemnist": (0.3918, 0.5375),
    "organamnist": (0.0501, 0.2693),
    "organcmnist": (0.0760, 0.2842),
    "organsmnist": (0.2430, 0.4038),
}

# Metric, kind of error, and whether the clean error is subtracted.
RATIOS = (
    ("ce", "plain", False),
    ("relative ce", "plain", True),
    ("be", "balanced", False),
    ("rbe", "balanced", True),
)
# By which these errors are known.
ERROR_NAMES = {"ce": "mCE", "relative ce": "relative mCE", "be": "BE", "rbe": "rBE", "excess": "excess"}
COLUMNS = ["image", "corruption", "severity", "label", "predicted"]

Groups = dict[Condition, pd.DataFrame]
Rates = dict[Condition, np.ndarray]  # errors (1 + resamples,), the first over all images as they are


def corruption_errors(
    predictions: pd.DataFrame,
    reference: pd.DataFrame | None = None,
    *,
    dataset: str = "",
    resamples: int = 2000,
) -> pd.DataFrame:
    """Errors under corruption, of this network and relative to a reference.

    For a corruption c, E its error (1 - accuracy), BER its balanced error (1 - balanced accuracy):

    ``ce``: sum over severities of E / the same of the reference; ``relative ce``: the clean errors are
    subtracted on both sides first (Hendrycks & Dietterich 2019). Their means over the corruptions are mCE
    and relative mCE. ``be``: mean BER / that of the reference; ``rbe``: (mean BER - clean BER) / the same of
    the reference (Di Salvo et al. 2024). A ratio over a denominator below 0.05 in size is left out (NaN),
    and so is its corruption from the mean; ``excess``, mean BER - clean BER, is always given.

    Args:
        predictions: from `predict_conditions`; one label an image.
        reference: another run's predictions on the same images, under the same conditions. None = the
            published figures of AlexNet, which give be and rbe for "mean" only.
        dataset: the name looked up in these figures, such as "pneumoniamnist".
        resamples: of the bootstrap over images, the same ones for both networks.

    Returns:
        corruption (or "mean"), metric, value, low, high, left_out (why a value is NaN, or which corruptions a
        mean lacks; "" if nothing is left out).

    Raises:
        ValueError: multi-label predictions, other images or conditions in the reference.
    """
    ours = _by_condition(predictions, "predictions")
    w = value_and_resamples(predictions["image"].nunique(), resamples)
    names = list(dict.fromkeys(name for name, _ in ours if name != "clean"))
    if CLEAN not in ours or not names:
        raise ValueError("corruption errors need the condition ('clean', 0) and at least one corruption")
    balanced = _error_rates(ours, w, "balanced")
    means = {name: _mean(balanced, name) for name in names}
    excess = {name: value - balanced[CLEAN] for name, value in means.items()}
    rows = [_row(name, "excess", value) for name, value in (excess | {"mean": _average(excess)}).items()]
    if reference is not None:
        theirs = _by_condition(reference, "predictions of the reference")
        _check_alike(ours, theirs)
        rows += _beside(ours, theirs, names, w)
    elif dataset in ALEXNET:
        clean, mean = ALEXNET[dataset]
        rows.append(_row("mean", "be", _average(means) / mean))
        rows.append(_row("mean", "rbe", *_ratio(_average(excess), np.full(len(w), mean - clean))))
    return pd.DataFrame(rows, columns=["corruption", "metric", "value", "low", "high", "left_out"])


def _by_condition(predictions: pd.DataFrame, name: str) -> Groups:
    """The predictions by condition, in the order of the images; each condition must hold every image once."""
    if "label" not in predictions or not len(predictions):
        raise ValueError("corruption errors need one label an image, and at least one image")
    require(predictions, COLUMNS, name)
    require_numbers(predictions, ["label", "predicted"], name)
    images = np.unique(predictions["image"])
    grouped = predictions.groupby(["corruption", "severity"], sort=False)
    groups = {condition: group.sort_values("image") for condition, group in grouped}
    for condition, group in groups.items():
        if not np.array_equal(group["image"], images):
            raise ValueError(
                f"condition {condition} has {len(group)} rows of {group['image'].nunique()} images; every "
                f"condition needs each of the {len(images)} images once"
            )
    return groups


def _check_alike(ours: Groups, theirs: Groups) -> None:
    """The reference holds the same conditions, images and labels."""
    if differ := sorted(theirs.keys() ^ ours.keys()):
        raise ValueError(f"the reference run has other conditions; only one of the two has {differ[:5]}")
    for condition, group in ours.items():
        if not all(np.array_equal(group[c], theirs[condition][c]) for c in ("image", "label")):
            raise ValueError(f"the reference run has other images or labels (condition {condition})")


def _error_rates(groups: Groups, w: np.ndarray, kind: str) -> Rates:
    """1 - accuracy ("plain") or 1 - balanced accuracy ("balanced") of every condition."""
    rates = {}
    for condition, group in groups.items():
        y = group["label"].to_numpy()
        right = (group["predicted"].to_numpy() == y).astype(float)
        classes = [y == k for k in np.unique(y)] if kind == "balanced" else [np.ones(len(y), bool)]
        with np.errstate(invalid="ignore"):  # a resample without images of a class
            shares = [w[:, c] @ right[c] / w[:, c].sum(1) for c in classes]
        rates[condition] = 1 - np.mean(shares, axis=0)
    return rates


def _beside(ours: Groups, theirs: Groups, names: list[str], w: np.ndarray) -> list[tuple]:
    """The rows of `RATIOS` to another network's errors, for each corruption, and their means."""
    rows = []
    rates = {kind: [_error_rates(g, w, kind) for g in (ours, theirs)] for kind in ("plain", "balanced")}
    for metric, kind, relative in RATIOS:
        kept = {}
        for name in names:
            up, down = (_mean(rate, name) - (rate[CLEAN] if relative else 0) for rate in rates[kind])
            value, left_out = _ratio(up, down)
            rows.append(_row(name, metric, value, left_out))
            if np.isfinite(value[0]):
                kept[name] = value
        lost = [name for name in names if name not in kept]
        mean = _average(kept) if kept else np.full(len(w), np.nan)
        rows.append(_row("mean", metric, mean, f"without {', '.join(lost)}" if lost else ""))
    return rows


def _mean(rates: Rates, corruption: str) -> np.ndarray:
    """The mean over the severities of a corruption: a ratio of means is a ratio of sums."""
    return np.mean([value for (name, _), value in rates.items() if name == corruption], axis=0)


def _average(parts: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.mean(list(parts.values()), axis=0)


def _ratio(up: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, str]:
    """up / down and "", or NaN and why, if the denominator is too small."""
    if abs(down[0]) < LEAST:
        return np.full(len(up), np.nan), f"denominator {down[0]:.3f} is below {LEAST} in size"
    with np.errstate(divide="ignore", invalid="ignore"):
        return up / down, ""


def _row(corruption: str, metric: str, samples: np.ndarray, left_out: str = "") -> tuple:
    return (corruption, metric, samples[0], *interval(samples[1:]), left_out)
