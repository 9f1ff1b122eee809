"""Blurs: each pixel becomes a weighted mean of its neighbours."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.draws import Draws, look_up

Images = NDArray[np.uint8]


def motion_blur(images: Images, parameters: tuple[float, float], draws: Draws) -> Images:
    """Motion along a line at an angle of U(-45, 45) degrees, weights half a Gaussian.

    `parameters` is (radius, sigma) in pixels. Borders are replicated. Hendrycks & Dietterich (2019); the
    path is the one of imagecorruptions (Michaelis 2019), which takes whole-pixel steps.
    """
    angles = draws.uniform((), -45, 45)
    radius, sigma = parameters
    out = np.empty_like(images)
    for image, result, angle in zip(images, out, angles, strict=True):
        kernel, anchor = motion_kernel(radius, sigma, float(angle), draws.factor)
        cv2.filter2D(image, -1, kernel, dst=result, anchor=anchor, borderType=cv2.BORDER_REPLICATE)
    return out


def motion_kernel(
    radius: float, sigma: float, angle: float, factor: float = 1.0
) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """The kernel (cropped to its support) of a motion at `angle` degrees and its anchor (x, y).

    Weight exp(-s^2 / 2 sigma^2) at distance s from the anchor, up to s = 2 radius, in pixels. With a
    `factor` other than 1 both lengths are multiplied by it and the line is drawn with sub-pixel steps.
    """
    steps = np.arange(int(2 * radius) + 1.0)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    weights /= weights.sum()
    kept = weights.cumsum() < 0.9995  # the tail weighs less than an eighth of a grey level
    kept[0] = True
    weights = weights[: kept.sum() + 1] / weights[: kept.sum() + 1].sum()
    steps = steps[: len(weights)]
    x, y = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    if factor == 1:
        columns, rows = np.ceil(steps * x - 0.5).astype(int), np.ceil(steps * y - 0.5).astype(int)
        points = [(rows, columns, weights)]
    else:
        points = _between_pixels(steps * (factor * y), steps * (factor * x), weights)
    top, left = min(r.min() for r, _, _ in points), min(c.min() for _, c, _ in points)
    bottom, right = max(r.max() for r, _, _ in points), max(c.max() for _, c, _ in points)
    kernel = np.zeros((bottom - top + 1, right - left + 1), np.float32)
    for rows, columns, share in points:
        np.add.at(kernel, (rows - top, columns - left), share.astype(np.float32))
    return kernel, (int(-left), int(-top))


def gaussian_blur(images: Images, sigma: float, draws: Draws) -> Images:
    """Isotropic Gaussian blur, sigma in pixels, cut at 4 sigma, borders replicated.

    Hendrycks & Dietterich (2019).
    """
    sigma *= draws.factor
    return _separable(images, cv2.getGaussianKernel(2 * int(4 * sigma + 0.5) + 1, sigma, cv2.CV_32F))


def kernel_blur(images: Images, width: int, draws: Draws) -> Images:
    """Gaussian blur with a kernel `width` pixels wide, sigma 0.3 ((width - 1) / 2 - 1) + 0.8.

    Where lengths are scaled, sigma is, and the kernel is the discrete Gaussian (Lindeberg 1990), whose
    variance stays sigma^2 below one pixel. Di Salvo et al. (2024).
    """
    sigma = 0.3 * ((width - 1) / 2 - 1) + 0.8
    if draws.factor == 1:
        return _separable(images, cv2.getGaussianKernel(width, sigma, cv2.CV_32F), cv2.BORDER_REFLECT_101)
    return _separable(images, _discrete_gaussian(sigma * draws.factor), cv2.BORDER_REFLECT_101)


def _separable(images: Images, kernel: NDArray, border: int = cv2.BORDER_REPLICATE) -> Images:
    out = np.empty_like(images)
    for image, result in zip(images, out, strict=True):
        cv2.sepFilter2D(image, -1, kernel, kernel, dst=result, borderType=border)
    return out


@lru_cache(maxsize=64)
def _discrete_gaussian(sigma: float) -> NDArray[np.float32]:
    """exp(-t) I_n(t), t = sigma^2, by its Fourier transform exp(t (cos w - 1))."""
    radius = int(5 * sigma) + 2
    length = 64 * radius
    values = np.fft.irfft(np.exp(sigma**2 * (np.cos(2 * np.pi * np.arange(length // 2 + 1) / length) - 1)))
    kernel = np.concatenate([values[-radius:], values[: radius + 1]])
    return (kernel / kernel.sum()).astype(np.float32)


def defocus_blur(images: Images, parameters: tuple[float, float], draws: Draws) -> Images:
    """Blur by the disc of an unfocused lens; `parameters` is (radius, softening sigma) in pixels.

    Hendrycks & Dietterich (2019). Where lengths are scaled, the disc is drawn with sub-pixel edges.
    """
    radius, softening = parameters
    kernel = disc_kernel(radius, softening, draws.factor)
    out = np.empty_like(images)
    for image, result in zip(images, out, strict=True):
        cv2.filter2D(image, -1, kernel, dst=result)
    return out


@lru_cache(maxsize=64)
def disc_kernel(radius: float, softening: float, factor: float = 1.0) -> NDArray[np.float32]:
    """The disc as a kernel, cropped to its support. Both lengths in pixels, times `factor`."""
    if factor == 1:
        reach = 8 if radius <= 8 else int(radius)
        steps = np.arange(-reach, reach + 1)
        disc = (steps[:, None] ** 2 + steps**2 <= radius**2).astype(np.float32)
        width = 3 if radius <= 8 else 5
        kernel = np.asarray(cv2.GaussianBlur(disc / disc.sum(), (width, width), softening))
    else:
        reach, fine = int(np.ceil(radius * factor)) + 1, 32
        steps = np.arange(-(reach + 1) * fine, (reach + 1) * fine + 1)
        disc = (steps[:, None] ** 2 + steps**2 <= (radius * factor * fine) ** 2).astype(np.float32)
        soft = cv2.GaussianBlur(disc, (0, 0), max(softening * factor * fine, 1e-3))
        triangle = 1 - np.abs(np.arange(1 - fine, fine)) / fine  # between pixels the image is linear
        kernel = np.asarray(cv2.sepFilter2D(soft, -1, triangle, triangle))[fine:-fine:fine, fine:-fine:fine]
        kernel = kernel / kernel.sum()
    used = np.flatnonzero(kernel.max(0) > 1e-5)
    crop = slice(int(used[0]), int(used[-1]) + 1)
    return np.ascontiguousarray(np.where(kernel > 1e-7, kernel, 0)[crop, crop])


def glass_blur(images: Images, parameters: tuple[float, int, int], draws: Draws) -> Images:
    """Look through rough glass: blur, swap pixels with near ones, blur.

    `parameters` is (sigma, largest offset, iterations), lengths in pixels. Hendrycks & Dietterich (2019).
    As in imagecorruptions, a pixel takes its neighbour's value in raster order from the last pixel on, so
    that a neighbour met earlier hands on what it took; here those chains are followed for all at once.
    """
    sigma, offset, iterations = parameters
    sigma, offset = sigma * draws.factor, max(1, round(offset * draws.factor))
    kernel = cv2.getGaussianKernel(2 * int(4 * sigma + 0.5) + 1, sigma, cv2.CV_32F)
    out = _separable(images, kernel)
    for iteration in range(iterations):
        out = _shuffle(out, offset, draws.bits(images.shape[1:3], stream=iteration))
    return _separable(out, kernel)


def _shuffle(images: Images, offset: int, field: NDArray[np.uint16]) -> Images:
    """Each inner pixel takes the value at a random offset in [-offset, offset) per axis."""
    count, height, width, channels = images.shape
    steps = np.zeros((count, height, width), np.int32)
    inner = np.s_[:, offset + 1 : height - offset + 1, offset + 1 : width - offset + 1]
    steps[inner] = look_up(_jumps(offset, width), np.ascontiguousarray(field[inner]))
    here = np.arange(steps.size, dtype=np.int32)
    taken = here + steps.ravel()
    source = taken.copy()
    moving = np.flatnonzero(taken > here)  # their neighbour was visited before and may have changed
    at = taken[moving]
    while len(moving):
        following = taken[at]
        source[moving] = following
        again = following > at
        moving, at = moving[again], following[again]
    if channels == 1:
        return images.reshape(-1).take(source).reshape(images.shape)
    four = np.asarray(cv2.cvtColor(images.reshape(-1, width, 3), cv2.COLOR_RGB2RGBA)).reshape(-1, 4)
    moved = four.view(np.uint32).take(source).view(np.uint8).reshape(count * height, width, 4)
    out = np.empty_like(images)
    cv2.cvtColor(moved, cv2.COLOR_RGBA2RGB, dst=out.reshape(count * height, width, 3))
    return out


@lru_cache(maxsize=16)
def _jumps(offset: int, width: int) -> NDArray[np.int32]:
    """Distance in raster order for each of 65,536 values: both axes even over [-offset, offset)."""
    down, right = np.divmod(np.arange(65536) * (2 * offset) ** 2 // 65536, 2 * offset)
    return ((down - offset) * width + right - offset).astype(np.int32)


def zoom_blur(images: Images, parameters: tuple[float, float], draws: Draws) -> Images:
    """Mean of the image and of copies zoomed by 1, 1 + step, ... up to stop; `parameters` is (stop, step).

    Hendrycks & Dietterich (2019), with the zoom of imagecorruptions, which keeps the upper left corner.
    """
    zooms = np.arange(1, *parameters)
    maps = [zoom_maps(*images.shape[1:3], float(zoom)) for zoom in zooms]
    out = np.empty_like(images)
    for image, result in zip(images, out, strict=True):
        total = image.reshape(image.shape[:2] + image.shape[2:] * (image.shape[2] > 1)).astype(np.float32)
        source = total.copy()
        for positions, fractions in maps:
            total += cv2.remap(source, positions, fractions, cv2.INTER_LINEAR)
        total /= len(zooms) + 1
        result[:] = np.rint(total, out=total).reshape(result.shape)
    return out


@lru_cache(maxsize=128)
def zoom_maps(height: int, width: int, zoom: float) -> tuple[NDArray, NDArray]:
    """Fixed-point maps for cv2.remap that zoom into the middle, as scipy.ndimage.zoom of the crop does."""
    axes = []
    for length in (height, width):
        crop = int(np.ceil(length / zoom))
        step = (crop - 1) / max(round(crop * zoom) - 1, 1)
        axes.append((length - crop) // 2 + np.arange(length) * step)
    rows, columns = np.meshgrid(*axes, indexing="ij")
    return cv2.convertMaps(columns.astype(np.float32), rows.astype(np.float32), cv2.CV_16SC2)


def _between_pixels(
    y: NDArray, x: NDArray, weights: NDArray
) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray]]:
    """Split weights at sub-pixel positions bilinearly: four (rows, columns, weights)."""
    row, column = np.floor(y).astype(int), np.floor(x).astype(int)
    down, right = y - row, x - column
    return [
        (row, column, weights * (1 - down) * (1 - right)),
        (row + 1, column, weights * down * (1 - right)),
        (row, column + 1, weights * (1 - down) * right),
        (row + 1, column + 1, weights * down * right),
    ]
