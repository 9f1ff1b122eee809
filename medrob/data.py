"""Data sets: the phantom, MedMNIST by name, `.npz` files in MedMNIST layout."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medrob import phantom
from medrob.runs import Run, home

SPLITS = ("train", "val", "test")
TASKS = ("binary", "multiclass", "multilabel", "ordinal")
# The two-dimensional sets of MedMNIST v2 (Yang et al. 2023).
MEDMNIST = (
    *("pathmnist", "chestmnist", "dermamnist", "octmnist", "pneumoniamnist", "retinamnist"),
    *("breastmnist", "bloodmnist", "tissuemnist", "organamnist", "organcmnist", "organsmnist"),
)
MEDMNIST_SIZES = (28, 64, 128, 224)
MOST_CLASSES = 1000  # a label beyond is a mistake, and would fill the memory with classes
MEDMNIST_TASKS = {
    "binary-class": "binary",
    "multi-class": "multiclass",
    "multi-label, binary-class": "multilabel",
    "ordinal-regression": "ordinal",
}


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
        task = self.task or _guess_task(labels)
        if task not in TASKS:
            raise ValueError(f"{where}: task={task!r}; the tasks are {', '.join(TASKS)}")
        if labels.ndim != (2 if task == "multilabel" else 1) or len(labels) != len(images):
            raise ValueError(
                f"{where}: labels have shape {labels.shape} for {len(images)} images and task {task!r}; "
                "give (N,), or (N, L) for a multi-label set"
            )
        columns = labels.shape[1] if labels.ndim == 2 else int(labels.max(initial=1)) + 1
        names = tuple(self.class_names) or _numbered(columns, where)
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
        """The rows chosen by a slice, an index array or a boolean array."""
        rows = np.atleast_1d(np.arange(len(self))[rows])
        masks = None if self.masks is None else self.masks[rows]
        return ImageDataset(
            self.images[rows], self.labels[rows], self.class_names, self.task, masks, self.name, self.split
        )

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
        hot = self.labels if self.labels.ndim == 2 else np.eye(self.num_classes, dtype=int)[self.labels]
        return dict(zip(self.class_names, hot.sum(0).tolist(), strict=True))

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


def load(
    dataset: str,
    split: str = "test",
    *,
    size: int | None = None,
    root: str | Path | None = None,
    seed: int = 0,
    limit: int | None = None,
) -> ImageDataset:
    """Load one split of a data set.

    Args:
        dataset: ``"phantom"`` (or ``"phantom:0.8"``: with a side marker tied to a class at strength
            0.8), a MedMNIST name such as ``"pneumoniamnist"``, or the path of an ``.npz`` in
            MedMNIST layout (``{train,val,test}_{images,labels}``). Relative paths are looked for
            in the working directory, then in the project's folder.
        split: "train", "val" or "test".
        size: side in pixels; None or 0 = the set's own (phantom 64, MedMNIST 28, files as stored).
            Images of a file that have another size are resized (area average down, cubic up).
        root: folder of the MedMNIST downloads; default ``data/raw``.
        seed: of the phantom, and of the choice of images if `limit` is given.
        limit: at most so many images, every class in proportion; None or 0 = all.

    Raises:
        ValueError: an unknown name, split or size, a damaged or unsafe file.
        FileNotFoundError: no such file, or a download that failed; the message has the steps.
    """
    for name, value in {"size": size, "limit": limit}.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise ValueError(f"{name}={value!r}: give a whole number, or 0 or None for the set's own")
    if split not in SPLITS:
        raise ValueError(f"split={split!r}; the splits are {', '.join(SPLITS)}")
    dataset = str(dataset)
    if dataset.split(":")[0] == "phantom":
        return _load_phantom(dataset, split, size or 64, seed, limit or 0)
    if dataset in MEDMNIST:
        return _subset(_load_medmnist(dataset, split, size or 28, root), limit, seed)
    if dataset.endswith(".npz"):
        return _subset(_load_npz(_find(dataset), split, size), limit, seed)
    raise ValueError(
        f"dataset={dataset!r} is unknown; give 'phantom', the path of an .npz file in MedMNIST layout, "
        f"or one of {', '.join(MEDMNIST)}"
    )


def load_run(run: Run, split: str) -> ImageDataset:
    """A split of the data that a run was begun with (the parameters of its first stage).

    Raises:
        ValueError: the data are no longer the same.
    """
    began = run.params["01_augment"]
    dataset = load(began["dataset"], split, size=began["size"], seed=began["seed"], limit=began["limit"])
    recorded = run.record["stages"]["01_augment"]["data"][split]["fingerprint"]
    if dataset.fingerprint != recorded:
        raise ValueError(
            f"{dataset.name}, split {split!r}: the data have changed since run {run.name!r} was begun "
            f"(fingerprint {dataset.fingerprint}, then {recorded}); run 01_augment again"
        )
    return dataset


def check_splits(*datasets: ImageDataset) -> None:
    """Refuse splits that do not belong together, before anything is made of them.

    Raises:
        ValueError: an empty split, images of another shape, a class of which a split has no image.
    """
    shapes = {d.split: d.images.shape[1:] for d in datasets}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"{datasets[0].name}: the splits hold images of different shapes: {shapes}")
    for d in datasets:
        absent = [name for name, count in d.counts.items() if not count]
        if not len(d) or absent:
            raise ValueError(
                f"{d.name}: split {d.split!r} ({len(d)} images) has none of class {', '.join(absent)}; every "
                f"split needs all of {', '.join(d.class_names)}: leave the class out, take more images, or, "
                "if there is no such class, look for a stray label"
            )
        if d.task == "multilabel" and (d.labels.sum(1) == 1).all():
            warnings.warn(
                f"{d.name}: every image has exactly one label; for classes give (N,) class numbers "
                "(labels.argmax(1)), or a multi-label network is trained",
                stacklevel=2,
            )


def describe(*datasets: ImageDataset) -> dict[str, dict[str, Any]]:
    """What a run's record keeps of its data: ``{split: {fingerprint, images, shape, task, counts}}``."""
    return {
        d.split: {
            "fingerprint": d.fingerprint,
            "images": len(d),
            "shape": list(d.images.shape[1:]),
            "task": d.task,
            "counts": d.counts,
        }
        for d in datasets
    }


def check_images(images: np.ndarray, where: str = "images") -> np.ndarray:
    """The images as a contiguous array, if they are uint8 (N, H, W, C) with 1 or 3 channels.

    Raises:
        TypeError, ValueError: naming what came and what is allowed.
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        came = getattr(images, "dtype", type(images).__name__)
        raise TypeError(f"{where}: images are {came}; give a uint8 array with grey levels 0-255")
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape[1:]:
        raise ValueError(
            f"{where}: images have shape {images.shape}; give (N, H, W, C) with C = 1 (grey) or 3 (RGB)"
        )
    return np.ascontiguousarray(images)


def _guess_task(labels: np.ndarray) -> str:
    if labels.ndim == 2:
        return "multilabel"
    return "binary" if labels.max(initial=1) <= 1 else "multiclass"


def _numbered(count: int, where: str) -> tuple[str, ...]:
    """Names for so many classes."""
    if count > MOST_CLASSES:
        raise ValueError(f"{where}: label {count - 1} stands for more than {MOST_CLASSES} classes")
    return tuple(map(str, range(count)))


def _load_phantom(dataset: str, split: str, size: int, seed: int, limit: int) -> ImageDataset:
    try:
        confounder = float(dataset.partition(":")[2] or 0)
    except ValueError:
        raise ValueError(f"dataset={dataset!r}: give 'phantom' or 'phantom:0.8' (confounder, 0-1)") from None
    images, labels, masks = phantom.generate(split, size=size, seed=seed, limit=limit, confounder=confounder)
    return ImageDataset(images, labels, phantom.CLASSES, "multiclass", masks, dataset, split)


def _load_medmnist(name: str, split: str, size: int, root: str | Path | None) -> ImageDataset:
    import medmnist

    if size not in MEDMNIST_SIZES:
        raise ValueError(f"size={size}: MedMNIST comes in {', '.join(map(str, MEDMNIST_SIZES))} pixels")
    info = medmnist.INFO[name]
    suffix = "" if size == 28 else f"_{size}"
    folder = Path(root) if root else home() / "data" / "raw"
    file = folder / f"{name}{suffix}.npz"
    checksum = info["MD5" + suffix]
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        steps = (
            f"download {info['url' + suffix]} on a computer with a connection, put it at {file}, "
            "and run this again; or give the path of another copy as the data set"
        )
        try:
            # Opens the file too, which costs little and proves that it is whole.
            getattr(medmnist, info["python_class"])(split=split, download=True, size=size, root=str(folder))
        except (OSError, RuntimeError) as error:
            raise FileNotFoundError(
                f"{file} is not there and could not be downloaded ({error}); {steps}"
            ) from None
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "md5").hexdigest()
    if found != checksum:
        raise ValueError(
            f"{file} has MD5 {found}, the official file {checksum}: delete it to download it again, "
            "or give its path as the data set to use it as it is"
        )
    return _load_npz(file, split, None)


def _find(dataset: str) -> Path:
    for path in (Path(dataset), home() / dataset):
        if path.is_file():
            return path
    raise FileNotFoundError(f"no file {dataset!r}, neither in {Path.cwd()} nor in {home()}")


def _load_npz(file: Path, split: str, size: int | None) -> ImageDataset:
    found, held = _read_npz(file, split)
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
        values = (x for x in (labels, *found.values()) if x.dtype.kind in "iub")
        highest = max((int(x.max(initial=1)) for x in values), default=1)
        task = ("binary" if highest == 1 else "multiclass") if single else "multilabel"
        names = _numbered(highest + 1 if single else labels.shape[-1], str(file))
    dataset = ImageDataset(images, labels, names, task, None, file.stem, split)
    return _resized(dataset, size) if size else dataset


def _read_npz(file: Path, split: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """The images of a split and the labels of all, as far as they are there; and what the file holds."""
    keys = [f"{split}_images", *(f"{name}_labels" for name in SPLITS)]
    try:
        with np.load(file, allow_pickle=False) as archive:
            held = list(archive)
            found = {key: archive[key] for key in keys if key in held}
        if not all(isinstance(array, np.ndarray) for array in found.values()):
            raise ValueError("not arrays")
    except Exception as error:  # a damaged file raises many kinds
        if "pickle" in str(error):
            raise ValueError(
                f"{file} holds Python objects (pickles), which could run any code when opened, and is "
                "refused; save plain uint8 images and integer labels with np.savez_compressed"
            ) from None
        raise ValueError(f"{file} is damaged or truncated ({error}); fetch it again") from None
    return found, held


def _medmnist_info(file: Path) -> dict[str, Any] | None:
    """MedMNIST's facts for a file that bears a MedMNIST name (``pneumoniamnist_64.npz``)."""
    name = file.stem.split("_")[0]
    if name not in MEDMNIST:
        return None
    import medmnist

    return medmnist.INFO[name]


def _resized(dataset: ImageDataset, size: int) -> ImageDataset:
    import cv2

    height, width = dataset.images.shape[1:3]
    if (height, width) == (size, size):
        return dataset
    if size > min(height, width):
        warnings.warn(
            f"{dataset.name}: images of {height}x{width} are enlarged to {size}x{size}; "
            "that adds pixels, not detail",
            stacklevel=4,
        )
    how = cv2.INTER_AREA if size < min(height, width) else cv2.INTER_CUBIC
    images = np.empty((len(dataset), size, size, dataset.channels), np.uint8)
    for target, image in zip(images, dataset.images, strict=True):
        target[:] = cv2.resize(image, (size, size), interpolation=how).reshape(target.shape)
    return ImageDataset(
        images, dataset.labels, dataset.class_names, dataset.task, None, dataset.name, dataset.split
    )


def _subset(dataset: ImageDataset, limit: int | None, seed: int) -> ImageDataset:
    """At most `limit` images, every class in proportion (at least one each), in their old order."""
    if not limit or limit >= len(dataset):
        return dataset
    order = np.random.default_rng(seed).permutation(len(dataset))
    if dataset.labels.ndim == 1:
        # Sort by how far into its class an image stands: any first part then holds all in proportion.
        place = np.empty(len(dataset))
        for label in np.unique(dataset.labels):
            rows = order[dataset.labels[order] == label]
            place[rows] = np.arange(len(rows)) / len(rows)
        order = order[np.argsort(place[order], kind="stable")]
    return dataset[np.sort(order[:limit])]
