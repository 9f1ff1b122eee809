"""What is told of weights besides the arrays: the scale of grey levels, and the order of the classes."""

import argparse
import ast
import contextlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from medrob.config import scale
from medrob.files import beside
from medrob.models.outputs import KNOWN, evaluating
from medrob.models.passes import as_input

GREY = 10  # above it, a spread is one of grey levels 0-255 instead of shares of 255
NAMES = {
    kind: re.compile(KNOWN["names"][kind], re.IGNORECASE)
    for kind in ("settings", "mean", "classes", "written", "decides")
}
NORMALISES = re.compile("normali[sz]")
CALIBRATES = re.compile(KNOWN["names"]["calibrates"])
WEIGHS = re.compile("class_?weights?$")  # of a loss, where it stands beside a state_dict instead of in it
STDS = ("std", "stds", "stdev", "stddev", "sd")
Table: TypeAlias = tuple[tuple[Any, ...], Mapping[Any, Any]]


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


def parsed(text: str) -> Any:
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


def arrays_in(content: Any) -> tuple[dict[str, Tensor], frozenset[str]]:
    """The arrays by the whole way to them, ``state_dict.model.conv1.weight``, and which are no layers.

    These are whole numbers, a scale, single numbers outside a state_dict, what stands in mappings by number,
    as of an optimizer, thresholds, and what timm was given to build a network. Numbers that calibrate are
    arrays, and no layers only among settings.
    """
    arrays, loose = dict[str, Tensor](), set[str]()
    for way, table in tables(content):
        dotted = any("." in str(key) for key in table)
        for key, value in table.items():
            calibrates = CALIBRATES.search(name := ".".join(map(str, (*way, key))))
            decides = value is not None and not torch.is_tensor(value) and NAMES["decides"].search(name)
            with contextlib.suppress(TypeError, ValueError):  # no numbers
                if decides or (calibrates and not torch.is_tensor(value) and value not in (None, 0, 1)):
                    words = isinstance(value, str)  # such as global_pool: max
                    value = torch.tensor(math.nan if words else np.asarray(value, float))
            if torch.is_tensor(value):
                arrays[name] = value
                counted = any(str(part).isdecimal() for part in (*way, key))
                alone = not (dotted or calibrates) and (not value.ndim or WEIGHS.search(name))
                alone = alone or (calibrates and _settings(way))
                if counted or not value.is_floating_point() or alone or decides:
                    loose.add(name)
    return arrays, frozenset(loose.union(*(names for names, *_ in pairs(arrays))))


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


def pairs(values: Mapping[Any, Any]) -> Iterator[tuple[tuple[str, str], np.ndarray, np.ndarray]]:
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
    if False in (found.get(key) for key in ("do_normalize", "normalize", "normalise")):
        mean, std = 0.0, 1.0
    turned = found.get("do_flip_channel_order") or found.get("to_rgb") is False
    if str(found.get("normalization")).startswith(("image", "min_max")):  # of albumentations
        return None, None, f"{who} normalises each image by its own numbers"
    if turned or any(isinstance(value, str) and value.upper() == "BGR" for value in found.values()):
        return None, None, f"{who} has blue, green, red in this order, and here they are red, green, blue"
    if mean is None or std is None:
        half = isinstance(mean, list | tuple | float)
        return None, None, f"{who} has {names[0]} without a spread" if half else ""
    with contextlib.suppress(TypeError, ValueError):  # no numbers: refused where they are used
        mean, std = (np.asarray(values, float).squeeze() for values in (mean, std))
        factor = float(found.get("rescale_factor", 1 / 255)) if found.get("do_rescale", True) else 1
        levels = round(255 * factor, 9)
        if levels == 1 and max(std.max(), mean.max()) > GREY:  # Caffe's spread is 1, its mean 100 or so
            levels = 255
        if 1 < (white := float(found.get("max_pixel_value", 1))) < 255:  # albumentations' white
            levels = 255 / white
        if not found.get("to_rgb") and alike((mean / levels, 0), (scale("imagenet")[0][::-1], 0)):
            return None, None, f"{who} has ImageNet's mean in the order blue, green, red"
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
    names = parsed(names) if isinstance(names, str) else names
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


def scale_and_classes(contents: Mapping[str, Any]) -> tuple[Any, Any, str, dict[str, list[str]]]:
    """Mean, spread and what tells them of the first of contents that does; the names of classes of all."""
    told, classes = (None, None, ""), dict[str, list[str]]()
    for name, content in contents.items():
        scales = list[tuple[Any, Any, str]]()
        for way, table in tables(content):
            if not way or _settings(way):
                bgr = {"to_rgb": False} if "data_preprocessor" in way else {}  # unless it says more
                scales += [_scale(bgr | {**table}, name)]
                for key, value in table.items():
                    if isinstance(value, str) and value.lower() == "imagenet" and NORMALISES.match(str(key)):
                        scales.append((*scale("imagenet"), name))
                    elif isinstance(value, str):
                        scales += _written(value, name)
                    elif isinstance(value, list | tuple) and NORMALISES.match(str(key)):
                        pair = zip(("mean", "std"), value, strict=False) if len(value) == 2 else ()
                        scales.append(_scale(dict(pair), name))
        # Of a part that normalises, such as "0.mean".
        scales += [_scale({"mean": m, "std": s}, name) for _, m, s in pairs(arrays_in(content)[0])]
        scales += _written(content, name) if isinstance(content, str) else []
        told = told if told[2] else _only([scale for scale in scales if scale[2]], name)
        classes = class_names(content, name) | classes
        if names := _in_order(content):
            own = Path(name).stem == Path(next(iter(contents))).stem  # called like the weights
            classes[f"{'names' if own else Path(name).stem} of {name}"] = names
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
        pairs = zip(first, second, strict=True)
        return all(np.allclose(np.ravel(a), np.ravel(b), atol=1e-3) for a, b in pairs)
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


def texts_beside(file: Path) -> dict[str, Any]:
    """What is told beside weights, by the names of files; as text if it has no other form."""
    found, kinds = dict[str, Any](), {".json": json.loads, ".yaml": yaml.safe_load, ".yml": yaml.safe_load}
    for path in beside(file)[0]:
        found[path.name] = text = path.read_text("utf-8-sig", "replace")
        with contextlib.suppress(ValueError, yaml.YAMLError):
            found[path.name] = kinds.get(path.suffix, str)(text)
        lines = [line for line in text.splitlines() if line.strip()]
        rows = [re.fullmatch(r"\s*(\w+)\s*=\s*([-+.\de]+)\s*", line) for line in lines]
        if rows and all(rows):  # such as T = 1.8, and nothing else
            found[path.name] = {row[1]: row[2] for row in rows if row}
    return found


def within(network: nn.Module, given: Mapping[str, Tensor], channels: int, side: int) -> tuple[Any, Any, str]:
    """What a network that scales grey levels itself is to be fed with, else None twice; and how it is known.

    It is shown a black and a white image, 0 and 1, with the arrays `given` it by name. Where its first layer
    is given much less than 1 between them, it takes 0 to 255; where it is given what has about a mean of 0
    and a spread of 1, it takes 0 to 1. What it scales only a little is left to what else is told.
    """
    taken = list[Tensor]()
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm2d)]
    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_pre_hook(lambda _, x: taken.append(x[0])).remove)
        for context in (torch.no_grad(), torch.random.fork_rng(devices=[]), evaluating(network)):
            stack.enter_context(context)
        with contextlib.suppress(Exception):  # which is told where the network is used
            x = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).repeat(1, channels or 3, side, side)
            x = as_input(network, x)
            _ = torch.func.functional_call(network, dict(given), (x,)) if given else network(x)
    if not taken or len(taken[0]) != 2 or taken[0].is_meta:
        return None, None, ""
    low, high = taken[0].double().flatten(1).median(1).values.tolist()
    width, how = high - low, "its first layer shows it"
    if width > 1e-3 and (width < 0.05 or -low > GREY * width):
        return 0.0, 1 / 255, how
    normal = 1.2 < width < 12 and 0.05 < -low / width < 0.95
    return (0.0, 1.0, how) if normal or width > GREY**2 else (None, None, "")


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
