"""Magnetic resonance, ultrasound and projection radiography: what goes wrong on the way to the picture.

Magnetic resonance: images are magnitudes whose spectrum is k-space; rows are the phase-encoding direction.
Ultrasound: the probe is at the upper edge. A grey level is the logarithm of the echo's amplitude: 255 is the
strongest echo, 0 lies 60 dB or more below it (Szabo 2014, ch. 10), and what was black stays black.
Radiography: bright means dense, few photons.
"""

from functools import lru_cache, partial
from statistics import NormalDist

import cv2
import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.draws import Draws, Images, apply_levels, each, look_up, to_uint8
from medrob.corruptions.registry import corruption

_RANGE = 60.0  # decibels from black to white
mri = partial(corruption, group="artefact", modalities=("mri",))
ultrasound = partial(corruption, group="artefact", modalities=("ultrasound",))
xray = partial(corruption, group="artefact", modalities=("xray",))


@mri("bias_field", source="Van Leemput et al. 1999", severities=(0.2, 0.35, 0.5, 0.7, 0.95))
def bias_field(images: Images, strength: float, draws: Draws) -> Images:
    """Uneven coil sensitivity: multiply by exp(strength p), p a smooth field with largest size 1."""
    height, width = images.shape[1:3]
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in (height, width))
    weights = draws.uniform((4, 4), -1, 1).astype(np.float32)  # of x^i y^j: third order, without constant
    weights[:, np.add.outer(range(4), range(4)) > 3] = weights[:, 0, 0] = 0
    lines = np.zeros((len(images), 4, height), np.float32)  # (images, i, rows)
    for j in range(4):
        lines += weights[:, :, j, None] * y**j
    field = np.zeros((len(images), height, width), np.float32)
    for i in (3, 2, 1, 0):
        field = field * x + lines[:, i, :, None]
    field -= field.mean(axis=(1, 2), keepdims=True)
    field *= strength / np.abs(field).max(axis=(1, 2), keepdims=True)
    return to_uint8(images * np.exp(field)[..., None])


@mri("ghosting", source="Haacke & Patrick 1986", severities=(0.15, 0.3, 0.5, 0.75, 1.0))
def ghosting(images: Images, radians: float, draws: Draws) -> Images:
    """Breathing or pulsation while the lines are read: k-space line k gets phase a sin(2 pi k / n + b)."""
    period = draws.uniform((), 3, 8)[:, None]  # n; copies are shifted by multiples of 1/n of the height
    start = draws.uniform((), 0, 2 * np.pi, stream=1)[:, None]
    phase = radians * np.sin(2 * np.pi * _acquired(images.shape[1]) / period + start)
    return _through_k_space(images, phase[:, :, None])


@mri("kspace_motion", source="Batchelor et al. 2005", severities=(0.004, 0.008, 0.014, 0.022, 0.032))
def kspace_motion(images: Images, shift: float, draws: Draws) -> Images:
    """The patient moves four times while k-space is read: ringing and doubled edges."""
    height, width = images.shape[1:3]
    places = draws.uniform((5, 2), -1, 1) * shift  # as shares of the sides, constant between moves
    times = np.sort(draws.uniform((4,), 0, 1, stream=1), axis=1)
    rows, columns = np.fft.fftfreq(height), np.fft.fftfreq(width)
    segment = (_acquired(height) / height >= times[:, :, None]).sum(axis=1)  # (images, lines)
    segment_shift = np.take_along_axis(places, segment[..., None], axis=1)
    segment_shift[:, np.abs(rows) < 0.05] = 0  # the central tenth is read at rest (Shaw et al. 2019)
    down, across = segment_shift[..., 0] * height, segment_shift[..., 1] * width
    cycles = (down * rows)[..., None] + across[..., None] * columns
    return _through_k_space(images, -2 * np.pi * cycles)


@mri("kspace_spike", source="Heiland 2008", severities=(0.03, 0.06, 0.1, 0.15, 0.22))
def kspace_spike(images: Images, strength: float, draws: Draws) -> Images:
    """A discharge corrupts single points of k-space: stripes over the whole image."""
    angle = draws.uniform((2,), 0, np.pi)
    cycles = draws.uniform((2,), 0.06, 0.25, stream=1)
    start = draws.uniform((2,), 0, 2 * np.pi, stream=2)
    out = images.astype(np.float32)
    for k in (0, 1):  # two points, and the mirror of each
        speed = 2 * np.pi * cycles[:, k, None] * np.stack([np.cos(angle[:, k]), np.sin(angle[:, k])], axis=1)
        out += 255 * strength * _waves(images, speed, start[:, k])
    return to_uint8(out)


@mri("rician_noise", source="Gudbjartsson & Patz 1995", severities=(0.04, 0.07, 0.11, 0.16, 0.22))
def rician_noise(images: Images, sigma: float, draws: Draws) -> Images:
    """Noise of a magnitude image: |x + n1 + i n2| with normal n1, n2 of `sigma` of the full range."""
    real = images + draws.normal(images.shape[1:]) * np.float32(255 * sigma)
    imaginary = draws.normal(images.shape[1:], stream=1) * np.float32(255 * sigma)
    return to_uint8(np.sqrt(real * real + imaginary * imaginary))


def _acquired(height: int) -> NDArray[np.intp]:
    """When each row of a spectrum is read: from the most negative frequency up."""
    return (np.arange(height) + height // 2) % height


def _through_k_space(images: Images, phase: NDArray) -> Images:
    """Magnitude after turning each image's spectrum by phases (images, rows, columns or 1) in radians."""

    def turned(plane: NDArray, turn: NDArray) -> NDArray:
        pairs = np.asarray(cv2.dft(plane.astype(np.float32), flags=cv2.DFT_COMPLEX_OUTPUT))
        spectrum = pairs.view(np.complex64)
        spectrum *= turn[..., None]
        real, imaginary = cv2.split(cv2.idft(spectrum.view(np.float32), flags=cv2.DFT_SCALE))
        return cv2.convertScaleAbs(cv2.magnitude(real, imaginary))

    phase = phase.astype(np.float32)
    turns = np.cos(phase) + np.complex64(1j) * np.sin(phase)
    return each(images, lambda i, turn: cv2.merge([turned(p, turn) for p in cv2.split(i)]), turns)


def _waves(images: Images, speed: NDArray, start: NDArray) -> NDArray[np.float32]:
    """cos(start + x speed_x + y speed_y), (images, height, width, 1); speed (images, 2), radians a pixel."""
    height, width = images.shape[1:3]
    across = np.arange(width) * speed[:, :1] + start[:, None]
    down = np.arange(height) * speed[:, 1:]
    cos_x, sin_x, cos_y, sin_y = (f(a).astype(np.float32) for a in (across, down) for f in (np.cos, np.sin))
    return (cos_y[:, :, None] * cos_x[:, None] - sin_y[:, :, None] * sin_x[:, None])[..., None]


@ultrasound("ultrasound_speckle", source="Burckhardt 1978", severities=(0.15, 0.3, 0.5, 0.75, 1.0))
def ultrasound_speckle(images: Images, share: float, draws: Draws) -> Images:
    """Fully developed speckle: the echo times a Rayleigh field of mean 1, blended in by `share`."""
    height, width = images.shape[1:3]
    sideways, deep = (max(0.3, min(height, width) / n) for n in (110, 330))  # sigma of the beam, in pixels

    def speckled(image: NDArray, parts: NDArray) -> NDArray:
        real, imaginary = (np.asarray(cv2.GaussianBlur(p, (0, 0), sideways, sigmaY=deep)) for p in parts)
        envelope = np.sqrt(real * real + imaginary * imaginary)
        envelope /= envelope.mean()
        return _echo_times(image, 1 - share + share * envelope)

    return each(images, speckled, draws.normal((2, height, width)))


@ultrasound("acoustic_shadow", source="Kremkau & Taylor 1986", severities=(0.25, 0.4, 0.55, 0.75, 0.95))
def acoustic_shadow(images: Images, loss: float, draws: Draws) -> Images:
    """A stone or rib stops the beam: a fan of darkness below a random point."""
    height, width = images.shape[1:3]
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    ranges = enumerate(((0.2, 0.8), (0.08, 0.4), (0.04, 0.09)))
    column, depth, half = (draws.uniform((), *ends, stream=k)[:, None, None] for k, ends in ranges)
    axis = 0.5 + (column - 0.5) * (y + 0.6) / (depth + 0.6)  # rays leave a point above the image
    edge = half * (y + 0.6) / (depth + 0.6)
    across = 1 / (1 + np.exp((np.abs(x - axis) - edge) / 0.02))
    below = 1 / (1 + np.exp(-(y - depth) / 0.015))
    return _echo_times(images, 1 - loss * across * below)


@ultrasound("depth_gain", source="Hughes & Duck 1997", severities=(3, 6, 9, 14, 20))
def depth_gain(images: Images, decibel: float, draws: Draws) -> Images:
    """Attenuation with depth that the time-gain compensation did not undo: dark at the bottom."""
    fall = 10 ** (-decibel / 20 * np.linspace(0, 1, images.shape[1]))
    return _echo_times(images, fall[None, :, None])


def _echo_times(images: Images, factor: NDArray) -> Images:
    """Images (..., H, W, C) whose echoes are multiplied by a factor (..., H, W): added to the logarithm."""
    gain = (20 * 255 / _RANGE) * np.log10(np.maximum(factor, 1e-6))
    return to_uint8((images + gain[..., None].astype(np.float32)) * (images > 0))


@xray("exposure", source="Hurter & Driffield 1890", severities=(0.25, 0.5, 0.75, 1.0, 1.3))
def exposure(images: Images, stops: float, draws: Draws) -> Images:
    """Overexposure by the film's characteristic curve: the logit of a grey level falls by stops log 2 * 2."""
    level = np.clip(np.arange(256) / 255, 1e-3, 1 - 1e-3)
    logit = np.log(level / (1 - level)) - 2 * np.log(2) * stops
    return apply_levels(images, np.where(np.arange(256) == 0, 0, 255 / (1 + np.exp(-logit))))


@xray("grid_lines", source="Lin et al. 2006", severities=(0.05, 0.09, 0.14, 0.21, 0.3))
def grid_lines(images: Images, depth: float, draws: Draws) -> Images:
    """Lines of a stationary anti-scatter grid, aliased by the detector: fine stripes, almost upright."""
    period = draws.uniform((), 2.6, 4.5)
    tilt = np.deg2rad(draws.uniform((), -4, 4, stream=1))
    start = draws.uniform((), 0, 2 * np.pi, stream=2)
    speed = 2 * np.pi / period * np.stack([np.cos(tilt), np.sin(tilt)])
    shade = _waves(images, speed.T, start) * np.float32(-depth / 2) + np.float32(1 - depth / 2)
    return to_uint8(images * shade)


@xray("scatter_fog", source="Boone & Seibert 1988", severities=(0.25, 0.5, 0.9, 1.5, 2.5))
def scatter_fog(images: Images, ratio: float, draws: Draws) -> Images:
    """Scattered radiation adds a blurred copy: contrast falls by 1 / (1 + ratio)."""
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


@xray("quantum_noise", source="Cohen et al. 1981", severities=(4000, 1600, 700, 300, 130))
def quantum_noise(images: Images, photons: float, draws: Draws) -> Images:
    """Too few photons: Poisson noise of the transmitted rays, strongest where the image is bright."""
    cells = draws.bits(images.shape[1:]) >> np.uint16(4)
    return look_up(_photon_table(photons), images.astype(np.int32) * 4096 + cells)


@lru_cache(maxsize=16)
def _photon_table(photons: float) -> NDArray[np.uint8]:
    """Grey level for each (value, 4096th of a uniform): by Anscombe's normal approximation of the count."""
    z = np.array([NormalDist().inv_cdf((i + 0.5) / 4096) for i in range(4096)])
    density = np.log(20)  # white lets one photon in twenty through
    rate = photons * np.exp(-density * np.arange(256) / 255)[:, None]  # `photons` at black
    count = np.maximum((np.sqrt(rate + 0.375) + z / 2) ** 2 - 0.375, 0.5)
    return to_uint8(255 * np.log(photons / count) / density)[:, ::-1].ravel()
