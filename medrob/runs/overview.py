"""All runs at a glance, and whether a run's files are those that were made."""

from __future__ import annotations

from typing import Any

import pandas as pd

from medrob.runs.files import home
from medrob.runs.run import Run
from medrob.runs.stages import STAGES

COLUMNS = ("run", "state", "data", "network", "auc", "minutes")


def verify(run: Run) -> list[str]:
    """What is missing or altered in a run, in words; nothing if all is as it was made.

    Checksums of all files are made again, and those of the data that it was begun with.
    """
    stages = run.record["stages"]
    if not stages:
        return [f"{run.path('run.json')} records no finished stage"]
    problems = [f"{stage}: no checksums are recorded" for stage, e in stages.items() if "files" not in e]
    problems += run.mixed(stages)
    if "data" in stages.get("01_augment", {}):
        from medrob.data import load_run

        for split in stages["01_augment"]["data"]:
            try:
                load_run(run, split)
            except (ValueError, TypeError, OSError, KeyError) as error:
                problems.append(f"data: {error}")
    return problems


def overview() -> pd.DataFrame:
    """A row per run folder: run, state, data, network, auc (clean), minutes (all stages)."""
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
            "auc": _clean_auc(run),
            "minutes": round(sum(entry["seconds"] for entry in stages.values()) / 60, 1),
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {"run": name, "state": f"damaged: {error}"}


def _network(train: dict[str, Any]) -> str:
    """``resnet18, width 16``; the networks of others have no width to choose."""
    width = f", width {train['width']}" if train.get("arch", "").startswith("resnet") else ""
    return train.get("arch", "") + width


def state(run: Run) -> str:
    """How far a run is: "complete", "comparison", "failed in 03_test", "done to 02_train", "begun"."""
    stages = run.record["stages"]
    failed = [stage for stage in STAGES if run.path("notebooks", f"{stage}.partial.ipynb").exists()]
    if failed:
        return f"failed or running in {failed[0]}"
    if list(stages) == list(STAGES):
        return "complete"
    if list(stages) == ["05_analysis"]:
        return "comparison"
    return f"done to {list(stages)[-1]}" if stages else "begun"


def _clean_auc(run: Run) -> float | None:
    if "03_test" not in run.record["stages"] or not run.path("scores.parquet").exists():
        return None
    scores = run.table("scores")
    rows = scores[
        (scores["corruption"] == "clean") & (scores["metric"] == "auc") & (scores["class"] == "all")
    ]
    return round(float(rows["value"].iloc[0]), 3) if len(rows) else None
