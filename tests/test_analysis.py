"""The analysis is tried on made-up tables whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from medrob import analysis

CORRUPTIONS = ("a", "b", "c", "d", "e")
SEVERITIES = (1, 2, 3, 4, 5)
IMAGES = 60


def tables(
    harm, move, *, noise=0.02, seed=0, corruptions=CORRUPTIONS, severities=SEVERITIES, layers=("deep",)
):
    """Predictions, drift and distances in which harm(c, s) lowers the scores and move(c, s) is the drift."""
    rng = np.random.default_rng(seed)
    label = np.arange(IMAGES) % 2
    base = rng.normal(0, 0.15, IMAGES)
    predictions, drift, distances = [], [], []
    for c, s in [("clean", 0), *((c, s) for c in range(len(corruptions)) for s in severities)]:
        name, hurt = ("clean", 0.0) if s == 0 else (corruptions[c], harm(c, s))
        score = np.clip(
            0.5 + (label - 0.5) * (0.8 - hurt) + base + rng.normal(0, 0.2 * hurt, IMAGES), 0.01, 0.99
        )
        known = {"image": np.arange(IMAGES), "corruption": name, "severity": s}
        predictions.append(
            pd.DataFrame(
                {
                    **known,
                    "label": label,
                    "predicted": (score > 0.5).astype(int),
                    "p_no": 1 - score,
                    "p_yes": score,
                }
            )
        )
        distances.append(pd.DataFrame({**known, "rmse": 10.0 * s + rng.normal(0, 1)}))
        for layer in layers if s else ():
            value = np.clip(move(c, s) + rng.normal(0, noise, IMAGES), 0, 1)
            kept = predictions[-1]["predicted"] == predictions[0]["predicted"]
            more = {
                "label": label,
                "method": "gradcam",
                "layer": layer,
                "preserved": kept,
                "degenerate": False,
            }
            drift.append(pd.DataFrame({**known, **more, "rmse": value}))
    return tuple(pd.concat(x, ignore_index=True) for x in (predictions, drift, distances))


def found(predictions, drift, distances, **options):
    options = {"resamples": 100, **options}
    return analysis.association(predictions, drift, distances, **options).set_index("kind")


def test_association_is_found_where_the_same_corruption_hurts_and_moves():
    kinds = found(*tables(lambda c, s: 0.1 * (c + 1) + 0.02 * s, lambda c, s: 0.03 * s * (c + 1)))
    assert kinds.loc["within severity", "value"] > 0.8
    assert kinds.loc["within severity", "p"] < 0.05
    assert "costs more AUC" in analysis.say_association(kinds)


def test_severity_alone_makes_the_pooled_correlation_only():
    """Simpson: drift and drop grow with severity, but unrelated corruptions lead them."""
    order = (2, 4, 0, 3, 1)  # whose rank correlation with 0..4 is -0.3
    assert spearmanr(order, range(5))[0] == pytest.approx(-0.3)
    kinds = found(
        *tables(lambda c, s: 0.15 * s + 0.01 * c, lambda c, s: 0.15 * s + 0.01 * order[c], noise=0.001)
    )
    assert kinds.loc["pooled", "value"] > 0.8
    assert kinds.loc["within severity", "value"] < 0.5
    assert kinds.loc["within severity", "p"] > 0.1
    assert "no link" in analysis.say_association(kinds)


def test_no_association_is_said():
    rng = np.random.default_rng(3)
    random = rng.random((5, 6))
    kinds = found(*tables(lambda c, s: 0.1 * (c + 1), lambda c, s: random[c, s]))
    assert kinds.loc["within severity", "p"] > 0.05
    assert "no link" in analysis.say_association(kinds)


def test_pooled_is_spearmans_correlation():
    predictions, drift, distances = tables(lambda c, s: 0.05 * s * (c + 1), lambda c, s: 0.05 * s + 0.02 * c)
    value = found(predictions, drift, distances).loc["pooled", "value"]
    moved = drift.groupby(["corruption", "severity"])["rmse"].mean()
    scores = {
        k: roc_auc_score(g["label"], g["p_yes"]) for k, g in predictions.groupby(["corruption", "severity"])
    }
    drops = [scores["clean", 0] - scores[key] for key in moved.index]
    assert value == pytest.approx(spearmanr(moved, drops)[0])


def test_permutations_exchange_whole_corruptions():
    keys = pd.MultiIndex.from_product([["a", "b", "c"], [1, 2]], names=["corruption", "severity"])
    orders = analysis._shuffles(keys, 100, 0)
    assert len(orders) == 6
    assert list(orders[0]) == [0, 1, 2, 3, 4, 5]
    for order in orders:
        assert [o % 2 for o in order] == [0, 1] * 3
        assert all(order[i + 1] == order[i] + 1 for i in (0, 2, 4))
    assert len({tuple(order) for order in orders}) == 6


def test_permutations_of_an_uneven_grid_stay_within_severity():
    keys = pd.MultiIndex.from_tuples(
        [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2)], names=["corruption", "severity"]
    )
    orders = analysis._shuffles(keys, 50, 0)
    assert list(orders[0]) == [0, 1, 2, 3, 4]
    assert {frozenset(order[:3].tolist()) for order in orders} == {frozenset({0, 1, 2})}
    assert len({tuple(order) for order in orders}) > 3


def test_one_corruption_leaves_nothing_to_correlate():
    kinds = found(*tables(lambda c, s: 0.1 * s, lambda c, s: 0.1 * s, corruptions=("a",)))
    assert np.isnan(kinds.loc["within severity", "value"])
    assert "nothing to correlate" in analysis.say_association(kinds)


def test_one_severity_is_enough():
    kinds = found(*tables(lambda c, s: 0.15 * (c + 1), lambda c, s: 0.1 * c, severities=(3,)))
    assert kinds.loc["within severity", "value"] > 0.6


def test_mean_drift_by_hand():
    drift = pd.DataFrame(
        {"image": [0, 1, 2, 0, 1, 2], "severity": [1, 1, 1, 2, 2, 2], "preserved": [True, True, False] * 2,
         "degenerate": [False, False, False, False, False, True], "rmse": [0.1, 0.2, 0.6, 0.2, 0.4, np.nan]}
    )  # fmt: skip
    mean = analysis.mean_drift(drift, ["severity"], resamples=50)
    assert mean["value"].tolist() == pytest.approx([0.3, 0.3])
    assert mean["images"].tolist() == [3, 2]
    assert mean["degenerate"].tolist() == pytest.approx([0, 1 / 3])
    assert ((mean["low"] <= mean["value"]) & (mean["value"] <= mean["high"])).all()
    kept = analysis.mean_drift(drift, ["severity"], stratum="preserved", resamples=10)
    assert kept["value"].tolist() == pytest.approx([0.15, 0.3])


def test_a_method_with_only_degenerate_maps_is_nan_and_counted():
    predictions, drift, distances = tables(
        lambda c, s: 0.1 * s, lambda c, s: 0.1 * s, layers=("flat", "deep")
    )
    flat = drift["layer"] == "flat"
    drift.loc[flat, "degenerate"], drift.loc[flat, "rmse"] = True, np.nan
    mean = analysis.mean_drift(drift, ["method", "layer"], resamples=10).set_index("layer")
    assert np.isnan(mean.loc["flat", "value"])
    assert mean.loc["flat", "degenerate"] == 1
    assert analysis.headline(drift) == ("gradcam", "deep")
    rows = analysis.association(predictions, drift, distances, resamples=10)
    assert rows[rows["layer"] == "flat"]["value"].isna().all()
    assert rows[rows["layer"] == "deep"]["value"].notna().any()


def test_failure_is_the_auroc_of_scikit_learn():
    predictions, drift, distances = tables(lambda c, s: 0.12 * s, lambda c, s: 0.1 * s, noise=0.2)
    rows = analysis.failure(predictions, drift, distances, resamples=50)
    at = drift[drift["severity"] == 5]
    row = rows[(rows["severity"] == 5) & (rows["event"] == "flipped") & (rows["signal"] == "drift")].iloc[0]
    assert row["auroc"] == pytest.approx(roc_auc_score(~at["preserved"], at["rmse"]))
    assert (row["events"], row["cases"]) == ((~at["preserved"]).sum(), len(at))
    p = predictions[predictions["severity"] == 5]
    sure = np.maximum(p["p_no"], p["p_yes"]).to_numpy()
    assert row["auroc"] - row["gain"] == pytest.approx(roc_auc_score(~at["preserved"], 1 - sure))


def test_failure_compares_on_the_pictures_that_have_a_drift():
    predictions, drift, distances = tables(lambda c, s: 0.12 * s, lambda c, s: 0.1 * s, noise=0.2)
    lost = drift.index[~drift["preserved"] & (drift["severity"] == 5)][:3]
    drift.loc[lost, "rmse"] = np.nan
    rows = analysis.failure(predictions, drift, distances, resamples=50)
    words = analysis.say_failure(rows, method="gradcam", layer="deep", severity=5)
    assert "3 pictures, 3 of them flipped, have a degenerate map" in words


@pytest.mark.parametrize(("sign", "verdict"), [(1, "better than"), (-1, "worse than")])
def test_what_drift_adds_is_said(sign, verdict):
    predictions, drift, distances = tables(lambda c, s: 0.12 * s, lambda c, s: 0.5)
    drift["rmse"] = 0.5 - 0.4 * sign * drift["preserved"] + 0.01 * np.random.default_rng(0).random(len(drift))
    rows = analysis.failure(predictions, drift, distances, resamples=200)
    words = analysis.say_failure(rows, method="gradcam", layer="deep", severity=5)
    assert f"drift is {verdict} it" in words
    assert ("not shown to warn" in words) == (sign < 0)


def test_nothing_to_detect_is_said():
    predictions, drift, distances = tables(lambda c, s: 0.0, lambda c, s: 0.1 * s)
    predictions["predicted"], drift["preserved"] = predictions["label"], True
    rows = analysis.failure(predictions, drift, distances, resamples=20)
    assert rows["auroc"].isna().all()
    assert "Nothing to detect" in analysis.say_failure(rows, method="gradcam", layer="deep", severity=5)


def test_strata_hold_those_that_exist():
    _, drift, _ = tables(lambda c, s: 0.12 * s, lambda c, s: 0.1 * s)
    assert set(analysis.strata(drift, resamples=10)["stratum"]) == {"all", "preserved", "flipped"}
    drift["preserved"] = True
    assert set(analysis.strata(drift, resamples=10)["stratum"]) == {"all", "preserved"}


def test_missing_columns_are_named():
    predictions, drift, distances = tables(lambda c, s: 0.1, lambda c, s: 0.1)
    with pytest.raises(ValueError, match="drift lacks degenerate"):
        analysis.mean_drift(drift.drop(columns="degenerate"))
    with pytest.raises(ValueError, match="lacks"):
        analysis.association(predictions, drift.drop(columns="rmse"), distances)
    with pytest.raises(ValueError, match="stratum='some'"):
        analysis.mean_drift(drift, stratum="some")
