import contextlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medmnist.evaluator import getACC, getAUC
from sklearn import metrics as sk

from medrob import evaluation
from medrob.corruptions import CLEAN
from medrob.evaluation import interval, metrics, resampled, score, share_interval
from medrob.evaluation.metrics import drop_interval

# MedMNIST's names of the tasks.
THEIRS = {
    "binary": "binary-class",
    "multiclass": "multi-class",
    "ordinal": "ordinal-regression",
    "multilabel": "multi-label, binary-class",
}


def case(task, count=80, seed=0, digits=8):
    """Probabilities that know something, and labels with every class in them."""
    rng = np.random.default_rng(seed)
    k = 2 if task == "binary" else 4
    if task == "multilabel":
        y = rng.integers(0, 2, (count, k))
        p = 1 / (1 + np.exp(-(y + rng.normal(0, 1.5, (count, k)))))
    else:
        y = rng.permutation(np.arange(count) % k)
        p = np.exp(rng.normal(0, 1, (count, k)) + np.eye(k)[y])
        p /= p.sum(1, keepdims=True)
    return np.round(p, digits), y


def table(task, conditions=(CLEAN, ("contrast", 1), ("contrast", 5)), count=60):
    """Predictions as `predict_conditions` gives them, worse with every condition."""
    frames = []
    for i, (corruption, severity) in enumerate(conditions):
        p, y = case(task, count, seed=0)
        noise = case(task, count, seed=i)[0]
        p = p * (1 - i / 4) + noise * i / 4
        names = [f"c{k}" for k in range(p.shape[1])]
        truth = {f"label_{n}": t for n, t in zip(names, y.T, strict=True)} if y.ndim == 2 else {"label": y}
        known = {"image": np.arange(count), "corruption": corruption, "severity": severity} | truth
        shares = {f"p_{n}": q for n, q in zip(names, p.T, strict=True)}
        frames.append(pd.DataFrame(known | {"predicted": p.argmax(1)} | shares))
    return pd.concat(frames, ignore_index=True)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_auc_is_scikit_learns(data):
    n = data.draw(st.integers(2, 30))
    scores = np.array(data.draw(st.lists(st.integers(0, 5), min_size=n, max_size=n))) / 5  # many ties
    truth = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    truth[:2] = True, False
    weights = np.array(data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)), float)
    weights[:2] += 0.5
    ours = evaluation.auc(scores, truth, np.stack([np.ones(n), weights]))
    assert ours[0] == pytest.approx(sk.roc_auc_score(truth, scores))
    assert ours[1] == pytest.approx(sk.roc_auc_score(truth, scores, sample_weight=weights))


def test_auc_by_hand():
    # Pairs (positive, negative): .8 > .3, .8 > .5, .5 > .3, .5 = .5 counts half: 3.5 of 4.
    truth, scores = np.array([1, 0, 1, 0], bool), np.array([0.8, 0.3, 0.5, 0.5])
    assert evaluation.auc(scores, truth, np.ones((1, 4))) == [3.5 / 4]
    assert np.isnan(evaluation.auc(scores, truth, np.array([[1.0, 0, 1, 0]]))).all()


@pytest.mark.parametrize("digits", [8, 1])  # 1: ties everywhere
@pytest.mark.parametrize("task", THEIRS)
def test_metrics_are_medmnists_and_scikit_learns(task, digits):
    p, y = case(task, digits=digits)
    found = metrics(p, y, task)
    assert found["auc"] == pytest.approx(getAUC(y, p, THEIRS[task]))
    assert found["accuracy"] == pytest.approx(getACC(y, p, THEIRS[task]))
    if task == "multilabel":
        guess, hot = p > 0.5, y.astype(bool)
        balanced = np.mean([sk.balanced_accuracy_score(t, g) for t, g in zip(hot.T, guess.T, strict=True)])
        nll = np.mean([sk.log_loss(t, q) for t, q in zip(hot.T, np.clip(p, 1e-12, 1).T, strict=True)])
    else:
        guess, hot = p.argmax(1), np.eye(p.shape[1])[y]
        balanced = sk.balanced_accuracy_score(y, guess)
        nll = -np.log(np.clip(p[np.arange(len(p)), y], 1e-12, 1)).mean()
    assert found["balanced_accuracy"] == pytest.approx(balanced)
    assert found["f1"] == pytest.approx(sk.f1_score(y, guess, average="macro"))
    assert found["brier"] == pytest.approx(((p - hot) ** 2).sum(1).mean())
    if digits == 8:
        assert found["nll"] == pytest.approx(nll)


def test_calibration_by_hand():
    # Confidences .9 and .92 fall into bin 14 of 15 (.867-.933): one right, one wrong: |.5 - .91|.
    # .6 falls into bin 9 (.533-.6], right: |1 - .6|. Weights 2/3 and 1/3.
    p = np.array([[0.9, 0.1], [0.08, 0.92], [0.6, 0.4]])
    y = np.array([0, 0, 0])
    with pytest.warns(UserWarning):
        found = metrics(p, y, "binary")
    assert found["ece"] == pytest.approx(2 / 3 * 0.41 + 1 / 3 * 0.4)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["nll"] == pytest.approx(-np.log([0.9, 0.08, 0.6]).mean())
    assert found["brier"] == pytest.approx(2 * np.mean([0.1**2, 0.92**2, 0.4**2]))


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "binary"])
def test_absent_class_is_nan_and_named(task):
    p, y = case(task)
    if task == "multilabel":
        y[:, 1] = 0
    else:
        p, y = p[y != 1], y[y != 1]
    with pytest.warns(UserWarning, match=r"class (0, )?1: no image has it, or every image has it; its AUC"):
        found = metrics(p, y, task)
    assert np.isnan(found["auc"]) and np.isnan(found["balanced_accuracy"])
    assert np.isfinite([found[m] for m in ("accuracy", "ece", "brier", "nll")]).all()


def test_a_class_without_images_is_named_in_the_table():
    predictions = table("multiclass", [CLEAN])
    with pytest.warns(UserWarning, match="class c2: no image has it"):
        rows = score(predictions[predictions["label"] != 2], "multiclass", resamples=0)
    assert rows.query("`class` == 'c2' and metric == 'auc'")["value"].isna().all()
    assert rows[["low", "high", "drop_low", "drop_high"]].isna().all(axis=None)  # no resamples


@pytest.mark.parametrize(("n", "resamples", "seed"), [(1, 3, 0), (40, 20, 5), (50, 4000, 0)])
def test_bootstrap_weights(n, resamples, seed):
    w = resampled(n, resamples, seed)
    assert w.shape == (1 + resamples, n) and (w[0] == 1).all() and (w.sum(1) == n).all()
    assert (w >= 0).all() and (w == w.round()).all() and (w == resampled(n, resamples, seed)).all()
    if resamples == 4000:
        assert w[1:].var() == pytest.approx(1 - 1 / n, rel=0.02)  # multinomial


def test_interval():
    assert interval(np.arange(1001.0)) == pytest.approx((25, 975))
    assert interval(np.array([np.nan, 2.0, np.inf])) == (2, 2)
    assert np.isnan(interval(np.array([np.nan]))).all() and np.isnan(interval(np.array([]))).all()


@settings(deadline=None, max_examples=20)
@given(st.lists(st.one_of(st.floats(0, 1), st.just(np.nan)), min_size=1, max_size=9))
def test_a_mean_lies_in_its_interval_and_that_of_few_has_none(values):
    known = np.isfinite(values)
    images = pd.DataFrame(index=range(len(values)))
    value, low, high = evaluation.means_with_intervals(np.array(values)[:, None], images)[:, 0]
    assert not known.any() or value == pytest.approx(np.mean(np.array(values)[known]))
    assert np.isnan([low, high]).all() if known.sum() < 5 else low - 1e-6 <= value <= high + 1e-6


@pytest.mark.parametrize("task", THEIRS)
def test_every_score_of_a_class(task):
    """One-vs-rest of scikit-learn; the terms of a class make up the score of all."""
    predictions, several = table(task, [CLEAN]), task == "multilabel"
    found = score(predictions, task, resamples=0).set_index(["class", "metric"])["value"]
    p = predictions.filter(regex="^p_").to_numpy()
    names, each = [f"c{k}" for k in range(p.shape[1])], np.arange(p.shape[1])
    labels = predictions.filter(regex="^label").to_numpy()
    hot, guess = (labels == 1, p > 0.5) if several else (labels == each, p.argmax(1)[:, None] == each)
    for name, y, g, q in zip(names, hot.T, guess.T, p.T, strict=True):
        expected = dict(auc=sk.roc_auc_score(y, q), f1=sk.f1_score(y, g), brier=sk.brier_score_loss(y, q))
        expected["balanced_accuracy"] = sk.balanced_accuracy_score(y, g)
        expected["accuracy"] = (y == g if several else g[y]).mean()
        expected["nll"] = sk.log_loss(y, q) if several else -np.log(q[y]).mean()
        if several:
            q, y = np.maximum(q, 1 - q), y == g
        bins = np.minimum((q * 15).astype(int), 14)
        gaps = [abs((y[bins == b] - q[bins == b]).sum()) for b in range(15)]
        assert found[name, "ece"] == pytest.approx(sum(gaps) / len(q), abs=1e-4)
        assert found[name].drop("ece").to_dict() == pytest.approx(expected, abs=1e-5)
    classes = found[names].unstack("metric")
    share = np.full(len(names), 1 / len(names)) if several else hot.mean(0)
    whole = [classes["f1"].mean(), classes["brier"].sum(), classes.loc[names, "nll"] @ share]
    assert whole == pytest.approx(found["all"][["f1", "brier", "nll"]].tolist(), abs=1e-5)


def test_intervals_cover_and_pair():
    found = score(table("multiclass"), "multiclass", resamples=400)
    calibration = found[found["metric"] == "ece"]
    assert calibration[["low", "high", "drop_low", "drop_high"]].isna().all(axis=None)
    found = found[found["metric"] != "ece"]
    assert found.notna().all(axis=None)
    assert list(found["corruption"].unique()) == ["clean", "contrast"]  # clean first
    assert (found["low"] <= found["high"]).all() and (found["drop_low"] <= found["drop_high"]).all()
    scores = found[found["metric"].isin(["auc", "accuracy", "brier", "nll"])]  # the unbiased ones
    assert scores["value"].between(scores["low"], scores["high"]).all()
    clean = found[found["corruption"] == "clean"]
    assert (clean[["drop", "drop_low", "drop_high"]] == 0).all(axis=None)
    value = clean.set_index(["class", "metric"])["value"]
    keys = pd.MultiIndex.from_frame(found[["class", "metric"]])
    assert found["drop"].to_numpy() == pytest.approx(value[keys].to_numpy() - found["value"].to_numpy())


def test_bootstrap_is_the_naive_paired_one():
    predictions, resamples = table("binary", count=60), 30
    found = score(predictions, "binary", resamples=resamples)
    row = found.query("severity == 5 and `class` == 'all' and metric == 'auc'").iloc[0]
    clean = predictions[predictions["corruption"] == "clean"]
    worse = predictions[(predictions["corruption"] == "contrast") & (predictions["severity"] == 5)]
    values, drops = [], []
    for w in resampled(60, resamples)[1:].astype(int):
        chosen = np.repeat(np.arange(60), w)
        a, b = (sk.roc_auc_score(t["label"].iloc[chosen], t["p_c1"].iloc[chosen]) for t in (clean, worse))
        values.append(b)
        drops.append(a - b)
    for columns, drawn in ((["low", "high"], values), (["drop_low", "drop_high"], drops)):
        np.testing.assert_allclose(row[columns].tolist(), np.quantile(drawn, [0.025, 0.975]), atol=1e-5)


def test_groups_are_drawn_whole_so_that_repeated_images_add_nothing():
    """Four copies of each image, of one group, have the scores and the intervals of one."""
    one = table("multiclass")
    four = pd.concat([one.assign(group=one["image"], image=4 * one["image"] + k) for k in range(4)])
    at = evaluation.thresholds(*case("multiclass", 60), ("c0", "c1", "c2", "c3"))
    for judge in (
        lambda t: score(t, "multiclass", resamples=50),
        lambda t: evaluation.corruption_errors(t.sort_values("image", kind="stable"), resamples=50),
        lambda t: evaluation.operating_points(t, at, resamples=50),
    ):
        found, expected = (judge(t).select_dtypes("number") for t in (four, one))
        wilson = expected.get("value", pd.Series(0)).isin([0, 1])  # which counts images
        pd.testing.assert_frame_equal(found[~wilson], expected[~wilson], rtol=1e-6)


def test_an_accuracy_of_none_or_all_has_wilsons_interval():
    truth = np.repeat([0, 1], 10)
    found = pd.DataFrame(dict(image=range(20), corruption="clean", severity=0, label=truth, predicted=0))
    found = found.assign(p_a=0.9 - truth / 100, p_b=0.1 + truth / 100)
    rows = score(found, "binary", resamples=50).query("metric == 'accuracy'").set_index("class")
    end = 1.959964**2 / (10 + 1.959964**2)  # 0 of 10 (Wilson 1927)
    assert rows.loc["b", ["low", "high"]].tolist() == pytest.approx([0, end], abs=1e-6)
    assert rows.loc["a", ["low", "high"]].tolist() == pytest.approx([1 - end, 1], abs=1e-6)


def test_few_units_widen_what_resamples_say_of_a_share():
    weights, hit = resampled(20, 4000) / 20, np.arange(20) < 12
    assert share_interval(weights @ hit, 20) == pytest.approx((0.374, 0.790), abs=0.01)  # as Wilson's
    halves = drop_interval(weights @ (1.0 * hit - 0.5), 20)
    assert halves == pytest.approx((0.1 - 0.235, 0.1 + 0.235), abs=0.01)  # the t interval of a mean
    many = share_interval(weights @ hit, 20, 100), drop_interval(weights @ hit, 20, 100)
    assert set(many) == {interval((weights @ hit)[1:])}
    none = drop_interval(np.zeros(9), 10)  # of 12 cases one falls, one rises, ten stay
    assert none == pytest.approx(np.array([-1, 1]) * 2.2622 * (2 / 12 / 12) ** 0.5, abs=1e-4)
    assert np.isnan([share_interval(hit[:1], 20), drop_interval(hit[:1] * 1.0, 20)]).all()


def test_reliability_by_hand():
    p = np.array([0.95, 0.91, 0.4, 0.3, *[0.04] * 12])
    predictions = pd.DataFrame(dict(image=range(16), p_a=p, p_b=1 - p, predicted=(p < 0.5).astype(int)))
    predictions = predictions.assign(label=[0, *[1] * 15], severity=0, corruption="clean")
    found = evaluation.reliability(predictions).sort_values("confidence")
    assert found["confidence"].tolist() == pytest.approx([0.6, 0.7, (0.95 + 0.91 + 12 * 0.96) / 14])
    assert found["accuracy"].tolist() == pytest.approx([1, 1, 13 / 14]) and found["images"].tolist() == [
        1,
        1,
        14,
    ]
    assert found["low"].notna().tolist() == [False, False, True]  # of one image there is no interval
    z = 1.959964  # Wilson's interval of 14 out of 14
    all_right = predictions.assign(label=predictions["predicted"])
    row = evaluation.reliability(all_right).sort_values("confidence").iloc[-1]
    assert (row["low"], row["high"]) == pytest.approx((14 / (14 + z**2), 1))


def test_images_of_one_patient_are_one_case_of_a_bin():
    p = np.tile([0.96, 0.97], 30)
    predictions = pd.DataFrame(dict(image=range(60), p_a=p, p_b=1 - p, predicted=0, label=np.arange(60) < 20))
    predictions = predictions.assign(label=predictions["label"].astype(int), severity=0, corruption="clean")
    alone = evaluation.reliability(predictions).iloc[0]
    together = evaluation.reliability(predictions.assign(group=np.arange(60) // 10)).iloc[0]
    assert together["high"] - together["low"] > 2 * (alone["high"] - alone["low"])


@pytest.mark.parametrize(("each", "judged"), [(1, False), (4, False), (5, True)])
def test_of_too_few_images_of_a_class_there_is_no_interval(each, judged):
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], each)
    p = rng.dirichlet(np.ones(3), len(label))
    clean = pd.DataFrame({"image": range(len(label)), "corruption": "clean", "severity": 0, "label": label})
    clean = clean.assign(predicted=p.argmax(1), **{f"p_{k}": p[:, k] for k in range(3)})
    expected = contextlib.nullcontext() if judged else pytest.warns(UserWarning, match="fewer than 5 images")
    with expected:
        rows = score(clean, "multiclass", resamples=50)
    assert rows["value"].notna().all()
    rows = rows[rows["metric"] != "ece"]
    assert (rows["low"].notna() == judged).all() and (rows["drop_high"].notna() == judged).all()


def test_operating_points_by_hand():
    # Validation: the threshold .6 finds both of class b and leaves two of three others alone (J = 2/3).
    known = np.array([0.1, 0.2, 0.7, 0.6, 0.9])
    known = np.stack([1 - known, known], 1)
    at = evaluation.thresholds(known, np.array([0, 0, 0, 1, 1]), ("a", "b"))
    assert at["b"] == pytest.approx(0.6)
    p = {
        CLEAN: [0.1, 0.5, 0.59, 0.3, 0.2, 0.9, 0.8, 0.7, 0.6, 0.61],
        ("fog", 5): [0.9] * 5 + [0.7] * 4 + [0.5],
    }
    frames = [
        pd.DataFrame({"image": range(10), "label": [0] * 5 + [1] * 5, "predicted": 0, "p_a": 1 - q, "p_b": q})
        .assign(corruption=name, severity=severity)
        for (name, severity), q in ((key, np.array(q)) for key, q in p.items())
    ]  # fmt: skip
    points = evaluation.operating_points(pd.concat(frames), {"b": at["b"]}, resamples=200)
    points = points.set_index(["corruption", "metric"])
    assert points.loc["clean", "drop_high"].tolist() == [0, 0]
    assert points["value"].tolist() == [1, 1, 0.8, 0]
    assert points.loc[("fog", "sensitivity"), "drop"] == pytest.approx(0.2)
    low, high = points.loc[("fog", "specificity"), ["low", "high"]]  # Wilson's interval of 0 of 5
    assert low == pytest.approx(0, abs=1e-12) and high == pytest.approx(3.8416 / (5 + 3.8416), abs=1e-3)
    few = evaluation.operating_points(pd.concat(frames).query("image < 9"), at, resamples=200)
    assert few.query("metric == 'sensitivity' and `class` == 'b'")["low"].isna().all()  # of four images


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_operating_points_of_each_class_are_scikit_learns(task):
    p, y = case(task)
    names = ("c0", "c1", "c2", "c3")
    at = evaluation.thresholds(p, y, names)
    points = evaluation.operating_points(table(task), at, resamples=0).query("corruption == 'clean'")
    q, truth = case(task, 60)
    for k, name in enumerate(names):
        has = truth[:, k] if truth.ndim == 2 else truth == k
        alarm = q[:, k].astype(np.float32) >= np.float32(at[name])
        values = points[points["class"] == name].set_index("metric")["value"]
        assert values["sensitivity"] == pytest.approx(sk.recall_score(has, alarm))
        assert values["specificity"] == pytest.approx(sk.recall_score(has, alarm, pos_label=0))


def test_no_operating_point_without_skill_or_class():
    even = np.full((6, 2), 0.5)
    assert evaluation.thresholds(even, np.array([0, 0, 0, 1, 1, 1]), ("a", "b")) == {}
    assert evaluation.thresholds(even, np.zeros(6, int), ("a", "b")) == {}
    with pytest.raises(ValueError, match="positive='x' is not a class; give one of a, b"):
        evaluation.alarm_class("x", ("a", "b"))
