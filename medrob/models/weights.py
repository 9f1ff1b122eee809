"""Weights from elsewhere: torchvision's and timm's by name, or arrays in a file, of which no code is run."""

import argparse
import ast
import contextlib
import datetime
import json
import pickle
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torchvision
import yaml
from safetensors import safe_open
from torch import Tensor, nn

from medrob.config import scale
from medrob.files import beside, checksum, exists, home
from medrob.models.network import Normalise
from medrob.models.outputs import KNOWN

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


NAMES = {
    kind: re.compile(KNOWN["names"][kind], re.IGNORECASE)
    for kind in ("settings", "mean", "classes", "written")
}
CALIBRATES = re.compile(KNOWN["names"]["calibrates"])
STDS = ("std", "stds", "stdev", "stddev", "sd")
Table: TypeAlias = tuple[tuple[Any, ...], Mapping[Any, Any]]


@dataclass(frozen=True)
class Weights:
    """Arrays by name, what to call them, and the mean and spread of the images that they were learnt with."""

    arrays: dict[str, Tensor]
    name: str
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None
    source: str = ""  # who says so, or why they are not known
    # What its outputs may be called, in their order, by who says so.
    classes: Mapping[str, list[str]] = field(default_factory=dict)
    order: Sequence[int] = ()  # of its outputs, when medrob wrote it
    loose: frozenset[str] = frozenset()  # arrays that are no layers, such as an optimizer's
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
        content = _unpacked(file) if file.suffix == ".safetensors" else _unpickled(file)
        texts = _beside(file)
        arrays, loose = _arrays(content)
        for name, told in texts.items():  # a number that calibrates
            numbers, settings = _arrays({Path(name).stem: told})
            arrays, loose = arrays | numbers, loose | settings
        if not arrays:
            raise ValueError("no tensors by name")
        scale_and_classes = _told({file.name: content, **texts})
        order = (texts.get("model.json") or {}).get("order", ())
    except Exception as error:  # torch.load raises many kinds on a damaged file
        if isinstance(error, pickle.UnpicklingError):  # PyTorch advises to switch its protection off
            kind = re.search(r"(?:GLOBAL |but got <class ')([\w.]+)", str(error))
            advice = " (write names as a list)" if kind and "numpy" in kind[1] else ""
            error = ValueError(f"it holds {kind[1] if kind else 'no tensors'}{advice} and was not opened")
        raise ValueError(
            f"weights={weights!r} are damaged, or no state_dict, or hold more than arrays (pickled objects, "
            f"which could run any code): {error}; {SAVE}"
        ) from None
    return Weights(arrays, file.name, *scale_and_classes, order, loose, checksum(file))


def _unpacked(file: Path) -> dict[str, Any]:
    """The arrays of a .safetensors, and what is told beside them, as text."""
    with safe_open(file, "pt") as content:
        told = {key: _parsed(text) for key, text in (content.metadata() or {}).items()}
        return {name: content.get_tensor(name) for name in content.keys()} | {"metadata": told}  # noqa: SIM118


def _parsed(text: str) -> Any:
    """The list or mapping that a text writes down, also one of names with commas between; else the text."""
    with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        if text[:1] in ("[", "{", "("):
            return ast.literal_eval(text)
    lines = [line.strip() for line in text.strip().splitlines()]
    if len(lines) == 1:
        return text.split(",") if "," in text else text
    rows = [re.fullmatch(r"(\d+)[\s,;:]+(.+)|(.+?)[\s,;:]+(\d+)", line) for line in lines]
    rows = rows[1:] if rows and not rows[0] else rows  # a header
    return [(m[1] or m[4], m[2] or m[3]) for m in rows if m] if rows and all(rows) else lines


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


def tables(content: Any, way: tuple[Any, ...] = (), met: set[int] | None = None) -> Iterator[Table]:
    """All mappings in a checkpoint or a module, and settings that are objects, each behind the keys to it.

    One is entered once: a small file whose mappings hold each other twice would have no end.
    """
    met = set() if met is None else met
    table: Any = content if isinstance(content, Mapping) else getattr(content, "__dict__", None)
    if isinstance(content, list | tuple) and not all(isinstance(part, int | float) for part in content):
        table = dict(enumerate(content))
    if isinstance(content, nn.Module) and not way:  # and what the user's class says
        kinds = [kind for kind in reversed(type(content).__mro__) if not kind.__module__.startswith("torch.")]
        table = {key: value for one in (*map(vars, kinds), table) for key, value in one.items()}
    entered = isinstance(content, Mapping | argparse.Namespace | list | tuple) or not way
    entered = entered or bool(NAMES["settings"].search(str(way[-1])) and not isinstance(content, nn.Module))
    if table is None or not entered or id(content) in met:
        return
    met.add(id(content))
    yield way, table
    for key, value in table.items():
        yield from tables(value, (*way, key), met)


def _arrays(content: Any) -> tuple[dict[str, Tensor], frozenset[str]]:
    """The arrays by the whole way to them, ``state_dict.model.conv1.weight``, and which are no layers.

    These are whole numbers, a scale, single numbers outside a state_dict, and what stands in mappings by
    number, as of an optimizer. A number that calibrates is an array, and no layer only among settings.
    """
    arrays, loose = dict[str, Tensor](), set[str]()
    for way, table in tables(content):
        dotted = any("." in str(key) for key in table)
        for key, value in table.items():
            calibrates = CALIBRATES.search(name := ".".join(map(str, (*way, key))))
            if calibrates and isinstance(value, int | float) and value not in (0, 1):
                value = torch.tensor(float(value))
            if torch.is_tensor(value):
                arrays[name] = value
                counted = any(str(part).isdecimal() for part in (*way, key))
                alone = not (value.ndim or dotted or calibrates) or (calibrates and _settings(way))
                if counted or not value.is_floating_point() or alone:
                    loose.add(name)
    return arrays, frozenset(loose.union(*(names for names, *_ in _pairs(arrays))))


def _settings(way: tuple[Any, ...]) -> bool:
    """Whether all keys on a way are those of settings."""
    return bool(way) and all(NAMES["settings"].search(str(key)) for key in way)


def _spreads(names: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """What is called mean, and what std beside it, None if there is none."""
    known = {str(name).casefold(): name for name in names}
    for low, name in known.items():
        if NAMES["mean"].search(low):
            start = low[: low.rindex("mean")]
            yield name, next((known[f"{start}{std}"] for std in STDS if f"{start}{std}" in known), None)


def _pairs(values: Mapping[Any, Any]) -> Iterator[tuple[tuple[str, str], np.ndarray, np.ndarray]]:
    """What is called mean, and std beside it, of one or three numbers each, and their names."""
    for names in _spreads(values):
        with contextlib.suppress(KeyError, TypeError, ValueError, RuntimeError):  # no numbers, or their form
            found = [values[name] for name in names]
            found = [value.detach().double().cpu() if torch.is_tensor(value) else value for value in found]
            pair = [np.asarray(value, float).ravel() for value in found]
            if {len(numbers) for numbers in pair} <= {1, 3} and np.isfinite(np.concatenate(pair)).all():
                yield names, pair[0], pair[1]


def _scale(found: Mapping[str, Any], who: str) -> tuple[Any, Any, str]:
    """Mean and spread, in shares of 255, that ours, timm, Hugging Face or a training wrote down, and who did.

    None twice if they are not told (""), or if they are not enough, and why.
    """
    names = next(_spreads(found), (None, None))
    mean, std = (found.get(str(name)) for name in names)
    if not found.get("do_normalize", True):
        mean, std = 0.0, 1.0
    turned = found.get("do_flip_channel_order") or found.get("to_rgb") is False
    if turned or any(isinstance(value, str) and value.upper() == "BGR" for value in found.values()):
        return None, None, f"{who} has blue, green, red in this order, and here they are red, green, blue"
    if mean is None or std is None:
        half = isinstance(mean, list | tuple | float)
        return None, None, f"{who} has {names[0]} without a spread" if half else ""
    with contextlib.suppress(TypeError, ValueError):  # no numbers: refused where they are used
        mean, std = (np.asarray(values, float) for values in (mean, std))
        factor = float(found.get("rescale_factor", 1 / 255)) if found.get("do_rescale", True) else 1
        levels = round(255 * factor, 9)
        if levels == 1 and max(std.max(), mean.max()) > GREY:  # Caffe's spread is 1, its mean 100 or so
            levels = 255
        if 1 < (white := float(found.get("max_pixel_value", 1))) < 255:  # albumentations' white
            levels = 255 / white
        # As Hugging Face's EfficientNets have it: 1 less before, and divided by the spread again.
        mean, std = mean + bool(found.get("rescale_offset")), std ** (1 + bool(found.get("include_top")))
        return (mean / levels).tolist(), (std / levels).tolist(), who
    return mean, std, who


def class_names(content: Any, who: str) -> dict[str, list[str]]:
    """All that may be names of outputs, in their order, in a checkpoint or a module, by where it stands."""
    found = dict[str, list[str]]()
    for way, table in tables(content):
        told = {key: names for key, value in table.items() if (names := _in_order(value))}
        found |= {f"{'.'.join(map(str, (*way, key)))} of {who}": names for key, names in told.items()}
    return found


def _in_order(names: Any) -> list[str]:
    """The names in a list, in {name: place}, {place: name} or pairs of these, or rows with an id and a name.

    Also in a text of one of these; [] if they are none.
    """
    names = _parsed(names) if isinstance(names, str) else names
    names = names.tolist() if isinstance(names, np.ndarray) else names
    pairs: list[Any] = [*names.items()] if isinstance(names, Mapping) else []
    if isinstance(names, list | tuple) and names:
        rows = [[*row.values()] for row in names if isinstance(row, Mapping)]
        ids = [next((v for v in row if isinstance(v, Integral)), None) for row in rows]
        if len(rows) == len(names):
            pairs = [(place, _name(row)) for place, row in zip(ids, names, strict=True)]
        elif all(isinstance(row, list | tuple) and len(row) == 2 for row in names):
            pairs = [*names]
    if pairs:
        pairs = [(key, _name(value)) for key, value in pairs]
        if not all(isinstance(value, str | Integral) for pair in pairs for value in pair):
            return []
        by_place = all(str(key).isdecimal() for key, _ in pairs)
        by_place = by_place and any(isinstance(value, str) for _, value in pairs)
        pairs = pairs if by_place else [(value, key) for key, value in pairs]
        places = {int(str(place)): name for place, name in pairs if str(place).isdecimal()}
        first = min(places, default=2)
        whole = first < 2 and [*range(first, first + len(pairs))] == sorted(places)
        names = [places[place] for place in sorted(places)] if whole else []
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return []
    told = [str(name) for name in names if not name.startswith("LABEL_")]  # which Hugging Face makes up
    return told if len({*told}) == len(names) else []


def _name(value: Any) -> Any:
    """The name among what is told of a class: called so, or the last text."""
    if isinstance(value, Mapping):
        texts = [part for part in value.values() if isinstance(part, str)]
        return value.get("name", next(iter(texts), None))
    if isinstance(value, Tensor) and not (value.ndim or value.is_floating_point() or value.is_meta):
        return int(value)
    return value[-1] if isinstance(value, list | tuple) and value else value


def _told(contents: Mapping[str, Any]) -> tuple[Any, Any, str, dict[str, list[str]]]:
    """Mean, spread and what tells them of the first of contents that does; the names of classes of all."""
    told, classes = (None, None, ""), dict[str, list[str]]()
    for name, content in contents.items():
        scales = list[tuple[Any, Any, str]]()
        for way, table in tables(content):
            if not way or _settings(way):
                bgr = {"to_rgb": False} if "data_preprocessor" in way else {}  # unless it says more
                scales += [_scale(bgr | {**table}, name)]
                for value in filter(lambda value: isinstance(value, str), table.values()):
                    scales += _written(value, name)
        # Of a part that normalises, such as "0.mean".
        scales += [_scale({"mean": m, "std": s}, name) for _, m, s in _pairs(_arrays(content)[0])]
        scales += _written(content, name) if isinstance(content, str) else []
        told = told if told[2] else _only([scale for scale in scales if scale[2]], name)
        classes = class_names(content, name) | classes
        if names := _in_order(content):
            classes[f"{Path(name).stem} of {name}"] = names
    return *told, classes


def _only(scales: list[tuple[Any, Any, str]], who: str) -> tuple[Any, Any, str]:
    """The one scale that is told, if others do not differ from it."""
    known = [scale for scale in scales if scale[0] is not None]
    if not all(alike(scale[:2], known[0][:2]) for scale in known[1:]):
        return None, None, f"{who} tells several: {' and '.join(f'{m}, {s}' for m, s, _ in known)}"
    return next(iter([*known, *scales]), (None, None, ""))


def alike(first: tuple[Any, Any], second: tuple[Any, Any]) -> bool:
    """Whether two pairs of mean and spread are the same; one that is no numbers is not."""
    with contextlib.suppress(TypeError, ValueError):
        return all(np.allclose(*pair, atol=1e-3) for pair in zip(first, second, strict=True))
    return False


def _written(text: str, who: str) -> list[tuple[Any, Any, str]]:
    """The scales in a text of settings or steps, as of a Normalize(mean=..., std=...); see `_scale`."""
    places = r"(Normali[sz]e\()\s*([\[(][^\])]*.)\s*,\s*([\[(])"
    text = re.sub(places, r"\1mean=\2, std=\3", text)
    tables = list[dict[str, Any]]()
    for key, values in NAMES["written"].findall(text):
        if "mean" in key.lower():
            tables.append({"to_rgb": "data_preprocessor" not in text or "to_rgb" in text})
        if tables:
            tables[-1][key.lower()] = ast.literal_eval(values.capitalize())
    unread = f"{who} has {text[:80]!r}"
    return [_scale(table, who) for table in tables] or (
        [(None, None, unread)] if re.search(r"normali[sz]e\W", text, re.IGNORECASE) else []
    )


def _beside(file: Path) -> dict[str, Any]:
    """What is told beside weights, by the names of files; as text if it has no other form."""
    found, kinds = dict[str, Any](), {".json": json.loads, ".yaml": yaml.safe_load, ".yml": yaml.safe_load}
    for path in beside(file):
        found[path.name] = text = path.read_text("utf-8", "replace")
        with contextlib.suppress(ValueError, yaml.YAMLError):
            found[path.name] = kinds.get(path.suffix, str)(text)
    return found


def within(network: nn.Module, given: Mapping[str, Tensor]) -> tuple[Any, Any, str]:
    """What a network that normalises by its own numbers, or those `given` it by name, is to be fed with, or
    None twice; and which are these.

    It takes shares of 255, or grey levels where its numbers are of these.
    """
    for name, module in network.named_modules():
        start, own = name and f"{name}.", {**vars(module), **module._buffers, **module._parameters}
        for (place, _), mean, std in _pairs({key: given.get(f"{start}{key}", own[key]) for key in own}):
            if mean.any():  # else it does not shift: noise of a mean of 0
                grey = max(*std, *mean) > GREY or isinstance(module, Normalise)
                return 0.0, 1 / 255 if grey else 1.0, f"{start}{place}"
    return None, None, ""


def carried(network: nn.Module) -> tuple[Any, Any, str]:
    """The scale that a network says it was trained with, or None twice, and who says it; see `_scale`."""
    for module in network.modules():
        package, config = type(module).__module__.split(".")[0], getattr(module, "pretrained_cfg", None)
        if package in KNOWN["ranges"]:
            return *scale(KNOWN["ranges"][package]), package
        if getattr(module, "transform_input", False):  # torchvision's own weights are within
            return *scale("imagenet"), "torchvision"
        if isinstance(config, dict) and "mean" in config:
            return _scale(config, "timm")
        if name := getattr(getattr(module, "config", None), "_name_or_path", ""):
            with contextlib.suppress(Exception):  # no such settings, or no connection
                from transformers import AutoImageProcessor

                return _scale(AutoImageProcessor.from_pretrained(name).to_dict(), "Hugging Face")
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
