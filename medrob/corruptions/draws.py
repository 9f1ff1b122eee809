"""Random numbers keyed by (seed, corruption, image index): the same in any batch, thread or process."""

import hashlib
import math
import threading
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STREAM = 0xD1342543DE82EF95  # odd constants keep indices and streams apart before mixing
_INDEX = np.uint64(0x9E3779B97F4A7C15)


class Draws:
    """The random numbers of images start .. start + count - 1 for one corruption.

    Every image has its own generator, SFC64 (Doty-Humphrey 2010), started from three hashed words of
    (seed, name, index, stream), so an image's numbers do not depend on its neighbours or on the severity.
    `factor` is the image's size over the size that the severity table was made for: lengths in pixels are
    multiplied by it. It is 1 where the table was published for the image's scale.
    """

    def __init__(self, seed: int, name: str, start: int, count: int, factor: float = 1.0) -> None:
        """Key the numbers; nothing is drawn yet."""
        digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=24).digest()
        self._key = np.frombuffer(digest, np.uint64)
        self._index = np.arange(start, start + count, dtype=np.uint64)
        self.count = count
        self.factor = factor

    def words(self, count: int, stream: int = 0) -> NDArray[np.uint64]:
        """Random 64-bit words (images, count); another stream gives independent ones."""
        mixed = self._index * _INDEX + np.uint64(stream * _STREAM % 2**64)
        starts = np.ones((self.count, 4), np.uint64)
        starts[:, :3] = _split_mix(mixed[:, None] + self._key)
        generator, state = _generator()
        out = np.empty((self.count, count), np.uint64)
        for row, words in zip(out, starts, strict=True):
            state["state"]["state"][:] = words
            generator.state = state
            row[:] = generator.random_raw(count)
        return out

    def bits(self, shape: tuple[int, ...], stream: int = 0) -> NDArray[np.uint16]:
        """Uniform 16-bit integers (images, *shape)."""
        size = math.prod(shape)
        raw = self.words(-(-size // 4), stream).view(np.uint16)
        return raw[:, :size].reshape(self.count, *shape)

    def uniform(
        self, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0, stream: int = 0
    ) -> NDArray:
        """Uniform float64 in [low, high), of shape (images, *shape)."""
        raw = self.words(math.prod(shape), stream) >> np.uint64(11)
        return (low + (high - low) * 2.0**-53 * raw).reshape(self.count, *shape)

    def normal(self, shape: tuple[int, ...], stream: int = 0) -> NDArray[np.float32]:
        """Standard normal float32 (images, *shape), quantiles of 16-bit uniforms (|z| < 4.4), see `pairs`."""
        return self.pairs(_normal_pairs(), shape, stream)

    def pairs(self, table: NDArray, shape: tuple[int, ...], stream: int = 0) -> NDArray:
        """Values (images, *shape) drawn two at a time from a table that `paired` made."""
        size = math.prod(shape)
        numbers = self.bits((-(-size // 2),), stream)
        drawn = look_up(table.view(f"V{2 * table.itemsize}")[:, 0], numbers).view(table.dtype)
        return drawn[:, :size].reshape(self.count, *shape)


_own = threading.local()


def _generator() -> tuple[np.random.SFC64, Any]:
    """This thread's generator and its state, to be overwritten: making one costs more than a small image."""
    if not hasattr(_own, "generator"):
        _own.generator = np.random.SFC64(0)
        _own.state = _own.generator.state
    return _own.generator, _own.state


def _split_mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele 2014), element-wise."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


@lru_cache(maxsize=1)
def normal_quantiles() -> NDArray[np.float32]:
    """The 65,536 standard normal quantiles at (i + 1/2) / 65536, float32, read-only."""
    inverse = NormalDist().inv_cdf
    upper = np.array([inverse((i + 0.5) / 65536) for i in range(32768, 65536)])
    table = np.concatenate([-upper[::-1], upper]).astype(np.float32)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=1)
def _normal_pairs() -> NDArray[np.float32]:
    return paired(normal_quantiles())


def paired(values: NDArray) -> NDArray:
    """Rows (65536, 2) of values, which are 65,536 quantiles: one 16-bit number draws two of them.

    Each column holds every quantile once. The rows are a (0, 16, 2)-net, the van der Corput sequence with
    bits scrambled as by Owen (hash of Laine & Karras 2011), so that the two are uncorrelated, and independent
    as far as 65,536 points can show.
    """
    index = np.arange(65536, dtype=np.uint32)
    mixed = index + np.uint32(0x9E37)
    for factor in (0xB47C, 0x1E52, 0x47C2, 0xAE02):  # even: no bit touches a lower one
        mixed ^= mixed * np.uint32(factor)
    partner = sum(((mixed >> bit) & 1) << (15 - bit) for bit in range(16))
    return np.ascontiguousarray(np.stack([values, values[partner]], axis=1))


def look_up(table: NDArray, indices: NDArray) -> NDArray:
    """table[indices] for a flat table whose length covers every index; several times faster than indexing."""
    out = np.empty(indices.shape, table.dtype)
    np.take(table, indices, out=out, mode="wrap")
    return out
