"""Does the network need what a map marks? Insertion, deletion (Petsiuk 2018) and ROAD (Rong 2022)."""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor

from medrob.data import ImageDataset
from medrob.drift import Explainer
from medrob.evaluation import task_of
from medrob.machine import bar
from medrob.models import activate, evaluating, place
from medrob.saliency import Noise, degenerate, upsample
from medrob.trust.means import Entry, means

GREY = 127.5  # what is deleted becomes the middle of the grey levels, which `Normalise` takes to 0
BLUR = 0.1  # what is not yet inserted is blurred: standard deviation of the Gaussian, share of the side
NOISE = 2.55  # of the imputation: standard deviation, grey levels; .01 of the range (Rong et al. 2022)
TOLERANCE = 1e-3  # of the imputation's residual, in grey levels
# Shares of the pixels that are inserted or removed; ROAD removes the most or the least relevant first.
SHARES = {kind: np.linspace(0, 1, 11) for kind in ("insertion", "deletion")}
SHARES |= {kind: np.arange(1, 10) / 10 for kind in ("road-morf", "road-lerf")}


def faithfulness(
    explainer: Explainer, dataset: ImageDataset, targets: np.ndarray | int | None = None, *, seed: int = 0
) -> pd.DataFrame:
    """How the probability of the explained class follows the pixels that a map, enlarged, ranks first.

    ``insertion``: from the blurred image (Gaussian, standard deviation a tenth of the side) to the image,
    highest values first: area under the probability, 0-1, the higher the better.
    ``deletion``: from the image to plain grey (127.5): the area, the lower the better.
    ``road``: 10 to 90 % of the pixels imputed from their neighbours, with noise; (mean probability when the
    lowest go first minus that when the highest do) / 2, from -0.5 to 0.5, the higher the better.
    Chance is the same test with a random map of the layer's resolution. Ties are in random order.
    """
    classes = explainer.classes(dataset.images, targets)
    values: dict[
        tuple, list[np.ndarray]
    ] = {}  # (test, key of the map, or size of a random one): of each batch
    for rows in bar(explainer.batches(len(dataset)), desc="removing pixels", unit="batch"):
        images = dataset.images[rows]
        maps, _ = explainer.maps(images, rows, classes[rows])
        sizes, noise = {key: raw.shape[1:] for key, raw in maps.items()}, Noise(seed, rows)
        blind = {size: noise.normal(size, classes.device, 3).exp() for size in {*sizes.values()}}
        with evaluating(place(explainer.model, explainer.device)):
            batch = _Batch(explainer, images, classes[rows], noise)
            for key, raw in (maps | blind).items():
                for test, area in batch.areas(raw).items():
                    values.setdefault((test, key), []).append(area)
    whole = {place: np.concatenate(areas) for place, areas in values.items()}
    entries = [
        Entry(*key, test, whole[test, key], whole[test, size])
        for test in ("insertion", "deletion", "road")
        for key, size in sizes.items()
    ]
    return means(entries, seed=seed, groups=dataset.groups)


class _Batch:
    """A batch of images, what takes the place of their pixels, and what the network says of the result."""

    def __init__(self, explainer: Explainer, images: np.ndarray, targets: Tensor, noise: Noise) -> None:
        self.model, self.targets = explainer.model, targets
        self.dtype = next(explainer.model.parameters()).dtype
        self.image = explainer.input(images).float()
        self.size = height, width = self.image.shape[2:]
        sigma = (0, 0, BLUR * height, BLUR * width)
        blurred = gaussian_filter(self.image.cpu().numpy(), sigma, mode="nearest")
        self.blurred = torch.from_numpy(blurred).to(targets.device)
        self.ties = noise.normal(self.size, targets.device, 1)
        self.grain = NOISE * noise.normal(self.image.shape[1:], targets.device, 2)

    @torch.inference_mode()
    def areas(self, raw: Tensor) -> dict[str, np.ndarray]:
        """The value of each test for raw maps (n, h, w): (n,), NaN where the map is degenerate."""
        ranks = _ranks(upsample(raw.float().relu(), (self.size[0], self.size[1])), self.ties)[:, None]
        curves, pixels = {}, ranks[0].numel()
        for kind, shares in SHARES.items():
            says = []  # the probability of each image's class with its first, or last, pixels in or out
            for count in (round(share * pixels) for share in shares):
                x = self.picture(kind, ranks < count, ranks >= pixels - count)
                p = activate(self.model(x.to(self.dtype)).float(), task_of(self.model))
                says.append(p.gather(1, self.targets[:, None])[:, 0])
            curves[kind] = torch.stack(says, 1).cpu().numpy()
        areas = {kind: np.trapezoid(curves[kind], SHARES[kind], axis=1) for kind in ("insertion", "deletion")}
        areas["road"] = (curves["road-lerf"].mean(1) - curves["road-morf"].mean(1)) / 2
        bad = degenerate(raw).cpu().numpy()
        return {test: np.where(bad, np.nan, area) for test, area in areas.items()}

    def picture(self, kind: str, first: Tensor, last: Tensor) -> Tensor:
        """The images with their first or last pixels, bool (n, 1, H, W), inserted or removed."""
        if kind == "insertion":
            return torch.where(first, self.image, self.blurred)
        if kind == "deletion":
            return torch.where(first, GREY, self.image)
        removed = first if kind == "road-morf" else last
        return impute(self.image, removed) + removed * self.grain


def _ranks(maps: Tensor, ties: Tensor) -> Tensor:
    """The place of each pixel (n, H, W), 0 = the highest value; equal values in the order of `ties`."""
    by_chance = ties.flatten(1).argsort(1)
    order = maps.flatten(1).gather(1, by_chance).argsort(dim=1, descending=True, stable=True)
    return by_chance.gather(1, order).argsort(1).view(maps.shape)


def impute(images: Tensor, removed: Tensor) -> Tensor:
    """Make pixels, bool (N, 1, H, W), the weighted mean of their eight neighbours (Rong et al. 2022).

    The equations are symmetric and positive definite; conjugate gradients solve those of all images at once.
    """
    kept = (~removed).sum((2, 3), keepdim=True).clamp_min(1)
    level = torch.where(removed, 0, images).sum((2, 3), keepdim=True) / kept  # first guess: the mean
    image = torch.where(removed, 0, images - level)
    weight = _neighbours(torch.ones_like(image[:1, :1]))

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum((2, 3), keepdim=True)

    x = torch.zeros_like(image)
    residual = torch.where(removed, _neighbours(image), 0)
    direction, length = residual, dot(residual, residual)
    tiny = torch.finfo(image.dtype).tiny
    for step in range(4 * sum(image.shape[2:])):
        if step % 8 == 0 and not (residual.abs() > TOLERANCE).any():
            break
        moved = torch.where(removed, weight * direction - _neighbours(direction), 0)
        pace = length / dot(direction, moved).clamp_min(tiny)
        x, residual = x + pace * direction, residual - pace * moved
        longer = dot(residual, residual)
        direction, length = residual + longer / length.clamp_min(tiny) * direction, longer
    return torch.where(removed, x + level, images)


def _neighbours(x: Tensor) -> Tensor:
    """Weighted sum of the eight neighbours of each position of (N, C, H, W), nothing beyond the border."""
    wide = F.pad(x, (1, 1, 1, 1))
    rows = wide[..., :-2, :] + 2 * wide[..., 1:-1, :] + wide[..., 2:, :]
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:] - 4 * x) / 12
