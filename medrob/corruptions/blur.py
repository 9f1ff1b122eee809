"""Blurs: each pixel becomes a weighted mean of its neighbours."""

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.draws import Draws, look_up
from medrob.corruptions.pixels import Images, each
from medrob.corruptions.registry import imagenet_c, medmnist_c

Piece = tuple[NDArray[np.float32], int, int]  # part of a kernel, and the column and row of its first point

_DIRECT = 110  # kernels with fewer points than 130 are summed point by point by OpenCV


@medmnist_c("motion_blur", group="blur")
@imagenet_c("motion_blur", group="blur")
def motion_blur(images: Images, parameters: tuple[float, float], draws: Draws) -> Images:
    """Motion along a line at an angle of U(-45, 45) degrees, weights half a Gaussian.

    `parameters` is (radius, sigma) in pixels. Borders are replicated. Hendrycks & Dietterich (2019); the
    path is the one of imagecorruptions (Michaelis 2019), which takes whole-pixel steps.
    """
    return each(images, smear, motion_lines(*parameters, draws.uniform((), -45, 45), draws.factor))


def smear(image: NDArray[np.uint8], line: list[Piece]) -> NDArray:
    """The image blurred by a line of `motion_lines`. Borders are replicated."""
    if len(line) == 1:
        kernel, left, top = line[0]
        return cv2.filter2D(image, -1, kernel, anchor=(-left, -top), borderType=cv2.BORDER_REPLICATE)
    height, width = image.shape[:2]
    first_row, first_column = min(top for _, _, top in line), min(left for _, left, _ in line)
    last_row = max(top + len(kernel) for kernel, _, top in line)
    last_column = max(left + kernel.shape[1] for kernel, left, _ in line)
    edges = (-first_row, last_row - 1, -first_column, last_column - 1)
    wide = cv2.copyMakeBorder(image, *edges, cv2.BORDER_REPLICATE)
    total = np.zeros((0, 0), np.int16)
    for kernel, left, top in line:
        rows = slice(top - first_row, top - first_row + height + len(kernel) - 1)
        columns = slice(left - first_column, left - first_column + width + kernel.shape[1] - 1)
        part = cv2.filter2D(wide[rows, columns], cv2.CV_16S, kernel * 64, anchor=(0, 0))[:height, :width]
        total = np.asarray(cv2.add(total, part, dst=total) if total.size else part)
    return cv2.convertScaleAbs(total, alpha=1 / 64)


def motion_lines(radius: float, sigma: float, angles: NDArray, factor: float = 1.0) -> Iterator[list[Piece]]:
    """For each angle (degrees) the kernel of a motion, in pieces along the line.

    Weight exp(-s^2 / 2 sigma^2) at distance s from the start, up to s = 2 radius, in pixels. With a `factor`
    other than 1 both lengths are multiplied by it and the line is drawn with sub-pixel steps. Pieces are so
    small that OpenCV sums their few points rather than transform the image, which is twice as fast.
    """
    steps, weights = _half_gaussian(radius, sigma)
    y, x = (np.outer(f(np.deg2rad(angles)), steps * factor) for f in (np.sin, np.cos))
    if factor == 1:
        rows, columns = np.ceil(y - 0.5).astype(int), np.ceil(x - 0.5).astype(int)
        shares = np.broadcast_to(weights, rows.shape)[:, None]
    else:
        rows, columns = np.floor(y).astype(int), np.floor(x).astype(int)
        down, right = y - rows, x - columns
        shares = weights * np.stack(
            [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], axis=1
        )
    for line in zip(rows, columns, shares, strict=True):
        yield _pieces(*line)


def _pieces(rows: NDArray[np.int64], columns: NDArray[np.int64], shares: NDArray) -> list[Piece]:
    """Kernels of a line's points; four rows of shares: a point's, its neighbours' right and below."""
    spread = int(len(shares) > 1)
    length = len(rows)
    area = (abs(rows.item(-1)) + 1 + spread) * (abs(columns.item(-1)) + 1 + spread)
    count = math.ceil((area / _DIRECT) ** 0.5)
    line = []
    for start, stop in pairwise(length * k // count for k in range(count + 1)):
        y, x = rows[start:stop], columns[start:stop]
        top, bottom = sorted((y.item(0), y.item(-1)))
        left, right = sorted((x.item(0), x.item(-1)))
        height, width = bottom - top + 1 + spread, right - left + 1 + spread
        places = (y - top) * width + (x - left)
        if spread:
            places = np.add.outer((0, 1, width, width + 1), places).ravel()
        kernel = np.bincount(places, shares[:, start:stop].ravel(), height * width)
        line.append((kernel.reshape(height, width).astype(np.float32), left, top))
    return line


@lru_cache(maxsize=64)
def _half_gaussian(radius: float, sigma: float) -> tuple[NDArray, NDArray]:
    """Distances 0, 1, ... and their weights, less a tail that weighs under an eighth of a grey level."""
    steps = np.arange(int(2 * radius) + 1.0)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    weights /= weights.sum()
    kept = max(1, int((weights.cumsum() < 0.9995).sum())) + 1
    return steps[:kept], weights[:kept] / weights[:kept].sum()


@imagenet_c("gaussian_blur", group="blur")
def gaussian_blur(images: Images, sigma: float, draws: Draws) -> Images:
    """Isotropic Gaussian blur, sigma in pixels, borders replicated.

    Cut at 3.5 sigma: what lies beyond weighs an eighth of a grey level. Hendrycks & Dietterich (2019).
    """
    sigma *= draws.factor
    return _separable(images, cv2.getGaussianKernel(2 * int(3.5 * sigma + 0.5) + 1, sigma, cv2.CV_32F))


@medmnist_c("gaussian_blur", group="blur")
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
    return each(images, lambda image: cv2.sepFilter2D(image, -1, kernel, kernel, borderType=border))


@lru_cache(maxsize=64)
def _discrete_gaussian(sigma: float) -> NDArray[np.float32]:
    """exp(-t) I_n(t), t = sigma^2, by its Fourier transform exp(t (cos w - 1))."""
    radius = int(5 * sigma) + 2
    length = 64 * radius
    values = np.fft.irfft(np.exp(sigma**2 * (np.cos(2 * np.pi * np.arange(length // 2 + 1) / length) - 1)))
    kernel = np.concatenate([values[-radius:], values[: radius + 1]])
    return (kernel / kernel.sum()).astype(np.float32)


@medmnist_c("defocus_blur", group="blur")
@imagenet_c("defocus_blur", group="blur")
def defocus_blur(images: Images, parameters: tuple[float, float], draws: Draws) -> Images:
    """Blur by the disc of an unfocused lens; `parameters` is (radius, softening sigma) in pixels.

    Hendrycks & Dietterich (2019). Where lengths are scaled, the disc is drawn with sub-pixel edges.
    """
    kernel = disc_kernel(*parameters, draws.factor)
    return each(images, lambda image: cv2.filter2D(image, -1, kernel))


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


@imagenet_c("glass_blur", group="blur")
def glass_blur(images: Images, parameters: tuple[float, int, int], draws: Draws) -> Images:
    """Look through rough glass: blur, swap pixels with near ones, blur.

    `parameters` is (sigma, largest offset, iterations), lengths in pixels. Hendrycks & Dietterich (2019).
    As in imagecorruptions, a pixel takes its neighbour's value in raster order from the last pixel on, so
    that a neighbour met earlier hands on what it took; here those chains are followed for all at once.
    """
    sigma, offset, iterations = parameters
    sigma, offset = sigma * draws.factor, max(1, round(offset * draws.factor))
    kernel = cv2.getGaussianKernel(2 * int(4 * sigma + 0.5) + 1, sigma, cv2.CV_32F)
    fields = (draws.bits(images.shape[1:3], stream=iteration) for iteration in range(iterations))
    return _separable(_taken(_separable(images, kernel), shuffled(fields, offset)), kernel)


def shuffled(fields: Iterable[NDArray[np.uint16]], offset: int) -> NDArray[np.int64]:
    """Which pixel each pixel shows after swaps by random fields (images, rows, columns), as flat indices.

    In each round every inner pixel takes the value at a random offset in [-offset, offset) per axis.
    """
    source: NDArray | None = None
    for field in fields:
        height, width = field.shape[1:]
        here = np.arange(field.size)
        taken = here.copy()
        inner = np.s_[:, offset + 1 : height - offset + 1, offset + 1 : width - offset + 1]
        jumps = look_up(_jumps(offset, width), np.ascontiguousarray(field[inner]))
        taken.reshape(field.shape)[inner] += jumps
        ends = np.maximum(taken, here)  # a later neighbour was visited before and may have changed
        for _ in range(2):
            ends = ends.take(ends)  # follow it, twice as far each time
        last = taken.take(ends)
        longer = np.flatnonzero(last > ends)
        while longer.size:
            ends[longer] = last[longer]
            last[longer] = taken.take(ends[longer])
            longer = longer[last[longer] > ends[longer]]
        source = last if source is None else source.take(last)
    assert source is not None
    return source


def _taken(images: Images, source: NDArray[np.int64]) -> Images:
    """The pixels of all images at flat indices."""
    if images.shape[-1] == 1:
        return images.reshape(-1).take(source).reshape(images.shape)
    tall = images.reshape(-1, *images.shape[2:])
    four = np.asarray(cv2.cvtColor(tall, cv2.COLOR_RGB2RGBA))
    moved = four.reshape(-1, 4).view(np.uint32).take(source).view(np.uint8).reshape(four.shape)
    return np.asarray(cv2.cvtColor(moved, cv2.COLOR_RGBA2RGB), np.uint8).reshape(images.shape)


@lru_cache(maxsize=16)
def _jumps(offset: int, width: int) -> NDArray[np.int32]:
    """Distance in raster order for each of 65,536 values: both axes even over [-offset, offset)."""
    down, right = np.divmod(np.arange(65536) * (2 * offset) ** 2 // 65536, 2 * offset)
    return ((down - offset) * width + right - offset).astype(np.int32)


@medmnist_c("zoom_blur", group="blur")
@imagenet_c("zoom_blur", group="blur")
def zoom_blur(images: Images, parameters: tuple[float, float], draws: Draws) -> Images:
    """Mean of the image and of copies zoomed by 1, 1 + step, ... up to stop; `parameters` is (stop, step).

    Hendrycks & Dietterich (2019), with the zoom of imagecorruptions, which keeps the upper left corner.
    """
    zooms = np.arange(1, *parameters)
    maps = [zoom_maps(*images.shape[1:3], float(zoom)) for zoom in zooms]

    def zoomed(image: NDArray) -> NDArray:
        source = image.reshape(image.shape[:2] + image.shape[2:] * (image.shape[2] > 1)).astype(np.float32)
        total = source.copy()
        for positions, fractions in maps:
            total += cv2.remap(source, positions, fractions, cv2.INTER_LINEAR)
        total /= len(zooms) + 1
        return np.rint(total)

    return each(images, zoomed)


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
