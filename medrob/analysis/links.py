"""Does the map move where performance falls: between conditions (AUC), and image by image (margin)?"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from medrob.analysis.evidence import Evidence
from medrob.analysis.layout import CONDITION, EVERY, MAP
from medrob.analysis.statistics import centred_ranks, corruption_orders, members, two_sided
from medrob.evaluation import FEWEST, auc, fewest, interval

POOLED, WITHIN, PARTIAL = KINDS = ("pooled", "within severity", "partial")
PER_IMAGE = "per image"
PER_IMAGE_PARTIAL = "per image, partial"


@cache
def association(evidence: Evidence) -> pd.DataFrame:
    """Between conditions: does the drop of AUC go with the mean drift? For each method and layer.

    kind: rank correlations (Spearman) over the conditions: ``pooled``, high almost by construction, as both
    rise with severity; ``within severity``, among the corruptions of the same severity; ``partial``, less
    what severity and the means of the picture's RMSE, of the fall of the logit and of the probability of the
    clean class, and of the energy that the map has lost explain (linear, on ranks). p is two-sided, from
    exchanging whole corruptions in what is left of the drops (Freedman & Lane 1983): of five, which have 120
    orders, it is at least 1/120. There is no interval, and low and high are NaN: corruptions are few, and a
    bootstrap of 95 % was found to hold the truth in 64 % where the link is strong. conditions: with a usable
    map. NaN where fewer than two corruptions, or constant drift, leave nothing to correlate.
    """
    moved = evidence.moved
    w = np.ones((1, evidence.every["predicted"].shape[1]), np.float32)
    aucs = condition_aucs(evidence, w)
    drops, weights = aucs[:, :1] - aucs[:, 1:], w[:, evidence.place]
    rows = []
    sides: dict[bytes, dict] = {}  # the same for all maps that are usable in the same conditions
    for key, values in zip(moved.maps, moved.values, strict=True):
        use = np.isfinite(values).any(1)
        if not use.any():
            rows += [(*key, kind, *(np.nan,) * 4, 0) for kind in KINDS]
            continue
        lost = evidence.lost.of(*key)
        if (same := use.tobytes() + lost.tobytes()) not in sides:
            sides[same] = _sides(evidence, drops[:, use], use, lost)
        ranks = _ranks(condition_means(values, weights)[:, use], evidence.severities[use])
        for kind, (residual, fell, shuffled) in sides[same].items():
            rose = _unit(ranks[kind] @ residual, 1e-9, np.nan)
            (value,), p = (rose * fell).sum(1), np.nan
            if np.isfinite(value):
                p = (np.abs(shuffled @ rose[0]) >= abs(value) - 1e-12).mean()
            rows.append((*key, kind, value, np.nan, np.nan, p, int(use.sum())))
    return pd.DataFrame(rows, columns=[*MAP, "kind", "value", "low", "high", "p", "conditions"])


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


def condition_means(values: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Means over the images with a value, (B, conditions), for weights (B, images); NaN where none has."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (w @ np.nan_to_num(values).T) / (w @ known.T.astype(w.dtype))


def _sides(
    evidence: Evidence, drops: np.ndarray, use: np.ndarray, lost: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each kind of correlation: what takes out that which is held fixed, and the ranks of the drops.

    (conditions, conditions); (1, conditions), standardised, and these in other orders.
    """
    severity, conditions = evidence.severities[use], evidence.moved.conditions[use]
    picture = evidence.distances.groupby(CONDITION)["rmse"].mean().reindex(conditions).to_numpy()
    unsure = (evidence.own[0] - evidence.own[1:])[use]  # what the probability of the clean class has lost
    means = [
        rankdata(x) for x in (picture, *(x.mean(1) for x in (evidence.logit_lost[use], lost[use], unsure)))
    ]
    ranks, orders = _ranks(drops, severity), corruption_orders(conditions, evidence.permutations)
    levels = [(severity == s).astype(float) for s in np.unique(severity)]
    held = {POOLED: [np.ones(len(severity))], WITHIN: levels, PARTIAL: [*levels, *means]}
    found = {}
    for kind, fixed in held.items():
        x = np.stack(fixed, 1)
        residual = np.eye(len(severity)) - x @ np.linalg.pinv(x)
        fell = _unit(ranks[kind] @ residual, 1e-9, np.nan)
        found[kind] = residual, fell, _unit(fell[0][orders] @ residual, 1e-9, np.nan)
    return found


def _ranks(values: np.ndarray, severity: np.ndarray) -> dict[str, np.ndarray]:
    """For each kind the ranks of each row of (B, conditions): among all, or those of the same severity."""
    every, within = rankdata(values, axis=1), np.empty(values.shape)
    for s in np.unique(severity):
        within[:, severity == s] = rankdata(values[:, severity == s], axis=1)
    return {POOLED: every, WITHIN: within, PARTIAL: every}


def moved_and_fell(evidence: Evidence) -> pd.DataFrame:
    """Drift (rmse) and drop of the margin of every image under each condition, of the declared method."""
    drift = evidence.drift[evidence.drift["method"] == evidence.declared["method"]]
    columns = [c for c in ("image", "group", "label", *CONDITION, *MAP, "rmse") if c in drift]
    at = evidence.moved.conditions.get_indexer(pd.MultiIndex.from_frame(drift[CONDITION]))
    images = np.searchsorted(evidence.moved.images, drift["image"])
    return drift[columns].assign(drop=evidence.margin_drop[at, images]).reset_index(drop=True)


@cache
def per_image(evidence: Evidence) -> pd.DataFrame:
    """Rank correlation over images of drift and drop of the margin, for each map, corruption and "all".

    value: the mean of Spearman's correlations within strata (see `medrob.analysis.statistics`), each weighed
    by its images; kind ``per image, partial``: of ranks, less what the ranks of the picture's RMSE, of the
    class's logit, of its fall, of the energy that the map has lost and of whether it vanished explain in that
    stratum. low, high: the bootstrap resamples units with their ranks. p is two-sided, from
    `Evidence.exchanged` (of residuals, if partial: Freedman & Lane 1983). conditions: that count.
    across_classes: the value if the class is not held fixed, described, not tested. NaN where fewer than
    three images, or constant drift or drop, leave nothing to correlate.
    """
    moved, fell, group = evidence.moved, evidence.margin_drop, evidence.group
    w, one, rows = evidence.drawn(evidence.resamples)[1:], np.zeros_like(group), []
    groups = {EVERY: np.ones(len(moved.conditions), bool)}
    groups |= {name: evidence.corruptions == name for name in dict.fromkeys(evidence.corruptions)}
    for key, values in zip(moved.maps, moved.values, strict=True):
        known = np.isfinite(values)
        energy = evidence.lost.of(*key), evidence.vanished.of(*key)
        held = evidence.picture, evidence.logit, evidence.logit_lost, *energy
        for kind, fixed in ((PER_IMAGE, ()), (PER_IMAGE_PARTIAL, held)):
            a, b, used = _scored(values, fell, known, fixed, group)
            # Exchanged are drops of all images, whether or not their map is usable.
            every = _standard(fell, np.ones_like(known), fixed, group)
            sums = {
                name: evidence.exchanged(a[use], every[use]) for name, use in groups.items() if name != EVERY
            }
            sums = {EVERY: np.sum([*sums.values()], axis=0), **sums}
            x, y, counted = _scored(values, fell, known, fixed, one)
            top, below = _correlations(a, b, used, w, group)
            for name, use in groups.items():
                value = _share((a * b).sum(-1), used.sum(-1), use)
                across = _share((x * y).sum(-1), counted.sum(-1), use)
                conditions = int(used[use].any(-1).sum())
                p = two_sided(sums[name]) if conditions else np.nan
                known_units = np.unique(evidence.unit[used[use].any(0)])
                ends = interval(_share(top, below, use)[: None if len(known_units) >= FEWEST else 0])
                rows.append((*key, kind, name, value, *ends, p, conditions, across))
    columns = ["value", "low", "high", "p", "conditions", "across_classes"]
    return pd.DataFrame(rows, columns=[*MAP, "kind", "corruption", *columns])


def _scored(
    values: np.ndarray, fell: np.ndarray, known: np.ndarray, fixed: Sequence[np.ndarray], group: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standard scores of drift and drop, and which count: those of strata in which both vary."""
    a, b = (_standard(x, known, fixed, group) for x in (values, fell))
    used = np.zeros_like(known)
    for at in members(group):
        vary = a[..., at].any(-1, keepdims=True) & b[..., at].any(-1, keepdims=True)
        used[..., at] = known[..., at] & vary
    return a * used, b * used, used


def _standard(
    values: np.ndarray, known: np.ndarray, fixed: Sequence[np.ndarray], group: np.ndarray
) -> np.ndarray:
    """Standard scores of the ranks (conditions, images) in each stratum, among the known, less what the ranks
    of `fixed` explain; 0 elsewhere, in a stratum of fewer than three, and where nothing varies.
    """
    x, *held = (centred_ranks(np.where(known, part, np.nan), group) for part in (values, *fixed))
    for at in members(group):
        scores, count, lines = _unit(x[:, at]), known[:, at].sum(-1, keepdims=True), list[np.ndarray]()
        for part in held:  # each less what those before it explain
            lines.append(_unit(_less(_unit(part[:, at]), lines)))
        scores = _unit(_less(scores, lines)) if lines else scores
        x[:, at] = scores * np.sqrt(np.where(count > 2 + max(len(lines) - 1, 0), count, 0))
    return x


def _less(scores: np.ndarray, lines: Sequence[np.ndarray]) -> np.ndarray:
    """Scores less their parts along lines, each of length 1 and at right angles to the others."""
    return scores - sum((scores * line).sum(-1, keepdims=True) * line for line in lines)


def _unit(x: np.ndarray, near: float = 1e-6, flat: float = 0.0) -> np.ndarray:
    """Of length 1 along the last axis, so that products are correlations; `flat` if that is only rounding."""
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.divide(x, length, out=np.full_like(x, flat), where=length > near)


def _correlations(
    a: np.ndarray, b: np.ndarray, used: np.ndarray, w: np.ndarray, group: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Correlations within strata, summed over the classes, and their weights: (B, conditions) each."""
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
    return found, below


def _share(sums: np.ndarray, count: np.ndarray, use: np.ndarray) -> np.ndarray:
    """The mean over the conditions in use (..., conditions); NaN where nothing counts."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums[..., use].sum(-1) / count[..., use].sum(-1)
