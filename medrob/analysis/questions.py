"""The declared questions, their tests, corrected for their number, the answers, and the numbers to quote."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from medrob.analysis.evidence import Evidence
from medrob.analysis.layout import INPUT, MAP, rows_of
from medrob.analysis.links import PARTIAL, PER_IMAGE, PER_IMAGE_PARTIAL, WITHIN, association, per_image
from medrob.analysis.means import mean_drift
from medrob.analysis.statistics import FDR, HOLM, OPPOSITE, UNDEFINED, YES, bounds, holm, verdict
from medrob.analysis.warning import BEYOND, DRIFT, added, failure
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
LOSES = "Of two images of one class, does the map move more in the one that loses more margin, beyond what "
LOSES += "the logit tells?"
TELLS = "Does the place of the map tell something of wrong predictions that the scores do not?"
QUESTIONS = (
    Question("between conditions", "between conditions", COSTS, association, PARTIAL, WITHIN),
    Question("per image", "image by image", LOSES, per_image, PER_IMAGE_PARTIAL, PER_IMAGE),
    Question("beyond scores", "wrong predictions", TELLS, added, BEYOND, "", "partial correlation", 0.5),
)


@cache
def tests(evidence: Evidence) -> pd.DataFrame:
    """The tests of all questions and maps, p corrected for their number.

    method, layer, kind, value (a correlation), low, high, p (NaN where nothing is tested, as
    of "pooled"), family ("declared" or "exploration"), p_adjusted, correction: "Holm" if declared, else
    "Benjamini-Hochberg" (1995, the false discovery rate); controls: which negative controls find a link, of
    either sign, for the declared question, or could not be judged; "" if none.
    """
    columns = [*MAP, "kind", "value", "low", "high", "p"]
    rows = pd.concat([question.tests(evidence)[columns] for question in QUESTIONS], ignore_index=True)
    kinds, p = rows["kind"], rows["p"].to_numpy(float)
    declared = pd.MultiIndex.from_frame(rows[MAP]).isin([evidence.declared_map])
    declared &= kinds.isin([question.kind for question in QUESTIONS]).to_numpy()
    adjusted = np.full(len(rows), np.nan)
    for family, correct in ((declared, holm), (~declared, false_discovery_control)):
        tested = family & np.isfinite(p)
        adjusted[tested] = correct(p[tested]) if tested.any() else np.nan
    family, correction = (np.where(declared, *pair) for pair in (("declared", "exploration"), (HOLM, FDR)))
    said = _passed(evidence.controls)
    passed = np.where(declared, [said.get(kind, "") for kind in kinds], "")
    return rows.assign(family=family, p_adjusted=adjusted, correction=correction, controls=passed)


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
    """Which controls stop each kind of test: they find a link, or none of their draws could be judged."""
    said: dict[str, list[str]] = {}
    rows = [] if controls is None else controls.groupby(["kind", "control"], sort=False)["verdict"]
    for (kind, name), verdicts in rows:
        linked, judged = verdicts.isin([YES, OPPOSITE]).sum(), (verdicts != UNDEFINED).sum()
        found = f"finds a link in {linked} of {judged} draws that could be judged"
        if linked or not judged:
            stop = found if judged else f"could not be judged in any of {len(verdicts)} draws"
            said.setdefault(kind, []).append(f"{name} {stop}")
    return {kind: "; ".join(names) for kind, names in said.items()}


def declared_kinds(tests: pd.DataFrame) -> pd.DataFrame:
    """The tests of the declared map, by kind."""
    method, layer = tests.loc[tests["family"] == "declared", MAP].iloc[0]
    return rows_of(tests, method, layer, "tests").set_index("kind", drop=False)


def answers(tests: pd.DataFrame) -> pd.DataFrame:
    """The tests declared beforehand, of `tests`, each with its verdict; plain: value of `Question.plain`.

    A link that a control has, too, or may have, as no draw of it could be judged, becomes "undecided".
    """
    kinds, found = declared_kinds(tests), []
    for question in QUESTIONS:
        row, plain = kinds.loc[question.kind], kinds["value"].get(question.plain, np.nan)
        known = {"kind": question.kind, "name": question.name, "question": question.text}
        numbers = row[["value", "low", "high", "p_adjusted", "correction"]].to_dict()
        # Only between conditions p decides alone; elsewhere no interval means too few units.
        judged = question.tests is association or np.isfinite(row["low"])
        said = verdict(row) if judged else UNDEFINED
        found.append(known | numbers | {"verdict": said, "plain": plain, "controls": row["controls"]})
    return pd.DataFrame(found)


def answers_of_runs(runs: Mapping[str, Evidence]) -> pd.DataFrame:
    """The `answers` of every run, each with its own declared map at its own highest severity.

    Before their columns: run, method, layer, severity. p is corrected within a run.
    """
    parts = []
    for name, evidence in runs.items():
        # The declared map alone has the same answers about it, and takes far less time.
        alone = replace(evidence, drift=rows_of(evidence.drift, *evidence.declared_map, "drift"))
        found = answers(tests(alone))
        parts.append(pd.DataFrame({"run": name, **evidence.declared}, index=found.index).join(found))
    return pd.concat(parts, ignore_index=True)


# -- The numbers that a text quotes, each under a name --------------------------------------------------

COLUMNS = ["name", "value", "low", "high", "p", "correction", "what"]


def summary(evidence: Evidence, scores: pd.DataFrame) -> pd.DataFrame:
    """The numbers of a run: of its scores, and of the declared map, named alike whatever it is.

    name, value, low, high, p (corrected; NaN where nothing is tested), correction, what (in words). The mean
    drift is that of each method at the declared layer, and of methods that explain the input.
    """
    severity, rows = evidence.declared["severity"], []

    def quote(name: str, row: Mapping, what: str, stem: str = "value") -> None:
        tested = row.get("p_adjusted", np.nan), row.get("correction", "")
        rows.append((name, *bounds(row, stem), *tested, what))

    aucs = scores[(scores["class"] == "all") & (scores["metric"] == "auc")]
    clean = aucs["corruption"] == CLEAN[0]
    quote("clean auc", aucs[clean].iloc[0], "AUC on clean images")
    for worst in aucs[~clean].dropna(subset="drop").nlargest(1, "drop").to_dict("records"):
        what = f"largest AUC drop: {worst['corruption']}, severity {worst['severity']}"
        quote("worst drop", worst, what, "drop")
    layers = [evidence.declared["layer"], INPUT]
    drift = evidence.drift[evidence.drift["layer"].isin(layers) & (evidence.drift["severity"] == severity)]
    for row in mean_drift(drift, MAP).to_dict("records"):
        what = f"mean drift (RMSE of maps, 0-1), {row['method']} at {row['layer']}, severity {severity}"
        quote(f"drift {row['method']}", row, what)
    kinds = declared_kinds(tests(evidence))
    for question in QUESTIONS:
        quote(question.name, kinds.loc[question.kind].to_dict(), question.text)
        if question.plain:
            what = f"{question.text} The same without holding fixed what is known anyway"
            quote(f"{question.name} alone", kinds.loc[question.plain].to_dict(), what)
    flips = failure(evidence).query("event == 'flipped' and severity == @severity")
    for row in flips.to_dict("records"):
        what = f"AUROC of {row['signal']} for a flipped prediction, severity {severity}, within a class"
        quote(f"flipped {row['signal']}", row, what, "auroc")
        if row["signal"] != DRIFT:
            what = f"AUROC of drift for a flip less that of {row['signal']}, on the same pictures"
            quote(f"ahead of {row['signal']}", row, what, "ahead")
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(COLUMNS[1:5], float))
