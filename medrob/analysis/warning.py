"""Image by image: does a moved map warn of a failure, beside what needs no map, and what does it add?"""

import itertools
from functools import cache

import numpy as np
import pandas as pd
from scipy.special import expit

from medrob.analysis import statistics
from medrob.analysis.evidence import DOUBT, Evidence
from medrob.analysis.layout import INPUT, MAP, ends, estimate
from medrob.analysis.statistics import auroc_interval, compared, detect, precision_interval, random_precision
from medrob.evaluation import interval

ALARMS = np.linspace(0, 1, 101)
CURVES = 200  # resamples of a ROC curve
COVERAGES = np.arange(1, 21) / 20
BEST = "best possible"
FOLDS = 5
AHEAD = ends("ahead")
EMPTY = pd.DataFrame(columns=["signal"])


@cache
def failure(evidence: Evidence) -> pd.DataFrame:
    """Per image: does a moved map go with a failure? AUROC within strata (`medrob.analysis.statistics`).

    event: ``flipped`` = the prediction is not the clean one; ``wrong`` = it is not the label (only where
    there is one label an image). signal: "drift" of each method and layer, and what needs no map: low
    confidence, entropy and small margin (of the corrupted image's prediction), RMSE of the image. A row is of
    the pictures with a usable map: that of its drift, or the declared one where no map is needed.

    auroc, low, high: intervals resample images; p is two-sided, from exchanging whole images of a class.
    gain: auroc less that of low confidence on the same pictures. precision: average precision, and chance,
    that of random orders. events, cases; lost: pictures without a map,
    and lost_events. compared: pictures of the strata in which some fail and others do not, on which all
    numbers rest, compared_events, and within: the corruptions of these. across_classes: AUROC within
    corruption and severity alone, which may tell classes apart; described, not tested. NaN where nothing can
    be compared.
    """
    w, group, moved, rows = evidence.weights, evidence.group, evidence.moved, []
    signals = {("drift", *key): values for key, values in zip(moved.maps, moved.values, strict=True)}
    signals |= {(name, "", ""): v for name, v in evidence.declared_signals.items() if name != "drift"}
    for severity, (name, everywhere) in itertools.product(
        np.unique(evidence.severities), evidence.events.items()
    ):
        at = evidence.severities == severity
        event, doubt = everywhere[at], evidence.signals[DOUBT][at]
        chosen = np.stack([values[at] for values in signals.values()])
        tested = statistics.exchange_p(statistics.centred_ranks(chosen, group), event * 1.0, evidence.orders)
        plain: dict[bytes, np.ndarray] = {}  # how low confidence does, for each choice of pictures
        for key, signal, p in zip(signals, chosen, tested, strict=True):
            use = np.isfinite(signal)
            if (same := use.tobytes()) not in plain:
                plain[same] = detect(np.where(use, doubt, np.nan), event, w, group)[0]
            auroc, precision = detect(signal, event, w, group)
            across = detect(signal, event, w[:, :1], 0 * group)[0, 0]
            pictures, failed = compared(use, event, group)
            n, k = int(pictures.sum()), int(failed.sum())
            numbers = auroc[0], *auroc_interval(auroc, k, n - k), p if np.isfinite(auroc[0]) else np.nan
            counts = [int(x.sum()) for x in (event[use], use, ~use, event[~use])]
            within = ", ".join(evidence.corruptions[at][pictures > 0])
            more = *estimate(auroc - plain[same]), precision[0], *precision_interval(precision)
            chance = random_precision(signal, event, group)
            known = *numbers, *more, chance, *counts, n, k, within, float(across)
            rows.append((int(severity), name, *key, *known))
    columns = ["severity", "event", "signal", *MAP, "auroc", "low", "high", "p", *ends("gain")]
    columns += [*ends("precision"), "chance", "events", "cases", "lost", "lost_events"]
    columns += ["compared", "compared_events", "within", "across_classes"]
    return pd.DataFrame(rows, columns=columns)


def flip(severity: int) -> str:
    """The kind of the test that drift warns of a flip at a severity."""
    return f"flipped, severity {severity}"


def warnings(evidence: Evidence) -> pd.DataFrame:
    """The rows of `failure` for drift, as tests: value is the AUROC, kind names event and severity."""
    rows = failure(evidence).query("signal == 'drift'").rename(columns={"auroc": "value"})
    return rows.assign(kind=rows["event"] + ", severity " + rows["severity"].astype(str))


def warnings_at(failure: pd.DataFrame, severity: int, event: str = "flipped") -> pd.DataFrame:
    """The rows of `failure` at a severity for an event."""
    return failure[(failure["severity"] == severity) & (failure["event"] == event)]


def warnings_of_maps(failure: pd.DataFrame, severity: int) -> pd.DataFrame:
    """The rows of `failure` of all maps for a flip, with p_adjusted by Holm over all of them."""
    rows = warnings_at(failure, severity).query("signal == 'drift'")
    return rows.assign(p_adjusted=statistics.holm(rows["p"]), correction=statistics.HOLM)


@cache
def beside(evidence: Evidence) -> pd.DataFrame:
    """The declared drift beside each signal that needs no map, on the same pictures, for each event.

    auroc, low, high, precision, chance as in `failure`; ahead: AUROC of drift less this one, paired;
    compared, events: pictures that the numbers rest on, and those of them in which it happened.
    """
    signals = {name: signal[evidence.highest] for name, signal in evidence.declared_signals.items()}
    group, rows = evidence.group, []
    for event, everywhere in evidence.events.items():
        happened = everywhere[evidence.highest]
        found = {name: detect(signal, happened, evidence.weights, group) for name, signal in signals.items()}
        n, k = (int(x.sum()) for x in compared(np.isfinite(signals["drift"]), happened, group))
        for name, (auroc, precision) in found.items():
            ahead = found["drift"][0] - auroc if name != "drift" else np.full(len(auroc), np.nan)
            numbers = auroc[0], *auroc_interval(auroc, k, n - k), *estimate(ahead)
            chance = random_precision(signals[name], happened, group)
            rows.append((event, name, *numbers, precision[0], *precision_interval(precision), chance, n, k))
    columns = ["event", "signal", "auroc", "low", "high", *AHEAD, *ends("precision"), "chance"]
    return pd.DataFrame(rows, columns=[*columns, "compared", "events"])


def roc(evidence: Evidence) -> pd.DataFrame:
    """ROC curves of `declared_signals` for a flip, within strata: share found against share of false alarms.

    Empty where nothing can be found: no event, or nothing but events.
    """
    at, w, frames = evidence.highest, evidence.weights[:, : 1 + CURVES], [EMPTY]
    for name, signal in evidence.declared_signals.items():
        curves = statistics.roc_within(signal[at], evidence.events["flipped"][at], w, evidence.group, ALARMS)
        if not np.isnan(curves[0]).any():
            frames.append(_curve(name, "alarms", ALARMS, "found", curves))
    return pd.concat(frames[1:] or frames, ignore_index=True)


def _curve(signal: str, x: str, at: np.ndarray, y: str, samples: np.ndarray) -> pd.DataFrame:
    """The curve of a signal, y against x, with its interval, from samples (1 + resamples, points)."""
    low, high = np.array([interval(column) for column in samples[1:].T]).T
    return pd.DataFrame({"signal": signal, x: at, y: samples[0], "low": low, "high": high})


def risk(evidence: Evidence) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Risk against coverage (El-Yaniv & Wiener 2010), and the area below, of the declared drift and the rest.

    All corruptions of a severity and all classes are taken together, as somebody would meet them: unlike
    the AUROC of `failure`, this is helped by whatever tells corruptions or classes apart. All curves are of
    the same pictures, those with a usable map; of equal signals, pictures are kept in proportion.

    Returns:
        The curves: signal, coverage (share kept), risk (share of the kept that is wrong), low, high. The
        areas: area (mean risk over keeping 1, 2, ... all pictures: Geifman & El-Yaniv 2017), saved (that of
        low confidence less it, paired), wrong (share of all: the area of a signal that knows nothing), spared
        (that less area, paired), cases. Both empty where no label is known or no map usable.
    """
    signals = {name: signal[evidence.highest] for name, signal in evidence.declared_signals.items()}
    use = np.isfinite(signals["drift"])
    if "wrong" not in evidence.events or not use.any():
        return EMPTY, EMPTY
    wrong = evidence.events["wrong"][evidence.highest][use]
    w = evidence.weights[np.nonzero(use)[1]]
    found = {name: signal[use] for name, signal in signals.items()} | {BEST: wrong.astype(float)}
    shares = np.r_[COVERAGES, np.arange(1, len(wrong) + 1) / len(wrong)]
    curves, areas = [], {}
    for name, signal in found.items():
        lost, kept = statistics.steps(signal, wrong, w.astype(float))
        risks = np.full((w.shape[1], len(shares)), np.nan)
        for b in np.flatnonzero(kept[-1] > 0):
            risks[b] = np.interp(shares * kept[-1, b], kept[:, b], lost[:, b]) / (shares * kept[-1, b])
        areas[name] = risks[:, len(COVERAGES) :].mean(1)
        curves.append(_curve(name, "coverage", COVERAGES, "risk", risks[:, : len(COVERAGES)]))
    known_nothing = wrong @ w / np.maximum(w.sum(0), 1)
    rows = []
    for name, area in areas.items():
        gains = (*estimate(areas[DOUBT] - area), wrong.mean(), *estimate(known_nothing - area))
        rows.append((name, *estimate(area), *gains, len(wrong), *evidence.declared.values()))
    columns = ["signal", "area", "low", "high", *ends("saved"), "wrong", *ends("spared"), "cases", *MAP]
    return pd.concat(curves, ignore_index=True), pd.DataFrame(rows, columns=[*columns, "severity"])


@cache
def added(evidence: Evidence) -> pd.DataFrame:
    """Does drift add to confidence, entropy, margin and the picture's RMSE? For each method at a layer.

    Two logistic models predict an event (see `failure`) of images they have not seen, with and without
    drift: five folds, all pictures of an image in the same one, each stratum with a level of its own. auroc:
    with drift, within the strata; gain: less that without; intervals resample images, with the models as they
    are. The maps are those of the declared layer, and of methods that explain the input. NaN where the
    events, or the rest, are on so few images that a fold has none of them.
    """
    w, group, moved = evidence.weights, evidence.group, evidence.moved
    fold = np.random.default_rng(0).permutation(len(w)) % FOLDS
    usual = np.stack(list(evidence.signals.values()))
    rows = []
    for event, happened in evidence.events.items():
        for key, values in zip(moved.maps, moved.values, strict=True):
            if key[1] not in (evidence.declared["layer"], INPUT):
                continue
            use = np.isfinite(values)
            models = usual, np.concatenate([usual, values[None]])
            odds_of = (_log_odds(x, happened, use, fold, group) for x in models)
            without, found = (detect(odds, happened, w, group)[0] for odds in odds_of)
            counts = int(happened[use].sum()), int(use.sum())
            rows.append((event, *key, *estimate(found), *estimate(found - without), *counts))
    columns = ["event", *MAP, "auroc", "low", "high", *ends("gain"), "events", "cases"]
    return pd.DataFrame(rows, columns=columns)


def _log_odds(
    x: np.ndarray, happened: np.ndarray, use: np.ndarray, fold: np.ndarray, group: np.ndarray
) -> np.ndarray:
    """Log odds of the event beyond those of the stratum, by a logistic model of the images of other folds.

    NaN outside `use`, and everywhere if no stratum of the other folds holds events and the rest.
    """
    found = np.full(use.shape, np.nan)
    kinds, kind = np.unique(group, return_inverse=True)
    stratum = (np.arange(len(use))[:, None] * len(kinds) + kind)[use]
    x, y, fold = x[:, use].T.astype(float), happened[use], np.broadcast_to(fold, use.shape)[use]
    count = np.maximum(np.bincount(stratum, minlength=len(use) * len(kinds)), 1)
    x = x - np.stack([np.bincount(stratum, v, len(count)) / count for v in x.T], 1)[stratum]
    spread = x.std(0) if len(x) else 0
    x = x / np.where(spread > 1e-12, spread, 1)
    odds = np.empty(len(y))
    for k in np.unique(fold):
        slopes = logistic(x[fold != k], y[fold != k], stratum[fold != k])
        if slopes is None:
            return found
        odds[fold == k] = x[fold == k] @ slopes
    found[use] = odds
    return found


def logistic(x: np.ndarray, y: np.ndarray, stratum: np.ndarray) -> np.ndarray | None:
    """Slopes of a logistic model in which every stratum has a level of its own; None where none holds both.

    Newton's method for the log likelihood less half the sum of the squared slopes. The levels, which are not
    penalised, are eliminated from each step, so that their number costs nothing.
    """
    total, events = np.bincount(stratum), np.bincount(stratum, y)
    keep = ((events > 0) & (events < total))[stratum]
    if not keep.any():
        return None
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
    return slopes
