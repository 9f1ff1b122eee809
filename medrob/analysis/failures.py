"""Image by image: does a moved map warn of a failure?"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from medrob.analysis.detection import (
    DOUBT,
    auroc_interval,
    cases,
    centred_ranks,
    chosen,
    compared,
    detect_each,
    precision_interval,
    roc_within,
)
from medrob.analysis.maps import headline
from medrob.analysis.tables import MAP
from medrob.analysis.testing import (  # fmt: skip
    exchange_p,
    exchanged,
    exchanges,
)
from medrob.evaluation import interval

ALARMS = np.linspace(0, 1, 101)


def failure(
    predictions: pd.DataFrame,
    drift: pd.DataFrame,
    distances: pd.DataFrame,
    *,
    metric: str = "rmse",
    resamples: int = 500,
    permutations: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Per image: does a moved map go with a failure? AUROC within corruption, severity and clean class.

    Only pictures of the same corruption and severity, which the network predicts alike when clean, are
    compared with each other: a corruption that both moves every map and flips every prediction proves
    nothing, nor does one that drives all predictions into one class (see `medrob.analysis.detection`).

    Events: ``flipped`` = the prediction is not the clean one; ``wrong`` = it is not the label (only
    where there is one label an image). Signals: the drift of each method and layer, and what needs no
    map: low confidence, entropy and small margin (of the corrupted image's prediction), RMSE of the image.
    0.5 is chance, 1 a perfect warning; intervals resample images. Pictures whose maps are degenerate have
    no drift and are left out of its rows; `confidence` and `gain` are therefore taken on the same pictures.
    The rows of what needs no map are of the pictures that have the map of `headline`.

    p is two-sided, from exchanging whole images of a clean class, all corruptions of an image together.

    Args:
        predictions, drift, distances: the tables predictions, drift and corruptions of a run.
        metric: the column of the drift. resamples, permutations, seed: of the intervals and of p.

    Returns:
        severity, event, signal ("drift" or a baseline), method, layer ("" for baselines), auroc, low,
        high, p, confidence (AUROC of low confidence on the same pictures), confidence_low,
        confidence_high, gain (auroc less that), gain_low, gain_high (paired), precision (average
        precision), precision_low, precision_high, chance (of precision), events, cases, lost (pictures
        without a map), lost_events (how many of these), compared (pictures of the strata in which some fail
        and others do not: on these all numbers rest), compared_events (how many of these), within (the
        corruptions of these strata), across_classes (AUROC within
        corruption and severity alone: it may tell classes apart instead of failures; described, not tested).
        NaN where in no stratum some images fail and others do not, or every map is degenerate.

    Raises:
        ValueError: a table without a column, a condition or an image that is needed.
    """
    known = cases(predictions, drift, distances, metric)
    w = known.weights(resamples, seed)
    orders = exchanges(known.group, permutations, seed)
    signals = {
        ("drift", *key): values for key, values in zip(known.drift.maps, known.drift.values, strict=True)
    }
    usable = np.isfinite(known.drift.of(*headline(drift)))
    signals |= {(name, "", ""): np.where(usable, v, np.nan) for name, v in known.signals.items()}
    rows = []
    for severity in np.unique(known.drift.severities):
        at = known.drift.severities == severity
        here = {key: values[at] for key, values in signals.items()}
        events = {event: happened[at] for event, happened in known.events.items()}
        doubt = known.signals[DOUBT][at]
        names = known.drift.corruptions[at]
        rows += [(int(severity), *row) for row in _judged(here, doubt, events, names, w, orders, known.group)]
    columns = ["severity", "event", "signal", *MAP, "auroc", "low", "high", "p"]
    for name in ("confidence", "gain", "precision"):
        columns += [name, f"{name}_low", f"{name}_high"]
    columns += ["chance", "events", "cases", "lost", "lost_events", "compared", "compared_events"]
    columns += ["within", "across_classes"]
    return pd.DataFrame(rows, columns=columns)


def _judged(
    signals: dict[tuple[str, str, str], np.ndarray],
    doubt: np.ndarray,
    events: dict[str, np.ndarray],
    corruptions: np.ndarray,
    w: np.ndarray,
    orders: np.ndarray,
    group: np.ndarray,
) -> list[tuple]:
    """The rows of `failure` of one severity; doubt: low confidence of all pictures."""
    happened = np.stack(list(events.values()))
    ranks = centred_ranks(np.stack(list(signals.values())), group)
    p = np.stack([exchange_p(exchanged(ranks, e.astype(float), orders).sum(1)) for e in happened], 1)
    plain: dict[bytes, list] = {}  # how low confidence does, for each choice of pictures

    def of_signal(key: tuple[str, str, str], p: np.ndarray) -> list[tuple]:
        signal, use = signals[key], np.isfinite(signals[key])
        if (same := use.tobytes()) not in plain:
            plain[same] = detect_each(np.where(use, doubt, np.nan), happened, w, group)
        rows = []
        across = detect_each(signal, happened, w[:, :1], np.zeros_like(group))
        for found, usual, mixed, event, q in zip(
            detect_each(signal, happened, w, group), plain[same], across, happened, p, strict=True
        ):
            auroc, precision, chance = found
            pictures, failed = compared(use, event, group)
            n, k = int(pictures.sum()), int(failed.sum())
            gain = auroc - usual[0]
            q = q if np.isfinite(auroc[0]) else np.nan
            numbers = (
                *(auroc[0], *auroc_interval(auroc, k, n - k), q),
                *(usual[0][0], *auroc_interval(usual[0], k, n - k)),
                *(gain[0], *interval(gain[1:]), precision[0], *precision_interval(precision)),
            )
            counts = [int(x.sum()) for x in (event[use], use, ~use, event[~use])]
            within = ", ".join(corruptions[pictures > 0])
            rows.append((*key, *numbers, chance, *counts, n, k, within, float(mixed[0][0])))
        return rows

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy works on several cores at once
        found = list(pool.map(of_signal, signals, p))
    return [(event, *rows[i]) for i, event in enumerate(events) for rows in found]


def roc(
    predictions: pd.DataFrame,
    drift: pd.DataFrame,
    distances: pd.DataFrame,
    *,
    method: str,
    layer: str,
    severity: int,
    event: str = "flipped",
    metric: str = "rmse",
    resamples: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """ROC curves of one map's drift and of the baselines, on the pictures that have a usable map.

    Within each corruption and clean class, the mean over them weighs each by its pairs: the area is the AUROC
    of `failure`.

    Returns:
        signal ("drift" or a baseline), alarms (share of false alarms, 0 to 1), found (share of the events
        found), low, high, event, severity, method, layer, events, cases. Empty where nothing can be found:
        no event, or nothing but events.

    Raises:
        ValueError: an unknown method, layer, severity or event.
    """
    known = cases(predictions, drift, distances, metric)
    signals, happened = chosen(known, method, layer, severity, event)
    use = np.isfinite(signals["drift"])
    w = known.weights(resamples, seed)
    frames = []
    for name, signal in signals.items():
        curves = roc_within(signal, happened, w, known.group, ALARMS)
        if np.isnan(curves[0]).any():
            continue
        limits = np.array([interval(column) for column in curves[1:].T])
        frames.append(
            pd.DataFrame(
                {
                    "signal": name,
                    "alarms": ALARMS,
                    "found": curves[0],
                    "low": limits[:, 0],
                    "high": limits[:, 1],
                }
            )
        )
    columns = ["signal", "alarms", "found", "low", "high"]
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
    about = dict(event=event, severity=severity, method=method, layer=layer)
    return frame.assign(**about, events=int(happened[use].sum()), cases=int(use.sum()))
