"""Weights from elsewhere: torchvision's and timm's by name, or arrays in a file, of which no code is run."""

import argparse
import contextlib
import datetime
import difflib
import itertools
import json
import pickle
import re
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

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
MOST_MAPPINGS = 100_000  # of optimisers, too: one for each array
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
    part: str | None = None  # of a file with several networks, the one chosen; "" = without a prefix

    def chosen(self, prefix: str) -> bool:
        """Whether arrays with this before their names may be taken."""
        return self.part is None or (f".{prefix}".endswith(f".{self.part}.") if self.part else not prefix)


def find(weights: str, arch: str) -> tuple[Path | str, str | None]:
    """The file of weights, here or in the project's folder, and the part after a colon, None without one.

    Or their name without what stands before it.
    """
    for path, colon, part in ((weights, "", ""), weights.rpartition(":")):
        for file in (Path(path), home() / path):
            if path and exists(file) and file.is_file():
                return file, part if colon else None
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
    return weights, None


def _published(arch: str) -> Any:
    """torchvision's weights of a network, None if there are none."""
    known = torchvision.models.list_models(module=torchvision.models)
    return torchvision.models.get_model_weights(arch) if arch in known else None


def read(weights: str, arch: str, size: int | None) -> Weights:
    """Weights by name, or of a .safetensors or `torch.save` of a state_dict, in which nothing is executed."""
    file, part = find(weights, arch)
    if isinstance(file, str):
        return _download(file, arch, size)
    if kind := _program(file):
        raise ValueError(f"weights={weights!r} are {kind}, whose layers cannot be looked into; {SAVE}")
    try:
        with file.open("rb") as opened:  # of safetensors: the length of a description in JSON, and this
            json_follows = opened.read(9)[8:] == b"{"
        if file.suffix == ".safetensors" or json_follows:
            arrays = load_file(file)
        else:
            if zipfile.is_zipfile(file):  # PyTorch does not compare the checksums
                with zipfile.ZipFile(file) as archive:
                    if altered := archive.testzip():
                        raise ValueError(f"the checksum of {altered} differs")
            with torch.serialization.safe_globals(HARMLESS):
                content = torch.load(file, map_location="cpu", weights_only=True)
            if isinstance(content, Mapping) and content.keys() == {"state", "param_groups"}:
                raise ValueError("it holds an optimiser's state and no weights")
            arrays = dict(_flat(content if isinstance(content, Mapping) else {}))
            if not arrays:
                raise ValueError("no arrays by name")
        for name, a in arrays.items():
            dense = a.layout is torch.strided and not a.is_nested
            if not dense or a.is_quantized or a.is_meta or a.is_complex():
                raise ValueError(f"{name} is sparse, quantised, complex or without values")
        return Weights(arrays, file.name, *_scale_beside(file, arch), checksum(file), part)
    except Exception as error:  # torch.load raises many kinds on a damaged file
        if isinstance(error, pickle.UnpicklingError):  # PyTorch advises to switch its protection off
            objects = ", ".join(_objects(file)) or "objects"
            error = ValueError(f"it holds {objects} and was not opened")
        raise ValueError(
            f"weights={weights!r} are damaged, or no state_dict, or hold more than arrays (pickled objects, "
            f"which could run any code): {error}; {SAVE}"
        ) from None


def _program(file: Path) -> str:
    """What a file is that holds a program instead of arrays by name; "" = none that is known."""
    names = {file.suffix}
    with contextlib.suppress(zipfile.BadZipFile, OSError), zipfile.ZipFile(file) as archive:
        names = {Path(name).name for name in archive.namelist()}
    return next((kind for mark, kind in KNOWN["programs"].items() if mark in names), "")


def _flat(content: Any, start: str = "", met: Iterator[int] | None = None) -> Iterator[tuple[str, Tensor]]:
    """The arrays in nested mappings, by the whole way to them: ``state_dict.model.conv1.weight``."""
    met = met or itertools.count(1)
    if next(met) > MOST_MAPPINGS:  # one that holds another twice, and so on, is a small file without an end
        raise ValueError(f"it holds more than {MOST_MAPPINGS:,} mappings within each other")
    for key, value in content.items():
        if torch.is_tensor(value):
            yield f"{start}{key}", value
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{start}{key}.", met)


def _objects(file: Path) -> list[str]:
    """The classes of objects that a pickle would make, as far as they can be told without opening it."""
    try:
        with torch.serialization.safe_globals(HARMLESS):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))[:4]
    except Exception:  # an old or a damaged file
        return []


def _scale_beside(file: Path, arch: str) -> tuple[Any, Any, str]:
    """Mean and spread that the weights of a file were learnt with, by what lies beside it or by its name."""
    for name, start in KNOWN["beside"].items():
        if (description := file.with_name(name)).is_file():
            found = json.loads(description.read_text())
            if name == "model.json":
                found = {"mean": 0.5, "std": 0.5} | found
            found = found.get("pretrained_cfg", found)
            if f"{start}mean" in found:
                scale = (found[f"{start}mean"], found[f"{start}std"])
                return *(scale if found.get("do_normalize", True) else (0.0, 1.0)), name
    for member in _published(arch) or ():
        if file.name == Path(member.url).name:  # downloaded by hand
            return member.transforms().mean, member.transforms().std, "torchvision"
    return None, None, ""


def timm_settings(arch: str) -> Any:
    """What timm says of a network: its size, weights, and what its images were normalised by."""
    import timm

    name = arch.removeprefix(TIMM)
    if not timm.is_model(name):
        near = "; like it: timm:".join(["", *difflib.get_close_matches(name, timm.list_models(), 1)])
        raise ValueError(f"arch={arch!r} is unknown to timm; timm.list_models() lists its networks{near}")
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
            source, scale = "timm", timm_settings(arch)
            what, place = f"{scale.hf_hub_id} from huggingface.co", "give the path of the file"
            network = timm_network(arch, size, pretrained=True)
        else:
            member = _published(arch)[name]
            what, place = member.url, f"put it into {torch.hub.get_dir()}/checkpoints"
            source, scale = "torchvision", member.transforms()
            network = torchvision.models.get_model(arch, weights=member, progress=False)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"weights={name!r} of {arch} could not be downloaded ({error}); download {what} on a computer "
            f"with a connection and {place}"
        ) from None
    return Weights(network.state_dict(), f"{arch} {name}", scale.mean, scale.std, source)


def fit(network: nn.Module, weights: Weights) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Which array of a file belongs to which of a network's, by name, with any prefix.

    Returns:
        ``{name in the network: name in the file}`` under the one prefix that fits most names; and ``{name:
        name in the file}`` of what else stands under that prefix, first without it, and what stands beside.

    Raises:
        ValueError: several prefixes fit alike and their values differ, or the chosen one is not there.
    """
    wanted, arrays = list(network.state_dict()), weights.arrays
    top = f"{wanted[0].split('.')[0]}."
    tops = ["", top] if all(name.startswith(top) for name in wanted) else [""]
    best, beside, most, rivals = dict[str, str](), dict[str, str](), 0, list[str]()
    rest = {name: name for name in arrays}
    for top, rules in itertools.product(tops, ((), KNOWN["names"]["renamed"])):
        known = {name.removeprefix(top): name for name in wanted}
        names = {name: name for name in arrays}
        for pattern, usual in rules:
            names = {re.sub(pattern, usual, name): old for name, old in names.items()}
        counted = (name for name in names if not name.endswith("num_batches_tracked"))  # in no old file
        cuts = ((name, cut.end()) for name in counted for cut in re.finditer(r"^|\.", name))
        starts = Counter(name[:cut] for name, cut in cuts if name[cut:] in known)
        start, count = next((s for s in starts.most_common() if weights.chosen(s[0])), ("", 0))
        if count > most:
            alike = [s for s, n in starts.items() if n == count and s != start]
            pairs = {s: [(names.get(s + k), names.get(start + k)) for k in known] for s in alike}
            others = (s for s in alike if weights.chosen(s) and any(_differ(arrays, *p) for p in pairs[s]))
            most, rivals = count, [start, *others] if count > len(wanted) / 4 else []
            above = start[: start[:-1].rfind(".") + 1]
            around = {name: old for name, old in names.items() if name.startswith(above)}
            beside = {n.removeprefix(above): old for n, old in around.items() if not n.startswith(start)}
            inner = tuple(s for s in alike if len(s) > len(start))
            under = ((n, old) for n, old in names.items() if n.startswith(start) and not n.startswith(inner))
            below = {name.removeprefix(start): old for name, old in under}
            best = {known[name]: old for name, old in below.items() if name in known}
            rest = {name: old for name, old in below.items() if name not in known}
    if len(rivals) > 1:
        choices = " or ".join(repr(f"{weights.name}:{prefix[:-1]}") for prefix in rivals)
        raise ValueError(
            f"weights={weights.name!r} hold {len(rivals)} networks whose values differ; choose: {choices}"
        )
    if weights.part is not None and not best:
        raise ValueError(f"weights={weights.name!r} hold no such network under {weights.part!r}")
    return best, rest, beside


def _differ(arrays: Mapping[str, Tensor], first: str | None, second: str | None) -> bool:
    return bool(first and second) and not torch.equal(arrays[str(first)], arrays[str(second)])


def input_channels(network: nn.Module, weights: Weights | None) -> int:
    """The channels of the images that a network's weights, or else the network, take; 0 = not told."""
    stem = _stem_and_head(network)[0]
    if not weights:
        layer: Any = network.get_submodule(stem) if stem else None
        return layer.in_channels if layer else 0
    name = fit(network, weights)[0].get(f"{stem}.weight", "")
    return weights.arrays[name].shape[1] if name else 0


def _stem_and_head(network: nn.Module) -> tuple[str, str]:
    """The names of the first convolution and of the last layer with weights, which is the head."""
    layers = {name: m for name, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    stem = next((name for name, module in layers.items() if isinstance(module, nn.Conv2d)), "")
    return stem, next(reversed(layers), "")


def adopt(network: nn.Module, weights: Weights, arch: str, *, binary: bool = False) -> tuple[str, str]:
    """Give a network weights; a head whose shape fits is taken whatever its name, else it stays new.

    Of a network for two classes (`binary`) a head of one logit z is taken, too: -z/2 and z/2.

    Returns:
        What was taken, what was left out and what is new, in a sentence; and the tensors of the head that are
        not those of the file ("" = none).
    """
    wanted, arrays = network.state_dict(), weights.arrays
    names, rest, beside = fit(network, weights)
    head = _stem_and_head(network)[1]
    lost = [k for k, v in wanted.items() if k not in names or arrays[names[k]].shape != v.shape]
    lost = [k for k in lost if k in names or not k.endswith("num_batches_tracked")]  # in no old file
    new = [k for k in lost if k.rpartition(".")[0] == head]
    extra = [k for k in rest if not re.search(NEEDLESS, k)]
    spare = {k: rest[k] for k in extra} or {k: v for k, v in beside.items() if not re.search(NEEDLESS, k)}
    one_layer = len({k.rpartition(".")[0] for k in spare}) == 1
    ends = {k.rpartition(".")[2]: v for k, v in spare.items()} if one_layer and len(spare) == len(new) else {}
    said, heads = list[str](), dict[str, Tensor]()
    for theirs in ({k: ends.get(k.rpartition(".")[2], "") for k in new}, {k: names.get(k, "") for k in new}):
        given = {k: arrays[v] for k, v in theirs.items() if v}
        if one_logit := binary and bool(given) and all(v.shape[:1] == (1,) for v in given.values()):
            given = {k: torch.cat([-v / 2, v / 2]) for k, v in given.items()}
        if new and new == lost and all(k in given and given[k].shape == wanted[k].shape for k in new):
            said = [f"{k} is {v} of the file" for k, v in theirs.items() if names.get(k) != v]
            said += ["its one logit z becomes two, -z/2 and z/2"] if one_logit else []
            extra = [k for k in extra if rest[k] not in theirs.values()]
            names, heads, new, lost = names | theirs, given, [], []
    of_head = all(k.split(".")[0] == head.split(".")[0] for k in extra)
    if len(lost) > len(new) or (extra and not of_head and not (new and one_layer)) or len(new) == len(wanted):
        raise ValueError(_misfit(weights, arch, wanted, names, [k for k in lost if k not in new], extra))
    taken = {k: v for k, v in names.items() if k not in new}
    _check_values(weights, taken, wanted)
    load_arrays(network, {k: arrays[v] for k, v in taken.items()} | heads, strict=False)
    if new:
        old = [names[k] for k in new if k in names] or [rest[k] for k in extra if one_layer]
        before = f"{len(arrays[old[0]])} outputs" if old else "other layers" if extra else "no outputs"
        said.append(
            f"head ({head}) new: {len(wanted[new[0]])} outputs instead of {before} ({', '.join(new)})"
        )
    if left := [k for k in arrays if k not in names.values()]:
        said.append(f"left out: {_grouped(left, names.values())}")
    file = f"{weights.name}{weights.checksum and f' (SHA-256 {weights.checksum[:16]}...)'}"
    start = f"{len(wanted) - len(new)} of {len(wanted)} arrays from {file}"
    return "; ".join([start, *said]), ", ".join(new or extra)


def _check_values(weights: Weights, taken: Mapping[str, str], wanted: Mapping[str, Tensor]) -> None:
    for ours, theirs in taken.items():
        given, kind, odd = weights.arrays[theirs], wanted[ours].dtype, ""
        if not torch.isfinite(given).all():
            odd = "NaN or infinite values"
        elif given.is_floating_point() != kind.is_floating_point:
            odd = f"{given.dtype}, not {kind}"
        elif ours.endswith("running_var") and (given < 0).any():
            odd = "negative variances"
        if odd and not ours.endswith("num_batches_tracked"):
            raise ValueError(f"weights={weights.name!r}: {theirs} holds {odd}; take another file")


def _grouped(names: Sequence[str], used: Collection[str]) -> str:
    """Names; of parts of a file of which none is used, if they have many, the part and how many there are."""
    above = {name: [*itertools.accumulate(name.split("."), "{}.{}".format)] for name in [*names, *used]}
    needed = {part for name in used for part in above[name]}
    part = {name: next((p for p in above[name] if p not in needed), name) for name in names}
    sizes = Counter(part.values())
    return ", ".join(
        dict.fromkeys(f"{p} ({sizes[p]} arrays)" if sizes[p] > 6 else n for n, p in part.items())
    )


def _misfit(
    weights: Weights, arch: str, wanted: Mapping[str, Tensor], names: Mapping[str, str],
    lost: Sequence[str], extra: Sequence[str],
) -> str:  # fmt: skip
    """Why weights are not those of a network: the first names and shapes that differ."""
    given = {k: list(weights.arrays[v].shape) for k, v in names.items()}
    shown = [f"{k} {given.get(k, 'nothing')} instead of {list(wanted[k].shape)}" for k in lost[:3]]
    shown += [f"{k} unexpected" for k in extra[:3]]
    advice = "they belong to another network, stem or width (of ResNets, 'auto' and 0 take those of a file)"
    if lost and all("pos" in k for k in lost):
        advice = "its positions are those of images of another size: give notebook 01 the size= it learnt"
    return (
        f"weights={weights.name!r} do not fit {arch}, whatever stands before the names: {len(lost)} of "
        f"{len(wanted)} tensors are missing or have another shape, {len(extra)} are unexpected: "
        f"{'; '.join(shown)}; {advice}"
    )


def load_arrays(network: nn.Module, arrays: Mapping[str, Tensor], *, strict: bool = True) -> None:
    """Give a network arrays by name, as of its own version: some (MNASNet) take those of none for old."""
    named: Any = OrderedDict(arrays)
    named._metadata = getattr(network.state_dict(), "_metadata", None)
    network.load_state_dict(named, strict=strict)
