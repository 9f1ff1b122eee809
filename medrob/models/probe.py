"""Which modules of a network give maps of the picture, found by changing a quarter of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from medrob.models.network import Classifier, one_tensor
from medrob.models.passes import as_input, channel_axis, evaluating, to_maps

# Sides in pixels, tried in this order after those that the network itself names.
TRIED = (224, 128, 64, 32, 28, 48, 96, 112, 160, 192, 256, 299, 384, 448, 512, 518)
REACHED = 0.25  # share of the positions that the gradient must reach; a max pooling leaves some out
# Where all of sum_k |g_k A_k| cancels in sum_k g_k A_k (a norm follows), a map would be rounding.
CANCELS = 1e-5


NO_TENSOR = "it gives no tensor (N, ...) for N images"

UNUSED = "the logits do not depend on it"
CANCELLED = "a norm follows, before which gradient and activation cancel"
KNOWN = (UNUSED, CANCELLED)  # which maps themselves tell, and which do not matter to all methods


@dataclass
class Found:
    """What one module gave in its last call."""

    shape: tuple[int, ...] = ()  # (h, w) of its maps; () if it gives none
    last: bool = False  # whether their channels come last, as those of tokens do
    reason: str = ""  # why it gives no map of the picture
    output: Tensor | None = None  # kept for the gradient


def probe(model: nn.Module, modules: Mapping[str, nn.Module]) -> dict[str, Found]:
    """What the modules give, in the order in which they end; {} if no side of `TRIED` is taken.

    One pass of five noise pictures, four of them with another quarter: a map must change most there. One
    backward pass tells whether the gradient reaches it. Neither the network nor a random state changes.
    """
    devices = {p.device for p in model.parameters()}
    if any(device.type == "meta" for device in devices):
        return {}
    values, cuda = _awake(model), [device for device in devices if device.type == "cuda"]
    with evaluating(model), torch.random.fork_rng(cuda), torch.enable_grad():
        for side in dict.fromkeys((*_named_sides(model), *TRIED)):
            try:
                return _judged(model, values, modules, side)
            except Exception:  # whatever a network raises that does not take this side
                continue
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

    handles = [m.register_forward_hook(partial(watch, name)) for name, m in modules.items()]
    try:
        x = as_input(model, _pictures(_channels(model), side)).requires_grad_()
        given = torch.func.functional_call(model, values, (x.clone(),))
    finally:
        for handle in handles:
            handle.remove()
    logits, _ = one_tensor(given)
    kept = {name: f for name, f in found.items() if f.output is not None and f.output.requires_grad}
    if not kept or not logits.requires_grad:
        return found
    # Weights that differ: the sum of logits after a softmax, or of a centred head, would have no gradient.
    weights = torch.linspace(1, 2, logits[0].numel(), device=logits.device, dtype=logits.dtype)
    explained = (logits.flatten(1) * weights).sum()
    outputs = [f.output for f in kept.values() if f.output is not None]
    for (name, f), g in zip(
        kept.items(), torch.autograd.grad(explained, outputs, allow_unused=True), strict=True
    ):
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
    h, w = maps.shape[2:]
    if min(h, w) < 2 or max(h, w) > 1.5 * min(h, w) or max(h, w) > side:
        return Found((h, w), reason=f"{h} x {w} is not the shape of a picture")
    change = (maps[1:] - maps[:1]).abs().sum(1)
    rows, columns = (slice(h // 2), slice(-(h // 2), None)), (slice(w // 2), slice(-(w // 2), None))
    quarters = torch.stack([change[:, r, c].mean((1, 2)) for r in rows for c in columns], 1)
    follows = quarters.argmax(1).tolist() == [0, 1, 2, 3]
    reason = "" if follows else "it does not change where the picture does"
    return Found((h, w), channel_axis(module, output) > 1, reason, None if reason else output)


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


def _channels(model: nn.Module) -> int:
    stem = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    return model.config["in_channels"] if isinstance(model, Classifier) else stem.in_channels if stem else 3


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
