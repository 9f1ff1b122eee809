"""Between conditions: does the drop of AUC go with the mean drift?"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from medrob.analysis.tables import CONDITION, MAP, cube, laid, require_all
from medrob.analysis.testing import WITHIN
from medrob.corruptions.conditions import CLEAN
from medrob.evaluation import auc, bootstrap_weights, class_names, interval

KINDS = ("pooled", WITHIN, "partial")


def association(
    predictions: pd.DataFrame,
    drift: pd.DataFrame,
    distances: pd.DataFrame,
    *,
    metric: str = "rmse",
    resamples: int = 2000,
    permutations: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Between conditions: does the drop of AUC go with the mean drift? For each method and layer.

    Rank correlations (Spearman) over the conditions, three ways:
    ``pooled``: over all conditions. Both rise with severity, so this is high almost by construction.
    ``within severity``: ranks taken among the corruptions of the same severity.
    ``partial``: ranks, less what severity and the RMSE of the image itself explain (linear, on ranks).

    The intervals resample images alone: they tell how sure the numbers of these corruptions are, not what
    other corruptions would give, which is what p is about. p is two-sided, from exchanging whole corruptions
    in what is left of the drops (Freedman & Lane 1983; Phipson & Smyth 2010): the severities of one
    corruption move together and are no independent cases, so with five corruptions, which have 120 orders, p
    is at least 1/120.
    No correction for many tests is made here. Conditions in which all maps of a method are degenerate are
    left out for that method.

    Args:
        predictions, drift, distances: the tables predictions, drift and corruptions of a run.
        metric: the column of the drift.

    Returns:
        method, layer, kind, value, low, high, p, conditions (how many). NaN where fewer than two
        corruptions, or constant drift, leave nothing to correlate.

    Raises:
        ValueError: a table without a column, a condition or an image that is needed.
    """
    require_all(predictions, drift, distances, metric)
    moved = cube(drift, metric)
    keys = moved.conditions
    picture = distances.groupby(CONDITION)["rmse"].mean().reindex(keys).to_numpy()
    images = np.unique(predictions["image"])
    w = np.concatenate(
        [np.ones((1, len(images)), np.float32), bootstrap_weights(len(images), resamples, seed)]
    )
    aucs = condition_aucs(predictions, keys, images, w)
    drops = aucs[:, :1] - aucs[:, 1:]
    weights = w[:, np.searchsorted(images, moved.images)]
    rows = []
    sides: dict[bytes, dict[str, _Side]] = {}  # the same for all maps that are usable in the same conditions
    for key, values in zip(moved.maps, moved.values, strict=True):
        use = np.isfinite(values).any(1)
        if not use.any():
            rows += [(*key, kind, *(np.nan,) * 4, 0) for kind in KINDS]
            continue
        if (same := use.tobytes()) not in sides:
            sides[same] = _sides(drops[:, use], keys[use], picture[use], permutations, seed)
        means = condition_means(values, weights)[:, use]
        severity = keys[use].get_level_values("severity").to_numpy()
        ranks = {within: _ranks(means, within, severity) for within in (False, True)}
        for kind, side in sides[same].items():
            rows.append((*key, kind, *_link(ranks[kind == WITHIN], side), int(use.sum())))
    return pd.DataFrame(rows, columns=[*MAP, "kind", "value", "low", "high", "p", "conditions"])


def condition_aucs(
    predictions: pd.DataFrame, conditions: pd.MultiIndex, images: np.ndarray, w: np.ndarray
) -> np.ndarray:
    """AUC of the clean images, then of each condition: (B, 1 + conditions), for weights (B, images).

    Of the positive class if there are two, else the mean over classes one-vs-rest, or over labels.
    """
    names = class_names(predictions)
    single = "label" in predictions
    keys = pd.MultiIndex.from_tuples([CLEAN, *conditions], names=CONDITION)
    truth = ["label"] if single else [f"label_{name}" for name in names]
    found = laid(predictions, [*truth, *(f"p_{name}" for name in names)], keys, images, "predictions")
    classes = [1] if len(names) == 2 and single else range(len(names))
    aucs = np.zeros((len(w), len(keys)))
    for k in classes:
        p = found[f"p_{names[k]}"]
        positive = found["label"] == k if single else found[truth[k]].astype(bool)
        aucs += np.stack([auc(p[c], positive[c], w) for c in range(len(keys))], 1)
    return aucs / len(classes)


def condition_means(values: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Mean over the images with a map, (B, conditions); NaN where there is none, for weights (B, images)."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (w @ np.nan_to_num(values).T) / (w @ known.T.astype(w.dtype))


@dataclass(frozen=True)
class _Side:
    """The drops of some conditions, ready for one kind of correlation.

    Attributes:
        residual: what takes out that which is held fixed, (conditions, conditions).
        fell: standardised ranks (1 + resamples, conditions). shuffled: its first row in (orders, conditions).
    """

    residual: np.ndarray
    fell: np.ndarray
    shuffled: np.ndarray


def _sides(
    drops: np.ndarray, conditions: pd.MultiIndex, picture: np.ndarray, permutations: int, seed: int
) -> dict[str, _Side]:
    severity = conditions.get_level_values("severity").to_numpy()
    ranks = {within: _ranks(drops, within, severity) for within in (False, True)}
    orders = _shuffles(conditions, permutations, seed) if permutations else None  # the first changes nothing
    found = {}
    for kind in KINDS:
        m = _residual(kind, severity, picture)
        fell = _standard(ranks[kind == WITHIN] @ m)
        shuffled = fell[:0] if orders is None else _standard(fell[0][orders] @ m)
        found[kind] = _Side(m, fell, shuffled)
    return found


def _ranks(values: np.ndarray, within: bool, severity: np.ndarray) -> np.ndarray:
    """Ranks of each row of (B, conditions); among those of the same severity if within."""
    if not within:
        return rankdata(values, axis=1)
    ranked = np.empty(values.shape)
    for s in np.unique(severity):
        ranked[:, severity == s] = rankdata(values[:, severity == s], axis=1)
    return ranked


def _residual(kind: str, severity: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """The matrix (conditions, conditions) that takes out what is held fixed: mean, severity, image RMSE."""
    held = [np.ones(len(severity))]
    if kind != "pooled":
        held = [(severity == s).astype(float) for s in np.unique(severity)]
    if kind == "partial":
        held.append(rankdata(picture))
    x = np.stack(held, 1)
    return np.eye(len(severity)) - x @ np.linalg.pinv(x)


def _standard(rows: np.ndarray) -> np.ndarray:
    """Rows of length one, so that a dot product is a correlation; NaN where a row is constant."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 1e-9, length, np.nan)


def _shuffles(conditions: pd.MultiIndex, count: int, seed: int) -> np.ndarray:
    """Orders (orders, conditions) that exchange whole corruptions; all of them, if there are at most `count`.

    The five severities of one corruption are not five independent cases: they move together. Where the
    corruptions do not have the same severities, conditions of one severity change places instead.
    """
    rng = np.random.default_rng(seed)
    grid = pd.Series(np.arange(len(conditions)), index=conditions).unstack("severity")
    if grid.isna().to_numpy().any():
        group = np.unique(conditions.get_level_values("severity"), return_inverse=True)[1]
        places = np.argsort(group, kind="stable")
        draws = [places, *(np.lexsort((rng.random(len(group)), group)) for _ in range(count))]
        orders = np.empty((len(draws), len(group)), np.int64)
        orders[:, places] = draws
        return orders
    places = grid.to_numpy(np.int64)
    corruptions = len(places)
    if math.factorial(corruptions) <= count:
        changes = np.array(list(itertools.permutations(range(corruptions))))
    else:
        changes = np.array([np.arange(corruptions), *(rng.permutation(corruptions) for _ in range(count))])
    orders = np.empty((len(changes), len(conditions)), np.int64)
    orders[:, places.ravel()] = places[changes].reshape(len(changes), -1)
    return orders


def _link(ranks: np.ndarray, side: _Side) -> tuple[float, float, float, float]:
    """Rank correlation of mean drift (1 + resamples, conditions) and drop: value, low, high, p."""
    moved = _standard(ranks @ side.residual)
    value = (moved * side.fell).sum(1)
    p = np.nan
    if len(side.shuffled) and np.isfinite(value[0]):
        p = (np.abs(side.shuffled @ moved[0]) >= abs(value[0]) - 1e-12).mean()
    return value[0], *interval(value[1:]), p
