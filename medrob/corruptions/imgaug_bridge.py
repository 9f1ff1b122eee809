"""The bridge to imgaug, both ways. Importing it imports imgaug (PyPI `imaug`)."""

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

import imgaug.augmenters as iaa
import imgaug.parameters as iap
import numpy as np
from numpy.typing import NDArray

from medrob.check import check_integer
from medrob.corruptions.apply import check_scale, corrupt
from medrob.corruptions.catalogue import BUILT_IN, CATALOGUE, SUITES, Corruption, describe
from medrob.corruptions.composition import Composition
from medrob.corruptions.draws import Draws

Level: TypeAlias = iaa.Augmenter | Composition  # what one severity does

_alone = threading.Lock()  # some of imgaug's augmenters seed NumPy's global generator while they work


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
        name: a corruption, see `names`; a composition is registered first, see `register`.
        severity: 1 to 5; (low, high) draws evenly from low to high, a list from its members.
        scale: as in `corrupt`.
        seed: imgaug's seed; without one the numbers follow imgaug's global random state.

    Raises:
        TypeError, ValueError: an unknown corruption, severity or scale.
    """
    describe(name)
    check_scale(scale)
    for value in severity if isinstance(severity, tuple | list) else [severity]:
        check_integer("severity", value, 1, 5)
    if severity == [] or (isinstance(severity, tuple) and (len(severity) != 2 or severity[0] > severity[1])):
        raise ValueError(
            f"severity is {severity!r}, but must be an integer, (low, high) or a list of integers"
        )
    return _Augmenter(name, severity, scale, seed)


def register(
    name: str,
    augmenter: Level | Sequence[Level] | Callable[[int], Level],
    *,
    group: str = "registered",
    source: str = "imgaug",
) -> Corruption:
    """Make imgaug augmenters, or compositions, a corruption that `corrupt` knows by `name`, in this process.

    `names("registered")` lists them. One that fails on grey images is taken to need RGB.

    Args:
        name: a new name, without "/". Registering it again replaces it; built-in names cannot be taken.
        augmenter: one for each severity (five), or a function from severity to one, as in
            ``lambda s: compose([("gaussian_noise", s), ("motion_blur", s)])``; or a single one, which is then
            used at every severity.
        group: as shown by `describe`.
        source: as shown by `describe`.

    Raises:
        TypeError: neither an augmenter nor a composition.
        ValueError: name taken, not five, images change shape or dtype, the same seed gives two results, or
            neither a grey nor an RGB image of 64 px is accepted.
    """
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"name is {name!r}, but must be a non-empty string without '/'")
    if name in BUILT_IN or name in (*SUITES, "all", "registered"):
        raise ValueError(f"name {name!r} belongs to a built-in corruption or suite; choose another")
    if isinstance(augmenter, iaa.Augmenter | Composition):
        levels: list[Any] = [augmenter] * 5
    elif isinstance(augmenter, Sequence):
        levels = list(augmenter)
    elif callable(augmenter):
        levels = [augmenter(severity) for severity in range(1, 6)]
    else:
        levels = [augmenter]
    wrong = [level for level in levels if not isinstance(level, iaa.Augmenter | Composition)]
    if wrong:
        raise TypeError(f"augmenter gives {wrong[0]!r}, but must give imgaug Augmenters or compose([...])")
    if len(levels) != 5:
        raise ValueError(f"augmenter has {len(levels)} levels, but must have 5, one for each severity")
    colour = True in {_needs_colour(name, level) for level in levels}
    five = (levels[0], levels[1], levels[2], levels[3], levels[4])
    entry = Corruption(
        *(name, group, ("any",), {"224": five}, source, "Registered in this process.", name),
        *(partial(_apply_level, name), colour),
    )
    CATALOGUE[name] = entry
    return entry


def _apply_level(name: str, images: NDArray[np.uint8], level: Level, draws: Draws) -> NDArray[np.uint8]:
    """Each image on its own, under a seed from its key."""
    seeds = [int(word) for word in draws.words(1)[:, 0] % np.uint64(2**31)]
    if isinstance(level, Composition):
        changed = [level(image[None], seed=seed)[0] for image, seed in zip(images, seeds, strict=True)]
        return np.stack(changed) if changed else images.copy()
    out = np.empty_like(images)
    with _alone:
        for image, result, seed in zip(images, out, seeds, strict=True):
            try:
                result[:] = seeded(level, seed).augment_image(image.copy())
            except Exception as error:  # imgaug raises many kinds
                raise ValueError(
                    f"augmenter of {name!r} fails on an image of {image.shape}: {error}"
                ) from None
    return out


def seeded(augmenter: iaa.Augmenter, seed: int) -> iaa.Augmenter:
    """A copy whose random numbers follow from the seed, those of all augmenters inside it, too.

    imgaug's own `seed_` passes by an augmenter that is itself a list of children, such as a OneOf within a
    Sometimes: it would go on drawing from imgaug's global generator.
    """
    own = copy.deepcopy(augmenter)
    for number, part in enumerate(_parts(own)):
        part.seed_(seed + number, deterministic_too=True)
    return own


def _parts(augmenter: iaa.Augmenter) -> Iterator[iaa.Augmenter]:
    """The augmenter and all inside it, outer ones first."""
    yield augmenter
    for children in augmenter.get_children_lists():
        inner = (
            isinstance(children, iaa.Augmenter) and children is not augmenter
        )  # a Sequential is its own list
        for child in [children] if inner else children:
            yield from _parts(child)


class _RefusedError(ValueError):
    """An augmenter that cannot be a corruption."""


def _needs_colour(name: str, level: Level) -> bool:
    """Whether a level takes RGB alone; raises unless it keeps shape and dtype and is ruled by its seed."""
    if isinstance(level, Composition):
        steps = [describe(step) for step, _ in level.steps]
        if name in _names_in(level):
            raise ValueError(f"the composition for {name!r} holds {name!r} itself")
        return any(step.colour for step in steps)
    grey = np.linspace(0, 255, 64 * 64).reshape(64, 64, 1).round().astype(np.uint8)
    for image in (grey, np.repeat(grey, 3, axis=2)):
        try:
            _check_deterministic(name, level, image)
        except _RefusedError:
            raise
        except Exception as error:  # what imgaug raises on a number of channels that it does not take
            failed = error
        else:
            return image.shape[-1] == 3
    raise ValueError(f"augmenter of {name!r} fails on images of 64 px, grey and RGB: {failed}") from None


def _names_in(composition: Composition) -> set[str]:
    """The corruptions that a composition holds, and those held by them."""
    found = {step for step, _ in composition.steps}
    for step in tuple(found):
        for level in describe(step).parameters["224"]:
            if isinstance(level, Composition):
                found |= _names_in(level)
    return found


def _check_deterministic(name: str, augmenter: iaa.Augmenter, image: NDArray[np.uint8]) -> None:
    """Raise unless 16 images come out the same, in shape, dtype and every value, in the other order, too."""
    results = []
    for order in (range(16), reversed(range(16))):
        with _alone:
            found = {k: seeded(augmenter, 7 * k).augment_image(np.roll(image, k, axis=0)) for k in order}
            iaa.Add((-9, 9)).augment_image(image.copy())  # moves imgaug's global generator on
        results.append([found[k] for k in range(16)])
    for first, second in zip(*results, strict=True):
        if first.shape != image.shape or first.dtype != np.uint8:
            raise _RefusedError(
                f"augmenter of {name!r} makes {first.dtype} {first.shape} of uint8 {image.shape}; "
                "it must keep shape and dtype"
            )
        if not np.array_equal(first, second):
            raise _RefusedError(
                f"augmenter of {name!r} is not deterministic: one seed gave two results; "
                "draw random numbers from the random_state that imgaug hands over"
            )
