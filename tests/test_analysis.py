"""The analysis is tried on made-up tables whose truth is known."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest, rankdata, spearmanr
from sklearn.metrics import roc_auc_score

from medrob import analysis
from medrob.analysis import Evidence
from medrob.analysis.statistics import corruption_orders

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
    evidence = Evidence(predictions, drift, distances, **{"resamples": 100, **options})
    return analysis.association(evidence).set_index("kind", drop=False)


def test_permutations_exchange_whole_corruptions():
    keys = pd.MultiIndex.from_product([["a", "b", "c"], [1, 2]], names=["corruption", "severity"])
    orders = corruption_orders(keys, 100)
    assert len(orders) == 6
    assert list(orders[0]) == [0, 1, 2, 3, 4, 5]
    for order in orders:
        assert [o % 2 for o in order] == [0, 1] * 3
        assert all(order[i + 1] == order[i] + 1 for i in (0, 2, 4))
    assert len({tuple(order) for order in orders}) == 6


def test_one_corruption_leaves_nothing_to_correlate():
    kinds = found(*tables(lambda c, s: 0.1 * s, lambda c, s: 0.1 * s, corruptions=("a",)))
    assert np.isnan(kinds.loc["within severity", "value"])


def test_one_severity_is_enough():
    kinds = found(*tables(lambda c, s: 0.15 * (c + 1), lambda c, s: 0.1 * c, severities=(3,)))
    assert kinds.loc["within severity", "value"] > 0.6


def test_a_method_with_only_degenerate_maps_is_nan_and_counted():
    predictions, drift, distances = tables(
        lambda c, s: 0.1 * s, lambda c, s: 0.1 * s, layers=("flat", "deep")
    )
    flat = drift["layer"] == "flat"
    drift.loc[flat, "degenerate"], drift.loc[flat, "rmse"] = True, np.nan
    mean = analysis.mean_drift(drift, ["method", "layer"]).set_index("layer")
    assert np.isnan(mean.loc["flat", "value"])
    assert mean.loc["flat", "degenerate"] == 1
    assert analysis.headline(drift) == ("gradcam", "deep")
    rows = analysis.association(Evidence(predictions, drift, distances, resamples=10))
    assert rows[rows["layer"] == "flat"]["value"].isna().all()
    assert rows[rows["layer"] == "deep"]["value"].notna().any()


def auroc_within(frame, event, signal):
    """scikit-learn's AUROC of each corruption and class predicted when clean, weighted by its pairs."""
    found = []
    for _, group in frame.groupby(["corruption", "clean"]):
        happened = group[event].astype(bool)
        pairs = happened.sum() * (~happened).sum()
        if pairs:
            found.append((roc_auc_score(happened, group[signal]), pairs))
    values, pairs = zip(*found, strict=True)
    return np.average(values, weights=pairs)


def test_a_corruption_that_moves_and_flips_everything_is_no_evidence():
    predictions, drift, distances = tables(lambda c, s: 0.3 * c, lambda c, s: 0.5)
    rng = np.random.default_rng(0)
    drift["rmse"] = drift["corruption"].map({c: 0.1 * i for i, c in enumerate(CORRUPTIONS)})
    drift["rmse"] += 0.01 * rng.random(len(drift))
    rows = analysis.failure(Evidence(predictions, drift, distances, resamples=50))
    row = rows[(rows["severity"] == 5) & (rows["event"] == "flipped") & (rows["signal"] == "drift")].iloc[0]
    at = drift[drift["severity"] == 5]
    assert roc_auc_score(~at["preserved"], at["rmse"]) > 0.7
    assert row["low"] < 0.5 < row["high"]


def test_failure_compares_on_the_pictures_that_have_a_drift():
    predictions, drift, distances = tables(lambda c, s: 0.12 * s, lambda c, s: 0.1 * s, noise=0.2)
    lost = drift.index[~drift["preserved"] & (drift["severity"] == 5)][:3]
    drift.loc[lost, ["rmse", "degenerate"]] = np.nan, True
    rows = analysis.failure(Evidence(predictions, drift, distances, resamples=50))
    at = rows[(rows["severity"] == 5) & (rows["event"] == "flipped")].set_index("signal")
    assert (at["cases"] == 297).all()  # what needs no map is of the same pictures
    difference = at.loc["drift", "auroc"] - at.loc["low confidence", "auroc"]
    assert at.loc["drift", "gain"] == pytest.approx(difference)
    assert (at.loc["drift", ["lost", "lost_events"]] == 3).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_drift_beside_low_confidence(sign):
    predictions, drift, distances = tables(lambda c, s: 0.12 * s, lambda c, s: 0.5)
    drift["rmse"] = 0.5 - 0.4 * sign * drift["preserved"] + 0.01 * np.random.default_rng(0).random(len(drift))
    evidence = Evidence(predictions, drift, distances, resamples=200)
    beside = analysis.beside(evidence).set_index(["event", "signal"])
    ends = sign * beside.loc[("flipped", "low confidence"), ["ahead_low", "ahead_high"]].astype(float)
    assert (ends > 0).all()
    failure = analysis.failure(evidence)
    flips = failure[(failure["event"] == "flipped") & (failure["signal"] == "drift")]
    row = flips[(flips["severity"] == 5) & (flips["layer"] == "deep")].iloc[0]
    assert (sign * (row[["low", "high"]].astype(float) - 0.5) > 0).all() and row["p"] < 0.05


def test_strata_hold_those_that_exist():
    _, drift, _ = tables(lambda c, s: 0.12 * s, lambda c, s: 0.1 * s)
    assert set(analysis.strata(drift)["stratum"]) == {"all", "preserved", "flipped"}
    drift["preserved"] = True
    assert set(analysis.strata(drift)["stratum"]) == {"all", "preserved"}


def test_missing_columns_are_named():
    predictions, drift, distances = tables(lambda c, s: 0.1, lambda c, s: 0.1)
    for column in ("rmse", "degenerate"):
        with pytest.raises(ValueError, match=f"drift lacks {column}"):
            Evidence(predictions, drift.drop(columns=column), distances)


# -- Worked by hand ------------------------------------------------------------------------------------

# Scores of two images without and two with the disease, for each AUC.
SCORES = {
    1.0: (0.1, 0.2, 0.8, 0.9),
    0.75: (0.1, 0.5, 0.4, 0.9),
    0.5: (0.1, 0.95, 0.4, 0.9),
    0.25: (0.5, 0.95, 0.4, 0.9),
}
# corruption, severity -> AUC, drift, RMSE of the picture
SMALL = {
    ("a", 1): (1.0, 0.1, 5.0), ("b", 1): (0.75, 0.3, 1.0), ("c", 1): (0.5, 0.2, 3.0),
    ("a", 2): (0.75, 0.4, 6.0), ("b", 2): (0.5, 0.5, 9.0), ("c", 2): (0.25, 0.6, 7.0),
}  # fmt: skip


def small_tables(grid=SMALL, images=(0, 1, 2, 3), method="gradcam"):
    """Four pictures, whose AUC, mean drift and mean RMSE in each condition are those of the grid."""
    grid = {("clean", 0): (1.0, np.nan, 0.0), **grid}
    known = pd.DataFrame(
        [(i, *c, *values) for c, values in grid.items() for i in images],
        columns=["image", "corruption", "severity", "auc", "drift", "rmse"],
    )
    label = np.tile([0, 0, 1, 1], len(grid))
    score = np.concatenate([SCORES[q] for q, *_ in grid.values()])
    predicted = (score > 0.5).astype(int)
    predictions = known[["image", "corruption", "severity"]].assign(
        label=label, predicted=predicted, p_no=1 - score, p_yes=score
    )
    spread = np.tile([-0.04, 0.04, -0.01, 0.01], len(grid))  # of the images about the mean
    kept = predicted == np.tile(predicted[:4], len(grid))
    drift = known[["image", "corruption", "severity"]].assign(
        method=method, layer="deep", preserved=kept, degenerate=False, rmse=known["drift"] + spread
    )
    drift = drift[drift["severity"] > 0].reset_index(drop=True)
    return predictions, drift, known[["image", "corruption", "severity", "rmse"]]


def test_association_of_a_small_table_by_hand():
    kinds = found(*small_tables())
    drop, move, picture = (np.array(x) for x in zip(*SMALL.values(), strict=True))
    # Ranks of the drops 1 2 3 and 1 2 3, of the drifts 1 3 2 and 1 2 3: (1 + 2) / (2 + 2).
    assert kinds.loc["within severity", "value"] == pytest.approx(0.75)
    # Of the six orders of the corruptions two give 3/4, two -3/4, two 0.
    assert kinds.loc["within severity", "p"] == pytest.approx(4 / 6)
    assert kinds.loc["pooled", "value"] == pytest.approx(spearmanr(-drop, move)[0])
    held = np.stack([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], rankdata(picture)], 1)
    left = [y - held @ np.linalg.lstsq(held, y)[0] for y in (rankdata(-drop), rankdata(move))]
    assert kinds.loc["partial", "value"] == pytest.approx(np.corrcoef(left)[0, 1])
    assert (kinds["conditions"] == 6).all()
    assert ((kinds["low"] <= kinds["high"]) & (kinds["low"] >= -1.001) & (kinds["high"] <= 1.001)).all()


def test_numbers_of_images_and_order_of_rows_do_not_matter():
    first = found(*small_tables())
    moved = found(*(t.sample(frac=1, random_state=1) for t in small_tables(images=(3, 40, 41, 700))))
    for column in ("value", "low", "high"):
        np.testing.assert_allclose(first[column], moved[column])


def test_bootstrap_is_seeded():
    parts = tables(lambda c, s: 0.1 * (c + 1), lambda c, s: 0.03 * s * (c + 1))
    pd.testing.assert_frame_equal(found(*parts), found(*parts))


def test_conditions_without_a_usable_map_are_left_out_for_that_method():
    predictions, drift, distances = small_tables()
    other = drift.assign(method="layercam")
    gone = (other["corruption"] == "c") & (other["severity"] == 2)
    other.loc[gone, ["rmse", "degenerate"]] = np.nan, True
    rows = analysis.association(Evidence(predictions, pd.concat([drift, other]), distances, resamples=10))
    assert rows.groupby("method")["conditions"].first().to_dict() == {"gradcam": 6, "layercam": 5}
    # Ranks of the drops 1 2 3 and 1 2, of the drifts 1 3 2 and 1 2: (1 + 1/2) / (2 + 1/2).
    within = rows[rows["kind"] == "within severity"].set_index("method")["value"]
    assert within.to_dict() == pytest.approx({"gradcam": 0.75, "layercam": 0.6})


def test_permutations_of_an_uneven_grid_begin_with_the_order_as_it_is():
    """Conditions as `conditions.grid` gives them: not sorted by severity."""
    keys = pd.MultiIndex.from_tuples(
        [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("c", 1)], names=["corruption", "severity"]
    )
    orders = corruption_orders(keys, 200)
    assert orders[0].tolist() == [0, 1, 2, 3, 4]
    severity = keys.get_level_values("severity").to_numpy()
    assert (severity[orders] == severity).all()
    assert len({tuple(order) for order in orders}) == 12  # 3! x 2!


def test_p_is_near_uniform_where_there_is_no_link():
    """150 layers whose drift has an effect of the corruption and of severity, none of the drop."""
    rng = np.random.default_rng(0)
    harm = rng.random(5)
    predictions, _, distances = tables(lambda c, s: 0.1 * s + 0.4 * harm[c], lambda c, s: 0.1)
    parts = []
    for layer in range(150):
        effect = rng.normal(size=5)
        for c, s in itertools.product(range(5), SEVERITIES):
            parts.append((CORRUPTIONS[c], s, "gradcam", f"layer{layer}", effect[c] + s + 0.3 * rng.normal()))
    drift = pd.DataFrame(parts, columns=["corruption", "severity", "method", "layer", "rmse"])
    drift = drift.assign(image=0, degenerate=False)
    rows = analysis.association(Evidence(predictions, drift, distances, resamples=0))
    for kind in ("pooled", "within severity"):
        p = rows[rows["kind"] == kind]["p"]
        assert kstest(p, "uniform").pvalue > 0.01
        assert p.min() >= 1 / 120
    assert (rows[rows["kind"] == "partial"]["p"] < 0.05).mean() < 0.15


def test_every_row_of_failure_is_the_auroc_of_scikit_learn():
    predictions, drift, distances = tables(
        lambda c, s: 0.15 * s, lambda c, s: 0.1 * s, noise=0.2, severities=(2, 5), layers=("one", "two")
    )
    drift["rmse"] = drift["rmse"].round(1)  # ties
    drift.loc[drift.index % 7 == 0, ["rmse", "degenerate"]] = np.nan, True
    rows = analysis.failure(Evidence(predictions, drift, distances, resamples=30))
    assert len(rows) == 2 * 2 * (2 + 4)
    clean = predictions[predictions["severity"] == 0]["predicted"].to_numpy()
    cases = predictions.merge(distances, on=["image", "corruption", "severity"])
    p = cases[["p_no", "p_yes"]].to_numpy()
    cases = cases.assign(
        **{
            "low confidence": 1 - p.max(1),
            "entropy": -(p * np.log(p)).sum(1),
            "small margin": -np.abs(p[:, 0] - p[:, 1]),
            "image rmse": cases["rmse"],
            "flipped": cases["predicted"] != clean[cases["image"]],
            "clean": clean[cases["image"]],
            "wrong": cases["predicted"] != cases["label"],
        }
    ).drop(columns="rmse")
    for layer in ("one", "two"):
        moved = drift[drift["layer"] == layer][["image", "corruption", "severity", "rmse"]]
        cases = cases.merge(moved.rename(columns={"rmse": layer}), how="left")
    for row in rows.itertuples():
        at = cases[cases["severity"] == row.severity].dropna(
            subset=[row.layer or analysis.headline(drift)[1]]
        )
        signal = row.layer or row.signal
        assert row.auroc == pytest.approx(auroc_within(at, row.event, signal))
        assert (row.events, row.cases) == (at[row.event].sum(), len(at))
        assert row.across_classes == pytest.approx(auroc_within(at.assign(clean=0), row.event, signal))
        plain = auroc_within(at, row.event, "low confidence")
        assert row.gain == pytest.approx(row.auroc - plain, abs=1e-6)
        assert row.low <= row.auroc <= row.high and row.gain_low <= row.gain_high


def test_failure_of_maps_that_are_all_degenerate_is_nan():
    predictions, drift, distances = tables(lambda c, s: 0.15 * s, lambda c, s: 0.1 * s)
    drift["degenerate"], drift["rmse"] = True, np.nan
    rows = analysis.failure(Evidence(predictions, drift, distances, resamples=10))
    maps = rows[rows["signal"] == "drift"]
    assert len(maps) == 10 and maps["auroc"].isna().all() and (maps["cases"] == 0).all()
    assert rows["auroc"].isna().all()  # nor what is compared with it on the same pictures
    added = analysis.added(Evidence(predictions, drift, distances, resamples=10))
    assert added["gain"].isna().all() and (added["cases"] == 0).all()
    links = found(predictions, drift, distances)
    assert links["value"].isna().all() and (links["conditions"] == 0).all()
    mean = analysis.mean_drift(drift)
    assert len(mean) == 25 and mean["value"].isna().all() and (mean["degenerate"] == 1).all()


def test_multi_label_predictions_have_no_wrong():
    predictions, drift, distances = tables(lambda c, s: 0.15 * s, lambda c, s: 0.1 * s)
    predictions["label_no"], predictions["label_yes"] = 1 - predictions["label"], predictions["label"]
    predictions = predictions.drop(columns="label")
    rows = analysis.failure(Evidence(predictions, drift, distances, resamples=10))
    assert set(rows["event"]) == {"flipped"}
    assert found(predictions, drift, distances)["value"].notna().all()


def test_conditions_that_a_table_lacks_are_named():
    predictions, drift, distances = small_tables()
    with pytest.raises(ValueError, match="predictions holds image 0 0 times for clean, severity 0"):
        analysis.failure(Evidence(predictions[predictions["severity"] > 0], drift, distances))
    without = distances[(distances["corruption"] != "b") | (distances["severity"] != 2)]
    with pytest.raises(ValueError, match="corruptions holds image 0 0 times for b, severity 2"):
        analysis.failure(Evidence(predictions, drift, without))
    with pytest.raises(ValueError, match="table corruptions lacks rmse; it has image"):
        Evidence(predictions, drift, distances.drop(columns="rmse"))
    with pytest.raises(ValueError, match="table predictions lacks predicted"):
        Evidence(predictions.drop(columns="predicted"), drift, distances)


def scores_table(drops):
    """Scores whose clean AUC is .9; other metrics and classes must not be read."""
    rows = [("clean", 0, "all", "auc", 0.9, 0.8, 0.95, 0.0, 0.0, 0.0)]
    for (corruption, severity), drop in drops.items():
        rows.append((corruption, severity, "all", "auc", 0.9 - drop, 0, 1, drop, drop - 0.1, drop + 0.1))
        rows.append((corruption, severity, "all", "accuracy", 0.1, 0, 1, 0.99, 0.9, 1))
        rows.append((corruption, severity, "no", "auc", 0.1, 0, 1, 0.99, 0.9, 1))
    columns = ["corruption", "severity", "class", "metric", "value", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "drop", "drop_low", "drop_high"])


DROPS = {c: 1 - quality for c, (quality, *_) in SMALL.items()}


def test_summary_quotes_the_tables():
    predictions, drift, distances = small_tables()
    evidence = Evidence(predictions, drift, distances, resamples=20, permutations=20)
    rows = analysis.summary(evidence, scores_table(DROPS)).set_index("name")
    warnings = analysis.failure(evidence)
    assert not rows.index.duplicated().any()
    assert rows.loc["clean auc", ["value", "low", "high"]].tolist() == [0.9, 0.8, 0.95]
    assert rows.loc["worst drop", "value"] == 0.75
    assert rows.loc["worst drop", "what"] == "largest AUC drop: c, severity 2"
    assert rows.loc["drift gradcam deep", "value"] == pytest.approx((0.4 + 0.5 + 0.6) / 3)
    assert rows.loc["association gradcam deep", "value"] == pytest.approx(0.75)
    quoted = warnings.query("severity == 2 and event == 'flipped' and signal == 'entropy'").iloc[0]
    assert rows.loc["warning entropy", "value"] == quoted["auroc"]
    assert "severity 2" in rows.loc["warning drift gradcam deep", "what"]
