"""Does the network need what a map marks? Insertion, deletion (Petsiuk 2018) and ROAD (Rong 2022)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from medrob.models import activate, place
from medrob.models.layers import evaluating
from medrob.progress import bar
from medrob.saliency.decision import task_of
from medrob.saliency.maps import degenerate, upsample
from medrob.saliency.settings import Noise
from medrob.trust.imputation import impute
from medrob.trust.subject import Asked, Key, Subject, subject
from medrob.trust.table import Entry, table

GREY = 127.5  # what is deleted becomes the middle of the grey levels, which `Normalise` takes to 0
BLUR = 0.1  # what is not yet inserted is blurred: standard deviation of the Gaussian, share of the side
NOISE = 2.55  # of the imputation: standard deviation, grey levels; .01 of the range (Rong et al. 2022)
ROAD_SHARES = np.arange(1, 10) / 10
RANDOM = "random"


@dataclass(frozen=True)
class Faithfulness:
    """The rows of the tests, and the curves that they are the areas of.

    Attributes:
        rows: the columns of `medrob.trust.COLUMNS`.
        curves: method ("random" = chance), layer, test ("road-morf" and "road-lerf" for ROAD), share (of
            the pixels removed or inserted), value (mean probability of the class explained).
    """

    rows: pd.DataFrame
    curves: pd.DataFrame


@dataclass(frozen=True)
class Canvas:
    """A batch and what takes the place of its pixels, float (n, C, H, W); n(oise) of the imputation."""

    image: Tensor
    blurred: Tensor
    noise: Tensor


def _deletion(canvas: Canvas, first: Tensor, last: Tensor) -> Tensor:
    return torch.where(first, GREY, canvas.image)


def _insertion(canvas: Canvas, first: Tensor, last: Tensor) -> Tensor:
    return torch.where(first, canvas.image, canvas.blurred)


def _most_relevant_first(canvas: Canvas, first: Tensor, last: Tensor) -> Tensor:
    return impute(canvas.image, first[:, 0]) + first * canvas.noise


def _least_relevant_first(canvas: Canvas, first: Tensor, last: Tensor) -> Tensor:
    return impute(canvas.image, last[:, 0]) + last * canvas.noise


# From the canvas and the pixels of highest and of lowest value, bool (n, 1, H, W), a new picture.
PICTURES: dict[str, Callable[[Canvas, Tensor, Tensor], Tensor]] = {
    "insertion": _insertion,
    "deletion": _deletion,
    "road-morf": _most_relevant_first,
    "road-lerf": _least_relevant_first,
}
TESTS = {"insertion": ("insertion",), "deletion": ("deletion",), "road": ("road-morf", "road-lerf")}


def faithfulness(
    model: nn.Module,
    images: np.ndarray,
    *,
    tests: Sequence[str] = tuple(TESTS),
    steps: int = 10,
    seed: int = 0,
    **asked: Unpack[Asked],
) -> Faithfulness:
    """How the probability of the explained class follows the pixels that a map ranks first.

    Maps are enlarged to the image after the ReLU (bilinear). Pixels of the same value are taken in a random
    order, fixed by the seed for each image. Tests:
    ``insertion``: from the blurred image (Gaussian, standard deviation a tenth of the side) to the image,
    highest values first: area under the probability, 0-1, the higher the better.
    ``deletion``: from the image to plain grey (127.5): the area, the lower the better.
    ``road``: 10 to 90 % of the pixels made up from their neighbours, with noise; (mean probability when the
    lowest go first less that when the highest do) / 2, from -0.5 to 0.5, the higher the better.

    Chance is the same test with a random map of the layer's resolution, enlarged in the same way: what a
    coarse map without knowledge gets.

    Args:
        model: left as found.
        images: uint8 (N, H, W, C). asked: methods, layers, targets, batch_size, device and settings, as of
            `medrob.saliency.explain`.
        tests: of insertion, deletion, road.
        steps: in which insertion and deletion go from nothing to all pixels.
        seed: of ties, of random maps, of the imputation's noise and of the bootstrap.

    Raises:
        TypeError, ValueError: as `medrob.saliency.explain`; an unknown test, fewer than 1 step.
    """
    tests = [tests] if isinstance(tests, str) else list(tests)
    unknown = [test for test in tests if test not in TESTS]
    if unknown or not len(tests):
        raise ValueError(f"tests={list(tests)!r}: unknown {unknown}; the tests are {', '.join(TESTS)}")
    if steps < 1:
        raise ValueError(f"steps={steps!r}: give a whole number of at least 1")
    what = subject(model, images, **asked)
    kinds = [kind for test in tests for kind in TESTS[test]]
    shares = {kind: ROAD_SHARES if "road" in kind else np.linspace(0, 1, steps + 1) for kind in kinds}
    batches: list[dict[tuple[Key, str], np.ndarray]] = []
    sizes: dict[Key, tuple[int, int]] = {}
    progress = bar(total=len(what), desc="removing pixels", unit="image")
    with evaluating(place(model, what.device)):
        for rows in what.batches():
            maps = what.maps(model, rows)
            sizes = {key: (m.shape[1], m.shape[2]) for key, m in maps.items()}
            batches.append(_curves(model, what, rows, maps, shares, seed))
            progress.update(len(rows))
    progress.close()
    curves = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    entries = [
        Entry(*key, test, _area(curves, key, test, shares), _area(curves, _random(size), test, shares))
        for test in tests
        for key, size in sizes.items()
    ]
    return Faithfulness(table(entries, seed=seed), _means(curves, sizes, shares))


def _random(size: tuple[int, int]) -> Key:
    """The key of the random map of that size."""
    return RANDOM, f"{size[0]}x{size[1]}"


def _curves(
    model: nn.Module,
    asked: Subject,
    rows: np.ndarray,
    maps: dict[Key, Tensor],
    shares: dict[str, np.ndarray],
    seed: int,
) -> dict[tuple[Key, str], np.ndarray]:
    """Probabilities (n, shares) for every map and kind of picture; NaN where a map is degenerate."""
    noise, x = Noise(seed, rows), asked.input(rows).float()
    height, width = x.shape[2:]
    blur = gaussian_filter(x.cpu().numpy(), (0, 0, BLUR * height, BLUR * width), mode="nearest")
    ties = noise.normal((height, width), x.device, stream=1)
    canvas = Canvas(
        x, torch.from_numpy(blur).to(x.device), NOISE * noise.normal(x.shape[1:], x.device, stream=2)
    )
    targets = torch.from_numpy(asked.targets[rows]).to(x.device)
    # Where no pixel is changed, or each one is, the map does not matter: worked out once.
    ends = {share: torch.full_like(ties, share == 1, dtype=torch.bool)[:, None] for share in (0, 1)}
    known = {
        (kind, share): _probability(model, PICTURES[kind](canvas, every, every), targets)
        for kind in shares
        for share, every in ends.items()
        if share in shares[kind]
    }
    drawn = {
        _random(size): noise.normal(size, x.device, stream=3).exp()
        for size in {(m.shape[1], m.shape[2]) for m in maps.values()}
    }
    found = {}
    for key, raw in (maps | drawn).items():
        ranks = _ranks(upsample(raw.float().relu(), (height, width)), ties)[:, None]
        for kind, at in shares.items():
            curve = []
            for share in at:
                count = round(share * height * width)
                first, last = ranks < count, ranks >= height * width - count
                if (kind, share) not in known:
                    picture = PICTURES[kind](canvas, first, last)
                curve.append(
                    known[kind, share] if (kind, share) in known else _probability(model, picture, targets)
                )
            values = torch.stack(curve, 1)
            found[key, kind] = torch.where(degenerate(raw)[:, None], torch.nan, values).cpu().numpy()
    return found


def _probability(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """The probability (n,) of each image's class explained."""
    x = x.to(next(model.parameters()).dtype)
    with torch.inference_mode():
        p = activate(model(x).float(), task_of(model))
        return p.gather(1, targets[:, None])[:, 0]


def _ranks(maps: Tensor, ties: Tensor) -> Tensor:
    """The place of each pixel (n, H, W), 0 = the highest value; equal values in the order of `ties`."""
    by_chance = ties.flatten(1).argsort(1)
    order = maps.flatten(1).gather(1, by_chance).argsort(dim=1, descending=True, stable=True)
    order = by_chance.gather(1, order)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).view(maps.shape)


def _area(
    curves: dict[tuple[Key, str], np.ndarray], key: Key, test: str, shares: dict[str, np.ndarray]
) -> np.ndarray:
    """The value of a test for each image (N,)."""
    if test == "road":
        return (curves[key, "road-lerf"].mean(1) - curves[key, "road-morf"].mean(1)) / 2
    return np.trapezoid(curves[key, test], shares[test], axis=1)


def _means(
    curves: dict[tuple[Key, str], np.ndarray],
    sizes: dict[Key, tuple[int, int]],
    shares: dict[str, np.ndarray],
) -> pd.DataFrame:
    """Mean curves over the images whose map is not degenerate, and those of chance for each layer."""
    chance = {(RANDOM, layer): _random(size) for (_, layer), size in sizes.items()}
    frames = []
    for (method, layer), source in ({key: key for key in sizes} | chance).items():
        for kind, share in shares.items():
            values = curves[source, kind]
            values = values[np.isfinite(values).all(1)]
            mean = values.mean(0) if len(values) else np.full(len(share), np.nan)
            frames.append(pd.DataFrame(dict(method=method, layer=layer, test=kind, share=share, value=mean)))
    return pd.concat(frames, ignore_index=True)
