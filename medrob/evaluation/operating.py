"""The operating point: what a clinic meets once a threshold is fixed, which an area under a curve hides."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from medrob.corruptions import CLEAN
from medrob.evaluation.metrics import FEWEST, drawn, interval, share_interval, units
from medrob.evaluation.scores import DROP, ENDS, class_names

RATES = {"sensitivity": True, "specificity": False}  # of the images that have the class, or have it not


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
    are found) or "specificity" (share of the others that are left alone). Intervals resample images, or
    their groups, the same ones for clean and corrupted; where all images are right, or all wrong, a score has
    Wilson's interval.
    """
    rows, clean = [], dict[tuple[str, str], np.ndarray]()
    ordered = predictions.sort_values("image", kind="stable")
    groups = dict(iter(ordered.groupby(["corruption", "severity"], sort=False)))
    w, unit = drawn(groups[CLEAN], resamples), units(groups[CLEAN])
    for condition in sorted(groups, key=lambda key: key != CLEAN):
        group = groups[condition]
        for k, name in enumerate(class_names(predictions)):
            if name not in thresholds:
                continue
            true = group["label"] == k if "label" in group else group[f"label_{name}"] == 1
            alarm = group[f"p_{name}"].to_numpy(np.float32) >= np.float32(thresholds[name])
            for metric, present in RATES.items():
                of = (true == present).to_numpy()
                if not of.any():
                    continue
                with np.errstate(invalid="ignore"):  # a resample without any of them
                    value = w[:, of] @ (alarm[of] == present).astype(float) / w[:, of].sum(1)
                clean.setdefault((name, metric), value)
                drop = clean[name, metric] - value
                n = len(np.unique(unit[of]))
                stop = None if n >= FEWEST else 1  # see `medrob.evaluation.score`
                ends = share_interval(value[:stop], n)
                rows.append((*condition, name, metric, value[0], *ends, drop[0], *interval(drop[1:stop])))
    return pd.DataFrame(rows, columns=["corruption", "severity", "class", "metric", *ENDS, *DROP])
