"""Corruption errors, temperature scaling, and the numbers of the scores."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from medrob import evaluation
from medrob.evaluation import corruption_errors, fit_temperature, rescaled
from medrob.evaluation.metrics import scale
from medrob.evaluation.scores import ALEXNET


def predictions(right, labels=(0, 0, 0, 1)):
    """{(corruption, severity): which images are right} -> the table of predictions."""
    labels = np.array(labels)
    frames = []
    for (corruption, severity), hits in right.items():
        predicted = np.where(np.array(hits, bool), labels, 1 - labels)
        frame = pd.DataFrame({"image": np.arange(len(labels)), "label": labels, "predicted": predicted})
        frames.append(frame.assign(corruption=corruption, severity=severity))
    return pd.concat(frames, ignore_index=True)


OURS = predictions(
    {
        ("clean", 0): [1, 1, 1, 1],
        ("fog", 1): [1, 1, 1, 0],  # E 1/4, BER 1/2
        ("fog", 2): [0, 0, 1, 0],  # E 3/4, BER (2/3 + 1) / 2 = 5/6
        ("snow", 1): [1, 1, 1, 1],
        ("snow", 2): [0, 1, 1, 1],  # E 1/4, BER 1/6
    }
)
THEIRS = predictions(
    {
        ("clean", 0): [0, 1, 1, 1],  # E 1/4, BER 1/6
        ("fog", 1): [0, 0, 1, 1],  # E 1/2, BER 1/3
        ("fog", 2): [0, 0, 1, 1],
        ("snow", 1): [0, 1, 1, 1],
        ("snow", 2): [0, 1, 1, 1],
    }
)


def values(frame):
    return frame.set_index(["corruption", "metric"])["value"]


def test_errors_beside_another_network_by_hand():
    frame = corruption_errors(OURS, THEIRS, resamples=50)
    found = values(frame)
    assert found["fog", "ce"] == pytest.approx((1 / 4 + 3 / 4) / (1 / 2 + 1 / 2))
    assert found["snow", "ce"] == pytest.approx((0 + 1 / 4) / (1 / 4 + 1 / 4))
    assert found["mean", "ce"] == pytest.approx(0.75)
    assert found["fog", "relative ce"] == pytest.approx((1 / 2 - 0) / (1 / 2 - 1 / 4))
    assert found["fog", "be"] == pytest.approx((1 / 2 + 5 / 6) / 2 / (1 / 3))
    assert found["fog", "rbe"] == pytest.approx((2 / 3 - 0) / (1 / 3 - 1 / 6))
    assert found["snow", "excess"] == pytest.approx(1 / 12)
    # Their snow is as good as their clean: a ratio over nothing is left out, and the mean says so.
    assert np.isnan(found["snow", "rbe"]) and np.isnan(found["snow", "relative ce"])
    why = frame.set_index(["corruption", "metric"])["left_out"]
    assert "denominator 0.000" in why["snow", "rbe"] and why["mean", "rbe"] == "without snow"
    assert found["mean", "rbe"] == pytest.approx(4.0)


def test_a_network_beside_itself_is_one():
    frame = corruption_errors(OURS, OURS, resamples=20)
    ratios = frame[(frame["metric"] != "excess") & frame["value"].notna()]
    np.testing.assert_allclose(ratios["value"], 1)
    finite = ratios.dropna()
    np.testing.assert_allclose(finite[["low", "high"]], 1)


def test_alexnets_figures_are_the_published_ones():
    frame = corruption_errors(OURS, dataset="pneumoniamnist", resamples=20)
    found = values(frame)
    mine = np.mean([2 / 3, 1 / 12])
    assert found["mean", "be"] == pytest.approx(mine / 0.2654)
    assert found["mean", "rbe"] == pytest.approx(mine / (0.2654 - 0.1009))
    assert len(ALEXNET) == 12 and all(0 < clean < mean < 1 for clean, mean in ALEXNET.values())
    unknown = corruption_errors(OURS, dataset="mine", resamples=5)
    assert set(unknown["metric"]) == {"excess"}


def test_balanced_error_is_scikit_learns():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    table = predictions({("clean", 0): rng.random(60) < 0.9, ("fog", 1): rng.random(60) < 0.6}, labels)
    found = values(corruption_errors(table, resamples=10))["fog", "excess"]
    groups = dict(iter(table.groupby("corruption")))
    expected = [balanced_accuracy_score(g["label"], g["predicted"]) for g in (groups["clean"], groups["fog"])]
    assert found == pytest.approx(expected[0] - expected[1])


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_temperature_undoes_logits_that_were_stretched():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(4000, 3))
    labels = np.array([rng.choice(3, p=p) for p in softmax(z)])
    assert fit_temperature(softmax(3 * z), labels, "multiclass") == pytest.approx(3, rel=0.1)
    np.testing.assert_allclose(scale(softmax(3 * z), 3.0, "multiclass"), softmax(z), rtol=1e-6)


def test_temperature_of_two_classes_is_that_of_one_label():
    rng = np.random.default_rng(2)
    p = rng.uniform(0.01, 0.99, 300)
    y = (rng.random(300) < p**2).astype(int)
    binary = fit_temperature(np.stack([1 - p, p], 1), y, "binary")
    label = fit_temperature(np.stack([p, 1 - p], 1), np.stack([y, 1 - y], 1), "multilabel")
    assert binary == pytest.approx(label, rel=1e-3)


def test_rescaled_predictions_keep_everything_but_the_probabilities():
    p = softmax(np.random.default_rng(0).normal(size=(5, 3)))
    table = pd.DataFrame(p, columns=["p_a", "p_b", "p_c"]).assign(image=range(5), predicted=p.argmax(1))
    found = rescaled(table, 2.0, "multiclass")
    np.testing.assert_allclose(found[["p_a", "p_b", "p_c"]], scale(p, 2.0, "multiclass"), rtol=1e-5)
    assert list(found) == list(table) and (found["predicted"] == table["predicted"]).all()


def test_the_numbers_of_the_scores():
    rows = [
        ("clean", 0, "all", metric, 0.9, 0.8, 1.0, *[0.0] * 3) for metric in ("auc", "balanced_accuracy")
    ] + [("fog", 5, "all", "auc", 0.6, 0.5, 0.7, 0.3, 0.2, 0.4)]
    columns = ["corruption", "severity", "class", "metric", "value", "low", "high"]
    scored = pd.DataFrame(rows, columns=[*columns, "drop", "drop_low", "drop_high"])
    errors = corruption_errors(OURS, THEIRS, resamples=5)
    found = evaluation.numbers(scored, errors).set_index("name")
    first = {"clean balanced accuracy": 0.9, "auc fog 5": 0.6, "drop fog 5": 0.3}
    assert found["value"][:3].to_dict() == first
    assert found.loc["drop fog 5", "what"] == "AUC drop under fog, severity 5"
    assert found["value"]["mCE"] == pytest.approx(0.75) and not found.index.duplicated().any()


@pytest.mark.parametrize(
    ("theirs", "match"),
    [
        (THEIRS[THEIRS["corruption"] != "snow"], "other conditions"),
        (THEIRS.assign(label=0), "other conditions, images or labels"),
        (THEIRS.drop(columns="label"), "predictions of the reference lacks label; it has"),
    ],
)
def test_another_run_must_have_the_same_pictures(theirs, match):
    with pytest.raises(ValueError, match=match):
        corruption_errors(OURS, theirs, resamples=5)


def test_a_table_that_is_none_of_predictions_is_named():
    table = OURS.assign(p_no=1.0 - OURS["predicted"], p_yes=OURS["predicted"])
    with pytest.raises(ValueError, match="predictions lacks label; it has"):
        evaluation.score(table.drop(columns="label"), "multilabel", resamples=5)
    with pytest.raises(ValueError, match="p_yes of the table predictions holds nan"):
        evaluation.score(table.assign(p_yes=np.nan), "binary", resamples=5)
