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
from medrob.analysis.statistics import FDR, HOLM, OPPOSITE, UNDEFINED, YES, Finding, holm
from medrob.analysis.warning import AHEAD, BEYOND, added, beside, failure, failures_at
from medrob.corruptions import CLEAN


@dataclass(frozen=True)
class Question:
    """A question that is declared beforehand, of one map; its p is corrected with those of the others.

    Each is asked beyond what needs no looking at the place of the map: severity, class, energy, the scores.

    Attributes:
        name: in numbers. title, axis: of its panel in a figure. reach: the ends of that axis.
        tests: gives a table of all maps: method, layer, kind, value, low, high, p, and what else it has.
        kind: of the declared row. plain: that without holding fixed what is known anyway, "" = none.
    """

    name: str
    title: str
    text: str
    tests: Callable[[Evidence], pd.DataFrame]
    kind: str
    plain: str = ""
    axis: str = "rank correlation"
    reach: float = 1.0


COSTS = "Does the map move more under the corruption that costs more AUC, beyond what the scores tell?"
LOSES = (
    "Does the map move more in the image, of one class, that loses more margin, beyond what the logit tells?"
)
TELLS = "Does the place of the map tell of wrong predictions what the scores do not?"
GAIN = "gain in AUROC"
QUESTIONS = (
    Question("between conditions", "between conditions", COSTS, association, PARTIAL, WITHIN),
    Question("per image", "image by image", LOSES, per_image, PER_IMAGE_PARTIAL, PER_IMAGE),
    Question("beyond scores", "wrong predictions", TELLS, added, BEYOND, "", GAIN, 0.2),
)


@cache
def tests(evidence: Evidence) -> pd.DataFrame:
    """The tests of all questions and maps, p corrected for their number.

    method, layer, kind, corruption (a name, or "all"), value (a rank correlation, or a gain), low, high, p,
    across_classes, family ("declared" or "exploration"), p_adjusted (NaN where nothing is tested, as of
    "pooled"), correction: "Holm" if declared, else "Benjamini-Hochberg" (1995, the false discovery rate);
    controls: which negative controls say yes to the declared question, "" if none does.
    """
    tables = dict.fromkeys(question.tests for question in QUESTIONS)  # several may ask of one table
    parts = [table(evidence) for table in tables]
    columns = [*MAP, "kind", "corruption", "value", "low", "high", "p", "across_classes"]
    usual = {"corruption": EVERY, "across_classes": np.nan}
    parts = [part.assign(**{c: v for c, v in usual.items() if c not in part}) for part in parts]
    rows = pd.concat([part[columns] for part in parts], ignore_index=True)
    kinds = [question.kind for question in QUESTIONS]
    mine = pd.MultiIndex.from_frame(rows[MAP]).isin([evidence.declared_map])
    declared = (mine & rows["kind"].isin(kinds) & (rows["corruption"] == EVERY)).to_numpy()
    tested = (rows["p"].notna() & (rows["kind"] != POOLED)).to_numpy()
    found, p = np.full(len(rows), np.nan), rows["p"].to_numpy(float)
    for family, correct in ((declared & tested, holm), (~declared & tested, false_discovery_control)):
        found[family] = correct(p[family]) if family.any() else np.nan
    family, correction = (np.where(declared, *pair) for pair in (("declared", "exploration"), (HOLM, FDR)))
    by_kind = _passed(evidence.controls)
    passed = [
        by_kind.get(k, "") if is_ours else "" for k, is_ours in zip(rows["kind"], declared, strict=True)
    ]
    return rows.assign(family=family, p_adjusted=found, correction=correction, controls=passed)


def controls(
    networks: Mapping[tuple[str, int], tuple[pd.DataFrame, pd.DataFrame]], distances: pd.DataFrame
) -> pd.DataFrame:
    """The `answers` of networks that have learnt nothing of the question (`medrob.trust.controls`).

    Before their columns: control (its name) and draw.
    """
    parts = []
    for (name, draw), tables in networks.items():
        found = answers(tests(Evidence(*tables, distances, resamples=500)))
        parts.append(pd.DataFrame({"control": name, "draw": draw}, index=found.index).join(found))
    return pd.concat(parts, ignore_index=True)


def _passed(controls: pd.DataFrame | None) -> dict[str, str]:
    """For each kind of test that a control passes: ``untrained head in 1 of 3 draws``."""
    said: dict[str, list[str]] = {}
    rows = [] if controls is None else controls.groupby(["kind", "control"], sort=False)["verdict"]
    for (kind, name), verdicts in rows:
        if yes := (verdicts == YES).sum():
            said.setdefault(kind, []).append(f"{name} in {yes} of {len(verdicts)} draws")
    return {kind: ", ".join(names) for kind, names in said.items()}


def declared_kinds(tests: pd.DataFrame) -> pd.DataFrame:
    """The tests of the declared map over all corruptions, by kind."""
    method, layer = tests.loc[tests["family"] == "declared", MAP].iloc[0]
    found = rows_of(tests, method, layer, "tests")
    return found[found["corruption"] == EVERY].set_index("kind")


def answers(tests: pd.DataFrame) -> pd.DataFrame:
    """The tests declared beforehand, of `tests`, each with its verdict; plain: value of `Question.plain`.

    A yes that a negative control says, too, is no evidence of what was learnt: it becomes "undecided".
    """
    kinds, found = declared_kinds(tests), []
    rows = tests[tests["family"] == "declared"].set_index("kind", drop=False).to_dict("index")
    for question in QUESTIONS:
        row = {"controls": ""} | rows[question.kind]
        finding = Finding.of(row)
        plain = kinds["value"].get(question.plain, np.nan)
        numbers = (finding.value, finding.low, finding.high, finding.p, row["correction"])
        known = (finding.verdict(), row["across_classes"], plain, row["controls"])
        found.append((row["kind"], question.name, question.text, *numbers, *known))
    columns = ["kind", "name", "question", "value", "low", "high", "p_adjusted", "correction", "verdict"]
    return pd.DataFrame(found, columns=[*columns, "across_classes", "plain", "controls"])


def sensitivity(evidence: Evidence) -> pd.DataFrame:
    """The `answers` once more, with degenerate maps counted as no drift, the other extreme, or left out.

    Left out, they make the answer one about the pictures that have a map. Empty if no map is degenerate, or
    all are.
    """
    alone = evidence.only(*evidence.declared_map)
    flat, parts = alone.vanished.values, [pd.DataFrame(columns=["kind", "verdict", "counted_as"])]
    if flat.any() and not flat.all():
        for which, value in (("counted as no drift", 0.0), ("left out", np.nan)):
            again = replace(alone, counted_as=value, resamples=min(alone.resamples, 500))
            parts.append(answers(tests(again)).assign(counted_as=which))
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
SAME = "not distinguishable"
UNTESTED = (np.nan, "")  # p and correction
PLAIN = (np.nan, np.nan, *UNTESTED)  # nor an interval
ALONE = "rank correlation of AUC drop and drift within severity"
OVER_IMAGES = "rank correlation of margin drop and drift over images, within condition and class"
LESS = "the same, less what the picture's RMSE, the logit and the energy of the map explain"
QUOTED = {  # kinds of tests: the names of their numbers, and what they are
    WITHIN: ("association", ALONE),
    PARTIAL: ("partial association", LESS),
    PER_IMAGE: ("per image", OVER_IMAGES),
    PER_IMAGE_PARTIAL: ("partial per image", LESS),
    BEYOND: ("added drift", "AUROC for a wrong prediction that drift adds to all other signals"),
    "added, map": ("added map", "AUROC for a wrong prediction that the map adds to what needs none"),
}
COUNTED = {  # columns of `failure`: the name of the number, and what it is
    "events": ("flips", "flipped predictions"),
    "cases": ("pictures", "pictures"),
    "vanished": ("vanished", "pictures whose map is degenerate, counted as the largest drift"),
    "vanished_events": ("vanished flips", "flipped predictions whose map is degenerate"),
    "compared": ("compared", "pictures that the AUROC rests on, in strata with and without flips"),
    "compared_events": ("compared flips", "flipped predictions among them"),
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
    for row in failures_at(failure(evidence), severity).itertuples():
        if row.layer not in (*layers, ""):
            continue
        label = " ".join(filter(None, (row.signal, row.method, row.layer)))
        what = f"AUROC of {label} for a flipped prediction, severity {severity}, within a class, all pictures"
        rows.append((f"flipped {label}", row.auroc, row.low, row.high, *UNTESTED, what))
        if row.method:
            what = f"AUROC of {label} less that of the clean class's probability, severity {severity}"
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
    counts = rows_of(failures_at(failure(evidence), severity), method, layer, "failure").iloc[0]
    for column, (name, what) in COUNTED.items():
        rows.append((name, int(counts[column]), *PLAIN, f"{what} at severity {severity}"))
    for row in beside(evidence).query("event == 'flipped' and signal != 'drift'").to_dict("records"):
        ahead, name = Finding.of(row, AHEAD), f"ahead of {row['signal']}"
        what = f"AUROC of drift for a flip less that of {row['signal']}, on the same pictures"
        rows.append((name, ahead.value, ahead.low, ahead.high, *UNTESTED, what))
        word = {YES: "better", OPPOSITE: "worse", UNDEFINED: UNDEFINED}.get(ahead.verdict(tested=False), SAME)
        rows.append((f"{name} verdict", word, *PLAIN, f"drift beside {row['signal']} for a flip"))
    return pd.DataFrame([(f"declared {name}", *rest) for name, *rest in rows], columns=COLUMNS)
