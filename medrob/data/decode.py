"""Image files to grey levels 0-255, whatever OpenCV reads in 8 or 16 bit, and DICOM: one, or a set at once.

A set is decoded once, on all cores, into memory-mapped files below ``data/cache``.
"""

import contextlib
import functools
import hashlib
import io
import itertools
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from medrob.data import dicom
from medrob.data.dicom import is_dicom
from medrob.files import atomic, cache, checksums
from medrob.machine import bar, cores

MOST_PIXELS = 100_000_000  # 10,000 x 10,000; beyond, one image would take gigabytes
FEWEST_PIXELS = 4  # pixels a side
JPEG_END = b"\xff\xd9"
SCANS = {b"\xff\xd8": b"\xff\xda", b"\0\0\0\x0cjP": b"\xff\x93"}  # what begins a JPEG: its pixels
# ANYCOLOR keeps grey as grey and drops transparency, ANYDEPTH keeps 16 bit; both turn as the camera says.
AS_IT_IS = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
SAMPLED, PIXELS = 500, 10_000  # images, and pixels of each, in which black and white are looked for
MOST_NAMED = 100  # files in a refusal
INSIDE = (0.1, 99.9)  # percentiles of these pixels: what lies beyond is extreme
MOST_PICTURES = (5, 95)  # percentiles of these ends over pictures
MOST_LABELS = 16  # values of a mask; one of more has soft edges
MARKS = 16  # values, at most, that marks burnt into pictures have, far from all others
CHROMA, RARE = 8, 1e-3  # colours differ by more levels in more of the pixels; those of a grey JPEG do not
TRANSPARENT = re.compile("RGBA|LA,|PA,")  # in the kind of a file
VERSION = 18  # of the decoding: another number makes every set be decoded again
NOTHING = np.zeros((1, 1, 1), np.uint8)  # instead of an image that cannot be read
Shape = tuple[int, ...]
Levels = tuple[float, float]  # stored values that become black and white
# An array read page by page as it is used, and read-only: only then may it exceed the memory.
mapped = functools.partial(np.lib.format.open_memmap, mode="r")


class UnreadableError(ValueError):
    """A file that gives no image; the message says why."""


class SidesError(ValueError):
    """Images of different sides, and no size that all become."""


def read(file: Path) -> np.ndarray:
    """The image as it is stored: (H, W, C), grey or RGB, uint8 or uint16.

    DICOM comes through its window, uint8; without one grey levels are float32, padding NaN. Raises an
    `UnreadableError` if the image is damaged, of another kind of number, too small or too large.
    """
    try:
        if not file.stat().st_size:
            raise UnreadableError("zero bytes")
        medical = is_dicom(file)
        image = _dicom(file) if medical else _picture(file.read_bytes())
    except (OSError, cv2.error) as error:
        raise UnreadableError(f"cannot be read: {error}") from None
    if image.dtype not in (np.uint8, np.uint16, *[np.float32] * medical):
        raise UnreadableError(f"pixels are {image.dtype}, not 8 or 16 bit whole numbers")
    if min(image.shape[:2]) < FEWEST_PIXELS:
        raise UnreadableError(f"{image.shape[1]}x{image.shape[0]} pixels are too few to show anything")
    image = np.atleast_3d(image)
    return image if medical or image.shape[2] == 1 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def fit(image: np.ndarray, *, size: int, channels: int, levels: Levels = (0, 255)) -> np.ndarray:
    """The image as uint8 (H, W, channels); of more than 8 bits `levels` become 0 and 255.

    `size` makes it a square of so many pixels a side (area average down, cubic up), unless it is 0.
    """
    black, white = levels
    image = np.nan_to_num(image, nan=black) if image.dtype == np.float32 else image
    if size and image.shape[:2] != (size, size):
        how = cv2.INTER_AREA if size < min(image.shape[:2]) else cv2.INTER_CUBIC
        image = cv2.resize(image, (size, size), interpolation=how).reshape(size, size, -1)
    if image.dtype != np.uint8:
        image = np.clip(np.rint((image - black) * (255 / ((white - black) or 1))), 0, 255).astype(np.uint8)
    if channels == 1 and image.shape[-1] == 3:
        return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]  # luma weights of ITU-R BT.601
    return np.broadcast_to(image, (*image.shape[:2], channels))


def read_mask(files: Iterable[Path], shape: Shape, sides: Shape) -> tuple[np.ndarray, bool]:
    """Masks united, bool (H, W) of `sides`: True where one is above zero; and whether one is soft.

    A soft one, a JPEG or one of many values, is not quite black around the lesion: it ends at half of its
    brightest value. Masks of another form than the picture, whose `shape` this is, are refused.
    """
    united, any_soft = np.zeros(sides, bool), False
    for file in files:
        try:
            mask = np.nan_to_num(read(file)).max(-1)
        except UnreadableError as error:
            raise UnreadableError(f"its mask {file}: {error}") from None
        if abs(mask.shape[0] * shape[1] - mask.shape[1] * shape[0]) > max(*mask.shape, *shape):
            raise UnreadableError(f"its mask {file}: {mask.shape} pixels are of another form than {shape}")
        soft = form(file)[0].startswith("JPEG,") or len(np.unique(mask)) > MOST_LABELS
        any_soft |= soft
        united |= cv2.resize(mask, sides[::-1], interpolation=cv2.INTER_NEAREST) > mask.max() / 2 * soft
    return united, any_soft


def _picture(content: bytes) -> np.ndarray:
    """What OpenCV reads: (H, W), or (H, W, 3) with blue first."""
    # Of a JPEG OpenCV makes up what is missing. A thumbnail ends, too, but before the scan of the picture.
    scans = [content.rfind(scan) for begin, scan in SCANS.items() if content.startswith(begin)]
    if scans and not content.endswith(JPEG_END) and content.rfind(JPEG_END) < scans[0]:
        raise UnreadableError("cut off: a JPEG without its end")
    size, pages, inverted, by_pillow = (0, 0), 1, False, False
    try:  # the header, before gigabytes are spent
        with Image.open(io.BytesIO(content)) as header:
            size = header.size
            pages = getattr(header, "n_frames", 1) if header.format != "MPO" else 1  # and its thumbnail
            tags = getattr(header, "tag_v2", {})  # of TIFF
            inverted = tags.get(262) == 0  # 0 is white
            # OpenCV reads no GIF, turns no WebP, leaves PGM dark, multiplies colours by an alpha of kind 2.
            by_pillow = header.format in ("GIF", "WEBP", "PPM") or 2 in np.ravel(tags.get(338, 0))
            by_pillow &= header.mode != "I"  # PGM of 16 bits
    except Image.DecompressionBombError as error:
        raise UnreadableError(f"{error}; cut it into tiles or make it smaller") from None
    except Exception:  # a kind that only OpenCV knows
        pass
    _check_size(*size, pages)
    image = cv2.imdecode(np.frombuffer(content, np.uint8), AS_IT_IS)
    if by_pillow and (image is None or image.dtype == np.uint8):
        with Image.open(io.BytesIO(content)) as picture:
            upright = ImageOps.exif_transpose(picture).convert("L" if picture.mode in "1L" else "RGB")
            image = np.asarray(upright)[..., ::-1] if upright.mode == "RGB" else np.asarray(upright)
    if image is None:
        raise UnreadableError("no image that OpenCV can decode")
    # OpenCV turns white as 0 round in 8 bit alone.
    return 65535 - image if inverted and image.dtype == np.uint16 else image


def _check_size(width: int, height: int, pictures: int) -> None:
    if width * height > MOST_PIXELS:
        size = f"{width}x{height} pixels are more than {MOST_PIXELS:,}"
        raise UnreadableError(f"{size}; cut it into tiles or make it smaller")
    if pictures > 1:
        raise UnreadableError(f"{pictures} pictures in one file; give one file for each")


def _dicom(file: Path) -> np.ndarray:
    try:
        dataset = dicom.header(file, pixels=True)
        _check_size(dataset.Columns, dataset.Rows, int(dataset.get("NumberOfFrames") or 1))
        return dicom.grey_or_colour(dataset)
    except Exception as error:  # pydicom raises many kinds on files that are damaged or compressed
        raise UnreadableError(f"not usable as DICOM: {error}") from None


@contextlib.contextmanager
def written(file: Path, shape: tuple[int, ...], dtype: type) -> Iterator[np.ndarray]:
    """An array to be filled, which becomes `file`, whole or not at all; OSError if the disk has no room."""
    with atomic(file) as part:
        array = np.lib.format.open_memmap(part, "w+", dtype, shape)
        if hasattr(os, "posix_fallocate"):  # a disk without room refuses now, and not at one of the pages
            with part.open("rb+") as stream:
                os.posix_fallocate(stream.fileno(), 0, part.stat().st_size)
        yield array


def decoded(
    rows: pd.DataFrame, source: Path, size: int, channels: int
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray | None]:
    """A report on the files of a listing, as of `_decode`; images uint8 (N, H, W, C); masks bool (N, H, W).

    They are read from the cache, or decoded now.
    """
    files, *masks = (rows[column].tolist() for column in ("file", "mask") if column in rows)
    named = list(itertools.chain(files, *itertools.chain(*masks)))
    made_of = [VERSION, source.absolute(), size, channels, list(map(str, named + masks)), checksums(named)]
    base = cache() / f"{source.stem}-{hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]}"
    kinds = ["parquet", "images.npy", "masks.npy"][: 2 + len(masks)]
    report, *places = (base.with_name(f"{base.name}.{kind}") for kind in kinds)
    try:
        found, arrays = pd.read_parquet(report), list(map(mapped, places))
    except Exception:  # not there, or damaged: NumPy and pandas raise many kinds
        found = _decode(files, masks, places, size, channels)
        with atomic(report) as part:
            found.to_parquet(part)
        arrays = list(map(mapped, places))
    return found, arrays[0], arrays[1] if masks else None


def _decode(
    files: list[Path], masks: list[list[Any]], places: list[Path], size: int, channels: int
) -> pd.DataFrame:
    """Write images and masks; a report with a row a file.

    Its columns: `kind` ("grey", "RGB" if it shows no colours, "coloured"), `pixels` (a hash of the image),
    `bits` (in use), `span` (of grey levels), `drawn` (as a mask is), `lesion` (the share that masks cover),
    `soft` (whether one of them is), `clear` (whether parts are transparent) and `levels` (in words).
    """
    first = next((image for image in map(attempt, files) if image.size > 1), NOTHING)
    medical, sides = all(map(is_dicom, files)), (size, size) if size else first.shape[:2]
    eight = not medical and first.dtype == np.uint8
    ready = _each(_has_window, files, "looking for windows") if medical else [eight] * len(files)
    levels, told = _levels([file for file, known in zip(files, ready, strict=True) if not known])
    small = fit(first, size=size, channels=first.shape[-1], levels=levels)
    colours = channels or (3 if coloured(small) else 1)

    def work(row: int) -> dict[str, Any]:
        try:
            image, lesion, soft = read(files[row]), math.nan, False
            for array, given in zip(spots, masks, strict=True):
                array[row], soft = read_mask(given[row], image.shape[:2], sides)
                lesion = array[row].mean() if given[row] else lesion
        except UnreadableError as error:
            return {"why": f"{files[row]}: {error}"}
        if not size and image.shape[:2] != first.shape[:2]:
            (height, width), other = image.shape[:2], f"{first.shape[1]}x{first.shape[0]}"
            raise SidesError(f"{files[row]}: {width}x{height} pixels, the first {other}; give size=, a side")
        if not (medical or image.dtype == first.dtype):
            kinds = f"is {image.dtype}, the first {first.dtype}"
            raise ValueError(f"{files[row]} {kinds}; store all in 8 or all in 16 bit")
        pixels = fit(image, size=size, channels=image.shape[-1], levels=levels)
        images[row] = fit(pixels, size=0, channels=colours)
        kind = "coloured" if coloured(pixels) else "RGB" if pixels.shape[-1] == 3 else "grey"
        bits = 8 if image.dtype == np.uint8 else int(span(image)).bit_length()
        facts = dict(kind=kind, bits=bits, span=span(pixels), drawn=drawn(image), lesion=lesion, soft=soft)
        clear = bool(TRANSPARENT.search(form(files[row])[0]))
        return facts | dict(clear=clear, pixels=hashlib.sha256(images[row].data).hexdigest()[:32])

    with contextlib.ExitStack() as stack:
        images = stack.enter_context(written(places[0], (len(files), *sides, colours), np.uint8))
        spots = [stack.enter_context(written(place, (len(files), *sides), bool)) for place in places[1:]]
        found = pd.DataFrame(_each(work, range(len(files)), "decoding"))
        if "why" in found:
            bad = found["why"].dropna()
            told = f"cannot use {len(bad)} of {len(files)} images; repair or remove them: "
            raise ValueError(told + "; ".join(bad[:MOST_NAMED]))
    if not channels and (most := 3 if (found["kind"] == "coloured").mean() > 0.5 else 1) != colours:
        return _decode(files, masks, places, size, most)  # the first image is unlike most
    return found.assign(levels=told)


def coloured(pixels: np.ndarray) -> bool:
    """Whether an image uint8 (H, W, C) shows colours, more than a JPEG gives to grey."""
    away = np.abs(np.diff(pixels.astype(np.int16), axis=-1)).max(-1, initial=0)
    return np.count_nonzero(away > CHROMA) > RARE * away.size


def drawn(image: np.ndarray) -> bool:
    """Whether few grey levels fill nearly all of an image but its background, as in a mask."""
    counts = np.sort(np.unique(_some(image), return_counts=True)[1])[:-1]
    return bool(counts[-MOST_LABELS:].sum() >= 0.8 * counts.sum())


def span(image: np.ndarray) -> float:
    """How far apart the darkest and the brightest values of an image are, extreme pixels aside."""
    return float(np.ptp(np.percentile(_some(image), INSIDE)))


def _some(image: np.ndarray) -> np.ndarray:
    """Some values of an image, which are numbers."""
    step = math.ceil(math.sqrt(image.size / PIXELS))
    pixels = image[::step, ::step].ravel()
    return pixels[np.isfinite(pixels)] if np.isfinite(pixels).any() else np.zeros(1, image.dtype)


def form(file: Path) -> tuple[str, int, int]:
    """The kind of a file, such as "JPEG, RGB, 8 bit", its width and its height, by its header."""
    with contextlib.suppress(Exception):  # Pillow and pydicom raise many kinds
        if is_dicom(file):
            known = dicom.header(file)
            kind = f"DICOM {known.get('Modality', '')}".strip()
            kind = f"{kind}, {known.PhotometricInterpretation}, {known.BitsStored} bit"
            return kind, known.Columns, known.Rows
        with Image.open(file) as image:
            mode, deep = image.mode.partition(";")[0], ";16" in f"{image.mode} {image.tile}"
            bits = 16 if deep else 1 if mode == "1" else 8
            return f"{image.format}, {'grey' if mode in '1LI' else mode}, {bits} bit", *image.size
    return "of another kind", 0, 0


def _levels(deep: list[Path]) -> tuple[Levels, str]:
    """Which stored values become black and white in images of more than 8 bits; and that in words.

    One range for all: what their files declare, if they agree and an eighth of it is used, else where nearly
    all pixels of nearly all pictures lie, rounded outwards. No one picture of many moves it.
    """
    sample = sorted(set(deep))[:: math.ceil(len(set(deep)) / SAMPLED) or 1]
    if not sample:
        return (0, 255), ""
    looked = _each(lambda file: (_some(attempt(file)), _declared(file)), sample, "looking for white")
    values, marks, but = np.unique(np.concatenate([some for some, _ in looked])), np.zeros(0), ""
    one, gaps = values.dtype == np.uint16, np.diff(values)
    if len(gaps) and gaps.max() > np.ptp(values) / 2:  # as between a picture and letters burnt into it
        for side in np.split(values, [gaps.argmax() + 1]):
            if len(side) <= MARKS < len(values) / 2:
                marks, but = (
                    side,
                    " but marks of " + " to ".join(f"{v:g}" for v in sorted({side[0], side[-1]})),
                )
    shown = [some[~np.isin(some, marks)] for some, _ in looked]
    ends = np.array([np.percentile(some, INSIDE) for some in shown if some.size])
    low, high = (np.percentile(of_all, share) for of_all, share in zip(ends.T, MOST_PICTURES, strict=True))
    step = 2.0 ** math.floor(math.log2((high - low or 16) / 16))
    # Of whole numbers white is 255, and not 256.
    levels, why = (math.floor(low / step) * step, math.ceil((high + one) / step) * step - one), "found"
    if one and 127 < np.setdiff1d(values, marks).max() <= 255:
        levels, why = (0, 255), "as 8 bits"
    declared = {ends for _, ends in looked}
    for said in filter(None, declared if len(declared) == 1 else ()):
        if said[0] <= low and high <= said[1] and high - low > (said[1] - said[0]) / 8:
            levels, why = said, "declared"
    lack, inside = "" if one else " and no window", f"nearly all pixels of most pictures{but}"
    told = f"values {levels[0]:g} to {levels[1]:g} become black to white ({why}; {inside} lie in"
    return levels, f"images of more than 8 bits{lack}: {len(deep)}; {told} {low:.5g} to {high:.5g})"


def _has_window(file: Path) -> bool:
    """Whether a DICOM file says how it becomes grey levels."""
    with contextlib.suppress(Exception):  # decoding says why
        return dicom.has_window(dicom.header(file))
    return True


def attempt(file: Path) -> np.ndarray:
    """The image as it is stored, or nothing."""
    with contextlib.suppress(UnreadableError):  # decoding says why
        return read(file)
    return NOTHING


def _declared(file: Path) -> Levels | None:
    """Black and white, where a format says more than how large a number may be."""
    white = 0.0
    with contextlib.suppress(Exception):  # decoding says why
        if is_dicom(file):
            return dicom.levels(dicom.header(file))
        content = file.read_bytes()
        if content[:2] in (b"P2", b"P3", b"P5", b"P6"):  # after comments, width and height
            white = float(re.sub(rb"#[^\n]*", b"", content[:9999]).split()[3])
        if content.startswith(b"\x89PNG") and (place := content.find(b"sBIT", 0, content.find(b"IDAT"))) > 0:
            white = 2 ** content[place + 4] - 1
        tags = getattr(Image.open(io.BytesIO(content)), "tag_v2", {})  # SMaxSampleValue, MaxSampleValue
        white = float(np.max(tags.get(341) or tags.get(281) or white))
    return (0, white) if 255 < white < 65535 else None


def _each(function: Callable[[Any], Any], items: Sequence[Any], desc: str) -> list[Any]:
    """The function of every item, on all cores: OpenCV releases Python's lock."""
    with ThreadPoolExecutor(cores()) as pool:
        return list(bar(pool.map(function, items), total=len(items), desc=desc, unit="image"))
