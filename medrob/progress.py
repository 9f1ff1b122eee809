"""Progress bars: a widget in JupyterLab, a line in a terminal, or none.

The environment variable MEDROB_PROGRESS decides where a notebook runs without a reader: ``off`` = no bar
(nothing of it lands in the executed notebook), the path of a terminal (``/dev/pts/3``) = a line there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm as text_bar
from tqdm.auto import tqdm as auto_bar


def bar(items: Iterable[Any] | None = None, *, desc: str, unit: str, **options: Any) -> Any:
    """A tqdm bar over `items`, or one with ``total=`` to be moved by ``update()``."""
    where = os.environ.get("MEDROB_PROGRESS", "")
    if where.startswith("/dev/"):
        with contextlib.suppress(OSError):
            # The bar itself closes the terminal, at the latest when it is collected.
            stream = open(where, "w")  # noqa: SIM115, PTH123
            return text_bar(items, desc=desc, unit=unit, file=stream, leave=False, ncols=80, **options)
    return auto_bar(items, desc=desc, unit=unit, disable=where == "off", **options)
