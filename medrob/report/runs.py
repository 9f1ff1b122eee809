"""All runs at a glance, and whether the files of a run are those that were made."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from medrob.data import load_run
from medrob.files import checksum, home
from medrob.run import STAGES, Run, entry_checksum

PARTIAL = ".partial.ipynb"  # how a notebook is called until it is whole


def overview() -> pd.DataFrame:
    """A row of texts per run: its state, data, network, training, AUC on clean images, and minutes."""
    columns = ["run", "state", "data", "network", "augment", "seed", "auc", "minutes"]
    folders = sorted(path for path in (home() / "data" / "runs").glob("*") if path.is_dir())
    return pd.DataFrame([_row(folder.name) for folder in folders], columns=columns).fillna("")


def _row(name: str) -> dict[str, str]:
    try:
        run = Run(name)
        stages, params, auc = run.record["stages"], run.params, ""
        train, minutes = params.get("02_train", {}), sum(entry["seconds"] for entry in stages.values()) / 60
        width = f", width {train['width']}" if train.get("arch", "").startswith("resnet") else ""
        if "03_test" in stages and run.path("scores.parquet").exists():
            clean = run.table("scores").query("severity == 0 and metric == 'auc' and `class` == 'all'")
            value, low, high = clean[["value", "low", "high"]].iloc[0]
            auc = f"{value:.3f} ({low:.3f}-{high:.3f})".replace(" (nan-nan)", "")
        return {
            "run": name, "state": _state(run), "data": params.get("01_augment", {}).get("dataset", ""),
            "network": train.get("arch", "") + width, "augment": train.get("augment", ""),
            "seed": str(train.get("seed", "")), "auc": auc, "minutes": f"{minutes:.1f}",
        }  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        return {"run": name, "state": f"damaged: {error}"}


def _state(run: Run) -> str:
    for stage in STAGES:
        partial = run.path("notebooks", f"{stage}{PARTIAL}")
        if partial.exists():
            failed = '"output_type": "error"' in partial.read_text(encoding="utf-8", errors="replace")
            return f"{'failed' if failed else 'running or cut off'} in {stage}"
    if missing := [file for file in run.written() if not run.path(file).exists()]:
        return f"{missing[0]} is missing"
    stages = tuple(run.record["stages"])
    whole = {tuple(STAGES): "complete", ("05_analysis",): "comparison", (): "begun"}
    return whole.get(stages) or f"done to {stages[-1]}"


def verify(run: Run) -> list[str]:
    """What is missing or altered in a run, in words: of its tables, executed notebooks and data, and of the
    figures and tables for the thesis.
    """
    stages = run.record["stages"]
    if not stages:
        return [f"{run.path('run.json')} records no finished stage"]
    problems = []
    for stage, entry in stages.items():
        if entry.get("checksum") != entry_checksum(entry):
            problems.append(f"the entry of {stage} in run.json was altered; {run.advice(stage)}")
        problems += run.problems(stage)
        stamp, notebook = run.path("stamps", f"{stage}.ipynb"), f"notebooks/{stage}.ipynb"
        made = {notebook: stamp.read_text().split(" ")[0]} if stamp.exists() else {}  # else executed by hand
        problems += _altered(run.folder, made, run.advice(stage))
    problems += _exported(run.figures, set(stages))
    for split in run.data["splits"] if "01_augment" in stages else ():
        try:
            load_run(run, split)
        except (ValueError, TypeError, OSError, KeyError) as error:
            problems.append(f"data: {error}")
    return problems


def _exported(folder: Path, stages: set[str]) -> Iterator[str]:
    """What is missing or altered of the figures and tables for the thesis."""
    for part in sorted(folder.glob("parts/*.json")):
        try:
            note = json.loads(part.read_text(encoding="utf-8"))
            files, stage = dict(note["files"]), note["stage"]
        except (ValueError, KeyError, TypeError):
            yield f"{part} is damaged; delete it and run its notebook again"
            continue
        stages = stages - {stage}
        yield from _altered(folder, files, f"notebook {stage} makes it")
    for stage in sorted(stages):
        yield f"figures/{folder.name} holds nothing of {stage}; run notebook {stage} again"
    sums = folder / "parts" / "document.sha256"
    lines = sums.read_text().splitlines() if sums.exists() else []
    yield from _altered(folder, dict(line.split()[::-1] for line in lines), "the last notebook writes it")


def _altered(folder: Path, files: Mapping[str, str], advice: str) -> Iterator[str]:
    for name, made in files.items():
        where = f"{folder.parent.name}/{folder.name}/{name}"
        if not (folder / name).exists():
            yield f"{where} is missing; {advice}"
        elif checksum(folder / name) != made:
            yield f"{where} was changed after it was made (its checksum differs); {advice}"
