"""One split of any data set by one call."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from medrob.data import cache, class_folders, image_table, npz, phantom
from medrob.data.dataset import SPLITS, ImageDataset
from medrob.data.downloads import MEDMNIST, fetch
from medrob.data.splits import complete, subset
from medrob.files import home
from medrob.run import Run

TABLES = (".csv", ".parquet")
PHANTOM = r"phantom(:(0?\.\d+|[01](\.0*)?))?"
OPTIONS = ("size", "limit", "seed", "channels", "skip_unreadable")  # of `load`, as notebook 01 gives them


def load(
    dataset: str,
    split: str = "test",
    *,
    size: int | None = None,
    root: str | Path | None = None,
    seed: int = 0,
    limit: int | None = None,
    channels: int = 0,
    skip_unreadable: bool = False,
) -> ImageDataset:
    """Load one split of a data set.

    Args:
        dataset: ``"phantom"`` (or ``"phantom:0.8"``: with a side marker tied to a class at strength
            0.8), a MedMNIST name such as ``"pneumoniamnist"``, or a path: of an ``.npz`` in MedMNIST
            layout (``{train,val,test}_{images,labels}``), of a folder of class folders (see
            `medrob.data.class_folders`), or of a table ``.csv`` or ``.parquet`` (see
            `medrob.data.image_table`).
            Relative paths are looked for in the working directory, then in the project's folder.
        split: "train", "val" or "test".
        size: side in pixels; None or 0 = the set's own (phantom 48, MedMNIST 28, files as stored).
            Images of another size are resized, those that are no squares stretched (area average
            down, cubic up).
        root: folder of the MedMNIST downloads; default ``data/raw``.
        seed: of the phantom, of splits that have to be made, and of the choice of images if
            `limit` is given.
        limit: at most so many images, every class in proportion; None or 0 = all.
        channels: 1 = image files become grey, 3 = RGB, 0 = as they are, and all alike.
        skip_unreadable: leave out image files that cannot be read, rather than refuse them all.

    Raises:
        ValueError: an unknown name, split or size, damaged or unsafe files, labels that are no classes.
        FileNotFoundError: no such file or folder, or a download that failed; the message has the steps.
    """
    for name, value in {"size": size, "limit": limit}.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise ValueError(f"{name}={value!r}: give a whole number, or 0 or None for the set's own")
    if channels not in (0, 1, 3) or isinstance(channels, bool):
        raise ValueError(f"channels={channels!r}: give 1 (grey), 3 (RGB) or 0 (as the files are)")
    if split not in SPLITS:
        raise ValueError(f"split={split!r}; the splits are {', '.join(SPLITS)}")
    dataset = str(dataset)
    path = find(dataset)
    if dataset.split(":")[0] == "phantom":
        return _load_phantom(dataset, split, size or phantom.SIZE, seed, limit or 0)
    if path is None:
        return subset(npz.read(fetch(dataset, split, size or 28, root), split, 0), limit, seed)
    if path.suffix.lower() == ".npz":
        return subset(npz.read(path, split, size or 0, seed), limit, seed)
    return subset(_load_files(path, split, size or 0, seed, channels, skip_unreadable), limit, seed)


def load_run(run: Run, split: str) -> ImageDataset:
    """A split of the data that a run was begun with (the parameters of its first stage).

    Raises:
        ValueError: the data are no longer the same.
    """
    dataset = load(split=split, **run.data["parameters"])
    recorded = run.data["splits"][split]["fingerprint"]
    if dataset.fingerprint != recorded:
        raise ValueError(
            f"{dataset.name}, split {split!r}: the data have changed since run {run.name!r} was begun "
            f"(fingerprint {dataset.fingerprint}, then {recorded}); run 01_augment again"
        )
    return dataset


def _load_phantom(dataset: str, split: str, size: int, seed: int, limit: int) -> ImageDataset:
    confounder = float(dataset.partition(":")[2] or 0)
    images, labels, masks = phantom.generate(split, size=size, seed=seed, limit=limit, confounder=confounder)
    return ImageDataset(images, labels, phantom.CLASSES, "multiclass", masks, dataset, split)


def _load_files(
    path: Path, split: str, size: int, seed: int, channels: int, skip_unreadable: bool
) -> ImageDataset:
    """The split of a folder or a table; all splits are decoded at once, and lie one after the other."""
    listing = complete(image_table.read(path) if path.is_file() else class_folders.read(path), seed)
    listing, images, masks = cache.decoded(
        listing, size=size, channels=channels, skip_unreadable=skip_unreadable
    )
    first, last = np.searchsorted(
        [SPLITS.index(name) for name in listing.splits], SPLITS.index(split) + np.arange(2)
    )
    rows = slice(int(first), int(last))
    return ImageDataset(
        images[rows],
        listing.labels[rows],
        listing.class_names,
        listing.task,
        None if masks is None else masks[rows],
        path.stem,
        split,
    )


def find(dataset: str) -> Path | None:
    """The file or folder of a data set, here or in the project's folder; None for one that is known by name.

    Raises:
        ValueError, FileNotFoundError: an unknown name, or a path where nothing lies.
    """
    if dataset.split(":")[0] == "phantom":
        if not re.fullmatch(PHANTOM, dataset):
            raise ValueError(f"dataset={dataset!r}: give 'phantom' or 'phantom:0.8' (confounder, 0-1)")
        return None
    if dataset in MEDMNIST:
        return None
    for path in (Path(dataset), home() / dataset):
        if dataset and (path.is_dir() or (path.is_file() and path.suffix.lower() in (".npz", *TABLES))):
            return path
        if dataset and path.is_file():
            raise ValueError(f"dataset={dataset!r}: give an .npz, a .csv or .parquet table, or a folder")
    if "/" in dataset or Path(dataset).suffix:
        raise FileNotFoundError(f"no file or folder {dataset!r}, neither in {Path.cwd()} nor in {home()}")
    raise ValueError(
        f"dataset={dataset!r} is unknown; give 'phantom', the path of an .npz file in MedMNIST layout, of a "
        f"folder of class folders or of a table (.csv, .parquet), or one of {', '.join(MEDMNIST)}"
    )
