"""Projection radiography: exposure, anti-scatter grid, scatter, photons. Bright means dense, few photons."""

from functools import lru_cache, partial
from statistics import NormalDist

import cv2
import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.draws import Draws, look_up
from medrob.corruptions.mri import waves
from medrob.corruptions.pixels import Images, apply_levels, each, to_uint8
from medrob.corruptions.registry import corruption

artefact = partial(corruption, group="artefact", modalities=("xray",))


@artefact("exposure", source="Hurter & Driffield 1890", severities=(0.25, 0.5, 0.75, 1.0, 1.3))
def exposure(images: Images, stops: float, draws: Draws) -> Images:
    """Overexposure by the film's characteristic curve: the logit of the grey level falls by stops log 2 * 2.

    Lungs burn out to black first, the mediastinum last. Hurter & Driffield (1890), contrast (gamma) 2.
    """
    level = np.clip(np.arange(256) / 255, 1e-3, 1 - 1e-3)
    logit = np.log(level / (1 - level)) - 2 * np.log(2) * stops
    return apply_levels(images, np.where(np.arange(256) == 0, 0, 255 / (1 + np.exp(-logit))))


@artefact("grid_lines", source="Lin et al. 2006", severities=(0.05, 0.09, 0.14, 0.21, 0.3))
def grid_lines(images: Images, depth: float, draws: Draws) -> Images:
    """Lines of a stationary anti-scatter grid, aliased by the detector: fine stripes, almost upright.

    `depth` is the share of light lost in the dark lines; the period is 2.6 to 4.5 pixels, the tilt up to 4
    degrees. Lin et al. (2006).
    """
    period = draws.uniform((), 2.6, 4.5)
    tilt = np.deg2rad(draws.uniform((), -4, 4, stream=1))
    start = draws.uniform((), 0, 2 * np.pi, stream=2)
    speed = 2 * np.pi / period * np.stack([np.cos(tilt), np.sin(tilt)])
    height, width = images.shape[1:3]
    shade = waves(height, width, speed.T, start)
    shade *= np.float32(-depth / 2)
    shade += np.float32(1 - depth / 2)
    return to_uint8(images * shade[..., None])


@artefact("scatter_fog", source="Boone & Seibert 1988", severities=(0.25, 0.5, 0.9, 1.5, 2.5))
def scatter_fog(images: Images, ratio: float, draws: Draws) -> Images:
    """Scattered radiation adds a blurred copy: contrast falls by 1 / (1 + ratio).

    `ratio` is scatter to primary; the scatter's spread is 15 % of the shorter side. Boone & Seibert (1988).
    """
    height, width = images.shape[1:3]
    side = min(height, width)
    finer = max(1.0, side / 32)  # so wide a blur is as good on a smaller image
    size = round(width / finer), round(height / finer)

    def fogged(image: NDArray) -> NDArray:
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        scatter = cv2.GaussianBlur(small, (0, 0), 0.15 * side / finer, borderType=cv2.BORDER_REPLICATE)
        scatter = cv2.resize(scatter, (width, height), interpolation=cv2.INTER_CUBIC).reshape(image.shape)
        return cv2.addWeighted(image, 1 / (1 + ratio), scatter, ratio / (1 + ratio), 0, dtype=cv2.CV_8U)

    return each(images, fogged)


@artefact("quantum_noise", source="Cohen et al. 1981", severities=(4000, 1600, 700, 300, 130))
def quantum_noise(images: Images, photons: float, draws: Draws) -> Images:
    """Too few photons: Poisson noise of the transmitted rays, strongest where the image is bright.

    `photons` reach the detector at black; white lets one in twenty through. The noise is that of the log of
    the count (Cohen et al. 1981).
    """
    cells = draws.bits(images.shape[1:]) >> np.uint16(4)
    return look_up(_photon_table(photons), images.astype(np.int32) * 4096 + cells)


@lru_cache(maxsize=16)
def _photon_table(photons: float) -> NDArray[np.uint8]:
    """Grey level for each (value, 4096th of a uniform): by Anscombe's normal approximation of the count."""
    z = np.array([NormalDist().inv_cdf((i + 0.5) / 4096) for i in range(4096)])
    density = np.log(20)
    rate = photons * np.exp(-density * np.arange(256) / 255)[:, None]
    count = np.maximum((np.sqrt(rate + 0.375) + z / 2) ** 2 - 0.375, 0.5)
    return to_uint8(255 * np.log(photons / count) / density)[:, ::-1].ravel()
