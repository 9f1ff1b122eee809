"""The general refusals: images that are not uint8, columns that a table lacks, names of no module."""

import contextlib
from collections.abc import Iterator, Sequence
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pandas as pd


def check_images(images: np.ndarray, where: str = "") -> np.ndarray:
    """The images as a contiguous array, if they are uint8 (N, H, W, C) with 1 or 3 channels."""
    where = where and f"{where}: "
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        came = getattr(images, "dtype", type(images).__name__)
        raise TypeError(f"{where}images are {came}; give a uint8 array with grey levels 0-255")
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape[1:]:
        raise ValueError(
            f"{where}images have shape {images.shape}; give (N, H, W, C) with C = 1 (grey) or 3 (RGB)"
        )
    return np.ascontiguousarray(images)


def require(frame: pd.DataFrame, columns: Sequence[str], name: str) -> None:
    """Raise a ValueError unless the table has the columns."""
    missing = [column for column in columns if column not in frame]
    if missing:
        raise ValueError(
            f"the table {name} lacks {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}"
        )


def resolve(name: str) -> Any:
    """What the user's ``"package.module:name"`` names, imported; a ValueError says why it cannot be."""
    try:
        return resolve_name(name)
    except Exception as error:  # whatever the module does when it is imported
        told = f"{name!r} cannot be imported ({type(error).__name__}: {error})"
        advice = "give 'package.module:name', and put its folder on PYTHONPATH or start from there"
        raise ValueError(f"{told}; {advice}") from error


@contextlib.contextmanager
def only_the_sentence() -> Iterator[None]:
    """Let Jupyter and papermill show what a refusal says, and not the way through medrob to it."""
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        said = f"{type(error).__name__}: {error}"
        error._render_traceback_ = lambda: [said]  # type: ignore[union-attr]
        raise
