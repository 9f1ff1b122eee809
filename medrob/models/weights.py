"""Weights from elsewhere: torchvision's and timm's by name, or arrays in a file, of which no code is run."""

import argparse
import contextlib
import datetime
import json
import pickle
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

from medrob.config import scale
from medrob.files import checksum, exists, home
from medrob.models.network import KNOWN, Normalise

TIMM = "timm:"  # what the names of timm's networks begin with; timm is imported only where one is asked for
# What training scripts keep beside the arrays, and what only makes numbers, times, paths or settings.
SCALAR: Any = np.float64(0).__reduce__()[0]  # NumPy 1 had it elsewhere
ARRAY: Any = np.empty(0).__reduce__()[0]
HARMLESS: list[Any] = [argparse.Namespace, Counter, type(Path()), np.dtype, np.ndarray, SCALAR, ARRAY]
HARMLESS += [(SCALAR, "numpy.core.multiarray.scalar"), (ARRAY, "numpy.core.multiarray._reconstruct")]
HARMLESS += {type(np.dtype(kind)) for kind in np.typecodes["AllInteger"] + np.typecodes["Float"] + "?"}
HARMLESS += [type(np.dtype(str)), defaultdict, int, float, str, list, dict, set, frozenset]
HARMLESS += [datetime.datetime, datetime.date, datetime.timedelta, datetime.timezone]
GREY = 10  # above it, a spread is one of grey levels 0-255 instead of shares of 255
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
    # What its outputs may be called, in their order, by who says so.
    classes: Mapping[str, list[str]] = field(default_factory=dict)
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
            f"weights={weights!r}: no such file (of a folder, name the file in it), nor a name such as "
            f"'DEFAULT'; the names for {arch}: "
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
        if kinds := [kind for name, kind in KNOWN["refused"].items() if re.search(name, file.name)]:
            raise ValueError(f"it is {kinds[0]}")
        content = load_file(file) if file.suffix == ".safetensors" else _unpickled(file)
        arrays = dict(_flat(content))
        if not arrays:
            raise ValueError("no tensors by name")
        mean, std, source, classes = _told({file.name: content, **_beside(file)})
    except Exception as error:  # torch.load raises many kinds on a damaged file
        if isinstance(error, pickle.UnpicklingError):  # PyTorch advises to switch its protection off
            kind = re.search(r"GLOBAL (\S+)", str(error))
            error = ValueError(f"it holds {kind[1] if kind else 'no tensors'} and was not opened")
        raise ValueError(
            f"weights={weights!r} are damaged, or no state_dict, or hold more than arrays (pickled objects, "
            f"which could run any code): {error}; {SAVE}"
        ) from None
    return Weights(arrays, file.name, mean, std, source, classes, checksum(file))


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
    """Mean and spread, in shares of 255, that ours, timm, Hugging Face or a training wrote down.

    None twice: it is not told, or more is done than to shift and to scale.
    """
    start = "" if "mean" in found else "image_"
    mean, std = found.get(f"{start}mean"), found.get(f"{start}std")
    if not found.get("do_normalize", True):
        mean, std = 0.0, 1.0
    if mean is None or std is None or any(found.get(name) for name in KNOWN["names"]["unscaled"]):
        return None, None
    with contextlib.suppress(TypeError, ValueError):  # no numbers: refused where they are used
        mean, std = (np.asarray(values, float) for values in (mean, std))
        factor = float(found.get("rescale_factor", 1 / 255)) if found.get("do_rescale", True) else 1
        levels = round(255 * factor, 9)
        if levels == 1 and max(std.max(), mean.max()) > GREY:  # Caffe's spread is 1, its mean 100 or so
            levels = 255
        return (mean / levels).tolist(), (std / levels).tolist()
    return mean, std


def class_names(content: Any) -> dict[str, list[str]]:
    """What outputs may be called, in their order, by the entry that says so: a list of different texts, or
    {name: place} or {place: name} with places from 0; of modules also what their class says.
    """
    found: dict[str, list[str]] = {}
    for entries in settings(content, every=True):
        for key, names in entries.items():
            names = names.tolist() if isinstance(names, np.ndarray) else names
            if isinstance(names, Mapping):
                pairs = [(k, v) if isinstance(v, str) else (v, k) for k, v in names.items()]
                number = (int, np.integer, str)  # JSON has texts
                places = {str(place): name for place, name in pairs if isinstance(place, number)}
                names = [places[str(k)] for k in range(len(names)) if str(k) in places]
            if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
                told = [str(name) for name in names if not name.startswith("LABEL_")]
                if len({*told}) == len(names) > 1:
                    found.setdefault(str(key), told)
    return found


def settings(content: Any, depth: int = 4, *, every: bool = False) -> Iterator[Mapping[Any, Any]]:
    """The entries of a checkpoint, or of a module and its class, and of what in it is called as settings are,
    or of `every` mapping.
    """
    entries = content
    if not isinstance(content, Mapping):
        parents = type(content).__mro__ if isinstance(content, nn.Module) else ()
        own = [vars(kind) for kind in reversed(parents) if not kind.__module__.startswith("torch")]
        entries = {k: v for table in (*own, getattr(content, "__dict__", {})) for k, v in table.items()}
    yield entries
    for name, value in entries.items() if depth else ():
        inner = every and isinstance(value, dict | argparse.Namespace)
        if inner or name in KNOWN["names"]["settings"]:
            yield from settings(value, depth - 1, every=every)


def _told(contents: Mapping[str, Any]) -> tuple[Any, Any, str, dict[str, list[str]]]:
    """Mean, spread, the name of what tells them, and the classes, of the first of contents by name."""
    scales, classes = list[tuple[Any, Any, str]](), dict[str, list[str]]()
    for name, content in contents.items():
        tables, arrays = [*settings(content)], dict(_flat(content))
        for place, mean in arrays.items():  # of a part that normalises, such as "0.mean"
            std = arrays.get(f"{place[:-4]}std") if re.search(r"(^|\.)mean$", place) else None
            tables += [{"mean": mean, "std": std}] if std is not None and mean.numel() in (1, 3) else []
        found = [(*_scale(table), name) for table in tables]
        scales += [scale for scale in found if scale[0] is not None]
        classes = {f"{key} of {name}": names for key, names in class_names(content).items()} | classes
    return *next(iter(scales), (None, None, "")), classes


def _beside(file: Path) -> dict[str, Any]:
    """The descriptions beside weights, by the names of their files."""
    files = [file.with_name(name) for name in KNOWN["beside"]]
    return {path.name: json.loads(path.read_text()) for path in files if path.is_file()}


def within(network: nn.Module) -> tuple[Any, Any, str]:
    """What a network that normalises by its own numbers is to be given, or None twice; and which are these.

    It takes shares of 255, or grey levels where its numbers are of these.
    """
    for name, module in network.named_modules():
        own = {**vars(module), **module._buffers, **module._parameters}
        if "ormali" not in type(module).__name__:
            own = {place: value for place, value in own.items() if torch.is_tensor(value)}
        for place in own:
            pair = [own.get(f"{place[:-4]}{end}") for end in ("mean", "std") if place.endswith("mean")]
            with contextlib.suppress(TypeError, ValueError, RuntimeError):  # no numbers, or only their form
                mean, std = (np.asarray(values, float) for values in pair)
                if mean.size in (1, 3) and np.isfinite([*mean.flat, *std.flat]).all():
                    grey = max(std.max(), mean.max()) > GREY or isinstance(module, Normalise)
                    return 0.0, 1 / 255 if grey else 1.0, f"{name}.{place}".lstrip(".")
    return None, None, ""


def carried(network: nn.Module) -> tuple[Any, Any, str]:
    """The scale that a network says it was trained with, or None twice, and who says it."""
    for module in network.modules():
        package, config = type(module).__module__.split(".")[0], getattr(module, "pretrained_cfg", None)
        if package in KNOWN["ranges"]:
            return *scale(KNOWN["ranges"][package]), package
        if getattr(module, "transform_input", False):  # torchvision's own weights are within
            return *scale("imagenet"), "torchvision"
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
            if getattr(network, "transform_input", False):  # what it makes of ImageNet's scale
                scaled = 0.5, 0.5, "its transform_input"
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"weights={name!r} of {arch} could not be downloaded ({error}); download {what} on a computer "
            f"with a connection and {place}"
        ) from None
    return Weights(network.state_dict(), f"{arch} {name}", *scaled)
