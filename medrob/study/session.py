"""A running study: one at a time in a folder, nothing left of a killed one, progress, and what it cost."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from medrob.progress import clock
from medrob.runs import STAGES, Run, home

PARTIAL = ".partial.ipynb"
EVERY = 10  # seconds between two lines of progress of one job


class Session:
    """What `begin` holds until the process ends, however it ends.

    Args:
        runs: the names of the study's runs and comparisons.
    """

    def __init__(self, runs: Iterable[str]) -> None:
        self.runs = list(runs)
        self._began = time.monotonic()
        self._over = threading.Event()
        self._lock: Any = None

    def begin(self) -> None:
        """Claim the folder, stop what a killed study has left running, and report progress from now on.

        Raises:
            RuntimeError: another study is running in this folder.
            OSError: the folder cannot be written.
        """
        self._lock = _claim(home() / "data" / "runs" / ".study.lock")
        stop_leftovers()
        for file in self._progress_files():
            file.unlink(missing_ok=True)
        threading.Thread(target=self._report, daemon=True).start()

    @staticmethod
    def plan(todo: Mapping[str, Sequence[str]]) -> None:
        """Say which stages of which runs are to be run."""
        for run, stages in todo.items():
            print(f"{run}: {'to do ' + ', '.join(stages) if stages else 'finished'}", file=sys.stderr)

    def end(self) -> None:
        """Say what each stage cost, and where the notebooks are that failed."""
        self._over.set()
        print(self.totals(), file=sys.stderr)
        failed = [f for run in self.runs for f in sorted(Run(run).path("notebooks").glob(f"*{PARTIAL}"))]
        for file in failed:
            log = str(file).replace(PARTIAL, ".log")
            told = "holds the traceback" if _failed(file) else f"was cut off; {log} says more"
            print(f"failed: {file} {told}", file=sys.stderr)

    def totals(self) -> str:
        """Seconds by stage over all runs, and the time since the study began."""
        lines = []
        for stage in STAGES:
            found = [_stages(run).get(stage, {}).get("seconds") for run in self.runs]
            seconds = [s for s in found if s is not None]
            lines.append(f"{stage:12} {len(seconds):3} done  {clock(sum(seconds)):>8}")
        return "\n".join([*lines, f"{'this study':12}           {clock(time.monotonic() - self._began):>8}"])

    def _progress_files(self) -> list[Path]:
        return [file for run in self.runs for file in Run(run).path("notebooks").glob("*.progress")]

    def _report(self) -> None:
        """A line per job every `EVERY` seconds, if there is something new."""
        said: dict[Path, str] = {}
        while not self._over.wait(EVERY):
            for file in self._progress_files():
                try:
                    text = file.read_text().strip()
                except OSError:
                    continue
                if text and said.get(file) != text:
                    said[file] = text
                    print(f"{file.parents[1].name}, {file.stem}: {text}", file=sys.stderr, flush=True)


def _stages(run: str) -> dict[str, Any]:
    """The record of a run's stages; {} where it is damaged."""
    try:
        return Run(run).record["stages"]
    except ValueError:
        return {}


def _failed(file: Path) -> bool:
    """Whether a notebook is whole and holds the error of a cell."""
    try:
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError, OSError):
        return False
    return any(out.get("output_type") == "error" for cell in cells for out in cell.get("outputs", []))


def _claim(file: Path) -> Any:
    """Hold a lock that ends with this process, however it ends; None where there are no such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    file.parent.mkdir(parents=True, exist_ok=True)
    held = file.open("a")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise RuntimeError(
            f"another study is running in {file.parent}; wait until it has ended, or set MEDROB_HOME to "
            "another folder"
        ) from None
    return held


def stop_leftovers() -> int:
    """Stop the notebooks of this folder that outlived their study; how many processes there were.

    Call it only where no other study can be running.
    """
    ours = str(home() / "data" / "runs")
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or [])
        if ours in words and PARTIAL in words and process.pid != psutil.Process().pid:
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
