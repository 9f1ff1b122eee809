"""Which map warns best of a failure, how many warn at all, and how the declared one stands beside them."""

from __future__ import annotations

import pandas as pd

from medrob.analysis.tables import MAP, require_map
from medrob.analysis.testing import HOLM, NO, OPEN, OPPOSITE, SMALL, UNDEFINED, YES, Finding, holm
from medrob.evaluation import require


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
    rows = rows[rows["signal"] == "drift"]
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


def beside(failure: pd.DataFrame, *, method: str, layer: str, severity: int) -> pd.DataFrame:
    """Drift of one map beside what needs no map, as warnings of a flip at a severity: a table to print.

    Returns:
        signal, auroc, low, high, gain, gain_low, gain_high (over low confidence), across_classes, precision,
        precision_low, precision_high, chance.
    """
    rows = warnings_at(failure, severity, "flipped")
    require_map(rows, method, layer, "failure")
    rows = rows[(rows["method"] == "") | (rows["method"] == method) & (rows["layer"] == layer)]
    columns = ["signal", "auroc", "low", "high", "gain", "gain_low", "gain_high", "across_classes"]
    return rows[[*columns, "precision", "precision_low", "precision_high", "chance"]]


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
        f"AUROC {top.unsigned()}.\n"
        f"Fixed beforehand: {method} at {layer}, AUROC {found.unsigned()}. "
        + (
            "The first is flattered by the choice; that it warns at all holds after correction for it."
            if holds
            else "That the first warns at all is not shown, once the choice is corrected for."
        )
    )
