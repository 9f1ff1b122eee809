"""The study file: which runs exist and are compared; all mistakes are told at once, each with its line.

runs: {demo: {02_train: {epochs: 20}}}       a run by name: stages and their parameters
defaults: {04_heatmaps: {images: 0}}         for all runs
grids: {seeds: {02_train: {seed: [0, 1]}}}   a run for every combination: seeds-seed0, seeds-seed1
compare: {both: [seeds-seed0, seeds-seed1]}  which runs stand side by side; without it, all
"""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from medrob import config, corruptions
from medrob.files import PROJECT, exists
from medrob.run import STAGES, Run

Stages = dict[str, dict[str, Any]]  # {stage: {parameter: value}}
Place = tuple[str, ...]  # keys of the file, one inside the other: ("runs", "demo", "02_train")
PARTS = ("defaults", "runs", "grids", "compare")
COMPARISON = "comparison"
SET_BY_STUDY = ("run", "runs", "results")  # parameters that the study itself gives


@dataclass(frozen=True, eq=False)  # one is the same as itself alone, so that `medrob.plan` can cache by it
class Study:
    """The runs of a study, each with what the study gives for its stages, and the comparisons of runs."""

    runs: dict[str, Stages]
    compare: dict[str, list[str]]

    def parameters(self, run: str, stage: str) -> dict[str, Any]:
        """All parameters of a stage of a run, with the defaults."""
        return _parameters(self.runs[run], stage)

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
    tree, mistakes = read_yaml(file)
    if not isinstance(tree, Lines) or not (tree.get("runs") or tree.get("grids")):
        raise ValueError(f"{file} names no runs; write 'runs:' and below it a name, such as 'demo: {{}}'")
    reader = Reader(tree, mistakes)
    runs = reader.runs()
    found = Study(runs, reader.compare(runs))
    for run in runs:
        for stage, text in unfit({s: found.parameters(run, s) for s in STAGES}):
            reader.note_of_run(run, stage, text)
    if mistakes:
        lines = dict.fromkeys(f"line {line}: {text}" for line, text in sorted(mistakes))
        raise ValueError(f"{file}:\n  " + "\n  ".join(lines))
    return found


def unfit(stages: Stages) -> Iterator[tuple[str, str]]:
    """What cannot work in a run, of parameters that are right each by itself: stages and sentences."""
    size, layers = stages["01_augment"]["size"], stages["04_heatmaps"]["layers"]
    train = stages["02_train"]
    problems = [text for _, text in config.mistakes(config.Train, train)]
    yield from (("02_train", text) for text in problems)
    layers = () if layers == "all" else layers
    if not problems and (layers or (size and train["arch"] != config.Train.model_fields["arch"].default)):
        from medrob import models  # with PyTorch, which most studies do not need yet

        try:
            models.check_choice(config.Train(**train), size, layers)
        except ValueError as error:
            yield ("04_heatmaps" if str(error).startswith("layers=") else "02_train"), str(error)


class Lines(dict[str, Any]):
    """A mapping of YAML that knows on which line each of its keys stands."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}


class Loader(yaml.SafeLoader):
    """YAML with `Lines` for mappings, in which ``1e-3`` is a number; a key that stands twice is a mistake."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.mistakes: list[tuple[int, str]] = []  # lines and sentences

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node; an alias, a few bytes of which can fill the memory, is refused before it is unfolded."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            where = f"line {event.start_mark.line + 1}: '*{event.anchor}'"
            advice = "write what runs have in common under 'defaults:', or make them a grid"
            raise yaml.YAMLError(f"{where} is a YAML alias, which a study does not take; {advice}")
        return super().compose_node(parent, index)

    def lines(self, node: yaml.MappingNode) -> Lines:
        """A mapping, in which all keys are texts."""
        found = Lines()
        for key, value in node.value:
            name, line = key.value, key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"line {line}: a key must be a word")
            if name in found:
                text = f"duplicate key {name!r} (first defined on line {found.lines[name]})"
                self.mistakes.append((line, text))
            found.lines[name], found[name] = line, self.construct_object(value, deep=True)
        return found


Loader.add_constructor("tag:yaml.org,2002:map", Loader.lines)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(file: Path) -> tuple[Any, list[tuple[int, str]]]:
    """What a YAML file holds, and its duplicate keys as mistakes."""
    try:
        loader = Loader(file.read_text(encoding="utf-8"))
        return loader.get_single_data(), loader.mistakes
    except RecursionError:
        raise ValueError(f"{file} is not a study: it is nested too deeply") from None
    # A date with a month 13, '\UFFFFFFFF', !!int "", !!bool x: PyYAML lets them through as they come.
    except (yaml.YAMLError, ValueError, OverflowError, LookupError, AttributeError, OSError) as error:
        raise ValueError(f"{file} is not a study: {error}") from None


class Reader:
    """Goes through a study and gathers what is wrong with it: lines and sentences."""

    def __init__(self, tree: Lines, mistakes: list[tuple[int, str]]) -> None:
        self.tree, self.mistakes = tree, mistakes
        self.sources: dict[str, Place] = {}  # where each run is given
        self.folders: set[str] = set()
        for part in set(tree) - set(PARTS):
            self.say((part,), f"unknown key{config.nearest([part], PARTS)}")
        self.defaults = self.stages(("defaults",), tree.get("defaults"))

    def line(self, place: Place) -> tuple[int, bool]:
        """The line of a place, or of the nearest key above it, and whether the file has the place."""
        line, inside = 1, self.tree
        for key in place:
            if not isinstance(inside, Lines) or key not in inside:
                return line, False
            line, inside = inside.lines[key], inside[key]
        return line, True

    def say(self, place: Place, text: str, key: str = "") -> None:
        """Note a mistake at a place, on the line of a key there."""
        self.mistakes.append((self.line((*place, key))[0], f"{', '.join(place)}: {text}"))

    def note_of_run(self, run: str, stage: str, text: str) -> None:
        """Note a mistake of a run, ``arch='resnet19' is unknown``, where its parameter is given."""
        key, places = text.partition("=")[0], [self.sources[run], ("defaults",)]
        given = [place for place in places if self.line((*place, stage, key))[1]]
        self.say((*(given or places)[0], stage), text, key)

    def mapping(self, place: Place, value: Any, example: str) -> dict[str, Any]:
        """The value, if it is a mapping or empty."""
        if value is not None and not isinstance(value, Lines):
            self.say(place, f"give {example}, not {value!r}")
        return value if isinstance(value, Lines) else {}

    def named(self, place: Place, name: str) -> bool:
        """Whether a run or a comparison can have its name, which is that of its folder; else a mistake."""
        try:
            Run(place[-1])  # of a grid: told once, not for each of its runs
            Run(name)
        except ValueError as error:
            self.say(place, str(error))
            return False
        if taken := name.casefold() in self.folders:
            text = f"another run or comparison has the folder {name!r} (capitals do not count); rename one"
            self.say(place, text)
        self.folders.add(name.casefold())
        return not taken

    def stages(self, place: Place, value: Any, *, axes: bool = False) -> Stages:
        """Parameters by stage, judged; with `axes`, a list of values for each."""
        found: Stages = {stage: {} for stage in STAGES}
        for stage, given in self.mapping(place, value, "stages, such as 01_augment: {size: 28}").items():
            inside = (*place, stage)
            if stage not in STAGES:
                self.say(inside, f"no such stage; the stages are {', '.join(STAGES)}")
                continue
            for name, item in self.mapping(inside, given, "parameters, such as {size: 28}").items():
                wrong = self.wrong(stage, name, item, axes=axes)
                for text in wrong:
                    self.say(inside, text, name)
                if not wrong:
                    found[stage][name] = item
        return found

    def wrong(self, stage: str, name: str, item: Any, *, axes: bool) -> list[str]:
        """What is wrong with a parameter, or with the list of its values in a grid."""
        if name in SET_BY_STUDY:
            return [f"{name!r} is set by the study; leave it out"]
        values = item if axes else [item]
        if not isinstance(values, list) or not values or len({*map(repr, values)}) < len(values):
            return [f"{name}={item!r}: give a list of different values to try, such as [0, 1]"]
        judged = (config.mistakes(config.STAGES[stage], {name: value}) for value in values)
        # What does not go together has no name: it is looked for when all of a run is known.
        return [*dict.fromkeys(text for pairs in judged for about, text in pairs if about is not None)]

    def runs(self) -> dict[str, Stages]:
        """All runs: those with a name of their own, and those of the grids."""
        given = self.mapping(("runs",), self.tree.get("runs"), "names of runs, such as demo: {}")
        own = [(("runs", run), run, self.stages(("runs", run), stages)) for run, stages in given.items()]
        found: dict[str, Stages] = {}
        for place, run, stages in [*own, *self.grids()]:
            if self.named(place, run):
                self.sources[run] = place
                found[run] = {stage: self.defaults[stage] | stages[stage] for stage in STAGES}
        return found

    def grids(self) -> Iterator[tuple[Place, str, Stages]]:
        """Place, name and parameters of all runs of grids, named by what differs: ``seeds-none-seed0``."""
        given = self.mapping(("grids",), self.tree.get("grids"), "names of grids and their lists of values")
        for grid, value in given.items():
            place = ("grids", grid)
            axes = self.stages(place, value, axes=True)
            keys = [(stage, name) for stage in axes for name in axes[stage]]
            values = [axes[stage][name] for stage, name in keys]
            words = itertools.product(*map(_words, (name for _, name in keys), values))
            for parts, combination in zip(words, itertools.product(*values), strict=True):
                stages: Stages = {stage: {} for stage in STAGES}
                for (stage, name), item in zip(keys, combination, strict=True):
                    stages[stage][name] = item
                yield place, "-".join([grid, *filter(None, parts)]), stages

    def compare(self, runs: dict[str, Stages]) -> dict[str, list[str]]:
        """The comparisons that are asked for; else one of all runs, if they have a corruption in common."""
        if "compare" not in self.tree:
            several = len(runs) > 1 and self.named(("runs",), COMPARISON) and not _apart(runs.values())
            return {COMPARISON: list(runs)} if several else {}
        example = "a name and its runs, such as both: [one, two]"
        found: dict[str, list[str]] = {}
        for name, value in self.mapping(("compare",), self.tree["compare"], example).items():
            place = ("compare", name)
            self.named(place, name)
            found[name] = members = [*map(str, value)] if isinstance(value, list) else []
            if not {*members} <= {*runs} or len(members) < 2 or len({*members}) < len(members):
                text = f"give two runs or more, each once, such as [one, two], not {value!r}"
                self.say(place, f"{text}; the runs are {', '.join(runs)}")
            elif suites := _apart(runs[member] for member in members):
                self.say(place, f"the suites {suites} have no corruption in common")
        return found


def _parameters(run: Stages, stage: str) -> dict[str, Any]:
    """All parameters of a stage, as the notebook takes them: the suite "auto" is that of the data set."""
    found = config.STAGES[stage].model_construct(**run[stage]).model_dump()
    if "suite" in found:
        found["suite"] = corruptions.suite_of(found["suite"], found["dataset"])
    return found


def _apart(runs: Iterable[Stages]) -> str:
    """The suites of runs in words, if they have no corruption in common."""
    given = [_parameters(run, "01_augment")["suite"] for run in runs]
    suites = {str(suite): suite for suite in given}
    common = set.intersection(*(set(corruptions.names(suite)) for suite in suites.values()))
    return "" if common else ", ".join(sorted(suites))


def _words(name: str, values: list[Any]) -> list[str]:
    """Values as parts of runs' names: none for the only one, numbers for lists, paths and what is alike."""
    if len(values) == 1:
        return [""]
    texts = [value if isinstance(value, str) else f"{name}{value}" for value in values]
    words = [re.sub(r"[^A-Za-z0-9._]+", "_", text).strip("_") for text in texts]
    plain = all(words) and len(set(words)) == len(words) and not any(re.search(r"[/\[]", t) for t in texts)
    return words if plain else [f"{name}{number}" for number in range(1, len(values) + 1)]
