"""What drift says of loss: the declared tests, drift as a warning, runs side by side. For notebook 05."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pandas as pd

from medrob import analysis
from medrob.analysis import (
    DOUBT,
    MAP_SIGNAL,
    NO,
    OPEN,
    OPPOSITE,
    UNDEFINED,
    WITHIN,
    YES,
    declared_kinds,
    rows_of,
    warnings_at,
)
from medrob.words.phrases import BETTER, Row, grouped, judged, name, number, p_value, place, say, side, text

VERDICTS = (YES, OPPOSITE, NO, OPEN, UNDEFINED)


def association(tests: pd.DataFrame) -> str:
    """Does the corruption that moves the map more cost more AUC, at the same severity?"""
    kinds = declared_kinds(tests)
    plain, partial = kinds.loc[WITHIN], kinds.loc["partial"]
    if judged(plain, "correlation") == UNDEFINED:
        return say("association", "nothing")
    link = _link(plain, partial, "the corruption that moves the map more costs", "AUC")
    said = say("association", "within", "intervals", "link", plain=plain, partial=partial, link=link)
    return f"{_over_severities(kinds)}\n{said}"


def per_image(tests: pd.DataFrame) -> str:
    """Under the same condition, does the image whose map moves more lose more margin?"""
    kinds = declared_kinds(tests)
    plain, partial = kinds.loc[analysis.PER_IMAGE], kinds.loc[analysis.PER_IMAGE_PARTIAL]
    if judged(plain, "correlation") == UNDEFINED:
        return say("per_image", "nothing")
    link = _link(plain, partial, "the image whose map moves more loses", "margin")
    across = "across" if np.isfinite(plain["across_classes"]) else ""
    return say("per_image", "within", across, "link", plain=plain, partial=partial, link=link)


def _link(plain: Row, partial: Row, claim: str, loss: str) -> str:
    """What a correlation shows, and whether it goes beyond what the RMSE of the image explains."""
    verdict = judged(plain, "correlation")
    goes = "goes" if judged(partial, "correlation") == verdict else "is not shown to go"
    key = verdict if verdict in (NO, OPEN) else YES
    return say("link", key, claim=claim, loss=loss, more="more" if verdict == YES else "less", goes=goes)


def _over_severities(kinds: pd.DataFrame) -> str:
    """The correlation pooled over severities, and what of it is the work of severity, which moves both."""
    pooled, within = kinds.loc["pooled"].drop(["p", "p_adjusted"]), kinds.loc[WITHIN]  # described, not tested
    part = "part" if judged(within, "correlation") == YES else "confounded"
    key = part if pooled["low"] > 0 and pooled["low"] > within["high"] else "unknown"
    return say("severity", key, pooled=pooled)


def failure(failure: pd.DataFrame, tests: pd.DataFrame) -> str:
    """Does drift warn of a flipped prediction?"""
    kinds, severity = declared_kinds(tests), failure["severity"].max()
    test, rows = kinds.loc[analysis.flip(severity)], warnings_at(failure, severity, "flipped")
    row = rows_of(rows, test["method"], test["layer"], "failure").iloc[0]
    verdict, across = judged(test, "auroc"), row["across_classes"]
    lost = "lost" if row["lost"] else ""
    basis = "basis" if verdict != UNDEFINED and row["compared"] < row["cases"] else ""
    numbers = dict(flips=row["events"] + row["lost_events"], cases=row["cases"] + row["lost"], row=row)
    numbers["across"] = f", across classes {across:.2f}" if np.isfinite(across) else ""
    return say("failure", "flips", lost, basis, verdict, severity=severity, test=test, **numbers)


def answer(tests: pd.DataFrame) -> str:
    """The answer as declared: the tests of one map, corrected by Holm's method."""
    found, kinds, lines = analysis.answers(tests), declared_kinds(tests), []
    for row, question in zip(found.to_dict("records"), analysis.QUESTIONS, strict=True):
        said = row["verdict"].capitalize() + (", or too little to matter" if row["verdict"] == NO else "")
        value = number(row, form=".2f" if question.chance else "+.2f")
        value = "there is too little to go by" if row["verdict"] == UNDEFINED else value
        pooled = f" {_over_severities(kinds)}" if row["kind"] == WITHIN else ""
        beyond = ""
        if row["beyond"]:
            beyond = say("answer", "beyond", row=row, partial=kinds.loc[question.beyond])
        pooled = pooled if "but that is the work of severity" in pooled else ""
        lines.append(say("answer", "question", row=row, said=said, value=value, pooled=pooled, beyond=beyond))
    counts, total = Counter(found["verdict"]), len(found)
    rest = ", ".join(f"{verdict} in {n}" for verdict, n in counts.most_common() if verdict != YES)
    beyond = found.loc[(found["verdict"] == YES) & (found["beyond"] != ""), "beyond"]
    lost = (beyond != YES).sum()
    held = say("answer", "held", lost=lost, asked=len(beyond)) if lost else ""
    key = "some" if rest else "all"
    if not counts[YES]:
        key = "no" if counts[NO] + counts[OPPOSITE] == total else "not_shown"
    key = "unknown" if counts[UNDEFINED] == total else key
    numbers = dict(map=kinds.iloc[0], yes=counts[YES], total=total, rest=rest, held=held)
    return text(lines, say("answer", key, **numbers))


def sensitivity(extremes: pd.DataFrame, tests: pd.DataFrame, drift: pd.DataFrame) -> str:
    """Would another treatment of the degenerate maps give another answer to the declared tests?"""
    usual, declared = analysis.answers(tests).set_index("kind")["verdict"], declared_kinds(tests).iloc[0]
    flat = rows_of(drift, declared["method"], declared["layer"], "drift")["degenerate"].astype(bool)
    changed = [
        say("sensitivity", "answer", row=row, usual=usual[row.kind])
        for row in extremes.itertuples()
        if row.verdict != usual[row.kind] and flat.any() and not flat.all()
    ]
    key = "none" if not flat.any() else "all" if flat.all() else "changed" if changed else "same"
    return text(say("sensitivity", key, lost=flat.sum(), total=len(flat), map=declared), changed)


def beside(beside: pd.DataFrame) -> str:
    """Which signals that need no map are worse warnings than drift, and which are better?"""
    drift, lines = beside[beside["signal"] == "drift"].set_index("event")["auroc"], []
    for event, rows in beside[beside["signal"] != "drift"].groupby("event", sort=False):
        pairs = []
        # Of two classes, confidence, entropy and margin order images alike: one number for all of them.
        for _, alike in rows.groupby(["auroc", "ahead", "ahead_low", "ahead_high"], sort=False):
            row, names = alike.iloc[0], ", ".join(alike["signal"])
            turned = say("beside", "turned", turned=1 - row["auroc"]) if row["high"] < 0.5 else ""
            signals = say("beside", "signals", names=names, row=row, turned=turned)
            pairs.append((side(row, "ahead", *BETTER), signals))
        key, signals = "event" if pairs else "nothing", grouped(pairs, " ")
        lines.append(say("beside", key, event=event, auroc=drift[event], signals=signals))
    return text(say("beside", "title"), lines)


def best(failure: pd.DataFrame, *, method: str, layer: str, severity: int) -> str:
    """Which map warns best, chosen after looking, beside the one that was declared?"""
    rows = analysis.warnings_of_maps(failure, severity)
    if rows["auroc"].isna().all():
        return say("best", "nothing", severity=severity)
    top = rows.loc[rows["auroc"].idxmax()]
    declared = rows_of(warnings_at(failure, severity), method, layer, "failure").iloc[0]
    counts = Counter(judged(row, "auroc") for row in rows.to_dict("records"))
    verdicts = [say("best", v, n=counts[v]) for v in VERDICTS if counts[v]]
    holds = "holds" if judged(top, "auroc") == YES else "not_shown"
    keys = ("same",) if place(top) == place(declared) else ("best", "declared", holds)
    aurocs = {
        key: say("best", "auroc", row=row) + (say("best", "lost", row=row) if row["lost_events"] else "")
        for key, row in (("top_auroc", top), ("declared_auroc", declared))
    }
    numbers = dict(total=len(rows), verdicts=", ".join(verdicts), top=top, declared=declared)
    return say("best", "maps", *keys, **numbers, **aurocs)


def added(added: pd.DataFrame, *, method: str, layer: str) -> str:
    """Does drift add to confidence, entropy, margin and the RMSE of the image?"""
    rows = rows_of(added, method, layer, "added").to_dict("records")
    return text([say("added", judged(r, "gain", tested=False), row=r, folds=analysis.FOLDS) for r in rows])


def risk(areas: pd.DataFrame) -> str:
    """Would it help to set the corrupted images with the most drift aside? By intervals, not corrected."""
    if areas.empty:
        return say("risk", "nothing")
    rows = areas.set_index("signal")
    drift, area = rows.loc["drift"], rows["area"]
    if drift["wrong"] in (0, 1):
        return say("risk", "all_wrong" if drift["wrong"] else "none_wrong")
    helps = side(drift, "spared", "better than", "worse than", "not shown to be better than")
    doubt, ideal = area[analysis.DOUBT], area[analysis.BEST]
    others, rival = area.drop(["drift", analysis.DOUBT, analysis.BEST]).dropna(), ""
    if others.min() < doubt:
        rival = say("risk", "rival", signal=others.idxmin(), area=others.min())
    numbers = dict(drift=drift, helps=helps, doubt=doubt, rival=rival, ideal=ideal)
    numbers["better"] = side(drift, "saved", *BETTER)
    return say("risk", "wrong", "aside", "beside", "ideal", **numbers)


def runs(compared: pd.DataFrame) -> str:
    """How each run differs from the first, over all severities."""
    left = compared[compared["left_out"] != ""].drop_duplicates("run").set_index("run")["left_out"]
    lines = [say("runs", "left_out", run=run, conditions=conditions) for run, conditions in left.items()]
    first, *others = dict.fromkeys(compared["run"])
    if not others:
        seeds = compared["seeds"].iloc[0]
        return text(*lines, say("runs", "one_run" if seeds == 1 else "seeds", seeds=seeds))
    rows = compared[compared["severity"] == analysis.OVERALL].set_index(["run", "measure"])
    for run in others:
        parts = {}
        for measure in ("auc", "drop", "drift"):
            row = rows.loc[(run, measure)]
            said = side(row, "difference", "higher", "lower", "not shown to differ")
            known = "" if np.isfinite(row["difference"]) else "_unknown"
            parts[measure] = say("runs", f"{measure}{known}", said=said, row=row)
        here, there = rows.loc[(run, "drift")], rows.loc[(first, "drift")]
        if place(here) != place(there) and np.isfinite(here["difference"]):
            parts["drift"] += say("runs", "unlike", here=here, there=there)
        independent = rows.loc[(run, "auc"), "pairing"] == analysis.INDEPENDENT
        line = say("runs", "run", run=run, first=first, **parts)
        lines.append(line + (say("runs", "independent") if independent else ""))
    return text(lines)


def answers(asked: pd.DataFrame) -> str:
    """Does the answer hold from run to run?"""
    begin, lines, everywhere = "", [], 0
    if asked["conditions"].nunique() > 1:
        each = asked.groupby("run", sort=False)["conditions"].first()
        held = "; ".join(f"{name(run)}: {name(conditions)}" for run, conditions in each.items())
        begin = say("answers", "conditions", conditions=held)
    for question, rows in asked.groupby("question", sort=False):
        named = rows["run"].map(name).groupby(rows["verdict"]).agg(list)
        verdicts = [v for v in VERDICTS if v in named]
        parts = [f"{verdict} in {len(named[verdict])} ({', '.join(named[verdict])})" for verdict in verdicts]
        lines.append(f"{question} {'; '.join(parts)}.")
        everywhere += verdicts == [YES]
    runs = asked["run"].nunique()
    return text(begin, lines, say("answers", "everywhere", runs=runs, yes=everywhere, total=len(lines)))


def ranks(ranked: pd.DataFrame, agreed: pd.Series) -> str:
    """Which method is steadiest, and do the runs agree on the order (`medrob.analysis.agreement`)?"""
    good = ranked.dropna(subset="rank")
    if good.empty:
        return say("ranks", "nothing")
    order = good.groupby("method", sort=False)["rank"].mean().sort_values(kind="stable").index
    low, high = (good.pivot(index="run", columns="method", values=f"rank_{end}") for end in ("low", "high"))
    said = name(order[0])
    for method, after in pairwise(order):  # apart if a run tells them apart, and none the other way round
        apart = (high[method] < low[after]).any() and not (high[after] < low[method]).any()
        said += f"{', ' if apart else ' ≈ '}{name(after)}"
    said += " (≈: the data do not tell their ranks apart)" if "≈" in said else ""
    failed = ", ".join(map(name, dict.fromkeys(good.loc[good["fails"], "method"])))
    runs, methods, w, p = (agreed[column] for column in ("runs", "methods", "w", "p"))
    least = math.factorial(int(methods)) ** (1 - int(runs))  # all orders alike, by chance
    agree = "few_runs" if least >= analysis.LEVEL else "agree" if p < analysis.LEVEL else "disagree"
    agree = "one_run" if runs < 2 else agree if np.isfinite(w) else "few_methods"
    numbers = dict(runs=int(runs), methods=methods, w=w, least=least, p=p_value(analysis.Finding(0, 0, 0, p)))
    return say("ranks", "order", "failed" if failed else "", agree, order=said, failed=failed, **numbers)


def alarms(found: pd.DataFrame) -> str:
    """Does the unsteadiness of a map find errors better than what needs no map, and what does it cost?"""
    if found.empty:
        return say("alarms", "several")
    rows = found[found["pictures"] == "all"].set_index(["metric", "signal"])
    doubt, own = rows.loc[("auroc", DOUBT)], rows.loc[("auroc", MAP_SIGNAL)]
    if not np.isfinite(own["value"]):
        return say("alarms", "no_errors", cases=int(own["cases"]))
    others = rows.loc["augrc"].drop(MAP_SIGNAL)
    signals = grouped([(side(row, "ahead", *BETTER), name) for name, row in others.iterrows()], " ")
    numbers = dict(verdict=side(doubt, "ahead", *BETTER), row=doubt, map=own["value"], doubt=doubt["value"])
    numbers |= dict(errors=own["errors"], cases=int(own["cases"]), signals=signals, passes=own["passes"])
    return say("alarms", "answer", "beside", "cost", **numbers)
