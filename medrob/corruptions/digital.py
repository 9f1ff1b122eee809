"""Digital damage: compression, loss of resolution, warps."""

from collections.abc import Iterable, Iterator
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.draws import Draws
from medrob.corruptions.photometric import to_uint8

Images = NDArray[np.uint8]


def jpeg_compression(images: Images, quality: int, draws: Draws) -> Images:
    """JPEG at `quality` (1 to 100), colour halved in resolution.

    Hendrycks & Dietterich (2019). Through OpenCV's libjpeg; grey images are compressed as grey.
    """
    out = np.empty_like(images)
    colour = images.shape[-1] == 3
    flag = cv2.IMREAD_COLOR_RGB if colour else cv2.IMREAD_GRAYSCALE
    for image, result in zip(images, out, strict=True):
        source = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if colour else image
        _, code = cv2.imencode(".jpg", source, [cv2.IMWRITE_JPEG_QUALITY, quality])
        result[:] = cv2.imdecode(code, flag).reshape(result.shape)
    return out


def pixelate(images: Images, fraction: float, draws: Draws) -> Images:
    """Shrink to `fraction` of each side by box means, enlarge again by repeating pixels.

    Hendrycks & Dietterich (2019). The box is Pillow's: whole pixels, columns before rows, rounded between.
    At a size that the table was not made for, large pixels are 1 / fraction wide without rounding, and a
    pixel across their border takes its share of both.
    """
    count, height, width, channels = images.shape
    if draws.factor != 1:
        return _mosaic(images, fraction)
    rows, columns = int(height * fraction), int(width * fraction)
    pixels = images.reshape(count * height, width, channels)
    if channels == 3:  # a fourth byte makes a pixel one number, which is quicker to copy
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA))
    pixel = np.uint8 if channels == 1 else np.uint32
    narrow = _shrunk(np.asarray(cv2.transpose(pixels), np.uint8).reshape(1, width, -1), columns)
    narrow = np.asarray(cv2.transpose(narrow.reshape(columns, count * height, -1)), np.uint8)
    small = _shrunk(narrow.reshape(count, height, -1), rows).view(pixel)
    out: NDArray = small.take(_repeats(columns, width), axis=2).take(_repeats(rows, height), axis=1)
    if channels == 1:
        return out[..., None]
    four = out.reshape(count * height, width).view(np.uint8).reshape(count * height, width, 4)
    return np.asarray(cv2.cvtColor(four, cv2.COLOR_RGBA2RGB), np.uint8).reshape(images.shape)


def _shrunk(values: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Means of whole values along the middle axis, (A, count, B), rounded as Pillow's BOX does."""
    starts, lengths = _boxes(values.shape[1], count)
    out = np.empty((len(values), count, values.shape[2]), np.uint8)
    for length in np.unique(lengths).tolist():
        which = lengths == length
        parts = (values.take(starts[which] + k, axis=1).reshape(len(values), -1) for k in range(length))
        total = next(parts)
        for part in parts:
            total = np.add(total, part, dtype=np.uint16)
        # Pillow multiplies by 2^22 / length, rounded: which way halves go depends on that
        tie = 1e-3 if int((1 << 22) / length + 0.5) * length >= 1 << 22 else -1e-3
        mean = cv2.convertScaleAbs(total, alpha=1 / length, beta=tie) if length > 1 else total
        out[:, which] = mean.reshape(len(values), -1, values.shape[2])
    return out


@lru_cache(maxsize=64)
def _boxes(length: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First of the whole pixels whose middles lie in each of `count` equal parts of a line, and how many.

    Written as Pillow's precompute_coeffs is, since rounding decides where a middle lies on an edge.
    """
    scale = length / count
    centres = (np.arange(count)[:, None] + 0.5) * scale
    places = np.arange(length)
    offsets = (places - centres + 0.5) * (1 / scale)
    inside = (offsets > -0.5) & (offsets <= 0.5)
    inside &= places >= (centres - 0.5 * scale + 0.5).astype(int)
    inside &= places < (centres + 0.5 * scale + 0.5).astype(int)
    return inside.argmax(axis=1), inside.sum(axis=1)


@lru_cache(maxsize=64)
def _repeats(count: int, length: int) -> NDArray[np.int64]:
    """Which of `count` values is shown at each place of a line: Pillow's NEAREST, which adds up its steps."""
    steps = np.full(length, count / length)
    steps[0] /= 2
    return steps.cumsum().astype(int)


def _mosaic(images: Images, fraction: float) -> Images:
    """Means of blocks 1 / fraction wide, not rounded to whole pixels.

    All sums are of whole numbers below 2^53 and so exact, in whatever order they are taken.
    """
    (mean_down, spread_down), (mean_across, spread_across) = (
        _blocks(length, fraction) for length in images.shape[1:3]
    )
    out = np.empty_like(images)
    for image, result in zip(images, out, strict=True):
        for channel in range(image.shape[-1]):
            blocks = np.rint(mean_down @ image[..., channel] @ mean_across.T * 2.0**-32)  # 256ths of a level
            result[..., channel] = to_uint8(spread_down @ blocks @ spread_across.T * 2.0**-44)
    return out


@lru_cache(maxsize=64)
def _blocks(length: int, fraction: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrices, rounded: means of centred blocks times 2^20, (blocks, length); and what each pixel shows of
    each block, times 2^18, (length, blocks)."""
    count = max(1, int(np.ceil(length * fraction)))
    edges = length / 2 + (np.arange(count + 1) - count / 2) / fraction
    low = np.maximum(edges[:-1, None], np.arange(length))
    high = np.minimum(edges[1:, None], np.arange(length) + 1)
    shares = np.maximum(high - low, 0)  # (blocks, pixels)
    means = shares / shares.sum(axis=1, keepdims=True)
    return np.rint(means * 2**20), np.rint(shares.T * 2**18)


def elastic_transform(images: Images, parameters: tuple[float, float, float], draws: Draws) -> Images:
    """A random affine map, then a smooth random displacement.

    `parameters` is (alpha, sigma, affine) in pixels: U(-1, 1) fields smoothed by sigma and multiplied by
    alpha, after three corners moved by U(-affine, affine). Hendrycks & Dietterich (2019); imagecorruptions
    has other numbers and no affine map.
    """
    alpha, sigma, affine = (value * draws.factor for value in parameters)
    height, width = images.shape[1:3]
    middle, reach = np.array([width // 2, height // 2]), min(height, width) // 3
    corners = (middle + reach * np.array([[1, 1], [1, -1], [-1, -1]])).astype(np.float32)
    moved = corners + draws.uniform((3, 2), -affine, affine).astype(np.float32)
    grid = cv2.merge(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in (width, height))))
    shifts: Iterable[NDArray] = [np.empty(0)] * len(images)
    if alpha > 0:
        fields = (draws.bits((2, height, width), stream=1) ^ np.uint16(32768)).view(np.int16)
        shifts = smooth(fields[:, ::-1], sigma)
    out = np.empty_like(images)
    for image, result, corner, shift in zip(images, out, moved, shifts, strict=True):
        matrix = cv2.getAffineTransform(corners, corner)
        warped = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        if alpha > 0:
            places = cv2.scaleAdd(shift, alpha / 32768, grid)
            warped = cv2.remap(warped, places, np.empty(0), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        result[:] = warped.reshape(result.shape)
    return out


def smooth(fields: NDArray[np.int16], sigma: float) -> Iterator[NDArray[np.float32]]:
    """Gaussian smoothing of fields (N, F, height, width) into channels (height, width, F), N times.

    Sigma in pixels, borders mirrored. Narrow kernels are cut at 3 sigma. Wide ones leave few cosines, which
    are all that is computed; every product is of whole numbers below 2^53 and so exact, in whatever order the
    linear algebra library and its threads take it.
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
