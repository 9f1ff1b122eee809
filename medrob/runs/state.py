"""How far a run is, and whether a study is running."""

from __future__ import annotations

import json
from pathlib import Path

import filelock

from medrob.files import home
from medrob.runs.run import Run
from medrob.runs.stages import STAGES

PARTIAL = ".partial.ipynb"  # how a notebook is called until it is whole


def state(run: Run) -> str:
    """How far a run is.

    "complete", "comparison", "failed in 03_test", "running 03_test", "cut off in 03_test", "drift.parquet is
    missing", "done to 02_train" or "begun".
    """
    stages = run.record["stages"]
    for stage in STAGES:
        partial = run.path("notebooks", f"{stage}{PARTIAL}")
        if partial.exists():
            if has_error(partial):
                return f"failed in {stage}"
            return f"{'running' if is_held(study_lock()) else 'cut off in'} {stage}"
    gone = [
        file for entry in stages.values() for file in entry.get("files", {}) if not run.path(file).exists()
    ]
    if gone:
        return f"{gone[0]} is missing"
    if list(stages) == list(STAGES):
        return "complete"
    if list(stages) == ["05_analysis"]:
        return "comparison"
    return f"done to {list(stages)[-1]}" if stages else "begun"


def has_error(notebook: Path) -> bool:
    """Whether a notebook is whole and holds the error of a cell."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError, OSError):
        return False
    return any(out.get("output_type") == "error" for cell in cells for out in cell.get("outputs", []))


def study_lock() -> filelock.BaseFileLock:
    """The lock that a study holds while it runs in this folder; the system frees it however it ends."""
    (home() / "data" / "runs").mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(home() / "data" / "runs" / ".study.lock")


def is_held(lock: filelock.BaseFileLock) -> bool:
    """Whether somebody holds a lock."""
    try:
        with lock.acquire(timeout=0):
            return False
    except filelock.Timeout:
        return True
