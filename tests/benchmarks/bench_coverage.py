"""Do the tests keep their 5 %, and do the intervals hold what they promise, in worlds whose answer is known?

Run: python tests/benchmarks/bench_coverage.py [tables, 400] [parts]
All parts: tests, vetoes, intervals, few, alarms.
"""

import sys
import warnings
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
from worlds import MANY, TRUTH, alarm_world, simulated

from medrob import analysis, evaluation
from medrob.trust.means import Entry, means

LARGE = 2400  # images of the table that tells the true value
LINK = ["yes", "the other way round"]


def verdicts(kind, seed, number, same=None):
    """The verdicts of the declared tests in a table of so many corruptions."""
    tables = simulated(kind, seed, corruptions=MANY[:number], same=same)
    evidence = analysis.Evidence(*tables, resamples=200, permutations=400)
    return analysis.answers(analysis.tests(evidence)).set_index("name")["verdict"]


def vetoed(kind, seed, number, tables):
    """Which tests find a link, and which would a negative control stop: 3 heads, 3 random networks.

    Under the same corruptions, the drift of an untrained head follows from its logit, that of random weights
    from nothing.
    """
    same = 10**6 + seed
    controls = [
        verdicts(control, seed + draw * tables, number, same).isin(LINK)
        for control, draw in product(("identity", "null"), (1, 2, 3))
    ]
    found = verdicts(kind, seed, number, same).isin(LINK)
    return pd.DataFrame({"found": found, "control": np.any(controls, 0)})


def intervals(kind, seed, images=120):
    """Value, low and high of every kind of interval, clean or of the worst condition."""
    tables = simulated(kind, seed, images=images, same=1)
    resamples = 2 if images == LARGE else 400
    evidence = analysis.Evidence(*tables, resamples=resamples, permutations=0)
    worst = tables[0].query("severity == 0 or (corruption == 'e' and severity == 5)")
    scores = evaluation.score(worst, "binary", resamples=resamples).query("`class` == 'all'")
    scores = {key: rows.iloc[0] for key, rows in scores.groupby(["severity", "metric"])}
    points = evaluation.operating_points(worst, {"1": 0.5}, resamples=resamples)
    points = points[points["severity"] == 5].set_index("metric")
    links = analysis.per_image(evidence).set_index("kind")
    signals = analysis.failure(evidence).query("event == 'wrong' and severity == 5").set_index("signal")
    far = np.random.default_rng(seed).normal(0.4, 0.1, images)  # the map of another picture
    scaled = tables[1].assign(
        normalised=tables[1]["rmse"] / far.mean(), another=far[tables[1]["image"]] / far.mean()
    )
    added, ends = analysis.added(evidence).iloc[0], ["value", "low", "high"]
    rows = {
        "AUC": scores[0, "auc"][ends],
        "AUC drop": scores[5, "auc"][["drop", "drop_low", "drop_high"]],
        "accuracy": scores[0, "accuracy"][ends],
        "sensitivity": points.loc["sensitivity", ends],
        "specificity": points.loc["specificity", ends],
        "mean drift": analysis.mean_drift(tables[1], ["severity"]).iloc[-1][ends],
        "normalised drift": analysis.mean_drift(scaled, ["severity"], metric="normalised").iloc[-1][ends],
        "correlation image by image": links.loc["per image", ends],
        "the same, partial": links.loc["per image, partial", ends],
        "AUROC within strata": signals.loc["drift", ["auroc", "low", "high"]],
        "difference of two": signals.loc["entropy", analysis.AHEAD],
        "what is left of drift and errors": added[ends],
    }
    return pd.DataFrame({name: row.to_numpy(float) for name, row in rows.items()}, index=ends).T


def of_few(tables):
    """How often intervals of few units hold: shares, their change, means; bins and errors of patients."""
    rng, rows = np.random.default_rng(0), {}
    draws = {
        f"pointing of {n} images, {p}": ("", lambda n=n, p=p: rng.random(n) < p, p)
        for n, p in ((40, 0.02), (40, 0.1), (80, 0.5), (40, 0.98))
    }
    draws["change of pointing of 40"] = (
        "change",
        lambda: rng.choice([1, -1, 0], 40, p=[0.05, 0.02, 0.93]),
        0.03,
    )
    draws |= {f"mean of {n}": ("mean", lambda n=n: rng.normal(0, 1, n), 0) for n in (5, 10, 15)}
    draws |= {f"mean of {n}, skewed": ("mean", lambda n=n: rng.gamma(1, 1, n), 1) for n in (5, 10, 15)}
    for name, (stage, draw, true) in draws.items():
        test = "randomisation" if stage == "mean" else "pointing"
        entries = [Entry("gradcam", "layer", test, draw().astype(float), stage=stage) for _ in range(tables)]
        found = means(entries, seed=0)
        rows[name] = ((found["low"] <= true) & (true <= found["high"])).mean()
    for patients, images in ((30, 4), (30, 10), (8, 15)):
        held = []
        for _ in range(tables):
            group = np.arange(patients * images) // images
            right = rng.random(len(group)) < rng.beta(2, 2, patients)[group]  # half of all are right
            label = rng.integers(0, 2, len(group))
            said = np.where(right, label, 1 - label)
            table = pd.DataFrame(dict(image=np.arange(len(group)), group=group, label=label, predicted=said))
            table = table.assign(p_0=0.95 - 0.9 * said, p_1=0.05 + 0.9 * said)
            table = pd.concat([table.assign(corruption=c, severity=s) for c, s in (("clean", 0), ("fog", 5))])
            bins = evaluation.reliability(table).iloc[-1]
            error = evaluation.corruption_errors(table, resamples=400).iloc[0]
            held.append([row["low"] <= 0.5 <= row["high"] for row in (bins, error)])
        for what, share in zip(("bin", "error"), np.mean(held, 0), strict=True):
            rows[f"{what}, {patients} x {images}"] = share
    return pd.Series(rows).round(3).to_string()


def called(seed):
    """Which measures differ between two settings of three seeds each, which differ by chance alone?"""
    (predictions, drift, pictures), rng = simulated("null", seed, same=1), np.random.default_rng(seed)

    def trained():
        odds = np.log(predictions["p_1"] / predictions["p_0"]) + rng.normal(0, 0.3, len(predictions))
        odds += rng.normal(0, 0.25) * (2 * predictions["label"] - 1)  # a better or a worse training
        p = 1 / (1 + np.exp(-odds))
        again = predictions.assign(p_1=p, p_0=1 - p, predicted=(p > 0.5).astype(int))
        moved = drift.assign(rmse=drift["rmse"] * np.exp(rng.normal(0, 0.1)))
        return analysis.Evidence(again, moved, pictures, resamples=300, permutations=0)

    runs = {name: [trained() for _ in range(3)] for name in "ab"}
    found = analysis.compare_runs(runs, {"a": "same", "b": "same"}).query("run == 'b' and severity == 'all'")
    return found.set_index("measure").eval("difference_low > 0 or difference_high < 0")


def alarms(informed, patients, seed, images=120):
    """Value, low and high of every kind of interval of an alarm."""
    world = alarm_world(images, seed, informed, patients)
    found = analysis.alarms(*world, resamples=0 if images == LARGE else 200)
    keys = ["signal", "pictures", "metric"]
    found, ends, rows = found.set_index(keys), ["value", "low", "high"], {}
    of_all = [("all", metric) for metric in ("auroc", "aurc", "excess aurc", "augrc")]
    for of in (("same corruption", "auroc"), *of_all):
        rows[f"{of[1]}, {of[0]}"] = found.loc[(analysis.MAP_SIGNAL, *of), ends]
        rows[f"{of[1]}, {of[0]}, difference"] = found.loc[("low confidence", *of), analysis.AHEAD]
    together = found.loc[(analysis.TOGETHER, "same corruption", "auroc")]
    rows |= {"model of all scores": together[ends], "model: the map adds": together[analysis.AHEAD]}
    return pd.DataFrame({name: row.to_numpy(float) for name, row in rows.items()}, index=ends).T


def coverage(each, large, learnt):
    """How often the intervals of the tables (tables, rows, 3) hold the value of a large one.

    Of models, which depend on how many images they have learnt from, they should hold the mean value.
    """
    true = large["value"].to_numpy(copy=True)
    true[learnt] = each[:, learnt, 0].mean(0)
    below, above = (each[..., 2] < true).mean(0), (each[..., 1] > true).mean(0)
    columns = {"true": true, "holds": 1 - below - above, "below": below, "above": above}
    columns["above 0"] = (each[..., 1] > 0).mean(0)
    return pd.DataFrame(columns, large.index).round(3).to_string()


def main(tables, parts):
    """Print the tables of the parts."""
    warnings.simplefilter("ignore")
    if "tests" in parts:
        print(f"Share of {tables} tables of 120 images (or 30 patients x 4) in which a test finds something:")
        for number, kind in product((5, 19), TRUTH):
            each = pd.concat([verdicts(kind, seed, number) for seed in range(tables)], axis=1)
            rates = each.isin(LINK).mean(1)
            print(rates.to_frame(f"{kind}, {number}").T.round(3).to_string(header=kind == "null"), flush=True)
    if "vetoes" in parts:
        print(f"Of {tables // 2} tables, share with a link; with one in a control; of the links, stopped:")
        for kind, number in (("extra", 5), ("extra", 19), ("conditions", 19)):
            each = [vetoed(kind, seed, number, tables) for seed in range(tables // 2)]
            both = pd.concat(each).assign(stopped=lambda t: t["control"].where(t["found"]).astype(float))
            print(kind, number, both.groupby(level=0).mean().round(3).to_string(), sep="\n", flush=True)
    said = "How often the 95 % interval holds the true value"
    if "intervals" in parts:
        print(f"{said}, for the corruptions as they are:")
        for kind in ("null", "identity", "extra", "patients"):
            each = np.stack([intervals(kind, seed) for seed in range(tables)])
            large = intervals(kind, tables, LARGE)
            print(kind, coverage(each, large, large.index.str.startswith("what")), sep="\n", flush=True)
    if "few" in parts:
        print(f"{said}, of few images, groups or seeds:", of_few(4 * tables), sep="\n", flush=True)
        print("Settings of three seeds that do not differ, called different:")
        print(pd.concat([called(seed) for seed in range(tables)], axis=1).mean(1).to_string(), flush=True)
    if "alarms" in parts:
        print(f"{said}, of an alarm:")
        for patients, informed in product((False, True), (0.0, 0.3)):
            each = np.stack([alarms(informed, patients, seed) for seed in range(tables)])
            large = alarms(informed, patients, tables, LARGE)
            table = coverage(each, large, large.index.str.startswith("model"))
            print(f"patients: {patients}, map knows: {informed}", table, sep="\n", flush=True)


if __name__ == "__main__":
    tables, *parts = sys.argv[1:] or ["400"]
    main(int(tables), parts or ["tests", "vetoes", "intervals", "few", "alarms"])
