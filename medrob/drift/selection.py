"""Which images are explained, and which class in each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medrob.corruptions import Condition
from medrob.data import ImageDataset

SELECTIONS = ("all", "random", "correct", "wrong")
TARGETS = ("predicted", "label", "own")


def select(
    predictions: pd.DataFrame, *, images: int | Sequence[int] = 0, how: str = "random", seed: int = 0
) -> np.ndarray:
    """Choose the images to explain, as many of each class as there are.

    Args:
        predictions: from `medrob.evaluation.predict_conditions`.
        images: how many of each class (0 = all), or a list of their indices, which is taken as it is.
        how: "random" or "all" = of all images; "correct", "wrong" = of those that the network
            recognises, or not, when clean. Fewer are taken where there are not so many.
        seed: of the draw.

    Returns:
        Sorted indices, int64.

    Raises:
        ValueError: an unknown way, an index outside the images, or nothing to choose from.
    """
    clean = predictions[predictions["corruption"] == "clean"].set_index("image")
    if np.ndim(images) == 1 and how in SELECTIONS:
        chosen = np.unique(np.asarray(images))
        if not len(chosen) or chosen.dtype.kind not in "iu" or not np.isin(chosen, clean.index).all():
            raise ValueError(f"images={images!r}: give indices from 0 to {clean.index.max()}")
        return chosen.astype(np.int64)
    if how not in SELECTIONS or not isinstance(images, (int, np.integer)) or images < 0:
        raise ValueError(
            f"select={how!r}, images={images!r}: select is one of {', '.join(SELECTIONS)}; "
            "images a number of each class (0 = all) or a list of indices"
        )
    group = clean["label"] if "label" in clean else clean["predicted"]
    if how in ("correct", "wrong"):
        if "label" not in clean:
            raise ValueError(f"select={how!r}: a multi-label prediction is not right or wrong as a whole")
        clean = clean[(clean["predicted"] == clean["label"]) == (how == "correct")]
    rng = np.random.default_rng(seed)
    order = rng.permutation(clean.index.to_numpy(copy=True))
    by_class = [order[group.loc[order] == label][: images or None] for label in np.unique(group)]
    chosen = np.sort(np.concatenate(by_class))
    if not len(chosen):
        raise ValueError(f"select={how!r}: there is no such image among the {len(group)} clean ones")
    return chosen.astype(np.int64)


def example(dataset: ImageDataset, chosen: np.ndarray) -> int:
    """One of the chosen images to be shown: the first that is not of the first class, if there is one."""
    other = chosen[dataset.labels[chosen] > 0] if dataset.labels.ndim == 1 else chosen
    return int(other[0] if len(other) else chosen[0])


def targets(target: str | int, dataset: ImageDataset, rows: np.ndarray) -> np.ndarray | None:
    """The class to explain in each of the images with these indices.

    Args:
        target: see `medrob.drift.measure`.

    Returns:
        int64 (rows,); None = the class that the network predicts.

    Raises:
        ValueError: an unknown target; "label" where an image has several labels.
    """
    names = dataset.class_names
    if isinstance(target, int | np.integer) and not isinstance(target, bool) and 0 <= target < len(names):
        target = names[target]
    if target not in (*TARGETS, *names):
        raise ValueError(
            f"target={target!r} is unknown; give one of {', '.join((*TARGETS, *names))}, or the number of a "
            f"class, 0 to {len(names) - 1}"
        )
    if target in ("predicted", "own"):
        return None
    if target != "label":
        return np.full(len(rows), names.index(target), np.int64)
    if dataset.labels.ndim > 1:
        raise ValueError("target='label': an image has several labels here; give the name of one")
    return dataset.labels[rows].astype(np.int64)


def explained_under(
    conditions: Sequence[Condition],
    target: str | int,
    dataset: ImageDataset,
    predictions: pd.DataFrame,
    image: int,
) -> np.ndarray:
    """The class explained in one image under each condition, int64 (conditions,); see `targets`.

    Where it is the predicted class, the table of predictions tells it: with "own" that under each
    condition, else that of the clean image, the same in every row.
    """
    known = targets(target, dataset, np.array([image]))
    if known is not None:
        return np.repeat(known, len(conditions))
    predicted = predictions[predictions["image"] == image].set_index(["corruption", "severity"])["predicted"]
    asked = list(conditions) if target == "own" else [("clean", 0)] * len(conditions)
    return predicted.loc[asked].to_numpy(np.int64)
