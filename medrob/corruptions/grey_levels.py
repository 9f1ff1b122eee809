"""Changes of grey level and colour that keep every pixel where it is: noise, brightness, contrast, colour."""

from functools import lru_cache
from math import lgamma

import cv2
import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.draws import Draws, Images, apply_levels, each, look_up, to_uint8
from medrob.corruptions.registry import published


@published(group="noise")
def gaussian_noise(images: Images, sigma: float, draws: Draws) -> Images:
    """Add normal noise, independent per pixel and channel; sigma in units of the full range (255)."""
    noise = draws.normal(images.shape[1:], sigma=255 * sigma)
    return np.asarray(cv2.add(_rows(images), _rows(noise), dtype=cv2.CV_8U), np.uint8).reshape(images.shape)


@published(group="noise")
def speckle_noise(images: Images, sigma: float, draws: Draws) -> Images:
    """Add normal noise proportional to the pixel, x + x n; sigma relative to the pixel."""
    gain = draws.normal(images.shape[1:], mean=1, sigma=sigma)
    noisy = cv2.multiply(_rows(images), _rows(gain), dtype=cv2.CV_8U)
    return np.asarray(noisy, np.uint8).reshape(images.shape)


def _rows(values: NDArray) -> NDArray:
    """A row for each image: OpenCV takes long rows fastest."""
    return values.reshape(len(values), -1)


@published(group="noise")
def shot_noise(images: Images, photons: float, draws: Draws) -> Images:
    """Poisson noise of a detector that counts `photons` at white, via quantiles of one uniform field."""
    cells = draws.bits(images.shape[1:]) >> np.uint16(4)
    return look_up(_poisson_table(photons), images.astype(np.int32) * 4096 + cells)


@lru_cache(maxsize=16)
def _poisson_table(photons: float) -> NDArray[np.uint8]:
    """Grey level for each (pixel value, 4096th of a uniform): Poisson quantile over photons, times 255."""
    counts = np.arange(int(photons + 12 * photons**0.5 + 30) + 1)
    log_factorial = np.array([lgamma(k + 1.0) for k in counts])
    middles = (np.arange(4096) + 0.5) / 4096
    quantiles = np.zeros((256, 4096))
    for value in range(1, 256):
        rate = photons * value / 255
        cumulative = np.cumsum(np.exp(counts * np.log(rate) - rate - log_factorial))
        quantiles[value] = np.searchsorted(cumulative, middles)
    return to_uint8(quantiles * (255 / photons)).ravel()


@published(group="noise")
def impulse_noise(images: Images, share: float, draws: Draws) -> Images:
    """Salt and pepper: a share of the values becomes 0 or 255, half each."""
    field = draws.bits(images.shape[1:])
    edge = round(share / 2 * 65536)
    white, black = ((hit * np.uint8(255)) for hit in (field >= 65536 - edge, field < edge))
    return np.asarray(cv2.subtract(cv2.add(images, white), black), np.uint8)


@published(group="photometric")
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
    return np.asarray(cv2.merge(planes), np.uint8).reshape(images.shape)


@published(group="photometric")
def contrast(images: Images, factor: float, draws: Draws) -> Images:
    """Scale each channel about its mean over the image by `factor`."""
    count, height, width, channels = images.shape
    sums = images.reshape(count, height, -1).sum(axis=1, dtype=np.uint32)
    means = sums.reshape(count, width, channels).mean(axis=1) / height
    offsets = np.tile((1 - factor) * means, (1, width)).astype(np.float32)[:, None]
    out = images.reshape(count, height, -1) * np.float32(factor) + offsets
    return np.asarray(cv2.convertScaleAbs(_rows(out)), np.uint8).reshape(images.shape)


@published("saturate", group="photometric", colour=True)
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
    return np.asarray(cv2.merge(planes), np.uint8).reshape(images.shape)


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


@published("*/saturate", group="photometric", colour=True)
def saturate_more(images: Images, plus: float, draws: Draws) -> Images:
    """Add `plus` to the HSV saturation, clipped to 1. RGB only."""
    return saturate(images, (1, plus), draws)


@published("*/brightness_*", group="photometric")
def enhance_brightness(images: Images, factor: float, draws: Draws) -> Images:
    """Multiply by `factor`, clip."""  # rounded, where Pillow's ImageEnhance truncates
    return apply_levels(images, factor * np.arange(256))


@published("*/contrast_*", group="photometric")
def enhance_contrast(images: Images, factor: float, draws: Draws) -> Images:
    """Scale about the mean grey level of the whole image by `factor`, clip."""

    def about_mean(image: NDArray) -> NDArray:
        grey = image if image.shape[-1] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        mean = int(cv2.mean(grey)[0] + 0.5)
        return apply_levels(image, mean + factor * (np.arange(256) - mean))

    return each(images, about_mean)


@published("*/gamma_corr_*", group="photometric")
def gamma(images: Images, exponent: float, draws: Draws) -> Images:
    """Grey levels to the power of `exponent` on 0..1; above 1 darkens."""
    return apply_levels(images, 255 * (np.arange(256) / 255) ** exponent)
