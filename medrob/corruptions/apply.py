"""Corrupted images: of a batch, and of a data set under a condition."""

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np

from medrob.check import check_images
from medrob.corruptions.draws import Draws, Images
from medrob.corruptions.registry import describe
from medrob.machine import cores

Condition = tuple[str, int]  # corruption, severity; 0 is the clean image
CLEAN: Condition = ("clean", 0)
SEVERITIES = (1, 2, 3, 4, 5)

SCALES = {"32": 48, "64": 112, "224": float("inf")}  # largest shorter side, in pixels, that uses the table
_CHUNK = 1 << 19  # values worked on at once: enough to hide the overhead of calls, and no more
_PARALLEL = 1 << 22  # values from which on threads pay

cv2.setNumThreads(1)  # images are shared among threads already
np.empty(31 << 20, np.uint8)  # freed at once: glibc then reuses blocks up to this size


def corrupt(images: Images, name: str, severity: int, *, seed: int = 0, start: int = 0) -> Images:
    """Corrupted copies of uint8 images (N, H, W, 1 or 3): a function of image, name, severity, seed, index.

    Batch size, order, threads and processes do not matter: corrupt(x)[3:5] equals corrupt(x[3:5], start=3),
    where `start` is the index of the first image in its data set. Levels are nested: one random field.

    The severity table is the one published for the shorter side: up to 48 pixels "32", up to 112 "64", else
    "224"; where there is only one, its lengths are multiplied by size / 224.
    """
    images = check_images(images)
    side = min(images.shape[1:3])
    if side < 16:
        raise ValueError(f"images have shape {images.shape}; sides must be 16 pixels or more")
    corruption = describe(name)
    if not isinstance(severity, int | np.integer) or severity not in SEVERITIES:
        raise ValueError(f"severity is {severity!r}, but must be an integer from 1 to 5")
    if corruption.colour and images.shape[-1] == 1:
        raise ValueError(f"{name!r} needs RGB images; names(suite, channels=1) leaves it out for grey ones")
    tables, scale = corruption.parameters, next(scale for scale, limit in SCALES.items() if side <= limit)
    scale, factor = (scale, 1.0) if scale in tables and len(tables) > 1 else ("224", side / 224)
    out = np.empty(images.shape, np.uint8)
    step = max(1, _CHUNK // math.prod(images.shape[1:]))

    def work(first: int) -> None:
        chunk = images[first : first + step]
        draws = Draws(seed, corruption.key, start + first, len(chunk), factor)
        changed = corruption.function(chunk, tables[scale][severity - 1], draws)
        if changed.dtype != np.uint8 or changed.shape != chunk.shape:
            came = f"{changed.dtype} {changed.shape} of uint8 {chunk.shape}"
            raise ValueError(f"corruption {name!r} made {came}; it must return uint8 of the same shape")
        out[first : first + step] = changed

    with ThreadPoolExecutor(cores()) as pool:
        firsts = range(0, len(images), step)
        list((pool.map if images.size >= _PARALLEL else map)(work, firsts))
    return out


def grid(corruptions: Iterable[str]) -> list[Condition]:
    """Clean, then every corruption at every severity: ``[("clean", 0), ("contrast", 1), ...]``."""
    return [CLEAN, *((name, severity) for name in corruptions for severity in SEVERITIES)]


def apply_condition(images: Images, condition: Condition, *, seed: int, index: np.ndarray) -> Images:
    """Images of a data set under a condition, uint8 (N, H, W, C); their places `index` (N,) key the noise."""
    corruption, severity = condition
    if severity == 0 or not len(images):
        return images
    runs = np.split(np.arange(len(index)), np.flatnonzero(np.diff(index) != 1) + 1)  # neighbours go together
    parts = [corrupt(images[r], corruption, severity, seed=seed, start=int(index[r[0]])) for r in runs]
    return np.concatenate(parts)


def examples(images: Images, index: int, conditions: Iterable[Condition], *, seed: int) -> dict[Any, Images]:
    """One image of a data set under several conditions: ``{condition: uint8 (H, W, C)}``."""
    picture, place = images[index : index + 1], np.array([index])
    return {c: apply_condition(picture, c, seed=seed, index=place)[0] for c in conditions}
