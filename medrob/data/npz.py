"""Arrays in MedMNIST's layout, {train,val,test}_{images,labels}; MedMNIST v2 (Yang et al. 2023) by name."""

import hashlib
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medrob.data import decode
from medrob.data.dataset import SPLITS, ImageDataset, numbered, parts
from medrob.files import atomic, cache, home

MEDMNIST = (
    *("pathmnist", "chestmnist", "dermamnist", "octmnist", "pneumoniamnist", "retinamnist"),
    *("breastmnist", "bloodmnist", "tissuemnist", "organamnist", "organcmnist", "organsmnist"),
)


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
        raise FileNotFoundError(
            f"{file} is not the official file and could not be downloaded ({error}); download {url} on a "
            f"computer with a connection, put it at {file}, and run this again; or give another copy's path"
        ) from None
    return file


def read(file: Path, split: str, size: int, seed: int) -> ImageDataset:
    """One split of a file; images of another size are resized (area average down, cubic up).

    A validation or test split that is not in the file is made of the training images.
    """
    arrays, held = _arrays(file)
    absent = [name for name in ("test", "val") if not {f"{name}_images", f"{name}_labels"} & {*held}]
    if split not in ("train", *absent) or not {"train_images", "train_labels"} <= {*held}:
        absent = []
    origin = "train" if absent else split
    if missing := [key for key in (f"{origin}_images", f"{origin}_labels") if key not in arrays]:
        raise ValueError(
            f"there is no {' and no '.join(missing)} (MedMNIST's layout is {{train,val,test}}_images and "
            f"{{train,val,test}}_labels); the file holds {', '.join(held) or 'nothing'}"
        )
    images, labels = arrays[f"{origin}_images"], arrays[f"{origin}_labels"]
    images = images[..., None] if images.ndim == 3 else images
    name, _, side = file.stem.partition("_")
    if name in MEDMNIST and (side.isdigit() or not side):
        import medmnist

        info = medmnist.INFO[name]
        names, task = tuple(info["label"].values()), "ordinal" * (info["task"] == "ordinal-regression")
    else:  # every split has the same classes, whichever is asked for
        names, task = numbered([arrays[key] for key in arrays if key.endswith("labels")], str(file)), ""
    dataset = ImageDataset(images, labels, names, task, None, file.stem, origin)
    height, width = images.shape[1:3]
    sides = (size or height, size or width)
    if not absent and sides == (height, width):
        return dataset
    made = parts(dataset.labels, None, seed, absent) if absent else np.full(len(images), split)
    rows = np.flatnonzero(made == split)
    chosen = cache() / f"{file.stem}-{dataset.fingerprint}-{split}-{len(absent)}-{seed}-{size}.npy"
    if not chosen.exists():
        with decode.written(chosen, (len(rows), *sides, dataset.channels), np.uint8) as result:
            for place, row in enumerate(rows):
                result[place] = decode.fit(images[row], size=size, channels=dataset.channels)
    return replace(dataset, images=decode.mapped(chosen), labels=dataset.labels[rows], split=split)


def _arrays(file: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays of a file that the layout knows, and the names of all that it holds."""
    known = {f"{split}_{what}" for split in SPLITS for what in ("images", "labels")}
    try:
        with np.load(file, allow_pickle=False) as archive:
            held = list(archive)
            if unread := [key for key in held if key not in known]:
                advice = (
                    "if they tell patients, list the images in a table, which keeps patients in one split"
                )
                warnings.warn(f"arrays that are not read: {', '.join(unread)}; {advice}", stacklevel=5)
            return {key: _unpacked(file, archive, key) for key in held if key in known}, held
    except Exception as error:  # a damaged file raises many kinds
        if "could not write" in str(error):
            raise
        if "pickle" in str(error) or "Python objects" in str(error):
            raise ValueError(
                "the file holds Python objects (pickles), which could run any code when opened, and is "
                "refused; save plain uint8 images and integer labels with np.savez_compressed"
            ) from None
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
    return array
