"""What setting pictures aside saves: risk against coverage (El-Yaniv & Wiener 2010)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob.analysis.evidence import DOUBT, Evidence
from medrob.analysis.layout import MAP, ends, estimate
from medrob.evaluation import interval

COVERAGES = np.arange(1, 21) / 20
BEST = "best possible"


def risk(evidence: Evidence) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Risk against coverage, and the area below, of the declared drift and of what needs no map.

    All corruptions of a severity and all classes are taken together, as somebody would meet them: unlike
    the AUROC of `failure`, this is helped by whatever tells corruptions or classes apart. Pictures with a
    degenerate map are left out, for every signal, so that all curves are of the same pictures. Pictures with
    equal signals are kept or set aside in proportion.

    Returns:
        The curves: signal ("drift", a baseline or "best possible"), coverage (share kept), risk (share of the
        kept that is wrong), low, high. The areas: signal, area (mean risk over keeping 1, 2, ... all
        pictures: Geifman & El-Yaniv 2017), low, high, saved (area of low confidence less this one; above 0 =
        better than it), saved_low, saved_high (paired), wrong (share of all: the area of a signal that knows
        nothing), spared (that less area; above 0 = better than it), spared_low, spared_high (paired), cases,
        method, layer, severity. Both empty where no label is known or no map usable.
    """
    signals = evidence.declared_signals
    use = np.isfinite(signals["drift"])
    columns = ["signal", "area", "low", "high", *ends("saved"), "wrong", *ends("spared"), "cases", *MAP]
    columns += ["severity"]
    if "wrong" not in evidence.events or not use.any():
        return pd.DataFrame(columns=["signal", "coverage", "risk", "low", "high"]), pd.DataFrame(
            columns=columns
        )
    wrong = evidence.events["wrong"][evidence.highest][use]
    w = evidence.weights[np.nonzero(use)[1]]
    found = {name: signal[use] for name, signal in signals.items()} | {BEST: wrong.astype(float)}
    steps = np.arange(1, len(wrong) + 1) / len(wrong)
    curves, areas = [], {}
    for name, signal in found.items():
        risks = _risks(signal, wrong, w, np.r_[COVERAGES, steps])
        shown, areas[name] = risks[:, : len(COVERAGES)], risks[:, len(COVERAGES) :].mean(1)
        low, high = np.array([interval(column) for column in shown[1:].T]).T
        curve = dict(signal=name, coverage=COVERAGES, risk=shown[0], low=low, high=high)
        curves.append(pd.DataFrame(curve))
    known_nothing = wrong @ w / np.maximum(w.sum(0), 1)
    rows = []
    for name, area in areas.items():
        gains = (*estimate(areas[DOUBT] - area), wrong.mean(), *estimate(known_nothing - area))
        rows.append((name, *estimate(area), *gains, len(wrong), *evidence.declared.values()))
    return pd.concat(curves, ignore_index=True), pd.DataFrame(rows, columns=columns)


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
        kept_weight = shares * kept[-1, b]
        found[b] = np.interp(kept_weight, kept[:, b], lost[:, b]) / kept_weight
    return found
