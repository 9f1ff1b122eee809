"""Alarms that know only the picture at hand: which signal finds the errors of the network?

All are judged alike, with the network's own errors as events (Jaeger et al. 2023; Traub et al. 2024).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata, t
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

from medrob.analysis.evidence import doubts
from medrob.analysis.layout import CONDITION, FOLDS, ends, estimate, wider
from medrob.analysis.statistics import detect
from medrob.check import require
from medrob.corruptions import CLEAN
from medrob.evaluation import FEWEST, auc, class_names, drawn, fewest, units

MAP_SIGNAL = "unsteady map"
ENSEMBLE = "ensemble of seeds"
TOGETHER, WITH_MAP = "all scores", "all scores and the map"  # in one model
CONTROL = "map of "  # begins the columns of networks that have learnt nothing (`medrob.trust`)
# What the signals of the table alarm are called; the others come from the predictions.
SIGNALS = {"unsteady": MAP_SIGNAL, "variance": "variance under changes", "averaged": "mean under changes"}
SIGNALS |= {"energy": "energy score", "distance": "feature distance"}
DOUBTS = ("low confidence", "entropy", "small margin")
SAME = "same corruption"
LOWER_IS_BETTER = ("aurc", "excess aurc", "augrc")


def alarms(
    predictions: pd.DataFrame,
    alarm: pd.DataFrame,
    others: Sequence[pd.DataFrame] = (),
    *,
    resamples: int = 500,
) -> pd.DataFrame:
    """How well each signal finds the pictures that the network gets wrong: clean, corrupted and both.

    predictions, alarm: the tables. others: predictions of runs that differ in their training seed alone, on
    the same images; with the first they are an ensemble, whose signal is 1 - the mean probability of the
    class that the first predicts (Lakshminarayanan et al. 2017).

    Returns:
        A row per pictures ("clean", "corrupted", "all"; "same corruption": pairs of one condition, auroc
        alone), signal and metric (of `curves`): value, low, high; ahead, ahead_low, ahead_high: how much
        better the map's signal is than this one, paired on the same resamples of whole images, or their
        groups; of "same corruption" alone, than that of the map of a control, and `WITH_MAP` than other
        models: `TOGETHER`, and that with the map of a control instead. No intervals with fewer than `FEWEST`
        that have an error, or none. errors, cases: how many; passes that a map costs. Empty if an image has
        several labels.
    """
    if "label" not in predictions:
        return pd.DataFrame(columns=["pictures", "signal", "metric"])
    table = signals_of(predictions, alarm, others)
    other = "image", *CONDITION, "wrong", "predicted", "group"
    controls = [name for name in table if name.startswith(CONTROL)]
    names = [name for name in table if name not in (*other, *controls)]
    clean, rows = table["corruption"] == CLEAN[0], []
    groups = {"clean": table[clean], "corrupted": table[~clean], SAME: table, "all": table}
    for pictures, part in groups.items():
        part = part.sort_values(["image", *CONDITION])
        images = part.drop_duplicates("image")
        image, unit = np.unique(part["image"], return_inverse=True)[1], units(images)
        wrong, cases = part["wrong"].to_numpy(), len(np.unique(unit))
        fewer = fewest(wrong, unit[image])
        w = drawn(images, 0 if fewer < FEWEST else resamples)
        signals = {name: part[name].to_numpy(float) for name in names}
        beside, models = dict.fromkeys(names, MAP_SIGNAL), dict[str, list[str]]()  # signals of each model
        if pictures == SAME:
            signals |= {control: part[control].to_numpy(float) for control in controls}
            beside |= dict.fromkeys(controls, MAP_SIGNAL)
            if fewer >= FOLDS * FEWEST:  # else they are few for a model
                scores = [name for name in names if name != MAP_SIGNAL]
                models = {TOGETHER: scores, WITH_MAP: names}
                models |= {f"{TOGETHER} and {control}": [*scores, control] for control in controls}
            known = pd.get_dummies(part[["predicted", "corruption"]].astype(str))
            for name, columns in models.items():
                signals[name] = _joined(known.join(part[columns]).to_numpy(float), wrong, unit[image])
            beside |= dict.fromkeys(models, WITH_MAP)
            found = {name: _within(values, wrong, w) for name, values in signals.items()}
        else:
            found = {name: curves(values, wrong, w[:, image]) for name, values in signals.items()}
        for name, better in beside.items():
            for metric, samples in found[name].items():
                ahead = found[better][metric] - samples
                lower = metric in LOWER_IS_BETTER
                numbers = risk(samples, cases) if lower else estimate(samples)
                gain = estimate(-ahead if lower else ahead)
                if name in models:
                    numbers, gain = wider(numbers), wider(gain)
                rows.append((pictures, name, metric, *numbers, *gain, int(wrong.sum()), len(wrong)))
    columns = ["pictures", "signal", "metric", "value", "low", "high", *ends("ahead"), "errors", "cases"]
    return pd.DataFrame(rows, columns=columns).assign(passes=alarm["passes"].max())


def _within(signal: np.ndarray, wrong: np.ndarray, w: np.ndarray) -> dict[str, np.ndarray]:
    """AUROC over pairs of one condition alone: what tells the conditions apart does not count."""
    shape = w.shape[1], -1
    return {"auroc": detect(signal.reshape(shape).T, wrong.reshape(shape).T, w, np.zeros(shape[0], int))}


def risk(samples: np.ndarray, cases: int) -> tuple[float, float, float]:
    """Value, low and high of a mean risk, (1 + resamples,): its log +- t times the spread of their logs.

    A risk is skewed: where it comes out low, so does its spread, and percentiles then lie too low (of 30
    patients, those of excess AURC held the true value in 86 %, these in 92 %).
    """
    if not (samples > 0).all() or len(samples) == 1:
        return estimate(samples)
    reach = np.exp(t.ppf(0.975, cases - 1) * np.log(samples[1:]).std())
    return samples[0], samples[0] / reach, min(samples[0] * reach, 1.0)


def _joined(signals: np.ndarray, wrong: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Probability of an error by a forest (Breiman 2001) on signals (pictures, S) that it has not seen.

    A line would be a poor rival: signals bend and interact. All pictures of a unit are in one of `FOLDS`.
    """
    model = RandomForestClassifier(200, min_samples_leaf=15, random_state=0)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    return cross_val_predict(model, signals, wrong, groups=unit, cv=folds, method="predict_proba")[:, 1]


def signals_of(
    predictions: pd.DataFrame, alarm: pd.DataFrame, others: Sequence[pd.DataFrame] = ()
) -> pd.DataFrame:
    """The signals side by side, high where the network should be doubted, and whether it is wrong."""
    keys = ["image", *CONDITION]
    require(alarm, [*keys, *SIGNALS], "alarm")
    columns = [f"p_{name}" for name in class_names(predictions)]
    controls = [name for name in alarm if name.startswith(CONTROL)]
    own = alarm[[*keys, *SIGNALS, *controls]].rename(columns=SIGNALS)
    table = own.merge(predictions, on=keys, validate="1:1")
    p = table[columns].to_numpy(float)
    doubt = dict(zip(DOUBTS, doubts(p, True), strict=True))
    if others:
        members = [table[keys].merge(other, how="left", on=keys)[columns] for other in others]
        if lacking := sum(int(member.isna().any(axis=1).sum()) for member in members):
            raise ValueError(
                f"the runs that differ in the seed alone lack {lacking} of the predictions of the first, so "
                "they are no ensemble: give all of them the same suite and images, or leave them out of runs"
            )
        mean = np.mean([p, *(member.to_numpy(float) for member in members)], axis=0)
        doubt[ENSEMBLE] = 1 - mean[np.arange(len(mean)), table["predicted"].to_numpy()]
    kept = table[[*keys, *SIGNALS.values(), *controls]].dropna(axis=1, how="all")
    known = table.filter(["group", "predicted"])
    return kept.assign(**doubt, **known, wrong=table["predicted"] != table["label"])


def curves(signal: np.ndarray, wrong: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """A signal (N,) as an alarm for wrong (N,), under whole weights of pictures (B, N): measures, (B,) each.

    Pictures are kept in the order of a rising signal; the risk is the share of errors among those kept.
    aurc: its mean over the coverages 1/n, ..., 1 (Geifman & El-Yaniv 2017); excess aurc: less that of the
    best order possible (Geifman et al. 2019); augrc: the area under the share of all pictures that are kept
    and wrong (Traub et al. 2024), which is (1 - auroc) a (1 - a) + (1 - a)^2 / 2 for the accuracy a; auroc:
    the share of pairs of an error and none in which the error has the higher signal. Equal signals stand for
    the mean over all their orders.
    """
    order = np.argsort(signal, kind="stable")
    tied = rankdata(signal[order], method="dense") - 1
    wrong, weights = wrong[order].astype(float), weights[:, order]
    aurocs = auc(signal[order], wrong > 0, weights)
    found: dict[str, list[float]] = {"aurc": [], "excess aurc": [], "augrc": []}
    for w, auroc in zip(weights, aurocs, strict=True):
        counts = np.bincount(tied, w)
        errors = np.bincount(tied, w * wrong)
        rate = np.divide(errors, counts, out=np.zeros_like(errors), where=counts > 0)
        n, lost = int(counts.sum()), errors.sum()
        kept = np.arange(1, n + 1)
        aurc = float((np.cumsum(np.repeat(rate, counts.astype(int))) / kept).mean())
        best = float((np.maximum(kept - (n - lost), 0) / kept).mean())
        share = lost / n
        area = share**2 / 2 + np.nan_to_num(1 - auroc) * share * (1 - share)
        for name, value in zip(found, (aurc, aurc - best, area), strict=True):
            found[name].append(value)
    return {"auroc": aurocs} | {name: np.array(values) for name, values in found.items()}
