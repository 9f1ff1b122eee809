"""What drift is worth as a warning of a failure."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob import analysis
from medrob.analysis.best import AHEAD, warnings_at
from medrob.analysis.detection import DOUBT
from medrob.analysis.tables import MAP, require_map
from medrob.analysis.testing import (
    HOLM,
    NO,
    OPEN,
    OPPOSITE,
    SMALL,
    UNDEFINED,
    YES,
    Finding,
    rows_of,
    warning,
)
from medrob.analysis.worth import BEST, FOLDS
from medrob.check import require


def failure(
    failure: pd.DataFrame, *, method: str, layer: str, severity: int, tests: pd.DataFrame | None = None
) -> str:
    """In words: does drift warn of a flipped prediction? See also `medrob.words.beside`.

    Args:
        failure: from `failure`.
        tests: from `adjust`: p is then the corrected one.

    Raises:
        ValueError: a method, layer or severity that `failure` does not hold.
    """
    rows = warnings_at(failure, severity, "flipped")
    counts = ["events", "cases", "lost", "lost_events", "compared", "compared_events", "within"]
    require(rows, ["p", *counts, "across_classes"], "failure")
    require_map(rows, method, layer, "failure")
    drift = rows[(rows["method"] == method) & (rows["layer"] == layer)].iloc[0]
    events, cases = (
        drift[name] + drift[lost] for name, lost in (("events", "lost_events"), ("cases", "lost"))
    )
    begin = f"Severity {severity}: {events} of {cases} predictions flipped."
    if drift["lost"]:
        begin += (
            f" {drift['lost']} pictures, {drift['lost_events']} of them flipped, have a degenerate "
            "map and no drift; they are left out below."
        )
    if tests is not None:
        kinds = rows_of(tests, method, layer, "tests")
        drift = pd.concat([drift, kinds.loc[warning("flipped", severity)][["p_adjusted", "correction"]]])
    found = Finding.of(drift, ("auroc", "low", "high"))
    verdict = found.verdict(chance=0.5, small=SMALL["auroc"])
    if verdict == UNDEFINED:
        return f"{begin}\nNothing to detect: of each class, no picture with a drift has flipped, or all have."
    told = {
        YES: "warns of a flip",
        OPPOSITE: "is smaller where the prediction flips",
        NO: "does not warn of a flip",
        OPEN: "is not shown to warn of a flip",
    }[verdict]
    if drift["compared"] < drift["cases"]:
        begin += (
            f"\nWhat follows rests on {drift['compared']} pictures, {drift['compared_events']} of them "
            f"flipped: those under {drift['within'].replace('_', ' ')}, of classes in which some have "
            "flipped and others have not."
        )
    across = drift["across_classes"]
    across = f", across classes {across:.2f}" if np.isfinite(across) else ""
    return f"{begin}\nDrift {told}: AUROC within a class {found.unsigned()}{across}."


def beside(beside: pd.DataFrame) -> str:
    """In words: which signals that need no map does drift surpass as a warning, and which surpass it?

    Args:
        beside: from `beside`.
    """
    require(beside, ["event", "signal", "auroc", "high", *AHEAD], "beside")
    own = beside[beside["signal"] == "drift"].set_index("event")["auroc"]
    if missing := set(beside["event"]) - set(own.index):
        raise ValueError(
            f"the table beside has no row of the signal 'drift' for {', '.join(sorted(missing))}"
        )
    lines = []
    for event, rows in beside[beside["signal"] != "drift"].groupby("event", sort=False):
        told: dict[str, list[str]] = {}
        alike: dict[tuple, list[str]] = {}  # of two classes, confidence, entropy and margin order alike
        for row in rows.to_dict("records"):
            key = (row["auroc"], row["high"] < 0.5, Finding.of(row, AHEAD))
            alike.setdefault(key, []).append(row["signal"])
        for (auroc, backwards, found), names in alike.items():
            place = f"{auroc:.2f}" + f" (below chance: {1 - auroc:.2f} the other way round)" * backwards
            words = {YES: "better than", OPPOSITE: "worse than", UNDEFINED: UNDEFINED}
            verdict = found.verdict(chance=0, small=0, tested=False)
            told.setdefault(words.get(verdict, "not distinguishable from"), []).append(
                f"{', '.join(names)}, {place}: by {found.plain()}"
            )
        if set(told) == {UNDEFINED}:
            lines.append(f"Prediction {event}: nothing to compare drift on.")
            continue
        lines.append(
            f"Prediction {event}, AUROC on the same pictures (95 % intervals, not corrected for their "
            f"number): drift {own[event]:.2f} is"
        )
        lines += [f"  {words} {'; '.join(names)}" for words, names in told.items()]
    return "\n".join(lines)


def best(best: pd.Series, failure: pd.DataFrame, *, method: str, layer: str) -> str:
    """In words: which map warns best, chosen after looking, beside the one fixed beforehand.

    Args:
        best: from `best_warning`.
        failure: from `failure`. method, layer: fixed beforehand, see `headline`.
    """
    if not best["maps"]:
        return f"Severity {best['severity']}: no map can be chosen; nothing failed, or none is usable."
    rows = warnings_at(failure, best["severity"], best["event"])
    require_map(rows, method, layer, "failure")
    own = rows[(rows["method"] == method) & (rows["layer"] == layer)].iloc[0]
    rows = rows[rows["signal"] == "drift"]
    rows = rows.assign(p_adjusted=analysis.holm(rows["p"]), correction=HOLM)
    top, found = Finding.of(best, ("auroc", "low", "high")), Finding.of(own, ("auroc", "low", "high"))
    if (best["method"], best["layer"]) == (method, layer):
        told = f"the one fixed beforehand, {method} at {layer}, warns best: AUROC {top.unsigned()}."
        return f"{_verdicts(rows)}\nOf {best['maps']} maps, {told}"
    holds = top.verdict(chance=0.5, small=SMALL["auroc"]) == YES
    return (
        f"{_verdicts(rows)}\n"
        f"Chosen after looking, as the highest of {best['maps']}: {best['method']} at {best['layer']}, "
        f"AUROC {top.unsigned()}{_rests(best)}.\n"
        f"Fixed beforehand: {method} at {layer}, AUROC {found.unsigned()}{_rests(own)}. "
        + (
            "The first is flattered by the choice; that it warns at all holds after correction for it."
            if holds
            else "That the first warns at all is not shown, once the choice is corrected for."
        )
    )


def _verdicts(rows: pd.DataFrame) -> str:
    """How many maps warn, warn the wrong way round, do not warn, or are not shown to."""
    found = [
        Finding.of(row, ("auroc", "low", "high")).verdict(chance=0.5, small=SMALL["auroc"])
        for row in rows.to_dict("records")
    ]
    words = {
        YES: "warn",
        OPPOSITE: "warn the wrong way round (they move less where it fails)",
        NO: "do not warn",
        OPEN: "are not shown to warn",
        UNDEFINED: "cannot be judged",
    }
    parts = [f"{found.count(verdict)} {told}" for verdict, told in words.items() if verdict in found]
    return f"Of {len(found)} maps (method and layer, Holm over all of them), {', '.join(parts)}."


def _rests(row: pd.Series) -> str:
    """On how many pictures an AUROC rests: other maps are degenerate for other pictures."""
    lost = f", without {row['lost_events']} that have no map" if row["lost_events"] else ""
    return f", from {row['compared']} pictures with {row['compared_events']} {row['event']}{lost}"


def added(added: pd.DataFrame, *, method: str, layer: str) -> str:
    """In words: does drift add to confidence, entropy, margin and the picture's RMSE?

    Args:
        added: from `added`.
    """
    require(added, ["event", *MAP, "gain", "gain_low", "gain_high"], "added")
    require_map(added, method, layer, "added")
    lines = []
    for row in added[(added["method"] == method) & (added["layer"] == layer)].to_dict("records"):
        gain = Finding.of(row, ("gain", "gain_low", "gain_high"))
        found = gain.verdict(chance=0, small=SMALL["gain"], tested=False)
        told = {
            YES: "adds to",
            OPPOSITE: "only adds noise to",
            NO: "adds nothing that matters to",
            OPEN: "is not shown to add to",
            UNDEFINED: "cannot be judged beside",
        }[found]
        line = f"Prediction {row['event']}: drift {told} confidence, entropy, margin and the picture's RMSE"
        if found == UNDEFINED:
            lines.append(f"{line}: too few images with and without it for {FOLDS} folds.")
        else:
            lines.append(
                f"{line}: AUROC {row['auroc']:.3f} with it, {row['gain']:+.3f} "
                f"({row['gain_low']:+.3f} to {row['gain_high']:+.3f})."
            )
    return "\n".join(lines)


def risk(areas: pd.DataFrame) -> str:
    """In words: would it help to set the pictures with the most drift aside? By intervals, not corrected.

    Args:
        areas: from `risk`.
    """
    numbers = ["area", "low", "high", "saved", "saved_low", "saved_high", "wrong"]
    numbers += ["spared", "spared_low", "spared_high"]
    require(areas, ["signal", *numbers, *MAP, "severity"], "areas")
    if areas.empty:
        return (
            "Whether setting pictures aside helps cannot be said: no map is usable, or the images have no "
            "label or several, so that no prediction is simply wrong."
        )
    rows = areas.set_index("signal")
    drift = rows.loc["drift"]
    wrong = drift["wrong"]
    if wrong in (0, 1):
        return f"Setting pictures aside changes nothing: {'every' if wrong else 'no'} prediction is wrong."
    spared = Finding.of(drift, ("spared", "spared_low", "spared_high"))
    better = Finding.of(drift, ("saved", "saved_low", "saved_high"))
    helps = {YES: "better than chance", OPPOSITE: "worse than chance"}.get(
        spared.verdict(chance=0, small=0, tested=False), "not shown to be better than chance"
    )
    against = {YES: "better than", OPPOSITE: "worse than"}.get(
        better.verdict(chance=0, small=0, tested=False), "not distinguishable from"
    )
    others = rows["area"].drop(["drift", DOUBT, BEST], errors="ignore").dropna()
    beside = ""
    if len(others) and others.min() < rows.loc[DOUBT, "area"]:
        beside = f"; of what needs no map, {others.idxmin()} does best ({others.min():.3f})"
    return (
        f"Severity {drift['severity']}, all corruptions and classes together: {100 * wrong:.0f} % of the "
        f"predictions are wrong.\nPictures set aside by drift ({drift['method']} at {drift['layer']}) leave "
        f"a mean risk of {drift['area']:.3f} ({drift['low']:.3f} to {drift['high']:.3f}), {helps};\n"
        f"that is {against} low confidence ({rows.loc[DOUBT, 'area']:.3f}){beside}. "
        f"The best possible order leaves {rows.loc[BEST, 'area']:.3f}."
    )
