"""Does the map move where performance falls: between conditions (AUC), and image by image (margin)?"""

from functools import cache

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from medrob.analysis.evidence import Evidence
from medrob.analysis.layout import CONDITION, EVERY, MAP, estimate
from medrob.analysis.statistics import centred_ranks, corruption_orders, exchange_p, members
from medrob.evaluation import auc, interval, resampled

POOLED, WITHIN, PARTIAL = KINDS = ("pooled", "within severity", "partial")
PER_IMAGE = "per image"
PER_IMAGE_PARTIAL = "per image, partial"


@cache
def association(evidence: Evidence) -> pd.DataFrame:
    """Between conditions: does the drop of AUC go with the mean drift? For each method and layer.

    kind: rank correlations (Spearman) over the conditions: ``pooled``, high almost by construction, as both
    rise with severity; ``within severity``, among the corruptions of the same severity; ``partial``, less
    what severity and the RMSE of the image explain (linear, on ranks). value, low, high: intervals resample
    images, not corruptions. p is two-sided, from exchanging whole corruptions in what is left of the drops
    (Freedman & Lane 1983): of five, which have 120 orders, it is at least 1/120. conditions: with a usable
    map. NaN where fewer than two corruptions, or constant drift, leave nothing to correlate.
    """
    moved = evidence.moved
    w = resampled(evidence.every["predicted"].shape[1], evidence.resamples)
    aucs = condition_aucs(evidence, w)
    drops, weights = aucs[:, :1] - aucs[:, 1:], w[:, evidence.place]
    rows = []
    sides: dict[bytes, dict] = {}  # the same for all maps that are usable in the same conditions
    for key, values in zip(moved.maps, moved.values, strict=True):
        use = np.isfinite(values).any(1)
        if not use.any():
            rows += [(*key, kind, *(np.nan,) * 4, 0) for kind in KINDS]
            continue
        if (same := use.tobytes()) not in sides:
            sides[same] = _sides(evidence, drops[:, use], use)
        ranks = _ranks(condition_means(values, weights)[:, use], evidence.severities[use])
        for kind, (residual, fell, shuffled) in sides[same].items():
            rose = _unit(ranks[kind] @ residual, 1e-9, np.nan)
            samples, p = (rose * fell).sum(1), np.nan
            if np.isfinite(samples[0]):
                p = (np.abs(shuffled @ rose[0]) >= abs(samples[0]) - 1e-12).mean()
            rows.append((*key, kind, *estimate(samples), p, int(use.sum())))
    return pd.DataFrame(rows, columns=[*MAP, "kind", "value", "low", "high", "p", "conditions"])


def condition_aucs(evidence: Evidence, w: np.ndarray) -> np.ndarray:
    """AUC of the clean images, then of each condition: (B, 1 + conditions), for weights (B, all images).

    Of the positive class if there are two, else the mean over classes one-vs-rest, or over labels.
    """
    found, names = evidence.every, evidence.classes
    classes = [1] if len(names) == 2 and evidence.single else range(len(names))
    aucs = np.zeros((len(w), len(found["predicted"])))
    for k in classes:
        truth = found["label"] == k if evidence.single else found[f"label_{names[k]}"].astype(bool)
        pairs = zip(found[f"p_{names[k]}"], truth, strict=True)
        aucs += np.stack([auc(p, positive, w) for p, positive in pairs], 1)
    return aucs / len(classes)


def condition_means(values: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Mean over the images with a map, (B, conditions); NaN where there is none, for weights (B, images)."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (w @ np.nan_to_num(values).T) / (w @ known.T.astype(w.dtype))


def _sides(
    evidence: Evidence, drops: np.ndarray, use: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each kind of correlation: what takes out that which is held fixed, and the ranks of the drops.

    (conditions, conditions); (1 + resamples, conditions), standardised, and the first of them in other
    orders.
    """
    severity, conditions = evidence.severities[use], evidence.moved.conditions[use]
    picture = evidence.distances.groupby(CONDITION)["rmse"].mean().reindex(conditions).to_numpy()
    ranks, orders = _ranks(drops, severity), corruption_orders(conditions, evidence.permutations)
    levels = [(severity == s).astype(float) for s in np.unique(severity)]
    held = {POOLED: [np.ones(len(severity))], WITHIN: levels, PARTIAL: [*levels, rankdata(picture)]}
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
    columns = [c for c in ("image", "label", *CONDITION, *MAP, "rmse") if c in drift]
    at = evidence.moved.conditions.get_indexer(pd.MultiIndex.from_frame(drift[CONDITION]))
    images = np.searchsorted(evidence.moved.images, drift["image"])
    return drift[columns].assign(drop=evidence.margin_drop[at, images]).reset_index(drop=True)


@cache
def per_image(evidence: Evidence) -> pd.DataFrame:
    """Rank correlation over images of drift and drop of the margin, for each map, corruption and "all".

    value: the mean of Spearman's correlations within strata (see `medrob.analysis.statistics`), each weighed
    by its images; kind ``per image, partial``: of ranks, less what the rank of the picture's own RMSE
    explains in that stratum. low, high: the bootstrap resamples images with their ranks. p is two-sided, from
    exchanging whole images that are predicted alike when clean (of residuals, if partial: Freedman & Lane
    1983). conditions: that count. across_classes: the value if the class is not held fixed, described, not
    tested. NaN where fewer than three images, or constant drift or drop, leave nothing to correlate.
    """
    moved, fell, group = evidence.moved, evidence.margin_drop, evidence.group
    w = resampled(len(moved.images), evidence.resamples)[1:]
    groups = {EVERY: np.ones(len(moved.conditions), bool)}
    groups |= {name: evidence.corruptions == name for name in dict.fromkeys(evidence.corruptions)}
    known = np.isfinite(moved.values)
    parts = {}
    for kind, fixed in ((PER_IMAGE, None), (PER_IMAGE_PARTIAL, evidence.picture)):
        a, b, used = _scored(moved.values, fell, known, fixed, group)
        # Exchanged are drops of all images, whether or not their map is usable: see `exchange_p`.
        every = _standard(fell, np.ones_like(known[0]), fixed, group)
        p = np.stack([exchange_p(a[:, use], every[use], evidence.orders) for use in groups.values()], 1)
        x, y, counted = _scored(moved.values, fell, known, fixed, np.zeros_like(group))
        parts[kind] = a, b, used, p, (x * y).sum(-1), counted.sum(-1)

    rows = []
    for m, key in enumerate(moved.maps):
        for kind, (a, b, used, p, across, count) in parts.items():
            top, below = _correlations(a[m], b[m], used[m], w, group)
            products, each = (a[m] * b[m]).sum(-1), used[m].sum(-1)
            for (name, use), q in zip(groups.items(), p[m], strict=True):
                value, plain = _share(products, each, use), _share(across[m], count[m], use)
                conditions = int(used[m, use].any(-1).sum())
                numbers = value, *interval(_share(top, below, use)), q if conditions else np.nan
                rows.append((*key, kind, name, *numbers, conditions, plain))
    columns = ["value", "low", "high", "p", "conditions", "across_classes"]
    return pd.DataFrame(rows, columns=[*MAP, "kind", "corruption", *columns])


def _scored(
    values: np.ndarray, fell: np.ndarray, known: np.ndarray, fixed: np.ndarray | None, group: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standard scores of drift and drop, and which count: those of strata in which both vary."""
    a, b = (_standard(x, known, fixed, group) for x in (values, fell))
    used = np.zeros_like(known)
    for at in members(group):
        vary = a[..., at].any(-1, keepdims=True) & b[..., at].any(-1, keepdims=True)
        used[..., at] = known[..., at] & vary
    return a * used, b * used, used


def _standard(
    values: np.ndarray, known: np.ndarray, fixed: np.ndarray | None, group: np.ndarray
) -> np.ndarray:
    """Standard scores of the ranks (..., conditions, images) in each stratum, among the known, less what the
    ranks of `fixed` explain; 0 elsewhere, in a stratum of fewer than three, and where nothing varies.
    """
    known = np.broadcast_to(known, np.broadcast_shapes(known.shape, values.shape))
    x = centred_ranks(np.where(known, values, np.nan), group)
    r = x if fixed is None else centred_ranks(np.where(known, fixed, np.nan), group)
    for at in members(group):
        scores, count = _unit(x[..., at]), known[..., at].sum(-1, keepdims=True)
        if fixed is not None:
            line = _unit(r[..., at])
            scores = _unit(scores - (scores * line).sum(-1, keepdims=True) * line)
        x[..., at] = scores * np.sqrt(np.where(count > 2, count, 0))
    return x


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
