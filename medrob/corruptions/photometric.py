"""Changes of grey level and colour that keep every pixel where it is."""

import cv2
import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.draws import Draws, look_up

Images = NDArray[np.uint8]


def brightness(images: Images, shift: float, draws: Draws) -> Images:
    """Add `shift` (of the full range) to the HSV value; hue and saturation stay, black turns grey.

    For grey images that is x + shift, clipped. Hendrycks & Dietterich (2019).
    """
    levels = np.arange(256)
    raised = np.minimum(levels + 255 * shift, 255)
    if images.shape[-1] == 1:
        return apply_levels(images, raised)
    table = levels * (raised / np.maximum(levels, 1))[:, None]  # (value, channel)
    table[0] = raised[0]
    value = _largest(images).astype(np.uint16) << 8
    return look_up(to_uint8(table).ravel(), value[..., None] | images)


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
    return np.rint(out, out=out).astype(np.uint8).reshape(images.shape)


def saturate(images: Images, parameters: tuple[float, float], draws: Draws) -> Images:
    """HSV saturation becomes s mul + add, clipped to 1; `parameters` is (mul, add). RGB only.

    Grey pixels count as red of saturation 0, so that add > 0 reddens them. Hendrycks & Dietterich (2019).
    """
    times, plus = parameters
    largest, smallest = (
        _largest(images),
        np.minimum(np.minimum(images[..., 0], images[..., 1]), images[..., 2]),
    )
    value, least = np.mgrid[:256, :256]
    saturation = np.clip((value - least) / np.maximum(value, 1), 0, 1)
    wanted = np.clip(saturation * times + plus, 0, 1)
    stretch = np.where(value > least, wanted / np.maximum(saturation, 1e-9), 0).astype(np.float32)
    pixel = look_up(stretch.ravel(), (largest.astype(np.uint16) << 8) | smallest)
    top = largest[..., None].astype(np.float32)
    out = top - (top - images) * pixel[..., None]
    if plus > 0:
        grey = np.where(largest == smallest, np.float32(1 - min(plus, 1)), np.float32(1))
        out[..., 1:] *= grey[..., None]
    return to_uint8(out)


def enhance_brightness(images: Images, factor: float, draws: Draws) -> Images:
    """Multiply by `factor`, clip.

    Di Salvo et al. (2024), who use Pillow's ImageEnhance; rounded here where Pillow truncates.
    """
    return apply_levels(images, factor * np.arange(256))


def enhance_contrast(images: Images, factor: float, draws: Draws) -> Images:
    """Scale about the mean grey level of the whole image by `factor`, clip.

    Di Salvo et al. (2024), who use Pillow's ImageEnhance; rounded here where Pillow truncates.
    """
    out = np.empty_like(images)
    for image, result in zip(images, out, strict=True):
        grey = image if image.shape[-1] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        mean = int(cv2.mean(grey)[0] + 0.5)
        result[:] = apply_levels(image, mean + factor * (np.arange(256) - mean))
    return out


def gamma(images: Images, exponent: float, draws: Draws) -> Images:
    """Grey levels to the power of `exponent` on 0..1; above 1 darkens.

    Di Salvo et al. (2024).
    """
    return apply_levels(images, 255 * (np.arange(256) / 255) ** exponent)


def saturate_more(images: Images, plus: float, draws: Draws) -> Images:
    """Add `plus` to the HSV saturation, clipped to 1. RGB only.

    Di Salvo et al. (2024).
    """
    return saturate(images, (1, plus), draws)


def apply_levels(images: Images, levels: NDArray) -> Images:
    """Every value replaced by levels[value], rounded and clipped."""
    out = np.empty_like(images)
    cv2.LUT(images.reshape(len(images), -1), to_uint8(levels), dst=out.reshape(len(images), -1))
    return out


def _largest(images: Images) -> Images:
    """The HSV value: the largest of the three channels."""
    return np.maximum(np.maximum(images[..., 0], images[..., 1]), images[..., 2])


def to_uint8(values: NDArray) -> NDArray[np.uint8]:
    """Round to the nearest grey level and clip to 0..255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
