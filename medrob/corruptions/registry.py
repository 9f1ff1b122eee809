"""Which corruptions there are: each registers itself where it is written, with its table of severities."""

import difflib
import importlib
import inspect
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from medrob.corruptions.draws import Draws
from medrob.corruptions.pixels import Images

Levels = tuple[Any, ...]  # the parameters of severities 1 to 5
Function = TypeVar("Function", bound=Callable[..., Any])

HENDRYCKS = "Hendrycks & Dietterich 2019"
DI_SALVO = "Di Salvo et al. 2024"
SECTIONS = {"imagenet-c": "224", "tiny-imagenet-c": "64", "cifar-10-c": "32"}  # one publication, three scales
PUBLISHED: dict[str, Any] = tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text("utf-8"))
NOT_MONOTONE = {name: tuple(scales) for name, scales in PUBLISHED["not-monotone"].items()}


@dataclass(frozen=True)
class Corruption:
    """What `describe` returns: one corruption and its severity tables.

    parameters: severities 1 to 5 at each scale ("224", "64", "32") for which a table was published; at the
    others, and wherever there is one table only, lengths in the "224" table are multiplied by size / 224.
    `key` names the random numbers: corruptions that share a key draw the same field. `colour` marks those
    that need RGB.
    """

    name: str
    group: str
    modalities: tuple[str, ...]
    parameters: Mapping[str, Levels]
    source: str
    function: Callable[..., Images]
    colour: bool
    key: str

    @property
    def summary(self) -> str:
        """What it does: the first line of its function's docstring."""
        return (getattr(self.function, "__doc__", None) or "").strip().split("\n")[0]


_REGISTERED: dict[str, Corruption] = {}


def corruption(
    name: str,
    *,
    group: str = "own",
    modalities: Sequence[str] = ("any",),
    source: str = "own",
    severities: Iterable[Any] | Mapping[str, Iterable[Any]] = (1, 2, 3, 4, 5),
    colour: bool = False,
) -> Callable[[Function], Function]:
    """Register a function as a corruption; all that is known of it stands beside it.

        @corruption("stripes", group="artefact", source="Li 2020", severities=(5, 10, 20, 30, 40))
        def stripes(images, height, draws):
            "Dark stripes of random places."

    The function takes ``(images, parameters, draws)`` and returns new images: uint8 (N, H, W, C) that it must
    not change, the entry of `severities`, and the `Draws` of these images, such as
    ``draws.normal(images.shape[1:])``, which are the same in any batch. In pixels, lengths are multiplied by
    ``draws.factor``.

    A corruption of your own lies in a file of yours and is named ``"package.module:function"``, in a list for
    `names` or the parameter `suite`; every process of a study must be able to import it. It has this form,
    or, without the decorator, the plain one: ``function(images, severity, rng)`` is given one image at a
    time, uint8 (1, H, W, C), a severity from 1 to 5 and a NumPy generator that is seeded for the image.

    Args:
        name: what `corrupt` takes; also names the random numbers, so that no other corruption changes them.
        group: noise, blur, weather, photometric, digital, artefact.
        modalities: what it was made for.
        source: who published it.
        severities: the parameters of severities 1 to 5; or such five for each scale, see `Corruption`.
        colour: True = needs RGB.

    Raises:
        ValueError: a name that another function has, or not five severities.
    """
    tables = severities if isinstance(severities, Mapping) else {"224": severities}
    parameters = {scale: tuple(map(_frozen, levels)) for scale, levels in tables.items()}
    if "224" not in parameters or any(len(levels) != 5 for levels in parameters.values()):
        raise ValueError(f"severities of {name!r} must be five, or five at each scale with '224' among them")

    def register(function: Function) -> Function:
        known = _REGISTERED.get(name)
        if known and _place(known.function) != _place(function):  # a module may be loaded again
            raise ValueError(
                f"corruption {name!r} exists already ({_place(known.function)}); choose another name"
            )
        key = name.rpartition("/")[2]  # one data set's table draws the same field as the others'
        _REGISTERED[name] = Corruption(
            name, group, tuple(modalities), parameters, source, function, colour, key
        )
        return function

    return register


def imagenet_c(name: str, *, group: str, colour: bool = False) -> Callable[[Function], Function]:
    """Register a corruption of ImageNet-C, with the tables that its authors published at three scales."""
    tables = {scale: PUBLISHED[section][name] for section, scale in SECTIONS.items()}
    return corruption(name, group=group, source=HENDRYCKS, severities=tables, colour=colour)


def medmnist_c(*names: str, group: str, colour: bool = False) -> Callable[[Function], Function]:
    """Register a corruption for each data set for which MedMNIST-C has a table under one of the names."""

    def register(function: Function) -> Function:
        for data, tables in PUBLISHED["medmnist-c"].items():
            made_for = (PUBLISHED["modalities"][data],)
            for name in (name for name in names if name in tables):
                about: dict[str, Any] = dict(group=group, modalities=made_for, source=DI_SALVO, colour=colour)
                corruption(f"{data}/{name}", severities=tables[name], **about)(function)
        return function

    return register


def registered() -> tuple[str, ...]:
    """The names of all corruptions that this process knows."""
    return tuple(_REGISTERED)


def describe(name: str) -> Corruption:
    """Group, modalities, parameters per scale and severity, and source of a corruption.

    Raises:
        TypeError, ValueError: a name that is no string or not known; a corruption of one's own that cannot be
            imported.
    """
    if not isinstance(name, str):
        raise TypeError(f"name is {name!r}, but must be a string such as 'gaussian_noise'")
    if name in _REGISTERED:
        return _REGISTERED[name]
    if ":" in name:
        return _imported(name)
    raise ValueError(
        f"unknown corruption {name!r}{nearest(name, _REGISTERED)}; names('all') lists them, and one "
        "of your own is named 'package.module:function'"
    )


def nearest(word: str, known: Iterable[str]) -> str:
    """', did you mean ...?' for the known word closest to this one, or nothing."""
    close = difflib.get_close_matches(str(word), known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _imported(name: str) -> Corruption:
    """The corruption ``"package.module:function"``, under this name in every process."""
    path, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(path)
    except Exception as error:  # whatever the module does when it is imported
        raise ValueError(
            f"corruption {name!r}: module {path!r} cannot be imported ({type(error).__name__}: {error}); "
            "give 'package.module:function', and put its folder on PYTHONPATH or start from there"
        ) from error
    function = getattr(module, attribute, None)
    if not inspect.isfunction(function):  # `fingerprint` reads its source
        raise ValueError(
            f"corruption {name!r}: module {path!r} has no function {attribute!r}"
            f"{nearest(attribute, vars(module))}"
        )
    decorated = [entry for entry in _REGISTERED.values() if entry.function is function]
    if decorated:
        return replace(decorated[0], name=name)
    plain = partial(_plain, function)
    plain.__doc__ = function.__doc__
    return Corruption(name, "own", ("any",), {"224": (1, 2, 3, 4, 5)}, "own", plain, False, name)


def _plain(function: Callable[..., Any], images: Images, severity: int, draws: Draws) -> Any:
    """One image at a time, each with its own generator: batches do not change the result."""
    generators = map(np.random.default_rng, draws.words(4))
    singles = (image[None].copy() for image in images)
    return np.concatenate(list(map(function, singles, repeat(severity), generators)))


def _frozen(level: Any) -> Any:
    """A list of a TOML file as a tuple."""
    return tuple(level) if isinstance(level, list) else level


def _place(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"
