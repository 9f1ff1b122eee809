"""Augmentation of the training images: policies made of imgaug augmenters and of the corruptions."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.random import Generator

from medrob import corruptions
from medrob.check import resolve
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


POLICIES: dict[str, Policy] = {
    "none": lambda images, rng: images,
    "geometric": lambda images, rng: _imgaug(_augmenters()["geometric"], images, rng),
    "photometric": lambda images, rng: _imgaug(_augmenters()["photometric"], images, rng),
    "corruptions": _corruptions,
    "mixed": _mixed,
}
EXPANDED, EXPANDED_SEED = "expanded", 2**31 - 1  # changes no image: there are more of them


def names() -> tuple[str, ...]:
    """The names that `policy` takes."""
    return (*POLICIES, EXPANDED)


def expanded(data: ImageDataset) -> ImageDataset:
    """The images, then those under each corruption of "thesis" at severities 1 to 5: 26 times as many.

    All of them are held in memory. Their noise is not that of the test images, whose seed is another.
    """
    conditions = corruptions.grid(corruptions.names("thesis"))[1:]
    changed = (corruptions.corrupt(data.images, *condition, seed=EXPANDED_SEED) for condition in conditions)
    images = [data.images, *changed]
    labels = np.concatenate([data.labels] * len(images))
    return replace(data, images=np.concatenate(images), labels=labels, masks=None, groups=None, files=None)


def corruptions_of(name: str) -> tuple[str, ...]:
    """The corruptions that a policy applies."""
    return corruptions.names("thesis") if name in ("corruptions", "mixed", EXPANDED) else ()


def policy(name: str) -> Policy:
    """The policy of that name: ``policy("mixed")(images, np.random.default_rng(0))``.

    Your own is ``"package.module:name"``: an augmenter of imgaug, such as ``iaa.Fliplr(0.5)``, or a function
    that is given images, uint8 (N, H, W, C), and a NumPy generator, and returns new images of that shape.
    """
    if name in names():
        return POLICIES.get(name, POLICIES["none"])
    advice = "your own is 'package.module:name', an imgaug augmenter or a function of (images, rng)"
    if ":" not in name:
        raise ValueError(f"augment={name!r} is unknown; the policies are {', '.join(names())}; {advice}")
    change = resolve(name)
    if hasattr(change, "augment_images"):
        return partial(_imgaug, change)
    if not callable(change):
        raise ValueError(f"augment={name!r} is a {type(change).__name__}; {advice}")
    return lambda images, rng: _as_before(change(images.copy(), rng), images)


def _imgaug(augmenter: Any, images: Array, rng: Generator) -> Array:
    """Run a copy of an imgaug augmenter from a seed; the shared augmenter itself is left as it was."""
    augmenter, seed = copy.deepcopy(augmenter), int(rng.integers(2**31))
    try:
        for number, part in enumerate(_parts(augmenter)):  # imgaug's own `seed_` misses a list of children
            part.seed_(seed + number, deterministic_too=True)
        changed = augmenter.augment_images(images)
    except Exception as error:  # imgaug raises many kinds on images that it does not take
        kind = "grey images; leave out what changes colours" if images.shape[-1] == 1 else "these images"
        told = f"the augmentation cannot be made of {kind} ({type(error).__name__}: {error})"
        raise ValueError(told) from error
    return _as_before(changed, images)


def _as_before(changed: Any, images: Array) -> Array:
    """The changed images as one array, if they are as many, of the size and the type of the images."""
    wanted = f"uint8 {images.shape[1:]}"
    came = [f"{image.dtype} {image.shape}" for image in map(np.asarray, changed)]
    if came != [wanted] * len(images):
        told = f"the augmentation makes {len(came)} images of {', '.join(sorted(set(came)))}"
        raise ValueError(f"{told} of {len(images)} of {wanted}; keep type and size (imgaug: keep_size=True)")
    return np.stack(list(changed))


def _parts(augmenter: Any) -> Iterator[Any]:
    yield augmenter
    for children in augmenter.get_children_lists():
        # A Sequential is its own list of children; a OneOf within a Sometimes is one child.
        single = hasattr(children, "augment_images") and children is not augmenter
        for child in [children] if single else children:
            yield from _parts(child)
