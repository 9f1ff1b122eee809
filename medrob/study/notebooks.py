"""The notebooks as text: their code and the parameters that they take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medrob.files import atomic
from medrob.runs import assignments


def code_cells(notebook: Path, tag: str | None = None) -> list[str]:
    """The code cells of a notebook, in order; with `tag`, those alone that bear it."""
    return [
        "".join(cell["source"])
        for cell in json.loads(notebook.read_text())["cells"]
        if cell["cell_type"] == "code" and (tag is None or tag in cell["metadata"].get("tags", []))
    ]


def parameters(notebook: Path) -> dict[str, Any]:
    """The parameters of a notebook and their defaults, from its cell tagged ``parameters``.

    Raises:
        ValueError: there is no such cell.
    """
    tagged = code_cells(notebook, "parameters")
    if not tagged:
        raise ValueError(f"{notebook} has no cell tagged 'parameters'")
    return assignments(tagged[0])


def write_share(notebook: Path, target: Path) -> None:
    """Write the notebook of a share: the cells tagged ``share`` and ``parameters``, and no others.

    Raises:
        ValueError: no cell is tagged ``share``: the notebook cannot be split.
    """
    book = json.loads(notebook.read_text())
    kept = [c for c in book["cells"] if {"share", "parameters"} & set(c["metadata"].get("tags", []))]
    if not any("share" in cell["metadata"]["tags"] for cell in kept):
        raise ValueError(f"{notebook} cannot be split: none of its cells is tagged 'share'")
    for cell in kept:
        cell["outputs"], cell["execution_count"] = [], None
    with atomic(target) as file:
        file.write_text(json.dumps(book | {"cells": kept}))
