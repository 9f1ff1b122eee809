"""Layers worth explaining, of any network."""

import contextlib
import copy
import math
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from medrob.models.network import Classifier
from medrob.models.passes import as_input, evaluating, forward, to_maps
from medrob.models.probe import KNOWN, NO_TENSOR, TRIED, Found, probe

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
# Modules that give no map, or one that is only the pooling of the map before.
NO_MAPS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Linear, nn.Dropout, nn.Flatten, nn.Softmax)
# Of a network that is not torchvision's: their blocks, or its stages if these are FEW enough; at most MOST.
FEW, MOST = 6, 8
# The layers found, by the modules of the network: a probe costs some passes.
FOUND: WeakKeyDictionary[nn.Module, tuple[tuple[int, ...], tuple[str, ...]]] = WeakKeyDictionary()


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The modules by name; of a network of `medrob.models` those inside, by their own names."""
    network = model.backbone if isinstance(model, Classifier) else model
    return {name: module for name, module in network.named_modules(remove_duplicate=False) if name}


def cam_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Layers worth explaining, shallow to deep: ``{"layer1.0": module, ...}``.

    The blocks of `BLOCKS`, and what comes after the last one; where there are none (AlexNet, VGG, a network
    of your own), the last map (N, K, h, w) of each resolution. What is not torchvision's must give maps of
    the picture (see `probe`); if not all of these do, others that do. If nothing is found: a ValueError.
    """
    modules = named_layers(model)
    key = tuple(map(id, modules.values()))  # its layers are sought again only if others have come
    known, names = FOUND.get(model, ((), ()))
    if known != key:
        found = _blocks(model)
        sure = found and {_maker(module) for module in found.values()} <= {"torchvision", "medrob", "torch"}
        likely = found or _by_resolution(model)
        names = tuple(likely if sure or (likely and _plain(model)) else _probed(model, likely))
        FOUND[model] = key, names
    if not names:
        outer = (n for n, m in modules.items() if "." not in n and not isinstance(m, NO_MAPS))
        raise ValueError(
            f"{type(model).__name__} has no layers that are known to give maps; name layers of your own, "
            f"layers=[...] of {', '.join(outer)}, or take methods that explain the input, such as "
            "methods=['saliency', 'occlusion']"
        )
    return {name: modules[name] for name in names}


def check_layers(model: nn.Module, layers: dict[str, nn.Module]) -> None:
    """Refuse layers that a `probe` finds to give no map of the picture; those of `cam_layers` are known."""
    known: dict[str, nn.Module] = {}
    with contextlib.suppress(ValueError):
        known = cam_layers(model)
    asked = {name: module for name, module in layers.items() if name not in known}
    found = probe(model, asked).items() if asked and not _plain(model) else ()
    if problems := [f"{name!r}: {f.reason}" for name, f in found if f.shape and f.reason not in ("", *KNOWN)]:
        raise ValueError(f"layers give no map of the picture: {'; '.join(problems)}; name others, or 'all'")


def _plain(model: nn.Module) -> bool:
    """Whether it has neither attention nor LayerNorm, so that (N, K, h, w) are maps.

    A probe of its random weights could miss that: behind many gates over the whole picture (squeeze and
    excitation), all of a map changes about as much.
    """
    kinds = {type(module).__name__ for module in model.modules()}
    return not any(part in kind for kind in kinds for part in ("Attention", "Attn", "LayerNorm"))


def _maker(module: nn.Module) -> str:
    return type(module).__module__.partition(".")[0]


def _probed(model: nn.Module, likely: dict[str, nn.Module]) -> list[str]:
    """The likely layers, if all give maps and no tokens or channels-last maps lie deeper; else others."""
    modules = named_layers(model)
    found = probe(model, modules)
    if not found:  # it has no values, or takes no side
        return [*likely] if any(p.is_meta for p in model.parameters()) else []
    order = [*found]
    good = [n for n in order if not found[n].reason and not isinstance(modules[n], (*NO_MAPS, nn.Identity))]
    if likely and all(name in found and not found[name].reason for name in likely):
        deeper = order[1 + max(map(order.index, likely)) :]
        if not any(found[name].last for name in good if name in deeper):
            return [*likely]
    leaves = [n for n in order if not any(modules[n].children()) and not isinstance(modules[n], nn.Identity)]
    names = [name for block in _parts(modules, found) for name in _instead(block, order, leaves, good)]
    names = names or [*{found[name].shape: name for name in good}.values()]
    # What comes behind the last of them, such as a norm or a convolution, and is not around it.
    deepest = max(map(order.index, names), default=-1)
    behind = [n for n in good if order.index(n) > deepest and not order[deepest].startswith(f"{n}.")]
    names = sorted({*names, *behind[-1:]}, key=order.index)
    return [names[int(i)] for i in np.unique(np.linspace(0, len(names) - 1, MOST).round())] if names else []


def _parts(modules: dict[str, nn.Module], found: dict[str, Found]) -> list[str]:
    """Blocks: the parts of lists that give maps; stages are replaced by the blocks in them."""
    lists = {name for name, module in modules.items() if isinstance(module, nn.Sequential | nn.ModuleList)}
    ran = [n for n, f in found.items() if f.shape or f.reason == NO_TENSOR]  # such as a tuple with a map
    parts = [n for n in ran if n.rpartition(".")[0] in lists and any(modules[n].children())]
    around = {n: [p for p in parts if n.startswith(f"{p}.")] for n in parts}
    chosen: list[str] = []
    for depth in range(max((len(p) for p in around.values()), default=-1) + 1):
        ended = [n for n in chosen if not any(n in around[p] for p in parts)]
        chosen = ended + [n for n in parts if len(around[n]) == depth]
        if len(chosen) >= FEW:
            break
    return chosen


def _instead(block: str, order: list[str], leaves: list[str], good: list[str]) -> list[str]:
    """A block, or the norm that its output goes through next, or the last map in it; [] if none is good."""
    at = order.index(block)
    after = [name for name in leaves if order.index(name) > at][:1]
    inside = [name for name in good if name.startswith(f"{block}.")][-1:]
    return [name for name in (block, *after, *inside) if name in good][:1]


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
