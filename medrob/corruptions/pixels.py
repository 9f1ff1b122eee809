"""Noise, brightness, contrast, colour; and digital damage: compression, coarse pixels, warps."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from math import lgamma

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medrob.corruptions.draws import Draws, Images, apply_levels, each, look_up, to_uint8
from medrob.corruptions.registry import corruption


@corruption("noise")
def gaussian_noise(images: Images, sigma: float, draws: Draws) -> Images:
    """Add normal noise, independent per pixel and channel; sigma in units of the full range (255)."""
    return cv2.add(images, draws.normal(images.shape[1:], sigma=255 * sigma), dtype=cv2.CV_8U)


@corruption("noise")
def speckle_noise(images: Images, sigma: float, draws: Draws) -> Images:
    """Add normal noise proportional to the pixel, x + x n; sigma relative to the pixel."""
    return cv2.multiply(images, draws.normal(images.shape[1:], mean=1, sigma=sigma), dtype=cv2.CV_8U)


@corruption("noise")
def shot_noise(images: Images, photons: float, draws: Draws) -> Images:
    """Poisson noise of a detector that counts `photons` at white, via quantiles of one uniform field."""
    cells = draws.bits(images.shape[1:]) >> np.uint16(4)
    return look_up(_poisson_table(photons), images.astype(np.int32) * 4096 + cells)


@lru_cache(maxsize=16)
def _poisson_table(photons: float) -> NDArray[np.uint8]:
    """Grey level for each (pixel value, 4096th of a uniform): Poisson quantile over photons, times 255."""
    counts = np.arange(int(photons + 12 * photons**0.5 + 30) + 1)
    log_factorial = np.array([lgamma(k + 1.0) for k in counts])
    quantiles = np.zeros((256, 4096))
    for value in range(1, 256):
        rate = photons * value / 255
        cumulative = np.cumsum(np.exp(counts * np.log(rate) - rate - log_factorial))
        quantiles[value] = np.searchsorted(cumulative, (np.arange(4096) + 0.5) / 4096)
    return to_uint8(quantiles * (255 / photons)).ravel()


@corruption("noise")
def impulse_noise(images: Images, share: float, draws: Draws) -> Images:
    """Salt and pepper: a share of the values becomes 0 or 255, half each."""
    field, edge = draws.bits(images.shape[1:]), round(share / 2 * 65536)
    white, black = ((hit * np.uint8(255)) for hit in (field >= 65536 - edge, field < edge))
    return cv2.subtract(cv2.add(images, white), black)


@corruption("photometric")
def brightness(images: Images, shift: float, draws: Draws) -> Images:
    """Add `shift` (of the full range) to the HSV value; hue and saturation stay, black turns grey."""
    levels = np.arange(256)
    raised = np.minimum(levels + 255 * shift, 255)
    if images.shape[-1] == 1:
        return apply_levels(images, raised)
    planes, value, _ = _hsv(images)
    gain = cv2.LUT(value, (raised / np.maximum(levels, 1)).astype(np.float32))
    lift = (value == 0) * np.uint8(round(raised[0]))
    planes = [cv2.add(cv2.multiply(plane, gain, dtype=cv2.CV_8U), lift) for plane in planes]
    return cv2.merge(planes).reshape(images.shape)


@corruption("photometric")
def contrast(images: Images, factor: float, draws: Draws) -> Images:
    """Scale each channel about its mean over the image by `factor`."""
    count, height, width, channels = images.shape
    sums = images.reshape(count, height, -1).sum(axis=1, dtype=np.uint32)
    means = sums.reshape(count, width, channels).mean(axis=1) / height
    offsets = np.tile((1 - factor) * means, (1, width)).astype(np.float32)[:, None]
    out = images.reshape(count, height, -1) * np.float32(factor) + offsets
    return cv2.convertScaleAbs(out.reshape(count, -1)).reshape(images.shape)


@corruption("photometric", of="saturate", colour=True)
def saturate(images: Images, parameters: tuple[float, float], draws: Draws) -> Images:
    """HSV saturation becomes s mul + add, clipped to 1; `parameters` is (mul, add). RGB only."""
    times, plus = parameters
    planes, largest, smallest = _hsv(images)
    both = cv2.merge([smallest, largest]).view("<u2")[..., 0]
    stretch = look_up(_stretches(times, plus), both)
    distances = (cv2.subtract(largest, plane) for plane in planes)  # from the largest channel
    planes = [cv2.subtract(largest, cv2.multiply(d, stretch, dtype=cv2.CV_8U)) for d in distances]
    if plus > 0:  # grey counts as red of saturation 0
        grey = (largest == smallest) * cv2.convertScaleAbs(largest, alpha=min(plus, 1))
        planes[1:] = [cv2.subtract(plane, grey) for plane in planes[1:]]
    return cv2.merge(planes).reshape(images.shape)


@lru_cache(maxsize=32)
def _stretches(times: float, plus: float) -> NDArray[np.float32]:
    """New saturation over old for each 256 largest + smallest channel."""
    value, least = np.mgrid[:256, :256]
    saturation = (value - least) / np.maximum(value, 1)
    wanted = np.clip(saturation * times + plus, 0, 1)
    return np.where(value > least, wanted / np.maximum(saturation, 1e-9), 0).astype(np.float32).ravel()


def _hsv(images: Images) -> tuple[list[NDArray], NDArray, NDArray]:
    """The three channels of all images, one under the other, with their maximum (HSV value) and minimum."""
    planes = list(cv2.split(images.reshape(-1, *images.shape[2:])))
    return planes, cv2.max(cv2.max(*planes[:2]), planes[2]), cv2.min(cv2.min(*planes[:2]), planes[2])


@corruption("photometric", of="*/saturate", colour=True)
def saturate_more(images: Images, plus: float, draws: Draws) -> Images:
    """Add `plus` to the HSV saturation, clipped to 1. RGB only."""
    return saturate(images, (1, plus), draws)


@corruption("photometric", of="*/brightness_*")
def enhance_brightness(images: Images, factor: float, draws: Draws) -> Images:
    """Multiply by `factor`, clip."""  # rounded, where Pillow's ImageEnhance truncates
    return apply_levels(images, factor * np.arange(256))


@corruption("photometric", of="*/contrast_*")
def enhance_contrast(images: Images, factor: float, draws: Draws) -> Images:
    """Scale about the mean grey level of the whole image by `factor`, clip."""

    def about_mean(image: NDArray) -> NDArray:
        grey = image if image.shape[-1] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        mean = int(cv2.mean(grey)[0] + 0.5)
        return apply_levels(image, mean + factor * (np.arange(256) - mean))

    return each(images, about_mean)


@corruption("photometric", of="*/gamma_corr_*")
def gamma(images: Images, exponent: float, draws: Draws) -> Images:
    """Grey levels to the power of `exponent` on 0..1; above 1 darkens."""
    return apply_levels(images, 255 * (np.arange(256) / 255) ** exponent)


@corruption("digital")
def jpeg_compression(images: Images, quality: int, draws: Draws) -> Images:
    """JPEG at `quality` (1 to 100), colour halved in resolution."""
    flag = cv2.IMREAD_COLOR_RGB if images.shape[-1] == 3 else cv2.IMREAD_GRAYSCALE
    how = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return each(images, lambda image: cv2.imdecode(cv2.imencode(".jpg", image[..., ::-1], how)[1], flag))


@corruption("digital")
def pixelate(images: Images, fraction: float, draws: Draws) -> Images:
    """Shrink to `fraction` of each side by box means, enlarge again by repeating pixels."""
    height, width = images.shape[1:3]

    def coarse(image: NDArray) -> NDArray:
        small = int(width * fraction), int(height * fraction)
        blocks = Image.fromarray(image.squeeze()).resize(small, Image.Resampling.BOX)
        return np.asarray(blocks.resize((width, height), Image.Resampling.NEAREST))

    if draws.factor == 1:
        return each(images, coarse)
    # Where the table was not made for the size, blocks are not rounded to whole pixels. All sums are of whole
    # numbers below 2^53 and so exact, in whatever order they are taken.
    (mean_down, spread_down), (mean_across, spread_across) = (_blocks(n, fraction) for n in (height, width))
    means = np.rint(mean_down @ np.moveaxis(images, -1, 1) @ mean_across.T * 2.0**-32)  # 256ths of a level
    return np.moveaxis(to_uint8(spread_down @ means @ spread_across.T * 2.0**-44), 1, -1)


@lru_cache(maxsize=64)
def _blocks(length: int, fraction: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means of blocks times 2^20, (blocks, length), and what a pixel shows of each times 2^18, rounded."""
    count = max(1, int(np.ceil(length * fraction)))
    edges = length / 2 + (np.arange(count + 1) - count / 2) / fraction
    high = np.minimum(edges[1:, None], np.arange(length) + 1)
    shares = np.maximum(high - np.maximum(edges[:-1, None], np.arange(length)), 0)  # (blocks, pixels)
    means = shares / shares.sum(axis=1, keepdims=True)
    return np.rint(means * 2**20), np.rint(shares.T * 2**18)


@corruption("digital")
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


def smooth(fields: NDArray[np.int16], sigma: float) -> Iterator[NDArray]:
    """Gaussian smoothing of fields (N, F, height, width) into channels (height, width, F), N times."""
    if sigma < 5:
        kernel = cv2.getGaussianKernel(2 * int(3 * sigma + 0.5) + 1, max(sigma, 1e-3), cv2.CV_32F)
        for field in fields:
            merged = cv2.merge([*field.astype(np.float32)])
            yield cv2.sepFilter2D(merged, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT)
        return
    (down, fade_down), (across, fade_across) = (_cosines(length, sigma) for length in fields.shape[2:])
    bits, fine = 2.0**-16, 2.0**10  # the few cosines that are left are computed exactly, as in `pixelate`
    waves = np.rint(down @ fields * bits) @ across.T * bits
    waves = np.rint(waves * fade_down[:, None] * fade_across * fine)
    for smoothed in np.rint(down.T @ waves * bits) @ across * (bits / fine):
        yield cv2.merge([*smoothed.astype(np.float32)])


@lru_cache(maxsize=32)
def _cosines(length: int, sigma: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosines of a line that smoothing leaves, (K, length), times 2^16 and rounded; their weights."""
    order = np.arange(length)
    fade = np.exp(-0.5 * (np.pi * sigma / length * order) ** 2)
    kept = int((fade > 1e-4).sum())
    waves = np.cos(np.pi / length * np.outer(order[:kept], order + 0.5))
    return np.rint(2**16 * waves), np.minimum(order[:kept] + 1, 2) * fade[:kept] / length
