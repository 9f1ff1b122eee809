"""Image by image: does the map of an image move where its margin drops?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from medrob.analysis.detection import centred_ranks
from medrob.analysis.tables import CONDITION, MAP, cube, laid, require, require_all, require_map
from medrob.analysis.testing import (
    EVERY,
    NO,
    OPEN,
    OPPOSITE,
    PER_IMAGE,
    SMALL,
    UNDEFINED,
    YES,
    Finding,
    exchange_p,
    exchanged,
    exchanges,
    rows_of,
)  # fmt: skip
from medrob.conditions import CLEAN
from medrob.evaluation import bootstrap_weights, interval

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
    names = [c for c in predictions if str(c).startswith("p_")]
    require(predictions, ["image", *CONDITION, "predicted", *([] if names else ["p_<class>"])], "predictions")
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
    """Rank correlation over images of drift and `margin_drop`, within each condition, for each map.

    The value is the mean over the conditions of Spearman's correlation within the condition, so that neither
    severity nor the kind of corruption can make it. ``per image, partial``: ranks, less what the rank of the
    picture's own RMSE explains in that condition.

    The bootstrap resamples images with their ranks. p is two-sided, from exchanging whole images, all
    conditions of an image together (see `medrob.analysis.exchange`; of residuals, for the partial
    correlation: Freedman & Lane 1983). Images with a degenerate map are left out of that condition.

    Args:
        predictions, drift, distances: the tables predictions, drift and corruptions of a run.
        metric: the column of the drift. resamples, permutations, seed: of the intervals and of p.

    Returns:
        method, layer, kind ("per image" or "per image, partial"), corruption (a name, or "all"), value, low,
        high, p, conditions (that count). NaN where fewer than three images, or constant drift or drop,
        leave nothing to correlate.

    Raises:
        ValueError: a table without a column, a condition or an image that is needed.
    """
    require_all(predictions, drift, distances, metric)
    moved = cube(drift, metric)
    keys, images = moved.conditions, moved.images
    fell = laid(margin_drop(predictions), ["drop"], keys, images, "predictions")["drop"]
    away = laid(distances, ["rmse"], keys, images, "corruptions")["rmse"].astype(float)
    w = bootstrap_weights(len(images), resamples, seed)
    orders = exchanges(len(images), permutations, seed)
    groups = {EVERY: np.ones(len(keys), bool)}
    groups |= {name: moved.corruptions == name for name in dict.fromkeys(moved.corruptions)}
    known = np.isfinite(moved.values)
    known &= known.sum(-1, keepdims=True) > 2
    parts = {}
    for kind, held in ((PER_IMAGE, None), (PER_IMAGE_PARTIAL, away)):
        a, b = _standard(moved.values, known, held), _standard(fell, known, held)
        vary = np.asarray(a.any(-1) & b.any(-1))
        # Exchanged are drops of all images, whether or not their map is usable: see `exchange_p`.
        every = _standard(fell, np.ones_like(known[0]), held)
        sums = exchanged(np.where(vary[..., None], a, 0), every, orders)
        p = np.stack([exchange_p(sums[:, use].sum(1)) for use in groups.values()], 1)
        parts[kind] = a, b, vary, p

    def of_map(m: int) -> list[tuple]:
        rows = []
        for kind, (a, b, vary, p) in parts.items():
            samples = _correlations(a[m], b[m], known[m], w)
            for (name, use), q in zip(groups.items(), p[m], strict=True):
                use = use & vary[m]
                rows.append((*moved.maps[m], kind, name, *_mean(a[m, use], b[m, use], samples[:, use], q)))
        return rows

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy works on several cores at once
        rows = [row for part in pool.map(of_map, range(len(moved.maps))) for row in part]
    return pd.DataFrame(rows, columns=[*MAP, "kind", "corruption", "value", "low", "high", "p", "conditions"])


def _standard(values: np.ndarray, known: np.ndarray, held: np.ndarray | None) -> np.ndarray:
    """Ranks along the images (..., conditions, images) among the known, mean 0 and length 1; 0 elsewhere.

    Less what the ranks of `held` explain, if that is given. A row that does not vary is 0.
    """
    x = _unit(centred_ranks(np.where(known, values, np.nan)))
    if held is None:
        return x
    r = _unit(centred_ranks(np.where(known, held, np.nan)))
    return _unit(x - (x * r).sum(-1, keepdims=True) * r)


def _unit(x: np.ndarray) -> np.ndarray:
    """Of length 1 along the last axis; 0 if that is nothing but rounding."""
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.divide(x, length, out=np.zeros_like(x), where=length > 1e-6)


def _correlations(a: np.ndarray, b: np.ndarray, known: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Correlations (B, conditions) of the rows of a and b over the known images, for weights (B, images)."""
    rows = np.concatenate([known, a, b, a * b, a * a, b * b]).astype(np.float32)
    total, *sums = np.split(w @ rows.T, 6, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ma, mb, ab, aa, bb = (part / total for part in sums)
        va, vb = aa - ma**2, bb - mb**2
        vary = (va > 1e-5 * aa) & (vb > 1e-5 * bb)  # not so where a resample holds one image again and again
        return np.where(vary, np.clip((ab - ma * mb) / np.sqrt(va * vb), -1, 1), np.nan)


def _mean(
    a: np.ndarray, b: np.ndarray, samples: np.ndarray, p: float
) -> tuple[float, float, float, float, int]:
    """Mean over the conditions, all of which vary: value, low, high, p, how many; NaN if there is none."""
    if not len(a):
        return np.nan, np.nan, np.nan, np.nan, 0
    kept = np.isfinite(samples)
    with np.errstate(invalid="ignore"):
        means = np.nansum(samples, axis=1) / kept.sum(1)
    return float((a * b).sum(1).mean()), *interval(means), float(p), len(a)


def say_per_image(images: pd.DataFrame, *, method: str, layer: str) -> str:
    """In words: in the same condition, does the image whose map moves more lose more margin?

    Args:
        images: from `per_image`, or from `adjust`.
    """
    kinds = rows_of(images, method, layer, "per_image")
    plain, partial = (Finding.of(kinds.loc[k]) for k in (PER_IMAGE, PER_IMAGE_PARTIAL))
    found = plain.verdict(chance=0, small=SMALL["correlation"])
    if found == UNDEFINED:
        return "Image by image there is nothing to correlate: no usable maps, or nothing that varies."
    told = {
        YES: "under the same corruption, the image whose map moves more loses more margin",
        OPPOSITE: "under the same corruption, the image whose map moves more loses less margin",
        NO: "image by image, drift and loss of margin are not linked to any extent that matters",
        OPEN: "image by image, no link between drift and loss of margin is shown",
    }[found]
    if found in (YES, OPPOSITE):
        beyond = partial.verdict(chance=0, small=SMALL["correlation"]) == found
        told += (
            "; this goes beyond what the RMSE of the picture tells anyway"
            if beyond
            else "; that this goes beyond what the RMSE of the picture tells anyway is not shown"
        )
    return (
        f"Within a condition, the rank correlation over images is {plain};\n"
        f"less what the pixels' own RMSE explains, {partial}.\nSo {told}."
    )
