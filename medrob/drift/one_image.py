"""One image under several conditions, and its maps: the intuition before the whole test set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medrob.corruptions import Condition, examples
from medrob.data import ImageDataset
from medrob.drift.explainer import Explainer, Key
from medrob.drift.selection import explained_under


@dataclass(frozen=True)
class OneImage:
    """An image under R conditions.

    Attributes:
        conditions: (corruption, severity), R of them.
        pictures: uint8 (R, H, W, C). maps: ``{(method, layer): (R, h, w)}``, raw.
        targets: the class explained in each, int64 (R,). classes: the names of those that differ.
        mask: bool (H, W), where the lesion is; None = not known.
    """

    conditions: list[Condition]
    pictures: np.ndarray
    maps: dict[Key, np.ndarray]
    targets: np.ndarray
    classes: list[str]
    mask: np.ndarray | None


def one_image(
    explainer: Explainer, dataset: ImageDataset, predictions: pd.DataFrame, image: int,
    conditions: Sequence[Condition], *, target: str | int, seed: int,
) -> OneImage:  # fmt: skip
    """An image of a data set under conditions, explained by the first method at every layer.

    Args:
        image: its place in the data set.
        target: see `medrob.drift.measure`. seed: of the corruptions.
    """
    pictures = np.stack(list(examples(dataset.images, image, conditions, seed=seed).values()))
    targets = explained_under(conditions, target, dataset, predictions, image)
    maps = explainer.only(methods=explainer.methods[:1]).explain(pictures, targets)
    classes = [dataset.class_names[c] for c in (targets if target == "own" else targets[:1])]
    mask = None if dataset.masks is None else dataset.masks[image]
    return OneImage(list(conditions), pictures, maps, targets, classes, mask)
