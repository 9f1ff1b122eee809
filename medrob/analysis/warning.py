"""Image by image: does a moved map tell of a failure, beside what is known anyway, and what does it add?"""

import itertools
from collections.abc import Mapping
from functools import cache

import numpy as np
import pandas as pd
from scipy.special import expit, rel_entr

from medrob.analysis.evidence import DRIFT, SIGNALS, Evidence, doubts
from medrob.analysis.layout import FOLDS, INPUT, MAP, ends, estimate, wider
from medrob.analysis.statistics import centred_ranks, compared, detect, flipped, two_sided
from medrob.evaluation import FEWEST, fewest, share_interval

AHEAD = ends("ahead")
WRONG = "wrong"
BEYOND = "added, drift"
# What is added to what, in `added`: the place, to all else; and all that the map gives, to what needs none.
ADDED = {DRIFT: [DRIFT], "map": [name for name, signal in SIGNALS.items() if signal.of_map]}


@cache
def failure(evidence: Evidence) -> pd.DataFrame:
    """Does a moved map go with a failure, beside what is known anyway? `SIGNALS` of the declared map.

    event: ``flipped`` = the prediction is not the clean one; ``wrong`` = it is not the label (only where
    there is one label an image). For each severity. Every row is of all pictures: a degenerate map counts as
    the largest drift. auroc, low, high: within strata (`medrob.analysis.statistics`); intervals resample
    units. ahead: AUROC of drift less this one, paired. events, cases; vanished: pictures whose map has lost
    all energy, and vanished_events; unseen: others with a degenerate map; compared: pictures of the strata in
    which some fail and others do not, on which all numbers rest, and compared_events. Described, not tested;
    NaN where nothing can be compared.
    """
    signals, rows = evidence.signals(evidence.head), []
    gone, flat = (a[evidence.head] == 1 for a in (evidence.vanished, evidence.degenerate))
    for severity, (name, happened) in itertools.product(
        np.unique(evidence.severities), evidence.events.items()
    ):
        at = evidence.severities == severity
        event, among = happened[at], compared(happened[at], evidence.group)
        counts = event, gone[at], event & gone[at], (flat & ~gone)[at], among, event & among
        aurocs = {
            signal: detect(values[at], event, evidence.weights, evidence.group)
            for signal, values in signals.items()
        }
        few = _fewest(event, among, evidence)
        stop = None if few >= FEWEST else 1  # no resamples, and so no interval
        for signal, auroc in aurocs.items():
            ahead = aurocs[DRIFT] - auroc if signal != DRIFT else np.full(len(auroc), np.nan)
            numbers = auroc[0], *share_interval(auroc[:stop], few), *estimate(ahead[:stop])
            known = int(severity), name, signal, SIGNALS[signal].league
            rows.append((*known, *numbers, event.size, *(int(count.sum()) for count in counts)))
    columns = ["severity", "event", "signal", "league", "auroc", "low", "high", *AHEAD]
    columns += ["cases", "events", "vanished", "vanished_events", "unseen", "compared", "compared_events"]
    return pd.DataFrame(rows, columns=columns)


def _fewest(event: np.ndarray, use: np.ndarray, evidence: Evidence) -> int:
    """Units with an event among the pictures in use, or with one that is none, whichever are fewer."""
    return fewest(event[use], np.broadcast_to(evidence.unit, use.shape)[use])


@cache
def added(evidence: Evidence) -> pd.DataFrame:
    """Does the map tell of a wrong prediction what is not known anyway? For each method at a layer.

    adds: "drift" = the place, beside all other signals, among them the energy of the map and whether it
    vanished; "map" = all that the map gives, beside the signals that need none. Whether a prediction has
    flipped is not asked: with the clean prediction it is known.

    Two logistic models predict the event of images they have not seen, with and without what is added:
    five folds, all pictures of a unit in the same one, each stratum with a level of its own; what is
    known anyway may bend (`_bent`), and jump where the prediction flips (`_of_all_classes`). auroc,
    auroc_low, auroc_high: with it, within the strata; gain (value, low, high): less that without;
    intervals resample units, and are `wider` for what the models have learnt from. p of drift: the score
    test of its slope in the larger model, units changing their sign (`flipped`). errors: how many
    predictions are wrong, NaN of several labels an image. The maps are those of the declared layer, and of
    methods that explain the input. NaN where the events, or the rest, are on so few images that a fold has
    none of them, there are several labels, or every map is degenerate.
    """
    w, group, happened, rows = evidence.weights, evidence.group, evidence.events.get(WRONG), []
    order = np.random.default_rng(0).permutation(evidence.unit.max() + 1)
    fold = (order % FOLDS)[evidence.unit]
    errors = np.nan if happened is None else happened.sum()
    for (at, key), (adds, names) in itertools.product(enumerate(evidence.maps), ADDED.items()):
        if key[1] not in (evidence.declared["layer"], INPUT):
            continue
        numbers: tuple = (np.nan,) * 7
        signals = evidence.signals(at)
        if happened is not None and np.isfinite(signals[DRIFT]).all():
            ours = {name: signals.pop(name) for name in names}
            signals |= _bent(signals, group) | _of_all_classes(evidence)
            without, more = (_scaled(part, evidence) for part in (signals, signals | ours))
            odds = [_log_odds(x, happened, fold, evidence) for x in (more, without)]
            found, plain = (detect(part, happened, w, group) for part in odds)
            p = _score_p(more, happened, evidence) if adds == DRIFT else np.nan
            few = _fewest(happened, np.ones_like(happened), evidence) < FEWEST
            stop = 1 if few else None
            numbers = (*wider(estimate((found - plain)[:stop])), p, *wider(estimate(found[:stop])))
        rows.append((adds, *key, f"added, {adds}", *numbers, errors))
    columns = ["adds", *MAP, "kind", "value", "low", "high", "p", *ends("auroc"), "errors"]
    return pd.DataFrame(rows, columns=columns)


def _bent(signals: Mapping[str, np.ndarray], group: np.ndarray) -> dict[str, np.ndarray]:
    """The ranks of each signal within strata, their squares and cubes: errors need not follow a line."""
    ranks = {name: centred_ranks(values, group) for name, values in signals.items()}
    return {f"{name} to the {k}": rank**k for name, rank in ranks.items() for k in (1, 2, 3)}


def _of_all_classes(evidence: Evidence) -> dict[str, np.ndarray]:
    """What joins the corrupted and the clean picture, since the model only adds signals up.

    Which class is predicted now, for each that was when clean. And what may bend (`_bent`): how far the
    probabilities are from the clean ones, the clean probability of the class that is predicted now, and the
    clean margin, negative where the prediction has flipped. Of more than two classes, also the probability of
    each, corrupted and clean.
    """
    then, now = evidence.group, evidence.predicted
    both = itertools.permutations(range(len(evidence.classes)), 2)
    flips = {f"{a} becomes {b}": ((then == a) & (now == b)).astype(float) for a, b in both}
    known = {name: part for name, part in flips.items() if part.any()}
    p, clean = evidence.p[1:], np.broadcast_to(evidence.p[0], evidence.p[1:].shape)
    change = np.abs(p - clean)
    each = {"total variation": change.sum(-1), "largest change": change.max(-1)}
    each |= {"divergence": rel_entr(clean, p).sum(-1), "product": (clean * p).sum(-1)}
    each["clean probability of the class now"] = np.take_along_axis(clean, now[..., None], -1)[..., 0]
    each["clean margin, signed"] = np.where(now == then, 1, -1) * (1 - doubts(clean, single=True)[2])
    if len(evidence.classes) > 2:  # of two, the probability of the clean class tells both
        for when, of in (("now", p), ("then", clean)):
            each |= {f"{name} {when}": of[..., k] for k, name in enumerate(evidence.classes)}
    return known | _bent(each, evidence.group)


def _scaled(signals: Mapping[str, np.ndarray], evidence: Evidence) -> np.ndarray:
    """Signals (conditions, images) each, less the mean of the stratum, over their spread: (pictures, S)."""
    x, stratum = np.stack([values.ravel() for values in signals.values()], 1), evidence.stratum.ravel()
    count = np.maximum(np.bincount(stratum), 1)
    x = x - np.stack([np.bincount(stratum, v) / count for v in x.T], 1)[stratum]
    spread = x.std(0)
    return x / np.where(spread > 1e-12, spread, 1)


def _log_odds(x: np.ndarray, happened: np.ndarray, fold: np.ndarray, evidence: Evidence) -> np.ndarray:
    """Log odds of the event beyond those of the stratum, by a logistic model of the images of other folds.

    NaN everywhere if no stratum of the other folds holds events and the rest.
    """
    folds = np.broadcast_to(fold, happened.shape).ravel()
    y, stratum, odds = happened.ravel(), evidence.stratum.ravel(), np.empty(happened.size)
    for k in np.unique(fold):
        fit = logistic(x[folds != k], y[folds != k], stratum[folds != k])
        if fit is None:
            return np.full(happened.shape, np.nan)
        odds[folds == k] = x[folds == k] @ fit[0]
    return odds.reshape(happened.shape)


def _score_p(x: np.ndarray, happened: np.ndarray, evidence: Evidence) -> float:
    """p of the last of the signals (pictures, S) in a logistic model that has the others.

    The score of each picture is what the others leave of the signal, times what they leave of the event; both
    by the weights of the model, so that it does not matter how well the others' slopes are known.
    """
    stratum, y = evidence.stratum.ravel(), happened.ravel()
    fit = logistic(x[:, :-1], y, stratum)
    if fit is None:
        return np.nan
    _, q = fit
    v = q * (1 - q)
    total = np.maximum(np.bincount(stratum, v), 1e-12)
    centred = x - np.stack([np.bincount(stratum, v * column) / total for column in x.T], 1)[stratum]
    held = centred * np.sqrt(v)[:, None]
    slopes = np.linalg.lstsq(held[:, :-1], held[:, -1])[0]
    left = centred @ np.r_[-slopes, 1] * (y - q)
    scores = left.reshape(happened.shape).sum(0)
    return two_sided(flipped(scores, evidence.unit, evidence.signs))


def logistic(x: np.ndarray, y: np.ndarray, stratum: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Slopes of a logistic model in which every stratum has a level of its own, and the probabilities of its
    events; None where no stratum holds both.

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
    return slopes, known
