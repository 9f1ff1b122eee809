"""The public function: images in, maps out."""

from __future__ import annotations

import contextlib
import difflib
import warnings
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from medrob.check import check_images, check_integer
from medrob.models import NO_MAPS, cam_layers, evaluating, named_layers, pick_device, place
from medrob.saliency.gradient import MAPS, WEIGHTS, cams, existing
from medrob.saliency.maps import degenerate
from medrob.saliency.pixel import GRADIENT_MAPS, PERTURBATIONS, pixel_maps
from medrob.saliency.score import SCORE_CAMS, score_cams
from medrob.saliency.settings import Noise, Settings
from medrob.saliency.smooth import smooth_gradcam_plus_plus

ONE_PASS = (*WEIGHTS, *MAPS)

# Methods by what they look at. All but the last two families give a map for every layer;
# those give one map of the input, whose layer is called "input".
FAMILIES: dict[str, tuple[str, ...]] = {
    "gradient-cam": (*ONE_PASS, "smoothgradcam++"),
    "score-cam": SCORE_CAMS,
    "gradient-map": GRADIENT_MAPS,
    "perturbation": PERTURBATIONS,
}
INPUT = "input"
STOCHASTIC = ("smoothgradcam++", "sscam", "smoothgrad")


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
    layers: Sequence[str | nn.Module] | str | None = None,
    targets: np.ndarray | int | None = None,
    batch_size: int = 64,
    device: str | None = None,
    start: int = 0,
    settings: Settings = Settings(),
) -> dict[tuple[str, str], np.ndarray]:
    """Saliency maps of several methods at several layers, together.

    Args:
        model: takes grey levels 0-255 (N, C, H, W) as floats, gives logits. One that takes anything else,
            such as torchvision's own (0-1, normalised), needs a first layer that makes it of these:
            `medrob.models.Normalise`. Its mode and its parameters' gradients are left as found.
        images: uint8 (N, H, W, C), of as many channels as the network takes.
        methods: of `names()`.
        layers: names of modules, such as "layer4.1", or these themselves; None = those of
            `medrob.models.cam_layers`. Methods that explain the input itself have one map, under the
            layer "input".
        targets: the class explained: int (N,), or one for all; None = each image's predicted class.
        batch_size: images a pass; the memory needed grows with it.
        device: where to compute; None = where the model is.
        start: index of the first image in its data set: it keys the noise of stochastic methods, so that
            a batch, and the corrupted copies of an image, get the noise of the image.
        settings: choices of the methods that have any.

    Returns:
        ``{(method, layer): float32 (N, h, w)}``: raw maps, before the ReLU, at the layer's own
        resolution. `normalise` and `upsample` make them comparable and visible. A warning names methods
        and layers whose maps are all `degenerate`, and activations below 0 that a method does not take.

    Raises:
        TypeError, ValueError: an unknown method or layer, images of another shape, classes that
            do not exist.
    """
    images, batch_size = check_images(images), check_integer("batch_size", batch_size, 1)
    methods = check_methods(methods)
    chosen = layers_for(model, methods, layers)
    wanted = _check_targets(targets, len(images))
    where = pick_device(device) if device else device_of(model)
    parts: dict[tuple[str, str], list[np.ndarray]] = {}
    with evaluating(place(model, where)):
        for i in range(0, max(len(images), 1), batch_size):
            x = torch.tensor(images[i : i + batch_size], device=where).permute(0, 3, 1, 2)
            target = None if wanted is None else wanted[i : i + batch_size].to(where)
            noise = Noise(settings.seed, np.arange(start + i, start + i + len(x)))
            maps, _ = attribute(model, x, methods, chosen, target, settings=settings, noise=noise)
            for key, found in maps.items():
                parts.setdefault(key, []).append(found.float().cpu().numpy())
    whole = {key: np.concatenate(found) for key, found in parts.items()}
    empty = [f"{method} at {layer}" for (method, layer), m in whole.items() if len(m) and degenerate(m).all()]
    if empty:
        warnings.warn(
            f"all maps ({len(images)}) are degenerate (flat, without a positive value, or of fewer than 4 "
            f"positions): {', '.join(empty)}",
            stacklevel=2,
        )
    return whole


def attribute(
    model: nn.Module,
    x: Tensor,
    methods: Sequence[str],
    layers: Mapping[str, nn.Module],
    targets: Tensor | None = None,
    *,
    settings: Settings = Settings(),
    noise: Noise | None = None,
) -> tuple[dict[tuple[str, str], Tensor], Tensor]:
    """Raw maps of one batch, every method by the way that suits it; what `explain` does for each batch.

    Args:
        model: in eval mode. x: its input (N, C, H, W), grey levels 0-255, left as it is.
        methods: of `names()`. layers: name -> module.
        targets: int64 (N,), the class explained; None = the predicted one.
        settings: choices of the methods that have any.
        noise: of stochastic methods; None = that of images 0 to N - 1.

    Returns:
        ``{(method, layer): raw maps (N, h, w)}``, methods in their order, each with all its layers,
        and the logits (N, classes), on the model's device.
    """
    noise = noise or Noise(settings.seed, range(len(x)))
    one_pass = [method for method in methods if method in ONE_PASS]
    found, logits = cams(model, x, one_pass, layers, targets)
    if logits.shape[1] == 1:
        raise ValueError(
            f"{type(model).__name__} gives one logit; a binary classifier needs two here, one a class: "
            "let its forward return torch.cat([-logit, logit], 1) / 2"
        )
    targets = logits.argmax(1) if targets is None else existing(targets.to(logits.device), logits.shape[1])
    if "smoothgradcam++" in methods:
        found.update(smooth_gradcam_plus_plus(model, x, layers, targets, settings, noise))
    if chosen := [method for method in methods if method in SCORE_CAMS]:
        found.update(score_cams(model, x, chosen, layers, targets, settings, noise))
    if chosen := [method for method in methods if method in (*GRADIENT_MAPS, *PERTURBATIONS)]:
        found.update(pixel_maps(model, x, chosen, targets, settings, noise))
    return {(m, layer): found[m, layer] for m in methods for layer in layers_of(m, layers)}, logits


def check_methods(methods: Sequence[str]) -> list[str]:
    """The methods without repeats, if all are known; one name alone is taken as a list of one."""
    methods = [methods] if isinstance(methods, str) else list(dict.fromkeys(methods))
    unknown = [method for method in methods if method not in names()]
    if not methods:
        raise ValueError(f"methods=[] names none; the methods are {', '.join(names())}")
    if unknown:
        raise ValueError(f"methods={methods!r}: unknown {unknown}; the methods are {', '.join(names())}")
    return methods


def layers_of(method: str, layers: Iterable[str]) -> tuple[str, ...]:
    """The layers of a method's maps: those given, or the input's alone."""
    return (INPUT,) if method in (*GRADIENT_MAPS, *PERTURBATIONS) else tuple(layers)


def layers_for(
    model: nn.Module, methods: Sequence[str], layers: Sequence[str | nn.Module] | str | None
) -> dict[str, nn.Module]:
    """`pick_layers`; none is looked for where every method explains the input alone."""
    maps_of_input = [bool(layers_of(method, ())) for method in methods]
    if isinstance(layers, Sequence) and not isinstance(layers, str) and any(maps_of_input):
        layers = [layer for layer in layers if layer != INPUT]
    if layers in (None, "all", []) and all(maps_of_input):
        return {}
    return pick_layers(model, layers)


def pick_layers(
    model: nn.Module, layers: Sequence[str | nn.Module] | str | nn.Module | None
) -> dict[str, nn.Module]:
    """The modules of those names, shallow to deep as given; None or "all" = `cam_layers`.

    A module itself stands for its name.

    Raises:
        ValueError: a name that the network does not have, those it has are listed; a pooling of everything.
    """
    if layers is None or layers == "all":
        return cam_layers(model)
    modules = named_layers(model)
    own = {module: name for name, module in modules.items()}
    given = [layers] if isinstance(layers, str | nn.Module) else layers
    asked = list(dict.fromkeys(own.get(m, repr(m)) if isinstance(m, nn.Module) else m for m in given))
    if not asked:
        raise ValueError("layers=[] names none; give names of layers, or None for all that are of use")
    inside = [str(layer).removeprefix("backbone.") for layer in asked]  # as a Classifier itself names them
    asked = [
        short if name not in modules and short in modules else name
        for name, short in zip(asked, inside, strict=True)
    ]
    unknown = [layer for layer in asked if layer not in modules]
    if unknown:
        useful = [name for name, module in modules.items() if not isinstance(module, NO_MAPS)]
        near = [name for layer in unknown for name in difflib.get_close_matches(str(layer), useful, 1)]
        with contextlib.suppress(ValueError):
            useful = list(cam_layers(model))
        raise ValueError(
            f"layers={asked!r}: the network has no {unknown}; it has {', '.join(useful)}"
            + (f"; did you mean {', '.join(near)}?" if near else "")
        )
    pooled = [layer for layer in asked if getattr(modules[layer], "output_size", 0) in (1, (1, 1))]
    if pooled:
        raise ValueError(
            f"layers={pooled!r} leave no map: they give one value for the whole; name one before"
        )
    return {layer: modules[layer] for layer in asked}


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters are; the CPU for a model without any."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def _check_targets(targets: np.ndarray | int | None, n: int) -> Tensor | None:
    if targets is None:
        return None
    wanted = np.full(n, targets) if np.ndim(targets) == 0 else np.asarray(targets)
    if wanted.shape != (n,) or wanted.dtype.kind not in "iu" or (n and wanted.min() < 0):
        came = f"={targets!r}" if np.ndim(targets) == 0 else f" are {wanted.dtype} {wanted.shape}"
        raise ValueError(f"targets{came}: give a class number from 0, or one for each of {n} images")
    return torch.from_numpy(wanted.astype(np.int64))
