"""What chance alone would give: images, or whole corruptions, that change places (Phipson & Smyth 2010)."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd


def image_orders(group: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Orders of the images, the first as they are, then random ones: (1 + count, images).

    Only images of the same group change places, those that the network predicts alike when clean: see
    `medrob.analysis.detection`.
    """
    rng = np.random.default_rng(seed)
    orders = np.tile(np.arange(len(group)), (1 + count, 1))
    for k in np.unique(group):
        at = np.flatnonzero(group == k)
        orders[1:, at] = rng.permuted(orders[1:, at], axis=1)
    return orders


def corruption_orders(conditions: pd.MultiIndex, count: int, seed: int) -> np.ndarray:
    """Orders (orders, conditions) that exchange whole corruptions; all of them, if there are at most `count`.

    The five severities of one corruption are not five independent cases: they move together. Where the
    corruptions do not have the same severities, conditions of one severity change places instead.
    """
    rng = np.random.default_rng(seed)
    grid = pd.Series(np.arange(len(conditions)), index=conditions).unstack("severity")
    if grid.isna().to_numpy().any():
        group = np.unique(conditions.get_level_values("severity"), return_inverse=True)[1]
        places = np.argsort(group, kind="stable")
        draws = [places, *(np.lexsort((rng.random(len(group)), group)) for _ in range(count))]
        orders = np.empty((len(draws), len(group)), np.int64)
        orders[:, places] = draws
        return orders
    places = grid.to_numpy(np.int64)
    corruptions = len(places)
    if math.factorial(corruptions) <= count:
        changes = np.array(list(itertools.permutations(range(corruptions))))
    else:
        changes = np.array([np.arange(corruptions), *(rng.permutation(corruptions) for _ in range(count))])
    orders = np.empty((len(changes), len(conditions)), np.int64)
    orders[:, places.ravel()] = places[changes].reshape(len(changes), -1)
    return orders


def exchanged(a: np.ndarray, b: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """Sums over the images of a b in each condition, when whole images of b change places.

    Args:
        a: (maps, conditions, images), 0 in the mean over the images of a group.
        b: (conditions, images), of any mean.
        orders: from `image_orders`.

    Returns:
        (maps, conditions, orders).
    """
    return np.stack([part @ row[orders].T for part, row in zip(a.swapaxes(0, 1), b, strict=True)], 1)


def exchange_p(sums: np.ndarray) -> np.ndarray:
    """Two-sided p of the first of the sums (..., orders), beside the others: (...); NaN without others.

    All conditions of an image stay together, as they depend on each other: give sums over the conditions.
    The sum itself is compared, no ratio, so that the test is exact also where `a` of `exchanged` is 0 for
    want of a map.
    """
    if sums.shape[-1] < 2:
        return np.full(sums.shape[:-1], np.nan)
    size = np.abs(sums)
    near = 1e-9 * size.max(-1, keepdims=True)  # rounding
    return (size >= size[..., :1] - near).mean(-1)
