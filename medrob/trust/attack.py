"""The worst case: how far can a map be moved by a change too small to see, while the prediction stays?

Two ends of one scale, over the pictures at most `EPSILON` grey levels from an image at every pixel: random
ones (Yeh et al. 2019) and a climb (Ghorbani et al. 2019). Both look at whole grey levels only, so that what
they find is a picture like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from medrob.drift import Explainer, PreparedMaps
from medrob.drift.similarities import rmse
from medrob.evaluation import compare_images, predict
from medrob.models import place
from medrob.models.layers import evaluating
from medrob.models.tokens import to_maps
from medrob.progress import bar
from medrob.saliency.decision import same_decision, task_of
from medrob.saliency.explain import ONE_PASS, pick_layers
from medrob.saliency.gradient import _formulas, as_input, cams, forward
from medrob.saliency.maps import normalise
from medrob.trust.means import Entry, means

ATTACKABLE = ONE_PASS  # their maps are formulas of one pass: autograd can differentiate them again
EPSILON = 2  # the most that a pixel may change, whole grey levels
TRIES = {"attack": 21, "max-sensitivity": 20}  # pictures looked at; the first of an attack is a random one
BETA = 30.0  # of the softplus that stands in for ReLU: sharp, but with a second derivative


def worst_case(
    explainer: Explainer, images: np.ndarray, targets: np.ndarray | int | None = None, *, seed: int = 0
) -> pd.DataFrame:
    """Mean drift under attack and under random changes in the same ball, for each method and layer.

    The attack is projected gradient ascent: from a random place in the ball, steps along the sign of the
    slope of the drift (Madry et al. 2018); what it finds is a lower bound of the worst case. The other test
    takes random pictures, each pixel for itself. Of both, the best picture at which the decision about the
    clean image (`medrob.saliency.same_decision`) is kept; the clean one where nothing moved the map.

    Args:
        explainer: the network and how its maps are made; methods that are not of `ATTACKABLE` are left out.
        images: uint8 (N, H, W, C).
        targets: the class explained, int (N,) or one for all; None = the predicted one.
        seed: of the random places and of the bootstrap.

    Returns:
        Rows with the columns `medrob.trust.COLUMNS`. Tests ``attack`` and ``max-sensitivity``: mean drift
        (RMSE of min-max maps) over the images whose clean map is not degenerate; for each, ``...-picture``:
        RMSE of the picture itself, in grey levels, and ``...-kept``: the share of decisions kept.

    Raises:
        ValueError: none of the methods can be attacked.
    """
    pairs = [(method, layer) for method, layer in explainer.pairs if method in ATTACKABLE]
    if not pairs:
        methods = ", ".join(explainer.methods)
        raise ValueError(f"none of {methods} can be attacked; give some of {', '.join(ATTACKABLE)}")
    classes, task = explainer.classes(images, targets), task_of(explainer.model)

    def decisions(pictures: np.ndarray) -> Tensor:
        """Probabilities minus one half: of the same sign as the logit where each label stands alone."""
        found = predict(explainer.model, pictures, batch_size=explainer.batch_size, device=explainer.device)
        return torch.from_numpy(found - 0.5)

    before, entries = decisions(images), []
    for method, layer in pairs:
        for test, tries in TRIES.items():
            search = Search(explainer, method, layer, tries, seed, climb=test == "attack")
            pictures, drift = search(images, classes)
            kept = same_decision(before, decisions(pictures), classes.cpu(), task).numpy()
            counts = np.where(np.isnan(drift), np.nan, 1)
            values = {"": drift, "-picture": compare_images(images, pictures)["rmse"], "-kept": kept}
            entries += [Entry(method, layer, test + name, value * counts) for name, value in values.items()]
    return means(entries, seed=seed)


@dataclass(frozen=True)
class Search:
    """The search for the picture in the ball whose map is furthest from that of the clean image."""

    explainer: Explainer
    method: str
    layer: str
    tries: int
    seed: int
    climb: bool

    def __call__(self, images: np.ndarray, targets: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """The pictures, uint8 (N, H, W, C), and their drift, float32 (N,), NaN without a clean map."""
        explainer, parts = self.explainer, []
        batches = list(explainer.batches(len(images)))
        with torch.inference_mode(False), evaluating(place(explainer.model, explainer.compute_device)):
            for rows in bar(batches, desc="attacking" if self.climb else "shaking", unit="batch"):
                parts.append(self.batch(explainer.input(images[rows]).float(), targets[rows], rows))
        pictures, drift = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
        return pictures.permute(0, 2, 3, 1).contiguous().to(torch.uint8).numpy(), drift.float().numpy()

    def batch(self, images: Tensor, targets: Tensor, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """The best of the tries: pictures (n, C, H, W), whole grey levels, and drift (n,)."""
        task = task_of(self.explainer.model)
        raw, before = self.map(images, targets)
        clean = PreparedMaps(raw)
        best, drift, x = images, torch.zeros_like(raw[:, 0, 0]), self.draw(images, index, 0)
        for attempt in range(1, self.tries + 1):
            raw, logits = self.map(x, targets)
            moved, kept = PreparedMaps(raw), same_decision(before, logits, targets, task)
            gap = rmse(clean, moved)
            better = kept & ~(moved.degenerate | clean.degenerate) & (gap > drift)
            best, drift = torch.where(_each(better), x, best), torch.where(better, gap, drift)
            if attempt < self.tries:
                fresh = self.draw(images, index, attempt)
                if self.climb:
                    slope = self.slope(x, targets, before, kept, clean)
                    step = (x + max(EPSILON // 2, 1) * slope.sign()).to(x)
                    # Where there is no slope, as that of a map without content: begin again elsewhere.
                    lost = moved.degenerate | (slope == 0).flatten(1).all(1)
                    fresh = torch.where(_each(lost), fresh, _project(step, images))
                x = fresh
        return best, drift.masked_fill(clean.degenerate, torch.nan)

    def map(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The raw maps (n, h, w) and the logits."""
        model = self.explainer.model
        maps, logits = cams(model, x, [self.method], pick_layers(model, self.layer), targets)
        return maps[self.method, self.layer], logits

    def draw(self, images: Tensor, index: np.ndarray, stream: int) -> Tensor:
        """A random place in the ball, keyed by (seed, image, stream)."""
        rngs = (np.random.default_rng([self.seed, int(i), stream]) for i in index)
        fields = np.array([rng.integers(-EPSILON, EPSILON + 1, images.shape[1:], np.int16) for rng in rngs])
        return _project(images + torch.from_numpy(fields).to(images), images)

    def slope(self, x: Tensor, targets: Tensor, before: Tensor, kept: Tensor, clean: PreparedMaps) -> Tensor:
        """Of the squared drift; where the decision is lost, of its margin, which leads back to it."""
        model = self.explainer.model
        layers = pick_layers(model, self.layer)
        with torch.inference_mode(False), torch.enable_grad():
            x = as_input(model, x).detach().clone().requires_grad_()
            # Attention has a second derivative in its plain form only.
            with SmoothReLU(), sdpa_kernel(SDPBackend.MATH):
                outputs, logits = forward(model, x.clone(), layers)
            explained, output = logits.gather(1, targets[:, None])[:, 0], outputs[self.layer]
            (g,) = torch.autograd.grad(explained.sum(), output, create_graph=True)
            A, g = (to_maps(layers[self.layer], part).to(clean.values.dtype) for part in (output, g))
            maps = normalise(_formulas(A, g, [self.method])[self.method])
            gap = (maps - clean.values).square().mean((1, 2))
            back = margin(logits, before, targets, task_of(model))
            (slope,) = torch.autograd.grad(torch.where(kept, gap, back).sum(), x, materialize_grads=True)
        return slope.nan_to_num(0)


def margin(logits: Tensor, before: Tensor, targets: Tensor, task: str) -> Tensor:
    """How far the decision about the clean image is from being lost, below 0 where it is: (n,)."""
    if task == "multilabel":
        side = torch.where(before.gather(1, targets[:, None]) > 0, 1, -1)
        return (side * logits.gather(1, targets[:, None]))[:, 0]
    predicted = before.argmax(1)[:, None]
    return logits.gather(1, predicted)[:, 0] - logits.scatter(1, predicted, -torch.inf).amax(1)


def _project(x: Tensor, images: Tensor) -> Tensor:
    """The picture in the ball around the images, and in the range of grey levels, that is nearest to x."""
    return torch.minimum(torch.maximum(x, images - EPSILON), images + EPSILON).clamp(0, 255)


def _each(flags: Tensor) -> Tensor:
    """A flag for each image (n,), to be laid over the images (n, 1, 1, 1)."""
    return flags[:, None, None, None]


class SmoothReLU(TorchFunctionMode):
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
