"""What decides whether a stage is run again: parameters, code and data, its own and those it builds on."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from medrob.runs.stages import APART, BUILDS_ON, before
from medrob.study.dependencies import fingerprint
from medrob.study.inputs import content, source
from medrob.study.notebooks import code_cells, parameters

REDRAWN = ("01_augment", "05_analysis")  # use no network: these are run again for a new figure, too


def own_key(stage: str, stages: dict[str, dict[str, Any]], notebooks: Path) -> str:
    """A hash of what makes a stage run again: all that `key` sees, and for some stages what draws."""
    drawn = stage in REDRAWN and _code(notebooks / f"{stage}.ipynb", drawing=True)
    return _hash([key(stage, stages, notebooks), drawn])


def key(stage: str, stages: dict[str, dict[str, Any]], notebooks: Path, *, later: str = "") -> str:
    """A hash of what a stage's tables follow from, or those of them that a later stage reads.

    Args:
        stage: one of `medrob.runs.STAGES`.
        stages: the parameters that a run gives, ``{stage: {parameter: value}}``.
        notebooks: the folder of the notebooks.
        later: a stage that builds on it: parameters count only if that one's tables follow from them.

    Returns:
        16 hexadecimal digits over its code, its parameters and those of the stages before it, the files of
        the data set, the code and weights of the network, and the keys of the stages it builds on.
    """
    full = {}
    for name in [*before(stage), stage]:
        apart = {*APART.get((stage, name), ()), *APART.get((later, name), ())}
        given = _defaults(notebooks / f"{name}.ipynb") | stages[name]
        full[name] = {name: value for name, value in given.items() if name not in apart}
    train = full.get("02_train", {})
    return _hash(
        [
            _code(notebooks / f"{stage}.ipynb", drawing=False),
            content(str(full["01_augment"].get("dataset", ""))),
            content(str(train.get("weights", ""))),
            source(str(train.get("arch", ""))),
            full,
            [key(name, stages, notebooks, later=stage) for name in BUILDS_ON[stage]],
        ]
    )


@cache
def _defaults(notebook: Path) -> dict[str, Any]:
    """The parameters of a notebook, read once a process."""
    return parameters(notebook)


@cache
def _code(notebook: Path, *, drawing: bool) -> str:
    """The fingerprint of a notebook, read once a process."""
    return fingerprint(code_cells(notebook), drawing=drawing)


def _hash(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]
