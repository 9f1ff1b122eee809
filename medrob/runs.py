"""The run folder: where a run keeps its tables, and the record of what made them."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# The stages in order, and the files each writes into the run folder.
STAGES: dict[str, tuple[str, ...]] = {
    "01_augment": ("corruptions.parquet",),
    "02_train": ("model.safetensors", "model.json", "history.parquet"),
    "03_test": ("predictions.parquet", "scores.parquet"),
    "04_heatmaps": ("drift.parquet", "trust.parquet"),
    "05_analysis": ("association.parquet", "failure.parquet", "summary.parquet"),
}
PACKAGES = ("medrob", "numpy", "pandas", "opencv-python", "imaug", "torch", "torchvision", "scikit-learn")


def home() -> Path:
    """The folder that holds ``data/`` and ``figures/``: $MEDROB_HOME, or the project's own folder."""
    return Path(os.environ.get("MEDROB_HOME") or Path(__file__).resolve().parents[1])


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in MB (10^6 bytes)."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return float(getattr(psutil.Process().memory_info(), "peak_wset", 0) / 1e6)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


class Run:
    """One run: its folder, its tables, its record.

    Args:
        run: a name such as ``"demo"`` (the folder is ``data/runs/demo`` below `home()`),
            or a path to a run folder (relative paths start at `home()`).

    Raises:
        ValueError: the name holds anything but letters, digits, dot, dash and underscore.
    """

    def __init__(self, run: str | Path) -> None:
        name = Path(run).name
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or ".." in Path(run).parts:
            raise ValueError(
                f"run={str(run)!r} is not a run name: use letters, digits, '.', '-' and '_', "
                "beginning with a letter or a digit, such as 'pneumonia-seed1'"
            )
        self.name = name
        bare = str(run) == name
        self.folder = home() / "data" / "runs" / name if bare else home() / Path(run)
        self._stage: tuple[str, dict[str, Any], float] | None = None
        self._notes: dict[str, Any] = {}

    def __repr__(self) -> str:
        done = ", ".join(self.record["stages"]) or "no stage yet"
        return f"Run({self.name!r}: {done})"

    def path(self, *parts: str) -> Path:
        """A path inside the run folder."""
        return self.folder.joinpath(*parts)

    @property
    def figures(self) -> Path:
        """The folder for the exported figures and tables of this run."""
        return home() / "figures" / self.name

    @property
    def record(self) -> dict[str, Any]:
        """What ``run.json`` says: ``{"stages": {stage: {"parameters": ..., "seconds": ...}}}``.

        Raises:
            ValueError: the file is damaged.
        """
        file = self.path("run.json")
        if not file.exists():
            return {"run": self.name, "stages": {}}
        try:
            record = json.loads(file.read_text())
            if not isinstance(record, dict) or not isinstance(record.get("stages"), dict):
                raise ValueError("no stages in it")
        except ValueError as error:
            raise ValueError(f"{file} is damaged ({error}); move it away and run 01_augment again") from None
        return record

    @property
    def params(self) -> dict[str, dict[str, Any]]:
        """The parameters of every finished stage: ``{"01_augment": {"dataset": ..., ...}, ...}``."""
        return {stage: entry["parameters"] for stage, entry in self.record["stages"].items()}

    def start(self, stage: str, **parameters: Any) -> Run:
        """Begin a stage: check its parameters, and that what it builds on is there.

        Args:
            stage: one of `STAGES`.
            **parameters: the notebook's parameters by name. Parameters that papermill injected
                under another name, or with another type than the default, are refused.

        Returns:
            The run itself.

        Raises:
            ValueError: unknown stage or parameter, or a value of the wrong type.
            FileNotFoundError: an earlier stage has not been run.
            OSError: the run folder cannot be written.
        """
        if stage not in STAGES:
            raise ValueError(f"stage={stage!r} is unknown; the stages are {', '.join(STAGES)}")
        _check_injected(parameters)
        done = self.record["stages"]
        for earlier in list(STAGES)[: list(STAGES).index(stage)]:
            for file in STAGES[earlier]:
                self.need(file)
            if earlier not in done:
                raise FileNotFoundError(
                    f"run {self.name!r}: {earlier} has not been finished since what it builds on changed; "
                    f"{_advice(earlier, self.name)}"
                )
        with atomic(self.path(".writable")) as probe:
            probe.touch()
        self.path(".writable").unlink()
        self._stage, self._notes = (stage, parameters, time.perf_counter()), {}
        return self

    def note(self, **facts: Any) -> None:
        """Keep facts (data fingerprint, device, ...) for the current stage's entry in run.json."""
        self._notes.update(facts)

    def finish(self) -> dict[str, Any]:
        """End the stage and write its entry in run.json.

        The entries of later stages are dropped if this stage's parameters or notes changed:
        their tables describe something else.

        Returns:
            The entry: parameters, seconds, peak memory, notes, versions, git commit.
        """
        if self._stage is None:
            raise RuntimeError("no stage has been started: call start() first")
        stage, parameters, began = self._stage
        entry = {
            "parameters": parameters,
            "seconds": round(time.perf_counter() - began, 2),
            "peak_memory_mb": round(peak_memory_mb()),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            **self._notes,
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "git": _git_commit(),
            "packages": {name: _version(name) for name in PACKAGES},
        }
        entry = json.loads(json.dumps(entry))  # as it will be read: lists for tuples
        record = self.record
        before = record["stages"].get(stage, {})
        record["stages"][stage] = entry
        if any(before.get(key) != entry[key] for key in ["parameters", *self._notes]):
            for later in list(STAGES)[list(STAGES).index(stage) + 1 :]:
                record["stages"].pop(later, None)
        record["stages"] = {name: record["stages"][name] for name in STAGES if name in record["stages"]}
        with atomic(self.path("run.json")) as file:
            file.write_text(json.dumps(record, indent=1) + "\n")
        self._stage = None
        return entry

    def need(self, file: str) -> Path:
        """The path of a file of this run.

        Raises:
            FileNotFoundError: it is not there; the message names the notebook that makes it.
        """
        path = self.path(file)
        if not path.exists():
            stage = next((stage for stage, files in STAGES.items() if file in files), None)
            known = ", ".join(f for files in STAGES.values() for f in files)
            advice = _advice(stage, self.name) if stage else f"a run holds {known}"
            raise FileNotFoundError(f"run {self.name!r} has no {file} ({path}); {advice}")
        return path

    def table(self, name: str) -> pd.DataFrame:
        """Read a table, such as ``"scores"``.

        Raises:
            FileNotFoundError: it has not been made; the message names the notebook.
            ValueError: the file is damaged.
        """
        import pandas as pd
        import pyarrow as pa

        path = self.need(f"{name}.parquet")
        try:
            return pd.read_parquet(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{path} is damaged ({error}); delete it and run its notebook again") from None

    def save_table(self, name: str, frame: pd.DataFrame) -> Path:
        """Write a table as ``<name>.parquet``, whole or not at all. Returns the path."""
        with atomic(self.path(f"{name}.parquet")) as file:
            frame.to_parquet(file, index=False)
        return self.path(f"{name}.parquet")


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success make it durable and rename it to `path`.

    An error inside leaves what stood at `path` untouched and removes the temporary file.

    Raises:
        OSError: the folder cannot be written; the message says so.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise type(error)(
            f"could not write {path}: {error.strerror or error}; nothing was changed. "
            "Check the free space and the permissions, or set MEDROB_HOME to another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _advice(stage: str, run: str) -> str:
    return f"notebook {stage} makes it: papermill notebooks/{stage}.ipynb out.ipynb -p run {run}"


def _check_injected(parameters: dict[str, Any]) -> None:
    """Compare what papermill injected into the running notebook with the parameters it knows."""
    get_ipython: Callable[[], Any] | None = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = get_ipython() if get_ipython else None
    cells = list(shell.user_ns.get("In", [])) if shell else []
    injected = [i for i, cell in enumerate(cells) if cell.startswith("# Parameters\n")]
    if not injected:
        return
    defaults = next(
        (a for a in map(assignments, reversed(cells[: injected[-1]])) if "run" in a or "runs" in a), {}
    )
    for name, value in assignments(cells[injected[-1]]).items():
        if name not in parameters:
            raise ValueError(f"unknown parameter {name!r}; the parameters are {', '.join(parameters)}")
        if name in defaults and not fits(value, defaults[name]):
            raise ValueError(
                f"parameter {name}={value!r} is {type(value).__name__}; it must be "
                f"{type(defaults[name]).__name__}, like its default {defaults[name]!r}"
            )


def fits(value: Any, default: Any) -> bool:
    """Whether a parameter's value has the type of its default; whole numbers do as fractions, too.

    A default that is a number or a list (``images``) takes either, the default "all" a list, too.
    """
    if default == "all" and isinstance(value, list):
        return True
    wanted = {float: (int, float), list: (list, int), int: (int, list)}.get(type(default), type(default))
    return isinstance(value, wanted) and (isinstance(value, bool) == isinstance(default, bool))


def assignments(cell: str) -> dict[str, Any]:
    """The ``name = literal`` lines of a cell."""
    try:
        body = ast.parse(cell).body
    except SyntaxError:
        return {}
    found = {}
    for line in body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            with contextlib.suppress(ValueError):
                found[line.targets[0].id] = ast.literal_eval(line.value)
    return found


def _version(package: str) -> str | None:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _git_commit() -> str | None:
    """The project's commit, with ``+changes`` when files differ from it; None outside git."""
    project = Path(__file__).resolve().parents[1]
    command = [
        "git",
        "-C",
        str(project),
        "describe",
        "--always",
        "--abbrev=40",
        "--exclude=*",
        "--dirty=+changes",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
