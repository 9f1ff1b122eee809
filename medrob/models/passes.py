"""One pass through any network: in eval mode, its input made ready, its layers' outputs collected."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any

import torch
from torch import Tensor, nn

from medrob.models.device import memory_order, ordered
from medrob.models.tokens import to_maps

# Parts whose output the network itself rectifies, by a function and not a module: their maps are taken after.
RECTIFIED = {"DenseNet": "features.norm5"}


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in eval mode while the block runs; every module's mode is given back.

    Parameters and buffers made in inference mode, which autograd does not take, are copied meanwhile.
    """
    modes = {module: module.training for module in model.modules()}
    tables: list[dict[str, Any]] = [t for module in modes for t in (module._parameters, module._buffers)]
    made = [(t, name, v) for t in tables for name, v in t.items() if v is not None and v.is_inference()]
    try:
        model.eval()
        with torch.inference_mode(False):
            for table, name, value in made:
                copy = value.clone()
                learnt = isinstance(value, nn.Parameter)
                table[name] = nn.Parameter(copy, value.requires_grad) if learnt else copy
        yield
    finally:
        for table, name, value in made:
            table[name] = value
        for module, mode in modes.items():
            module.training = mode


def forward(model: nn.Module, x: Tensor, layers: Mapping[str, nn.Module]) -> tuple[dict[str, Tensor], Tensor]:
    """What each layer gives, as it gives it, and the logits (N, classes), from one forward pass.

    Raises:
        ValueError: a layer that takes no part, a network whose output is not logits.
    """
    model = getattr(model, "_orig_mod", model)  # compiled by torch.compile, it would pass by the hooks
    with _outputs(layers, rectified(model)) as outputs:
        try:
            logits = model(x)
        except RuntimeError:
            _check_channels(model, x)
            raise
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(x):
        raise ValueError(
            f"{type(model).__name__} gives {_described(logits)} for {len(x)} images; saliency needs logits "
            "(N, classes) as one tensor: let its forward return them alone, in eval mode"
        )
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


def _check_channels(model: nn.Module, x: Tensor) -> None:
    """Say so where a network has failed on images of another number of channels than it takes."""
    stem = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if stem is not None and stem.in_channels != x.shape[1]:
        raise ValueError(
            f"images have {x.shape[1]} channel{'s' * (x.shape[1] > 1)}, but {type(model).__name__} takes "
            f"{stem.in_channels}; repeat a grey image, images.repeat(3, -1), or take a network of as many"
        ) from None


def as_input(model: nn.Module, x: Tensor) -> Tensor:
    """The images on the device, and in the floating point type, of the model's parameters.

    Raises:
        ValueError: a model or images on the device "meta", where tensors have no values.
    """
    like = next((p for p in model.parameters() if p.is_floating_point()), None)
    empty = like is not None and like.is_meta
    if empty or x.is_meta:
        raise ValueError(
            f"the {'network is' if empty else 'images are'} on the device 'meta', without values; "
            "load them on the CPU or a GPU"
        )
    x = x.to(torch.float32) if like is None else x.to(like.device, like.dtype)
    return ordered(x, memory_order(model, x.device))


def map_output(layer: str, output: object, module: nn.Module) -> Tensor:
    """What a layer gives, as maps (N, K, h, w)."""
    try:
        if isinstance(output, Tensor) and output.is_floating_point():
            return to_maps(module, output)
        reason = "they must be of floating point"
    except ValueError as error:
        reason = str(error)
    raise ValueError(f"layer {layer!r} gives {_described(output)}; a CAM needs maps (N, K, h, w): {reason}")


def _described(output: object) -> str:
    """The shape of a tensor, and its type if it is none of floating point; else what it is."""
    if not isinstance(output, Tensor):
        return type(output).__name__
    return f"{tuple(output.shape)}" + ("" if output.is_floating_point() else f" of {output.dtype}")


def rectified(model: nn.Module) -> set[nn.Module]:
    """The modules of a network that are explained after the ReLU which follows them (`RECTIFIED`)."""
    owners = ((module, part_of(module, RECTIFIED)) for module in model.modules())
    return {module.get_submodule(part) for module, part in owners if part}


def part_of(module: nn.Module, table: dict[str, str]) -> str | None:
    """The entry of a module's class, or of the nearest it is derived from; None without such a part."""
    parts = (table[c.__name__] for c in type(module).__mro__ if c.__name__ in table)
    return next((part for part in parts if has_part(module, part)), None)


def has_part(module: nn.Module, part: str) -> bool:
    """Whether a module has a part of that name."""
    with contextlib.suppress(AttributeError):
        return module.get_submodule(part) is not None
    return False


@contextlib.contextmanager
def _outputs(layers: Mapping[str, nn.Module], rectified: Set[nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of modules while the block runs, those of `rectified` after their ReLU.

    What comes after a module gets a copy, so that a ReLU in place does not overwrite what is collected. The
    network's own ReLU of what is rectified already gets all values above 0 by the least that there is: it
    changes no value, and lets the gradient pass at 0, too.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], Tensor | None]:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor | None:
            if not isinstance(output, Tensor):
                outputs[name] = output
                return None
            # Frozen, and behind a step without gradient, it would have none of its own.
            if torch.is_grad_enabled() and output.is_floating_point() and not output.requires_grad:
                output = output.detach().requires_grad_()
            outputs[name] = output.relu() if module in rectified else output
            # Normal, but in float16, where the smallest normal number is not small.
            limits = torch.finfo(output.dtype) if module in rectified else None
            least = limits and limits.tiny * (limits.eps if output.dtype == torch.float16 else 1)
            return outputs[name] + least if least else output.clone()

        return hook

    with contextlib.ExitStack() as stack:
        for name, module in layers.items():
            stack.callback(module.register_forward_hook(keep(name)).remove)
        yield outputs
