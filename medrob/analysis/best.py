"""Which map warns best of a failure, and how the declared one stands beside what needs no map."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob.analysis.detection import auroc_interval, cases, chosen, compared, detect, precision_interval
from medrob.analysis.tables import MAP, require_map
from medrob.analysis.testing import HOLM, NO, OPEN, OPPOSITE, SMALL, UNDEFINED, YES, Finding, holm
from medrob.check import require
from medrob.evaluation import interval

AHEAD = ("ahead", "ahead_low", "ahead_high")


def best_warning(failure: pd.DataFrame, severity: int, *, event: str = "flipped") -> pd.Series:
    """The method and layer whose drift warns best, of all that there are: chosen after looking.

    Its AUROC and interval flatter it, as the best of many is partly the luckiest. p_adjusted, by Holm
    (1979) over all maps at this severity, makes up for the choice.

    Args:
        failure: from `failure`.

    Returns:
        The row of `failure`, with p_adjusted, correction, maps (out of how many it was chosen: 0, and NaN,
        where nothing failed or no map is usable) and verdicts (of all maps, in words).

    Raises:
        ValueError: an unknown severity or event.
    """
    rows = warnings_at(failure, severity, event)
    require(rows, ["p"], "failure")
    rows = rows[rows["signal"] == "drift"]
    if rows.empty:
        raise ValueError("the table failure has no row of the signal 'drift'")
    known = int(rows["auroc"].notna().sum())
    rows = rows.assign(p_adjusted=holm(rows["p"]), correction=HOLM, maps=known)
    rows["verdicts"] = _verdicts(rows)
    return rows.loc[rows["auroc"].idxmax()] if known else rows.iloc[0]


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


def warnings_at(failure: pd.DataFrame, severity: int, event: str) -> pd.DataFrame:
    """The rows of `failure` at a severity for an event; a ValueError names what there is instead."""
    require(failure, ["severity", "event", "signal", *MAP, "auroc", "low", "high"], "failure")
    rows = failure[(failure["severity"] == severity) & (failure["event"] == event)]
    if rows.empty:
        known = (sorted(failure["severity"].unique().tolist()), sorted(failure["event"].unique()))
        raise ValueError(
            f"severity={severity!r}, event={event!r} is not in the table failure; it has the severities "
            f"{known[0]} and the events {', '.join(known[1]) or 'none'}"
        )
    return rows


def beside(
    predictions: pd.DataFrame,
    drift: pd.DataFrame,
    distances: pd.DataFrame,
    *,
    method: str,
    layer: str,
    severity: int,
    metric: str = "rmse",
    resamples: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """One map's drift beside each signal that needs no map, on the same pictures, with paired intervals.

    Args:
        predictions, drift, distances: the tables predictions, drift and corruptions of a run.
        method, layer, severity: which drift. metric: its column. resamples, seed: of the intervals.

    Returns:
        event, signal ("drift" or a baseline), auroc (as in `failure`), low, high, ahead (AUROC of drift less
        this one; NaN for drift itself), ahead_low, ahead_high, precision (average precision), precision_low,
        precision_high, chance (of precision), compared, events (pictures that the numbers rest on, and those
        of them in which it happened). NaN as in `failure`.

    Raises:
        ValueError: an unknown method, layer or severity; a table that lacks something.
    """
    known = cases(predictions, drift, distances, metric)
    w, rows = known.weights(resamples, seed), []
    for event in known.events:
        signals, happened = chosen(known, method, layer, severity, event)
        pictures, failed = compared(np.isfinite(signals["drift"]), happened, known.group)
        n, k = int(pictures.sum()), int(failed.sum())
        found = {name: detect(signal, happened, w, known.group) for name, signal in signals.items()}
        for name, (auroc, precision, chance) in found.items():
            ahead = found["drift"][0] - auroc if name != "drift" else np.full(len(auroc), np.nan)
            aurocs, gaps = auroc_interval(auroc, k, n - k), interval(ahead[1:])
            numbers = (auroc[0], *aurocs, ahead[0], *gaps, precision[0], *precision_interval(precision))
            rows.append((event, name, *numbers, chance, n, k))
    precisions = ("precision", "precision_low", "precision_high")
    return pd.DataFrame(
        rows,
        columns=[
            "event",
            "signal",
            "auroc",
            "low",
            "high",
            *AHEAD,
            *precisions,
            "chance",
            "compared",
            "events",
        ],
    )


def say_beside(beside: pd.DataFrame) -> str:
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


def say_best(best: pd.Series, failure: pd.DataFrame, *, method: str, layer: str) -> str:
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
    top, found = Finding.of(best, ("auroc", "low", "high")), Finding.of(own, ("auroc", "low", "high"))
    if (best["method"], best["layer"]) == (method, layer):
        told = f"the one fixed beforehand, {method} at {layer}, warns best: AUROC {top.unsigned()}."
        return f"{best['verdicts']}\nOf {best['maps']} maps, {told}"
    holds = top.verdict(chance=0.5, small=SMALL["auroc"]) == YES
    return (
        f"{best['verdicts']}\n"
        f"Chosen after looking, as the highest of {best['maps']}: {best['method']} at {best['layer']}, "
        f"AUROC {top.unsigned()}{_rests(best)}.\n"
        f"Fixed beforehand: {method} at {layer}, AUROC {found.unsigned()}{_rests(own)}. "
        + (
            "The first is flattered by the choice; that it warns at all holds after correction for it."
            if holds
            else "That the first warns at all is not shown, once the choice is corrected for."
        )
    )


def _rests(row: pd.Series) -> str:
    """On how many pictures an AUROC rests: other maps are degenerate for other pictures."""
    lost = f", without {row['lost_events']} that have no map" if row["lost_events"] else ""
    return f", from {row['compared']} pictures with {row['compared_events']} {row['event']}{lost}"
