"""What a table of predictions says: scores, rates at a threshold, reliability, errors under corruption."""

import warnings
from collections import defaultdict
from collections.abc import Mapping
from itertools import product

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from medrob.check import require
from medrob.corruptions import CLEAN, Condition
from medrob.evaluation.metrics import (
    FEWEST,
    drawn,
    drop_interval,
    evaluate,
    fewest,
    mean_interval,
    share_interval,
    units,
)  # fmt: skip
from medrob.machine import bar

ENDS, DROP = ["value", "low", "high"], ["drop", "drop_low", "drop_high"]
COLUMNS = ["corruption", "severity", "class", "metric", *ENDS, *DROP]
RATES = {"sensitivity": True, "specificity": False}  # of the images that have the class, or have it not
DECILES = 10  # bins of the reliability diagram
# AlexNet on MedMNIST-C: balanced error, clean and mean over corruptions (Di Salvo et al. 2024).
ALEXNET = {
    "pathmnist": (0.0884, 0.2770), "chestmnist": (0.2839, 0.3677), "dermamnist": (0.3986, 0.6147),
    "octmnist": (0.2020, 0.3687), "pneumoniamnist": (0.1009, 0.2654), "retinamnist": (0.5582, 0.6486),
    "breastmnist": (0.1454, 0.2994), "bloodmnist": (0.0184, 0.1125), "tissuemnist": (0.3918, 0.5375),
    "organamnist": (0.0501, 0.2693), "organcmnist": (0.0760, 0.2842), "organsmnist": (0.2430, 0.4038),
}  # fmt: skip


def class_names(predictions: pd.DataFrame) -> tuple[str, ...]:
    """The classes of a table of predictions, its columns ``p_<class>``; a ValueError if any is missing."""
    columns = [str(c) for c in predictions if str(c).startswith("p_")]
    names = tuple(column.removeprefix("p_") for column in columns)
    single = "label" in predictions or not any(f"label_{name}" in predictions for name in names)
    labels = ["label"] if single else [f"label_{name}" for name in names]
    needed = ["image", "corruption", "severity", "predicted", *(columns or ["p_<class>"]), *labels]
    require(predictions, needed, "predictions")
    for column in (*columns, *labels):
        if not np.isfinite(pd.to_numeric(predictions[column], errors="coerce")).all():
            raise ValueError(
                f"column {column} of the table predictions holds nan or text; every row needs a number: run "
                "notebook 03_test again, which writes it"
            )
    return names


def score(predictions: pd.DataFrame, task: str, *, resamples: int = 2000) -> pd.DataFrame:
    """Scores of every condition, and their drop against clean, with bootstrap intervals.

    Images, or their groups, are resampled, the same ones for clean and corrupted (a paired bootstrap), so the
    interval of a drop is far narrower than that of a score. ECE has none (`medrob.evaluation.metrics.ece`).
    Those of few images, or where resamples do not differ: `medrob.evaluation.metrics.share_interval`.

    A row per condition, class and metric of `METRICS`: corruption, severity, class ("all" or a name; one
    label of several is a decision of its own), metric, value, low, high, drop (clean value - value),
    drop_low, drop_high: 95 % intervals, NaN without resamples, or with fewer than `FEWEST` of the class or of
    the rest (or groups with some): resamples of so few hardly differ, and their interval would be none.
    """
    names, groups = class_names(predictions), _conditions(predictions)
    clean, rows = groups[CLEAN], []
    w, unit = drawn(clean, resamples), units(clean)
    truth = [f"label_{name}" for name in names] if task == "multilabel" else "label"
    labels = clean[truth].to_numpy()
    positive = labels.astype(bool) if labels.ndim == 2 else labels[:, None] == np.arange(len(names))
    judged = np.ones_like(positive) if task == "multilabel" else positive  # by the accuracy of a class
    counts = {name: fewest(k, unit) for name, k in zip(names, positive.T, strict=True)}
    cases = {name: len(np.unique(unit[k])) for name, k in zip(names, judged.T, strict=True)}
    few = {name for name, count in counts.items() if 0 < count < FEWEST}
    cases["all"], counts["all"] = len(np.unique(unit)), min(counts.values())
    of_share = {"accuracy": cases} | dict.fromkeys(("auc", "balanced_accuracy", "f1"), counts)
    if few and resamples:
        told = f"fewer than {FEWEST} images, or fewer of the rest: {', '.join(sorted(few))}"
        warnings.warn(f"classes with {told}: their scores, and those of all, have no intervals", stacklevel=2)
        few |= {"all"}
    before: dict[tuple[str, str], np.ndarray] = {}
    for condition, group in bar(list(groups.items()), desc="scoring", unit="condition"):
        p, y = group[[f"p_{name}" for name in names]].to_numpy(), group[truth].to_numpy()
        found = evaluate(p, y, w, task, names)
        samples = {("all", metric): value for metric, (value, _) in found.items()}
        for metric, (_, each) in found.items():
            samples |= {(name, metric): value for name, value in zip(names, each.T, strict=True)}
        before = before or samples  # clean comes first
        for (name, metric), value in samples.items():
            drop = before[name, metric] - value
            stop = 1 if name in few else None  # of an interval nothing is taken
            n = of_share.get(metric, {}).get(name, 0)
            ends = share_interval(value[:stop], n, cases["all"])
            lost = drop_interval(drop[:stop], n * (condition != CLEAN), cases["all"])
            rows.append((*condition, name, metric, value[0], *ends, drop[0], *lost))
    return pd.DataFrame(rows, columns=COLUMNS)


def alarm_class(name: str, names: tuple[str, ...]) -> str:
    """The class that an alarm is for: the one named, or "" = the second, as is usual of two."""
    if name and name not in names:
        raise ValueError(f"positive={name!r} is not a class; give one of {', '.join(names)}")
    return name or names[:2][-1]


def thresholds(probabilities: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> dict[str, float]:
    """For each class, the threshold of the highest sensitivity + specificity against the rest (Youden 1950).

    Probabilities (N, K) and labels, int (N,) or (N, K), are those of clean validation images, so that nothing
    of the test set chooses. "Has the class" means p >= threshold. Of several that are equally good, the
    highest. A class without images, that all images have, or that no threshold tells apart, has none.
    """
    hot = labels.astype(bool) if labels.ndim == 2 else labels[:, None] == np.arange(len(names))
    found: dict[str, float] = {}
    for name, p, true in zip(names, probabilities.T, hot.T, strict=True):
        if true.any() and not true.all():
            false_alarms, sensitivity, at = roc_curve(true, p, drop_intermediate=False)
            best = np.argmax(sensitivity - false_alarms)
            found |= {name: float(at[best])} if best else {}  # the first one raises no alarm at all
    return found


def operating_points(
    predictions: pd.DataFrame, thresholds: Mapping[str, float], *, resamples: int = 2000
) -> pd.DataFrame:
    """Sensitivity and specificity of each class against the rest, at fixed thresholds, under every condition.

    Columns as of `medrob.evaluation.score`: metric is "sensitivity" (share of the images of the class that
    are found) or "specificity" (share of the others that are left alone). Intervals as of `score`.
    """
    groups, names = _conditions(predictions), class_names(predictions)
    w, unit = drawn(groups[CLEAN], resamples), units(groups[CLEAN])
    rows, clean = [], dict[tuple[str, str], np.ndarray]()
    rates = list(product([name for name in names if name in thresholds], RATES.items()))
    for condition, group in groups.items():
        for name, (rate, present) in rates:
            true = group["label"] == names.index(name) if "label" in group else group[f"label_{name}"] == 1
            alarm = group[f"p_{name}"].to_numpy(np.float32) >= np.float32(thresholds[name])
            of = (true == present).to_numpy()
            if n := len(np.unique(unit[of])):
                with np.errstate(invalid="ignore"):  # a resample without any of them
                    value = w[:, of] @ (alarm[of] == present).astype(float) / w[:, of].sum(1)
                drop = clean.setdefault((name, rate), value) - value
                stop = None if n >= FEWEST else 1  # as in `score`
                lost = drop[0], *drop_interval(drop[:stop], n * (condition != CLEAN))
                rows.append((*condition, name, rate, value[0], *share_interval(value[:stop], n), *lost))
    return pd.DataFrame(rows, columns=COLUMNS)


def _conditions(predictions: pd.DataFrame) -> dict[Condition, pd.DataFrame]:
    """The rows of each condition, clean first, and all in the order of images, as resamples are the same."""
    ordered = predictions.sort_values("image", kind="stable")
    groups = dict(iter(ordered.groupby(["corruption", "severity"], sort=False)))
    return {condition: groups[condition] for condition in sorted(groups, key=lambda key: key != CLEAN)}


def reliability(predictions: pd.DataFrame) -> pd.DataFrame:
    """How often the network is right when it is so sure, per condition and bin of confidence.

    Columns: corruption, severity, confidence (mean), accuracy, images, low, high: a 95 % interval, as in
    `score`. If multi-label, every label of an image is a decision of its own.
    """
    rows, names, groups = [], [f"p_{name}" for name in class_names(predictions)], _conditions(predictions)
    weights, unit = drawn(groups[CLEAN], 2000), units(groups[CLEAN])
    for condition, group in groups.items():
        p = group[names].to_numpy()
        sure, right = p.max(1)[:, None], (group["predicted"] == group.get("label")).to_numpy()[:, None]
        if "label" not in group:
            sure, right = np.maximum(p, 1 - p), (p > 0.5) == group.filter(regex="^label_").to_numpy()
        bins = np.clip(np.ceil(sure * DECILES).astype(int) - 1, 0, DECILES - 1)
        for inside in (bins == k for k in np.unique(bins)):
            few = len(np.unique(unit[inside.any(1)]))
            with np.errstate(invalid="ignore"):  # a resample without any of them
                shares = (weights @ (inside & right).sum(1)) / (weights @ inside.sum(1))
            ends = share_interval(shares[: None if few >= FEWEST else 1], few)
            rows.append((*condition, sure[inside].mean(), shares[0], inside.sum(), *ends))
    return pd.DataFrame(
        rows, columns=["corruption", "severity", "confidence", "accuracy", "images", *ENDS[1:]]
    )


def corruption_errors(predictions: pd.DataFrame, *, dataset: str = "", resamples: int = 2000) -> pd.DataFrame:
    """Errors under corruption, means over the severities, of each corruption and of all ("mean").

    ``error``: 1 - accuracy (Hendrycks & Dietterich 2019, before they divide by another network's);
    ``balanced error``: 1 - balanced accuracy; ``excess``: balanced error minus that of clean images. For a
    set of MedMNIST-C, by the name `dataset`, their means are also divided by the published ones of AlexNet:
    ``BE`` and ``rBE`` (Di Salvo et al. 2024). Columns: corruption, metric, value, low, high; no rows where an
    image has several labels.
    """
    if "label" not in predictions:
        return pd.DataFrame(columns=["corruption", "metric", *ENDS])
    images = predictions.drop_duplicates("image")
    few = images.assign(unit=units(images)).groupby("label")["unit"].nunique().min() < FEWEST  # see `score`
    w, count = drawn(images, 0 if few else resamples), len(np.unique(units(images)))
    rates = defaultdict[str, list](list)  # of each corruption: the error and the balanced error (2, B)
    for (name, _), group in predictions.groupby(["corruption", "severity"], sort=False):
        y = group["label"].to_numpy()
        right = (group["predicted"].to_numpy() == y).astype(float)
        with np.errstate(invalid="ignore"):  # a resample without images of a class
            shares = [w[:, y == k] @ right[y == k] / w[:, y == k].sum(1) for k in np.unique(y)]
        rates[name].append(1 - np.stack([w @ right / w.sum(1), np.mean(shares, axis=0)]))
    errors = {name: np.mean(values, axis=0) for name, values in rates.items()}
    _, clean = errors.pop(CLEAN[0])
    errors["mean"] = np.mean(list(errors.values()), axis=0)
    samples: dict[tuple[str, str], np.ndarray] = {}
    for name, (plain, balanced) in errors.items():
        samples |= {(name, "error"): plain, (name, "balanced error"): balanced}
        samples[name, "excess"] = balanced - clean
    if dataset in ALEXNET:
        base, mean = ALEXNET[dataset]
        samples["mean", "BE"] = samples["mean", "balanced error"] / mean
        samples["mean", "rBE"] = samples["mean", "excess"] / (mean - base)
    rows = [(*key, values[0], *mean_interval(values, count)) for key, values in samples.items()]
    return pd.DataFrame(rows, columns=["corruption", "metric", *ENDS])


def numbers(scores: pd.DataFrame, errors: pd.DataFrame) -> pd.DataFrame:
    """What the text of a thesis quotes of `score` and `corruption_errors`: name, value, low, high, what."""
    rows = []
    for row in scores[scores["class"] == "all"].to_dict("records"):
        metric, where = row["metric"].replace("_", " "), f"{row['corruption']} {row['severity']}"
        told = f"under {row['corruption'].replace('_', ' ')}, severity {row['severity']}"
        if row["severity"] and metric == "auc":
            rows.append((f"auc {where}", *(row[c] for c in ENDS), f"AUC {told}"))
            rows.append((f"drop {where}", *(row[c] for c in DROP), f"AUC drop {told}"))
        elif not row["severity"] and metric != "auc":  # the clean AUC is one of `medrob.analysis.summary`
            rows.append((f"clean {metric}", *(row[c] for c in ENDS), f"{metric} on clean images"))
    for row in errors[errors["corruption"] == "mean"].to_dict("records"):
        told = f"{row['metric']}, mean over the corruptions"
        rows.append((f"mean {row['metric']}", *(row[c] for c in ENDS), told))
    return pd.DataFrame(rows, columns=["name", *ENDS, "what"])
