"""The report of a study: a folder of plain HTML that opens from disk, without a server or a network."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from medrob.files import home
from medrob.report.notebooks import body, said
from medrob.runs import STAGES, Run
from medrob.runs.overview import overview, shown

HERE = Path(__file__).parent
MARK = ".medrob-report"  # lists what a report is made of: a folder with anything else is left alone
SIDE_BY_SIDE = ("words.runs", "words.answers", "words.ranks")  # what a comparison says of all its runs
# What the record shows of a stage, and what it is called there.
RECORDED = {
    **{"seconds": "seconds", "share_seconds": "of them in shares", "peak_memory_mb": "peak memory, MB"},
    **{"peak_gpu_memory_mb": "peak GPU memory, MB", "finished": "finished"},
    **{"device": "device", "git": "commit", "python": "Python", "machine": "machine"},
}


def write(folder: Path, *, title: str = "Study", runs: Iterable[str] | None = None) -> Path:
    """Write the report.

    Args:
        folder: made anew; a report that lies there is replaced once the new one is whole.
        title: of the study.
        runs: which runs; None = all that there are.

    Returns:
        The path of its ``index.html``: the summary of the study first, then a page for each executed
        notebook, then the record of each run.

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
    if folder.exists() and (others := _files(folder) - _written(folder)):
        told = f"{folder} holds something else than a report ({', '.join(sorted(others)[:3])})"
        raise ValueError(f"{told}; give another folder")
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
    shutil.copy(HERE / "style.css", part)
    sections = [_run(part, name, title) for name in table["run"]]
    rows = shown(table)
    sections.sort(key=lambda section: not section["comparison"])
    _page(
        part / "index.html",
        "index.html",
        title=title,
        rows=rows.to_dict("records"),
        columns=list(rows),
        sections=sections,
    )


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


def _written(folder: Path) -> set[str]:
    """What an earlier report has written into a folder."""
    mark = folder / MARK
    return set(mark.read_text(encoding="utf-8").split("\n")) if mark.exists() else set()


def _run(folder: Path, name: str, title: str) -> dict[str, Any]:
    """Write the pages of a run; what the summary shows of it."""
    run = Run(name)
    (folder / name).mkdir()
    try:
        stages = run.record["stages"]
    except ValueError:
        stages = {}
    executed = {stage: run.path("notebooks", f"{stage}.ipynb") for stage in STAGES}
    failed = {stage: run.path("notebooks", f"{stage}.partial.ipynb") for stage in STAGES}
    books = {stage: path for stage, path in executed.items() if path.exists()}
    books |= {stage: path for stage, path in failed.items() if path.exists()}
    pages = [(stage, f"{name}/{stage}.html") for stage in STAGES if stage in books]
    pages += [("record", f"{name}/record.html")]
    for stage, path in books.items():
        text, broken = body(path), path == failed[stage]
        about = {"run": name, "here": stage, "pages": pages, "title": f"{name}: {stage}", "study": title}
        _page(folder / name / f"{stage}.html", "notebook.html", body=text, broken=broken, **about)
    about = {"run": name, "here": "record", "pages": pages, "title": f"{name}: record", "study": title}
    _page(folder / name / "record.html", "record.html", stages=_entries(stages), **about)
    comparison = list(stages) == ["05_analysis"]
    picture = run.figures / ("05_runs.png" if comparison else "summary.png")
    if picture.exists():
        shutil.copy(picture, folder / name / picture.name)
    return {
        "run": name,
        "pages": pages,
        "comparison": comparison,
        "unfinished": next((stage for stage in books if books[stage] == failed[stage]), ""),
        "picture": f"{name}/{picture.name}" if picture.exists() else "",
        "said": said(books["05_analysis"], SIDE_BY_SIDE if comparison else ())
        if "05_analysis" in books
        else [],
    }


def _entries(stages: dict[str, Any]) -> list[dict[str, Any]]:
    """The record as rows: what, and its value as text."""
    found = []
    for stage, entry in stages.items():
        facts = [(word, entry[key]) for key, word in RECORDED.items() if entry.get(key) is not None]
        found.append(
            {
                "stage": stage,
                "facts": facts,
                "parameters": [(k, json.dumps(v)) for k, v in entry["parameters"].items()],
                "packages": [(k, v) for k, v in entry.get("packages", {}).items() if v],
                "files": list(entry.get("files", {}).items()),
            }
        )
    return found


def _page(file: Path, template: str, **values: Any) -> None:
    loader = jinja2.FileSystemLoader(HERE)
    pages = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    file.write_text(pages.get_template(template).render(**values), encoding="utf-8")
