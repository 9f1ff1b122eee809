"""The declared questions, their tests, corrected for their number, the answers, and the numbers to quote."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from medrob.analysis.evidence import Evidence
from medrob.analysis.layout import EVERY, INPUT, MAP, ends, rows_of
from medrob.analysis.links import (
    PARTIAL,
    PER_IMAGE,
    PER_IMAGE_PARTIAL,
    POOLED,
    WITHIN,
    association,
    per_image,
)
from medrob.analysis.means import mean_drift
from medrob.analysis.statistics import FDR, HOLM, OPPOSITE, SMALL, UNDEFINED, YES, Finding, holm
from medrob.analysis.warning import AHEAD, added, beside, failure, flip, warnings, warnings_at
from medrob.corruptions import CLEAN, SEVERITIES


@dataclass(frozen=True)
class Question:
    """A question that is declared beforehand, of one map; its p is corrected with those of the others.

    Attributes:
        name: in numbers. title, axis: of its panel in a figure.
        tests: gives a table of all maps: method, layer, kind, value, low, high, p, and what else it has.
        kind: of the declared row at a severity. beyond: that which holds the RMSE fixed, "" = none.
        chance: the value where there is nothing. small: how far from it is too little to matter.
    """

    name: str
    title: str
    text: str
    tests: Callable[[Evidence], pd.DataFrame]
    kind: Callable[[int], str]
    beyond: str = ""
    chance: float = 0.0
    small: float = SMALL["correlation"]
    axis: str = "rank correlation"


COSTS = "Does the map move more under the corruption that costs more AUC?"
LOSES = "Does the map move more in the image, of one class, that loses more margin?"
FLIPS = "Does the map move more, within a class, where the prediction flips?"
QUESTIONS = (
    Question("between conditions", "between conditions", COSTS, association, lambda _: WITHIN, PARTIAL),
    Question("per image", "image by image", LOSES, per_image, lambda _: PER_IMAGE, PER_IMAGE_PARTIAL),
    Question("warning", "warning of a flip", FLIPS, warnings, flip, "", 0.5, SMALL["auroc"], "AUROC"),
)


@cache
def tests(evidence: Evidence) -> pd.DataFrame:
    """The tests of all questions and maps, p corrected for their number.

    method, layer, kind, corruption (a name, or "all"), value (a rank correlation, or an AUROC), low, high, p,
    across_classes, family ("declared" or "exploration"), p_adjusted (NaN where nothing is tested, as of
    "pooled"), correction: "Holm" if declared, else "Benjamini-Hochberg" (1995, the false discovery rate).
    """
    tables = dict.fromkeys(question.tests for question in QUESTIONS)  # several may ask of one table
    parts = [table(evidence) for table in tables]
    columns = [*MAP, "kind", "corruption", "value", "low", "high", "p", "across_classes"]
    usual = {"corruption": EVERY, "across_classes": np.nan}
    parts = [part.assign(**{c: v for c, v in usual.items() if c not in part}) for part in parts]
    rows = pd.concat([part[columns] for part in parts], ignore_index=True)
    kinds = [question.kind(evidence.declared["severity"]) for question in QUESTIONS]
    mine = pd.MultiIndex.from_frame(rows[MAP]).isin([evidence.declared_map])
    declared = (mine & rows["kind"].isin(kinds) & (rows["corruption"] == EVERY)).to_numpy()
    tested = (rows["p"].notna() & (rows["kind"] != POOLED)).to_numpy()
    found, p = np.full(len(rows), np.nan), rows["p"].to_numpy(float)
    for family, correct in ((declared & tested, holm), (~declared & tested, false_discovery_control)):
        found[family] = correct(p[family]) if family.any() else np.nan
    family, correction = (np.where(declared, *pair) for pair in (("declared", "exploration"), (HOLM, FDR)))
    return rows.assign(family=family, p_adjusted=found, correction=correction)


def declared_kinds(tests: pd.DataFrame) -> pd.DataFrame:
    """The tests of the declared map over all corruptions, by kind."""
    method, layer = tests.loc[tests["family"] == "declared", MAP].iloc[0]
    found = rows_of(tests, method, layer, "tests")
    return found[found["corruption"] == EVERY].set_index("kind")


def answers(tests: pd.DataFrame) -> pd.DataFrame:
    """The tests declared beforehand, of `tests`, each with its verdict.

    beyond: of a yes or its opposite, the verdict on what goes beyond the RMSE of the picture; else "".
    """
    kinds, found = declared_kinds(tests), []
    rows = tests[tests["family"] == "declared"].set_index("kind", drop=False).to_dict("index")
    for question in QUESTIONS:
        row = next(rows[kind] for kind in map(question.kind, SEVERITIES) if kind in rows)
        finding, beyond = Finding.of(row), ""
        verdict = finding.verdict(chance=question.chance, small=question.small)
        if question.beyond and verdict in (YES, OPPOSITE):
            beyond = Finding.of(kinds.loc[question.beyond]).verdict(chance=0, small=question.small)
        numbers = (finding.value, finding.low, finding.high, finding.p, row["correction"])
        about = (row["kind"], question.name, question.text)
        found.append((*about, *numbers, verdict, row["across_classes"], beyond))
    columns = ["kind", "name", "question", "value", "low", "high", "p_adjusted", "correction", "verdict"]
    return pd.DataFrame(found, columns=[*columns, "across_classes", "beyond"])


def sensitivity(evidence: Evidence) -> pd.DataFrame:
    """The `answers` once more, with every degenerate map counted_as "the largest drift", or the smallest.

    Left out, as everywhere else, they make the answer one about the pictures that have a map. These are the
    two extremes of what they could have been. Empty if no map is degenerate, or all are.
    """
    alone = evidence.only(*evidence.declared_map)
    values, parts = alone.drift["rmse"], [pd.DataFrame(columns=["kind", "verdict", "counted_as"])]
    if values.isna().any() and values.notna().any():
        for which, value in (("largest", values.max()), ("smallest", values.min())):
            drift = alone.drift.assign(degenerate=False, rmse=values.fillna(value))
            filled = replace(alone, drift=drift, resamples=min(alone.resamples, 500))
            parts.append(answers(tests(filled)).assign(counted_as=f"the {which} drift"))
    return pd.concat(parts[1:] or parts, ignore_index=True)


def answers_of_runs(runs: Mapping[str, Evidence]) -> pd.DataFrame:
    """The `answers` of every run, each with its own declared map at its own highest severity.

    Before their columns: run, method, layer, severity, conditions (in words). p is corrected within a run.
    """
    parts = []
    for name, evidence in runs.items():
        found = answers(tests(evidence.only(*evidence.declared_map)))
        known = {"run": name, **evidence.declared, "conditions": grid(evidence.moved.conditions)}
        parts.append(pd.DataFrame(known, index=found.index).join(found))
    return pd.concat(parts, ignore_index=True)


def grid(conditions: Iterable[tuple[str, int]]) -> str:
    """Conditions in words: ``contrast 1, 2; fog 3``."""
    levels: dict[str, list[int]] = {}
    for corruption, severity in sorted(conditions):
        levels.setdefault(corruption, []).append(severity)
    return "; ".join(f"{name} {', '.join(map(str, at))}" for name, at in levels.items())


# -- The numbers that a text quotes, each under a name --------------------------------------------------

COLUMNS = ["name", "value", "low", "high", "p", "correction", "what"]
UNTESTED = (np.nan, "")  # p and correction
PLAIN = (np.nan, np.nan, *UNTESTED)  # nor an interval
ALONE = "rank correlation of AUC drop and drift within severity, the interval over images alone"
OVER_IMAGES = "rank correlation of margin drop and drift over images, within condition and class"
LESS_RMSE = "the same, less what the RMSE of the picture explains"
QUOTED = {  # kinds of tests: the names of their numbers, and what they are
    WITHIN: ("association", ALONE),
    PARTIAL: ("partial association", LESS_RMSE),
    PER_IMAGE: ("per image", OVER_IMAGES),
    PER_IMAGE_PARTIAL: ("partial per image", LESS_RMSE),
}
COUNTED = {  # columns of `failure`, which are added up: the name of the number, and what it is
    ("events", "lost_events"): ("flips", "flipped predictions"),
    ("cases", "lost"): ("pictures", "pictures"),
    ("lost",): ("lost", "pictures without a usable map"),
    ("lost_events",): ("lost flips", "flipped predictions without a usable map"),
    ("compared",): ("compared", "pictures that the warning rests on, in strata with and without flips"),
    ("compared_events",): ("compared flips", "flipped predictions among them"),
}


def summary(evidence: Evidence, scores: pd.DataFrame) -> pd.DataFrame:
    """The numbers of a run: of its scores, of the declared layer, and of methods that explain the input.

    name, value, low, high, p (corrected; NaN where nothing is tested), correction ("Holm",
    "Benjamini-Hochberg" or "none"; "" where nothing is tested), what (in words).
    """
    drift, severity = evidence.drift, evidence.declared["severity"]
    layers = [evidence.declared["layer"], INPUT]
    aucs = scores[(scores["class"] == "all") & (scores["metric"] == "auc")]
    clean = aucs[aucs["corruption"] == CLEAN[0]].iloc[0]
    rows = [("clean auc", *clean[["value", "low", "high"]], *UNTESTED, "AUC on clean images")]
    dirty = aucs[(aucs["corruption"] != CLEAN[0]) & aucs["drop"].notna()]
    for worst in dirty.nlargest(1, "drop").to_dict("records"):
        what = f"largest AUC drop: {worst['corruption']}, severity {worst['severity']}"
        rows.append(("worst drop", *(worst[c] for c in ends("drop")), *UNTESTED, what))
    drift = drift[drift["layer"].isin(layers) & (drift["severity"] == severity)]
    for row in mean_drift(drift, MAP).itertuples():
        what = f"mean drift (RMSE of min-max maps), {row.method} at {row.layer}, severity {severity}"
        rows.append((f"drift {row.method} {row.layer}", row.value, row.low, row.high, *UNTESTED, what))
    tested = tests(evidence)
    tested = tested[tested["layer"].isin(layers) & (tested["corruption"] == EVERY)]
    for row in tested[tested["kind"].isin(QUOTED)].itertuples():
        (name, what), found = QUOTED[row.kind], (row.value, row.low, row.high, row.p_adjusted, row.correction)
        rows.append((f"{name} {row.method} {row.layer}", *found, f"{what}, {row.method} at {row.layer}"))
    corrections = tested[tested["kind"] == flip(severity)].set_index(MAP)[["p_adjusted", "correction"]]
    warned = warnings_at(failure(evidence), severity)
    for row in warned[warned["layer"].isin([*layers, ""])].itertuples():
        label = " ".join(filter(None, (row.signal, row.method, row.layer)))
        what = f"AUROC of {label} for a flipped prediction, severity {severity}, within a class"
        what += "" if row.method else ", on the pictures that have the declared map"
        p = corrections.loc[(row.method, row.layer)] if row.method else (row.p, "none")
        rows.append((f"warning {label}", row.auroc, row.low, row.high, *p, what))
        if row.method:
            what = f"AUROC of {label} less that of low confidence on the same pictures, severity {severity}"
            rows.append((f"gain {label}", row.gain, row.gain_low, row.gain_high, *UNTESTED, what))
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(COLUMNS[1:5], float))


def declared(evidence: Evidence) -> pd.DataFrame:
    """As `summary`, of the declared map, named alike whatever it is; values are numbers or words."""
    method, layer, severity = evidence.declared.values()
    rows: list[tuple] = [(part, x, *PLAIN, f"declared {part}") for part, x in evidence.declared.items()]
    for row in answers(tests(evidence)).itertuples():
        name, text, numbers = row.name, row.question, (row.value, row.low, row.high)
        rows.append((name, *numbers, row.p_adjusted, row.correction, text))
        rows.append((f"{name} verdict", row.verdict, *PLAIN, f"the answer to: {text}"))
        if np.isfinite(row.across_classes):
            what = f"{text} The same without holding the class fixed; not tested"
            rows.append((f"{name} across classes", row.across_classes, *PLAIN, what))
    warned = rows_of(warnings_at(failure(evidence), severity), method, layer, "failure").iloc[0]
    for columns, (name, what) in COUNTED.items():
        rows.append((name, int(warned[[*columns]].sum()), *PLAIN, f"{what} at severity {severity}"))
    for row in beside(evidence).query("event == 'flipped' and signal != 'drift'").to_dict("records"):
        ahead, name = Finding.of(row, AHEAD), f"ahead of {row['signal']}"
        what = f"AUROC of drift less that of {row['signal']}, on the same pictures"
        rows.append((name, ahead.value, ahead.low, ahead.high, *UNTESTED, what))
        verdict = ahead.verdict(chance=0, small=0, tested=False)
        word = {YES: "better", OPPOSITE: "worse", UNDEFINED: UNDEFINED}.get(verdict, "not distinguishable")
        rows.append((f"{name} verdict", word, *PLAIN, f"drift beside {row['signal']} as a warning of a flip"))
    for row in rows_of(added(evidence), method, layer, "added").itertuples():
        what = f"AUROC that drift adds to what is known without a map, for: prediction {row.event}"
        rows.append((f"added {row.event}", row.gain, row.gain_low, row.gain_high, *UNTESTED, what))
    return pd.DataFrame([(f"declared {name}", *rest) for name, *rest in rows], columns=COLUMNS)
