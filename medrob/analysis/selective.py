"""If the pictures with the strongest warning were set aside: how often would the rest be wrong?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob.analysis.cases import DOUBT, cases, chosen
from medrob.analysis.tables import require
from medrob.analysis.verdict import OPPOSITE, YES, Finding
from medrob.evaluation import interval

COVERAGES = np.arange(1, 21) / 20
BEST = "best possible"


def risk_coverage(
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
    """Risk against coverage, over all corruptions of a severity together (El-Yaniv & Wiener 2010).

    Pictures with a degenerate map are left out, for every signal, so that all curves are of the same
    pictures. Pictures with equal signals are kept or set aside in proportion.

    Args:
        predictions, drift, distances: the tables predictions, drift and corruptions of a run.
        method, layer, severity: which drift. metric: its column. resamples, seed: of the intervals.

    Returns:
        signal ("drift", a baseline or "best possible"), coverage (share kept), risk (share of the kept
        that is wrong), low, high. Empty where no label is known or no map usable.

    Raises:
        ValueError: an unknown method, layer or severity; a table that lacks something.
    """
    found = _prepared(predictions, drift, distances, metric, (method, layer, severity), resamples, seed)
    frames = []
    for name, (signal, wrong, w) in found.items():
        risks = _risks(signal, wrong, w, COVERAGES)
        limits = np.array([interval(column) for column in risks[1:].T])
        row = dict(signal=name, coverage=COVERAGES, risk=risks[0], low=limits[:, 0], high=limits[:, 1])
        frames.append(pd.DataFrame(row))
    columns = ["signal", "coverage", "risk", "low", "high"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def risk_area(
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
    """The area under each curve of `risk_coverage`: the mean risk over keeping 1, 2, ... all pictures.

    AURC of Geifman & El-Yaniv (2017); the share that is wrong altogether is what a signal that knows nothing
    reaches.

    Returns:
        signal, area, low, high, saved (area of low confidence less this one; above 0 = better than it),
        saved_low, saved_high (paired), wrong (share of all), cases. Empty as `risk_coverage`.

    Raises:
        ValueError: as `risk_coverage`.
    """
    found = _prepared(predictions, drift, distances, metric, (method, layer, severity), resamples, seed)
    areas = {}
    for name, (signal, wrong, w) in found.items():
        steps = np.arange(1, len(signal) + 1) / len(signal)
        areas[name] = _risks(signal, wrong, w, steps).mean(1)
    rows = []
    for name, area in areas.items():
        saved = areas[DOUBT] - area
        _, wrong, _ = found[name]
        numbers = (area[0], *interval(area[1:]), saved[0], *interval(saved[1:]))
        rows.append((name, *numbers, wrong.mean(), len(wrong)))
    columns = ["signal", "area", "low", "high", "saved", "saved_low", "saved_high", "wrong", "cases"]
    return pd.DataFrame(rows, columns=columns)


def _prepared(
    predictions: pd.DataFrame,
    drift: pd.DataFrame,
    distances: pd.DataFrame,
    metric: str,
    which: tuple[str, str, int],
    resamples: int,
    seed: int,
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each signal: its values (n,), wrong (n,), weights (n, B), of the pictures with a usable map."""
    known = cases(predictions, drift, distances, metric)
    signals, _ = chosen(known, *which, "flipped")
    use = np.isfinite(signals["drift"])
    if "wrong" not in known.events or not use.any():
        return {}
    wrong = known.events["wrong"][known.drift.severities == which[2]][use]
    w = known.weights(resamples, seed)[np.nonzero(use)[1]]
    signals[BEST] = np.zeros(use.shape)
    signals[BEST][use] = wrong
    return {name: (signal[use], wrong, w) for name, signal in signals.items()}


def _risks(signal: np.ndarray, wrong: np.ndarray, w: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Share of wrong among the pictures of lowest signal: (B, shares), for weights (n, B).

    Between two ends of groups of equal signals, the wrong ones of the group come evenly.
    """
    order = np.argsort(signal, kind="stable")
    s, bad, w = signal[order], wrong[order], w[order].astype(float)
    ends = np.r_[0, np.flatnonzero(np.r_[s[1:] > s[:-1], True]) + 1]
    kept = np.concatenate([np.zeros((1, w.shape[1])), np.cumsum(w, axis=0)])[ends]
    lost = np.concatenate([np.zeros((1, w.shape[1])), np.cumsum(w * bad[:, None], axis=0)])[ends]
    found = np.full((w.shape[1], len(shares)), np.nan)
    for b in np.flatnonzero(kept[-1] > 0):
        asked = shares * kept[-1, b]
        found[b] = np.interp(asked, kept[:, b], lost[:, b]) / asked
    return found


def say_risk(areas: pd.DataFrame) -> str:
    """In words: would it help to set the pictures with the most drift aside?

    Args:
        areas: from `risk_area`.
    """
    require(areas, ["signal", "area", "low", "high", "saved", "saved_low", "saved_high", "wrong"], "areas")
    if areas.empty:
        return "Whether setting pictures aside helps cannot be said: no label is known, or no map is usable."
    rows = areas.set_index("signal")
    drift = rows.loc["drift"]
    wrong = drift["wrong"]
    if wrong in (0, 1):
        return f"Setting pictures aside changes nothing: {'every' if wrong else 'no'} prediction is wrong."
    area = Finding(drift["area"], drift["low"], drift["high"], np.nan)
    better = Finding.of(drift, ("saved", "saved_low", "saved_high"))
    helps = {YES: "worse than chance", OPPOSITE: "better than chance"}.get(
        area.verdict(chance=wrong, small=0, tested=False), "not shown to be better than chance"
    )
    against = {YES: "better than", OPPOSITE: "worse than"}.get(
        better.verdict(chance=0, small=0, tested=False), "not distinguishable from"
    )
    return (
        f"{100 * wrong:.0f} % of the predictions are wrong. Pictures set aside by drift leave a mean risk of "
        f"{drift['area']:.3f} ({drift['low']:.3f} to {drift['high']:.3f}), {helps};\n"
        f"that is {against} low confidence ({rows.loc[DOUBT, 'area']:.3f}). "
        f"The best possible order leaves {rows.loc['best possible', 'area']:.3f}."
    )
