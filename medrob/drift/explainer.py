"""What is explained, and how: a network and its methods, the images, the class in each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from medrob import saliency
from medrob.config import Heatmaps
from medrob.corruptions import Condition, examples
from medrob.data import ImageDataset
from medrob.evaluation import predict
from medrob.models import evaluating, named_layers, place
from medrob.saliency import Settings, attribute

Key = tuple[str, str]  # method, layer


@dataclass(frozen=True)
class Explainer:
    """A network, whose modes and gradients are left as found, and how its maps are made.

    `layers` None = `medrob.models.cam_layers`, afterwards a list; `device` None = where the model is.
    """

    model: nn.Module
    methods: Sequence[str]
    layers: Sequence[str] | str | None = None
    settings: Settings = Settings()
    batch_size: int = 64
    device: Any = None

    def __post_init__(self) -> None:
        layers = saliency.layers_for(self.model, self.methods, self.layers)
        object.__setattr__(self, "methods", saliency.check_methods(self.methods))
        object.__setattr__(self, "layers", list(layers))
        object.__setattr__(self, "device", saliency.device_of(self.model, self.device))

    @classmethod
    def of(cls, model: nn.Module, choice: Heatmaps) -> Self:
        """The one that the parameters of notebook 04 choose."""
        settings = Settings(seed=choice.seed, samples=choice.samples, channels=choice.channels)
        return cls(model, choice.methods, choice.layers, settings, choice.batch_size, choice.device)

    def only(self, methods: Sequence[str] | None = None, layers: Sequence[str] | None = None) -> Self:
        """The same with some of the methods, or some of the layers; None = all."""
        return replace(self, methods=methods or self.methods, layers=layers or self.layers)

    @property
    def pairs(self) -> list[Key]:
        """Every method with each of its layers, in the order of their maps."""
        return [(m, layer) for m in self.methods for layer in saliency.layers_of(m, self.layers or ())]

    def batches(self, n: int) -> list[np.ndarray]:
        """Indices of n images, a batch at a time."""
        return np.split(np.arange(n), range(self.batch_size, n, self.batch_size))

    def input(self, images: np.ndarray) -> Tensor:
        """The images, uint8 (N, H, W, C), as uint8 (N, C, H, W) on the device."""
        return torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)

    def maps(
        self, images: np.ndarray, index: np.ndarray, targets: Tensor | None = None
    ) -> tuple[dict[Key, Tensor], Tensor]:
        """Raw maps of one batch, ``{(method, layer): (N, h, w)}``, and the logits, on the device.

        `index` is the place of each image in the data set: its noise is that of its corrupted copies.
        `targets`, int64 (N,), are the classes explained; None = the predicted ones.
        """
        modules = named_layers(self.model)  # checked once, when it was made
        layers = {layer: modules[layer] for layer in self.layers or ()}
        what = self.model, self.input(images), self.methods, layers, targets
        with evaluating(place(self.model, self.device)):
            return attribute(*what, settings=self.settings, index=index)

    def explain(self, images: np.ndarray, targets: np.ndarray | int | None = None) -> dict[Key, np.ndarray]:
        """Raw maps of any number of images, see `medrob.saliency.explain`."""
        return saliency.explain(
            self.model, images, methods=self.methods, layers=self.layers, targets=targets,
            settings=self.settings, batch_size=self.batch_size, device=self.device,
        )  # fmt: skip

    def classes(self, images: np.ndarray, targets: np.ndarray | int | None) -> Tensor:
        """The class explained in each image, int64 (N,) on the device; None = the predicted ones."""
        if targets is None:
            targets = predict(self.model, images, batch_size=self.batch_size, device=self.device).argmax(1)
        classes = np.broadcast_to(targets, len(images)).astype(np.int64)
        return torch.from_numpy(classes).to(self.device)


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

    It has pictures, uint8 (R, H, W, C); maps, ``{(method, layer): (R, h, w)}``, raw; target, the number of
    the class explained, and its name; mask, bool (H, W) or None.
    """
    pictures = np.stack(list(examples(dataset.images, image, conditions, seed=seed).values()))
    known = targets(target, dataset, np.array([image]))
    number = int(explainer.classes(dataset.images[[image]], known))
    maps = explainer.only(methods=explainer.methods[:1]).explain(pictures, number)
    mask, name = None if dataset.masks is None else dataset.masks[image], dataset.class_names[number]
    return SimpleNamespace(pictures=pictures, maps=maps, target=number, name=name, mask=mask)
