"""Changes of grey level and colour that keep every pixel where it is."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.draws import Draws, look_up
from medrob.corruptions.pixels import Images, apply_levels, each
from medrob.corruptions.registry import imagenet_c, medmnist_c


@imagenet_c("brightness", group="photometric")
def brightness(images: Images, shift: float, draws: Draws) -> Images:
    """Add `shift` (of the full range) to the HSV value; hue and saturation stay, black turns grey.

    For grey images that is x + shift, clipped. Hendrycks & Dietterich (2019).
    """
    levels = np.arange(256)
    raised = np.minimum(levels + 255 * shift, 255)
    if images.shape[-1] == 1:
        return apply_levels(images, raised)
    gains = (raised / np.maximum(levels, 1)).astype(np.float32)
    planes, value, _ = _hsv(images)
    gain = cv2.LUT(value, gains)
    lift = (value == 0) * np.uint8(round(raised[0]))
    planes = [cv2.add(cv2.multiply(plane, gain, dtype=cv2.CV_8U), lift) for plane in planes]
    return np.asarray(cv2.merge(planes), np.uint8).reshape(images.shape)


@imagenet_c("contrast", group="photometric")
def contrast(images: Images, factor: float, draws: Draws) -> Images:
    """Scale each channel about its mean over the image by `factor`.

    Hendrycks & Dietterich (2019).
    """
    count, height, width, channels = images.shape
    sums = images.reshape(count, height, -1).sum(axis=1, dtype=np.uint32)
    means = sums.reshape(count, width, channels).mean(axis=1) / height
    offsets = np.tile((1 - factor) * means, (1, width)).astype(np.float32)[:, None]
    out = images.reshape(count, height, -1) * np.float32(factor)
    out += offsets
    return np.asarray(cv2.convertScaleAbs(out.reshape(count, -1)), np.uint8).reshape(images.shape)


@imagenet_c("saturate", group="photometric", colour=True)
def saturate(images: Images, parameters: tuple[float, float], draws: Draws) -> Images:
    """HSV saturation becomes s mul + add, clipped to 1; `parameters` is (mul, add). RGB only.

    Grey pixels count as red of saturation 0, so that add > 0 reddens them. Hendrycks & Dietterich (2019).
    """
    times, plus = parameters
    planes, largest, smallest = _hsv(images)
    both = cv2.merge([smallest, largest]).view("<u2")[..., 0]
    stretch = look_up(_stretches(times, plus), both)
    distances = (cv2.subtract(largest, plane) for plane in planes)  # from the largest channel
    planes = [cv2.subtract(largest, cv2.multiply(d, stretch, dtype=cv2.CV_8U)) for d in distances]
    if plus > 0:
        grey = (largest == smallest) * cv2.convertScaleAbs(largest, alpha=min(plus, 1))
        planes[1:] = [cv2.subtract(plane, grey) for plane in planes[1:]]
    return np.asarray(cv2.merge(planes), np.uint8).reshape(images.shape)


@lru_cache(maxsize=32)
def _stretches(times: float, plus: float) -> NDArray[np.float32]:
    """New saturation over old for each 256 largest + smallest channel."""
    value, least = np.mgrid[:256, :256]
    saturation = (value - least) / np.maximum(value, 1)
    wanted = np.clip(saturation * times + plus, 0, 1)
    return np.where(value > least, wanted / np.maximum(saturation, 1e-9), 0).astype(np.float32).ravel()


@medmnist_c("brightness_up", "brightness_down", group="photometric")
def enhance_brightness(images: Images, factor: float, draws: Draws) -> Images:
    """Multiply by `factor`, clip.

    Di Salvo et al. (2024), who use Pillow's ImageEnhance; rounded here where Pillow truncates.
    """
    return apply_levels(images, factor * np.arange(256))


@medmnist_c("contrast_up", "contrast_down", group="photometric")
def enhance_contrast(images: Images, factor: float, draws: Draws) -> Images:
    """Scale about the mean grey level of the whole image by `factor`, clip.

    Di Salvo et al. (2024), who use Pillow's ImageEnhance; rounded here where Pillow truncates.
    """

    def about_mean(image: NDArray) -> NDArray:
        grey = image if image.shape[-1] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        mean = int(cv2.mean(grey)[0] + 0.5)
        return apply_levels(image, mean + factor * (np.arange(256) - mean))

    return each(images, about_mean)


@medmnist_c("gamma_corr_up", "gamma_corr_down", group="photometric")
def gamma(images: Images, exponent: float, draws: Draws) -> Images:
    """Grey levels to the power of `exponent` on 0..1; above 1 darkens.

    Di Salvo et al. (2024).
    """
    return apply_levels(images, 255 * (np.arange(256) / 255) ** exponent)


@medmnist_c("saturate", group="photometric", colour=True)
def saturate_more(images: Images, plus: float, draws: Draws) -> Images:
    """Add `plus` to the HSV saturation, clipped to 1. RGB only.

    Di Salvo et al. (2024).
    """
    return saturate(images, (1, plus), draws)


def _hsv(images: Images) -> tuple[list[NDArray], NDArray, NDArray]:
    """The three channels of all images, one under the other, with their maximum (HSV value) and minimum."""
    planes = list(cv2.split(images.reshape(-1, *images.shape[2:])))
    return planes, cv2.max(cv2.max(*planes[:2]), planes[2]), cv2.min(cv2.min(*planes[:2]), planes[2])
