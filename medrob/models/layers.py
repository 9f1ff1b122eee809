"""Layers worth explaining, of any network."""

from __future__ import annotations

import contextlib
import math
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call

from medrob.models.network import Classifier
from medrob.models.passes import as_input, evaluating, forward, has_part, part_of
from medrob.models.tokens import to_maps

# Blocks worth explaining, by the name of their class: which part of each, "" = its output. After ViT's last
# block only the class token reaches the logits, so the norm before the attention is taken. A dense block
# gives sums before any ReLU; the transition behind it has their rectified norm.
BLOCKS = {
    **dict.fromkeys(("BasicBlock", "Bottleneck", "ResBottleneckBlock", "CNBlock", "Fire"), ""),
    **dict.fromkeys(("SwinTransformerBlock", "MaxVitLayer"), ""),
    **dict.fromkeys(("MBConv", "FusedMBConv", "InvertedResidual", "_InvertedResidual"), ""),
    **dict.fromkeys(("Inception", *(f"Inception{letter}" for letter in "ABCDE")), ""),
    **{"EncoderBlock": "ln_1", "_Transition": "relu"},
}
# What comes after the last block and before the pooling: these parts, or the last module of a sequence.
AFTER_BLOCKS = {
    **dict.fromkeys(("DenseNet", "EfficientNet", "MobileNetV2", "MobileNetV3"), "features"),
    **{"MNASNet": "layers", "ShuffleNetV2": "conv5", "SwinTransformer": "norm"},
}
# Sides in pixels, to find the resolutions inside a network without such blocks.
TRIED = (224, 128, 64, 32, 28, 48, 96, 112, 160, 192, 256, 299, 384, 512)
# Modules that give no map, or one that is only the pooling of the map before.
NO_MAPS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Linear, nn.Dropout, nn.Flatten, nn.Softmax)


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The modules by name; of a network of `medrob.models`, or compiled, those inside, by their own names."""
    modules = dict(_inner(model).named_modules(remove_duplicate=False))
    del modules[""]
    return modules


def cam_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Layers worth explaining, shallow to deep: ``{"layer1.0": module, ...}``.

    The blocks of `BLOCKS`, and what comes after the last one; where there are none (AlexNet, VGG, a network
    of your own), the last map (N, K, h, w) of each resolution, found by sending the shape of an image through
    the network.

    Raises:
        ValueError: no layer was found.
    """
    found = _found(model)
    if not found:
        names = (name for name, module in _inner(model).named_children() if not isinstance(module, NO_MAPS))
        raise ValueError(
            f"{type(model).__name__} has no layers that are known to give maps; name layers of your own, "
            f"layers=[...] of {', '.join(names)}, or take methods that explain the input, such as "
            "methods=['saliency', 'occlusion']"
        )
    return found


def _found(model: nn.Module) -> dict[str, nn.Module]:
    if _normed_by_timm(model):
        return {}
    return _blocks(_inner(model)) or _by_resolution(model)


def layer_shapes(model: nn.Module, images: np.ndarray) -> pd.DataFrame:
    """What `cam_layers` gives for images uint8 (N, H, W, C): layer -> channels, height, width.

    Empty for a network without such layers, which only methods that explain the input can look into.
    """
    layers = _found(model)
    x = torch.tensor(images[:1]).permute(0, 3, 1, 2)
    with evaluating(model), torch.inference_mode():
        outputs, _ = forward(model, as_input(model, x), layers)
    shapes = {layer: to_maps(module, outputs[layer]).shape[1:] for layer, module in layers.items()}
    return pd.DataFrame.from_dict(shapes, orient="index", columns=["channels", "height", "width"])


def _inner(model: nn.Module) -> nn.Module:
    """The network itself, without what `torch.compile` and `medrob.models` put around it."""
    model = getattr(model, "_orig_mod", model)
    return model.backbone if isinstance(model, Classifier) else model


def _blocks(network: nn.Module) -> dict[str, nn.Module]:
    """The outermost blocks of `BLOCKS`, and what `AFTER_BLOCKS` adds.

    A LayerNorm of a block's output takes its place: it ignores the scale at each position, so that
    sum_k g_k A_k before it is 0 (Euler's theorem), and the map of HiResCAM nothing but rounding. It comes
    after the last block, or as the first part of what follows a stage.
    """
    blocks: dict[str, str] = {}
    after: list[str] = []
    for name, module in network.named_modules():
        if part := part_of(module, AFTER_BLOCKS):
            last = [child for child, _ in module.get_submodule(part).named_children()][-1:]
            after.append(".".join(filter(None, (name, part, *last))))
        part = part_of(module, BLOCKS)
        if part is not None and name and not any(name.startswith(f"{block}.") for block in blocks):
            blocks[name] = f"{name}.{part}".rstrip(".")
    names = list(blocks.values())
    if not names:
        return {}
    if any(isinstance(network.get_submodule(name), nn.LayerNorm) for name in after):
        names.pop()
    names = [_norm_after(network, name) or name for name in names]
    return {name: network.get_submodule(name) for name in (*names, *after)}


def _norm_after(network: nn.Module, block: str) -> str:
    """The LayerNorm that takes the output of the last block of a stage, and nothing else; "" if none does."""
    stage, _, last = block.rpartition(".")
    parent, _, number = stage.rpartition(".")
    whole = network.get_submodule(stage)
    if not (isinstance(whole, nn.Sequential) and number.isdigit() and last == str(len(whole) - 1)):
        return ""
    following = f"{parent}.{int(number) + 1}.0".lstrip(".")
    if not has_part(network, following) or not isinstance(network.get_submodule(following), nn.LayerNorm):
        return ""
    return following


def _normed_by_timm(model: nn.Module) -> bool:
    """Whether timm's attention or LayerNorm is inside, whose maps and tokens no rule here tells apart.

    The last output of a resolution would be a head of attention, or have a map of rounding (`_blocks`).
    """
    kinds = {type(module) for module in model.modules()}
    names = [kind.__name__ for kind in kinds if kind.__module__.startswith("timm.")]
    return any(part in name for name in names for part in ("Attention", "Attn", "LayerNorm"))


def _by_resolution(model: nn.Module) -> dict[str, nn.Module]:
    """The last module of each resolution; {} if no side of `TRIED` goes through the network."""
    for side in TRIED:
        # Whatever a network of unknown make raises, it does not take this side.
        with contextlib.suppress(Exception):
            return _last_of_each(model, side)
    return {}


def _last_of_each(model: nn.Module, side: int) -> dict[str, nn.Module]:
    """Modules whose output is the last of its height and width, in the order in which they end.

    One pass without values (PyTorch's device "meta") costs milliseconds and leaves the network alone.
    """
    model = getattr(model, "_orig_mod", model)
    stem = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    channels = model.config["in_channels"] if isinstance(model, Classifier) else stem.in_channels
    x = torch.empty(1, channels, side, side, device="meta", dtype=stem.weight.dtype)
    ended: list[tuple[str, tuple[int, ...], Tensor]] = []

    def watch(module: nn.Module, inputs: object, output: object, *, name: str) -> None:
        if not isinstance(output, Tensor) or output.ndim != 4 or isinstance(module, NO_MAPS):
            return
        shape = tuple(to_maps(module, output).shape[1:])
        # A map has several positions, and is no image; a container gives what its last part gave.
        again = ended and output is ended[-1][2] and ended[-1][0].startswith(f"{name}.")
        if math.prod(shape[1:]) > 1 and shape != x.shape[1:] and not again:
            ended.append((name, shape[1:], output))

    layers = named_layers(model)
    with contextlib.ExitStack() as stack:
        for name, module in layers.items():
            stack.callback(module.register_forward_hook(partial(watch, name=name)).remove)
        stack.enter_context(evaluating(model))
        stack.enter_context(torch.no_grad())
        # Once for each module, under one of its names: what is taken out twice is not put back.
        values = {
            f"{name}.{key}".lstrip("."): value
            for name, module in model.named_modules()
            for key, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        }
        empty = {name: torch.empty_like(value, device="meta") for name, value in values.items()}
        functional_call(model, empty, (x,), tie_weights=False)
    last = {size: name for name, size, _ in ended}
    return {name: layers[name] for name, *_ in ended if name in last.values()}
