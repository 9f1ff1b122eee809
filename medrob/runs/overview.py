"""All runs at a glance, and whether a run's files are those that were made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from medrob.files import checksum, home
from medrob.runs.run import Run, entry_checksum
from medrob.runs.state import state

AGAIN = "run {} again"
COLUMNS = ("run", "state", "data", "network", "augment", "seed", "auc", "low", "high", "minutes")


def verify(run: Run) -> list[str]:
    """What is missing or altered in a run, in words; nothing if all is as it was made.

    Checksums of all files are made again, those of its figures and tables for the thesis too, and those of
    the data that it was begun with.
    """
    stages = run.record["stages"]
    if not stages:
        return [f"{run.path('run.json')} records no finished stage"]
    problems = [f"{stage}: no checksums are recorded" for stage, e in stages.items() if "files" not in e]
    problems += run.mixed(stages)
    for stage, entry in stages.items():
        if entry.get("checksum", entry_checksum(entry)) != entry_checksum(entry):
            problems.append(f"run.json does not say of {stage} what was recorded; {AGAIN.format(stage)}")
        problems += _executed(run.path("notebooks", f"{stage}.ipynb"))
    problems += _exported(run.figures, {s for s, entry in stages.items() if entry.get("exported")})
    if "data" in stages.get("01_augment", {}):
        from medrob.data import load_run

        for split in stages["01_augment"]["data"]:
            try:
                load_run(run, split)
            except (ValueError, TypeError, OSError, KeyError) as error:
                problems.append(f"data: {error}")
    return problems


def _executed(notebook: Path) -> Iterator[str]:
    """What is wrong with an executed notebook of a study."""
    key = notebook.with_suffix(".key")
    made = (
        [word.partition(":")[2] for word in key.read_text().split() if word.startswith("notebook:")]
        if key.exists()
        else []
    )
    name = f"notebooks/{notebook.name}"
    if key.exists() and not notebook.exists():
        yield f"{name} is missing; {AGAIN.format(notebook.stem)}"
    elif made and checksum(notebook) not in made:
        yield f"{name} is not the one that the study executed"


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
        yield f"figures/{folder.name} holds nothing of {stage}; {AGAIN.format(stage)}"
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
            yield f"{where} is not the one that was made"


def overview() -> pd.DataFrame:
    """A row per run folder: its name and state, data, network, augmentation and seed of the training, the AUC
    on clean images with its interval, and the minutes of all stages.
    """
    folders = sorted(path for path in (home() / "data" / "runs").glob("*") if path.is_dir())
    return pd.DataFrame([_row(folder.name) for folder in folders], columns=list(COLUMNS))


def _row(name: str) -> dict[str, Any]:
    try:
        run = Run(name)
        stages, params = run.record["stages"], run.params
        train = params.get("02_train", {})
        return {
            "run": name,
            "state": state(run),
            "data": params.get("01_augment", {}).get("dataset", ""),
            "network": _network(train),
            "augment": train.get("augment", ""),
            "seed": train.get("seed"),
            **_clean_auc(run),
            "minutes": round(sum(entry["seconds"] for entry in stages.values()) / 60, 1),
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {"run": name, "state": f"damaged: {error}"}


def _network(train: dict[str, Any]) -> str:
    """``resnet18, width 16``; the networks of others have no width to choose."""
    width = f", width {train['width']}" if train.get("arch", "").startswith("resnet") else ""
    return train.get("arch", "") + width


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The overview as text: nothing for what is not known, the AUC with its interval in one column.

    Data sets go by the name of their file or folder, where no two have the same.
    """
    text = table.drop(columns=["low", "high"]).astype(object)
    last = {data: re.split(r"[/\\]", data.rstrip("/"))[-1] for data in table["data"].dropna().unique()}
    if len(set(last.values())) == len(last):
        text["data"] = text["data"].replace(last)
    text["seed"] = [f"{seed:.0f}" if pd.notna(seed) else "" for seed in table["seed"]]
    text["auc"] = [
        f"{row.auc:.3f}{f' ({row.low:.3f}-{row.high:.3f})' if pd.notna(row.low) else ''}"
        if pd.notna(row.auc)
        else ""
        for row in table.itertuples()
    ]
    return text.where(text.notna(), "")


def _clean_auc(run: Run) -> dict[str, float | None]:
    """AUC on clean images over all classes, and the ends of its interval."""
    found: dict[str, float | None] = {"auc": None, "low": None, "high": None}
    if "03_test" in run.record["stages"] and run.path("scores.parquet").exists():
        scores = run.table("scores")
        rows = scores[
            (scores["corruption"] == "clean") & (scores["metric"] == "auc") & (scores["class"] == "all")
        ]
        for name, column in (("auc", "value"), ("low", "low"), ("high", "high")):
            if len(rows) and column in rows:
                found[name] = round(float(rows[column].iloc[0]), 3)
    return found
