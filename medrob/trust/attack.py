"""The worst case: how far can a map be moved by a change too small to see, while the prediction stays?

Two ends of one scale, over the pictures at most `epsilon` grey levels from an image at every pixel:
`max_sensitivity` tries random ones (Yeh et al. 2019), `attack` climbs (Ghorbani et al. 2019). Both look at
whole grey levels only, so that what they find is a picture like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from medrob.check import check_integer
from medrob.evaluation import predict
from medrob.evaluation.distance import compare_images
from medrob.models import place
from medrob.models.layers import evaluating
from medrob.models.tokens import to_maps
from medrob.progress import bar
from medrob.saliency.decision import same_decision, task_of
from medrob.saliency.explain import ONE_PASS, check_methods, pick_layers
from medrob.saliency.gradient import _formulas, as_input, cams, forward
from medrob.saliency.maps import normalise
from medrob.similarity import Maps, rmse
from medrob.trust.subject import Asked, subject
from medrob.trust.table import Entry, table

ATTACKABLE = ONE_PASS  # their maps are formulas of one pass: what autograd can differentiate again
BETA = 30.0  # of the softplus that stands in for ReLU: sharp, but with a second derivative


@dataclass(frozen=True)
class Worst:
    """What was found for each image.

    Attributes:
        images: uint8 (N, H, W, C), predicted as the clean ones; the clean image where nothing moved the map.
        drift: float32 (N,), RMSE between min-max maps (`medrob.similarity.rmse`), 0-1; NaN where the clean
            map is degenerate.
        targets: int64 (N,), the class explained.
    """

    images: np.ndarray
    drift: np.ndarray
    targets: np.ndarray


class Ask(TypedDict, total=False):
    """What `attack` and `max_sensitivity` are asked; in brackets what is taken where nothing is said.

    Attributes:
        method: of `ATTACKABLE` (gradcam). layer: the name of a module (the deepest of `cam_layers`).
        targets: the class explained: int (N,), or one for all (each clean image's predicted class).
        epsilon: the most that a pixel may change, whole grey levels (2, which is 2/255 of the range).
        seed: of the random places (0). start: index of the first image in its data set, which keys them (0).
        batch_size: images a pass (64); up to the rounding of sums it does not matter.
        device: where to compute (where the model is).
    """

    method: str
    layer: str | None
    targets: np.ndarray | int | None
    epsilon: float
    seed: int
    start: int
    batch_size: int
    device: str | None


def attack(model: nn.Module, images: np.ndarray, *, steps: int = 20, **ask: Unpack[Ask]) -> Worst:
    """Move the map of each image as far as a small change can, by projected gradient ascent.

    From a random place in the ball, steps along the sign of the slope (Madry et al. 2018) of the drift; the
    best place on the way at which the class predicted is still that of the clean image (of a multi-label
    network: at which the decision about the label explained, logit above 0, is). What it finds is a lower
    bound of the worst case. A step costs two forward and three backward passes.

    Args:
        model: left as found; see `medrob.saliency.explain`.
        images: uint8 (N, H, W, C), at least one.
        steps: uphill, at least 1.
        ask: see `Ask`.

    Raises:
        TypeError, ValueError: a method that cannot be differentiated in one pass, an unknown layer,
            arguments out of range, images of another shape, classes that do not exist.
    """
    return _worst(model, images, 1 + check_integer("steps", steps, 1), climb=True, **ask)


def max_sensitivity(model: nn.Module, images: np.ndarray, *, samples: int = 20, **ask: Unpack[Ask]) -> Worst:
    """The largest drift of each map under `samples` random changes in the ball (Yeh et al. 2019).

    Whole grey levels, uniform, each pixel for itself. As in `attack`, whose other arguments and errors
    these are, a change counts only if the class predicted is still that of the clean image.
    """
    return _worst(model, images, check_integer("samples", samples, 1), climb=False, **ask)


def worst_case(
    model: nn.Module,
    images: np.ndarray,
    *,
    epsilon: float = 2,
    steps: int = 20,
    samples: int = 20,
    seed: int = 0,
    **asked: Unpack[Asked],
) -> pd.DataFrame:
    """Mean drift under attack and under random changes in the same ball, for each method and layer.

    Args:
        model: left as found.
        images: uint8 (N, H, W, C). asked: as of the other checks; methods that are not of `ATTACKABLE` are
            left out, layers=None stands for the deepest alone, and no settings are used.
        epsilon, steps, samples, seed: of `attack` and of `max_sensitivity`.

    Returns:
        Rows with the columns `medrob.trust.COLUMNS`. Tests ``attack`` and ``max-sensitivity``: mean drift
        over the images whose clean map is not degenerate; for each, ``...-picture``: RMSE of the picture
        itself, in grey levels, and ``...-kept``: the share of pictures still decided as
        the clean ones (`medrob.saliency.decision.same_decision`).

    Raises:
        TypeError, ValueError: as `attack`; none of the methods can be attacked.
    """
    methods = check_methods(asked.get("methods", ("gradcam",)))
    layers = asked.get("layers")
    names = list(pick_layers(model, layers))[-1 if layers is None else 0 :]
    pairs = [(method, layer) for method in methods if method in ATTACKABLE for layer in names]
    if not pairs:
        raise ValueError(f"none of methods={methods} can be attacked; give some of {', '.join(ATTACKABLE)}")
    batch: dict[str, Any] = {key: asked[key] for key in ("batch_size", "device") if key in asked}
    before = torch.from_numpy(
        predict(model, images, **batch) - 0.5
    )  # a logit of 0 is a probability of one half
    entries = []
    for method, layer in pairs:
        ask = dict(
            method=method, layer=layer, targets=asked.get("targets"), epsilon=epsilon, seed=seed, **batch
        )
        tests = {
            "attack": attack(model, images, steps=steps, **ask),
            "max-sensitivity": max_sensitivity(model, images, samples=samples, **ask),
        }
        for test, worst in tests.items():
            counts = np.where(np.isnan(worst.drift), np.nan, 1)
            picture = compare_images(images, worst.images)["rmse"]
            after = torch.from_numpy(predict(model, worst.images, **batch) - 0.5)
            kept = same_decision(before, after, torch.from_numpy(worst.targets), task_of(model)).numpy()
            for name, values in {"": worst.drift, "-picture": picture, "-kept": kept}.items():
                entries.append(Entry(method, layer, test + name, values * counts))
    return table(entries, seed=seed)


@dataclass(frozen=True)
class _Search:
    """What is looked for, the same for every batch."""

    method: str
    layers: dict[str, nn.Module]  # a single one
    epsilon: int
    tries: int
    seed: int
    climb: bool
    task: str = "multiclass"

    def __call__(
        self, model: nn.Module, images: Tensor, targets: Tensor, index: np.ndarray
    ) -> tuple[Tensor, Tensor]:
        """The best of the tries: images (n, C, H, W), whole grey levels as they came, and drift (n,)."""
        raw, before = self._map(model, images, targets)
        clean = Maps(raw)
        best, drift, x = images, torch.zeros_like(raw[:, 0, 0]), self._draw(images, index, 0)
        for attempt in range(1, self.tries + 1):
            raw, logits = self._map(model, x, targets)
            moved, kept = Maps(raw), same_decision(before, logits, targets, self.task)
            gap = rmse(clean, moved)
            better = kept & ~(moved.degenerate | clean.degenerate) & (gap > drift)
            best, drift = torch.where(_each(better), x, best), torch.where(better, gap, drift)
            if attempt < self.tries:
                fresh = self._draw(images, index, attempt)
                if self.climb:
                    slope = self._slope(model, x, targets, before, kept, clean)
                    step = (x + max(self.epsilon // 2, 1) * slope.sign()).to(x)
                    # Where there is no slope, as that of a map without content: begin again elsewhere.
                    lost = moved.degenerate | (slope == 0).flatten(1).all(1)
                    fresh = torch.where(_each(lost), fresh, self._project(step, images))
                x = fresh
        return best, drift.masked_fill(clean.degenerate, torch.nan)

    def _map(self, model: nn.Module, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        maps, logits = cams(model, x, [self.method], self.layers, targets)
        return maps[self.method, next(iter(self.layers))], logits

    def _project(self, x: Tensor, images: Tensor) -> Tensor:
        near = torch.minimum(torch.maximum(x, images - self.epsilon), images + self.epsilon)
        return near.clamp(0, 255)

    def _draw(self, images: Tensor, index: np.ndarray, stream: int) -> Tensor:
        """A random place in the ball, keyed by (seed, image, stream)."""
        rngs = (np.random.default_rng([self.seed, int(i), stream]) for i in index)
        e, shape = self.epsilon, images.shape
        fields = np.array([rng.integers(-e, e + 1, shape[1:], np.int16) for rng in rngs], np.int16)
        return self._project(images + torch.from_numpy(fields.reshape(shape)).to(images), images)

    def _slope(
        self, model: nn.Module, x: Tensor, targets: Tensor, before: Tensor, kept: Tensor, clean: Maps
    ) -> Tensor:
        """Of the squared drift; where the prediction is lost, of its margin: back it goes."""
        (layer, module), *_ = self.layers.items()
        with torch.inference_mode(False), torch.enable_grad():
            x = as_input(model, x).detach().clone().requires_grad_()
            # Attention has a second derivative in its plain form only.
            with _SmoothReLU(), sdpa_kernel(SDPBackend.MATH):
                outputs, logits = forward(model, x.clone(), self.layers)
            own = logits.gather(1, targets[:, None]).sum()
            (g,) = torch.autograd.grad(own, outputs[layer], create_graph=True)
            A, g = (to_maps(module, part).to(clean.values.dtype) for part in (outputs[layer], g))
            maps = normalise(_formulas(A, g, [self.method])[self.method])
            gap = (maps - clean.values).square().mean((1, 2))
            upward = torch.where(kept, gap, self._margin(logits, before, targets)).sum()
            (slope,) = torch.autograd.grad(upward, x, materialize_grads=True)
        return slope.nan_to_num(0)

    def _margin(self, logits: Tensor, before: Tensor, targets: Tensor) -> Tensor:
        """How far the decision about the clean image is from being lost, below 0 where it is: (n,)."""
        if self.task == "multilabel":
            side = torch.where(before.gather(1, targets[:, None]) > 0, 1, -1)
            return (side * logits.gather(1, targets[:, None]))[:, 0]
        predicted = before.argmax(1)[:, None]
        return logits.gather(1, predicted)[:, 0] - logits.scatter(1, predicted, -torch.inf).amax(1)


class _SmoothReLU(TorchFunctionMode):
    """While the block runs, softplus stands in for every ReLU.

    The second derivative of ReLU is 0: a slope would not know how the gradients in a map change
    (Dombrowski et al. 2019; Ghorbani et al. 2019). Only the way up is found so; no map is judged by it.
    """

    RELU = (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in self.RELU:
            return F.softplus(args[0], BETA)
        return func(*args, **(kwargs or {}))


def _each(flags: Tensor) -> Tensor:
    """A flag for each image (n,), to be laid over the images (n, 1, 1, 1)."""
    return flags[:, None, None, None]


def _worst(
    model: nn.Module,
    images: np.ndarray,
    tries: int,
    *,
    climb: bool,
    method: str = "gradcam",
    layer: str | None = None,
    epsilon: float = 2,
    seed: int = 0,
    start: int = 0,
    **asked: Any,
) -> Worst:
    """Check the arguments, and search a batch at a time."""
    if method not in ATTACKABLE:
        raise ValueError(
            f"method={method!r} cannot be attacked: that takes a map from a single pass; "
            f"give one of {', '.join(ATTACKABLE)}"
        )
    whole = int(epsilon) if isinstance(epsilon, float) and epsilon.is_integer() else epsilon
    levels = check_integer("epsilon", whole, 0, 255)
    seed, start = check_integer("seed", seed, 0), check_integer("start", start, 0)
    layers = dict([list(pick_layers(model, layer).items())[-1]])
    search = _Search(method, layers, levels, tries, seed, climb, task_of(model))
    what = subject(model, images, methods=method, layers=list(layers), **asked)
    targets = torch.from_numpy(what.targets).to(what.device)
    parts = []
    with torch.inference_mode(False), evaluating(place(model, what.device)):
        for rows in bar(list(what.batches()), desc="attacking" if climb else "shaking", unit="batch"):
            parts.append(search(model, what.input(rows).float(), targets[rows], start + rows))
    found, drift = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    pictures = found.permute(0, 2, 3, 1).contiguous().to(torch.uint8)
    return Worst(pictures.numpy(), drift.float().numpy(), what.targets)
