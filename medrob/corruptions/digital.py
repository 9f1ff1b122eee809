"""Digital damage: compression, loss of resolution, warps."""

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
        down, across = _blocks(height, fraction), _blocks(width, fraction)
        mixed = np.stack([np.einsum("ab,bwc->awc", down, image, optimize=False) for image in images])
        mixed = np.stack([np.einsum("ab,hbc->hac", across, image, optimize=False) for image in mixed])
        return to_uint8(mixed)
    from PIL import Image  # a quarter of the package's import time

    rows, columns = int(height * fraction), int(width * fraction)
    pixels = images.reshape(count * height, width, channels)
    if channels == 3:  # a fourth byte makes a pixel one number, which is quicker to copy
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA))
    mode, pixel = ("L", np.uint8) if channels == 1 else ("RGBX", np.uint32)

    def shrink(stack: NDArray, size: tuple[int, int]) -> NDArray:
        picture = Image.frombuffer(mode, (stack.shape[1], stack.shape[0]), stack.tobytes(), "raw", mode, 0, 1)
        return np.frombuffer(picture.resize(size, Image.Resampling.BOX).tobytes(), pixel)

    narrow = shrink(pixels, (columns, count * height)).reshape(count, height, columns)
    side_by_side = narrow.transpose(1, 0, 2).reshape(height, count * columns)
    small = shrink(side_by_side, (count * columns, rows)).reshape(rows, count, columns).transpose(1, 0, 2)
    down = ((np.arange(height) + 0.5) * rows / height).astype(int)
    across = ((np.arange(width) + 0.5) * columns / width).astype(int)
    out = small.take(across, axis=2).take(down, axis=1)
    if channels == 1:
        return out[..., None]
    four = out.reshape(count * height, width).view(np.uint8).reshape(count * height, width, 4)
    return np.asarray(cv2.cvtColor(four, cv2.COLOR_RGBA2RGB)).reshape(images.shape)


@lru_cache(maxsize=64)
def _blocks(length: int, fraction: float) -> NDArray[np.float64]:
    """Matrix (length, length) of block means along a line, blocks 1 / fraction long, centred."""
    count = max(1, int(np.ceil(length * fraction)))
    edges = length / 2 + (np.arange(count + 1) - count / 2) / fraction
    low = np.maximum(edges[:-1, None], np.arange(length))
    high = np.minimum(edges[1:, None], np.arange(length) + 1)
    shares = np.maximum(high - low, 0)  # (blocks, pixels)
    return shares.T @ (shares / shares.sum(axis=1, keepdims=True))


def elastic_transform(images: Images, parameters: tuple[float, float, float], draws: Draws) -> Images:
    """A random affine map, then a smooth random displacement.

    `parameters` is (alpha, sigma, affine) in pixels: U(-1, 1) fields smoothed by sigma and multiplied by
    alpha, after three corners moved by U(-affine, affine). Hendrycks & Dietterich (2019); imagecorruptions
    has other numbers and no affine map.
    """
    alpha, sigma, affine = (value * draws.factor for value in parameters)
    height, width, channels = images.shape[1:]
    middle, reach = np.array([width // 2, height // 2]), min(height, width) // 3
    corners = (middle + reach * np.array([[1, 1], [1, -1], [-1, -1]])).astype(np.float32)
    moved = corners + draws.uniform((3, 2), -affine, affine).astype(np.float32)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    fields = None
    if alpha > 0:
        fields = draws.bits((2, height, width), stream=1) * np.float32(2 / 65536) - np.float32(1)
    out = np.empty_like(images)
    for i, image in enumerate(images):
        matrix = cv2.getAffineTransform(corners, moved[i])
        warped = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        if fields is not None:
            down, across = (smooth(field, sigma) * np.float32(alpha) for field in fields[i])
            warped = cv2.remap(
                warped, columns + across, rows + down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
            )
        out[i] = warped.reshape(height, width, channels)
    return out


def smooth(field: NDArray[np.float32], sigma: float) -> NDArray:
    """Gaussian smoothing of one field, sigma in pixels, cut at 3 sigma, borders mirrored."""
    radius = int(3 * sigma + 0.5)
    if radius < 16:
        kernel = cv2.getGaussianKernel(2 * radius + 1, max(sigma, 1e-3), cv2.CV_32F)
        return cv2.sepFilter2D(field, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT)
    (left, right), (top, bottom) = (_smoothing(length, sigma) for length in field.shape)
    return left @ (right @ field @ bottom.T) @ top.T


@lru_cache(maxsize=32)
def _smoothing(length: int, sigma: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Wide Gaussian smoothing of a mirrored line as two thin matrices, (length, rank) @ (rank, length)."""
    radius = int(3 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    matrix = np.zeros((length, length))
    for row in range(length):
        folded = (row + offsets) % (2 * length)
        np.add.at(matrix[row], np.minimum(folded, 2 * length - 1 - folded), weights)
    u, s, vt = np.linalg.svd(matrix / weights.sum())
    rank = int((s > 1e-5 * s[0]).sum())
    return (u[:, :rank] * s[:rank]).astype(np.float32), vt[:rank].astype(np.float32)
