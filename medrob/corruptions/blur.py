"""Blurs: each pixel becomes a weighted mean of its neighbours. Lengths are pixels."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.draws import Draws, Images, each, look_up
from medrob.corruptions.registry import corruption


@corruption("blur")
def motion_blur(images: Images, parameters: tuple[float, float], draws: Draws) -> Images:
    """Motion along a line at an angle of U(-45, 45) degrees, weights half a Gaussian."""
    return each(images, smear, motion_lines(*parameters, draws.uniform((), -45, 45), draws.factor))


def smear(image: NDArray, line: list[Any]) -> NDArray:
    """The image blurred by a line of `motion_lines`: kernels, column and row of their first points."""
    if len(line) == 1:
        kernel, left, top = line[0]
        return cv2.filter2D(image, -1, kernel, anchor=(-left, -top), borderType=cv2.BORDER_REPLICATE)
    height, width = image.shape[:2]
    edge = max(abs(reach) for k, x, y in line for reach in (x, y, x + k.shape[1] - 1, y + len(k) - 1))
    wide = cv2.copyMakeBorder(image, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
    total: Any = None
    for kernel, left, top in line:
        rows = slice(edge + top, edge + top + height + len(kernel) - 1)
        columns = slice(edge + left, edge + left + width + kernel.shape[1] - 1)
        part = cv2.filter2D(wide[rows, columns], cv2.CV_16S, kernel * 64, anchor=(0, 0))[:height, :width]
        total = part if total is None else cv2.add(total, part)
    return cv2.convertScaleAbs(total, alpha=1 / 64)


def motion_lines(radius: float, sigma: float, angles: NDArray, factor: float) -> Iterator[list[Any]]:
    """For each angle (degrees) the kernels along a line, weight exp(-s^2 / 2 sigma^2) at s from its start."""
    # The path is that of imagecorruptions (Michaelis 2019), in whole pixels; scaled ones take finer steps.
    steps = np.arange(int(2 * radius) + 1.0)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    weights /= weights.sum()
    kept = max(1, int((weights.cumsum() < 0.9995).sum())) + 1  # the tail weighs an eighth of a grey level
    weights = weights[:kept] / weights[:kept].sum()
    rows, columns = (np.outer(f(np.deg2rad(angles)), steps[:kept] * factor) for f in (np.sin, np.cos))
    spread = int(factor != 1)
    if spread:
        down, right = rows - np.floor(rows), columns - np.floor(columns)  # shares of the points below, right
        corners = (1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right
        shares = weights * np.stack(corners, axis=1)
    else:
        shares = np.broadcast_to(weights, rows.shape)[:, None]
    rows, columns = ((np.floor(n) if spread else np.ceil(n - 0.5)).astype(int) for n in (rows, columns))
    for y, x, share in zip(rows, columns, shares, strict=True):
        area = (abs(y.item(-1)) + 1 + spread) * (abs(x.item(-1)) + 1 + spread)
        count = math.ceil((area / 110) ** 0.5)
        line = []  # kernels so small that OpenCV sums their few points: twice as fast as a transform
        for piece in (slice(kept * k // count, kept * (k + 1) // count) for k in range(count)):
            top, bottom = sorted((y[piece].item(0), y[piece].item(-1)))
            left, right = sorted((x[piece].item(0), x[piece].item(-1)))
            height, width = bottom - top + 1 + spread, right - left + 1 + spread
            places = (y[piece] - top) * width + (x[piece] - left)
            if spread:
                places = np.add.outer((0, 1, width, width + 1), places).ravel()
            kernel = np.bincount(places, share[:, piece].ravel(), height * width)
            line.append((kernel.reshape(height, width).astype(np.float32), left, top))
        yield line


@corruption("blur", of="gaussian_blur")
def gaussian_blur(images: Images, sigma: float, draws: Draws) -> Images:
    """Isotropic Gaussian blur, sigma in pixels, borders replicated."""
    sigma *= draws.factor
    width = 2 * int(3.5 * sigma + 0.5) + 1  # what lies beyond weighs an eighth of a grey level
    return _separable(images, cv2.getGaussianKernel(width, sigma, cv2.CV_32F))


@corruption("blur", of="*/gaussian_blur")
def kernel_blur(images: Images, width: int, draws: Draws) -> Images:
    """Gaussian blur with a kernel `width` pixels wide, sigma 0.3 ((width - 1) / 2 - 1) + 0.8."""
    sigma = 0.3 * ((width - 1) / 2 - 1) + 0.8
    if draws.factor == 1:
        return _separable(images, cv2.getGaussianKernel(width, sigma, cv2.CV_32F), cv2.BORDER_REFLECT_101)
    # The discrete Gaussian by its Fourier transform (Lindeberg 1990): its variance is right below one pixel.
    sigma *= draws.factor
    radius = int(5 * sigma) + 2
    length = 64 * radius
    values = np.fft.irfft(np.exp(sigma**2 * (np.cos(2 * np.pi * np.arange(length // 2 + 1) / length) - 1)))
    kernel = np.concatenate([values[-radius:], values[: radius + 1]])
    return _separable(images, (kernel / kernel.sum()).astype(np.float32), cv2.BORDER_REFLECT_101)


def _separable(images: Images, kernel: NDArray, border: int = cv2.BORDER_REPLICATE) -> Images:
    return each(images, lambda image: cv2.sepFilter2D(image, -1, kernel, kernel, borderType=border))


@corruption("blur")
def defocus_blur(images: Images, parameters: tuple[float, float], draws: Draws) -> Images:
    """Blur by the disc of an unfocused lens; `parameters` is (radius, softening sigma) in pixels."""
    kernel = _disc(*parameters, draws.factor)
    return each(images, lambda image: cv2.filter2D(image, -1, kernel))


@lru_cache(maxsize=64)
def _disc(radius: float, softening: float, factor: float) -> NDArray[np.float32]:
    """The disc as a kernel, cropped to its support; with sub-pixel edges where lengths are scaled."""
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


@corruption("blur")
def glass_blur(images: Images, parameters: tuple[float, int, int], draws: Draws) -> Images:
    """Look through rough glass: blur, swap pixels with near ones, blur."""
    sigma, offset, iterations = parameters
    sigma, offset = sigma * draws.factor, max(1, round(offset * draws.factor))
    kernel = cv2.getGaussianKernel(2 * int(4 * sigma + 0.5) + 1, sigma, cv2.CV_32F)
    fields = [draws.bits(images.shape[1:3], stream=iteration) for iteration in range(iterations)]
    pixels = _separable(images, kernel).reshape(-1, images.shape[-1])
    return _separable(pixels.take(shuffled(fields, offset), axis=0).reshape(images.shape), kernel)


def shuffled(fields: Sequence[NDArray[np.uint16]], offset: int) -> NDArray[np.int64]:
    """Which pixel (flat index) each pixel shows after swaps by random fields (images, rows, columns)."""
    # As in imagecorruptions, from the last pixel on: a neighbour met earlier hands on what it took.
    height, width = fields[0].shape[1:]
    inner = np.s_[:, offset + 1 : height - offset + 1, offset + 1 : width - offset + 1]
    down, right = np.divmod(np.arange(65536) * (2 * offset) ** 2 // 65536, 2 * offset)  # of a random number
    jumps = ((down - offset) * width + right - offset).astype(np.int32)
    source = here = np.arange(fields[0].size)
    for field in fields:
        taken = here.copy()
        taken.reshape(field.shape)[inner] += look_up(jumps, np.ascontiguousarray(field[inner]))
        ends = np.maximum(taken, here)  # a later neighbour was visited before and may have changed
        last = taken.take(ends)
        longer = np.flatnonzero(last > ends)
        while longer.size:
            ends[longer] = last[longer]
            last[longer] = taken.take(ends[longer])
            longer = longer[last[longer] > ends[longer]]
        source = source.take(last)
    return source


@corruption("blur")
def zoom_blur(images: Images, parameters: tuple[float, float], draws: Draws) -> Images:
    """Mean of the image and of copies zoomed by 1, 1 + step, ... up to stop; `parameters` is (stop, step)."""
    maps = [zoom_maps(*images.shape[1:3], float(zoom)) for zoom in np.arange(1, *parameters)]

    def zoomed(image: NDArray) -> NDArray:
        source = image.astype(np.float32).squeeze()
        copies = (cv2.remap(source, *zoom, cv2.INTER_LINEAR) for zoom in maps)
        return np.rint(sum(copies, source) / np.float32(len(maps) + 1))

    return each(images, zoomed)


@lru_cache(maxsize=128)
def zoom_maps(height: int, width: int, zoom: float) -> tuple[NDArray, NDArray]:
    """Fixed-point maps for cv2.remap that zoom into the middle, as scipy.ndimage.zoom of the crop does."""
    crops = [(side, int(np.ceil(side / zoom))) for side in (width, height)]
    steps = [(crop - 1) / max(round(crop * zoom) - 1, 1) for _, crop in crops]
    axes = ((n - c) // 2 + np.arange(n) * step for (n, c), step in zip(crops, steps, strict=True))
    columns, rows = np.meshgrid(*(axis.astype(np.float32) for axis in axes))
    return cv2.convertMaps(columns, rows, cv2.CV_16SC2)
