"""What is explained: which images, and the class in each."""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

from medrob.corruptions import Condition, examples
from medrob.data import ImageDataset
from medrob.saliency import Explainer


def select(
    predictions: pd.DataFrame, *, images: int | Sequence[int] = 0, how: str = "random", seed: int = 0
) -> np.ndarray:
    """Choose the images to explain: sorted indices, int64.

    `images` is how many of each class (0 = all; fewer where there are not so many), or a list of indices.
    `how`: "random" = of all images; "correct", "wrong" = of those that the network recognises, or not, when
    clean. A ValueError if an index is outside the images, or there is nothing to choose from.
    """
    clean = predictions[predictions["corruption"] == "clean"].set_index("image")
    if np.ndim(images):
        if not np.isin(images, clean.index).all():
            raise ValueError(f"images={images!r}: give indices from 0 to {clean.index.max()}")
        return np.unique(images).astype(np.int64)
    group = clean["label"] if "label" in clean else clean["predicted"]
    if how in ("correct", "wrong"):
        if "label" not in clean:
            raise ValueError(f"select={how!r}: a multi-label prediction is not right or wrong as a whole")
        clean = clean[(clean["predicted"] == clean["label"]) == (how == "correct")]
    if clean.empty:
        raise ValueError(f"select={how!r}: there is no such image among the {len(group)} clean ones")
    order = np.random.default_rng(seed).permutation(clean.index.to_numpy(copy=True))
    by_class = [order[group.loc[order] == label][: images or None] for label in np.unique(group)]
    return np.sort(np.concatenate(by_class)).astype(np.int64)


def example(dataset: ImageDataset, chosen: np.ndarray) -> int:
    """One of the chosen images to be shown: the first that is not of the first class, if there is one."""
    other = chosen[dataset.labels[chosen] > 0] if dataset.labels.ndim == 1 else chosen
    return int(other[0] if len(other) else chosen[0])


def targets(target: str, dataset: ImageDataset, rows: np.ndarray) -> np.ndarray | None:
    """The class to explain, see `measure`, in each of the images, int64 (rows,); None = that predicted."""
    names = dataset.class_names
    if target == "predicted":
        return None
    if target == "label":
        if dataset.labels.ndim > 1:
            raise ValueError("target='label': an image has several labels here; give the name of one")
        return dataset.labels[rows].astype(np.int64)
    if target not in names:
        known = ", ".join(("predicted", "label", *names))
        raise ValueError(f"target={target!r} is unknown; give one of {known}")
    return np.full(len(rows), names.index(target), np.int64)


def one_image(
    explainer: Explainer, dataset: ImageDataset, image: int, conditions: Sequence[Condition], *,
    target: str, seed: int,
) -> SimpleNamespace:  # fmt: skip
    """The image at that place under R conditions, explained by the first method at every layer.

    It has pictures, uint8 (R, H, W, C); maps, ``{(method, layer): (R, h, w)}``, raw; logits, (R, classes);
    target, the number of the class explained, and its name; mask, bool (H, W) or None. The noise of a method
    is that of the image's place, as in `measure`.
    """
    pictures = np.stack(list(examples(dataset.images, image, conditions, seed=seed).values()))
    known = targets(target, dataset, np.array([image]))
    number = int(explainer.classes(dataset.images[[image]], known))
    index, classes = np.full(len(pictures), image), torch.full((len(pictures),), number)
    raw, logits = explainer.only(methods=explainer.methods[:1]).maps(pictures, index, classes)
    maps = {key: values.float().cpu().numpy() for key, values in raw.items()}
    mask, name = None if dataset.masks is None else dataset.masks[image], dataset.class_names[number]
    about = dict(target=number, name=name, mask=mask, logits=logits.float().cpu())
    return SimpleNamespace(pictures=pictures, maps=maps, **about)
