"""What drift is worth as a warning: does it add to what is known anyway, does setting pictures aside help?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from medrob.analysis.detection import DOUBT, Cases, cases, chosen, detect
from medrob.analysis.tables import INPUT, MAP, require, require_map
from medrob.analysis.testing import NO, OPEN, OPPOSITE, SMALL, UNDEFINED, YES, Finding
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
    drift: five folds, all pictures of an image in the same one; severity and corruption are known to both.
    Compared is their AUROC within corruption and severity; the interval of the gain resamples images, with
    the models as they are (it does not hold how models of other images would differ). Pictures with a
    degenerate map are left out of that method's rows.

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
    rows = []
    for event, happened in known.events.items():
        guesses: dict[bytes, np.ndarray] = {}  # without drift, for each choice of pictures
        for key, moved in zip(known.drift.maps, known.drift.values, strict=True):
            if key[1] not in (layer, INPUT):
                continue
            use = np.isfinite(moved)
            if (same := use.tobytes()) not in guesses:
                guesses[same] = foretold(features(known), happened, use, fold)
            both = foretold(np.concatenate([features(known), moved[None]]), happened, use, fold)
            auroc, without = (detect(guess, happened, w)[0] for guess in (both, guesses[same]))
            gain = auroc - without
            numbers = (auroc[0], *interval(auroc[1:]), gain[0], *interval(gain[1:]))
            rows.append((event, *key, *numbers, int(happened[use].sum()), int(use.sum())))
    columns = ["event", *MAP, "auroc", "low", "high", "gain", "gain_low", "gain_high", "events", "cases"]
    return pd.DataFrame(rows, columns=columns)


def features(known: Cases) -> np.ndarray:
    """What is known without a map, (features, conditions, images): the signals and the condition itself."""
    shape = next(iter(known.signals.values())).shape
    condition = np.broadcast_to(np.eye(shape[0])[:, :, None], (shape[0], *shape))
    return np.concatenate([np.stack(list(known.signals.values())), condition])


def foretold(x: np.ndarray, happened: np.ndarray, use: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Log odds of the event, by a logistic model of the images of the other folds.

    Args:
        x: (features, conditions, images). happened, use: bool (conditions, images). fold: (images,).

    Returns:
        (conditions, images); NaN outside `use`, and everywhere if the other folds lack events or the rest.
    """
    found = np.full(happened.shape, np.nan)
    for one in np.unique(fold):
        train, test = use & (fold != one), use & (fold == one)
        if not 0 < happened[train].sum() < train.sum():
            return np.full(happened.shape, np.nan)
        mean, spread = x[:, train].mean(1), x[:, train].std(1)
        scale = np.where(spread > 1e-12, spread, 1)
        model = LogisticRegression(solver="newton-cholesky")  # few features, many cases
        model.fit(((x[:, train].T - mean) / scale), happened[train])
        if test.any():
            found[test] = model.decision_function((x[:, test].T - mean) / scale)
    return found


def say_added(added: pd.DataFrame, *, method: str, layer: str) -> str:
    """In words: does drift add to confidence, entropy, margin and the picture's RMSE?

    Args:
        added: from `added`.
    """
    require(added, ["event", *MAP, "gain", "gain_low", "gain_high"], "added")
    require_map(added, method, layer, "added")
    lines = []
    for row in added[(added["method"] == method) & (added["layer"] == layer)].to_dict("records"):
        gain = Finding.of(row, ("gain", "gain_low", "gain_high"))
        found = gain.verdict(chance=0, small=SMALL["gain"], tested=False)
        told = {
            YES: "adds to",
            OPPOSITE: "only adds noise to",
            NO: "adds nothing that matters to",
            OPEN: "is not shown to add to",
            UNDEFINED: "cannot be judged beside",
        }[found]
        line = f"Prediction {row['event']}: drift {told} confidence, entropy, margin and the picture's RMSE"
        if found == UNDEFINED:
            lines.append(f"{line}: too few images with and without it for {FOLDS} folds.")
        else:
            lines.append(
                f"{line}: AUROC {row['auroc']:.3f} with it, {row['gain']:+.3f} "
                f"({row['gain_low']:+.3f} to {row['gain_high']:+.3f})."
            )
    return "\n".join(lines)


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
