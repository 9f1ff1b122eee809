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
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from PIL import Image, TiffImagePlugin

from medrob.files import atomic, checksum, exists, home
from medrob.machine import bar, cores

MOST_PIXELS = 100_000_000  # 10,000 x 10,000; beyond, one image would take gigabytes
FEWEST_PIXELS = 4  # pixels a side
JPEG_SCAN, JPEG_END = b"\xff\xda", b"\xff\xd9"
# ANYCOLOR keeps grey as grey and drops transparency, ANYDEPTH keeps 16 bit; both turn as the camera says.
AS_IT_IS = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
DEPTHS = (10, 12, 14, 16)  # bits a pixel that 16-bit files are known to hold
VERSION = 3  # of the decoding: another number makes every set be decoded again
LARGE = 2**28  # bytes; larger arrays lie on the disk
# An array read page by page as it is used, and read-only: only then may it exceed the memory.
mapped = functools.partial(np.load, mmap_mode="r", allow_pickle=False)


class UnreadableError(ValueError):
    """A file that gives no image; the message says why."""


def read(file: Path) -> np.ndarray:
    """The image as it is stored: (H, W, C), grey or RGB, uint8 or uint16 (DICOM: through its window, uint8).

    Raises an `UnreadableError` if it is damaged, of another kind of number, too small or too large.
    """
    try:
        if not file.stat().st_size:
            raise UnreadableError("zero bytes")
        medical = is_dicom(file)
        image = _dicom(file) if medical else _picture(file.read_bytes())
    except (OSError, cv2.error) as error:
        raise UnreadableError(f"cannot be read: {error}") from None
    if image.dtype not in (np.uint8, np.uint16):
        raise UnreadableError(f"pixels are {image.dtype}, not 8 or 16 bit whole numbers")
    if min(image.shape[:2]) < FEWEST_PIXELS:
        raise UnreadableError(f"{image.shape[1]}x{image.shape[0]} pixels are too few to show anything")
    if image.ndim == 2:
        return image[..., None]
    return image if medical else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def is_dicom(file: Path) -> bool:
    """Whether a file is named as DICOM, or without an ending (or "1.2.840.10008.5") and bears its mark."""
    suffix = file.suffix.lower()
    if suffix[1:].isdigit() or not suffix:
        with contextlib.suppress(OSError), file.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    return suffix in (".dcm", ".dicom", ".ima")


def fit(image: np.ndarray, *, size: int, channels: int, levels: int = 255) -> np.ndarray:
    """The image as uint8 (H, W, channels); in 16 bit the grey level `levels` becomes 255.

    `size` makes it a square of so many pixels a side (area average down, cubic up), unless it is 0.
    """
    if size and image.shape[:2] != (size, size):
        how = cv2.INTER_AREA if size < min(image.shape[:2]) else cv2.INTER_CUBIC
        image = cv2.resize(image, (size, size), interpolation=how).reshape(size, size, -1)
    if image.dtype == np.uint16:
        image = np.clip(np.rint(image * (255 / levels)), 0, 255).astype(np.uint8)
    if channels == 1 and image.shape[-1] == 3:
        return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]  # luma weights of ITU-R BT.601
    return np.broadcast_to(image, (*image.shape[:2], channels))


def read_mask(file: Path | None, shape: tuple[int, ...]) -> np.ndarray:
    """A mask, bool (H, W): True where the picture is above zero; without a file nowhere."""
    if file is None:
        return np.zeros(shape, bool)
    try:
        return cv2.resize(read(file).max(-1), shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    except UnreadableError as error:
        raise UnreadableError(f"its mask {file}: {error}") from None


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
            if isinstance(header, TiffImagePlugin.TiffImageFile):
                pages, inverted = header.n_frames, header.tag_v2.get(262) == 0  # 0 is white
    except Image.DecompressionBombError as error:
        raise UnreadableError(f"{error}; cut it into tiles or make it smaller") from None
    except Exception:  # a kind that only OpenCV knows
        pass
    _check_size(*size, pages)
    image = cv2.imdecode(np.frombuffer(content, np.uint8), AS_IT_IS)
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
    """Grey levels through the window that the file declares, uint8 (H, W) or (H, W, 3) with red first."""
    import pydicom

    try:
        dataset = pydicom.dcmread(file)
        _check_size(dataset.Columns, dataset.Rows, int(dataset.get("NumberOfFrames") or 1))
        kind = dataset.get("PhotometricInterpretation")
        if kind == "PALETTE COLOR":
            raise UnreadableError("a palette of colours; export it as RGB")
        pixels = dataset.pixel_array
        if pixels.ndim == 3:
            return pixels
        padding = np.zeros(pixels.shape, bool)  # where the file is filled up around its picture
        if (value := dataset.get("PixelPaddingValue")) is not None:
            low, high = sorted((value, dataset.get("PixelPaddingRangeLimit", value)))
            padding = (pixels >= low) & (pixels <= high)
        grey = _window(dataset, pixels, padding)
    except Exception as error:  # pydicom raises many kinds on files that are damaged or compressed
        raise UnreadableError(f"not usable as DICOM: {error}") from None
    return np.where(padding, 0, 255 - grey) if kind == "MONOCHROME1" else grey


def _window(dataset: Any, pixels: np.ndarray, padding: np.ndarray) -> np.ndarray:
    """Grey levels 0-255 (H, W) of stored values: rescaled, then through the first linear window.

    DICOM PS3.3 C.11.2.1.2 (LINEAR, LINEAR_EXACT, SIGMOID), as pydicom applies it. Without a window the
    file's own darkest and brightest pixel, padding apart, become 0 and 255.
    """
    from pydicom import Dataset
    from pydicom.pixels import apply_modality_lut, apply_voi_lut, apply_windowing

    values = np.asarray(apply_modality_lut(pixels, dataset), float)
    centre, width = (np.ravel(dataset.get(key))[0] for key in ("WindowCenter", "WindowWidth"))
    if centre is not None and width is not None and width > 1:
        view = Dataset()  # pydicom spreads a window over the range of the stored values: here that is 8 bit
        view.PhotometricInterpretation, view.BitsStored, view.PixelRepresentation = "MONOCHROME2", 8, 0
        view.WindowCenter, view.WindowWidth = float(centre), float(width)
        if dataset.get("VOILUTFunction") in ("LINEAR_EXACT", "SIGMOID"):
            view.VOILUTFunction = dataset.VOILUTFunction
        with np.errstate(over="ignore"):  # far outside a narrow sigmoid window the exponential is infinite
            return np.rint(apply_windowing(values, view)).astype(np.uint8)
    values = np.asarray(apply_voi_lut(values, dataset), float) if "VOILUTSequence" in dataset else values
    shown = values[~padding] if not padding.all() else np.zeros(1)
    share = (values - shown.min()) / (np.ptp(shown) or 1)
    return np.rint(255 * np.clip(np.where(padding, 0, share), 0, 1)).astype(np.uint8)


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
    try:
        known = json.loads(store.read_text())
    except (OSError, ValueError):  # not there, or cut off
        known = {}
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
            with atomic(store) as part:
                part.write_text(json.dumps(known))
    return found


def decoded(
    rows: pd.DataFrame, source: Path, size: int, channels: int, skip_unreadable: bool
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray | None]:
    """A listing, its images uint8 (N, H, W, C) and masks bool (N, H, W): from the cache, or decoded now."""
    files, *masks = (rows[column].tolist() for column in ("file", "mask") if column in rows)
    known = list(itertools.chain(files, *masks))
    made_of = [VERSION, source.absolute(), size, channels, skip_unreadable, list(map(str, known))]
    made_of += contents(known)
    base = f"{source.stem}-{hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]}"
    report, *places = (cache() / f"{base}.{kind}" for kind in ("json", "images.npy", "masks.npy"))
    places = places[: 1 + len(masks)]
    try:
        unreadable, arrays = json.loads(report.read_text()), list(map(mapped, places))
    except (OSError, ValueError):  # not there, or cut off
        unreadable = _decode(files, masks, places, size, channels, skip_unreadable)
        with atomic(report) as part:
            part.write_text(json.dumps(unreadable))
        arrays = list(map(mapped, places))
    if unreadable:
        warnings.warn(f"{source}: {_told(files, unreadable)} are left out", stacklevel=2)
        rows = rows.drop(index=[row for row, _ in unreadable]).reset_index(drop=True)
    images, *spots = (array[: len(rows)] for array in arrays)
    return rows, images, spots[0] if spots else None


def _decode(
    files: list[Path], masks: list[list[Any]], places: list[Path], size: int, channels: int, skip: bool
) -> list[tuple[int, str]]:
    """Write images and masks. The rows that are unreadable and why: rows after them have moved up."""
    first = _readable(files)
    sides, colours, levels = (size, size) if size else first.shape[:2], channels or first.shape[-1], 255
    if first.dtype == np.uint16:  # white is the highest of as many bits as the brightest pixel needs
        brightest = max(_each(lambda file: int(_readable([file]).max()), files, "looking for white"))
        levels = next(2**bits - 1 for bits in DEPTHS if brightest < 2**bits)

    def work(row: int) -> str:
        try:
            image = read(files[row])
            for array, given in zip(spots, masks, strict=True):
                array[row] = read_mask(given[row], sides)
        except UnreadableError as error:
            return str(error)
        for alike, advice in (
            (size or image.shape[:2] == first.shape[:2], "give size=, the side in pixels"),
            (channels or image.shape[-1] == first.shape[-1], "give channels=1 (all grey) or 3 (all RGB)"),
            (image.dtype == first.dtype, "store all in 8 or all in 16 bit"),
        ):
            if not alike:
                kinds = f"is {image.shape} {image.dtype}, the first {first.shape} {first.dtype}"
                raise ValueError(f"{files[row]} {kinds} (height, width, channels); {advice}")
        images[row] = fit(image, size=size, channels=colours, levels=levels)
        return ""

    with contextlib.ExitStack() as stack:
        images = stack.enter_context(written(places[0], (len(files), *sides, colours), np.uint8))
        spots = [stack.enter_context(written(place, (len(files), *sides), bool)) for place in places[1:]]
        reasons = _each(work, range(len(files)), "decoding")
        unreadable = [(row, why) for row, why in enumerate(reasons) if why]
        if unreadable and not (skip and len(unreadable) < len(files)):
            advice = "cannot be used. Repair or remove them, or give skip_unreadable=True"
            raise ValueError(f"{_told(files, unreadable)} {advice}")
        for place, row in enumerate(row for row, why in enumerate(reasons) if not why):
            for array in (images, *spots) if place < row else ():
                array[place] = array[row]
    return unreadable


def _each(function: Callable[[Any], Any], items: Sequence[Any], desc: str) -> list[Any]:
    """The function of every item, on all cores: OpenCV releases Python's lock."""
    with ThreadPoolExecutor(cores()) as pool:
        return list(bar(pool.map(function, items), total=len(items), desc=desc, unit="image"))


def _readable(files: Iterable[Path]) -> np.ndarray:
    """The first image that can be read."""
    for file in files:
        with contextlib.suppress(UnreadableError):
            return read(file)
    return np.zeros((1, 1, 1), np.uint8)


def _told(files: list[Path], unreadable: list[tuple[int, str]]) -> str:
    """How many images are unreadable, and of the first five why."""
    shown = "; ".join(f"{files[row]}: {why}" for row, why in unreadable[:5])
    return f"{len(unreadable)} of {len(files)} images ({shown}{'; ...' if unreadable[5:] else ''})"
