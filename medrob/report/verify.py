"""Whether a run's files are those that were made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from medrob.data import load_run
from medrob.files import checksum
from medrob.run import Run, entry_checksum


def verify(run: Run) -> list[str]:
    """What is missing or altered in a run, in words; nothing if all is as it was made.

    The checksums of all files are made again: of tables, executed notebooks, figures and tables for the
    thesis, and of the data.
    """
    stages = run.record["stages"]
    if not stages:
        return [f"{run.path('run.json')} records no finished stage"]
    problems = []
    for stage, entry in stages.items():
        if entry.get("checksum") != entry_checksum(entry):
            problems.append(f"the entry of {stage} in run.json was altered; {run.advice(stage)}")
        problems += run.problems(stage)
        problems += _executed(run, stage)
    problems += _exported(run.figures, set(stages))
    if "01_augment" in stages:
        for split in run.data["splits"]:
            try:
                load_run(run, split)
            except (ValueError, TypeError, OSError, KeyError) as error:
                problems.append(f"data: {error}")
    return problems


def _executed(run: Run, stage: str) -> Iterator[str]:
    """What is wrong with the executed notebook of a study."""
    stamp, name = run.path("stamps", f"{stage}.ipynb"), f"notebooks/{stage}.ipynb"
    if not stamp.exists():  # executed by hand
        return
    if not run.path(name).exists():
        yield f"{name} is missing; {run.advice(stage)}"
    elif checksum(run.path(name)) != stamp.read_text().split(" ")[0]:
        yield f"{name} was changed after the study executed it (its checksum differs); {run.advice(stage)}"


def _exported(folder: Path, stages: set[str]) -> Iterator[str]:
    """What is missing or altered of the figures and tables for the thesis."""
    seen = set()
    for part in sorted(folder.glob("parts/*.json")):
        try:
            note = json.loads(part.read_text(encoding="utf-8"))
            files, stage = dict(note["files"]), note["stage"]
        except (ValueError, KeyError, TypeError):
            yield f"{part} is damaged; delete it and run its notebook again"
            continue
        seen.add(stage)
        yield from _altered(folder, files, f"notebook {stage} makes it")
    for stage in sorted(stages - seen):
        yield f"figures/{folder.name} holds nothing of {stage}; run notebook {stage} again"
    sums = folder / "parts" / "document.sha256"
    if sums.exists():
        files = {name: made for made, name in (line.split() for line in sums.read_text().splitlines())}
        yield from _altered(folder, files, "the last notebook writes it")


def _altered(folder: Path, files: Mapping[str, str], advice: str) -> Iterator[str]:
    for name, made in files.items():
        where = f"figures/{folder.name}/{name}"
        if not (folder / name).exists():
            yield f"{where} is missing; {advice}"
        elif checksum(folder / name) != made:
            yield f"{where} was changed after it was made (its checksum differs); {advice}"
