"""How well a signal finds failures, against scikit-learn and by hand."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from worlds import HEAD

from medrob import analysis
from medrob.analysis import Evidence
from medrob.analysis.evidence import doubts
from medrob.analysis.statistics import (
    auroc_interval,
    detect,
    precision_interval,
    random_precision,
    roc_within,
)
from medrob.analysis.warning import COVERAGES, logistic


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


def test_the_area_below_the_curve_is_the_auroc():
    signal, happened, weights, group = strata()
    curves = roc_within(signal, happened, weights, group, np.linspace(0, 1, 20001))
    area = np.trapezoid(curves, np.linspace(0, 1, 20001), axis=1)
    assert area == pytest.approx(detect(signal, happened, weights, group)[0], abs=2e-3)
    assert (curves[:, -1] == pytest.approx(1)) and (np.diff(curves, axis=1) >= -1e-9).all()


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
    assert logistic(x, y, stratum) == pytest.approx(expected, abs=1e-4)
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


# Setting pictures aside


def four(drift=(0.1, 0.2, 0.3, 0.4), wrong=(0, 0, 1, 1)):
    """Four images under one corruption, of which some are wrong, with the drift given."""
    known = pd.DataFrame({"image": range(4), "corruption": "fog", "severity": 1, "label": 0})
    predicted = np.array(wrong)
    p = np.where(predicted, 0.3, 0.7) - np.arange(4) / 100
    clean = known.assign(corruption="clean", severity=0, predicted=0, p_a=0.9, p_b=0.1)
    predictions = pd.concat([clean, known.assign(predicted=predicted, p_a=p, p_b=1 - p)], ignore_index=True)
    moved = known.assign(**HEAD, preserved=predicted == 0, degenerate=np.isnan(drift), rmse=drift)
    return predictions, moved, known.assign(rmse=[1.0, 2.0, 3.0, 4.0])


def test_risk_and_its_area_by_hand():
    curve, areas = analysis.risk(Evidence(*four(), resamples=20))
    drift = curve[curve["signal"] == "drift"].set_index("coverage")["risk"]
    assert list(drift.index) == pytest.approx(list(COVERAGES))
    assert drift.loc[[0.25, 0.5, 0.75, 1.0]].tolist() == pytest.approx([0, 0, 1 / 3, 1 / 2])
    areas = areas.set_index("signal")
    assert areas.loc["drift", "area"] == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert areas.loc["best possible", "area"] == areas.loc["drift", "area"]
    assert areas.loc["drift", "wrong"] == 0.5 and areas.loc["drift", "cases"] == 4
    worst = analysis.risk(Evidence(*four(drift=(0.4, 0.3, 0.2, 0.1)), resamples=20))[1].set_index("signal")
    assert worst.loc["drift", "area"] == pytest.approx((1 + 1 + 2 / 3 + 1 / 2) / 4)
    flat = analysis.risk(Evidence(*four(drift=(0.2, 0.2, 0.2, 0.2)), resamples=20))[1].set_index("signal")
    assert flat.loc["drift", "area"] == pytest.approx(0.5)  # ties come evenly


def test_pictures_without_a_map_are_left_out_for_every_signal():
    _, areas = analysis.risk(Evidence(*four(drift=(0.1, 0.2, 0.3, np.nan)), resamples=20))
    assert (areas["cases"] == 3).all() and areas["wrong"].tolist() == pytest.approx([1 / 3] * len(areas))
