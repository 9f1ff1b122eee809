"""Three made-up worlds that the analysis must tell apart, the answers, and their corrections."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, kstest, rankdata, spearmanr
from worlds import HEAD, KEYS, MANY, STILL, TRUTH, WORLDS, none, simulated, strong, world

from medrob import analysis
from medrob.analysis import AHEAD, Evidence, statistics, warning
from medrob.analysis.statistics import exchanged, image_orders, two_sided


def evidence(tables, resamples=100, permutations=300):
    return Evidence(*tables, resamples=resamples, permutations=permutations)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Two folds of twenty trees in place of five of sixty."""
    monkeypatch.setattr(warning, "FOLDS", 2)
    monkeypatch.setattr(warning, "TREES", 20)


@pytest.fixture(scope="module")
def runs():
    return {name: evidence(world(drift_of, images=80)) for name, drift_of in WORLDS.items()}


def kinds(tests):
    return tests.set_index("kind")


def test_pooled_correlations_do_not_tell_severity_from_a_link_but_the_answer_does(runs):
    pooled = {name: kinds(analysis.tests(run)).loc["pooled", "value"] for name, run in runs.items()}
    assert pooled["strong"] > 0.7 and pooled["severity"] > 0.5 and abs(pooled["none"]) < 0.4
    for name, run in runs.items():
        asked = analysis.answers(analysis.tests(run))
        # In "strong" the scores tell all that drift does, and everywhere all but a few errors.
        assert asked["verdict"].tolist() == ["undecided", "undecided", "not defined"]
        plain = asked["plain"].dropna()
        assert (plain > 0.6).all() if name == "strong" else (plain.abs() < 0.4).all()


# -- Worlds with the right answer: 30 tables each here, 400 in tests/benchmarks/bench_coverage.py -------


@pytest.mark.parametrize("kind", TRUTH)
def test_the_answer_in_a_world_of_which_it_is_known(kind):
    """A test of 5 % finds something in more than 5 of 30 tables in 3 of a thousand worlds like these."""
    found = pd.Series(0, [question.name for question in analysis.QUESTIONS])
    for seed in range(30):
        enough = {"patients": 120, "extra": 200, "third": 240, "moved": 240, "bent": 400, "flips": 400}
        images = enough.get(kind, 80)  # fewer would hide what would fool
        names = MANY if kind == "conditions" else MANY[:5]  # five have no power between conditions
        run = Evidence(*simulated(kind, seed, images=images, corruptions=names), 100, 200)
        asked = analysis.answers(analysis.tests(run))
        found += asked.set_index("name")["verdict"].isin(["yes", "the other way round"])
    assert (found[list(TRUTH[kind])] >= 20).all(), found
    assert (found.drop(list(TRUTH[kind])) <= 5).all(), found


def test_across_the_classes_what_the_class_alone_decides_would_fool():
    run = evidence(simulated("class", 0))
    by_condition = zip(run.moved[0], run.margin_drop, strict=True)
    assert np.mean([spearmanr(*pair)[0] for pair in by_condition]) > 0.1


def test_a_degenerate_map_is_the_largest_drift_and_no_missing_value():
    predictions, drift, distances = world(strong, images=60)
    few = dict(resamples=60, permutations=200)
    lost = (drift["severity"] == 5) & ~drift["preserved"] & (np.arange(len(drift)) % 3 > 0)
    gone = drift.assign(degenerate=lost, rmse=drift["rmse"].mask(lost), amount=1.0 - lost)
    failure = analysis.failure(evidence((predictions, gone, distances), **few))
    rows = failure.query("severity == 5 and event == 'flipped'").set_index("signal")
    assert rows.loc["drift", ["cases", "vanished", "vanished_events"]].tolist() == [300, *[lost.sum()] * 2]
    assert 0.7 < rows.loc["vanished", "auroc"] < rows.loc["drift", "auroc"]
    drift = drift.assign(rmse=drift["rmse"].mask(lost, 1.0))
    rank = analysis.per_image(evidence((predictions, drift, distances), **few))
    same = analysis.per_image(evidence((predictions, gone, distances), **few))
    pd.testing.assert_frame_equal(rank[:1], same[:1])
    never = drift.assign(degenerate=True, rmse=np.nan)
    none = analysis.failure(evidence((predictions, never, distances), **few))
    assert none["auroc"].isna().all()  # a layer without any map has none to speak of


def test_images_of_a_group_count_once():
    """Four copies of each image, of one group, give the intervals of one; their p is of groups, too."""
    tables = world(strong, images=40, corruptions=("a", "b"), severities=(4, 5))
    copies = [[t.assign(group=t["image"], image=4 * t["image"] + k) for k in range(4)] for t in tables]
    four = list(map(pd.concat, copies))
    one, many = (evidence(t, 60, 100) for t in (tables, four))
    columns = ["auroc", "low", "high", *AHEAD]
    found, expected = (analysis.failure(run)[columns].to_numpy(float) for run in (many, one))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(*(analysis.mean_drift(t[1])["low"] for t in (four, tables)), rtol=1e-5)
    assert len(np.unique(many.unit)) == 40 and many.orders is None


def test_the_family_is_corrected_by_holm_and_the_rest_by_benjamini_and_hochberg(runs):
    by_hand = pytest.approx([0.03, 0.06, np.nan, 0.06], nan_ok=True)
    assert statistics.holm([0.01, 0.04, np.nan, 0.03]) == by_hand
    assert statistics.holm([0.9, 0.8]).tolist() == [1, 1]
    tests = analysis.tests(runs["strong"])
    mine = tests[tests["family"] == "declared"]
    assert set(mine["kind"]) == {"partial", "per image, partial", "wrong, partial"}
    assert mine["p_adjusted"].to_numpy() == pytest.approx(statistics.holm(mine["p"]), nan_ok=True)
    rest = tests[(tests["family"] == "exploration") & tests["p"].notna() & (tests["kind"] != "pooled")]
    assert rest["p_adjusted"].to_numpy() == pytest.approx(false_discovery_control(rest["p"]))
    assert tests[tests["kind"] == "pooled"]["p_adjusted"].isna().all()


@pytest.mark.parametrize(
    ("value", "low", "high", "p", "verdict"),
    [
        (0.5, 0.3, 0.7, 0.01, "yes"),
        (0.5, -0.1, 0.9, 0.01, "undecided"),
        (0.5, np.nan, np.nan, 0.01, "yes"),
        (-0.5, np.nan, np.nan, 0.01, "the other way round"),
        (0.5, np.nan, np.nan, 0.2, "undecided"),
        (-0.5, -0.7, -0.3, 0.01, "the other way round"),
        (np.nan, np.nan, np.nan, np.nan, "not defined"),
    ],
)
def test_verdicts(value, low, high, p, verdict):
    row = dict(value=value, low=low, high=high, p=p)
    assert analysis.verdict(row) == verdict
    controlled = "undecided" if np.isfinite(value) else verdict
    assert analysis.verdict(row | {"controls": "a head"}) == controlled


def test_exchanged_images_give_uniform_p_where_there_is_no_link_and_small_p_where_there_is():
    rng = np.random.default_rng(0)
    orders = image_orders(np.zeros(40), 300)
    p = []
    for _ in range(200):  # conditions of an image depend on each other
        a, b = (rng.normal(size=(5, 40)) + 2 * rng.normal(size=40) for _ in range(2))
        a = a - a.mean(1, keepdims=True)
        p.append(two_sided(exchanged(a, b, orders)))
    assert kstest(p, "uniform").pvalue > 0.01
    assert two_sided(exchanged(a, a, orders)) == pytest.approx(1 / 301)


def test_sums_of_exchanged_images_are_those_of_the_whole_images_one_after_another(monkeypatch):
    monkeypatch.setattr(statistics, "TOGETHER", 7)
    a, b = np.random.default_rng(0).normal(size=(2, 3, 40))
    orders = image_orders(np.arange(40) % 2, 20)
    assert exchanged(a, b, orders) == pytest.approx([(a * b[:, order]).sum() for order in orders])


def test_margin_drop_by_hand():
    rows = [("clean", 0, 0, 0.7, 0.2, 0.1), ("fog", 1, 1, 0.3, 0.6, 0.1), ("fog", 2, 0, 0.5, 0.1, 0.4)]
    predictions = pd.DataFrame(rows, columns=[*KEYS[1:], "predicted", "p_a", "p_b", "p_c"])
    predictions = predictions.assign(image=0, label=0)
    drift = predictions[1:].assign(**HEAD, **STILL, degenerate=False, rmse=0.1, preserved=1)
    found = analysis.moved_and_fell(Evidence(predictions, drift, drift))
    clean = np.log(0.7 / 0.2)
    assert found["drop"].tolist() == pytest.approx([clean - np.log(0.3 / 0.6), clean - np.log(0.5 / 0.4)])
    several = predictions.drop(columns="label").assign(label_a=1, label_b=0, label_c=0)
    odds = [np.log(q / (1 - q)) for q in (0.7, 0.3, 0.5)]
    found = analysis.moved_and_fell(Evidence(several, drift, drift))
    assert found["drop"].tolist() == pytest.approx([odds[0] - odds[1], odds[0] - odds[2]])


def test_per_image_is_the_mean_of_spearmans_correlations_and_partial_takes_the_logit_out():
    predictions, drift, distances = world(strong, images=40)
    run = evidence((predictions, drift, distances), 50, 50)
    rows = kinds(analysis.per_image(run))
    both = analysis.moved_and_fell(run).merge(distances.rename(columns={"rmse": "away"}), on=KEYS)
    both = both.merge(predictions[predictions["severity"] == 0][["image", "predicted"]], on="image")
    both = both.merge(drift.drop(columns=["rmse", "label"]), on=KEYS)
    both["fall"] = both["logit_clean"] - both["logit"]
    both["lost"] = (both["amount_clean"] - both["amount"]) / (both["amount_clean"] + both["amount"])
    plain, partial, sizes = [], [], []
    for _, group in both.groupby(["corruption", "severity", "predicted"]):
        sizes.append(len(group))
        x, y, *held = (rankdata(group[c]) for c in ("rmse", "drop", "away", "logit", "fall", "lost"))
        plain.append(spearmanr(x, y)[0])
        held = np.stack([np.ones(len(group)), *held], 1)
        left = [v - held @ np.linalg.lstsq(held, v)[0] for v in (x, y)]
        partial.append(np.corrcoef(left)[0, 1])
    assert rows.loc["per image", "value"] == pytest.approx(np.average(plain, weights=sizes))
    assert rows.loc["per image, partial", "value"] == pytest.approx(np.average(partial, weights=sizes))


def test_all_predictions_right_and_kept():
    predictions, drift, distances = world(none, images=30, severities=(5,))
    sure = 0.9 - 0.01 * np.random.default_rng(0).random(len(predictions))
    predictions["predicted"] = predictions["label"]
    predictions["p_0"] = np.where(predictions["label"] == 0, sure, 1 - sure)
    predictions["p_1"] = 1 - predictions["p_0"]
    run = evidence((predictions, drift.assign(preserved=True), distances), 10, 10)
    failure = analysis.failure(run)
    assert failure is analysis.failure(run)  # answered once for the same evidence
    assert failure.loc[failure["event"] == "flipped", "auroc"].isna().all()
    assert "not defined" in set(analysis.answers(analysis.tests(run))["verdict"])
    assert analysis.added(run)["value"].isna().any()


def test_one_class_only_and_maps_all_degenerate():
    predictions, drift, distances = world(strong, images=30, severities=(5,))
    alone = evidence((predictions.assign(label=0), drift, distances), 10, 10)
    assert np.isnan(kinds(analysis.tests(alone)).loc["within severity", "value"])
    flat = evidence((predictions, drift.assign(degenerate=True, rmse=np.nan), distances), 10, 10)
    assert analysis.tests(flat)["value"].isna().all() and analysis.failure(flat)["auroc"].isna().all()
    assert set(analysis.answers(analysis.tests(flat))["verdict"]) == {"not defined"}
    mean = analysis.mean_drift(flat.drift)
    assert len(mean) == 5 and mean["value"].isna().all() and (mean["degenerate"] == 1).all()


def test_a_yes_that_a_negative_control_says_too_is_undecided():
    alone = Evidence(*simulated("extra", 1, images=120), 100, 300)

    def answer(*verdicts):
        drawn = pd.DataFrame({"control": "untrained head", "kind": analysis.BEYOND, "verdict": verdicts})
        asked = analysis.answers(analysis.tests(replace(alone, controls=drawn)))
        return asked.set_index("name").loc["beyond scores", ["verdict", "controls"]].tolist()

    found = "untrained head finds a link in 2 of 3 draws that could be judged"
    assert answer("yes", "undecided", "yes") == ["undecided", found]
    unknown = "untrained head could not be judged in any of 3 draws"
    assert answer(*["not defined"] * 3) == ["undecided", unknown]
    assert answer(*["undecided"] * 3) == ["yes", ""]


def test_controls_are_the_answers_of_each_network():
    *tables, distances = simulated("extra", 1, images=120)
    null = simulated("null", 1, images=120)[:2]
    found = analysis.controls({("untrained head", 0): null, ("untrained head", 1): tables}, distances)
    assert found["draw"].tolist() == [0, 0, 0, 1, 1, 1] and set(found["control"]) == {"untrained head"}
    assert found["verdict"].iloc[2] == "undecided" and found["verdict"].iloc[5] == "yes"
