"""The bootstrap over images: weights for many resamples at once, and intervals."""

from __future__ import annotations

import numpy as np


def bootstrap_weights(n: int, resamples: int, seed: int = 0) -> np.ndarray:
    """How often each of n images stands in each resample: float32 (resamples, n), rows sum to n."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    return np.bincount(rows.ravel(), minlength=n * resamples).reshape(resamples, n).astype(np.float32)


def interval(samples: np.ndarray) -> tuple[float, float]:
    """The central 95 % of samples (percentile bootstrap, Efron 1979); NaN if none is finite."""
    kept = samples[np.isfinite(samples)]
    if not kept.size:
        return float("nan"), float("nan")
    low, high = np.quantile(kept, [0.025, 0.975])
    return float(low), float(high)
