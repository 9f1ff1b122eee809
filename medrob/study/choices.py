"""What only the package can say of parameters: do these names exist, and do they go together?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from typing import Any

Stages = dict[str, dict[str, Any]]
# Parameter -> where the package lists what it takes. A module is imported only if a study asks for it.
CHOICES = {
    ("01_augment", "suite"): ("medrob.corruptions", "suites"),
    ("02_train", "augment"): ("medrob.augment", "names"),
    ("04_heatmaps", "methods"): ("medrob.saliency", "names"),
    ("04_heatmaps", "select"): ("medrob.drift", "SELECTIONS"),
}
AT_LEAST_ONE = ("width", "epochs", "batch_size", "textwidth")
NETWORK = ("arch", "stem", "width")


def impossible(known: Stages, given: Stages) -> Iterator[str]:
    """What cannot work in a run, in words.

    Args:
        known: the notebooks' defaults, ``{stage: {parameter: value}}``; they are taken to work.
        given: all parameters of the run, in the same form.
    """
    for stage, values in given.items():
        for name, value in values.items():
            default = known[stage][name]
            if isinstance(value, (int, float)) and not isinstance(value, bool) and value != default:
                least = 1 if name in AT_LEAST_ONE else 0
                if value < least:
                    yield f"{stage}: {name}={value!r} is too small; give at least {least}"
            if (stage, name) in CHOICES and value != default:
                yield from _unknown(stage, name, value)
    if "methods" in given["04_heatmaps"] and not given["04_heatmaps"]["methods"]:
        yield "04_heatmaps: methods is empty; name at least one"
    train = given["02_train"]
    yield from _recipe(train, known["02_train"])
    if any(train.get(name) != known["02_train"].get(name) for name in NETWORK):
        yield from _network(train, given["01_augment"].get("size") or None)


def _recipe(train: dict[str, Any], usual: dict[str, Any]) -> Iterator[str]:
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
        yield f"02_train: {error}"


def _unknown(stage: str, name: str, value: Any) -> Iterator[str]:
    module, function = CHOICES[stage, name]
    found = getattr(import_module(module), function)
    allowed = found() if callable(found) else found
    for one in value if isinstance(value, list) else [value]:
        if one not in allowed and one != "all":
            yield f"{stage}: {name}={one!r} is unknown; give one of {', '.join(allowed)}"


def _network(train: dict[str, Any], size: int | None) -> Iterator[str]:
    """Whether the network can be built, without its weights and their memory."""
    import torch

    from medrob import models

    asked = {name: train[name] for name in NETWORK if name in train}
    try:
        with torch.device("meta"):
            models.build(asked.pop("arch"), in_channels=1, num_classes=2, size=size, **asked)
    except (ValueError, TypeError) as error:
        yield f"02_train: {error}"
