"""The report of a study: a folder of plain HTML that opens from disk, without a server or a network."""

import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html

from medrob.files import ALONE, home
from medrob.report.runs import overview, unfinished
from medrob.run import NAME, STAGES, Run

MARK = ".medrob-report"  # stands in a report: a folder without it, or with other files, is left alone
FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$([^$\n]+?)\$", re.DOTALL)
SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL)
CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)


def write(folder: Path, *, runs: Iterable[str] | None = None) -> Path:
    """Write the report of all runs, or some, into a folder that is made anew; the path of its ``index.html``.

    Raises:
        FileNotFoundError: there are no runs. ValueError: the folder holds something else than a report.
    """
    table = overview()
    table = table[table["run"].str.fullmatch(NAME)]
    table = table if runs is None else table[table["run"].isin(list(runs))]
    if table.empty:
        nothing = f"there are no runs in {home() / 'data' / 'runs'}"
        raise FileNotFoundError(f"{nothing}; `make run` makes them{ALONE}")
    folder = folder.resolve()
    ours = (MARK, ".html", ".png") if (folder / MARK).exists() else ()
    files = sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())
    if others := [file for file in files if not file.endswith(ours)]:
        what = ", ".join(others[:3])
        raise ValueError(f"{folder} holds something else than a report ({what}); give another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
        part = Path(place) / folder.name
        sections = sorted((_run(part, name) for name in table["run"]), key=lambda run: not run["comparison"])
        pages = jinja2.Environment(loader=jinja2.PackageLoader("medrob.report", ""), autoescape=True)
        pages.policies["json.dumps_kwargs"] = {"sort_keys": False}
        text = pages.get_template("index.html").render(
            rows=table.to_dict("records"), columns=list(table), sections=sections
        )
        (part / "index.html").write_text(text, encoding="utf-8")
        (part / MARK).touch()
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
    return folder / "index.html"


def _run(folder: Path, name: str) -> dict[str, Any]:
    """Write the pages of a run's notebooks; what the index shows of the run."""
    run = Run(name)
    (folder / name).mkdir(parents=True)
    try:
        stages, partial = run.record["stages"], unfinished(run)
    except ValueError:
        stages, partial = {}, {}
    pages: list[str] = []
    cells: list[Any] = []
    for stage in STAGES:
        notebook = partial.get(stage, run.path("notebooks", f"{stage}.ipynb"))
        page, cells = _page(notebook, f"{name}: {stage}")
        if page:
            pages.append(stage)
            (folder / name / f"{stage}.html").write_text(page, encoding="utf-8")
    comparison = list(stages) == ["05_analysis"]
    picture = run.figures / ("05_runs.png" if comparison else "summary.png")
    if picture.exists():
        shutil.copy(picture, folder / name)
    sentences = [  # of the last stage; of a comparison, what its notebook says of several runs
        markdown2html(output.data["text/markdown"])
        for cell in cells
        if not comparison or "compared" in cell.metadata.get("tags", [])
        for output in cell.get("outputs", [])
        if "text/markdown" in output.get("data", {})
    ]
    return {
        "run": name, "notebooks": pages, "comparison": comparison, "unfinished": list(partial),
        "picture": picture.name if picture.exists() else "", "record": stages, "sentences": sentences,
    }  # fmt: skip


def _page(notebook: Path, title: str) -> tuple[str, list[Any]]:
    """A notebook as a page of its own, with pictures inside, and its cells; none if it is not whole."""
    try:
        book = nbformat.read(notebook, as_version=4)
        nbformat.validate(book)
    except Exception:  # nbformat raises many kinds on what is no notebook
        return "", []
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = with_formulas(cell.source)
    exporter = HTMLExporter(exclude_input_prompt=True, exclude_output_prompt=True, exclude_anchor_links=True)
    text, _ = exporter.from_notebook_node(book, resources={"metadata": {"name": title}})
    return SCRIPT.sub("", text), book.cells  # nbconvert's scripts fetch libraries that nothing here needs


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
