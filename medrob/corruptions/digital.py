"""Digital damage: compression, loss of resolution, warps."""

from collections.abc import Iterable, Iterator
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medrob.corruptions.draws import Draws, Images, each, to_uint8
from medrob.corruptions.registry import published


@published(group="digital")
def jpeg_compression(images: Images, quality: int, draws: Draws) -> Images:
    """JPEG at `quality` (1 to 100), colour halved in resolution."""
    colour = images.shape[-1] == 3
    flag = cv2.IMREAD_COLOR_RGB if colour else cv2.IMREAD_GRAYSCALE

    def compressed(image: NDArray) -> NDArray:
        source = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if colour else image
        _, code = cv2.imencode(".jpg", source, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.asarray(cv2.imdecode(code, flag))

    return each(images, compressed)


@published(group="digital")
def pixelate(images: Images, fraction: float, draws: Draws) -> Images:
    """Shrink to `fraction` of each side by box means, enlarge again by repeating pixels."""
    height, width = images.shape[1:3]
    if draws.factor == 1:
        small = int(width * fraction), int(height * fraction)

        def coarse(image: NDArray) -> NDArray:
            blocks = Image.fromarray(image.squeeze()).resize(small, Image.Resampling.BOX)
            return np.asarray(blocks.resize((width, height), Image.Resampling.NEAREST))

        return each(images, coarse)
    # Where the table was not made for the size, blocks are not rounded to whole pixels. All sums are of whole
    # numbers below 2^53 and so exact, in whatever order they are taken.
    (mean_down, spread_down), (mean_across, spread_across) = (_blocks(n, fraction) for n in (height, width))

    def mosaic(plane: NDArray) -> NDArray:
        means = np.rint(mean_down @ plane @ mean_across.T * 2.0**-32)  # 256ths of a grey level
        return to_uint8(spread_down @ means @ spread_across.T * 2.0**-44)

    return each(images, lambda image: cv2.merge([mosaic(plane) for plane in cv2.split(image)]))


@lru_cache(maxsize=64)
def _blocks(length: int, fraction: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of blocks times 2^20, (blocks, length), and what a pixel shows of each times 2^18, rounded."""
    count = max(1, int(np.ceil(length * fraction)))
    edges = length / 2 + (np.arange(count + 1) - count / 2) / fraction
    low = np.maximum(edges[:-1, None], np.arange(length))
    high = np.minimum(edges[1:, None], np.arange(length) + 1)
    shares = np.maximum(high - low, 0)  # (blocks, pixels)
    means = shares / shares.sum(axis=1, keepdims=True)
    return np.rint(means * 2**20), np.rint(shares.T * 2**18)


@published(group="digital")
def elastic_transform(images: Images, parameters: tuple[float, float, float], draws: Draws) -> Images:
    """A random affine map, then a smooth random displacement."""
    alpha, sigma, affine = (value * draws.factor for value in parameters)  # of the field; of the corners
    height, width = images.shape[1:3]
    middle, reach = np.array([width // 2, height // 2]), min(height, width) // 3
    corners = (middle + reach * np.array([[1, 1], [1, -1], [-1, -1]])).astype(np.float32)
    moved = corners + draws.uniform((3, 2), -affine, affine).astype(np.float32)
    grid = cv2.merge(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in (width, height))))
    shifts: Iterable[NDArray] = [np.empty(0)] * len(images)
    if alpha > 0:
        fields = (draws.bits((2, height, width), stream=1) ^ np.uint16(32768)).view(np.int16)
        shifts = smooth(fields[:, ::-1], sigma)

    def warped(image: NDArray, corner: NDArray, shift: NDArray) -> NDArray:
        matrix = cv2.getAffineTransform(corners, corner)
        turned = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        if alpha <= 0:
            return turned
        places = cv2.scaleAdd(shift, alpha / 32768, grid)
        return cv2.remap(turned, places, np.empty(0), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)

    return each(images, warped, moved, shifts)


def smooth(fields: NDArray[np.int16], sigma: float) -> Iterator[NDArray[np.float32]]:
    """Gaussian smoothing of fields (N, F, height, width) into channels (height, width, F), N times.

    Wide kernels leave few cosines, which are all that is computed, exactly: see `pixelate`.
    """
    if sigma < 5:
        kernel = cv2.getGaussianKernel(2 * int(3 * sigma + 0.5) + 1, max(sigma, 1e-3), cv2.CV_32F)
        for field in fields:
            merged = cv2.merge([*field.astype(np.float32)])
            yield np.asarray(cv2.sepFilter2D(merged, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT))
        return
    (down, fade_down), (across, fade_across) = (_cosines(length, sigma) for length in fields.shape[2:])
    bits, fine = 2.0**-16, 2.0**10
    waves = np.rint(down @ fields * bits) @ across.T * bits
    waves = np.rint(waves * fade_down[:, None] * fade_across * fine)
    for smoothed in np.rint(down.T @ waves * bits) @ across * (bits / fine):
        yield np.asarray(cv2.merge([*smoothed.astype(np.float32)]))


@lru_cache(maxsize=32)
def _cosines(length: int, sigma: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosines of a line that smoothing leaves, (K, length), times 2^16 and rounded; their weights."""
    order = np.arange(length)
    fade = np.exp(-0.5 * (np.pi * sigma / length * order) ** 2)
    kept = int((fade > 1e-4).sum())
    waves = np.cos(np.pi / length * np.outer(order[:kept], order + 0.5))
    return np.rint(2**16 * waves), np.minimum(order[:kept] + 1, 2) * fade[:kept] / length
