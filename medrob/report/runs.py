"""All runs at a glance, whether the files of a run are those that were made, and the report of a study.

The report is a folder of plain HTML that opens from disk, without a server or a network. It is made of the
records of the runs, so that one executed by hand is as full as one of a study.
"""

import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from nbconvert.filters import markdown2html

from medrob import execute
from medrob.data import load_run
from medrob.files import ALONE, differing, home
from medrob.run import CHECKPOINT, NAME, STAGES, Run

PARTIAL = ".partial.ipynb"  # how a notebook is called until its stage has ended
# What lies in a run's folders beside what its record names: of work that goes on, of LaTeX, of the system.
WORK = [".locks/*", CHECKPOINT, *(f"notebooks/{stage}{PARTIAL}" for stage in STAGES)]
WORK += [f"stamps/{stage}.ipynb" for stage in STAGES]
LATEX = ["aux", "log", "out", "pdf", "toc", "lof", "lot", "fls", "fdb_latexmk", "synctex.gz", "dvi", "xdv"]
ALWAYS = [*(f"thesis.{ending}" for ending in LATEX), "*.part", "*.DS_Store"]


def overview() -> pd.DataFrame:
    """A row of texts per run: its state, data, network, training, AUC on clean images, and minutes."""
    columns = ["run", "state", "data", "network", "augment", "seed", "auc", "minutes"]
    folders = sorted(path for path in (home() / "data" / "runs").glob("*") if path.is_dir())
    return pd.DataFrame([_row(folder.name) for folder in folders], columns=columns, dtype=object).fillna("")


def _row(name: str) -> dict[str, str]:
    try:
        run = Run(name)
        stages, params, auc = run.record["stages"], run.params, ""
        train, minutes = params.get("02_train", {}), sum(entry["seconds"] for entry in stages.values()) / 60
        if "03_test" in stages and run.path("scores.parquet").exists():
            clean = run.table("scores").query("severity == 0 and metric == 'auc' and `class` == 'all'")
            value, low, high = clean[["value", "low", "high"]].iloc[0]
            auc = f"{value:.3f} ({low:.3f}-{high:.3f})".replace(" (nan-nan)", "")
        return {
            "run": name, "state": _state(run), "data": params.get("01_augment", {}).get("dataset", ""),
            "network": train.get("arch", ""), "augment": train.get("augment", ""),
            "seed": str(train.get("seed", "")), "auc": auc, "minutes": f"{minutes:.1f}",
        }  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        return {"run": name, "state": f"damaged: {error}"}


def _state(run: Run) -> str:
    for stage, partial in unfinished(run).items():
        failed = '"output_type": "error"' in partial.read_text(encoding="utf-8", errors="replace")
        return f"{'failed' if failed else 'running or cut off'} in {stage}"
    if missing := [file for file in run.written() if not run.path(file).exists()]:
        return f"{missing[0]} is missing"
    stages = tuple(run.record["stages"])
    if outdated := [said for stage in stages for said in run.outdated(stage)]:
        return f"outdated: {outdated[0]}"
    whole = {tuple(STAGES): "complete", ("05_analysis",): "comparison", (): "begun"}
    return whole.get(stages) or f"done to {stages[-1]}"


def unfinished(run: Run) -> dict[str, Path]:
    """The executed notebooks of stages that failed, were cut off or are running.

    A stage that ended before stands as it was, and an attempt after it does not count.
    """
    partial = {stage: run.path("notebooks", f"{stage}{PARTIAL}") for stage in STAGES}
    return {stage: path for stage, path in partial.items() if path.exists() and stage not in run.params}


def verify(run: Run) -> list[str]:
    """What is missing, altered or foreign in a run, in words, then how to make it again: of its record,
    tables, executed notebooks and data, and of the figures and tables for the thesis.
    """
    problems, advice = list[str](), dict[str, None]()
    stages, was = run.record["stages"], run.record["run"]
    if not stages:
        return [f"{run.path('run.json')} records no finished stage; {run.advice('01_augment')}"]
    if was != run.name:
        problems.append(f"{run.path('run.json')} is that of run {was!r}: the folder was replaced")
        advice[run.advice("01_augment")] = None
    known = {run.path("run.json")}
    for stage, entry in stages.items():
        beside = execute.made_beside(run, stage)
        problems += (wrong := [*run.problems(stage), *differing(beside)])
        known |= {*map(run.path, entry.get("files", {})), *beside}
        advice |= {run.advice(stage): None} if wrong else {}
    foreign = [*_foreign(run.folder, known, [*WORK, *ALWAYS]), *_foreign(run.figures, known, ALWAYS)]
    began = "01_augment" in stages and not any(run.problems("01_augment"))
    for split in run.data["splits"] if began else ():
        try:
            load_run(run, split)
        except (ValueError, TypeError, OSError, KeyError) as error:
            problems.append(f"data: {error}")
    return [*problems, *foreign, *advice]


def _foreign(folder: Path, known: Collection[Path], work: Iterable[str]) -> Iterator[str]:
    """Files and links in a folder that the record does not name, and that are not of the work."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        own = path.is_dir() and not path.is_symlink()
        if not own and path not in known and not any(fnmatchcase(name, pattern) for pattern in work):
            where = os.path.relpath(path, home())
            yield f"{where} is not in the record of the run; delete it or move it away"


def write(*, runs: Collection[str] | None = None) -> Path:
    """Write the report of all runs, or some, into the folder ``report``; the path of its ``index.html``.

    What else lies there stays. FileNotFoundError: there are no runs.
    """
    table = overview()
    table = table[table["run"].str.fullmatch(NAME)]
    table = table if runs is None else table[table["run"].isin(runs)]
    if table.empty:
        nothing = f"there are no runs in {home() / 'data' / 'runs'}"
        raise FileNotFoundError(f"{nothing}; `make run` makes them{ALONE}")
    templates = jinja2.Environment(loader=jinja2.PackageLoader("medrob.report", ""), autoescape=True)
    templates.filters["markdown"] = markdown2html
    folder = home() / "report"
    with tempfile.TemporaryDirectory(dir=home(), prefix=".report-") as place:
        part = Path(place) / "report"
        sections = sorted((_run(part, name) for name in table["run"]), key=lambda run: not run["comparison"])
        for section in sections:
            page = templates.get_template("run.html").render(of=section)
            (part / section["run"] / "index.html").write_text(page, encoding="utf-8")
        page = templates.get_template("index.html").render(rows=table.to_dict("records"), sections=sections)
        (part / "index.html").write_text(page, encoding="utf-8")
        shutil.copytree(part, folder, dirs_exist_ok=True, copy_function=os.replace)  # each file whole
    return folder / "index.html"


def _run(folder: Path, name: str) -> dict[str, Any]:
    """Copy the figures of a run; what its page shows, and the index of it."""
    run, place = Run(name), folder / name
    place.mkdir(parents=True)
    try:
        stages, partial = run.record["stages"], unfinished(run)
    except ValueError:
        stages, partial = {}, {}
    comparison = list(stages) == ["05_analysis"]
    for figure in run.figures.glob("*.png"):
        shutil.copy(figure, place)
    if comparison:  # what its notebook tells before concerns the first run alone
        told = stages["05_analysis"].get("told", [])
        beside = [i for i, part in enumerate(told) if part.get("figure") == "05_runs"]
        stages["05_analysis"]["told"] = told[beside[0] :] if beside else told
    picture = "05_runs.png" if comparison else "summary.png"
    return {
        "run": name, "comparison": comparison, "record": stages,
        "answer": {} if comparison else stages.get("05_analysis", {}).get("answer", {}),
        "picture": picture if (place / picture).exists() else "",
        "unfinished": list(partial),
    }  # fmt: skip
