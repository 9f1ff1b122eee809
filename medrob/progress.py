"""Progress bars: a widget in JupyterLab, a line in a file that a study reads, or none.

The environment variable MEDROB_PROGRESS decides where a notebook runs without a reader: ``off`` = no bar
(nothing of it lands in the executed notebook), a path = the file that says how far it is.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm as text_bar
from tqdm.auto import tqdm as auto_bar


class _FileBar(text_bar):
    """A bar that keeps one line in a file: what is done, its share, seconds gone and to come."""

    def __init__(self, *arguments: Any, where: Path, **options: Any) -> None:
        self.where = where
        super().__init__(*arguments, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write the line."""
        known = self.format_dict
        rate = known["rate"] or (known["n"] / known["elapsed"] if known["elapsed"] else 0)
        share = known["n"] / known["total"] if known["total"] else 0
        left = (known["total"] - known["n"]) / rate if rate and known["total"] else float("nan")
        with contextlib.suppress(OSError):  # progress is no reason to stop
            self.where.write_text(say(self.desc.rstrip(": "), share, known["elapsed"], left))


def say(what: str, share: float, gone: float, left: float) -> str:
    """``training 40 %, 0:52 gone, about 1:18 to go``."""
    about = "" if left != left else f", about {clock(left)} to go"
    return f"{what} {share:.0%}, {clock(gone)} gone{about}"


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def bar(items: Iterable[Any] | None = None, *, desc: str, unit: str, **options: Any) -> Any:
    """A tqdm bar over `items`, or one with ``total=`` to be moved by ``update()``."""
    where = os.environ.get("MEDROB_PROGRESS", "")
    if where and where != "off":
        file = Path(where)
        return _FileBar(items, desc=desc, unit=unit, mininterval=1, where=file, **options)
    return auto_bar(items, desc=desc, unit=unit, disable=where == "off", **options)
