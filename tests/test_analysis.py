"""Drift and drop, drift and failure: by hand, against other libraries, and where nothing can be said."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest, rankdata, spearmanr
from sklearn.metrics import roc_auc_score
from worlds import CORRUPTIONS, HEAD, KEYS, SEVERITIES, STILL, none, strong, world

from medrob import analysis
from medrob.analysis import SIGNALS, Evidence
from medrob.analysis.statistics import corruption_orders


def found(predictions, drift, distances, resamples=100):
    evidence = Evidence(predictions, drift, distances, resamples)
    return analysis.association(evidence).set_index("kind", drop=False)


def test_permutations_exchange_whole_corruptions():
    keys = pd.MultiIndex.from_product([["a", "b", "c"], [1, 2]], names=["corruption", "severity"])
    orders = corruption_orders(keys, 100)
    assert len(orders) == 6 == len({tuple(order) for order in orders})
    assert list(orders[0]) == [0, 1, 2, 3, 4, 5]
    for order in orders:
        assert [o % 2 for o in order] == [0, 1] * 3
        assert all(order[i + 1] == order[i] + 1 for i in (0, 2, 4))


def test_one_corruption_leaves_nothing_to_correlate_but_one_severity_is_enough():
    assert np.isnan(found(*world(strong, corruptions=("a",), images=60)).loc["within severity", "value"])
    assert found(*world(strong, severities=(3,))).loc["within severity", "value"] > 0.6


# Scores of two images without and two with the disease, for each AUC.
SCORES = {1.0: (0.1, 0.2, 0.8, 0.9), 0.75: (0.1, 0.5, 0.4, 0.9), 0.5: (0.1, 0.95, 0.4, 0.9)}
SCORES |= {0.25: (0.5, 0.95, 0.4, 0.9)}
# corruption, severity -> AUC, drift, RMSE of the picture
SMALL = {
    ("a", 1): (1.0, 0.1, 5.0), ("b", 1): (0.75, 0.3, 1.0), ("c", 1): (0.5, 0.2, 3.0),
    ("a", 2): (0.75, 0.4, 6.0), ("b", 2): (0.5, 0.5, 9.0), ("c", 2): (0.25, 0.6, 7.0),
}  # fmt: skip


def small_tables(images=(0, 1, 2, 3)):
    """Four pictures, whose AUC, mean drift and mean RMSE in each condition are those of `SMALL`."""
    grid = {("clean", 0): (1.0, np.nan, 0.0), **SMALL}
    rows = [(i, *c, *values) for c, values in grid.items() for i in images]
    known = pd.DataFrame(rows, columns=[*KEYS, "auc", "drift", "rmse"])
    score = np.concatenate([SCORES[q] for q, *_ in grid.values()])
    predicted = (score > 0.5).astype(int)
    label = np.tile([0, 0, 1, 1], len(grid))
    predictions = known[KEYS].assign(label=label, predicted=predicted, p_no=1 - score, p_yes=score)
    spread = np.tile([-0.04, 0.04, -0.01, 0.01], len(grid))  # of the images about the mean
    kept = predicted == np.tile(predicted[:4], len(grid))
    drift = known[KEYS].assign(**HEAD, **STILL, preserved=kept, degenerate=False)
    drift["rmse"] = known["drift"] + spread
    return predictions, drift[drift["severity"] > 0].reset_index(drop=True), known[[*KEYS, "rmse"]]


def test_association_of_a_small_table_by_hand():
    kinds = found(*small_tables())
    drop, move, picture = (np.array(x) for x in zip(*SMALL.values(), strict=True))
    # Ranks of the drops 1 2 3 and 1 2 3, of the drifts 1 3 2 and 1 2 3: (1 + 2) / (2 + 2).
    assert kinds.loc["within severity", "value"] == pytest.approx(0.75)
    # Of the six orders of the corruptions two give 3/4, two -3/4, two 0.
    assert kinds.loc["within severity", "p"] == pytest.approx(4 / 6)
    assert kinds.loc["pooled", "value"] == pytest.approx(spearmanr(-drop, move)[0])
    alone = Evidence(*small_tables(), resamples=0)
    assert np.isnan(kinds.loc["partial", "value"])  # the probability of the clean class falls as the AUC does
    alone.own[:] = 0.5
    kinds = analysis.association(alone).set_index("kind")
    held = np.stack([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], rankdata(picture)], 1)
    left = [y - held @ np.linalg.lstsq(held, y)[0] for y in (rankdata(-drop), rankdata(move))]
    assert kinds.loc["partial", "value"] == pytest.approx(np.corrcoef(left)[0, 1])
    assert kinds[["low", "high"]].isna().all(axis=None)  # corruptions are too few for an interval


def test_numbers_of_images_and_order_of_rows_do_not_matter():
    first = found(*small_tables())
    moved = found(*(t.sample(frac=1, random_state=1) for t in small_tables(images=(3, 40, 41, 700))))
    np.testing.assert_allclose(first[["value", "p"]], moved[["value", "p"]])


def test_p_is_near_uniform_where_there_is_no_link():
    """150 layers whose drift has an effect of the corruption and of severity, none of the drop."""
    rng = np.random.default_rng(0)
    predictions, _, distances = world(none, images=30)
    parts = []
    for layer in range(150):
        effect = rng.normal(size=5)
        for c, s in itertools.product(range(5), SEVERITIES):
            parts.append((CORRUPTIONS[c], s, f"layer{layer}", effect[c] + s + 0.3 * rng.normal()))
    drift = pd.DataFrame(parts, columns=["corruption", "severity", "layer", "rmse"])
    drift = drift.assign(image=0, method="gradcam", degenerate=False, preserved=True, **STILL)
    rows = analysis.association(Evidence(predictions, drift, distances, resamples=0))
    p = rows[rows["kind"] == "within severity"]["p"]
    assert kstest(p, "uniform").pvalue > 0.01 and p.min() >= 1 / 120
    assert (rows[rows["kind"] == "partial"]["p"] < 0.05).mean() < 0.15


def auroc_within(frame, event, signal):
    """scikit-learn's AUROC of each corruption and class predicted when clean, weighted by its pairs."""
    found = []
    for _, group in frame.groupby(["corruption", "clean"]):
        happened = group[event].astype(bool)
        if pairs := happened.sum() * (~happened).sum():
            found.append((roc_auc_score(happened, group[signal]), pairs))
    values, pairs = zip(*found, strict=True)
    return np.average(values, weights=pairs)


def test_every_row_of_failure_is_the_auroc_of_scikit_learn_on_all_pictures():
    predictions, drift, distances = world(strong, images=60, severities=(2, 5))
    drift["rmse"] = drift["rmse"].round(1)  # ties
    drift.loc[drift.index % 7 == 0, ["rmse", "degenerate", "amount"]] = np.nan, True, 0
    drift.loc[drift.index % 14 == 0, "amount_clean"] = 0  # no map before
    drift.loc[drift.index % 28 == 0, "amount"] = 1  # one that appears
    rows = analysis.failure(Evidence(predictions, drift, distances, resamples=30))
    assert len(rows) == 2 * 2 * len(SIGNALS)
    clean = predictions[predictions["severity"] == 0]
    cases = predictions.merge(distances.rename(columns={"rmse": "image rmse"}), on=KEYS)
    p, first = cases[["p_0", "p_1"]].to_numpy(), clean["predicted"].to_numpy()[cases["image"]]
    cases["low confidence"], cases["entropy"] = 1 - p.max(1), -(p * np.log(p)).sum(1)
    cases["small margin"], cases["clean"] = -np.abs(p[:, 0] - p[:, 1]), first
    cases["clean class"] = -p[np.arange(len(p)), first]
    cases["clean confidence"] = -clean[["p_0", "p_1"]].max(axis=1).to_numpy()[cases["image"]]
    cases["flipped"] = cases["predicted"] != first
    cases["wrong"] = cases["predicted"] != cases["label"]
    moved = drift[KEYS].assign(drift=drift["rmse"].fillna(1), vanished=drift.index % 14 == 7)
    moved["unseen"] = drift.index % 14 == 0
    moved["no map"] = drift["degenerate"]
    before, after, logit = drift["amount_clean"], drift["amount"], drift["logit"]
    moved = moved.assign(energy=-after, **{"clean logit": -logit, "logit lost": drift["logit_clean"] - logit})
    moved["energy lost"] = ((before - after) / (before + after)).fillna(0)
    cases = cases.merge(moved, on=KEYS)
    of_drift = rows[rows["signal"] == "drift"].set_index(["severity", "event"])["auroc"]
    for row in rows.itertuples():
        at = cases[cases["severity"] == row.severity]
        auroc, drift = auroc_within(at, row.event, row.signal), of_drift[row.severity, row.event]
        assert row.auroc == pytest.approx(auroc), row.signal
        assert (row.events, row.cases) == (at[row.event].sum(), len(at))
        flat = at["vanished"].astype(bool)
        assert (row.vanished, row.vanished_events) == (flat.sum(), at[row.event][flat].sum())
        assert row.unseen == at["unseen"].sum()
        assert row.low <= row.auroc <= row.high and row.league in (analysis.WITH, analysis.WITHOUT)
        if row.signal != "drift":
            assert row.ahead == pytest.approx(drift - auroc, abs=1e-6)
            assert row.ahead_low <= row.ahead <= row.ahead_high


def test_multi_label_predictions_have_no_wrong():
    predictions, drift, distances = world(strong, images=60)
    predictions["label_0"], predictions["label_1"] = 1 - predictions["label"], predictions["label"]
    evidence = Evidence(predictions.drop(columns="label"), drift, distances, resamples=10)
    assert set(analysis.failure(evidence)["event"]) == {"flipped"}
    assert analysis.answers(analysis.tests(evidence))["verdict"].iloc[2] == "not defined"
    assert analysis.added(evidence)["errors"].isna().all()
    assert analysis.association(evidence)["value"].notna().all()


def scores_table():
    """Scores whose clean AUC is .9; other metrics and classes must not be read."""
    rows = [("clean", 0, "all", "auc", 0.9, 0.8, 0.95, 0.0, 0.0, 0.0)]
    for (corruption, severity), (auc, *_) in SMALL.items():
        drop = 1 - auc
        rows.append((corruption, severity, "all", "auc", 0.9 - drop, 0, 1, drop, drop - 0.1, drop + 0.1))
        rows.append((corruption, severity, "all", "accuracy", 0.1, 0, 1, 0.99, 0.9, 1))
        rows.append((corruption, severity, "no", "auc", 0.1, 0, 1, 0.99, 0.9, 1))
    columns = ["corruption", "severity", "class", "metric", "value", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "drop", "drop_low", "drop_high"])


def test_summary_quotes_the_tables():
    evidence = Evidence(*small_tables(), resamples=20, permutations=20)
    rows = analysis.summary(evidence, scores_table()).set_index("name")
    assert not rows.index.duplicated().any()
    assert rows.loc["clean auc", ["value", "low", "high"]].tolist() == [0.9, 0.8, 0.95]
    assert rows.loc["worst drop", "value"] == 0.75
    assert rows.loc["worst drop", "what"] == "largest AUC drop: c, severity 2"
    assert rows.loc["drift gradcam", "value"] == pytest.approx((0.4 + 0.5 + 0.6) / 3)
    assert rows.loc["between conditions alone", "value"] == pytest.approx(0.75)
    flips = analysis.failure(evidence).query("severity == 2 and event == 'flipped'").set_index("signal")
    quoted = rows.loc[["flipped entropy", "ahead of entropy"], "value"].tolist()
    assert quoted == flips.loc["entropy", ["auroc", "ahead"]].tolist()
    assert "severity 2" in rows.loc["flipped drift", "what"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda p, m, d: (p, m.drop(columns=["rmse", "amount"]), d), "table drift lacks rmse, amount"),
        (lambda p, m, d: (p, m[:0], d), "table drift has no rows"),
        (lambda p, m, d: (p, m, d.drop(columns="rmse")), "table corruptions lacks rmse; it has image"),
        (lambda p, m, d: (p.drop(columns=["p_0", "p_1"]), m, d), "predictions lacks p_<class>"),
        (lambda p, m, d: (p[p["image"] != 3], m, d), "predictions lacks 6 rows and has 0 more than once"),
        (lambda p, m, d: (p, m, pd.concat([d, d[-1:]])), "corruptions lacks 0 rows and has 1 more than once"),
        (lambda p, m, d: (p, m[1:], d), "drift lacks 1 rows"),
    ],
)
def test_what_a_table_lacks_or_holds_wrongly_is_named(change, text):
    with pytest.raises(ValueError, match=text):
        Evidence(*change(*world(none, images=20, severities=(5,))))
