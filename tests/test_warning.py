"""How well a signal finds failures, against scikit-learn and by hand."""

from itertools import combinations, product

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from medrob.analysis.evidence import doubts
from medrob.analysis.statistics import (
    auroc_interval,
    detect,
    flipped,
    precision_interval,
    random_precision,
    two_sided,
)
from medrob.analysis.warning import logistic


def strata(seed=0, digits=8):
    """Three conditions of 40 images of two classes: signals with gaps, events, weights of three resamples."""
    rng = np.random.default_rng(seed)
    happened = rng.random((3, 40)) < [[0.2], [0.5], [0.7]]
    signal = np.round(rng.normal(size=(3, 40)) + happened, digits)
    signal[0, :4] = np.nan
    weights = np.concatenate([np.ones((40, 1)), rng.integers(0, 3, (40, 2))], 1)
    return signal, happened, weights.astype(np.float32), np.arange(40) % 2


def each(signal, happened, group):
    """The values and events of every stratum, and which images they are."""
    for s, e in zip(signal, happened, strict=True):
        for k in np.unique(group):
            known = np.flatnonzero(np.isfinite(s) & (group == k))
            yield s[known], e[known], known


@pytest.mark.parametrize("digits", [8, 0])  # 0: ties
def test_detection_is_scikit_learns_within_strata_and_in_every_resample(digits):
    signal, happened, weights, group = strata(digits=digits)
    auroc, precision = detect(signal, happened, weights, group)
    for b in range(3):
        areas, precisions, pairs, events = [], [], [], []
        for s, e, known in each(signal, happened, group):
            w = weights[known, b]
            areas.append(roc_auc_score(e, s, sample_weight=w))
            precisions.append(average_precision_score(e, s, sample_weight=w))
            pairs.append(w[e].sum() * w[~e].sum())
            events.append(w[e].sum())
        assert auroc[b] == pytest.approx(np.average(areas, weights=pairs), abs=1e-6)
        assert precision[b] == pytest.approx(np.average(precisions, weights=events), abs=1e-6)


@pytest.mark.parametrize(("n", "events"), [(2, 1), (5, 2), (6, 5), (6, 1)])
def test_the_chance_of_precision_is_the_mean_over_all_orders(n, events):
    orders = [np.isin(range(n), at) for at in combinations(range(n), events)]
    found = [average_precision_score(order, np.arange(n)[::-1]) for order in orders]
    one = np.zeros(n, int)
    assert random_precision(np.arange(n)[None], orders[0][None], one) == pytest.approx(np.mean(found))


def test_the_interval_of_precision_is_about_its_value():
    samples = np.r_[0.5, np.linspace(0.6, 0.8, 101)]
    assert precision_interval(samples) == pytest.approx((0.405, 0.595))


def test_a_perfect_auroc_is_as_sure_as_the_smaller_group_is_large():
    same = np.ones(100)
    assert auroc_interval(same, 4, 40) == pytest.approx((0.510, 1), abs=1e-3)  # Wilson, 4 of 4
    assert auroc_interval(0 * same, 40, 10) == pytest.approx((0, 0.278), abs=1e-3)
    spread = np.r_[0.8, np.linspace(0.6, 1, 101)]
    assert auroc_interval(spread, 4, 40) == pytest.approx((0.61, 0.99))


def test_nothing_to_detect_is_nan():
    signal, happened, weights, group = strata()
    alone = np.broadcast_to(group == 0, happened.shape)  # all images of one class: nothing within a class
    for events in (np.zeros_like(happened), np.ones_like(happened), alone):
        assert np.isnan(detect(signal, events, weights, group)).all()


def test_the_logistic_model_with_a_level_a_stratum_is_scikit_learns_with_dummies():
    rng = np.random.default_rng(2)
    stratum = rng.integers(0, 6, 300)
    x = rng.normal(size=(300, 3)) + stratum[:, None] / 3
    y = rng.random(300) < 1 / (1 + np.exp(-(x @ [1, -0.5, 0] + stratum - 4)))
    y[stratum == 5] = True  # says nothing about the slopes
    kept = stratum < 5
    # Dummies a thousand times as large are as good as not penalised.
    wide = np.concatenate([x, 1000.0 * np.eye(6)[stratum]], 1)[kept]
    model = LogisticRegression(C=1, fit_intercept=False, solver="newton-cholesky", tol=1e-8, max_iter=500)
    expected = model.fit(wide, y[kept]).coef_[0, :3]
    found = logistic(x, y, stratum)
    assert found.slopes == pytest.approx(expected, abs=1e-4)
    assert found.q[kept] == pytest.approx(model.predict_proba(wide)[:, 1], abs=1e-3)
    assert (found.q[~kept] == 1).all()
    assert logistic(x, stratum > 2, stratum) is None


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
