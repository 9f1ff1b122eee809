"""A listing: which image files there are, with labels and splits, before any is decoded."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medrob.data.dataset import MOST_CLASSES, SPLITS

# What folders and tables call the splits, in small letters and without "set" or "data" at the end.
ALIASES = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class Listing:
    """Image files with what is known of them; one row a file.

    Attributes:
        source: the folder or table that they come from.
        files: object (N,) of `Path`.
        labels: int64 (N,), or (N, L) zeros and ones for several labels.
        class_names, task: as in `ImageDataset`.
        splits: str (N,): "train", "val", "test", or "" where the split is still to be made.
        groups: str (N,), such as the patient, or None.
        masks: object (N,) of `Path` or None for each image, or None.
    """

    source: Path
    files: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    task: str
    splits: np.ndarray
    groups: np.ndarray | None = None
    masks: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: np.ndarray) -> Listing:
        """The rows chosen by an index or boolean array."""

        def of(array: np.ndarray | None) -> Any:
            return None if array is None else array[rows]

        labels, groups, masks = of(self.labels), of(self.groups), of(self.masks)
        files, splits = of(self.files), of(self.splits)
        return replace(self, files=files, labels=labels, splits=splits, groups=groups, masks=masks)


def paths(files: list[Any]) -> np.ndarray:
    """An array of objects that NumPy does not look into."""
    result = np.empty(len(files), object)
    result[:] = files
    return result


def classes(values: list[Any], where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers int64 (N,) and class names, from names or numbers; numbers keep their order.

    Raises:
        ValueError: fewer than two classes, or so many that the labels are no classes.
    """
    found = sorted(set(values))
    if not 2 <= len(found) <= MOST_CLASSES:
        shown = ", ".join(map(str, found[:3]))
        raise ValueError(
            f"{where}: the number of classes is {len(found)} ({shown}{', ...' if len(found) > 3 else ''}); "
            f"a classifier needs 2 to {MOST_CLASSES}"
        )
    number = {value: k for k, value in enumerate(found)}
    return np.array([number[value] for value in values], np.int64), tuple(map(str, found))


def is_split(name: str) -> bool:
    """Whether a folder's name is that of a split."""
    return _bare(name) in ALIASES


def _bare(name: str) -> str:
    """``Training_Set`` -> ``training``."""
    return re.sub(r"[ _-]?(set|data|images)$", "", name.strip().lower())


def split_name(name: str, where: str) -> str:
    """One of `SPLITS` for a name such as "Training".

    Raises:
        ValueError: no name of a split.
    """
    known = ALIASES.get(_bare(name))
    if known is None:
        raise ValueError(
            f"{where}: {name!r} is no split; the splits are {', '.join(SPLITS)} (also {', '.join(ALIASES)})"
        )
    return known
