"""Weather on the lens: fog, frost, snow, spatter."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.blur import motion_lines, smear, zoom_maps
from medrob.corruptions.draws import Draws, Images, each, to_uint8
from medrob.corruptions.registry import corruption


@corruption("weather")
def fog(images: Images, parameters: tuple[float, float], draws: Draws) -> Images:
    """Add a plasma fractal and scale back to the image's brightest value."""
    thickness, decay = parameters  # decay of the roughness at each halving
    height, width, channels = images.shape[1:]
    clouds = plasma(1 << (max(height, width) - 1).bit_length(), decay, draws)
    brightest = images.reshape(len(images), -1).max(axis=1).tolist()

    def fogged(image: NDArray, cloud: NDArray, most: int) -> NDArray:
        scale = most / (most + 255 * thickness)
        layer = cv2.convertScaleAbs(cloud[:height, :width], alpha=255 * thickness * scale)
        return cv2.add(cv2.convertScaleAbs(image, alpha=scale), cv2.merge([layer] * channels))

    return each(images, fogged, clouds, brightest)


def plasma(size: int, decay: float, draws: Draws) -> NDArray[np.float32]:
    """Height maps 0..1 (images, size, size) by diamonds and squares on a torus; size a power of two."""
    field = draws.bits((size * size,)) * np.float32(2 / 65536) - np.float32(1)
    heights, quarter, rough = np.zeros((draws.count, 1, 1), np.float32), np.float32(0.25), 100.0
    while (side := heights.shape[1]) < size:
        drawn = field[:, side**2 - 1 : 4 * side**2 - 1].reshape(-1, 3, side, side) * np.float32(rough * rough)
        pairs = heights + np.roll(heights, -1, 1)
        centres = (pairs + np.roll(pairs, -1, 2)) * quarter + drawn[:, 0]
        level = centres + np.roll(centres, 1, 1) + heights + np.roll(heights, -1, 2)
        upright = centres + np.roll(centres, 1, 2) + pairs
        finer = np.empty((draws.count, 2 * side, 2 * side), np.float32)
        finer[:, ::2, ::2], finer[:, ::2, 1::2] = heights, level * quarter + drawn[:, 1]
        finer[:, 1::2, ::2], finer[:, 1::2, 1::2] = upright * quarter + drawn[:, 2], centres
        heights, rough = finer, rough / decay
    heights -= heights.min(axis=(1, 2), keepdims=True)
    return heights / heights.max(axis=(1, 2), keepdims=True)


@corruption("weather")
def frost(images: Images, parameters: tuple[float, float, float], draws: Draws) -> Images:
    """Image and a random cut of a frosted pane, weighted; no photograph is needed."""
    own, weight, size = parameters  # of the image, of the frost; size of the crystals
    height, width, channels = images.shape[1:]
    panes = _panes(round(size * draws.factor, 4), max(height, width), channels)

    def frosted(image: NDArray, chance: tuple[float, float, float, float]) -> NDArray:
        which, down, across, flip = chance
        pane = panes[int(which * 5)][:, :: -1 if flip < 0.5 else 1]
        top, left = int(down * (len(pane) - height + 1)), int(across * (len(pane) - width + 1))
        cut = pane[top : top + height, left : left + width].reshape(height, -1)
        return cv2.addWeighted(image.reshape(height, -1), own, cut, weight, 0)  # flat tables are fastest

    return each(images, frosted, draws.uniform((4,)).tolist())


@lru_cache(maxsize=4)
def _panes(size: float, side: int, channels: int) -> list[Images]:
    """Five panes, uint8 (S, S, channels), S at least 1.25 times `side`."""
    colour = np.array([0.88, 1.02, 1.1]) if channels == 3 else np.ones(1)
    panes = []
    for index in range(5):
        pane: NDArray = _grow(index)
        length = max(round(len(pane) * size), round(side * 1.25))
        pane = cv2.resize(pane, (length, length), interpolation=cv2.INTER_AREA)
        panes.append(to_uint8(pane[..., None] * colour))
    return panes


@lru_cache(maxsize=5)
def _grow(index: int) -> NDArray[np.float32]:
    """One pane of frost as grey levels, (768, 768): a Voronoi diagram with cells of needles."""
    random, length = Draws(index, "frost pane", 0, 1), 768
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
    needles = ((0.0, 22.0, 2.2, 1.0), (np.pi / 3, 9.0, 1.4, 0.6), (1.9, 60.0, 14.0, 0.5))
    for turn, along, across, share in needles:
        x, y = columns + wobble[0], rows + wobble[1]
        cosine, sine = np.cos(angles + turn), np.sin(angles + turn)
        u, v = (x * cosine + y * sine) / along, (y * cosine - x * sine) / across
        maps = u.astype(np.float32), v.astype(np.float32)
        ridges = cv2.remap(texture, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        ice += share * (1 - np.minimum(np.abs(ridges), 1)) ** 2
    ice += 0.5 * np.exp(-distance / 25)
    thick = cv2.GaussianBlur(random.normal((length, length), 4)[0], (0, 0), 60)
    ice = cv2.GaussianBlur(ice * (1 + 0.35 * thick / thick.std()), (0, 0), 0.7)
    return np.clip(150 + 35 * (ice - ice.mean()) / ice.std(), 0, 255)


@corruption("weather")
def snow(images: Images, parameters: tuple[float, ...], draws: Draws) -> Images:
    """Whiten, and add blurred flakes falling at an angle of U(-135, -45) degrees."""
    loc, spread, size, threshold, radius, sigma, own = parameters  # field, flakes, blur, weight of the image
    height, width, channels = images.shape[1:]
    field = draws.normal((height, width), mean=loc, sigma=spread)
    lines = motion_lines(radius, sigma, draws.uniform((), -135, -45, stream=1), draws.factor)
    maps = zoom_maps(height, width, max(1.0, size * draws.factor))
    fallen = np.empty(field.shape, np.uint8)
    for result, flakes, line in zip(fallen, field, lines, strict=True):
        near = cv2.remap(flakes, *maps, cv2.INTER_LINEAR)
        _, near = cv2.threshold(near, threshold, 0, cv2.THRESH_TOZERO)
        result[:] = smear(cv2.convertScaleAbs(near, alpha=255), line)
    whole = fallen.reshape(len(images), -1)
    snowed = cv2.add(whole, cv2.flip(whole, 1)).reshape(-1, width)  # and turned by 180 degrees
    flat = images.reshape(-1, width * channels)
    grey = flat if channels == 1 else cv2.cvtColor(images.reshape(-1, width, 3), cv2.COLOR_RGB2GRAY)
    half = cv2.convertScaleAbs(grey, alpha=0.75, beta=63.75)  # half of the white, which may exceed 255
    white, flakes = (cv2.merge([layer] * channels).reshape(flat.shape) for layer in (half, snowed))
    whiter = cv2.max(flat, cv2.addWeighted(flat, own, white, 2 * (1 - own), 0))
    return cv2.add(whiter, flakes).reshape(images.shape)


@corruption("weather")
def spatter(images: Images, parameters: tuple[float, ...], draws: Draws) -> Images:
    """Drops of water or splashes of mud on the lens."""
    loc, spread, sigma, threshold, strength, mud = parameters  # field of the liquid; strength = blur of mud
    height, width, channels = images.shape[1:]
    colour = [63.0, 42.0, 20.0] if mud else [175.0, 238.0, 238.0]
    if channels == 1:
        colour = [float(np.dot(colour, (0.2989, 0.5870, 0.1140)))]
    flat = images.reshape(-1, width * channels)
    liquid = _softened(draws.normal((height, width), mean=loc, sigma=spread), sigma * draws.factor)
    if mud:
        cover = _softened((liquid > threshold).astype(np.float32), strength * draws.factor)
        cover = (cover * (cover > 0.8)).reshape(-1, width)
        flat = cv2.multiply(flat, cv2.merge([1 - cover] * channels).reshape(flat.shape), dtype=cv2.CV_8U)
    else:
        levels = np.minimum(liquid * (liquid > threshold) * 255, 255).astype(np.uint8)
        drops = each(levels, _shaded).astype(np.float32) * levels
        drops /= np.maximum(drops.max(axis=(1, 2), keepdims=True), 1)
        cover = np.minimum(drops * np.float32(strength), 1).reshape(-1, width)
    layer = cv2.merge([cv2.convertScaleAbs(cover, alpha=level) for level in colour])
    return cv2.add(flat, layer.reshape(flat.shape)).reshape(images.shape)


def _softened(fields: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    width = 2 * int(4 * sigma + 0.5) + 1
    return each(fields, lambda f: cv2.GaussianBlur(f, (width, width), sigma, borderType=cv2.BORDER_REPLICATE))


def _shaded(level: NDArray[np.uint8]) -> NDArray:
    """Drops of a liquid (height, width), bright towards their lower right edges."""
    relief = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float32)
    distance = cv2.distanceTransform(cv2.bitwise_not(cv2.Canny(level, 50, 150)), cv2.DIST_L2, 5)
    distance = cv2.blur(np.minimum(distance, np.float32(20)), (3, 3)).astype(np.uint8)
    return cv2.blur(cv2.filter2D(cv2.equalizeHist(distance), cv2.CV_8U, relief), (3, 3))
