"""Image by image: does the map of an image move where its margin drops?"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from medrob.analysis.detection import centred_ranks, members
from medrob.analysis.evidence import Evidence, margin_drop, once
from medrob.analysis.exchange import exchange_p, exchanged
from medrob.analysis.layout import CONDITION, EVERY, MAP
from medrob.evaluation import bootstrap_weights, interval

PER_IMAGE = "per image"
PER_IMAGE_PARTIAL = "per image, partial"


def moved_and_fell(evidence: Evidence) -> pd.DataFrame:
    """Drift and drop of the margin of every image, side by side, for a scatter: the declared method.

    Returns:
        image, label (as drift has it), corruption, severity, method, layer, rmse, drop.
    """
    drift = evidence.drift[evidence.drift["method"] == evidence.declared["method"]]
    columns = ["image", *[c for c in ("label",) if c in drift], *CONDITION, *MAP, "rmse"]
    return drift[columns].merge(margin_drop(evidence.predictions), on=["image", *CONDITION])


@once
def per_image(evidence: Evidence) -> pd.DataFrame:
    """Rank correlation over images of drift and drop of the margin (`margin_drop`), for each map.

    The value is the mean of Spearman's correlations within strata, each weighed by its images. A stratum is a
    condition and the class predicted for the clean image, so that neither severity, nor the kind of
    corruption, nor the class can make it: a corruption that favours one class takes margin from all images
    of the others. ``per image, partial``: ranks, less what the rank of the picture's own RMSE explains in
    that stratum.

    The bootstrap resamples images with their ranks. p is two-sided, from exchanging whole images that are
    predicted alike when clean, all conditions of an image together (of residuals, for the partial
    correlation: Freedman & Lane 1983). Images with a degenerate map are left out of that condition.

    Returns:
        method, layer, kind ("per image" or "per image, partial"), corruption (a name, or "all"), value, low,
        high, p, conditions (that count), across_classes (the value if the class is not held fixed: described,
        not tested). NaN where fewer than three images, or constant drift or drop, leave nothing to
        correlate.
    """
    moved, fell, group = evidence.moved, evidence.margin_drop, evidence.group
    w = bootstrap_weights(len(moved.images), evidence.resamples, evidence.seed)
    groups = {EVERY: np.ones(len(moved.conditions), bool)}
    groups |= {name: evidence.corruptions == name for name in dict.fromkeys(evidence.corruptions)}
    known = np.isfinite(moved.values)
    parts = {}
    for kind, fixed in ((PER_IMAGE, None), (PER_IMAGE_PARTIAL, evidence.picture)):
        a, b, used = _scored(moved.values, fell, known, fixed, group)
        # Exchanged are drops of all images, whether or not their map is usable: see `exchange_p`.
        every = _standard(fell, np.ones_like(known[0]), fixed, group)
        sums = exchanged(a, every, evidence.orders)
        p = np.stack([exchange_p(sums[:, use].sum(1)) for use in groups.values()], 1)
        x, y, counted = _scored(moved.values, fell, known, fixed, np.zeros_like(group))
        across = (x * y).sum(-1), counted.sum(-1)
        parts[kind] = a, b, used, p, across

    def of_map(m: int) -> list[tuple]:
        rows = []
        for kind, (a, b, used, p, (sums, count)) in parts.items():
            top, below = _correlations(a[m], b[m], used[m], w, group)
            products = (a[m] * b[m]).sum(-1), used[m].sum(-1)
            for (name, use), q in zip(groups.items(), p[m], strict=True):
                value, plain = (_share(*pair, use) for pair in (products, (sums[m], count[m])))
                limits = interval(_share(top, below, use))
                conditions = int(used[m, use].any(-1).sum())
                q = q if conditions else np.nan
                rows.append((*moved.maps[m], kind, name, value, *limits, q, conditions, plain))
        return rows

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy works on several cores at once
        rows = [row for part in pool.map(of_map, range(len(moved.maps))) for row in part]
    numbers = ["value", "low", "high", "p", "conditions", "across_classes"]
    return pd.DataFrame(rows, columns=[*MAP, "kind", "corruption", *numbers])


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
    """Standard scores of the ranks (..., conditions, images) in each stratum, among the known; 0 elsewhere.

    Less what the ranks of `fixed` explain, if given. All are 0 in a stratum of fewer than three, or where
    nothing varies.
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


def _unit(x: np.ndarray) -> np.ndarray:
    """Of length 1 along the last axis; 0 if that is nothing but rounding."""
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.divide(x, length, out=np.zeros_like(x), where=length > 1e-6)


def _correlations(
    a: np.ndarray, b: np.ndarray, used: np.ndarray, w: np.ndarray, group: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Correlations within strata, summed over the classes with the images as weights, and these weights.

    Args:
        a, b: standard scores (conditions, images). used: which count. w: (B, images).

    Returns:
        Two arrays (B, conditions).
    """
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
