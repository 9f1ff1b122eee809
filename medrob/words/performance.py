"""What predictions and scores say: skill, loss, calibration, errors. The sentences of notebook 03."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob.evaluation import ERROR_NAMES, require_scores
from medrob.words.phrases import corruption, count, finding, name, number, side, text

NO_INTERVALS = "No intervals were asked for, so it cannot be said what chance explains."
CHANCE = 0.5  # AUC of a network that knows nothing
ALEXNET_SIZE, ALEXNET_SUITE = 224, "medmnist-c"  # of the figures of Di Salvo et al. (2024)


def predictions(predictions: pd.DataFrame) -> str:
    """How many predictions there are."""
    conditions = count(len(predictions[["corruption", "severity"]].drop_duplicates()), "condition")
    images = count(predictions["image"].nunique(), "image")
    return f"There are {count(len(predictions), 'prediction')}: of {images} under {conditions}."


def temperature(fitted: float, *, used: bool) -> str:
    """The temperature that calibrates the network (Guo et al. 2017)."""
    below = "It is used below." if used else "It is not used below."
    return f"The fitted temperature is {fitted:.2f} (above 1, the network is too sure). {below}"


def scores(scores: pd.DataFrame) -> str:
    """Has the network skill to lose, where does it lose most, and is the loss larger than chance?"""
    clean, corrupted = _clean_and_corrupted(scores, "auc")
    if not np.isfinite(clean["value"]):
        return "The AUC is not defined: a class has no image, or all images are of one."
    value, worst, end = number(finding(clean), ".3f").replace("(", "(95 % interval "), "", ""
    begin = f"The AUC on clean images is {value}."
    if clean["low"] <= CHANCE:
        return text(begin, "It is not shown to be above chance: no skill to lose, and no drop means much.")
    drops = corrupted[corrupted["drop"].notna()]
    if len(drops):
        row, total = drops.loc[drops["drop"].idxmax()], count(len(drops), "condition")
        under = f"{corruption(row['corruption'])} at severity {row['severity']}"
        worst = f"It drops most under {under}, by {number(finding(row, 'drop'), '.3f')}."
        lost, gained = (drops["drop_low"] > 0).sum(), (drops["drop_high"] < 0).sum()
        raised = f" and higher under {gained}" if gained else ""
        end = f"It is lower under {lost} of {total}{raised} by more than the sample of images explains "
        end += "(each interval is judged by itself)."
    return text(begin, worst, end if np.isfinite([clean["low"], clean["high"]]).all() else NO_INTERVALS)


def _clean_and_corrupted(scores: pd.DataFrame, metric: str) -> tuple[pd.Series, pd.DataFrame]:
    """The rows of a metric over all classes; a ValueError if a column or the clean value is missing."""
    require_scores(scores, ["value", "low", "high", "drop", "drop_low", "drop_high"], metric)
    rows = scores[(scores["class"] == "all") & (scores["metric"] == metric)]
    return rows[rows["severity"] == 0].iloc[0], rows[rows["severity"] > 0]


def calibration(scores: pd.DataFrame) -> str:
    """Does the calibration error grow, as a mean over the corruptions at the highest severity?"""
    clean, corrupted = _clean_and_corrupted(scores, "ece")
    begin = f"The calibration error (ECE) is {clean['value']:.3f} on clean images"
    if corrupted.empty:
        return f"{begin}."
    worst = corrupted[corrupted["severity"] == corrupted["severity"].max()]
    mean = f"{worst['value'].mean():.3f} at severity {worst['severity'].max()}"
    begin += f" and {mean} (mean over {count(len(worst), 'corruption')})."
    # A drop is clean minus corrupted: where the whole interval is below 0, the error has grown.
    more, less = (worst["drop_high"] < 0).sum(), (worst["drop_low"] > 0).sum()
    rest = f"lower under {less} and not shown to differ under {len(worst) - more - less}"
    bounded = worst[["drop_low", "drop_high"]].notna().any(axis=None)
    return text(begin, f"It is higher than clean under {more} of them, {rest}." if bounded else NO_INTERVALS)


def errors(
    errors: pd.DataFrame | None,
    reference: str,
    *,
    size: int = ALEXNET_SIZE,
    suite: str | list[str] = ALEXNET_SUITE,
) -> str:
    """The errors under corruption (None: an image has several labels) beside those of the reference.

    Size and suite are those of the run: the text warns where AlexNet's figures are of others.
    """
    if errors is None:
        return "An image has several labels here: corruption errors, which need one, are not defined."
    mean, note = errors[errors["corruption"] == "mean"], ""
    bare = mean["value"].notna().any() and mean["low"].isna().all()
    elsewhere = "Name a run on the same data as the reference"
    if set(mean["metric"]) == {"excess"}:
        note = f"{name(reference)} has no figures for this data set. "
        note += f"{elsewhere} for mCE, relative mCE, BE and rBE."
    elif reference == "alexnet" and (size, str(suite).split(":")[0]) != (ALEXNET_SIZE, ALEXNET_SUITE):
        theirs = f"AlexNet's figures are for {ALEXNET_SIZE} px and the suite {ALEXNET_SUITE}"
        note = f"This is not like with like: {theirs}, this run has {size} px and the suite {name(suite)}. "
        note += f"{elsewhere}."
    return text([_error(row) for row in mean.to_dict("records")], NO_INTERVALS if bare else "", note)


def _error(row: dict) -> str:
    """One mean error, and how it stands to the reference, whose own is 1."""
    found, verdict = finding(row), ""
    if row["metric"] != "excess" and np.isfinite(found.low):
        verdict = side(found, ": worse than", ": better than", ": not shown to differ from", chance=1)
        verdict += " the reference"
    lost = f" ({row['left_out']})" if row["left_out"] else ""
    return f"{ERROR_NAMES[row['metric']]} is {number(found, '.3f')}{verdict}{lost}."


def error_title(errors: pd.DataFrame, reference: str) -> str:
    """The caption of the table of errors, which names the reference only where something is compared."""
    compared = set(errors["metric"]) != {"excess"}
    how = f"relative to those of {reference}" if compared else "balanced error minus that of clean images"
    return f"Errors under corruption: {how}."
