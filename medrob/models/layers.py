"""Layers worth explaining, of any network."""

import contextlib
import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn

from medrob.models.adopt import stem_and_head
from medrob.models.outputs import KNOWN, evaluating
from medrob.models.passes import as_input, forward, to_maps
from medrob.models.probe import CANCELLED, NO_TENSOR, SHUFFLED, SPREAD, TOLD, Found

from medrob.models.probe import inner, named_layers, probe  # isort: skip

# Modules that give no map, or one that is only the pooling of the map before.
NO_MAPS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Linear, nn.Dropout, nn.Flatten, nn.Softmax)
# Of a network that is not torchvision's: their blocks, or its stages if these are FEW enough; at most MOST.
FEW, MOST = 6, 8
OURS = {"torchvision", "medrob", "torch"}  # packages of networks whose blocks are known


def cam_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Layers worth explaining, shallow to deep: ``{"layer1.0": module, ...}``.

    Of torchvision's networks the blocks of ``known.toml``, and what comes after the last one. Of others what
    gives maps of the picture (see `probe`): the stages that timm names, else these blocks, else the parts of
    lists; where there are none (AlexNet, VGG, a network of your own), the last map (N, K, h, w) of each
    resolution. If nothing is found: a ValueError.
    """
    modules, found = named_layers(model), probe(model)
    if not (names := _probed(model, _blocks(model))):
        outer = [n for n, m in modules.items() if "." not in n and not isinstance(m, NO_MAPS)]
        reasons = Counter(f.reason for f in found.values() if f.shape and f.reason not in TOLD)
        why = f" ({reasons.most_common(1)[0][0]})" if reasons else ""
        why = f" (pictures of no usual size could be tried: {found[''].reason})" if "" in found else why
        own = f"name layers of your own, layers=[...] of {', '.join(outer)}, or " if outer else ""
        raise ValueError(
            f"{type(model).__name__} has no layers that are known to give maps{why}; {own}take methods that "
            "explain the input, such as methods=['saliency', 'occlusion']"
        )
    _tell_alike(names, modules)
    return {name: modules[name] for name in names}


def _tell_alike(names: list[str], modules: dict[str, nn.Module]) -> None:
    """Warn if all layers lie in one part beside others that are built alike, as a member of an ensemble."""
    for part in [n for n in modules if all(name.startswith(f"{n}.") for name in names)]:
        inside, around = [name.removeprefix(part) for name in names], part.rpartition(".")[0]
        others = [n for n in modules if n != part and n.rpartition(".")[0] == around]
        alike = [n for n in others if all(n + rest in modules for rest in inside)]
        if alike:
            told = f"all layers lie in {part!r}, and none in {', '.join(alike)}, which is built alike"
            warnings.warn(f"{told}; name layers=[...] for maps of another", stacklevel=4)


def check_layers(model: nn.Module, layers: dict[str, nn.Module]) -> None:
    """Refuse layers that a `probe` finds to give no map of the picture; those of `cam_layers` are known."""
    known: dict[str, nn.Module] = {}
    with contextlib.suppress(ValueError):
        known = cam_layers(model)
    asked = [name for name in layers if name not in known]
    found = [(name, f) for name, f in probe(model).items() if name in asked] if asked else []
    if problems := [f"{name!r}: {f.reason}" for name, f in found if f.shape and f.reason not in TOLD]:
        raise ValueError(f"layers give no map of the picture: {'; '.join(problems)}; name others, or 'all'")


def _probed(model: nn.Module, blocks: list[str]) -> list[str]:
    """Stages or blocks that give maps, or what stands for them; else the last map of each resolution."""
    modules, found = named_layers(model), probe(model)
    order, stages = [name for name in found if name], _stages(model)
    known = {n for n in blocks if type(modules[n]).__module__.partition(".")[0] in OURS}
    # What is known to be a block or stage is a map, even where layers so deep that all see all hide it.
    sure = known.union(stages)
    maps = [n for n in order if not found[n].reason or (n in sure and found[n].reason == SPREAD)]
    whole = [n for n in order if n in stages or not isinstance(modules[n], nn.Identity)]
    good = [n for n in whole if n in maps and not isinstance(modules[n], NO_MAPS)]
    names: dict[object, str] = {}  # by the part, or the shape, for which it stands
    parts = stages or blocks or _parts(modules, found)
    for part in parts:
        if part not in whole or any(str(other).startswith(f"{part}.") for other in names):
            continue
        # The norm that its output goes through next, or the last map in it.
        after = [n for n in whole[whole.index(part) + 1 :] if not any(modules[n].children())]
        inside = [n for n in good if n.startswith(f"{part}.") and found[part].reason != SHUFFLED]
        instead = after[:1] if found[part].reason == CANCELLED else []
        names.update([(part, n) for n in (part, *instead, *inside[-1:]) if n in good][:1])
    tail = _tail(model, parts, order) if names and not stages else []
    if not names and not stages:
        names = {found[n].shape: n for n in good if not found[n].again}
    layers = sorted({*names.values(), *tail}, key=order.index)
    if len(layers) <= MOST or (blocks and not stages):
        return layers
    return [layers[i] for i in np.linspace(0, len(layers) - 1, MOST).round().astype(int)]


def _tail(model: nn.Module, parts: Sequence[str], order: Sequence[str]) -> list[str]:
    """The last map between the last of a network's blocks and its head, if it is computed anew there."""
    modules, found, head = named_layers(model), probe(model), stem_and_head(inner(model))[1]
    start = 1 + max(order.index(part) for part in parts if part in order)
    tail = order[start : order.index(head) if head in order else None]
    for part in parts:
        tail = [n for n in tail if not f"{n}.".startswith(f"{part}.") and not part.startswith(f"{n}.")]
    anew = any(isinstance(modules[n], nn.Conv2d | nn.BatchNorm2d) for n in tail)
    pools = (*NO_MAPS, nn.MaxPool2d, nn.AvgPool2d)  # and masks have one channel
    maps = [n for n in tail if found[n].channels > 1 and not isinstance(modules[n], pools)]
    return [n for n in maps if anew and not found[n].reason][-1:]


def _stages(model: nn.Module) -> list[str]:
    """The stages that a network of timm names in its `feature_info`, which may lie within another."""
    modules = named_layers(model)
    for name, module in {"": inner(model), **modules}.items():
        if isinstance(stages := getattr(module, "feature_info", None), list):
            names = [f"{name}.{stage['module']}".lstrip(".") for stage in stages]
            return [n for n in names if n in modules]  # a few are spelt otherwise there
    return []


def _parts(modules: dict[str, nn.Module], found: dict[str, Found]) -> list[str]:
    """Blocks: the parts of lists that give maps; then the stages, which stand where no block in them does."""
    lists = {name for name, module in modules.items() if isinstance(module, nn.Sequential | nn.ModuleList)}
    ran = [n for n, f in found.items() if f.shape or f.reason == NO_TENSOR]  # such as a tuple with a map
    parts = [n for n in ran if n.rpartition(".")[0] in lists and any(modules[n].children())]
    around = {n: sum(n.startswith(f"{part}.") for part in parts) for n in parts}
    levels = [[n for n in parts if around[n] == depth] for depth in sorted({*around.values()})]
    blocks = next((level for level in levels if len(level) >= FEW), max(levels, key=len, default=[]))
    return blocks + [part for part in parts if any(around[part] < around[block] for block in blocks)]


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


def _blocks(model: nn.Module) -> list[str]:
    """The outermost blocks that are known."""
    names: dict[str, str] = {}
    for name, module in named_layers(model).items():
        parts = [KNOWN["blocks"].get(kind.__name__) for kind in type(module).__mro__]
        # The part of a class, or of one that it is derived from, if the module has it.
        part = next((p for p in parts if p == "" or (p and hasattr(module, p))), None)
        if part is not None and not any(name.startswith(f"{block}.") for block in names):
            names[name] = f"{name}.{part}".rstrip(".")
    return [*names.values()]
