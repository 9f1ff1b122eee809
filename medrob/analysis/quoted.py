"""The numbers that a text quotes, each under a name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from medrob.analysis.added import added
from medrob.analysis.beside import AHEAD, beside
from medrob.analysis.drift_means import mean_drift
from medrob.analysis.evidence import Evidence
from medrob.analysis.failure import failure, flip, warnings_at
from medrob.analysis.finding import OPPOSITE, UNDEFINED, YES, Finding
from medrob.analysis.layout import EVERY, INPUT, MAP, ends
from medrob.analysis.questions import QUESTIONS, answers, tests
from medrob.check import require
from medrob.corruptions import CLEAN

COLUMNS = ["name", "value", "low", "high", "p", "correction", "what"]
UNTESTED = (np.nan, "")  # p and correction
PLAIN = (np.nan, np.nan, *UNTESTED)  # nor an interval


def summary(evidence: Evidence, scores: pd.DataFrame) -> pd.DataFrame:
    """The numbers of a run: of the declared layer, and of methods that explain the input.

    Args:
        scores: from `medrob.evaluation.score`.

    Returns:
        name, value, low, high, p (corrected; NaN where nothing is tested), correction (of p: "Holm",
        "Benjamini-Hochberg" or "none"; "" where nothing is tested), what (in words).

    Raises:
        ValueError: scores without a clean AUC, or without a column.
    """
    drift, severity = evidence.drift, evidence.declared["severity"]
    layers = [evidence.declared["layer"], INPUT]
    rows = list(_of_scores(scores))
    drift = drift[drift["layer"].isin(layers) & (drift["severity"] == severity)]
    for row in mean_drift(drift, MAP).itertuples():
        what = f"mean drift (RMSE of min-max maps), {row.method} at {row.layer}, severity {severity}"
        rows.append((f"drift {row.method} {row.layer}", row.value, row.low, row.high, *UNTESTED, what))
    tested = tests(evidence)
    tested = tested[tested["layer"].isin(layers) & (tested["corruption"] == EVERY)]
    names = {kind: name for question in QUESTIONS for kind, name in question.quoted.items()}
    for row in tested[tested["kind"].isin(names)].to_dict("records"):
        (name, what), numbers = names[row["kind"]], [row[c] for c in COLUMNS[1:4]]
        what += f", {row['method']} at {row['layer']}"
        name += f" {row['method']} {row['layer']}"
        rows.append((name, *numbers, row["p_adjusted"], row["correction"], what))
    corrections = tested[tested["kind"] == flip(severity)].set_index(MAP)[["p_adjusted", "correction"]]
    warned = warnings_at(failure(evidence), severity)
    for row in warned[warned["layer"].isin([*layers, ""])].itertuples():
        rows += _of_warning(row, severity, corrections)
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(COLUMNS[1:5], float))


def _of_scores(scores: pd.DataFrame) -> Iterator[tuple]:
    require(scores, ["corruption", "severity", "class", "metric", "value", "low", "high", "drop"], "scores")
    aucs = scores[(scores["class"] == "all") & (scores["metric"] == "auc")]
    clean = aucs[aucs["corruption"] == CLEAN[0]]
    if clean.empty:
        raise ValueError("the table scores has no AUC of the condition ('clean', 0)")
    yield "clean auc", *clean.iloc[0][["value", "low", "high"]], *UNTESTED, "AUC on clean images"
    dirty = aucs[(aucs["corruption"] != CLEAN[0]) & aucs["drop"].notna()]
    if len(dirty):
        worst = dirty.loc[dirty["drop"].idxmax()]
        what = f"largest AUC drop: {worst['corruption']}, severity {worst['severity']}"
        yield "worst drop", *worst[ends("drop")], *UNTESTED, what


def _of_warning(row: Any, severity: int, corrections: pd.DataFrame) -> Iterator[tuple]:
    """An AUROC of `failure`, p corrected where it is of a map, and its gain over low confidence."""
    label = " ".join(part for part in (row.signal, row.method, row.layer) if part)
    what = f"AUROC of {label} for a flipped prediction, severity {severity}, within a class"
    p, correction = row.p, "none"
    if row.method:
        p, correction = corrections.loc[(row.method, row.layer)]
    else:
        what += ", on the pictures that have the declared map"
    yield f"warning {label}", row.auroc, row.low, row.high, p, correction, what
    if row.method:
        what = f"AUROC of {label} less that of low confidence on the same pictures, severity {severity}"
        yield f"gain {label}", row.gain, row.gain_low, row.gain_high, *UNTESTED, what


def declared(evidence: Evidence) -> pd.DataFrame:
    """What a text quotes of the declared map and tests, under names that hold whatever the map is.

    Returns:
        name, value (a number or words), low, high, p, correction, what (in words).
    """
    rows: list[tuple] = [
        (part, value, *PLAIN, f"declared {part}") for part, value in evidence.declared.items()
    ]
    for row in answers(tests(evidence)).to_dict("records"):
        name, text = row["name"], row["question"]
        rows.append((name, *(row[c] for c in (*COLUMNS[1:4], "p_adjusted", "correction")), text))
        rows.append((f"{name} verdict", row["verdict"], *PLAIN, f"the answer to: {text}"))
        if np.isfinite(row["across_classes"]):
            what = f"{text} The same without holding the class fixed; not tested"
            rows.append((f"{name} across classes", row["across_classes"], *PLAIN, what))
    rows += _counts(evidence)
    rows += _ahead(evidence)
    gains = _of_map(added(evidence), evidence)
    for row in gains.to_dict("records"):
        what = f"AUROC that drift adds to what is known without a map, for: prediction {row['event']}"
        rows.append((f"added {row['event']}", *(row[c] for c in ends("gain")), *UNTESTED, what))
    return pd.DataFrame([(f"declared {name}", *rest) for name, *rest in rows], columns=COLUMNS)


def _of_map(rows: pd.DataFrame, evidence: Evidence) -> pd.DataFrame:
    method, layer = evidence.declared["method"], evidence.declared["layer"]
    return rows[(rows["method"] == method) & (rows["layer"] == layer)]


def _counts(evidence: Evidence) -> Iterator[tuple]:
    """On how many pictures the warning rests."""
    severity = evidence.declared["severity"]
    row = _of_map(warnings_at(failure(evidence), severity), evidence).iloc[0]
    for name, value, what in (
        ("flips", row["events"] + row["lost_events"], "flipped predictions"),
        ("pictures", row["cases"] + row["lost"], "pictures"),
        ("lost", row["lost"], "pictures without a usable map"),
        ("lost flips", row["lost_events"], "flipped predictions without a usable map"),
        ("compared", row["compared"], "pictures that the warning rests on, in strata with and without flips"),
        ("compared flips", row["compared_events"], "flipped predictions among them"),
    ):
        yield name, int(value), *PLAIN, f"{what} at severity {severity}"


def _ahead(evidence: Evidence) -> Iterator[tuple]:
    """Drift beside each signal that needs no map."""
    rows = beside(evidence)
    for row in rows[(rows["event"] == "flipped") & (rows["signal"] != "drift")].to_dict("records"):
        ahead, signal = Finding.of(row, AHEAD), row["signal"]
        what = f"AUROC of drift less that of {signal}, on the same pictures"
        yield f"ahead of {signal}", ahead.value, ahead.low, ahead.high, *UNTESTED, what
        verdict = ahead.verdict(chance=0, small=0, tested=False)
        word = {YES: "better", OPPOSITE: "worse", UNDEFINED: UNDEFINED}.get(verdict, "not distinguishable")
        what = f"drift beside {signal} as a warning of a flip"
        yield f"ahead of {signal} verdict", word, *PLAIN, what
