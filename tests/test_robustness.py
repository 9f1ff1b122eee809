"""Corruption errors, and the numbers of the scores."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

from medrob import evaluation
from medrob.evaluation import corruption_errors
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


# E and BER under fog 1/4 and 1/2, 3/4 and (2/3 + 1) / 2 = 5/6; under snow none, and 1/4 and 1/6.
RIGHT = {("fog", 1): [1, 1, 1, 0], ("fog", 2): [0, 0, 1, 0], ("snow", 1): [1] * 4, ("snow", 2): [0, 1, 1, 1]}
OURS = predictions({("clean", 0): [1] * 4, **RIGHT})


def values(frame):
    return frame.set_index(["corruption", "metric"])["value"]


def test_errors_by_hand():
    found = values(corruption_errors(OURS, resamples=50))
    assert found["fog", "error"] == pytest.approx(1 / 2) and found["snow", "error"] == pytest.approx(1 / 8)
    assert found["fog", "balanced error"] == pytest.approx(2 / 3)
    assert found["mean", "balanced error"] == pytest.approx((2 / 3 + 1 / 12) / 2)
    worse = OURS.assign(predicted=OURS["predicted"].where(OURS["image"] > 0, 1))  # image 0 is never right
    found = values(corruption_errors(worse, resamples=50))
    assert found["snow", "excess"] == pytest.approx(0) and found["fog", "excess"] == pytest.approx(7 / 12)


def test_alexnets_figures_are_the_published_ones():
    frame = corruption_errors(OURS, dataset="pneumoniamnist", resamples=20)
    found = values(frame)
    mine = np.mean([2 / 3, 1 / 12])
    assert found["mean", "BE"] == pytest.approx(mine / 0.2654)
    assert found["mean", "rBE"] == pytest.approx(mine / (0.2654 - 0.1009))
    assert len(ALEXNET) == 12 and all(0 < clean < mean < 1 for clean, mean in ALEXNET.values())
    unknown = corruption_errors(OURS, dataset="mine", resamples=5)
    assert set(unknown["metric"]) == {"error", "balanced error", "excess"}


def test_balanced_error_is_scikit_learns():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    table = predictions({("clean", 0): rng.random(60) < 0.9, ("fog", 1): rng.random(60) < 0.6}, labels)
    found = values(corruption_errors(table, resamples=10))["fog", "excess"]
    groups = dict(iter(table.groupby("corruption")))
    expected = [balanced_accuracy_score(g["label"], g["predicted"]) for g in (groups["clean"], groups["fog"])]
    assert found == pytest.approx(expected[0] - expected[1])


def test_the_numbers_of_the_scores():
    rows = [
        ("clean", 0, "all", metric, 0.9, 0.8, 1.0, *[0.0] * 3) for metric in ("auc", "balanced_accuracy")
    ] + [("fog", 5, "all", "auc", 0.6, 0.5, 0.7, 0.3, 0.2, 0.4)]
    columns = ["corruption", "severity", "class", "metric", "value", "low", "high"]
    scored = pd.DataFrame(rows, columns=[*columns, "drop", "drop_low", "drop_high"])
    errors = corruption_errors(OURS, resamples=5)
    found = evaluation.numbers(scored, errors).set_index("name")
    first = {"clean balanced accuracy": 0.9, "auc fog 5": 0.6, "drop fog 5": 0.3}
    assert found["value"][:3].to_dict() == first
    assert found.loc["drop fog 5", "what"] == "AUC drop under fog, severity 5"
    assert found["value"]["mean error"] == pytest.approx(5 / 16) and not found.index.duplicated().any()


def test_a_table_that_is_none_of_predictions_is_named():
    table = OURS.assign(p_no=1.0 - OURS["predicted"], p_yes=OURS["predicted"])
    with pytest.raises(ValueError, match="predictions lacks label; it has"):
        evaluation.score(table.drop(columns="label"), "multilabel", resamples=5)
    with pytest.raises(ValueError, match="p_yes of the table predictions holds nan"):
        evaluation.score(table.assign(p_yes=np.nan), "binary", resamples=5)
