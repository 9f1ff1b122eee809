"""How far can a change too small to see move a map while the prediction stays (Ghorbani et al. 2019)?"""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from medrob.drift import SIMILARITIES, Explainer, PreparedMaps
from medrob.evaluation import compare_images, predict
from medrob.machine import bar
from medrob.models import as_input, evaluating, forward, named_layers, place, to_maps
from medrob.saliency import ONE_PASS, formulas, normalise, same_decision, task_of
from medrob.trust.means import Entry, means

ATTACKABLE = ONE_PASS  # their maps are formulas of one pass: autograd can differentiate them again
EPSILON = 2  # the most that a pixel may change, whole grey levels
TRIES = {"attack": 21, "max-sensitivity": 20}  # pictures looked at; the first of an attack is a random one
BETA = 30.0  # of the softplus that stands in for ReLU: sharp, but with a second derivative


@torch.inference_mode(False)  # there autograd could not climb
def worst_case(
    explainer: Explainer, images: np.ndarray, targets: np.ndarray | int | None = None, *, seed: int = 0
) -> pd.DataFrame:
    """Mean drift under attack and random changes (Yeh et al. 2019) of every pixel by at most `EPSILON`.

    The attack is projected gradient ascent: from a random place in the ball, steps along the sign of the
    slope of the drift (Madry et al. 2018); what it finds is a lower bound of the worst case. Of the pictures
    tried, the best at which the decision about the clean image is kept; the clean one where none is better.
    Tests ``attack`` and ``max-sensitivity`` (random) are the mean drift (RMSE of min-max maps); for each,
    ``...-picture``: RMSE of the picture, in grey levels, and ``...-kept``: the share of decisions kept.
    """
    classes, task = explainer.classes(images, targets), task_of(explainer.model)
    ask = partial(predict, explainer.model, batch_size=explainer.batch_size, device=explainer.device)
    # Probabilities minus one half: of the same sign as the logit where each label stands alone.
    before, entries = torch.from_numpy(ask(images) - 0.5), []
    for method, layer in [pair for pair in explainer.pairs if pair[0] in ATTACKABLE]:
        single = replace(explainer, methods=[method], layers=[layer])
        for test in TRIES:
            pictures, drift = images.copy(), np.empty(len(images), np.float32)
            for rows in bar(explainer.batches(len(images)), desc=test, unit="batch"):
                pictures[rows], drift[rows] = furthest(single, images[rows], rows, classes[rows], test, seed)
            after = torch.from_numpy(ask(pictures) - 0.5)
            kept = same_decision(before, after, classes.cpu(), task).numpy()
            counts = np.where(np.isnan(drift), np.nan, 1)
            values = {"": drift, "-picture": compare_images(images, pictures)["rmse"], "-kept": kept}
            entries += [Entry(method, layer, test + name, value * counts) for name, value in values.items()]
    return means(entries, seed=seed)


def furthest(
    explainer: Explainer, images: np.ndarray, rows: np.ndarray, targets: Tensor, test: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of the pictures tried, those whose one map is furthest from the clean one's, and their drift (n,).

    `rows` are the places of the images in the data set. NaN where the clean map is degenerate.
    """
    (key,), task = explainer.pairs, task_of(explainer.model)
    maps, before = explainer.maps(images, rows, targets)
    clean = PreparedMaps(maps[key])
    best, drift = images, torch.zeros_like(maps[key][:, 0, 0])
    x, wide = _random(images, rows, seed, 0), (slice(None), None, None, None)  # (n,) to (n, H, W, C)
    for attempt in range(1, TRIES[test] + 1):
        maps, logits = explainer.maps(x, rows, targets)
        moved, kept = PreparedMaps(maps[key]), same_decision(before, logits, targets, task)
        gap = SIMILARITIES["rmse"](clean, moved)
        better = kept & ~(moved.degenerate | clean.degenerate) & (gap > drift)
        best, drift = np.where(better.cpu().numpy()[wide], x, best), torch.where(better, gap, drift)
        fresh = _random(images, rows, seed, attempt)
        if test == "attack" and attempt < TRIES[test]:
            steepest = slope(explainer, explainer.input(x), targets, before, kept, clean)
            way = steepest.sign().permute(0, 2, 3, 1).cpu().numpy().astype(np.int16)
            step = _project(x + max(EPSILON // 2, 1) * way, images)
            # Where there is no slope, as that of a map without content: begin again elsewhere.
            lost = moved.degenerate | (steepest == 0).flatten(1).all(1)
            fresh = np.where(lost.cpu().numpy()[wide], fresh, step)
        x = fresh
    return best, drift.masked_fill(clean.degenerate, torch.nan).float().cpu().numpy()


def slope(
    explainer: Explainer, x: Tensor, targets: Tensor, before: Tensor, kept: Tensor, clean: PreparedMaps
) -> Tensor:
    """The slope of the squared drift at x (n, C, H, W); where the decision is lost, of the way back to it."""
    model, ((method, layer),) = explainer.model, explainer.pairs
    layers = {layer: named_layers(model)[layer]}
    with evaluating(place(model, explainer.device)), torch.enable_grad():
        x = as_input(model, x).detach().clone().requires_grad_()
        # Attention has a second derivative in its plain form only.
        with SmoothReLU(), sdpa_kernel(SDPBackend.MATH):
            outputs, logits = forward(model, x.clone(), layers)
        own = logits.gather(1, targets[:, None])
        (g,) = torch.autograd.grad(own.sum(), outputs[layer], create_graph=True)
        A, g = (to_maps(layers[layer], part).to(clean.values.dtype) for part in (outputs[layer], g))
        gap = (normalise(formulas(A, g, [method])[method]) - clean.values).square().mean((1, 2))
        if task_of(model) == "multilabel":  # back: the label explained on its side of 0
            back = (torch.where(before.gather(1, targets[:, None]) > 0, 1, -1) * own)[:, 0]
        else:  # the class predicted above the highest other one
            first = before.argmax(1)[:, None]
            back = logits.gather(1, first)[:, 0] - logits.scatter(1, first, -torch.inf).amax(1)
        (found,) = torch.autograd.grad(torch.where(kept, gap, back).sum(), x, materialize_grads=True)
    return found.nan_to_num(0)


def _random(images: np.ndarray, rows: np.ndarray, seed: int, stream: int) -> np.ndarray:
    """A random picture in the ball around each image, keyed by (seed, image, stream)."""
    _, height, width, channels = images.shape
    rngs = (np.random.default_rng([seed, int(row), stream]) for row in rows)
    fields = [rng.integers(-EPSILON, EPSILON + 1, (channels, height, width), np.int16) for rng in rngs]
    return _project(images + np.moveaxis(np.array(fields), 1, -1), images)


def _project(pictures: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The nearest pictures in the ball around the images, and in the range of grey levels: uint8."""
    middle = images.astype(np.int16)
    return pictures.clip(middle - EPSILON, middle + EPSILON).clip(0, 255).astype(np.uint8)


class SmoothReLU(TorchFunctionMode):
    """Softplus for every ReLU, whose second derivative is 0 (Dombrowski et al. 2019); it judges no map."""

    RELU = (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return F.softplus(args[0], BETA) if func in self.RELU else func(*args, **(kwargs or {}))
