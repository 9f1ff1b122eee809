"""The study file: which runs exist and are compared; all mistakes are told at once, each with its place.

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
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from medrob import config, corruptions
from medrob.files import PROJECT, exists
from medrob.run import STAGES, Run

Stages = dict[str, dict[str, Any]]  # {stage: {parameter: value}}
COMPARISON = "comparison"
SET_BY_STUDY = ("run", "runs", "results")  # parameters that the study itself gives

# What a study file holds, in which a key without a value has nothing to say.
Empty = BeforeValidator(lambda value: {} if value is None else value)
Stage = Annotated[str, Field(pattern=f"^({'|'.join(STAGES)})$")]
Given = Annotated[dict[Stage, Annotated[dict[str, Any], Empty]], Empty]
Name = Annotated[str, BeforeValidator(str)]  # a run may be called 1


Tried = Annotated[list[Any], AfterValidator(config.different)]
Axes = Annotated[dict[Stage, Annotated[dict[str, Tried], Empty]], Empty]


class File(BaseModel):
    """The parts of a study file; the parameters in it are judged run by run."""

    model_config = ConfigDict(extra="forbid")
    defaults: Given = {}
    runs: Annotated[dict[str, Given], Empty] = {}
    grids: Annotated[dict[str, Axes], Empty] = {}
    compare: Annotated[dict[str, list[Name]], Empty] | None = None


@dataclass(frozen=True, eq=False)  # one is the same as itself alone, so that `medrob.plan` can cache by it
class Study:
    """The runs of a study, each with what the study gives for its stages, and the comparisons of runs."""

    runs: dict[str, Stages]
    compare: dict[str, list[str]]

    def parameters(self, run: str, stage: str) -> dict[str, Any]:
        """All parameters of a stage of a run; the suite "auto" is that of the data set."""
        found = config.STAGES[stage].model_construct(**self.runs[run][stage]).model_dump()
        if "suite" in found:
            found["suite"] = corruptions.suite_of(found["suite"], found["dataset"])
        return found

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
        ValueError: every mistake with its place: unknown keys and parameters, wrong types, names that stand
            twice or cannot be folders, settings that no notebook would take.
    """
    if not (exists(file) and file.is_file()):
        raise FileNotFoundError(f"there is no study {file}; write one, such as 'runs: {{demo: {{}}}}'")
    tree = read_yaml(file)
    if not isinstance(tree, dict) or not (tree.get("runs") or tree.get("grids")):
        raise ValueError(f"{file} names no runs; write 'runs:' and below it a name, such as 'demo: {{}}'")
    try:
        given = File.model_validate(tree)
    except ValidationError as error:
        raise ValueError(f"{file}:\n  " + "\n  ".join(map(_said, error.errors()))) from None
    runs, mistakes = dict[str, Stages](), list[str]()
    listed = [(f"runs, {name}", name, stages) for name, stages in given.runs.items()]
    listed += [(f"grids, {grid}", *run) for grid, axes in given.grids.items() for run in _grid(grid, axes)]
    for place, run, own in listed:
        runs[run] = {stage: given.defaults.get(stage, {}) | own.get(stage, {}) for stage in STAGES}
        for stage, name, text in _wrong(runs[run]):
            common = name in given.defaults.get(stage, {}) and name not in own.get(stage, {})
            mistakes.append(f"{'defaults' if common else place}, {stage}: {text}")
    compare = given.compare
    if compare is None:
        compare = {COMPARISON: [*runs]} if len(runs) > 1 else {}
    names = [(place, run) for place, run, _ in listed] + [(f"compare, {name}", name) for name in compare]
    mistakes += _misnamed(names)
    for name, members in compare.items():
        if not {*members} <= {*runs} or len(members) < 2 or len({*members}) < len(members):
            text = f"give two runs or more, each once, such as [one, two], not {members!r}"
            mistakes.append(f"compare, {name}: {text}; the runs are {', '.join(runs)}")
    if mistakes:
        raise ValueError(f"{file}:\n  " + "\n  ".join(dict.fromkeys(mistakes)))
    return Study(runs, compare)


def _said(problem: Mapping[str, Any]) -> str:
    """A mistake in the shape of a study file, and its place."""
    *_, last = place = [str(part) for part in problem["loc"] if part != "[key]"]
    if problem["type"] == "extra_forbidden":
        return f"{last}: unknown key{config.nearest([last], File.model_fields)}"
    text = problem["msg"].removeprefix("Value error, ").replace("Input", "it").replace("String", "it")
    return f"{', '.join(place)}: {text}, not {problem['input']!r}"


def _wrong(stages: Stages) -> Iterator[tuple[str, str, str]]:
    """What cannot work in a run: stages, parameters and sentences."""
    wrong: list[tuple[str, str, str]] = []
    for stage, values in stages.items():
        told = config.mistakes(config.STAGES[stage], values)
        wrong += [(stage, name or text.partition("=")[0], text) for name, text in told]
        names = [name for name in SET_BY_STUDY if name in values]
        wrong += [(stage, name, f"{name!r} is set by the study; leave it out") for name in names]
    yield from wrong
    train, size = stages["02_train"], stages["01_augment"].get("size", 0)
    layers = stages["04_heatmaps"].get("layers", "all")
    if not wrong and (layers != "all" or (size and "arch" in train)):
        from medrob import models  # with PyTorch, which most studies do not need yet

        try:
            models.check_choice(config.Train(**train), size, () if layers == "all" else layers)
        except ValueError as error:
            text = str(error)
            yield "04_heatmaps" if text.startswith("layers=") else "02_train", text.partition("=")[0], text


def _misnamed(names: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Which runs or comparisons, by place and name, cannot have their name, which is that of a folder."""
    folders = set[str]()
    for place, name in names:
        try:
            Run(name)
        except ValueError as error:
            yield f"{place}: {error}"
        if name.casefold() in folders:
            text = f"another run or comparison has the folder {name!r} (capitals do not count); rename one"
            yield f"{place}: {text}"
        folders.add(name.casefold())


def _grid(grid: str, axes: Stages) -> Iterator[tuple[str, Stages]]:
    """Name and parameters of all runs of a grid, named by what differs: ``seeds-none-seed0``."""
    keys = [(stage, name) for stage in axes for name in axes[stage]]
    values = [axes[stage][name] for stage, name in keys]
    words = itertools.product(*map(_words, (name for _, name in keys), values))
    for parts, combination in zip(words, itertools.product(*values), strict=True):
        stages: Stages = {stage: {} for stage in STAGES}
        for (stage, name), item in zip(keys, combination, strict=True):
            stages[stage][name] = item
        yield "-".join([grid, *filter(None, parts)]), stages


class Loader(yaml.SafeLoader):
    """YAML in which ``1e-3`` is a number; keys that stand twice and aliases, which may grow, are refused."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """The next node, unless it is an alias such as ``*a``."""
        if self.check_event(yaml.AliasEvent):
            line = self.peek_event().start_mark.line + 1
            raise yaml.YAMLError(f"line {line}: an alias is not taken; write out what it stands for")
        return super().compose_node(parent, index)

    def mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        """A mapping, in which all keys are texts, each once."""
        found, lines = dict[str, Any](), dict[str, int]()
        for key, value in node.value:
            name, line = key.value, key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"line {line}: a key must be a word")
            if name in found:
                first = f"first defined on line {lines[name]}"
                raise yaml.YAMLError(f"line {line}: duplicate key {name!r} ({first})")
            lines[name], found[name] = line, self.construct_object(value, deep=True)
        return found


Loader.add_constructor("tag:yaml.org,2002:map", Loader.mapping)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(file: Path) -> Any:
    """What a YAML file holds."""
    try:
        return yaml.load(file.read_text(encoding="utf-8"), Loader)
    except RecursionError:
        raise ValueError(f"{file} is not a study: it is nested too deeply") from None
    # A date with a month 13, '\UFFFFFFFF', !!int "", !!bool x: PyYAML lets them through as they come.
    except (yaml.YAMLError, ValueError, OverflowError, LookupError, AttributeError, OSError) as error:
        raise ValueError(f"{file} is not a study: {error}") from None


def _words(name: str, values: list[Any]) -> list[str]:
    """Values as parts of runs' names: none for the only one, numbers for lists, paths and what is alike."""
    if len(values) == 1:
        return [""]
    texts = [value if isinstance(value, str) else f"{name}{value}" for value in values]
    words = [re.sub(r"[^A-Za-z0-9._]+", "_", text).strip("_") for text in texts]
    plain = all(words) and len(set(words)) == len(words) and not any(re.search(r"[/\[]", t) for t in texts)
    return words if plain else [f"{name}{number}" for number in range(1, len(values) + 1)]
