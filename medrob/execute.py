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

import filelock

from medrob.files import atomic, checksum, differing
from medrob.run import STAGES, Run

QUIET = ["--IPKernelApp.log_level=CRITICAL"]  # a kernel says little that the notebook does not hold
NAMES = ("run", "runs", "results", "device")  # parameters that change no table


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
    for file in files(stage):
        with atomic(run.path("stamps", Path(file).name)) as stamp:
            note = f"# {key}\n" if file.endswith(".ipynb") else ""
            stamp.write_text(f"{checksum(run.path(file))}  {file}\n{note}")


def files(stage: str) -> list[str]:
    """The files of a finished stage inside the run folder: its tables, and the executed notebook."""
    return [*STAGES[stage], f"notebooks/{stage}.ipynb"]


def stamped(stage: str) -> list[str]:
    """The names of a stage's stamps."""
    return [Path(file).name for file in files(stage)]


def made_beside(run: Run, stage: str) -> dict[Path, str]:
    """The checksums of what a finished stage made beside its tables: its executed notebook, exported images
    and its part of the thesis; of the last stage also the documents about all of them.
    """
    from medrob import thesis

    stages, stamp = run.record["stages"], run.path("stamps", f"{stage}.ipynb")
    texts = thesis.documents(stages, run.name) if stage == list(stages)[-1] else {}
    figures = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    figures |= thesis.checksums(stages[stage])
    # Nobody knows what a notebook was that was executed by hand: it has no stamp.
    made = {run.path("notebooks", stamp.name): stamp.read_text()[:64]} if stamp.exists() else {}
    made |= {run.path(name): recorded for name, recorded in stages[stage].get("exports", {}).items()}
    return made | {run.figures / name: recorded for name, recorded in figures.items()}


def untrue_stamps(run: Run, stage: str) -> tuple[list[Path], list[str]]:
    """The stamps of a stage that are not true, and why: all, or if its tables stand that of the notebook."""
    stamps = [stamp for name in stamped(stage) if (stamp := run.path("stamps", name)).exists()]
    if not stamps:
        return [], []
    try:
        entry = run.record["stages"].get(stage, {}) if run.record["run"] == run.name else {}
        wrong = list(run.problems(stage)) if entry else ["run.json does not record it"]
        made = entry.get("files", {})
        by_hand = (s.name for s in stamps if not s.read_text().startswith(made.get(s.name, "")))
        wrong += [f"{name} was made by hand" for name in by_hand]
        if beside := [] if wrong else list(differing(made_beside(run, stage))):
            return [run.path("stamps", f"{stage}.ipynb")], beside
    except (ValueError, OSError) as error:  # a damaged record, what cannot be read
        wrong = [str(error)]
    return stamps * bool(wrong), wrong


def made_otherwise(run: Run, stage: str, parameters: Mapping[str, Any]) -> list[str]:
    """The parameters of a finished stage that are others now, in words: ``epochs 8, now 20``."""
    try:
        made = run.params.get(stage, {})
    except ValueError:  # a damaged record
        return []
    now = {name: value for name, value in parameters.items() if name not in NAMES and name in made}
    return [f"{name} {made[name]!r}, now {value!r}" for name, value in now.items() if made[name] != value]


def look(
    jobs: Iterable[tuple[str, str, Mapping[str, Any]]], lock: filelock.BaseFileLock, now: Path
) -> set[Path]:
    """Say what does not stand of a study; its stamps, whose files Snakemake is to make again.

    They are not removed: a stamp is true again when its file is. While another study is running in the
    folder, nothing is looked at. `now` is written: newer than all stamps.
    """
    untrue = set[Path]()
    try:
        now.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return untrue
    now.write_text(str(time.time_ns()))
    for name, stage, parameters in jobs:
        run = Run(name)
        stamps, wrong = untrue_stamps(run, stage)
        untrue.update(stamps)
        if differences := made_otherwise(run, stage, parameters):
            wrong.append(f"made with {', '.join(differences)}")
        print(*(f"{name}, {stage}: {text}\n" for text in wrong), sep="", end="", file=sys.stderr)
    lock.release()
    return untrue


def claim(lock: filelock.BaseFileLock) -> None:
    """Hold the lock of the folder until this process ends, or refuse a second study there."""
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        where = f"another study is running in {Path(lock.lock_file).parent}"
        advice = "wait until it has ended, or set MEDROB_HOME to another folder"
        raise RuntimeError(f"{where}; {advice}") from None


def _end_with_parent() -> None:
    """End this process and its kernel when the study that has started it is killed.

    Else two notebooks would work on the same stage as soon as the study is started again.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        import psutil

        for child in psutil.Process().children(recursive=True):
            child.kill()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
