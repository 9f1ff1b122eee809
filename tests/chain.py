"""Running the chain as users run it, and writing what a stage adds to the figures folder."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment(home):
    """The environment of a terminal in which the project is active, with another home."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "MEDROB_HOME": str(home), "MEDROB_PROGRESS": "off", "PATH": path}


def run(home, *command):
    """Run a command, which must succeed; what it printed."""
    done = subprocess.run(command, cwd=ROOT, env=environment(home), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


RECORDS = {}  # folder -> {stage: its entry}


def write(bundle, **facts):
    """Write a bundle as a stage does at its end, beside others; the path of ``thesis.tex``."""
    entries = RECORDS.setdefault(bundle.folder, {})
    entry = {"thesis": bundle.notes} | facts
    bundle.document(entries | {bundle.name: entry}, entries.get(bundle.name))
    entries[bundle.name] = entry
    return bundle.folder / "thesis.tex"


def save(run, name, frame):
    """Write a table of a run; its path."""
    path = run.path(f"{name}.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, index=False)
    return path
