"""The study: which runs exist, with which parameters; read from ``study.yaml`` and checked at once."""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from medrob.runs import STAGES, Run, assignments, fits

# The files of the package that each notebook's results depend on (figures left out on purpose:
# redrawing is cheap, training is not).
_DATA = ("conditions.py", "corruptions/*.py", "data/*.py", "phantom.py")
DEPENDS = {
    "01_augment": (*_DATA, "augment.py", "distance.py"),
    "02_train": (*_DATA, "augment.py", "evaluation/*.py", "models/*.py", "training/*.py"),
    "03_test": (*_DATA, "evaluation/*.py", "models/*.py"),
    "04_heatmaps": (
        *_DATA,
        "drift.py",
        "layers.py",
        "models/*.py",
        "saliency/*.py",
        "similarity.py",
        "trust/*.py",
    ),
    "05_analysis": ("analysis/*.py", "figures/*.py"),
}


def load(path: Path, notebooks: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Read a study: ``{run: {stage: {parameter: value}}}``, every stage of every run present.

    Args:
        path: a YAML file ``runs: {name: {01_augment: {size: 28}, ...}}``.
        notebooks: the folder of the notebooks, whose parameter cells say what is allowed.

    Raises:
        ValueError: with every mistake found: unknown stages and parameters, wrong types, bad run names.
    """
    try:
        runs = (yaml.safe_load(path.read_text()) or {}).get("runs")
    except (yaml.YAMLError, AttributeError) as error:
        raise ValueError(f"{path} is not a study: {error}") from None
    if not isinstance(runs, dict) or not runs:
        raise ValueError(f"{path} names no runs; write 'runs:' and below it a name, such as 'demo: {{}}'")
    known = {stage: parameters(notebooks / f"{stage}.ipynb") for stage in STAGES}
    problems = []
    for run, stages in runs.items():
        try:
            Run(str(run))
        except ValueError as error:
            problems.append(str(error))
        if "/" in str(run):
            problems.append(f"run {run}: give a name, not a path")
        if not isinstance(stages or {}, dict):
            problems.append(f"run {run}: give stages and their parameters, such as 01_augment: {{size: 28}}")
            continue
        for stage, given in (stages or {}).items():
            if stage not in known:
                problems.append(f"run {run}: no stage {stage!r}; the stages are {', '.join(known)}")
                continue
            if not isinstance(given or {}, dict):
                problems.append(f"run {run}, {stage}: give parameters, such as {{size: 28}}, not {given!r}")
                continue
            for name, value in (given or {}).items():
                if name not in known[stage] or name in ("run", "runs"):
                    allowed = ", ".join(n for n in known[stage] if n not in ("run", "runs"))
                    problems.append(f"run {run}, {stage}: no parameter {name!r}; it has {allowed}")
                elif not fits(value, known[stage][name]):
                    default = known[stage][name]
                    problems.append(
                        f"run {run}, {stage}: {name}={value!r} is not like its default {default!r}"
                    )
    if problems:
        raise ValueError(f"{path}:\n  " + "\n  ".join(problems))
    return {
        str(run): {stage: dict((stages or {}).get(stage) or {}) for stage in STAGES}
        for run, stages in runs.items()
    }


def parameters(notebook: Path) -> dict[str, Any]:
    """The parameters of a notebook and their defaults, from its cell tagged ``parameters``."""
    for cell in json.loads(notebook.read_text())["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            return assignments("".join(cell["source"]))
    raise ValueError(f"{notebook} has no cell tagged 'parameters'")


def fingerprint(stage: str, notebook: Path) -> str:
    """A hash of what a stage computes: the code of its notebook and of the package files it uses.

    Outputs, prose and comments do not count, so saving an executed notebook reruns nothing.
    """
    digest = hashlib.sha256()
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] == "code":
            digest.update(_code("".join(cell["source"])))
    package = Path(__file__).parent
    for pattern in DEPENDS[stage]:
        for file in sorted(package.glob(pattern)):
            digest.update(_code(file.read_text()))
    return digest.hexdigest()[:16]


def _code(source: str) -> bytes:
    try:
        return ast.dump(ast.parse(source)).encode()
    except SyntaxError:
        return source.encode()
