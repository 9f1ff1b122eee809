"""Magnetic resonance: what goes wrong in the scanner's coils and in k-space.

Images are taken as magnitudes whose spectrum is k-space; rows are the phase-encoding direction.
"""

import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.draws import Draws
from medrob.corruptions.photometric import to_uint8

Images = NDArray[np.uint8]


def bias_field(images: Images, strength: float, draws: Draws) -> Images:
    """Uneven coil sensitivity: multiply by exp(strength p), p a smooth field with largest size 1.

    p is a random polynomial of third order without constant, as in Van Leemput et al. (1999).
    """
    height, width = images.shape[1:3]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    powers = [x**i * y**j for i in range(4) for j in range(4 - i) if i + j > 0]
    weights = draws.uniform((len(powers),), -1, 1)
    field = sum(w[:, None, None] * power for w, power in zip(weights.T, powers, strict=True))
    field = field - field.mean(axis=(1, 2), keepdims=True)
    field = field / np.abs(field).max(axis=(1, 2), keepdims=True)
    return to_uint8(images * np.exp(strength * field)[..., None])


def ghosting(images: Images, radians: float, draws: Draws) -> Images:
    """Breathing or pulsation while the lines are read: k-space line k gets the phase a sin(2 pi k / n + b).

    The magnitude image shows copies shifted by multiples of 1/n of the height. `radians` is a; n is 3 to 8
    lines. Haacke & Patrick (1986).
    """
    period = draws.uniform((), 3, 8)[:, None]
    start = draws.uniform((), 0, 2 * np.pi, stream=1)[:, None]
    lines = np.arange(images.shape[1])
    phase = radians * np.sin(2 * np.pi * lines / period + start)
    return _through_k_space(images, np.exp(1j * phase)[:, :, None])


def kspace_motion(images: Images, shift: float, draws: Draws) -> Images:
    """The patient moves four times while k-space is read: ringing and doubled edges.

    `shift` is the largest displacement as a share of the sides; between moves the position is constant.
    The central tenth of the lines is read at rest. Batchelor et al. (2005); Shaw et al. (2019).
    """
    height, width = images.shape[1:3]
    places = draws.uniform((5, 2), -1, 1) * shift
    times = np.sort(draws.uniform((4,), 0, 1, stream=1), axis=1)
    rows, columns = np.fft.fftfreq(height), np.fft.fftfreq(width)
    order = np.argsort(np.argsort(rows))  # lines are read from the most negative frequency up
    segment = (order / height >= times[:, :, None]).sum(axis=1)  # (images, lines)
    segment_shift = np.take_along_axis(places, segment[..., None], axis=1)
    segment_shift[:, np.abs(rows) < 0.05] = 0
    cycles = (
        segment_shift[..., 0, None] * height * rows[:, None] + segment_shift[..., 1, None] * width * columns
    )
    return _through_k_space(images, np.exp(-2j * np.pi * cycles))


def kspace_spike(images: Images, strength: float, draws: Draws) -> Images:
    """A discharge corrupts single points of k-space: stripes over the whole image.

    Two points, and the mirror of each; `strength` is the amplitude of a point's stripes over the full range.
    Heiland (2008).
    """
    height, width = images.shape[1:3]
    y, x = np.mgrid[:height, :width]
    angle = draws.uniform((2,), 0, np.pi)[..., None, None]
    cycles = draws.uniform((2,), 0.06, 0.25, stream=1)[..., None, None]
    start = draws.uniform((2,), 0, 2 * np.pi, stream=2)[..., None, None]
    stripes = np.cos(2 * np.pi * cycles * (x * np.cos(angle) + y * np.sin(angle)) + start).sum(axis=1)
    return to_uint8(images + 255 * strength * stripes[..., None])


def rician_noise(images: Images, sigma: float, draws: Draws) -> Images:
    """Noise of a magnitude image: |x + n1 + i n2| with normal n1, n2 of `sigma` of the full range.

    Gudbjartsson & Patz (1995).
    """
    real = images + draws.normal(images.shape[1:]) * np.float32(255 * sigma)
    imaginary = draws.normal(images.shape[1:], stream=1) * np.float32(255 * sigma)
    return to_uint8(np.sqrt(real * real + imaginary * imaginary))


def _through_k_space(images: Images, change: NDArray[np.complex128]) -> Images:
    """Magnitude after multiplying each image's spectrum by its own factors (images, rows, columns or 1)."""
    out = np.empty_like(images)
    for image, result, factors in zip(images, out, change, strict=True):
        spectrum = np.fft.fft2(image, axes=(0, 1)) * factors[..., None]
        result[:] = to_uint8(np.abs(np.fft.ifft2(spectrum, axes=(0, 1))))
    return out
