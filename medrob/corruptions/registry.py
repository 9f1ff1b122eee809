"""Which corruptions there are, and what they follow from; suites and published severities: catalogue.toml."""

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
from functools import cache, wraps
from pathlib import Path
from typing import Any

import numpy as np

from medrob.check import resolve
from medrob.corruptions.draws import Draws, Images

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

PUBLISHED: dict[str, Any] = tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text("utf-8"))
SUITES: dict[str, list[str]] = PUBLISHED["suites"]
TABLES: dict[str, dict[str, Any]] = PUBLISHED["artefacts"]  # of each corruption: source and severities
for name in PUBLISHED["imagenet-c"]["224"]:
    scales = {scale: tables[name] for scale, tables in PUBLISHED["imagenet-c"].items()}
    TABLES[name] = {"source": "Hendrycks & Dietterich 2019", "severities": scales}
for data, tables in PUBLISHED["medmnist-c"].items():
    source = {"source": "Di Salvo et al. 2024"}
    TABLES |= {f"{data}/{name}": source | {"severities": levels} for name, levels in tables.items()}
    SUITES[f"medmnist-c:{data}"] = [f"{data}/{name}" for name in tables]


@dataclass(frozen=True)
class Corruption:
    """What `describe` returns: a corruption and its tables."""

    name: str
    function: Callable[..., Images]
    parameters: Mapping[str, tuple[Any, ...]]  # of severities 1 to 5 at each scale with a table
    key: str  # of the random numbers: corruptions that share one draw the same field
    group: str = "own"
    source: str = "own"
    colour: bool = False  # needs RGB

    @property
    def summary(self) -> str:
        """What it does: the first line of its function's docstring."""
        return (self.function.__doc__ or "").strip().split("\n")[0]


_REGISTERED: dict[str, Corruption] = {}


def corruption(name: str, *, severities: Any = (1, 2, 3, 4, 5), **about: Any) -> Decorator:
    """Register a function as a corruption; all that is known of it stands beside it, see `Corruption`.

        @corruption("stripes", group="artefact", source="Li 2020", severities=(5, 10, 20, 30, 40))
        def stripes(images, height, draws):
            "Dark stripes of random places."

    The function takes ``(images, parameters, draws)`` and returns new images: uint8 (N, H, W, C) that it must
    not change, the entry of `severities` (five, or five for each scale), and the `Draws` of these images,
    such as ``draws.normal(images.shape[1:])``. In pixels, lengths are multiplied by ``draws.factor``.

    A corruption of your own lies in a file of yours that every process of a study can import, and is named
    ``"package.module:function"``. Without the decorator, ``function(images, severity, rng)`` is given one
    image at a time, uint8 (1, H, W, C), a severity from 1 to 5 and a NumPy generator seeded for the image.
    """
    tables = severities if isinstance(severities, Mapping) else {"224": severities}
    parameters = {
        scale: tuple(tuple(level) if isinstance(level, list) else level for level in levels)
        for scale, levels in tables.items()
    }
    if "224" not in parameters or any(len(levels) != 5 for levels in parameters.values()):
        raise ValueError(f"severities of {name!r} must be five, or five at each scale with '224' among them")

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        known = _REGISTERED[name].function if name in _REGISTERED else function
        place = f"{known.__module__}.{known.__qualname__}"
        if place != f"{function.__module__}.{function.__qualname__}":  # a module may be loaded again
            raise ValueError(f"corruption {name!r} exists already ({place}); choose another name")
        key = name.rpartition("/")[2]  # one data set's table draws the same field as the others'
        _REGISTERED[name] = Corruption(name, function, parameters, key, **about)
        return function

    return register


def published(*patterns: str, **about: Any) -> Decorator:
    """Register a function for its name, or for patterns of names, wherever a table was published."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        own = function.__name__
        for name, facts in TABLES.items():
            if any(fnmatchcase(name, pattern) for pattern in patterns or (own, f"*/{own}")):
                corruption(name, **about, **facts)(function)
        return function

    return register


def suites() -> tuple[str, ...]:
    """The names of the suites that `names` takes."""
    return ("all", *SUITES)


def names(suite: str | Sequence[str] = "thesis", *, channels: int | None = None) -> tuple[str, ...]:
    """The corruptions of a suite, or of a list such as ``["thesis", "fog", "package.module:function"]``.

    channels=1 leaves out those that exist only in colour, with a warning that names them.
    """
    if not suite:
        raise ValueError(f"suite is {suite!r}, but must be a string, one of suites(), or a list of names")
    parts = [suite] if isinstance(suite, str) else suite
    ours = [n for n, c in _REGISTERED.items() if "/" not in n and c.function.__module__.startswith("medrob.")]
    known = SUITES | {"all": ours}  # what needs no table of one data set
    chosen = {name: describe(name) for part in parts for name in known.get(part, [part])}
    colour = [name for name, entry in chosen.items() if entry.colour and channels == 1]
    if colour:
        warnings.warn(f"left out for grey images, RGB only: {', '.join(colour)}", stacklevel=2)
    return tuple(name for name in chosen if name not in colour)


def describe(name: str) -> Corruption:
    """What is known of a corruption; a ValueError where its name is not, or it cannot be imported."""
    if name in _REGISTERED:
        return _REGISTERED[name]
    if ":" not in name or name.startswith("medmnist-c:"):
        close = difflib.get_close_matches(name, [*SUITES, *_REGISTERED], n=1)
        near = f", did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"unknown suite or corruption {name!r}{near}; the suites are {', '.join(suites())}; names('all') "
            "lists corruptions; one of your own is named 'package.module:function'"
        )
    function = resolve(name)
    if not inspect.isfunction(function):  # `fingerprint` reads its source
        raise ValueError(f"corruption {name!r} is a {type(function).__name__}, and must be a function")
    for entry in _REGISTERED.values():
        if entry.function is function:
            return replace(entry, name=name)

    @wraps(function)
    def plain(images: Images, severity: int, draws: Draws) -> np.ndarray:
        """One image at a time, each with its own generator: batches do not change the result."""
        todo = zip(images, map(np.random.default_rng, draws.words(4)), strict=True)
        return np.concatenate([function(image[None].copy(), severity, rng) for image, rng in todo])

    return Corruption(name, plain, {"224": (1, 2, 3, 4, 5)}, name)


def fingerprint(names: Iterable[str]) -> str:
    """A hash of the severities of these corruptions and of all functions and constants that they reach."""
    chosen = [describe(name) for name in names]
    facts = [(c.name, sorted(c.parameters.items()), c.key) for c in chosen]
    todo = [(c.function.__module__, c.function.__name__) for c in chosen]
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
            case ast.FunctionDef(name) | ast.ClassDef(name) | ast.AnnAssign(ast.Name(name)):
                found[name] = node
            case ast.Assign(targets):
                parts = (part for target in targets for part in ast.walk(target))
                found |= {part.id: node for part in parts if isinstance(part, ast.Name)}
            case ast.ImportFrom(source, aliases):
                for alias in aliases:  # one name each: what else is imported does not count
                    found[alias.asname or alias.name] = ast.ImportFrom(source, [alias], node.level)
    return found
