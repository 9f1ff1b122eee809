"""What the stages of a study follow from: Snakemake compares it with that of the last time."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from medrob import augment, contents, corruptions, study
from medrob.files import checksum
from medrob.run import STAGES, Run

PACKAGE = Path(__file__).parent
# The rooms of the package whose code a stage's files follow from. Corruptions count one by one.
CODE = {
    "01_augment": ("data", "evaluation", "corruptions/apply", "corruptions/draws"),
    "02_train": ("data", "models", "training", "augment"),
    "03_test": ("data", "models", "evaluation", "corruptions/apply", "corruptions/draws"),
    "04_heatmaps": ("data", "models", "evaluation", "corruptions/apply", "saliency", "drift", "trust"),
    "05_analysis": ("evaluation", "analysis", "words", "figures", "thesis"),
}
# What the images of a run follow from, of the parameters of 01_augment.
DATA = ("dataset", "size", "limit", "channels", "skip_unreadable", "seed")


def given(of: study.Study, stage: str, run: str, scatteritem: str = "") -> str:
    """The parameters of a stage as papermill takes them, as YAML in one line.

    Args:
        run: the name of a run, or of a comparison.
        scatteritem: "2-of-4" for the job that computes the second of four shares.
    """
    names: dict[str, Any] = {"run": run}
    if stage == "05_analysis":
        names = {"runs": of.members(run)} | ({"results": run} if run in of.compare else {})
    share = {"share": scatteritem.replace("-of-", "/")} if scatteritem else {}
    values = names | share | of.runs[of.members(run)[0]][stage]
    return yaml.safe_dump(values, default_flow_style=True, width=float("inf")).strip()


def follows(of: study.Study, stage: str, run: str, notebooks: Path) -> dict[str, Any]:
    """What the files of a stage follow from besides its own parameters and the stages before it."""
    first = of.members(run)[0]
    began, train = of.parameters(first, "01_augment"), of.parameters(first, "02_train")
    data = {name: began[name] for name in DATA} | {"files": contents.files(began["dataset"])}
    suite = {
        "suite": began["suite"],
        "corruptions": corruptions.fingerprint(corruptions.names(began["suite"])),
    }
    network = {"arch": contents.source(train["arch"]), "weights": contents.files(train["weights"])}
    network |= {"augmentation": corruptions.fingerprint(augment.corruptions_of(train["augment"]))}
    test = {"temperature": of.parameters(first, "03_test")["temperature"]}
    values = {
        "01_augment": data | suite,
        "02_train": data | network,
        "03_test": data | suite,
        "04_heatmaps": data | suite | test,
        "05_analysis": {},
    }
    return values[stage] | {"notebook": _cells(notebooks / f"{stage}.ipynb"), "code": _code(CODE[stage])}


def key(of: study.Study, stage: str, run: str, notebooks: Path) -> str:
    """A hash of all parameters of a stage and all that it follows from; 16 hexadecimal digits."""
    members = of.members(run)
    values = [of.parameters(members[0], stage), members[1:], follows(of, stage, run, notebooks)]
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]


def stands(of: study.Study, stage: str, run: str, notebooks: Path) -> bool:
    """Whether a stage was executed with the same key, so that by itself it need not run again."""
    stamp = Run(run).path("stamps", f"{stage}.ipynb")
    return stamp.exists() and key(of, stage, run, notebooks) in stamp.read_text().split()


def jobs(of: study.Study) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every stage of every run and of every comparison, with its parameters."""
    for run in of.runs:
        for stage in STAGES:
            yield run, stage, of.parameters(run, stage)
    for name, members in of.compare.items():
        yield name, "05_analysis", of.parameters(members[0], "05_analysis")


@cache
def _cells(notebook: Path) -> str:
    """A hash of a notebook's code; text, outputs and comments do not count."""
    digest = hashlib.sha256()
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"])
            with contextlib.suppress(SyntaxError):  # a line for IPython, such as "%matplotlib inline"
                source = ast.dump(ast.parse(source))
            digest.update(source.encode())
    return digest.hexdigest()[:16]


@cache
def _code(rooms: tuple[str, ...]) -> str:
    """A hash of the files of rooms, so that files which were only touched change nothing."""
    files = [
        file for room in rooms for file in (*PACKAGE.glob(f"{room}.py"), *PACKAGE.glob(f"{room}/**/*.py"))
    ]
    names = "".join(f"{file.relative_to(PACKAGE)} {checksum(file)}\n" for file in sorted(files))
    return hashlib.sha256(names.encode()).hexdigest()[:16]
