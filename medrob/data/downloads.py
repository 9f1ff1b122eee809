"""MedMNIST v2 (Yang et al. 2023): its twelve two-dimensional sets by name."""

from __future__ import annotations

import hashlib
from pathlib import Path

from medrob.files import home

MEDMNIST = (
    *("pathmnist", "chestmnist", "dermamnist", "octmnist", "pneumoniamnist", "retinamnist"),
    *("breastmnist", "bloodmnist", "tissuemnist", "organamnist", "organcmnist", "organsmnist"),
)
MEDMNIST_SIZES = (28, 64, 128, 224)
MEDMNIST_TASKS = {
    "binary-class": "binary",
    "multi-class": "multiclass",
    "multi-label, binary-class": "multilabel",
    "ordinal-regression": "ordinal",
}


def fetch(name: str, split: str, size: int, root: str | Path | None) -> Path:
    """The official file of a set, downloaded if it is not there yet, its MD5 compared.

    Raises:
        ValueError: a size that there is not, or a file of another checksum.
        FileNotFoundError: the download failed; the message says what to do.
    """
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
    return file
