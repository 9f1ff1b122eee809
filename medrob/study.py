"""The study file: which runs exist and are compared; all mistakes are told at once, each with its line.

runs: {demo: {02_train: {epochs: 20}}}       a run by name: stages and their parameters
defaults: {04_heatmaps: {images: 0}}         for all runs
grids: {seeds: {02_train: {seed: [0, 1]}}}   a run for every combination: seeds-seed0, seeds-seed1
compare: {both: [seeds-seed0, seeds-seed1]}  which runs stand side by side; without it, all
"""

from __future__ import annotations

import itertools
import math
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from medrob import config, corruptions
from medrob.files import PROJECT, exists
from medrob.run import STAGES, Run, check_name

Stages = dict[str, dict[str, Any]]  # {stage: {parameter: value}}
Keys = tuple[str, ...]  # the way to a place in the file: ("runs", "demo", "02_train")
PARTS = ("defaults", "runs", "grids", "compare")
COMPARISON = "comparison"
SET_BY_STUDY = ("run", "runs", "results")  # parameters that the study itself gives
TOGETHER = ("arch", "stem", "width", "weights", "epochs")  # those of 02 that depend on each other
MOST_RUNS = 10_000
DEEPEST = 20  # levels of YAML: a study has six; the parser's time grows with their square
ENDINGS = (".npz", ".csv", ".parquet", ".safetensors", ".pth", ".pt")  # which the name of a run leaves out


@dataclass(frozen=True)
class Study:
    """The runs of a study, each with what the study gives for its stages, and the comparisons of runs."""

    runs: dict[str, Stages]
    compare: dict[str, list[str]]

    def parameters(self, run: str, stage: str) -> dict[str, Any]:
        """All parameters of a stage of a run, with the defaults."""
        return config.STAGES[stage].model_construct(**self.runs[run][stage]).model_dump()

    def members(self, name: str) -> list[str]:
        """The runs of a comparison; of a run, that run."""
        return self.compare.get(name, [name])


class Options(BaseModel):
    """What ``snakemake --config`` takes; it gives some numbers as text."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    study: Path = PROJECT / "study.yaml"
    notebooks: Path = PROJECT / "notebooks"
    threads: config.Count = 0  # of a notebook; 0: the cores, shared out
    gpu: config.Count = int(shutil.which("nvidia-smi") is not None)  # cards that a network takes


def options(given: Mapping[str, Any]) -> Options:
    """What ``snakemake --config`` gives; a ValueError names all that is wrong."""
    if problems := [text for _, text in config.mistakes(Options, given)]:
        raise ValueError("--config: " + "\n  ".join(problems))
    return Options(**given)


def load(file: Path) -> Study:
    """Read a study and check all of it.

    Raises:
        ValueError: every mistake with its line: unknown keys and parameters, wrong types, names that stand
            twice or cannot be folders, settings that no notebook would take.
    """
    if not (exists(file) and file.is_file()):
        raise FileNotFoundError(f"there is no study {file}; write one, such as 'runs: {{demo: {{}}}}'")
    reader = Reader()
    tree = read_yaml(file, reader)
    if not isinstance(tree, dict) or not (tree.get("runs") or tree.get("grids")):
        raise ValueError(f"{file} names no runs; write 'runs:' and below it a name, such as 'demo: {{}}'")
    for part in set(tree) - set(PARTS):
        reader.say((part,), f"unknown key{config.nearest([part], PARTS)}")
    runs = reader.runs(tree)
    compare = reader.compare(tree, runs)
    found = Study(runs, compare)
    for run in runs:
        for stage, text in unfit({s: found.parameters(run, s) for s in STAGES}):
            reader.at(run, stage, text.partition("=")[0], text)
    if not reader.mistakes:
        compare = reader.comparable(found, asked="compare" in tree)
    if reader.mistakes:
        lines = dict.fromkeys(f"line {line}: {text}" for line, text in sorted(reader.mistakes))
        raise ValueError(f"{file}:\n  " + "\n  ".join(lines))
    return Study(runs, compare)


def unfit(stages: Stages) -> Iterator[tuple[str, str]]:
    """What cannot work in a run, of parameters that are right each by itself: stages and sentences."""
    size, layers = stages["01_augment"]["size"], stages["04_heatmaps"]["layers"]
    network = {name: stages["02_train"][name] for name in TOGETHER}
    problems = [text for _, text in config.mistakes(config.Train, network)]
    yield from (("02_train", text) for text in problems)
    layers = () if layers == "all" else layers
    if not problems and (layers or (size and network["arch"] != config.Train.model_fields["arch"].default)):
        from medrob import models  # with PyTorch, which most studies do not need yet

        try:
            models.check_choice(config.Train(**network), size, layers)
        except ValueError as error:
            yield ("04_heatmaps" if str(error).startswith("layers=") else "02_train"), str(error)


def read_yaml(file: Path, reader: Reader) -> Any:
    """What a YAML file holds; the reader is told on which line every key stands."""
    try:
        text, depth = file.read_text(encoding="utf-8"), 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise yaml.YAMLError("it is nested too deeply")
            if isinstance(event, yaml.AliasEvent):  # a few bytes of them can fill the memory
                where = f"line {event.start_mark.line + 1}: '*{event.anchor}'"
                raise yaml.YAMLError(
                    f"{where} is a YAML alias, which a study does not take; "
                    "write what runs have in common under 'defaults:', or make them a grid"
                )
        node = yaml.compose(text, yaml.SafeLoader)
        return _plain(node, (), reader) if node else None
    except (yaml.YAMLError, ValueError, OverflowError, OSError) as error:  # of '\UFFFFFFFF', too
        raise ValueError(f"{file} is not a study: {error}") from None


def _plain(node: yaml.Node, path: Keys, reader: Reader) -> Any:
    """A node of YAML as dictionaries, lists and values; ``1e-3`` is a number."""
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, path, reader) for item in node.value]
    if isinstance(node, yaml.ScalarNode):
        if node.style is None and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", node.value):
            return float(node.value)
        try:
            return yaml.SafeLoader("").construct_object(node)
        except (ValueError, LookupError, AttributeError) as error:  # a date with a month 13, !!int ""
            text = str(error) if type(error) is ValueError else f"{node.value!r} does not fit {node.tag}"
            raise yaml.constructor.ConstructorError(None, None, text, node.start_mark) from None
    found: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key.start_mark)
        inside, line = (*path, key.value), key.start_mark.line + 1
        if key.value in found:
            reader.say(
                inside, f"duplicate key {key.value!r} (first defined on line {reader.lines[inside]})", line
            )
        reader.lines[inside] = line
        found[key.value] = _plain(value, inside, reader)
    return found


@dataclass
class Reader:
    """Goes through a study and gathers what is wrong with it."""

    lines: dict[Keys, int] = field(default_factory=dict)  # of every key, by its path
    mistakes: list[tuple[int, str]] = field(default_factory=list)
    sources: dict[str, list[Keys]] = field(default_factory=dict)  # what a run's parameters come from

    def say(self, path: Keys, text: str, line: int = 0) -> None:
        """Note a mistake with its place, on the line of a key or of the nearest key above it."""
        place = path[: 2 if path[0] == "defaults" else 3]
        if place[0] in ("runs", "grids") and len(place) > 1:
            place = (f"{place[0][:-1]} {place[1]}", *place[2:])
        while path and path not in self.lines:
            path = path[:-1]
        self.mistakes.append((line or self.lines.get(path, 1), f"{', '.join(place)}: {text}"))

    def mapping(self, path: Keys, value: Any, example: str) -> dict[str, Any]:
        """The value, if it is a mapping or empty."""
        if value is not None and not isinstance(value, dict):
            self.say(path, f"give {example}, not {value!r}")
        return value if isinstance(value, dict) else {}

    def stages(self, path: Keys, value: Any, *, axes: bool = False) -> Stages:
        """Parameters by stage, judged; with `axes`, a list of values for each."""
        found: Stages = {stage: {} for stage in STAGES}
        for stage, given in self.mapping(path, value, "stages, such as 01_augment: {size: 28}").items():
            inside = (*path, stage)
            if stage not in STAGES:
                self.say(inside, f"no such stage; the stages are {', '.join(STAGES)}")
                continue
            for name, item in self.mapping(inside, given, "parameters, such as {size: 28}").items():
                if axes and (not isinstance(item, list) or not item):
                    wrong = [f"{name}={item!r}: give a list of values to try, such as [0, 1]"]
                elif name in SET_BY_STUDY:
                    wrong = [f"{name!r} is set by the study; leave it out"]
                else:
                    values = item if axes else [item]
                    judged = (config.mistakes(config.STAGES[stage], {name: value}) for value in values)
                    # What does not go together has no name: it is looked for when all of a run is known.
                    wrong = [text for pairs in judged for about, text in pairs if about]
                for text in dict.fromkeys(wrong):
                    self.say((*inside, name), text)
                if not wrong:
                    found[stage][name] = item
        return found

    def runs(self, tree: Mapping[str, Any]) -> dict[str, Stages]:
        """All runs: those with a name of their own, and those of the grids."""
        defaults = self.stages(("defaults",), tree.get("defaults"))
        given = self.mapping(("runs",), tree.get("runs"), "names of runs, such as demo: {}")
        own = {run: self.stages(("runs", run), stages) for run, stages in given.items()}
        found = {run: _over(defaults, stages) for run, stages in own.items()}
        for run in own:
            self.name(("runs", run))
            self.sources[run] = [("runs", run), ("defaults",)]
        grids = self.mapping(("grids",), tree.get("grids"), "names of grids and their lists of values")
        of_grid: dict[str, str] = {}
        for grid, axes in grids.items():
            path = ("grids", grid)
            self.name(path)
            for run, stages in self.grid(path, self.stages(path, axes, axes=True)):
                if run in of_grid:
                    self.say(path, f"its run {run!r} also belongs to grid {of_grid[run]}; rename one")
                of_grid[run] = grid
                self.sources[run] = [*([("runs", run)] if run in own else []), path, ("defaults",)]
                found[run] = _over(_over(defaults, stages), own.get(run, {}))
        folders: dict[str, str] = {}
        for run in found:
            other = folders.setdefault(run.casefold(), run)
            if other != run:
                text = f"{other} and {run} would share a folder where capitals do not count; rename one"
                self.say(self.sources[run][0], text)
        return found

    def grid(self, path: Keys, axes: Stages) -> list[tuple[str, Stages]]:
        """Every combination of a grid, named by what differs: ``seeds-none-seed0``."""
        keys = [(stage, name) for stage in axes for name in axes[stage]]
        count = math.prod(len(axes[stage][name]) for stage, name in keys)
        if count > MOST_RUNS:
            self.say(path, f"these would be {count} runs; at most {MOST_RUNS} are taken")
            return []
        # Of every parameter its values, each with its part of the run's name: none if it is the only one.
        pairs = []
        for stage, name in keys:
            values = axes[stage][name]
            pairs.append(list(zip(_words(name, values) if len(values) > 1 else [""], values, strict=True)))
        found = []
        for combination in itertools.product(*pairs):
            stages: Stages = {stage: {} for stage in STAGES}
            for (stage, name), (_, value) in zip(keys, combination, strict=True):
                stages[stage][name] = value
            found.append(("-".join([path[-1], *(word for word, _ in combination if word)]), stages))
        for run, times in Counter(run for run, _ in found).items():
            if times > 1:
                self.say(path, f"several of its runs would be called {run!r}; is a value given twice?")
        return found

    def at(self, run: str, stage: str, name: str, text: str) -> None:
        """Note a mistake of a run where its parameter was given."""
        places = [(*source, stage, name) for source in self.sources[run]]
        self.say(next((place for place in places if place in self.lines), places[0]), text)

    def compare(self, tree: Mapping[str, Any], runs: dict[str, Stages]) -> dict[str, list[str]]:
        """The comparisons: those that are asked for, or one of all runs."""
        if "compare" not in tree:
            taken = [run for run in runs if run.casefold() == COMPARISON]
            if taken or (len(runs) > 1 and _finished(COMPARISON)):
                text = f"{COMPARISON!r} is kept as the name of the comparison of all runs; rename the run"
                self.say(("runs", *taken[:1]), text)
            return {COMPARISON: list(runs)} if len(runs) > 1 else {}
        given = self.mapping(("compare",), tree["compare"], "a name and its runs, such as both: [one, two]")
        folders = {run.casefold() for run in runs}
        for name, members in given.items():
            path = ("compare", name)
            self.name(path)
            if name.casefold() in folders or _finished(name):
                self.say(path, "a run or another comparison has this folder; rename it")
            folders.add(name.casefold())
            if not isinstance(members, list) or not all(isinstance(m, str) for m in members):
                self.say(path, f"give names of runs, such as [one, two], not {members!r}")
                continue
            unknown = [member for member in members if member not in runs]
            if twice := [member for member, times in Counter(members).items() if times > 1]:
                self.say(path, f"{', '.join(twice)} is given twice; name every run once")
            if unknown or len(members) < 2:
                text = f"no run {', '.join(unknown)}" if unknown else "give two runs or more"
                self.say(path, f"{text}; the runs are {', '.join(runs)}")
        return dict(given)

    def comparable(self, found: Study, *, asked: bool) -> dict[str, list[str]]:
        """The comparisons whose runs have a corruption in common; one that was asked for must have one."""
        kept = {}
        for name, members in found.compare.items():
            suites = {str(s): s for s in (found.parameters(run, "01_augment")["suite"] for run in members)}
            if len(suites) < 2 or set.intersection(*(set(corruptions.names(s)) for s in suites.values())):
                kept[name] = members
            elif asked:
                text = f"the suites {', '.join(sorted(suites))} have no corruption in common"
                self.say(("compare", name), text)
        return kept

    def name(self, path: Keys) -> None:
        """Note what is wrong with the name of a run, a grid or a comparison."""
        try:
            check_name(path[-1])
        except ValueError as error:
            self.mistakes.append((self.lines[path], str(error)))


def _finished(name: str) -> bool:
    """Whether a folder holds a run of that name that has been tested: more than a comparison has."""
    try:
        return "03_test" in Run(name).record["stages"]
    except ValueError:
        return False


def _over(below: Stages, above: Stages) -> Stages:
    return {stage: below.get(stage, {}) | above.get(stage, {}) for stage in STAGES}


def _words(name: str, values: list[Any]) -> list[str]:
    """Values as parts of runs' names; lists, and words that would be the same, are numbered."""
    words = []
    for number, value in enumerate(values, 1):
        if isinstance(value, str):
            text = Path(value).stem if "/" in value or Path(value).suffix in ENDINGS else value
            words.append(re.sub(r"[^A-Za-z0-9._]+", "_", text).strip("_") or f"{name}{number}")
        elif isinstance(value, list):
            words.append(f"{name}{number}")
        else:
            words.append(f"{name}{value}".replace("+", ""))
    if len({repr(value) for value in values}) == len(values) and len(set(words)) < len(words):
        return [f"{name}{number}" for number in range(1, len(values) + 1)]
    return words
