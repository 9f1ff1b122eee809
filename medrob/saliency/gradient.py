"""Gradient CAMs: formulas over the activations A of a layer and the gradient g of the explained logit.

Shapes: A and g are (N, K, h, w), maps (N, h, w). A map is raw: before the ReLU, not normalised.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from medrob.models import as_input, forward, map_output, to_maps

# Methods of the form sum_k w_k A_k are given as weights (N, K); they share one matrix product.
Weights = Callable[[Tensor, Tensor], Tensor]
# The others weight each position for itself, and give the map (N, h, w).
Maps = Callable[[Tensor, Tensor], Tensor]


def gradcam(A: Tensor, g: Tensor) -> Tensor:
    """w_k = mean of g_k over the positions (Selvaraju et al. 2017)."""
    return g.mean((2, 3))


def gradcam_plus_plus(A: Tensor, g: Tensor) -> Tensor:
    """w_k = sum of ReLU(g_k) / (2 + S_k ReLU(g_k)), S_k = sum of A_k (Chattopadhay et al. 2018, eq. 19).

    Numerator and denominator of its alpha share g^2, which cancels: no epsilon is needed for A >= 0.
    """
    r = g.relu()
    return (r / (2 + A.sum((2, 3), keepdim=True) * r)).sum((2, 3))


def xgradcam(A: Tensor, g: Tensor) -> Tensor:
    """w_k = sum of g_k A_k / S_k, 0 where S_k = 0 (Fu et al. 2020)."""
    total = A.sum((2, 3))
    return torch.where(total == 0, 0, (g * A).sum((2, 3)) / torch.where(total == 0, 1, total))


def hirescam(A: Tensor, g: Tensor) -> Tensor:
    """Sum over k of g_k A_k, position by position (Draelos & Carin 2020)."""
    return torch.einsum("nkhw,nkhw->nhw", g, A)


def layercam(A: Tensor, g: Tensor) -> Tensor:
    """Sum over k of ReLU(g_k) A_k, position by position (Jiang et al. 2021)."""
    return torch.einsum("nkhw,nkhw->nhw", g.relu(), A)


def gradcam_elementwise(A: Tensor, g: Tensor) -> Tensor:
    """Sum over k of ReLU(g_k A_k), position by position; equals LayerCAM where A >= 0."""
    return (g * A).relu().sum(1)


def eigencam(A: Tensor, g: Tensor) -> Tensor:
    """Projection on the first right singular vector of A as positions x channels (Muhammad & Yeasin 2020).

    A is not centred, as in the paper; the class plays no part. The sign of a singular vector is
    arbitrary: the one is taken whose map has a sum that is not negative. Where A >= 0 that map has no
    negative value (Perron and Frobenius). The vector comes from the smaller of the two Gram matrices.
    """
    flat = A.flatten(2).to(torch.promote_types(A.dtype, torch.float32))  # (N, K, P)
    if flat.shape[1] <= flat.shape[2]:
        v = torch.linalg.eigh(flat @ flat.mT).eigenvectors[..., -1]  # (N, K)
        projected = torch.einsum("nk,nkp->np", v, flat)
    else:
        values, vectors = torch.linalg.eigh(flat.mT @ flat)
        projected = values[:, -1:].clamp_min(0).sqrt() * vectors[..., -1]  # sigma u = A v, (N, P)
    sign = torch.where(projected.sum(1, keepdim=True) < 0, -1, 1)
    return (sign * projected).to(A.dtype).view(A.shape[0], *A.shape[2:])


WEIGHTS: dict[str, Weights] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "xgradcam": xgradcam,
}
MAPS: dict[str, Maps] = {
    "hirescam": hirescam,
    "layercam": layercam,
    "gradcam-elementwise": gradcam_elementwise,
    "eigencam": eigencam,
}
# Their derivations take A >= 0: where S_k is not above 0, the weights have poles.
NON_NEGATIVE = ("gradcam++", "xgradcam", "smoothgradcam++")


def cams(
    model: nn.Module,
    x: Tensor,
    methods: Sequence[str],
    layers: Mapping[str, nn.Module],
    targets: Tensor | None = None,
) -> tuple[dict[tuple[str, str], Tensor], Tensor]:
    """Every method at every layer, from one forward and one backward pass of the batch.

    Args:
        model: in eval mode. x: its input (N, C, H, W), left as it is. methods: of `WEIGHTS` and `MAPS`;
            without any, one forward pass gives the logits.
        layers: name -> module that gives maps (N, K, h, w), or tokens (`medrob.models.to_maps`). Of a
            module that runs several times in a forward pass, the last output is explained.
        targets: int64 (N,), the class explained; None = the predicted one.

    Returns:
        ``{(method, layer): raw maps (N, h, w)}``, of float32 if the network is of less, and the logits
        (N, classes), on the model's device.

    Raises:
        ValueError: a layer whose output is no map, or that the logits do not depend on; a class that the
            network does not have; a network whose output is not logits, or has no gradient.
    """
    if not methods:
        with torch.inference_mode(False), torch.no_grad():
            return {}, forward(model, as_input(model, x), {})[1]
    activations, gradients, logits = differentiate(model, x, layers, targets)
    warn_signed(methods, dict(zip(layers, activations, strict=True)))
    maps = {}
    for layer, A, g in zip(layers, activations, gradients, strict=True):
        # Sums over the positions, and small gradients, leave the range of half precision.
        exact = torch.promote_types(A.dtype, torch.float32)
        found = formulas(A.to(exact), g.to(exact), methods)
        maps.update({(method, layer): values for method, values in found.items()})
    return maps, logits


def stops_gradient(model: nn.Module) -> str:
    """What to say of a network whose logits have no gradient."""
    return (
        f"{type(model).__name__} has a step that stops the gradient (detach, no_grad, argmax, NumPy) before "
        "its logits, so gradients explain nothing; score CAMs and occlusion need none"
    )


def warn_signed(methods: Sequence[str], activations: Mapping[str, Tensor]) -> None:
    """Warn once where activations of a layer are negative that a method takes to be >= 0."""
    asked = [method for method in methods if method in NON_NEGATIVE]
    signed = [layer for layer, A in activations.items() if asked and A.numel() and bool((A < 0).any())]
    if signed:
        warnings.warn(
            f"{', '.join(asked)} at {', '.join(signed)}: activations are negative in places, but these are "
            "derived for those >= 0, and their weights may have poles; trust gradcam or hirescam more there",
            stacklevel=2,
        )


def differentiate(
    model: nn.Module, x: Tensor, layers: Mapping[str, nn.Module], targets: Tensor | None = None
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """A and g of every layer, (N, K, h, w), and the logits; arguments and errors are those of `cams`."""
    with torch.inference_mode(False), torch.enable_grad():
        # The input requires a gradient, so that networks with frozen parameters can be explained.
        # It is copied, so that a network whose first step is in place can change it.
        outputs, logits = forward(model, as_input(model, x).detach().clone().requires_grad_().clone(), layers)
        if targets is None:
            targets = logits.argmax(1)
        elif targets.shape != (len(x),):
            raise ValueError(f"targets are {tuple(targets.shape)}; give a class for each of {len(x)} images")
        chosen = existing(targets.to(logits.device), logits.shape[1]).clone()
        activations = [map_output(layer, outputs[layer], module) for layer, module in layers.items()]
        if not logits.requires_grad:
            raise ValueError(stops_gradient(model))
        # Images do not interact in eval mode: the gradient of the sum holds each image's own.
        explained = logits.gather(1, chosen[:, None]).sum()
        reached = [layer for layer in layers if outputs[layer].requires_grad]
        sources = [outputs[layer] for layer in reached]
        found = torch.autograd.grad(explained, sources, allow_unused=True) if sources else ()
    gradients = {layer: g for layer, g in zip(reached, found, strict=True) if g is not None}
    if unused := [layer for layer in layers if layer not in gradients]:
        raise ValueError(
            f"layers={unused!r}: the logits do not depend on them, or by a step that stops the gradient; "
            "leave them out"
        )
    maps = [to_maps(module, gradients[layer]) for layer, module in layers.items()]
    return [A.detach() for A in activations], maps, logits.detach()


def formulas(A: Tensor, g: Tensor, methods: Sequence[str]) -> dict[str, Tensor]:
    """The raw maps of one layer."""
    weighted = [method for method in methods if method in WEIGHTS]
    found = {method: MAPS[method](A, g) for method in methods if method in MAPS}
    if weighted:
        w = torch.stack([WEIGHTS[method](A, g) for method in weighted], 1)  # (N, methods, K)
        combined = torch.einsum("nmk,nkhw->mnhw", w, A)
        found.update(zip(weighted, combined, strict=True))
    return {method: found[method] for method in methods}


def existing(targets: Tensor, classes: int) -> Tensor:
    """The targets, if all are classes of the network."""
    wrong = targets[(targets < 0) | (targets >= classes)]
    if len(wrong):
        raise ValueError(
            f"targets hold {sorted(set(wrong.tolist()))}; the network's classes are 0 to {classes - 1}"
        )
    return targets
