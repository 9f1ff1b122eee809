"""All runs at a glance, whether the files of a run are those that were made, and the report of a study.

The report is a folder of plain HTML that opens from disk, without a server or a network. It is made of the
records of the runs, so that one executed by hand is as full as one of a study.
"""

import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from nbconvert.filters import markdown2html

from medrob import execute
from medrob.data import load_run
from medrob.files import ALONE, atomic, differing, home
from medrob.run import CHECKPOINT, NAME, STAGES, Run

PARTIAL = ".partial.ipynb"  # how a notebook is called until its stage has ended
# What lies in a run's folders beside what its record names: of work that goes on, of LaTeX, of the system.
WORK = [".locks/*", CHECKPOINT, "*.part", "thesis.*", "*.DS_Store"]
WORK += [path for stage in STAGES for path in (f"stamps/{stage}.ipynb", f"notebooks/{stage}{PARTIAL}")]


def overview() -> pd.DataFrame:
    """A row per run: its state, data, network, training, AUC on clean images, and minutes."""
    columns = ["run", "state", "data", "network", "augment", "seed", "auc", "minutes"]
    folders = sorted(path for path in (home() / "data" / "runs").glob("*") if path.is_dir())
    return pd.DataFrame([_row(folder.name) for folder in folders], columns=columns, dtype=object).fillna("")


def _row(name: str) -> dict[str, Any]:
    try:
        run = Run(name)
        stages, auc = run.record["stages"], ""
        began, train = (run.params.get(stage, {}) for stage in ("01_augment", "02_train"))
        if "03_test" in stages and run.path("scores.parquet").exists():
            clean = run.table("scores").query("severity == 0 and metric == 'auc' and `class` == 'all'")
            auc = "{:.3f} ({:.3f}-{:.3f})".format(*clean[["value", "low", "high"]].iloc[0])
        minutes = sum(entry["seconds"] for entry in stages.values()) / 60
        row = {"run": name, "state": _state(run), "data": began.get("dataset"), "network": train.get("arch")}
        row |= {name: train.get(name) for name in ("augment", "seed")}
        return row | {"auc": auc.replace(" (nan-nan)", ""), "minutes": f"{minutes:.1f}"}
    except (ValueError, IndexError) as error:
        return {"run": name, "state": f"damaged: {error}"}


def _state(run: Run) -> str:
    for stage in unfinished(run):
        return f"failed, cut off or running in {stage}"
    stages = tuple(run.record["stages"])
    for problem in (text for stage in stages for text in run.problems(stage)):
        return problem
    whole = {tuple(STAGES): "complete", ("05_analysis",): "comparison", (): "begun"}
    return whole.get(stages) or f"done to {stages[-1]}"


def unfinished(run: Run) -> list[str]:
    """The stages that failed, were cut off or are running.

    A stage that ended before stands as it was, and an attempt after it does not count.
    """
    partial = [stage for stage in STAGES if run.path("notebooks", f"{stage}{PARTIAL}").exists()]
    return [stage for stage in partial if stage not in run.params]


def verify(run: Run) -> list[str]:
    """What is missing, altered or foreign in a run, in words, then how to make it again: of its record,
    tables, executed notebooks and data, and of the figures and tables for the thesis.
    """
    stages, was = run.record["stages"], run.record["run"]
    absent = [stage for stage in STAGES if stage not in stages]
    if lost := [stage for stage in absent if any(run.path(file).exists() for file in STAGES[stage])]:
        told = (f"the entry of {stage} in run.json was altered or removed" for stage in lost)
        return [*told, *dict.fromkeys(map(run.advice, lost))]
    if not stages:
        return [f"{run.path('run.json')} records no finished stage; {run.advice('01_augment')}"]
    problems, advice, known = list[str](), dict[str, None](), {run.path("run.json")}
    if was != run.name:
        problems.append(f"{run.path('run.json')} is that of run {was!r}: the folder was replaced")
        advice[run.advice("01_augment")] = None
    for stage, entry in stages.items():
        beside = execute.made_beside(run, stage)
        problems += (wrong := [*run.problems(stage), *differing(beside)])
        known |= {*map(run.path, entry["files"]), *beside}
        advice |= {run.advice(stage): None} if wrong else {}
    began = "01_augment" in stages and not any(run.problems("01_augment"))
    for split in run.data["splits"] if began else ():
        try:
            load_run(run, split)
        except (ValueError, TypeError, OSError, KeyError) as error:
            problems.append(f"data: {error}")
    return [*problems, *_foreign(run, known), *advice]


def _foreign(run: Run, known: Collection[Path]) -> Iterator[str]:
    """Files and links in the folders of a run that its record does not name, and that are not of the work."""
    for path in sorted([*run.folder.rglob("*"), *run.figures.rglob("*")]):
        own = path.is_dir() and not path.is_symlink()
        if not own and path not in known and not any(map(path.match, WORK)):
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
    sections = sorted((_run(folder, name) for name in table["run"]), key=lambda run: not run["comparison"])
    pages: list[tuple[str, str, dict[str, Any]]] = [("", "index.html", {"rows": table.to_dict("records")})]
    pages += [(f"{section['run']}/", "run.html", {"of": section}) for section in sections]
    for place, template, content in pages:
        with atomic(folder / f"{place}index.html") as page:
            text = templates.get_template(template).render(content, sections=sections)
            page.write_text(text, encoding="utf-8")
    return folder / "index.html"


def _run(folder: Path, name: str) -> dict[str, Any]:
    """Copy the figures of a run; what its page shows, and the index of it."""
    run, place = Run(name), folder / name
    place.mkdir(parents=True, exist_ok=True)
    try:
        stages, partial = run.record["stages"], unfinished(run)
    except ValueError:
        stages, partial = {}, []
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
        "picture": picture if (run.figures / picture).exists() else "",
        "unfinished": partial,
    }  # fmt: skip
