"""Layers worth explaining, of any network."""

import contextlib
import copy
import math
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from medrob.models.network import Classifier
from medrob.models.passes import as_input, evaluating, forward, to_maps

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
# Networks with more after the last block and before the pooling: the last module of this part.
AFTER_BLOCKS = {
    **dict.fromkeys(("DenseNet", "EfficientNet", "MobileNetV2", "MobileNetV3"), "features"),
    **{"MNASNet": "layers", "ShuffleNetV2": "conv5"},
}
# Networks whose stages end before a LayerNorm, which takes the last block's place: it ignores the scale at
# each position, so that sum_k g_k A_k before it is 0 (Euler's theorem): a map of HiResCAM would be rounding.
NORMED = ("ConvNeXt", "SwinTransformer")
# Sides in pixels, to find the resolutions inside a network without such blocks.
TRIED = (224, 128, 64, 32, 28, 48, 96, 112, 160, 192, 256, 299, 384, 512)
# Modules that give no map, or one that is only the pooling of the map before.
NO_MAPS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Linear, nn.Dropout, nn.Flatten, nn.Softmax)


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The modules by name; of a network of `medrob.models` those inside, by their own names."""
    network = model.backbone if isinstance(model, Classifier) else model
    return {name: module for name, module in network.named_modules(remove_duplicate=False) if name}


def cam_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Layers worth explaining, shallow to deep: ``{"layer1.0": module, ...}``.

    The blocks of `BLOCKS`, and what comes after the last one; where there are none (AlexNet, VGG, a network
    of your own), the last map (N, K, h, w) of each resolution. If nothing is found: a ValueError.
    """
    # Attention and LayerNorm of timm give maps and tokens that no rule here tells apart.
    kinds = {type(module) for module in model.modules()}
    timms = [kind.__name__ for kind in kinds if kind.__module__.startswith("timm.")]
    unclear = any(part in name for name in timms for part in ("Attention", "Attn", "LayerNorm"))
    found = {} if unclear else _blocks(model) or _by_resolution(model)
    if not found:
        names = (n for n, m in named_layers(model).items() if "." not in n and not isinstance(m, NO_MAPS))
        raise ValueError(
            f"{type(model).__name__} has no layers that are known to give maps; name layers of your own, "
            f"layers=[...] of {', '.join(names)}, or take methods that explain the input, such as "
            "methods=['saliency', 'occlusion']"
        )
    return found


def layer_shapes(model: nn.Module, images: np.ndarray) -> pd.DataFrame:
    """What `cam_layers` gives for images uint8 (N, H, W, C): layer -> channels, height, width.

    Empty for a network without such layers, which only methods that explain the input can look into.
    """
    layers: dict[str, nn.Module] = {}
    with contextlib.suppress(ValueError):
        layers = cam_layers(model)
    x = torch.tensor(images[:1]).permute(0, 3, 1, 2)
    with evaluating(model), torch.inference_mode():
        outputs, _ = forward(model, as_input(model, x), layers)
    shapes = {layer: to_maps(module, outputs[layer]).shape[1:] for layer, module in layers.items()}
    return pd.DataFrame.from_dict(shapes, orient="index", columns=["channels", "height", "width"])


def _blocks(model: nn.Module) -> dict[str, nn.Module]:
    """The outermost blocks of `BLOCKS`, the norms of `NORMED`, and what `AFTER_BLOCKS` adds."""
    network = model.backbone if isinstance(model, Classifier) else model
    normed = any(type(module).__name__ in NORMED for module in network.modules())
    names: list[str] = []
    after: list[str] = []
    block, ended = "", False  # the last block, and whether nothing has come after it
    for name, module in network.named_modules():
        if part := _part(module, AFTER_BLOCKS):
            *_, last = module.get_submodule(part).named_children()
            after.append(f"{name}.{part}.{last[0]}".lstrip("."))
        if block and name.startswith(f"{block}."):
            continue
        part = _part(module, BLOCKS)
        if part is not None and name:
            block, ended = name, True
            names.append(f"{name}.{part}".rstrip("."))
        elif not [*module.children()]:
            if normed and ended and isinstance(module, nn.LayerNorm):
                names[-1] = name
            ended = False
    return {name: network.get_submodule(name) for name in (*names, *after)} if names else {}


def _part(module: nn.Module, table: dict[str, str]) -> str | None:
    """The entry of a module's class, or of one it is derived from, if the module has such a part."""
    parts = (table[kind.__name__] for kind in type(module).__mro__ if kind.__name__ in table)
    return next((part for part in parts if not part or hasattr(module, part)), None)


def _by_resolution(model: nn.Module) -> dict[str, nn.Module]:
    """The last module of each resolution, in the order in which they end; {} if no side of `TRIED` is taken.

    Passes of a copy without values (PyTorch's device "meta") cost milliseconds and leave the network alone.
    """
    ended: list[tuple[str, tuple[int, ...], Tensor]] = []
    size: tuple[int, ...] = ()

    def watch(name: str, module: nn.Module, inputs: object, output: object) -> None:
        if not isinstance(output, Tensor) or output.ndim != 4 or isinstance(module, NO_MAPS):
            return
        shape = tuple(to_maps(module, output).shape[1:])
        # A map has several positions, and is no image; a container gives what its last part gave.
        again = ended and output is ended[-1][2] and ended[-1][0].startswith(f"{name}.")
        if math.prod(shape[1:]) > 1 and shape != size and not again:
            ended.append((name, shape[1:], output))

    with contextlib.suppress(Exception):  # whatever a network of unknown make raises: it cannot be copied
        empty = copy.deepcopy(model).to("meta").eval()
        stem = next(module for module in empty.modules() if isinstance(module, nn.Conv2d))
        channels = model.config["in_channels"] if isinstance(model, Classifier) else stem.in_channels
        for name, module in named_layers(empty).items():
            module.register_forward_hook(partial(watch, name))
        for side in TRIED:
            ended, size = [], (channels, side, side)
            with contextlib.suppress(Exception), torch.no_grad():  # ... or it does not take this side
                empty(torch.empty(1, *size, device="meta", dtype=stem.weight.dtype))
                last = {shape: name for name, shape, _ in ended}
                layers = named_layers(model)
                return {name: layers[name] for name, *_ in ended if name in last.values()}
    return {}
