"""Image corruptions: deterministic, batched, from 28 to 512 pixels and beyond, grey and RGB.

    >>> import numpy as np, medrob.corruptions as mc
    >>> images = np.zeros((4, 28, 28, 1), np.uint8)
    >>> for name in mc.names("thesis"):
    ...     corrupted = mc.corrupt(images, name, severity=3)

`suites` and `names` list what there is, `describe` explains one, `corrupt` applies it, `compose` chains
several, `distances` says how far each severity goes, `export` writes corrupted test sets. `as_augmenter` and
`register` exchange corruptions with imgaug.
"""

from typing import TYPE_CHECKING, Any

from medrob.corruptions.apply import corrupt
from medrob.corruptions.catalogue import Corruption, describe, names, suites
from medrob.corruptions.composition import Composition, compose, distances
from medrob.corruptions.files import export
from medrob.corruptions.tables import NOT_MONOTONE

if TYPE_CHECKING:
    from medrob.corruptions.imgaug_bridge import as_augmenter, register

__all__ = [
    "NOT_MONOTONE",
    "Composition",
    "Corruption",
    "as_augmenter",
    "compose",
    "corrupt",
    "describe",
    "distances",
    "export",
    "names",
    "register",
    "suites",
]


def __getattr__(name: str) -> Any:
    """Import imgaug only when its bridge is asked for."""
    if name in ("as_augmenter", "register"):
        from medrob.corruptions import imgaug_bridge

        return getattr(imgaug_bridge, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
