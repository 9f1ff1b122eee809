"""Image corruptions: deterministic, batched, from 28 to 512 pixels and beyond, grey and RGB.

    >>> import numpy as np
    >>> from medrob import corruptions
    >>> images = np.zeros((4, 28, 28, 1), np.uint8)
    >>> for name in corruptions.names("thesis"):
    ...     corrupted = corruptions.corrupt(images, name, severity=3)

`suites` and `names` list what there is, `describe` explains one, `corruption` adds one.
"""
# ruff: noqa: F401

from . import blur, ct, instruments, pixels, weather
from .apply import CLEAN, SEVERITIES, Condition, apply_condition, corrupt, distances, examples, export, grid
from .draws import Draws
from .registry import NOT_MONOTONE, Corruption, corruption, describe, fingerprint, names, suites
