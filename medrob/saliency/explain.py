"""The public function: images in, maps out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from medrob.data import check_images
from medrob.models import cam_layers, pick_device
from medrob.saliency.gradient import MAPS, WEIGHTS, cams

FAMILIES: dict[str, tuple[str, ...]] = {
    "gradient-cam": ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam", "gradcam-elementwise"),
}
assert {*WEIGHTS, *MAPS} == {*FAMILIES["gradient-cam"]}


def names(family: str = "all") -> tuple[str, ...]:
    """The names of the methods of a family, or of all.

    Raises:
        ValueError: an unknown family.
    """
    if family != "all" and family not in FAMILIES:
        raise ValueError(f"family={family!r} is unknown; the families are all, {', '.join(FAMILIES)}")
    return tuple(name for f, methods in FAMILIES.items() if family in ("all", f) for name in methods)


def explain(
    model: nn.Module,
    images: np.ndarray,
    *,
    methods: Sequence[str],
    layers: Sequence[str] | None = None,
    targets: np.ndarray | int | None = None,
    batch_size: int = 64,
    device: str | None = None,
) -> dict[tuple[str, str], np.ndarray]:
    """Saliency maps of several methods at several layers, together.

    Args:
        model: takes grey levels 0-255 (N, C, H, W), gives logits. Its mode and its parameters'
            gradients are left as found.
        images: uint8 (N, H, W, C).
        methods: of `names()`.
        layers: module names, such as "layer4.1"; None = all residual blocks (`medrob.models.cam_layers`).
        targets: the class explained: int (N,), or one for all; None = each image's predicted class.
        batch_size: images a pass; the memory needed grows with it.
        device: where to compute; None = where the model is.

    Returns:
        ``{(method, layer): float32 (N, h, w)}``: raw maps, before the ReLU, at the layer's own
        resolution. `normalise` and `upsample` make them comparable and visible.

    Raises:
        TypeError, ValueError: an unknown method or layer, images of another shape, classes that
            do not exist.
    """
    images, batch_size = check_images(images), check_batch_size(batch_size)
    methods, chosen = check_methods(methods), pick_layers(model, layers)
    wanted = _check_targets(targets, len(images))
    where = pick_device(device) if device else next(model.parameters()).device
    parts: dict[tuple[str, str], list[np.ndarray]] = {(m, layer): [] for layer in chosen for m in methods}
    with evaluating(model.to(where)):
        for i in range(0, max(len(images), 1), batch_size):
            x = torch.from_numpy(images[i : i + batch_size]).to(where).permute(0, 3, 1, 2)
            target = None if wanted is None else wanted[i : i + batch_size].to(where)
            maps, _ = cams(model, x, methods, chosen, target)
            for key, found in maps.items():
                parts[key].append(found.float().cpu().numpy())
    return {key: np.concatenate(found) for key, found in parts.items()}


def check_methods(methods: Sequence[str]) -> list[str]:
    """The methods without repeats, if all are known; one name alone is taken as a list of one."""
    methods = [methods] if isinstance(methods, str) else list(dict.fromkeys(methods))
    unknown = [method for method in methods if method not in names()]
    if unknown or not methods:
        raise ValueError(f"methods={methods!r}: unknown {unknown}; the methods are {', '.join(names())}")
    return methods


def check_batch_size(batch_size: int) -> int:
    """The size of a batch, if it is at least 1."""
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r}: give a whole number of at least 1")
    return batch_size


def pick_layers(model: nn.Module, layers: Sequence[str] | str | None) -> dict[str, nn.Module]:
    """The modules of those names, shallow to deep as given; None or "all" = `cam_layers`.

    Raises:
        ValueError: a name that the network does not have; those it has are listed.
    """
    if layers is None or layers == "all":
        return cam_layers(model)
    asked = [layers] if isinstance(layers, str) else list(dict.fromkeys(layers))
    modules = {name.removeprefix("backbone."): module for name, module in model.named_modules() if name}
    unknown = [layer for layer in asked if layer not in modules]
    if unknown or not asked:
        blocks = [name for name, module in modules.items() if any(True for _ in module.children())]
        raise ValueError(
            f"layers={asked!r}: the network has no {unknown}; it has {', '.join(blocks or modules)}"
        )
    return {layer: modules[layer] for layer in asked}


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in eval mode while the block runs; every module's mode is given back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _check_targets(targets: np.ndarray | int | None, n: int) -> Tensor | None:
    if targets is None:
        return None
    wanted = np.full(n, targets) if np.ndim(targets) == 0 else np.asarray(targets)
    if wanted.shape != (n,) or wanted.dtype.kind not in "iu" or (n and wanted.min() < 0):
        raise ValueError(
            f"targets are {wanted.dtype} {wanted.shape}; give a class number from 0 for each of {n} images"
        )
    return torch.from_numpy(wanted.astype(np.int64))
