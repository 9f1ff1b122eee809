"""Decoded images in memory-mapped files below ``data/cache``, named by what they were made of.

A set is decoded once, on all cores; sets larger than the memory are read from the disk page by page.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np

from medrob.data import decode
from medrob.data.listing import Listing
from medrob.files import atomic, home
from medrob.machine import cores
from medrob.progress import bar

VERSION = 2  # of the decoding: another number makes every set be decoded again
AT_ONCE = 32  # items that a thread takes at once: to hand over each alone costs as much as to hash a file
OLD = 86400  # seconds, after which an unfinished file is nobody's
DEPTHS = (10, 12, 14, 16)  # bits a pixel that 16-bit files are known to hold


def folder() -> Path:
    """Where the decoded sets are; it may be removed at any time."""
    return home() / "data" / "cache"


def decoded(
    listing: Listing, *, size: int, channels: int, skip_unreadable: bool
) -> tuple[Listing, np.ndarray, np.ndarray | None]:
    """The images of a listing: from the cache, or decoded in parallel into it.

    Returns:
        the listing, less unreadable rows if they are to be skipped; its images, uint8 (N, H, W, C); its
        masks, bool (N, H, W), or None.

    Raises:
        ValueError: unreadable files, unless skipped; images of different sizes or channels where `size` or
            `channels` do not say what to make of them.
    """
    masks = [] if listing.masks is None else [m for m in listing.masks if m]
    digests = file_digests([*listing.files, *masks])
    where = [] if listing.masks is None else [m is not None for m in listing.masks]
    key = hashlib.sha256(repr((VERSION, digests, where, size, channels)).encode()).hexdigest()[:16]
    base = folder() / f"{listing.source.stem}-{key}"
    kinds = ("images.npy", "masks.npy")[: 2 if masks else 1]
    unreadable = _unreadable(base, kinds)
    if unreadable is None or not all(_fails(listing, row) for row in list(unreadable)[:20]):
        _decode(listing, base, size, channels, bool(masks))
        unreadable = _unreadable(base, kinds) or {}
    if not unreadable:
        stored = [mapped(_file(base, kind)) for kind in kinds]
        return listing, stored[0], stored[1] if masks else None
    count = f"{len(unreadable)} of {len(listing)} images"
    shown = "; ".join(f"{listing.files[i]} ({why})" for i, why in list(unreadable.items())[:5])
    shown += f"; and {len(unreadable) - 5} more" if len(unreadable) > 5 else ""
    if not skip_unreadable:
        raise ValueError(
            f"{listing.source}: {count} cannot be used: {shown}. Repair or remove them, or give "
            "skip_unreadable=True"
        )
    rest = np.delete(np.arange(len(listing)), list(unreadable))
    if not len(rest):
        raise ValueError(f"{listing.source}: none of {len(listing)} images can be read")
    warnings.warn(f"{listing.source}: {count} are left out: {shown}", stacklevel=2)
    return decoded(listing[rest], size=size, channels=channels, skip_unreadable=True)


def _unreadable(base: Path, kinds: Sequence[str]) -> dict[int, str] | None:
    """What could not be decoded, and why; None if the set has not been decoded, or not all of it is there."""
    try:
        found = {int(i): why for i, why in json.loads(_file(base, "json").read_text()).items()}
    except (OSError, ValueError, AttributeError):
        return None
    try:
        return found if found or all(len(mapped(_file(base, kind))) for kind in kinds) else None
    except (OSError, ValueError):  # cut off
        return None


def mapped(file: Path) -> np.ndarray:
    """An array read page by page as it is used, and read-only: only then may it exceed the memory."""
    return np.load(file, mmap_mode="r", allow_pickle=False)


class Rows:
    """The rows of an array in a file, set by any thread; to map its new pages would take longer."""

    def __init__(self, stream: IO[bytes], shape: tuple[int, ...], dtype: type) -> None:
        self._stream, self._shape, self._dtype = stream, shape[1:], np.dtype(dtype)
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.flush()
        self._begin, self._size = stream.tell(), math.prod(shape[1:]) * self._dtype.itemsize
        end = self._begin + shape[0] * self._size
        if hasattr(os, "posix_fallocate"):  # a disk without room refuses now
            os.posix_fallocate(stream.fileno(), 0, end)
        os.truncate(stream.fileno(), end)

    def __setitem__(self, row: int, value: np.ndarray) -> None:
        whole = np.ascontiguousarray(np.broadcast_to(value, self._shape), self._dtype)
        os.pwrite(self._stream.fileno(), whole.data, self._begin + row * self._size)


@contextlib.contextmanager
def written(file: Path, shape: tuple[int, ...], dtype: type) -> Iterator[Rows]:
    """The rows of an array to be set, which becomes `file`, whole or not at all.

    Raises:
        OSError: the disk has no room for it.
    """
    with atomic(file) as part, part.open("wb") as stream:
        yield Rows(stream, shape, dtype)


def file_digests(files: Any) -> list[str]:
    """SHA-256 of each file (16 digits), read in parallel; files of known size and time are not read again."""
    names = [os.path.abspath(file) for file in files]  # noqa: PTH100  as above; relative ones mean another file elsewhere
    place = hashlib.sha256(os.path.commonpath(names).encode()).hexdigest()[:16]
    memory = folder() / f"files-{place}.json"
    try:
        known = dict(json.loads(memory.read_text()))
    except (OSError, ValueError, TypeError):
        known = {}
    result = dict(zip(names, each(lambda name: _digest(name, known.get(name)), names), strict=True))
    if result != {name: known.get(name) for name in names}:
        with atomic(memory) as part:
            part.write_text(json.dumps(known | result))
    return [result[name][2] for name in names]


def _digest(name: str, known: list[Any] | None) -> list[Any]:
    """[bytes, time in ns, SHA-256]."""
    try:
        status = os.stat(name)  # noqa: PTH116  a Path for each of 100,000 files takes its time
        if known and known[:2] == [status.st_size, status.st_mtime_ns]:
            return known
        with open(name, "rb") as stream:  # noqa: PTH123
            digest = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    except OSError as error:
        return [0, 0, f"unreadable: {error.strerror}"]
    return [status.st_size, status.st_mtime_ns, digest]


def each(function: Callable[[Any], Any], items: Any, desc: str = "") -> list[Any]:
    """The function of every item, on all cores; OpenCV and hashing release Python's lock."""
    items = list(items)
    some = max(1, min(AT_ONCE, len(items) // (8 * cores())))
    chunks = [items[i : i + some] for i in range(0, len(items), some)]
    result: list[Any] = []
    progress = bar(total=len(items), desc=desc, unit="image") if desc else contextlib.nullcontext()
    with progress as shown, ThreadPoolExecutor(cores()) as pool:
        for part in pool.map(lambda chunk: [function(item) for item in chunk], chunks):
            result += part
            if shown is not None:
                shown.update(len(part))
    return result


def _file(base: Path, kind: str) -> Path:
    return base.with_name(f"{base.name}.{kind}")


def _decode(listing: Listing, base: Path, size: int, channels: int, masked: bool) -> None:
    """Write images and masks, and after them the JSON that lists what is unreadable (then: only that)."""
    first = next((image for image in map(_readable, listing.files) if image is not None), None)
    height, width = first.shape[:2] if first is not None and not size else (size, size)
    colours = channels or (1 if first is None else first.shape[-1])
    levels = _levels(listing) if first is not None and first.dtype == np.uint16 else None
    other: dict[str, list[int]] = {"size": [], "channels": [], "depth": []}
    shape = (len(listing), max(height, 1), max(width, 1), colours)

    def work(row: int) -> str:
        try:
            image = decode.read(listing.files[row])
            if not size and image.shape[:2] != (height, width):
                other["size"].append(row)
            elif not channels and image.shape[-1] != colours:
                other["channels"].append(row)
            elif (image.dtype == np.uint16) != (levels is not None):
                other["depth"].append(row)
            else:
                images[row] = decode.fit(image, size=size, channels=colours, levels=levels or 255)
            if masked:
                masks[row] = _mask(listing.masks[row], shape[1:3])  # type: ignore[index]
        except decode.UnreadableError as error:
            return str(error)
        return ""

    for left in folder().glob(".*.part"):  # of a decoding that was killed
        if time.time() - left.stat().st_mtime > OLD:
            left.unlink(missing_ok=True)
    with contextlib.ExitStack() as stack:
        images = stack.enter_context(written(_file(base, "images.npy"), shape, np.uint8))
        if masked:
            masks = stack.enter_context(written(_file(base, "masks.npy"), shape[:3], bool))
        reasons = each(work, range(len(listing)), f"decoding {listing.source.name}")
        _refuse_other(listing, other, (height, width), colours, levels is not None)
    unreadable = {row: why for row, why in enumerate(reasons) if why}
    if unreadable:
        for kind in ("images.npy", "masks.npy"):
            _file(base, kind).unlink(missing_ok=True)
    with atomic(_file(base, "json")) as part:
        part.write_text(json.dumps(unreadable))


def _mask(file: Path | None, shape: tuple[int, int]) -> np.ndarray:
    try:
        return decode.read_mask(file, shape)
    except decode.UnreadableError as error:
        raise decode.UnreadableError(f"its mask {file}: {error}") from None


def _fails(listing: Listing, row: int) -> bool:
    """Whether an image or its mask cannot be read; names and decoders may have changed since it was tried."""
    try:
        decode.read(listing.files[row])
        if listing.masks is not None:
            decode.read_mask(listing.masks[row], (1, 1))
    except decode.UnreadableError:
        return True
    return False


def _readable(file: Path) -> np.ndarray | None:
    try:
        return decode.read(file)
    except decode.UnreadableError:
        return None


def _levels(listing: Listing) -> int:
    """The grey level that is white: the highest of as many bits as the brightest 16-bit pixel needs."""

    def white(file: Path) -> int:
        image = _readable(file)
        return int(image.max()) if image is not None and image.dtype == np.uint16 else 0

    brightest = max(each(white, listing.files, "looking for white"), default=0)
    return next(2**bits - 1 for bits in DEPTHS if brightest < 2**bits)


def _refuse_other(
    listing: Listing, other: dict[str, list[int]], side: tuple[int, int], colours: int, deep: bool
) -> None:
    """Refuse a set whose images are not all of one kind, where it has not been said what to make of it."""
    kind = "grey" if colours == 1 else "RGB"
    advice = {
        "size": f"are not of {side[0]}x{side[1]} pixels like the first; give size=, the side in pixels",
        "channels": f"are not {kind} like the first; give channels=1 (all grey) or channels=3 (all RGB)",
        "depth": f"have {8 if deep else 16} bit and the first has {16 if deep else 8}; store all in one",
    }
    for name, rows in other.items():
        if rows:
            raise ValueError(
                f"{listing.source}: {len(rows)} of {len(listing)} images, such as "
                f"{listing.files[min(rows)]}, {advice[name]}"
            )
