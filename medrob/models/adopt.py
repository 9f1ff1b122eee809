"""Which array of a file belongs where in a network: by names, and the head by its shape."""

import itertools
import re
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medrob.models.outputs import KNOWN
from medrob.models.told import CALIBRATES
from medrob.models.weights import Weights

COUNTER = "num_batches_tracked"  # of batch norms, in no old file
MOST_NAMED = 12  # arrays of a part of a file that is left out whole: an optimizer holds hundreds
USUAL = {"torch.float32"}
NEEDLESS = re.compile(KNOWN["names"]["needless"], re.IGNORECASE)


def fit(network: nn.Module, weights: Weights) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Which array of a file belongs to which of a network's: by name, behind any prefix.

    Returns:
        ``{name in the network: name in the file}`` under the one prefix that fits most names; and, of what no
        training leaves, ``{name: name in the file}`` of what else stands under it, and beside it.

    Raises:
        ValueError: several prefixes fit alike and their values differ.
    """
    wanted, arrays = network.state_dict(keep_vars=True), weights.arrays
    above = (name.split(".")[:-1] for name in wanted)
    levels = itertools.takewhile(lambda level: len({*level}) == 1, zip(*above, strict=False))
    top = "".join(f"{level[0]}." for level in levels)
    # As names usually are, on both sides, unless two of the network would become one.
    rules = KNOWN["names"]["renamed"] if len({*map(_usual, wanted)}) == len(wanted) else []
    theirs = {name: name for name in arrays}
    for name in arrays:  # a name as it is goes before one that would become it
        if (usual := _usual(name, rules)) not in theirs:
            theirs[usual] = theirs.pop(name)
    cuts = [(k, cut.end()) for k in theirs if not k.endswith(COUNTER) for cut in re.finditer(r"^|\.", k)]
    ours = {_usual(name.removeprefix(top), rules): name for name in wanted}
    starts = Counter(name[:cut] for name, cut in cuts if name[cut:] in ours)
    start, most = next(iter(starts.most_common(1)), ("", 0))
    if most <= len(wanted) / 4:
        return {}, {name: name for name in arrays}, {}
    alike = {s: {k: theirs[s + k] for k in ours if s + k in theirs} for s, n in starts.items() if n == most}
    taken = alike.pop(start)
    if rivals := [s for s, names in alike.items() if _differ(arrays, names, taken)]:
        places = " and ".join(repr(prefix[:-1]) for prefix in (start, *rivals))
        raise ValueError(
            f"weights={weights.name!r} hold {1 + len(rivals)} networks whose values differ, under {places}; "
            "save the one that you mean in a file of its own, or give as arch a function of your own that "
            "makes an ensemble of them"
        )
    # Second heads, of training only, which the network has switched off.
    parts = [item for m in network.modules() for item in (*vars(m).items(), *m._modules.items())]
    off = tuple(f"{name}." for name, part in parts if part is None and name.lower().startswith("aux"))
    rest, beside = dict[str, str](), dict[str, str]()
    for name, old in theirs.items():
        layer = arrays[old].ndim > 1 and name.endswith("weight")
        needless = old in weights.loose or (NEEDLESS.search(name) and not layer)
        if not needless and old not in taken.values() and not name.removeprefix(start).startswith(off):
            inside = name.startswith(start) and not CALIBRATES.search(name)
            place = rest if inside else beside
            place[name.removeprefix(start)] = old
    tied = {id(wanted[ours[k]]): old for k, old in taken.items()}  # one array of several names
    names = {k: tied[id(array)] for k, array in wanted.items() if id(array) in tied}
    return names | {ours[k]: old for k, old in taken.items()}, rest, beside


def _usual(name: str, rules: Sequence[tuple[str, str]] = KNOWN["names"]["renamed"]) -> str:
    """A name as it usually is: see `renamed` of known.toml."""
    for pattern, usual in rules:
        name = re.sub(pattern, usual, name)
    return name


def _differ(arrays: Mapping[str, Tensor], first: Mapping[str, str], second: Mapping[str, str]) -> bool:
    return any(not torch.equal(arrays[first[k]], arrays[second[k]]) for k in first.keys() & second.keys())


def named(network: nn.Module, weights: Weights | None) -> dict[str, Tensor]:
    """The arrays of a file by the names that they have in a network."""
    return {ours: weights.arrays[old] for ours, old in fit(network, weights)[0].items()} if weights else {}


def input_channels(network: nn.Module, arrays: Mapping[str, Tensor]) -> int:
    """The channels of the images that a network takes with arrays, or by itself; 0 = not told."""
    stem = stem_and_head(network)[0]
    weight = arrays.get(f"{stem}.weight")
    layer: Any = network.get_submodule(stem)
    return (layer.in_channels if weight is None else weight.shape[1]) if stem else 0


def stem_and_head(network: nn.Module) -> tuple[str, str]:
    """The names of the first convolution and of the last layer with weights, which is the head."""
    layers = {name: m for name, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    stem = next((name for name, module in layers.items() if isinstance(module, nn.Conv2d)), "")
    return stem, next(reversed(layers), "")


def adopt(network: nn.Module, weights: Weights, arch: str, *, binary: bool = False) -> tuple[str, str, str]:
    """Give a network weights; a head whose shape fits is taken whatever its name, else it stays new.

    Of a network for two classes (`binary`) a head of one logit z is taken, too: -z/2 and z/2.

    Returns:
        What was taken, what was left out and what is new, in a sentence; the tensors of the head that are not
        those of the file, and the layers of the file that the network does not have ("" = none).
    """
    wanted, arrays = network.state_dict(), weights.arrays
    names, rest, beside = fit(network, weights)
    head = stem_and_head(network)[1]
    new = [k for k in wanted if k.rpartition(".")[0] == head]
    lost = [k for k in wanted if k not in new and not k.endswith(COUNTER) and k not in names]
    lost += [k for k, old in names.items() if k not in new and arrays[old].shape != wanted[k].shape]
    one_layer = len({k.rpartition(".")[0] for k in rest or beside}) == 1
    spare = {k.rpartition(".")[2]: old for k, old in (rest or beside).items()} if one_layer else {}
    ends = {k: spare.get(k.rpartition(".")[2], "") for k in new} if 0 < len(spare) <= len(new) else {}
    own = {k: names[k] for k in new if k in names}
    heads, said = dict[str, Tensor](), list[str]()
    for theirs in (own, ends):
        theirs = {k: old for k, old in theirs.items() if old}
        given = _head({k: arrays[old] for k, old in theirs.items()}, wanted, binary=binary)
        if new and f"{head}.weight" in given and given.keys() == theirs.keys():
            said = [f"{k} is {old} of the file" for k, old in theirs.items() if theirs != own]
            halved = [k for k in given if given[k].shape != arrays[theirs[k]].shape]
            said += ["its one logit z becomes two, -z/2 and z/2"] if halved else []
            zero = {k: torch.zeros_like(wanted[k]) for k in new if k not in given}
            said += [f"{k} is 0, as the file has none" for k in zero]
            names, heads, new = names | theirs, given | zero, []
    extra = [k for k, old in rest.items() if old not in names.values()]
    of_head = all(k.split(".")[0] == head.split(".")[0] for k in extra)
    if lost or (extra and not of_head and not (new and one_layer)) or len(new) == len(wanted):
        raise ValueError(_misfit(weights, arch, wanted, names, lost, extra))
    taken = {k: old for k, old in names.items() if k not in new}
    _check_values(weights, taken, wanted)
    load_arrays(network, {k: arrays[old] for k, old in taken.items()} | heads, strict=False)
    if new:
        there = ", ".join(str([*arrays[old].shape]) for k in new if (old := own.get(k) or ends.get(k)))
        there = there and f" (there {there})"
        said.append(f"head new, as the file has none of its shape: {', '.join(new)}{there}")
    if kinds := {str(v.dtype) for old in taken.values() if (v := arrays[old]).is_floating_point()} - USUAL:
        said.append(f"taken as float32, of {', '.join(kinds)}")
    if left := [k for k in arrays if k not in names.values()]:
        said.append(f"left out: {_named(left, names.values())}{remedy(left)}")
    file = f"{weights.name}{weights.checksum and f' (SHA-256 {weights.checksum[:16]}...)'}"
    start = f"{len(wanted) - len(new) - len(heads.keys() - names.keys())} of {len(wanted)} arrays from {file}"
    unused = [old for old in (*rest.values(), *beside.values()) if old not in names.values()]
    return "; ".join([start, *said]), ", ".join(new), _named(unused, names.values())


def _head(given: dict[str, Tensor], wanted: Mapping[str, Tensor], *, binary: bool) -> dict[str, Tensor]:
    """Of the arrays of a layer those that have the shape of the head, or become it from one logit z."""
    if binary and all(v.shape[:1] == (1,) for v in given.values()):
        given = {k: torch.cat([-v / 2, v / 2]) for k, v in given.items()}
    return {k: v for k, v in given.items() if v.shape == wanted[k].shape}


def _check_values(weights: Weights, taken: Mapping[str, str], wanted: Mapping[str, Tensor]) -> None:
    for ours, theirs in taken.items():
        given, kind, odd = weights.arrays[theirs], wanted[ours].dtype, ""
        dense = given.layout is torch.strided and not given.is_meta
        if not dense or given.is_floating_point() != kind.is_floating_point:
            odd = f"{given.dtype} ({given.layout}, {given.device}), not {kind}"
        elif not torch.isfinite(given).all():
            odd = "NaN or infinite values"
        if odd and not ours.endswith(COUNTER):
            raise ValueError(f"weights={weights.name!r}: {theirs} holds {odd}; take another file")


def _named(left: Sequence[str], used: Iterable[str]) -> str:
    """All names; of a part of the file that has many and none of which is used, its own and their number."""
    parts, inside = [name.partition(".")[0] for name in left], {name.partition(".")[0] for name in used}
    many = {part: n for part, n in Counter(parts).items() if n > MOST_NAMED and part not in inside}
    texts = [f"all {many[p]} of {p}" if p in many else name for p, name in zip(parts, left, strict=True)]
    return ", ".join(dict.fromkeys(texts))


def remedy(names: Iterable[str]) -> str:
    """What it means that arrays of such names are left out, and what to do; "" if nothing is known."""
    patterns = {text: KNOWN["names"][kind] for kind, text in KNOWN["advice"].items()}
    return "".join(f" ({text})" for text, p in patterns.items() if any(re.search(p, name) for name in names))


def _misfit(
    weights: Weights, arch: str, wanted: Mapping[str, Tensor], names: Mapping[str, str],
    lost: Sequence[str], extra: Sequence[str],
) -> str:  # fmt: skip
    """Why weights are not those of a network: the first names and shapes that differ."""
    given = {k: list(weights.arrays[old].shape) for k, old in names.items()}
    shown = [f"{k} {given.get(k, 'nothing')} instead of {list(wanted[k].shape)}" for k in lost[:3]]
    shown += [f"{k} unexpected" for k in extra[:3]]
    return (
        f"weights={weights.name!r} do not fit {arch}, whatever stands before the names: {len(lost)} of "
        f"{len(wanted)} tensors are missing or have another shape, {len(extra)} are unexpected: "
        f"{'; '.join(shown)}{remedy(extra)}; they belong to another network, stem or width (of ResNets, "
        "'auto' and 0 take those of a file), to one that was built with other options (give as arch a "
        "function of your own that builds it so), or, if these are positions, to images of another size "
        "(size= of notebook 01)"
    )


def load_arrays(network: nn.Module, arrays: Mapping[str, Tensor], *, strict: bool = True) -> None:
    """Give a network arrays by name, as of its own version: some (MNASNet) take those of none for old."""
    named: Any = OrderedDict(arrays)
    named._metadata = getattr(network.state_dict(), "_metadata", None)
    network.load_state_dict(named, strict=strict)
