"""What a network gives, and what is made of it to get logits: how it ends, which of its outputs are meant."""

import math
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# What is known of the classes of others, and of files of weights.
KNOWN: dict[str, Any] = tomllib.loads(Path(__file__).with_name("known.toml").read_text("utf-8"))
NEAR = 1e-3  # that much outputs may differ from an activation's, as by a clamp
PROBED = 4  # images by which the end of a network is told
SCALES = [sign * 10.0**k for k in range(-4, 5, 2) for sign in (1, -1)]
# What makes probabilities, or their logarithms, of logits; in shares, per cent, or logarithms to 10 or 2.
KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "softmax": partial(torch.softmax, dim=-1),
    "log_sigmoid": F.logsigmoid,
    "log_softmax": partial(torch.log_softmax, dim=-1),
}
FACTORS = (1, 100, 1 / math.log(10), 1 / math.log(2))
OTHER, WHOLE = "probabilities", "probabilities whose sum is 1"
EACH_TIME = (
    "the network gives other outputs each time for the same images: dropout or noise is at work in eval "
    "mode; switch it off there, such as by F.dropout(x, training=self.training)"
)
BESIDE = (
    "what the network gives for an image depends on those beside it, and so would results on batch_size; "
    "let batch norm keep its statistics (track_running_stats=True), and no step mix images"
)


class Activations(TorchFunctionMode):
    """Notes what softmax, the sigmoid or the logarithm of one takes and gives, however it is called.

    Only what may be the outputs, with at most two sides above 1: attention would fill the memory.
    """

    calls: Sequence[tuple[str, partial[Tensor], Tensor]] = ()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function; keep the arguments of one that makes probabilities."""
        again = partial(func, *args, **(kwargs or {}))
        after = again()
        name = getattr(func, "__name__", "").removeprefix("special_").replace("expit", "sigmoid")
        if name in KINDS and sum(side > 1 for side in after.shape) <= 2:
            self.calls = (*self.calls, (name, again, after))
        return after

    def undone(self, output: Tensor) -> tuple[str, Tensor] | None:
        """The last activation that makes the outputs, and what it took, in their shape: the logits.

        Only if no step in place has changed them since by more than `NEAR`, as a clamp may. Of the sigmoid p
        of one logit, outputs 1 - p and p (or p and 1 - p) give this logit (or minus it), (N, 1).
        """
        for name, again, after in () if output.is_meta else reversed(self.calls):
            z = (*again.args, *again.keywords.values())[0]
            same = output.numel() == after.numel() and output.data_ptr() == after.data_ptr()
            if same and torch.allclose(again().reshape(output.shape), output, NEAR, NEAR, equal_nan=True):
                return name, z.reshape(output.shape)
            if name == "sigmoid" and output.shape == (after.numel(), 2):
                pair = torch.stack([1 - after.flatten(), after.flatten()], 1)
                for sign, p in ((1, pair), (-1, pair.flip(1))):
                    if torch.allclose(p, output, NEAR, NEAR):
                        return name, sign * z.reshape(-1, 1)
        return None


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in eval mode while the block runs; every module's mode is given back."""
    modes = {module: module.training for module in model.modules()}
    saving = [vars(module) for module in modes if vars(module).get("grad_checkpointing") is True]
    try:
        for attributes in saving:  # timm's: layers would be seen without gradient
            attributes["grad_checkpointing"] = False
        model.eval()
        yield
    finally:
        for attributes in saving:
            attributes["grad_checkpointing"] = True
        if modes[model]:
            model.train()
        for module, mode in modes.items():
            module.training = mode


def ending(network: nn.Module, x: Tensor, classes: int) -> list[str]:
    """How a network ends, told by its outputs while the weights of its last layer are multiplied by numbers.

    It is the last that they depend on; others may have layers behind it. [layer, a name of `KINDS`]: with one
    of its own, of what this layer gives; ["", such a name]: with PyTorch's; [layer, `OTHER` or `WHOLE`]: with
    what is never below 0, is bounded, and none of them; [layer, "stay between -1 and 1"]: with other bounds;
    [layer, "are never below 0"]. [] = with logits.

    Raises:
        ValueError: the outputs for an image are others each time, or beside other images.
    """
    x, modules = x[:PROBED], network.named_modules()
    layers = {name: m for name, m in modules if isinstance(m, nn.Linear | nn.Conv2d)}
    kept, ran = dict[str, Tensor](), list[str]()

    def outputs(x: Tensor, layer: str = "", scale: float = 1) -> Any:
        values = {k: scale * p for k, p in layers[layer].named_parameters(layer)} if layer else {}
        output = torch.func.functional_call(network, values, (x.clone(),))  # which may change it in place
        return one_tensor(output, (len(x), classes))[0]

    with ExitStack() as stack:
        # Hooks, and weights that change, would compile a network anew.
        eager, random = torch.compiler.set_stance("force_eager"), torch.random.fork_rng(devices=[])
        for context in (eager, random, torch.no_grad(), evaluating(network)):
            stack.enter_context(context)
        with Activations() as activations, hooked(layers, lambda name, *_: ran.append(name)):
            given = outputs(x)
        if not isinstance(given, Tensor) or not given.is_floating_point() or given.shape[:1] != x.shape[:1]:
            return []
        for few, tolerance, problem in ((x, 1e-3, EACH_TIME), (x[:1], 0.03, BESIDE)):
            limit = tolerance * given.nan_to_num().abs().max().item()
            if not torch.allclose(given[: len(few)], outputs(few), 0, limit, equal_nan=True):
                raise ValueError(problem)
        if undone := activations.undone(given):
            return ["", undone[0]]
        for layer in dict.fromkeys(reversed(ran)):
            if all(torch.equal(given, outputs(x, layer, scale)) for scale in SCALES[:2]):
                continue  # they do not depend on it
            with hooked({layer: layers[layer]}, last_of(kept)):
                pairs = [(outputs(x, layer, scale).double(), kept[layer].double()) for scale in SCALES]
            pairs = [(y, z) for y, z in pairs if y.isfinite().all()]
            kind = _kind(*map(torch.stack, zip(*pairs, strict=True))) if len(pairs) > 1 else ""
            return [layer, kind] if kind else []
    return []


def _kind(stacked: Tensor, z: Tensor) -> str:
    """See `ending`: what makes outputs of what the last layer gives, for each of `SCALES`; "" = nothing."""
    for kind, f in KINDS.items() if z.numel() == stacked.numel() else ():
        if any(torch.allclose(c * f(z.view_as(stacked)), stacked, 1e-3, 1e-3) for c in FACTORS):
            return kind
    low, high, sizes = stacked.min().item(), stacked.max().item(), stacked.abs().flatten(1).amax(1)
    still = len(stacked) == len(SCALES) and sizes[-2:].max() < 2 * sizes[-4:-2].max()  # with weights x 100
    cut = z.numel() == stacked.numel() and torch.allclose(z.view_as(stacked).clamp(low, high), stacked)
    if low >= 0 and (high < 1 + 1e-6 or (still and not cut)):
        whole = stacked.ndim == 3 and torch.allclose(stacked.sum(2), stacked.new_ones(()), 0, 1e-4)
        return WHOLE if whole else OTHER
    if still:
        return f"stay between {low:.3g} and {high:.3g}"
    return "are never below 0" if low >= 0 > z.min() else ""


Seen = Callable[[str, nn.Module, Any], Tensor | None]


@contextmanager
def hooked(layers: Mapping[str, nn.Module], see: Seen) -> Iterator[None]:
    """Show `see` each layer's name, the layer and what it gives (of a tuple the first) while the block runs.

    The tensor that it returns is its own, and a copy of it goes on: a step in place must not overwrite it.
    """

    def hook(name: str, module: nn.Module, inputs: object, output: Any) -> Any:
        several = type(output) is tuple and len(output) > 0  # such as tokens and weights of an attention
        if (kept := see(name, module, output[0] if several else output)) is None:
            return None
        return (kept.clone(), *output[1:]) if several else kept.clone()

    with ExitStack() as hooks:
        for name, module in layers.items():
            hooks.callback(module.register_forward_hook(partial(hook, name)).remove)
        yield


def last_of(kept: dict[str, Tensor]) -> Seen:
    """What `hooked` shows is kept in a dictionary."""

    def keep(name: str, module: nn.Module, given: Tensor) -> Tensor:
        kept[name] = given
        return given

    return keep


def one_tensor(output: Any, shape: tuple[int, int] | None = None) -> tuple[Any, str]:
    """The logits among what a network gives, and which they are, in words.

    Those called logits, else those of that shape (N, classes), 0 = any, else those of one logit, else the
    first. Of several, that of a usual name, else none: the outputs are given back as they are.
    """
    if hasattr(output, "_asdict"):
        output = output._asdict()
    if not isinstance(output, Mapping) and hasattr(output, "logits"):
        return _flat(output.logits, shape), ""
    if not isinstance(output, Mapping | tuple | list):
        return _flat(output, shape), ""
    pairs = output.items() if isinstance(output, Mapping) else enumerate(output, 1)
    entries = {name: _flat(value, shape) for name, value in pairs if value is not None}
    real = {n: v.shape for n, v in entries.items() if isinstance(v, Tensor) and v.is_floating_point()}
    images, classes = shape or (0, 0)
    exact = [n for n, s in real.items() if len(s) == 2 and s[0] == images and classes in (0, s[1])]
    one = [n for n, s in real.items() if s == (images, 1)]
    usual = KNOWN["names"]["logits"]
    fitting = next(filter(None, ([n for n in usual[:2] if n in (*exact, *one)], exact, one)), [])
    named = [name for name in usual if name in (fitting or entries)]
    if not entries or (classes and len(fitting) > 1 and not named):
        return output, ""
    name = [*named, *fitting, *entries][0]
    others = ", ".join(str(key) for key in entries if key != name)
    return entries[name], others and f"of its outputs {name!r} is taken, not {others}"


def _flat(value: Any, shape: tuple[int, int] | None) -> Any:
    """A tensor as (N, classes), or (N, 1) of one logit for two, if only sides of 1 keep it from that."""
    if isinstance(value, Tensor) and shape:
        for wanted in (shape, (shape[0], 1))[: 1 + (shape[1] == 2)]:
            if [side for side in value.shape if side != 1] == [side for side in wanted if side != 1]:
                return value.reshape(wanted)
    return value


def activate(logits: Tensor, task: str) -> Tensor:
    """Probabilities (N, K): a sigmoid for each label of a multi-label task, else softmax over classes."""
    return logits.sigmoid() if task == "multilabel" else logits.softmax(1)
