"""What is explained: images, their classes, methods and layers, the same for every network asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from medrob.check import check_images, check_integer
from medrob.evaluation import predict
from medrob.models import pick_device, place
from medrob.models.layers import evaluating
from medrob.saliency.explain import attribute, check_methods, device_of, layers_for, pick_layers
from medrob.saliency.settings import Noise, Settings

Key = tuple[str, str]  # method, layer


class Asked(TypedDict, total=False):
    """What the checks are asked of a network; what each means, see `medrob.saliency.explain`."""

    methods: Sequence[str]
    layers: Sequence[str] | str | None
    targets: np.ndarray | int | None
    batch_size: int
    device: str | None
    settings: Settings


@dataclass(frozen=True)
class Subject:
    """What is explained.

    Attributes:
        images: uint8 (N, H, W, C). targets: int64 (N,), the class explained in each.
        methods, layers: names. settings: of the methods. batch_size: images a pass. device: where.
    """

    images: np.ndarray
    targets: np.ndarray
    methods: list[str]
    layers: list[str]
    settings: Settings
    batch_size: int
    device: torch.device

    def __len__(self) -> int:
        return len(self.images)

    def batches(self) -> Iterator[np.ndarray]:
        """Indices of the images, a batch at a time."""
        for begin in range(0, len(self), self.batch_size):
            yield np.arange(begin, min(begin + self.batch_size, len(self)))

    def input(self, rows: np.ndarray) -> Tensor:
        """The images of those indices, uint8 (n, C, H, W), on the device."""
        return _channels_first(self.images[rows], self.device)

    def maps(
        self,
        model: nn.Module,
        rows: np.ndarray,
        *,
        images: np.ndarray | None = None,
        settings: Settings | None = None,
    ) -> dict[Key, Tensor]:
        """Raw maps (n, h, w) of those images by a network: ``{(method, layer): maps}``.

        `images` are corrupted copies in their place, `settings` others in the place of the subject's.
        """
        settings = settings or self.settings
        x = self.input(rows) if images is None else _channels_first(images, self.device)
        layers = pick_layers(model, self.layers) if self.layers else {}
        targets = torch.from_numpy(self.targets[rows]).to(self.device)
        noise = Noise(settings.seed, rows)
        with evaluating(place(model, self.device)):
            return attribute(model, x, self.methods, layers, targets, settings=settings, noise=noise)[0]


def _channels_first(images: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2)


def subject(
    model: nn.Module,
    images: np.ndarray,
    *,
    methods: Sequence[str],
    layers: Sequence[str] | str | None = None,
    targets: np.ndarray | int | None = None,
    batch_size: int = 64,
    device: str | None = None,
    settings: Settings = Settings(),
) -> Subject:
    """What is explained, checked; the arguments are those of `medrob.saliency.explain`.

    Raises:
        TypeError, ValueError: no images or others than uint8 (N, H, W, C), an unknown method or layer,
            targets that are not a class number for each image.
    """
    images, batch_size = check_images(images), check_integer("batch_size", batch_size, 1)
    if not len(images):
        raise ValueError("images is empty; give at least one image, and two where images are compared")
    where = pick_device(device) if device else device_of(model)
    if targets is None:
        with evaluating(model):  # the mode of each module is given back
            targets = predict(model, images, batch_size=batch_size, device=device).argmax(1)
    wanted = np.asarray(targets)
    if wanted.shape not in ((), (len(images),)) or wanted.dtype.kind not in "iu":
        raise ValueError(
            f"targets are {wanted.dtype} {wanted.shape}; give a class number for each of {len(images)} images"
        )
    wanted = np.broadcast_to(wanted, len(images)).astype(np.int64)
    methods = check_methods(methods)
    names = list(layers_for(model, methods, layers))
    return Subject(images, wanted, methods, names, settings, batch_size, where)


def others(n: int, seed: int) -> np.ndarray:
    """For each of n images another one, each taken once (one cycle through a random order): int64 (n,)."""
    order = np.random.default_rng(seed).permutation(n)
    found = np.empty(n, np.int64)
    found[order] = np.roll(order, 1)
    return found
