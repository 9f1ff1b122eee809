"""The scores that the text of a thesis quotes."""

from __future__ import annotations

import pandas as pd

from medrob.check import require
from medrob.evaluation.robustness import ERROR_NAMES


def numbers(scores: pd.DataFrame, errors: pd.DataFrame | None) -> pd.DataFrame:
    """The scores that a text quotes: name, value, low, high, what (in words).

    Args:
        scores: from `score`. errors: from `corruption_errors`, or None.

    Raises:
        ValueError: scores without a column.
    """
    ends, drop = ["value", "low", "high"], ["drop", "drop_low", "drop_high"]
    require(scores, ["corruption", "severity", "class", "metric", *ends, *drop], "scores")
    rows = []
    overall = scores[scores["class"] == "all"]
    # The clean AUC is missing on purpose: `medrob.analysis.summary` has it.
    for row in overall.query("severity == 0 and metric != 'auc'").to_dict("records"):
        metric = row["metric"].replace("_", " ")
        rows.append((f"clean {metric}", *(row[c] for c in ends), f"{metric} on clean images"))
    for row in overall.query("severity > 0 and metric == 'auc'").to_dict("records"):
        condition = f"{row['corruption']} {row['severity']}"
        where = f"{row['corruption'].replace('_', ' ')}, severity {row['severity']}"
        rows.append((f"auc {condition}", *(row[c] for c in ends), f"AUC under {where}"))
        rows.append((f"drop {condition}", *(row[c] for c in drop), f"AUC drop under {where}"))
    if errors is not None:
        for row in errors[errors["corruption"] == "mean"].to_dict("records"):
            name = ERROR_NAMES[row["metric"]]
            name = f"mean {name}" if name == "excess" else name
            rows.append((name, *(row[c] for c in ends), f"{name} over the corruptions"))
    return pd.DataFrame(rows, columns=["name", *ends, "what"])
