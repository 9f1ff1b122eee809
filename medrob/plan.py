"""What the stages of a study follow from: Snakemake compares its hash with that of the last time."""

import contextlib
import hashlib
import itertools
import json
import warnings
from collections.abc import Collection, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from medrob import augment, corruptions, data, study
from medrob.files import beside, checksum, checksums, exists, home
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
ANALYSED = ("01_augment", "03_test", "04_heatmaps")  # whose tables 05_analysis reads
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
        made = itertools.product(ANALYSED, of.members(run))
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
    """What a training follows from besides its parameters and its data."""
    network: dict[str, Any] = {"arch": source_of(parameters["arch"]), "code": _code(CODE["02_train"])}
    network |= {"weights": weights(parameters["weights"])}
    policy = parameters["augment"]
    used = corruptions.fingerprint(augment.corruptions_of(policy))
    return network | {"augment": [used, source_of(policy)]}


@cache
def key(of: study.Study, stage: str, run: str, notebooks: Path) -> str:
    """A hash of all parameters of a stage and all that it follows from; 16 hexadecimal digits."""
    members = of.members(run)
    values = [of.parameters(members[0], stage), members[1:], follows(of, stage, run, notebooks)]
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]


def read(of: study.Study, stage: str, run: str) -> list[Path]:
    """The stamps of the files that a stage reads, of its run or of all runs of a comparison."""
    return [Run(member).path("stamps", file) for member in of.members(run) for file in READS[stage]]


def stands(of: study.Study, stage: str, run: str, notebooks: Path, untrue: Collection[Path]) -> bool:
    """Whether a stage was executed with the same key, and what it reads is there: it need not run again.

    `untrue`: stamps of files that are missing or were altered.
    """
    stamp = Run(run).path("stamps", f"{stage}.ipynb")
    whole = all(path.exists() and path not in untrue for path in (stamp, *read(of, stage, run)))
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
    files = [file for pattern in patterns for file in PACKAGE.glob(pattern)]
    names = "".join(f"{file.relative_to(PACKAGE)} {checksum(file)}\n" for file in sorted(files))
    return hashlib.sha256(names.encode()).hexdigest()[:16]


def weights(path_or_name: str) -> str:
    """A hash of weights, with the files beside them that say how their images were normalised."""
    found = contents(path_or_name)
    if path := _find(path_or_name):
        texts = beside(path) if path.is_file() else []
        found += _together(texts, path.parent) if texts else ""
    return found


def contents(dataset: str, **options: str) -> str:
    """A hash of the files of a data set or of weights; "" for a name, "absent" where nothing lies."""
    path = _find(dataset)
    if path is None:
        return "absent" if "/" in dataset or Path(dataset).suffix else ""
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is left out, as the notebook says
            files = data.files(path, **options)
    except (ValueError, OSError) as error:  # the notebook refuses it; another mistake is another content
        return hashlib.sha256(str(error).encode()).hexdigest()[:16]
    return _together(files, path if path.is_dir() else path.parent)


def _find(path_or_name: str) -> Path | None:
    paths = (Path(path_or_name), home() / path_or_name) if path_or_name else ()
    return next(filter(exists, paths), None)


def source_of(arch: str) -> str:
    """A hash of the code of ``"package.module:function"``, of all of its package; "" where there is none."""
    module, colon, _ = arch.partition(":")
    top = None
    with contextlib.suppress(ImportError, ValueError):
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
