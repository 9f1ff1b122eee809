"""Image by image: does a moved map tell of a failure, beside what is known anyway, and what does it add?"""

import itertools
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit

from medrob.analysis.evidence import CLEAN_CLASS, DRIFT, SIGNALS, Evidence
from medrob.analysis.layout import EVERY, INPUT, MAP, ends, estimate
from medrob.analysis.statistics import (
    auroc_interval,
    compared,
    detect,
    flipped,
    precision_interval,
    random_precision,
    two_sided,
)
from medrob.evaluation import FEWEST, fewest

FOLDS = 5
AHEAD = ends("ahead")
WRONG = "wrong"
BEYOND = "added, drift"
# What is added to what, in `added`: the place, to all else; and all that the map gives, to what needs none.
ADDED = {DRIFT: [DRIFT], "map": [name for name, signal in SIGNALS.items() if signal.of_map]}


@cache
def failure(evidence: Evidence) -> pd.DataFrame:
    """Per image: does a moved map go with a failure? AUROC within strata (`medrob.analysis.statistics`).

    event: ``flipped`` = the prediction is not the clean one; ``wrong`` = it is not the label (only where
    there is one label an image). signal: "drift" of each method and layer, and all others of `SIGNALS`, those
    of maps of the declared one. Every row is of all pictures: a degenerate map counts as the largest drift.

    auroc, low, high: intervals resample units. gain: auroc less that of the clean class's probability on the
    corrupted picture, which is known wherever drift is. precision: average precision, and chance, that of
    random orders. events, cases; vanished: pictures with a degenerate map, and vanished_events. compared:
    pictures of the strata in which some fail and others do not, on which all numbers rest, compared_events,
    and within: the corruptions of these. across_classes: AUROC within corruption and severity alone, which
    may tell classes apart. Described, not tested; NaN where nothing can be compared.
    """
    w, group, moved, rows = evidence.weights, evidence.group, evidence.moved, []
    signals = {(DRIFT, *key): values for key, values in zip(moved.maps, moved.values, strict=True)}
    flat = {(DRIFT, *key): values for key, values in zip(moved.maps, evidence.vanished.values, strict=True)}
    others = evidence.signals(*evidence.declared_map)
    signals |= {(name, "", ""): values for name, values in others.items() if name != DRIFT}
    rival = SIGNALS[CLEAN_CLASS].of(evidence, evidence.declared_map)
    for severity, (name, everywhere) in itertools.product(
        np.unique(evidence.severities), evidence.events.items()
    ):
        at = evidence.severities == severity
        event, plain = everywhere[at], detect(rival[at], everywhere[at], w, group)[0]
        for key, values in signals.items():
            signal = values[at]
            use = np.isfinite(signal)
            auroc, precision = detect(signal, event, w, group)
            across = detect(signal, event, w[:, :1], 0 * group)[0, 0]
            among = compared(use, event, group)
            n, k = int(among.sum()), int(event[among].sum())
            stop = _stop(event, among, evidence)
            gone = flat.get(key, flat[(DRIFT, *evidence.declared_map)])[at] == 1
            counts = [int(x.sum()) for x in (event[use], use, gone, event[gone])]
            within = ", ".join(evidence.corruptions[at][among.any(1)])
            numbers = auroc[0], *auroc_interval(auroc[:stop], k, n - k), *estimate((auroc - plain)[:stop])
            more = precision[0], *precision_interval(precision[:stop]), random_precision(signal, event, group)
            rows.append((int(severity), name, *key, *numbers, *more, *counts, n, k, within, float(across)))
    columns = ["severity", "event", "signal", *MAP, "auroc", "low", "high", *ends("gain")]
    columns += [*ends("precision"), "chance", "events", "cases", "vanished", "vanished_events"]
    columns += ["compared", "compared_events", "within", "across_classes"]
    return pd.DataFrame(rows, columns=columns)


def _stop(event: np.ndarray, use: np.ndarray, evidence: Evidence) -> int | None:
    """Where samples for an interval end: None, or 1 (no resample) if few units have events, or the rest."""
    unit = np.broadcast_to(evidence.unit, use.shape)[use]
    return None if fewest(event[use], unit) >= FEWEST else 1


def failures_at(failure: pd.DataFrame, severity: int, event: str = "flipped") -> pd.DataFrame:
    """The rows of `failure` at a severity for an event."""
    return failure[(failure["severity"] == severity) & (failure["event"] == event)]


@cache
def beside(evidence: Evidence) -> pd.DataFrame:
    """The declared drift beside each other signal of its league, on the same pictures, for each event.

    league: what has to be known (`SIGNALS`). auroc, low, high, precision, chance as in `failure`; ahead:
    AUROC of drift less this one, paired; compared, events: pictures that the numbers rest on, and those of
    them in which it happened.
    """
    known = evidence.signals(*evidence.declared_map)
    signals = {name: values[evidence.highest] for name, values in known.items()}
    group, rows = evidence.group, []
    for event, everywhere in evidence.events.items():
        happened = everywhere[evidence.highest]
        found = {name: detect(signal, happened, evidence.weights, group) for name, signal in signals.items()}
        among = compared(np.isfinite(signals[DRIFT]), happened, group)
        n, k, stop = int(among.sum()), int(happened[among].sum()), _stop(happened, among, evidence)
        for name, (auroc, precision) in found.items():
            ahead = found[DRIFT][0] - auroc if name != DRIFT else np.full(len(auroc), np.nan)
            numbers = auroc[0], *auroc_interval(auroc[:stop], k, n - k), *estimate(ahead[:stop])
            more = precision[0], *precision_interval(precision[:stop])
            chance = random_precision(signals[name], happened, group)
            rows.append((event, name, SIGNALS[name].league, *numbers, *more, chance, n, k))
    columns = ["event", "signal", "league", "auroc", "low", "high", *AHEAD, *ends("precision"), "chance"]
    return pd.DataFrame(rows, columns=[*columns, "compared", "events"])


@cache
def added(evidence: Evidence) -> pd.DataFrame:
    """Does the map tell of a wrong prediction what is not known anyway? For each method at a layer.

    adds: "drift" = the place, beside all other signals, among them the energy of the map and whether it
    vanished; "map" = all that the map gives, beside the signals that need none. Whether a prediction has
    flipped is not asked: with the clean prediction it is known.

    Two logistic models predict the event of images they have not seen, with and without what is added: five
    folds, all pictures of a unit in the same one, each stratum with a level of its own. auroc: with it,
    within the strata; gain (value, low, high): less that without; intervals resample units, with the models
    as they are. p of drift: the score test of its slope in the larger model, units changing their sign
    (`flipped`). The maps are those of the declared layer, and of methods that explain the input. NaN where
    the events, or the rest, are on so few images that a fold has none of them, or no label is known.
    """
    w, group, happened, rows = evidence.weights, evidence.group, evidence.events.get(WRONG), []
    order = np.random.default_rng(0).permutation(evidence.unit.max() + 1)
    fold = (order % FOLDS)[evidence.unit]
    for key, (adds, names) in itertools.product(evidence.moved.maps, ADDED.items()):
        if key[1] not in (evidence.declared["layer"], INPUT):
            continue
        numbers: tuple = (*(np.nan,) * 7, 0, 0)
        if happened is not None:
            signals = evidence.signals(*key)
            without = np.stack([values for name, values in signals.items() if name not in names])
            more = np.concatenate([without, np.stack([signals[name] for name in names])])
            use = np.isfinite(signals[DRIFT])
            odds = [_log_odds(x, happened, use, fold, group) for x in (more, without)]
            found, plain = (detect(part, happened, w, group)[0] for part in odds)
            p = _score_p(without, signals[DRIFT], happened, evidence) if adds == DRIFT else np.nan
            counts = int(happened[use].sum()), int(use.sum())
            stop = _stop(happened, use, evidence)
            numbers = (*estimate((found - plain)[:stop]), p, *estimate(found[:stop]), *counts)
        rows.append((WRONG, adds, *key, *numbers))
    columns = ["event", "adds", *MAP, "value", "low", "high", "p", *ends("auroc"), "events", "cases"]
    return pd.DataFrame(rows, columns=columns).assign(corruption=EVERY, kind=lambda t: "added, " + t["adds"])


def _strata(use: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The number of the stratum of each picture in use."""
    kinds, kind = np.unique(group, return_inverse=True)
    return (np.arange(len(use))[:, None] * len(kinds) + kind)[use]


def _scaled(x: np.ndarray, use: np.ndarray, stratum: np.ndarray) -> np.ndarray:
    """Signals (S, conditions, images) of the pictures in use, less the mean of the stratum: (pictures, S)."""
    x = x[:, use].T.astype(float)
    count = np.maximum(np.bincount(stratum), 1)
    x = x - np.stack([np.bincount(stratum, v, len(count)) / count for v in x.T], 1)[stratum]
    spread = x.std(0) if len(x) else 0
    return x / np.where(spread > 1e-12, spread, 1)


def _log_odds(
    x: np.ndarray, happened: np.ndarray, use: np.ndarray, fold: np.ndarray, group: np.ndarray
) -> np.ndarray:
    """Log odds of the event beyond those of the stratum, by a logistic model of the images of other folds.

    NaN outside `use`, and everywhere if no stratum of the other folds holds events and the rest.
    """
    found, stratum = np.full(use.shape, np.nan), _strata(use, group)
    x, y, fold = _scaled(x, use, stratum), happened[use], np.broadcast_to(fold, use.shape)[use]
    odds = np.empty(len(y))
    for k in np.unique(fold):
        fit = logistic(x[fold != k], y[fold != k], stratum[fold != k])
        if fit is None:
            return found
        odds[fold == k] = x[fold == k] @ fit.slopes
    found[use] = odds
    return found


def _score_p(x: np.ndarray, extra: np.ndarray, happened: np.ndarray, evidence: Evidence) -> float:
    """p of a signal (conditions, images) in a logistic model that has the others (S, conditions, images).

    The score of each picture is what the others leave of the signal, times what they leave of the event; both
    by the weights of the model, so that it does not matter how well the others' slopes are known.
    """
    use = np.isfinite(extra)
    stratum = _strata(use, evidence.group)
    every = _scaled(np.concatenate([x, extra[None]]), use, stratum)
    fit = logistic(every[:, :-1], happened[use], stratum)
    if fit is None:
        return np.nan
    v = fit.q * (1 - fit.q)
    total = np.maximum(np.bincount(stratum, v), 1e-12)
    means = np.stack([np.bincount(stratum, v * column) / total for column in every.T], 1)
    held = (every - means[stratum]) * np.sqrt(v)[:, None]
    slopes = np.linalg.lstsq(held[:, :-1], held[:, -1])[0]
    left = (every - means[stratum]) @ np.r_[-slopes, 1]
    image = np.broadcast_to(np.arange(use.shape[1]), use.shape)[use]
    scores = np.bincount(image, left * (happened[use] - fit.q), use.shape[1])
    return two_sided(flipped(scores, evidence.unit, evidence.signs))


class Fit(NamedTuple):
    """Slopes of a logistic model, and the probabilities q of its events."""

    slopes: np.ndarray
    q: np.ndarray


def logistic(x: np.ndarray, y: np.ndarray, stratum: np.ndarray) -> Fit | None:
    """A logistic model in which every stratum has a level of its own; None where none holds both.

    Newton's method for the log likelihood less half the sum of the squared slopes. The levels, which are not
    penalised, are eliminated from each step, so that their number costs nothing.
    """
    total, events = np.bincount(stratum), np.bincount(stratum, y)
    keep = ((events > 0) & (events < total))[stratum]
    if not keep.any():
        return None
    known = y.astype(float)  # where all or none of a stratum are events, that is their probability
    x, y = x[keep], y[keep]
    _, s = np.unique(stratum[keep], return_inverse=True)
    size, share = np.bincount(s), np.bincount(s, y) / np.bincount(s)
    level, slopes = np.log(share / (1 - share)), np.zeros(x.shape[1])

    def loss(level: np.ndarray, slopes: np.ndarray) -> float:
        z = level[s] + x @ slopes
        return float((np.logaddexp(0, z) - y * z).sum() + slopes @ slopes / 2)

    now = loss(level, slopes)
    for _ in range(50):
        q = expit(level[s] + x @ slopes)
        v = q * (1 - q)
        down, per = x.T @ (y - q) - slopes, np.bincount(s, y - q, len(size))
        vx = v[:, None] * x
        cross = np.stack([np.bincount(s, column, len(size)) for column in vx.T], 1)
        levels = np.maximum(np.bincount(s, v, len(size)), 1e-12)
        curve = vx.T @ x + np.eye(len(slopes)) - cross.T @ (cross / levels[:, None])
        step = np.linalg.solve(curve, down - cross.T @ (per / levels))
        rise = (per - cross @ step) / levels
        size_of_step = 1.0
        while (then := loss(level + size_of_step * rise, slopes + size_of_step * step)) > now + 1e-9:
            size_of_step /= 2
        level, slopes = level + size_of_step * rise, slopes + size_of_step * step
        if now - then < 1e-8 * max(now, 1):
            break
        now = then
    known[keep] = expit(level[s] + x @ slopes)
    return Fit(slopes, known)
