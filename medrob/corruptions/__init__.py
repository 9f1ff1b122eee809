"""Image corruptions: deterministic, batched, from 28 to 512 pixels and beyond, grey and RGB.

    >>> for name in corruptions.names("thesis"):
    ...     corrupted = corruptions.corrupt(images, name, severity=3)  # uint8 (N, H, W, C)

`suites` and `names` list what there is, `describe` explains one, `corruption` adds one.
"""

from . import blur, ct, instruments, pixels, weather
from .apply import CLEAN, SEVERITIES, Condition, apply_condition, corrupt, examples, grid
from .draws import Draws
from .registry import Corruption, corruption, describe, fingerprint, names, suite_of, suites
