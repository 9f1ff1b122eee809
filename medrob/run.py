"""A run: its folder, its tables, and the record of what made them.

The five stages write into ``data/runs/<run>`` in order, each at its end: first its files, then its entry in
``run.json``. The entry holds the parameters and the checksums of the files that the stage wrote and was made
from, so that `Run.problems` can tell what does not belong together.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from medrob import config
from medrob.files import ALONE, atomic, checksum, differing, home

if TYPE_CHECKING:
    import pandas as pd

# The stages in order, and the files that each writes into the run folder.
STAGES: dict[str, tuple[str, ...]] = {
    "01_augment": ("data.json", "corruptions.parquet"),
    "02_train": ("model.safetensors", "model.json", "history.parquet"),
    "03_test": ("predictions.parquet", "scores.parquet"),
    "04_heatmaps": ("drift.parquet", "trust.parquet", "alarm.parquet", "controls.parquet"),
    "05_analysis": ("association.parquet", "failure.parquet", "summary.parquet"),
}
NETWORK = ("model.safetensors", "model.json")
# The files of earlier stages from which a stage's own files follow.
READS: dict[str, tuple[str, ...]] = {
    "01_augment": (),
    "02_train": ("data.json",),
    "03_test": (*STAGES["01_augment"], *NETWORK),
    "04_heatmaps": (*STAGES["01_augment"], *NETWORK, "predictions.parquet"),
    "05_analysis": ("corruptions.parquet", *STAGES["03_test"], *STAGES["04_heatmaps"]),
}
CHECKPOINT = "checkpoint.pt"  # what 02_train needs while it runs, and nobody after it

# At most 100 characters: every file system takes the file names built from it.
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


class Run:
    """One run, by its name: that of ``"demo"`` is the folder data/runs/demo below `files.home`.

    Raises:
        ValueError: the name is too long or holds anything but letters, digits, dot, dash and underscore.
    """

    def __init__(self, name: str) -> None:
        if not re.fullmatch(NAME, name):
            raise ValueError(
                f"run={name!r} is not a run name: use letters, digits, '.', '-' and '_', at most 100, "
                "beginning with a letter or a digit, such as 'pneumonia-seed1'"
            )
        self.name = name
        self.folder = home() / "data" / "runs" / name

    def path(self, *parts: str) -> Path:
        """A path inside the run folder."""
        return self.folder.joinpath(*parts)

    def stamp(self, stage: str) -> Path:
        """The file that a study leaves when it has executed a stage: `medrob.execute.stamp`."""
        return self.folder / "stamps" / f"{stage}.ipynb"

    @property
    def figures(self) -> Path:
        """The folder of this run's figures and tables for the thesis."""
        return home() / "figures" / self.name

    @property
    def record(self) -> dict[str, Any]:
        """What ``run.json`` says: ``{"stages": {stage: {"parameters": ..., "seconds": ...}}}``.

        An entry that was altered does not count, as its checksum tells: its stage is not finished.
        """
        file = self.path("run.json")
        if not file.exists():
            return {"run": self.name, "stages": {}}
        try:
            record = json.loads(file.read_text())
            name, entries = record["run"], record["stages"].items()
            stages = {k: entry for k, entry in entries if entry.get("checksum") == entry_checksum(entry)}
        except (ValueError, OSError, RecursionError, TypeError, KeyError, AttributeError) as error:
            advice = "move it away and run 01_augment again"
            raise ValueError(f"{file} is damaged ({type(error).__name__}: {error}); {advice}") from None
        return {"run": name, "stages": stages}

    @property
    def params(self) -> dict[str, dict[str, Any]]:
        """The parameters of every finished stage: ``{"01_augment": {"dataset": ..., ...}, ...}``."""
        return {stage: entry["parameters"] for stage, entry in self.record["stages"].items()}

    @property
    def data(self) -> dict[str, Any]:
        """What 01_augment noted of the data: how to load them, and what each split held (``data.json``)."""
        return json.loads(self.need("data.json").read_text())

    def table(self, name: str) -> pd.DataFrame:
        """Read a table, such as ``"scores"``; errors say which notebook makes it."""
        import pandas as pd
        import pyarrow as pa

        path = self.need(f"{name}.parquet")
        try:
            return pd.read_parquet(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{path} is damaged ({error}); delete it and run its notebook again") from None

    def need(self, file: str) -> Path:
        """The path of a file of this run, or a FileNotFoundError that names the notebook which makes it."""
        path = self.path(file)
        if not path.exists():
            stage = next((stage for stage, files in STAGES.items() if file in files), None)
            known = ", ".join(f for files in STAGES.values() for f in files)
            advice = self.advice(stage) if stage else f"a run holds {known}"
            raise FileNotFoundError(f"run {self.name!r} has no {file} ({path}); {advice}")
        return path

    def advice(self, stage: str) -> str:
        """The command that makes a stage, with the parameters of the last time."""
        if self.path("stamps").exists():
            return "make it with `snakemake --cores all`, and the --config of its study if it had one"
        made = config.STAGES[stage].model_construct(**self.params.get(stage, {}))
        runs = self.params.get(stage, {}).get("runs", [self.name])
        given = {"runs": runs} if stage == "05_analysis" else {"run": self.name}
        given |= made.model_dump(exclude_defaults=True)
        values = yaml.safe_dump(given, default_flow_style=True, width=float("inf"), sort_keys=False).strip()
        return f"make it with `papermill notebooks/{stage}.ipynb out.ipynb -y {shlex.quote(values)}`{ALONE}"

    def ready(self, stage: str) -> dict[str, str]:
        """What a stage is made from: the files that it reads and their checksums; else an error."""
        finished = self.record["stages"]
        for earlier in list(STAGES)[: list(STAGES).index(stage)]:
            for file in STAGES[earlier]:
                self.need(file)
            if earlier not in finished:
                told = f"{earlier} is not finished, or its entry in run.json was altered"
                raise FileNotFoundError(f"run {self.name!r}: {told}; {self.advice(earlier)}")
            for problem in self.problems(earlier):
                raise ValueError(f"run {self.name!r}: {problem}; {self.advice(earlier)}")
        written = self.written()
        return {file: written.get(file, "") for file in READS[stage]}

    def written(self) -> dict[str, str]:
        """The files that the finished stages wrote, and their checksums as recorded."""
        return {f: s for entry in self.record["stages"].values() for f, s in entry["files"].items()}

    def problems(self, stage: str) -> Iterator[str]:
        """What is wrong with a finished stage, in words: its files, and those that it was made from."""
        entry = self.record["stages"][stage]
        yield from differing({self.path(file): made for file, made in entry["files"].items()})
        for file, used in entry.get("made_from", {}).items():
            run, _, name = file.rpartition("/")
            now = (Run(run) if run else self).written().get(name)
            if used and now != used:
                yield f"{stage} was made from another {file}"

    def keep(self, stage: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Record that a stage is finished, with the checksums of its files, and remove what was temporary."""
        files = {f: checksum(self.path(f)) for f in STAGES[stage] if self.path(f).exists()}
        whole = json.loads(json.dumps({**entry, "files": files}))  # as it will be read: lists for tuples
        whole["checksum"] = entry_checksum(whole)
        stages = self.record["stages"] | {stage: whole}
        record = {"run": self.name, "stages": {name: stages[name] for name in STAGES if name in stages}}
        with atomic(self.path("run.json")) as file:
            file.write_text(json.dumps(record, indent=1) + "\n")
        for part in (*self.folder.glob(".*.part"), *self.figures.glob(".*.part")):
            part.unlink()  # of what was killed
        if stage == "02_train":
            self.path(CHECKPOINT).unlink(missing_ok=True)
        return whole


def entry_checksum(entry: Mapping[str, Any]) -> str:
    """SHA-256 of what a record says of a stage, except for this number itself."""
    rest = {name: value for name, value in entry.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
