"""All runs at a glance."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

from medrob.files import home
from medrob.run import STAGES, Run

COLUMNS = ("run", "state", "data", "network", "augment", "seed", "auc", "low", "high", "minutes")
PARTIAL = ".partial.ipynb"  # how a notebook is called until it is whole


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
        width = f", width {train['width']}" if train.get("arch", "").startswith("resnet") else ""
        return {
            "run": name,
            "state": state(run),
            "data": params.get("01_augment", {}).get("dataset", ""),
            "network": train.get("arch", "") + width,
            "augment": train.get("augment", ""),
            "seed": train.get("seed"),
            **_clean_auc(run),
            "minutes": round(sum(entry["seconds"] for entry in stages.values()) / 60, 1),
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {"run": name, "state": f"damaged: {error}"}


def state(run: Run) -> str:
    """How far a run is.

    "complete", "comparison", "failed in 03_test", "running or cut off in 03_test",
    "drift.parquet is missing", "done to 02_train" or "begun".
    """
    stages = run.record["stages"]
    for stage in STAGES:
        partial = run.path("notebooks", f"{stage}{PARTIAL}")
        if partial.exists():
            return f"{'failed' if has_error(partial) else 'running or cut off'} in {stage}"
    if missing := [file for file in run.written() if not run.path(file).exists()]:
        return f"{missing[0]} is missing"
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


def _clean_auc(run: Run) -> dict[str, float]:
    """AUC on clean images over all classes, and the ends of its interval."""
    if "03_test" not in run.record["stages"] or not run.path("scores.parquet").exists():
        return {}
    scores = run.table("scores")
    rows = scores.query("corruption == 'clean' and metric == 'auc' and `class` == 'all'").head(1)
    names = {"value": "auc", "low": "low", "high": "high"}
    return {names[column]: round(float(value), 3) for column in names for value in rows.get(column, [])}


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """The overview as text: nothing for what is not known, the AUC with its interval in one column.

    Data sets go by the name of their file or folder, where no two have the same.
    """
    text = table.drop(columns=["low", "high"]).astype(object)
    last = {data: re.split(r"[/\\]", data.rstrip("/"))[-1] for data in table["data"].dropna().unique()}
    if len(set(last.values())) == len(last):
        text["data"] = text["data"].replace(last)
    text["seed"] = [f"{seed:.0f}" if pd.notna(seed) else "" for seed in table["seed"]]
    intervals = [f" ({r.low:.3f}-{r.high:.3f})" if pd.notna(r.low) else "" for r in table.itertuples()]
    aucs = [f"{auc:.3f}" if pd.notna(auc) else "" for auc in table["auc"]]
    text["auc"] = [auc + interval for auc, interval in zip(aucs, intervals, strict=True)]
    return text.where(text.notna(), "")
