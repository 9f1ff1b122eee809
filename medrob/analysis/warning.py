"""Image by image: does a moved map tell of a failure, beside what is known anyway, and what does it add?"""

import itertools
from collections.abc import Mapping
from functools import cache

import numpy as np
import pandas as pd
from scipy.special import rel_entr
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler

from medrob.analysis.evidence import DRIFT, SIGNALS, TINY, Evidence, doubts
from medrob.analysis.layout import FOLDS, INPUT, MAP, ends, estimate
from medrob.analysis.statistics import any_of, detect, flipped, two_sided
from medrob.evaluation import FEWEST, fewest, share_interval

AHEAD = ends("ahead")
WRONG = "wrong"
LEFT = 10  # units that what is left of the errors must rest on: with fewer, p is too small
BEYOND = "wrong, partial"
TREES = 60  # at most


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
    signals, w, rows = evidence.signals(evidence.head), evidence.weights, []
    gone, flat = (a[evidence.head] == 1 for a in (evidence.vanished, evidence.degenerate))
    asked = itertools.product(np.unique(evidence.severities), evidence.events.items())
    for severity, (name, happened) in asked:
        at = evidence.severities == severity
        event, group = happened[at], evidence.group
        among = any_of(event, group) & any_of(~event, group)
        counts = event, gone[at], event & gone[at], (flat & ~gone)[at], among, event & among
        aurocs = {signal: detect(values[at], event, w, group) for signal, values in signals.items()}
        few = _fewest(event, among, evidence)
        stop = None if few >= FEWEST else 1  # no resamples, and so no interval
        for signal, auroc in aurocs.items():
            ahead = aurocs[DRIFT] - auroc if signal != DRIFT else np.full(len(auroc), np.nan)
            own = share_interval(auroc[:stop], few, len(np.unique(evidence.unit)))
            numbers = auroc[0], *own, *estimate(ahead[:stop])
            known = int(severity), name, signal, SIGNALS[signal][0]
            rows.append((*known, *numbers, event.size, *(int(count.sum()) for count in counts)))
    columns = ["severity", "event", "signal", "league", "auroc", "low", "high", *AHEAD]
    columns += ["cases", "events", "vanished", "vanished_events", "unseen", "compared", "compared_events"]
    return pd.DataFrame(rows, columns=columns)


def _fewest(event: np.ndarray, use: np.ndarray, evidence: Evidence) -> int:
    """Units with an event among the pictures in use, or with one that is none, whichever are fewer."""
    return fewest(event[use], np.broadcast_to(evidence.unit, use.shape)[use])


@cache
def added(evidence: Evidence) -> pd.DataFrame:
    """Does the place of the map tell of a wrong prediction what is not known anyway? Each method at a layer.

    The generalised covariance measure (Shah & Peters 2020): the drift, and whether the prediction is wrong
    (1 or 0), are each predicted from all that is `_known`, for images that have not been seen. If the drift
    tells nothing else of errors, and either is predicted well, what is left of the two has no correlation;
    value, low, high: that correlation, within strata; the interval resamples units. p: units change the sign
    of their products (`flipped`). auroc, auroc_low, auroc_high: of the errors as predicted without the place
    of the map, within strata. explained: the share of the variance of the drift that is predicted. errors:
    how many predictions are wrong, NaN of several labels an image. The maps are those of the declared layer,
    and of methods that explain the input. NaN where the events or the rest are on fewer than `FEWEST`
    units, what is left of them on fewer than `LEFT`, there are several labels, or every map is degenerate.
    """
    happened, w, rows = evidence.events.get(WRONG), evidence.weights, []
    errors = np.nan if happened is None else happened.sum()
    enough = happened is not None and _fewest(happened, np.ones_like(happened), evidence) >= FEWEST
    for at, key in enumerate(evidence.maps):
        if key[1] not in (evidence.declared["layer"], INPUT):
            continue
        numbers: tuple = (np.nan,) * 8
        signals = evidence.signals(at)
        drift = signals.pop(DRIFT)
        if happened is not None and enough and np.isfinite(drift).all():
            known = _known(signals, evidence)
            a, b = _left(np.stack([drift, happened]), known, evidence)
            product, *squares = ((left * other).sum(0) for left, other in ((a, b), (a, a), (b, b)))
            spread, of_left = (_within(drift, evidence) ** 2).sum(), (np.nan,) * 4
            each = np.bincount(evidence.unit, squares[1])  # what is left of the errors of a unit
            moves = spread > 1e-12 * drift.size  # more than rounding
            if each.sum() ** 2 >= LEFT * (each**2).sum() > 0 and moves:  # not of a few units
                share = (w @ product) / np.sqrt((w @ squares[0]) * (w @ squares[1]))
                of_left = *estimate(share), two_sided(flipped(product, evidence.unit, evidence.signs))
            explained = max(1 - squares[0].sum() / spread, 0.0) if moves else np.nan
            found = detect(happened - b, happened, w, evidence.group)
            numbers = *of_left, *estimate(found), explained
        rows.append((*key, BEYOND, *numbers, errors))
    columns = [*MAP, "kind", "value", "low", "high", "p", *ends("auroc"), "explained", "errors"]
    return pd.DataFrame(rows, columns=columns)


def _known(signals: Mapping[str, np.ndarray], evidence: Evidence) -> np.ndarray:
    """What is known without the place of the map, a row a picture: (pictures, columns).

    All other signals; corruption, severity, and the class predicted now and when clean; the probabilities of
    all classes, now and when clean, and what joins the two, so that trees need not put it together: how far
    they are from each other, the clean probability of the class predicted now, and the clean margin,
    negative where the prediction has flipped.
    """
    then, now = np.broadcast_to(evidence.group, evidence.predicted.shape), evidence.predicted
    p, clean = evidence.p[1:], np.broadcast_to(evidence.p[0], evidence.p[1:].shape)
    change = np.abs(p - clean)
    corruption = pd.factorize(evidence.conditions.get_level_values("corruption"), sort=True)[0]
    columns = [corruption[:, None], evidence.severities[:, None], then, now, now != then, *signals.values()]
    apart = rel_entr(clean, np.maximum(p, TINY)).sum(-1)
    columns += [change.sum(-1), change.max(-1), apart, (clean * p).sum(-1)]
    columns.append(np.take_along_axis(clean, now[..., None], -1)[..., 0])
    columns.append(np.where(now == then, 1, -1) * (1 - doubts(clean, single=True)[2]))
    columns += [*np.moveaxis(p, -1, 0), *np.moveaxis(clean, -1, 0)]
    return np.stack([np.broadcast_to(column, now.shape).ravel() for column in columns], 1)


def _left(values: np.ndarray, known: np.ndarray, evidence: Evidence) -> np.ndarray:
    """What is not predicted of values (kinds, conditions, images), within strata, for images not learnt from.

    Lines of each corruption predict (ridge regression: Hoerl & Kennard 1970), and gradient boosting (Friedman
    2001) what these leave: small trees alone put a corruption and a score together too slowly. How many
    trees, or lines alone, or the mean of the stratum: what predicts best, as trees learn noise, too.
    """
    unit, y = np.tile(evidence.unit, values.shape[1]), values.reshape(len(values), -1).T
    folds, lines = GroupKFold(FOLDS, shuffle=True, random_state=0), np.empty(y.shape)
    for part in (known[:, 0] == corruption for corruption in np.unique(known[:, 0])):
        scores = StandardScaler().fit_transform(known[part])
        lines[part] = cross_val_predict(Ridge(10), scores, y[part], groups=unit[part], cv=folds)
    splits, left = list(folds.split(known, groups=unit)), []
    for value, line in zip(values, lines.T, strict=True):
        trees = line + _boosted(known, value.ravel() - line, splits)
        candidates = [_within(found.reshape(value.shape), evidence) for found in (0 * line, line, *trees)]
        within = _within(value, evidence)
        found = min(candidates, key=lambda found: ((within - found) ** 2).sum())
        # Trees shrink: where all is predicted, what they lack of it would be left. (A slope below 0 is not
        # that, but noise they have learnt, and to take it off would leave what predicts both.)
        slope = max(((within - found) * found).sum(), 0) / max((found**2).sum(), 1e-12)
        left.append(within - (1 + slope) * found)
    return np.stack(left)


def _boosted(known: np.ndarray, values: np.ndarray, splits: list) -> np.ndarray:
    """Values as predicted by 10, 20, ... `TREES` trees, for pictures not learnt from: (numbers, pictures)."""
    model = HistGradientBoostingRegressor(
        learning_rate=0.15, max_iter=TREES, max_leaf_nodes=8, early_stopping=False, random_state=0
    )
    found = np.empty((TREES // 10, len(values)))
    for train, test in splits:
        stages = model.fit(known[train], values[train]).staged_predict(known[test])
        found[:, test] = list(itertools.islice(stages, 9, None, 10))
    return found


def _within(values: np.ndarray, evidence: Evidence) -> np.ndarray:
    """Values (conditions, images), less the mean of their stratum."""
    stratum = evidence.stratum.ravel()
    mean = np.bincount(stratum, values.ravel()) / np.maximum(np.bincount(stratum), 1)
    return values - mean[evidence.stratum]
