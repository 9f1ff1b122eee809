"""Layers worth explaining, of any network: blocks that are known, else those that a probe finds.

A module gives maps of the picture if they change most where a quarter of the picture was changed.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from medrob.models.network import KNOWN, Classifier, one_tensor
from medrob.models.passes import as_input, channel_axis, evaluating, forward, to_maps

# Modules that give no map, or one that is only the pooling of the map before.
NO_MAPS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Linear, nn.Dropout, nn.Flatten, nn.Softmax)
# Of a network that is not torchvision's: their blocks, or its stages if these are FEW enough; at most MOST.
FEW, MOST = 6, 8
# The layers found, by the modules of the network: a probe costs some passes.
FOUND: WeakKeyDictionary[nn.Module, tuple[tuple[int, ...], tuple[str, ...]]] = WeakKeyDictionary()
# Sides in pixels, tried in this order after those that the network itself names.
TRIED = (224, 128, 64, 32, 28, 48, 96, 112, 160, 192, 256, 299, 384, 448, 512, 518)
REACHED = 0.25  # share of the positions that the gradient must reach; a max pooling leaves some out
# Where all of sum_k |g_k A_k| cancels in sum_k g_k A_k (a norm follows), a map would be rounding.
CANCELS = 1e-5
NO_TENSOR = "it gives no tensor (N, ...) for N images"
UNUSED = "the logits do not depend on it"
CANCELLED = "a norm follows, before which gradient and activation cancel"
TOLD = ("", UNUSED, CANCELLED)  # what maps themselves tell, and what does not matter to all methods


@dataclass
class Found:
    """What one module gave in its last call."""

    shape: tuple[int, ...] = ()  # (K, h, w) of its maps; () if it gives none
    last: bool = False  # whether their channels come last, as those of tokens do
    reason: str = ""  # why it gives no map of the picture
    output: Tensor | None = None  # kept for the gradient


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The modules by name; of a network of `medrob.models` those inside, by their own names."""
    network = model.backbone if isinstance(model, Classifier) else model
    return {name: module for name, module in network.named_modules(remove_duplicate=False) if name}


def cam_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Layers worth explaining, shallow to deep: ``{"layer1.0": module, ...}``.

    The blocks of ``known.toml``, and what comes after the last one; where there are none (AlexNet, VGG, a
    network of convolutions of your own), the last map (N, K, h, w) of each resolution. Of other networks,
    layers that give maps of the picture (see `probe`). If nothing is found: a ValueError.
    """
    modules = named_layers(model)
    key = tuple(map(id, modules.values()))  # its layers are sought again only if others have come
    known, names = FOUND.get(model, ((), ()))
    if known != key:
        blocks = _blocks(model)
        makers = {type(modules[name]).__module__.partition(".")[0] for name in blocks}
        sure = blocks and (_plain(model) or makers <= {"torchvision", "medrob", "torch"})
        names = tuple(blocks if sure else _probed(model, blocks))
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
    if problems := [f"{name!r}: {f.reason}" for name, f in found if f.shape and f.reason not in TOLD]:
        raise ValueError(f"layers give no map of the picture: {'; '.join(problems)}; name others, or 'all'")


def _plain(model: nn.Module) -> bool:
    """Whether it has neither attention nor LayerNorm, so that (N, K, h, w) are maps.

    A probe of its random weights could miss that: behind many gates over the whole picture (squeeze and
    excitation), all of a map changes about as much.
    """
    kinds = {type(module).__name__ for module in model.modules()}
    return not any(part in kind for kind in kinds for part in ("Attention", "Attn", "LayerNorm"))


def _probed(model: nn.Module, likely: list[str]) -> list[str]:
    """The last maps of each resolution; with attention or LayerNorm, blocks that give maps.

    The likely ones are these if all give maps and no tokens or channels-last maps lie deeper.
    """
    modules = named_layers(model)
    found = probe(model, modules)
    order = [*found]
    own = [n for n in order if not isinstance(modules[n], (*NO_MAPS, nn.Identity))]
    good = [n for n in own if not found[n].reason]
    if _plain(model):
        # A map has several positions, and is no image; a Sequential gives what its last part gave.
        image = {(k, side, side) for k in (1, 3) for side in TRIED}
        maps = [n for n in own if found[n].shape not in image and not isinstance(modules[n], nn.Sequential)]
        ended = {shape: n for n in maps if math.prod(shape := found[n].shape[1:]) > 1}
        return [n for n in order if n in ended.values()]
    if likely and all(name in found and not found[name].reason for name in likely):
        deeper = order[1 + max(map(order.index, likely)) :]
        if not any(found[name].last for name in good if name in deeper):
            return likely
    leaves = [n for n in order if not any(modules[n].children()) and not isinstance(modules[n], nn.Identity)]
    names = []
    for block in _parts(modules, found):
        # A block, or the norm that its output goes through next, or the last map in it.
        after = [name for name in leaves if order.index(name) > order.index(block)][:1]
        inside = [name for name in good if name.startswith(f"{block}.")][-1:]
        names += [name for name in (block, *after, *inside) if name in good][:1]
    names = names or [*{found[name].shape[1:]: name for name in good}.values()]
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
    """The outermost blocks that are known, norms in place of some, and what comes after the last."""
    network = model.backbone if isinstance(model, Classifier) else model
    normed = any(type(module).__name__ in KNOWN["classes"]["normed"] for module in network.modules())
    names: list[str] = []
    after: list[str] = []
    block, ended = "", False  # the last block, and whether nothing has come after it
    for name, module in network.named_modules():
        if part := _part(module, KNOWN["after_blocks"]):
            *_, last = module.get_submodule(part).named_children()
            after.append(f"{name}.{part}.{last[0]}".lstrip("."))
        if block and name.startswith(f"{block}."):
            continue
        part = _part(module, KNOWN["blocks"])
        if part is not None and name:
            block, ended = name, True
            names.append(f"{name}.{part}".rstrip("."))
        elif not [*module.children()]:
            if normed and ended and isinstance(module, nn.LayerNorm):
                names[-1] = name
            ended = False
    return [*names, *after] if names else []


def _part(module: nn.Module, table: dict[str, str]) -> str | None:
    """The entry of a module's class, or of one it is derived from, if the module has such a part."""
    parts = (table[kind.__name__] for kind in type(module).__mro__ if kind.__name__ in table)
    return next((part for part in parts if not part or hasattr(module, part)), None)


def probe(model: nn.Module, modules: Mapping[str, nn.Module]) -> dict[str, Found]:
    """What the modules give, in the order in which they end; {} if no side of `TRIED` is taken.

    One pass of five noise pictures, four of them with another quarter: a map must change most there. One
    backward pass tells whether the gradient reaches it. Neither the network nor a random state changes.
    """
    cuda = {p.device for p in model.parameters() if p.is_cuda}
    with evaluating(model), torch.random.fork_rng(cuda), torch.enable_grad():
        values = _awake(model)
        for side in dict.fromkeys((*_named_sides(model), *TRIED)):
            with contextlib.suppress(Exception):  # whatever a network raises that does not take this side
                return _judged(model, values, modules, side)
    return {}


def _judged(
    model: nn.Module, values: dict[str, Tensor], modules: Mapping[str, nn.Module], side: int
) -> dict[str, Found]:
    found: dict[str, Found] = {}

    def watch(name: str, module: nn.Module, inputs: object, output: object) -> Tensor | None:
        found.pop(name, None)  # of several calls, the last counts
        found[name] = _seen(module, output, side)
        kept = found[name].output
        return None if kept is None else kept.clone()

    stem = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    channels = stem.in_channels if stem else 3
    if isinstance(model, Classifier):
        channels = model.config["in_channels"]
    with contextlib.ExitStack() as hooks:
        for name, module in modules.items():
            hooks.callback(module.register_forward_hook(partial(watch, name)).remove)
        x = as_input(model, _pictures(channels, side)).requires_grad_()
        logits, _ = one_tensor(torch.func.functional_call(model, values, (x.clone(),)))
    kept = {name: f for name, f in found.items() if f.output is not None and f.output.requires_grad}
    if not kept or not logits.requires_grad:
        return found
    # Weights that differ: the sum of logits after a softmax, or of a centred head, would have no gradient.
    weights = torch.linspace(1, 2, logits[0].numel(), device=logits.device, dtype=logits.dtype)
    explained = (logits.flatten(1) * weights).sum()
    outputs = [f.output for f in kept.values() if f.output is not None]
    gradients = torch.autograd.grad(explained, outputs, allow_unused=True)
    for (name, f), g in zip(kept.items(), gradients, strict=True):
        f.reason = _unreached(modules[name], f.output, g)
    for f in found.values():
        f.output = None
    return found


def _seen(module: nn.Module, output: object, side: int) -> Found:
    """The shape of a module's maps, and whether each quarter of them follows its quarter of the picture."""
    if not isinstance(output, Tensor) or not output.is_floating_point() or len(output) != 5:
        return Found(reason=NO_TENSOR)
    try:
        maps = to_maps(module, output.detach())
    except ValueError as error:
        return Found(reason=str(error))
    shape, (h, w) = tuple(maps.shape[1:]), maps.shape[2:]
    if min(h, w) < 2 or max(h, w) > 1.5 * min(h, w) or max(h, w) > side:
        return Found(shape, reason=f"{h} x {w} is not the shape of a picture")
    change = (maps[1:] - maps[:1]).abs().sum(1)
    rows, columns = (slice(h // 2), slice(-(h // 2), None)), (slice(w // 2), slice(-(w // 2), None))
    quarters = torch.stack([change[:, r, c].mean((1, 2)) for r in rows for c in columns], 1)
    follows = quarters.argmax(1).tolist() == [0, 1, 2, 3]
    reason = "" if follows else "it does not change where the picture does"
    return Found(shape, channel_axis(module, output) > 1, reason, None if reason else output)


def _unreached(module: nn.Module, output: Tensor | None, g: Tensor | None) -> str:
    """Why the gradient at a module's output makes no map; "" if it does."""
    if output is None or g is None or not g[:1].any():
        return UNUSED
    A, g = (to_maps(module, t[:1].detach()).double() for t in (output, g))  # one picture tells it
    size = (A * g).abs().sum(1)
    reached = g.abs().amax(1) > 1e-9 * g.abs().max()
    if reached.double().mean() < REACHED:
        return "the logits do not depend on what it gives at the places of the picture"
    if ((A * g).sum(1).abs() <= CANCELS * size)[reached].double().mean() > 0.5:
        return CANCELLED
    return ""


def _pictures(channels: int, side: int) -> Tensor:
    """Noise (5, C, side, side), grey levels 0-255: one, and four copies with one quarter each changed."""
    noise, other = np.random.default_rng(0).integers(0, 256, (2, channels, side, side))
    x, half = np.stack([noise] * 5), side // 2
    for k in range(4):
        place = np.s_[:, half:] if k > 1 else np.s_[:, :half]
        place = (*place, slice(half, None) if k % 2 else slice(half))
        x[k + 1][place] = other[place]
    return torch.from_numpy(x).float()


def _awake(model: nn.Module) -> dict[str, Tensor]:
    """The parameters without gradient; weights that start at about 0 (heads, gains of blocks) get others."""
    rng = np.random.default_rng(0)
    values = {name: p.detach() for name, p in model.named_parameters()}
    zero = [n for n, p in values.items() if not n.endswith("bias") and p.numel() and p.abs().max() < 1e-3]
    return values | {n: torch.from_numpy(rng.normal(0.1, 0.1, values[n].shape)).to(values[n]) for n in zero}


def _named_sides(model: nn.Module) -> Iterator[int]:
    """Sides that `medrob`, torchvision, timm and Hugging Face write into a network."""
    for module in (model, *model.modules()):
        for table, key in (("config", "size"), ("config", "image_size"), ("default_cfg", "input_size")):
            of = getattr(module, table, None)
            side = of.get(key) if isinstance(of, Mapping) else getattr(of, key, None)
            side = side[-1] if isinstance(side, (list, tuple)) else side
            if isinstance(side, int) and side > 0:
                yield side
        if isinstance(side := getattr(module, "image_size", None), int):
            yield side
