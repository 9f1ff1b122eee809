"""Data sets: the phantom, MedMNIST by name, one's own files, folders and tables."""

import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medrob.data import decode, folder, listing, npz, phantom, table
from medrob.data.dataset import SPLITS, ImageDataset, complete, describe, subset
from medrob.data.decode import SidesError, fit, form, read
from medrob.files import checksums, exists, home
from medrob.run import Run

FAINT = 32  # grey levels; a picture of fewer has been stored in another range than the others
# Of `load`, as notebook 01 gives them.
OPTIONS = ("size", "limit", "seed", "channels", "group", "label", "uncertain")


def load(dataset: str, split: str = "test", **options: Any) -> ImageDataset:
    """Load one split ("train", "val", "test") of a data set; the options are those of `load_splits`."""
    return load_splits(dataset, split, **options)[0]


def load_splits(
    dataset: str,
    *splits: str,
    size: int = 0,
    seed: int = 0,
    limit: int = 0,
    channels: int = 0,
    group: str = "",
    label: str = "",
    uncertain: str = "",
) -> list[ImageDataset]:
    """Load splits of a data set; what is said of all of its files is said once.

    Args:
        dataset: ``"phantom"`` (or ``"phantom:0.8"``: with a side marker tied to a class at strength 0.8), a
            MedMNIST name such as ``"pneumoniamnist"``, or a path, here or in the project's folder: of an
            ``.npz`` in MedMNIST layout (``{train,val,test}_{images,labels}``), of a folder of class folders,
            or of a table (``.csv``, ``.parquet``, ...: see `medrob.data.table`).
        size: side in pixels; 0 = the set's own (phantom 48, MedMNIST 28, files as stored). Images of another
            size are resized, those that are no squares stretched (area average down, cubic up).
        seed: of the phantom, of splits that have to be made, and of the choice of images.
        limit: at most so many images, every class in proportion; 0 = all.
        channels: 1 = image files become grey, 3 = RGB, 0 = RGB if most of them show colours, else grey.
        group: the column of a table whose images stay in one split, such as "lesion_id"; or "file name",
            a number in it, or "folder", that in a class folder, of whom is shown; "": patients and the like,
            where they are known by their names.
        label: the column of a table that holds the labels, or several of zeros and ones, separated by commas
            (by "|": several labels an image, though every row has one); "": as columns are called.
        uncertain: what labels of -1 in a table become: "zeros", "ones" or "drop" (their images are left out).
    """
    if unknown := {*splits} - {*SPLITS}:
        raise ValueError(f"split={unknown.pop()!r}: give one of {', '.join(SPLITS)}")
    path = find(str(dataset))
    options = dict(group=group, label=label, uncertain=uncertain)
    given = ", ".join(f"{n}={v!r}" for n, v in options.items() if v and not (n == "group" and path))
    if given and not (path and path.suffix.lower() in listing.ENDINGS):
        raise ValueError(f"{given} is for tables; {dataset} is none")
    kind, _, strength = str(dataset).partition(":")
    if kind == "phantom":
        made = [(phantom.generate(split, size, seed, limit, float(strength or 0)), split) for split in splits]
        return [
            ImageDataset(images, labels, phantom.CLASSES, "multiclass", lesions, str(dataset), split)
            for (images, labels, lesions), split in made
        ]
    path = path or npz.fetch(dataset, size or 28)
    try:
        if path.suffix.lower() == ".npz":
            held = npz.read(path, splits, size, seed, channels, group)
            if path.stem.partition("_")[0] not in npz.MEDMNIST:  # which nobody can change
                _judge(pd.concat(d.pictures for d in held))
            return [subset(d, limit, seed) for d in held]
        rows, names, task = listed(path, **options)
        rows = complete(rows, seed, pd.Series(checksums(rows["file"].tolist())))
        rows = listing.without_unsure(rows)
        # All splits are decoded at once, and lie one after the other.
        report, images, masks = decode.decoded(rows, path, size, channels)
        _judge(rows.assign(label=rows["label"].map(str), picture=report["pixels"], span=report["span"]))
    except SidesError:
        raise
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    for note in _notes(rows["file"], report, images.shape[-1]):
        warnings.warn(note, stacklevel=2)
    labels = np.array(rows["label"].tolist())
    groups, files = rows["group"].to_numpy() if "group" in rows else None, rows["file"].map(str).to_numpy()
    whole = ImageDataset(images, labels, names, task, masks, path.stem, SPLITS[0], groups, files)
    held = [replace(whole[(rows["split"] == split).to_numpy()], split=split) for split in splits]
    return [subset(part, limit, seed) for part in held]


def _judge(rows: pd.DataFrame) -> None:
    """Refuse files of one picture that have different labels; tell of pictures that show next to nothing."""
    two = rows[rows.groupby("picture")["label"].transform("nunique") > 1]
    if len(two):
        same = "; ".join([", ".join(map(str, files[:5])) for _, files in two.groupby("picture")["file"]][:5])
        raise ValueError(f"a picture has different labels; keep one of each of these: {same}")
    faint = rows["file"][rows["span"] < FAINT]
    told = f"pictures, of {len(rows)} in all, that use less than {FAINT} of the 256 grey levels"
    listing.tell(told, faint, "; store all in one range, from black to white")


def _notes(files: pd.Series, report: pd.DataFrame, channels: int) -> Iterator[str]:
    """What was found in files and chosen for them, in sentences; `report` as of `decode.decoded`."""
    coloured, three = report["kind"] == "coloured", report["kind"] == "RGB"
    if three.any() or coloured.any() > coloured.all():
        also = f"; in colour: {coloured.sum()}, such as {files[coloured.idxmax()]}" if coloured.any() else ""
        way = "one channel (channels=3: as RGB)" if channels == 1 else "RGB (channels=1: as grey)"
        told = f"grey images: {(~coloured).sum()} of {len(files)}, stored as RGB: {three.sum()}{also}"
        yield f"{told}; all are read as {way}"
    if report["levels"][0]:
        used = (f"{bits} bits in {count}" for bits, count in sorted(report["bits"].value_counts().items()))
        yield f"{report['levels'][0]}; in use are {', '.join(used)}"
    if len(files) / 20 < report["drawn"].sum() < len(files):
        told = f"pictures of few grey levels, as masks have: {report['drawn'].sum()} of {len(files)}, such as"
        yield f"{told} {files[report['drawn'].idxmax()]}; call masks x_mask, or remove them"
    large = report["lesion"] > 0.5
    if large.any():
        told = f"masks that cover more than half of a picture: {large.sum()} of {report['lesion'].count()}"
        advice = "the lesion is what is not black: turn the masks over, or draw them anew, if it is not"
        yield f"{told}, such as that of {files[large.idxmax()]}; {advice}"
    if report["lesion"].notna().any() and not report["lesion"].any():
        yield f"no mask marks anything: {report['lesion'].count()} are black; the lesion is what is not black"
    if clear := report["clear"].sum():
        yield f"images with transparent parts: {clear}; the colours behind them are taken"
    if soft := report["soft"].sum():
        told = f"masks of many grey levels, or JPEG: those of {soft} pictures"
        yield f"{told}; the lesion is what is brighter than half of the brightest in them"


def listed(path: Path, group: str = "", uncertain: str = "zeros", label: str = "") -> listing.Listing:
    """The files that a folder or a table lists, the class names and the task; nothing is decoded."""
    return folder.of_folder(path, group) if path.is_dir() else table.of_table(path, group, uncertain, label)


def files(path: Path, **options: str) -> list[Path]:
    """The files of a data set at a path: those that `load` would read, a table itself among them."""
    if not path.is_dir() and path.suffix.lower() not in listing.ENDINGS:
        return [path]
    with warnings.catch_warnings(action="ignore"):  # loading tells
        rows, _, _ = listed(path, **options)
    named = [*rows["file"], *(mask for masks in rows.get("mask", ()) for mask in masks)]
    return named if path.is_dir() else [path, *named]


def load_run(run: Run, *splits: str) -> list[ImageDataset]:
    """Splits of the data that a run was begun with; a ValueError if they are no longer the same."""
    parameters = dict(run.data["parameters"])
    loaded = load_splits(parameters.pop("dataset"), *splits, **parameters)
    for d in loaded:
        recorded = run.data["splits"][d.split]["fingerprint"]
        if d.fingerprint != recorded:
            raise ValueError(
                f"{d.name}, split {d.split!r}: the data have changed since run {run.name!r} was begun "
                f"(fingerprint {d.fingerprint}, then {recorded}); run 01_augment again"
            )
    return loaded


def find(dataset: str) -> Path | None:
    """The file or folder of a data set, here or in the project's folder; None for one known by its name."""
    phantom_set = dataset.split(":")[0] == "phantom"
    if phantom_set and not re.fullmatch(r"phantom(:(0?\.\d+|[01](\.0*)?))?", dataset):
        raise ValueError(f"dataset={dataset!r}: give 'phantom' or 'phantom:0.8' (confounder, 0-1)")
    if phantom_set or dataset in npz.MEDMNIST:
        return None
    kinds = f"an .npz, a table ({', '.join(listing.ENDINGS)}; Excel: save as CSV), or a folder of classes"
    for path in filter(exists, (Path(dataset), home() / dataset) if dataset else ()):
        if path.is_dir() or (path.is_file() and path.suffix.lower() in (".npz", *listing.ENDINGS)):
            return path
        if path.is_file():
            raise ValueError(f"dataset={dataset!r}: give {kinds}")
    if "/" in dataset or Path(dataset).suffix:
        raise FileNotFoundError(f"no file or folder {dataset!r}, neither in {Path.cwd()} nor in {home()}")
    names = ", ".join(npz.MEDMNIST)
    raise ValueError(f"dataset={dataset!r} is unknown; give 'phantom', {names}, or the path of {kinds}")
