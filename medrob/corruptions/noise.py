"""Noise: one field of random numbers per image, scaled by severity, so that levels are nested."""

from functools import lru_cache
from math import lgamma

import cv2
import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.draws import Draws, look_up, normal_quantiles

Images = NDArray[np.uint8]


def gaussian_noise(images: Images, sigma: float, draws: Draws) -> Images:
    """Add normal noise, independent per pixel and channel; sigma in units of the full range (255).

    Hendrycks & Dietterich (2019).
    """
    field = look_up(_scaled_normal(255 * sigma), draws.bits(images.shape[1:]))
    return _add(images, field)


def speckle_noise(images: Images, sigma: float, draws: Draws) -> Images:
    """Add normal noise proportional to the pixel, x + x n; sigma relative to the pixel.

    Hendrycks & Dietterich (2019).
    """
    noise = draws.normal(images.shape[1:])
    noise *= np.float32(sigma)
    noise *= images
    return _add(images, np.rint(noise, out=noise).astype(np.int16))


def shot_noise(images: Images, photons: float, draws: Draws) -> Images:
    """Poisson noise of a detector that counts `photons` at white, via quantiles of one uniform field.

    Hendrycks & Dietterich (2019).
    """
    cells = draws.bits(images.shape[1:]) >> np.uint16(4)
    return look_up(_poisson_table(photons), images.astype(np.int32) * 4096 + cells)


def impulse_noise(images: Images, share: float, draws: Draws) -> Images:
    """Salt and pepper: a share of the values becomes 0 or 255, half each.

    Hendrycks & Dietterich (2019).
    """
    field = draws.bits(images.shape[1:])
    edge = round(share / 2 * 65536)
    out = images * (field >= edge)
    out |= np.where(field >= 65536 - edge, np.uint8(255), np.uint8(0))
    return out


def _add(images: Images, noise: NDArray[np.int16]) -> Images:
    """Images plus whole-number noise, clipped to 0..255."""
    flat = images.reshape(len(images), -1)
    out = np.empty_like(flat)
    cv2.add(flat, noise.reshape(flat.shape), dst=out, dtype=cv2.CV_8U)
    return out.reshape(images.shape)


@lru_cache(maxsize=16)
def _scaled_normal(sigma: float) -> NDArray[np.int16]:
    """Normal quantiles times sigma (grey levels), rounded."""
    return np.rint(normal_quantiles() * sigma).astype(np.int16)


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
