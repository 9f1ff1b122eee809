"""Computed tomography: errors of the rays, seen after reconstruction.

Grey levels are attenuation. The filtered back-projection of an error of the rays is added to the image.
"""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.draws import Draws, Images, look_up, to_uint8
from medrob.corruptions.registry import corruption

_FINE = 4  # places in each detector cell that back-projection reads


@corruption("artefact", source="Sijbers & Postnov 2004", severities=(0.08, 0.15, 0.24, 0.36, 0.5))
def ring_artefact(images: Images, strength: float, draws: Draws) -> Images:
    """Wrong gains of single detector cells draw rings about the centre of rotation."""
    height, width = images.shape[1:3]
    y, x = np.mgrid[:height, :width]
    per_pixel = min(160 / min(height, width), 0.75)  # 160 cells see the shorter side, or fewer
    radius = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2) * per_pixel
    cells = int(radius.max()) + 2
    wrong = draws.uniform((cells,)) < 1 / 6
    gain = np.clip(draws.normal((cells,), stream=1) * wrong, -2, 2) / 2
    gain = gain / np.sqrt(1 + np.arange(cells) / 16)  # rings fade with the root of their radius
    inner = radius.astype(int)
    rings = gain[:, inner] * (1 - (radius - inner)) + gain[:, inner + 1] * (radius - inner)
    return to_uint8(images + 255 * strength * rings[..., None])


@corruption("artefact", source="Leuschner et al. 2021", severities=(16000, 7000, 3000, 1400, 700))
def low_dose(images: Images, photons: float, draws: Draws) -> Images:
    """Few photons: Poisson noise of the rays, which reconstruction turns into streaks."""
    noise = draws.normal(_detector(*images.shape[1:3]))
    flux = photons * min(images.shape[1:3]) / 64  # `photons` leave the tube for a ray, at 64 pixels a side

    def error(index: int, rays: NDArray) -> NDArray:
        arrived = flux * np.exp(-rays)
        counted = np.maximum(arrived + np.sqrt(arrived) * noise[index], 1)  # normal approximation
        return np.log(np.maximum(arrived, 1) / counted)

    return _with_ray_errors(images, error)


@corruption("artefact", source="Brooks & Di Chiro 1976", severities=(0.06, 0.12, 0.2, 0.3, 0.42))
def beam_hardening(images: Images, share: float, draws: Draws) -> Images:
    """A polychromatic beam grows harder on its way: rays through more tissue are read too low (cupping)."""

    def error(_: int, rays: NDArray) -> NDArray:
        squares = rays * rays  # p is read as p - share (p^2 - c p) / largest p; c balances
        largest, calibration = max(rays.max(), 1e-6), (squares * rays).sum() / max(squares.sum(), 1e-6)
        return (rays * calibration - squares) * (share / largest)

    return _with_ray_errors(images, error)


def _with_ray_errors(images: Images, error: Callable[[int, NDArray], NDArray]) -> Images:
    """Images plus the reconstruction of error(index, rays), the error of the rays (views, cells) of each."""
    count, height, width, channels = images.shape
    scale = np.float32(255 * min(height, width) / 6)  # white absorbs e^6 across: 30 cm of water is half white
    planes = np.ascontiguousarray(np.moveaxis(images, -1, 1)).reshape(-1, height, width)
    out = np.empty_like(planes)
    for index, (plane, rays) in enumerate(zip(planes, _project(planes), strict=True)):
        wrong = _reconstruct(error(index // channels, rays / scale), height, width)
        out[index] = to_uint8(plane + scale * wrong)
    return np.moveaxis(out.reshape(count, channels, height, width), 1, -1)


def _detector(height: int, width: int) -> tuple[int, int]:
    """Views (three for every two pixels of a side, at most 120) and cells, which are as wide as a pixel."""
    return min(120, 3 * min(height, width) // 2), math.ceil(math.hypot(height, width)) | 1


def _positions(height: int, width: int, views: int, cells: int) -> NDArray[np.float64]:
    """On which cell of the detector each pixel falls at each view, (views, pixels), between cells too."""
    y, x = np.arange(height)[:, None] - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    angles = np.pi * np.arange(views)[:, None, None] / views
    return (x * np.cos(angles) + y * np.sin(angles) + (cells - 1) / 2).reshape(views, -1)


def _project(planes: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
    """Sums along the rays of a parallel beam for each plane, in pixels times grey level."""
    count, height, width = planes.shape
    finer = max(1.0, min(height, width) / 32)  # planes are shrunk, as line integrals are smooth
    size = round(width / finer), round(height / finer)
    (views, cells), (_, coarse) = _detector(height, width), _detector(size[1], size[0])
    small = np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in planes])
    sums = small.reshape(count, -1).astype(np.float32) @ _system(size[1], size[0], views)  # exact: integers
    stretch = np.array([[finer, 0, (cells - 1) / 2 - finer * (coarse - 1) / 2], [0, 1, 0]])
    for rays in (sums * np.float32(finer / 256)).reshape(count, views, coarse):
        yield np.asarray(cv2.warpAffine(rays, stretch, (cells, views)))


@lru_cache(maxsize=4)
def _system(height: int, width: int, views: int) -> NDArray[np.float32]:
    """Shares, in 256ths, of each pixel in each ray, (pixels, views times cells)."""
    cells = _detector(height, width)[1]
    matrix = np.zeros((height * width, views, cells), np.float32)
    for view, position in enumerate(_positions(height, width, views, cells)):
        cell = np.floor(position).astype(int)
        share = np.rint(256 * (position - cell))
        matrix[np.arange(len(cell)), view, cell] = 256 - share
        matrix[np.arange(len(cell)), view, np.minimum(cell + 1, cells - 1)] += share
    return matrix.reshape(height * width, -1)


def _reconstruct(rays: NDArray, height: int, width: int) -> NDArray[np.float32]:
    """Filtered back-projection of rays with the Hann-windowed ramp filter, (height, width)."""
    views, cells = rays.shape
    length = 1 << (2 * cells - 1).bit_length()
    frequency = np.fft.rfftfreq(length)
    ramp = 2 * frequency * (0.5 + 0.5 * np.cos(2 * np.pi * frequency))
    packed = np.repeat(ramp, 2)[1:-1].astype(np.float32)  # as OpenCV: real part of 0, both parts of 1, 2, ...
    padded = np.zeros((views, length), np.float32)
    padded[:, :cells] = rays
    spectrum = cv2.dft(padded, flags=cv2.DFT_ROWS) * packed
    filtered = cv2.idft(spectrum, flags=cv2.DFT_ROWS | cv2.DFT_SCALE)[:, :cells]
    total = np.zeros(height * width, np.float32)
    for row, places in zip(cv2.resize(filtered, (_FINE * cells, views)), _places(height, width), strict=True):
        total += look_up(row, places)
    return total.reshape(height, width) * np.float32(np.pi / (2 * views))


@lru_cache(maxsize=2)
def _places(height: int, width: int) -> NDArray[np.uint16]:
    """Which fine place of the detector each pixel reads at each view, (views, pixels)."""
    return ((_positions(height, width, *_detector(height, width)) + 0.5) * _FINE).astype(np.uint16)
