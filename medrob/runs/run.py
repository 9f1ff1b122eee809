"""A run: its folder, its tables, and the record of what made them."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medrob.files import atomic, checksum, home
from medrob.machine import machine_facts, peak_gpu_memory_mb, peak_memory_mb
from medrob.runs.parameters import check_injected
from medrob.runs.shares import made
from medrob.runs.stages import APART, STAGES, after, before, reads

if TYPE_CHECKING:
    import pandas as pd


NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
LONGEST = 100  # characters of a name, so that every file system takes what is called after it


class Run:
    """One run: its folder, its tables, its record.

    Args:
        run: a name such as ``"demo"`` (the folder is ``data/runs/demo`` below `home()`),
            or a path to a run folder (relative paths start at `home()`).

    Raises:
        ValueError: the name holds anything but letters, digits, dot, dash and underscore, or is too long.
    """

    def __init__(self, run: str | Path) -> None:
        name = Path(run).name
        if not re.fullmatch(NAME, name) or ".." in Path(run).parts:
            raise ValueError(
                f"run={str(run)!r} is not a run name: use letters, digits, '.', '-' and '_', "
                "beginning with a letter or a digit, such as 'pneumonia-seed1'"
            )
        if len(name) > LONGEST:
            raise ValueError(f"run={name[:40] + '...'!r} has {len(name)} characters; give at most {LONGEST}")
        self.name = name
        bare = str(run) == name
        self.folder = home() / "data" / "runs" / name if bare else home() / Path(run)
        self.results: Run = self
        self._stage: tuple[str, dict[str, Any], float] | None = None
        self._notes: dict[str, Any] = {}
        self._share_seconds = 0.0

    def __repr__(self) -> str:
        done = ", ".join(self.record["stages"]) or "no stage yet"
        return f"Run({self.name!r}: {done})"

    def path(self, *parts: str) -> Path:
        """A path inside the run folder."""
        return self.folder.joinpath(*parts)

    @property
    def figures(self) -> Path:
        """The folder for the exported figures and tables of this run, or of its ``results``."""
        return home() / "figures" / self.results.name

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
            if not all(isinstance(e, dict) and "parameters" in e for e in record["stages"].values()):
                raise ValueError("a stage without parameters")
        except ValueError as error:
            raise ValueError(f"{file} is damaged ({error}); move it away and run 01_augment again") from None
        return record

    @property
    def params(self) -> dict[str, dict[str, Any]]:
        """The parameters of every finished stage: ``{"01_augment": {"dataset": ..., ...}, ...}``."""
        return {stage: entry["parameters"] for stage, entry in self.record["stages"].items()}

    def fingerprint(self, split: str) -> str:
        """Which images the run was begun with: the checksum of a split that 01_augment noted."""
        return self.record["stages"]["01_augment"]["data"][split]["fingerprint"]

    def start(self, stage: str, **parameters: Any) -> Run:
        """Begin a stage: check its parameters, and that what it builds on is there.

        Args:
            stage: one of `STAGES`.
            **parameters: the notebook's parameters by name. Parameters that papermill injected
                under another name, or with another type than the default, are refused.
                ``results="name"`` writes tables, figures and record to that run's folder instead, and
                ``runs=[...]`` names further runs that must be as far.

        Returns:
            The run itself.

        Raises:
            ValueError: unknown stage or parameter, a value of the wrong type, or files that do not belong
                together: altered since they were made, or made from others than those that are there.
            FileNotFoundError: an earlier stage has not been run.
            OSError: the run folder cannot be written.
        """
        if stage not in STAGES:
            raise ValueError(f"stage={stage!r} is unknown; the stages are {', '.join(STAGES)}")
        check_injected(parameters)
        made_from = self._ready(stage)
        for other in dict.fromkeys(parameters.get("runs", [])):
            if Run(other).folder != self.folder:
                made_from |= {f"{other}/{file}": sum_ for file, sum_ in Run(other)._ready(stage).items()}
        made_from |= _measure(str(parameters.get("reference", "")))
        if parameters.get("results"):
            self.results = Run(parameters["results"])
            made_from = {f if "/" in f else f"{self.name}/{f}": sum_ for f, sum_ in made_from.items()}
        else:
            self.results = self
        if self.results is not self and set(self.results.record["stages"]) - {stage}:
            raise ValueError(
                f"results={self.results.name!r} is a run with stages of its own; choose another name"
            )
        with atomic(self.results.path(".writable")) as probe:
            probe.touch()
        self.results.path(".writable").unlink()
        self._stage, self._notes = (stage, parameters, time.perf_counter()), {}
        self._made_from, self._share_seconds = made_from, 0.0
        return self

    def _ready(self, stage: str) -> dict[str, str]:
        """Check what a stage builds on; the checksums of the files it computes with."""
        done = self.record["stages"]
        for earlier in before(stage):
            for file in STAGES[earlier]:
                self.need(file)
            if earlier not in done:
                raise FileNotFoundError(
                    f"run {self.name!r}: {earlier} has not been finished since what it builds on changed; "
                    f"{_advice(earlier, self.name)}"
                )
        for problem in self.mixed(before(stage)):
            raise ValueError(f"run {self.name!r} is mixed: {problem}")
        recorded = {
            file: sum_ for earlier in before(stage) for file, sum_ in done[earlier].get("files", {}).items()
        }
        return {file: recorded.get(file, "") for file in reads(stage)}

    def mixed(self, stages: Iterable[str]) -> Iterator[str]:
        """What does not belong together in the files of some stages, in words, each with what to do."""
        done = self.record["stages"]
        for stage in stages:
            for file, recorded in done.get(stage, {}).get("files", {}).items():
                if not self.path(file).exists():
                    yield f"{file} is missing; {_advice(stage, self.name)}"
                elif checksum(self.path(file)) != recorded:
                    yield f"{file} is not the one that {stage} made; {_advice(stage, self.name)}"
            for file, used in done.get(stage, {}).get("made_from", {}).items():
                other, name = (Run(file.split("/")[0]), file.split("/")[1]) if "/" in file else (self, file)
                now = [
                    e["files"][name] for e in other.record["stages"].values() if name in e.get("files", {})
                ]
                if used and now != [used]:
                    yield f"{stage} was made from another {file}; {_advice(stage, self.name)}"

    def note(self, **facts: Any) -> None:
        """Keep facts (data fingerprint, device, ...) for the current stage's entry in run.json."""
        self._notes.update(facts)

    def finish(self) -> dict[str, Any]:
        """End the stage and write its entry in run.json.

        It holds the checksums of the files that the stage wrote and of those it was made from.
        The entries of later stages are dropped if parameters or notes changed that their tables follow
        from: they describe something else.

        Returns:
            The entry: parameters, seconds (with those of its shares, in other jobs), peak memory, checksums,
            notes, versions, git commit.

        Raises:
            RuntimeError: no stage was started. OSError: the record cannot be written.
        """
        if self._stage is None:
            raise RuntimeError("no stage has been started: call start() first")
        stage, parameters, began = self._stage
        entry = {
            "parameters": parameters,
            "seconds": round(time.perf_counter() - began + self._share_seconds, 2),
            "share_seconds": round(self._share_seconds, 2) or None,
            "peak_memory_mb": round(peak_memory_mb()),
            "peak_gpu_memory_mb": round(peak_gpu_memory_mb()) or None,
            "files": {f: checksum(p) for f in STAGES[stage] if (p := self.results.path(f)).exists()},
            "made_from": self._made_from,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            **self._notes,
            **machine_facts(),
        }
        if parts := sum(part_stage(file) == stage for file in self.figures.glob("parts/*.json")):
            entry["exported"] = parts
        entry = json.loads(json.dumps(entry))  # as it will be read: lists for tuples
        entry["checksum"] = entry_checksum(entry)
        record = self.results.record
        old = record["stages"].get(stage, {})
        record["stages"][stage] = entry
        was, now = old.get("parameters", {}), entry["parameters"]
        changed = {name for name in {*was, *now} if was.get(name) != now.get(name)}
        changed |= {f"note {name}" for name in self._notes if old.get(name) != entry[name]}
        for later in after(stage):
            if changed - set(APART.get((later, stage), ())):
                record["stages"].pop(later, None)
        record["stages"] = {name: record["stages"][name] for name in STAGES if name in record["stages"]}
        with atomic(self.results.path("run.json")) as file:
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
        path = self.results.path(f"{name}.parquet")
        with atomic(path) as file:
            frame.to_parquet(file, index=False)
        return path

    def shared(
        self, name: str, function: Callable[..., pd.DataFrame], model: Any, dataset: Any,
        conditions: Iterable[Any], **options: Any,
    ) -> pd.DataFrame:  # fmt: skip
        """What ``function(model, dataset, conditions, **options)`` gives, perhaps in shares.

        A notebook started with ``share="2/4"`` computes and keeps the second quarter of the conditions; one
        started without gathers the shares, if all are there and were made from the same files with the same
        parameters, and computes else. The rows are the same, bit for bit: batches are not cut differently.

        Args:
            name: of the table, such as "predictions".
            function: whose rows go through the conditions, slowest.
            model, dataset, conditions: its first three arguments. **options: the others.

        Raises:
            ValueError: a share that is none. OSError: the run folder cannot be written.
        """
        assert self._stage is not None, "call start() first"
        stage, parameters, _ = self._stage
        same = {k: v for k, v in parameters.items() if k not in ("share", "device")}
        key = {"stage": stage, "parameters": same, "made_from": self._made_from}

        def of(part: list[Any]) -> pd.DataFrame:
            return function(model, dataset, part, **options)

        share = parameters.get("share", "")
        table, self._share_seconds = made(self.path("shares"), name, share, key, conditions, of)
        return table


def _measure(reference: str) -> dict[str, str]:
    """The predictions of the run whose errors are the measure of another's, and their checksum."""
    if not re.fullmatch(NAME, reference) or not Run(reference).path("run.json").exists():
        return {}
    files = Run(reference).record["stages"].get("03_test", {}).get("files", {})
    return {f"{reference}/{name}": sum_ for name, sum_ in files.items() if name == "predictions.parquet"}


def entry_checksum(entry: dict[str, Any]) -> str:
    """SHA-256 of what a record says of a stage, but for this number itself."""
    rest = {name: value for name, value in entry.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def part_stage(file: Path) -> str:
    """The stage that exported a figure or table, by its note; "" for a damaged note."""
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["stage"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _advice(stage: str, run: str) -> str:
    by_hand = f"papermill notebooks/{stage}.ipynb out.ipynb -p run {run}"
    return f"notebook {stage} makes it: {by_hand}, or snakemake if the run is of a study"
