"""The numbers that a text quotes."""

from __future__ import annotations

import pandas as pd

from medrob.analysis.correction import EVERY, PER_IMAGE, WITHIN
from medrob.analysis.images import PER_IMAGE_PARTIAL
from medrob.analysis.means import mean_drift
from medrob.analysis.tables import MAP, require
from medrob.conditions import CLEAN

# kind of test -> how its number is named, and what it is
LINKS = {
    WITHIN: ("association", "rank correlation of AUC drop and drift within severity"),
    "partial": ("partial association", "the same, less what the RMSE of the picture explains"),
    PER_IMAGE: ("per image", "rank correlation of margin drop and drift over images, within conditions"),
    PER_IMAGE_PARTIAL: ("partial per image", "the same, less what the RMSE of the picture explains"),
}


def summary(
    scores: pd.DataFrame, drift: pd.DataFrame, tests: pd.DataFrame, failure: pd.DataFrame
) -> pd.DataFrame:
    """The numbers that a text quotes.

    Args:
        scores: from `medrob.evaluation.score`. drift: from `medrob.drift.measure`.
        tests: from `adjust` (p is then the corrected one) or `all_tests`.
        failure: from `failure`.

    Returns:
        name, value, low, high, p (NaN where nothing is tested), what (in words).

    Raises:
        ValueError: scores without a clean AUC, or a table without a column.
    """
    require(scores, ["corruption", "severity", "class", "metric", "value", "low", "high", "drop"], "scores")
    require(tests, [*MAP, "kind", "corruption", "value", "low", "high", "p"], "tests")
    auc_rows = scores[(scores["class"] == "all") & (scores["metric"] == "auc")]
    clean = auc_rows[auc_rows["corruption"] == CLEAN[0]]
    if clean.empty:
        raise ValueError("the table scores has no AUC of the condition ('clean', 0)")
    rows = [("clean auc", *clean.iloc[0][["value", "low", "high"]], None, "AUC on clean images")]
    dirty = auc_rows[(auc_rows["corruption"] != CLEAN[0]) & auc_rows["drop"].notna()]
    if len(dirty):
        worst = dirty.loc[dirty["drop"].idxmax()]
        what = f"largest AUC drop: {worst['corruption']}, severity {worst['severity']}"
        rows.append(("worst drop", worst["drop"], worst["drop_low"], worst["drop_high"], None, what))
    highest = drift["severity"].max()
    for row in mean_drift(drift[drift["severity"] == highest], MAP).itertuples():
        what = f"mean drift (RMSE of min-max maps), {row.method} at {row.layer}, severity {highest}"
        rows.append((f"drift {row.method} {row.layer}", row.value, row.low, row.high, None, what))
    p = "p_adjusted" if "p_adjusted" in tests else "p"
    for row in tests[(tests["corruption"] == EVERY) & tests["kind"].isin(LINKS)].to_dict("records"):
        name, what = LINKS[row["kind"]]
        where = f"{row['method']} {row['layer']}"
        told = f"{what}, {row['method']} at {row['layer']}"
        rows.append((f"{name} {where}", row["value"], row["low"], row["high"], row[p], told))
    for row in failure[(failure["severity"] == highest) & (failure["event"] == "flipped")].itertuples():
        label = " ".join(part for part in (row.signal, row.method, row.layer) if part)
        what = f"AUROC of {label} for a flipped prediction, severity {highest}"
        rows.append((f"warning {label}", row.auroc, row.low, row.high, row.p, what))
    frame = pd.DataFrame(rows, columns=["name", "value", "low", "high", "p", "what"])
    return frame.astype(dict.fromkeys(("value", "low", "high", "p"), float))
