"""Which map warns best of a failure, and how the declared one stands beside what needs no map."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob.analysis.detection import auroc_interval, cases, chosen, compared, detect, precision_interval
from medrob.analysis.tables import MAP
from medrob.analysis.testing import HOLM, holm
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
        The row of `failure`, with p_adjusted, correction and maps (out of how many it was chosen: 0,
        and NaN, where nothing failed or no map is usable).

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
    return rows.loc[rows["auroc"].idxmax()] if known else rows.iloc[0]


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
