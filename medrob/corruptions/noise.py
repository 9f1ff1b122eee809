"""Noise: one field of random numbers per image, scaled by severity, so that levels are nested."""

from functools import lru_cache
from math import lgamma

import cv2
import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.draws import Draws, look_up, normal_quantiles, paired
from medrob.corruptions.pixels import Images
from medrob.corruptions.registry import imagenet_c, medmnist_c


@medmnist_c("gaussian_noise", group="noise")
@imagenet_c("gaussian_noise", group="noise")
def gaussian_noise(images: Images, sigma: float, draws: Draws) -> Images:
    """Add normal noise, independent per pixel and channel; sigma in units of the full range (255).

    Hendrycks & Dietterich (2019).
    """
    noise = draws.pairs(_scaled_normal(255 * sigma), images.shape[1:])
    up, down = cv2.split(noise.view(np.uint8).reshape(len(images), -1, 2))
    flat = images.reshape(len(images), -1)
    noisy = cv2.subtract(cv2.add(flat, up, dst=up), down, dst=down)
    return np.asarray(noisy, np.uint8).reshape(images.shape)


@medmnist_c("speckle_noise", group="noise")
@imagenet_c("speckle_noise", group="noise")
def speckle_noise(images: Images, sigma: float, draws: Draws) -> Images:
    """Add normal noise proportional to the pixel, x + x n; sigma relative to the pixel.

    Hendrycks & Dietterich (2019).
    """
    gain = draws.pairs(_gains(sigma), images.shape[1:])
    out = np.empty_like(images)
    cv2.multiply(_rows(images), _rows(gain), dst=_rows(out), dtype=cv2.CV_8U)
    return out


@medmnist_c("shot_noise", group="noise")
@imagenet_c("shot_noise", group="noise")
def shot_noise(images: Images, photons: float, draws: Draws) -> Images:
    """Poisson noise of a detector that counts `photons` at white, via quantiles of one uniform field.

    Hendrycks & Dietterich (2019).
    """
    cells = draws.bits(images.shape[1:]) >> np.uint16(4)
    return look_up(_poisson_table(photons), images.astype(np.int32) * 4096 + cells)


@medmnist_c("impulse_noise", group="noise")
@imagenet_c("impulse_noise", group="noise")
def impulse_noise(images: Images, share: float, draws: Draws) -> Images:
    """Salt and pepper: a share of the values becomes 0 or 255, half each.

    Hendrycks & Dietterich (2019).
    """
    field = draws.bits(images.shape[1:])
    edge = round(share / 2 * 65536)
    white = (field >= 65536 - edge).view(np.uint8)
    np.negative(white, out=white)  # 255 where true
    black = np.less(field, edge, out=np.empty(field.shape, bool)).view(np.uint8)
    np.negative(black, out=black)
    return np.asarray(cv2.subtract(cv2.add(images, white), black), np.uint8)


def _rows(values: NDArray) -> NDArray:
    """A row for each image: OpenCV takes long rows fastest."""
    return values.reshape(len(values), -1)


@lru_cache(maxsize=16)
def _scaled_normal(sigma: float) -> NDArray[np.uint16]:
    """Pairs of normal quantiles times sigma (grey levels), rounded: what to add and, times 256, subtract."""
    levels = np.clip(np.rint(normal_quantiles() * sigma), -255, 255).astype(int)
    return paired((np.maximum(levels, 0) + 256 * np.maximum(-levels, 0)).astype("<u2"))


@lru_cache(maxsize=16)
def _gains(sigma: float) -> NDArray[np.float32]:
    """Pairs of 1 + sigma n, n normal quantiles."""
    return paired(1 + np.float32(sigma) * normal_quantiles())


@lru_cache(maxsize=16)
def _poisson_table(photons: float) -> NDArray[np.uint8]:
    """Grey level for each (pixel value, 4096th of a uniform): Poisson quantile over photons, times 255."""
    top = int(photons + 12 * photons**0.5 + 30)
    counts = np.arange(top + 1)
    log_factorial = np.array([lgamma(k + 1.0) for k in counts])
    middles = (np.arange(4096) + 0.5) / 4096
    table = np.zeros((256, 4096), np.uint8)
    for value in range(1, 256):
        rate = photons * value / 255
        cumulative = np.cumsum(np.exp(counts * np.log(rate) - rate - log_factorial))
        quantiles = np.searchsorted(cumulative, middles)
        table[value] = np.minimum(np.rint(quantiles * (255 / photons)), 255)
    return table.ravel()
