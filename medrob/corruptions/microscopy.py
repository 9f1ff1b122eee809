"""Microscopy and dermoscopy: stain, dirt, bubbles, uneven light, and what cameras write over images."""

import string
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.draws import Draws, Images, each, to_uint8
from medrob.corruptions.registry import TABLES, corruption, published

_LETTERS = 16  # drawn for a word, whatever its length
_STAINS = np.array(  # optical density of haematoxylin, eosin and DAB in red, green, blue (Ruifrok & Johnston)
    [[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]]
)
_TELLEZ = "Ruifrok & Johnston 2001; Tellez et al. 2018"
artefact = partial(corruption, group="artefact", modalities=("microscopy",))
pathmnist = partial(artefact, source=TABLES["pathmnist/bubble"]["source"])


@artefact("stain_shift", source=_TELLEZ, severities=(0.04, 0.08, 0.13, 0.19, 0.26), colour=True)
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


@artefact("vignetting", source="Kang & Weiss 2000", severities=(0.4, 0.6, 0.8, 1.0, 1.3))
def vignetting(images: Images, tangent: float, draws: Draws) -> Images:
    """Light falls off to the corners as the fourth power of the cosine of the field angle."""
    height, width = images.shape[1:3]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    fall = (1 + tangent**2 * (x**2 + y**2) / 2) ** -2  # `tangent` of the angle at the corner
    return to_uint8(images * fall[..., None].astype(np.float32))


@published(group="artefact")
@pathmnist("bubble", severities=TABLES["pathmnist/bubble"]["severities"])
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


@published(group="artefact")
@pathmnist("stain_deposit", severities=TABLES["pathmnist/stain_deposit"]["severities"])
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


@published(group="artefact")
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


@published(group="artefact")
def characters(images: Images, parameters: tuple[int, int, float], draws: Draws) -> Images:
    """Words of random letters in random colours, as cameras write over images."""
    words, letters, font = parameters  # the largest numbers, and the largest font scale at 224 pixels
    height, width, channels = images.shape[1:]
    chance = draws.uniform((words, 8))
    spelling = draws.uniform((words, _LETTERS), 0, 26, stream=1).astype(int)  # the same at every severity
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
