"""Maps of the input itself, through captum: the logit explained, attributed to the grey levels 0-255.

Where a method needs a picture without content, that is black (0).
"""

import copy
import warnings
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from captum.attr import DeepLift, GuidedBackprop, InputXGradient, IntegratedGradients, Occlusion, Saliency
from torch import Tensor, fx, nn

from medrob.models import Normalise
from medrob.saliency.gradient import Batch, Maps

INPUT = "input"
WINDOW = 0.125  # side of the patch that occlusion covers, in shares of the image's side
OWN = "own_relu_"
RELUS = (F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_")


def saliency(model: nn.Module, x: Tensor, batch: Batch) -> Tensor:
    """Size of the gradient, the largest of the channels (Simonyan et al. 2014)."""
    return Saliency(model).attribute(x, target=batch.targets).amax(1)


def smoothgrad(model: nn.Module, x: Tensor, batch: Batch) -> Tensor:
    """Size of the mean gradient of noisy copies, the largest of the channels (Smilkov et al. 2017)."""
    total = torch.zeros_like(x)
    for field in batch.fields(x.shape[1]):
        noisy = (x.detach() + 255 * batch.settings.noise * field).requires_grad_()
        total += Saliency(model).attribute(noisy, target=batch.targets, abs=False)
    return (total / batch.settings.samples).abs().amax(1)


def guided_backprop(model: nn.Module, x: Tensor, batch: Batch) -> Tensor:
    """As `saliency`, where no ReLU lets a negative gradient pass (Springenberg et al. 2015)."""
    return GuidedBackprop(model).attribute(x, target=batch.targets).abs().amax(1)


def input_x_gradient(model: nn.Module, x: Tensor, batch: Batch) -> Tensor:
    """Grey level times gradient, the sum over the channels, with its sign (Shrikumar et al. 2016)."""
    return InputXGradient(model).attribute(x, target=batch.targets).sum(1)


def integrated_gradients(model: nn.Module, x: Tensor, batch: Batch) -> Tensor:
    """Grey level times the mean gradient on the way from black, with its sign (Sundararajan et al. 2017).

    The sum over the map is the logit's rise from black to the image, up to the error of the steps
    (Gauss-Legendre, at least 50), which is some per cent of the largest rises in networks with many ReLUs.
    """
    steps, chunk = max(batch.settings.samples, 50), max(batch.settings.chunk, len(x))
    method = IntegratedGradients(model)
    return method.attribute(x, target=batch.targets, n_steps=steps, internal_batch_size=chunk).sum(1)


def deeplift(model: nn.Module, x: Tensor, batch: Batch) -> Tensor:
    """Contributions by the rescale rule, against black, with their sign (Shrikumar et al. 2017).

    The sum over the map is the logit's rise from black to the image where every nonlinearity is a ReLU; max
    pooling and other activations (GELU, SiLU) leave a gap.
    """
    return DeepLift(model).attribute(x, target=batch.targets).sum(1)


def occlusion(model: nn.Module, x: Tensor, batch: Batch) -> Tensor:
    """How much the logit drops when a black square covers the place (Zeiler & Fergus 2014).

    Mean over the squares that cover a pixel, moved by half of their side.
    """
    channels, window = x.shape[1], max(1, round(WINDOW * min(x.shape[2:])))
    step = max(1, window // 2)
    with torch.no_grad():
        found = Occlusion(model).attribute(
            x.detach(),
            target=batch.targets,
            sliding_window_shapes=(channels, window, window),
            strides=(channels, step, step),
            perturbations_per_eval=max(1, batch.settings.chunk // len(x)),
        )
    return found[:, 0]  # the same in every channel: all are covered together


# Each is given the network, a copy of its input that requires a gradient, and the batch.
PIXEL: dict[str, Callable[[nn.Module, Tensor, Batch], Tensor]] = {
    "saliency": saliency,
    "input-x-gradient": input_x_gradient,
    "integrated-gradients": integrated_gradients,
    "smoothgrad": smoothgrad,
    "guided-backprop": guided_backprop,
    "deeplift": deeplift,
    "occlusion": occlusion,
}
BY_RELU = ("guided-backprop", "deeplift")  # which captum treats one by one


def pixel_maps(batch: Batch, methods: Sequence[str]) -> Maps:
    """Maps of the input, (N, H, W), by methods of `PIXEL`, under the layer "input"."""
    found = {}
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum tells of its own hooks
        for method in methods:
            network = _Copying(separated(batch.model) if method in BY_RELU else batch.model)
            x = batch.x.detach().clone().requires_grad_()
            found[method, INPUT] = PIXEL[method](network, x, batch).detach()
    return found


class _Copying(nn.Module):
    """The network, on a copy of its input, which it may change in place."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.clone())


class _Tracer(fx.Tracer):
    """Takes a normalisation as it is: what it does depends on the values' type."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Normalise) or super().is_leaf_module(m, module_qualified_name)


def separated(model: nn.Module) -> nn.Module:
    """A copy of the network in which every ReLU is a module of its own and none works in place.

    Guided backpropagation and DeepLift treat each ReLU by itself; torchvision's residual blocks use one
    module several times, and others call functions. The outputs are the same.
    """
    twin = copy.deepcopy(model)
    inner = getattr(twin, "backbone", twin)
    try:
        graph = _Tracer().trace(inner)
    except Exception as error:  # whatever the network's own code does when it is traced
        raise ValueError(
            f"{type(inner).__name__} cannot be followed by torch.fx ({error}), so its ReLUs cannot be told "
            "apart; leave out guided-backprop and deeplift"
        ) from None
    for i, node in enumerate(list(graph.nodes)):
        module = inner.get_submodule(node.target) if node.op == "call_module" else None
        if not isinstance(module, nn.ReLU) and node.target not in RELUS:
            continue
        before = node.args[0] if node.args else node.kwargs["input"]
        if str(before.target).startswith(OWN):  # a ReLU of a ReLU changes nothing, but captum miscounts it
            node.replace_all_uses_with(before)
            graph.erase_node(node)
        else:
            inner.add_module(f"{OWN}{i}", nn.ReLU())
            node.op, node.target, node.args, node.kwargs = "call_module", f"{OWN}{i}", (before,), {}
    traced = fx.GraphModule(inner, graph).eval()
    if inner is not twin:
        twin.backbone = traced
    return traced if inner is twin else twin
