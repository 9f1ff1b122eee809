"""Reading a study: defaults, runs and grids become one list of runs, and every mistake is said at once."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medrob.runs import STAGES, Run, fits
from medrob.study.choices import common, impossible
from medrob.study.notebooks import parameters
from medrob.study.text import Lined, read

Stages = dict[str, dict[str, Any]]  # {stage: {parameter: value}}
PARTS = ("defaults", "runs", "grids", "compare")
COMPARISON = "comparison"
SET_BY_STUDY = ("run", "runs", "results", "share")  # parameters that the study itself gives
MOST_RUNS = 10_000
FILES = (".npz", ".csv", ".parquet", ".safetensors", ".pth", ".pt")  # what a name leaves out


@dataclass(frozen=True)
class Study:
    """The runs of a study.

    Attributes:
        runs: ``{run: {stage: {parameter: value}}}``, every stage of every run present.
        compare: ``{name of the comparison: its runs}``.
    """

    runs: dict[str, Stages]
    compare: dict[str, list[str]]


def load(file: Path, notebooks: Path, *, choices: bool = True) -> Study:
    """Read a study and check all of it.

    Args:
        file: YAML. ``runs: {name: {01_augment: {size: 28}, ...}}`` gives runs by name,
            ``grids: {name: {02_train: {seed: [0, 1]}, ...}}`` one for every combination of the listed values.
            ``defaults: {02_train: {epochs: 20}}`` holds for all of them, and a run that is named like one of
            a grid overrides it. ``compare: {name: [run, run]}`` says which runs stand side by side;
            without it all do.
        notebooks: the folder of the notebooks, whose parameter cells say what is allowed.
        choices: also ask the package whether names (of suites, networks, methods) and combinations exist,
            which imports PyTorch where a study names a network.

    Raises:
        ValueError: every mistake with its line: unknown keys and parameters, wrong types, impossible
            combinations, names that stand twice or cannot be folders.
        OSError: the file cannot be read.
    """
    if not file.exists():
        raise FileNotFoundError(f"there is no study {file}; write one, such as 'runs: {{demo: {{}}}}'")
    tree, doubled = read(file)
    if not isinstance(tree, Lined) or not (tree.get("runs") or tree.get("grids")):
        raise ValueError(f"{file} names no runs; write 'runs:' and below it a name, such as 'demo: {{}}'")
    reader = _Reader({stage: parameters(notebooks / f"{stage}.ipynb") for stage in STAGES})
    reader.mistakes += doubled
    for part in tree:
        if part not in PARTS:
            reader.say(tree.lines[part], f"unknown key {part!r}; a study has {', '.join(PARTS)}")
    defaults = reader.stages("defaults", tree.get("defaults"), tree.lines.get("defaults", 1))
    runs = reader.runs(tree, defaults)
    compare = reader.compare(tree, runs)
    reader.references(runs)
    for run, stages in runs.items() if choices else ():
        full = {stage: reader.known[stage] | given for stage, given in stages.items()}
        for stage, name, problem in impossible(reader.known, full):
            line, where = reader.whence(run, stage, name)
            reader.say(line, f"{where}, {stage}: {problem}")
    if choices and not reader.mistakes:
        compare = reader.comparable(compare, runs, asked="compare" in tree)
    if reader.mistakes:
        told = dict.fromkeys(f"line {line}: {text}" for line, text in sorted(reader.mistakes))
        raise ValueError(f"{file}:\n  " + "\n  ".join(told))
    return Study(runs, compare)


@dataclass
class _Reader:
    """Goes through a study and gathers what is wrong with it."""

    known: Stages  # the notebooks' parameters and their defaults
    mistakes: list[tuple[int, str]] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)  # the line of each run
    grids: dict[str, str] = field(default_factory=dict)  # the grid of each run that is of one
    given: dict[tuple[str, str, str], int] = field(default_factory=dict)  # where, stage, parameter -> line

    def say(self, line: int, text: str) -> None:
        self.mistakes.append((line, text))

    def whence(self, run: str, stage: str, name: str) -> tuple[int, str]:
        """Where a parameter of a run was given: its line, and by what."""
        places = [f"run {run}", f"grid {self.grids.get(run)}", "defaults"]
        found = [
            (self.given[where, stage, name], where) for where in places if (where, stage, name) in self.given
        ]
        return found[0] if found else (self.places[run], f"run {run}")

    def mapping(self, where: str, value: Any, line: int, example: str) -> Lined:
        """The value, if it is a mapping or empty."""
        if isinstance(value, Lined):
            return value
        if value is not None:
            self.say(line, f"{where}: give {example}, not {value!r}")
        return Lined()

    def stages(self, where: str, value: Any, line: int, *, axes: bool = False) -> Stages:
        """Parameters by stage, checked; with `axes`, a list of values for each."""
        found: Stages = {stage: {} for stage in STAGES}
        example = "stages and their parameters, such as 01_augment: {size: 28}"
        given = self.mapping(where, value, line, example)
        for stage, values in given.items():
            at = given.lines[stage]
            if stage not in STAGES:
                self.say(at, f"{where}: no stage {stage!r}; the stages are {', '.join(STAGES)}")
                continue
            example = "parameters, such as {size: [28, 64]}" if axes else "parameters, such as {size: 28}"
            inside = self.mapping(f"{where}, {stage}", values, at, example)
            for name, one in inside.items():
                self.given[where, stage, name] = inside.lines[name]
                if self.parameter(f"{where}, {stage}", stage, name, one, inside.lines[name], axes):
                    found[stage][name] = one
        return found

    def parameter(self, where: str, stage: str, name: str, value: Any, line: int, axes: bool) -> bool:
        """Whether a parameter exists and its value, or each of its values, has the right type."""
        allowed = {n: v for n, v in self.known[stage].items() if n not in SET_BY_STUDY}
        if name not in allowed:
            self.say(line, f"{where}: no parameter {name!r}; it has {', '.join(allowed)}")
            return False
        if axes and (not isinstance(value, list) or not value):
            self.say(line, f"{where}: {name} must be a list of values to try, such as [0, 1], not {value!r}")
            return False
        wrong = [v for v in (value if axes else [value]) if not fits(v, allowed[name], name)]
        for v in wrong:
            self.say(line, f"{where}: {name}={v!r} is not like its default {allowed[name]!r}")
        return not wrong

    def runs(self, tree: Lined, defaults: Stages) -> dict[str, Stages]:
        """All runs: those with a name of their own, and those of the grids."""
        given = self.mapping("runs", tree.get("runs"), tree.lines.get("runs", 1), "names of runs, 'demo: {}'")
        own = {}
        for run, stages in given.items():
            self.name(run, given.lines[run])
            own[run] = self.stages(f"run {run}", stages, given.lines[run])
        found: dict[str, Stages] = {run: _over(defaults, stages) for run, stages in own.items()}
        line = tree.lines.get("grids", 1)
        grids = self.mapping("grids", tree.get("grids"), line, "names of grids and what they go through")
        for grid, axes in grids.items():
            line = grids.lines[grid]
            self.name(grid, line)
            for run, stages in self.grid(grid, self.stages(f"grid {grid}", axes, line, axes=True), line):
                if run in self.grids:
                    told = f"grid {grid}: its run {run!r} is also one of grid {self.grids[run]}; rename it"
                    self.say(line, told)
                self.grids[run] = grid
                self.places.setdefault(run, line)
                found[run] = _over(_over(defaults, stages), own.get(run, {}))
        folders: dict[str, str] = {}
        for run in found:
            other = folders.setdefault(run.casefold(), run)
            if other != run:
                told = f"runs {other} and {run} would be one folder where capitals do not count; rename one"
                self.say(self.places[run], told)
        return found

    def grid(self, grid: str, axes: Stages, line: int) -> list[tuple[str, Stages]]:
        """Every combination of a grid, named by what differs: ``seeds-none-seed0``."""
        keys = [(stage, name) for stage in axes for name in axes[stage]]
        values = [list(enumerate(axes[stage][name])) for stage, name in keys]
        count = 1
        for one in values:
            count *= len(one)
        if count > MOST_RUNS:
            self.say(line, f"grid {grid} would be {count} runs; at most {MOST_RUNS} are taken")
            return []
        words_of = [_words(name, axes[stage][name]) for stage, name in keys]
        found = []
        for chosen in itertools.product(*values):
            stages: Stages = {stage: {} for stage in STAGES}
            words = [grid]
            for (stage, name), (number, value), all_of in zip(keys, chosen, words_of, strict=True):
                stages[stage][name] = value
                words += [all_of[number]] if len(all_of) > 1 else []
            found.append(("-".join(words), stages))
        names = [run for run, _ in found]
        for twice in sorted({run for run in names if names.count(run) > 1}):
            self.say(
                line, f"grid {grid}: {twice!r} would be the name of several of its runs; is a value twice?"
            )
        return found

    def references(self, runs: dict[str, Stages]) -> None:
        """Say which runs are measured by one that is not there, or in a circle."""

        def of(run: str) -> str:
            usual = self.known["03_test"].get("reference", "")
            return str(runs[run]["03_test"].get("reference", usual)) if run in runs else ""

        for run in runs:
            asked, chain = of(run), [run]
            while chain[-1] in runs and of(chain[-1]) not in chain and len(chain) <= len(runs):
                chain.append(of(chain[-1]))
            line, where = self.whence(run, "03_test", "reference")
            if asked and asked != self.known["03_test"].get("reference") and asked not in runs:
                try:
                    there = "03_test" in Run(asked).record["stages"]
                except ValueError:
                    there = False
                if not there:
                    told = (
                        f"reference={asked!r} is neither 'alexnet' nor a run of the study, nor a finished one"
                    )
                    self.say(line, f"{where}, 03_test: {told}")
            elif asked in runs and of(chain[-1]) == run:
                self.say(line, f"{where}, 03_test: reference={asked!r} leads back to the run itself")

    @staticmethod
    def is_a_run(name: str) -> bool:
        """Whether a folder holds a run of that name, with more than the tables of a comparison."""
        try:
            return bool(set(Run(name).record["stages"]) - {list(STAGES)[-1]})
        except ValueError:
            return False

    def comparable(
        self, compare: dict[str, list[str]], runs: dict[str, Stages], *, asked: bool
    ) -> dict[str, list[str]]:
        """The comparisons whose runs have a condition in common; one that was asked for must have one."""
        usual = self.known["01_augment"].get("suite", "")
        kept = {}
        for name, members in compare.items():
            suites = {str(runs[run]["01_augment"].get("suite", usual)) for run in members}
            if len(suites) < 2 or common(suites):
                kept[name] = members
            elif asked:
                told = f"the suites {', '.join(sorted(suites))} have no corruption in common"
                self.say(self.places[name], f"compare, {name}: {told}")
        return kept

    def name(self, run: str, line: int) -> None:
        """Say what is wrong with the name of a run, a grid or a comparison."""
        self.places[run] = line
        try:
            Run(run)
        except ValueError as error:
            self.say(line, str(error))
        else:
            if "/" in run:
                self.say(line, f"run {run}: give a name, not a path")

    def compare(self, tree: Lined, runs: dict[str, Stages]) -> dict[str, list[str]]:
        """The comparisons: those that are asked for, or one of all runs."""
        if "compare" not in tree:
            if COMPARISON in runs or (len(runs) > 1 and self.is_a_run(COMPARISON)):
                told = f"run {COMPARISON}: this name is kept for the comparison of all runs; rename the run"
                self.say(self.places.get(COMPARISON, 1), told)
            return {COMPARISON: list(runs)} if len(runs) > 1 else {}
        example = "a name and its runs, such as augmentation: [plain, mixed]"
        given = self.mapping("compare", tree["compare"], tree.lines["compare"], example)
        for name, members in given.items():
            line = given.lines[name]
            if name.casefold() in {run.casefold() for run in runs} or self.is_a_run(name):
                self.say(line, f"compare: {name!r} is also a run; give the comparison another name")
            self.name(name, line)
            if not isinstance(members, list) or not all(isinstance(m, str) for m in members):
                self.say(line, f"compare, {name}: give a list of runs, not {members!r}")
                continue
            unknown = [m for m in members if m not in runs]
            if twice := sorted({m for m in members if members.count(m) > 1}):
                self.say(line, f"compare, {name}: {', '.join(twice)} stands there twice; name every run once")
            if unknown or len(members) < 2:
                told = f"no run {', '.join(unknown)}" if unknown else "give two runs or more"
                self.say(line, f"compare, {name}: {told}; the runs are {', '.join(runs)}")
        return dict(given)


def _over(below: Stages, above: Stages) -> Stages:
    return {stage: below.get(stage, {}) | above.get(stage, {}) for stage in STAGES}


def _words(name: str, values: list[Any]) -> list[str]:
    """Values as parts of runs' names.

    A word is as it is, a path its file or, where several would be called the same, its number after the
    parameter; so are lists. A number stands after its parameter.
    """
    words = []
    for number, value in enumerate(values, 1):
        if isinstance(value, str):
            text = Path(value).stem if "/" in value or Path(value).suffix in FILES else value
            words.append(re.sub(r"[^A-Za-z0-9._]+", "_", text).strip("_") or f"{name}{number}")
        elif isinstance(value, list):
            words.append(f"{name}{number}")
        else:
            words.append(f"{name}{value}".replace("+", ""))
    different = len({repr(value) for value in values}) == len(values)
    if different and len(set(words)) < len(words):
        return [f"{name}{number}" for number in range(1, len(values) + 1)]
    return words
