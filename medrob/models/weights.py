"""Weights from elsewhere: torchvision's and timm's by name, safetensors, or a state_dict without code."""

import difflib
import json
import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

from medrob.files import exists, home

TIMM = "timm:"  # what the names of timm's networks begin with; timm is imported only where one is asked for
WRAPPED = ("state_dict", "model_state_dict", "model", "net")  # keys under which training scripts keep weights
PREFIXES = ("module.", "model.", "backbone.")  # what they put before every name
AUXILIARY = ("aux", "AuxLogits")  # second heads of torchvision's networks, which are used in training only


@dataclass(frozen=True)
class Weights:
    """Arrays by name, what to call them, and the mean and spread of the images that they were learnt with."""

    arrays: dict[str, Tensor]
    name: str
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None


def find(weights: str, arch: str) -> Path | str:
    """The file of weights, here or in the project's folder, or their name without what stands before it."""
    for file in (Path(weights), home() / weights):
        if exists(file) and file.is_file():
            return file
    known: list[str] = []
    if arch.startswith(TIMM):
        known = ["DEFAULT"] if timm_settings(arch).has_weights else []
    elif arch in torchvision.models.list_models(module=torchvision.models):
        group = torchvision.models.get_model_weights(arch)
        known, weights = list(group.__members__), weights.removeprefix(f"{group.__name__}.")
    if weights not in known:
        names = ", ".join(known) or "there are none"
        raise ValueError(
            f"weights={weights!r}: no such file, nor a name such as 'DEFAULT'; the names for {arch}: {names}"
        )
    return weights


def read(weights: str, arch: str, size: int | None) -> Weights:
    """Weights by name, or of a .safetensors or `torch.save` of a state_dict, in which nothing is executed."""
    file = find(weights, arch)
    if isinstance(file, str):
        return _download(file, arch, size)
    try:
        if file.suffix == ".safetensors":
            description = file.with_name("model.json")  # beside weights of our own
            scale = {"mean": None, "std": None}
            if description.is_file():
                scale = {"mean": 0.5, "std": 0.5} | json.loads(description.read_text())
            return Weights(load_file(file), file.name, scale["mean"], scale["std"])
        found = torch.load(file, map_location="cpu", weights_only=True)
        for key in WRAPPED:
            found = found[key] if isinstance(found.get(key), Mapping) else found
        if not found or not all(torch.is_tensor(array) for array in found.values()):
            raise ValueError("no arrays by name")
        return Weights(dict(found), file.name)
    except Exception as error:  # torch.load raises many kinds on a damaged file
        if isinstance(error, pickle.UnpicklingError):  # PyTorch advises to switch its protection off
            error = ValueError("it was not opened")
        raise ValueError(
            f"weights={weights!r} are damaged, or no state_dict, or hold more than arrays (pickled objects, "
            f"which could run any code); save model.state_dict(), best with safetensors ({error})"
        ) from None


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
            scale = timm_settings(arch)
            what, place = f"{scale.hf_hub_id} from huggingface.co", "give the path of the file"
            network = timm_network(arch, size, pretrained=True)
        else:
            member = torchvision.models.get_model_weights(arch)[name]
            what, place = member.url, f"put it into {torch.hub.get_dir()}/checkpoints"
            scale = member.transforms()
            network = torchvision.models.get_model(arch, weights=member, progress=False)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"weights={name!r} of {arch} could not be downloaded ({error}); download {what} on a computer "
            f"with a connection and {place}"
        ) from None
    return Weights(network.state_dict(), f"{arch} {name}", scale.mean, scale.std)


def adopt(backbone: nn.Module, weights: Weights, arch: str) -> str:
    """Give a network weights; a head of other classes stays new, RGB filters are summed for grey images.

    Returns:
        What was taken and what is new, in a sentence.
    """
    wanted, arrays = backbone.state_dict(), dict(weights.arrays)
    for prefix in PREFIXES * len(PREFIXES):  # in any order
        if all(k.startswith(prefix) for k in arrays) and not any(k.startswith(prefix) for k in wanted):
            arrays = {k.removeprefix(prefix): v for k, v in arrays.items()}
    layers = {name: m for name, m in backbone.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    head, said = next(reversed(layers), ""), []
    stem = next((name for name, module in layers.items() if isinstance(module, nn.Conv2d)), "")
    filters = f"{stem}.weight"
    if filters in arrays and arrays[filters].shape[1:2] == (3,) and wanted[filters].shape[1] == 1:
        arrays[filters] = arrays[filters].sum(1, keepdim=True)
        said.append(f"first filters ({stem}) summed over red, green, blue")
    differ = [k for k, v in wanted.items() if k not in arrays or arrays[k].shape != v.shape]
    differ = [k for k in differ if not k.endswith("num_batches_tracked")]  # which no old file has
    if bad := [k for k, v in arrays.items() if v.is_floating_point() and not v.isfinite().all()]:
        raise ValueError(
            f"weights={weights.name!r}: {bad[0]} holds NaN or infinite values; take another file"
        )
    new = [k for k in differ if k.rpartition(".")[0] == head]
    lost = [k for k in differ if k not in new]
    unused = [k for k in arrays if k not in wanted]
    extra = [k for k in unused if not k.startswith(AUXILIARY) and k.split(".")[0] != head.split(".")[0]]
    if lost or extra or len(new) == len(wanted):
        given = {k: list(v.shape) for k, v in arrays.items()}
        shown = [f"{k} {given.get(k, 'nothing')} instead of {list(wanted[k].shape)}" for k in lost[:3]]
        shown += [f"{k} unexpected" for k in extra[:3]]
        raise ValueError(
            f"weights={weights.name!r} do not fit {arch}: {len(lost)} of {len(wanted)} tensors are missing "
            f"or have another shape, {len(extra)} are unexpected: {'; '.join(shown)}; they belong to another "
            "network, stem or width"
        )
    load_arrays(backbone, {k: arrays[k] for k in wanted if k in arrays and k not in new}, strict=False)
    if new:
        before, now = (len(held.get(f"{head}.weight", ())) for held in (arrays, wanted))
        said.append(f"head ({head}) new: {now} outputs instead of {before or 'no'} outputs")
    if unused:
        said.append(f"left out: {', '.join(unused[:4])}{', ...' if len(unused) > 4 else ''}")
    taken = f"{len(wanted) - len(new)} of {len(wanted)} arrays from {weights.name}"
    return "; ".join([taken, *said])


def load_arrays(network: nn.Module, arrays: Mapping[str, Tensor], *, strict: bool = True) -> None:
    """Give a network arrays by name, as of its own version: some (MNASNet) take those of none for old."""
    named: Any = OrderedDict(arrays)
    named._metadata = getattr(network.state_dict(), "_metadata", None)
    network.load_state_dict(named, strict=strict)
