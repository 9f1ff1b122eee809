"""Arrays in MedMNIST's layout, {train,val,test}_{images,labels}; MedMNIST v2 (Yang et al. 2023) by name."""

import hashlib
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medrob.data import decode, listing
from medrob.data.dataset import SPLITS, ImageDataset, numbered, parts
from medrob.files import atomic, cache, home

MEDMNIST = tuple(listing.KNOWN["medmnist"].split())


def fetch(name: str, size: int) -> Path:
    """The official file of a MedMNIST set, downloaded unless it is there with the right MD5."""
    import medmnist
    from torchvision.datasets.utils import download_url

    if size not in (28, 64, 128, 224):
        raise ValueError(f"size={size}: MedMNIST comes in 28, 64, 128, 224 pixels")
    info, suffix = medmnist.INFO[name], "" if size == 28 else f"_{size}"
    file, url = home() / "data" / "raw" / f"{name}{suffix}.npz", info["url" + suffix]
    try:
        download_url(url, root=str(file.parent), filename=file.name, md5=info["MD5" + suffix])
    except (OSError, RuntimeError) as error:
        told = f"{file} is not the official file and could not be downloaded ({error}); download {url} on a"
        advice = (
            f"computer with a connection, put it at {file}, and run this again; or give another copy's path"
        )
        raise FileNotFoundError(f"{told} {advice}") from None
    return file


def read(
    file: Path, splits: Sequence[str], size: int, seed: int, channels: int = 0, group: str = ""
) -> list[ImageDataset]:
    """Splits of a file; images of another size are resized (area average down, cubic up).

    A validation or test split that is not in the file is made of the training images. Arrays of a usual name,
    as `train_patients`, or `train_` and the `group`, say which images belong together. With `channels` 0, own
    images stored as RGB become grey if most of a sample show no colours.
    """
    arrays, held = _arrays(file, group)
    absent = [name for name in ("test", "val") if not {f"{name}_images", f"{name}_labels"} & {*held}]
    absent = absent if {"train_images", "train_labels"} <= {*held} else []
    origins = {name: "train" if name in absent else name for name in splits}
    needed = [f"{name}_{what}" for name in dict.fromkeys(origins.values()) for what in ("images", "labels")]
    if missing := [key for key in needed if key not in arrays]:
        layout = "MedMNIST's layout is {train,val,test}_images and {train,val,test}_labels"
        told = f"there is no {' and no '.join(missing)} ({layout})"
        raise ValueError(f"{told}; the file holds {', '.join(held) or 'nothing'}")
    if unread := [key for key in held if key not in arrays]:
        warnings.warn(f"arrays of the file that are not read: {', '.join(unread)}", stacklevel=3)
    name, _, side = file.stem.partition("_")
    if name in MEDMNIST and (side.isdigit() or not side):
        import medmnist

        info = medmnist.INFO[name]
        names, task = tuple(info["label"].values()), "ordinal" * (info["task"] == "ordinal-regression")
    else:  # every split has the same classes and channels, whichever is asked for
        given = {key: values for key, values in arrays.items() if key.endswith("labels")}
        names, task = numbered(given.values(), str(file)), ""
        channels = channels or _channels(arrays)
    owners, found = _owners(arrays, group), list[ImageDataset]()
    for split, origin in origins.items():
        images, labels = arrays[f"{origin}_images"], arrays[f"{origin}_labels"]
        whole = ImageDataset(images, labels, names, task, None, file.stem, origin, owners.get(origin))
        made = parts(whole.labels, whole.groups, seed, absent) if absent and origin == "train" else split
        rows = np.flatnonzero(np.full(len(whole), made) == split)
        form = (*(size or side for side in images.shape[1:3]), channels or whole.channels)
        if len(rows) < len(whole) or form != images.shape[1:]:
            made_of = hashlib.sha256(repr((whole.fingerprint, rows.tolist(), form)).encode()).hexdigest()
            chosen = cache() / f"{file.stem}-{made_of[:16]}.npy"
            if not chosen.exists():
                with decode.written(chosen, (len(rows), *form), np.uint8) as result:
                    for place, row in enumerate(rows):
                        result[place] = decode.fit(images[row], size=size, channels=form[2])
            images = decode.mapped(chosen)
        groups = whole.groups if whole.groups is None else whole.groups[rows]
        found += [replace(whole, images=images, labels=whole.labels[rows], groups=groups, split=split)]
    return found


def _owners(arrays: dict[str, np.ndarray], group: str) -> dict[Any, np.ndarray]:
    """The groups of the images of each split, if arrays tell them."""
    split = pd.Series(np.repeat(SPLITS, [sum(np.shape(arrays.get(f"{s}_images", ()))[:1]) for s in SPLITS]))
    columns = dict[str, pd.Series]()
    for key, values in arrays.items():
        where, _, what = key.partition("_")
        if what not in ("images", "labels"):
            if values.size != sum(split == where):
                raise ValueError(f"{key} holds {values.size} values; give one for each image")
            columns.setdefault(what, pd.Series(None, split.index, object))[split == where] = values.ravel()
    rows = pd.DataFrame({"split": split, "file": Path()})
    if columns or group:
        rows = listing.grouped(rows, pd.Series("", split.index), columns, {}, group)
    return {name: own["group"].to_numpy() for name, own in rows.groupby("split") if "group" in own}


def _channels(arrays: dict[str, np.ndarray]) -> int:
    """1, and a warning, if most of a sample of the images that are stored as RGB show no colours, else 0."""
    three = [images for images in arrays.values() if images.ndim == 4 and images.shape[-1] == 3]
    looked = [decode.coloured(x) for images in three for x in images[:: len(images) // decode.SAMPLED + 1]]
    if not looked or np.mean(looked) > 0.5:
        return 0
    told = f"grey images stored as RGB: {looked.count(False)} of {len(looked)} that were looked at"
    warnings.warn(f"{told}; all are read as one channel (channels=3: as RGB)", stacklevel=4)
    return 1


def _arrays(file: Path, group: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays of a file that are read, images as (N, H, W, C), and the names of all that it holds."""
    known = {"images", "labels", *filter(None, [group]), *listing.KNOWN["groups"].split()}
    try:
        with np.load(file, allow_pickle=False) as archive:
            held = list(archive)
            ends = {key: key.partition("_")[2] for key in held if key.partition("_")[0] in SPLITS}
            read = [k for k, end in ends.items() if {end, listing.plain(end).removesuffix("s")} & known]
            return {key: _unpacked(file, archive, key) for key in read}, held
    except Exception as error:  # a damaged file raises many kinds
        if "could not write" in str(error):
            raise
        if "pickle" in str(error) or "Python objects" in str(error):
            told = "the file holds Python objects (pickles), which could run any code, and is refused"
            advice = "save uint8 images, integer labels and patients as text (.astype(str)) with np.savez"
            raise ValueError(f"{told}; {advice}") from None
        raise ValueError(f"the file is damaged or truncated ({error}); fetch it again") from None


def _unpacked(file: Path, archive: Any, key: str) -> np.ndarray:
    """An array of an archive, unpacked once, by its size and checksum, and mapped."""
    member = archive.zip.getinfo(f"{key}.npy")
    name = hashlib.sha256(repr((key, member.file_size, member.CRC)).encode()).hexdigest()[:16]
    unpacked = cache() / f"{file.stem}-{name}.npy"
    if not unpacked.exists():
        with archive.zip.open(member) as packed, atomic(unpacked) as part, part.open("wb") as stream:
            shutil.copyfileobj(packed, stream, 2**22)
    array = decode.mapped(unpacked)
    if array.offset + array.nbytes != member.file_size:
        raise ValueError(f"{key} does not hold as many bytes as its shape {array.shape} needs")
    return array[..., None] if key.endswith("_images") and array.ndim == 3 else array
