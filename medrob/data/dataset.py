"""Images with labels, checked: what every other module takes; and splits, made, limited and described."""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from medrob.check import check_images

SPLITS = ("train", "val", "test")
MOST_CLASSES = 1000  # a label beyond is a mistake, and would fill the memory with classes
FOLDS = 10  # two become the test split, one the validation split: 7 : 1 : 2, as in MedMNIST


@dataclass(frozen=True)
class ImageDataset:
    """Images with labels, checked.

    Images are uint8 (N, H, W, C), C = 1 (grey) or 3 (RGB); labels int64 (N,) class indices, or (N, L) zeros
    and ones if the task is "multilabel"; masks bool (N, H, W), where the lesion is, or None; groups (N,), as
    the patient is one, whose images are no independent cases, or None; files (N,), their names, or None.
    Class names and task are by default "0", "1", ..., and what labels look like. Other arrays are refused.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...] = ()
    task: str = ""
    masks: np.ndarray | None = field(default=None, repr=False)
    name: str = "images"
    split: str = "test"
    groups: np.ndarray | None = field(default=None, repr=False)
    files: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        where = f"{self.name}, split {self.split!r}"
        images, labels = check_images(self.images, where), np.asarray(self.labels)
        if labels.dtype.kind not in "iub":
            raise TypeError(f"{where}: labels are {labels.dtype}; give class numbers as integers")
        labels = np.ascontiguousarray(labels, dtype=np.int64)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        names = tuple(self.class_names) or numbered([labels], where)
        single = "binary" if len(names) == 2 else "multiclass"
        task = self.task or (single if labels.ndim < 2 else "multilabel")
        shape = (len(images), len(names)) if task == "multilabel" else (len(images),)
        if labels.shape != shape:
            came = f"labels have shape {labels.shape} for {len(images)} images, {len(names)} classes"
            raise ValueError(f"{where}: {came} and task {task!r}; give {shape}")
        highest = 1 if task == "multilabel" else len(names) - 1
        if labels.size and not 0 <= labels.min() <= labels.max() <= highest:
            told = f"labels run from {labels.min()} to {labels.max()}, outside the {len(names)} classes"
            raise ValueError(f"{where}: {told} ({', '.join(names)}); allowed are 0 to {highest}")
        for key, value in {"images": images, "labels": labels, "task": task, "class_names": names}.items():
            object.__setattr__(self, key, value)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Any) -> ImageDataset:
        """The rows chosen by a slice, indices or a boolean array; not copied if they follow each other."""
        if not isinstance(rows, slice):
            rows = np.atleast_1d(np.arange(len(self))[rows])
            if len(rows) and (np.diff(rows) == 1).all():
                rows = slice(int(rows[0]), int(rows[-1]) + 1)
        known = {"masks": self.masks, "groups": self.groups, "files": self.files}
        parts = {name: values[rows] for name, values in known.items() if values is not None}
        return replace(self, images=self.images[rows], labels=self.labels[rows], **parts)

    @property
    def num_classes(self) -> int:
        """How many classes (labels, if multi-label) there are."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return self.images.shape[-1]

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many images each class has."""
        several = self.labels.ndim == 2
        found = self.labels.sum(0) if several else np.bincount(self.labels, minlength=self.num_classes)
        return dict(zip(self.class_names, found.tolist(), strict=True))

    def first_of_each(self) -> dict[str, int]:
        """The place of the first image of each class that has one: ``{class name: index}``."""
        hot = self.labels if self.labels.ndim == 2 else self.labels[:, None] == np.arange(self.num_classes)
        return {name: int(hot[:, k].argmax()) for k, name in enumerate(self.class_names) if hot[:, k].any()}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the shape, the images and the labels; 16 hexadecimal digits."""
        digest = hashlib.sha256(repr((self.images.shape, self.labels.shape)).encode())
        digest.update(self.images.data)
        digest.update(self.labels.data)
        return digest.hexdigest()[:16]

    @cached_property
    def pictures(self) -> pd.DataFrame:
        """A row an image: hash, span of grey levels, split, label in text, and file, or split and number."""
        files = [f"{self.split} {row}" for row in range(len(self))] if self.files is None else self.files
        found = pd.DataFrame({"file": files, "split": self.split, "label": list(map(str, self.labels))})
        found["span"] = np.ptp(self.images.reshape(len(self), -1), axis=1)
        return found.assign(picture=[hashlib.sha256(image.data).digest() for image in self.images])


def numbered(labels: Iterable[np.ndarray], where: str) -> tuple[str, ...]:
    """Names "0", "1", ... for the classes of labels, (N,) or (N, L), of one or more splits."""
    count = 2
    for array in labels:
        if array.dtype.kind in "iub":
            several = array.ndim > 1 and array.shape[-1] > 1
            count = max(count, array.shape[-1] if several else int(array.max(initial=1)) + 1)
    if count > MOST_CLASSES:
        raise ValueError(f"{where}: label {count - 1} stands for more than {MOST_CLASSES} classes")
    return tuple(map(str, range(count)))


def complete(rows: pd.DataFrame, seed: int, pictures: pd.Series) -> pd.DataFrame:
    """Make the splits that a listing lacks; sorted by split, then as listed.

    A missing validation split takes 10 % of the training images, a missing test split 20 %. Groups stay
    together, and so do images of equal `pictures`, such as hashes (N,). Classes are in proportion, as far as
    groups let them be, of several labels first the rarest.
    """
    splits = rows["split"].replace("", "train").to_numpy(copy=True)
    pool = np.flatnonzero(splits == "train")
    if not len(pool):
        raise ValueError(f"there are no training images; it has {', '.join(sorted(set(splits)))}")
    absent = [name for name in ("test", "val") if name not in splits]
    if absent:
        keys = rows.assign(picture=pictures.to_numpy()).filter(["picture", "group"]).iloc[pool]
        groups = together(keys) if keys["picture"].duplicated().any() else keys.get("group")
        splits[pool] = parts(np.array(rows["label"].tolist())[pool], groups, seed, absent)
    order = np.argsort([SPLITS.index(name) for name in splits], kind="stable")
    return rows.assign(split=splits).iloc[order].reset_index(drop=True)


def together(keys: pd.DataFrame) -> np.ndarray:
    """Numbers (N,), the same for rows that share a value of any column, or are linked by others that do."""
    from scipy.sparse import coo_array, csgraph

    held = keys.reset_index(drop=True).melt(ignore_index=False).dropna()  # blanks link nothing
    values = len(keys) + held.groupby(["variable", "value"], sort=False).ngroup()
    nodes = values.max() + 1
    links = coo_array((np.ones(len(held)), (held.index, values)), (nodes, nodes))
    return csgraph.connected_components(links, directed=False)[1][: len(keys)]


def parts(labels: np.ndarray, groups: Any, seed: int, absent: list[str]) -> np.ndarray:
    """The split of each image, str (N,): "train", and where they are absent, "val" and "test".

    Ten folds, stratified and by group, of which those become a split that hold most nearly a tenth of every
    class; then images or groups go to a split that lacks their class, if another split can spare them.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    rarest = _rarest(labels)
    kind, what = (StratifiedKFold, "images") if groups is None else (StratifiedGroupKFold, "groups")
    # A unit is an image or a group.
    unit = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    images, largest = np.bincount(unit), np.bincount(rarest, minlength=1).max()
    if min(len(images), largest) < FOLDS:
        few = f"{len(images)} {what}, {largest} images in the largest class, are too few to make a split of"
        raise ValueError(f"{few}; take at least {FOLDS}, or give train, val and test yourself")
    fold = np.empty(len(labels), int)
    with warnings.catch_warnings(action="ignore"):  # a class of fewer than ten images: `describe` says so
        found = kind(FOLDS, shuffle=True, random_state=seed).split(rarest, rarest, groups)
        for number, (_, rows) in enumerate(found):
            fold[rows] = number
    counts = pd.crosstab(fold, rarest)
    fairest = (counts / counts.mean() - 1).abs().sum(axis=1).sort_values(kind="stable").index
    tenths = dict(zip(fairest, 2 * ("test" in absent) * ["test"] + ("val" in absent) * ["val"], strict=False))
    splits = np.array([tenths.get(number, "train") for number in fold])
    hot = labels if labels.ndim == 2 else labels[:, None] == np.unique(labels)
    home = splits[np.unique(unit, return_index=True)[1]]  # the split of each unit
    held = pd.DataFrame(hot).groupby(unit).sum().to_numpy(int)  # (units, classes)
    order = np.random.default_rng(seed).permutation(len(images))
    for label, name in itertools.product(np.argsort(held.sum(0), kind="stable"), ["train", *absent]):
        if not held[home == name, label].any():
            left = {other: held[home == other].sum(0) for other in SPLITS}
            spare = [u for u in order if held[u, label] and (left[home[u]] > held[u])[held[u] > 0].all()]
            if spare:
                home[min(spare, key=lambda u: images[u])] = name
    if groups is not None and images.max() > len(unit) / 5:
        largest = f"the largest of {len(images)} groups has {images.max()} of {len(unit)} images"
        shares = ", ".join(f"{name} {(home[unit] == name).mean():.0%}" for name in ["train", *absent])
        warnings.warn(f"{largest}, and groups stay whole: splits are {shares}", stacklevel=2)
    return home[unit]


def _rarest(labels: np.ndarray) -> np.ndarray:
    """Of several labels the rarest that an image has, from 1 on, 0 for none; a single label as it is."""
    if labels.ndim == 1:
        return labels
    rarest = np.argsort(labels.sum(0), kind="stable")
    return np.where(labels.any(1), 1 + labels[:, rarest].argmax(1), 0)


def subset(dataset: ImageDataset, limit: int, seed: int) -> ImageDataset:
    """At most `limit` images (0: all), classes (of several the rarest) in proportion, in their order."""
    if not 0 < limit < len(dataset):
        return dataset
    order = np.random.default_rng(seed).permutation(len(dataset))
    # Sort by how far into its class an image stands: any first part then holds all in proportion.
    label = _rarest(dataset.labels)[order]
    of_class = pd.Series(label).groupby(label)
    order = order[np.argsort(of_class.cumcount() / of_class.transform("size"), kind="stable")]
    return dataset[np.sort(order[:limit])]


def describe(*datasets: ImageDataset) -> dict[str, dict[str, Any]]:
    """What a run's record keeps of splits: fingerprint, images, shape, task, counts, duplicates of each.

    Duplicates are the images whose picture, equal in every pixel, is in another of the splits, too: a warning
    names them. Splits that lack a class, or whose images are of different shapes, raise a ValueError.
    """
    name, shapes = datasets[0].name, {d.split: d.images.shape[1:] for d in datasets}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"{name}: the splits hold images of different shapes: {shapes}")
    for d in datasets:
        if absent := [label for label, count in d.counts.items() if not count]:
            told = f"{name}: split {d.split!r} ({len(d)} images) has none of class {', '.join(absent)}"
            advice = "leave the class out, take more images, or look for a stray label if there is none such"
            raise ValueError(f"{told}; every split needs all of {', '.join(d.class_names)}: {advice}")
    if all(d.task == "multilabel" and len(d) and (d.labels.sum(1) == 1).all() for d in datasets):
        told = "every image has exactly one label, and it is taken as one of several"
        warnings.warn(f"{name}: {told}; for classes give class numbers (N,)", stacklevel=2)
    every = pd.concat(d.pictures for d in datasets)
    shared = every.groupby("picture")["split"].transform("nunique") > 1
    if shared.any():
        same = every[shared].groupby("picture", sort=False)["file"].agg(lambda files: ", ".join(files[:3]))
        are = "1 picture is" if len(same) == 1 else f"{len(same)} pictures are"
        told = f"{are} in more than one split, such as {'; '.join(same[:5])}: scores on them say little"
        warnings.warn(f"{name}: {told}", stacklevel=2)
    leaks = every["split"][shared].value_counts()
    return {
        d.split: dict(fingerprint=d.fingerprint, images=len(d), shape=list(d.images.shape[1:]), task=d.task)
        | dict(counts=d.counts, duplicates=int(leaks.get(d.split, 0)))
        for d in datasets
    }
