"""What the scores say in words, and the numbers of them that a text quotes."""

from __future__ import annotations

import numpy as np
import pandas as pd

CHANCE = 0.5  # AUC of a network that knows nothing
ALEXNET_SIZE, ALEXNET_SUITE = 224, "medmnist-c"  # of the figures of Di Salvo et al. (2024)
RATIO_NAMES = {"ce": "mCE", "relative ce": "relative mCE", "be": "BE", "rbe": "rBE", "excess": "excess"}


def say_scores(scores: pd.DataFrame) -> str:
    """In words: has the network skill to lose, where does it lose most, is the loss larger than chance?

    Args:
        scores: from `score`.
    """
    rows = scores[(scores["metric"] == "auc") & (scores["class"] == "all")]
    clean, dirty = rows[rows["severity"] == 0].iloc[0], rows[rows["severity"] > 0]
    if not np.isfinite(clean["value"]):
        return "The AUC is not defined: a class has no image, or all images are of one."
    lines = [f"Clean AUC {clean['value']:.3f} (95 % interval {clean['low']:.3f} to {clean['high']:.3f})."]
    if clean["low"] <= CHANCE:
        return f"{lines[0]} It is not shown to be above chance: no skill to lose, and no drop means much."
    dirty = dirty[dirty["drop"].notna()]
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


def say_calibration(scores: pd.DataFrame) -> str:
    """In words: does the calibration error grow, mean over the corruptions at the highest severity?

    Args:
        scores: from `score`.
    """
    rows = scores[(scores["metric"] == "ece") & (scores["class"] == "all")]
    clean, worst = rows[rows["severity"] == 0].iloc[0], rows[rows["severity"] == rows["severity"].max()]
    more, less = (worst["drop_high"] < 0).sum(), (worst["drop_low"] > 0).sum()
    return (
        f"ECE: {clean['value']:.3f} clean, {worst['value'].mean():.3f} at severity "
        f"{worst['severity'].iloc[0]} (mean over {len(worst)} corruptions); higher than clean under {more} "
        f"of them, lower under {less}, "
        f"not shown to differ under {len(worst) - more - less}."
    )


def say_errors(
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
        if metric != "excess":
            side = "worse than the reference" if row["low"] > 1 else "not shown to differ from the reference"
            side = f": {'better than the reference' if row['high'] < 1 else side}"
        lines.append(f"{name} {row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f}){side}{lost}.")
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


def numbers(scores: pd.DataFrame, errors: pd.DataFrame | None) -> pd.DataFrame:
    """The scores that a text quotes: name, value, low, high, what (in words).

    Args:
        scores: from `score`. errors: from `corruption_errors`, or None.
    """
    rows = []
    every = scores[scores["class"] == "all"]
    for row in every[every["severity"] == 0].to_dict("records"):
        if row["metric"] != "auc":  # that of `medrob.analysis.summary`
            name = f"clean {row['metric'].replace('_', ' ')}"
            rows.append(
                (
                    name,
                    row["value"],
                    row["low"],
                    row["high"],
                    f"{row['metric'].replace('_', ' ')} on clean images",
                )
            )
    for row in every[(every["severity"] > 0) & (every["metric"] == "auc")].to_dict("records"):
        at, where = (
            f"{row['corruption']} {row['severity']}",
            f"{row['corruption'].replace('_', ' ')}, severity {row['severity']}",
        )
        rows.append((f"auc {at}", row["value"], row["low"], row["high"], f"AUC under {where}"))
        rows.append((f"drop {at}", row["drop"], row["drop_low"], row["drop_high"], f"AUC drop under {where}"))
    if errors is not None:
        for row in errors[errors["corruption"] == "mean"].to_dict("records"):
            name = (
                f"mean {RATIO_NAMES[row['metric']]}"
                if row["metric"] == "excess"
                else RATIO_NAMES[row["metric"]]
            )
            what = f"{name} over the corruptions"
            rows.append((name, row["value"], row["low"], row["high"], what))
    return pd.DataFrame(rows, columns=["name", "value", "low", "high", "what"])
