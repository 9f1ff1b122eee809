"""Weights from elsewhere: torchvision's and timm's by name, or arrays in a file, of which no code is run."""

import argparse
import contextlib
import datetime
import json
import pickle
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

from medrob.config import scale
from medrob.files import checksum, exists, home
from medrob.models.network import KNOWN

TIMM = "timm:"  # what the names of timm's networks begin with; timm is imported only where one is asked for
# What training scripts keep beside the arrays, and what only makes numbers, times, paths or settings.
SCALAR: Any = np.float64(0).__reduce__()[0]  # NumPy 1 had it elsewhere
ARRAY: Any = np.empty(0).__reduce__()[0]
HARMLESS: list[Any] = [argparse.Namespace, Counter, type(Path()), np.dtype, np.ndarray, SCALAR, ARRAY]
HARMLESS += [(SCALAR, "numpy.core.multiarray.scalar"), (ARRAY, "numpy.core.multiarray._reconstruct")]
HARMLESS += {type(np.dtype(kind)) for kind in np.typecodes["AllInteger"] + np.typecodes["Float"] + "?"}
HARMLESS += [datetime.datetime, datetime.date, datetime.timedelta, datetime.timezone]
NEEDLESS = KNOWN["names"]["needless"]
COUNTER = "num_batches_tracked"  # of batch norms, in no old file
# What the archive of a file holds that is a program instead of arrays by name.
PROGRAMS = {"constants.pkl": "a TorchScript program"}
PROGRAMS |= dict.fromkeys(("archive_format", "serialized_exported_program.json"), "a program of torch.export")
SAVE = "in the program that made them: torch.save(model.state_dict(), 'mine.pt'), or with safetensors"


@dataclass(frozen=True)
class Weights:
    """Arrays by name, what to call them, and the mean and spread of the images that they were learnt with."""

    arrays: dict[str, Tensor]
    name: str
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None
    source: str = ""  # who says so
    checksum: str = ""  # SHA-256 of the file


def find(weights: str, arch: str) -> Path | str:
    """The file of weights, here or in the project's folder; or their name without what stands before it."""
    for file in (Path(weights), home() / weights):
        if exists(file) and file.is_file():
            return file
    names: list[str] = []
    if arch.startswith(TIMM):
        names = ["DEFAULT"] if timm_settings(arch).has_weights else []
    elif group := _published(arch):
        names, weights = list(group.__members__), weights.removeprefix(f"{group.__name__}.")
    if weights not in names:
        raise ValueError(
            f"weights={weights!r}: no such file, nor a name such as 'DEFAULT'; the names for {arch}: "
            f"{', '.join(names) or 'there are none'}"
        )
    return weights


def _published(arch: str) -> Any:
    """torchvision's weights of a network, None if there are none."""
    known = torchvision.models.list_models(module=torchvision.models)
    return torchvision.models.get_model_weights(arch) if arch in known else None


def read(weights: str, arch: str, size: int | None) -> Weights:
    """Weights by name, or of a .safetensors or `torch.save` of a state_dict, in which nothing is executed."""
    file = find(weights, arch)
    if isinstance(file, str):
        return _download(file, arch, size)
    try:
        arrays = load_file(file) if file.suffix == ".safetensors" else dict(_flat(_unpickled(file)))
        if not arrays:
            raise ValueError("no arrays by name")
        scaled = _beside(file)
    except Exception as error:  # torch.load raises many kinds on a damaged file
        if isinstance(error, pickle.UnpicklingError):  # PyTorch advises to switch its protection off
            kind = re.search(r"GLOBAL (\S+)", str(error))
            error = ValueError(f"it holds {kind[1] if kind else 'objects'} and was not opened")
        raise ValueError(
            f"weights={weights!r} are damaged, or no state_dict, or hold more than arrays (pickled objects, "
            f"which could run any code): {error}; {SAVE}"
        ) from None
    return Weights(arrays, file.name, *scaled, checksum(file))


def _unpickled(file: Path) -> Any:
    """What `torch.save` wrote, if it is whole, no program, and made of tensors and what is `HARMLESS`."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            names = {Path(name).name for name in archive.namelist()}
            if altered := archive.testzip():  # PyTorch does not compare the checksums
                raise ValueError(f"the checksum of {altered} differs")
        if programs := [kind for mark, kind in PROGRAMS.items() if mark in names]:
            raise ValueError(f"it is {programs[0]}, whose layers cannot be looked into")
    with torch.serialization.safe_globals(HARMLESS):
        return torch.load(file, map_location="cpu", weights_only=True)


def _flat(content: Any, start: str = "", met: set[int] | None = None) -> Iterator[tuple[str, Tensor]]:
    """The arrays in nested mappings, by the whole way to them: ``state_dict.model.conv1.weight``.

    A mapping is entered once: a small file whose mappings hold each other twice would have no end.
    """
    met = set() if met is None else met
    if not isinstance(content, Mapping) or id(content) in met:
        return
    met.add(id(content))
    for key, value in content.items():
        if torch.is_tensor(value):
            yield f"{start}{key}", value
        yield from _flat(value, f"{start}{key}.", met)


def _scale(found: Mapping[str, Any]) -> tuple[Any, Any]:
    """Mean and spread, in shares of 255, that ours, timm or Hugging Face wrote down; else None twice."""
    if not found.get("do_normalize", True):
        return 0.0, 1.0
    start = "" if "mean" in found else "image_"
    return found.get(f"{start}mean"), found.get(f"{start}std")


def _beside(file: Path) -> tuple[Any, Any, str]:
    """The scale that a description beside weights says they were learnt with, and the name of its file."""
    for name in KNOWN["beside"]:
        if (description := file.with_name(name)).is_file():
            found = json.loads(description.read_text())
            mean, std = _scale(found.get("pretrained_cfg", found))
            if mean is not None:
                return mean, std, name
    return None, None, ""


def carried(network: nn.Module) -> tuple[Any, Any, str]:
    """The scale that a network says it was trained with, or None twice, and who says it."""
    for module in network.modules():
        package, config = type(module).__module__.split(".")[0], getattr(module, "pretrained_cfg", None)
        if package in KNOWN["ranges"]:
            return *scale(KNOWN["ranges"][package]), package
        if isinstance(config, dict) and "mean" in config:
            return *_scale(config), "timm"
        if name := getattr(getattr(module, "config", None), "_name_or_path", ""):
            with contextlib.suppress(Exception):  # no such settings, or no connection
                from transformers import AutoImageProcessor

                return *_scale(AutoImageProcessor.from_pretrained(name).to_dict()), "Hugging Face"
    return None, None, ""


def timm_settings(arch: str) -> Any:
    """What timm says of a network: its size and its weights."""
    import timm

    name = arch.removeprefix(TIMM)
    if not timm.is_model(name):
        raise ValueError(f"arch={arch!r} is unknown to timm; timm.list_models() lists its networks")
    return timm.get_pretrained_cfg(name, allow_unregistered=True) or timm.models.PretrainedCfg()


def timm_network(arch: str, size: int | None, **options: Any) -> nn.Module:
    """One of timm's networks, for images of that side if it is built for one."""
    import timm

    if size:
        options["img_size"] = size
    return timm.create_model(arch.removeprefix(TIMM), **options)


def _download(name: str, arch: str, size: int | None) -> Weights:
    try:
        if arch.startswith(TIMM):
            what, place = f"{timm_settings(arch).hf_hub_id} from huggingface.co", "give the path of the file"
            network = timm_network(arch, size, pretrained=True)
            scaled = carried(network)
        else:
            member = _published(arch)[name]
            what, place = member.url, f"put it into {torch.hub.get_dir()}/checkpoints"
            network = torchvision.models.get_model(arch, weights=member, progress=False)
            scaled = member.transforms().mean, member.transforms().std, "torchvision"
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"weights={name!r} of {arch} could not be downloaded ({error}); download {what} on a computer "
            f"with a connection and {place}"
        ) from None
    return Weights(network.state_dict(), f"{arch} {name}", *scaled)
