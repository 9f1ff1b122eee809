"""Smooth Grad-CAM++: the gradients of noisy copies of an image, over its own activations."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medrob.models import as_input, forward, map_output
from medrob.saliency.gradient import differentiate, warn_signed
from medrob.saliency.settings import Noise, Settings


def smooth_gradcam_plus_plus(
    model: nn.Module,
    x: Tensor,
    layers: Mapping[str, nn.Module],
    targets: Tensor,
    settings: Settings,
    noise: Noise,
) -> dict[tuple[str, str], Tensor]:
    """Smooth Grad-CAM++ (Omeiza et al. 2019) of a batch, at all layers.

    One forward and one backward pass for each noisy copy serve all layers; a forward pass of the images
    themselves gives the activations. The noise is in grey levels, of standard deviation ``255 * noise``,
    and noisy images are not clipped. Without noise the map is that of Grad-CAM++.

    Args:
        model: in eval mode. x: its input (N, C, H, W), grey levels 0-255, left as it is.
        layers: name -> module. targets: int64 (N,), the class explained in every copy.
        settings: `samples` and `noise` are used. noise: see `Noise`; a stream for each copy.

    Returns:
        ``{("smoothgradcam++", layer): raw maps (N, h, w)}``, on the model's device.

    Raises:
        ValueError: as `medrob.saliency.cams`.
    """
    with torch.inference_mode(False), torch.no_grad():
        # A copy: what is made in inference mode cannot be changed or differentiated later.
        outputs, _ = forward(model, as_input(model, x).clone(), layers)
    activations = [_precise(map_output(name, outputs[name], module)) for name, module in layers.items()]
    warn_signed(["smoothgradcam++"], dict(zip(layers, activations, strict=True)))
    moments = [torch.zeros((3, *A.shape), dtype=A.dtype, device=A.device) for A in activations]
    for i in range(settings.samples):
        noisy = x + 255 * settings.noise * noise.normal(x.shape[1:], x.device, i)
        _, gradients, _ = differentiate(model, noisy, layers, targets)
        for D, g in zip(moments, map(_precise, gradients), strict=True):
            D += torch.stack([g, g**2, g**3]) / settings.samples
    return {
        ("smoothgradcam++", layer): torch.einsum("nk,nkhw->nhw", weights(A, *D), A)
        for layer, A, D in zip(layers, activations, moments, strict=True)
    }


def _precise(values: Tensor) -> Tensor:
    """At least float32: cubes of gradients vanish in half precision."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def weights(A: Tensor, D1: Tensor, D2: Tensor, D3: Tensor) -> Tensor:
    """w_k = sum of alpha ReLU(D1), alpha = D2 / (2 D2 + S_k D3), S_k = sum of A_k; (N, K).

    Args:
        A: activations of the images themselves, (N, K, h, w).
        D1, D2, D3: means over the copies of g, g^2, g^3, of the same shape.

    alpha is 0 where its denominator is: there all copies have g = 0, or the formula has a pole.
    """
    denominator = 2 * D2 + A.sum((2, 3), keepdim=True) * D3
    alpha = torch.where(denominator == 0, 0, D2 / torch.where(denominator == 0, 1, denominator))
    return (alpha * D1.relu()).sum((2, 3))
