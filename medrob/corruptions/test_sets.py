"""Corrupted test sets as files in the layout of MedMNIST-C."""

import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.apply import check_colour, check_sides, corrupt
from medrob.corruptions.pixels import Images
from medrob.corruptions.registry import describe
from medrob.files import atomic

_BATCH = 1 << 25  # values in memory at once


def export(
    images: Images, labels: NDArray, folder: str | Path, names: Sequence[str], *, seed: int = 0
) -> tuple[Path, ...]:
    """Write one .npz for each corruption: severities 1..5 stacked, as MedMNIST-C does (Di Salvo et al. 2024).

    `<folder>/<name>.npz` holds `test_images`, uint8 (5 N, H, W) or (5 N, H, W, 3), and `test_labels`
    (5 N, L). Written in batches, uncompressed; a file appears whole or not at all and replaces an older one.

    Returns:
        The paths, in the order of `names`.

    Raises:
        TypeError, ValueError: wrong images, labels or names.
        OSError: not enough free space for all files, found before the first is written.
    """
    images = check_sides(images)
    labels = np.asarray(labels)
    if labels.dtype.kind not in "biuf":
        raise TypeError(f"labels has dtype {labels.dtype}, but must be numbers")
    if not len(images) or labels.shape[:1] != (len(images),):
        raise ValueError(
            f"labels have shape {labels.shape}, images {images.shape}; give one row for each image"
        )
    if isinstance(names, str):
        raise TypeError(f"names is the string {names!r}, but must be a list, such as names('thesis')")
    for name in names:
        check_colour(describe(name), images.shape[-1])
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    needed = len(names) * (5 * (images.nbytes + labels.nbytes) + 4096)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"{folder} has {free / 1e6:,.1f} MB free, but {needed / 1e6:,.1f} MB are needed")
    return tuple(_write(images, labels.reshape(len(labels), -1), folder, name, seed) for name in names)


def _write(images: Images, labels: NDArray, folder: Path, name: str, seed: int) -> Path:
    """One file, first under a temporary name."""
    path = folder / f"{name.replace(':', '.')}.npz"  # no file of Windows has a colon
    count, height, width, channels = images.shape
    shape = (5 * count, height, width) + (channels,) * (channels > 1)

    def batches() -> Iterator[NDArray]:
        step = max(1, _BATCH // images[:1].size)
        for severity in range(1, 6):
            for i in range(0, count, step):
                yield corrupt(images[i : i + step], name, severity, seed=seed, start=i)

    with atomic(path) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
        _write_array(archive, "test_images", shape, np.dtype(np.uint8), batches())
        _write_array(archive, "test_labels", (5 * count, labels.shape[1]), labels.dtype, iter([labels] * 5))
    return path


def _write_array(
    archive: zipfile.ZipFile, key: str, shape: tuple[int, ...], dtype: np.dtype, parts: Iterator[NDArray]
) -> None:
    """One array of an .npz, part by part along the first axis."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with archive.open(f"{key}.npy", "w", force_zip64=True) as entry:
        np.lib.format.write_array_header_1_0(entry, header)
        for part in parts:
            entry.write(np.ascontiguousarray(part).data)
