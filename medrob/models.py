"""Networks: the first layer normalises, so clean and corrupted images cannot be treated differently."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from medrob.data import TASKS
from medrob.layers import cam_layers, layer_shapes
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
# Sides in pixels below which nothing is left for a convolution or a pooling, by the start of the name.
SMALLEST_OF = {
    **{"alexnet": 63, "convnext": 32, "densenet": 29, "googlenet": 15, "inception_v3": 75},
    **{"squeezenet1_0": 21, "squeezenet1_1": 17, "vgg": 32},
}
# Networks of one image size: torchvision's argument for it, and what it must be a multiple of.
ONE_SIZE = {
    **{f"vit_{name}": ("image_size", int(name[-2:])) for name in ("b_16", "b_32", "l_16", "l_32", "h_14")},
    "maxvit_t": ("input_size", 224),
}
# Arguments of torchvision that give one tensor of logits in training too.
ONE_OUTPUT = {arch: {"aux_logits": False, "init_weights": True} for arch in ("googlenet", "inception_v3")}

__all__ = [
    "Classifier",
    "Normalise",
    "ResNet",
    "activate",
    "architectures",
    "build",
    "cam_layers",
    "layer_shapes",
    "load",
    "pick_device",
    "save",
    "wrap",
]


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
    """

    def __init__(
        self, backbone: nn.Module, config: dict[str, Any], normalise: Normalise, smallest: int = 1
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.backbone = backbone
        self.config = config
        self.smallest = smallest

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), uint8 or float with grey levels 0-255, to logits (N, num_classes)."""
        channels, size = self.config["in_channels"], self.config.get("size")
        allowed = f"sides of {size} pixels" if size else f"sides of at least {self.smallest} pixels"
        sides = tuple(x.shape[2:])
        fits = sides == (size, size) if size else min(sides, default=0) >= self.smallest
        if x.ndim != 4 or x.shape[1] != channels or not fits:
            raise ValueError(f"the network takes (N, {channels}, H, W) with {allowed}; got {tuple(x.shape)}")
        if not x.is_floating_point():
            x = x.to(next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.float32))
        return self.backbone(self.normalise(x))


def architectures() -> tuple[str, ...]:
    """The networks that `build` makes: our own ResNets first, then torchvision's classifiers."""
    others = torchvision.models.list_models(module=torchvision.models)
    return tuple(dict.fromkeys([*RESNETS, *others]))


def build(
    arch: str = "resnet18",
    *,
    in_channels: int,
    num_classes: int,
    stem: str | None = None,
    width: int | None = None,
    size: int | None = None,
    task: str = "multiclass",
    weights: str | Path | None = None,
    seed: int | None = None,
) -> Classifier:
    """Build a classifier.

    Args:
        arch: one of `architectures()`.
        in_channels: 1 (grey) or 3 (RGB). A grey image goes through torchvision's networks as if it were
            repeated in three channels: the first convolution has the sum of their weights.
        num_classes: outputs; two for a binary task.
        stem: of our ResNets: "small" (3x3, stride 1, no pooling; the default) or "torchvision" (7x7,
            stride 2, pooling).
        width: of our ResNets: channels of the first stage; the default, 64, is the published network.
        size: side of the images in pixels, to be refused now if the network cannot take them. Networks of
            `ONE_SIZE` (ViT, MaxViT) are built for it, and for 224 if it is not given.
        task: one of `medrob.data.TASKS`; "multilabel" makes `predict` use a sigmoid for each output, else
            softmax.
        weights: a safetensors file written by `save`; None = random.
        seed: of the random weights; None = PyTorch's present state.

    Raises:
        ValueError: an unknown architecture, stem or task, a width below 1, a stem or width for a network
            that has none, a size that the network cannot take, weights that do not fit.
    """
    if arch not in architectures():
        near = "; like it: ".join(["", *difflib.get_close_matches(arch, architectures(), 1)])
        raise ValueError(
            f"arch={arch!r} is unknown; the networks are {', '.join(RESNETS)} and torchvision's classifiers "
            f"(medrob.models.architectures() lists them){near}"
        )
    if task not in TASKS:
        raise ValueError(f"task={task!r} is unknown; the tasks are {', '.join(TASKS)}")
    optional = {name: value for name, value in (("width", width), ("size", size)) if value is not None}
    _check_whole(in_channels=in_channels, num_classes=num_classes, **optional)
    form = _form(arch, stem, width, size)
    config = dict(arch=arch, in_channels=in_channels, num_classes=num_classes, **form, task=task)
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        backbone = _backbone(arch, in_channels, num_classes, form)
    model = Classifier(backbone, config, Normalise(), _smallest(arch))
    if weights is not None:
        try:
            model.load_state_dict(load_file(weights))
        except (SafetensorError, RuntimeError, OSError) as error:
            kind = f"{arch}, width {width}" if width else arch
            raise ValueError(f"weights={str(weights)!r} do not fit {kind}: {error}") from None
    return model.to(memory_format=torch.channels_last)


def wrap(
    backbone: nn.Module,
    *,
    in_channels: int,
    num_classes: int,
    mean: float | Sequence[float] = 0.5,
    std: float | Sequence[float] = 0.5,
    task: str = "multiclass",
) -> Classifier:
    """A network of your own as a classifier of grey levels: it gets (x / 255 - mean) / std.

    Args:
        backbone: takes normalised images (N, C, H, W), gives logits (N, num_classes). It is not copied.
        in_channels, num_classes, task: see `build`.
        mean, std: in shares of 255, a number or one for each channel; the weights of torchvision were learnt
            with (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225).

    Raises:
        TypeError, ValueError: no module, or numbers that do not fit the channels.
    """
    if not isinstance(backbone, nn.Module):
        raise TypeError(f"backbone is a {type(backbone).__name__}; give a torch.nn.Module")
    if task not in TASKS:
        raise ValueError(f"task={task!r} is unknown; the tasks are {', '.join(TASKS)}")
    _check_whole(in_channels=in_channels, num_classes=num_classes)
    for name, given, least in (("mean", mean, -math.inf), ("std", std, 0)):
        values = [given] if isinstance(given, (int, float)) else list(given)
        if len(values) not in (1, in_channels) or not all(least < v < math.inf for v in values):
            above = " above 0" if name == "std" else ""
            raise ValueError(
                f"{name}={given!r}: give a number{above}, or one for each of {in_channels} channels"
            )
    config = dict(
        backbone=type(backbone).__name__, in_channels=in_channels, num_classes=num_classes, task=task
    )
    return Classifier(backbone, config, Normalise(mean, std))


def _check_whole(**numbers: object) -> None:
    for name, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}={value!r}: give a whole number of at least 1")


def _form(arch: str, stem: str | None, width: int | None, size: int | None) -> dict[str, Any]:
    """What else decides the form of a network: stem and width of our ResNets, size of those of one size."""
    if size is not None and size < _smallest(arch):
        raise ValueError(f"size={size}: {arch} takes images of at least {_smallest(arch)} pixels")
    if arch in RESNETS:
        form = {"stem": "small" if stem is None else stem, "width": 64 if width is None else width}
        if form["stem"] not in STEMS:
            raise ValueError(f"stem={stem!r} is unknown; the stems are {', '.join(STEMS)}")
        return form
    if stem is not None or width is not None:
        raise ValueError(
            f"stem={stem!r}, width={width!r}: {arch} has neither; leave them out, or take one of "
            f"{', '.join(RESNETS)}"
        )
    if arch not in ONE_SIZE:
        return {}
    step = ONE_SIZE[arch][1]
    if size is not None and size % step:
        raise ValueError(f"size={size}: {arch} takes images whose side is a multiple of {step} pixels")
    return {"size": 224 if size is None else size}


def _smallest(arch: str) -> int:
    return next((side for start, side in SMALLEST_OF.items() if arch.startswith(start)), SMALLEST)


def _backbone(arch: str, in_channels: int, num_classes: int, form: dict[str, Any]) -> nn.Module:
    """The network without the normalisation, of random weights."""
    if arch in RESNETS:
        return ResNet(arch, in_channels, num_classes, **form)
    if in_channels not in (1, 3):
        raise ValueError(f"in_channels={in_channels}: {arch} takes 1 (grey) or 3 (RGB)")
    options: dict[str, Any] = dict(ONE_OUTPUT.get(arch, {}))
    if arch in ONE_SIZE:
        options[ONE_SIZE[arch][0]] = (form["size"],) * 2 if arch == "maxvit_t" else form["size"]
    network = torchvision.models.get_model(arch, weights=None, num_classes=num_classes, **options)
    if in_channels == 1:
        stem = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
        stem.weight = nn.Parameter(stem.weight.detach().sum(1, keepdim=True))
        stem.in_channels = 1
    return network


def activate(logits: Tensor, task: str) -> Tensor:
    """Probabilities (N, K): a sigmoid for each label of a multi-label task, else softmax over classes."""
    return logits.sigmoid() if task == "multilabel" else logits.softmax(1)


def save(model: Classifier, folder: Path) -> None:
    """Write ``model.safetensors`` and ``model.json`` (how to build it) into a folder, whole or not at all."""
    with atomic(folder / "model.safetensors") as file:
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, file)
    with atomic(folder / "model.json") as file:
        file.write_text(json.dumps(model.config, indent=1) + "\n")


def load(folder: Path) -> Classifier:
    """The network that `save` wrote, in eval mode, on the CPU.

    Raises:
        FileNotFoundError, ValueError: the files are missing, damaged or do not fit each other; a network of
            your own (`wrap`), which only you can build.
    """
    for name in ("model.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder / name} is missing: the notebook 02_train trains a network and writes it there"
            )
    try:
        config = json.loads((folder / "model.json").read_text())
        if isinstance(config, dict) and "backbone" in config:
            raise ValueError(
                f"{folder / 'model.json'} tells of a network of your own, {config['backbone']}: build it, "
                "`wrap` it and give it these weights: "
                "model.load_state_dict(safetensors.torch.load_file('model.safetensors'))"
            )
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
        found = torch.empty(0, device=device).device
        reason = "tensors have no values there" if found.type == "meta" else ""
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
    if reason:
        raise ValueError(
            f"device={device!r} cannot be used here ({reason}); give 'auto', 'cpu', 'cuda', 'cuda:0' or 'mps'"
        )
    return found
