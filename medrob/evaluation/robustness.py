"""Corruption errors: how much a network loses to corruption, beside a reference network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import pandas as pd

from medrob.check import require, require_numbers
from medrob.corruptions.conditions import CLEAN
from medrob.evaluation.bootstrap import bootstrap_weights, interval

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


# metric, kind of error, is the clean error subtracted
RATIOS = (
    ("ce", "plain", False),
    ("relative ce", "plain", True),
    ("be", "balanced", False),
    ("rbe", "balanced", True),
)


class _Errors:
    """Error rates of a table of predictions for many resamples of its images at once.

    Attributes:
        plain, balanced: {condition: (1 + resamples,)}, 1 - accuracy and 1 - balanced accuracy, the first
            entry over all images as they are.
    """

    def __init__(self, predictions: pd.DataFrame, weights: np.ndarray) -> None:
        self.groups = {
            key: group.sort_values("image")
            for key, group in predictions.groupby(["corruption", "severity"], sort=False)
        }
        self.weights = weights

    def _of(self, balanced: bool) -> dict[tuple[str, int], np.ndarray]:
        found = {}
        for key, group in self.groups.items():
            y = group["label"].to_numpy()
            right = (group["predicted"].to_numpy() == y).astype(float)
            classes = [y == k for k in np.unique(y)] if balanced else [np.ones(len(y), bool)]
            with np.errstate(invalid="ignore"):
                shares = [self.weights[:, c] @ right[c] / self.weights[:, c].sum(1) for c in classes]
            found[key] = 1 - np.mean(shares, axis=0)
        return found

    @cached_property
    def plain(self) -> dict[tuple[str, int], np.ndarray]:
        return self._of(balanced=False)

    @cached_property
    def balanced(self) -> dict[tuple[str, int], np.ndarray]:
        return self._of(balanced=True)


def corruption_errors(
    predictions: pd.DataFrame,
    reference: pd.DataFrame | Mapping[str, tuple[float, float]] | None = None,
    *,
    dataset: str = "",
    resamples: int = 2000,
    seed: int = 0,
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
        reference: another run's predictions on the same images, under the same conditions; or a table
            {data set: (clean BER, mean BER over all corruptions)}, such as `ALEXNET`, which knows the
            corruptions' mean alone: be and rbe are then given for "mean" only. None = `ALEXNET`.
        dataset: the name looked up in such a table, such as "pneumoniamnist".
        resamples, seed: of the bootstrap over images, the same ones for both networks.

    Returns:
        corruption (or "mean"), metric, value, low, high, left_out (why a value is NaN, or which corruptions a
        mean lacks; "" if nothing is left out).

    Raises:
        ValueError: multi-label predictions, other images or conditions in the reference.
    """
    columns = ["image", "corruption", "severity", "label", "predicted"]
    if "label" not in predictions or not len(predictions):
        raise ValueError("corruption errors need one label an image, and at least one image")
    require(predictions, columns, "predictions")
    table = ALEXNET if reference is None else reference
    n = predictions["image"].nunique()
    w = np.concatenate([np.ones((1, n), np.float32), bootstrap_weights(n, resamples, seed)])
    require_numbers(predictions, ["label", "predicted"], "predictions")
    ours = _Errors(predictions, w)
    for key, group in ours.groups.items():
        if len(group) != n or group["image"].nunique() != n:
            raise ValueError(
                f"the predictions hold {len(group)} rows of {group['image'].nunique()} images for {key}; "
                f"every condition needs each of the {n} images once"
            )
    names = list(dict.fromkeys(name for name, _ in ours.groups if name != "clean"))
    if CLEAN not in ours.groups or not names:
        raise ValueError("corruption errors need the condition ('clean', 0) and at least one corruption")
    rows = _Rows()
    mine = {c: _mean(ours.balanced, c) for c in names}
    extra = {c: value - ours.balanced[CLEAN] for c, value in mine.items()}
    for c in names:
        rows.add(c, "excess", extra[c])
    rows.add("mean", "excess", _average(extra))
    if isinstance(table, pd.DataFrame):
        require(table, columns, "predictions of the reference")
        _check_alike(ours.groups, table)
        _beside(rows, ours, _Errors(table, w), names)
    elif dataset in table:
        clean, mean = table[dataset]
        rows.add("mean", "be", _average(mine) / mean)
        rows.ratio("mean", "rbe", _average(extra), np.full(len(w), mean - clean))
    return rows.frame()


def _beside(rows: _Rows, ours: _Errors, theirs: _Errors, names: list[str]) -> None:
    """The four ratios to another network's errors, for each corruption, and their means."""
    for metric, kind, relative in RATIOS:
        parts = {}
        for c in names:
            up, down = (
                _mean(e, c) - (e[CLEAN] if relative else 0)
                for e in (getattr(ours, kind), getattr(theirs, kind))
            )
            parts[c] = rows.ratio(c, metric, up, down)
        kept = {c: value for c, value in parts.items() if np.isfinite(value[0])}
        lost = [c for c in names if c not in kept]
        mean = _average(kept) if kept else np.full(len(ours.weights), np.nan)
        rows.add("mean", metric, mean, f"without {', '.join(lost)}" if lost else "")


def _mean(errors: dict[tuple[str, int], np.ndarray], corruption: str) -> np.ndarray:
    """The mean over the severities of a corruption: a ratio of means is a ratio of sums."""
    return np.mean([value for (name, _), value in errors.items() if name == corruption], axis=0)


def _average(parts: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.mean(list(parts.values()), axis=0)


class _Rows:
    """Rows of the result as they come."""

    def __init__(self) -> None:
        self.rows: list[tuple] = []

    def add(self, corruption: str, metric: str, samples: np.ndarray, left_out: str = "") -> None:
        self.rows.append((corruption, metric, samples[0], *interval(samples[1:]), left_out))

    def ratio(self, corruption: str, metric: str, up: np.ndarray, down: np.ndarray) -> np.ndarray:
        """Keep up / down, if the denominator is large enough; give it back, NaN if not."""
        if abs(down[0]) < LEAST:
            value = np.full(len(up), np.nan)
            self.add(corruption, metric, value, f"denominator {down[0]:.3f} is below {LEAST} in size")
            return value
        with np.errstate(divide="ignore", invalid="ignore"):
            value = up / down
        self.add(corruption, metric, value)
        return value

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=["corruption", "metric", "value", "low", "high", "left_out"])


def _check_alike(ours: dict[tuple[str, int], pd.DataFrame], reference: pd.DataFrame) -> None:
    """The reference holds the same conditions, images and labels."""
    theirs = dict(iter(reference.groupby(["corruption", "severity"], sort=False)))
    if theirs.keys() != ours.keys():
        differ = sorted(theirs.keys() ^ ours.keys())
        raise ValueError(f"the reference run has other conditions; only one of the two has {differ[:5]}")
    for key, group in ours.items():
        other = theirs[key].sort_values("image")
        if not all(np.array_equal(group[c], other[c]) for c in ("image", "label")):
            raise ValueError(f"the reference run has other images or labels (condition {key})")
