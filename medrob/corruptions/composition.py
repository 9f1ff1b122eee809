"""Several corruptions one after the other, and how far each severity takes an image."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medrob.check import check_integer
from medrob.corruptions.apply import corrupt
from medrob.corruptions.catalogue import describe


@dataclass(frozen=True)
class Composition:
    """Corruptions applied in order; call it with images as you would `corrupt`."""

    steps: tuple[tuple[str, int], ...]

    def __call__(
        self, images: NDArray[np.uint8], *, seed: int = 0, start: int = 0, scale: str | None = None
    ) -> NDArray[np.uint8]:
        """Images after every step. What draws the same field as an earlier step gets another one."""
        seed = check_integer("seed", seed, 0)
        met: Counter[str] = Counter()
        for name, severity in self.steps:
            key = describe(name).key
            step_seed = seed + (met[key] << 64)
            images = corrupt(images, name, severity, seed=step_seed, start=start, scale=scale)
            met[key] += 1
        return images


def compose(steps: Sequence[tuple[str, int]]) -> Composition:
    """A corruption made of several: compose([("gaussian_noise", 2), ("motion_blur", 3)])(images, seed=0).

    Raises:
        TypeError, ValueError: no steps, a step that is not (name, severity), or a wrong name or severity.
    """
    if isinstance(steps, str) or not isinstance(steps, Sequence) or not steps:
        raise ValueError(f"steps is {steps!r}, but must be a list of one or more (name, severity)")
    for step in steps:
        if not isinstance(step, tuple | list) or len(step) != 2:
            raise ValueError(f"steps holds {step!r}, but each must be (name, severity)")
        describe(step[0])
        check_integer("severity", step[1], 1, 5)
    return Composition(tuple((name, int(severity)) for name, severity in steps))


def distances(
    images: NDArray[np.uint8], name: str, *, seed: int = 0, start: int = 0, scale: str | None = None
) -> NDArray[np.float64]:
    """Root mean square distance of each image to itself at severities 1..5, (5, N), in grey levels 0..255."""
    rows = []
    for severity in range(1, 6):
        changed = corrupt(images, name, severity, seed=seed, start=start, scale=scale)
        gap = np.subtract(changed, images, dtype=np.int16).astype(np.float32)
        rows.append(np.sqrt(np.mean(gap * gap, axis=(1, 2, 3), dtype=np.float64)))
    return np.stack(rows)
