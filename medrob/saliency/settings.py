"""What methods with a choice to make are run with, and their random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Settings:
    """Choices of the methods that have any; the defaults are those of the papers, or stated.

    Attributes:
        seed: of the noise of stochastic methods, 0 or more.
        samples: noisy copies of an image (smoothgradcam++, smoothgrad) or of a mask (sscam), steps
            along the way from nothing to the whole (iscam, integrated-gradients, which takes at least 50).
        noise: standard deviation of the noise, in shares of the range: of grey levels 0-255
            (smoothgradcam++, smoothgrad) or of masks 0-1 (sscam).
        channels: how many channels of a layer the score CAMs and ablationcam look at, those of most energy
            (sum of squares over the positions) in each image; 0 = all, which is what the papers do.
        chunk: most images in one forward pass of the methods that need many; memory grows with it. The
            score CAMs take fewer on a CPU, where that is faster. No result depends on it.
        window: side of the patch that occlusion covers, in shares of the image's side, above 0 to 1.
    """

    seed: int = 0
    samples: int = 10
    noise: float = 0.15
    channels: int = 0
    chunk: int = 64
    window: float = 0.125

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        least = {"seed": 0, "samples": 1, "noise": 0.0, "channels": 0, "chunk": 1, "window": 0.0}
        for field in fields(self):
            value, whole = getattr(self, field.name), field.type == "int"
            number = isinstance(value, (int, np.integer) if whole else (int, float, np.number))
            if not number or isinstance(value, bool) or not least[field.name] <= value < np.inf:
                kind = "a whole number" if whole else "a finite number"
                raise ValueError(f"{field.name}={value!r}: give {kind} of at least {least[field.name]}")
        if not 0 < self.window <= 1:
            raise ValueError(f"window={self.window!r}: give a share of the image's side, above 0 to 1")


@dataclass(frozen=True)
class Noise:
    """Random numbers keyed by (seed, image index): the same in any batch, for clean and corrupted copies.

    Attributes:
        seed: see `Settings`.
        index: int (N,), the place of each image of the batch in its data set.
    """

    seed: int
    index: Sequence[int] | np.ndarray

    def normal(self, shape: Sequence[int], device: torch.device, stream: int = 0) -> Tensor:
        """Standard normal float32 (N, *shape); another stream gives independent numbers."""
        fields = [
            np.random.default_rng([self.seed, int(i), stream]).standard_normal(shape, np.float32)
            for i in self.index
        ]
        return torch.from_numpy(np.array(fields, np.float32).reshape(-1, *shape)).to(device)
