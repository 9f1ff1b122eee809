"""What drift says of loss: declared tests, drift beside other signals, runs side by side. For notebook 05."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from medrob import analysis
from medrob.analysis import DRIFT, OPPOSITE, UNDEFINED, YES, declared_kinds, ends, rows_of, verdict
from medrob.words.performance import clean_and_corrupted
from medrob.words.phrases import BETTER, FEW, grouped, listed, name, number, place, say, shown, side, text

MARGIN = "per image"  # the question that asks for a score
SAME = "same corruption"  # of `medrob.analysis.alarms`: pairs of one condition
MORE = ("it tells more", "it makes the model worse", "that it tells more is not shown")
AS_MUCH = "but the map of a network that has learnt nothing is not shown to tell less, so nothing follows"
WEAK = "but one score alone finds more errors than this model, so nothing follows"


def answer(tests: pd.DataFrame, scores: pd.DataFrame, drift: pd.DataFrame, added: pd.DataFrame) -> str:
    """Does it still work, still look there, and does the map tell more than the scores? Then the tests."""
    kinds, found = declared_kinds(tests), analysis.answers(tests)
    at = {key: kinds[key].iloc[0] for key in analysis.MAP}
    left = rows_of(added, **at, name="added").iloc[0].drop("p")  # the tests give it, corrected
    asked = []
    for row in found.to_dict("records"):
        judged, beyond = row["verdict"] != UNDEFINED, row["name"] == "beyond scores"
        lacking = say("answer", "several" if beyond and np.isnan(left["errors"]) else "nothing_left")
        notes = ["margin"] * (row["name"] == MARGIN) + ["plain"] * bool(np.isfinite(row["plain"]))
        notes += ["used"] * (beyond and judged)
        if judged and row["controls"]:
            notes.append("control")
        elif beyond and row["verdict"] == analysis.OPEN and row["p_adjusted"] < 0.05:
            notes.append("slope")
        value = number(row, form="+.2f") if judged else lacking
        said = [say("answer", "question", row=row, said=row["verdict"].capitalize(), value=value)]
        asked.append(" ".join(said + [say("answer", note, row=row, auroc=_auroc(left)) for note in notes]))
    lines = [_works(scores), _looks(rows_of(drift, **at, name="drift")), _tells(left, found)]
    return text(lines, say("answer", "tests", map=kinds.iloc[0]), asked)


def controls(controls: pd.DataFrame) -> str:
    """How often networks that have learnt nothing show a link where the declared questions ask for one."""
    lines, titles = [], {question.name: question.title for question in analysis.QUESTIONS}
    for control, rows in controls.groupby("control", sort=False):
        each = []
        for key, verdicts in rows.groupby("name", sort=False)["verdict"]:
            lack = (verdicts == UNDEFINED).sum()
            said = f"'{titles.get(key, key)}' in {verdicts.isin([YES, OPPOSITE]).sum()}"
            each.append(said + (f" (not judged in {lack})" if lack else ""))
        numbers = dict(name=str(control).capitalize(), draws=rows["draw"].nunique(), each=", ".join(each))
        lines.append(say("controls", "line", **numbers))
    return text(lines)


def _works(scores: pd.DataFrame) -> str:
    clean, corrupted = clean_and_corrupted(scores, "auc")
    falls = corrupted.dropna(subset="drop")
    worst = falls.nlargest(1, "drop")
    if worst.empty or not np.isfinite(clean["value"]):
        return say("answer", "no_auc")
    doubt, row = "no_skill" if clean["low"] <= 0.5 else "", worst.iloc[0]
    fall = "falls" if row["drop"] > 0 else "no_fall"
    return say("answer", "works", fall, doubt, clean=clean, worst=row, cases=len(falls)).replace("\n", " ")


def _looks(drift: pd.DataFrame) -> str:
    largest = (
        drift["normalised"] / drift["rmse"]
    ).median()  # what an RMSE of 1, the largest there is, would be
    normalised = drift["normalised"].mask(drift["degenerate"].astype(bool), largest)
    worst = drift.assign(normalised=normalised)[drift["severity"] == drift["severity"].max()]
    row = analysis.mean_drift(worst, ["severity"], metric="normalised").iloc[0]
    if not np.isfinite(row["value"]):
        return say("answer", "no_map")
    return say("answer", "normalised", "lost" if row["degenerate"] else "", row=row).replace("\n", " ")


def _tells(left: pd.Series, answers: pd.DataFrame) -> str:
    answers = answers[answers["name"] != MARGIN]  # which is itself a score
    said = {YES: "shown for", UNDEFINED: "not to be judged for", OPPOSITE: "the other way round for"}
    verdicts = [said.get(found, "undecided for") for found in answers["verdict"]]
    leads = {said[YES]: "Yes", said[UNDEFINED]: "That cannot be said"}
    some = said[YES] in verdicts or verdicts[0] == said[OPPOSITE]
    lead = "In part" if some else "This is not shown"
    asked = [say("answer", name) for name in answers["name"]]
    if len(set(verdicts)) == 1:
        lead, asked = leads.get(verdicts[0], lead), [listed(asked)]
    known = "left" if np.isfinite(left["value"]) else ""
    risk = "risk" if known and verdicts[-1] == said[YES] else ""
    found = grouped(zip(verdicts, asked, strict=False), " ")
    return say("answer", "tells", known, risk, lead=lead, found=found, row=left).replace("\n", " ")


def _auroc(row: Mapping | pd.Series) -> dict[str, float]:
    """The AUROC of all signals but the place of the map, with its interval."""
    return dict(zip(("value", "low", "high"), (row[end] for end in ends("auroc")), strict=True))


def association(tests: pd.DataFrame) -> str:
    """Does the corruption that moves the map more cost more AUC, at the same severity?"""
    return _linked("association", declared_kinds(tests), analysis.WITHIN, analysis.PARTIAL)


def per_image(tests: pd.DataFrame) -> str:
    """Under the same condition, does the image whose map moves more lose more margin?"""
    return _linked("per_image", declared_kinds(tests), analysis.PER_IMAGE, analysis.PER_IMAGE_PARTIAL)


def _linked(section: str, kinds: pd.DataFrame, plain: str, partial: str) -> str:
    if verdict(kinds.loc[plain]) == UNDEFINED:
        return say(section, "nothing")
    numbers = dict(pooled=kinds.loc[analysis.POOLED], plain=kinds.loc[plain], partial=kinds.loc[partial])
    return say(section, "within", verdict(kinds.loc[partial]), **numbers)


def failure(failure: pd.DataFrame) -> str:
    """How does drift go with a flipped prediction, beside the class whose fall is the flip?"""
    severity = failure["severity"].max()
    flips = failure[(failure["severity"] == severity) & (failure["event"] == "flipped")].set_index("signal")
    row, rival = flips.loc[DRIFT], flips.loc[analysis.CLEAN_CLASS]
    gone = (key for key in ("vanished", "unseen") if row[key])
    known = np.isfinite(row["auroc"])
    basis = "basis" if known and row["compared"] < row["cases"] else ""
    told = "auroc" if "wrong" in set(failure["event"]) else "labels"  # of which an image has several
    keys = ("flips", *gone, basis, told if known else "not defined")
    return say("failure", *keys, severity=severity, row=row, rival=rival["auroc"])


def beside(failure: pd.DataFrame) -> str:
    """Which signal of each league tells most of a failure, and where does drift stand beside the others?"""
    worst, lines = failure[failure["severity"] == failure["severity"].max()], []
    for event, rows in worst.groupby("event", sort=False):
        drift = rows.set_index("signal").loc[DRIFT]
        others = rows[rows["signal"] != DRIFT].dropna(subset="auroc")
        for league, part in others.groupby("league", sort=False):
            pairs = [(side(row, "ahead", *BETTER), shown(row["signal"])) for _, row in part.iterrows()]
            numbers = dict(drift=drift, best=part.nlargest(1, "auroc").iloc[0])
            chance = "" if numbers["best"]["auroc"] > 0.5 else "chance"
            numbers |= dict(event=event, signals=grouped(pairs, " "))
            lines.append(say("beside", league, chance, **numbers).replace("\n", " "))
        lines += [] if len(others) else [say("beside", "nothing", event=event)]
    return text(say("beside", "title"), lines)


def added(added: pd.DataFrame, tests: pd.DataFrame, *, method: str, layer: str) -> str:
    """Does the map tell of wrong predictions what all other signals of its league do not?"""
    declared = declared_kinds(tests).loc[analysis.BEYOND]
    row = rows_of(added, method, layer, "added").iloc[0].to_dict() | declared.to_dict()
    if not np.isfinite(row["value"]):
        return say("added", UNDEFINED if np.isfinite(row["errors"]) else "labels", row=row)
    passed = "control" if row["controls"] else ""
    return say("added", "known", "left", passed or verdict(row), row=row, auroc=_auroc(row))


def runs(compared: pd.DataFrame) -> str:
    """How each run differs from the first, over all severities."""
    (first, *others), lines = dict.fromkeys(compared["run"]), []
    if not others:
        seeds = compared["seeds"].iloc[0]
        return say("runs", "one_run" if seeds == 1 else "seeds", seeds=seeds)
    rows = compared[compared["severity"] == analysis.OVERALL].set_index(["run", "measure"])
    for run in others:
        parts, here, there = {}, rows.loc[(run, "drift")], rows.loc[(first, "drift")]
        for measure in ("auc", "drop", "drift"):
            row = rows.loc[(run, measure)]
            said = side(row, "difference", "higher", "lower", "not shown to differ")
            known = measure if np.isfinite(row["difference"]) else "unknown"
            parts[measure] = say("runs", known, said=said, row=row, what=measure)
        if place(here) != place(there) and np.isfinite(here["difference"]):
            parts["drift"] += say("runs", "unlike", here=here, there=there)
        lines.append(say("runs", "run" if here["alike"] else "other", run=run, first=first, **parts))
    return text(lines)


def alarms(found: pd.DataFrame) -> str:
    """Which signal finds errors best, does an unsteady map do it better than doubt, and what does it cost?"""
    if found.empty:
        return say("alarms", "several")
    by = ["metric", "pictures"]
    tables = {key: rows.set_index("signal", drop=False) for key, rows in found.groupby(by)}
    same, lines = tables["auroc", SAME], []
    models = (analysis.TOGETHER, analysis.CONTROL)  # what is no signal of its own
    alone = [signal for signal in same["signal"] if not signal.startswith(models)]
    doubt, own = same.loc[analysis.DOUBT], same.loc[analysis.MAP_SIGNAL]
    if not np.isfinite(own["value"]):
        return say("alarms", "no_errors", cases=int(own["cases"]))
    for pictures in (SAME, "clean", "corrupted"):
        rows = tables["auroc", pictures].query("signal in @alone").dropna(subset="value")
        if len(rows):  # else all of them are right, or all are wrong
            beside = dict(doubt=rows.loc[analysis.DOUBT], map=rows.loc[analysis.MAP_SIGNAL])
            lines.append(say("alarms", pictures, best=rows.nlargest(1, "value").iloc[0], **beside))
    kept, said = tables["augrc", "all"].query("signal in @alone"), side(doubt, "ahead", *BETTER)
    nothing = f", {AS_MUCH}" if said == BETTER[0] and _as_much(same, analysis.CONTROL) else ""
    numbers = dict(kept=kept.nsmallest(1, "value").iloc[0], map=kept.loc[analysis.MAP_SIGNAL], verdict=said)
    numbers |= dict(doubt=doubt, own=own, nothing=nothing, signals=len(alone), cases=int(own["cases"]))
    first = say("alarms", "unjudged" if said == FEW else "judged", "title", **numbers)
    choice, rest = say("alarms", "choice", **numbers), say("alarms", "kept", "errors", "cost", **numbers)
    return text(first, lines, choice, *_together(same, alone), rest)


def _together(same: pd.DataFrame, alone: list[str]) -> list[str]:
    """What all scores tell in one model, and what the map adds to them; the same of the map of a control."""
    if analysis.TOGETHER not in same.index:
        return []
    row, start = same.loc[analysis.TOGETHER], f"{analysis.TOGETHER} and {analysis.CONTROL}"
    more, said = side(row, "ahead", *MORE), []
    if more == MORE[0] and _as_much(same, start):
        more = AS_MUCH
    if row["value"] < same["value"][alone].drop(analysis.MAP_SIGNAL).max():
        more = WEAK
    for signal, control in same[same.index.str.startswith(start)].iterrows():
        known = dict(network=signal.removeprefix(start), gain=control["value"] - row["value"])
        said.append(say("alarms", "control", row=control, **known))
    joined = say("alarms", "joined", all=row, scores=len(alone) - 1, added=more)
    return [joined, " ".join(said) or say("alarms", "no_control")]


def _as_much(same: pd.DataFrame, start: str) -> bool:
    """Is a control, whose signal begins so, not shown to tell less than the map of the network itself?"""
    rows = same[same["signal"].str.startswith(start)].to_dict("records")
    return any(side(row, "ahead", *MORE) != MORE[0] for row in rows)


def answers(asked: pd.DataFrame) -> str:
    """Does the answer hold from run to run?"""
    lines, everywhere = [], 0
    for question, rows in asked.groupby("question", sort=False):
        named = rows["run"].map(name).groupby(rows["verdict"]).agg(list)
        parts = [f"{verdict} in {len(runs)} ({', '.join(runs)})" for verdict, runs in named.items()]
        lines.append(say("answers", "question", question=question, verdicts="; ".join(parts)))
        everywhere += named.index.tolist() == [YES]
    runs = asked["run"].nunique()
    return text(lines, say("answers", "everywhere", runs=runs, yes=everywhere, total=len(lines)))
