"""What only the package can say of parameters: do these names exist, and do they go together?"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from medrob.files import home
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
# The settings of a training, which judges them itself (they are those of `medrob.training.Recipe`).
RECIPE = (
    *("epochs", "batch_size", "optimizer", "lr", "schedule", "warmup", "weight_decay", "label_smoothing"),
    *("class_weights", "clip", "precision", "augment", "monitor", "patience"),
)
COUNTS = ("epochs", "batch_size")
SMALLEST = 8  # pixels, for a ResNet
AT_LEAST_ONE = ("textwidth", "samples", "batch_size")
DEVICES = r"auto|cpu|mps|cuda(:\d+)?"
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
            if value == default:
                continue
            whole = isinstance(value, int) and not isinstance(value, bool)
            if whole and not (stage == "02_train" and name in RECIPE):
                least = 1 if name in AT_LEAST_ONE else 0
                if value < least:
                    yield stage, name, f"{name}={value!r} is too small; give at least {least}"
            if (stage, name) in CHOICES:
                yield from _unknown(stage, name, value)
            if name == "device" and not re.fullmatch(DEVICES, str(value)):
                yield stage, name, f"device={value!r} is unknown; give 'auto', 'cpu', 'cuda' or 'mps'"
    yield from _data(given["01_augment"], known["01_augment"])
    train = given["02_train"]
    if train.get("augment") != known["02_train"].get("augment"):
        yield from _augment(train["augment"])
    yield from _recipe(train, known["02_train"])
    layers: list[str] | None = None
    size = given["01_augment"].get("size") or SMALLEST
    other = any(train.get(name) != known["02_train"].get(name) for name in ("arch", "stem"))
    if (
        other or train.get("width", 0) < 0 or size < SMALLEST or _listed(given, "layers")
    ):  # else PyTorch can wait
        asked = {name: train[name] for name in NETWORK if name in train}
        told, layers = _network(json.dumps(asked), given["01_augment"].get("size") or None)
        if told:
            yield "02_train", "", told
    if train.get("weights"):
        yield from _weights(train)
    yield from _maps(given["04_heatmaps"], layers)


def common(suites: Iterable[str]) -> set[str]:
    """The corruptions that several suites have in common."""
    from medrob import corruptions

    return set.intersection(*(set(corruptions.names(suite)) for suite in suites))


def _listed(given: Stages, name: str) -> bool:
    return isinstance(given["04_heatmaps"].get(name), list)


def _maps(maps: dict[str, Any], layers: list[str] | None) -> Iterator[Problem]:
    """What the notebook of the maps would refuse."""
    for name in ("methods", "images", "layers"):
        values = maps.get(name)
        if values == [] or (isinstance(values, list) and len({str(v) for v in values}) < len(values)):
            yield "04_heatmaps", name, f"{name} is empty or names one twice: {values!r}"
    if isinstance(maps.get("layers"), str) and maps["layers"] != "all":
        yield (
            "04_heatmaps",
            "layers",
            f"layers={maps['layers']!r}: give 'all', or a list such as ['layer4.1']",
        )
    images = maps.get("images")
    if isinstance(images, list) and not all(type(i) is int and i >= 0 for i in images):
        yield "04_heatmaps", "images", f"images={images!r}: give indices, 0 or more"
    if isinstance(maps.get("layers"), list) and layers is not None:
        unknown = [layer for layer in maps["layers"] if layer not in layers]
        if unknown:
            told = f"layers={unknown!r}: the network has none of that name; it has {', '.join(layers[-12:])}"
            yield "04_heatmaps", "layers", told


def _data(data: dict[str, Any], usual: dict[str, Any]) -> Iterator[Problem]:
    """What no data set is."""
    if data.get("dataset") != usual.get("dataset"):
        yield from _dataset(str(data["dataset"]))
    if data.get("channels", 0) not in (0, 1, 3):
        told = "give 1 (grey), 3 (RGB) or 0 (as the files are)"
        yield "01_augment", "channels", f"channels={data['channels']!r}: {told}"


def _weights(train: dict[str, Any]) -> Iterator[Problem]:
    """Whether weights are there, or are torchvision's for the network; a file is opened by the notebook."""
    from medrob.models import RESNETS
    from medrob.models.weights import is_name, names

    weights, arch = train["weights"], train.get("arch", "resnet18")
    if not is_name(weights):
        if not any(path.is_file() for path in (Path(weights), home() / weights)):
            yield "02_train", "weights", f"weights={weights!r}: no such file, nor a name such as 'DEFAULT'"
        return
    if weights.rpartition(".")[2] not in names(arch):
        told = (
            f"weights={weights!r} are not torchvision's for {arch}; give {', '.join(names(arch)) or 'a file'}"
        )
        yield "02_train", "weights", told
    elif arch in RESNETS and (train.get("stem") == "small" or train.get("width") not in (0, 64)):
        told = f"weights={weights!r} are of the published network: give stem: auto, width: 0, too"
        yield "02_train", "weights", told


def _dataset(name: str) -> Iterator[Problem]:
    """Whether a data set has a known name, or lies where it is said to; what is in it, the notebook says."""
    from medrob.data import MEDMNIST

    if name.split(":")[0] == "phantom":
        if not re.fullmatch(r"phantom(:(0?\.\d+|[01](\.0*)?))?", name):
            told = f"dataset={name!r}: give 'phantom' or 'phantom:0.8' (confounder, 0-1)"
            yield "01_augment", "dataset", told
        return
    if name in MEDMNIST:
        return
    found = content(name)
    if found == "absent":
        yield "01_augment", "dataset", f"dataset={name!r}: no such file or folder, nor below {home()}"
    elif not found:
        told = f"dataset={name!r} is unknown; give 'phantom', a path, or one of {', '.join(MEDMNIST)}"
        yield "01_augment", "dataset", told


def _augment(policy: str) -> Iterator[Problem]:
    from medrob import augment

    try:
        augment.policy(policy)
    except (ValueError, TypeError) as error:
        yield "02_train", "augment", str(error)


def _recipe(train: dict[str, Any], usual: dict[str, Any]) -> Iterator[Problem]:
    """Whether these are settings of a training, each by itself and then together."""
    asked = {name: train[name] for name in RECIPE if name in train and train[name] != usual.get(name)}
    asked.pop("augment", None)
    name = train.get("recipe", "own")
    plain = all(key in COUNTS and value >= 1 for key, value in asked.items())
    if plain and name == usual.get("recipe", "own"):  # PyTorch can wait
        return
    from medrob.training import recipe

    wrong = [problem for key, value in asked.items() for problem in _refused(recipe, "own", {key: value})]
    yield from wrong or _refused(recipe, name, asked)


def _refused(recipe: Callable[..., Any], name: str, asked: dict[str, Any]) -> Iterator[Problem]:
    try:
        recipe(name, **asked)
    except (ValueError, TypeError) as error:
        yield "02_train", str(error).partition("=")[0], str(error)


def _unknown(stage: str, name: str, value: Any) -> Iterator[Problem]:
    module, function = CHOICES[stage, name]
    found = getattr(import_module(module), function)
    allowed = found() if callable(found) else found
    for one in value if isinstance(value, list) else [value]:
        if one not in allowed and not (name == "suite" and one == "all"):
            yield stage, name, f"{name}={one!r} is unknown; give one of {', '.join(allowed)}"


@cache
def _network(asked: str, size: int | None) -> tuple[str, list[str] | None]:
    """Whether the network can be built, without its weights and their memory: what is wrong, its layers."""
    import torch

    from medrob import models

    given = json.loads(asked)
    arch = given.pop("arch", "resnet18")
    try:
        with torch.device("meta"):
            form = models.form(arch, **{"stem": "auto", "width": 0} | given)
            model = models.build(arch, in_channels=1, num_classes=2, size=size, **form)
    except (ValueError, TypeError) as error:
        return str(error), None
    except Exception:  # a network of one's own that cannot be made without its memory
        return "", None
    return "", [name for name, _ in model.backbone.named_modules() if name]
