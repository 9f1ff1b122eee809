"""What is told of weights besides the arrays: the scale of grey levels, and the order of the classes."""

import argparse
import ast
import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
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

GREY = 10  # above it, a mean or spread is one of grey levels 0-255 instead of shares of 255
SETTINGS, CLASSES = (re.compile(KNOWN["names"][kind], re.IGNORECASE) for kind in ("settings", "classes"))
CALIBRATES = re.compile(KNOWN["names"]["calibrates"])
WEIGHS = re.compile("class_?weights?$")  # of a loss, where it stands beside a state_dict instead of in it
SCALE = ("mean", "std", "image_mean", "image_std")
SHOWN = 12  # names of outputs, at most, in a sentence
Table: TypeAlias = tuple[tuple[Any, ...], Mapping[Any, Any]]
# Mean, spread, and who says so; None twice and why they are not known.
Scale: TypeAlias = tuple[Any, Any, str]


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
        told = [(key, value) for one in (*map(vars, kinds), table) for key, value in one.items()]
        table = {key: value for key, value in told if not key.startswith("__")}  # such as __doc__
    entered = isinstance(content, Mapping | argparse.Namespace | list | tuple) or not way
    entered = entered or bool(SETTINGS.search(str(way[-1])) and not isinstance(content, nn.Module))
    if table is None or not entered or id(content) in met:
        return
    met.add(id(content))
    yield way, table
    for key, value in table.items():
        yield from tables(value, (*way, key), met)


def parsed(text: str) -> Any:
    """The list or mapping in a text, or the names on its lines or between commas; else the text."""
    with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        if text[:1] in ("[", "{", "("):
            return ast.literal_eval(text)
    lines = [line.strip() for line in text.strip().splitlines()]
    return lines if len(lines) > 1 else text.split(",") if "," in text else text


def arrays_in(content: Any) -> tuple[dict[str, Tensor], frozenset[str]]:
    """The arrays by the whole way to them, ``state_dict.model.conv1.weight``, and which are no layers.

    These are whole numbers, single numbers and a scale outside a state_dict, and what stands in mappings by
    number, as of an optimizer. Settings that change what a network gives, such as a temperature, are arrays,
    too, and no layers only among other settings.
    """
    arrays, loose = dict[str, Tensor](), set[str]()
    for way, table in tables(content):
        dotted = any("." in str(key) for key in table)
        among = bool(way) and all(SETTINGS.search(str(key)) for key in way)
        for key, value in table.items():
            calibrates = CALIBRATES.search(name := ".".join(map(str, (*way, key))))
            with contextlib.suppress(TypeError, ValueError):  # no numbers
                if calibrates and not torch.is_tensor(value) and value not in (None, 0, 1, "avg"):
                    words = isinstance(value, str)  # such as global_pool: max
                    value = torch.tensor(math.nan if words else np.asarray(value, float))
            if torch.is_tensor(value):
                arrays[name] = value
                counted = any(str(part).isdecimal() for part in (*way, key))
                alone = not value.ndim or key in SCALE or WEIGHS.search(name)
                no_layer = among if calibrates else alone and not dotted
                if counted or not value.is_floating_point() or no_layer:
                    loose.add(name)
    return arrays, frozenset(loose)


def scale_of(found: Any, who: str) -> Scale:
    """The scale, in shares of 255, that ours, timm, Hugging Face or a training wrote down in a mapping."""
    if not isinstance(found, Mapping):
        return None, None, ""
    start = "image_" if "image_mean" in found else ""
    mean, std = found.get(f"{start}mean"), found.get(f"{start}std")
    told = {key: found[key] for key in KNOWN["usual"] if found.get(key) is not None}
    if odd := [f"{key}={value}" for key, value in told.items() if not _is_usual(key, value)]:
        return None, None, f"{who} has {', '.join(odd)}, which is not computed here"
    if mean is None or std is None:
        return None, None, ""
    with contextlib.suppress(TypeError, ValueError, RuntimeError):  # no numbers: refused where they are used
        mean, std = (np.asarray(values, float).squeeze() for values in (mean, std))
        if max(mean.max(), std.max()) > GREY:
            advice = "if its channels are red, green, blue, divide both by 255"
            return None, None, f"{who} has mean and spread of grey levels 0-255: {advice}"
        if alike((mean, 0), (scale("imagenet")[0][::-1], 0)):
            return None, None, f"{who} has ImageNet's mean in the order blue, green, red"
        return mean.tolist(), std.tolist(), who
    return mean, std, who


def _is_usual(key: str, value: Any) -> bool:
    usual = KNOWN["usual"][key]
    if isinstance(usual, str):
        return str(value).casefold() == usual
    return isinstance(value, int | float) and math.isclose(value, usual, rel_tol=1e-3)


def alike(first: tuple[Any, Any], second: tuple[Any, Any]) -> bool:
    """Whether two pairs of mean and spread are the same; one that is no numbers is not."""
    with contextlib.suppress(TypeError, ValueError):
        pairs = zip(first, second, strict=True)
        return all(np.allclose(np.ravel(a), np.ravel(b), atol=1e-3) for a, b in pairs)
    return False


def class_names(content: Any, who: str) -> dict[str, list[str]]:
    """All that may be names of outputs, in their order, in a checkpoint or a module, by where it stands."""
    found = dict[str, list[str]]()
    for way, table in tables(content):
        told = {key: names for key, value in table.items() if (names := _in_order(value))}
        found |= {f"{'.'.join(map(str, (*way, key)))} of {who}": names for key, names in told.items()}
    return found


def _in_order(names: Any) -> list[str]:
    """The names in a list, in {name: place} or {place: name}, or in a text of one; [] if they are none."""
    names = parsed(names) if isinstance(names, str) else names
    names = names.tolist() if isinstance(names, np.ndarray) else names
    if isinstance(names, Mapping) and all(isinstance(value, str | Integral) for value in names.values()):
        by_place = all(str(key).isdecimal() for key in names)
        by_place = by_place and any(isinstance(value, str) for value in names.values())
        pairs = names.items() if by_place else [(value, key) for key, value in names.items()]
        places = {int(str(place)): name for place, name in pairs if str(place).isdecimal()}
        first = min(places, default=2)
        whole = first < 2 and [*range(first, first + len(names))] == sorted(places)
        names = [places[place] for place in sorted(places)] if whole else []
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return []
    told = [str(name) for name in names if not name.startswith("LABEL_")]  # which Hugging Face makes up
    return told if len({*told}) == len(names) else []


def scale_and_classes(contents: Mapping[str, Any]) -> tuple[Any, Any, str, dict[str, list[str]]]:
    """The scale that the first of contents tells that tells one; the names of classes of all."""
    scales = [_scale_in(content, name) for name, content in contents.items()]
    classes = dict[str, list[str]]()
    for name, content in contents.items():
        classes = class_names(content, name) | classes
        if names := _in_order(content):
            own = Path(name).stem == Path(next(iter(contents))).stem  # called like the weights
            classes[f"{'names' if own else Path(name).stem} of {name}"] = names
    return *next((told for told in scales if told[2]), (None, None, "")), classes


def _scale_in(content: Any, name: str) -> Scale:
    """The scale that a mapping tells, or settings in it; several that differ are told and not used."""
    told = list[Scale]()
    for way, table in tables(content):
        if all(SETTINGS.search(str(key)) for key in way) and not any("." in str(key) for key in table):
            told.append(scale_of(table, " of ".join([".".join(map(str, way)), name]) if way else name))
    found = [one for one in told if one[2]] or [(None, None, "")]
    if found[0][0] is not None and all(alike(one[:2], found[0][:2]) for one in found[1:]):
        return found[0]
    known = [f"{who} has {mean}, {std}" if mean is not None else who for mean, std, who in found]
    return None, None, "; ".join(known)


def order_of(named: Mapping[str, Sequence[str]], classes: Sequence[str]) -> tuple[list[int], list[str]]:
    """Which of a network's outputs is which class, [] = as they come; and what is to be said of it.

    Raises:
        ValueError: what has a usual key tells several orders.
    """

    def usual(who: str) -> bool:
        return bool(CLASSES.search(who.partition(" of ")[0].rpartition(".")[2]))

    plain = {who: [name.casefold().strip() for name in names] for who, names in named.items()}
    theirs, as_they_come = [name.casefold().strip() for name in classes], [*range(len(classes))]
    same = {who: names for who, names in plain.items() if sorted(names) == sorted(theirs)}
    orders = {who: [names.index(name) for name in theirs] for who, names in same.items()}
    known = {who: order for who, order in orders.items() if usual(who)}
    if len({*map(tuple, known.values())}) > 1:
        raise ValueError(f"{', '.join(known)} tell different orders of the outputs; keep the right one alone")
    order = next(iter(known.values()), as_they_come)
    said = [
        f"not used as the order of the outputs: {who}, which has {', '.join(named[who])}; if it is this "
        "order, call it class_names"
        for who in orders
        if not usual(who) and orders[who] != order  # such as what is drawn, or how often each was drawn
    ]
    who = next((w for w in (*known, *plain) if usual(w) or {*theirs} < {*plain[w]}), "")
    if who and plain[who] != theirs:
        own, data = named[who], ", ".join(classes)
        shown = ", ".join([*own[:SHOWN], *(["..."] if len(own) > SHOWN else [])])
        if known:
            ends = f"they are put in that of {data}"
        elif len(own) == len(classes):
            ends = f"they are taken for {data}: if that is wrong, rename the classes to sort as its own do"
        else:
            ends = f"these are {len(own)}, and not used: its outputs are {data}"
        said.append(f"{who} calls the network's outputs {shown}, in this order; {ends}")
    return ([] if order == as_they_come else order), said


def texts_beside(file: Path) -> dict[str, Any]:
    """What is told beside weights, by the names of files; as text if it has no other form."""
    found, kinds = dict[str, Any](), dict[str, Any]({".json": json.loads, ".txt": str})
    for path in beside(file):
        found[path.name] = text = path.read_text("utf-8-sig", "replace")
        with contextlib.suppress(ValueError, RecursionError, yaml.YAMLError):
            found[path.name] = kinds.get(path.suffix, yaml.safe_load)(text)
    return found


def within(network: nn.Module, given: Mapping[str, Tensor], channels: int, side: int) -> tuple[Any, Any]:
    """The scale with which a network that scales grey levels itself is to be fed, else None twice.

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
        return None, None
    low, high = taken[0].double().flatten(1).median(1).values.tolist()
    width = high - low
    if width > 1e-3 and (width < 0.05 or -low > GREY * width):
        return 0.0, 1 / 255
    normal = 1.2 < width < 12 and 0.05 < -low / width < 0.95
    return (0.0, 1.0) if normal or width > GREY**2 else (None, None)


def carried(network: nn.Module) -> Scale:
    """The scale that a network says it was trained with."""
    for module in network.modules():
        package, config = type(module).__module__.split(".")[0], getattr(module, "pretrained_cfg", None)
        if package in KNOWN["ranges"]:
            return *scale(KNOWN["ranges"][package]), package
        if getattr(module, "transform_input", False):  # torchvision's own weights are within
            return *scale("imagenet"), "torchvision"
        if isinstance(config, dict) and "mean" in config:
            return scale_of(config, "timm")
        if name := getattr(getattr(module, "config", None), "_name_or_path", ""):
            with contextlib.suppress(Exception):  # no such settings, or no connection
                from transformers import AutoImageProcessor

                return scale_of(AutoImageProcessor.from_pretrained(name).to_dict(), "Hugging Face")
    return None, None, ""
