"""Data sets: the phantom, MedMNIST by name, one's own files, folders and tables."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medrob.data import decode, listing, npz, phantom
from medrob.data.dataset import SPLITS, TASKS, ImageDataset, complete, describe, subset
from medrob.data.decode import contents, fit, read
from medrob.files import exists, home
from medrob.run import Run

FORMATS = (".npz", ".csv", ".parquet")
# Of `load`, as notebook 01 gives them.
OPTIONS = ("size", "limit", "seed", "channels", "skip_unreadable", "group", "label", "uncertain")


def load(
    dataset: str,
    split: str = "test",
    *,
    size: int = 0,
    seed: int = 0,
    limit: int = 0,
    channels: int = 0,
    skip_unreadable: bool = False,
    group: str = "",
    label: str = "",
    uncertain: str = "",
) -> ImageDataset:
    """Load one split ("train", "val", "test") of a data set.

    Args:
        dataset: ``"phantom"`` (or ``"phantom:0.8"``: with a side marker tied to a class at strength 0.8), a
            MedMNIST name such as ``"pneumoniamnist"``, or a path, here or in the project's folder: of an
            ``.npz`` in MedMNIST layout (``{train,val,test}_{images,labels}``), of a folder of class folders,
            or of a table ``.csv`` or ``.parquet`` (see `medrob.data.listing`).
        size: side in pixels; 0 = the set's own (phantom 48, MedMNIST 28, files as stored). Images of another
            size are resized, those that are no squares stretched (area average down, cubic up).
        seed: of the phantom, of splits that have to be made, and of the choice of images.
        limit: at most so many images, every class in proportion; 0 = all.
        channels: 1 = image files become grey, 3 = RGB, 0 = RGB if most of them show colours, else grey.
        skip_unreadable: leave out image files that cannot be read, rather than refuse them all.
        group: the column of a table whose images stay in one split, such as "lesion_id"; "": patients and
            the like, where they are known by their names.
        label: the column of a table that holds the labels, or several of zeros and ones, separated by commas;
            "": as columns are called.
        uncertain: what labels of -1 in a table become: "zeros", "ones" or "drop" (their images are left out).
    """
    if split not in SPLITS:
        raise ValueError(f"split={split!r}: give one of {', '.join(SPLITS)}")
    path = find(str(dataset))
    if uncertain not in ("", "zeros", "ones", "drop"):
        raise ValueError(f"uncertain={uncertain!r}: give 'zeros', 'ones' or 'drop'")
    options = dict(group=group, label=label, uncertain=uncertain)
    if any(options.values()) and (path is None or path.suffix.lower() not in (".csv", ".parquet")):
        given = ", ".join(f"{name}={value!r}" for name, value in options.items() if value)
        raise ValueError(f"{given} is for tables; {dataset} is none")
    kind, _, strength = str(dataset).partition(":")
    if kind == "phantom":
        images, labels, lesions = phantom.generate(split, size, seed, limit, float(strength or 0))
        return ImageDataset(images, labels, phantom.CLASSES, "multiclass", lesions, str(dataset), split)
    path = path or npz.fetch(dataset, size or 28)
    try:
        if path.suffix.lower() == ".npz":
            return subset(npz.read(path, split, size, seed), limit, seed)
        rows, names, task = listed(path, **options)
        pictures = pd.Series(contents(rows["file"].tolist()))
        while True:  # all splits are decoded at once, and lie one after the other
            whole = decode.decoded(complete(rows, seed, pictures), path, size, channels, skip_unreadable)
            kept, images, masks, notes, pixels = whole
            alike = rows["file"].map(dict(zip(kept["file"], pixels, strict=True))).fillna(pictures)
            leak = kept["split"].groupby(np.array(pixels)).nunique().max() > 1
            # Of equal pixels in files that differ one learns only now: once more, and they stay together.
            if not leak or alike.nunique() == pictures.nunique():
                break
            pictures = alike
        _one_label(kept, pixels)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    for note in notes:
        warnings.warn(f"{path}: {note}", stacklevel=2)
    groups = kept["group"].to_numpy() if "group" in kept else None
    labels, files = np.array(kept["label"].tolist()), kept["file"].map(str).to_numpy()
    loaded = ImageDataset(images, labels, names, task, masks, path.stem, split, groups, files)
    return subset(loaded[(kept["split"] == split).to_numpy()], limit, seed)


def _one_label(rows: pd.DataFrame, pictures: Sequence[str]) -> None:
    """Refuse files of one picture that have different labels."""
    two = rows["label"].map(str).groupby(np.array(pictures)).transform("nunique") > 1
    if two.any():
        alike = rows["file"][two].groupby(np.array(pictures)[two])
        same = "; ".join([", ".join(map(str, files[:5])) for _, files in alike][:5])
        raise ValueError(f"of {len(alike)} pictures labels differ; keep one file of each: {same}")


def listed(path: Path, group: str = "", uncertain: str = "zeros", label: str = "") -> listing.Listing:
    """The files that a folder or a table lists, the class names and the task; nothing is decoded."""
    if path.is_file():
        return listing.of_table(path, group, uncertain, label)
    try:
        return listing.of_folder(path)
    except ValueError as error:
        tables = [str(file) for file in sorted(path.iterdir()) if file.suffix.lower() in (".csv", ".parquet")]
        raise ValueError(f"{error}{'; or give its table ' * bool(tables)}{', '.join(tables[:3])}") from None


def files(path: Path, group: str = "", uncertain: str = "") -> list[Path]:
    """The files of a data set at a path: those that `load` would read, a table itself among them."""
    if not path.is_dir() and path.suffix.lower() not in (".csv", ".parquet"):
        return [path]
    with warnings.catch_warnings(action="ignore"):  # loading tells
        rows, _, _ = listed(path, group, uncertain)
    named = [*rows["file"], *(mask for masks in rows.get("mask", ()) for mask in masks)]
    return named if path.is_dir() else [path, *named]


def load_run(run: Run, split: str) -> ImageDataset:
    """A split of the data that a run was begun with; a ValueError if they are no longer the same."""
    dataset = load(split=split, **run.data["parameters"])
    recorded = run.data["splits"][split]["fingerprint"]
    if dataset.fingerprint != recorded:
        raise ValueError(
            f"{dataset.name}, split {split!r}: the data have changed since run {run.name!r} was begun "
            f"(fingerprint {dataset.fingerprint}, then {recorded}); run 01_augment again"
        )
    return dataset


def find(dataset: str) -> Path | None:
    """The file or folder of a data set, here or in the project's folder; None for one known by its name."""
    if dataset.split(":")[0] == "phantom":
        if not re.fullmatch(r"phantom(:(0?\.\d+|[01](\.0*)?))?", dataset):
            raise ValueError(f"dataset={dataset!r}: give 'phantom' or 'phantom:0.8' (confounder, 0-1)")
        return None
    if dataset in npz.MEDMNIST:
        return None
    for path in filter(exists, (Path(dataset), home() / dataset) if dataset else ()):
        if path.is_dir() or (path.is_file() and path.suffix.lower() in FORMATS):
            return path
        if path.is_file():
            raise ValueError(f"dataset={dataset!r}: give an .npz, a .csv or .parquet table, or a folder")
    if "/" in dataset or Path(dataset).suffix:
        name = dataset if len(dataset) < 300 else f"{dataset[:40]}... ({len(dataset)} characters)"
        raise FileNotFoundError(f"no file or folder {name!r}, neither in {Path.cwd()} nor in {home()}")
    raise ValueError(
        f"dataset={dataset!r} is unknown; give 'phantom', the path of an .npz file in MedMNIST layout, of a "
        f"folder of class folders or of a table (.csv, .parquet), or one of {', '.join(npz.MEDMNIST)}"
    )
