"""What is explained and how: a batch of images, the choices of the methods, and their random numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

Layers = Mapping[str, nn.Module]  # by their names
Maps = dict[tuple[str, str], Tensor]  # {(method, layer): raw maps (N, h, w)}


@dataclass(frozen=True)
class Settings:
    """Choices of the methods that have any; the defaults are those of the papers, or stated."""

    seed: int = 0  # of the noise
    samples: int = 10  # noisy copies; steps to the whole (iscam; integrated-gradients takes at least 50)
    noise: float = 0.15  # standard deviation, in shares of the range: of grey levels, or of masks (sscam)
    # How many channels of a layer the score CAMs and ablationcam look at, those of most energy in each image;
    # 0 = all, which is what the papers do.
    channels: int = 0
    chunk: int = 64  # most images in one pass of the methods that need many; no result depends on it


@dataclass(frozen=True)
class Noise:
    """Random numbers keyed by (seed, image index): the same in any batch, for clean and corrupted copies."""

    seed: int
    index: Sequence[int] | np.ndarray  # (N,), the place of each image of the batch in its data set

    def normal(self, shape: Sequence[int], device: torch.device, stream: int = 0) -> Tensor:
        """Standard normal float32 (N, *shape); another stream gives independent numbers."""
        draws = [np.random.default_rng([self.seed, int(i), stream]) for i in self.index]
        return torch.from_numpy(np.stack([d.standard_normal(shape, np.float32) for d in draws])).to(device)


@dataclass(frozen=True)
class Batch:
    """A network in eval mode, its input (N, C, H, W), and the class explained in each image."""

    model: nn.Module
    x: Tensor  # grey levels 0-255, left as they are
    targets: Tensor  # int64 (N,)
    settings: Settings
    noise: Noise

    def fields(self, channels: int) -> Iterator[Tensor]:
        """Standard normal (N, channels, H, W) for each of the samples."""
        for i in range(self.settings.samples):
            yield self.noise.normal((channels, *self.x.shape[2:]), self.x.device, i)
