"""Which corruptions there are, and what they follow from; suites and published severities: catalogue.toml."""

import difflib
import hashlib
import inspect
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np

from medrob.check import resolve
from medrob.corruptions.draws import Draws, Images

PUBLISHED: dict[str, Any] = tomllib.loads(Path(__file__).with_name("catalogue.toml").read_text("utf-8"))
SUITES: dict[str, list[str]] = PUBLISHED["suites"]
TABLES: dict[str, tuple[str, Any]] = {}  # of published corruptions: their source and severities
for name in PUBLISHED["imagenet-c"]["224"]:
    scales = {scale: tables[name] for scale, tables in PUBLISHED["imagenet-c"].items()}
    TABLES[name] = "Hendrycks & Dietterich 2019", scales
for data, tables in PUBLISHED["medmnist-c"].items():
    TABLES |= {f"{data}/{name}": ("Di Salvo et al. 2024", levels) for name, levels in tables.items()}
    SUITES[f"medmnist-c:{data}"] = [f"{data}/{name}" for name in tables]


@dataclass(frozen=True)
class Corruption:
    """What `describe` returns: a corruption and its tables."""

    name: str
    function: Callable[..., Images]
    parameters: Mapping[str, Sequence[Any]]  # of severities 1 to 5 at each scale with a table
    key: str  # of the random numbers: corruptions that share one draw the same field
    group: str = "own"
    source: str = "own"
    colour: bool = False  # needs RGB

    @property
    def summary(self) -> str:
        """What it does: the first line of its function's docstring."""
        return (self.function.__doc__ or "").strip().split("\n")[0]


_REGISTERED: dict[str, Corruption] = {}


def corruption(
    group: str = "own", *, of: str = "", source: str = "own", severities: Any = (), colour: bool = False
) -> Callable[..., Any]:
    """Register a function as a corruption; all that is known of it stands beside it.

        @corruption("artefact", source="Li 2020", severities=(5, 10, 20, 30, 40))
        def stripes(images, height, draws):
            "Dark stripes of random places."

    The function takes ``(images, parameters, draws)`` and returns new images: uint8 (N, H, W, C) that it must
    not change, the entry of `severities`, and the `Draws` of these images, such as
    ``draws.normal(images.shape[1:])``. In pixels, lengths are multiplied by ``draws.factor``. It is also
    registered for the tables of ``catalogue.toml`` that have its name, or match the pattern `of`.

    A corruption of your own lies in a file of yours that every process of a study can import, and is named
    ``"package.module:function"``. Without the decorator, ``function(images, severity, rng)`` is given one
    image at a time, uint8 (1, H, W, C), a severity from 1 to 5 and a NumPy generator seeded for the image.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        own = function.__name__
        if function.__module__.startswith("medrob."):
            patterns = [of] if of else [own, f"*/{own}"]
            tables = {n: table for n, table in TABLES.items() if any(fnmatchcase(n, p) for p in patterns)}
            tables |= {own: (source, severities)} if severities else {}
        else:
            tables = {f"{function.__module__}:{own}": (source, severities or (1, 2, 3, 4, 5))}
        for name, (known, levels) in tables.items():
            scales = levels if isinstance(levels, Mapping) else {"224": levels}
            if any(len(five) != 5 for five in scales.values()):
                raise ValueError(f"severities of {name!r} must be five")
            key = name.rpartition("/")[2].rpartition(":")[2]  # tables of one function draw the same field
            _REGISTERED[name] = Corruption(name, function, scales, key, group, known, colour)
        return function

    return register


def suites() -> tuple[str, ...]:
    """The names of the suites that `names` takes; notebooks also take "auto" (`suite_of`)."""
    return ("all", *SUITES)


def suite_of(suite: str | list[str], dataset: str) -> str | list[str]:
    """The suite itself; for "auto" that of a data set, by its name or path, see `medrob.config.Augment`.

    Five corruptions teach what a run is, and are too few for a test between them.
    """
    if suite != "auto":
        return suite
    if dataset.split(":")[0] == "phantom":
        return "thesis"
    own = f"medmnist-c:{Path(dataset).stem.partition('_')[0]}"  # of pneumoniamnist_224.npz, too
    return own if own in SUITES else ["imagenet-c", "imagenet-c-extra"]


def names(suite: str | Sequence[str] = "thesis", *, channels: int | None = None) -> tuple[str, ...]:
    """The corruptions of a suite, or of a list such as ``["thesis", "fog", "package.module:function"]``.

    channels=1 leaves out those that exist only in colour; `medrob.words.suite` names them.
    """
    if not suite:
        raise ValueError(f"suite is {suite!r}, but must be a string, one of suites(), or a list of names")
    parts = [suite] if isinstance(suite, str) else suite
    plain = [name for name in _REGISTERED if not {"/", ":"} & set(name)]
    known = SUITES | {"all": plain}  # neither of one data set nor of a user
    chosen = {name: describe(name) for part in parts for name in known.get(part, [part])}
    return tuple(name for name, entry in chosen.items() if not (entry.colour and channels == 1))


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
    if decorated := _REGISTERED.get(f"{function.__module__}:{function.__name__}"):
        return replace(decorated, name=name)

    @wraps(function)
    def plain(images: Images, severity: int, draws: Draws) -> np.ndarray:
        """One image at a time, each with its own generator: batches do not change the result."""
        todo = zip(images, map(np.random.default_rng, draws.words(4)), strict=True)
        return np.concatenate([function(image[None].copy(), severity, rng) for image, rng in todo])

    return Corruption(name, plain, {"224": (1, 2, 3, 4, 5)}, name)


def fingerprint(names: Iterable[str]) -> str:
    """A hash of the severities of these corruptions, of the files of their functions, and of all files that
    these import modules, functions or classes from; libraries, and rooms of `medrob` above, do not count.
    """
    chosen = [describe(name) for name in names]
    facts = [(c.name, sorted(c.parameters.items()), c.key) for c in chosen]
    files, new = set[str](), {c.function.__module__ for c in chosen}
    packages = {module.partition(".")[0] for module in new}
    while new:
        files |= new
        reached = [value for module in new for value in vars(sys.modules[module]).values()]
        modules = {value.__name__ for value in reached if inspect.ismodule(value)}
        modules |= {
            value.__module__ for value in reached if inspect.isfunction(value) or inspect.isclass(value)
        }
        new = {module for module in modules - files if _counts(module, packages)}
    sources = [inspect.getsource(sys.modules[module]) for module in sorted(files)]
    return hashlib.sha256(repr((facts, sources)).encode()).hexdigest()[:16]


def _counts(module: str, packages: set[str]) -> bool:
    """Whether what a corruption does may follow from a module: of these packages, or of no library."""
    package, file = module.partition(".")[0], getattr(sys.modules.get(module), "__file__", None)
    if package == "medrob":
        return module.startswith(f"{__package__}.")
    library = package in sys.stdlib_module_names or "site-packages" in (file or "site-packages")
    return bool(file) and (package in packages or not library)
