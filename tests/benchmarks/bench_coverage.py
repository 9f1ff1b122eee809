"""Do the tests keep their 5 %, and do the intervals hold what they promise, in worlds whose answer is known?

Run: python tests/benchmarks/bench_coverage.py [tables, 400]
"""

import sys
import warnings
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
from worlds import MANY, TRUTH, simulated

from medrob import analysis, evaluation

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
    added, ends = analysis.added(evidence).set_index("adds"), ["value", "low", "high"]
    rows = {
        "AUC": scores[0, "auc"][ends],
        "AUC drop": scores[5, "auc"][["drop", "drop_low", "drop_high"]],
        "accuracy": scores[0, "accuracy"][ends],
        "sensitivity": points.loc["sensitivity", ends],
        "specificity": points.loc["specificity", ends],
        "mean drift": analysis.mean_drift(tables[1], ["severity"]).iloc[-1][ends],
        "correlation image by image": links.loc["per image", ends],
        "the same, partial": links.loc["per image, partial", ends],
        "AUROC within strata": signals.loc["drift", ["auroc", "low", "high"]],
        "difference of two": signals.loc["entropy", analysis.AHEAD],
        "what drift adds": added.loc["drift", ends],
        "what the map adds": added.loc["map", ends],
    }
    return pd.DataFrame({name: row.to_numpy(float) for name, row in rows.items()}, index=ends).T


def main(tables):
    """Print both tables."""
    warnings.simplefilter("ignore")
    print(f"Share of {tables} tables of 120 images (or 30 patients x 4) in which a test finds something:")
    for number, kind in product((5, 19), TRUTH):
        each = pd.concat([verdicts(kind, seed, number) for seed in range(tables)], axis=1)
        rates = each.isin(LINK).mean(1)
        print(rates.to_frame(f"{kind}, {number}").T.round(3).to_string(header=kind == "null"), flush=True)
    print(f"Of {tables // 2} tables, share with a link; with one in a control; of the links, stopped by it:")
    for kind, number in (("extra", 5), ("extra", 19), ("conditions", 19)):
        each = [vetoed(kind, seed, number, tables) for seed in range(tables // 2)]
        both = pd.concat(each).assign(stopped=lambda t: t["control"].where(t["found"]).astype(float))
        print(kind, number, both.groupby(level=0).mean().round(3).to_string(), sep="\n", flush=True)
    print("How often the 95 % interval holds the true value, for the corruptions as they are:")
    for kind in ("null", "identity", "extra", "patients"):
        each = np.stack([intervals(kind, seed) for seed in range(tables)])
        large = intervals(kind, tables, LARGE)
        true, adds = large["value"].to_numpy(copy=True), large.index.str.startswith("what")
        true[adds] = each[:, adds, 0].mean(0)  # which depends on how many images the models have learnt from
        below, above = (each[..., 2] < true).mean(0), (each[..., 1] > true).mean(0)
        columns = {"true": true, "holds": 1 - below - above, "below": below, "above": above}
        print(kind, pd.DataFrame(columns, large.index).round(3).to_string(), sep="\n", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
