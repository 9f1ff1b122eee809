"""Which corruptions there are and what they follow from: each registers itself where it is written.

Suites and published severities stand in catalogue.toml.
"""

import ast
import difflib
import hashlib
import importlib
import inspect
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache, partial
from itertools import repeat
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from medrob.corruptions.draws import Draws, Images

Levels = tuple[Any, ...]  # the parameters of severities 1 to 5
Function = TypeVar("Function", bound=Callable[..., Any])

SECTIONS = {"imagenet-c": "224", "tiny-imagenet-c": "64", "cifar-10-c": "32"}  # one publication, three scales
PUBLISHED: dict[str, Any] = tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text("utf-8"))
MEDMNIST_C = PUBLISHED["medmnist-c"]
NOT_MONOTONE = {name: tuple(scales) for name, scales in PUBLISHED["not-monotone"].items()}
SUITES: dict[str, list[str]] = PUBLISHED["suites"] | {
    f"medmnist-c:{data}": [f"{data}/{name}" for name in tables] for data, tables in MEDMNIST_C.items()
}
TABLES: dict[str, dict[str, Any]] = {
    name: {
        "source": "Hendrycks & Dietterich 2019",
        "severities": {scale: PUBLISHED[section][name] for section, scale in SECTIONS.items()},
    }
    for name in PUBLISHED["imagenet-c"]
}
for data, tables in MEDMNIST_C.items():
    about = {"source": "Di Salvo et al. 2024", "modalities": (PUBLISHED["modalities"][data],)}
    TABLES |= {f"{data}/{name}": about | {"severities": levels} for name, levels in tables.items()}


@dataclass(frozen=True)
class Corruption:
    """What `describe` returns: `parameters` are those of severities 1 to 5 at each scale with a table.

    `key` names the random numbers: corruptions that share one draw the same field. `colour` = needs RGB.
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
    not change, the entry of `severities` (five, or five for each scale), and the `Draws` of these images,
    such as ``draws.normal(images.shape[1:])``. In pixels, lengths are multiplied by ``draws.factor``.

    A corruption of your own lies in a file of yours that every process of a study can import, and is named
    ``"package.module:function"``. Without the decorator, ``function(images, severity, rng)`` is given one
    image at a time, uint8 (1, H, W, C), a severity from 1 to 5 and a NumPy generator seeded for the image.

    Raises:
        ValueError: a name that another function has, or not five severities.
    """
    tables = severities if isinstance(severities, Mapping) else {"224": severities}
    parameters = {
        scale: tuple(tuple(level) if isinstance(level, list) else level for level in levels)
        for scale, levels in tables.items()
    }
    if "224" not in parameters or any(len(levels) != 5 for levels in parameters.values()):
        raise ValueError(f"severities of {name!r} must be five, or five at each scale with '224' among them")

    def register(function: Function) -> Function:
        known = _REGISTERED[name].function if name in _REGISTERED else function
        place = f"{known.__module__}.{known.__qualname__}"
        if place != f"{function.__module__}.{function.__qualname__}":  # a module may be loaded again
            raise ValueError(f"corruption {name!r} exists already ({place}); choose another name")
        key = name.rpartition("/")[2]  # one data set's table draws the same field as the others'
        _REGISTERED[name] = Corruption(
            name, group, tuple(modalities), parameters, source, function, colour, key
        )
        return function

    return register


def published(*patterns: str, group: str, colour: bool = False) -> Callable[[Function], Function]:
    """Register a function for its name, or for patterns of names, wherever a table was published."""

    def register(function: Function) -> Function:
        own = function.__name__
        for name, about in TABLES.items():
            if any(fnmatchcase(name, pattern) for pattern in patterns or (own, f"*/{own}")):
                corruption(name, group=group, colour=colour, **about)(function)
        return function

    return register


def suites() -> tuple[str, ...]:
    """The names of the suites that `names` takes."""
    return tuple(SUITES)


def names(suite: str | Sequence[str] = "thesis", *, channels: int | None = None) -> tuple[str, ...]:
    """The corruptions of a suite, in its order, as names that `corrupt` takes.

    A list may hold suites, corruptions and your own: ``["thesis", "fog", "package.module:function"]``, see
    `corruption`. channels=1 leaves out those that exist only in colour, with a warning that names them.

    Raises:
        ValueError: unknown suite or corruption, or an empty list.
    """
    if not suite:
        raise ValueError(f"suite is {suite!r}, but must be a string, one of suites(), or a list of names")
    parts = [suite] if isinstance(suite, str) else suite
    chosen = {name: describe(name) for part in parts for name in SUITES.get(part, [part])}
    colour = [name for name, entry in chosen.items() if entry.colour and channels == 1]
    if colour:
        warnings.warn(f"left out for grey images, RGB only: {', '.join(colour)}", stacklevel=2)
    return tuple(name for name in chosen if name not in colour)


def describe(name: str) -> Corruption:
    """What is known of a corruption; a ValueError where its name is not, or it cannot be imported."""
    if name in _REGISTERED:
        return _REGISTERED[name]
    path, colon, attribute = name.partition(":")
    if not colon or path == "medmnist-c":
        raise ValueError(
            f"unknown suite or corruption {name!r}{_nearest(name, [*SUITES, *_REGISTERED])}; the suites are "
            f"{', '.join(SUITES)}; names('all') lists corruptions; one of your own is named "
            "'package.module:function'"
        )
    try:
        module = importlib.import_module(path)
    except Exception as error:  # whatever the module does when it is imported
        raise ValueError(
            f"corruption {name!r}: module {path!r} cannot be imported ({type(error).__name__}: {error}); "
            "give 'package.module:function', and put its folder on PYTHONPATH or start from there"
        ) from error
    function = getattr(module, attribute, None)
    if not inspect.isfunction(function):  # `fingerprint` reads its source
        close = _nearest(attribute, vars(module))
        raise ValueError(f"corruption {name!r}: module {path!r} has no function {attribute!r}{close}")
    for entry in _REGISTERED.values():
        if entry.function is function:
            return replace(entry, name=name)
    plain = partial(_plain, function)
    plain.__doc__ = function.__doc__
    return Corruption(name, "own", ("any",), {"224": (1, 2, 3, 4, 5)}, "own", plain, False, name)


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _plain(function: Callable[..., Any], images: Images, severity: int, draws: Draws) -> Any:
    """One image at a time, each with its own generator: batches do not change the result."""
    generators = map(np.random.default_rng, draws.words(4))
    singles = (image[None].copy() for image in images)
    return np.concatenate(list(map(function, singles, repeat(severity), generators)))


def fingerprint(names: Iterable[str]) -> str:
    """A hash of the severities of these corruptions and of all code that they reach; 16 hexadecimal digits.

    Code counts function by function: a new corruption beside an old one changes nothing, nor do comments.
    """
    chosen = [describe(name) for name in names]
    facts = [(c.name, sorted(c.parameters.items()), c.key) for c in chosen]
    functions = [getattr(c.function, "args", (c.function,))[0] for c in chosen]  # the plain form is a partial
    todo = [(function.__module__, function.__name__) for function in functions]
    packages = {"medrob", *(module.partition(".")[0] for module, _ in todo)}
    seen: dict[tuple[str, str], str] = {}
    while todo:
        module, name = place = todo.pop()
        top = module.partition(".")[0]
        file = getattr(sys.modules.get(top), "__file__", None) or "site-packages"
        library = top in sys.stdlib_module_names or "site-packages" in file
        node = None if library and top not in packages else _definitions(module).get(name)
        if place in seen or node is None:
            continue
        seen[place] = ast.dump(node)
        if isinstance(node, ast.ImportFrom):
            todo += [(node.module or "", alias.name) for alias in node.names]
        todo += [(module, part.id) for part in ast.walk(node) if isinstance(part, ast.Name)]
    return hashlib.sha256(repr((facts, sorted(seen.items()))).encode()).hexdigest()[:16]


@cache
def _definitions(module: str) -> dict[str, ast.stmt]:
    """The statements of a module, by the names that they define."""
    found: dict[str, ast.stmt] = {}
    for node in ast.parse(inspect.getsource(importlib.import_module(module))).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found[name] = node
            case ast.Assign() | ast.AnnAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                parts = (part for target in targets for part in ast.walk(target))
                found |= {part.id: node for part in parts if isinstance(part, ast.Name)}
            case ast.ImportFrom(module=source, names=[*aliases]):
                for alias in aliases:  # one name each: what else is imported does not count
                    found[alias.asname or alias.name] = ast.ImportFrom(source, [alias], node.level)
    return found
