"""Image by image: does the map of an image move where its margin drops?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from medrob.analysis.detection import centred_ranks, clean_class, members
from medrob.analysis.tables import CONDITION, MAP, cube, laid, require_all, require_map
from medrob.analysis.testing import (  # fmt: skip
    EVERY,
    PER_IMAGE,
    exchange_p,
    exchanged,
    exchanges,
)
from medrob.check import require
from medrob.corruptions.conditions import CLEAN
from medrob.evaluation import bootstrap_weights, class_names, interval

PER_IMAGE_PARTIAL = "per image, partial"
TINY = float(np.finfo(np.float32).tiny)  # a probability of 0 is one that float32 cannot hold


def margin_drop(predictions: pd.DataFrame) -> pd.DataFrame:
    """How far the class predicted for the clean image has fallen behind its best rival.

    The margin is log p_c - log max p_k over k other than c, the difference of the logits; c stays the class
    predicted for the clean image. Where an image has several labels: that of the most probable one against
    its absence, which is its logit.

    Returns:
        image, corruption, severity, drop (clean margin - margin), for all conditions but clean.

    Raises:
        ValueError: a column is missing, or an image without a clean prediction.
    """
    names = [f"p_{name}" for name in class_names(predictions, also=["predicted"])]
    clean = predictions[(predictions["corruption"] == CLEAN[0])].set_index("image")["predicted"]
    if missing := set(predictions["image"]) - set(clean.index):
        raise ValueError(f"the table predictions has no clean prediction of image {sorted(missing)[0]}")
    p = predictions[names].to_numpy(float)
    rows, chosen = np.arange(len(p)), clean.loc[predictions["image"]].to_numpy()
    here, rival = p[rows, chosen], 1 - p[rows, chosen]
    if "label" in predictions and len(names) > 1:
        others = p.copy()
        others[rows, chosen] = 0
        rival = others.max(1)
    margin = np.log(np.maximum(here, TINY)) - np.log(np.maximum(rival, TINY))
    frame = predictions[["image", *CONDITION]].assign(margin=margin)
    before = frame[frame["corruption"] == CLEAN[0]].set_index("image")["margin"]
    frame["drop"] = before.loc[frame["image"]].to_numpy() - margin
    return frame[frame["corruption"] != CLEAN[0]].drop(columns="margin").reset_index(drop=True)


def moved_and_fell(
    predictions: pd.DataFrame,
    drift: pd.DataFrame,
    *,
    method: str,
    layers: Sequence[str],
    metric: str = "rmse",
) -> pd.DataFrame:
    """Drift and `margin_drop` of every image, side by side, for a scatter.

    Returns:
        image, label (as drift has it), corruption, severity, method, layer, the metric, drop.

    Raises:
        ValueError: an unknown method or layer.
    """
    require(drift, ["image", *CONDITION, *MAP, metric], "drift")
    for layer in layers:
        require_map(drift, method, layer, "drift")
    rows = drift[(drift["method"] == method) & drift["layer"].isin(list(layers))]
    columns = ["image", *[c for c in ("label",) if c in rows], *CONDITION, *MAP, metric]
    return rows[columns].merge(margin_drop(predictions), on=["image", *CONDITION])


def per_image(
    predictions: pd.DataFrame,
    drift: pd.DataFrame,
    distances: pd.DataFrame,
    *,
    metric: str = "rmse",
    resamples: int = 2000,
    permutations: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Rank correlation over images of drift and `margin_drop`, for each map.

    The value is the mean of Spearman's correlations within strata, each weighed by its images. A stratum is a
    condition and the class predicted for the clean image, so that neither severity, nor the kind of
    corruption, nor the class can make it: a corruption that favours one class takes margin from all images
    of the others. ``per image, partial``: ranks, less what the rank of the picture's own RMSE explains in
    that stratum.

    The bootstrap resamples images with their ranks. p is two-sided, from exchanging whole images that are
    predicted alike when clean, all conditions of an image together (see `medrob.analysis.testing`; of
    residuals, for the partial correlation: Freedman & Lane 1983). Images with a degenerate map are left out
    of that condition.

    Args:
        predictions, drift, distances: the tables predictions, drift and corruptions of a run.
        metric: the column of the drift. resamples, permutations, seed: of the intervals and of p.

    Returns:
        method, layer, kind ("per image" or "per image, partial"), corruption (a name, or "all"), value, low,
        high, p, conditions (that count), across_classes (the value if the class is not held fixed: described,
        not tested). NaN where fewer than three images, or constant drift or drop, leave nothing to
        correlate.

    Raises:
        ValueError: a table without a column, a condition or an image that is needed.
    """
    require_all(predictions, drift, distances, metric)
    moved = cube(drift, metric)
    keys, images = moved.conditions, moved.images
    fell = laid(margin_drop(predictions), ["drop"], keys, images, "predictions")["drop"]
    away = laid(distances, ["rmse"], keys, images, "corruptions")["rmse"].astype(float)
    group = clean_class(predictions, images)
    w = bootstrap_weights(len(images), resamples, seed)
    orders = exchanges(group, permutations, seed)
    groups = {EVERY: np.ones(len(keys), bool)}
    groups |= {name: moved.corruptions == name for name in dict.fromkeys(moved.corruptions)}
    known = np.isfinite(moved.values)
    parts = {}
    for kind, held in ((PER_IMAGE, None), (PER_IMAGE_PARTIAL, away)):
        a, b, used = _scored(moved.values, fell, known, held, group)
        # Exchanged are drops of all images, whether or not their map is usable: see `exchange_p`.
        every = _standard(fell, np.ones_like(known[0]), held, group)
        sums = exchanged(a, every, orders)
        p = np.stack([exchange_p(sums[:, use].sum(1)) for use in groups.values()], 1)
        x, y, one = _scored(moved.values, fell, known, held, np.zeros_like(group))
        across = (x * y).sum(-1), one.sum(-1)
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
    values: np.ndarray, fell: np.ndarray, known: np.ndarray, held: np.ndarray | None, group: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standard scores of drift and drop, and which count: those of strata in which both vary."""
    a, b = (_standard(x, known, held, group) for x in (values, fell))
    used = np.zeros_like(known)
    for at in members(group):
        vary = a[..., at].any(-1, keepdims=True) & b[..., at].any(-1, keepdims=True)
        used[..., at] = known[..., at] & vary
    return a * used, b * used, used


def _standard(
    values: np.ndarray, known: np.ndarray, held: np.ndarray | None, group: np.ndarray
) -> np.ndarray:
    """Standard scores of the ranks (..., conditions, images) in each stratum, among the known; 0 elsewhere.

    Less what the ranks of `held` explain, if that is given. Of a stratum of fewer than three, or one in which
    nothing varies, all are 0.
    """
    known = np.broadcast_to(known, np.broadcast_shapes(known.shape, values.shape))
    x = centred_ranks(np.where(known, values, np.nan), group)
    r = x if held is None else centred_ranks(np.where(known, held, np.nan), group)
    for at in members(group):
        own, count = _unit(x[..., at]), known[..., at].sum(-1, keepdims=True)
        if held is not None:
            line = _unit(r[..., at])
            own = _unit(own - (own * line).sum(-1, keepdims=True) * line)
        x[..., at] = own * np.sqrt(np.where(count > 2, count, 0))
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
        x, y, one = a[:, at], b[:, at], used[:, at]
        rows = np.concatenate([one, x, y, x * y, x * x, y * y]).astype(np.float32)
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
