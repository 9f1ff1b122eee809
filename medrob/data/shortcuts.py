"""Shortcuts: what tells the classes of a set apart, and is not in the pictures' content."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

COMMON = 0.05  # of the images have a value that is looked at
APART = 0.5  # how much more often a class has it, or 2 AUC - 1 of a number; and three standard errors


def shortcuts(
    traits: pd.DataFrame, labels: np.ndarray, names: Sequence[str], always: str = ""
) -> Iterator[str]:
    """A sentence for each trait, a column with a row an image, in which a class differs from the others.

    Numbers are compared by their ranks (Somers' D), texts by how often a value occurs, which is the same of
    zeros and ones. One trait may be told whenever it is not the same in all images.
    """
    hot = np.asarray(labels if labels.ndim == 2 else labels[:, None] == np.arange(len(names)), float)
    inside, total = hot.sum(0), len(hot)
    outside = total - inside
    names, hot = [*np.array(names)[inside * outside > 0]], hot[:, inside * outside > 0]
    inside, outside = hot.sum(0)[:, None], (1 - hot).sum(0)[:, None]
    least = np.maximum(APART, np.sqrt(3 * (total + 1) / (inside * outside)))
    for trait, values in traits.items():
        numbers = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
        if numbers and (values.diff()[1:] == 1).all():
            continue  # the number of the row
        values = values if numbers else values.astype(str)
        common = values.value_counts(normalize=True).loc[lambda share: share >= COMMON].index
        columns = pd.DataFrame({"": values} if numbers else {value: values == value for value in common})
        ranks = columns.rank().fillna((total + 1) / 2).to_numpy().reshape(total, -1)
        apart = 2 / total * np.abs(hot.T @ ranks / inside - (1 - hot.T) @ ranks / outside)
        if (tells := (apart > least).any()) or (trait == always and values.nunique() > 1):
            first = np.argsort(-apart.max(1, initial=0), kind="stable")[:5]
            found = [values[hot[:, k] > 0] for k in sorted(first)]
            most = [f"median {held.median():.4g}" if numbers else _most(held) for held in found]
            by_class = "; ".join(f"{names[k]}: {text}" for k, text in zip(sorted(first), most, strict=True))
            auc = 0.5 + apart.max(initial=0) / 2
            told = f": it alone tells a class from the others with an AUC of {auc:.2f}"
            yield f"{trait} differs{told if tells else ' from image to image'}. {by_class}"


def _most(values: pd.Series) -> str:
    """The most frequent values, and how often they are."""
    return ", ".join(f"{value} in {count}" for value, count in values.value_counts().head(3).items())
