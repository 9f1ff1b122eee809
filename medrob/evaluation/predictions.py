"""What a table of predictions must hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medrob.check import require, require_numbers

NEAR = 1e-3  # how far from 1 the sum of the probabilities may be


def require_scores(scores: pd.DataFrame, columns: Sequence[str], metric: str) -> None:
    """Raise a ValueError unless the scores have these columns and the metric, also clean, for each class."""
    require(scores, ["corruption", "severity", "class", "metric", *columns], "scores")
    rows = scores[scores["metric"] == metric]
    if rows.empty:
        known = ", ".join(map(str, dict.fromkeys(scores["metric"])))
        raise ValueError(f"the table scores has no rows of the metric {metric}; it has {known or 'no rows'}")
    clean = set(rows.loc[rows["severity"] == 0, "class"])
    if lacking := [str(name) for name in dict.fromkeys(rows["class"]) if name not in clean]:
        raise ValueError(
            f"the table scores has no {metric} of the condition ('clean', 0) for the class "
            f"{', '.join(lacking)}"
        )


def class_names(predictions: pd.DataFrame, *, also: Sequence[str] = ()) -> tuple[str, ...]:
    """The classes of a table of predictions, in their order: its columns ``p_<class>`` without the ``p_``.

    Args:
        predictions: from `predict_conditions`; with the column label, or, where an image has several labels,
            with ``label_<class>`` for each class.
        also: further columns that must be there.

    Raises:
        ValueError: a column is missing, or it does not hold what it should: probabilities that sum to 1 (of
            one label an image), numbers of the classes.
    """
    require(predictions, ["image", "corruption", "severity", *also], "predictions")
    columns = [str(c) for c in predictions if str(c).startswith("p_")]
    names = tuple(column.removeprefix("p_") for column in columns)
    require(predictions, columns or ["p_<class>"], "predictions")
    require_numbers(predictions, columns, "predictions")
    if "label" not in predictions:
        _require_labels(predictions, names)
    elif len(predictions) and len(names) > 1:
        off = np.abs(predictions[columns].to_numpy(float).sum(1) - 1)
        if off.max() > NEAR:
            image = predictions["image"].iloc[off.argmax()]
            raise ValueError(
                f"the columns {', '.join(columns)} of the table predictions do not sum to 1 (image {image}); "
                "a column that is not the probability of a class must not begin with p_"
            )
    for column in ("label", "predicted"):
        if column in predictions and len(predictions):
            require_numbers(predictions, [column], "predictions")
            low, high = predictions[column].min(), predictions[column].max()
            if not 0 <= low <= high < len(names):
                raise ValueError(
                    f"column {column} of the table predictions runs from {low} to {high}; the classes are 0 "
                    f"to {len(names) - 1} ({', '.join(names)})"
                )
    return names


def _require_labels(predictions: pd.DataFrame, names: Sequence[str]) -> None:
    lacking = [f"label_{name}" for name in names if f"label_{name}" not in predictions]
    if len(lacking) == len(names):
        raise ValueError(
            "the table predictions lacks label (or label_<class> for each class, where an image has "
            f"several); it has {', '.join(map(str, predictions.columns))}"
        )
    if lacking:
        raise ValueError(
            f"the table predictions lacks {', '.join(lacking)}: each p_<class> needs its label_<class>"
        )
