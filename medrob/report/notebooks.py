"""Executed notebooks as HTML that needs nothing else: pictures inside, formulas as MathML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter

FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$([^$\n]+?)\$", re.DOTALL)
CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)


def body(notebook: Path) -> str:
    """The notebook as the body of a page; a notebook that was cut off in the writing has none of its own."""
    book = _read(notebook)
    if book is None:
        return f"<p>{notebook.name} was cut off while it was written; run its stage again.</p>"
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = with_formulas(cell.source)
    exporter = HTMLExporter(
        template_name="basic",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    text, _ = exporter.from_notebook_node(book)
    # A picture says what it is to who cannot see it; the words stand in the cells around it.
    return re.sub(r"<img (?![^>]*alt=)", '<img alt="figure of this notebook" ', text)


def _read(notebook: Path) -> Any:
    """A notebook; None if it is not whole."""
    try:
        book = nbformat.read(notebook, as_version=4)
        nbformat.validate(book)
    except Exception:  # nbformat raises many kinds on what is no notebook
        return None
    return book


def with_formulas(markdown: str) -> str:
    """TeX between dollar signs as MathML, which browsers draw themselves; code is left alone."""
    parts = CODE.split(markdown)
    return "".join(part if i % 2 else FORMULA.sub(_mathml, part) for i, part in enumerate(parts))


def said(notebook: Path, calls: Sequence[str] = ()) -> list[str]:
    """What the cells of a notebook print: its results in words.

    Args:
        notebook: an executed one; one that was cut off says nothing.
        calls: only what cells print that call one of these functions.
    """
    book = _read(notebook) or nbformat.v4.new_notebook()
    texts = [
        output.text.strip()
        for cell in book.cells
        if not calls or any(call in cell.source for call in calls)
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stdout"
    ]
    return [text for text in texts if text]


def _mathml(found: re.Match[str]) -> str:
    formula, display = (found[1], "block") if found[1] else (found[2], "inline")
    try:
        return convert(formula.strip(), display=display)
    except Exception:  # a formula that the library does not know is shown as it was written
        return f"<code>{found[0]}</code>"
