"""From scores and drift to the answer: does the map move where the network fails?

Intervals are 95 % percentile bootstraps over images (2,000 resamples unless said otherwise); an image
carries all its conditions, so scores and drift are resampled together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from medrob.conditions import CLEAN
from medrob.evaluation import auc, bootstrap_weights, interval

STRATA = ("all", "preserved", "flipped")
CONDITION = ["corruption", "severity"]
MAP = ["method", "layer"]
KINDS = ("pooled", "within severity", "partial")
SIGNALS = ("low confidence", "entropy", "image rmse")


def mean_drift(
    drift: pd.DataFrame,
    by: Sequence[str] = (*CONDITION, *MAP),
    *,
    metric: str = "rmse",
    stratum: str = "all",
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean drift of each group of maps, over the images whose maps are not degenerate.

    Args:
        drift: from `medrob.drift.measure`.
        by: the columns that make a group; within it, an image's values are averaged first.
        metric: the column of the drift.
        stratum: "all", "preserved" or "flipped": by whether the network still predicts the same class.
        resamples, seed: of the bootstrap.

    Returns:
        The columns of `by`, then stratum, value, low, high, images (that count), degenerate (share).
    """
    _require(drift, [*by, "image", "preserved", "degenerate", metric], "drift")
    if stratum not in STRATA:
        raise ValueError(f"stratum={stratum!r}; the strata are {', '.join(STRATA)}")
    if stratum != "all":
        drift = drift[drift["preserved"] == (stratum == "preserved")]
    by = list(by)
    columns = [*by, "stratum", "value", "low", "high", "images", "degenerate"]
    if not len(drift):
        return pd.DataFrame(columns=columns)
    flat = drift.groupby(by, sort=False, observed=True)["degenerate"].mean()
    wide = _wide(drift, metric, by).reindex(columns=flat.index)
    x, known = np.nan_to_num(wide.to_numpy()), wide.notna().to_numpy()
    w = bootstrap_weights(len(wide), resamples, seed)
    with np.errstate(invalid="ignore"):
        samples = (w @ x) / (w @ known)
        value = x.sum(0) / known.sum(0)
    limits = np.array([interval(column) for column in samples.T]).reshape(-1, 2)
    frame = flat.index.to_frame(index=False).assign(
        stratum=stratum, value=value, low=limits[:, 0], high=limits[:, 1], images=known.sum(0)
    )
    return frame.assign(degenerate=flat.to_numpy())[columns]


def association(
    predictions: pd.DataFrame,
    drift: pd.DataFrame,
    distances: pd.DataFrame,
    *,
    metric: str = "rmse",
    resamples: int = 2000,
    permutations: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Between conditions: does the drop of AUC go with the mean drift? For each method and layer.

    Rank correlations (Spearman) over the conditions, three ways:
    ``pooled``: over all conditions. Both rise with severity, so this is high almost by construction.
    ``within severity``: ranks taken among the corruptions of the same severity.
    ``partial``: ranks, less what severity and the RMSE of the image itself explain (linear, on ranks).

    The intervals resample images. p is two-sided, from exchanging whole corruptions in what is left of
    the drops (Freedman & Lane 1983; Phipson & Smyth 2010): the severities of one corruption move together
    and are no independent cases, so with five corruptions, which have 120 orders, p is at least 1/120.
    No correction for many tests is made here. Conditions in which all maps of a method are degenerate are
    left out for that method.

    Args:
        predictions, drift, distances: the tables predictions, drift and corruptions of a run.
        metric: the column of the drift.

    Returns:
        method, layer, kind, value, low, high, p, conditions (how many). NaN where fewer than two
        corruptions, or constant drift, leave nothing to correlate.

    Raises:
        ValueError: a table without a column or a condition that is needed.
    """
    _require_all(predictions, drift, distances, metric)
    keys = pd.MultiIndex.from_frame(drift[CONDITION].drop_duplicates())
    picture = distances.groupby(CONDITION)["rmse"].mean().reindex(keys).to_numpy()
    drops, w = _auc_drops(predictions, keys, resamples, seed)
    images = np.unique(predictions["image"])
    rows = []
    for (method, layer), group in drift.groupby(MAP, sort=False, observed=True):
        wide = _wide(group, metric, CONDITION).reindex(columns=keys)
        weights = w[:, np.searchsorted(images, wide.index)]
        known = wide.notna().to_numpy()
        use = known.any(0)
        with np.errstate(invalid="ignore"):
            means = (weights @ np.nan_to_num(wide.to_numpy())) / (weights @ known)
        for kind in KINDS:
            found = (np.nan,) * 4
            if use.any():
                found = _link(means[:, use], drops[:, use], kind, keys[use], picture[use], permutations, seed)
            rows.append((method, layer, kind, *found, int(use.sum())))
    return pd.DataFrame(rows, columns=[*MAP, "kind", "value", "low", "high", "p", "conditions"])


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
    _require_all(predictions, drift, distances, metric)
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


def strata(
    drift: pd.DataFrame, *, metric: str = "rmse", resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """`mean_drift` by severity, method and layer for all, prediction-preserved and flipped images."""
    by = ("severity", *MAP)
    parts = [mean_drift(drift, by, metric=metric, stratum=s, resamples=resamples, seed=seed) for s in STRATA]
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def summary(
    scores: pd.DataFrame, drift: pd.DataFrame, association: pd.DataFrame, failure: pd.DataFrame
) -> pd.DataFrame:
    """The numbers that a text quotes: name, value, low, high, what (in words)."""
    auc_rows = scores[(scores["class"] == "all") & (scores["metric"] == "auc")]
    clean = auc_rows[auc_rows["corruption"] == "clean"].iloc[0]
    rows = [("clean auc", clean["value"], clean["low"], clean["high"], "AUC on clean images")]
    dirty = auc_rows[(auc_rows["corruption"] != "clean") & auc_rows["drop"].notna()]
    if len(dirty):
        worst = dirty.loc[dirty["drop"].idxmax()]
        what = f"largest AUC drop: {worst['corruption']}, severity {worst['severity']}"
        rows.append(("worst drop", worst["drop"], worst["drop_low"], worst["drop_high"], what))
    highest = drift["severity"].max()
    for row in mean_drift(drift[drift["severity"] == highest], MAP).itertuples():
        what = f"mean drift (RMSE of min-max maps), {row.method} at {row.layer}, severity {highest}"
        rows.append((f"drift {row.method} {row.layer}", row.value, row.low, row.high, what))
    for row in association[association["kind"] == "within severity"].itertuples():
        what = f"rank correlation of AUC drop and drift within severity, {row.method} at {row.layer}"
        rows.append((f"association {row.method} {row.layer}", row.value, row.low, row.high, what))
    for row in failure[(failure["severity"] == highest) & (failure["event"] == "flipped")].itertuples():
        label = " ".join(part for part in (row.signal, row.method, row.layer) if part)
        what = f"AUROC of {label} for a flipped prediction, severity {highest}"
        rows.append((f"warning {label}", row.auroc, row.low, row.high, what))
    return pd.DataFrame(rows, columns=["name", "value", "low", "high", "what"])


def say_association(kinds: pd.DataFrame) -> str:
    """In words: what `association` says of one method and layer.

    Args:
        kinds: its rows, indexed by kind.
    """

    def numbers(kind: str) -> str:
        row = kinds.loc[kind]
        if not np.isfinite(row["value"]):
            return "not defined"
        return f"{row['value']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f}, p = {row['p']:.3f})"

    within = kinds.loc["within severity"]
    if not np.isfinite(within["value"]):
        return (
            "Within severity there is nothing to correlate: too few corruptions, or drift that does not vary."
        )
    shown = within["p"] < 0.05 and within["low"] * within["high"] > 0
    direction = "costs more" if within["value"] > 0 else "costs less"
    verdict = (
        f"at the same severity, the corruption that moves the map more {direction} AUC"
        if shown
        else "at the same severity, no link between drift and loss of AUC is shown"
    )
    partial = kinds.loc["partial"]
    if shown and not (partial["p"] < 0.05 and partial["low"] * partial["high"] > 0):
        verdict += "; that this goes beyond what the RMSE of the picture tells anyway is not shown"
    return (
        f"Pooled over severities the rank correlation is {numbers('pooled')}.\n"
        f"Within severity it is {numbers('within severity')}; less what the pixels' own RMSE explains, "
        f"{numbers('partial')}.\nSo {verdict}."
    )


def say_failure(failure: pd.DataFrame, *, method: str, layer: str, severity: int) -> str:
    """In words: how drift compares with low confidence as a warning of a flipped prediction."""
    rows = failure[(failure["severity"] == severity) & (failure["event"] == "flipped")]
    drift = rows[(rows["method"] == method) & (rows["layer"] == layer)].iloc[0]
    every = rows[rows["signal"] == "low confidence"].iloc[0]
    begin = f"Severity {severity}: {every['events']} of {every['cases']} predictions flipped."
    lost = every["cases"] - drift["cases"]
    if lost:
        begin += (
            f" {lost} pictures, {every['events'] - drift['events']} of them flipped, have a degenerate "
            "map and no drift; they are left out below."
        )
    if not np.isfinite(drift["auroc"]):
        return f"{begin}\nNothing to detect: no picture with a drift has flipped, or all have."
    warns = "warns of a flip" if drift["low"] > 0.5 else "is not shown to warn of a flip"
    verdict = "not distinguishable from"
    if drift["gain_low"] > 0:
        verdict = "better than"
    elif drift["gain_high"] < 0:
        verdict = "worse than"
    return (
        f"{begin}\nDrift {warns}: AUROC {drift['auroc']:.2f} ({drift['low']:.2f} to {drift['high']:.2f}). "
        f"Low confidence reaches {drift['auroc'] - drift['gain']:.2f} on the same pictures:\n"
        f"drift is {verdict} it, by {drift['gain']:+.2f} "
        f"({drift['gain_low']:+.2f} to {drift['gain_high']:+.2f})."
    )


def headline(drift: pd.DataFrame) -> tuple[str, str]:
    """The method and layer that a text quotes: Grad-CAM if it is there, at the deepest usable block.

    Usable: at most a tenth of its maps are degenerate. Chosen before any result is looked at.
    """
    methods = list(dict.fromkeys(drift["method"]))
    method = "gradcam" if "gradcam" in methods else methods[0]
    bad = drift[drift["method"] == method].groupby("layer", sort=False, observed=True)["degenerate"].mean()
    usable = bad[bad <= 0.1] if (bad <= 0.1).any() else bad[bad == bad.min()]
    return method, str(usable.index[-1])


def compare_runs(runs: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]) -> pd.DataFrame:
    """Runs side by side, the mean over the corruptions at each severity.

    Args:
        runs: name -> the tables (scores, drift).

    Returns:
        run, severity, auc, drop, drift (RMSE at `headline`; 0 at severity 0), method, layer, images
        (explained).
    """
    frames = []
    for name, (scores, drift) in runs.items():
        method, layer = headline(drift)
        rows = scores[(scores["metric"] == "auc") & (scores["class"] == "all")]
        frame = rows.groupby("severity")[["value", "drop"]].mean().rename(columns={"value": "auc"})
        at = drift[(drift["method"] == method) & (drift["layer"] == layer)]
        frame["drift"] = at.groupby(["severity", "corruption"])["rmse"].mean().groupby("severity").mean()
        frame.loc[0, "drift"] = 0.0
        known = dict(run=name, method=method, layer=layer, images=drift["image"].nunique())
        frames.append(frame.reset_index().assign(**known))
    columns = ["run", "severity", "auc", "drop", "drift", "method", "layer", "images"]
    return pd.concat(frames, ignore_index=True)[columns]


def _require(frame: pd.DataFrame, columns: Sequence[str], name: str) -> None:
    missing = [column for column in columns if column not in frame]
    if missing:
        raise ValueError(
            f"the table {name} lacks {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}"
        )


def _require_all(
    predictions: pd.DataFrame, drift: pd.DataFrame, distances: pd.DataFrame, metric: str
) -> None:
    """The three tables hold the columns and the conditions that `association` and `failure` need."""
    _require(drift, ["image", *CONDITION, *MAP, metric], "drift")
    _require(predictions, ["image", *CONDITION, "predicted"], "predictions")
    _require(distances, ["image", *CONDITION, "rmse"], "corruptions")
    asked = set(drift[CONDITION].itertuples(index=False, name=None))
    for name, frame, more in (("predictions", predictions, {CLEAN}), ("corruptions", distances, set())):
        missing = (asked | more) - set(frame[CONDITION].itertuples(index=False, name=None))
        if missing:
            raise ValueError(f"the table {name} lacks the conditions {sorted(missing)}, which drift holds")


def _wide(drift: pd.DataFrame, metric: str, by: Sequence[str]) -> pd.DataFrame:
    """A row an image, a column a group, all of them, even where there is nothing but NaN."""
    return drift.groupby(["image", *by], observed=True)[metric].mean().unstack(list(by))


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


def _auc_drops(
    predictions: pd.DataFrame, keys: pd.MultiIndex, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """AUC drops (1 + resamples, conditions), all images first; and the weights (1 + resamples, images)."""
    n = predictions["image"].nunique()
    w = np.concatenate([np.ones((1, n), np.float32), bootstrap_weights(n, resamples, seed)])
    names = [c.removeprefix("p_") for c in predictions if str(c).startswith("p_")]

    def mean_auc(group: pd.DataFrame) -> np.ndarray:
        group = group.sort_values("image")
        p = group[[f"p_{name}" for name in names]].to_numpy()
        if "label" in group:
            hot = np.eye(len(names), dtype=bool)[group["label"].to_numpy()]
        else:
            hot = group[[f"label_{name}" for name in names]].to_numpy(bool)
        columns = [1] if len(names) == 2 and "label" in group else range(len(names))
        return np.mean([auc(p[:, k], hot[:, k], w) for k in columns], axis=0)

    aucs = {key: mean_auc(group) for key, group in predictions.groupby(CONDITION)}
    return np.stack([aucs["clean", 0] - aucs[key] for key in keys], 1), w


def _ranks(values: np.ndarray, kind: str, severity: np.ndarray) -> np.ndarray:
    """Ranks of each row of (B, conditions); among those of the same severity if "within severity"."""
    if kind != "within severity":
        return rankdata(values, axis=1)
    ranked = np.empty(values.shape)
    for s in np.unique(severity):
        ranked[:, severity == s] = rankdata(values[:, severity == s], axis=1)
    return ranked


def _residual(kind: str, severity: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """The matrix (conditions, conditions) that takes out what is held fixed: mean, severity, image RMSE."""
    held = [np.ones(len(severity))]
    if kind != "pooled":
        held = [(severity == s).astype(float) for s in np.unique(severity)]
    if kind == "partial":
        held.append(rankdata(picture))
    x = np.stack(held, 1)
    return np.eye(len(severity)) - x @ np.linalg.pinv(x)


def _standard(rows: np.ndarray) -> np.ndarray:
    """Rows of length one, so that a dot product is a correlation; NaN where a row is constant."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 1e-9, length, np.nan)


def _shuffles(conditions: pd.MultiIndex, count: int, seed: int) -> np.ndarray:
    """Orders (orders, conditions) that exchange whole corruptions; all of them, if there are at most `count`.

    The five severities of one corruption are not five independent cases: they move together. Where the
    corruptions do not have the same severities, conditions of one severity change places instead.
    """
    rng = np.random.default_rng(seed)
    grid = pd.Series(np.arange(len(conditions)), index=conditions).unstack("severity")
    if grid.isna().to_numpy().any():
        group = np.unique(conditions.get_level_values("severity"), return_inverse=True)[1]
        places = np.argsort(group, kind="stable")
        draws = [places, *(np.lexsort((rng.random(len(group)), group)) for _ in range(count))]
        orders = np.empty((len(draws), len(group)), np.int64)
        orders[:, places] = draws
        return orders
    places = grid.to_numpy(np.int64)
    corruptions = len(places)
    if math.factorial(corruptions) <= count:
        changes = np.array(list(itertools.permutations(range(corruptions))))
    else:
        changes = np.array([np.arange(corruptions), *(rng.permutation(corruptions) for _ in range(count))])
    orders = np.empty((len(changes), len(conditions)), np.int64)
    orders[:, places.ravel()] = places[changes].reshape(len(changes), -1)
    return orders


def _link(
    means: np.ndarray,
    drops: np.ndarray,
    kind: str,
    conditions: pd.MultiIndex,
    picture: np.ndarray,
    permutations: int,
    seed: int,
) -> tuple[float, float, float, float]:
    """Rank correlation of mean drift and drop (1 + resamples, conditions): value, low, high, p."""
    severity = conditions.get_level_values("severity").to_numpy()
    m = _residual(kind, severity, picture)
    moved, fell = (_standard(_ranks(x, kind, severity) @ m) for x in (means, drops))
    value = (moved * fell).sum(1)
    p = np.nan
    if permutations and np.isfinite(value[0]):
        orders = _shuffles(conditions, permutations, seed)  # the first one changes nothing
        null = _standard(fell[0][orders] @ m) @ moved[0]
        p = (np.abs(null) >= abs(value[0]) - 1e-12).mean()
    return value[0], *interval(value[1:]), p
