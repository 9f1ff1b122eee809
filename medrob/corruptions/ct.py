"""Computed tomography: errors of the rays, seen after reconstruction.

Grey levels are taken as attenuation. Each artefact is worked out as an error of the projections; its filtered
back-projection is added to the image, so that an error of zero leaves the image as it was.
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.draws import Draws
from medrob.corruptions.photometric import to_uint8

Images = NDArray[np.uint8]

_WATER = 6.0  # attenuation (natural log) across the whole shorter side at white: 30 cm of water is half white


def ring_artefact(images: Images, strength: float, draws: Draws) -> Images:
    """Wrong gains of single detector cells draw rings about the centre of rotation.

    `strength` is the amplitude of the worst rings over the full range; one cell in six is off, and rings
    fade with the root of their radius. Sijbers & Postnov (2004).
    """
    height, width = images.shape[1:3]
    y, x = np.mgrid[:height, :width]
    radius = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2) * (160 / min(height, width))
    cells = int(radius.max()) + 2
    wrong = draws.uniform((cells,)) < 1 / 6
    gain = np.clip(draws.normal((cells,), stream=1) * wrong, -2, 2) / 2
    gain = gain / np.sqrt(1 + np.arange(cells) / 16)
    inner = radius.astype(int)
    part = radius - inner
    rings = gain[:, inner] * (1 - part) + gain[:, inner + 1] * part
    return to_uint8(images + 255 * strength * rings[..., None])


def low_dose(images: Images, photons: float, draws: Draws) -> Images:
    """Few photons: Poisson noise of the rays, which reconstruction turns into streaks.

    `photons` leave the tube for each ray of an image of 64 pixels; finer images get more in proportion, so
    that a severity looks alike at any size.
    Leuschner et al. (2021), normal approximation of the counts, never below one photon.
    """
    angles, cells = _geometry(*images.shape[1:3])
    noise = draws.normal((len(angles), cells))
    flux = photons * min(images.shape[1:3]) / 64

    def error(rays: NDArray, noise: NDArray) -> NDArray:
        arrived = flux * np.exp(-rays)
        counted = np.maximum(arrived + np.sqrt(arrived) * noise, 1.0)
        return np.log(np.maximum(arrived, 1.0) / counted)

    return _with_ray_errors(images, [lambda rays, n=field: error(rays, n) for field in noise])


def beam_hardening(images: Images, share: float, draws: Draws) -> Images:
    """A polychromatic beam grows harder on its way: rays through more tissue are read too low (cupping).

    A ray of attenuation p is read as p - share (p^2 - c p) / largest p, where the calibration c takes away
    the part that is proportional to p: dense parts darken in their middle. Brooks & Di Chiro (1976).
    """

    def error(rays: NDArray) -> NDArray:
        largest, squares = max(rays.max(), 1e-6), max((rays**2).sum(), 1e-6)
        return -share * (rays**2 - rays * ((rays**3).sum() / squares)) / largest

    return _with_ray_errors(images, [error] * len(images))


def metal_streaks(images: Images, density: float, draws: Draws) -> Images:
    """Two metal implants: bright discs, dark bands between them, and streaks from starved rays.

    `density` is the metal's attenuation along its diameter. Rays that carry metal are read with the error of
    beam hardening and are cut where no photon arrives. De Man et al. (1999).
    """
    height, width = images.shape[1:3]
    side = min(height, width)
    y, x = np.mgrid[:height, :width]
    place = draws.uniform((2, 2), -0.28, 0.28)
    size = draws.uniform((2,), 0.035, 0.06, stream=1)
    metals = np.zeros((len(images), height, width), np.float32)
    for k in (0, 1):
        distance = np.hypot(
            y - (0.5 + place[:, k, 0, None, None]) * height, x - (0.5 + place[:, k, 1, None, None]) * width
        )
        metals += np.clip(size[:, k, None, None] * side - distance + 0.5, 0, 1).astype(np.float32)
    metals = np.minimum(metals, 1)

    def error(rays: NDArray, metal: NDArray) -> NDArray:
        chords = _project(metal) * (density / (0.1 * side))
        total = rays + chords
        read = np.minimum(total - 0.02 * chords * total, 9.0)
        return read - total

    changed = _with_ray_errors(images, [lambda rays, m=metal: error(rays, m) for metal in metals])
    return to_uint8(changed + 255 * metals[..., None] * min(1.0, 0.25 * density + 0.25))


def _with_ray_errors(images: Images, errors: list) -> Images:
    """Images plus the reconstruction of the errors that each image's function makes of its rays."""
    scale = 255 * min(images.shape[1:3]) / _WATER
    out = np.empty_like(images)
    for image, result, error in zip(images, out, errors, strict=True):
        for channel in range(image.shape[-1]):
            plane = image[..., channel].astype(np.float32)
            wrong = _reconstruct(error(_project(plane) / scale).astype(np.float32), plane.shape)
            result[..., channel] = to_uint8(plane + scale * wrong)
    return out


@lru_cache(maxsize=16)
def _geometry(height: int, width: int) -> tuple[tuple[float, ...], int]:
    """View angles in degrees (three for every two pixels of a side, at most 120) and detector cells."""
    views = min(120, 3 * min(height, width) // 2)
    return tuple(180 * k / views for k in range(views)), int(np.ceil(np.hypot(height, width))) | 1


def _turn(height: int, width: int, angle: float, cells: int) -> NDArray:
    """Affine matrix from image to a square of detector cells, rotated about the centre."""
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    matrix[0, 2] += (cells - 1) / 2 - (width - 1) / 2
    matrix[1, 2] += (cells - 1) / 2 - (height - 1) / 2
    return matrix


def _project(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums along the rays of a parallel beam, (views, cells), in pixels times grey level.

    Large planes are shrunk to 96 pixels first: errors of rays are smooth, and this is ten times faster.
    """
    height, width = plane.shape
    angles, full = _geometry(height, width)
    finer = max(1.0, min(height, width) / 96)
    if finer > 1:
        height, width = round(height / finer), round(width / finer)
        plane = np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA))
    cells = _geometry(height, width)[1]
    rays = np.empty((len(angles), cells), np.float32)
    for row, angle in zip(rays, angles, strict=True):
        turned = cv2.warpAffine(plane, _turn(height, width, angle, cells), (cells, cells))
        row[:] = cv2.reduce(turned, 0, cv2.REDUCE_SUM)
    if finer > 1:
        rays = np.asarray(cv2.resize(rays * np.float32(finer), (full, len(angles))))
    return rays


def _reconstruct(rays: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Filtered back-projection with the Hann-windowed ramp filter."""
    height, width = shape
    angles, cells = _geometry(height, width)
    length = 1 << (2 * cells - 1).bit_length()
    frequency = np.fft.rfftfreq(length)
    ramp = 2 * frequency * (0.5 + 0.5 * np.cos(2 * np.pi * frequency))
    filtered = np.fft.irfft(np.fft.rfft(rays, length) * ramp, length)[:, :cells].astype(np.float32)
    total = np.zeros((height, width), np.float32)
    for row, angle in zip(filtered, angles, strict=True):
        matrix = _turn(height, width, angle, cells)
        matrix[1] = 0  # every detector row reads the same
        total += cv2.warpAffine(
            row[None],
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return total * np.float32(np.pi / (2 * len(angles)))
