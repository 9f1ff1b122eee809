"""Between conditions: does the drop of AUC go with the mean drift?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from medrob.analysis.evidence import Evidence, once
from medrob.analysis.exchange import corruption_orders
from medrob.analysis.layout import CONDITION, MAP, estimate, laid, resampled
from medrob.corruptions import CLEAN
from medrob.evaluation import auc, class_names

POOLED, WITHIN, PARTIAL = KINDS = ("pooled", "within severity", "partial")


@once
def association(evidence: Evidence) -> pd.DataFrame:
    """Between conditions: does the drop of AUC go with the mean drift? For each method and layer.

    Rank correlations (Spearman) over the conditions, three ways:
    ``pooled``: over all conditions. Both rise with severity, so this is high almost by construction.
    ``within severity``: ranks taken among the corruptions of the same severity.
    ``partial``: ranks, less what severity and the RMSE of the image itself explain (linear, on ranks).

    The intervals resample images alone: they tell how sure the numbers of these corruptions are, not what
    other corruptions would give, which is what p is about. p is two-sided, from exchanging whole corruptions
    in what is left of the drops (Freedman & Lane 1983): the severities of one corruption move together and
    are no independent cases, so with five corruptions, which have 120 orders, p is at least 1/120. No
    correction for many tests is made here.

    Returns:
        method, layer, kind, value, low, high, p, conditions (how many: those with a usable map). NaN where
        fewer than two corruptions, or constant drift, leave nothing to correlate.
    """
    moved, images = evidence.moved, evidence.all_images
    w = resampled(len(images), evidence.resamples, evidence.seed)
    aucs = condition_aucs(evidence, w)
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
            sides[same] = _sides(evidence, drops[:, use], use)
        means = condition_means(values, weights)[:, use]
        ranks = _ranks(means, evidence.severities[use])
        for kind, side in sides[same].items():
            rows.append((*key, kind, *_link(ranks[kind], side), int(use.sum())))
    return pd.DataFrame(rows, columns=[*MAP, "kind", "value", "low", "high", "p", "conditions"])


def condition_aucs(evidence: Evidence, w: np.ndarray) -> np.ndarray:
    """AUC of the clean images, then of each condition: (B, 1 + conditions), for weights (B, all images).

    Of the positive class if there are two, else the mean over classes one-vs-rest, or over labels.
    """
    names = class_names(evidence.predictions)
    single = "label" in evidence.predictions
    keys = pd.MultiIndex.from_tuples([CLEAN, *evidence.moved.conditions], names=CONDITION)
    truth = ["label"] if single else [f"label_{name}" for name in names]
    columns = [*truth, *(f"p_{name}" for name in names)]
    found = laid(evidence.predictions, columns, keys, evidence.all_images, "predictions")
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


def _sides(evidence: Evidence, drops: np.ndarray, use: np.ndarray) -> dict[str, _Side]:
    severity, picture = evidence.severities[use], _picture(evidence)[use]
    ranks = _ranks(drops, severity)
    conditions = evidence.moved.conditions[use]
    orders = corruption_orders(conditions, evidence.permutations, evidence.seed)  # the first changes nothing
    found = {}
    for kind in KINDS:
        residual = _residual(kind, severity, picture)
        fell = _standard(ranks[kind] @ residual)
        shuffled = _standard(fell[0][orders] @ residual) if evidence.permutations else fell[:0]
        found[kind] = _Side(residual, fell, shuffled)
    return found


def _picture(evidence: Evidence) -> np.ndarray:
    """RMSE of the pictures themselves, mean over all images: (conditions,)."""
    means = evidence.distances.groupby(CONDITION)["rmse"].mean()
    return means.reindex(evidence.moved.conditions).to_numpy()


def _ranks(values: np.ndarray, severity: np.ndarray) -> dict[str, np.ndarray]:
    """For each kind the ranks of each row of (B, conditions): among all, or those of the same severity."""
    every, within = rankdata(values, axis=1), np.empty(values.shape)
    for s in np.unique(severity):
        within[:, severity == s] = rankdata(values[:, severity == s], axis=1)
    return {POOLED: every, WITHIN: within, PARTIAL: every}


def _residual(kind: str, severity: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """The matrix (conditions, conditions) that takes out what is held fixed: mean, severity, image RMSE."""
    fixed = [np.ones(len(severity))]
    if kind != POOLED:
        fixed = [(severity == s).astype(float) for s in np.unique(severity)]
    if kind == PARTIAL:
        fixed.append(rankdata(picture))
    x = np.stack(fixed, 1)
    return np.eye(len(severity)) - x @ np.linalg.pinv(x)


def _standard(rows: np.ndarray) -> np.ndarray:
    """Rows of length one, so that a dot product is a correlation; NaN where a row is constant."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 1e-9, length, np.nan)


def _link(ranks: np.ndarray, side: _Side) -> tuple[float, float, float, float]:
    """Rank correlation of mean drift (1 + resamples, conditions) and drop: value, low, high, p."""
    moved = _standard(ranks @ side.residual)
    samples = (moved * side.fell).sum(1)
    p = np.nan
    if len(side.shuffled) and np.isfinite(samples[0]):
        p = (np.abs(side.shuffled @ moved[0]) >= abs(samples[0]) - 1e-12).mean()
    return *estimate(samples), p
