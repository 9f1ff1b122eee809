"""Does drift add, as a warning, to what is known anyway?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit

from medrob.analysis.detection import detect
from medrob.analysis.evidence import Evidence, once
from medrob.analysis.layout import INPUT, MAP, ends, estimate

FOLDS = 5


@once
def added(evidence: Evidence) -> pd.DataFrame:
    """Does drift add to confidence, entropy, margin and the picture's RMSE? For each method at a layer.

    Two logistic models foretell an event (see `failure`) of images they have not seen, with and without
    drift: five folds, all pictures of an image in the same one. Both hold corruption, severity and the class
    predicted for the clean image fixed: each such stratum has a level of its own. Compared is their AUROC
    within the strata; the interval of the gain resamples images, with the models as they are (it does not
    hold how models of other images would differ). Pictures with a degenerate map are left out of that
    method's rows. The maps are those of the declared layer, and of methods that explain the input.

    Returns:
        event, method, layer, auroc (with drift), low, high, gain (less that without), gain_low, gain_high,
        events, cases. NaN where the events, or the rest, are on so few images that a fold has none of them.
    """
    w, group, moved = evidence.weights, evidence.group, evidence.moved
    fold = np.random.default_rng(evidence.seed).permutation(len(w)) % FOLDS
    usual = np.stack(list(evidence.signals.values()))
    rows = []
    for event, happened in evidence.events.items():
        without: dict[bytes, np.ndarray] = {}  # AUROC without drift, for each choice of pictures

        def auroc(x: np.ndarray, use: np.ndarray, happened: np.ndarray = happened) -> np.ndarray:
            return detect(_foretold(x, happened, use, fold, group), happened[None], w, group)[0][0]

        for key, values in zip(moved.maps, moved.values, strict=True):
            if key[1] not in (evidence.declared["layer"], INPUT):
                continue
            use = np.isfinite(values)
            if (same := use.tobytes()) not in without:
                without[same] = auroc(usual, use)
            found = auroc(np.concatenate([usual, values[None]]), use)
            counts = int(happened[use].sum()), int(use.sum())
            rows.append((event, *key, *estimate(found), *estimate(found - without[same]), *counts))
    columns = ["event", *MAP, "auroc", "low", "high", *ends("gain"), "events", "cases"]
    return pd.DataFrame(rows, columns=columns)


def _foretold(
    x: np.ndarray, happened: np.ndarray, use: np.ndarray, fold: np.ndarray, group: np.ndarray
) -> np.ndarray:
    """Log odds of the event beyond those of the stratum, by a logistic model of the images of other folds.

    Args:
        x: (features, conditions, images). happened, use: bool (conditions, images). fold, group: (images,).

    Returns:
        (conditions, images); NaN outside `use`, and everywhere if no stratum of the other folds holds events
        and the rest.
    """
    found = np.full(use.shape, np.nan)
    if not use.any():
        return found
    kinds, kind = np.unique(group, return_inverse=True)
    stratum = (np.arange(len(use))[:, None] * len(kinds) + kind)[use]
    x, y, fold = x[:, use].T.astype(float), happened[use], np.broadcast_to(fold, use.shape)[use]
    count = np.maximum(np.bincount(stratum, minlength=len(use) * len(kinds)), 1)
    x = x - np.stack([np.bincount(stratum, v, len(count)) / count for v in x.T], 1)[stratum]
    spread = x.std(0)
    x = x / np.where(spread > 1e-12, spread, 1)
    odds = np.empty(len(y))
    for k in np.unique(fold):
        slopes = logistic(x[fold != k], y[fold != k], stratum[fold != k])
        if slopes is None:
            return found
        odds[fold == k] = x[fold == k] @ slopes
    found[use] = odds
    return found


def logistic(x: np.ndarray, y: np.ndarray, stratum: np.ndarray, penalty: float = 1.0) -> np.ndarray | None:
    """Slopes of a logistic model in which every stratum has a level of its own.

    Newton's method for the log likelihood less penalty / 2 times the sum of the squared slopes. The levels,
    which are not penalised, are eliminated from each step, so that their number costs nothing. Strata with
    nothing but events, or none, say nothing about the slopes and are left out.

    Args:
        x: (n, features). y: bool (n,). stratum: int (n,).

    Returns:
        (features,), or None where no stratum holds both.
    """
    total, events = np.bincount(stratum), np.bincount(stratum, y)
    keep = ((events > 0) & (events < total))[stratum]
    if not keep.any():
        return None
    x, y = x[keep], y[keep]
    _, s = np.unique(stratum[keep], return_inverse=True)
    size, share = np.bincount(s), np.bincount(s, y) / np.bincount(s)
    level, slopes = np.log(share / (1 - share)), np.zeros(x.shape[1])

    def loss(level: np.ndarray, slopes: np.ndarray) -> float:
        z = level[s] + x @ slopes
        return float((np.logaddexp(0, z) - y * z).sum() + penalty / 2 * slopes @ slopes)

    now = loss(level, slopes)
    for _ in range(50):
        q = expit(level[s] + x @ slopes)
        v = q * (1 - q)
        down, per = x.T @ (y - q) - penalty * slopes, np.bincount(s, y - q, len(size))
        vx = v[:, None] * x
        cross = np.stack([np.bincount(s, column, len(size)) for column in vx.T], 1)
        levels = np.maximum(np.bincount(s, v, len(size)), 1e-12)
        curve = vx.T @ x + penalty * np.eye(len(slopes)) - cross.T @ (cross / levels[:, None])
        step = np.linalg.solve(curve, down - cross.T @ (per / levels))
        rise = (per - cross @ step) / levels
        size_of_step = 1.0
        while (then := loss(level + size_of_step * rise, slopes + size_of_step * step)) > now + 1e-9:
            size_of_step /= 2
        level, slopes = level + size_of_step * rise, slopes + size_of_step * step
        if now - then < 1e-8 * max(now, 1):
            break
        now = then
    return slopes
