"""The answer to the question, in numbers and in words."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob.analysis.images import PER_IMAGE_PARTIAL
from medrob.analysis.maps import mean_drift
from medrob.analysis.tables import INPUT, MAP
from medrob.analysis.testing import (  # fmt: skip
    EVERY,
    OPPOSITE,
    PER_IMAGE,
    SMALL,
    UNDEFINED,
    WITHIN,
    YES,
    Finding,
    family,
    rows_of,
    warning,
)
from medrob.check import require
from medrob.corruptions.conditions import CLEAN

# kind of test -> how its number is named, and what it is
LINKS = {
    WITHIN: (
        "association",
        "rank correlation of AUC drop and drift within severity, the interval over images alone",
    ),
    "partial": ("partial association", "the same, less what the RMSE of the picture explains"),
    PER_IMAGE: (
        "per image",
        "rank correlation of margin drop and drift over images, within condition and class",
    ),
    PER_IMAGE_PARTIAL: ("partial per image", "the same, less what the RMSE of the picture explains"),
}


def summary(
    scores: pd.DataFrame, drift: pd.DataFrame, tests: pd.DataFrame, failure: pd.DataFrame, *, layer: str
) -> pd.DataFrame:
    """The numbers that a text quotes.

    Args:
        scores: from `medrob.evaluation.score`. drift: from `medrob.drift.measure`.
        tests: from `adjust` (p is then the corrected one, and correction says how) or `all_tests`.
        failure: from `failure`.
        layer: whose maps are quoted, beside those of methods that explain the input.

    Returns:
        name, value, low, high, p (NaN where nothing is tested), correction (of p: "Holm",
        "Benjamini-Hochberg" or "none"; "" where nothing is tested), what (in words).

    Raises:
        ValueError: scores without a clean AUC, or a table without a column.
    """
    require(scores, ["corruption", "severity", "class", "metric", "value", "low", "high", "drop"], "scores")
    require(tests, [*MAP, "kind", "corruption", "value", "low", "high", "p"], "tests")
    auc_rows = scores[(scores["class"] == "all") & (scores["metric"] == "auc")]
    clean = auc_rows[auc_rows["corruption"] == CLEAN[0]]
    if clean.empty:
        raise ValueError("the table scores has no AUC of the condition ('clean', 0)")
    rows = [("clean auc", *clean.iloc[0][["value", "low", "high"]], None, "", "AUC on clean images")]
    dirty = auc_rows[(auc_rows["corruption"] != CLEAN[0]) & auc_rows["drop"].notna()]
    if len(dirty):
        worst = dirty.loc[dirty["drop"].idxmax()]
        what = f"largest AUC drop: {worst['corruption']}, severity {worst['severity']}"
        rows.append(("worst drop", worst["drop"], worst["drop_low"], worst["drop_high"], None, "", what))
    highest = drift["severity"].max()
    drift, tests = (table[table["layer"].isin([layer, INPUT])] for table in (drift, tests))
    failure = failure[failure["layer"].isin([layer, INPUT, ""])]
    for row in mean_drift(drift[drift["severity"] == highest], MAP).itertuples():
        what = f"mean drift (RMSE of min-max maps), {row.method} at {row.layer}, severity {highest}"
        rows.append((f"drift {row.method} {row.layer}", row.value, row.low, row.high, None, "", what))
    p = "p_adjusted" if "p_adjusted" in tests else "p"
    for row in tests[(tests["corruption"] == EVERY) & tests["kind"].isin(LINKS)].to_dict("records"):
        name, what = LINKS[row["kind"]]
        where = f"{row['method']} {row['layer']}"
        told = f"{what}, {row['method']} at {row['layer']}"
        correction = row.get("correction", "none")
        rows.append((f"{name} {where}", row["value"], row["low"], row["high"], row[p], correction, told))
    for row in failure[(failure["severity"] == highest) & (failure["event"] == "flipped")].itertuples():
        label = " ".join(part for part in (row.signal, row.method, row.layer) if part)
        what = f"AUROC of {label} for a flipped prediction, severity {highest}, within a class"
        if not row.method:
            what += ", on the pictures that have the declared map"
        q, correction = row.p, "none"
        tested = tests[(tests["method"] == row.method) & (tests["layer"] == row.layer)]
        tested = tested[tested["kind"] == warning(row.event, highest)]
        if p == "p_adjusted" and len(tested):
            q, correction = tested[p].iloc[0], tested["correction"].iloc[0]
        rows.append((f"warning {label}", row.auroc, row.low, row.high, q, correction, what))
        if row.method:
            told = f"AUROC of {label} less that of low confidence on the same pictures, severity {highest}"
            rows.append((f"gain {label}", row.gain, row.gain_low, row.gain_high, None, "", told))
    frame = pd.DataFrame(rows, columns=["name", "value", "low", "high", "p", "correction", "what"])
    return frame.astype(dict.fromkeys(("value", "low", "high", "p"), float))


QUESTIONS = (  # of `family`: its name, the question, chance, too little to matter, beyond the image's RMSE
    (
        "between conditions",
        "Does the map move more under the corruption that costs more AUC?",
        0.0,
        "correlation",
        "partial",
    ),
    (
        "per image",
        "Does the map move more in the image, of one class, that loses more margin?",
        0.0,
        "correlation",
        PER_IMAGE_PARTIAL,
    ),
    ("warning", "Does the map move more, within a class, where the prediction flips?", 0.5, "auroc", ""),
)


def answers(tests: pd.DataFrame, *, method: str, layer: str, severity: int) -> pd.DataFrame:
    """The three tests declared beforehand, each with its verdict.

    Args:
        tests: from `adjust`, whose family was `family(severity)`.

    Returns:
        kind, name, question, value, low, high, p_adjusted (Holm), correction, verdict, across_classes, beyond
        (of a yes or its opposite: the verdict on what goes beyond the RMSE of the picture; "" where that is
        not asked).

    Raises:
        ValueError: an unknown method or layer, or a test of the family that was not declared.
    """
    require(tests, ["family", "p_adjusted", "correction"], "tests")
    rows, found = rows_of(tests, method, layer, "tests"), []
    for kind, (name, question, chance, scale, partial) in zip(family(severity), QUESTIONS, strict=True):
        if kind not in rows.index or rows.loc[kind, "family"] != "declared":
            raise ValueError(f"the test {kind!r} was not declared; give family({severity}) to `adjust`")
        one = Finding.of(rows.loc[kind])
        verdict, beyond = one.verdict(chance=chance, small=SMALL[scale]), ""
        if partial in rows.index and verdict in (YES, OPPOSITE):
            beyond = Finding.of(rows.loc[partial]).verdict(chance=0, small=SMALL[scale])
        numbers = (one.value, one.low, one.high, one.p, rows.loc[kind, "correction"])
        across = rows.loc[kind].get("across_classes", np.nan)
        found.append((kind, name, question, *numbers, verdict, across, beyond))
    columns = ["kind", "name", "question", "value", "low", "high", "p_adjusted", "correction", "verdict"]
    return pd.DataFrame(found, columns=[*columns, "across_classes", "beyond"])


def declared(
    tests: pd.DataFrame,
    failure: pd.DataFrame,
    added: pd.DataFrame,
    beside: pd.DataFrame,
    *,
    method: str,
    layer: str,
    severity: int,
) -> pd.DataFrame:
    """What a text quotes of the declared map and tests, under names that hold whatever the map is.

    Args:
        tests, failure, added, beside: from `adjust`, `failure`, `added` and `beside`.

    Returns:
        name, value (a number or words), low, high, p, correction, what (in words).
    """
    plain = (np.nan, np.nan, np.nan, "")
    rows: list[tuple] = [
        ("declared method", method, *plain, "declared method"),
        ("declared layer", layer, *plain, "declared layer"),
        ("declared severity", severity, *plain, "declared severity"),
    ]
    for row in answers(tests, method=method, layer=layer, severity=severity).to_dict("records"):
        numbers = (row["value"], row["low"], row["high"], row["p_adjusted"], row["correction"])
        rows.append((f"declared {row['name']}", *numbers, row["question"]))
        words = f"the answer to: {row['question']}"
        rows.append((f"declared {row['name']} verdict", row["verdict"], *plain, words))
        if np.isfinite(row["across_classes"]):
            told = f"{row['question']} The same without holding the class fixed; not tested"
            rows.append((f"declared {row['name']} across classes", row["across_classes"], *plain, told))
    known = failure[(failure["severity"] == severity) & (failure["event"] == "flipped")]
    own = known[(known["method"] == method) & (known["layer"] == layer)].iloc[0]
    for name, value, what in (
        ("flips", own["events"] + own["lost_events"], "flipped predictions"),
        ("pictures", own["cases"] + own["lost"], "pictures"),
        ("lost", own["lost"], "pictures without a usable map"),
        ("lost flips", own["lost_events"], "flipped predictions without a usable map"),
        ("compared", own["compared"], "pictures that the warning rests on, in strata with and without flips"),
        ("compared flips", own["compared_events"], "flipped predictions among them"),
    ):
        rows.append((f"declared {name}", int(value), *plain, f"{what} at severity {severity}"))
    others = beside[(beside["event"] == "flipped") & (beside["signal"] != "drift")]
    for row in others.to_dict("records"):
        ahead, signal = Finding.of(row, ("ahead", "ahead_low", "ahead_high")), row["signal"]
        what = f"AUROC of drift less that of {signal}, on the same pictures"
        numbers = (ahead.value, ahead.low, ahead.high, np.nan, "")
        rows.append((f"declared ahead of {signal}", *numbers, what))
        verdict = ahead.verdict(chance=0, small=0, tested=False)
        told = {YES: "better", OPPOSITE: "worse", UNDEFINED: UNDEFINED}.get(verdict, "not distinguishable")
        what = f"drift beside {signal} as a warning of a flip"
        rows.append((f"declared ahead of {signal} verdict", told, *plain, what))
    for row in added[(added["method"] == method) & (added["layer"] == layer)].to_dict("records"):
        what = f"AUROC that drift adds to what is known without a map, for: prediction {row['event']}"
        numbers = (row["gain"], row["gain_low"], row["gain_high"], np.nan, "")
        rows.append((f"declared added {row['event']}", *numbers, what))
    return pd.DataFrame(rows, columns=["name", "value", "low", "high", "p", "correction", "what"])
