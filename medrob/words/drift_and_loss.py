"""What drift says of loss: declared tests, drift beside other signals, runs side by side. For notebook 05."""

import numpy as np
import pandas as pd

from medrob import analysis
from medrob.analysis import DRIFT, UNDEFINED, YES, declared_kinds, rows_of, verdict
from medrob.corruptions import CLEAN
from medrob.words.phrases import (
    BETTER,
    FEW,
    Row,
    grouped,
    listed,
    name,
    number,
    place,
    say,
    shown,
    side,
    text,
)

MORE = ("it tells more", "it makes the model worse", "that it tells more is not shown")
AS_MUCH = "but the map of a network that has learnt nothing is not shown to tell less, so nothing follows"
MARGIN = "per image"  # the question that asks for a score
SEVERAL = "an image has several labels, so no prediction is right or wrong as a whole"
NOTHING_LEFT = "there is too little to go by, or what is held fixed explains all"
WEAK = "but one score alone finds more errors than this model, so nothing follows"
SAME = "same corruption"  # of `medrob.analysis.alarms`: pairs of one condition


def answer(tests: pd.DataFrame, scores: pd.DataFrame, drift: pd.DataFrame, added: pd.DataFrame) -> str:
    """Does it still work, still look there, and does the map tell more than the scores? Then the tests."""
    kinds, found = declared_kinds(tests), analysis.answers(tests)
    at = {key: kinds[key].iloc[0] for key in ("method", "layer")}
    lines = [
        _works(scores),
        _looks(rows_of(drift, **at, name="drift")),
        _tells(rows_of(added, **at, name="added"), found),
    ]
    asked = []
    for row in found.to_dict("records"):
        said = row["verdict"].capitalize()
        value = number(row, form="+.2f")
        several = row["name"] == "beyond scores" and added["errors"].isna().all()
        value = (SEVERAL if several else NOTHING_LEFT) if row["verdict"] == UNDEFINED else value
        plain = say("answer", "margin") if row["name"] == MARGIN else ""
        plain += say("answer", "plain", row=row) if np.isfinite(row["plain"]) else ""
        stopped = row["controls"] and row["verdict"] != UNDEFINED
        passed = say("answer", "control", passed=row["controls"]) if stopped else ""
        if (row["name"], row["verdict"]) == ("beyond scores", analysis.OPEN) and row["p_adjusted"] < 0.05:
            passed = passed or say("answer", "slope")
        asked.append(say("answer", "question", row=row, said=said, value=value, plain=plain + passed))
    return text(lines, say("answer", "tests", map=kinds.iloc[0]), asked)


def controls(controls: pd.DataFrame) -> str:
    """How often networks that have learnt nothing show a link where the declared questions ask for one."""
    lines, titles = [], {question.name: question.title for question in analysis.QUESTIONS}
    for control, rows in controls.groupby("control", sort=False):
        draws = rows["draw"].nunique()
        yes = rows["verdict"].isin([YES, analysis.OPPOSITE]).groupby(rows["name"], sort=False).sum()
        unknown = (rows["verdict"] == UNDEFINED).groupby(rows["name"], sort=False).sum()
        parts = [(f"'{titles.get(key, key)}' in {count}", unknown[key]) for key, count in yes.items()]
        each = ", ".join(said + f" (not judged in {lack})" * bool(lack) for said, lack in parts)
        lines.append(say("controls", "line", name=str(control).capitalize(), draws=draws, each=each))
    return text(lines)


def _works(scores: pd.DataFrame) -> str:
    rows = scores[(scores["class"] == "all") & (scores["metric"] == "auc")]
    clean = rows[rows["corruption"] == CLEAN[0]].iloc[0]
    falls = rows[(rows["corruption"] != CLEAN[0]) & rows["drop"].notna()]
    worst = falls.nlargest(1, "drop")
    if worst.empty or not np.isfinite(clean["value"]):
        return say("answer", "no_auc")
    doubt, row = "no_skill" if clean["low"] <= 0.5 else "", worst.iloc[0]
    fall = "falls" if row["drop"] > 0 else "no_fall"
    return say("answer", "works", fall, doubt, clean=clean, worst=row, cases=len(falls)).replace("\n", " ")


def _looks(drift: pd.DataFrame) -> str:
    worst = drift[drift["severity"] == drift["severity"].max()]
    row = analysis.mean_drift(worst, ["severity"], metric="normalised").iloc[0]
    key = "normalised" if np.isfinite(row["value"]) else "no_map"
    farther = say("normalised", "farther") if round(row["value"], 2) > 1 else ""
    lost = "lost" if key == "normalised" and row["degenerate"] else ""
    return " ".join(filter(None, [say("answer", key, row=row), farther, say("answer", lost, row=row)]))


def _tells(added: pd.DataFrame, answers: pd.DataFrame) -> str:
    answers = answers[answers["name"] != MARGIN].reset_index()  # which is itself a score
    said = {YES: "shown for", UNDEFINED: "not to be judged for", analysis.OPPOSITE: "the other way round for"}
    verdicts = answers["verdict"].map(lambda found: said.get(found, "undecided for"))
    leads = {said[YES]: "Yes", said[UNDEFINED]: "That cannot be said"}
    some = said[YES] in set(verdicts) or verdicts[0] == said[analysis.OPPOSITE]
    lead = "In part" if some else "This is not shown"
    lead = leads.get(verdicts[0], lead) if verdicts.nunique() == 1 else lead
    asked = [say("answer", name) for name in answers["name"]]
    asked[0] += f" ({answers['value'][0]:+.2f})" if np.isfinite(answers["value"][0]) else ""
    asked = asked if verdicts.nunique() > 1 else [listed(asked)]
    found = grouped(zip(verdicts, asked, strict=False), " ")
    row = added.iloc[0].drop("p")  # the tests below give it, corrected
    left = "left" if np.isfinite(row["value"]) else ""
    risk = "risk" if left and verdicts.iloc[-1] == said[YES] else ""
    numbers = dict(lead=lead, found=found, row=row, auroc=_auroc(row))
    return say("answer", "tells", left, risk, **numbers).replace("\n", " ")


def _auroc(row: Row) -> dict[str, float]:
    """The AUROC of all signals but the place of the map, with its interval."""
    return dict(zip(("value", "low", "high"), (row[end] for end in analysis.ends("auroc")), strict=True))


def association(tests: pd.DataFrame) -> str:
    """Does the corruption that moves the map more cost more AUC, at the same severity?"""
    return _linked("association", "pooled", declared_kinds(tests), analysis.WITHIN, analysis.PARTIAL)


def per_image(tests: pd.DataFrame) -> str:
    """Under the same condition, does the image whose map moves more lose more margin?"""
    kinds = declared_kinds(tests)
    return _linked("per_image", "", kinds, analysis.PER_IMAGE, analysis.PER_IMAGE_PARTIAL)


def _linked(section: str, first: str, kinds: pd.DataFrame, *pair: str) -> str:
    plain, partial = (kinds.loc[kind] for kind in pair)
    if verdict(plain) == UNDEFINED:
        return say(section, "nothing")
    numbers = dict(pooled=kinds.loc[analysis.POOLED], plain=plain, partial=partial)
    return say(section, first, "within", verdict(partial), **numbers)


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
        if not rows.loc[(run, "auc"), "alike"]:
            lines.append(say("runs", "other", run=run, first=first))
            continue
        parts = {}
        for measure in ("auc", "drop", "drift"):
            row = rows.loc[(run, measure)]
            said = side(row, "difference", "higher", "lower", "not shown to differ")
            known = measure if np.isfinite(row["difference"]) else "unknown"
            parts[measure] = say("runs", known, said=said, row=row, what=measure)
        here, there = rows.loc[(run, "drift")], rows.loc[(first, "drift")]
        if place(here) != place(there) and np.isfinite(here["difference"]):
            parts["drift"] += say("runs", "unlike", here=here, there=there)
        lines.append(say("runs", "run", run=run, first=first, **parts))
    return text(lines)


def alarms(found: pd.DataFrame) -> str:
    """Which signal finds errors best, does an unsteady map do it better than doubt, and what does it cost?"""
    if found.empty:
        return say("alarms", "several")
    tables = {
        key: rows.set_index("signal", drop=False) for key, rows in found.groupby(["metric", "pictures"])
    }
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
    kept = tables["augrc", "all"].query("signal in @alone")
    numbers = dict(kept=kept.nsmallest(1, "value").iloc[0], map=kept.loc[analysis.MAP_SIGNAL])
    numbers |= dict(signals=len(alone), cases=int(own["cases"]))
    numbers |= dict(doubt=doubt, own=own, verdict=side(doubt, "ahead", *BETTER))
    judged = "unjudged" if numbers["verdict"] == FEW else "judged"
    better = numbers["verdict"] == BETTER[0] and _as_much(same, analysis.CONTROL)
    numbers["nothing"] = f", {AS_MUCH}" if better else ""
    first, *rest = (say("alarms", key, **numbers) for key in (judged, "kept", "errors", "cost"))
    title, choice = say("alarms", "title"), say("alarms", "choice", **numbers)
    for row in same[same["signal"] == analysis.TOGETHER].to_dict("records"):
        weak = row["value"] < same["value"][alone].drop(analysis.MAP_SIGNAL).max()
        more = WEAK if weak else side(row, "ahead", *MORE)
        start, said = f"{analysis.TOGETHER} and {analysis.CONTROL}", []
        for control in same[same["signal"].str.startswith(start)].to_dict("records"):
            known = dict(network=control["signal"].removeprefix(start), gain=control["value"] - row["value"])
            said.append(say("alarms", "control", row=control, **known))
        more = AS_MUCH if more == MORE[0] and _as_much(same, start) else more
        rest.insert(0, say("alarms", "joined", all=row, scores=len(alone) - 1, added=more))
        rest.insert(1, " ".join(said) or say("alarms", "no_control"))
    return text(f"{first}\n{title}", lines, "\n".join([choice, *rest]))


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
