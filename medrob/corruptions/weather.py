"""Weather on the lens: fog, frost, snow, spatter."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.blur import motion_kernel, zoom_maps
from medrob.corruptions.draws import Draws
from medrob.corruptions.photometric import to_uint8

Images = NDArray[np.uint8]


def fog(images: Images, parameters: tuple[float, float], draws: Draws) -> Images:
    """Add a plasma fractal and scale back to the image's brightest value.

    `parameters` is (thickness, decay of the roughness per halving). Hendrycks & Dietterich (2019).
    """
    thickness, decay = parameters
    height, width, channels = images.shape[1:]
    clouds = plasma(1 << (max(height, width) - 1).bit_length(), decay, draws)
    clouds *= np.float32(255 * thickness)
    brightest = images.reshape(len(images), -1).max(axis=1).astype(float)
    out = np.empty_like(images)
    for image, result, cloud, most in zip(images, out, clouds, brightest, strict=True):
        layer = cv2.merge([cloud[:height, :width]] * channels)
        thick = cv2.add(image, layer.reshape(image.shape), dtype=cv2.CV_32F)
        cv2.convertScaleAbs(thick, dst=result, alpha=most / (most + 255 * thickness))
    return out


def plasma(size: int, decay: float, draws: Draws) -> NDArray[np.float32]:
    """Height maps 0..1 (images, size, size) by diamonds and squares on a torus; size a power of two."""
    field = draws.bits((size * size,)) * np.float32(2 / 65536) - np.float32(1)
    heights = np.zeros((draws.count, 1, 1), np.float32)
    used, rough = 0, 100.0

    def middle(corners: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal used
        cells = corners.shape[1] * corners.shape[2]
        corners *= np.float32(0.25)
        corners += (field[:, used : used + cells] * np.float32(rough * rough)).reshape(corners.shape)
        used += cells
        return corners

    while heights.shape[1] < size:
        pairs = heights + np.roll(heights, -1, 1)
        centres = middle(pairs + np.roll(pairs, -1, 2))
        level = middle(centres + np.roll(centres, 1, 1) + heights + np.roll(heights, -1, 2))
        upright = middle(centres + np.roll(centres, 1, 2) + pairs)
        even, odd = _interleave(heights, level), _interleave(upright, centres)
        heights = np.stack([even, odd], axis=2).reshape(draws.count, -1, even.shape[2])
        rough /= decay
    heights -= heights.min(axis=(1, 2), keepdims=True)
    heights /= heights.max(axis=(1, 2), keepdims=True)
    return heights


def _interleave(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray:
    """Columns of two equal stacks by turns."""
    count, height, width = left.shape
    both = cv2.merge([left.reshape(-1, width), right.reshape(-1, width)])
    return both.reshape(count, height, 2 * width)


def frost(images: Images, parameters: tuple[float, float, float], draws: Draws) -> Images:
    """Image and a random cut of a frosted pane, weighted; no photograph is needed.

    `parameters` is (weight of the image, weight of the frost, size of the crystals). Weights: Hendrycks &
    Dietterich (2019), who cut from five photographs; here five panes are grown, see `panes`.
    """
    own, weight, size = parameters
    height, width = images.shape[1:3]
    bank = panes(round(size * draws.factor, 4), max(height, width), images.shape[-1])
    chance = draws.uniform((4,))
    out = np.empty_like(images)
    for image, result, (which, down, across, flip) in zip(images, out, chance, strict=True):
        pane = bank[int(which * len(bank))]
        top, left = int(down * (len(pane) - height + 1)), int(across * (len(pane) - width + 1))
        cut = pane[top : top + height, left : left + width]
        cut = cut[:, ::-1] if flip < 0.5 else cut
        result[:] = cv2.addWeighted(image, own, cut, weight, 0).reshape(result.shape)
    return out


@lru_cache(maxsize=8)
def panes(size: float, side: int, channels: int) -> tuple[Images, ...]:
    """Five frosted panes, (S, S, channels) uint8, with S at least a quarter more than `side`.

    Frost is grown as cells of needles: each cell of a Voronoi diagram has a direction, along which ridged
    noise is stretched, with finer needles at 60 degrees; thin seams part the cells, and a slow field makes
    the ice thick or thin. Mean and spread of the grey levels (150, 35) and the bluish tint are those of the
    photographs that they replace.
    """
    grown = []
    for index in range(5):
        pane: NDArray = _grow(index)
        length = max(round(len(pane) * size), round(side * 1.25))
        pane = cv2.resize(pane, (length, length), interpolation=cv2.INTER_AREA)
        colour = np.array([0.88, 1.02, 1.1]) if channels == 3 else np.ones(1)
        grown.append(to_uint8(pane[..., None] * colour))
    return tuple(grown)


@lru_cache(maxsize=5)
def _grow(index: int, length: int = 768) -> NDArray[np.float32]:
    """One pane of frost as grey levels, (length, length)."""
    random = Draws(index, "frost pane", 0, 1)
    rows, columns = np.mgrid[:length, :length].astype(np.float32)
    seeds = np.full((length, length), 255, np.uint8)
    places = random.uniform((90, 2), 0, length, stream=1)[0].astype(int)
    seeds[places[:, 0], places[:, 1]] = 0
    distance, cells = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    wobble = [cv2.GaussianBlur(random.normal((length, length), 5 + k)[0], (0, 0), 12) * 90 for k in (0, 1)]
    angles = random.uniform((cells.max() + 1,), 0, np.pi, stream=2)[0][cells]
    texture = cv2.GaussianBlur(np.pad(random.normal((256, 256), 3)[0], 8, "wrap"), (0, 0), 1.2)[8:-8, 8:-8]
    texture = texture / np.std(texture)
    ice = np.zeros((length, length), np.float32)
    for turn, along, across, share in (
        (0.0, 22.0, 2.2, 1.0),
        (np.pi / 3, 9.0, 1.4, 0.6),
        (1.9, 60.0, 14.0, 0.5),
    ):
        x, y = columns + wobble[0], rows + wobble[1]
        cosine, sine = np.cos(angles + turn), np.sin(angles + turn)
        u, v = (x * cosine + y * sine) / along, (y * cosine - x * sine) / across
        needles = cv2.remap(
            texture, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
        )
        ice += share * (1 - np.minimum(np.abs(needles), 1)) ** 2
    ice += 0.5 * np.exp(-distance / 25)
    thick = cv2.GaussianBlur(random.normal((length, length), 4)[0], (0, 0), 60)
    ice = cv2.GaussianBlur(ice * (1 + 0.35 * thick / thick.std()), (0, 0), 0.7)
    return np.clip(150 + 35 * (ice - ice.mean()) / ice.std(), 0, 255)


def snow(images: Images, parameters: tuple[float, ...], draws: Draws) -> Images:
    """Whiten, and add blurred flakes falling at an angle of U(-135, -45) degrees.

    `parameters` is (mean and spread of the flake field, flake size, threshold, blur radius, blur sigma,
    weight of the image), lengths in pixels. Hendrycks & Dietterich (2019), code of imagecorruptions.
    """
    loc, spread, size, threshold, radius, sigma, own = parameters
    height, width, channels = images.shape[1:]
    field = draws.normal((height, width)) * np.float32(spread) + np.float32(loc)
    angles = draws.uniform((), -135, -45, stream=1)
    maps = zoom_maps(height, width, max(1.0, size * draws.factor))
    out = np.empty_like(images)
    for image, result, flakes, angle in zip(images, out, field, angles, strict=True):
        flakes = cv2.remap(flakes, *maps, cv2.INTER_LINEAR)
        flakes = np.where(flakes < threshold, np.float32(0), np.minimum(flakes, np.float32(1)) * 255)
        kernel, anchor = motion_kernel(radius, sigma, float(angle), draws.factor)
        flakes = cv2.filter2D(to_uint8(flakes), -1, kernel, anchor=anchor, borderType=cv2.BORDER_REPLICATE)
        flakes = cv2.add(flakes, np.ascontiguousarray(flakes[::-1, ::-1]))
        grey = image[..., 0] if channels == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        white = np.maximum(image, (grey * np.float32(1.5) + np.float32(127.5))[..., None])
        result[:] = to_uint8(own * image + (1 - own) * white + flakes[..., None])
    return out


def spatter(images: Images, parameters: tuple[float, ...], draws: Draws) -> Images:
    """Drops of water or splashes of mud on the lens.

    `parameters` is (mean and spread of the liquid field, its blur in pixels, threshold, strength or blur of
    the mud, 0 water or 1 mud). Grey images take the luminance of the colour. Hendrycks & Dietterich (2019).
    """
    loc, spread, sigma, threshold, strength, mud = parameters
    height, width, channels = images.shape[1:]
    field = draws.normal((height, width)) * np.float32(spread) + np.float32(loc)
    colour = np.array([63, 42, 20] if mud else [175, 238, 238], np.float32)
    if channels == 1:
        colour = colour @ np.array([[0.2989], [0.5870], [0.1140]], np.float32)
    out = np.empty_like(images)
    for image, result, liquid in zip(images, out, field, strict=True):
        liquid = _soften(liquid, sigma * draws.factor)
        if mud:
            cover = _soften((liquid > threshold).astype(np.float32), strength * draws.factor)
            cover = np.where(cover < 0.8, np.float32(0), cover)[..., None]
            result[:] = to_uint8(image * (1 - cover) + cover * colour)
        else:
            drops = _drops(np.where(liquid < threshold, np.float32(0), liquid))
            result[:] = to_uint8(image + np.minimum(strength * drops[..., None], 1) * colour)
    return out


def _soften(field: NDArray[np.float32], sigma: float) -> NDArray:
    """Gaussian blur cut at 4 sigma, borders replicated."""
    width = 2 * int(4 * sigma + 0.5) + 1
    return cv2.GaussianBlur(field, (width, width), sigma, borderType=cv2.BORDER_REPLICATE)


def _drops(liquid: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shading 0..1 of the drops of a liquid: bright towards their lower right edges."""
    liquid = np.minimum(liquid * 255, 255).astype(np.uint8)
    distance = cv2.distanceTransform(255 - cv2.Canny(liquid, 50, 150), cv2.DIST_L2, 5)
    distance = cv2.blur(np.minimum(distance, np.float32(20)), (3, 3)).astype(np.uint8)
    relief = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float32)
    shading = cv2.blur(cv2.filter2D(cv2.equalizeHist(distance), cv2.CV_8U, relief), (3, 3))
    drops = liquid * shading.astype(np.float32)
    return drops / max(float(drops.max()), 1.0)
