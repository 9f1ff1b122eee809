"""What the tables of drift and of trust say of each map: means and verdicts."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medrob.analysis.layout import CONDITION, MAP, NORMALISED, ends
from medrob.check import require
from medrob.evaluation import FEWEST, means_with_intervals

# Declared before looking at any result. Adebayo et al. (2018) give no number; at a rank correlation of
# one half a quarter of the variance of the ranks is shared.
THRESHOLD = 0.5
# Each test of faithfulness, and 1 where a higher value is better.
FAITHFULNESS = {"insertion": ("Insertion", 1), "deletion": ("Deletion", -1), "road": ("ROAD", 1)}


def mean_drift(
    drift: pd.DataFrame, by: Sequence[str] = (*CONDITION, *MAP), *, metric: str = "rmse"
) -> pd.DataFrame:
    """Mean of a column of the drift over the images whose maps are not degenerate, in each group of `by`.

    Within a group, an image's values are averaged first. Returns these columns, stratum ("all"), value, low,
    high (2,000 resamples of the images, or their groups; at least `FEWEST`), images (that count),
    degenerate (share). "normalised" is a share of the mean distance to the map of another picture, which is
    estimated from the same images: its intervals know that (linearised; column another).
    """
    by = list(by)
    flat = drift.groupby(by, sort=False, observed=True)["degenerate"].mean()
    wide = drift.groupby(["image", *by], observed=True)[metric].mean().unstack(by)
    wide = wide.reindex(columns=flat.index)  # a row an image, a column a group, in the order of the table
    if metric == NORMALISED:
        require(drift, ["another"], "drift")
        far = drift.groupby(["image", *by], observed=True)["another"].mean().unstack(by)
        far = far.reindex(columns=flat.index).where(wide.notna())
        wide = wide - wide.mean() * (far - far.mean())
    images = drift.drop_duplicates("image").sort_values("image")
    value, low, high = means_with_intervals(wide.to_numpy(), images)
    frame = flat.index.to_frame(index=False).assign(stratum="all", value=value, low=low, high=high)
    return frame.assign(images=wide.count().to_numpy(), degenerate=flat.to_numpy())


def strata(drift: pd.DataFrame, *, metric: str = "rmse") -> pd.DataFrame:
    """`mean_drift` by severity, method and layer for all, prediction-preserved and flipped images."""
    kept = drift["preserved"].astype(bool)
    parts = []
    for stratum, rows in {"all": drift, "preserved": drift[kept], "flipped": drift[~kept]}.items():
        if len(rows):
            means = mean_drift(rows, ("severity", *MAP), metric=metric).assign(stratum=stratum)
            parts.append(means.sort_values("severity", kind="stable"))
    return pd.concat(parts, ignore_index=True)


def drift_by_class(
    drift: pd.DataFrame, classes: Sequence[str], *, method: str, severity: int
) -> pd.DataFrame:
    """`mean_drift` of one method at one severity, normalised, for each corruption, class (``of``) and layer.

    The class is that of the label; "all" where an image has several.
    """
    rows = drift[(drift["severity"] == severity) & (drift["method"] == method)]
    rows = rows.assign(of=rows["label"].map(dict(enumerate(classes))).astype(object).fillna("all"))
    return mean_drift(
        rows.sort_values("label", kind="stable"), ("corruption", "of", "layer"), metric=NORMALISED
    )


def drop_and_drift(scores: pd.DataFrame, mean: pd.DataFrame, *, method: str) -> pd.DataFrame:
    """The AUC drop of each condition (of scores) beside the mean drift of one method: `mean` with drop."""
    auc = scores[(scores["metric"] == "auc") & (scores["class"] == "all") & (scores["severity"] > 0)]
    return auc[[*CONDITION, *ends("drop")]].merge(mean[mean["method"] == method], on=CONDITION)


def verdicts(trust: pd.DataFrame) -> pd.DataFrame:
    """What randomisation says of each method and layer, by a rule fixed beforehand.

    "failed": the interval of the rank correlation lies wholly above 0.5, "passed": wholly at or below,
    "unclear": across; "not testable": every map of a network is degenerate; "too few images": below 5. Judged
    is the network without any trained weight: while lower layers are kept, their activations hold a map in
    place whatever the method (Sixt et al. 2020; Binder et al. 2023; Hedstrom et al. 2024).
    """
    rows = trust[(trust["test"] == "randomisation") & (trust["stage"] == "all")]
    conditions = {
        "not testable": rows["images"] == 0,
        "too few images": rows["images"] < FEWEST,
        "failed": rows["low"] > THRESHOLD,
        "passed": rows["high"] <= THRESHOLD,
    }
    verdict = np.select(list(conditions.values()), list(conditions), "unclear")
    return rows[[*MAP, "value", "low", "high", "images"]].assign(verdict=verdict).reset_index(drop=True)


def failed(trust: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    """The (method, layer) pairs that fail randomisation (`verdicts`): they have no claim to stability."""
    return tuple(verdicts(trust).query("verdict == 'failed'")[MAP].itertuples(index=False, name=None))


def faithfulness_table(trust: pd.DataFrame) -> pd.DataFrame:
    """The rows of `medrob.trust.faithfulness` for a text, judged image by image against a random map.

    above: the paired difference to it, its sign turned for deletion, so that above 0 is better everywhere.
    """
    rows = trust[trust["test"].isin(FAITHFULNESS)].reset_index(drop=True)
    rows = rows[["method", "test", "value", "low", "high", "chance", *ends("above"), "images"]]
    turned = rows["test"].map({test: sign for test, (_, sign) in FAITHFULNESS.items()}) < 0
    rows.loc[turned, ends("above")] = -rows.loc[turned, ["above", "above_high", "above_low"]].to_numpy()
    return rows
