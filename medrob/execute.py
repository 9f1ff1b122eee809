"""Executing a notebook without a reader, as the Snakefile does it, and whether what it made still stands.

A stage that has ended leaves a stamp for each of its files in ``data/runs/<run>/stamps``: the checksum of the
file. Stamps are what Snakemake orders. They are small, so it compares their content and not only their time,
and a failed notebook costs no table: Snakemake gives back the stamps, and never touches the files themselves.
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
from medrob.run import STAGES, Run

QUIET = ["--IPKernelApp.log_level=CRITICAL"]  # a kernel says little that the notebook does not hold


def execute(notebook: Path, run: Run, key: str, parameters: Mapping[str, Any]) -> None:
    """Execute a notebook into the folder of a run, and leave stamps with the key.

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
    for name in stamped(stage):
        file, note = (f"notebooks/{name}", f"# {key}\n") if name.endswith(".ipynb") else (name, "")
        with atomic(run.path("stamps", name)) as stamp:
            stamp.write_text(f"{checksum(run.path(file))}  {file}\n{note}")


def stamped(stage: str) -> list[str]:
    """The names of a stage's stamps: those of its tables, and of the executed notebook."""
    return [*STAGES[stage], f"{stage}.ipynb"]


def made_beside(run: Run, stage: str) -> dict[Path, str]:
    """The checksums of what a finished stage made beside its tables: its executed notebook and its part of
    the thesis; of the last stage also the documents about all of them.
    """
    from medrob import thesis

    stages, stamp = run.record["stages"], run.path("stamps", f"{stage}.ipynb")
    texts = thesis.documents(stages, run.name) if stage == list(stages)[-1] else {}
    figures = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    figures |= thesis.checksums(stages[stage])
    # Nobody knows what a notebook was that was executed by hand: it has no stamp.
    made = {run.path("notebooks", stamp.name): stamp.read_text()[:64]} if stamp.exists() else {}
    return made | {run.figures / name: recorded for name, recorded in figures.items()}


def untrue_stamps(run: Run, stage: str) -> tuple[list[Path], list[str]]:
    """The stamps of a stage that are not true, and why: all, or if its tables stand that of the notebook."""
    stamps = [stamp for name in stamped(stage) if (stamp := run.path("stamps", name)).exists()]
    if not stamps:
        return [], []
    try:
        stages = run.record["stages"] if run.record["run"] == run.name else {}
        if stage not in stages:
            return stamps, ["run.json does not record it"]
        made = stages[stage]["files"]
        by_hand = [s.name for s in stamps if not s.read_text().startswith(made.get(s.name, ""))]
        if wrong := [*run.problems(stage), *(f"{name} was made by hand" for name in by_hand)]:
            return stamps, wrong
        beside = list(differing(made_beside(run, stage)))
        return [run.path("stamps", f"{stage}.ipynb")] if beside else [], beside
    except (ValueError, OSError) as error:  # a damaged record, what cannot be read
        return stamps, [str(error)]


def look(jobs: Iterable[tuple[str, str]], now: Path) -> set[Path]:
    """Say what does not stand of a study; its stamps, whose files Snakemake is to make again.

    They are not removed: a stamp is true again when its file is. `now` is written: newer than all stamps.
    """
    untrue = set[Path]()
    now.parent.mkdir(parents=True, exist_ok=True)
    now.write_text(str(time.time_ns()))
    for name, stage in jobs:
        stamps, wrong = untrue_stamps(Run(name), stage)
        untrue.update(stamps)
        print(*(f"{name}, {stage}: {text}\n" for text in wrong), sep="", end="", file=sys.stderr)
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
