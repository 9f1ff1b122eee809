"""Maps of the input itself: gradients through captum, and occlusion.

All attribute the logit explained to the grey levels 0-255 that the network takes; where a method needs a
picture without content, that is black (0).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from captum.attr import DeepLift, GuidedBackprop, InputXGradient, IntegratedGradients, Occlusion, Saliency
from torch import Tensor, fx, nn

from medrob.models import Normalise, as_input
from medrob.saliency.gradient import existing, stops_gradient
from medrob.saliency.settings import Noise, Settings

INPUT = "input"
STEPS = 50  # of integrated gradients, at least: fewer miss the sum by more than some per cent
OWN = "own_relu_"
RELUS = (F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_")


class Copying(nn.Module):
    """The network, on a copy of its input, which it may change in place."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """What the network gives."""
        return self.network(x.clone())


def saliency(model: nn.Module, x: Tensor, targets: Tensor, settings: Settings, noise: Noise) -> Tensor:
    """Size of the gradient, the largest of the channels (Simonyan et al. 2014)."""
    return Saliency(Copying(model)).attribute(x, target=targets).amax(1)


def smoothgrad(model: nn.Module, x: Tensor, targets: Tensor, settings: Settings, noise: Noise) -> Tensor:
    """Size of the mean gradient of noisy copies, the largest of the channels (Smilkov et al. 2017)."""
    total = torch.zeros_like(x)
    for i in range(settings.samples):
        field = noise.normal(x.shape[1:], x.device, i).to(x.dtype)
        noisy = (x.detach() + 255 * settings.noise * field).requires_grad_()
        total += Saliency(Copying(model)).attribute(noisy, target=targets, abs=False)
    return (total / settings.samples).abs().amax(1)


def guided_backprop(model: nn.Module, x: Tensor, targets: Tensor, settings: Settings, noise: Noise) -> Tensor:
    """Size of the gradient that no ReLU lets pass where it is negative (Springenberg et al. 2015).

    The largest of the channels. Networks without ReLU have the plain gradient.
    """
    return GuidedBackprop(Copying(separated(model))).attribute(x, target=targets).abs().amax(1)


def input_x_gradient(
    model: nn.Module, x: Tensor, targets: Tensor, settings: Settings, noise: Noise
) -> Tensor:
    """Grey level times gradient, the sum over the channels, with its sign (Shrikumar et al. 2016)."""
    return InputXGradient(Copying(model)).attribute(x, target=targets).sum(1)


def integrated_gradients(
    model: nn.Module, x: Tensor, targets: Tensor, settings: Settings, noise: Noise
) -> Tensor:
    """Grey level times the mean gradient on the way from black, with its sign (Sundararajan et al. 2017).

    At least 50 steps (Gauss-Legendre). The sum over the map is the logit's rise from black to the image, up
    to the error of the steps, which is some per cent of the largest rises in networks with many ReLUs; more
    `Settings.samples` lessen it.
    """
    return (
        IntegratedGradients(Copying(model))
        .attribute(
            x,
            target=targets,
            n_steps=max(settings.samples, STEPS),
            internal_batch_size=max(settings.chunk, len(x)),
        )
        .sum(1)
    )


def deeplift(model: nn.Module, x: Tensor, targets: Tensor, settings: Settings, noise: Noise) -> Tensor:
    """Contributions by the rescale rule, against black, with their sign (Shrikumar et al. 2017).

    The sum over the map is the logit's rise from black to the image where every nonlinearity is a ReLU; max
    pooling and other activations (GELU, SiLU) leave a gap.
    """
    return DeepLift(Copying(separated(model))).attribute(x, target=targets).sum(1)


def occlusion(model: nn.Module, x: Tensor, targets: Tensor, settings: Settings, noise: Noise) -> Tensor:
    """How much the logit drops when a black square covers the place (Zeiler & Fergus 2014).

    Mean over the squares that cover a pixel; side `Settings.window` of the image's, moved by half of it.
    """
    channels, side = x.shape[1], min(x.shape[2:])
    window = max(1, round(settings.window * side))
    step = max(1, window // 2)
    with torch.no_grad():
        found = Occlusion(Copying(model)).attribute(
            x.detach(),
            target=targets,
            sliding_window_shapes=(channels, window, window),
            strides=(channels, step, step),
            perturbations_per_eval=max(1, settings.chunk // max(len(x), 1)),
        )
    return found[:, 0]  # the same in every channel: all are covered together


Method = Callable[[nn.Module, Tensor, Tensor, Settings, Noise], Tensor]
METHODS: dict[str, Method] = {
    "saliency": saliency,
    "input-x-gradient": input_x_gradient,
    "integrated-gradients": integrated_gradients,
    "smoothgrad": smoothgrad,
    "guided-backprop": guided_backprop,
    "deeplift": deeplift,
    "occlusion": occlusion,
}
PERTURBATIONS = ("occlusion",)
GRADIENT_MAPS = tuple(name for name in METHODS if name not in PERTURBATIONS)


def pixel_maps(
    model: nn.Module, x: Tensor, methods: Sequence[str], targets: Tensor, settings: Settings, noise: Noise
) -> dict[tuple[str, str], Tensor]:
    """Maps of the input, (N, H, W), under the layer "input"; a network of less than float32 is copied to it.

    Args:
        model: in eval mode; left as it is. x: its input (N, C, H, W), grey levels 0-255, left as it is.
        methods: of `METHODS`. targets: int64 (N,), the class explained.
        settings: `samples`, `noise`, `chunk` and `window` are used. noise: see `Noise`.

    Raises:
        ValueError: a class that the network does not have; a network whose ReLUs cannot be told apart, for
            guided-backprop and deeplift.
    """
    found = {}
    small = any(p.is_floating_point() and p.dtype.itemsize < 4 for p in model.parameters())
    with torch.inference_mode(False), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum tells of its own hooks
        if small:
            model = copy.deepcopy(getattr(model, "_orig_mod", model)).float()
        prepared = as_input(model, x).detach().clone()
        targets = targets.to(prepared.device).clone()
        if not len(x):
            return {(method, INPUT): prepared[:, 0] for method in methods}
        logits = model(prepared[:1].clone().requires_grad_().clone())
        existing(targets, logits.shape[1])
        if not logits.requires_grad and any(method in GRADIENT_MAPS for method in methods):
            raise ValueError(stops_gradient(model))
        for method in methods:
            images = prepared.clone().requires_grad_()
            found[method, INPUT] = METHODS[method](model, images, targets, settings, noise).detach()
    return found


class _Tracer(fx.Tracer):
    """Takes a normalisation as it is: what it does depends on the values' type."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Also those."""
        return isinstance(m, Normalise) or super().is_leaf_module(m, module_qualified_name)


def separated(model: nn.Module) -> nn.Module:
    """A copy of the network in which every ReLU is a module of its own and none works in place.

    Guided backpropagation and DeepLift treat each ReLU by itself; torchvision's residual blocks use one
    module several times, and others call functions. The outputs are the same.

    Raises:
        ValueError: torch.fx cannot follow the network.
    """
    twin = copy.deepcopy(getattr(model, "_orig_mod", model))
    inner = getattr(twin, "backbone", twin)
    try:
        traced = fx.GraphModule(inner, _Tracer().trace(inner))
    except Exception as error:  # whatever the network's own code does when it is traced
        raise ValueError(
            f"{type(inner).__name__} cannot be followed by torch.fx ({error}), so its ReLUs cannot be told "
            "apart; leave out guided-backprop and deeplift"
        ) from None
    modules = dict(traced.named_modules())
    for i, node in enumerate(list(traced.graph.nodes)):
        shared = node.op == "call_module" and isinstance(modules[str(node.target)], nn.ReLU)
        if not shared and not (node.op in ("call_function", "call_method") and node.target in RELUS):
            continue
        before = node.args[0] if node.args else node.kwargs["input"]
        if str(before.target).startswith(OWN):  # a ReLU of a ReLU changes nothing, but captum miscounts it
            own = before
        else:
            traced.add_module(f"{OWN}{i}", nn.ReLU())
            with traced.graph.inserting_after(node):
                own = traced.graph.call_module(f"{OWN}{i}", (before,))
        node.replace_all_uses_with(own)
        traced.graph.erase_node(node)
    traced.recompile()
    traced.eval()
    if inner is twin:
        return traced
    twin.backbone = traced
    return twin
