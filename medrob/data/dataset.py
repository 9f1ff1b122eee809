"""Images with labels, checked: what every other module takes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from medrob.check import check_images

SPLITS = ("train", "val", "test")
TASKS = ("binary", "multiclass", "multilabel", "ordinal")
MOST_CLASSES = 1000  # a label beyond is a mistake, and would fill the memory with classes


@dataclass(frozen=True)
class ImageDataset:
    """Images with labels, checked.

    Attributes:
        images: uint8 (N, H, W, C), C = 1 (grey) or 3 (RGB).
        labels: int64 (N,) class indices, or (N, L) zeros and ones if the task is "multilabel".
        class_names: one name a class; the default is "0", "1", ...
        task: one of `TASKS`; the default follows from the labels.
        masks: bool (N, H, W), where the lesion is, or None.
        name, split: where the images come from.

    Raises:
        TypeError, ValueError: an array of the wrong type or shape, or labels outside the classes.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...] = ()
    task: str = ""
    masks: np.ndarray | None = field(default=None, repr=False)
    name: str = "images"
    split: str = "test"

    def __post_init__(self) -> None:
        where = f"{self.name}, split {self.split!r}"
        images, labels = check_images(self.images, where), np.asarray(self.labels)
        if labels.dtype.kind not in "iub":
            raise TypeError(f"{where}: labels are {labels.dtype}; give class numbers as integers")
        labels = np.ascontiguousarray(labels, dtype=np.int64)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        task = self.task or guess_task(labels)
        if task not in TASKS:
            raise ValueError(f"{where}: task={task!r}; the tasks are {', '.join(TASKS)}")
        if labels.ndim != (2 if task == "multilabel" else 1) or len(labels) != len(images):
            raise ValueError(
                f"{where}: labels have shape {labels.shape} for {len(images)} images and task {task!r}; "
                "give (N,), or (N, L) for a multi-label set"
            )
        columns = labels.shape[1] if labels.ndim == 2 else int(labels.max(initial=1)) + 1
        names = tuple(self.class_names) or numbered(columns, where)
        highest = 1 if task == "multilabel" else len(names) - 1
        if labels.size and not 0 <= labels.min() <= labels.max() <= highest:
            raise ValueError(
                f"{where}: labels run from {labels.min()} to {labels.max()}, outside the "
                f"{len(names)} classes ({', '.join(names)}); allowed are 0 to {highest}"
            )
        if task == "multilabel" and len(names) != columns:
            raise ValueError(f"{where}: {columns} label columns but {len(names)} class names")
        masks = self.masks
        if masks is not None and (masks.dtype != bool or masks.shape != images.shape[:3]):
            raise ValueError(f"{where}: masks are {masks.dtype} {masks.shape}; give bool {images.shape[:3]}")
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
        masks = None if self.masks is None else self.masks[rows]
        return replace(self, images=self.images[rows], labels=self.labels[rows], masks=masks)

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
    def digests(self) -> np.ndarray:
        """A hash of the pixels of each image, bytes (N,): equal for equal pictures only."""
        return np.array([hashlib.sha256(image.data).digest()[:16] for image in self.images], "V16")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the shape, the images and the labels; 16 hexadecimal digits."""
        digest = hashlib.sha256(repr((self.images.shape, self.labels.shape)).encode())
        digest.update(self.images.data)
        digest.update(self.labels.data)
        return digest.hexdigest()[:16]


def guess_task(labels: np.ndarray) -> str:
    """The task that labels of this shape and range stand for, unless it is said."""
    if labels.ndim == 2:
        return "multilabel"
    return "binary" if labels.max(initial=1) <= 1 else "multiclass"


def numbered(count: int, where: str) -> tuple[str, ...]:
    """Names for so many classes: "0", "1", ..."""
    if count > MOST_CLASSES:
        raise ValueError(f"{where}: label {count - 1} stands for more than {MOST_CLASSES} classes")
    return tuple(map(str, range(count)))
