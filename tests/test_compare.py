"""Runs beside each other: paired differences, and repetitions."""

import numpy as np
import pandas as pd
import pytest
from worlds import STILL, strong, world

from medrob import analysis
from medrob.analysis import Evidence

CONDITIONS = [("clean", 0), ("fog", 1), ("fog", 2), ("snow", 1), ("snow", 2)]


def run(hurt=0.5, move=0.1, seed=0, conditions=CONDITIONS, method="gradcam"):
    """A network that loses `hurt` of its margin a step, and whose maps move by `move`."""
    rng = np.random.default_rng(seed)
    label = np.arange(40) % 2
    skill = np.random.default_rng(7).normal(1, 1, 40)
    predictions, drift = [], []
    for c, s in conditions:
        p = 1 / (1 + np.exp(-(skill - hurt * s + rng.normal(0, 0.3, 40)) * (2 * label - 1)))
        known = pd.DataFrame({"image": np.arange(40), "corruption": c, "severity": s, "label": label})
        predictions.append(known.assign(predicted=(p > 0.5).astype(int), p_a=1 - p, p_b=p))
        if s:
            at = known.assign(method=method, layer="deep", degenerate=False, preserved=True)
            drift.append(at.assign(**STILL, rmse=move * s + rng.normal(0, 0.01, 40)))
    predictions, drift = (pd.concat(parts, ignore_index=True) for parts in (predictions, drift))
    return Evidence(predictions, drift, predictions.assign(rmse=1.0), resamples=100)


def compared_runs(data=None, **runs):
    runs = {name: e if isinstance(e, list) else [e] for name, e in runs.items()}
    return analysis.compare_runs(runs, data or dict.fromkeys(runs, "the same"))


def over_all(compared, name, measure):
    rows = compared[(compared["run"] == name) & (compared["measure"] == measure)]
    return rows[rows["severity"] == "all"].iloc[0]


def test_a_run_beside_itself_differs_by_nothing():
    compared = compared_runs(one=run(), two=run())
    second = compared[compared["run"] == "two"]
    assert (second[["difference", "difference_low", "difference_high"]] == 0).all(axis=None)
    assert second["alike"].all()
    assert set(compared["severity"]) == {"clean", "1", "2", "all"}


def test_differences_are_those_of_the_values_and_paired():
    runs = {"plain": run(1.0, 0.2), "robust": run(0.2, 0.05, seed=1)}
    compared = compared_runs(**runs)
    for measure in ("auc", "drop", "drift"):
        first, second = (over_all(compared, name, measure) for name in runs)
        assert second["difference"] == pytest.approx(second["value"] - first["value"])
        assert second["difference_low"] <= second["difference"] <= second["difference_high"]
    drift = over_all(compared, "plain", "drift")
    means = runs["plain"].drift.groupby("severity")["rmse"].mean()
    assert drift["value"] == pytest.approx(means.mean(), rel=1e-5)


def test_seeds_are_averaged_and_widen_the_interval():
    seeds = [run(0.2), run(1.5, seed=1)]
    alone, both = compared_runs(net=seeds[0]), compared_runs(net=seeds)
    values = [over_all(compared_runs(n=evidence), "n", "auc")["value"] for evidence in seeds]
    row = over_all(both, "net", "auc")
    assert row["value"] == pytest.approx(np.mean(values)) and row["seeds"] == 2
    narrow = over_all(alone, "net", "auc")
    assert row["high"] - row["low"] > narrow["high"] - narrow["low"]


@pytest.mark.parametrize("other", ["images", "conditions"])
def test_of_runs_that_are_not_alike_no_difference_is_formed(other):
    conditions = CONDITIONS[:3] if other == "conditions" else CONDITIONS
    data = {"one": "a", "two": "b" if other == "images" else "a"}
    compared = compared_runs(data, one=run(), two=run(conditions=conditions))
    row = over_all(compared, "two", "auc")
    assert np.isfinite(row["value"]) and np.isnan(row["difference"]) and not row["alike"]
    compared = compared_runs(one=run(), two=run(method="layercam"))
    assert np.isnan(over_all(compared, "two", "drift")["difference"])


def test_repetitions_are_runs_that_differ_in_the_seed_of_training_alone():
    def params(name, width=16, seed=0, data=0):
        return {
            "01_augment": {"run": name, "dataset": "phantom", "seed": data},
            "02_train": {"run": name, "width": width, "seed": seed, "device": "auto", "batch_size": 64},
            "04_heatmaps": {"run": name, "images": 40, "batch_size": 64},
        }

    runs = {"a": params("a"), "b": params("b", seed=1), "c": params("c", width=64), "d": params("d", data=1)}
    assert analysis.repetitions(runs) == {"a": ["a", "b"], "c": ["c"], "d": ["d"]}
    runs["b"]["02_train"]["batch_size"] = 32
    assert analysis.repetitions(runs)["a"] == ["a"]


@pytest.mark.parametrize(("images", "auc", "drift"), [(4, False, False), (8, False, True), (40, True, True)])
def test_of_too_few_images_nothing_has_an_interval(images, auc, drift, monkeypatch):
    monkeypatch.setattr("medrob.analysis.warning.TREES", 10)
    evidence = Evidence(*world(strong, images=images, methods=("a", "b"), severities=(2, 5)), resamples=50)
    rows = compared_runs(one=evidence).assign(known=lambda t: t["low"].notna() & t["high"].notna())
    assert (rows["known"] == rows["measure"].map({"auc": auc, "drop": auc, "drift": drift})).all()
    assert (analysis.mean_drift(evidence.drift)["low"].notna() == drift).all()
    for ask in (analysis.failure, analysis.added, analysis.per_image):
        table = ask(evidence)
        ends = table[[name for name in table if name.endswith(("low", "high"))]].astype(float)
        assert ends.notna().any(axis=None) == drift
