"""What drift is worth as a warning: does it add to what is known anyway, does setting pictures aside help?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit

from medrob.analysis.detection import DOUBT, cases, chosen, detect
from medrob.analysis.tables import INPUT, MAP
from medrob.evaluation import interval

FOLDS = 5
COVERAGES = np.arange(1, 21) / 20
BEST = "best possible"


def added(
    predictions: pd.DataFrame,
    drift: pd.DataFrame,
    distances: pd.DataFrame,
    *,
    layer: str,
    metric: str = "rmse",
    resamples: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """Does drift add to confidence, entropy, margin and the picture's RMSE? For each method at a layer.

    Two logistic models foretell an event (see `failure`) of images they have not seen, with and without
    drift: five folds, all pictures of an image in the same one. Both hold corruption, severity and the class
    predicted for the clean image fixed: each such stratum has a level of its own. Compared is their AUROC
    within the strata; the interval of the gain resamples images, with the models as they are (it does not
    hold how models of other images would differ). Pictures with a degenerate map are left out of that
    method's rows.

    Args:
        predictions, drift, distances: the tables predictions, drift and corruptions of a run.
        layer: whose maps are used, beside those of methods that explain the input.
        metric: the column of the drift. resamples, seed: of the intervals; seed: of the folds, too.

    Returns:
        event, method, layer, auroc (with drift), low, high, gain (less that without), gain_low, gain_high,
        events, cases. NaN where the events, or the rest, are on so few images that a fold has none of them.

    Raises:
        ValueError: an unknown layer; a table without a column, a condition or an image that is needed.
    """
    known = cases(predictions, drift, distances, metric)
    if layer not in (names := list(dict.fromkeys(name for _, name in known.drift.maps))):
        raise ValueError(f"layer={layer!r} is not in the table drift; it has {', '.join(map(str, names))}")
    w = known.weights(resamples, seed)
    fold = np.random.default_rng(seed).permutation(len(w)) % FOLDS
    usual = np.stack(list(known.signals.values()))
    rows = []
    for event, happened in known.events.items():
        guesses: dict[bytes, np.ndarray] = {}  # AUROC without drift, for each choice of pictures
        for key, moved in zip(known.drift.maps, known.drift.values, strict=True):
            if key[1] not in (layer, INPUT):
                continue
            use = np.isfinite(moved)
            both = np.concatenate([usual, moved[None]])
            models = {use.tobytes() + more: x for more, x in ((b"", usual), (b"+" + moved.tobytes(), both))}
            for name, x in models.items():
                if name not in guesses:
                    guesses[name] = detect(
                        foretold(x, happened, use, fold, known.group), happened, w, known.group
                    )[0]
            without, auroc = (guesses[name] for name in models)
            gain = auroc - without
            numbers = (auroc[0], *interval(auroc[1:]), gain[0], *interval(gain[1:]))
            rows.append((event, *key, *numbers, int(happened[use].sum()), int(use.sum())))
    columns = ["event", *MAP, "auroc", "low", "high", "gain", "gain_low", "gain_high", "events", "cases"]
    return pd.DataFrame(rows, columns=columns)


def foretold(
    x: np.ndarray, happened: np.ndarray, use: np.ndarray, fold: np.ndarray, group: np.ndarray
) -> np.ndarray:
    """Log odds of the event beyond those of the stratum, by a logistic model of the images of other folds.

    Args:
        x: (features, conditions, images). happened, use: bool (conditions, images). fold, group: (images,).

    Returns:
        (conditions, images); NaN outside `use`, and everywhere if no stratum of the other folds holds events
        and the rest.
    """
    found = np.full(use.shape, np.nan)
    if not use.any():
        return found
    kinds, kind = np.unique(group, return_inverse=True)
    stratum = (np.arange(len(use))[:, None] * len(kinds) + kind)[use]
    x, y, fold = x[:, use].T.astype(float), happened[use], np.broadcast_to(fold, use.shape)[use]
    count = np.maximum(np.bincount(stratum, minlength=len(use) * len(kinds)), 1)
    x = x - np.stack([np.bincount(stratum, v, len(count)) / count for v in x.T], 1)[stratum]
    spread = x.std(0)
    x = x / np.where(spread > 1e-12, spread, 1)
    told = np.empty(len(y))
    for one in np.unique(fold):
        slopes = logistic(x[fold != one], y[fold != one], stratum[fold != one])
        if slopes is None:
            return found
        told[fold == one] = x[fold == one] @ slopes
    found[use] = told
    return found


def logistic(x: np.ndarray, y: np.ndarray, stratum: np.ndarray, penalty: float = 1.0) -> np.ndarray | None:
    """Slopes of a logistic model in which every stratum has a level of its own.

    Newton's method for the log likelihood less penalty / 2 times the sum of the squared slopes. The levels,
    which are not penalised, are eliminated from each step, so that their number costs nothing. Strata with
    nothing but events, or none, say nothing about the slopes and are left out.

    Args:
        x: (n, features). y: bool (n,). stratum: int (n,).

    Returns:
        (features,), or None where no stratum holds both.
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
        return float((np.logaddexp(0, z) - y * z).sum() + penalty / 2 * slopes @ slopes)

    now = loss(level, slopes)
    for _ in range(50):
        q = expit(level[s] + x @ slopes)
        v = q * (1 - q)
        down, per = x.T @ (y - q) - penalty * slopes, np.bincount(s, y - q, len(size))
        vx = v[:, None] * x
        cross = np.stack([np.bincount(s, column, len(size)) for column in vx.T], 1)
        own = np.maximum(np.bincount(s, v, len(size)), 1e-12)
        curve = vx.T @ x + penalty * np.eye(len(slopes)) - cross.T @ (cross / own[:, None])
        step = np.linalg.solve(curve, down - cross.T @ (per / own))
        rise = (per - cross @ step) / own
        size_of_step = 1.0
        while (then := loss(level + size_of_step * rise, slopes + size_of_step * step)) > now + 1e-9:
            size_of_step /= 2
        level, slopes = level + size_of_step * rise, slopes + size_of_step * step
        if now - then < 1e-8 * max(now, 1):
            break
        now = then
    return slopes


def risk(
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
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Risk against coverage (El-Yaniv & Wiener 2010), and the area below: what setting pictures aside saves.

    All corruptions of a severity and all classes are taken together, as somebody would meet them: unlike
    the AUROC of `failure`, this is helped by whatever tells corruptions or classes apart. Pictures with a
    degenerate map are left out, for every signal, so that all curves are of the same pictures. Pictures with
    equal signals are kept or set aside in proportion.

    Args:
        predictions, drift, distances: the tables predictions, drift and corruptions of a run.
        method, layer, severity: which drift. metric: its column. resamples, seed: of the intervals.

    Returns:
        The curves: signal ("drift", a baseline or "best possible"), coverage (share kept), risk (share of the
        kept that is wrong), low, high. The areas: signal, area (mean risk over keeping 1, 2, ... all
        pictures: Geifman & El-Yaniv 2017), low, high, saved (area of low confidence less this one; above 0 =
        better than it), saved_low, saved_high (paired), wrong (share of all: the area of a signal that knows
        nothing), spared (that less area; above 0 = better than it), spared_low, spared_high (paired), cases,
        method, layer, severity. Both empty where no label is known or no map usable.

    Raises:
        ValueError: an unknown method, layer or severity; a table that lacks something.
    """
    known = cases(predictions, drift, distances, metric)
    signals, _ = chosen(known, method, layer, severity, "flipped")
    use = np.isfinite(signals["drift"])
    curves, areas = [], {}
    if "wrong" in known.events and use.any():
        wrong = known.events["wrong"][known.drift.severities == severity][use]
        w = known.weights(resamples, seed)[np.nonzero(use)[1]]
        found = {name: signal[use] for name, signal in signals.items()} | {BEST: wrong.astype(float)}
        steps = np.arange(1, len(wrong) + 1) / len(wrong)
        for name, signal in found.items():
            risks = _risks(signal, wrong, w, np.r_[COVERAGES, steps])
            shown, areas[name] = risks[:, : len(COVERAGES)], risks[:, len(COVERAGES) :].mean(1)
            low, high = np.array([interval(column) for column in shown[1:].T]).T
            row = dict(signal=name, coverage=COVERAGES, risk=shown[0], low=low, high=high)
            curves.append(pd.DataFrame(row))
    rows = []
    for name, area in areas.items():
        saved = areas[DOUBT] - area
        spared = wrong @ w / np.maximum(w.sum(0), 1) - area
        numbers = (area[0], *interval(area[1:]), saved[0], *interval(saved[1:]), wrong.mean())
        rows.append((name, *numbers, spared[0], *interval(spared[1:]), len(wrong), method, layer, severity))
    columns = ["signal", "area", "low", "high", "saved", "saved_low", "saved_high", "wrong"]
    columns += ["spared", "spared_low", "spared_high", "cases"]
    frame = pd.DataFrame(rows, columns=[*columns, *MAP, "severity"])
    empty = pd.DataFrame(columns=["signal", "coverage", "risk", "low", "high"])
    return pd.concat(curves, ignore_index=True) if curves else empty, frame


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
