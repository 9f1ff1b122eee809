"""Files of arrays in MedMNIST's layout: ``.npz`` with ``{train,val,test}_{images,labels}``."""

from __future__ import annotations

import hashlib
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medrob.data import cache, decode
from medrob.data.dataset import SPLITS, ImageDataset, numbered
from medrob.data.downloads import MEDMNIST, MEDMNIST_TASKS
from medrob.data.splits import parts
from medrob.files import atomic

LARGE = 2**28  # bytes; larger arrays are unpacked onto the disk and read from there page by page


def read(file: Path, split: str, size: int, seed: int = 0) -> ImageDataset:
    """One split of a file; images of another size are resized (area average down, cubic up).

    A validation or test split that is not in the file is made of the training images, see
    `medrob.data.splits.complete`.

    Raises:
        TypeError, ValueError: a damaged file, one that holds pickles, arrays of another type or shape.
    """
    found, held = _content(file, split)
    absent = [
        name for name in ("test", "val") if f"{name}_images" not in held and f"{name}_labels" not in held
    ]
    if absent and split in ("train", *absent) and {"train_images", "train_labels"} <= set(held):
        found = _made(found if split == "train" else _content(file, "train")[0], file, split, seed, absent)
    missing = [key for key in (f"{split}_images", f"{split}_labels") if key not in found]
    if missing:
        raise ValueError(
            f"{file} has no {' and no '.join(missing)}; it holds {', '.join(held) or 'nothing'}. "
            "MedMNIST layout is {train,val,test}_images and {train,val,test}_labels"
        )
    images, labels = found.pop(f"{split}_images"), found.pop(f"{split}_labels")
    images = images[..., None] if images.ndim == 3 else images
    known = _medmnist_info(file)
    if known:
        names, task = tuple(known["label"].values()), MEDMNIST_TASKS[known["task"]]
    else:  # every split has the same classes, whichever is asked for
        single = labels.ndim < 2 or labels.shape[-1] == 1
        others = [array for name, array in found.items() if name.endswith("_labels")]
        values = (x for x in (labels, *others) if x.dtype.kind in "iub")
        highest = max((int(x.max(initial=1)) for x in values), default=1)
        task = ("binary" if highest == 1 else "multiclass") if single else "multilabel"
        names = numbered(highest + 1 if single else labels.shape[-1], str(file))
    dataset = ImageDataset(images, labels, names, task, None, file.stem, split)
    return resized(dataset, size) if size else dataset


def _made(
    found: dict[str, np.ndarray], file: Path, split: str, seed: int, absent: list[str]
) -> dict[str, np.ndarray]:
    """A split that is made of the training images of a file."""
    images, labels = found["train_images"], found["train_labels"]
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    sound = flat.dtype.kind in "iub" and flat.ndim in (1, 2) and len(flat) == len(images) and flat.size
    if not sound or flat.min() < 0:
        raise ValueError(
            f"{file}: train_labels are {labels.dtype} {labels.shape} for {len(images)} images; give whole "
            "numbers from 0, (N,) or (N, L)"
        )
    rows = np.flatnonzero(parts(flat.astype(np.int64), None, seed, absent, str(file)) == split)
    if isinstance(images, np.memmap):  # too large for the memory
        kept = cache.folder() / f"{Path(str(images.filename)).stem}-{split}-{len(absent)}-{seed}.npy"
        if not kept.exists():
            with cache.written(kept, (len(rows), *images.shape[1:]), images.dtype.type) as result:
                for place, row in enumerate(rows):
                    result[place] = images[row]
        chosen = cache.mapped(kept)
    else:
        chosen = images[rows]
    others = {name: array for name, array in found.items() if name != "train_images"}
    return others | {f"{split}_images": chosen, f"{split}_labels": labels[rows]}


def resized(dataset: ImageDataset, size: int) -> ImageDataset:
    """The same pictures as squares of `size` pixels a side; large sets go into the cache."""
    height, width = dataset.images.shape[1:3]
    if (height, width) == (size, size):
        return dataset
    if size > min(height, width):
        warnings.warn(
            f"{dataset.name}: images of {height}x{width} are enlarged to {size}x{size}; "
            "that adds pixels, not detail",
            stacklevel=4,
        )
    shape = (len(dataset), size, size, dataset.channels)
    if np.prod(shape) <= LARGE:
        images = np.empty(shape, np.uint8)
        _resize(dataset.images, images, size)
        return replace(dataset, images=images)
    file = cache.folder() / f"{dataset.name}-{dataset.fingerprint}-{size}.npy"
    if not file.exists():
        with cache.written(file, shape, np.uint8) as rows:
            _resize(dataset.images, rows, size)
    return replace(dataset, images=cache.mapped(file))


def _resize(images: np.ndarray, result: np.ndarray | cache.Rows, size: int) -> None:
    for row, image in enumerate(images):
        result[row] = decode.resize(image, size)


def _content(file: Path, split: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """The images of a split and the labels of all, as far as they are there; and what the file holds."""
    keys = [f"{split}_images", *(f"{name}_labels" for name in SPLITS)]
    try:
        with np.load(file, allow_pickle=False) as archive:
            held = list(archive)
            found = {key: _array(file, archive, key) for key in keys if key in held}
        if not all(isinstance(array, np.ndarray) for array in found.values()):
            raise ValueError("not arrays")
    except Exception as error:  # a damaged file raises many kinds
        if "could not write" in str(error):
            raise
        if "pickle" in str(error) or "Python objects" in str(error):
            raise ValueError(
                f"{file} holds Python objects (pickles), which could run any code when opened, and is "
                "refused; save plain uint8 images and integer labels with np.savez_compressed"
            ) from None
        raise ValueError(f"{file} is damaged or truncated ({error}); fetch it again") from None
    return found, held


def _array(file: Path, archive: Any, key: str) -> np.ndarray:
    """An array of an archive; a large one is unpacked once, by its size and checksum, and mapped."""
    members = {info.filename: info for info in archive.zip.infolist()}
    member = members.get(f"{key}.npy")
    if member is None or member.file_size <= LARGE:
        return archive[key]
    name = hashlib.sha256(repr((key, member.file_size, member.CRC)).encode()).hexdigest()[:16]
    unpacked = cache.folder() / f"{file.stem}-{name}.npy"
    if not unpacked.exists():
        with archive.zip.open(member) as packed, atomic(unpacked) as part, part.open("wb") as stream:
            shutil.copyfileobj(packed, stream, 2**22)
    return cache.mapped(unpacked)


def _medmnist_info(file: Path) -> dict[str, Any] | None:
    """MedMNIST's facts for a file that bears a MedMNIST name (``pneumoniamnist_64.npz``)."""
    name, _, size = file.stem.partition("_")
    if name not in MEDMNIST or not (size.isdigit() or not size):
        return None
    import medmnist

    return medmnist.INFO[name]
