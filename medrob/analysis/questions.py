"""The list of the declared questions, their tests, corrected for their number, and the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from medrob.analysis.association import PARTIAL, POOLED, WITHIN, association
from medrob.analysis.evidence import Evidence, once
from medrob.analysis.failure import flip, warnings
from medrob.analysis.finding import FDR, HOLM, OPPOSITE, SMALL, YES, Finding, holm
from medrob.analysis.layout import EVERY, MAP, held, require_map
from medrob.analysis.per_image import PER_IMAGE, PER_IMAGE_PARTIAL, per_image
from medrob.check import require

TEST = [*MAP, "kind", "corruption", "value", "low", "high", "p", "across_classes"]
LARGEST, SMALLEST = "the largest drift", "the smallest drift"


@dataclass(frozen=True)
class Question:
    """A question that is declared beforehand, of one map; its p is corrected with those of the others.

    Attributes:
        name: in numbers and figures. text: the question itself.
        tests: gives the tests of all maps as a table: method, layer, kind, value, low, high, p; with
            corruption and across_classes where it has them. A table with more columns is fine.
        kind: of the declared row of this table, at a severity.
        chance: the value where there is nothing. small: how far from it is too little to matter.
        beyond: the kind of the row that holds the RMSE of the picture fixed, "" = none.
        title, axis: of its panel in a figure.
        quoted: kind -> the name of its number in the summary, and what it is.
    """

    name: str
    text: str
    tests: Callable[[Evidence], pd.DataFrame]
    kind: Callable[[int], str]
    chance: float
    small: float
    beyond: str = ""
    title: str = ""
    axis: str = "rank correlation"
    quoted: Mapping[str, tuple[str, str]] = field(default_factory=dict)


SAME_LESS_RMSE = "the same, less what the RMSE of the picture explains"
QUESTIONS = (
    Question(
        "between conditions",
        "Does the map move more under the corruption that costs more AUC?",
        association,
        lambda severity: WITHIN,
        chance=0.0,
        small=SMALL["correlation"],
        beyond=PARTIAL,
        title="between conditions",
        quoted={
            WITHIN: (
                "association",
                "rank correlation of AUC drop and drift within severity, the interval over images alone",
            ),
            PARTIAL: ("partial association", SAME_LESS_RMSE),
        },
    ),
    Question(
        "per image",
        "Does the map move more in the image, of one class, that loses more margin?",
        per_image,
        lambda severity: PER_IMAGE,
        chance=0.0,
        small=SMALL["correlation"],
        beyond=PER_IMAGE_PARTIAL,
        title="image by image",
        quoted={
            PER_IMAGE: (
                "per image",
                "rank correlation of margin drop and drift over images, within condition and class",
            ),
            PER_IMAGE_PARTIAL: ("partial per image", SAME_LESS_RMSE),
        },
    ),
    Question(
        "warning",
        "Does the map move more, within a class, where the prediction flips?",
        warnings,
        flip,
        chance=0.5,
        small=SMALL["auroc"],
        title="warning of a flip",
        axis="AUROC",
    ),
)


@once
def tests(evidence: Evidence) -> pd.DataFrame:
    """The tests of all questions and maps, p corrected for their number.

    Returns:
        method, layer, kind, corruption (a name, or "all"), value (a rank correlation, or an AUROC), low,
        high, p, across_classes (the value if the class is not held fixed; NaN between conditions), and as in
        `corrected`.
    """
    parts = [question.tests(evidence) for question in QUESTIONS]
    usual = {"corruption": EVERY, "across_classes": np.nan}
    parts = [part.assign(**{c: v for c, v in usual.items() if c not in part}) for part in parts if len(part)]
    rows = pd.concat([part[TEST] for part in parts], ignore_index=True)
    kinds = [question.kind(evidence.declared["severity"]) for question in QUESTIONS]
    method, layer = evidence.declared["method"], evidence.declared["layer"]
    declared = (rows["method"] == method) & (rows["layer"] == layer) & rows["kind"].isin(kinds)
    return corrected(rows, (declared & (rows["corruption"] == EVERY)).to_numpy())


def corrected(rows: pd.DataFrame, declared: np.ndarray) -> pd.DataFrame:
    """Correct p for the number of tests: the family declared beforehand by Holm, the rest as exploration.

    Returns:
        The rows with three more columns: family ("declared" or "exploration"), p_adjusted and correction:
        "Holm" (1979) in the family, "Benjamini-Hochberg" (1995, the false discovery rate) in the rest. NaN
        where p is.
        "pooled" correlations grow with severity by construction; they are described, not tested: NaN.
    """
    tested = rows["p"].notna().to_numpy() & (rows["kind"] != POOLED).to_numpy()
    found, p = np.full(len(rows), np.nan), rows["p"].to_numpy(float)
    found[declared & tested] = holm(p[declared & tested])
    if (~declared & tested).any():
        found[~declared & tested] = false_discovery_control(p[~declared & tested])
    family, correction = (np.where(declared, *pair) for pair in (("declared", "exploration"), (HOLM, FDR)))
    return rows.assign(family=family, p_adjusted=found, correction=correction)


def rows_of(rows: pd.DataFrame, method: str, layer: str, name: str) -> pd.DataFrame:
    """The rows of one method and layer over all corruptions, by kind; a ValueError if there are none."""
    require(rows, [*MAP, "kind", "value", "low", "high", "p"], name)
    require_map(rows, method, layer, name)
    chosen = rows[(rows["method"] == method) & (rows["layer"] == layer)]
    if "corruption" in chosen:
        chosen = chosen[chosen["corruption"] == EVERY]
    return chosen.set_index("kind")


def answers(tests: pd.DataFrame) -> pd.DataFrame:
    """The tests declared beforehand, each with its verdict.

    Args:
        tests: from `tests`.

    Returns:
        kind, name, question, value, low, high, p_adjusted (Holm), correction, verdict, across_classes, beyond
        (of a yes or its opposite: the verdict on what goes beyond the RMSE of the picture; "" where that is
        not asked).
    """
    require(tests, ["family", "p_adjusted", "correction"], "tests")
    rows, found = tests[tests["family"] == "declared"], []
    for question, row in zip(QUESTIONS, rows.to_dict("records"), strict=True):
        finding, beyond = Finding.of(row), ""
        verdict = finding.verdict(chance=question.chance, small=question.small)
        if question.beyond and verdict in (YES, OPPOSITE):
            partial = rows_of(tests, row["method"], row["layer"], "tests").loc[question.beyond]
            beyond = Finding.of(partial).verdict(chance=0, small=question.small)
        numbers = (finding.value, finding.low, finding.high, finding.p, row["correction"])
        about = (row["kind"], question.name, question.text)
        found.append((*about, *numbers, verdict, row["across_classes"], beyond))
    columns = ["kind", "name", "question", "value", "low", "high", "p_adjusted", "correction", "verdict"]
    return pd.DataFrame(found, columns=[*columns, "across_classes", "beyond"])


def sensitivity(evidence: Evidence) -> pd.DataFrame:
    """The answers once more, with every degenerate map counted as the largest, or smallest, drift.

    Left out, as everywhere else, they make the answer one about the pictures that have a map. These are the
    two extremes of what they could have been, within what this map shows elsewhere in the run.

    Returns:
        The rows of `answers` for each extreme, with counted_as ("the largest drift" or "the smallest
        drift"). Empty if no map is degenerate, or all are.
    """
    alone = declared_alone(evidence)
    values = alone.drift["rmse"]
    parts = []
    if values.isna().any() and values.notna().any():
        for name, value in ((LARGEST, values.max()), (SMALLEST, values.min())):
            drift = alone.drift.assign(degenerate=False, rmse=values.fillna(value))
            filled = replace(alone, drift=drift, resamples=min(alone.resamples, 500))
            parts.append(answers(tests(filled)).assign(counted_as=name))
    empty = pd.DataFrame(columns=["kind", "verdict", "counted_as"])
    return pd.concat(parts, ignore_index=True) if parts else empty


def declared_alone(evidence: Evidence) -> Evidence:
    """The evidence of the declared map alone, which has the same answers and takes far less time."""
    declared = evidence.declared
    return evidence.only(method=declared["method"]).only(layer=declared["layer"])


def answers_of_runs(runs: Mapping[str, Evidence]) -> pd.DataFrame:
    """The answers of every run, each with its own declared map at its own highest severity.

    Args:
        runs: name -> evidence.

    Returns:
        A row per run and question: run, method, layer, severity, conditions (in words), and the columns of
        `answers`; p is corrected by Holm within each run.
    """
    if not runs:
        raise ValueError("there are no runs to ask; give at least one")
    parts = []
    for name, evidence in runs.items():
        found = answers(tests(declared_alone(evidence)))
        known: dict[str, Any] = {"run": name, **evidence.declared, "conditions": grid(held(evidence.drift))}
        parts.append(pd.DataFrame(known, index=found.index).join(found))
    return pd.concat(parts, ignore_index=True)


def grid(conditions: set[tuple[str, int]]) -> str:
    """Conditions in words: ``contrast 1-5; fog 3``."""
    levels: dict[str, list[int]] = {}
    for corruption, severity in sorted(conditions):
        levels.setdefault(corruption, []).append(severity)
    return "; ".join(f"{name} {', '.join(map(str, at))}" for name, at in levels.items())
