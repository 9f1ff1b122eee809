"""Between conditions: does the drop of AUC go with the mean drift?"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from medrob.analysis.tables import CONDITION, MAP, cube, laid, require_all
from medrob.analysis.testing import NO, OPEN, OPPOSITE, SMALL, UNDEFINED, WITHIN, YES, Finding, rows_of
from medrob.conditions import CLEAN
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
    for key, values in zip(moved.maps, moved.values, strict=True):
        means, use = condition_means(values, weights), np.isfinite(values).any(1)
        for kind in KINDS:
            found = (np.nan,) * 4
            if use.any():
                found = _link(means[:, use], drops[:, use], kind, keys[use], picture[use], permutations, seed)
            rows.append((*key, kind, *found, int(use.sum())))
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


def _ranks(values: np.ndarray, kind: str, severity: np.ndarray) -> np.ndarray:
    """Ranks of each row of (B, conditions); among those of the same severity if within severity."""
    if kind != WITHIN:
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


def _link(
    means: np.ndarray,
    drops: np.ndarray,
    kind: str,
    conditions: pd.MultiIndex,
    picture: np.ndarray,
    permutations: int,
    seed: int,
) -> tuple[float, float, float, float]:
    """Rank correlation of mean drift and drop (1 + resamples, conditions): value, low, high, p."""
    severity = conditions.get_level_values("severity").to_numpy()
    m = _residual(kind, severity, picture)
    moved, fell = (_standard(_ranks(x, kind, severity) @ m) for x in (means, drops))
    value = (moved * fell).sum(1)
    p = np.nan
    if permutations and np.isfinite(value[0]):
        orders = _shuffles(conditions, permutations, seed)  # the first one changes nothing
        null = _standard(fell[0][orders] @ m) @ moved[0]
        p = (np.abs(null) >= abs(value[0]) - 1e-12).mean()
    return value[0], *interval(value[1:]), p


def say_association(association: pd.DataFrame, *, method: str, layer: str) -> str:
    """In words: does the corruption that moves the map more cost more AUC, at the same severity?

    Args:
        association: from `association`, or from `adjust`: p is then the corrected one.
    """
    kinds = rows_of(association, method, layer, "association")
    pooled, within, partial = (Finding.of(kinds.loc[k]) for k in ("pooled", WITHIN, "partial"))
    found = within.verdict(chance=0, small=SMALL["correlation"])
    if found == UNDEFINED:
        return (
            "Within severity there is nothing to correlate: too few corruptions, or drift that does not vary."
        )
    told = {
        YES: "at the same severity, the corruption that moves the map more costs more AUC",
        OPPOSITE: "at the same severity, the corruption that moves the map more costs less AUC",
        NO: "at the same severity, drift and loss of AUC are not linked under these corruptions",
        OPEN: "at the same severity, no link between drift and loss of AUC is shown",
    }[found]
    if found in (YES, OPPOSITE) and partial.verdict(chance=0, small=SMALL["correlation"]) != found:
        told += "; that this goes beyond what the RMSE of the picture tells anyway is not shown"
    return (
        f"Pooled over severities the rank correlation is {pooled.plain()}; severity alone makes it high.\n"
        f"Within severity it is {within}; less what the pixels' own RMSE explains, {partial}.\n"
        "The intervals resample images, not corruptions; p exchanges corruptions.\n"
        f"So {told}."
    )
