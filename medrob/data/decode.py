"""One image file to grey levels 0-255: whatever OpenCV reads, in 8 or 16 bit, and DICOM."""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np

MOST_PIXELS = 100_000_000  # 10,000 x 10,000; beyond, one image would take gigabytes
FEWEST_PIXELS = 4  # pixels a side
LARGE_JPEG = MOST_PIXELS // 512  # bytes; the least is a bit for 8x8 pixels
JPEG_BEGIN, JPEG_END = b"\xff\xd8", b"\xff\xd9"
JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
# ANYCOLOR keeps grey as grey and drops transparency, ANYDEPTH keeps 16 bit; both turn as the camera says.
AS_IT_IS = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
LIMIT = threading.Lock()  # Pillow's limit of pixels is one for all threads
TIFF = (".tif", ".tiff")
PHOTOMETRIC = 262  # the tag of a TIFF that says whether 0 is black (1) or white (0)
DICOM = (".dcm", ".dicom", ".ima")


class UnreadableError(ValueError):
    """A file that gives no image; the message says why."""


def read(file: Path) -> np.ndarray:
    """The image as it is stored: (H, W, C), grey or RGB, uint8 or uint16 (DICOM: through its window, uint8).

    Transparency is dropped.

    Raises:
        UnreadableError: no image, a damaged one, of another kind of number, too small or too large.
    """
    try:
        size = file.stat().st_size
        if not size:
            raise UnreadableError("zero bytes")
        suffix = file.suffix.lower()
        medical = suffix in DICOM or (may_be_dicom(file) and is_dicom(file))
        if medical:
            image = _dicom(file)
        else:
            if suffix in JPEG and not _ended(file, size):
                raise UnreadableError("cut off: a JPEG without its end")
            inverted = _look(file) if suffix not in JPEG or size > LARGE_JPEG else False
            image = cv2.imread(str(file), AS_IT_IS)
            if inverted and image is not None and image.dtype == np.uint16:
                image = 65535 - image  # OpenCV turns white as 0 round in 8 bit alone
    except (OSError, cv2.error) as error:
        raise UnreadableError(f"cannot be read: {error}") from None
    if image is None:
        raise UnreadableError("no image that OpenCV can decode")
    if image.dtype not in (np.uint8, np.uint16):
        raise UnreadableError(f"pixels are {image.dtype}, not 8 or 16 bit whole numbers")
    if min(image.shape[:2]) < FEWEST_PIXELS:
        raise UnreadableError(f"{image.shape[1]}x{image.shape[0]} pixels are too few to show anything")
    if image.ndim == 2:
        return image[..., None]
    return image if medical else image[..., ::-1]


def may_be_dicom(file: Path) -> bool:
    """Whether a name without an ending, or one such as "1.2.840.10008.5", may be that of a DICOM file."""
    return not file.suffix or file.suffix[1:].isdigit()


def is_dicom(file: Path) -> bool:
    """Whether a file bears the mark of DICOM."""
    try:
        with file.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def fit(image: np.ndarray, *, size: int, channels: int, levels: int) -> np.ndarray:
    """The image as uint8 (H, W, channels), stretched to a square of `size` unless that is 0.

    Args:
        image: from `read`.
        size: side in pixels; area average down, cubic up.
        channels: 1 (grey by the luma weights of ITU-R BT.601) or 3 (grey three times).
        levels: the grey level that becomes 255 in 16-bit images.
    """
    if size and image.shape[:2] != (size, size):
        image = resize(image, size)
    if image.dtype == np.uint16:
        image = np.clip(np.rint(image * (255 / levels)), 0, 255).astype(np.uint8)
    if channels == 1 and image.shape[-1] == 3:
        return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)[..., None]
    return np.broadcast_to(image, (*image.shape[:2], channels))


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """A square of `size` pixels a side, uint8 or uint16 (size, size, C): area average down, cubic up."""
    how = cv2.INTER_AREA if size < min(image.shape[:2]) else cv2.INTER_CUBIC
    if image.strides[-1] < 0:  # from `read`: it costs less to put red first once the picture is small
        blue_first = cv2.resize(image[..., ::-1], (size, size), interpolation=how)
        return cv2.cvtColor(blue_first, cv2.COLOR_BGR2RGB)
    return cv2.resize(image, (size, size), interpolation=how).reshape(size, size, image.shape[-1])


def read_mask(file: Path | None, shape: tuple[int, int]) -> np.ndarray:
    """A mask, bool (H, W): True where the picture is above zero; without a file nowhere.

    Raises:
        UnreadableError: see `read`.
    """
    if file is None:
        return np.zeros(shape, bool)
    mask = read(file).max(-1)
    return cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST) > 0


def _ended(file: Path, size: int) -> bool:
    """Whether a JPEG holds its end marker: OpenCV makes up what is missing, and only says so on stderr.

    Thumbnails, which have an end of their own, come before the picture. Other kinds under a JPEG's name are
    left to OpenCV.
    """
    with file.open("rb", buffering=0) as stream:
        if stream.read(2) != JPEG_BEGIN:
            return True
        stream.seek(-2, os.SEEK_END)
        if stream.read(2) == JPEG_END:  # where it nearly always is
            return True
        stream.seek(2)
        head = stream.read(4)
        while head[:1] == b"\xff" and head[1:2] != b"\xda" and len(head) == 4:
            stream.seek(max(int.from_bytes(head[2:], "big") - 2, 0), 1)
            head = stream.read(4)
        stream.seek(max(size - 65536, stream.tell()))
        return JPEG_END in stream.read()


def _look(file: Path) -> bool:
    """Look at the header before gigabytes are spent; True if white is stored as 0.

    Raises:
        UnreadableError: too many pixels, or several pictures in one TIFF.
    """
    from PIL import Image, UnidentifiedImageError

    with LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            with Image.open(file) as image:
                width, height = image.size
                tiff = file.suffix.lower() in TIFF
                pages = getattr(image, "n_frames", 1) if tiff else 1
                inverted = tiff and getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, struct.error):
            return False  # a kind that only OpenCV knows
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    _refuse_more(width, height)
    if pages > 1:
        raise UnreadableError(f"{pages} pages in one file; give one file for each picture")
    return inverted


def _refuse_more(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise UnreadableError(
            f"{width}x{height} pixels are more than {MOST_PIXELS:,}; cut it into tiles or make it smaller"
        )


def _dicom(file: Path) -> np.ndarray:
    """Grey levels through the window that the file declares, uint8 (H, W) or (H, W, 3)."""
    import pydicom

    try:
        dataset = pydicom.dcmread(file)
        frames = int(dataset.get("NumberOfFrames") or 1)
        if frames > 1:
            raise UnreadableError(f"{frames} frames in one file; give one file for each picture")
        _refuse_more(int(dataset.Columns), int(dataset.Rows))
        kind = dataset.get("PhotometricInterpretation")
        if kind == "PALETTE COLOR":
            raise UnreadableError("a palette of colours; export it as RGB")
        pixels = dataset.pixel_array
        grey = pixels if pixels.ndim == 3 else window(dataset, pixels)
    except UnreadableError:
        raise
    except Exception as error:  # pydicom raises many kinds on files that are damaged or compressed
        raise UnreadableError(f"no picture that pydicom can decode ({error})") from None
    if kind == "MONOCHROME1":
        grey = np.where(_padding(dataset, pixels), 0, 255 - grey)
    return grey


def window(dataset: Any, pixels: np.ndarray) -> np.ndarray:
    """Grey levels 0-255 (H, W) of stored values: rescaled, then through the first linear window.

    DICOM PS3.3 C.11.2.1.2 (LINEAR, LINEAR_EXACT, SIGMOID), as pydicom applies it. Without a window the
    file's own darkest and brightest pixel, padding apart, become 0 and 255.
    """
    from pydicom import Dataset
    from pydicom.pixels import apply_modality_lut, apply_voi_lut, apply_windowing

    values = np.asarray(apply_modality_lut(pixels, dataset), float)
    centre, width = (_first(dataset.get(key)) for key in ("WindowCenter", "WindowWidth"))
    if centre is not None and width is not None and width > 1:
        view = Dataset()  # pydicom spreads a window over the range of the stored values: here that is 8 bit
        view.PhotometricInterpretation, view.BitsStored, view.PixelRepresentation = "MONOCHROME2", 8, 0
        view.WindowCenter, view.WindowWidth = centre, width
        if dataset.get("VOILUTFunction") in ("LINEAR_EXACT", "SIGMOID"):
            view.VOILUTFunction = dataset.VOILUTFunction
        with np.errstate(over="ignore"):  # far outside a narrow sigmoid window the exponential is infinite
            return np.rint(apply_windowing(values, view)).astype(np.uint8)
    values = np.asarray(apply_voi_lut(values, dataset), float) if "VOILUTSequence" in dataset else values
    padding = _padding(dataset, pixels)
    shown = values[~padding]
    low, high = (shown.min(), shown.max()) if shown.size else (0.0, 0.0)
    share = (values - low) / ((high - low) or 1)
    share[padding] = 0
    return np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)


def _padding(dataset: Any, pixels: np.ndarray) -> np.ndarray:
    """Where a file is filled up around its picture, bool (H, W)."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(pixels.shape[:2], bool)
    ends = sorted((value, dataset.get("PixelPaddingRangeLimit", value)))
    return (pixels >= ends[0]) & (pixels <= ends[1])


def _first(value: Any) -> float | None:
    """A number, or the first of several."""
    if value is None or value == "":
        return None
    return float(value[0]) if hasattr(value, "__len__") and not isinstance(value, str) else float(value)
