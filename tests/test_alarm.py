import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from worlds import alarm_world

from medrob import analysis, models, trust
from medrob.analysis.alarm import DOUBTS, ENSEMBLE, SIGNALS, TOGETHER, WITH_MAP, _joined, curves, risk
from medrob.data import ImageDataset
from medrob.drift import CHANGES, Explainer, steadiness
from medrob.evaluation import predict
from medrob.saliency import Settings


@pytest.fixture(autouse=True)
def small_forest(monkeypatch):
    """A model of 20 trees in place of 200."""

    def grow(trees, **how):
        return RandomForestClassifier(20, **how)

    monkeypatch.setattr("medrob.analysis.alarm.RandomForestClassifier", grow)


def by_brute_force(signal, wrong):
    """AURC and AUGRC, means over all orders that the signal allows; and AURC of the best order."""
    found = []
    for order in itertools.permutations(range(len(signal))):
        if all(signal[i] <= signal[j] for i, j in itertools.pairwise(order)):
            lost = np.r_[0, np.cumsum(wrong[list(order)])]
            n = np.arange(1, len(signal) + 1)
            found.append(((lost[1:] / n).mean(), np.trapezoid(lost / len(signal), dx=1 / len(signal))))
    best = np.cumsum(np.sort(wrong)) / np.arange(1, len(wrong) + 1)
    return *np.mean(found, axis=0), best.mean()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=5))
def test_curves_are_the_mean_over_all_orders(pairs):
    signal, wrong = np.array([s for s, _ in pairs], float), np.array([e for _, e in pairs])
    found = {name: v[0] for name, v in curves(signal, wrong, np.ones((1, len(signal)))).items()}
    aurc, augrc, best = by_brute_force(signal, wrong.astype(float))
    assert found["aurc"] == pytest.approx(aurc, abs=1e-12)
    assert found["augrc"] == pytest.approx(augrc, abs=1e-12)
    assert found["excess aurc"] == pytest.approx(aurc - best, abs=1e-12)
    if 0 < wrong.sum() < len(wrong):
        assert found["auroc"] == pytest.approx(roc_auc_score(wrong, signal), abs=1e-12)


def test_a_weight_of_two_is_the_picture_twice():
    rng = np.random.default_rng(0)
    signal, wrong, w = rng.integers(0, 6, 20).astype(float), rng.random(20) < 0.4, rng.integers(0, 3, 20)
    weighted = curves(signal, wrong, w[None].astype(float))
    repeated = curves(np.repeat(signal, w), np.repeat(wrong, w), np.ones((1, w.sum())))
    for name, values in weighted.items():
        assert values == pytest.approx(repeated[name])


@pytest.mark.parametrize("images", [6, 30])
def test_of_few_errors_no_alarm_has_an_interval(images):
    found = analysis.alarms(*alarm_world(images), resamples=50).query("pictures != 'all'")
    enough = (found["errors"] >= 5) & (found["cases"] - found["errors"] >= 5)
    assert enough.any() == (images == 30) and found["value"].notna().any()
    for name in ("low", "high", "ahead_low", "ahead_high"):
        assert (found[name].notna() == enough).all()


@pytest.mark.parametrize(("informed", "ahead"), [(3.0, True), (0.0, False)])
def test_an_informed_map_is_found_and_an_ignorant_one_is_not(informed, ahead):
    predictions, alarm = alarm_world(informed=informed)
    found = analysis.alarms(predictions, alarm, [predictions], resamples=100)
    assert set(found["signal"]) == {*SIGNALS.values(), *DOUBTS, ENSEMBLE, TOGETHER, WITH_MAP}
    beside = found.query("metric == 'augrc' and pictures == 'all' and signal != 'unsteady map'")
    assert (beside["ahead_low"] > 0).all() == ahead
    joint = found.query("metric == 'auroc' and signal == @TOGETHER")
    assert len(joint) == 1 and (joint["ahead_low"] > (0.2 if ahead else 0)).all() == ahead
    own = found.query("metric == 'auroc' and signal == 'unsteady map'").set_index("pictures")
    assert (own["value"] == 1).all() == ahead
    assert own.loc["all", "errors"] == own.loc[["clean", "corrupted"], "errors"].sum()


def test_the_map_of_a_control_is_asked_in_its_place():
    predictions, alarm = alarm_world()
    noise = np.random.default_rng(1).random(len(alarm))
    alarm = alarm.assign(**{"map of a": noise, "map of b": 2 * alarm["unsteady"]})
    found = analysis.alarms(predictions, alarm, resamples=100).query("pictures == 'same corruption'")
    rows = found.set_index("signal")
    together = [f"{TOGETHER} and map of {x}" for x in "ab"]
    assert set(rows.filter(like=TOGETHER, axis=0).index) == {TOGETHER, WITH_MAP, *together}
    assert rows.loc[together[0], "ahead_low"] > 0.2
    assert rows.loc[together[1], "ahead"] == pytest.approx(0, abs=0.01)  # the same signal
    assert rows.loc["map of a", "ahead"] > 0.2 and rows.loc["map of b", "ahead"] == 0


def test_the_interval_of_a_risk_is_symmetric_in_its_log():
    samples = np.exp(np.r_[0, np.random.default_rng(0).normal(0, 0.1, 4000)]) / 10
    value, low, high = risk(samples, 10**6)
    assert (value, low * high, high) == pytest.approx((0.1, 0.01, 0.1 * np.exp(0.196)), rel=0.02)
    assert risk(samples, 5)[2] > high and risk(np.array([0.0, 0.1, 0.2]), 30)[1] > 0  # percentiles at 0


def test_what_the_predicted_class_tells_is_not_what_a_map_adds():
    found = 0
    for seed in range(4):
        predictions, alarm = alarm_world(images=150, seed=seed, informed=0.0)
        first, rng = predictions["predicted"] == 1, np.random.default_rng(seed)
        wrong = rng.random(len(first)) < np.where(first, 0.5, 0.1)
        predictions["label"] = np.where(wrong, 1 - predictions["predicted"], predictions["predicted"])
        alarm["unsteady"] = rng.random(len(alarm)) + 0.5 * first
        joint = analysis.alarms(predictions, alarm, resamples=100).query("signal == @TOGETHER")
        found += (joint["ahead_low"] > 0).any()
    assert found <= 1


def test_scores_together_are_judged_on_patients_that_their_model_has_not_seen():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(200), 4)
    signals, wrong = rng.normal(size=(200, 20))[patient], (rng.random(200) < 0.5)[patient]
    odds = _joined(signals, wrong, patient)
    assert abs(roc_auc_score(wrong, odds) - 0.5) < 0.15  # of the same patients it would be 0.99
    odds = _joined(np.c_[signals, wrong], wrong, patient)
    assert roc_auc_score(wrong, odds) > 0.95


def test_ensemble_of_one_network_is_its_confidence_and_a_member_lacks_nothing():
    predictions, alarm = alarm_world(30)
    found = analysis.alarms(predictions, alarm, [predictions], resamples=0).set_index("signal")["value"]
    assert found[ENSEMBLE].to_numpy() == pytest.approx(found["low confidence"].to_numpy())
    with pytest.raises(ValueError, match="lack 30 of the predictions"):
        analysis.alarms(predictions, alarm, [predictions, predictions[predictions["severity"] == 0]])


@pytest.fixture(scope="module")
def network():
    model = models.build("resnet18", width=8, in_channels=1, num_classes=3, seed=0)
    images = np.random.default_rng(0).integers(0, 256, (9, 24, 24, 1), dtype=np.uint8)
    data = ImageDataset(images, np.arange(9) % 3)
    return Explainer(model, ["gradcam"], ["layer3.1"], batch_size=4), data


def test_steadiness_by_hand(network):
    explainer, data = network
    chosen = np.array([2, 5, 7])
    found = steadiness(explainer, data, [], images=chosen, changes=["flip"], training=data.images, seed=0)
    p = predict(explainer.model, data.images[chosen])
    flipped = predict(explainer.model, data.images[chosen][:, :, ::-1].copy())
    assert found["averaged"].to_numpy() == pytest.approx(1 - ((p + flipped) / 2).max(1), abs=1e-6)
    assert found["variance"].to_numpy() == pytest.approx(((p - flipped) ** 2 / 4).sum(1), abs=1e-6)
    assert (found["distance"].abs() < 1e-3).all()  # the pictures are among the training images
    maps = explainer.explain(data.images[chosen], p.argmax(1))["gradcam", "layer3.1"]
    moved = explainer.explain(data.images[chosen][:, :, ::-1].copy(), p.argmax(1))["gradcam", "layer3.1"]

    def scaled(m):
        m = np.maximum(m, 0)
        return (m - m.min((1, 2), keepdims=True)) / np.ptp(m, (1, 2), keepdims=True)

    rmse = np.sqrt(((scaled(maps) - scaled(moved[:, :, ::-1])) ** 2).mean((1, 2)))
    assert found["unsteady"].to_numpy() == pytest.approx(rmse, abs=1e-5)


def test_the_distance_is_the_pictures_own_whatever_passes_the_method_needs(network):
    explainer, data = network
    how = dict(images=np.arange(5), changes=["flip"], training=data.images[5:], seed=0)
    several = replace(explainer, methods=["smoothgradcam++"], settings=Settings(samples=2))
    one, other = (steadiness(e, data, ["contrast"], **how)["distance"] for e in (explainer, several))
    assert other.to_numpy() == pytest.approx(one.to_numpy(), abs=1e-5) and (one > 1e-3).all()


def test_steadiness_does_not_depend_on_batches(network):
    explainer, data = network
    how = dict(images=np.arange(9), changes=list(CHANGES), training=data.images, seed=1)
    one, other = (steadiness(replace(explainer, batch_size=n), data, ["contrast"], **how) for n in (4, 9))
    pd.testing.assert_frame_equal(one, other, rtol=1e-4, atol=1e-5)
    assert (one["unsteady"] > 0).all()


def test_networks_that_have_learnt_nothing_are_asked_for_the_same_rows(network):
    explainer, data = network
    how = dict(images=np.array([2, 5]), changes=["flip"], seed=0)
    found = trust.unsteady(explainer, data, ["contrast"], **how)
    own = steadiness(explainer, data, ["contrast"], training=data.images, **how)["unsteady"]
    assert list(found) == ["map of untrained head", "map of random weights"] and len(found) == len(own)
    assert (found.sub(own, axis=0).abs() > 1e-3).any().all() and found.notna().all(axis=None)
    pd.testing.assert_frame_equal(found, trust.unsteady(explainer, data, ["contrast"], **how))
