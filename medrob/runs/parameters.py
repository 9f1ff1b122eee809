"""A notebook's parameters: what papermill injects is compared with what the notebook knows."""

from __future__ import annotations

import ast
import contextlib
import sys
from collections.abc import Callable
from typing import Any


def check_injected(parameters: dict[str, Any]) -> None:
    """Compare what papermill injected into the running notebook with the parameters it knows."""
    get_ipython: Callable[[], Any] | None = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = get_ipython() if get_ipython else None
    cells = list(shell.user_ns.get("In", [])) if shell else []
    injected = [i for i, cell in enumerate(cells) if cell.startswith("# Parameters\n")]
    if not injected:
        return
    defaults = next(
        (a for a in map(assignments, reversed(cells[: injected[-1]])) if "run" in a or "runs" in a), {}
    )
    for name, value in assignments(cells[injected[-1]]).items():
        if name not in parameters:
            raise ValueError(f"unknown parameter {name!r}; the parameters are {', '.join(parameters)}")
        if name in defaults and not fits(value, defaults[name], name):
            raise ValueError(
                f"parameter {name}={value!r} is {type(value).__name__}; it must be "
                f"{type(defaults[name]).__name__}, like its default {defaults[name]!r}"
            )


LISTS = ("images",)  # numbers that may be lists, too


def fits(value: Any, default: Any, name: str = "") -> bool:
    """Whether a parameter's value has the type of its default; whole numbers do as fractions, too.

    The default "all" takes a list, too, and so do the parameters `LISTS`, whose list may be a number.
    """
    if default == "all" and isinstance(value, list):
        return True
    wanted: Any = {float: (int, float)}.get(type(default), type(default))
    wanted = (int, list) if name in LISTS else wanted
    return isinstance(value, wanted) and (isinstance(value, bool) == isinstance(default, bool))


def assignments(cell: str) -> dict[str, Any]:
    """The ``name = literal`` lines of a cell."""
    try:
        body = ast.parse(cell).body
    except SyntaxError:
        return {}
    found = {}
    for line in body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            with contextlib.suppress(ValueError):
                found[line.targets[0].id] = ast.literal_eval(line.value)
    return found
