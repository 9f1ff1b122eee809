"""A running study: one at a time in a folder, nothing left of a killed one, progress, and what it cost."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import psutil

from medrob.files import home
from medrob.progress import clock
from medrob.runs import STAGES, Run
from medrob.runs.state import PARTIAL, has_error, is_held, study_lock
from medrob.study import jobs

FULL = 20e6  # bytes: with less a notebook is not written
EVERY = 10  # seconds between two lines of progress of one job


class Session:
    """What `begin` holds until the process ends, however it ends.

    Args:
        runs: the names of the study's runs and comparisons.
    """

    def __init__(self, runs: Iterable[str]) -> None:
        self.runs = list(runs)
        self._began = time.time()
        self._over = threading.Event()
        self._lock: Any = None
        self._said = 0  # of how many it was said that they are done
        self._seen: dict[str, jobs.Executed] = {}  # of each stage, a notebook that was executed
        self._told: set[Path] = set()  # the notebooks of which it was said
        self._todo: list[Path] = []  # the notebooks that are to be executed

    def begin(self) -> None:
        """Claim the folder, stop what a killed study has left running, and report progress from now on.

        Raises:
            RuntimeError: another study is running in this folder.
            OSError: the folder cannot be written.
        """
        self._lock = _claim()
        stop_leftovers()
        self._began = time.time()
        for file in self._files("*.progress"):
            file.unlink(missing_ok=True)
        for stage in STAGES:
            self._before(stage)
        threading.Thread(target=self._report, daemon=True).start()

    @staticmethod
    def elsewhere() -> bool:
        """Whether another study is running in this folder."""
        return is_held(study_lock())

    def plan(self, todo: Mapping[str, Sequence[str]]) -> None:
        """Say which stages of which runs are to be run."""
        for run, stages in todo.items():
            print(f"{run}: {'to do ' + ', '.join(stages) if stages else 'finished'}", file=sys.stderr)
            self._todo += [Run(run).path("notebooks", f"{stage}.ipynb") for stage in stages]

    def end(self) -> None:
        """Say what each stage cost, and where the notebooks are that failed."""
        self._over.set()
        for text in self._finished():
            print(text, file=sys.stderr)
        print(self.totals(), file=sys.stderr)
        for file in self._files(f"*{PARTIAL}"):
            log = str(file).replace(PARTIAL, ".log")
            told = "holds the traceback" if has_error(file) else f"was cut off; {log} says more"
            print(f"failed: {file} {told}", file=sys.stderr)
        if (free := psutil.disk_usage(str(home())).free) < FULL:
            print(f"the disk of {home()} is full: {free / 1e6:.0f} MB are free", file=sys.stderr)

    def totals(self) -> str:
        """Seconds by stage over all runs, those of this study since it began, and the time that it took."""
        lines = []
        for stage in STAGES:
            found = {run: _stages(run).get(stage, {}).get("seconds") for run in self.runs}
            seconds = {run: s for run, s in found.items() if s is not None}
            now = [
                s for run, s in seconds.items() if self._is_done(Run(run).path("notebooks", f"{stage}.ipynb"))
            ]
            told = f"{stage:12} {len(seconds):3} done  {clock(sum(seconds.values())):>8}"
            lines.append(f"{told}, of them now {len(now):3}  {clock(sum(now)):>8}")
        return "\n".join([*lines, f"{'this study':12}           {clock(time.time() - self._began):>8}"])

    def _is_done(self, notebook: Path) -> bool:
        """Whether a notebook has been executed since the study began."""
        return notebook.exists() and notebook.stat().st_mtime >= self._began

    def _files(self, pattern: str) -> list[Path]:
        return [file for run in self.runs for file in sorted(Run(run).path("notebooks").glob(pattern))]

    def _report(self) -> None:
        """A line per job every `EVERY` seconds, if there is something new, and one of all after each job."""
        said: dict[Path | None, str] = {}
        while not self._over.wait(EVERY):
            for text in self._finished():
                print(text, file=sys.stderr, flush=True)
            for file, text in [*self._jobs(), (None, self._altogether())]:
                if text and said.get(file) != text:
                    said[file] = text
                    name = f"{file.parents[1].name}, {file.name.removesuffix(PARTIAL)}" if file else "study"
                    print(f"{name}: {text}", file=sys.stderr, flush=True)

    def _finished(self) -> Iterator[str]:
        """The notebooks that have been executed since it was asked last, and how long each took."""
        for file in [file for file in self._todo if file not in self._told and self._is_done(file)]:
            if job := jobs.read(file):
                self._told.add(file)
                yield f"{file.parents[1].name}, {file.stem}: done in {clock(job.seconds or 0)}"

    def _jobs(self) -> Iterator[tuple[Path, str]]:
        """The notebooks that are being executed, and how far each is."""
        for file in self._files(f"*{PARTIAL}"):
            job = jobs.read(file) if self._is_done(file) else None
            if job and job.seconds is None:
                step = file.with_name(file.name.replace(PARTIAL, ".progress"))
                inside = step.read_text().strip() if step.exists() else ""
                yield file, jobs.told(job, self._before(file.name.split(".")[0]), inside, time.time())

    def _before(self, stage: str) -> jobs.Executed | None:
        """A notebook of the stage as it was executed last; one that is executed again is gone meanwhile."""
        files = sorted(self._files(f"{stage}.ipynb"), key=lambda file: file.stat().st_mtime)
        if files and (found := jobs.read(files[-1])):
            self._seen[stage] = found
        return self._seen.get(stage)

    def _altogether(self) -> str:
        """How many notebooks are done, and about how long the rest takes if every stage has been seen."""
        done = [file for file in self._todo if self._is_done(file)]
        gone = time.time() - self._began
        before = {stage: self._before(stage) for stage in {file.stem for file in self._todo}}
        weights = {stage: one.seconds for stage, one in before.items() if one and one.seconds}
        left = ""
        if done and len(weights) == len(before):
            share = sum(weights[f.stem] for f in done) / sum(weights[f.stem] for f in self._todo)
            left = f", about {clock(gone * (1 - share) / share)} to go"
        if self._todo and len(done) != self._said:
            self._said = len(done)
            return f"{len(done)} of {len(self._todo)} notebooks, {clock(gone)} gone{left}"
        return ""


def _stages(run: str) -> dict[str, Any]:
    """The record of a run's stages; {} where it is damaged."""
    try:
        return Run(run).record["stages"]
    except ValueError:
        return {}


def _claim() -> filelock.BaseFileLock:
    """Hold the lock of the folder, which ends with this process, however it ends."""
    lock = study_lock()
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise RuntimeError(
            f"another study is running in {home() / 'data' / 'runs'}; wait until it has ended, or set "
            "MEDROB_HOME to another folder"
        ) from None
    return lock


def stop_leftovers() -> int:
    """Stop the notebooks of this folder that outlived their study; how many processes there were.

    Call it only where no other study can be running.
    """
    ours = str(home() / "data" / "runs") + os.sep
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if (
            any(word.startswith(ours) and PARTIAL in word for word in words)
            and process.pid != psutil.Process().pid
        ):
            found += [process, *_children(process)]
    for process in found:
        _kill(process)
    psutil.wait_procs(found, timeout=10)
    return len(found)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.Error:
        return
