"""The report of a study: a folder of plain HTML that opens from disk, without a server or a network."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
import nbformat
import pandas as pd
from latex2mathml.converter import convert
from nbconvert import HTMLExporter

from medrob.files import home
from medrob.report.overview import PARTIAL, as_text, overview
from medrob.run import STAGES, Run

HERE = Path(__file__).parent
MARK = ".medrob-report"  # lists what a report consists of: a folder with anything else is left alone
COMPARED = "compared"  # the tag of cells of notebook 05 that speak of several runs
FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$([^$\n]+?)\$", re.DOTALL)
SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL)
CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)


def write(folder: Path, *, title: str = "Study", runs: Iterable[str] | None = None) -> Path:
    """Write the report.

    Args:
        folder: made anew; a report that lies there is replaced once the new one is whole.
        title: of the study.
        runs: which runs; None = all that there are.

    Returns:
        The path of its ``index.html``: all runs at a glance, what each has found, its record, and links to
        a page for each executed notebook.

    Raises:
        FileNotFoundError: there are no runs. ValueError: the folder holds something else than a report.
    """
    table = overview()
    if runs is not None:
        table = table[table["run"].isin(list(runs))]
    table = table[[_is_run(name) for name in table["run"]]]
    if table.empty:
        raise FileNotFoundError(f"there are no runs in {home() / 'data' / 'runs'}; `make run` makes them")
    folder = folder.resolve()
    mark = folder / MARK
    known = set(mark.read_text(encoding="utf-8").split("\n")) if mark.exists() else set()
    if folder.exists() and (others := _files(folder) - known):
        what = ", ".join(sorted(others)[:3])
        raise ValueError(f"{folder} holds something else than a report ({what}); give another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
        part = Path(place) / folder.name
        part.mkdir()
        _write(part, table, title)
        (part / MARK).write_text("\n".join(sorted({MARK, *_files(part)})) + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
    return folder / "index.html"


def _write(part: Path, table: pd.DataFrame, title: str) -> None:
    sections = [_run(part, name) for name in table["run"]]
    sections.sort(key=lambda section: not section["comparison"])
    rows = as_text(table)
    pages = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True)
    text = pages.get_template("index.html").render(
        title=title, rows=rows.to_dict("records"), columns=list(rows), sections=sections
    )
    (part / "index.html").write_text(text, encoding="utf-8")


def _files(folder: Path) -> set[str]:
    """The files below a folder, as paths from there."""
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir()}


def _is_run(name: str) -> bool:
    """Whether a folder below ``data/runs`` has the name of a run."""
    try:
        Run(name)
    except ValueError:
        return False
    return True


def _run(folder: Path, name: str) -> dict[str, Any]:
    """Write the pages of a run's notebooks; what the index shows of the run."""
    run = Run(name)
    (folder / name).mkdir()
    try:
        stages = run.record["stages"]
    except ValueError:
        stages = {}
    books = {stage: run.path("notebooks", f"{stage}.ipynb") for stage in STAGES}
    unfinished = {stage: run.path("notebooks", f"{stage}{PARTIAL}") for stage in STAGES}
    books |= {stage: path for stage, path in unfinished.items() if path.exists()}
    books = {stage: path for stage, path in books.items() if path.exists()}
    for stage, path in books.items():
        (folder / name / f"{stage}.html").write_text(_page(path, f"{name}: {stage}"), encoding="utf-8")
    comparison = list(stages) == ["05_analysis"]
    picture = run.figures / ("05_runs.png" if comparison else "summary.png")
    if picture.exists():
        shutil.copy(picture, folder / name)
    return {
        "run": name,
        "notebooks": list(books),
        "comparison": comparison,
        "unfinished": [stage for stage in books if books[stage] == unfinished[stage]],
        "picture": picture.name if picture.exists() else "",
        "sentences": _sentences(books.get("05_analysis"), COMPARED if comparison else ""),
        "record": {
            stage: {
                key: value if isinstance(value, str) else json.dumps(value) for key, value in entry.items()
            }
            for stage, entry in stages.items()
        },
    }


def _page(notebook: Path, title: str) -> str:
    """A notebook as a page of its own, with pictures inside."""
    book = _read(notebook)
    if book is None:
        return f"<p>{notebook.name} was cut off while it was written; run its stage again.</p>"
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = with_formulas(cell.source)
    exporter = HTMLExporter(exclude_input_prompt=True, exclude_output_prompt=True, exclude_anchor_links=True)
    text, _ = exporter.from_notebook_node(book, resources={"metadata": {"name": title}})
    return SCRIPT.sub("", text)  # nbconvert's scripts fetch libraries from a network; nothing here needs them


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


def _mathml(found: re.Match[str]) -> str:
    formula, display = (found[1], "block") if found[1] else (found[2], "inline")
    try:
        return convert(formula.strip(), display=display)
    except Exception:  # a formula that the library does not know is shown as it was written
        return f"<code>{found[0]}</code>"


def _sentences(notebook: Path | None, tag: str) -> list[str]:
    """The results that a notebook says in Markdown, as HTML; with a tag, those of the cells that bear it."""
    from nbconvert.filters import markdown2html

    book = _read(notebook) if notebook else None
    return [
        markdown2html(output.data["text/markdown"])
        for cell in (book.cells if book else [])
        if not tag or tag in cell.metadata.get("tags", [])
        for output in cell.get("outputs", [])
        if "text/markdown" in output.get("data", {})
    ]
