"""corrupt(): checks, chooses the table, and runs a corruption over batches on all cores."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medrob.check import check_images, check_integer
from medrob.corruptions.draws import Draws
from medrob.corruptions.pixels import Images
from medrob.corruptions.registry import Corruption, describe
from medrob.machine import cores

SCALES = {"32": 48, "64": 112, "224": float("inf")}  # largest shorter side, in pixels, that uses the table
SMALLEST_SIDE = 16
_CHUNK = 1 << 19  # values worked on at once: enough to hide the overhead of calls, and no more
_PARALLEL = 1 << 22  # values from which on threads pay


def corrupt(
    images: Images, name: str, severity: int, *, seed: int = 0, start: int = 0, scale: str | None = None
) -> Images:
    """Corrupted copies of images: a pure function of (image, name, severity, seed, index).

    Batch size, order, threads and processes do not matter: corrupt(x)[3:5] equals corrupt(x[3:5], start=3).
    Random fields do not depend on the severity, so that levels are nested.

    Args:
        images: uint8 (N, H, W, C), C 1 (grey) or 3 (RGB), sides of 16 pixels or more. Left as they are.
        name: a corruption, see `names`, or your own, see `corruption`.
        severity: 1 to 5.
        seed: 0 or more; another seed gives other noise.
        start: index of the first image in its data set.
        scale: severity table, "32", "64" or "224"; default by the shorter side: up to 48 pixels "32", up to
            112 "64", else "224". Where none was published at that scale, or there is only one table, lengths
            in the "224" table are multiplied by size / 224; with scale="224" they are taken as published.
            A published table holds pixels: its lengths are the same at all sizes that use it, so severities
            of blurs at 113 and at 512 pixels are not the same share of the picture.

    Returns:
        uint8, same shape: rounded and clipped to 0..255.

    Raises:
        TypeError, ValueError: an argument out of its range; the message says what is allowed. Or a corruption
            of your own that changes shape or dtype.
    """
    images = check_sides(images)
    corruption = describe(name)
    severity = check_integer("severity", severity, 1, 5)
    seed, start = check_integer("seed", seed, 0), check_integer("start", start, 0, 2**62)
    if scale is not None and scale not in SCALES:
        raise ValueError(f"scale is {scale!r}, but must be one of {', '.join(map(repr, SCALES))} or None")
    check_colour(corruption, images.shape[-1])
    parameters, factor = _level(corruption, severity, scale, min(images.shape[1:3]))
    _keep_memory()
    out = np.empty(images.shape, np.uint8)

    def work(first: int) -> None:
        chunk = images[first : first + step]
        draws = Draws(seed, corruption.key, start + first, len(chunk), factor)
        changed = corruption.function(chunk, parameters, draws)
        if changed.dtype != np.uint8 or changed.shape != chunk.shape:
            raise ValueError(
                f"corruption {name!r} made {changed.dtype} {changed.shape} of uint8 {chunk.shape}; "
                "it must return uint8 of the same shape"
            )
        out[first : first + step] = changed

    step = max(1, _CHUNK // max(1, images[:1].size))
    with _one_opencv_thread(), ThreadPoolExecutor(cores()) as pool:
        firsts = range(0, len(images), step)
        list((pool.map if images.size >= _PARALLEL else map)(work, firsts))
    return out


def distances(images: Images, name: str) -> NDArray[np.float64]:
    """Root mean square distance of each image to itself at severities 1..5, (5, N), in grey levels 0..255."""
    rows = []
    for severity in range(1, 6):
        gap = np.subtract(corrupt(images, name, severity), images, dtype=np.int16).astype(np.float32)
        rows.append(np.sqrt(np.mean(gap * gap, axis=(1, 2, 3), dtype=np.float64)))
    return np.stack(rows)


def check_sides(images: Any) -> Images:
    """The images, if they are uint8 (N, H, W, 1 or 3) with sides of 16 pixels or more."""
    images = check_images(images)
    if min(images.shape[1:3]) < SMALLEST_SIDE:
        raise ValueError(f"images have shape {images.shape}; sides must be {SMALLEST_SIDE} pixels or more")
    return images


def check_colour(corruption: Corruption, channels: int) -> None:
    """Raise if it needs RGB and the images are grey."""
    if corruption.colour and channels == 1:
        raise ValueError(
            f"{corruption.name!r} needs RGB images, but these are grey (1 channel); "
            "names(suite, channels=1) leaves such corruptions out"
        )


def _level(corruption: Corruption, severity: int, scale: str | None, side: int) -> tuple[Any, float]:
    """Parameters of a severity, and the factor for lengths in pixels."""
    wanted = scale or next(key for key, limit in SCALES.items() if side <= limit)
    if wanted in corruption.parameters and (scale or len(corruption.parameters) > 1):
        return corruption.parameters[wanted][severity - 1], 1.0
    return corruption.parameters["224"][severity - 1], side / 224


@lru_cache(maxsize=1)
def _keep_memory() -> None:
    """Have the C library keep freed blocks for reuse rather than give them back to the system.

    glibc keeps blocks as large as the largest that was ever freed, up to 32 MiB. Without this every array of
    a few hundred kilobytes is fetched from the system anew, page by page, which can take as long as the work.
    """
    np.empty(31 << 20, np.uint8)


_lock = threading.Lock()
_users = 0
_threads_before = 0


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """Keep OpenCV to one thread while anyone is inside; the setting found is given back by the last."""
    global _users, _threads_before
    with _lock:
        if _users == 0:
            _threads_before = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                cv2.setNumThreads(_threads_before)
