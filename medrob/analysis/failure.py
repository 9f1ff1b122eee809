"""Image by image: does a moved map warn of a failure?"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from medrob.analysis.detection import (
    auroc_interval,
    centred_ranks,
    compared,
    detect,
    precision_interval,
    roc_within,
)
from medrob.analysis.evidence import DOUBT, Evidence, once
from medrob.analysis.exchange import exchange_p, exchanged
from medrob.analysis.finding import HOLM, holm
from medrob.analysis.layout import MAP, ends, estimate
from medrob.check import require
from medrob.evaluation import interval

ALARMS = np.linspace(0, 1, 101)
CURVES = 200  # resamples of a ROC curve


@once
def failure(evidence: Evidence) -> pd.DataFrame:
    """Per image: does a moved map go with a failure? AUROC within corruption, severity and clean class.

    Only pictures of the same corruption and severity, which the network predicts alike when clean, are
    compared with each other: a corruption that both moves every map and flips every prediction proves
    nothing, nor does one that drives all predictions into one class (see `medrob.analysis.detection`).

    Events: ``flipped`` = the prediction is not the clean one; ``wrong`` = it is not the label (only
    where there is one label an image). Signals: the drift of each method and layer, and what needs no
    map: low confidence, entropy and small margin (of the corrupted image's prediction), RMSE of the image.
    0.5 is chance, 1 a perfect warning; intervals resample images. Pictures whose maps are degenerate have
    no drift and are left out of its rows; `confidence` and `gain` are therefore taken on the same pictures.
    The rows of what needs no map are of the pictures that have the declared map.

    p is two-sided, from exchanging whole images of a clean class, all corruptions of an image together.

    Returns:
        severity, event, signal ("drift" or a baseline), method, layer ("" for baselines), auroc, low,
        high, p, confidence (AUROC of low confidence on the same pictures), confidence_low,
        confidence_high, gain (auroc less that), gain_low, gain_high (paired), precision (average
        precision), precision_low, precision_high, chance (of precision), events, cases, lost (pictures
        without a map), lost_events (how many of these), compared (pictures of the strata in which some fail
        and others do not: on these all numbers rest), compared_events (how many of these), within (the
        corruptions of these strata), across_classes (AUROC within corruption and severity alone: it may tell
        classes apart instead of failures; described, not tested). NaN where in no stratum some images fail
        and others do not, or every map is degenerate.
    """
    moved = evidence.moved
    signals = {("drift", *key): values for key, values in zip(moved.maps, moved.values, strict=True)}
    usable = np.isfinite(evidence.declared_drift)
    signals |= {(name, "", ""): np.where(usable, v, np.nan) for name, v in evidence.signals.items()}
    rows = []
    for severity in np.unique(evidence.severities):
        at = evidence.severities == severity
        chosen = {key: values[at] for key, values in signals.items()}
        rows += [(int(severity), *row) for row in _at_severity(evidence, chosen, at)]
    columns = ["severity", "event", "signal", *MAP, "auroc", "low", "high", "p"]
    columns += [*ends("confidence"), *ends("gain"), *ends("precision"), "chance", "events", "cases", "lost"]
    columns += ["lost_events", "compared", "compared_events", "within", "across_classes"]
    return pd.DataFrame(rows, columns=columns)


def _at_severity(
    evidence: Evidence, signals: dict[tuple[str, str, str], np.ndarray], at: np.ndarray
) -> list[tuple]:
    """The rows of `failure` of one severity, whose conditions are `at`."""
    w, group, corruptions = evidence.weights, evidence.group, evidence.corruptions[at]
    happened = np.stack([event[at] for event in evidence.events.values()])
    ranks = centred_ranks(np.stack(list(signals.values())), group)
    sums = [exchanged(ranks, event.astype(float), evidence.orders).sum(1) for event in happened]
    doubt = evidence.signals[DOUBT][at]
    plain: dict[bytes, list] = {}  # how low confidence does, for each choice of pictures

    def of_signal(key: tuple[str, str, str], p: np.ndarray) -> list[tuple]:
        signal, use = signals[key], np.isfinite(signals[key])
        if (same := use.tobytes()) not in plain:
            plain[same] = detect(np.where(use, doubt, np.nan), happened, w, group)
        found = detect(signal, happened, w, group)
        across = detect(signal, happened, w[:, :1], np.zeros_like(group))
        rows = []
        for i, event in enumerate(happened):
            (auroc, precision, chance), usual = found[i], plain[same][i][0]
            pictures, failed = compared(use, event, group)
            n, k = int(pictures.sum()), int(failed.sum())
            counts = [int(x.sum()) for x in (event[use], use, ~use, event[~use])]
            rows.append((
                *key, auroc[0], *auroc_interval(auroc, k, n - k), p[i] if np.isfinite(auroc[0]) else np.nan,
                usual[0], *auroc_interval(usual, k, n - k), *estimate(auroc - usual),
                precision[0], *precision_interval(precision), chance, *counts, n, k,
                ", ".join(corruptions[pictures > 0]), float(across[i][0][0]),
            ))  # fmt: skip
        return rows

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy works on several cores at once
        found = list(pool.map(of_signal, signals, np.stack([exchange_p(s) for s in sums], 1)))
    return [(event, *rows[i]) for i, event in enumerate(evidence.events) for rows in found]


def flip(severity: int) -> str:
    """The kind of the test that drift warns of a flip at a severity."""
    return f"flipped, severity {severity}"


def warnings(evidence: Evidence) -> pd.DataFrame:
    """The rows of `failure` for drift, as tests: value is the AUROC, kind names event and severity."""
    rows = failure(evidence)
    rows = rows[rows["signal"] == "drift"].rename(columns={"auroc": "value"})
    kinds = [f"{event}, severity {s}" for event, s in zip(rows["event"], rows["severity"], strict=True)]
    return rows.assign(kind=kinds)


def warnings_at(failure: pd.DataFrame, severity: int, event: str = "flipped") -> pd.DataFrame:
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


def best_warning(failure: pd.DataFrame, severity: int) -> pd.Series:
    """The method and layer whose drift warns best of a flip, of all that there are: chosen after looking.

    Its AUROC and interval flatter it, as the best of many is partly the luckiest. p_adjusted, by Holm
    (1979) over all maps at this severity, makes up for the choice.

    Returns:
        The row of `failure`, with p_adjusted, correction and maps (out of how many it was chosen: 0, and NaN,
        where nothing failed or no map is usable).
    """
    rows = warnings_at(failure, severity)
    rows = rows[rows["signal"] == "drift"]
    if rows.empty:
        raise ValueError("the table failure has no row of the signal 'drift'")
    known = int(rows["auroc"].notna().sum())
    rows = rows.assign(p_adjusted=holm(rows["p"]), correction=HOLM, maps=known)
    return rows.loc[rows["auroc"].idxmax()] if known else rows.iloc[0]


def roc(evidence: Evidence) -> pd.DataFrame:
    """ROC curves for a flip of the declared drift and of the baselines, on the pictures with a usable map.

    Within each corruption and clean class, the mean over them weighs each by its pairs: the area is the AUROC
    of `failure`.

    Returns:
        signal ("drift" or a baseline), alarms (share of false alarms, 0 to 1), found (share of the events
        found), low, high, event, severity, method, layer, events, cases. Empty where nothing can be found:
        no event, or nothing but events.
    """
    signals, happened = evidence.declared_signals, evidence.events["flipped"][evidence.highest]
    use, w = np.isfinite(signals["drift"]), evidence.weights[:, : 1 + CURVES]
    frames = []
    for name, signal in signals.items():
        curves = roc_within(signal, happened, w, evidence.group, ALARMS)
        if np.isnan(curves[0]).any():
            continue
        low, high = np.array([interval(column) for column in curves[1:].T]).T
        curve = {"signal": name, "alarms": ALARMS, "found": curves[0], "low": low, "high": high}
        frames.append(pd.DataFrame(curve))
    columns = ["signal", "alarms", "found", "low", "high"]
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
    counts = {"events": int(happened[use].sum()), "cases": int(use.sum())}
    return frame.assign(event="flipped", **evidence.declared, **counts)
