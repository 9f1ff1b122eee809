"""What the stages of a study follow from: Snakemake compares its hash with that of the last time."""

import contextlib
import hashlib
import itertools
import json
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from medrob import augment, corruptions, data, study
from medrob.files import beside, checksums, exists, home
from medrob.run import READS, STAGES, Run

PACKAGE = Path(__file__).parent
# The rooms of the package whose code a stage's files follow from. Corruptions count one by one.
CODE = {
    "01_augment": ("data", "evaluation", "corruptions/apply", "corruptions/draws"),
    "02_train": ("data", "models", "training", "augment", "evaluation/metrics"),
    "03_test": ("data", "models", "evaluation", "corruptions/apply", "corruptions/draws"),
    "04_heatmaps": (
        *("data", "models", "evaluation/inference", "evaluation/distance", "evaluation/metrics"),
        *("corruptions/apply", "saliency", "drift", "trust", "analysis/layout"),
    ),
    "05_analysis": ("evaluation", "analysis", "words", "figures", "thesis"),
}
WITH_NETWORK = ("02_train", "03_test", "04_heatmaps")
DATA = ("dataset", *data.OPTIONS)  # what the images of a run follow from, of the parameters of 01_augment


def given(of: study.Study, stage: str, run: str) -> str:
    """The parameters of a stage of a run, or of a comparison, as papermill takes them: YAML in one line."""
    names: dict[str, Any] = {"run": run}
    if stage == "05_analysis":
        names = {"runs": of.members(run)} | ({"results": run} if run in of.compare else {})
    values = names | of.runs[of.members(run)[0]][stage]
    return yaml.safe_dump(values, default_flow_style=True, width=float("inf")).strip()


def follows(of: study.Study, stage: str, run: str, notebooks: Path) -> dict[str, Any]:
    """What the files of a stage follow from besides its own parameters: data, code, the stages before it."""
    found: dict[str, Any] = {"notebook": _cells(notebooks / f"{stage}.ipynb"), "code": _code(CODE[stage])}
    if stage == "05_analysis":
        made = itertools.product(earlier(stage), of.members(run))
        return found | {"tables": [key(of, *stage_and_run, notebooks) for stage_and_run in made]}
    began = of.parameters(run, "01_augment")
    found |= {name: began[name] for name in DATA}
    found["files"] = contents(**{name: began[name] for name in ("dataset", "group", "label", "uncertain")})
    if stage == "02_train":
        return found | training(of.parameters(run, stage))
    found["suite"] = [began["suite"], corruptions.fingerprint(corruptions.names(began["suite"]))]
    if stage in WITH_NETWORK:
        found["network"] = key(of, "02_train", run, notebooks)
    return found


def training(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What a training follows from besides its parameters and its data: code, weights, texts beside them."""
    arch, policy, name = (parameters[name] for name in ("arch", "augment", "weights"))
    found = [path for path in (Path(name), home() / name) if exists(path) and path.is_file()]
    files = [file for path in found for file in (path, *beside(path))]
    used = corruptions.fingerprint(augment.corruptions_of(policy))
    code = {"arch": source_of(arch), "code": _code(CODE["02_train"]), "augment": [used, source_of(policy)]}
    return code | {"weights": _together(files, files[0].parent) if files else ""}


@cache
def key(of: study.Study, stage: str, run: str, notebooks: Path) -> str:
    """A hash of all parameters of a stage and all that it follows from; 16 hexadecimal digits."""
    members = of.members(run)
    values = [of.parameters(members[0], stage), members[1:], follows(of, stage, run, notebooks)]
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]


def earlier(stage: str) -> list[str]:
    """The stages whose files a stage reads."""
    return [name for name, files in STAGES.items() if {*files} & {*READS[stage]}]


def stands(of: study.Study, stage: str, run: str, notebooks: Path, untrue: set[Path]) -> bool:
    """Whether a stage was executed with the same key and nothing that it reads is `untrue`.

    `untrue`: what `medrob.execute.look` gives.
    """
    stamp = Run(run).stamp(stage)
    read = [Run(member).path(file) for member in of.members(run) for file in READS[stage]]
    whole = stamp.exists() and untrue.isdisjoint([stamp, *read])
    return whole and key(of, stage, run, notebooks) in stamp.read_text().split()


def jobs(of: study.Study) -> list[tuple[str, str]]:
    """Every run and every comparison, each with its stages."""
    return [*itertools.product(of.runs, STAGES), *((name, "05_analysis") for name in of.compare)]


@cache
def _cells(notebook: Path) -> str:
    """A hash of a notebook's code; text and outputs do not count."""
    cells = json.loads(notebook.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return hashlib.sha256(repr(code).encode()).hexdigest()[:16]


@cache
def _code(rooms: tuple[str, ...]) -> str:
    """A hash of the files of rooms, so that files which were only touched change nothing."""
    endings = (".py", "/**/*.py", "/**/*.toml", "/**/*.jinja", "/**/*.bib")
    patterns = [room + ending for room in rooms for ending in endings]
    return _together(sorted(file for pattern in patterns for file in PACKAGE.glob(pattern)), PACKAGE)


def contents(dataset: str, **options: str) -> str:
    """A hash of the files of a data set; "" for one that is known by its name."""
    try:
        path = data.find(dataset)
        files = data.files(path, **options) if path else []
    except (ValueError, OSError) as error:  # the notebook refuses it; another mistake is another content
        return hashlib.sha256(str(error).encode()).hexdigest()[:16]
    return _together(files, path if path.is_dir() else path.parent) if path else ""


def source_of(name: str) -> str:
    """A hash of the code of ``"package.module:function"``, of all of its package; "" where there is none."""
    module, colon, _ = name.partition(":")
    top = None
    with contextlib.suppress(ValueError):  # ":function", and "__main__:function"
        top = find_spec(module.split(".")[0]) if colon else None
    if top is None:
        return ""
    folders = [Path(folder) for folder in top.submodule_search_locations or []]
    files = sorted(file for folder in folders for file in folder.rglob("*.py")) or [Path(top.origin or "")]
    return _together(files, files[0].parent)


def _together(files: list[Path], base: Path) -> str:
    """A hash of files and their names below a folder."""
    digest = hashlib.sha256()
    for file, content in zip(files, checksums(files), strict=True):
        name = file.relative_to(base) if file.is_relative_to(base) else file
        digest.update(f"{name} {content}\n".encode())
    return digest.hexdigest()[:16]
