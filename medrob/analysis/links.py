"""Does the map move where performance falls: between conditions (AUC), and image by image (margin)?"""

import itertools
from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from medrob.analysis.evidence import Evidence
from medrob.analysis.layout import CONDITION, MAP, rows_of
from medrob.analysis.statistics import any_of, centred_ranks, corruption_orders, members, two_sided
from medrob.evaluation import FEWEST, auc, fewest, interval

POOLED, WITHIN, PARTIAL = ("pooled", "within severity", "partial")
PER_IMAGE = "per image"
PER_IMAGE_PARTIAL = "per image, partial"
BENT = 30  # images of a stratum from which on links that bend can be told from chance


@cache
def association(evidence: Evidence) -> pd.DataFrame:
    """Between conditions: does the drop of AUC go with the mean drift? For each method and layer.

    kind: rank correlations (Spearman) over the conditions: ``pooled``, high almost by construction, as both
    rise with severity, and not tested; ``within severity``, among the corruptions of the same severity;
    ``partial``, less what severity and the means of the picture's RMSE, of the fall of the logit and of the
    probability of the clean class, and of the energy that the map has lost explain (linear, on ranks). p is
    two-sided, from exchanging whole corruptions in what is left of the drops (Freedman & Lane 1983). low and
    high are NaN: corruptions are few, and a bootstrap of 95 % held the truth in 64 % where the link is
    strong. NaN where fewer than two corruptions, or constant drift, leave nothing to correlate.
    """
    aucs = condition_aucs(evidence, np.ones((1, len(evidence.unit_of_all)), np.float32))[0]
    fell, severity = aucs[0] - aucs[1:], evidence.severities
    orders = corruption_orders(evidence.conditions)
    levels = [(severity == s).astype(float) for s in np.unique(severity)]
    picture = evidence.distances.groupby(CONDITION)["rmse"].mean().reindex(evidence.conditions).to_numpy()
    logit, sure = evidence.logit_lost.mean(1), (evidence.own[0] - evidence.own[1:]).mean(1)
    rows = []
    for key, moved, lost in zip(evidence.maps, evidence.moved.mean(2), evidence.lost.mean(2), strict=True):
        every, means = np.zeros_like(severity), [rankdata(x) for x in (picture, logit, lost, sure)]
        kinds = {
            POOLED: (every, [np.ones(len(severity))]),
            WITHIN: (severity, levels),
            PARTIAL: (every, [*levels, *means]),
        }
        for kind, (among, fixed) in kinds.items():
            held = np.stack(fixed, 1)
            residual = np.eye(len(held)) - held @ np.linalg.pinv(held)
            x, y = (_unit(centred_ranks(v, among) @ residual, 1e-9, np.nan) for v in (moved, fell))
            shuffled = _unit(y[orders] @ residual, 1e-9, np.nan)
            value = float(x @ y)
            p = float((np.abs(shuffled @ x) >= abs(value) - 1e-12).mean())
            tested = kind != POOLED and np.isfinite(value)
            rows.append((*key, kind, value, np.nan, np.nan, p if tested else np.nan))
    return pd.DataFrame(rows, columns=[*MAP, "kind", "value", "low", "high", "p"])


def condition_aucs(evidence: Evidence, w: np.ndarray) -> np.ndarray:
    """AUC of the clean images, then of each condition: (B, 1 + conditions), for weights (B, all images).

    Of the positive class if there are two, else the mean over classes one-vs-rest, or over labels. All but
    the first is NaN if fewer than `FEWEST` units are of one of these, or of the rest.
    """
    found, names = evidence.every, evidence.classes
    classes = [1] if len(names) == 2 and evidence.single else range(len(names))
    aucs = np.zeros((len(w), len(found["predicted"])))
    for k in classes:
        truth = found["label"] == k if evidence.single else found[f"label_{names[k]}"].astype(bool)
        pairs = zip(found[f"p_{names[k]}"], truth, strict=True)
        aucs += np.stack([auc(p, positive, w) for p, positive in pairs], 1)
        aucs[1:] += np.nan if fewest(truth[0], evidence.unit_of_all) < FEWEST else 0
    return aucs / len(classes)


def moved_and_fell(evidence: Evidence) -> pd.DataFrame:
    """Drift (rmse) and drop of the margin of every image under each condition, of the declared map."""
    drift = rows_of(evidence.drift, *evidence.declared_map, "drift")
    at = evidence.conditions.get_indexer(pd.MultiIndex.from_frame(drift[CONDITION]))
    images = np.searchsorted(evidence.images, drift["image"])
    columns = ["image", "label", *CONDITION, *MAP, "rmse"]
    return drift[columns].assign(drop=evidence.margin_drop[at, images]).reset_index(drop=True)


@cache
def per_image(evidence: Evidence) -> pd.DataFrame:
    """Rank correlation over images of drift and drop of the margin, for each map.

    A stratum is a condition and the class predicted for the clean image. value: the mean of Spearman's
    correlations within strata, weighted by their images; kind ``partial``: less what the ranks of the
    picture's RMSE, of the class's logit, of its fall, of the energy that the map has lost, and of whether it
    vanished or was never there, explain in that stratum, each by a cubic, or by a line in one of few images
    (`BENT`). low, high: the bootstrap resamples units with their ranks; they are widened by the degrees of
    freedom that are taken. p is two-sided, from `Evidence.exchanged` (of residuals, if partial: Freedman &
    Lane 1983). NaN where fewer than three images, or constant drift or drop, leave nothing to correlate.
    """
    w, group, rows = evidence.drawn(evidence.unit, evidence.resamples)[1:], evidence.group, []
    for at, key in enumerate(evidence.maps):
        energy = evidence.lost[at], evidence.vanished[at], evidence.degenerate[at]
        held = evidence.picture, evidence.logit, evidence.logit_lost, *energy
        for kind, fixed in ((PER_IMAGE, ()), (PER_IMAGE_PARTIAL, held)):
            a, taken = _standard(evidence.moved[at], fixed, group)
            b, _ = _standard(evidence.margin_drop, fixed, group)
            used = any_of(a, group) & any_of(b, group)  # where neither is the same for all
            a, b = a * used, b * used
            value, p = np.nan, np.nan
            if used.any():
                value = float((a * b).sum() / used.sum())
                sums = evidence.exchanged(a, b / np.sqrt(1 - taken))
                p = two_sided(np.r_[(a * b).sum(), sums[1:]])
            enough = len(np.unique(evidence.unit[used.any(0)])) >= FEWEST
            ends = np.array(interval(_correlations(a, b, used, w, group)) if enough else (np.nan, np.nan))
            ends = value + (ends - value) / np.sqrt(1 - taken[used].mean()) if used.any() else ends
            rows.append((*key, kind, value, *ends, p))
    return pd.DataFrame(rows, columns=[*MAP, "kind", "value", "low", "high", "p"])


def _standard(
    values: np.ndarray, fixed: Sequence[np.ndarray], group: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Standard scores of the ranks (conditions, images) in each stratum, less what the ranks of `fixed`
    and their powers explain; 0 in a stratum of too few images, and where nothing varies. And which share of
    the degrees of freedom these take: a correlation of chance is larger for it.
    """
    x, *held = (centred_ranks(part, group) for part in (values, *fixed))
    share = np.zeros(x.shape)
    for at in members(group):
        scores, lines = _unit(x[:, at]), list[np.ndarray]()
        for part, power in itertools.product(held, (1, 2, 3) if len(at) >= BENT else (1,)):
            bent = (part[:, at] / len(at)) ** power
            bent = _unit(bent - bent.mean(-1, keepdims=True))
            lines.append(_unit(_less(bent, lines)))  # less what those before it explain
        scores = _unit(_less(scores, lines)) if lines else scores
        x[:, at] = scores * np.sqrt(len(at) if len(at) > 2 + max(len(lines) - 1, 0) else 0)
        taken = sum(line.any(-1) for line in lines) / max(len(at) - 1, 1) if lines else np.zeros(len(x))
        share[:, at] = np.minimum(taken, 0.9)[:, None]
    return x, share


def _less(scores: np.ndarray, lines: Sequence[np.ndarray]) -> np.ndarray:
    """Scores less their parts along lines, each of length 1 and at right angles to the others."""
    return scores - sum((scores * line).sum(-1, keepdims=True) * line for line in lines)


def _unit(x: np.ndarray, near: float = 1e-6, flat: float = 0.0) -> np.ndarray:
    """Of length 1 along the last axis, so that products are correlations; `flat` if that is only rounding."""
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.divide(x, length, out=np.full_like(x, flat), where=length > near)


def _correlations(
    a: np.ndarray, b: np.ndarray, used: np.ndarray, w: np.ndarray, group: np.ndarray
) -> np.ndarray:
    """The mean correlation within strata, weighted by their images, for weights (B, images): (B,)."""
    found, below = np.zeros((2, len(w), len(a)))
    for at in members(group):
        x, y, counted = a[:, at], b[:, at], used[:, at]
        rows = np.concatenate([counted, x, y, x * y, x * x, y * y]).astype(np.float32)
        total, *sums = np.split(w[:, at] @ rows.T, 6, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mx, my, xy, xx, yy = (part / total for part in sums)
            vx, vy = xx - mx**2, yy - my**2
            vary = (vx > 1e-5 * xx) & (vy > 1e-5 * yy)  # not where a resample holds one image many times
            r = np.clip((xy - mx * my) / np.sqrt(vx * vy), -1, 1)
        found += np.where(vary, total * r, 0)
        below += np.where(vary, total, 0)
    with np.errstate(invalid="ignore"):  # nothing varies in any stratum
        return found.sum(1) / below.sum(1)
