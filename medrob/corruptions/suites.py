"""Suites: lists of names, written in catalogue.toml. A new corruption joins none by itself."""

import warnings
from collections.abc import Sequence

from medrob.corruptions.registry import PUBLISHED, describe, nearest, registered

SUITES: dict[str, list[str]] = {
    **PUBLISHED["suites"],
    **{
        f"medmnist-c:{data}": [f"{data}/{n}" for n in table]
        for data, table in PUBLISHED["medmnist-c"].items()
    },
}


def suites() -> tuple[str, ...]:
    """The names of the suites that `names` takes."""
    return tuple(SUITES)


def names(suite: str | Sequence[str] = "thesis", *, channels: int | None = None) -> tuple[str, ...]:
    """The corruptions of a suite, in its order, as names that `corrupt` takes.

    Args:
        suite: one of `suites()`; "all" for everything that has no table of its own data set; or a list of
            suites and corruptions, which may be your own: ``["thesis", "fog", "package.module:function"]``,
            see `corruption`.
        channels: 1 leaves out those that exist only in colour, with a warning that names them.

    Raises:
        TypeError, ValueError: unknown suite, corruption or number of channels.
    """
    if channels not in (None, 1, 3) or isinstance(channels, bool):
        raise ValueError(f"channels is {channels!r}, but must be 1 (grey), 3 (RGB) or None")
    parts = [suite] if isinstance(suite, str) else suite
    if not isinstance(parts, Sequence) or not parts or not all(isinstance(part, str) for part in parts):
        raise TypeError(f"suite is {suite!r}, but must be a string, one of suites(), or a list of names")
    chosen = {name: describe(name) for part in parts for name in _members(part)}
    colour = [name for name, entry in chosen.items() if entry.colour and channels == 1]
    if colour:
        warnings.warn(f"left out for grey images, RGB only: {', '.join(colour)}", stacklevel=2)
    return tuple(name for name in chosen if name not in colour)


def _members(name: str) -> list[str]:
    """The corruptions of a suite, or the one of that name."""
    if name == "all":
        ours = [n for n in registered() if describe(n).function.__module__.startswith("medrob.")]
        return [n for n in ours if "/" not in n]
    if name in SUITES:
        return SUITES[name]
    own = ":" in name and not name.startswith("medmnist-c:")
    if not own and name not in registered():
        raise ValueError(
            f"unknown suite or corruption {name!r}{nearest(name, [*SUITES, *registered()])}; the suites are "
            f"all, {', '.join(SUITES)}; names('all') lists corruptions; one of your own is named "
            "'package.module:function'"
        )
    return [name]
