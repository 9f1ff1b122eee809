"""An alarm that needs no clean picture: how steady is the map of this one under small, known changes?"""

import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medrob.corruptions import SEVERITIES, grid
from medrob.corruptions import apply_condition as corrupted
from medrob.data import ImageDataset
from medrob.drift.measurement import PreparedMaps, compare
from medrob.evaluation import task_of
from medrob.machine import bar
from medrob.models import activate
from medrob.saliency import Explainer

NOISE = 3.0  # grey levels, standard deviation
FLATTER = 0.95  # what is left of the contrast
TRAINING_IMAGES = 2000  # at most so many are the neighbours
Change = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _flatter(images: np.ndarray, noise: np.ndarray) -> np.ndarray:
    mean = images.mean((1, 2, 3), keepdims=True, dtype=np.float64)
    return mean + FLATTER * (images - mean)


FLIP = "flip"  # the one whose map is turned back; a shift by one pixel is less than a position of most maps
# Each takes uint8 images (N, H, W, C), and standard normal noise, to grey levels of the same shape. To add
# one, enter its function here.
CHANGES: dict[str, Change] = {
    "noise": lambda images, noise: images + NOISE * noise,
    "shift": lambda images, _: np.pad(images, ((0, 0), (0, 0), (1, 0), (0, 0)), "edge")[:, :, :-1],
    FLIP: lambda images, _: images[:, :, ::-1],
    "contrast": _flatter,
}


def steadiness(
    explainer: Explainer, dataset: ImageDataset, corruptions: Sequence[str], images: np.ndarray,
    training: np.ndarray, *, changes: Sequence[str], seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """What can be known of a picture without a clean copy: of clean ones and at the highest severity.

    The map of the class predicted for the picture is compared with the maps of the same class after each of
    `changes`. `explainer` has one method and layer, `images` are indices, `training` uint8 (N, H, W, C).

    Returns:
        A row per image and condition: image, corruption, severity; passes: maps that are made; unsteady:
        mean RMSE of the min-max maps, 1 where one is degenerate; vanished: whether the picture's own is. Of
        the probabilities under the very same changes: variance (sum over classes), averaged (1 - the highest
        mean probability; Ayhan & Berens 2018). Of the picture alone: energy (-log sum exp of the logits; Liu
        et al. 2020), distance (Euclidean, of unit features before the head, to the k-th nearest of at most
        2,000 training images, k one thousandth of them; Sun et al. 2022), NaN for a network without a linear
        head.
    """
    task, (key,) = task_of(explainer.model, dataset.task), explainer.pairs
    some = np.sort(np.random.default_rng(seed).permutation(len(training))[:TRAINING_IMAGES])
    conditions = [condition for condition in grid(corruptions) if condition[1] in (0, max(SEVERITIES))]
    rows = []
    features: list[Tensor] = []
    progress = bar(total=len(images) * len(conditions), desc="steadiness", unit="image")
    with _watch(explainer.model, features):
        explainer.classes(training[some], None)
        known = torch.cat(features) if features else None
        for condition, batch in itertools.product(conditions, explainer.batches(len(images))):
            index = images[batch]
            pictures = corrupted(dataset.images[index], condition, seed=seed, index=index)
            features.clear()  # the first pass of the maps is that of the pictures as they are
            maps, logits = explainer.maps(pictures, index)
            distance: Any = np.float32(np.nan)
            if known is not None:
                nearest = torch.cdist(features[0], known).kthvalue(max(1, len(known) // 1000), dim=1)
                distance = nearest.values.cpu().numpy()
            energy = -logits.logsumexp(1).cpu().numpy()
            classes, clean = logits.argmax(1), PreparedMaps(maps[key])
            moved, all_p = [], [activate(logits.float(), task)]
            shape = pictures.shape[1:]  # an image has the same noise in every batch and condition
            noise = np.stack([np.random.default_rng((seed, i)).standard_normal(shape) for i in index])
            for change in changes:
                changed = np.clip(np.rint(CHANGES[change](pictures, noise)), 0, 255).astype(np.uint8)
                maps, logits = explainer.maps(changed, index, classes)
                back = maps[key].flip(-1) if change == FLIP else maps[key]
                moved.append(np.nan_to_num(compare(clean, back, ["rmse"])["rmse"], nan=1.0))
                all_p.append(activate(logits.float(), task))
            p = torch.stack(all_p).cpu().numpy()
            row = {"image": index, "corruption": condition[0], "severity": condition[1]}
            row |= {"passes": 1 + len(changes), "distance": distance, "energy": energy}
            row |= {"unsteady": np.mean(moved, axis=0), "vanished": clean.degenerate.cpu().numpy()}
            row |= {"variance": p.var(0).sum(1), "averaged": 1 - p.mean(0).max(1)}
            rows.append(pd.DataFrame(row))
            progress.update(len(batch))
    progress.close()
    return pd.concat(rows, ignore_index=True)


def _watch(model: nn.Module, features: list[Tensor]) -> contextlib.AbstractContextManager:
    """Add to the list what goes into the last linear layer, the head; nothing, if there is none."""

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].ndim == 2:
            features.append(F.normalize(inputs[0].detach().float()))

    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return linear[-1].register_forward_pre_hook(keep) if linear else contextlib.nullcontext()
