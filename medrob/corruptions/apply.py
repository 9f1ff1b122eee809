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

from medrob.check import check_integer
from medrob.corruptions.catalogue import Corruption, describe
from medrob.corruptions.draws import Draws
from medrob.machine import cores

SCALES = {"32": 48, "64": 112, "224": float("inf")}  # largest shorter side, in pixels, that uses the table
SMALLEST_SIDE = 16
_CHUNK = 1 << 19  # values worked on at once: enough to hide the overhead of calls, and no more
_PARALLEL = 1 << 22  # values from which on threads pay


def corrupt(
    images: NDArray[np.uint8],
    name: str,
    severity: int,
    *,
    seed: int = 0,
    start: int = 0,
    scale: str | None = None,
    workers: int | None = None,
) -> NDArray[np.uint8]:
    """Corrupted copies of images: a pure function of (image, name, severity, seed, index).

    Batch size, order, threads and processes do not matter: corrupt(x)[3:5] equals corrupt(x[3:5], start=3).
    Random fields do not depend on the severity, so that levels are nested.

    Args:
        images: uint8 (N, H, W, C), C 1 (grey) or 3 (RGB), sides of 16 pixels or more. Left as they are.
        name: a corruption, see `names`; or several, see `compose`.
        severity: 1 to 5.
        seed: 0 or more; another seed gives other noise.
        start: index of the first image in its data set.
        scale: severity table, "32", "64" or "224"; default by the shorter side: up to 48 pixels "32", up to
            112 "64", else "224". Where none was published at that scale, or there is only one table, lengths
            in the "224" table are multiplied by size / 224; with scale="224" they are taken as published.
            A published table holds pixels: its lengths are the same at all sizes that use it, so severities
            of blurs at 113 and at 512 pixels are not the same share of the picture.
        workers: threads that share the images; by default one, or all cores for four million values or more.

    Returns:
        uint8, same shape: rounded and clipped to 0..255.

    Raises:
        TypeError, ValueError: an argument out of its range; the message says what is allowed.
    """
    check_images(images)
    corruption = describe(name)
    severity = check_integer("severity", severity, 1, 5)
    seed, start = check_integer("seed", seed, 0), check_integer("start", start, 0, 2**62)
    if corruption.colour and images.shape[-1] == 1:
        raise ValueError(
            f"{name!r} needs RGB images, but these are grey (1 channel); "
            "names(suite, channels=1) leaves such corruptions out"
        )
    if workers is None:
        workers = cores() if images.size >= _PARALLEL else 1
    workers = check_integer("workers", workers, 1)
    check_scale(scale)
    parameters, factor = _level(corruption, severity, scale, min(images.shape[1:3]))
    _keep_memory()
    out = np.empty(images.shape, np.uint8)

    def work(first: int, last: int) -> None:
        draws = Draws(seed, corruption.key, start + first, last - first, factor)
        chunk = np.ascontiguousarray(images[first:last])
        out[first:last] = corruption.function(chunk, parameters, draws)

    step = max(1, _CHUNK // max(1, images[:1].size))
    edges = [(i, min(i + step, len(images))) for i in range(0, len(images), step)]
    with _one_opencv_thread():
        if workers == 1 or len(edges) < 2:
            for edge in edges:
                work(*edge)
        else:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(work, *zip(*edges, strict=True)))
    return out


def check_images(images: Any) -> None:
    """Raise unless images are uint8 (N, H, W, 1 or 3)."""
    if not isinstance(images, np.ndarray):
        raise TypeError(f"images is a {type(images).__name__}, but must be a NumPy array of uint8")
    if images.dtype != np.uint8:
        raise TypeError(
            f"images has dtype {images.dtype}, but must be uint8 with values 0..255; "
            "for floats in 0..1 use np.rint(images * 255).astype(np.uint8)"
        )
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"images has shape {images.shape}, but must be (N, H, W, C) with C 1 or 3; "
            "add missing axes with images[None] (batch) or images[..., None] (channel)"
        )
    if min(images.shape[1:3]) < SMALLEST_SIDE:
        raise ValueError(f"images has shape {images.shape}, but sides must be {SMALLEST_SIDE} pixels or more")


def check_scale(scale: str | None) -> None:
    """Raise unless it names a table or is None."""
    if scale is not None and scale not in SCALES:
        raise ValueError(f"scale is {scale!r}, but must be one of {', '.join(map(repr, SCALES))} or None")


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
