"""What corruptions share: rounding to grey levels, tables of grey levels, one image after the other."""

from collections.abc import Callable, Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # (N, H, W, C), C 1 or 3


def to_uint8(values: NDArray) -> Images:
    """Round to the nearest grey level and clip to 0..255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def apply_levels(images: Images, levels: NDArray) -> Images:
    """Every value replaced by levels[value], rounded and clipped."""
    out = np.empty_like(images)
    cv2.LUT(images.reshape(len(images), -1), to_uint8(levels), dst=out.reshape(len(images), -1))
    return out


def each(images: NDArray, change: Callable[..., Any], *values: Iterable[Any]) -> NDArray:
    """``change(image, *its values)`` for one image after the other.

    `change` may drop the axis of a single channel, as OpenCV does.
    """
    out = np.empty_like(images)
    for image, result, *own in zip(images, out, *values, strict=True):
        result[:] = change(image, *own).reshape(result.shape)
    return out
