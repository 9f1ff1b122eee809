"""Maps of the input itself, through captum: the logit explained, attributed to the grey levels 0-255.

Where a method needs a picture without content, that is black (0).
"""

from collections.abc import Callable, Sequence

import torch
from captum.attr import InputXGradient, IntegratedGradients, Occlusion, Saliency
from torch import Tensor

from medrob.saliency.of_layers import Batch, Maps, needing_gradients

INPUT = "input"
WINDOW = 0.125  # side of the patch that occlusion covers, in shares of the image's side
Network = Callable[[Tensor], Tensor]


def saliency(network: Network, x: Tensor, batch: Batch) -> Tensor:
    """Size of the gradient, the largest of the channels (Simonyan et al. 2014)."""
    return Saliency(network).attribute(x, target=batch.targets).amax(1)


def smoothgrad(network: Network, x: Tensor, batch: Batch) -> Tensor:
    """Size of the mean gradient of noisy copies, the largest of the channels (Smilkov et al. 2017)."""
    total = torch.zeros_like(x)
    for field in batch.fields(x.shape[1]):
        noisy = (x.detach() + 255 * batch.settings.noise * field).requires_grad_()
        total += Saliency(network).attribute(noisy, target=batch.targets, abs=False)
    return (total / batch.settings.samples).abs().amax(1)


def input_x_gradient(network: Network, x: Tensor, batch: Batch) -> Tensor:
    """Grey level times gradient, the sum over the channels, with its sign (Shrikumar et al. 2016)."""
    return InputXGradient(network).attribute(x, target=batch.targets).sum(1)


def integrated_gradients(network: Network, x: Tensor, batch: Batch) -> Tensor:
    """Grey level times the mean gradient on the way from black, with its sign (Sundararajan et al. 2017).

    The sum over the map is the logit's rise from black to the image, up to the error of the steps
    (Gauss-Legendre, at least 50), which is some per cent of the largest rises in networks with many ReLUs.
    """
    steps, chunk = max(batch.settings.samples, 50), max(batch.settings.chunk, len(x))
    method = IntegratedGradients(network)
    return method.attribute(x, target=batch.targets, n_steps=steps, internal_batch_size=chunk).sum(1)


def occlusion(network: Network, x: Tensor, batch: Batch) -> Tensor:
    """How much the logit drops when a black square covers the place (Zeiler & Fergus 2014).

    Mean over the squares that cover a pixel, moved by half of their side.
    """
    channels, window = x.shape[1], max(1, round(WINDOW * min(x.shape[2:])))
    step = max(1, window // 2)
    with torch.no_grad():
        found = Occlusion(network).attribute(
            x.detach(),
            target=batch.targets,
            sliding_window_shapes=(channels, window, window),
            strides=(channels, step, step),
            perturbations_per_eval=max(1, batch.settings.chunk // len(x)),
        )
    return found[:, 0]  # the same in every channel: all are covered together


# Each is given the network, a copy of its input that requires a gradient, and the batch.
PIXEL: dict[str, Callable[[Network, Tensor, Batch], Tensor]] = {
    "saliency": saliency,
    "input-x-gradient": input_x_gradient,
    "integrated-gradients": integrated_gradients,
    "smoothgrad": smoothgrad,
    "occlusion": occlusion,
}


def pixel_maps(batch: Batch, methods: Sequence[str]) -> Maps:
    """Maps of the input, (N, H, W), by methods of `PIXEL`, under the layer "input"."""

    def network(x: Tensor) -> Tensor:
        return batch.model(x.clone())  # which the network may change in place

    found = {}
    with torch.enable_grad(), needing_gradients(batch.model):
        for method in methods:
            x = batch.x.detach().clone().requires_grad_()
            found[method, INPUT] = PIXEL[method](network, x, batch).detach()
    return found
