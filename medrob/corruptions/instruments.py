"""What goes wrong in instruments: magnetic resonance, ultrasound, radiography, microscopy and dermoscopy.

Magnetic resonance: magnitudes whose spectrum is k-space; rows are the phase-encoding direction. Ultrasound:
the probe is above; grey levels are the echo's logarithm, 60 dB to the strongest (Szabo 2014, ch. 10); black
stays black. Radiography: bright means dense, few photons. Severities that are not MedMNIST-C's are our own,
at 224 pixels.
"""

import string
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.draws import Draws, Images, apply_levels, each, look_up, to_uint8
from medrob.corruptions.registry import corruption

# Optical density of haematoxylin, eosin and DAB in red, green and blue (Ruifrok & Johnston 2001).
_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])


@corruption("artefact", source="Van Leemput et al. 1999", severities=(0.2, 0.35, 0.5, 0.7, 0.95))
def bias_field(images: Images, strength: float, draws: Draws) -> Images:
    """Uneven coil sensitivity: multiply by exp(strength p), p a smooth field with largest size 1."""
    height, width = images.shape[1:3]
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in (height, width))
    weights = draws.uniform((4, 4), -1, 1).astype(np.float32)  # of x^i y^j: third order, without constant
    weights[:, np.add.outer(range(4), range(4)) > 3] = weights[:, 0, 0] = 0
    lines: Any = sum(weights[:, :, j, None, None] * (y**j)[:, None] for j in range(4))  # (images, i, rows, 1)
    field = ((lines[:, 3] * x + lines[:, 2]) * x + lines[:, 1]) * x + lines[:, 0]
    field -= field.mean(axis=(1, 2), keepdims=True)
    field *= strength / np.abs(field).max(axis=(1, 2), keepdims=True)
    return to_uint8(images * np.exp(field)[..., None])


@corruption("artefact", source="Haacke & Patrick 1986", severities=(0.15, 0.3, 0.5, 0.75, 1.0))
def ghosting(images: Images, radians: float, draws: Draws) -> Images:
    """Breathing or pulsation while the lines are read: k-space line k gets phase a sin(2 pi k / n + b)."""
    period = draws.uniform((), 3, 8)[:, None]  # n; copies are shifted by multiples of 1/n of the height
    start = draws.uniform((), 0, 2 * np.pi, stream=1)[:, None]
    height = images.shape[1]
    read = (np.arange(height) + height // 2) % height  # when: from the most negative frequency up
    return _through_k_space(images, (radians * np.sin(2 * np.pi * read / period + start))[:, :, None])


@corruption("artefact", source="Batchelor et al. 2005", severities=(0.004, 0.008, 0.014, 0.022, 0.032))
def kspace_motion(images: Images, shift: float, draws: Draws) -> Images:
    """The patient moves four times while k-space is read: ringing and doubled edges."""
    height, width = images.shape[1:3]
    places = draws.uniform((5, 2), -1, 1) * shift  # as shares of the sides, constant between moves
    times = np.sort(draws.uniform((4,), 0, 1, stream=1), axis=1)
    rows, columns = np.fft.fftfreq(height), np.fft.fftfreq(width)
    read = (np.arange(height) + height // 2) % height / height  # when, see `ghosting`
    segment = (read >= times[:, :, None]).sum(axis=1)  # (images, lines)
    moved = np.take_along_axis(places, segment[..., None], axis=1)
    moved[:, np.abs(rows) < 0.05] = 0  # the central tenth is read at rest (Shaw et al. 2019)
    cycles = (moved[..., 0] * height * rows)[..., None] + (moved[..., 1] * width)[..., None] * columns
    return _through_k_space(images, -2 * np.pi * cycles)


@corruption("artefact", source="Heiland 2008", severities=(0.03, 0.06, 0.1, 0.15, 0.22))
def kspace_spike(images: Images, strength: float, draws: Draws) -> Images:
    """A discharge corrupts single points of k-space: stripes over the whole image."""
    angle = draws.uniform((2,), 0, np.pi)
    cycles = draws.uniform((2,), 0.06, 0.25, stream=1)
    start = draws.uniform((2,), 0, 2 * np.pi, stream=2)
    speed = 2 * np.pi * cycles[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    out = images.astype(np.float32)
    for k in (0, 1):  # two points, and the mirror of each
        out += 255 * strength * _waves(images, speed[:, k], start[:, k])
    return to_uint8(out)


@corruption("artefact", source="Gudbjartsson & Patz 1995", severities=(0.04, 0.07, 0.11, 0.16, 0.22))
def rician_noise(images: Images, sigma: float, draws: Draws) -> Images:
    """Noise of a magnitude image: |x + n1 + i n2| with normal n1, n2 of `sigma` of the full range."""
    real, imaginary = (draws.normal(images.shape[1:], stream, sigma=255 * sigma) for stream in (0, 1))
    return to_uint8(np.sqrt((images + real) ** 2 + imaginary**2))


def _through_k_space(images: Images, phase: NDArray) -> Images:
    """Magnitude after turning each image's spectrum by phases (images, rows, columns or 1) in radians."""

    def turned(plane: NDArray, turn: NDArray) -> NDArray:
        spectrum = cv2.dft(plane.astype(np.float32), flags=cv2.DFT_COMPLEX_OUTPUT).view(np.complex64)
        real_and_imaginary = cv2.idft((spectrum * turn[..., None]).view(np.float32), flags=cv2.DFT_SCALE)
        return cv2.convertScaleAbs(cv2.magnitude(*cv2.split(real_and_imaginary)))

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


@corruption("artefact", source="Burckhardt 1978", severities=(0.15, 0.3, 0.5, 0.75, 1.0))
def ultrasound_speckle(images: Images, share: float, draws: Draws) -> Images:
    """Fully developed speckle: the echo times a Rayleigh field of mean 1, blended in by `share`."""
    height, width = images.shape[1:3]
    sideways, deep = (max(0.3, min(height, width) / n) for n in (110, 330))  # sigma of the beam, in pixels

    def speckled(image: NDArray, parts: NDArray) -> NDArray:
        real, imaginary = (cv2.GaussianBlur(p, (0, 0), sideways, sigmaY=deep) for p in parts)
        envelope = np.sqrt(real * real + imaginary * imaginary)
        return _echo_times(image, 1 - share + share * (envelope / envelope.mean()))

    return each(images, speckled, draws.normal((2, height, width)))


@corruption("artefact", source="Kremkau & Taylor 1986", severities=(0.25, 0.4, 0.55, 0.75, 0.95))
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


@corruption("artefact", source="Hughes & Duck 1997", severities=(3, 6, 9, 14, 20))
def depth_gain(images: Images, decibel: float, draws: Draws) -> Images:
    """Attenuation with depth that the time-gain compensation did not undo: dark at the bottom."""
    return _echo_times(images, 10 ** (-decibel / 20 * np.linspace(0, 1, images.shape[1]))[None, :, None])


def _echo_times(images: Images, factor: NDArray) -> Images:
    """Images (..., H, W, C) whose echoes are multiplied by a factor (..., H, W): added to the logarithm."""
    gain = (20 * 255 / 60) * np.log10(np.maximum(factor, 1e-6))
    return to_uint8((images + gain[..., None].astype(np.float32)) * (images > 0))


@corruption("artefact", source="Hurter & Driffield 1890", severities=(0.25, 0.5, 0.75, 1.0, 1.3))
def exposure(images: Images, stops: float, draws: Draws) -> Images:
    """Overexposure by the film's characteristic curve: the logit of a grey level falls by stops log 2 * 2."""
    level = np.clip(np.arange(256) / 255, 1e-3, 1 - 1e-3)
    logit = np.log(level / (1 - level)) - 2 * np.log(2) * stops
    return apply_levels(images, np.where(np.arange(256) == 0, 0, 255 / (1 + np.exp(-logit))))


@corruption("artefact", source="Lin et al. 2006", severities=(0.05, 0.09, 0.14, 0.21, 0.3))
def grid_lines(images: Images, depth: float, draws: Draws) -> Images:
    """Lines of a stationary anti-scatter grid, aliased by the detector: fine stripes, almost upright."""
    period = draws.uniform((), 2.6, 4.5)
    tilt = np.deg2rad(draws.uniform((), -4, 4, stream=1))
    speed = 2 * np.pi / period * np.stack([np.cos(tilt), np.sin(tilt)])
    waves = _waves(images, speed.T, draws.uniform((), 0, 2 * np.pi, stream=2))
    return to_uint8(images * (waves * np.float32(-depth / 2) + np.float32(1 - depth / 2)))


@corruption("artefact", source="Boone & Seibert 1988", severities=(0.25, 0.5, 0.9, 1.5, 2.5))
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


@corruption("artefact", source="Cohen et al. 1981", severities=(4000, 1600, 700, 300, 130))
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


@corruption("artefact", source="Tellez et al. 2018", severities=(0.04, 0.08, 0.13, 0.19, 0.26), colour=True)
def stain_shift(images: Images, strength: float, draws: Draws) -> Images:
    """Another laboratory's staining: amounts of haematoxylin, eosin and DAB scaled and shifted. RGB only."""
    times = np.exp(2 * strength * draws.uniform((3,), -1, 1))
    plus = 0.1 * strength * draws.uniform((3,), -1, 1, stream=1)
    split = np.linalg.inv(_STAINS)
    density = -np.log((np.arange(256) + 1) / 256).astype(np.float32)

    def stained(image: NDArray, gain: NDArray, shift: NDArray) -> NDArray:
        mixed = np.column_stack([((split * gain) @ _STAINS).T, np.log(10) * shift @ _STAINS])
        shifted = cv2.transform(cv2.LUT(image, density), -mixed)
        return cv2.convertScaleAbs(np.maximum(256 * np.exp(shifted) - 1, 0))

    return each(images, stained, times, plus)


@corruption("artefact", source="Kang & Weiss 2000", severities=(0.4, 0.6, 0.8, 1.0, 1.3))
def vignetting(images: Images, tangent: float, draws: Draws) -> Images:
    """Light falls off to the corners as the fourth power of the cosine of the field angle."""
    height, width = images.shape[1:3]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    fall = (1 + tangent**2 * (x**2 + y**2) / 2) ** -2  # `tangent` of the angle at the corner
    return to_uint8(images * fall[..., None].astype(np.float32))


@corruption(
    "artefact", source="Di Salvo et al. 2024", severities=((7, 15), (10, 15), (12, 15), (15, 20), (17, 25))
)
def bubble(images: Images, parameters: tuple[float, int], draws: Draws) -> Images:
    """Air bubbles under the cover slip: half-transparent white discs with a lighter rim."""
    radius, number = parameters  # the largest; there are 7 or more, of 3 pixels or more
    height, width = images.shape[1:3]
    chance = draws.uniform((number, 3))
    many = 7 + (draws.uniform((), stream=1) * (number - 6)).astype(int)

    def covered(image: NDArray, spots: NDArray) -> NDArray:
        cover = np.zeros((height, width), np.uint8)
        for size, down, across in spots:
            r = float(3 + size * (radius - 3)) * draws.factor
            place = round((across * (width - 2 * r) + r) * 8), round((down * (height - 2 * r) + r) * 8)
            for extent, alpha in ((r + 2 * draws.factor, 130), (r, 100)):  # in eighths of a pixel
                cv2.circle(cover, place, round(extent * 8), (alpha,), -1, cv2.LINE_AA, shift=3)
        share = cover[..., None] / np.float32(255)
        return to_uint8(image * (1 - share) + 255 * share)

    return each(images, covered, (spots[:used] for spots, used in zip(chance, many, strict=True)))


@corruption(
    "artefact", source="Di Salvo et al. 2024", severities=((1, 24), (2, 24), (3, 24), (4, 24), (5, 32))
)
def stain_deposit(images: Images, parameters: tuple[int, float], draws: Draws) -> Images:
    """Clots of stain: black blobs at random places."""
    number, size = parameters  # the largest number, width in pixels
    height, width = images.shape[1:3]
    size = max(3.0, size * draws.factor)
    many = 1 + (draws.uniform((), stream=1) * number).astype(int)
    chance = draws.uniform((number, 2))
    waves = draws.uniform((number, 8), stream=2)
    out = images.copy()
    for result, spots, used, shapes in zip(out, chance, many, waves, strict=True):
        for (down, across), wave in zip(spots[:used], shapes, strict=False):
            middle, column = down * (height - size) + size / 2, across * (width - size) + size / 2
            top, left = max(0, int(middle - size)), max(0, int(column - size))
            part = result[top : int(middle + size) + 2, left : int(column + size) + 2]
            y, x = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]]
            turn = np.arctan2(y - middle, x - column)
            # The authors paste drawn ink marks; here a disc's radius ripples with four random waves.
            ripple = sum(wave[k] * np.cos((k + 2) * turn + 6.3 * wave[k + 4]) / (k + 2) for k in range(4))
            edge = size / 2 * (0.75 + 0.45 * ripple)
            light = 1 - np.clip(edge - np.hypot(y - middle, x - column) + 0.5, 0, 1)
            part[:] = to_uint8(part * light[..., None])
    return out


@corruption("artefact")
def black_corner(images: Images, share: float, draws: Draws) -> Images:
    """The dermatoscope's round field: black outside a centred circle of `share` of the inscribed radius."""
    height, width = images.shape[1:3]
    x, y = width // 2, height // 2
    inside = np.zeros((height, width, 1), np.uint8)
    radius = min(height - y, width - x, x, y) * share
    if draws.factor == 1:
        cv2.circle(inside, (x, y), int(radius), (255,), -1)
    else:  # a soft edge, so that a radius between pixels shows
        cv2.circle(inside, (8 * x, 8 * y), round(8 * radius), (255,), -1, cv2.LINE_AA, shift=3)
    return to_uint8(images * (inside / np.float32(255)))


@corruption("artefact")
def characters(images: Images, parameters: tuple[int, int, float], draws: Draws) -> Images:
    """Words of random letters in random colours, as cameras write over images."""
    words, letters, font = parameters  # the largest numbers, and the largest font scale at 224 pixels
    height, width, channels = images.shape[1:]
    chance = draws.uniform((words, 8))
    spelling = draws.uniform((words, 16), 0, 26, stream=1).astype(int)  # the same at every severity
    many = 1 + (draws.uniform((), stream=2) * words).astype(int)
    out = images.copy()
    for result, word, text, used in zip(out, chance, spelling, many, strict=True):
        for (length, size, down, across, *colour, _), codes in zip(word[:used], text, strict=False):
            count = 3 + int(length * (letters - 2))
            scale = (0.14 + size * (font - 0.14)) * draws.factor
            written = "".join(string.ascii_lowercase[c] for c in codes[:count])
            left = int(across * max(1, width - 8 * count * draws.factor))
            base = int((10 + down * (224 - 20)) / 224 * height)
            ink = [255 * c for c in colour[:channels]]
            cv2.putText(result, written, (left, base), cv2.FONT_HERSHEY_DUPLEX, scale, ink, 1, cv2.LINE_AA)
    return out
