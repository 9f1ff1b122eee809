"""Ultrasound: coherent speckle, shadows and depth gain. The probe is at the upper edge.

A grey level is taken as B-mode shows it, the logarithm of the echo's amplitude: 255 is the strongest echo, 0
lies 60 dB or more below it (Szabo 2014, Diagnostic Ultrasound Imaging, ch. 10). What multiplies the amplitude
is added to the grey level, and what was black stays black.
"""

from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.draws import Draws
from medrob.corruptions.pixels import Images, each, to_uint8
from medrob.corruptions.registry import corruption

_RANGE = 60.0  # decibels from black to white
artefact = partial(corruption, group="artefact", modalities=("ultrasound",))


@artefact("ultrasound_speckle", source="Burckhardt 1978", severities=(0.15, 0.3, 0.5, 0.75, 1.0))
def ultrasound_speckle(images: Images, share: float, draws: Draws) -> Images:
    """Fully developed speckle: the echo times a Rayleigh field of mean 1, blended in by `share`.

    The field is the size of a complex normal field blurred by the beam, three times as wide sideways as in
    depth (sigma 1/110 and 1/330 of the shorter side, 0.3 pixels or more). Burckhardt (1978).
    """
    height, width = images.shape[1:3]
    sideways, deep = (max(0.3, min(height, width) / n) for n in (110, 330))

    def speckled(image: NDArray, parts: NDArray) -> NDArray:
        real, imaginary = (np.asarray(cv2.GaussianBlur(p, (0, 0), sideways, sigmaY=deep)) for p in parts)
        envelope = np.sqrt(real * real + imaginary * imaginary)
        envelope /= envelope.mean()
        return _echo_times(image, 1 - share + share * envelope)

    return each(images, speckled, draws.normal((2, height, width)))


@artefact("acoustic_shadow", source="Kremkau & Taylor 1986", severities=(0.25, 0.4, 0.55, 0.75, 0.95))
def acoustic_shadow(images: Images, loss: float, draws: Draws) -> Images:
    """A stone or rib stops the beam: a fan of darkness below a random point.

    `loss` is the share of the echo's amplitude that is lost in the middle of the shadow; its edges are
    soft. Kremkau & Taylor (1986).
    """
    height, width = images.shape[1:3]
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    column, depth, half = (
        draws.uniform((), low, high, stream=k)[:, None, None]
        for k, (low, high) in enumerate(((0.2, 0.8), (0.08, 0.4), (0.04, 0.09)))
    )
    axis = 0.5 + (column - 0.5) * (y + 0.6) / (depth + 0.6)  # rays leave a point above the image
    edge = half * (y + 0.6) / (depth + 0.6)
    across = 1 / (1 + np.exp((np.abs(x - axis) - edge) / 0.02))
    below = 1 / (1 + np.exp(-(y - depth) / 0.015))
    return _echo_times(images, 1 - loss * across * below)


@artefact("depth_gain", source="Hughes & Duck 1997", severities=(3, 6, 9, 14, 20))
def depth_gain(images: Images, decibel: float, draws: Draws) -> Images:
    """Attenuation with depth that the time-gain compensation did not undo: dark at the bottom.

    `decibel` is the loss at the lower edge, growing evenly with depth. Hughes & Duck (1997).
    """
    fall = 10 ** (-decibel / 20 * np.linspace(0, 1, images.shape[1]))
    return _echo_times(images, fall[None, :, None])


def _echo_times(images: Images, factor: NDArray) -> Images:
    """Images (..., H, W, C) whose echoes are multiplied by a factor (..., H, W), as displayed."""
    gain = (20 * 255 / _RANGE) * np.log10(np.maximum(factor, 1e-6))
    return to_uint8((images + gain[..., None].astype(np.float32)) * (images > 0))
