"""Three made-up worlds that the analysis must tell apart, the answers, and their corrections."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, kstest, spearmanr

from medrob import analysis
from medrob.analysis import AHEAD, SMALL, Evidence, Finding
from medrob.analysis.statistics import centred_ranks, exchange_p, image_orders

CORRUPTIONS, SEVERITIES, IMAGES = ("a", "b", "c", "d", "e"), (1, 2, 3, 4, 5), 120
HEAD = dict(method="gradcam", layer="deep")


def world(drift_of, seed=0, images=IMAGES, classes=2, pull=0.0):
    """Tables in which harm grows with severity and corruption, and drift is what `drift_of` makes of it.

    Args:
        pull: how strongly the corruptions drive every prediction into class 0.
    """
    rng = np.random.default_rng(seed)
    label = np.arange(images) % classes
    skill = rng.normal(1.5, 0.7, images)
    parts = {"predictions": [], "drift": [], "distances": []}
    first = None
    for c, s in [(0, 0), *((c, s) for c in range(5) for s in SEVERITIES)]:
        harm = s * (1 + c) * rng.gamma(4, 0.03, images)
        logits = rng.normal(0, 0.1, (images, classes))
        logits[np.arange(images), label] += skill - harm
        logits[:, 0] += pull * s * (1 + c) * 0.12
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        predicted = p.argmax(1)
        first = predicted if first is None else first
        known = {
            "image": np.arange(images),
            "corruption": CORRUPTIONS[c] if s else "clean",
            "severity": s,
        }
        columns = {f"p_{k}": p[:, k] for k in range(classes)}
        parts["predictions"].append(
            pd.DataFrame({**known, "label": label, "predicted": predicted, **columns})
        )
        parts["distances"].append(pd.DataFrame({**known, "rmse": 8.0 * s + rng.normal(0, 1, images)}))
        if s:
            moved = np.clip(drift_of(rng, c, s, harm, first), 0, 1)
            more = {**HEAD, "label": label, "preserved": predicted == first, "degenerate": False}
            parts["drift"].append(pd.DataFrame({**known, **more, "rmse": moved}))
    return tuple(pd.concat(frames, ignore_index=True) for frames in parts.values())


WORLDS = {
    "strong": lambda rng, c, s, harm, first: 0.05 + 0.2 * harm + rng.normal(0, 0.01, len(harm)),
    # Drift rises with severity alone; among corruptions its order has nothing to do with theirs.
    "severity": lambda rng, c, s, harm, first: (
        0.1 * s + 0.02 * (2, 4, 0, 3, 1)[c] + rng.normal(0, 0.05, len(harm))
    ),
    "none": lambda rng, c, s, harm, first: 0.3 + 0.02 * (2, 4, 0, 3, 1)[c] + rng.normal(0, 0.1, len(harm)),
}


def through_class(rng, c, s, harm, first):
    """Maps of class 1 move more, and that is all that drift knows; see `pull` of `world`."""
    return 0.3 + 0.02 * (2, 4, 0, 3, 1)[c] + 0.1 * (first == 1) + rng.normal(0, 0.1, len(harm))


def through_class_and_harm(rng, c, s, harm, first):
    """As `through_class`, but drift also knows how much each image is hurt."""
    return 0.1 * harm + through_class(rng, c, s, harm, first)


def evidence(tables, resamples=100, permutations=300):
    return Evidence(*tables, resamples=resamples, permutations=permutations)


@pytest.fixture(scope="module")
def worlds():
    return {name: analysis.tests(evidence(world(drift_of))) for name, drift_of in WORLDS.items()}


def value(tests, kind):
    return tests[(tests["kind"] == kind) & (tests["corruption"] == "all")]["value"].iloc[0]


def test_pooled_correlations_do_not_tell_severity_from_a_link_but_the_answer_does(worlds):
    pooled = {name: value(tests, "pooled") for name, tests in worlds.items()}
    assert pooled["strong"] > 0.7 and pooled["severity"] > 0.5 and abs(pooled["none"]) < 0.4
    for name, tests in worlds.items():
        verdicts = set(analysis.answers(tests)["verdict"])
        assert verdicts == {"yes"} if name == "strong" else "yes" not in verdicts


def test_a_yes_may_be_no_more_than_the_rmse_of_the_picture(worlds):
    open_ = worlds["strong"].copy()
    partial = open_["kind"].isin(["partial", "per image, partial"])
    open_.loc[partial, ["value", "low", "high", "p", "p_adjusted"]] = [0.05, -0.2, 0.3, 0.5, 0.5]
    found = analysis.answers(open_)
    assert found["verdict"].tolist() == ["yes"] * 3
    assert found["beyond"].tolist() == ["not shown", "not shown", ""]


@pytest.mark.parametrize("name", WORLDS)
def test_what_drift_adds(name):
    added = analysis.added(evidence(world(WORLDS[name])))
    assert set(added["event"]) == {"flipped", "wrong"}
    assert (added["gain_low"] > 0).any() == (name == "strong")


def test_what_the_class_alone_decides_is_no_answer():
    """A corruption drives the predictions into class 0, and maps of class 1 move more: nothing else."""
    run = evidence(world(through_class, pull=1.0, seed=1))
    tests = analysis.tests(run)
    verdicts = analysis.answers(tests)["verdict"]
    assert set(verdicts) <= {"no", "not shown"}
    rows = tests[tests["corruption"] == "all"].set_index("kind")
    for kind, chance in (("per image", 0), ("flipped, severity 5", 0.5)):
        row = rows.loc[kind]
        assert row["low"] < chance < row["high"] and row["p"] > 0.05, kind
        assert row["across_classes"] > chance + 0.1  # the figure that would have fooled
    added = analysis.added(run)
    assert not (added["gain_low"] > 0).any()


def test_a_link_beyond_the_class_is_still_found():
    tests = analysis.tests(evidence(world(through_class_and_harm, pull=0.5)))
    verdicts = analysis.answers(tests)["verdict"].tolist()
    assert verdicts.count("yes") >= 2 and verdicts[1] != "not shown"


def test_the_exchange_holds_its_level_where_class_decides_drift_and_failure():
    p = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        group = (rng.random(60) < 0.4).astype(int)
        a = centred_ranks((group + rng.normal(size=(1, 4, 60))), group)
        b = (rng.random((4, 60)) < np.where(group, 0.8, 0.2)).astype(float)
        p.append(exchange_p(a, b, image_orders(group, 200))[0])
    assert kstest(p, "uniform").pvalue > 0.01


def test_degenerate_maps_counted_either_way_change_the_answer_or_do_not():
    predictions, drift, distances = world(WORLDS["strong"], images=60)
    few = dict(resamples=60, permutations=200)
    assert analysis.sensitivity(evidence((predictions, drift, distances), **few)).empty
    lost = (drift["severity"] == 5) & ~drift["preserved"] & (np.arange(len(drift)) % 3 > 0)
    gone = drift.assign(degenerate=lost, rmse=drift["rmse"].mask(lost))
    run = evidence((predictions, gone, distances), **few)
    found = analysis.sensitivity(run)
    warned = found[found["kind"] == "flipped, severity 5"].set_index("counted_as")["verdict"]
    assert warned["the largest drift"] == "yes" and warned["the smallest drift"] == "the other way round"
    quoted = analysis.declared(run).set_index("name")["value"]
    assert quoted["declared lost"] == lost.sum() == quoted["declared lost flips"]
    assert quoted["declared layer"] == "deep" and quoted["declared per image verdict"] == "yes"


# Runs side by side, and what needs no map


def test_the_declared_tests_of_one_map_are_those_of_the_whole_run():
    tables = world(WORLDS["strong"])
    others = tables[1].assign(method="layercam", rmse=tables[1]["rmse"].to_numpy()[::-1])
    both = evidence((tables[0], pd.concat([tables[1], others], ignore_index=True), tables[2]))
    assert both.declared == HEAD | {"severity": 5}
    asked = analysis.answers_of_runs({"run": both})
    pd.testing.assert_frame_equal(asked.iloc[:, 5:], analysis.answers(analysis.tests(both)))
    assert both.only("gradcam", "deep").moved.maps == [("gradcam", "deep")]


def test_each_run_is_asked():
    asked = analysis.answers_of_runs({name: evidence(world(drift_of)) for name, drift_of in WORLDS.items()})
    assert asked["run"].tolist() == ["strong"] * 3 + ["severity"] * 3 + ["none"] * 3
    assert set(asked.loc[asked["verdict"] == "yes", "run"]) == {"strong"}


def test_drift_beside_what_needs_no_map():
    predictions, drift, distances = world(WORLDS["strong"])
    drift = drift.assign(degenerate=drift["image"] < 9, rmse=drift["rmse"].mask(drift["image"] < 9))
    few = dict(resamples=50, permutations=0)
    run = evidence((predictions, drift, distances), **few)
    found, failure = analysis.beside(run), analysis.failure(run)
    at = failure[failure["severity"] == 5].set_index(["event", "signal"])
    found = found.set_index(["event", "signal"])
    same = ["auroc", "low", "high"]
    pd.testing.assert_frame_equal(found[same], at.loc[found.index, same])
    gain = at.loc[("flipped", "drift"), ["gain", "gain_low", "gain_high"]].astype(float)
    assert found.loc[("flipped", "low confidence"), AHEAD].tolist() == pytest.approx(gain.tolist())
    kept = predictions.assign(predicted=0)
    none = analysis.beside(evidence((kept, drift, distances), **few))
    assert none.loc[none["event"] == "flipped", "auroc"].isna().all()


# Corrections


def test_holm_by_hand():
    assert analysis.holm([0.01, 0.04, np.nan, 0.03]) == pytest.approx([0.03, 0.06, np.nan, 0.06], nan_ok=True)
    assert analysis.holm([0.9, 0.8]).tolist() == [1, 1]


def test_the_family_is_corrected_by_holm_and_the_rest_by_benjamini_and_hochberg(worlds):
    tests = worlds["strong"]
    mine = tests[tests["family"] == "declared"]
    assert set(mine["kind"]) == {"within severity", "per image", "flipped, severity 5"} and set(
        mine["corruption"]
    ) == {"all"}
    assert mine["p_adjusted"].to_numpy() == pytest.approx(analysis.holm(mine["p"]))
    rest = tests[(tests["family"] == "exploration") & tests["p"].notna() & (tests["kind"] != "pooled")]
    assert rest["p_adjusted"].to_numpy() == pytest.approx(false_discovery_control(rest["p"]))
    assert tests[tests["kind"] == "pooled"]["p_adjusted"].isna().all()


@pytest.mark.parametrize(
    ("value", "low", "high", "p", "verdict"),
    [
        (0.5, 0.3, 0.7, 0.01, "yes"),
        (0.5, 0.3, 0.7, 0.06, "not shown"),
        (0.5, -0.1, 0.9, 0.01, "not shown"),
        (-0.5, -0.7, -0.3, 0.01, "the other way round"),
        (0.02, -0.05, 0.09, 0.6, "no"),
        (np.nan, np.nan, np.nan, np.nan, "not defined"),
    ],
)
def test_verdicts(value, low, high, p, verdict):
    assert Finding(value, low, high, p).verdict(chance=0, small=SMALL["correlation"]) == verdict


def test_exchanged_images_give_uniform_p_where_there_is_no_link_and_small_p_where_there_is():
    rng = np.random.default_rng(0)
    orders = image_orders(np.zeros(40), 300)
    p = []
    for _ in range(200):  # conditions of an image depend on each other
        a, b = (rng.normal(size=(5, 40)) + 2 * rng.normal(size=40) for _ in range(2))
        a = a - a.mean(1, keepdims=True)
        p.append(exchange_p(a[None], b, orders)[0])
    assert kstest(p, "uniform").pvalue > 0.01
    assert exchange_p(a[None], a, orders) == pytest.approx(1 / 301)


# Image by image


def test_margin_drop_by_hand():
    rows = [
        (0, "clean", 0, 0, 0.7, 0.2, 0.1),
        (0, "fog", 1, 1, 0.3, 0.6, 0.1),
        (0, "fog", 2, 0, 0.5, 0.1, 0.4),
    ]
    columns = ["image", "corruption", "severity", "predicted", "p_a", "p_b", "p_c"]
    predictions = pd.DataFrame(rows, columns=columns).assign(label=0)
    drift = predictions[predictions["severity"] > 0].assign(**HEAD, degenerate=False, rmse=0.1)
    found = analysis.moved_and_fell(Evidence(predictions, drift, drift))
    clean = np.log(0.7 / 0.2)
    assert found["drop"].tolist() == pytest.approx([clean - np.log(0.3 / 0.6), clean - np.log(0.5 / 0.4)])
    several = predictions.drop(columns="label").assign(label_a=1, label_b=0, label_c=0)
    odds = [np.log(q / (1 - q)) for q in (0.7, 0.3, 0.5)]
    found = analysis.moved_and_fell(Evidence(several, drift, drift))
    assert found["drop"].tolist() == pytest.approx([odds[0] - odds[1], odds[0] - odds[2]])


def test_per_image_is_the_mean_of_spearmans_correlations_and_partial_takes_the_picture_out():
    predictions, drift, distances = world(WORLDS["strong"], images=40)
    run = evidence((predictions, drift, distances), 50, 50)
    rows = analysis.per_image(run)
    rows = rows[rows["corruption"] == "all"].set_index("kind")
    values = rows["value"]
    both = analysis.moved_and_fell(run)
    both = both.merge(distances.rename(columns={"rmse": "away"}), on=["image", "corruption", "severity"])
    both = both.merge(predictions[predictions["severity"] == 0][["image", "predicted"]], on="image")
    plain, partial, sizes = [], [], []
    for _, group in both.groupby(["corruption", "severity", "predicted"]):
        sizes.append(len(group))
        x, y, z = (group[c] for c in ("rmse", "drop", "away"))
        xy, xz, yz = spearmanr(x, y)[0], spearmanr(x, z)[0], spearmanr(y, z)[0]
        plain.append(xy)
        partial.append((xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2)))
    assert values["per image"] == pytest.approx(np.average(plain, weights=sizes))
    assert values["per image, partial"] == pytest.approx(np.average(partial, weights=sizes))
    parts = [spearmanr(g["rmse"], g["drop"])[0] for _, g in both.groupby(["corruption", "severity"])]
    assert rows.loc["per image", "across_classes"] == pytest.approx(np.mean(parts))


# Bad input


def test_all_predictions_right_and_kept():
    predictions, drift, distances = world(WORLDS["none"], images=30)
    p = np.stack([0.9 - 0.8 * predictions["label"], 0.1 + 0.8 * predictions["label"]], 1)
    noise = 0.01 * np.random.default_rng(0).random(len(p))
    predictions = predictions.assign(predicted=predictions["label"], p_0=p[:, 0] - noise, p_1=p[:, 1] + noise)
    run = evidence((predictions, drift.assign(preserved=True), distances), 10, 10)
    failure = analysis.failure(run)
    assert failure.loc[failure["event"] == "flipped", "auroc"].isna().all()
    assert analysis.best_warning(failure, 5)["maps"] == 0
    assert "not defined" in set(analysis.answers(analysis.tests(run))["verdict"])
    assert analysis.added(run)["gain"].isna().any()
    assert (analysis.risk(run)[1]["wrong"] == 0).all()
    assert analysis.roc(run).empty


def test_one_class_only_and_maps_all_degenerate():
    predictions, drift, distances = world(WORLDS["strong"], images=30)
    alone = evidence((predictions.assign(label=0), drift, distances), 10, 10)
    assert np.isnan(value(analysis.tests(alone), "within severity"))
    flat = evidence((predictions, drift.assign(degenerate=True, rmse=np.nan), distances), 10, 10)
    assert set(analysis.answers(analysis.tests(flat))["verdict"]) == {"not defined"}
    assert analysis.added(flat)["gain"].isna().all()
    curves, areas = analysis.risk(flat)
    assert curves.empty and areas.empty


def test_columns_beyond_those_needed_change_nothing():
    tables = [t[t["severity"].isin([0, 5])] for t in world(WORLDS["strong"], images=30)]
    more = [t.assign(extra="x", another=np.nan) for t in tables]
    plain, wide = (analysis.tests(evidence(t, 20, 20)) for t in (tables, more))
    pd.testing.assert_frame_equal(plain, wide)


def test_a_question_is_answered_once_for_the_same_evidence():
    run = evidence(world(WORLDS["none"], images=20), 10, 10)
    assert analysis.failure(run) is analysis.failure(run)
    assert analysis.failure(run) is not analysis.failure(run.only("gradcam", "deep"))


def test_an_image_that_a_table_lacks_is_named():
    predictions, drift, distances = world(WORLDS["strong"], images=30)
    for name, where in (("predictions", "clean, severity 0"), ("distances", "a, severity 1")):
        tables = dict(predictions=predictions, drift=drift, distances=distances)
        tables[name] = tables[name][tables[name]["image"] != 3]
        with pytest.raises(ValueError, match=f"holds image 3 0 times for {where}; it needs every"):
            analysis.failure(Evidence(**tables, resamples=5, permutations=5))
    twice = pd.concat([drift, drift.head(1)])
    with pytest.raises(ValueError, match="two rows of the same image, condition, method and layer"):
        analysis.per_image(Evidence(predictions, twice, distances))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda p, m, d: (p.assign(p_0=p["p_0"].where(p["image"] != 3)), m, d), "p_0 .* holds nan .image 3"),
        (lambda p, m, d: (p, m.assign(rmse=m["rmse"].where(m["image"] != 3)), d), "rmse of the table drift"),
        (lambda p, m, d: (p, m, d.assign(rmse="far")), "rmse of the table corruptions holds .* not numbers"),
        (lambda p, m, d: (p, m, d.assign(rmse=np.nan)), "rmse of the table corruptions holds nan"),
        (lambda p, m, d: (p.drop(columns=["p_0", "p_1"]), m, d), "predictions lacks p_<class>"),
    ],
)
def test_cells_that_are_no_numbers_and_columns_that_are_no_class_are_named(change, text):
    parts = [t[t["severity"].isin([0, 5])] for t in world(WORLDS["none"], images=20)]
    with pytest.raises(ValueError, match=text):
        Evidence(*change(*parts))
