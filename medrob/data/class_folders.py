"""A folder of class folders: ``train/normal/1.png``, ``Testing/glioma/2.jpg``, or ``normal/1.png``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medrob.data import decode
from medrob.data.dataset import SPLITS
from medrob.data.listing import Listing, classes, is_split, paths, split_name

# Files that are meant to be images; others (notes, tables, Thumbs.db) are passed over.
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".sr", ".ras", ".dcm", ".dicom", ".ima"),
)


def read(folder: Path) -> Listing:
    """List the images below a folder of class folders, or of split folders that hold class folders.

    Class and split folders may be links; a class folder may hold folders of its own.

    Raises:
        ValueError: no class folders, an empty one, fewer than two classes, loose images beside split
            folders, a folder that contains itself through a link.
    """
    roots = _roots(folder)
    rows = [(split, top.name, file) for split, root in roots for top, file in _class_images(root, split)]
    made = {split for split, _ in roots} != set(SPLITS)  # some split has to be drawn from these images
    deep = [top for _, root in roots for top in _folders(root) if made and _folders(top)]
    if deep:
        warnings.warn(
            f"{deep[0]} contains subfolders, whose images are split one by one: if these are patients, "
            "list the images in a table with a column 'patient'",
            stacklevel=2,
        )
    loose = [root for _, root in roots for file in root.iterdir() if is_image(file)]
    if loose:
        warnings.warn(
            f"{folder}: {len(loose)} images lie beside class folders, in {loose[0]}, and are left out: move "
            "them into the folder of their class",
            stacklevel=2,
        )
    labels, names = classes([row[1] for row in rows], str(folder))
    task = "binary" if len(names) == 2 else "multiclass"
    splits = np.array([row[0] for row in rows], "U5")
    return Listing(folder, paths([row[2] for row in rows]), labels, names, task, splits)


def _roots(folder: Path) -> list[tuple[str, Path]]:
    """The split folders with the names of their splits, or the folder itself with "" where there are none."""
    tops = _folders(folder)
    named = [top for top in tops if is_split(top.name)]
    if named and len(named) < len(tops):
        others = ", ".join(top.name for top in tops if top not in named)
        raise ValueError(
            f"{folder} holds the split {named[0].name} and beside it {others}: give either class folders or "
            "split folders (train, val, test) with class folders in them"
        )
    inner = [{child.name for child in _folders(top)} for top in tops]
    alike = len(tops) > 1 and len(inner[0]) > 1 and all(names == inner[0] for names in inner)
    if alike and not named and not any(map(is_split, inner[0])):
        raise ValueError(
            f"{folder}: {', '.join(top.name for top in tops)} all hold the folders "
            f"{', '.join(sorted(inner[0]))}; if those are the classes, call the folders above them train, "
            "val and test"
        )
    return [(split_name(top.name, str(folder)), top) for top in named] or [("", folder)]


def _class_images(root: Path, split: str) -> Iterator[tuple[Path, Path]]:
    """Each class folder below a split folder, with each of its images."""
    tops = _folders(root)
    if not tops:
        raise ValueError(
            f"{root} has no class folders: make one for each class, with its images in it, or list the "
            "images in a table (.csv or .parquet) with the columns path and label"
        )
    if len(tops) == 1 and not split and _folders(tops[0]):
        raise ValueError(f"{root} holds one folder, {tops[0].name}: give {tops[0]}")
    for top in tops:
        inner = next((child.name for child in _folders(top) if is_split(child.name)), None)
        if inner:
            raise ValueError(
                f"{top} holds the split {inner}: splits must be above the class folders, as in "
                "train/normal/1.png; move the folders, or list the images in a table"
            )
        images = sorted(_images(top, (top.resolve(),)))
        if not images:
            raise ValueError(f"class folder {top} is empty (no image in it); fill it, or remove the folder")
        yield from ((top, image) for image in images)


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, but for those of the system."""
    for lost in folder.iterdir():
        if lost.is_symlink() and not lost.exists() and lost.suffix.lower() not in SUFFIXES:
            raise ValueError(
                f"{lost} is a link to {lost.readlink()}, which is not there: repair or remove it"
            )
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__MACOSX")))


def _images(folder: Path, above: tuple[Path, ...]) -> list[Path]:
    """The image files below a folder; `above` are the real places on the way down to it."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith("."):
                continue
            if path.is_dir():
                real = path.resolve()
                if real in above:
                    raise ValueError(f"{path} is a link that leads back to {real}, which holds it: remove it")
                found += _images(path, (*above, real))
            elif is_image(path):
                found.append(path)
    return found


def is_image(path: Path) -> bool:
    """Whether a file is meant to be an image: by its name, or as DICOM, which is often named by a number."""
    if path.name.startswith("."):
        return False
    if path.suffix.lower() in SUFFIXES:
        return not path.is_dir()  # a link that leads nowhere is an image that cannot be read
    return decode.may_be_dicom(path) and path.is_file() and decode.is_dicom(path)
