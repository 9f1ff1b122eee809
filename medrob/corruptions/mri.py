"""Magnetic resonance: what goes wrong in the scanner's coils and in k-space.

Images are taken as magnitudes whose spectrum is k-space; rows are the phase-encoding direction.
"""

from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.draws import Draws
from medrob.corruptions.pixels import Images, each, to_uint8
from medrob.corruptions.registry import corruption

artefact = partial(corruption, group="artefact", modalities=("mri",))


@artefact("bias_field", source="Van Leemput et al. 1999", severities=(0.2, 0.35, 0.5, 0.7, 0.95))
def bias_field(images: Images, strength: float, draws: Draws) -> Images:
    """Uneven coil sensitivity: multiply by exp(strength p), p a smooth field with largest size 1.

    p is a random polynomial of third order without constant, as in Van Leemput et al. (1999).
    """
    height, width = images.shape[1:3]
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in (height, width))
    weights = draws.uniform((4, 4), -1, 1).astype(np.float32)  # of x^i y^j
    weights[:, np.add.outer(range(4), range(4)) > 3] = weights[:, 0, 0] = 0
    lines = np.zeros((len(images), 4, height), np.float32)  # (images, i, rows)
    for j in range(4):
        lines += weights[:, :, j, None] * y**j
    field = np.zeros((len(images), height, width), np.float32)
    for i in (3, 2, 1, 0):
        field *= x
        field += lines[:, i, :, None]
    field -= field.mean(axis=(1, 2), keepdims=True)
    field *= strength / np.abs(field).max(axis=(1, 2), keepdims=True)
    return to_uint8(images * np.exp(field, out=field)[..., None])


@artefact("ghosting", source="Haacke & Patrick 1986", severities=(0.15, 0.3, 0.5, 0.75, 1.0))
def ghosting(images: Images, radians: float, draws: Draws) -> Images:
    """Breathing or pulsation while the lines are read: k-space line k gets the phase a sin(2 pi k / n + b).

    The magnitude image shows copies shifted by multiples of 1/n of the height. `radians` is a; n is 3 to 8
    lines. Haacke & Patrick (1986).
    """
    period = draws.uniform((), 3, 8)[:, None]
    start = draws.uniform((), 0, 2 * np.pi, stream=1)[:, None]
    phase = radians * np.sin(2 * np.pi * _acquired(images.shape[1]) / period + start)
    return _through_k_space(images, phase[:, :, None])


@artefact("kspace_motion", source="Batchelor et al. 2005", severities=(0.004, 0.008, 0.014, 0.022, 0.032))
def kspace_motion(images: Images, shift: float, draws: Draws) -> Images:
    """The patient moves four times while k-space is read: ringing and doubled edges.

    `shift` is the largest displacement as a share of the sides; between moves the position is constant.
    The central tenth of the lines is read at rest. Batchelor et al. (2005); Shaw et al. (2019).
    """
    height, width = images.shape[1:3]
    places = draws.uniform((5, 2), -1, 1) * shift
    times = np.sort(draws.uniform((4,), 0, 1, stream=1), axis=1)
    rows, columns = np.fft.fftfreq(height), np.fft.fftfreq(width)
    segment = (_acquired(height) / height >= times[:, :, None]).sum(axis=1)  # (images, lines)
    segment_shift = np.take_along_axis(places, segment[..., None], axis=1)
    segment_shift[:, np.abs(rows) < 0.05] = 0
    down, across = (segment_shift[..., axis] * images.shape[1 + axis] for axis in (0, 1))
    cycles = (down * rows)[..., None] + across[..., None] * columns
    return _through_k_space(images, -2 * np.pi * cycles)


@artefact("kspace_spike", source="Heiland 2008", severities=(0.03, 0.06, 0.1, 0.15, 0.22))
def kspace_spike(images: Images, strength: float, draws: Draws) -> Images:
    """A discharge corrupts single points of k-space: stripes over the whole image.

    Two points, and the mirror of each; `strength` is the amplitude of a point's stripes over the full range.
    Heiland (2008).
    """
    angle = draws.uniform((2,), 0, np.pi)
    cycles = draws.uniform((2,), 0.06, 0.25, stream=1)
    start = draws.uniform((2,), 0, 2 * np.pi, stream=2)
    out = images.astype(np.float32)
    height, width = images.shape[1:3]
    for k in (0, 1):
        speed = 2 * np.pi * cycles[:, k, None] * np.stack([np.cos(angle[:, k]), np.sin(angle[:, k])], axis=1)
        out += 255 * strength * waves(height, width, speed, start[:, k])[..., None]
    return to_uint8(out)


def waves(height: int, width: int, speed: NDArray, start: NDArray) -> NDArray[np.float32]:
    """cos(start + x speed_x + y speed_y), (images, height, width); speed (images, 2) in radians a pixel."""
    across = np.arange(width) * speed[:, :1] + start[:, None]
    down = np.arange(height) * speed[:, 1:]
    cos_x, sin_x, cos_y, sin_y = (f(a).astype(np.float32) for a in (across, down) for f in (np.cos, np.sin))
    return cos_y[:, :, None] * cos_x[:, None] - sin_y[:, :, None] * sin_x[:, None]


@artefact("rician_noise", source="Gudbjartsson & Patz 1995", severities=(0.04, 0.07, 0.11, 0.16, 0.22))
def rician_noise(images: Images, sigma: float, draws: Draws) -> Images:
    """Noise of a magnitude image: |x + n1 + i n2| with normal n1, n2 of `sigma` of the full range.

    Gudbjartsson & Patz (1995).
    """
    real = images + draws.normal(images.shape[1:]) * np.float32(255 * sigma)
    imaginary = draws.normal(images.shape[1:], stream=1) * np.float32(255 * sigma)
    return to_uint8(np.sqrt(real * real + imaginary * imaginary))


def _acquired(height: int) -> NDArray[np.intp]:
    """When each row of a spectrum is read: from the most negative frequency up."""
    return np.argsort(np.argsort(np.fft.fftfreq(height)))


def _through_k_space(images: Images, phase: NDArray) -> Images:
    """Magnitude after turning each image's spectrum by phases (images, rows, columns or 1) in radians."""

    def turned(plane: NDArray, turn: NDArray) -> NDArray:
        plane = plane.astype(np.float32)
        spectrum = np.asarray(cv2.dft(plane, flags=cv2.DFT_COMPLEX_OUTPUT)).view(np.complex64)
        spectrum *= turn[..., None]
        real, imaginary = cv2.split(cv2.idft(spectrum.view(np.float32), flags=cv2.DFT_SCALE))
        return cv2.convertScaleAbs(cv2.magnitude(real, imaginary))

    phase = phase.astype(np.float32)
    turns = np.cos(phase) + np.complex64(1j) * np.sin(phase)
    return each(images, lambda i, turn: cv2.merge([turned(p, turn) for p in cv2.split(i)]), turns)
