"""Which modules of a network give maps of the picture, found by changing a quarter of it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from medrob.models.network import Classifier
from medrob.models.outputs import Activations, evaluating, hooked, one_tensor
from medrob.models.passes import as_input, to_maps

# Sides in pixels, tried in this order after those that the network itself names.
TRIED = (128, 224, 64, 32, 28, 48, 96, 112, 160, 192, 256, 299, 384, 448, 512, 518)
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # of batch norms
PICTURES = 2  # of each, one copy with another quarter for each of its quarters
# Where its quarters stand when a picture is not, is mirrored, or is turned, with and without.
QUARTERS = torch.arange(4).view(2, 2)
TURNS = [q.rot90(k).flatten().tolist() for q in (QUARTERS, QUARTERS.flip(0)) for k in range(4)]
CUT = 0.1  # share of a side that the logits may leave out, as strides without padding do
REACHED = 0.25  # share of the positions that the gradient must reach; a max pooling leaves some out
# Where all of sum_k |g_k A_k| but a norm's epsilon cancels in sum_k g_k A_k, as a norm that follows ignores
# the scale at each position (Euler's theorem), a map would be rounding.
CANCELS = 1e-3

NO_TENSOR = "it gives no tensor (N, ...) for N images"
ELSEWHERE = "it does not change where the picture does"
MOVED = "the network turns or mirrors the picture before; do that to the images, in the data"
SPREAD = "it changes nearly everywhere alike"  # a layer so deep that all see all
CROPPED = "the network looks at a part of the picture only; crop the images before, in the data"
AS_GIVEN = "it has the shape of the picture itself"
SHUFFLED = "its tokens do not change where the picture does"  # such as those of Hiera, window by window
VIEWS = "the network runs several times for each picture, and maps would be those of its last run"
UNUSED = "the logits do not depend on it"
CANCELLED = "a norm follows, before which gradient and activation cancel"
TOLD = ("", SPREAD, AS_GIVEN, UNUSED, CANCELLED)  # which maps themselves tell, or not all methods mind


@dataclass
class Found:
    """What one module gave in its last call."""

    shape: tuple[int, ...] = ()  # (h, w) of its maps; () if it gives none
    reason: str = ""  # why it gives no map of the picture
    again: bool = False  # whether it only hands on what a module in it gave
    channels: int = 0


PROBED: WeakKeyDictionary[nn.Module, tuple[tuple[int, ...], dict[str, Found]]] = WeakKeyDictionary()


def inner(model: nn.Module) -> nn.Module:
    """The network itself, without what normalises its images."""
    return model.backbone if isinstance(model, Classifier) else model


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The modules by name; of a network of `medrob.models` those inside, by their own names."""
    return {name: module for name, module in inner(model).named_modules(remove_duplicate=False) if name}


def probe(model: nn.Module) -> dict[str, Found]:
    """What the modules give, in the order in which they end; {} if no side of `TRIED` is taken.

    Changing a quarter of a picture must change a map most there, and the gradient must reach the map. The
    weights are drawn, so that networks of one form have the same layers, trained or not; the model keeps its
    own. On the device "meta" there are only shapes.
    """
    modules = named_layers(model)
    key = tuple(map(id, modules.values()))  # a probe costs some passes: only if other modules have come
    if model not in PROBED or PROBED[model][0] != key:
        PROBED[model] = key, _first_side(model, modules)
    return PROBED[model][1]


def _first_side(model: nn.Module, modules: Mapping[str, nn.Module]) -> dict[str, Found]:
    network, values = inner(model), _drawn(inner(model))
    stem = next((m.in_channels for m in network.modules() if isinstance(m, nn.Conv2d)), 3)
    config = model.config if isinstance(model, Classifier) else {}
    channels = config.get("repeated") or config.get("in_channels", stem)
    cuda = {p.device for p in model.parameters() if p.is_cuda}

    def logits_of(x: Tensor) -> Tensor:
        with Activations() as activations:
            output = torch.func.functional_call(network, values, (x,))
        logits, _ = one_tensor(output, (len(x), config.get("num_classes", 0)))
        undone = activations.undone(logits)
        return undone[1] if undone else logits

    with evaluating(model), torch.random.fork_rng([*cuda]):
        for module in network.modules():  # statistics of the pictures: the weights are drawn
            module.training = isinstance(module, nn.modules.batchnorm._BatchNorm)
        found, taken = dict[str, Found](), 0
        named, large = [*_named_sides(model)], max(TRIED[:2])  # a larger one costs much, and few need it
        for side in dict.fromkeys((*(side for side in named if side <= large), *TRIED, *named)):
            if side < taken:
                continue
            try:
                found, taken = _judged(logits_of, as_input(network, _pictures(channels, side)), modules), side
            except Exception as error:  # whatever its own code raises for such a side
                found = found or {"": Found(reason=f"{error!r:.200}")}
                continue
            # On a small picture all positions of deep layers see all of it: judge them on a larger one.
            if side >= large or not any(f.reason == SPREAD for f in found.values()):
                break
    return found


def _judged(
    logits_of: Callable[[Tensor], Tensor], x: Tensor, modules: Mapping[str, nn.Module]
) -> dict[str, Found]:
    found: dict[str, Found] = {}
    kept: dict[str, Tensor] = {}
    last: list[object] = ["", None]  # the module that ended before, and what it gave
    runs = Counter[str]()  # of those with weights

    def see(name: str, module: nn.Module, output: object) -> None:
        runs[name] += any(True for _ in module.parameters())
        found.pop(name, None)  # of several calls, the last counts
        found[name] = _seen(module, output, x)
        found[name].again = output is last[1] and str(last[0]).startswith(f"{name}.")
        last[:] = name, output

    def keep(name: str, module: nn.Module, output: Tensor) -> Tensor:
        kept[name] = output if output.requires_grad else output.detach().requires_grad_()
        return kept[name]

    with torch.no_grad(), hooked(modules, see):
        logits_of(x)
    if next(filter(None, runs.values()), 0) > 1:  # the first of them, for other views of the picture
        for name in (name for name, times in runs.items() if times > 1):
            found[name].reason = VIEWS
    reasons = [f.reason for f in found.values()]
    if reasons.count(MOVED) > reasons.count(""):  # then what is like no turn is turned, too
        _change(found, (SPREAD, ELSEWHERE), MOVED)
    good = {name: modules[name] for name, f in found.items() if f.reason in ("", SPREAD)}
    if x.is_meta or not good:
        return found
    with torch.enable_grad(), hooked(good, keep):
        source = x[:2].clone().requires_grad_()
        logits = logits_of(source.clone())
        # Weights that differ: the sum of the logits of a centred head would have no gradient.
        explained = (logits.flatten() * torch.linspace(1, 2, logits.numel()).to(logits)).sum()
        if not explained.requires_grad:
            return found
        seen, *gradients = torch.autograd.grad(explained, [source, *kept.values()], allow_unused=True)
    for name, g in zip(kept, gradients, strict=True):
        found[name].reason = _unreached(good[name], kept[name].detach(), g) or found[name].reason
    if seen is not None and _cropped(seen):
        _change(found, ("", SPREAD), CROPPED)
    return found


def _change(found: Mapping[str, Found], before: Sequence[str], reason: str) -> None:
    for f in found.values():
        f.reason = reason if f.reason in before else f.reason


def _seen(module: nn.Module, output: object, x: Tensor) -> Found:
    """The shape of a module's maps, and whether each quarter of them follows its quarter of the pictures.

    A position is compared with itself when other quarters change: what acts on the whole picture (attention,
    squeeze and excitation) and what the border does are the same for all.
    """
    if not isinstance(output, Tensor) or not output.is_floating_point() or len(output) != len(x):
        return Found(reason=NO_TENSOR)
    try:
        maps = to_maps(module, output)
    except ValueError as error:
        return Found(reason=str(error))
    h, w = maps.shape[2:]
    at = partial(Found, (h, w), channels=maps.shape[1])
    if min(h, w) < 2 or max(h, w) > 1.5 * min(h, w) or max(h, w) > x.shape[2]:
        return at(f"{h} x {w} is not the shape of a picture")
    if (given := maps.shape[1:] == x.shape[1:]) or x.is_meta:
        return at(AS_GIVEN if given else "")
    maps = maps.unflatten(0, (PICTURES, 5))
    change = torch.linalg.vector_norm((maps[:, 1:] - maps[:, :1]).double(), dim=2)
    share = (change / change.sum(1, keepdim=True).clamp_min(1e-300)).mean(0)
    places = torch.stack([share[:, r, c].mean((1, 2)) for r in _halves(h) for c in _halves(w)])
    if places.argmax(1).tolist() == [0, 1, 2, 3]:
        return at()
    if output.ndim == 3:
        return at(SHUFFLED)
    likely = TURNS[int(torch.stack([places[range(4), turn].sum() for turn in TURNS]).argmax())]
    reason = MOVED if places.argmax(1).tolist() == likely else ELSEWHERE
    return at(SPREAD if likely == TURNS[0] else reason)


def _cropped(gradient: Tensor) -> bool:
    """Whether the logits leave out more of a side of the picture than strides do, by their gradient."""
    matters = (gradient != 0).flatten(0, 1).any(0)
    seen = [matters.any(axis).nonzero() for axis in (0, 1)]
    return any(len(at) and at.max() - at.min() < (1 - CUT) * len(matters) - 1 for at in seen)


def _unreached(module: nn.Module, output: Tensor, g: Tensor | None) -> str:
    """Why the gradient at a module's output makes no map; "" if it does."""
    if g is None or not g.any():
        return UNUSED
    A, g = to_maps(module, output).double(), to_maps(module, g).double()
    reached = g.abs().amax(1) > 1e-9 * g.abs().max()
    if reached.double().mean() < REACHED:
        return "the logits do not depend on what it gives at the places of the picture"
    cancels = (A * g).sum(1).abs() <= CANCELS * (A * g).abs().sum(1)
    return CANCELLED if cancels[reached].double().mean() > 0.5 else ""


def _halves(side: int) -> tuple[slice, slice]:
    return slice(side // 2), slice(-(side // 2), None)


def _pictures(channels: int, side: int) -> Tensor:
    """Coarse squares in [-1, 1], (N, C, side, side): pictures, each before four copies of it.

    Fine noise would be averaged away by a deep network.
    """
    random = torch.Generator().manual_seed(0)
    squares = torch.rand(2 * PICTURES, channels, 8, 8, generator=random).mul(2).sub(1)
    noise, other = nn.functional.interpolate(squares, (side, side)).chunk(2)
    x = noise[:, None].repeat(1, 5, 1, 1, 1)
    for k, (r, c) in enumerate([(r, c) for r in _halves(side) for c in _halves(side)]):
        x[:, k + 1, :, r, c] = other[:, :, r, c]
    return x.flatten(0, 1)


def _drawn(model: nn.Module) -> dict[str, Tensor]:
    """Parameters as an untrained network may have them, so that none is 0 or dominates; copies of statistics.

    Convolutions keep the size of activations (He et al. 2015); what else mixes, such as attention, is weaker,
    since it must not hide what a position itself holds.
    """
    random = torch.Generator().manual_seed(0)
    values = {name: b.clone() for name, b in model.named_buffers() if name.endswith(STATISTICS)}
    for name, p in model.named_parameters():
        if p.is_meta or not p.is_floating_point():
            continue
        # Above 0, where a ReLU changes little: behind many, a small change would be one everywhere.
        normed = name.removesuffix("bias") + "running_mean" in values
        if p.ndim < 2 or p[0].numel() == 1:  # a bias, or a gain
            values[name] = torch.full_like(p.detach(), normed or not name.endswith("bias"))
        else:
            gain = 2**0.5 * (1 if p.ndim > 2 else 0.3)
            values[name] = torch.randn(p.shape, generator=random).mul(gain / p[0].numel() ** 0.5).to(p)
    return values


def _named_sides(model: nn.Module) -> Iterator[int]:
    """Sides that `medrob`, torchvision, timm and Hugging Face write into a network."""
    if isinstance(model, Classifier) and model.config.get("stem") == "small":
        yield 64  # its maps are large
    for module in model.modules():
        config, usual = getattr(module, "config", None), getattr(module, "default_cfg", None)
        for table in (config, usual, {"image_size": getattr(module, "image_size", None)}):
            named = table if isinstance(table, Mapping) else getattr(table, "__dict__", {})
            for key in ("size", "image_size", "input_size"):
                side = named.get(key)
                side = side[-1] if isinstance(side, list | tuple) and side else side
                if isinstance(side, int) and side > 1:
                    yield side
