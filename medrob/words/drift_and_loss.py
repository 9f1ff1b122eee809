"""What drift says of loss: the declared tests, drift as a warning, runs side by side. For notebook 05."""

import numpy as np
import pandas as pd

from medrob import analysis
from medrob.analysis import BEYOND, DOUBT, DRIFT, MAP_SIGNAL, UNDEFINED, YES, declared_kinds, rows_of
from medrob.corruptions import CLEAN
from medrob.words.phrases import BETTER, Failed, grouped, judged, name, number, place, say, shown, side, text

VERDICTS = (YES, analysis.OPPOSITE, analysis.OPEN, UNDEFINED)
FATES = ("preserved", "flipped")  # of predictions


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
        value = number(row, form="+.3f" if row["name"] == "beyond scores" else "+.2f")
        value = "there is too little to go by" if row["verdict"] == UNDEFINED else value
        plain = say("answer", "plain", row=row) if np.isfinite(row["plain"]) else ""
        passed = say("answer", "control", passed=row["controls"]) if row["controls"] else ""
        asked.append(say("answer", "question", row=row, said=said, value=value, plain=plain + passed))
    return text(lines, say("answer", "tests", map=kinds.iloc[0]), asked)


def controls(controls: pd.DataFrame) -> str:
    """How often networks that have learnt nothing say yes to the declared questions."""
    lines, titles = [], {question.name: question.title for question in analysis.QUESTIONS}
    for control, rows in controls.groupby("control", sort=False):
        draws = rows["draw"].nunique()
        yes = (rows["verdict"] == YES).groupby(rows["name"], sort=False).sum()
        each = ", ".join(f"'{titles.get(question, question)}' in {count}" for question, count in yes.items())
        lines.append(say("controls", "line", name=str(control).capitalize(), draws=draws, each=each))
    return text(lines, say("controls", "rule"))


def _works(scores: pd.DataFrame) -> str:
    rows = scores[(scores["class"] == "all") & (scores["metric"] == "auc")]
    clean = rows[rows["corruption"] == CLEAN[0]].iloc[0]
    worst = rows[(rows["corruption"] != CLEAN[0]) & rows["drop"].notna()].nlargest(1, "drop")
    if worst.empty or not np.isfinite(clean["value"]):
        return say("answer", "no_auc")
    return say("answer", "works", clean=clean, worst=worst.iloc[0])


def _looks(drift: pd.DataFrame) -> str:
    worst = drift[drift["severity"] == drift["severity"].max()]
    row = analysis.mean_drift(worst, ["severity"], metric="normalised").iloc[0]
    key = "normalised" if np.isfinite(row["value"]) else "no_map"
    return say("answer", key, row=row, lost=row["degenerate"])


def _tells(added: pd.DataFrame, answers: pd.DataFrame) -> str:
    place = answers.set_index("kind").loc[BEYOND]
    key = "control" if place["controls"] and place["verdict"] != analysis.OPPOSITE else place["verdict"]
    rows = added.set_index("adds")
    without = rows.loc[DRIFT, "auroc"] - rows.loc[DRIFT, "value"]
    return say("answer", f"tells {key}", row=place, map=rows.loc["map"], without=without)


def association(tests: pd.DataFrame) -> str:
    """Does the corruption that moves the map more cost more AUC, at the same severity?"""
    kinds = declared_kinds(tests)
    plain, partial = kinds.loc[analysis.WITHIN], kinds.loc[analysis.PARTIAL]
    if judged(plain) == UNDEFINED:
        return say("association", "nothing")
    keys = ("pooled", "within", judged(partial))
    return say("association", *keys, pooled=kinds.loc[analysis.POOLED], plain=plain, partial=partial)


def per_image(tests: pd.DataFrame) -> str:
    """Under the same condition, does the image whose map moves more lose more margin?"""
    kinds = declared_kinds(tests)
    plain, partial = kinds.loc[analysis.PER_IMAGE], kinds.loc[analysis.PER_IMAGE_PARTIAL]
    if judged(plain) == UNDEFINED:
        return say("per_image", "nothing")
    return say("per_image", "within", judged(partial), plain=plain, partial=partial)


def failure(failure: pd.DataFrame) -> str:
    """How does drift go with a flipped prediction, beside the class whose fall is the flip?"""
    severity = failure["severity"].max()
    flips = failure[(failure["severity"] == severity) & (failure["event"] == "flipped")].set_index("signal")
    row, rival = flips.loc[DRIFT], flips.loc[analysis.CLEAN_CLASS]
    gone = "vanished" if row["vanished"] else ""
    known = np.isfinite(row["auroc"])
    basis = "basis" if known and row["compared"] < row["cases"] else ""
    keys = ("flips", gone, basis, "auroc" if known else "not defined")
    return say("failure", *keys, severity=severity, row=row, rival=rival["auroc"])


def beside(failure: pd.DataFrame) -> str:
    """Which other signals tell less of a failure than drift, and which more? Each league by itself."""
    worst, lines = failure[failure["severity"] == failure["severity"].max()], []
    for event, rows in worst.groupby("event", sort=False):
        drift = rows.set_index("signal")["auroc"][DRIFT]
        others = rows[rows["signal"] != DRIFT].dropna(subset="auroc")
        for league, part in others.groupby("league", sort=False):
            # Of two classes, confidence, entropy and margin order images alike: one number for all of them.
            pairs = []
            for _, same in part.groupby(["auroc", "ahead"], sort=False):
                row, names = same.iloc[0], ", ".join(map(shown, same["signal"]))
                pairs.append((side(row, "ahead", *BETTER), say("beside", "signals", names=names, row=row)))
            said = grouped(pairs, " ")
            lines.append(say("beside", "league", event=event, league=league, auroc=drift, signals=said))
        lines += [] if len(others) else [say("beside", "nothing", event=event)]
    return text(say("beside", "title"), lines)


def added(added: pd.DataFrame, tests: pd.DataFrame, *, method: str, layer: str) -> str:
    """Does the map tell of wrong predictions what all other signals of its league do not?"""
    declared, lines = declared_kinds(tests).loc[BEYOND], []
    rows = rows_of(added, method, layer, "added")
    if rows["value"].isna().any():
        return say("added", UNDEFINED, folds=analysis.FOLDS)
    for row in rows.to_dict("records"):
        if row["adds"] == DRIFT:
            row |= {"p_adjusted": declared["p_adjusted"], "correction": declared["correction"]}
        verdict = judged(row, tested=row["adds"] == DRIFT)
        lines.append(say("added", row["adds"], verdict, row=row, folds=analysis.FOLDS).replace("\n", " "))
    return text(lines)


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
    lines, everywhere = [], 0
    for question, rows in asked.groupby("question", sort=False):
        named = rows["run"].map(name).groupby(rows["verdict"]).agg(list)
        verdicts = [v for v in VERDICTS if v in named]
        parts = [f"{verdict} in {len(named[verdict])} ({', '.join(named[verdict])})" for verdict in verdicts]
        lines.append(say("answers", "question", question=question, verdicts="; ".join(parts)))
        everywhere += verdicts == [YES]
    runs = asked["run"].nunique()
    return text(lines, say("answers", "everywhere", runs=runs, yes=everywhere, total=len(lines)))


def strata(strata: pd.DataFrame, *, layer: str, failed: Failed = ()) -> str:
    """Which method is the steadiest, and does its map move less where the prediction is kept?"""
    severity = strata["severity"].max()
    rows = strata[(strata["layer"] == layer) & (strata["severity"] == severity)]
    wide = rows.pivot(index="method", columns="stratum", values="value")
    wide = wide.dropna(subset="all").sort_values("all")
    if wide.empty:
        return say("strata", "nothing", layer=layer, severity=severity)
    parts: list[str] = []
    for method, means in wide.to_dict("index").items():
        apart = [f"{kind}: {means[kind]:.3f}" for kind in FATES if np.isfinite(means.get(kind, np.nan))]
        parts.append(f"{shown(method, failed)} {means['all']:.3f} ({', '.join(apart)})")
    numbers = dict(severity=severity, order="; ".join(parts))
    numbers["lost"] = rows.loc[rows["stratum"] == "all", "degenerate"].mean()
    marked = "failed" if "†" in numbers["order"] else ""
    return say("strata", "order", "lost" if numbers["lost"] else "", marked, layer=layer, **numbers)


def alarms(found: pd.DataFrame) -> str:
    """Does the unsteadiness of a map find errors better than what needs no map, and what does it cost?"""
    if found.empty:
        return say("alarms", "several")
    rows = found[found["pictures"] == "all"].set_index(["metric", "signal"])
    aurocs = found[found["metric"] == "auroc"].set_index(["pictures", "signal"])
    doubt, own = (aurocs.loc[("same corruption", signal)] for signal in (DOUBT, MAP_SIGNAL))
    apart = {key: side(aurocs.loc[(key, DOUBT)], "ahead", *BETTER) for key in ("clean", "corrupted", "all")}
    if not np.isfinite(own["value"]):
        return say("alarms", "no_errors", cases=int(own["cases"]))
    others = rows.loc["augrc"].drop(MAP_SIGNAL)
    signals = grouped([(side(row, "ahead", *BETTER), shown(name)) for name, row in others.iterrows()], " ")
    numbers = dict(verdict=side(doubt, "ahead", *BETTER), row=doubt, map=own["value"], doubt=doubt["value"])
    numbers |= dict(errors=own["errors"], cases=int(own["cases"]), signals=signals, passes=own["passes"])
    return say("alarms", "answer", "apart", "beside", "cost", **numbers, **apart)
