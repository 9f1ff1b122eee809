"""Image files to grey levels 0-255, whatever OpenCV reads in 8 or 16 bit, and DICOM: one, or a set at once.

A set is decoded once, on all cores, into memory-mapped files below ``data/cache``.
"""

import contextlib
import functools
import hashlib
import io
import itertools
import json
import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from PIL import Image, TiffImagePlugin

from medrob.data import dicom
from medrob.files import atomic, checksum, exists, home
from medrob.machine import bar, cores

MOST_PIXELS = 100_000_000  # 10,000 x 10,000; beyond, one image would take gigabytes
FEWEST_PIXELS = 4  # pixels a side
JPEG_SCAN, JPEG_END = b"\xff\xda", b"\xff\xd9"
# ANYCOLOR keeps grey as grey and drops transparency, ANYDEPTH keeps 16 bit; both turn as the camera says.
AS_IT_IS = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
DEPTHS = (8, 10, 12, 14, 16)  # bits a pixel that 16-bit files are known to hold
SAMPLED, PIXELS = 500, 10_000  # images, and pixels of each, in which black and white are looked for
INSIDE = (0.1, 99.9)  # percentiles of these pixels: what lies beyond is extreme
CHROMA, RARE = 8, 1e-3  # colours differ by more levels in more of the pixels; those of a grey JPEG do not
VERSION = 7  # of the decoding: another number makes every set be decoded again
LARGE = 2**28  # bytes; larger arrays lie on the disk
Levels = tuple[float, float]  # stored values that become black and white
# An array read page by page as it is used, and read-only: only then may it exceed the memory.
mapped = functools.partial(np.load, mmap_mode="r", allow_pickle=False)


class UnreadableError(ValueError):
    """A file that gives no image; the message says why."""


def read(file: Path) -> np.ndarray:
    """The image as it is `stored`; DICOM without a window from its darkest to its brightest pixel, uint8."""
    image = stored(file)
    if image.dtype != np.float32:
        return image
    shown = image[np.isfinite(image)]
    return fit(image, size=0, channels=1, levels=(shown.min(), shown.max()) if shown.size else (0, 1))


def stored(file: Path) -> np.ndarray:
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
    if image.ndim == 2:
        return image[..., None]
    return image if medical else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def is_dicom(file: Path) -> bool:
    """Whether a file is named as DICOM, or without an ending (or "1.2.840.10008.5") and bears its mark."""
    suffix = file.suffix.lower()
    if (suffix[1:].isdigit() or not suffix) and file.is_file():  # opening a pipe would wait for ever
        with contextlib.suppress(OSError), file.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    return suffix in (".dcm", ".dicom", ".ima")


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


def read_mask(
    files: Iterable[Path], shape: tuple[int, ...], sides: tuple[int, ...], resized: list[Path]
) -> np.ndarray:
    """Masks united, bool (H, W) of `sides`: True where one is above zero. `shape` is that of the picture;
    masks of another one join `resized`, if their sides have the same ratio, else they are refused.
    """
    united = np.zeros(sides, bool)
    for file in files:
        try:
            mask = stored(file).max(-1)
        except UnreadableError as error:
            raise UnreadableError(f"its mask {file}: {error}") from None
        if abs(mask.shape[0] * shape[1] - mask.shape[1] * shape[0]) > max(*mask.shape, *shape):
            raise UnreadableError(f"its mask {file}: {mask.shape} pixels are of another form than {shape}")
        resized += [file] * (mask.shape != shape)
        united |= cv2.resize(mask, sides[::-1], interpolation=cv2.INTER_NEAREST) > 0
    return united


def _picture(content: bytes) -> np.ndarray:
    """What OpenCV reads: (H, W), or (H, W, 3) with blue first."""
    # Of a JPEG OpenCV makes up what is missing. A thumbnail ends, too, but before the scan of the picture.
    cut = content.startswith(b"\xff\xd8") and not content.endswith(JPEG_END)
    if cut and content.rfind(JPEG_END) < content.rfind(JPEG_SCAN):
        raise UnreadableError("cut off: a JPEG without its end")
    size, pages, inverted = (0, 0), 1, False
    try:  # the header, before gigabytes are spent
        with Image.open(io.BytesIO(content)) as header:
            size = header.size
            pages = getattr(header, "n_frames", 1) if header.format in ("GIF", "TIFF") else 1
            if isinstance(header, TiffImagePlugin.TiffImageFile):
                inverted = header.tag_v2.get(262) == 0  # 0 is white
    except Image.DecompressionBombError as error:
        raise UnreadableError(f"{error}; cut it into tiles or make it smaller") from None
    except Exception:  # a kind that only OpenCV knows
        pass
    _check_size(*size, pages)
    image = cv2.imdecode(np.frombuffer(content, np.uint8), AS_IT_IS)
    if image is None and content.startswith(b"GIF8"):  # some builds of OpenCV read none
        with Image.open(io.BytesIO(content)) as picture:
            image = cv2.cvtColor(np.asarray(picture.convert("RGB")), cv2.COLOR_RGB2BGR)
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


def cache() -> Path:
    """Where the decoded sets are; it may be removed at any time."""
    return home() / "data" / "cache"


@contextlib.contextmanager
def written(file: Path, shape: tuple[int, ...], dtype: type) -> Iterator[np.ndarray]:
    """An array to be filled, which becomes `file`, whole or not at all; OSError if the disk has no room."""
    with atomic(file) as part:
        array = np.lib.format.open_memmap(part, "w+", dtype, shape)
        if hasattr(os, "posix_fallocate"):  # a disk without room refuses now, and not at one of the pages
            with part.open("rb+") as stream:
                os.posix_fallocate(stream.fileno(), 0, part.stat().st_size)
        yield array


def gather(name: str, rows: Iterable[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """A uint8 array of rows; a large one is a file of the cache, which is made once."""
    if math.prod(shape) <= LARGE:
        return np.fromiter(rows, (np.uint8, shape[1:]), shape[0])
    file = cache() / f"{name}.npy"
    if not file.exists():
        with written(file, shape, np.uint8) as result:
            for place, row in enumerate(rows):
                result[place] = row
    return mapped(file)


def contents(files: Sequence[Path | None]) -> list[str | None]:
    """The SHA-256 of files; None where there is none. A file is read once: its hash is kept in the cache, and
    holds while its inode, its size and both its times are the same, one of which no program can set.
    """
    store = cache() / "contents.json"
    known = _recall(store) or {}
    found: list[str | None] = []
    changed = False
    for file in files:
        if file is None or not exists(file):
            found.append(None)
            continue
        state = file.stat()
        now = [state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]
        name = str(file.absolute())
        if known.get(name, [])[:-1] != now:
            known[name], changed = [*now, checksum(file)], True
        found.append(known[name][-1])
    with contextlib.suppress(OSError):  # without it, files are read again next time
        if changed:
            _keep(store, known)
    return found


def _keep(file: Path, content: Any) -> None:
    """Write a file of the cache: JSON, and its checksum before it."""
    text = json.dumps(content)
    with atomic(file) as part:
        part.write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")


def _recall(file: Path) -> Any:
    """What `_keep` wrote; None if it is not there, or no longer what it was."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        digest, _, text = file.read_text().partition("\n")
        if digest == hashlib.sha256(text.encode()).hexdigest():
            return json.loads(text)
    return None


def decoded(
    rows: pd.DataFrame, source: Path, size: int, channels: int, skip_unreadable: bool
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray | None, list[str], list[str]]:
    """A listing, its images uint8 (N, H, W, C), masks bool (N, H, W): from the cache, or decoded now.

    Then come notes: what was found and chosen, in sentences; last a hash of each image's pixels.
    """
    files, *masks = (rows[column].tolist() for column in ("file", "mask") if column in rows)
    known = list(itertools.chain(files, *itertools.chain(*masks)))
    made_of = [VERSION, source.absolute(), size, channels, skip_unreadable, list(map(str, known + masks))]
    made_of += contents(known)
    base = f"{source.stem}-{hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]}"
    report, *places = (cache() / f"{base}.{kind}" for kind in ("json", "images.npy", "masks.npy"))
    places = places[: 1 + len(masks)]
    kept, arrays = _recall(report), []
    with contextlib.suppress(Exception):  # not there, or damaged: NumPy raises many kinds
        arrays = list(map(mapped, places))
    if kept is None or not arrays:
        kept = _decode(files, masks, places, size, channels, skip_unreadable)
        _keep(report, kept)
        arrays = list(map(mapped, places))
    unreadable, notes, pixels = kept
    if unreadable:
        warnings.warn(f"{source}: {_told(files, unreadable)} are left out", stacklevel=2)
        rows = rows.drop(index=[row for row, _ in unreadable]).reset_index(drop=True)
    images, *spots = (array[: len(rows)] for array in arrays)
    return rows, images, spots[0] if spots else None, notes, pixels


def _decode(
    files: list[Path], masks: list[list[Any]], places: list[Path], size: int, channels: int, skip: bool
) -> tuple[list[tuple[int, str]], list[str], list[str]]:
    """Write images and masks. The rows that are unreadable and why (rows after them have moved up); notes;
    the hashes of the images.
    """
    readable = (image for image in map(_try, files) if image is not None)
    first: np.ndarray = next(readable, np.zeros((1, 1, 1), np.uint8))
    medical, notes = all(map(is_dicom, files)), list[str]()
    sides, levels = (size, size) if size else first.shape[:2], _levels(files, first, notes)
    shown = fit(first, size=size, channels=first.shape[-1], levels=levels)
    colours, resized, flat = channels or (3 if _coloured(shown) else 1), list[Path](), list[Path]()

    def work(row: int) -> tuple[str, str, str]:
        try:
            image = stored(files[row])
            for array, given in zip(spots, masks, strict=True):
                array[row] = read_mask(given[row], image.shape[:2], sides, resized)
        except UnreadableError as error:
            return "unreadable", str(error), ""
        for alike, advice in (
            (size or image.shape[:2] == first.shape[:2], "give size=, the side in pixels"),
            (medical or image.dtype == first.dtype, "store all in 8 or all in 16 bit"),
        ):
            if not alike:
                kinds = f"is {image.shape} {image.dtype}, the first {first.shape} {first.dtype}"
                raise ValueError(f"{files[row]} {kinds} (height, width, channels); {advice}")
        flat.extend([files[row]] * bool(((image == image.min()) | (image == image.max())).all()))
        pixels = fit(image, size=size, channels=image.shape[-1], levels=levels)
        images[row] = fit(pixels, size=0, channels=colours)
        kind = "coloured" if _coloured(pixels) else "RGB" if pixels.shape[-1] == 3 else "grey"
        return kind, "", hashlib.sha256(images[row].data).hexdigest()[:32]

    with contextlib.ExitStack() as stack:
        images = stack.enter_context(written(places[0], (len(files), *sides, colours), np.uint8))
        spots = [stack.enter_context(written(place, (len(files), *sides), bool)) for place in places[1:]]
        kinds, reasons, found = zip(*_each(work, range(len(files)), "decoding"), strict=True)
        if resized:
            told = f"{len(resized)} masks are of another size than their image, such as {min(resized)}"
            notes.append(f"{told}: they are resized (nearest pixel)")
        if 0 < len(flat) < len(files):
            told = f"{len(flat)} of {len(files)} images hold two values at most, such as {min(flat)}"
            notes.append(f"{told}: if they are masks, call them as their image with _mask behind it")
        hashes = list(filter(None, found))
        unreadable = [(row, why) for row, why in enumerate(reasons) if why]
        if unreadable and not (skip and len(unreadable) < len(files)):
            advice = "cannot be used. Repair or remove them, or give skip_unreadable=True"
            raise ValueError(f"{_told(files, unreadable)} {advice}")
        for place, row in enumerate(row for row, why in enumerate(reasons) if not why):
            for array in (images, *spots) if place < row else ():
                array[place] = array[row]
    if not channels and (most := _channels(files, kinds, notes)) != colours:  # the first image is unlike most
        unreadable, _, hashes = _decode(files, masks, places, size, most, skip)
    return unreadable, notes, hashes


def _channels(files: list[Path], kinds: Sequence[str], notes: list[str]) -> int:
    """3 if most of files "grey", "RGB" (but grey) or "coloured" are in colour, else 1; adds what to say.

    A few tinted or annotated pictures do not make a set of grey ones coloured.
    """
    grey, three, coloured = (kinds.count(kind) for kind in ("grey", "RGB", "coloured"))
    most = 3 if coloured > grey + three else 1
    if three or (coloured and grey):
        told = f"{grey + three} of {len(files)} images are grey, {three} of them stored as RGB"
        way = "one channel (channels=3: as RGB)" if most == 1 else "RGB (channels=1: as grey)"
        also = f"; {coloured} show colours, such as {files[kinds.index('coloured')]}" if coloured else ""
        notes.append(f"{told}{also}: all are read as {way}")
    return most


def _coloured(pixels: np.ndarray) -> bool:
    """Whether an image uint8 (H, W, C) shows colours, more than a JPEG gives to grey."""
    away = np.abs(np.diff(pixels.astype(np.int16), axis=-1)).max(-1, initial=0)
    return np.count_nonzero(away > CHROMA) > RARE * away.size


def _levels(files: list[Path], first: np.ndarray, notes: list[str]) -> Levels:
    """Which stored values become black and white in a set of more than 8 bits; adds what to say.

    One range for all images: what their files declare, if they agree and an eighth of it is used, else the
    depth of which half is used, else where nearly all pixels lie, rounded outwards. No one picture moves it.
    """
    windows = [int(first.dtype == np.uint8)] * len(files)
    if all(map(is_dicom, files)):
        windows = _each(_windows, files, "looking for windows")
        shown = Counter(_each(_window, files, "comparing windows"))
        if len(shown) > 1:
            most = "; ".join(f"{window} in {count}" for window, count in shown.most_common(5))
            told = f"DICOM files have {len(shown)} different windows (centre/width: {most})"
            notes.append(f"{told}: if the classes differ in them, brightness alone tells the classes apart")
    if several := sum(count > 1 for count in windows):
        notes.append(f"{several} of {len(files)} DICOM files have several windows: the first is used")
    deep = sorted({file for file, count in zip(files, windows, strict=True) if not count})
    sample = deep[:: math.ceil(len(deep) / SAMPLED) or 1]
    looked = [*filter(None, _each(_sample, sample, "looking for black and white"))] if deep else []
    if not looked:
        return 0, 255
    low, high = np.percentile(np.concatenate([pixels for pixels, _ in looked]), INSIDE)
    step = 2.0 ** math.floor(math.log2((high - low or 16) / 16))
    levels, why = (math.floor(low / step) * step, math.ceil(high / step) * step), "found"
    declared = {ends for _, ends in looked}
    known = [((0, 2**bits - 1), 1 / 2, "found") for bits in reversed(DEPTHS)]
    known += [(ends, 1 / 8, "declared") for ends in declared if ends and len(declared) == 1]
    for ends, share, origin in known:
        if ends[0] <= low and high <= ends[1] and high - low > share * (ends[1] - ends[0]):
            levels, why = ends, origin
    lack = "" if first.dtype == np.uint16 else " and no window"
    nearly = f"{why}; {np.ptp(INSIDE):g} % of their pixels lie in {low:g} to {high:g}"
    notes.append(
        f"{len(deep)} of {len(files)} images have more than 8 bits{lack}: values {levels[0]:g} to "
        f"{levels[1]:g} become black to white ({nearly})"
    )
    return levels


def _windows(file: Path) -> int:
    with contextlib.suppress(Exception):  # decoding says why
        return dicom.windows(dicom.header(file))
    return 1


def _window(file: Path) -> str:
    with contextlib.suppress(Exception):
        known = dicom.header(file)
        return "/".join(f"{np.ravel(known[name].value)[0]:g}" for name in ("WindowCenter", "WindowWidth"))
    return "none"


def _try(file: Path) -> np.ndarray | None:
    with contextlib.suppress(UnreadableError):  # decoding says why
        return stored(file)
    return None


def _sample(file: Path) -> tuple[np.ndarray, Levels | None] | None:
    """Some stored values of an image, and what its file declares to be black and white."""
    if (image := _try(file)) is None:
        return None
    step = math.ceil(math.sqrt(image.size / PIXELS))
    pixels = image[::step, ::step].ravel()
    pixels = pixels[np.isfinite(pixels)]
    return (pixels, _declared(file)) if pixels.size else None


def _declared(file: Path) -> Levels | None:
    """Black and white, where a format says more than how large a number may be."""
    if is_dicom(file):
        return dicom.levels(dicom.header(file))
    content, white = file.read_bytes(), 0.0
    if content.startswith(b"\x89PNG") and (place := content.find(b"sBIT", 0, content.find(b"IDAT"))) > 0:
        white = 2 ** content[place + 4] - 1
    with contextlib.suppress(Exception), Image.open(io.BytesIO(content)) as header:
        if isinstance(header, TiffImagePlugin.TiffImageFile):  # SMaxSampleValue, MaxSampleValue
            white = float(np.max(header.tag_v2.get(341) or header.tag_v2.get(281) or 0))
    return (0, white) if 255 < white < 65535 else None


def _each(function: Callable[[Any], Any], items: Sequence[Any], desc: str) -> list[Any]:
    """The function of every item, on all cores: OpenCV releases Python's lock."""
    with ThreadPoolExecutor(cores()) as pool:
        return list(bar(pool.map(function, items), total=len(items), desc=desc, unit="image"))


def _told(files: list[Path], unreadable: list[tuple[int, str]]) -> str:
    """How many images are unreadable, and of the first five why."""
    shown = "; ".join(f"{files[row]}: {why}" for row, why in unreadable[:5])
    return f"{len(unreadable)} of {len(files)} images ({shown}{'; ...' if unreadable[5:] else ''})"
