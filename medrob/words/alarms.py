"""What drift is worth as a warning, beside other signals and other maps. Sentences of notebook 05."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from medrob import analysis
from medrob.analysis import BEST, DOUBT, FOLDS, HOLM, NO, OPEN, OPPOSITE, UNDEFINED, YES, warnings_at
from medrob.words.phrases import BETTER, count, finding, grouped, judged, number, of_map, place, side, text

ALL_MAPS = {
    YES: "warn",
    OPPOSITE: "warn the wrong way round (they move less where it fails)",
    NO: "do not warn",
    OPEN: "are not shown to warn",
    UNDEFINED: "cannot be judged",
}
ADDED = {
    YES: "adds to",
    OPPOSITE: "only adds noise to",
    NO: "adds nothing that matters to",
    OPEN: "is not shown to add to",
    UNDEFINED: "cannot be judged beside",
}


def beside(beside: pd.DataFrame) -> str:
    """Which signals that need no map are worse warnings than drift, and which are better?"""
    drift, lines = beside[beside["signal"] == "drift"].set_index("event")["auroc"], []
    for event, rows in beside[beside["signal"] != "drift"].groupby("event", sort=False):
        # Of two classes, confidence, entropy and margin order images alike: one number for all of them.
        alike = rows.groupby(["auroc", "ahead", "ahead_low", "ahead_high"], sort=False, dropna=False)
        pairs = grouped((_signal(group) for _, group in alike), " ")
        known = rows["ahead"].notna().any()
        said = f"drift has an AUROC of {drift[event]:.2f}, {pairs}."
        lines.append(f"Prediction {event}: {said if known else 'there is nothing to compare.'}")
    return text("On the same corrupted images, with 95 % intervals not corrected for their number:", lines)


def _signal(rows: pd.DataFrame) -> tuple[str, str]:
    """How drift stands to signals that are one, and the signals with their AUROC and the difference."""
    ahead, auroc = finding(rows.iloc[0], "ahead"), rows["auroc"].iloc[0]
    turned = f", below chance, {1 - auroc:.2f} the other way round" if rows["high"].iloc[0] < 0.5 else ""
    return side(ahead, *BETTER), f"{', '.join(rows['signal'])} ({auroc:.2f}{turned}) by {number(ahead)}"


def best(failure: pd.DataFrame, *, method: str, layer: str, severity: int) -> str:
    """Which map warns best, chosen after looking, beside the one that was declared?"""
    top = analysis.best_warning(failure, severity)
    if not top["maps"]:
        return f"At severity {severity} no map can be chosen: nothing failed, or none is usable."
    rows = warnings_at(failure, severity, top["event"])
    declared = of_map(rows, "failure", method, layer).iloc[0]
    rows = rows[rows["signal"] == "drift"]
    corrected = rows.assign(p_adjusted=analysis.holm(rows["p"]), correction=HOLM).to_dict("records")
    found = Counter(judged(finding(row, "auroc"), "auroc") for row in corrected)
    verdicts = ", ".join(f"{found[verdict]} {said}" for verdict, said in ALL_MAPS.items() if found[verdict])
    begin = f"Of {count(len(rows), 'map')} (a method at a layer, Holm over all of them), {verdicts}."
    if place(top) == place(declared):
        return text(begin, f"The declared one, {place(top)}, warns best: {_auroc(top)}.")
    holds = "but it stays" if judged(finding(top, "auroc"), "auroc") == YES else "and is not shown to be"
    return text(
        begin,
        f"The best, chosen after looking, is {place(top)}: {_auroc(top)}.",
        f"The declared one is {place(declared)}: {_auroc(declared)}.",
        f"The best is optimistic, as it was chosen, {holds} above chance after correction for the choice.",
    )


def _auroc(row: pd.Series) -> str:
    """The AUROC of a map and what it rests on: other maps are degenerate for other images."""
    lost = f", without {row['lost_events']} that have no map" if row["lost_events"] else ""
    images = f"{count(row['compared'], 'corrupted image')} with {row['compared_events']} {row['event']}"
    return f"AUROC {number(finding(row, 'auroc'), '.2f')}, from {images}{lost}"


def added(added: pd.DataFrame, *, method: str, layer: str) -> str:
    """Does drift add to confidence, entropy, margin and the RMSE of the image?"""
    lines = []
    for row in of_map(added, "added", method, layer).to_dict("records"):
        gain = finding(row, "gain")
        verdict = judged(gain, "gain", tested=False)
        how = f"AUROC {row['auroc']:.3f} with it, {number(gain, '+.3f')}"
        if verdict == UNDEFINED:
            how = f"there are too few images with and without it for {FOLDS} folds"
        known = "confidence, entropy, margin and the RMSE of the image"
        lines.append(f"Prediction {row['event']}: drift {ADDED[verdict]} {known}: {how}.")
    return text(lines)


def risk(areas: pd.DataFrame) -> str:
    """Would it help to set the corrupted images with the most drift aside? By intervals, not corrected."""
    if areas.empty:
        why = "no map is usable, or images have no label or several, so that no prediction is simply wrong"
        return f"It cannot be said whether setting images aside helps: {why}."
    rows = areas.set_index("signal")
    drift, area = rows.loc["drift"], rows["area"]
    if drift["wrong"] in (0, 1):
        which = "every" if drift["wrong"] else "no"
        return f"Setting images aside changes nothing: {which} prediction is wrong."
    spared = finding(drift, "spared")
    helps = side(spared, "better than chance", "worse than chance", "not shown to be better than chance")
    others, rival = area.drop(["drift", DOUBT, BEST], errors="ignore").dropna(), ""
    if len(others) and others.min() < area[DOUBT]:
        rival = f"; of the signals that need no map, {others.idxmin()} does best ({others.min():.3f})"
    where, left = f"({place(drift)})", number(finding(drift, "area"), ".3f")
    return text(
        f"At severity {drift['severity']}, over all corruptions and classes together, {drift['wrong']:.0%} "
        "of the predictions are wrong.",
        f"Setting aside images by their drift {where} leaves a mean risk of {left}, {helps}.",
        f"That is {side(finding(drift, 'saved'), *BETTER)} low confidence ({area[DOUBT]:.3f}){rival}.",
        f"The best possible order leaves {area[BEST]:.3f}.",
    )
