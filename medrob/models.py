"""Networks: the first layer normalises, so clean and corrupted images cannot be treated differently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from medrob.runs import atomic

RESNETS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}
STEMS = ("small", "torchvision")
SMALLEST = 8  # pixels; the small stem then ends in a single position


class Normalise(nn.Module):
    """Grey levels 0-255, of any dtype, to (x / 255 - mean) / std in float."""

    def __init__(self, mean: float = 0.5, std: float = 0.5) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in, the same shape out."""
        x = x if x.is_floating_point() else x.float()
        return x * (1 / (255 * self.std)) - self.mean / self.std


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
        config: the arguments of `build` that make this network again.
    """

    def __init__(self, backbone: nn.Module, config: dict[str, Any]) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.backbone = backbone
        self.config = config

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), uint8 or float with grey levels 0-255, to logits (N, num_classes)."""
        if x.ndim != 4 or x.shape[1] != self.config["in_channels"] or min(x.shape[2:]) < SMALLEST:
            raise ValueError(
                f"the network takes (N, {self.config['in_channels']}, H, W) with sides of at least "
                f"{SMALLEST} pixels; got {tuple(x.shape)}"
            )
        return self.backbone(self.normalise(x))


def build(
    arch: str = "resnet18",
    *,
    in_channels: int,
    num_classes: int,
    stem: str = "small",
    width: int = 64,
    task: str = "multiclass",
    weights: str | Path | None = None,
    seed: int | None = None,
) -> Classifier:
    """Build a classifier.

    Args:
        arch: one of `RESNETS`.
        in_channels: 1 (grey) or 3 (RGB).
        num_classes: outputs; two for a binary task.
        stem: "small" (3x3, stride 1, no pooling) or "torchvision" (7x7, stride 2, pooling).
        width: channels of the first stage; 64 is the published network.
        task: "multilabel" makes `predict` use a sigmoid for each output, else softmax.
        weights: a safetensors file written by `save`; None = random.
        seed: of the random weights; None = PyTorch's present state.

    Raises:
        ValueError: an unknown architecture or stem, a width below 1, weights that do not fit.
    """
    if arch not in RESNETS:
        raise ValueError(f"arch={arch!r} is unknown; the networks are {', '.join(RESNETS)}")
    if stem not in STEMS:
        raise ValueError(f"stem={stem!r} is unknown; the stems are {', '.join(STEMS)}")
    for name, value in {"in_channels": in_channels, "num_classes": num_classes, "width": width}.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}={value!r}: give a whole number of at least 1")
    config = dict(
        arch=arch, in_channels=in_channels, num_classes=num_classes, stem=stem, width=width, task=task
    )
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        model = Classifier(ResNet(arch, in_channels, num_classes, stem, width), config)
    if weights is not None:
        try:
            model.load_state_dict(load_file(weights))
        except (SafetensorError, RuntimeError, OSError) as error:
            raise ValueError(f"weights={str(weights)!r} do not fit {arch}, width {width}: {error}") from None
    return model.to(memory_format=torch.channels_last)


def activate(logits: Tensor, task: str) -> Tensor:
    """Probabilities (N, K): a sigmoid for each label of a multi-label task, else softmax over classes."""
    return logits.sigmoid() if task == "multilabel" else logits.softmax(1)


def cam_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The residual blocks, shallow to deep: ``{"layer1.0": module, ...}``.

    Raises:
        ValueError: the network has no residual blocks.
    """
    blocks = {
        name.removeprefix("backbone."): module
        for name, module in model.named_modules()
        if isinstance(module, (BasicBlock, Bottleneck))
    }
    if not blocks:
        raise ValueError(
            f"{type(model).__name__} has no residual blocks to explain; name layers of your own: "
            f"layers=[...] of {', '.join(name for name, _ in model.named_children())}"
        )
    return blocks


def layer_shapes(model: Classifier, images: np.ndarray) -> pd.DataFrame:
    """What `cam_layers` gives for images uint8 (N, H, W, C): layer -> channels, height, width."""
    shapes = {}
    hooks = [
        module.register_forward_hook(lambda m, i, out, name=name: shapes.update({name: tuple(out.shape[1:])}))
        for name, module in cam_layers(model).items()
    ]
    training = model.training
    try:
        device = next(model.parameters()).device
        with torch.inference_mode():
            model.eval()(torch.from_numpy(images[:1]).to(device).permute(0, 3, 1, 2))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return pd.DataFrame.from_dict(shapes, orient="index", columns=["channels", "height", "width"])


def save(model: Classifier, folder: Path) -> None:
    """Write ``model.safetensors`` and ``model.json`` (how to build it) into a folder, whole or not at all."""
    with atomic(folder / "model.safetensors") as file:
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, file)
    with atomic(folder / "model.json") as file:
        file.write_text(json.dumps(model.config, indent=1) + "\n")


def load(folder: Path) -> Classifier:
    """The network that `save` wrote, in eval mode, on the CPU.

    Raises:
        FileNotFoundError, ValueError: the files are missing, damaged or do not fit each other.
    """
    try:
        config = json.loads((folder / "model.json").read_text())
        return build(**config, weights=folder / "model.safetensors").eval()
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise ValueError(f"{folder / 'model.json'} is damaged ({error}); train again") from None


def pick_device(device: str | torch.device | None = "auto") -> torch.device:
    """The device by name; "auto" or None = CUDA if there is one, then Apple's MPS, then the CPU.

    Raises:
        ValueError: an unknown device, or one that this machine lacks.
    """
    if device in (None, "auto"):
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={device!r} cannot be used here ({str(error).splitlines()[0]}); "
            "give 'auto', 'cpu', 'cuda', 'cuda:0' or 'mps'"
        ) from None
