"""The bootstrap over images: weights and AUCs for many resamples at once, and intervals."""

from __future__ import annotations

import numpy as np


def bootstrap_weights(n: int, resamples: int, seed: int = 0) -> np.ndarray:
    """How often each of n images stands in each resample: float32 (resamples, n), rows sum to n."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    return np.bincount(rows.ravel(), minlength=n * resamples).reshape(resamples, n).astype(np.float32)


def value_and_resamples(n: int, resamples: int) -> np.ndarray:
    """float32 (1 + resamples, n): first every image once, for the value itself, then `bootstrap_weights`."""
    return np.concatenate([np.ones((1, n), np.float32), bootstrap_weights(n, resamples)])


def interval(samples: np.ndarray) -> tuple[float, float]:
    """The central 95 % of samples (percentile bootstrap, Efron 1979); NaN if none is finite."""
    kept = samples[np.isfinite(samples)]
    if not kept.size:
        return float("nan"), float("nan")
    low, high = np.quantile(kept, [0.025, 0.975])
    return float(low), float(high)


def auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve for many weightings of the images at once; ties count half.

    Args:
        scores: (N,). positive: bool (N,). weights: (B, N), 0 or more.

    Returns:
        (B,); NaN where the positives or the negatives weigh nothing (Hanley & McNeil 1982, weighted).
    """
    others = np.flatnonzero(~positive)[np.argsort(scores[~positive], kind="stable")]
    low, high = (np.searchsorted(scores[others], scores[positive], side) for side in ("left", "right"))
    up, down = weights[:, positive], np.zeros((len(weights), len(others) + 1), weights.dtype)
    np.cumsum(weights[:, others], axis=1, out=down[:, 1:])
    below = down[:, low] if np.array_equal(low, high) else (down[:, low] + down[:, high]) / 2
    with np.errstate(invalid="ignore"):
        return (up * below).sum(1) / (up.sum(1) * down[:, -1])
