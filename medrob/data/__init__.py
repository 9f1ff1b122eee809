"""Data sets: the phantom, MedMNIST by name, one's own files, folders and tables."""

from medrob.data.dataset import SPLITS, TASKS, ImageDataset
from medrob.data.downloads import MEDMNIST, MEDMNIST_SIZES
from medrob.data.load import OPTIONS, find, load, load_run
from medrob.data.splits import check_splits, describe, duplicates, subset

__all__ = [
    "MEDMNIST",
    "MEDMNIST_SIZES",
    "OPTIONS",
    "SPLITS",
    "TASKS",
    "ImageDataset",
    "check_splits",
    "describe",
    "duplicates",
    "find",
    "load",
    "load_run",
    "subset",
]
