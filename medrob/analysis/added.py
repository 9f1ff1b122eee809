"""What drift adds to a warning that is there anyway."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from medrob.analysis.cases import Cases, cases
from medrob.analysis.detection import detect
from medrob.analysis.tables import INPUT, MAP, require, require_map
from medrob.analysis.verdict import NO, OPEN, OPPOSITE, SMALL, UNDEFINED, YES, Finding
from medrob.evaluation import interval

FOLDS = 5


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
