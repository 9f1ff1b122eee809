"""What the scores say in words, and the numbers of them that a text quotes."""

from __future__ import annotations

import pandas as pd

from medrob.check import require

DROP = ("drop", "drop_low", "drop_high")
RATIO_NAMES = {"ce": "mCE", "relative ce": "relative mCE", "be": "BE", "rbe": "rBE", "excess": "excess"}


def numbers(scores: pd.DataFrame, errors: pd.DataFrame | None) -> pd.DataFrame:
    """The scores that a text quotes: name, value, low, high, what (in words).

    Args:
        scores: from `score`. errors: from `corruption_errors`, or None.

    Raises:
        ValueError: scores without a column.
    """
    require(scores, ["corruption", "severity", "class", "metric", "value", "low", "high", *DROP], "scores")
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
