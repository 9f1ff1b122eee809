"""Gradient CAMs: formulas over the activations A of a layer and the gradient g of the explained logit.

Shapes: A and g are (N, K, h, w), maps (N, h, w). A map is raw: before the ReLU, not normalised.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

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


WEIGHTS: dict[str, Weights] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "xgradcam": xgradcam,
}
MAPS: dict[str, Maps] = {
    "hirescam": hirescam,
    "layercam": layercam,
    "gradcam-elementwise": gradcam_elementwise,
}


def cams(
    model: nn.Module,
    x: Tensor,
    methods: Sequence[str],
    layers: Mapping[str, nn.Module],
    targets: Tensor | None = None,
) -> tuple[dict[tuple[str, str], Tensor], Tensor]:
    """Every method at every layer, from one forward and one backward pass of the batch.

    Args:
        model: in eval mode. x: its input (N, C, H, W), left as it is. methods: of `WEIGHTS` and `MAPS`.
        layers: name -> module with output (N, K, h, w).
        targets: int64 (N,), the class explained; None = the predicted one.

    Returns:
        ``{(method, layer): raw maps (N, h, w)}`` and the logits (N, classes), on the model's device.

    Raises:
        ValueError: a layer whose output is no map, or that the logits do not depend on; a class that the
            network does not have.
    """
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    with torch.inference_mode(False), torch.enable_grad(), _outputs(layers) as outputs:
        # The input requires a gradient, so that networks with frozen parameters can be explained.
        logits = model(x.detach().to(dtype, copy=True).requires_grad_())
        chosen = logits.argmax(1) if targets is None else _existing(targets, logits.shape[1])
        missing = [layer for layer in layers if layer not in outputs]
        if missing:
            raise ValueError(f"layers={missing!r} do not run when the network does; leave them out")
        activations = [_map_output(layer, outputs[layer]) for layer in layers]
        # Images do not interact in eval mode: the gradient of the sum holds each image's own.
        explained = logits.gather(1, chosen[:, None]).sum()
        gradients = torch.autograd.grad(explained, activations, allow_unused=True)
        unused = [layer for layer, g in zip(layers, gradients, strict=True) if g is None]
        if unused:
            raise ValueError(f"layers={unused!r}: the logits do not depend on them; leave them out")
    maps = {}
    for layer, A, g in zip(layers, activations, gradients, strict=True):
        maps.update({(method, layer): m for method, m in _formulas(A.detach(), g, methods).items()})
    return maps, logits.detach()


def _formulas(A: Tensor, g: Tensor, methods: Sequence[str]) -> dict[str, Tensor]:
    """The raw maps of one layer."""
    weighted = [method for method in methods if method in WEIGHTS]
    found = {method: MAPS[method](A, g) for method in methods if method in MAPS}
    if weighted:
        w = torch.stack([WEIGHTS[method](A, g) for method in weighted], 1)  # (N, methods, K)
        combined = torch.einsum("nmk,nkhw->mnhw", w, A)
        found.update(zip(weighted, combined, strict=True))
    return {method: found[method] for method in methods}


def _existing(targets: Tensor, classes: int) -> Tensor:
    wrong = targets[(targets < 0) | (targets >= classes)]
    if len(wrong):
        raise ValueError(
            f"targets hold {sorted(set(wrong.tolist()))}; the network's classes are 0 to {classes - 1}"
        )
    return targets


def _map_output(layer: str, output: object) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim != 4:
        came = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"layer {layer!r} gives {came}; a CAM needs maps (N, K, h, w)")
    return output


@contextlib.contextmanager
def _outputs(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of modules while the block runs.

    What comes after a module gets a copy, so that a ReLU in place does not overwrite what is collected.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], Tensor | None]:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor | None:
            outputs[name] = output
            return output.clone() if isinstance(output, Tensor) else None

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in layers.items()]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
