"""What only the package can say of parameters: do these names exist, and do they go together?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from importlib import import_module
from typing import Any

from medrob.study.inputs import content

Stages = dict[str, dict[str, Any]]
Problem = tuple[str, str, str]  # the stage, the parameter or "", and what is wrong with it in words
# Parameter -> where the package lists what it takes. A module is imported only if a study asks for it.
CHOICES = {
    ("01_augment", "suite"): ("medrob.corruptions", "suites"),
    ("02_train", "normalise"): ("medrob.models.build", "NORMALISE"),
    ("04_heatmaps", "methods"): ("medrob.saliency", "names"),
    ("04_heatmaps", "select"): ("medrob.drift", "SELECTIONS"),
}
AT_LEAST_ONE = ("width", "epochs", "batch_size", "textwidth", "samples")
NETWORK = ("arch", "stem", "width")


def impossible(known: Stages, given: Stages) -> Iterator[Problem]:
    """What cannot work in a run.

    Args:
        known: the notebooks' defaults, ``{stage: {parameter: value}}``; they are taken to work.
        given: all parameters of the run, in the same form.
    """
    for stage, values in given.items():
        for name, value in values.items():
            default = known[stage][name]
            if isinstance(value, int) and not isinstance(value, bool) and value != default:
                least = 1 if name in AT_LEAST_ONE else 0
                if value < least:
                    yield stage, name, f"{name}={value!r} is too small; give at least {least}"
            if (stage, name) in CHOICES and value != default:
                yield from _unknown(stage, name, value)
    maps = given["04_heatmaps"]
    if "methods" in maps and not maps["methods"]:
        yield "04_heatmaps", "methods", "methods is empty; name at least one"
    if isinstance(maps.get("layers"), str) and maps["layers"] != "all":
        yield (
            "04_heatmaps",
            "layers",
            f"layers={maps['layers']!r}: give 'all', or a list such as ['layer4.1']",
        )
    data = given["01_augment"].get("dataset")
    if data != known["01_augment"].get("dataset"):
        yield from _dataset(str(data))
    train = given["02_train"]
    if train.get("augment") != known["02_train"].get("augment"):
        yield from _augment(train["augment"])
    yield from _recipe(train, known["02_train"])
    if any(train.get(name) != known["02_train"].get(name) for name in NETWORK):
        asked = {name: train[name] for name in NETWORK if name in train}
        told = _network(json.dumps(asked), given["01_augment"].get("size") or None)
        if told:
            yield "02_train", "", told


def _dataset(name: str) -> Iterator[Problem]:
    """Whether a data set that is no path has a known name; what a path holds is the notebook's to say."""
    from medrob.data import MEDMNIST

    if name.split(":")[0] != "phantom" and name not in MEDMNIST and not content(name):
        told = f"dataset={name!r} is unknown; give 'phantom', a path, or one of {', '.join(MEDMNIST)}"
        yield "01_augment", "dataset", told


def _augment(policy: str) -> Iterator[Problem]:
    from medrob import augment

    try:
        augment.policy(policy)
    except (ValueError, TypeError) as error:
        yield "02_train", "augment", str(error)


def _recipe(train: dict[str, Any], usual: dict[str, Any]) -> Iterator[Problem]:
    """Whether these are settings of a training."""
    if all(
        train.get(name) == usual.get(name) for name in set(train) - {*NETWORK, "seed", "device", "augment"}
    ):
        return
    from medrob.training import Recipe, recipe

    asked = {f.name: train[f.name] for f in fields(Recipe) if f.name in train}
    try:
        recipe(train.get("recipe", "own"), **asked)
    except (ValueError, TypeError) as error:
        yield "02_train", str(error).partition("=")[0], str(error)


def _unknown(stage: str, name: str, value: Any) -> Iterator[Problem]:
    module, function = CHOICES[stage, name]
    found = getattr(import_module(module), function)
    allowed = found() if callable(found) else found
    for one in value if isinstance(value, list) else [value]:
        if one not in allowed and one != "all":
            yield stage, name, f"{name}={one!r} is unknown; give one of {', '.join(allowed)}"


@cache
def _network(asked: str, size: int | None) -> str:
    """Whether the network can be built, without its weights and their memory; what is wrong if not."""
    import torch

    from medrob import models

    form = json.loads(asked)
    try:
        with torch.device("meta"):
            models.build(form.pop("arch"), in_channels=1, num_classes=2, size=size, **form)
    except (ValueError, TypeError) as error:
        return str(error)
    return ""
