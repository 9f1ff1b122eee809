"""All runs at a glance, and whether the files of a run are those that were made."""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pandas as pd

from medrob.data import load_run
from medrob.files import checksum, home
from medrob.run import STAGES, Run, entry_checksum
from medrob.thesis import checksums, documents

# What lies in a run folder beside the files that its record names: of Snakemake, of work that goes on.
WORK = ("stamps/", "notebooks/", "shares/", "tensorboard/", "checkpoint.pt")
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
    """What is missing, altered or foreign in a run, in words: of its record, tables, executed notebooks and
    data, and of the figures and tables for the thesis.
    """
    record, problems = run.record, []
    stages = record["stages"]
    if not stages:
        return [f"{run.path('run.json')} records no finished stage"]
    if record.get("run") != run.name:
        problems.append(
            f"{run.path('run.json')} is that of run {record.get('run')!r}: the folder was replaced"
        )
    own, figures, texts = {"run.json"}, set(), documents(stages, run.name)
    for stage, entry in stages.items():
        if entry.get("checksum") != entry_checksum(entry):
            problems.append(f"the entry of {stage} in run.json was altered; {run.advice(stage)}")
        problems += run.problems(stage)
        stamp, notebook = run.path("stamps", f"{stage}.ipynb"), f"notebooks/{stage}.ipynb"
        made = {notebook: stamp.read_text().split(" ")[0]} if stamp.exists() else {}  # else executed by hand
        problems += _altered(run.folder, made | entry.get("exports", {}), run.advice(stage))
        problems += _altered(run.figures, checksums(entry), f"notebook {stage} makes it")
        own |= {*entry.get("files", {}), *entry.get("exports", {})}
        figures |= set(checksums(entry))
    made = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    problems += _altered(run.figures, made, "any notebook writes it anew")
    problems += _foreign(run.folder, own, WORK)
    problems += _foreign(run.figures, figures | set(texts), ("thesis.",))  # what LaTeX makes of thesis.tex
    for split in run.data["splits"] if "01_augment" in stages else ():
        try:
            load_run(run, split)
        except (ValueError, TypeError, OSError, KeyError) as error:
            problems.append(f"data: {error}")
    return problems


def _altered(folder: Path, files: Mapping[str, str], advice: str) -> Iterator[str]:
    for name, made in files.items():
        where = f"{folder.parent.name}/{folder.name}/{name}"
        if not (folder / name).exists():
            yield f"{where} is missing; {advice}"
        elif checksum(folder / name) != made:
            yield f"{where} was changed after it was made (its checksum differs); {advice}"


def _foreign(folder: Path, known: Collection[str], work: tuple[str, ...]) -> Iterator[str]:
    """Files of a folder that the record does not name, nor are of the work on it."""
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        name = file.relative_to(folder).as_posix()
        if name not in known and not name.startswith((".", *work)):
            yield f"{folder.parent.name}/{folder.name}/{name} is not in the record of the run; move it away"
