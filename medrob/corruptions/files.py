"""Corrupted test sets as files in the layout of MedMNIST-C."""

import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medrob.check import check_integer
from medrob.corruptions.apply import check_images, check_scale, corrupt
from medrob.corruptions.catalogue import describe

_BATCH = 1 << 25  # values in memory at once


def export(
    images: NDArray[np.uint8],
    labels: NDArray,
    folder: str | Path,
    names: Sequence[str],
    *,
    seed: int = 0,
    scale: str | None = None,
    split: str = "test",
) -> tuple[Path, ...]:
    """Write one .npz for each corruption: severities 1..5 stacked, as MedMNIST-C does (Di Salvo et al. 2024).

    `<folder>/<name>.npz` holds `<split>_images`, uint8 (5 N, H, W) or (5 N, H, W, 3), and `<split>_labels`
    (5 N, L). Written in batches, uncompressed; a file appears whole or not at all and replaces an older one.

    Returns:
        The paths, in the order of `names`.

    Raises:
        TypeError, ValueError: wrong images, labels or names.
        OSError: not enough free space for all files, found before the first is written.
    """
    check_images(images)
    labels = np.asarray(labels)
    if labels.ndim == 0:
        raise ValueError(f"labels is {labels!r}, but must hold a row for each image")
    if len(labels) != len(images):
        raise ValueError(f"labels has {len(labels)} rows, but there are {len(images)} images")
    if not len(images):
        raise ValueError("images is empty; there is nothing to export")
    if labels.dtype.kind not in "biuf":
        raise TypeError(f"labels has dtype {labels.dtype}, but must be numbers")
    if isinstance(names, str):
        raise TypeError(f"names is the string {names!r}, but must be a list, such as names('thesis')")
    if split not in ("train", "val", "test"):
        raise ValueError(f"split is {split!r}, but must be train, val or test")
    check_integer("seed", seed, 0)
    check_scale(scale)
    names = tuple(names)
    for name in names:
        if describe(name).colour and images.shape[-1] == 1:
            raise ValueError(f"{name!r} needs RGB images; names(suite, channels=1) leaves such out")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    needed = len(names) * (5 * (images.nbytes + labels.nbytes) + 4096)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"{folder} has {free / 1e6:,.1f} MB free, but {needed / 1e6:,.1f} MB are needed")
    labels = labels.reshape(len(labels), -1)
    return tuple(_write(images, labels, folder, name, seed, scale, split) for name in names)


def _write(
    images: NDArray[np.uint8],
    labels: NDArray,
    folder: Path,
    name: str,
    seed: int,
    scale: str | None,
    split: str,
) -> Path:
    """One file, first under a temporary name."""
    path = folder / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    count, height, width, channels = images.shape
    shape = (5 * count, height, width) + (channels,) * (channels > 1)

    def batches() -> Iterator[NDArray]:
        step = max(1, _BATCH // max(1, images[:1].size))
        for severity in range(1, 6):
            for i in range(0, count, step):
                yield corrupt(images[i : i + step], name, severity, seed=seed, start=i, scale=scale)

    try:
        with unfinished.open("wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                _write_array(archive, f"{split}_images", shape, np.dtype(np.uint8), batches())
                stacked = (labels for _ in range(5))
                _write_array(archive, f"{split}_labels", (5 * count, labels.shape[1]), labels.dtype, stacked)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
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
