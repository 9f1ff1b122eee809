"""What the scores say: skill, loss under corruption, calibration and corruption errors."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob.check import require
from medrob.evaluation import require_scores
from medrob.evaluation.report import DROP, RATIO_NAMES

NO_INTERVALS = "No intervals were asked for"
CHANCE = 0.5  # AUC of a network that knows nothing
ALEXNET_SIZE, ALEXNET_SUITE = 224, "medmnist-c"  # of the figures of Di Salvo et al. (2024)


def scores(scores: pd.DataFrame) -> str:
    """In words: has the network skill to lose, where does it lose most, is the loss larger than chance?

    Args:
        scores: from `score`.

    Raises:
        ValueError: scores without a column, or without the clean value.
    """
    rows = _overall(scores, "auc")
    clean, dirty = rows[rows["severity"] == 0].iloc[0], rows[rows["severity"] > 0]
    if not np.isfinite(clean["value"]):
        return "The AUC is not defined: a class has no image, or all images are of one."
    dirty = dirty[dirty["drop"].notna()]
    if not np.isfinite([clean["low"], clean["high"]]).all():
        return _bare_scores(clean, dirty)
    lines = [f"Clean AUC {clean['value']:.3f} (95 % interval {clean['low']:.3f} to {clean['high']:.3f})."]
    if clean["low"] <= CHANCE:
        return f"{lines[0]} It is not shown to be above chance: no skill to lose, and no drop means much."
    if dirty.empty:
        return lines[0]
    worst = dirty.loc[dirty["drop"].idxmax()]
    lost, gained = (dirty["drop_low"] > 0).sum(), (dirty["drop_high"] < 0).sum()
    lines.append(
        f"Largest drop: {worst['corruption']} at severity {worst['severity']}, {worst['drop']:.3f} "
        f"({worst['drop_low']:.3f} to {worst['drop_high']:.3f})."
    )
    lines.append(
        f"{lost} of {len(dirty)} conditions lower the AUC by more than the sample of images explains"
        f"{f', {gained} raise it' if gained else ''} (each interval for itself)."
    )
    return "\n".join(lines)


def _bare_scores(clean: pd.Series, dirty: pd.DataFrame) -> str:
    """The scores in words where they have no intervals."""
    lines = [f"Clean AUC {clean['value']:.3f}."]
    if len(dirty):
        worst = dirty.loc[dirty["drop"].idxmax()]
        lines.append(
            f"Largest drop: {worst['corruption']} at severity {worst['severity']}, {worst['drop']:.3f}."
        )
    return "\n".join([*lines, f"{NO_INTERVALS}: what chance explains cannot be said."])


def _overall(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of a metric over all classes; a ValueError if a column or the clean value is missing."""
    require(scores, ["class"], "scores")
    rows = scores[scores["class"] == "all"]
    require_scores(rows, ["value", "low", "high", *DROP], metric)
    return rows[rows["metric"] == metric]


def calibration(scores: pd.DataFrame) -> str:
    """In words: does the calibration error grow, mean over the corruptions at the highest severity?

    Args:
        scores: from `score`.

    Raises:
        ValueError: scores without a column, or without the clean value.
    """
    rows = _overall(scores, "ece")
    clean, worst = rows[rows["severity"] == 0].iloc[0], rows[rows["severity"] == rows["severity"].max()]
    if worst["severity"].iloc[0] == 0:
        return f"ECE: {clean['value']:.3f} clean."
    told = (
        f"ECE: {clean['value']:.3f} clean, {worst['value'].mean():.3f} at severity "
        f"{worst['severity'].iloc[0]} (mean over {len(worst)} corruptions)"
    )
    if worst[["drop_low", "drop_high"]].isna().all(axis=None):
        return f"{told}. {NO_INTERVALS}: what chance explains cannot be said."
    more, less = (worst["drop_high"] < 0).sum(), (worst["drop_low"] > 0).sum()
    return (
        f"{told}; higher than clean under {more} of them, lower under {less}, "
        f"not shown to differ under {len(worst) - more - less}."
    )


def errors(
    errors: pd.DataFrame | None, reference: str, *, size: int = ALEXNET_SIZE, suite: str = ALEXNET_SUITE
) -> str:
    """In words: the errors under corruption, beside those of the reference.

    Args:
        errors: from `corruption_errors`; None where an image has several labels.
        reference: its name.
        size, suite: the pixels an edge and the corruptions of the run. Where they are not those of the
            figures of "alexnet", the text warns.
    """
    if errors is None:
        return "An image has several labels here: corruption errors, which need one, are not defined."
    mean = errors[errors["corruption"] == "mean"].set_index("metric")
    lines = []
    for metric, row in mean.iterrows():
        name = RATIO_NAMES[str(metric)]
        lost = f" ({row['left_out']})" if row["left_out"] else ""
        if not np.isfinite(row["value"]):
            lines.append(f"{name}: not defined{lost}.")
            continue
        side = ""
        if metric != "excess" and np.isfinite(row["low"]):
            side = "worse than the reference" if row["low"] > 1 else "not shown to differ from the reference"
            side = f": {'better than the reference' if row['high'] < 1 else side}"
        ends = f" ({row['low']:.3f} to {row['high']:.3f})" if np.isfinite(row["low"]) else ""
        lines.append(f"{name} {row['value']:.3f}{ends}{side}{lost}.")
    if mean["value"].notna().any() and mean["low"].isna().all():
        lines.append(f"{NO_INTERVALS}.")
    if set(mean.index) == {"excess"}:
        lines.append(
            f"{reference} has no figures for this data set: name a run on the same data as the reference for "
            "mCE, relative mCE, BE and rBE."
        )
    elif reference == "alexnet" and (size, suite.split(":")[0]) != (ALEXNET_SIZE, ALEXNET_SUITE):
        lines.append(
            f"Not like with like: AlexNet's figures are for {ALEXNET_SIZE} px and the suite {ALEXNET_SUITE}, "
            f"this run has {size} px and the suite {suite}. Name a run on the same data as the reference."
        )
    return "\n".join(lines)


def error_title(errors: pd.DataFrame, reference: str) -> str:
    """The caption of the table of errors, which names the reference only where something is compared with it.

    Args:
        errors: from `corruption_errors`. reference: its name.
    """
    compared = set(errors["metric"]) != {"excess"}
    told = f"relative to those of {reference}" if compared else "balanced error less that of clean images"
    return f"Errors under corruption: {told}."
