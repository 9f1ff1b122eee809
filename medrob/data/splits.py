"""Splits: made where they are missing, checked, searched for pictures that are in two of them."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from medrob.data.dataset import SPLITS, ImageDataset
from medrob.data.listing import Listing

Folds = tuple[int, ...]
FOLDS = 10  # two become the test split, one the validation split: 7 : 1 : 2, as in MedMNIST


def complete(listing: Listing, seed: int) -> Listing:
    """Make the splits that are missing, sorted by split, then as listed.

    Without any, 70 % of the images train, 10 % validate, 20 % test; a missing validation split takes 10 %
    of the training images, a missing test split 20 %. Groups stay together. Classes are in proportion, as far
    as groups let them be; of several labels the rarest of an image counts first, then all of them.

    Raises:
        ValueError: no training images, or too few images to split.
    """
    splits = listing.splits.copy()
    splits[splits == ""] = "train"
    if not (splits == "train").any():
        raise ValueError(f"{listing.source} has no training images; it has {', '.join(sorted(set(splits)))}")
    absent = [name for name in ("test", "val") if name not in splits]
    if absent:
        pool = np.flatnonzero(splits == "train")
        groups = None if listing.groups is None else listing.groups[pool]
        splits[pool] = parts(listing.labels[pool], groups, seed, absent, str(listing.source))
    order = np.argsort([SPLITS.index(name) for name in splits], kind="stable")
    return replace(listing, splits=splits)[order]


def _folds(labels: np.ndarray, groups: np.ndarray | None, seed: int, where: str) -> np.ndarray:
    """The fold, 0 to 9, of each image: stratified, and by group where there are groups."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    labels = _rarest(labels)
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    units = len(labels) if groups is None else len(set(groups))
    if units < FOLDS or np.bincount(labels).max() < FOLDS:
        what = "images" if groups is None else "groups"
        raise ValueError(
            f"{where} has {units} {what}, {np.bincount(labels).max()} images in its largest class: "
            f"too few to make a split of; take at least {FOLDS}, or give train, val and test yourself"
        )
    with warnings.catch_warnings():  # a class of fewer than ten images: `check_splits` says what is lacking
        warnings.filterwarnings("ignore", message="The least populated class")
        found = kind(FOLDS, shuffle=True, random_state=seed).split(labels, labels, groups)
        fold = np.empty(len(labels), int)
        for number, (_, rows) in enumerate(found):
            fold[rows] = number
    return fold


def _rarest(labels: np.ndarray) -> np.ndarray:
    """Of several labels the rarest that an image has, from 1 on, 0 for none; a single label as it is."""
    if labels.ndim == 1:
        return labels
    rarest = np.argsort(labels.sum(0), kind="stable")
    return np.where(labels.any(1), 1 + labels[:, rarest].argmax(1), 0)


def parts(
    labels: np.ndarray, groups: np.ndarray | None, seed: int, absent: list[str], where: str
) -> np.ndarray:
    """The split of each image, str (N,): "train", and where they are absent, "val" and "test".

    Ten folds, of which those become a split that are fairest; then single images or groups go to a split
    that lacks their class, as long as another split can spare them.

    Raises:
        ValueError: too few images or groups.
    """
    fold = _folds(labels, groups, seed, where)
    _, test, val = _fairest(labels, fold, absent)
    splits = np.full(len(labels), "train", "U5")
    splits[np.isin(fold, test)], splits[np.isin(fold, val)] = "test", "val"
    hot = labels if labels.ndim == 2 else labels[:, None] == np.unique(labels)
    unit = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(unit.max() + 1)
    images = np.bincount(unit)
    counts = [np.bincount(unit, column, len(images)) for column in hot.T.astype(float)]
    held = np.stack(counts, 1)  # (units, classes): a unit is an image or a group
    home = splits[np.unique(unit, return_index=True)[1]]  # the split of each unit
    for label in np.argsort(held.sum(0), kind="stable"):
        for name in ["train", *absent]:
            if (held[home == name, label] > 0).any():
                continue
            spare = {other: held[home == other].sum(0) for other in SPLITS}
            able = [
                u
                for u in order
                if held[u, label]
                and home[u] in ("train", *absent)
                and (spare[home[u]] - held[u] > 0)[held[u] > 0].all()
            ]
            if able:
                home[min(able, key=lambda u: images[u])] = name
    return home[unit]


def _fairest(
    labels: np.ndarray, fold: np.ndarray, absent: list[str]
) -> tuple[tuple[int, float], Folds, Folds]:
    """The folds that become test and validation, and how unfair that is.

    First counts how many classes are missing from a split, then how far the classes are from their share of
    all images; of equals, the first is taken.
    """
    hot = labels if labels.ndim == 2 else labels[:, None] == np.unique(labels)
    each = np.stack([hot[fold == number].sum(0) for number in range(FOLDS)])  # (folds, classes)
    images = np.bincount(fold, minlength=FOLDS)
    share = np.maximum(each.sum(0) / len(fold), 1e-9)
    test_size, val_size = 2 * ("test" in absent), 1 * ("val" in absent)

    def unfairness(test: Folds, val: Folds) -> tuple[int, float]:
        train = tuple(set(range(FOLDS)) - {*test, *val})
        missing, away = 0, 0.0
        for part in (list(part) for part in (train, test, val) if part):
            count, total = each[part].sum(0), max(images[part].sum(), 1)
            missing += int((count == 0).sum())
            away += np.square(count / total - share).dot(1 / share)  # of a rare class one image is more
            away += abs(len(part) / FOLDS - total / len(fold))
        return missing, round(float(away), 9)

    chosen = [
        (unfairness(test, val), test, val)
        for test in itertools.combinations(range(FOLDS), test_size)
        for val in itertools.combinations(sorted(set(range(FOLDS)) - set(test)), val_size)
    ]
    return min(chosen)


def subset(dataset: ImageDataset, limit: int | None, seed: int) -> ImageDataset:
    """At most `limit` images, every class in proportion (at least one each), in their old order.

    Of several labels, the rarest of an image counts.
    """
    if not limit or limit >= len(dataset):
        return dataset
    order = np.random.default_rng(seed).permutation(len(dataset))
    # Sort by how far into its class an image stands: any first part then holds all in proportion.
    labels, place = _rarest(dataset.labels), np.empty(len(dataset))
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        place[rows] = np.arange(len(rows)) / len(rows)
    order = order[np.argsort(place[order], kind="stable")]
    return dataset[np.sort(order[:limit])]


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
    shared = duplicates(*datasets)
    if len(shared):
        first = shared[shared["picture"] == 0]
        places = ", ".join(f"{row.split} {row.image}" for row in first[:3].itertuples())
        warnings.warn(
            f"{datasets[0].name}: {shared['picture'].nunique()} pictures are in more than one split, such as "
            f"{places}: scores on them say little (medrob.data.duplicates lists all)",
            stacklevel=2,
        )


def describe(*datasets: ImageDataset) -> dict[str, dict[str, Any]]:
    """What a run's record keeps: ``{split: {fingerprint, images, shape, task, counts, duplicates}}``.

    Duplicates are the images of a split whose picture is in another of these splits, too.
    """
    shared = duplicates(*datasets)["split"].value_counts()
    return {
        d.split: {
            "fingerprint": d.fingerprint,
            "images": len(d),
            "shape": list(d.images.shape[1:]),
            "task": d.task,
            "counts": d.counts,
            "duplicates": int(shared.get(d.split, 0)),
        }
        for d in datasets
    }


def duplicates(*datasets: ImageDataset) -> pd.DataFrame:
    """Pictures, equal in every pixel, that are in more than one split: a row for each place.

    Columns: picture (a number shared by equal pictures), split, image (the place in the split), label.
    """
    frame = pd.concat(
        pd.DataFrame(
            dict(digest=[d.tobytes() for d in data.digests], split=data.split, image=np.arange(len(data)))
        ).assign(label=list(data.labels))
        for data in datasets
    )
    splits = frame.groupby("digest")["split"].transform("nunique")
    shared = frame[splits > 1].reset_index(drop=True)
    picture = pd.factorize(shared["digest"])[0]
    return shared.assign(digest=picture).rename(columns={"digest": "picture"})
