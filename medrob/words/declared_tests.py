"""What the declared tests say: do drift and loss go together? Sentences of notebook 05."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob import analysis
from medrob.analysis import MAP, NO, OPEN, OPPOSITE, UNDEFINED, WITHIN, YES
from medrob.words.phrases import corruption, count, finding, judged, number, of_map, place, text

FLIP = {
    YES: "warns of a flip",
    OPPOSITE: "is smaller where the prediction flips",
    NO: "does not warn of a flip",
    OPEN: "is not shown to warn of a flip",
}
ASSOCIATION = "the corruption that moves the map more costs {} AUC"
PER_IMAGE_LINK = "the image whose map moves more loses {} margin"


def _kinds(tests: pd.DataFrame) -> pd.DataFrame:
    """The tests of the declared map over all corruptions, by kind."""
    return analysis.declared_kinds(tests)


def association(tests: pd.DataFrame) -> str:
    """Does the corruption that moves the map more cost more AUC, at the same severity?"""
    kinds = _kinds(tests)
    within, partial = (finding(kinds.loc[kind]) for kind in (WITHIN, "partial"))
    if judged(within, "correlation") == UNDEFINED:
        why = "there is no AUC, a single corruption, or drift or losses that do not vary"
        return f"Within a severity there is nothing to correlate: {why}."
    beyond, ends = number(partial), kinds[["value", "low", "high"]]
    single = ends.loc["pooled"].equals(ends.loc[WITHIN])
    return text(
        "There is one severity." if single else _over_severities(kinds),
        f"Within a severity it is {number(within)}, beyond what the RMSE of the image explains {beyond}.",
        "The intervals resample images, not corruptions; p exchanges corruptions.",
        f"At the same severity, {_link(kinds, WITHIN, 'partial', ASSOCIATION, 'loss of AUC')}.",
    )


def per_image(tests: pd.DataFrame) -> str:
    """Under the same condition, does the image whose map moves more lose more margin?"""
    kinds = _kinds(tests)
    plain, partial = (finding(kinds.loc[kind]) for kind in (analysis.PER_IMAGE, analysis.PER_IMAGE_PARTIAL))
    if judged(plain, "correlation") == UNDEFINED:
        return "Image by image there is nothing to correlate: there are no usable maps, or nothing varies."
    across = kinds.loc[analysis.PER_IMAGE, "across_classes"]
    mixed = f"Across classes, whose maps and margins differ anyway, it is {across:+.2f}."
    link = _link(kinds, analysis.PER_IMAGE, analysis.PER_IMAGE_PARTIAL, PER_IMAGE_LINK, "loss of margin")
    return text(
        f"Within a condition and a class, the rank correlation over images is {number(plain)}, beyond what "
        f"the RMSE of the image explains {number(partial)}.",
        mixed if np.isfinite(across) else "",
        f"Of one class under the same corruption, {link}.",
    )


def _link(kinds: pd.DataFrame, plain: str, partial: str, claim: str, loss: str) -> str:
    """What a correlation shows, and whether it goes beyond what the RMSE of the image explains."""
    verdict, beyond = (judged(finding(kinds.loc[kind]), "correlation") for kind in (plain, partial))
    if verdict in (NO, OPEN):
        shown = "linked to any extent that matters" if verdict == NO else "shown to be linked"
        return f"drift and {loss} are not {shown}"
    goes = "goes" if beyond == verdict else "is not shown to go"
    claim = claim.format("more" if verdict == YES else "less")
    return f"{claim}; this {goes} beyond what the RMSE of the image explains"


def _over_severities(kinds: pd.DataFrame) -> str:
    """The correlation pooled over severities, and what of it is the work of severity."""
    row = kinds.loc["pooled"].drop(["p", "p_adjusted"], errors="ignore")  # described, not tested
    return f"Over all severities the rank correlation is {number(finding(row))}{_severity_part(kinds)}."


def _severity_part(kinds: pd.DataFrame) -> str:
    """What severity, which moves drift and loss alike, adds to the pooled correlation; "" if none shows."""
    pooled, within = (finding(kinds.loc[kind]) for kind in ("pooled", WITHIN))
    if not (pooled.low > 0 and pooled.low > within.high):
        return ""
    if judged(within, "correlation") == YES:
        return "; severity, which moves both, makes a part of it"
    return ", but that is the work of severity, which moves both: with severity held fixed, it is not shown"


def failure(failure: pd.DataFrame, tests: pd.DataFrame) -> str:
    """Does drift warn of a flipped prediction?"""
    kinds, severity = _kinds(tests), failure["severity"].max()
    method, layer = kinds[MAP].iloc[0]
    row = of_map(analysis.warnings_at(failure, severity, "flipped"), "failure", method, layer).iloc[0]
    cases, flips = count(row["cases"] + row["lost"], "prediction"), row["events"] + row["lost_events"]
    begin, lost, basis = f"At severity {severity}, {flips} of {cases} flipped.", "", ""
    if row["lost"]:
        images = f"{count(row['lost'], 'corrupted image')}, {row['lost_events']} of them flipped"
        lost = f"{images}, have a degenerate map and no drift; they are left out below."
    found, across = finding(kinds.loc[analysis.flip(severity)]), row["across_classes"]
    if judged(found, "auroc") == UNDEFINED:
        nothing = "There is nothing to detect: of each class, none with a drift has flipped, or all have."
        return text(begin, lost, nothing)
    if row["compared"] < row["cases"]:
        images = f"{count(row['compared'], 'corrupted image')}, {row['compared_events']} of them flipped"
        basis = f"What follows rests on {images}: those under {corruption(row['within'])}, of classes in "
        basis += "which some have flipped and others have not."
    auroc = f"AUROC within a class {number(found, '.2f')}"
    auroc += f", across classes {across:.2f}" if np.isfinite(across) else ""
    return text(begin, lost, basis, f"Drift {FLIP[judged(found, 'auroc')]}: {auroc}.")


def answer(tests: pd.DataFrame) -> str:
    """The answer as declared: the tests of one map, corrected by Holm's method."""
    found, kinds, lines = analysis.answers(tests), _kinds(tests), []
    for row, question in zip(found.to_dict("records"), analysis.QUESTIONS, strict=True):
        said = row["verdict"].capitalize() + (", or too little to matter" if row["verdict"] == NO else "")
        value = number(finding(row), ".2f" if question.chance else "+.2f")
        value = "there is too little to go by" if row["verdict"] == UNDEFINED else value
        confounded = row["kind"] == WITHIN and row["verdict"] != YES and _severity_part(kinds)
        pooled = f" {_over_severities(kinds)}" if confounded else ""
        beyond = f"{row['beyond']}, {number(finding(kinds.loc[question.beyond]))}" if row["beyond"] else ""
        beyond = beyond and f" Beyond the RMSE of the image: {beyond}."
        lines.append(f"{row['question']} {said}: {value}.{pooled}{beyond}")
    return text(lines, _altogether(found, f"({place(kinds.iloc[0])})"))


def _altogether(found: pd.DataFrame, where: str) -> str:
    """The last sentence of the answer."""
    counts, total = found["verdict"].value_counts().to_dict(), len(found)
    rest = ", ".join(f"{verdict} in {n}" for verdict, n in counts.items() if verdict != YES)
    if counts.get(UNDEFINED) == total:
        return f"Whether saliency drift {where} goes with loss of performance here cannot be said."
    if counts.get(NO, 0) + counts.get(OPPOSITE, 0) == total:
        return f"Saliency drift {where} does not go with loss of performance here."
    if not (yes := counts.get(YES, 0)):
        return f"Saliency drift {where} is not shown to go with loss of performance here: {rest}."
    ways = f"all {total} ways asked" if yes == total else f"{yes} of the {total} ways asked ({rest})"
    beyond, held = found.loc[(found["verdict"] == YES) & (found["beyond"] != ""), "beyond"], ""
    if lost := (beyond != YES).sum():
        held = f"; in {lost} of the {len(beyond)} where that is asked, it is not shown to tell more than the "
        held += "RMSE of the image"
    return f"Saliency drift {where} goes with loss of performance here in {ways}{held}."


def sensitivity(extremes: pd.DataFrame, tests: pd.DataFrame, drift: pd.DataFrame) -> str:
    """Would another treatment of the degenerate maps give another answer to the declared tests?"""
    usual = analysis.answers(tests).set_index("kind")["verdict"]
    method, layer = _kinds(tests)[MAP].iloc[0]
    rows = of_map(drift, "drift", method, layer)
    flat = rows["degenerate"].astype(bool)
    begin = f"{flat.sum()} of {count(len(flat), 'map')} of {place(rows.iloc[0])} are degenerate"
    if not flat.any() or flat.all():
        return f"{begin}: {'nothing can be said' if flat.all() else 'none is left out'}."
    changed = [
        f"Counted as {row.counted_as}, '{row.question}' is answered '{row.verdict}', not '{usual[row.kind]}'."
        for row in extremes.itertuples()
        if row.verdict != usual[row.kind]
    ]
    if changed:
        return text(f"{begin} and left out, which matters:", changed)
    return f"{begin} and left out. Counted as the largest or as the smallest drift, they change no answer."
