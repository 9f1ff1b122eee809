"""Progress bars: a widget in JupyterLab, a line in a terminal, or none.

The environment variable MEDROB_PROGRESS=off leaves them out where a notebook runs without a reader, so that
nothing of them lands in the executed notebook.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm


def bar(items: Iterable[Any] | None = None, *, desc: str, unit: str, **options: Any) -> Any:
    """A tqdm bar over `items`, or one with ``total=`` to be moved by ``update()``."""
    off = os.environ.get("MEDROB_PROGRESS") == "off"
    return tqdm(items, desc=desc, unit=unit, disable=off, **options)
