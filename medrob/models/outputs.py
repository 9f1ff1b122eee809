"""What a network gives, and what is made of it to get logits: how it ends, which of its outputs are meant."""

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# What is known of the classes of others, and of files of weights.
KNOWN: dict[str, Any] = tomllib.loads(Path(__file__).with_name("known.toml").read_text("utf-8"))
NEAR = 1e-3  # that much outputs may differ from an activation's, as by a clamp
PROBED = 4  # images by which the end of a network is told
SCALES = [sign * 10.0**k for k in range(-4, 5, 2) for sign in (1, -1)]
KINDS = ("sigmoid", "softmax", "log_sigmoid", "log_softmax")  # PyTorch's functions that are undone
OTHER = "probabilities"
PROGRAMS = ("torch.jit", "torch.export")  # whose modules are programs, into which nobody can look
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

        Only if no step in place has changed them since by more than `NEAR`, as a clamp may.
        """
        for name, again, after in () if output.is_meta else reversed(self.calls):
            same = output.numel() == after.numel() and output.data_ptr() == after.data_ptr()
            if same and torch.allclose(again().reshape(output.shape), output, NEAR, NEAR, equal_nan=True):
                return name, (*again.args, *again.keywords.values())[0].reshape(output.shape)
        return None


def check_no_program(model: nn.Module) -> None:
    """Refuse what no longer is the module that was written."""
    kinds = {base.__module__ for kind in {*map(type, model.modules())} for base in kind.__mro__}
    if any(kind.startswith(PROGRAMS) for kind in kinds):
        program = "a program of TorchScript or torch.export, whose layers cannot be looked into"
        raise ValueError(f"the network is {program}; give the module that it was made from")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in eval mode while the block runs; every module's mode is given back."""
    check_no_program(model)
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

    It is the last that they depend on. [a name of `KINDS`]: with this function; [`OTHER`]: with what else is
    bounded and never below 0; ["stay between -1 and 1"], ["are never below 0"]: with such outputs. [] = with
    logits.

    Raises:
        ValueError: the outputs for an image are others each time, or beside other images.
    """
    x, modules = x[:PROBED], network.named_modules()
    layers = {name: m for name, m in modules if isinstance(m, nn.Linear | nn.Conv2d)}
    ran = list[str]()

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
            return [undone[0]]
        for layer in dict.fromkeys(reversed(ran)):
            scaled = [outputs(x, layer, scale).double() for scale in SCALES]
            if not all(torch.equal(given.double(), values) for values in scaled[:2]):  # they depend on it
                kind = _bounds([values for values in scaled if values.isfinite().all()])
                return [kind] if kind else []
    return []


def _bounds(scaled: Sequence[Tensor]) -> str:
    """See `ending`: what holds for all outputs, those for each of `SCALES`; "" = nothing."""
    if len(scaled) < 2:
        return ""
    stacked = torch.stack([*scaled])
    low, high, sizes = stacked.min().item(), stacked.max().item(), stacked.abs().flatten(1).amax(1)
    still = len(stacked) == len(SCALES) and sizes[-2:].max() < 2 * sizes[-4:-2].max()  # with weights x 100
    if low >= 0 and (still or high < 1 + 1e-6):
        return OTHER
    if still:
        return f"stay between {low:.3g} and {high:.3g}"
    return "are never below 0" if low >= 0 else "are never above 0" if high <= 0 else ""


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


def one_tensor(output: Any, shape: tuple[int, int] | None = None) -> tuple[Any, str]:
    """The logits among what a network gives, and which they are, in words.

    Those called logits, else those of that shape (N, classes), 0 = any, else those of one logit. Of several,
    that of a usual name, else none: the outputs are given back as they are.
    """
    if hasattr(output, "_asdict"):
        output = output._asdict()
    if not isinstance(output, Mapping | tuple | list):
        return _flat(getattr(output, "logits", output), shape), ""
    pairs = output.items() if isinstance(output, Mapping) else enumerate(output, 1)
    entries = {name: _flat(value, shape) for name, value in pairs if value is not None}
    real = {n: v.shape for n, v in entries.items() if isinstance(v, Tensor) and v.is_floating_point()}
    images, classes = shape or (0, 0)
    exact = [n for n, s in real.items() if len(s) == 2 and images in (0, s[0]) and classes in (0, s[1])]
    one = [n for n, s in real.items() if s == (images, 1)]
    for group in ([n for n in (*exact, *one) if n == "logits"], exact, one):
        named = [name for name in KNOWN["names"]["logits"] if name in group]
        if named or len(group) == 1 or (group and not classes):
            name = [*named, *group][0]
            others = ", ".join(str(key) for key in entries if key != name)
            return entries[name], others and f"of its outputs {name!r} is taken, not {others}"
        if group:
            break
    return output, ""


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
