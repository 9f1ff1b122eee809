"""How well a signal finds failures, against scikit-learn and by hand."""

from itertools import product

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medrob.analysis.evidence import doubts
from medrob.analysis.statistics import detect, flipped, two_sided
from medrob.evaluation import share_interval


def strata(seed=0, digits=8):
    """Three conditions of 40 images of two classes: signals, none in the first, and three resamples."""
    rng = np.random.default_rng(seed)
    happened = rng.random((3, 40)) < [[0.2], [0.5], [0.7]]
    signal = np.round(rng.normal(size=(3, 40)) + happened, digits)
    signal[0] = np.nan
    weights = np.concatenate([np.ones((1, 40)), rng.integers(0, 3, (2, 40))])
    return signal, happened, weights.astype(np.float32), np.arange(40) % 2


@pytest.mark.parametrize("digits", [8, 0])  # 0: ties
def test_detection_is_scikit_learns_within_strata_and_in_every_resample(digits):
    signal, happened, weights, group = strata(digits=digits)
    auroc = detect(signal, happened, weights, group)
    for b, w in enumerate(weights):
        areas, pairs = [], []
        for (s, e), k in product(zip(signal, happened, strict=True), np.unique(group)):
            at = group == k
            if np.isfinite(s[at]).all():
                areas.append(roc_auc_score(e[at], s[at], sample_weight=w[at]))
                pairs.append(w[at][e[at]].sum() * w[at][~e[at]].sum())
        assert len(pairs) == 4 and auroc[b] == pytest.approx(np.average(areas, weights=pairs), abs=1e-6)

    alone = np.broadcast_to(group == 0, happened.shape)  # all images of one class: nothing within a class
    for events in (np.zeros_like(happened), np.ones_like(happened), alone):
        assert np.isnan(detect(signal, events, weights, group)).all()


def test_a_perfect_auroc_is_as_sure_as_the_smaller_group_is_large():
    same = np.ones(100)
    assert share_interval(same, 4) == pytest.approx((0.510, 1), abs=1e-3)  # Wilson, 4 of 4
    assert share_interval(0 * same, 10) == pytest.approx((0, 0.278), abs=1e-3)
    spread = np.r_[0.8, np.linspace(0.6, 1, 101)]
    assert share_interval(spread, 4, 100) == pytest.approx((0.61, 0.99))


def test_of_two_classes_confidence_margin_and_entropy_order_alike_though_saved_as_certain():
    rest = np.array([1e-12, 1e-3, 1e-30, 0.3, 1e-9])
    p = np.stack([rest, 1 - rest], -1).astype(np.float32).astype(float)
    assert (p[:, 1] == 1).sum() == 3
    assert [np.argsort(d).tolist() for d in doubts(p, single=True)] == [np.argsort(rest).tolist()] * 3
    p = np.array([[0.6, 0.3, 0.1]])
    low, entropy, margin = doubts(p, single=True)
    assert [low, margin] == [pytest.approx([0.4]), pytest.approx([0.7])]
    assert entropy == pytest.approx(-(p * np.log(p)).sum(1))


def test_units_change_their_sign_together():
    """Of three units with the scores 3, -1 and 1, two of the eight signs give a sum of 5 or -5, two 3."""
    signs = np.array(list(product((1, -1), repeat=3)))
    sums = flipped(np.array([1.0, 2.0, -1.0, 1.0]), np.array([0, 0, 1, 2]), signs)
    assert sorted(np.abs(sums)) == [1, 1, 3, 3, 3, 3, 5, 5] and sums[0] == 3
    assert two_sided(sums) == 6 / 8
