"""How well a signal finds failures, against scikit-learn and by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from medrob import analysis
from medrob.analysis.detection import detect, roc_within
from medrob.analysis.worth import COVERAGES

HEAD = dict(method="gradcam", layer="deep")


def strata(seed=0, digits=8):
    """Three strata of 40 images: signals with gaps, events, weights of all images and of two resamples."""
    rng = np.random.default_rng(seed)
    happened = rng.random((3, 40)) < [[0.2], [0.5], [0.7]]
    signal = np.round(rng.normal(size=(3, 40)) + happened, digits)
    signal[0, :4] = np.nan
    weights = np.concatenate([np.ones((40, 1)), rng.integers(0, 3, (40, 2))], 1)
    return signal, happened, weights.astype(np.float32)


@pytest.mark.parametrize("digits", [8, 0])  # 0: ties
def test_detection_is_scikit_learns_within_strata_and_in_every_resample(digits):
    signal, happened, weights = strata(digits=digits)
    auroc, precision, chance = detect(signal, happened, weights)
    for b in range(3):
        areas, precisions, pairs, events = [], [], [], []
        for s, e in zip(signal, happened, strict=True):
            known = np.isfinite(s)
            w = weights[known, b]
            areas.append(roc_auc_score(e[known], s[known], sample_weight=w))
            precisions.append(average_precision_score(e[known], s[known], sample_weight=w))
            pairs.append(w[e[known]].sum() * w[~e[known]].sum())
            events.append(w[e[known]].sum())
        assert auroc[b] == pytest.approx(np.average(areas, weights=pairs), abs=1e-6)
        assert precision[b] == pytest.approx(np.average(precisions, weights=events), abs=1e-6)
    shares = [e[np.isfinite(s)].mean() for s, e in zip(signal, happened, strict=True)]
    counts = [e[np.isfinite(s)].sum() for s, e in zip(signal, happened, strict=True)]
    assert chance == pytest.approx(np.average(shares, weights=counts))


def test_a_signal_that_knows_nothing_reaches_the_chance_of_precision():
    rng = np.random.default_rng(1)
    happened = rng.random((4, 4000)) < 0.3
    _, precision, chance = detect(rng.normal(size=happened.shape), happened, np.ones((4000, 1), np.float32))
    assert precision[0] == pytest.approx(chance, abs=0.02)


def test_the_area_below_the_curve_is_the_auroc():
    signal, happened, weights = strata()
    curves = roc_within(signal, happened, weights, np.linspace(0, 1, 20001))
    area = np.trapezoid(curves, np.linspace(0, 1, 20001), axis=1)
    assert area == pytest.approx(detect(signal, happened, weights)[0], abs=2e-3)
    assert (curves[:, -1] == pytest.approx(1)) and (np.diff(curves, axis=1) >= -1e-9).all()


def test_nothing_to_detect_is_nan():
    signal, happened, weights = strata()
    for events in (np.zeros_like(happened), np.ones_like(happened)):
        auroc, precision, _ = detect(signal, events, weights)
        assert np.isnan(auroc).all() and np.isnan(precision).all()


# Setting pictures aside


def four(drift=(0.1, 0.2, 0.3, 0.4), wrong=(0, 0, 1, 1)):
    """Four images under one corruption, of which some are wrong, with the drift given."""
    known = pd.DataFrame({"image": range(4), "corruption": "fog", "severity": 1})
    label, predicted = np.zeros(4, int), np.array(wrong)
    p = np.where(predicted, 0.3, 0.7) - np.arange(4) / 100
    predictions = pd.concat(
        [
            known.assign(corruption="clean", severity=0, label=label, predicted=0, p_a=0.9, p_b=0.1),
            known.assign(label=label, predicted=predicted, p_a=p, p_b=1 - p),
        ],
        ignore_index=True,
    )
    moved = known.assign(**HEAD, preserved=predicted == 0, degenerate=np.isnan(drift), rmse=drift)
    return predictions, moved, known.assign(rmse=[1.0, 2.0, 3.0, 4.0])


def test_risk_and_its_area_by_hand():
    options = dict(**HEAD, severity=1, resamples=20)
    curve = analysis.risk_coverage(*four(), **options)
    drift = curve[curve["signal"] == "drift"].set_index("coverage")["risk"]
    assert list(drift.index) == pytest.approx(list(COVERAGES))
    assert drift.loc[[0.25, 0.5, 0.75, 1.0]].tolist() == pytest.approx([0, 0, 1 / 3, 1 / 2])
    areas = analysis.risk_area(*four(), **options).set_index("signal")
    assert areas.loc["drift", "area"] == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert areas.loc["best possible", "area"] == areas.loc["drift", "area"]
    assert areas.loc["drift", "wrong"] == 0.5 and areas.loc["drift", "cases"] == 4
    worst = analysis.risk_area(*four(drift=(0.4, 0.3, 0.2, 0.1)), **options).set_index("signal")
    assert worst.loc["drift", "area"] == pytest.approx((1 + 1 + 2 / 3 + 1 / 2) / 4)
    flat = analysis.risk_area(*four(drift=(0.2, 0.2, 0.2, 0.2)), **options).set_index("signal")
    assert flat.loc["drift", "area"] == pytest.approx(0.5)  # ties come evenly


def test_pictures_without_a_map_are_left_out_for_every_signal():
    areas = analysis.risk_area(*four(drift=(0.1, 0.2, 0.3, np.nan)), **HEAD, severity=1, resamples=20)
    assert (areas["cases"] == 3).all() and areas["wrong"].tolist() == pytest.approx([1 / 3] * len(areas))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [((0, 0, 0, 0), "no prediction is wrong"), ((1, 1, 1, 1), "every prediction is wrong")],
)
def test_nothing_to_set_aside_is_said(wrong, said):
    areas = analysis.risk_area(*four(wrong=wrong), **HEAD, severity=1, resamples=10)
    assert said in analysis.say_risk(areas)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(method="gradcam", layer="deep", severity=3), "severity=3 is not in the table drift; it has 1"),
        (dict(method="nosuch", layer="deep", severity=1), "it has gradcam at deep"),
    ],
)
def test_what_is_not_there_is_named(options, words):
    for call in (analysis.risk_coverage, analysis.risk_area, analysis.roc):
        with pytest.raises(ValueError, match=words):
            call(*four(), **options)
    with pytest.raises(ValueError, match="layer='x' is not in the table drift; it has deep"):
        analysis.added(*four(), layer="x")
