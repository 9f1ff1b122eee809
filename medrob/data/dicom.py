"""DICOM files to grey levels or colours, by pydicom's own functions."""

import contextlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

Dataset = Any  # pydicom's, which is imported only where there are such files


def is_dicom(file: Path) -> bool:
    """Whether a file bears the mark of DICOM, whatever its name, or is named so and is no other picture."""
    if file.is_file():  # opening a pipe would wait for ever
        named = file.suffix.lower() in (".dcm", ".dicom", ".ima") and not cv2.haveImageReader(str(file))
        with contextlib.suppress(OSError), file.open("rb") as stream:
            return named or stream.read(132)[128:] == b"DICM"
    return False


def header(file: Path, *, pixels: bool = False) -> Dataset:
    """A file's dataset; window and rescaling of an enhanced one lie where classic files have them.

    Windows of no width are left out. Eight bits without a window get one that is as wide as they are.
    """
    import pydicom
    from pydicom import uid

    dataset = pydicom.dcmread(file, force=True, stop_before_pixels=not pixels)
    if not {"Rows", "BitsStored"} <= {*dataset.dir()}:
        kind = dataset.file_meta.get("MediaStorageSOPClassUID")
        raise ValueError(f"it holds no picture of whole numbers ({getattr(kind, 'name', 'damaged')})")
    if "TransferSyntaxUID" not in dataset.file_meta:  # some archives leave the header out
        syntaxes = uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = syntaxes[bool(dataset.original_encoding[0])]
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in dataset.get(name) or ():
            for part in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                dataset.update((group.get(part) or [{}])[0])
    linear = (dataset.get("VOILUTFunction") or "LINEAR").upper() == "LINEAR"
    width = np.ravel(dataset.get("WindowWidth"))[0] or 0
    if width <= 0 or width < linear or dataset.get("WindowCenter") is None:
        dataset.pop("WindowCenter", None)
        if dataset.BitsStored <= 8 and (ends := levels(dataset)):
            dataset.WindowCenter, dataset.WindowWidth = sum(ends) / 2, ends[1] - ends[0]
            dataset.VOILUTFunction = "LINEAR_EXACT"
    return dataset


def whom(file: Path) -> dict[str, str]:
    """The patient and the study that a file shows, and what else several files may share."""
    import pydicom

    names = "PatientID PatientName StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID AccessionNumber"
    with contextlib.suppress(Exception):  # decoding says why
        known = pydicom.dcmread(file, force=True, specific_tags=[*names.split()])
        return {f"{tag} of DICOM": str(known.get(tag) or "") for tag in names.split()}
    return {}


def has_window(dataset: Dataset) -> bool:
    """Whether a dataset has a window or VOI LUT; else only a set can say what its black and white are."""
    if dataset.PhotometricInterpretation in ("MONOCHROME1", "MONOCHROME2"):
        return bool(dataset.get("VOILUTSequence")) or dataset.get("WindowCenter") is not None
    return dataset.PhotometricInterpretation == "PALETTE COLOR" or dataset.BitsAllocated <= 8


def levels(dataset: Dataset) -> tuple[float, float] | None:
    """The lowest and highest value, rescaled, of as many bits as are stored; None if all bits are in use.

    Then they say how large a number may be, and not how bright white is.
    """
    return None if dataset.BitsStored == dataset.BitsAllocated > 8 else _ends(dataset)


def _ends(dataset: Dataset) -> tuple[float, float]:
    """The lowest and the highest number of the bits that are stored, rescaled."""
    from pydicom.pixels import apply_modality_lut

    bits, lowest = dataset.BitsStored, -dataset.PixelRepresentation * 2 ** (dataset.BitsStored - 1)
    ends = apply_modality_lut(np.array([lowest, lowest + 2**bits - 1]), dataset)
    return float(min(ends)), float(max(ends))


def grey_or_colour(dataset: Dataset) -> np.ndarray:
    """Colours (H, W, 3) as stored, red first, or grey (H, W): uint8 through the first window or VOI LUT.

    Padding is black, MONOCHROME1 turned over. Without a window grey levels are float32, in the unit of the
    file, and padding is NaN.
    """
    from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut

    stored = _stored(dataset)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
        return stored if stored.dtype == np.uint8 else (stored >> 8).astype(np.uint8)
    if stored.ndim == 3:
        return stored
    values, tables = np.asarray(apply_modality_lut(stored, dataset), float), dataset.get("VOILUTSequence")
    window = [np.ravel(dataset.get(name))[0] or 0 for name in ("WindowCenter", "WindowWidth")]
    if not (np.isfinite(np.array(window, float)).all() and np.isfinite(values).all()):
        raise ValueError("its window or its rescaling is NaN or infinite")
    low, high = _ends(dataset)  # in every file the same: MONOCHROME1 is turned over about them
    if shown := has_window(dataset):
        for name in {"RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"} & {*dataset.dir()}:
            delattr(dataset, name)  # pydicom spreads a window over the range of the stored values:
        dataset.BitsStored, dataset.PixelRepresentation = 8, 0  # now that is 0 to 255
        with np.errstate(over="ignore"):  # far outside a narrow sigmoid window the exponential is infinite
            values = apply_voi_lut(np.rint(values).astype(int) if tables else values, dataset).astype(float)
        low, high = 0, 2 ** tables[0].LUTDescriptor[2] - 1 if tables else 255
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = low + high - values
    if (value := dataset.get("PixelPaddingValue")) is not None:
        # Written as signed or as unsigned: the type of the pixels says which.
        ends = np.array([value, dataset.get("PixelPaddingRangeLimit", value)]).astype(stored.dtype)
        values[(stored >= ends.min()) & (stored <= ends.max())] = 0 if shown else np.nan
    return np.rint(values * (255 / high)).astype(np.uint8) if shown else values.astype(np.float32)


def _stored(dataset: Dataset) -> np.ndarray:
    from pydicom.pixels.utils import get_expected_length
    from pydicom.uid import JPEGExtended12Bit

    if dataset.get("HighBit", dataset.BitsStored - 1) != dataset.BitsStored - 1:
        raise ValueError(f"its {dataset.BitsStored} bits end at bit {dataset.HighBit}: save it anew")
    if not dataset.file_meta.TransferSyntaxUID.is_compressed:
        held, needed = dataset.PixelData, get_expected_length(dataset)
        if any(held[needed + 1 :]):  # zeros, or any one byte, may fill it up
            raise ValueError(f"it holds {len(held)} bytes of pixels, and its size needs {needed}: damaged")
    if dataset.file_meta.TransferSyntaxUID != JPEGExtended12Bit or dataset.BitsStored == 8:
        return dataset.pixel_array
    import gdcm  # pydicom leaves 12 bits to a plugin under the GPL, though GDCM reads them

    reader = gdcm.ImageReader()
    reader.SetFileName(str(dataset.filename))
    if not reader.Read():
        raise ValueError("GDCM finds no JPEG in it")
    content = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(content, np.uint16).reshape(dataset.Rows, dataset.Columns)
