"""Executing a notebook without a reader, as the Snakefile does it, and whether what it made still stands.

A stage that has ended leaves a stamp in ``data/runs/<run>/stamps``. Stamps are all that Snakemake orders, so
a failed notebook costs no table: Snakemake gives back the stamp, and never touches the files themselves.
"""

import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from medrob.files import atomic, checksum, differing
from medrob.run import READS, STAGES, Run

QUIET = ["--IPKernelApp.log_level=CRITICAL"]  # a kernel says little that the notebook does not hold


def execute(notebook: Path, run: Run, key: str, parameters: Mapping[str, Any]) -> None:
    """Execute a notebook into the folder of a run, and leave its stamp.

    While it runs, and when it has failed, what has been executed lies in ``<stage>.partial.ipynb``.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    stage = notebook.stem
    partial = run.path("notebooks", f"{stage}.partial.ipynb")
    partial.parent.mkdir(parents=True, exist_ok=True)
    _end_with_parent()
    os.environ.setdefault("MEDROB_PROGRESS", "off")
    try:
        papermill.execute_notebook(
            notebook, partial, parameters, kernel_name="python3", progress_bar=False, extra_arguments=QUIET
        )
    except PapermillExecutionError as error:
        end = "\n".join(str(error).rstrip().splitlines()[-20:])
        sys.exit(f"{end}\n{stage} of run {run.name} failed; the whole traceback is in {partial}")
    partial.replace(run.path("notebooks", f"{stage}.ipynb"))
    stamp(run, stage, key)


def stamp(run: Run, stage: str, key: str) -> None:
    """Leave the stamp of a stage: the checksums of its executed notebook and of its files, and the key."""
    files = [f"notebooks/{stage}.ipynb", *STAGES[stage]]
    with atomic(run.stamp(stage)) as part:
        part.write_text("".join(f"{checksum(run.path(file))}  {file}\n" for file in files) + f"# {key}\n")


def made_beside(run: Run, stage: str) -> dict[Path, str]:
    """The checksums of what a finished stage made beside its tables: its executed notebook and its part of
    the thesis; of the last stage also the documents about all of them.
    """
    from medrob import thesis

    stages, stamp = run.record["stages"], run.stamp(stage)
    texts = thesis.documents(stages, run.name) if stage == list(stages)[-1] else {}
    figures = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    figures |= thesis.checksums(stages[stage])
    # Nobody knows what a notebook was that was executed by hand: it has no stamp.
    made = {run.path("notebooks", stamp.name): stamp.read_text()[:64]} if stamp.exists() else {}
    return made | {run.figures / name: recorded for name, recorded in figures.items()}


def wrong(run: Run, stage: str) -> tuple[list[str], list[str]]:
    """What is wrong with the tables of a stage that has a stamp; if nothing is, with what it made beside."""
    try:
        stages = run.record["stages"] if run.record["run"] == run.name else {}
        if stage not in stages:
            return ["run.json does not record it"], []
        made, stamp = stages[stage]["files"], run.stamp(stage).read_text()
        by_hand = [f"{file} was made by hand" for file, checksum in made.items() if checksum not in stamp]
        if tables := [*run.problems(stage), *by_hand]:
            return tables, []
        return [], list(differing(made_beside(run, stage)))
    except (ValueError, OSError) as error:  # a damaged record, what cannot be read
        return [str(error)], []


def look(jobs: Iterable[tuple[str, str]], now: Path) -> set[Path]:
    """Say what does not stand of a study; its stamps and tables, which are to be made again.

    They are not removed: a stamp is true again when its file is. `now` is written: newer than all stamps.
    """
    untrue = set[Path]()
    now.parent.mkdir(parents=True, exist_ok=True)
    now.write_text(str(time.time_ns()))
    for name, stage in jobs:
        run = Run(name)
        tables, beside = wrong(run, stage) if run.stamp(stage).exists() else ([], [])
        untrue.update([run.stamp(stage)] if tables or beside else [])
        if tables or not untrue.isdisjoint(map(run.path, READS[stage])):  # and so what follows
            untrue.update(map(run.path, STAGES[stage]))
        for text in (*tables, *beside):
            print(f"{name}, {stage}: {text}", file=sys.stderr)
    return untrue


def _end_with_parent() -> None:
    """End this process, and so its kernel, when the study that has started it is killed.

    Else two notebooks would work on the same stage as soon as the study is started again.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    notebook, run, key, parameters = sys.argv[1:]
    execute(Path(notebook), Run(run), key, yaml.safe_load(parameters))
