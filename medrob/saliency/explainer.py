"""The public functions: images in, maps out, and what is done to maps: normalisation, ranks, enlargement."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medrob import models
from medrob.check import check_images
from medrob.config import Heatmaps, nearest
from medrob.evaluation import device_of, predict
from medrob.saliency import of_layers
from medrob.saliency.of_layers import MASKS, ONE_PASS, SMOOTH, Batch, Layers, Maps, Noise, Settings
from medrob.saliency.pixel import INPUT, PIXEL, pixel_maps

Key = tuple[str, str]  # method, layer
STOCHASTIC = (SMOOTH, "sscam", "smoothgrad")


def names() -> tuple[str, ...]:
    """The names of all methods."""
    return (*ONE_PASS, SMOOTH, *MASKS, *PIXEL)


@dataclass(frozen=True)
class Explainer:
    """A network, whose modes and gradients are left as found, and how its maps are made.

    `layers`: names of modules, such as "layer4.1"; None = `medrob.models.cam_layers`, afterwards a list.
    `device`: None = where the model is.
    """

    model: nn.Module
    methods: Sequence[str]
    layers: Sequence[str] | str | None = None
    settings: Settings = Settings()
    batch_size: int = 64
    device: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", check_methods(self.methods))
        object.__setattr__(self, "layers", list(layers_for(self.model, self.methods, self.layers)))
        object.__setattr__(self, "device", device_of(self.model, self.device))

    @classmethod
    def of(cls, model: nn.Module, choice: Heatmaps) -> Self:
        """The one that the parameters of notebook 04 choose."""
        settings = Settings(seed=choice.seed, samples=choice.samples, channels=choice.channels)
        return cls(model, choice.methods, choice.layers, settings, choice.batch_size, choice.device)

    def only(self, methods: Sequence[str] | None = None, layers: Sequence[str] | None = None) -> Self:
        """The same with some of the methods, or some of the layers; None = all."""
        return replace(self, methods=methods or self.methods, layers=layers or self.layers)

    @property
    def pairs(self) -> list[Key]:
        """Every method with each of its layers, in the order of their maps."""
        return [(m, layer) for m in self.methods for layer in layers_of(m, self.layers or ())]

    def batches(self, n: int) -> list[np.ndarray]:
        """Indices of n images, a batch at a time."""
        return np.split(np.arange(n), range(self.batch_size, n, self.batch_size))

    def input(self, images: np.ndarray) -> Tensor:
        """The images, uint8 (N, H, W, C), as uint8 (N, C, H, W) on the device."""
        return torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)

    def maps(
        self, images: np.ndarray, index: np.ndarray, targets: Tensor | None = None
    ) -> tuple[dict[Key, Tensor], Tensor]:
        """Raw maps of one batch, ``{(method, layer): (N, h, w)}``, and the logits, on the device.

        `index` is the place of each image in the data set: its noise is that of its corrupted copies.
        `targets`, int64 (N,), are the classes explained; None = the predicted ones.
        """
        model, modules = self.model, models.named_layers(self.model)
        layers = {layer: modules[layer] for layer in self.layers or ()}  # checked once, when it was made
        one_pass, masks, pixel = (
            [m for m in self.methods if m in table] for table in (ONE_PASS, MASKS, PIXEL)
        )
        with models.evaluating(models.place(model, self.device)):
            x = models.as_input(model, self.input(images))
            if x.dtype in (torch.float16, torch.bfloat16):
                raise ValueError(
                    f"{type(model).__name__} is of {x.dtype}, too coarse for maps; give model.float()"
                )
            if one_pass:
                found, logits = of_layers.cams(model, x, one_pass, layers, targets)
            else:  # perhaps no gradient is needed
                with torch.no_grad():
                    found, logits = Maps(), models.forward(model, x.clone(), {})[1]
            noise = Noise(self.settings.seed, index)
            batch = Batch(model, x, of_layers.classes(targets, logits), self.settings, noise)
            if SMOOTH in self.methods:
                found |= of_layers.smooth_gradcam_plus_plus(batch, layers)
            if masks:
                found |= of_layers.score_cams(batch, masks, layers)
            found |= pixel_maps(batch, pixel)
        return {key: found[key] for key in self.pairs}, logits

    def explain(self, images: np.ndarray, targets: np.ndarray | int | None = None) -> dict[Key, np.ndarray]:
        """Raw maps of any number of images, see the function `explain`."""
        images, parts = check_images(images), dict[Key, list[Tensor]]()
        classes = None if targets is None else self.classes(images, targets)
        for rows in self.batches(len(images)) if len(images) else ():
            of_rows = None if classes is None else classes[rows]
            for key, found in self.maps(images[rows], rows, of_rows)[0].items():
                parts.setdefault(key, []).append(found.float().cpu())
        return {key: torch.cat(found).numpy() for key, found in parts.items()}

    def classes(self, images: np.ndarray, targets: np.ndarray | int | None) -> Tensor:
        """The class explained in each image, int64 (N,) on the device; None = the predicted ones."""
        if targets is None:
            targets = predict(self.model, images, batch_size=self.batch_size, device=self.device).argmax(1)
        classes = np.broadcast_to(targets, len(images)).astype(np.int64, casting="safe")  # no fractions
        return torch.from_numpy(classes).to(self.device)


def explain(
    model: nn.Module, images: np.ndarray, *, methods: Sequence[str],
    targets: np.ndarray | int | None = None, **choices: Any,
) -> dict[Key, np.ndarray]:  # fmt: skip
    """Saliency maps of several methods at several layers, together.

    Args:
        model: takes grey levels 0-255 (N, C, H, W) as floats, gives logits; torchvision's own, which take
            0-1, normalised, need `medrob.models.Normalise` as first layer. It is left as found.
        images: uint8 (N, H, W, C), of as many channels as the network takes.
        targets: the class explained: int (N,), or one for all; None = each image's predicted class.
        **choices: layers, settings, batch_size, device: see `Explainer`.

    Returns:
        ``{(method, layer): float32 (N, h, w)}``: raw maps, before the ReLU, at the layer's own resolution; of
        methods that explain the input itself, at the layer "input".
    """
    return Explainer(model, methods, **choices).explain(images, targets)


def identity(model: nn.Module, images: np.ndarray, layer: str) -> dict[str, np.ndarray] | None:
    """Sum of the Grad-CAM of each image's prediction, its logit and bias, where sum = logit - bias; (N,).

    So it is where the mean of the layer's maps is all that a last linear layer sees: the gradient is then the
    same at every position. The bias is the logit where the layer gives 0. None for a network of another form.
    """
    x = models.as_input(model, torch.tensor(check_images(images)).permute(0, 3, 1, 2))
    with models.evaluating(model):
        try:
            layers = layers_for(model, ["gradcam"], [layer])
            pairs, logits = of_layers.differentiate(model, x, layers, None)
        except ValueError:  # no such layer, or a step that stops the gradient
            return None
        with torch.no_grad(), models.hooked(layers, lambda name, module, output: torch.zeros_like(output)):
            silent = model(x.clone())
    (A, g), at = pairs[layer], logits.argmax(1)[:, None]
    total = of_layers.formulas(A, g, ["gradcam"])["gradcam"].sum((1, 2))
    logit, bias = (given.gather(1, at)[:, 0] for given in (logits, silent))
    if not torch.allclose(g, g[..., :1, :1]) or not torch.allclose(total, logit - bias, 1e-4, 1e-4):
        return None
    values = {"sum": total, "logit": logit, "bias": bias}
    return {name: value.float().cpu().numpy() for name, value in values.items()}


def check_methods(methods: Sequence[str]) -> list[str]:
    """The methods without repeats, if all are known; one name alone is taken as a list of one."""
    methods = [methods] if isinstance(methods, str) else list(dict.fromkeys(methods))
    if unknown := [method for method in methods if method not in names()]:
        near = nearest(unknown, names())
        raise ValueError(f"methods={methods!r}: unknown {', '.join(map(repr, unknown))}{near}")
    return methods


def layers_of(method: str, layers: Iterable[str]) -> tuple[str, ...]:
    """The layers of a method's maps: those given, or the input's alone."""
    return (INPUT,) if method in PIXEL else tuple(layers)


def layers_for(model: nn.Module, methods: Iterable[str], layers: Iterable[str] | None) -> Layers:
    """The modules of those names, in their order; None or "all" = `cam_layers`, if a method looks into it."""
    if all(method in PIXEL for method in methods):
        return {}
    if layers is None or layers == "all":
        return models.cam_layers(model)
    modules = models.named_layers(model)
    chosen = [layers] if isinstance(layers, str) else dict.fromkeys(layers)
    if unknown := [layer for layer in chosen if layer not in modules]:
        useful = [name for name, module in modules.items() if not isinstance(module, models.NO_MAPS)]
        raise ValueError(f"layers: unknown {', '.join(map(repr, unknown))}{nearest(unknown, useful)}")
    named = {layer: modules[layer] for layer in chosen}
    models.check_layers(model, named)
    return named


def same_decision(clean: Tensor, moved: Tensor, targets: Tensor, task: str) -> Tensor:
    """Whether the decision about the clean image still holds, by the logits of both: bool (N,).

    The class predicted; of a multi-label network, whether the label explained is there (logit above 0).
    """
    if task != "multilabel":
        return clean.argmax(1) == moved.argmax(1)
    before, after = (logits.gather(1, targets[:, None])[:, 0] > 0 for logits in (clean, moved))
    return before == after


def normalise(maps: Tensor) -> Tensor:
    """ReLU, then each map for itself to 0-1; see `degenerate` for flat ones."""
    flat = maps.relu().flatten(1)
    flat = flat - flat.amin(1, keepdim=True)
    return (flat / flat.amax(1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)).view(maps.shape)


def degenerate(maps: Tensor) -> Tensor:
    """Which maps say nothing: fewer than 4 positions, no positive value, or zero spread; bool (N,).

    Spread is judged after the ReLU, and to a relative precision of 1e-6; a value counts as positive from
    the smallest number that floating point keeps to full precision. A map with NaN or infinity is degenerate.
    """
    if maps.ndim != 3 or not maps.is_floating_point():
        raise ValueError(f"maps are {maps.dtype} {tuple(maps.shape)}; give floating point (N, h, w)")
    flat = maps.relu().flatten(1)
    if flat.shape[1] < 4:
        return torch.ones(len(maps), dtype=torch.bool, device=maps.device)
    high, low = flat.amax(1), flat.amin(1)
    return ~((high - low > 1e-6 * high) & (high >= torch.finfo(flat.dtype).tiny))


def upsample(maps: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Maps enlarged to (N, size, size), or to (N, *size), bilinear, pixel centres as in OpenCV."""
    return F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
