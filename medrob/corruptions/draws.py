"""What corruptions share: random numbers keyed by (seed, corruption, image index), and grey levels."""

import hashlib
import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Images = NDArray[Any]  # uint8 (N, H, W, C), C 1 or 3
Shape = tuple[int, ...]

_STREAM = 0xD1342543DE82EF95  # odd constants keep indices and streams apart before mixing
_INDEX = np.uint64(0x9E3779B97F4A7C15)


class Draws:
    """The random numbers of images start .. start + count - 1: the same in any batch, thread or process.

    Every image has its own generator, SFC64 (Doty-Humphrey 2010), started from (seed, name, index, stream).
    Lengths in pixels are to be multiplied by `factor`: the image's size over that of the severity table.
    """

    def __init__(self, seed: int, name: str, start: int, count: int, factor: float = 1.0) -> None:
        digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=24).digest()
        self._key = np.frombuffer(digest, np.uint64)
        self._index = np.arange(start, start + count, dtype=np.uint64)
        self.count, self.factor = count, factor

    def words(self, count: int, stream: int = 0) -> NDArray[np.uint64]:
        """Random 64-bit words (images, count)."""
        words = (self._index * _INDEX + np.uint64(stream * _STREAM % 2**64))[:, None] + self._key
        for shift, times in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # SplitMix64 (Steele 2014)
            words = (words ^ (words >> np.uint64(shift))) * np.uint64(times)
        starts = np.ones((self.count, 4), np.uint64)
        starts[:, :3] = words ^ (words >> np.uint64(31))
        generator = np.random.SFC64(0)  # started anew for each image: making one costs more
        state: Any = generator.state
        out = np.empty((self.count, count), np.uint64)
        for row, start in zip(out, starts, strict=True):
            state["state"]["state"][:] = start
            generator.state = state
            row[:] = generator.random_raw(count)
        return out

    def bits(self, shape: Shape, stream: int = 0) -> NDArray[np.uint16]:
        """Uniform 16-bit integers (images, *shape)."""
        size = math.prod(shape)
        raw = self.words(-(-size // 4), stream).view(np.uint16)
        return raw[:, :size].reshape(self.count, *shape)

    def uniform(self, shape: Shape, low: float = 0.0, high: float = 1.0, stream: int = 0) -> NDArray:
        """Uniform float64 in [low, high), of shape (images, *shape)."""
        raw = self.words(math.prod(shape), stream) >> np.uint64(11)
        return (low + (high - low) * 2.0**-53 * raw).reshape(self.count, *shape)

    def normal(self, shape: Shape, stream: int = 0, mean: float = 0, sigma: float = 1) -> NDArray[np.float32]:
        """Normal float32 (images, *shape), |z| < 4.4."""
        size = math.prod(shape)
        numbers = self.bits((-(-size // 2),), stream)
        table = np.float32(mean) + np.float32(sigma) * normal_pairs()
        drawn = look_up(table.view("V8")[:, 0], numbers).view(np.float32)
        return drawn[:, :size].reshape(self.count, *shape)


@lru_cache(maxsize=1)
def normal_pairs() -> NDArray[np.float32]:
    """Rows (65536, 2) of the normal quantiles at (i + 1/2) / 65536: one 16-bit number draws two of them."""
    # The rows are a (0, 16, 2)-net, van der Corput's sequence scrambled as by Owen (Laine & Karras 2011): as
    # independent as 65,536 points can show.
    inverse = NormalDist().inv_cdf
    upper = np.array([inverse((i + 0.5) / 65536) for i in range(32768, 65536)])
    quantiles = np.concatenate([-upper[::-1], upper]).astype(np.float32)
    mixed = np.arange(65536, dtype=np.uint32) + np.uint32(0x9E37)
    for factor in (0xB47C, 0x1E52, 0x47C2, 0xAE02):  # even: no bit touches a lower one
        mixed ^= mixed * np.uint32(factor)
    partner = sum(((mixed >> bit) & 1) << (15 - bit) for bit in range(16))
    return np.stack([quantiles, quantiles[partner]], axis=1)


def look_up(table: NDArray, indices: NDArray) -> NDArray:
    """table[indices] for a flat table whose length covers every index; several times faster than indexing."""
    out = np.empty(indices.shape, table.dtype)
    np.take(table, indices, out=out, mode="wrap")
    return out


def to_uint8(values: NDArray) -> Images:
    """Round to the nearest grey level and clip to 0..255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def apply_levels(images: Images, levels: NDArray) -> Images:
    """Every value replaced by levels[value], rounded and clipped."""
    changed = cv2.LUT(images.reshape(len(images), -1), to_uint8(levels))
    return np.asarray(changed, np.uint8).reshape(images.shape)


def each(images: NDArray, change: Callable[..., Any], *values: Iterable[Any]) -> NDArray:
    """``change(image, *its values)`` of one image after the other; it may drop the axis of one channel."""
    out = np.empty_like(images)
    for image, result, *own in zip(images, out, *values, strict=True):
        result[:] = change(image, *own).reshape(result.shape)
    return out
