"""Augmentation of the training images: policies made of imgaug augmenters and of the corruptions."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from medrob import corruptions

# A policy takes images uint8 (N, H, W, C) and a generator, and gives new images of the same shape.
Policy = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _none(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The images as they are."""
    return images


def _geometric(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift up to 8 %, turn up to 10 degrees, scale 92-108 %: how a patient stands. No mirror: the heart."""
    return _imgaug(_geometric_augmenter(), images, rng)


def _photometric(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and gamma: how the picture was exposed."""
    return _imgaug(_photometric_augmenter(), images, rng)


def _corruptions(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random corruption of the suite "thesis" at a random severity for each image (0 = clean)."""
    choices = corruptions.names("thesis")
    kinds = rng.integers(len(choices), size=len(images))
    severities = rng.integers(6, size=len(images))
    seed = int(rng.integers(2**31))
    result = images.copy()
    for kind, severity in {*zip(kinds.tolist(), severities.tolist(), strict=True)}:
        rows = np.flatnonzero((kinds == kind) & (severities == severity))
        if severity:
            result[rows] = corruptions.corrupt(images[rows], choices[kind], severity, seed=seed)
    return result


def _mixed(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Geometric, then photometric, then corruptions."""
    return _corruptions(_photometric(_geometric(images, rng), rng), rng)


POLICIES: dict[str, Policy] = {
    "none": _none,
    "geometric": _geometric,
    "photometric": _photometric,
    "corruptions": _corruptions,
    "mixed": _mixed,
}


def names() -> tuple[str, ...]:
    """The names that `policy` takes."""
    return tuple(POLICIES)


def policy(name: str) -> Policy:
    """The policy of that name: ``policy("mixed")(images, np.random.default_rng(0))``.

    Raises:
        ValueError: an unknown name.
    """
    if name not in POLICIES:
        raise ValueError(f"augment={name!r} is unknown; the policies are {', '.join(POLICIES)}")
    return POLICIES[name]


@cache
def _geometric_augmenter() -> Any:
    import imgaug.augmenters as iaa

    shift = {"x": (-0.08, 0.08), "y": (-0.08, 0.08)}
    return iaa.Affine(scale=(0.92, 1.08), translate_percent=shift, rotate=(-10, 10), mode="edge")


@cache
def _photometric_augmenter() -> Any:
    import imgaug.augmenters as iaa

    return iaa.Sequential(
        [iaa.Multiply((0.8, 1.2)), iaa.LinearContrast((0.7, 1.3)), iaa.GammaContrast((0.7, 1.4))]
    )


def _imgaug(augmenter: Any, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Run an imgaug augmenter from a seed; the shared augmenter itself is left as it was."""
    seeded = augmenter.deepcopy()
    seeded.seed_(int(rng.integers(2**31)))
    return np.stack(seeded.augment_images(images))
