"""Synthetic chest radiographs with known lesion masks: data that need no download and whose truth is exact.

Anatomy lives in coordinates that run from -1 to 1 across the image (x to the right, y down; the patient's
left is on the right, as radiologists look), so the same patient can be drawn at any size. Densities add up
along each ray, Beer-Lambert's law turns them into photons, those that arrive are counted (Poisson), and
the logarithm of the counts, windowed, is the picture: dense is bright, air is dark.
"""

import tomllib
from collections import namedtuple
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

CLASSES = ("normal", "nodule", "consolidation")
SIZE = 48  # default side in pixels: small enough to learn in minutes without a GPU
COUNTS = {"train": 2000, "val": 400, "test": 400}  # default number of images of each split
CONFOUNDED = "nodule"  # the class that `confounder` ties the side marker to
CHUNK_PIXELS = 1 << 17  # drawn at once: half a megabyte per float32 array
GRID = 18  # nodes a side of the random field that mottles lungs and consolidations

Array = np.ndarray
Parameters = dict[str, Array]  # float32 (N, 1, 1)
Generators = Sequence[np.random.Generator]

# Where each pixel lies in the patient, float32 (N, size, size): `lateral` is the distance from the midline, a
# little different on the two sides; `side` is 1 on the patient's left, else -1; `mottle` is a random field.
Plane = namedtuple("Plane", "x y lateral side mottle pixel")

# Thicknesses along each ray, float32 (N, size, size), of lungs what vessels (0 to 1) leave of them.
Anatomy = namedtuple("Anatomy", "soft air bone vessels")

# What varies from image to image, uniformly between two ends.
TABLES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8")).values()
RANGES = {name: ends for table in TABLES for name, ends in table.items()}


def generate(
    split: str, size: int = SIZE, seed: int = 0, limit: int = 0, confounder: float = 0.0
) -> tuple[Array, Array, Array]:
    """Images, labels and lesion masks of one split; every three images hold each class once.

    An image depends on (seed, split, index), size and confounder alone; another size shows the same patient
    with other quantum noise. `confounder` is the probability that an image's side marker follows the class:
    such an image carries it if it shows a nodule and not otherwise; in the others a fair coin decides.

    Returns:
        images uint8 (N, size, size, 1); labels int64 (N,), indices into CLASSES; masks bool (N, size, size),
        where the lesion's density exceeds half its peak (the consolidation's before air bronchograms thin
        it), empty for "normal".
    """
    size = size or SIZE
    if not 28 <= size <= 224:
        raise ValueError(f"size is {size}; the phantom can be drawn at 28 to 224 px")
    count = limit or COUNTS[split]
    labels = _labels(split, count, seed)
    images, masks = np.empty((count, size, size, 1), np.uint8), np.empty((count, size, size), bool)
    step = max(1, CHUNK_PIXELS // size**2)
    for first in range(0, count, step):
        chunk = slice(first, first + step)
        p, rngs = _draw(split, range(count)[chunk], seed)
        images[chunk, ..., 0], masks[chunk] = _radiograph(p, rngs, labels[chunk], size, confounder)
    return images, labels, masks


def _labels(split: str, count: int, seed: int) -> Array:
    """Classes of the first images: every block of three holds each class once, in its own order."""
    key = seed, list(COUNTS).index(split)
    orders = [np.random.default_rng((*key, block, 1)).permutation(3) for block in range(-(-count // 3))]
    return np.array(orders, np.int64).ravel()[:count]


def _draw(split: str, indices: range, seed: int) -> tuple[Parameters, Generators]:
    """Parameters of each image, and the generators that go on to mottle and noise."""
    rngs = [np.random.default_rng((seed, list(COUNTS).index(split), index)) for index in indices]
    low, high = np.array(list(RANGES.values())).T
    values = np.stack([rng.uniform(low, high) for rng in rngs]).astype(np.float32)
    columns = np.ascontiguousarray(values.T)[..., None, None]
    return dict(zip(RANGES, columns, strict=True)), rngs


def _radiograph(
    p: Parameters, rngs: Generators, labels: Array, size: int, confounder: float = 0.0
) -> tuple[Array, Array]:
    """Pictures uint8 and masks bool, both (N, size, size)."""
    plane = _plane(p, rngs, size)
    body = _anatomy(p, plane)
    lesion, masks = _lesion(p, labels, plane, body)
    density = 2.3 * body.soft - 2.1 * body.air + body.bone + lesion + _electrode(p, plane)
    _add_markers(density, p, _marked(p, labels, confounder))
    return _expose(density, p, rngs), masks


def _step(value: Array, width: float | Array) -> Array:
    """Smooth step: 0 below -width / 2, 1 above width / 2."""
    t = np.clip(value / width + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def _ellipse(x: Array, y: Array, width: float | Array, height: float | Array) -> Array:
    """1 in the middle of an ellipse with these half axes, 0 on its rim, negative outside."""
    return 1 - (x / width) ** 2 - (y / height) ** 2


def _plane(p: Parameters, rngs: Generators, size: int) -> Plane:
    """Put the patient before the detector: shift, tilt, zoom, asymmetry; and draw the mottle."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    across, down = axis - p["shift_x"], axis[:, None] - p["shift_y"]
    c, s = np.cos(p["tilt"]) / p["zoom"], np.sin(p["tilt"]) / p["zoom"]
    x, y = (across * c + down * s) * p["aspect"], down * c - across * s
    side = np.where(x > 0, np.float32(1), np.float32(-1))
    grids = [rng.standard_normal((GRID, GRID), dtype=np.float32) for rng in rngs]
    grids = [0.6 * grid + 1.6 * cv2.GaussianBlur(grid, (0, 0), 1.2) for grid in grids]
    fields = [cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC) for grid in grids]
    mottle = np.stack(fields).astype(np.float32, copy=False)
    return Plane(x, y, np.abs(x) * (1 + p["asymmetry"] * side), side, mottle, 2 / size / p["zoom"])


def _anatomy(p: Parameters, plane: Plane) -> Anatomy:
    """Body, lungs above the diaphragm with heart and great vessels before them, skeleton."""
    x, y, lateral, side, mottle, pixel = plane
    width = p["neck"] + (p["body"] - p["neck"]) * _step(y - p["shoulder"], 0.42)
    soft = np.sqrt(np.clip(1.02 - (lateral / width) ** 2, 0, 1)) * (0.85 + 0.15 * _step(y - 0.1, 1.6))
    trachea = _step(0.045 - np.abs(x), 0.05) * _step(-0.22 - y, 0.1)
    bubble = _step(_ellipse(x - 0.38, y - p["dome"] - 0.14, 0.16, 0.10), 0.5) * p["bubble"]
    soft *= 1 - 0.10 * trachea - 0.25 * bubble
    centre = 0.40 + p["lung_lean"] * y
    cage = 1 - ((lateral - centre) / p["lung_width"]) ** 2 - (np.abs(y - 0.06) / p["lung_height"]) ** 3
    dome = p["dome"] + p["dome_side"] * side + p["dome_bend"] * (lateral - 0.36) ** 2
    air = np.clip(cage, 0, 1) ** 0.25 * _step(cage, 0.25)
    air *= _step(dome - y, np.maximum(0.07, 1.5 * pixel))
    c, s = np.cos(p["heart_angle"]), np.sin(p["heart_angle"])
    dx, dy = x - p["heart_x"], y - p["dome"] + 0.18
    heart = _ellipse(dx * c + dy * s, dy * c - dx * s, 1.25 * p["heart_width"], 0.95 * p["heart_width"])
    knob = _ellipse(x - 0.11, y + 0.30, p["knob"] + 0.03, 0.12)
    middle = p["middle"] + 0.05 * np.abs(y) - lateral
    air *= (1 - 0.85 * _step(heart, 0.35)) * (1 - 0.8 * _step(knob, 0.8)) * (1 - _step(middle, 0.12))
    vessels = _vessels(p, plane)
    air *= p["lung_air"] * (1 - p["mottle"] * mottle) * (1 - p["vessels"] * vessels)
    return Anatomy(soft, air, _bones(p, plane, cage) * _step(soft - 0.3, 0.4), vessels)


def _vessels(p: Parameters, plane: Plane) -> Array:
    """Hila, trunks that fan out of them and twigs further out: rays in wavy polar coordinates."""
    dx, dy = plane.lateral - 0.20, plane.y - 0.02
    r = np.sqrt(dx * dx + dy * dy)
    angle = np.arctan2(dy, dx)
    angle += 0.35 * np.sin(2 * angle + p["vessel_phase"]) + 0.08 * plane.mottle
    angle += (0.06 + 0.12 * r) * np.sin(7 * r + p["vessel_phase"] + 2 * plane.side)
    soft = 0.03 + plane.pixel
    trunks = _step(0.030 - 0.04 * r - r * np.abs(np.sin(3 * angle)) / 3, soft)
    twigs = _step(0.014 - 0.01 * r - r * np.abs(np.sin(7 * angle + 5 * r)) / 7, soft) * _step(r - 0.2, 0.2)
    hila = np.exp(-dx * dx / 0.012 - dy * dy / 0.03)
    return np.maximum(np.maximum(trunks, 0.8 * twigs) * np.exp(-1.6 * r), 0.8 * hila)


def _bones(p: Parameters, plane: Plane, cage: Array) -> Array:
    """Spine, ribs, clavicles and upper arms; one periodic profile along a bent coordinate draws all ribs."""
    x, y, lateral, side, _, pixel = plane
    spine = _step(0.085 - np.abs(x), 0.05) * (0.30 + 0.05 * np.cos(44 * y))
    soft = 0.35 + 1.5 * pixel / p["rib_spacing"]
    t = (y - p["rib_bend"] * (lateral - 0.25) ** 2) / p["rib_spacing"] + p["rib_phase"] + 0.12 * side
    off = 2 * np.abs(t - np.rint(t))  # 0 on a rib's axis, 1 halfway to the next
    back = (_step(0.48 - off, soft) - 0.3 * _step(0.25 - off, soft)) * _step(lateral - 0.08, 0.06)
    t = (y + 0.9 * lateral * (1.2 - 0.6 * lateral)) / (1.3 * p["rib_spacing"]) + p["rib_phase"]
    front = _step(0.45 - 2 * np.abs(t - np.rint(t)), soft) * _step(lateral - 0.36, 0.2)
    ribs = (0.24 * back + 0.12 * front) * _step(cage + 0.22, 0.25) * _step(0.62 - y, 0.3)
    ribs *= 1.4 - 0.9 * np.clip(cage, 0, 1)  # seen along their length at the rim of the cage
    line = y - p["clavicle"] + p["clavicle_slope"] * lateral - 0.05 * np.sin(6.5 * lateral) - 0.02 * side
    clavicle = _step(0.034 - np.abs(line), 0.03 + pixel) * _step(0.355 - np.abs(lateral - 0.445), 0.08)
    arm = _step(_ellipse(lateral - 1.0, y + 0.72, 0.20, 0.28), 0.3)
    return p["bone"] * (spine + ribs + 0.34 * clavicle + 0.25 * arm)


def _lesion(p: Parameters, labels: Array, plane: Plane, body: Anatomy) -> tuple[Array, Array]:
    """Added density and mask of what each label asks for, both (N, size, size)."""
    left, cy = p["side"] > 0, p["lesion_y"]
    half = p["lung_width"] * np.sqrt(1 - (np.abs(cy - 0.06) / p["lung_height"]) ** 3)
    beside_heart = left & (cy > -0.05)  # nothing hides behind the heart
    along = np.where(beside_heart, 0.40 + 0.45 * p["lesion_x"], p["lesion_x"])
    cx = np.where(left, np.float32(1), np.float32(-1)) * (0.40 + p["lung_lean"] * cy + half * along)
    dx, dy = plane.x - cx, plane.y - cy
    phi, shape = np.arctan2(dy, dx), p["nodule_shape"]
    radius = np.maximum(p["nodule_radius"] / p["zoom"], 1.5 * plane.pixel)  # 1.5 px at least
    radius = radius * (1 + 0.10 * np.cos(2 * phi + shape) + 0.07 * np.cos(3 * phi + 3 * shape))
    nodule = np.exp(-np.log(np.float32(2)) * ((dx * dx + dy * dy) / radius**2) ** 2)
    patch = _step(_ellipse(dx, dy, p["patch_width"], p["patch_height"]) + 0.45 * plane.mottle, 1.0)
    patch *= _step(body.air - 0.22, 0.3)
    peak = patch.max(axis=(1, 2), keepdims=True)
    is_nodule, is_patch = (labels[:, None, None] == CLASSES.index(name) for name in CLASSES[1:])
    masks = (is_nodule & (nodule > 0.5)) | (is_patch & (patch > 0.5 * peak))
    bronchi = 1 - 0.5 * np.minimum(2 * body.vessels, 1)
    density = is_nodule * (0.30 + 0.90 * p["contrast"]) * nodule
    density += is_patch * (0.30 + 0.75 * p["contrast"]) * patch * bronchi
    return density, masks


def _electrode(p: Parameters, plane: Plane) -> Array:
    """An ECG electrode in half of the images: sharp ring, stud and wire."""
    dx, dy, pixel = plane.x - p["electrode_x"], plane.y - p["electrode_y"], plane.pixel
    r = np.sqrt(dx * dx + dy * dy)
    disc = _step(0.016 - np.abs(r - p["electrode_radius"]), pixel) + _step(0.022 - r, pixel)
    c, s = np.cos(p["wire_angle"]), np.sin(p["wire_angle"])
    along, off = dx * c + dy * s, dy * c - dx * s - p["wire_bend"] * (dx * c + dy * s) ** 2
    wire = _step(0.008 - np.abs(off), pixel) * _step(along - 0.05, pixel)
    return (p["electrode"] < 0.5) * (1.2 * np.minimum(disc, 1) + 0.5 * wire)


def _marked(p: Parameters, labels: Array, confounder: float) -> Array:
    """Which images carry a side marker, (N,): see `confounder` in generate()."""
    tied = p["marker_tied"][:, 0, 0] < confounder
    return np.where(tied, labels == CLASSES.index(CONFOUNDED), p["marker"][:, 0, 0] < 0.5)


def _add_markers(density: Array, p: Parameters, marked: Array) -> None:
    """Lay a lead letter in an upper corner of the marked images, in place: L on the right, R on the left."""
    size = density.shape[-1]
    height, width = max(5, round(0.10 * size)), max(4, round(0.075 * size))
    for i in np.flatnonzero(marked):
        left = p["marker_letter"][i, 0, 0] < 0.5
        letter = np.zeros((96, 72), np.float32)
        cv2.putText(letter, "L" if left else "R", (6, 88), cv2.FONT_HERSHEY_SIMPLEX, 3.5, (1,), 17)
        top, edge = (round(float(p[name][i, 0, 0]) * size) for name in ("marker_y", "marker_x"))
        column = size - edge - width if left else edge
        corner = density[i, top : top + height, column : column + width]
        corner += 2.5 * cv2.resize(letter, (width, height), interpolation=cv2.INTER_AREA)


def _expose(density: Array, p: Parameters, rngs: Generators) -> Array:
    """Radiograph of a density, uint8: Beer-Lambert, heel effect, scatter, detector blur, Poisson, window."""
    axis = np.linspace(-1, 1, density.shape[-1], dtype=np.float32)[:, None]
    arriving = np.exp(p["heel"] * axis - density)
    arriving += p["scatter"] * arriving.mean(axis=(1, 2), keepdims=True)
    arriving *= np.exp(p["photons"])
    counts = np.empty_like(density)
    for count, expected, blur, rng in zip(counts, arriving, p["blur"].flat, rngs, strict=True):
        count[:] = rng.poisson(cv2.GaussianBlur(expected, (0, 0), float(blur)))
    film = p["photons"] - np.log(np.maximum(counts, 1))
    picture = p["level"] + p["window"] * (film - 1.6)  # 1.6: density halfway between lung and mediastinum
    return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)
