"""Augmentation of the training images: policies made of imgaug augmenters and of the corruptions."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.random import Generator

from medrob import corruptions
from medrob.data import ImageDataset

Array = np.ndarray
# New images of the same shape, uint8 (N, H, W, C), made from these and a generator.
Policy = Callable[[Array, Generator], Array]


def _corruptions(images: Array, rng: Generator) -> Array:
    """Each image under one of the corruptions of the suite "thesis", of a severity from 0 (as it is) to 5."""
    conditions = corruptions.grid(corruptions.names("thesis"))
    kinds = rng.integers(len(conditions) // 5, size=len(images))
    severities = rng.integers(6, size=len(images))
    chosen, seed = np.where(severities > 0, 5 * kinds + severities, 0), int(rng.integers(2**31))
    result = images.copy()
    for number in np.unique(chosen[chosen > 0]).tolist():
        rows = np.flatnonzero(chosen == number)
        result[rows] = corruptions.corrupt(images[rows], *conditions[number], seed=seed)
    return result


def _mixed(images: Array, rng: Generator) -> Array:
    for name in ("geometric", "photometric", "corruptions"):
        images = policy(name)(images, rng)
    return images


@cache
def _augmenters() -> dict[str, Any]:
    from imgaug import augmenters as iaa

    # Seeds are given, as imgaug draws them from NumPy's own generator otherwise; `_imgaug` replaces them.
    place = {"x": (-0.08, 0.08), "y": (-0.08, 0.08)}
    exposure = [iaa.Multiply((0.8, 1.2), seed=0), iaa.LinearContrast((0.7, 1.3), seed=0)]
    exposure += [iaa.GammaContrast((0.7, 1.4), seed=0)]
    return {
        # How a patient stands (no mirror: the heart is on the left), and how the picture was exposed.
        "geometric": iaa.Affine((0.92, 1.08), place, rotate=(-10, 10), mode="edge", seed=0),
        "photometric": iaa.Sequential(exposure, seed=0),
    }


def _imgaug(name: str, images: Array, rng: Generator) -> Array:
    """Run a copy of an imgaug augmenter from a seed; the shared augmenter itself is left as it was."""
    augmenter, seed = copy.deepcopy(_augmenters()[name]), int(rng.integers(2**31))
    # imgaug's own `seed_` misses a list of children.
    for number, part in enumerate([augmenter, *augmenter.get_all_children(flat=True)]):
        part.seed_(seed + number, deterministic_too=True)
    return augmenter.augment_images(images)


POLICIES: dict[str, Policy] = {
    "none": lambda images, rng: images,
    "geometric": partial(_imgaug, "geometric"),
    "photometric": partial(_imgaug, "photometric"),
    "corruptions": _corruptions,
    "mixed": _mixed,
}
EXPANDED = "expanded"  # changes no image: there are more of them


def names() -> tuple[str, ...]:
    """The names that `policy` takes."""
    return (*POLICIES, EXPANDED)


def expanded(data: ImageDataset) -> ImageDataset:
    """The images, then those under each corruption of "thesis" at severities 1 to 5: 26 times as many.

    All of them are held in memory.
    """
    conditions = corruptions.grid(corruptions.names("thesis"))[1:]
    images = [data.images, *(corruptions.corrupt(data.images, *condition) for condition in conditions)]
    labels = np.concatenate([data.labels] * len(images))
    return replace(data, images=np.concatenate(images), labels=labels, masks=None, groups=None, files=None)


def corruptions_of(name: str) -> tuple[str, ...]:
    """The corruptions that a policy applies."""
    return corruptions.names("thesis") if name in ("corruptions", "mixed", EXPANDED) else ()


def policy(name: str) -> Policy:
    """The policy of that name: ``policy("mixed")(images, np.random.default_rng(0))``."""
    if name not in names():
        raise ValueError(f"augment={name!r} is unknown; the policies are {', '.join(names())}")
    return POLICIES.get(name, POLICIES["none"])
