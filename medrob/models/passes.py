"""One pass through any network: in eval mode, its input made ready, its layers' outputs collected as maps."""

import warnings
from collections.abc import Mapping
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from medrob.models.network import Classifier, memory_order, ordered
from medrob.models.outputs import KNOWN, hooked

PREFIXES = (0, 1, 2, 4, 5)  # tokens before those of the picture: class, distillation, four registers
ENOUGH = 4  # images for which logits hardly lie between 0 and 1 by chance


def as_input(model: nn.Module, x: Tensor) -> Tensor:
    """The images on the device, and in the floating point type, of the model's parameters."""
    like = next((p for p in model.parameters() if p.is_floating_point()), None)
    x = x.to(torch.float32) if like is None else x.to(like.device, like.dtype)
    return ordered(x, memory_order(model, x.device))


def check_logits(given: object, model: nn.Module | str, images: int, classes: int | None = None) -> None:
    """Refuse what a network gives for images unless it is finite logits (images, classes)."""
    name = model if isinstance(model, str) else type(model).__name__
    problem, advice = "", f"give logits ({images}, {classes or 'classes'}) as one tensor, one for each class"
    numbers = given.float() if isinstance(given, Tensor) else torch.empty(0)
    if isinstance(given, Tensor) and not given.is_floating_point():
        problem = f"class numbers, as of an argmax, or others that are whole: {_described(given)}"
    elif not isinstance(given, Tensor) or given.ndim != 2 or len(given) != images:
        problem = f"{_described(given)} for {images} images"
        advice += "" if isinstance(given, Tensor) else ", as medrob.models.wrap makes of several outputs"
    elif given.shape[1] == 1 and classes in (None, 2):
        problem, advice = "one logit", "give two, one a class, as medrob.models.wrap makes of it"
    elif classes and given.shape[1] != classes:
        problem = f"{tuple(given.shape)} for {images} images"
    elif given.is_meta or not images:
        return
    elif not given.isfinite().all():
        problem, advice = "NaN or infinite outputs", "its weights are damaged, train it again"
    elif images > 1 and (numbers >= 0).all() and ((numbers.sum(1) - 1).abs() < 1e-4).all():
        problem, advice = (
            "probabilities, on which softmax would be taken again",
            "give the logits before softmax, as medrob.models.wrap takes them",
        )
    elif isinstance(model, Classifier):  # it knows how the network ends
        return
    elif images >= ENOUGH and ((numbers >= 0) & (numbers <= 1)).all() and numbers.std(0).any():
        warnings.warn(
            f"all that {name} gives for {images} images lies between 0 and 1; if these are probabilities, "
            "give the logits before the sigmoid, as medrob.models.wrap takes them",
            stacklevel=3,
        )
    if problem:
        raise ValueError(f"{name} gives {problem}; {advice}")


def forward(model: nn.Module, x: Tensor, layers: Mapping[str, nn.Module]) -> tuple[dict[str, Tensor], Tensor]:
    """What each layer gives, as it gives it, and the logits (N, classes), from one forward pass."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, output: Any) -> Tensor | None:
        outputs[name] = output
        if not isinstance(output, Tensor):
            return None
        # Frozen, and behind a step without gradient, it would have none of its own.
        if torch.is_grad_enabled() and output.is_floating_point() and not output.requires_grad:
            outputs[name] = output.detach().requires_grad_()
        return outputs[name]

    with hooked(layers, keep):
        logits = model(x)
    check_logits(logits, model, len(x))
    missing = [layer for layer in layers if layer not in outputs]
    if missing:
        raise ValueError(f"layers={missing!r} do not run when the network does; leave them out")
    for layer, output in outputs.items():
        if isinstance(output, Tensor) and output.shape[:1] != x.shape[:1]:
            raise ValueError(
                f"layer {layer!r} gives {tuple(output.shape)} for {len(x)} images; a CAM needs maps "
                "(N, K, h, w) or tokens (N, T, K), one set for each image"
            )
    return outputs, logits


def map_output(layer: str, output: object, module: nn.Module) -> Tensor:
    """What a layer gives, as maps (N, K, h, w)."""
    try:
        if isinstance(output, Tensor) and output.dtype in (torch.float32, torch.float64):
            return to_maps(module, output)
        reason = "in one tensor of float32 (without autocast: half precision is too coarse)"
    except ValueError as error:
        reason = str(error)
    raise ValueError(f"layer {layer!r} gives {_described(output)}; a CAM needs maps (N, K, h, w): {reason}")


def to_maps(module: nn.Module, output: Tensor) -> Tensor:
    """A layer's output, or the gradient of it, as maps (N, K, h, w): a view.

    Tokens (N, T, K) must fill a square behind class, distillation and register tokens, which have no place.
    """
    if output.ndim not in (3, 4):
        raise ValueError("give (N, K, h, w), (N, h, w, K) or tokens (N, T, K)")
    maps = output.movedim(channel_axis(module, output), 1)
    if maps.ndim == 4:
        return maps
    tokens = maps.shape[2]
    for places in (tokens - prefix for prefix in PREFIXES if prefix < tokens):
        if isqrt(places) ** 2 == places:
            return maps[:, :, tokens - places :].unflatten(2, (isqrt(places), isqrt(places)))
    raise ValueError(f"its {tokens} tokens fill no square, with or without a class token or registers")


def channel_axis(module: nn.Module, output: Tensor) -> int:
    """Which axis of a layer's output holds the channels: 1 of (N, K, h, w), else the last.

    The two sides that are equal are those of the picture; where this does not tell, the module's class does.
    """
    if output.ndim == 4 and (output.shape[1] == output.shape[2]) != (output.shape[2] == output.shape[3]):
        return 1 if output.shape[2] == output.shape[3] else 3
    while isinstance(module, nn.Sequential) and len(module):
        module = module[-1]
    kinds = {kind.__name__ for kind in type(module).__mro__}
    last = not kinds.isdisjoint(KNOWN["classes"]["channels_last"]) and "LayerNorm2d" not in kinds
    return 1 if output.ndim == 4 and not last else output.ndim - 1


def _described(output: object) -> str:
    """The shape of a tensor, and its type unless it is float32; else what it is."""
    if isinstance(output, Mapping | tuple | list):
        parts = output.items() if isinstance(output, Mapping) else enumerate(output, 1)
        return f"{type(output).__name__} of {', '.join(f'{key}: {_described(part)}' for key, part in parts)}"
    if not isinstance(output, Tensor):
        return type(output).__name__
    return f"{tuple(output.shape)}" + ("" if output.dtype == torch.float32 else f" of {output.dtype}")
