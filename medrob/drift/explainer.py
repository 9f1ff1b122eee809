"""A network and how its maps are made: what every measurement of maps is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from medrob.check import check_images, check_integer
from medrob.config import Heatmaps
from medrob.evaluation import predict
from medrob.models import evaluating, pick_device, place
from medrob.saliency import (
    Noise,
    Settings,
    attribute,
    check_methods,
    device_of,
    explain,
    layers_for,
    layers_of,
    pick_layers,
)

Key = tuple[str, str]  # method, layer


@dataclass(frozen=True)
class Explainer:
    """A network and how its maps are made; `only` gives one with fewer methods or layers.

    Attributes:
        model: the network; its mode and its gradients are left as found.
        methods: of `medrob.saliency.names()`.
        layers: names of modules; None = `medrob.models.cam_layers`. Afterwards always a list of names.
        settings: of the methods that have any choice.
        batch_size: images a pass; memory grows with it.
        device: where to compute; None = where the model is.

    Raises:
        TypeError, ValueError: an unknown method, layer or device, a batch of less than one image.
    """

    model: nn.Module
    methods: Sequence[str]
    layers: Sequence[str] | str | None = None
    settings: Settings = Settings()
    batch_size: int = 64
    device: str | None = None

    def __post_init__(self) -> None:
        """Judge the attributes, and replace them by lists of known names and the name of a device."""
        check_integer("batch_size", self.batch_size, 1)
        object.__setattr__(self, "methods", check_methods(self.methods))
        object.__setattr__(self, "layers", list(layers_for(self.model, self.methods, self.layers)))
        object.__setattr__(self, "device", str(self.compute_device))

    @classmethod
    def of(cls, model: nn.Module, choice: Heatmaps) -> Explainer:
        """The one that the parameters of notebook 04 choose."""
        settings = Settings(seed=choice.seed, samples=choice.samples, channels=choice.channels)
        return cls(model, choice.methods, choice.layers, settings, choice.batch_size, choice.device)

    def only(self, methods: Sequence[str] | None = None, layers: Sequence[str] | None = None) -> Explainer:
        """The same with some of the methods, or some of the layers; None = all."""
        return replace(self, methods=methods or self.methods, layers=layers or self.layers)

    @property
    def pairs(self) -> list[Key]:
        """Every method with each of its layers, in the order of their maps."""
        return [(method, layer) for method in self.methods for layer in layers_of(method, self.layers or ())]

    @property
    def compute_device(self) -> torch.device:
        """The device to compute on."""
        return pick_device(self.device) if self.device else device_of(self.model)

    def batches(self, n: int) -> Iterator[np.ndarray]:
        """Indices of n images, a batch at a time."""
        for begin in range(0, n, self.batch_size):
            yield np.arange(begin, min(begin + self.batch_size, n))

    def input(self, images: np.ndarray) -> Tensor:
        """The images, uint8 (N, H, W, C), as uint8 (N, C, H, W) on the device."""
        return torch.from_numpy(images).to(self.compute_device).permute(0, 3, 1, 2)

    def maps(
        self, images: np.ndarray, index: np.ndarray, targets: Tensor | None = None
    ) -> tuple[dict[Key, Tensor], Tensor]:
        """Raw maps of one batch on the device, ``{(method, layer): (N, h, w)}``, and the logits.

        Args:
            images: uint8 (N, H, W, C).
            index: int (N,), their places in the data set: an image's noise is that of its corrupted copies.
            targets: int64 (N,), the class explained; None = the predicted one.
        """
        layers = pick_layers(self.model, self.layers) if self.layers else {}
        noise = Noise(self.settings.seed, index)
        with evaluating(place(self.model, self.compute_device)):
            return attribute(
                self.model, self.input(images), self.methods, layers, targets,
                settings=self.settings, noise=noise,
            )  # fmt: skip

    def explain(self, images: np.ndarray, targets: np.ndarray | int | None = None) -> dict[Key, np.ndarray]:
        """Raw maps of any number of images, see `medrob.saliency.explain`."""
        return explain(
            self.model, images, methods=self.methods, layers=self.layers, targets=targets,
            settings=self.settings, batch_size=self.batch_size, device=self.device,
        )  # fmt: skip

    def classes(self, images: np.ndarray, targets: np.ndarray | int | None) -> Tensor:
        """The class explained in each image, int64 (N,) on the device.

        Args:
            images: uint8 (N, H, W, C).
            targets: int (N,), or one for all; None = the predicted class of each.

        Raises:
            TypeError, ValueError: no images, or others than uint8 (N, H, W, C); targets that are not a class
                number for each image.
        """
        if not len(check_images(images)):
            raise ValueError("images is empty; give at least one image, and two where images are compared")
        if targets is None:
            with evaluating(self.model):
                probabilities = predict(self.model, images, batch_size=self.batch_size, device=self.device)
            targets = probabilities.argmax(1)
        wanted = np.asarray(targets)
        if wanted.shape not in ((), (len(images),)) or wanted.dtype.kind not in "iu":
            raise ValueError(
                f"targets are {wanted.dtype} {wanted.shape}; give a class number for each of {len(images)} "
                "images"
            )
        return torch.from_numpy(np.broadcast_to(wanted, len(images)).astype(np.int64)).to(self.compute_device)
