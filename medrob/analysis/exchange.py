"""Chance, by exchanging whole images: what a statistic would be if drift and failure were unrelated."""

from __future__ import annotations

import numpy as np


def exchanges(images: int, count: int, seed: int) -> np.ndarray:
    """Random orders of the images, as places in a flat (images, images) array: (count, images)."""
    rng = np.random.default_rng(seed)
    found = np.empty((count, images), np.int64)
    for row in found:
        row[:] = rng.permutation(images)
    return found * images + np.arange(images)


def exchange_p(a: np.ndarray, b: np.ndarray, places: np.ndarray) -> float:
    """Two-sided p of the sum over conditions and images of a b, when whole images of b change places.

    All conditions of an image stay together, as they depend on each other. The sum itself is compared, no
    ratio, so that the test is exact also where `a` is 0 for want of a map (Phipson & Smyth 2010).

    Args:
        a: (conditions, images), the mean of each row 0. b: likewise, of any mean.
        places: from `exchanges`; none: NaN.
    """
    if not len(places):
        return np.nan
    together = (b.T @ a).astype(np.float32)  # (images, images): image i's b with image j's a
    null = together.ravel()[places].sum(1)
    near = 1e-5 * np.abs(together).max()  # rounding
    return float((1 + (np.abs(null) >= abs(np.trace(together)) - near).sum()) / (1 + len(places)))
