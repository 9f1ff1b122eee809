"""How far a job is: the notebook that papermill executes, beside one that it has executed before."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from medrob.progress import say

SOON = 0.03  # share of a job below which nothing is said of the time to come


@dataclass(frozen=True)
class Executed:
    """What papermill has noted in a notebook.

    Attributes:
        began: seconds since 1970. seconds: of all of it; None while it runs.
        cells: the seconds of each cell that is done, None of those to come.
    """

    began: float
    seconds: float | None
    cells: list[float | None]


def read(notebook: Path) -> Executed | None:
    """What papermill has noted; None where it has noted nothing or is just writing."""
    try:
        book = json.loads(notebook.read_text(encoding="utf-8"))
        noted = book["metadata"]["papermill"]
        began = datetime.fromisoformat(noted["start_time"]).astimezone(UTC).timestamp()
        cells = [cell["metadata"].get("papermill", {}) for cell in book["cells"]]
        done = [cell.get("duration") if cell.get("status") == "completed" else None for cell in cells]
        return Executed(began, noted.get("duration") if noted.get("end_time") else None, done)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def share(job: Executed, before: Executed | None, step: str) -> float:
    """The share of a job that is done, 0 to 1.

    Args:
        job: as it is now. before: the same notebook, executed for another run; its cells say which of them
            take long. Without it all cells count alike.
        step: what the progress file says, such as "training 40 %, 0:52 gone": of the cell that runs.
    """
    cells = job.cells
    weights = [1.0] * len(cells)
    if before and len(before.cells) == len(cells) and None not in before.cells:
        weights = [max(seconds or 0.0, 0.01) for seconds in before.cells]
    found = re.search(r"(\d+) ?%", step)
    done = sum(weight for weight, seconds in zip(weights, cells, strict=True) if seconds is not None)
    running = next((w for w, seconds in zip(weights, cells, strict=True) if seconds is None), 0.0)
    return (done + running * (int(found[1]) / 100 if found else 0.0)) / (sum(weights) or 1.0)


def told(job: Executed, before: Executed | None, step: str, now: float) -> str:
    """``43 %, 0:52 gone, about 1:10 to go (training 40 %)``."""
    done, gone = share(job, before, step), max(now - job.began, 0.0)
    left = gone * (1 - done) / done if done > SOON else float("nan")
    inside = re.sub(r", [\d:]+ gone.*", "", step)
    return f"{say('', done, gone, left).strip()}{f' ({inside})' if inside else ''}"
