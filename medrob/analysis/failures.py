"""Per image: does a moved map go with a failure?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob.analysis.tables import CONDITION, MAP, require_all
from medrob.evaluation import auc, bootstrap_weights, interval

SIGNALS = ("low confidence", "entropy", "image rmse")


def failure(
    predictions: pd.DataFrame,
    drift: pd.DataFrame,
    distances: pd.DataFrame,
    *,
    metric: str = "rmse",
    resamples: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """Per image: does a moved map go with a failure? AUROC within each corruption and severity.

    Only pictures of the same corruption and severity are compared with each other: a corruption that both
    moves every map and flips every prediction proves nothing. The mean over the corruptions weighs each
    by its pairs (van Elteren 1960).

    Events: ``flipped`` = the prediction is not the clean one; ``wrong`` = it is not the label (only
    where there is one label an image). Signals: the drift of each method and layer, and what needs no
    map: low confidence, entropy (of the corrupted image), RMSE of the image.
    0.5 is chance, 1 a perfect warning; intervals resample images. Pictures whose maps are degenerate have
    no drift and are left out of its rows; `gain` is therefore taken on the same pictures.

    Returns:
        severity, event, signal ("drift" or a baseline), method, layer ("" for baselines), auroc, low,
        high, gain (auroc less that of low confidence), gain_low, gain_high (paired), events, cases. NaN
        where no image fails, or all do, or every map is degenerate.

    Raises:
        ValueError: a table without a column or a condition that is needed.
    """
    require_all(predictions, drift, distances, metric)
    cases = _cases(predictions, drift, distances)
    pairs = pd.MultiIndex.from_frame(drift[MAP].drop_duplicates())
    wide = drift.set_index(["image", *CONDITION, *MAP])[metric].unstack(MAP)
    wide = wide.reindex(pd.MultiIndex.from_frame(cases[["image", *CONDITION]]), columns=pairs)
    signals = {("drift", *key): wide[key].to_numpy() for key in wide}
    signals |= {(name, "", ""): cases[name].to_numpy() for name in SIGNALS}
    doubt, corruption = cases["low confidence"].to_numpy(), cases["corruption"].to_numpy()
    images = cases["image"].to_numpy()
    places = np.unique(images, return_inverse=True)[1]
    n = places.max() + 1
    w = np.concatenate([np.ones((1, n), np.float32), bootstrap_weights(n, resamples, seed)])
    rows = []
    for severity in sorted(cases["severity"].unique()):
        at = (cases["severity"] == severity).to_numpy()
        for event in (name for name in ("flipped", "wrong") if name in cases):
            happened = cases[event].to_numpy()
            plain: dict[bytes, np.ndarray] = {}  # AUROC of low confidence, for each choice of pictures
            for key, signal in signals.items():
                use = at & np.isfinite(signal)
                count = int(happened[use].sum())
                value = gain = np.full(len(w), np.nan)
                if 0 < count < use.sum():
                    weights, same = w[:, places[use]], use.tobytes()
                    value = _auc_within(signal[use], happened[use], weights, corruption[use])
                    if same not in plain:
                        plain[same] = _auc_within(doubt[use], happened[use], weights, corruption[use])
                    gain = value - plain[same]
                found = (value[0], *interval(value[1:]), gain[0], *interval(gain[1:]))
                rows.append((severity, event, *key, *found, count, int(use.sum())))
    columns = ["severity", "event", "signal", *MAP, "auroc", "low", "high", "gain", "gain_low", "gain_high"]
    columns += ["events", "cases"]
    return pd.DataFrame(rows, columns=columns)


def _auc_within(
    signal: np.ndarray, happened: np.ndarray, weights: np.ndarray, stratum: np.ndarray
) -> np.ndarray:
    """AUROC of pairs within the same stratum, for each row of weights (B, cases): (B,)."""
    right, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for here in (stratum == s for s in np.unique(stratum)):
        w, event = weights[:, here], happened[here]
        count = w[:, event].sum(1) * w[:, ~event].sum(1)
        right += np.nan_to_num(auc(signal[here], event, w)) * count
        pairs += count
    with np.errstate(invalid="ignore", divide="ignore"):
        return right / pairs


def _cases(predictions: pd.DataFrame, drift: pd.DataFrame, distances: pd.DataFrame) -> pd.DataFrame:
    """A row per explained image and condition: flipped, wrong (if single-label), and the baseline signals."""
    p = predictions.filter(regex="^p_").to_numpy()
    frame = predictions[["image", *CONDITION]].assign(
        **{
            "low confidence": 1 - p.max(1),
            "entropy": -(p * np.log(np.clip(p, 1e-12, 1))).sum(1),
        }
    )
    if "label" in predictions:
        frame["wrong"] = (predictions["predicted"] != predictions["label"]).to_numpy()
    clean = predictions[predictions["corruption"] == "clean"].set_index("image")["predicted"]
    frame["flipped"] = predictions["predicted"].to_numpy() != clean.loc[predictions["image"]].to_numpy()
    frame = frame.merge(
        distances[["image", *CONDITION, "rmse"]].rename(columns={"rmse": "image rmse"}),
        on=["image", *CONDITION],
    )
    return frame.merge(drift[["image", *CONDITION]].drop_duplicates(), on=["image", *CONDITION])
