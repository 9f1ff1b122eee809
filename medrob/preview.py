"""What no notebook would take, found before the first one starts: parameters that do not go together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from medrob import config
from medrob.files import home

Problem = tuple[str, str, str]  # the stage, the parameter, and what is wrong in words


def impossible(stages: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    """What cannot work in a run, of parameters that are right each by itself.

    PyTorch is imported only if the network, its layers or its weights are not the defaults.

    Args:
        stages: all parameters of the run, ``{stage: {parameter: value}}``.
    """
    data, train, maps = (stages[stage] for stage in ("01_augment", "02_train", "04_heatmaps"))
    for _, text in config.mistakes(config.Train, {name: train[name] for name in ("epochs", "warmup")}):
        yield "02_train", "warmup", text
    usual = config.Train()
    size = data["size"] or None
    layers = maps["layers"] if isinstance(maps["layers"], list) else []
    if (train["arch"], train["stem"]) != (usual.arch, usual.stem) or layers:
        problem, known = _network(train["arch"], train["stem"], train["width"], size)
        if problem:
            yield "02_train", "arch", problem
        elif unknown := [layer for layer in layers if layer not in known]:
            text = f"layers={unknown!r}: the network has no such layer; it has {', '.join(known[-12:])}"
            yield "04_heatmaps", "layers", text
    if train["weights"]:
        yield from _weights(train)


def _weights(train: Mapping[str, Any]) -> Iterator[Problem]:
    """Whether weights exist; what is in a file, the notebook says."""
    from medrob.models import RESNETS, is_name, weight_names

    weights, arch = train["weights"], train["arch"]
    if not is_name(weights):
        if not any(path.is_file() for path in (Path(weights), home() / weights)):
            yield "02_train", "weights", f"weights={weights!r}: no such file, nor a name such as 'DEFAULT'"
    elif weights.rpartition(".")[2] not in weight_names(arch):
        known = ", ".join(weight_names(arch)) or "a file"
        yield "02_train", "weights", f"weights={weights!r} are not torchvision's for {arch}; give {known}"
    elif arch in RESNETS and (train["stem"] == "small" or train["width"] not in (0, 64)):
        text = f"weights={weights!r} belong to the published network: give stem: auto and width: 0, too"
        yield "02_train", "weights", text


@cache
def _network(arch: str, stem: str, width: int, size: int | None) -> tuple[str, list[str]]:
    """What is wrong with a network, or the names of its layers; built without memory for its weights."""
    import torch

    from medrob import models

    try:
        with torch.device("meta"):
            model = models.build(arch, in_channels=1, num_classes=2, size=size, stem=stem, width=width)
    except (ValueError, TypeError) as error:
        return str(error), []
    except Exception:  # a network of one's own may need real memory: the notebook will tell
        return "", []
    return "", [name for name, _ in model.backbone.named_modules() if name]
