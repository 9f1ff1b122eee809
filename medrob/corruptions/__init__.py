"""Image corruptions: deterministic, batched, from 28 to 512 pixels and beyond, grey and RGB.

    >>> import numpy as np
    >>> from medrob import corruptions
    >>> images = np.zeros((4, 28, 28, 1), np.uint8)
    >>> for name in corruptions.names("thesis"):
    ...     corrupted = corruptions.corrupt(images, name, severity=3)

`suites` and `names` list what there is, `describe` explains one, `corrupt` applies it, `corruption` adds one.
`distances` says how far each severity goes, `export` writes corrupted test sets, `fingerprint` hashes what
corruptions follow from. A condition is a pair
(corruption, severity): `grid` lists those of a test, `apply_condition` and `examples` make its images.
"""

from medrob.corruptions import (  # noqa: F401  these register their corruptions
    blur,
    ct,
    digital,
    microscopy,
    mri,
    noise,
    photometric,
    ultrasound,
    weather,
    xray,
)
from medrob.corruptions.apply import corrupt, distances
from medrob.corruptions.conditions import CLEAN, SEVERITIES, Condition, apply_condition, examples, grid
from medrob.corruptions.draws import Draws
from medrob.corruptions.fingerprint import fingerprint
from medrob.corruptions.registry import NOT_MONOTONE, Corruption, corruption, describe
from medrob.corruptions.suites import names, suites
from medrob.corruptions.test_sets import export

__all__ = [
    "CLEAN",
    "NOT_MONOTONE",
    "SEVERITIES",
    "Condition",
    "Corruption",
    "Draws",
    "apply_condition",
    "corrupt",
    "corruption",
    "describe",
    "distances",
    "examples",
    "export",
    "fingerprint",
    "grid",
    "names",
    "suites",
]
