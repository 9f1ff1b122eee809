"""What every network is here: its first layer normalises, so clean and corrupted images are treated alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from medrob.models.device import memory_order, ordered

RESNETS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}
STEMS = ("small", "torchvision")


class Normalise(nn.Module):
    """Grey levels 0-255, of any dtype, to (x / 255 - mean) / std in float; a number, or one a channel."""

    def __init__(self, mean: float | Sequence[float] = 0.5, std: float | Sequence[float] = 0.5) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in, the same shape out."""
        x = x if x.is_floating_point() else x.float()
        if isinstance(self.mean, (int, float)) and isinstance(self.std, (int, float)):
            return x * (1 / (255 * self.std)) - self.mean / self.std
        mean, std = (x.new_tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return x * (1 / (255 * std)) - mean / std


class ResNet(nn.Module):
    """A residual network (He et al. 2016) of selectable width, with torchvision's parameter names.

    With ``width=64`` and ``stem="torchvision"`` it is torchvision's network, and takes its weights.
    The small stem is a 3x3 convolution of stride 1 without pooling, for images of 28-128 pixels.
    """

    def __init__(self, arch: str, in_channels: int, num_classes: int, stem: str, width: int) -> None:
        super().__init__()
        block, depths = RESNETS[arch]
        kernel, stride = (3, 1) if stem == "small" else (7, 2)
        self.conv1 = nn.Conv2d(in_channels, width, kernel, stride, kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if stem == "small" else nn.MaxPool2d(3, 2, 1)
        channels = width
        for i, depth in enumerate(depths):
            planes, blocks = width * 2**i, []
            for j in range(depth):
                step = 2 if i > 0 and j == 0 else 1
                wide = planes * block.expansion
                shortcut = None
                if step != 1 or channels != wide:
                    conv = nn.Conv2d(channels, wide, 1, step, bias=False)
                    shortcut = nn.Sequential(conv, nn.BatchNorm2d(wide))
                blocks.append(block(channels, planes, step, shortcut))
                channels = wide
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) float in, logits (N, num_classes) out."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for i in range(4):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.fc(self.avgpool(x).flatten(1))


class Classifier(nn.Module):
    """Normalise -> backbone. Takes grey levels 0-255 (N, C, H, W), gives logits (N, num_classes).

    Attributes:
        config: the arguments of `build` that make this network again; of `wrap`, what is known.
        smallest: pixels, the side that images must have at least.
        origin: where the weights come from, in words.
    """

    def __init__(
        self,
        backbone: nn.Module,
        config: dict[str, Any],
        normalise: Normalise,
        smallest: int = 1,
        origin: str = "",
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.backbone = backbone
        self.config = config
        self.smallest = smallest
        self.origin = origin

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), uint8 or float with grey levels 0-255, to logits (N, num_classes)."""
        channels, size = self.config["in_channels"], self.config.get("size")
        allowed = f"sides of {size} pixels" if size else f"sides of at least {self.smallest} pixels"
        sides = tuple(x.shape[2:])
        fits = sides == (size, size) if size else min(sides, default=0) >= self.smallest
        if x.ndim != 4 or x.shape[1] != channels or not fits:
            raise ValueError(f"the network takes (N, {channels}, H, W) with {allowed}; got {tuple(x.shape)}")
        dtype = x.dtype
        if not x.is_floating_point():
            dtype = next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.float32)
        x = ordered(x.to(dtype), memory_order(self, x.device))
        return self.backbone(self.normalise(x))


def activate(logits: Tensor, task: str) -> Tensor:
    """Probabilities (N, K): a sigmoid for each label of a multi-label task, else softmax over classes."""
    return logits.sigmoid() if task == "multilabel" else logits.softmax(1)
