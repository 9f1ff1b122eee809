"""Networks by name, and networks of one's own."""

from __future__ import annotations

import contextlib
import copy
import difflib
import importlib
import inspect
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from medrob.config import Train
from medrob.data import TASKS, ImageDataset
from medrob.models import timm_models
from medrob.models import weights as _weights
from medrob.models.network import RESNETS, STEMS, Classifier, Normalise, ResNet

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
# What normalises, in shares of 255: mean, spread. "auto": those that the weights were learnt with.
NORMALISE: dict[str, tuple[Any, Any]] = {
    "auto": (None, None),
    "half": (0.5, 0.5),
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
}
# Arguments of torchvision that give one tensor of logits in training too.
ONE_OUTPUT = {arch: {"aux_logits": False, "init_weights": True} for arch in ("googlenet", "inception_v3")}


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
    normalise: str = "auto",
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    seed: int | None = None,
) -> Classifier:
    """Build a classifier.

    Args:
        arch: one of `architectures()`; ``"timm:name"``, one of timm's; or ``"package.module:function"``:
            your own function, which takes ``in_channels`` and ``num_classes`` and gives a module of
            normalised images.
        in_channels: 1 (grey) or 3 (RGB). A grey image goes through torchvision's networks as if it were
            repeated in three channels: the first convolution has the sum of their weights.
        num_classes: outputs; two for a binary task.
        stem: of our ResNets: "small" (3x3, stride 1, no pooling; the default) or "torchvision" (7x7,
            stride 2, pooling).
        width: of our ResNets: channels of the first stage; the default, 64, is the published network.
        size: side of the images in pixels, to be refused now if the network cannot take them. Networks of
            `ONE_SIZE` (ViT, MaxViT), and such of timm's, are built for it, else for their usual size.
        task: one of `medrob.data.TASKS`; "multilabel" makes `predict` use a sigmoid for each output, else
            softmax.
        weights: None or "" = random; else see `medrob.models.weights.read`: a name of torchvision's, a
            safetensors file, a state_dict. A head of another number of classes stays new, and the filters of
            RGB weights are summed for grey images; `Classifier.origin` says so in words.
        normalise: "auto" = by the mean and spread of the images that the weights were learnt with if these
            are known, else by 0.5; "half" = by 0.5; "imagenet" = by those of ImageNet (for grey images, of
            the three channels the mean).
        mean, std: what normalises instead, in shares of 255, a number or one for each channel.
        seed: of the random weights; None = PyTorch's present state.

    Raises:
        ValueError: an unknown architecture, stem or task, a width below 1, a stem or width for a network
            that has none, a size that the network cannot take, weights that do not fit, outputs that are
            not one number a class.
    """
    if ":" not in arch and arch not in architectures():
        near = "; like it: ".join(["", *difflib.get_close_matches(arch, architectures(), 1)])
        raise ValueError(
            f"arch={arch!r} is unknown; the networks are {', '.join(RESNETS)}, torchvision's classifiers "
            f"(medrob.models.architectures() lists them), timm's ('timm:resnet10t') and your own "
            f"('package.module:function'){near}"
        )
    if task not in TASKS:
        raise ValueError(f"task={task!r} is unknown; the tasks are {', '.join(TASKS)}")
    optional = {name: value for name, value in (("width", width), ("size", size)) if value is not None}
    _check_whole(in_channels=in_channels, num_classes=num_classes, **optional)
    if stem is None and arch in RESNETS and weights and _weights.is_name(weights):
        stem = "torchvision"  # what the published weights were learnt with
    form = _form(arch, stem, width, size)
    found = _read(weights, arch, form) if weights else None
    if normalise not in NORMALISE:
        raise ValueError(f"normalise={normalise!r} is unknown; give one of {', '.join(NORMALISE)}")
    scale = _scale(in_channels, (mean, std), NORMALISE[normalise], found)
    config = dict(arch=arch, in_channels=in_channels, num_classes=num_classes, **form, task=task, **scale)
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        backbone = _backbone(arch, in_channels, num_classes, form)
        if ":" in arch and size:
            _check_outputs(backbone, arch, (2, in_channels, size, size), num_classes)
    origin = "random weights" if found is None else _weights.adopt(backbone, found, _called(arch, form))
    if found is not None and found.mean is None and normalise == "auto" and (mean, std) == (None, None):
        origin += "; it is not known how its images were normalised: here mean 0.5, spread 0.5 (normalise=)"
    first = Normalise(scale.get("mean", 0.5), scale.get("std", 0.5))
    return Classifier(backbone, config, first, _smallest(arch), origin)


def for_data(data: ImageDataset, choice: Train) -> Classifier:
    """The network that the parameters of notebook 02 choose, for the channels and classes of data."""
    return build(
        choice.arch,
        in_channels=data.channels,
        num_classes=data.num_classes,
        size=data.images.shape[1],
        task=data.task,
        weights=choice.weights,
        normalise=choice.normalise,
        **form(choice.arch, stem=choice.stem, width=choice.width),
        seed=choice.seed,
    )


def form(arch: str, *, stem: str, width: int) -> dict[str, Any]:
    """Stem and width for `build`, if the network has any to choose: only our ResNets have.

    ``"auto"`` and 0 leave the choice to `build`.
    """
    if arch not in RESNETS:
        return {}
    return {"stem": None if stem == "auto" else stem, "width": width or None}


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
    _check_scale(in_channels, mean, std)
    config = dict(
        backbone=type(backbone).__name__, in_channels=in_channels, num_classes=num_classes, task=task
    )
    return Classifier(backbone, config, Normalise(mean, std))


def _check_scale(in_channels: int, mean: Any, std: Any) -> None:
    for name, given, least in (("mean", mean, -math.inf), ("std", std, 0)):
        values = [given] if isinstance(given, (int, float)) else list(given)
        if len(values) not in (1, in_channels) or not all(least < v < math.inf for v in values):
            above = " above 0" if name == "std" else ""
            raise ValueError(
                f"{name}={given!r}: give a number{above}, or one for each of {in_channels} channels"
            )


def _scale(
    in_channels: int, given: tuple[Any, Any], usual: tuple[Any, Any], found: _weights.Weights | None
) -> dict[str, Any]:
    """Mean and spread, empty if both are 0.5: as given, else the usual ones, else those of the weights.

    Those that are not given are for grey images one for all channels.
    """
    result: dict[str, Any] = {}
    for name, own, preset in zip(("mean", "std"), given, usual, strict=True):
        value: Any = own
        if own is None:
            value = getattr(found, name, None) if preset is None else preset
            value = sum(value) / len(value) if isinstance(value, Sequence) and in_channels == 1 else value
        value = list(value) if isinstance(value, Sequence) else value
        result[name] = 0.5 if value is None else value
    _check_scale(in_channels, **result)
    return {} if result == {"mean": 0.5, "std": 0.5} else result


def _check_outputs(network: nn.Module, arch: str, shape: tuple[int, ...], classes: int) -> None:
    """Refuse a network of one's own whose outputs are no numbers of the classes, before it is trained."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    if device.type == "meta":  # only its form is looked at, which not every network takes
        return
    image = torch.zeros(shape, device=device)
    modes = {module: module.training for module in network.modules()}
    came: list[Any] = []
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            came.append(network.eval()(image))
            came.append(copy.deepcopy(network).train()(image))  # some give more when they are trained
    except Exception as error:  # whatever the network's own code raises
        told = f"{type(error).__name__}: {error}"
        raise ValueError(f"arch={arch!r} does not take images of shape {shape}: {told}") from error
    finally:
        for module, training in modes.items():
            module.training = training
    for logits, mode in zip(came, ("", " in training"), strict=True):
        found = tuple(logits.shape) if torch.is_tensor(logits) else type(logits).__name__
        if found != (shape[0], classes):
            raise ValueError(
                f"arch={arch!r} gives {found} for {shape[0]} images{mode}; it must give logits "
                f"{(shape[0], classes)}, one for each class"
            )


def _called(arch: str, form: dict[str, Any]) -> str:
    return ", ".join([arch, *(f"{name} {value}" for name, value in form.items())])


def _check_whole(**numbers: object) -> None:
    for name, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}={value!r}: give a whole number of at least 1")


def _form(arch: str, stem: str | None, width: int | None, size: int | None) -> dict[str, Any]:
    """What else decides the form of a network: stem and width of our ResNets, size of those of one size."""
    if ":" in arch:
        if stem is not None or width is not None:
            raise ValueError(f"stem={stem!r}, width={width!r}: {arch} has neither; leave them out")
        return timm_models.form(arch, size) if timm_models.is_timm(arch) else {}
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


def _read(weights: str | Path, arch: str, form: dict[str, Any]) -> _weights.Weights:
    if timm_models.is_timm(arch) and _weights.is_name(weights) and not Path(weights).is_file():
        return timm_models.pretrained(arch, str(weights), **form)
    return _weights.read(weights, arch)


def _smallest(arch: str) -> int:
    return next((side for start, side in SMALLEST_OF.items() if arch.startswith(start)), SMALLEST)


def _backbone(arch: str, in_channels: int, num_classes: int, form: dict[str, Any]) -> nn.Module:
    """The network without the normalisation, of random weights."""
    if arch in RESNETS:
        return ResNet(arch, in_channels, num_classes, **form)
    if timm_models.is_timm(arch):
        return timm_models.network(arch, in_channels, num_classes, **form)
    if ":" in arch:
        return _own(arch, in_channels, num_classes)
    if in_channels not in (1, 3):
        raise ValueError(f"in_channels={in_channels}: {arch} takes 1 (grey) or 3 (RGB)")
    options: dict[str, Any] = dict(ONE_OUTPUT.get(arch, {}))
    if arch in ONE_SIZE:
        options[ONE_SIZE[arch][0]] = (form["size"],) * 2 if arch == "maxvit_t" else form["size"]
    network = torchvision.models.get_model(arch, weights=None, num_classes=num_classes, **options)
    if in_channels == 1:
        _weights.sum_stem(network)
    return network


def _own(arch: str, in_channels: int, num_classes: int) -> nn.Module:
    """What a function of the user's makes."""
    module, _, name = arch.partition(":")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"arch={arch!r} cannot be imported ({error}); give 'package.module:function', and start from the "
            "folder that holds it, or name that folder in PYTHONPATH"
        ) from None
    try:
        with contextlib.suppress(ValueError):  # what is not written in Python tells no signature
            inspect.signature(function).bind(in_channels=in_channels, num_classes=num_classes)
    except TypeError as error:
        raise ValueError(f"arch={arch!r} must take in_channels= and num_classes= ({error})") from None
    backbone = function(in_channels=in_channels, num_classes=num_classes)
    if not isinstance(backbone, nn.Module):
        raise ValueError(f"arch={arch!r} gave a {type(backbone).__name__}; it must give a torch.nn.Module")
    return backbone
