"""The bridge to imgaug, both ways. Importing it imports imgaug (PyPI `imaug`)."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import imgaug.augmenters as iaa
import imgaug.parameters as iap
import numpy as np
from numpy.typing import NDArray

from medrob.corruptions.apply import check_integer, corrupt
from medrob.corruptions.catalogue import BUILT_IN, CATALOGUE, Corruption, describe
from medrob.corruptions.draws import Draws


class _Augmenter(iaa.Augmenter):
    """What `as_augmenter` returns. It changes images only: labels, maps and points stay."""

    def __init__(
        self, name: str, severity: int | tuple[int, int] | list[int], scale: str | None, seed: int | None
    ) -> None:
        super().__init__(name=name, seed=seed)
        self.corruption, self.scale = name, scale
        self.severity = iap.handle_discrete_param(
            severity, "severity", value_range=(1, 5), tuple_to_uniform=True, list_to_choice=True
        )

    def _augment_batch_(self, batch: Any, random_state: Any, parents: Any, hooks: Any) -> Any:
        if batch.images is None:
            return batch
        severities = self.severity.draw_samples((len(batch.images),), random_state=random_state)
        seed = int(random_state.generate_seed_())
        for index, (image, severity) in enumerate(zip(batch.images, severities, strict=True)):
            image[...] = corrupt(
                image[None], self.corruption, int(severity), seed=seed, start=index, scale=self.scale
            )[0]
        return batch

    def get_parameters(self) -> list[Any]:
        """As imgaug asks: the parameters that are drawn."""
        return [self.severity]


def as_augmenter(
    name: str,
    severity: int | tuple[int, int] | list[int],
    *,
    scale: str | None = None,
    seed: int | None = None,
) -> iaa.Augmenter:
    """A corruption as an imgaug Augmenter, for training.

    Args:
        name: a corruption, see `names`.
        severity: 1 to 5; (low, high) draws evenly from low to high, a list from its members.
        scale: as in `corrupt`.
        seed: imgaug's seed; without one the numbers follow imgaug's global random state.
    """
    describe(name)
    for value in severity if isinstance(severity, tuple | list) else [severity]:
        check_integer("severity", value, 1, 5)
    return _Augmenter(name, severity, scale, seed)


def register(
    name: str,
    augmenter: iaa.Augmenter | Sequence[iaa.Augmenter] | Callable[[int], iaa.Augmenter],
    *,
    group: str = "registered",
    source: str = "imgaug",
) -> Corruption:
    """Make imgaug augmenters a corruption that `corrupt` knows by `name`, in this process.

    Args:
        name: a new name, without "/". Registering it again replaces it; built-in names cannot be taken.
        augmenter: one for each severity (five), or a function from severity to one; or a single one, which
            is then used at every severity.
        group: as shown by `describe`.
        source: as shown by `describe`.

    Raises:
        TypeError: not an augmenter.
        ValueError: name taken, not five, images change shape or dtype, or the same seed gives two results.
    """
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"name is {name!r}, but must be a non-empty string without '/'")
    if name in BUILT_IN:
        raise ValueError(f"name {name!r} belongs to a built-in corruption; choose another")
    if isinstance(augmenter, iaa.Augmenter):
        levels: list[Any] = [augmenter] * 5
    elif isinstance(augmenter, Sequence):
        levels = list(augmenter)
    elif callable(augmenter):
        levels = [augmenter(severity) for severity in range(1, 6)]
    else:
        levels = [augmenter]
    wrong = [level for level in levels if not isinstance(level, iaa.Augmenter)]
    if wrong:
        raise TypeError(f"augmenter gives {wrong[0]!r}, but must give imgaug Augmenters")
    if len(levels) != 5:
        raise ValueError(f"augmenter has {len(levels)} levels, but must have 5, one for each severity")
    for level in levels:
        _check_deterministic(name, level)
    five = (levels[0], levels[1], levels[2], levels[3], levels[4])
    entry = Corruption(
        name, group, ("any",), {"224": five}, source, "An imgaug augmenter.", name, _apply_augmenter
    )
    CATALOGUE[name] = entry
    return entry


def _apply_augmenter(images: NDArray[np.uint8], augmenter: iaa.Augmenter, draws: Draws) -> NDArray[np.uint8]:
    """Each image on its own, under a seed from its key."""
    own = copy.deepcopy(augmenter)  # its random state is ours alone
    seeds = draws.words(1)[:, 0] % np.uint64(2**31)
    out = np.empty_like(images)
    for image, result, seed in zip(images, out, seeds, strict=True):
        own.seed_(int(seed))
        result[:] = own.augment_image(image.copy())
    return out


def _check_deterministic(name: str, augmenter: iaa.Augmenter) -> None:
    """Raise unless two copies under one seed agree on shape, dtype and every value."""
    ramp = np.linspace(0, 255, 64 * 64).reshape(64, 64, 1).round().astype(np.uint8)
    results = []
    for _ in range(2):
        own = copy.deepcopy(augmenter)
        own.seed_(7)
        results.append([own.augment_image(ramp.copy()) for _ in range(4)])
    for first, second in zip(*results, strict=True):
        if first.shape != ramp.shape or first.dtype != np.uint8:
            raise ValueError(
                f"augmenter of {name!r} makes {first.dtype} {first.shape} of uint8 {ramp.shape}; "
                "it must keep shape and dtype"
            )
        if not np.array_equal(first, second):
            raise ValueError(
                f"augmenter of {name!r} is not deterministic: one seed gave two results; "
                "draw random numbers from the random_state that imgaug hands over"
            )
