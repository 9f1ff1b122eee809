"""Weights from elsewhere: torchvision's by name, safetensors, or a state_dict without pickled code."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from medrob.files import home

WRAPPED = ("state_dict", "model_state_dict", "model", "net")  # keys under which training scripts keep weights
PREFIXES = ("module.", "model.", "backbone.")  # what they put before every name
AUXILIARY = ("aux", "AuxLogits")  # second heads in torchvision's files, which are used in training only
COUNTERS = "num_batches_tracked"  # missing from files of old


@dataclass(frozen=True)
class Weights:
    """Arrays by name, what to call them, and the mean and spread of the images that they were learnt with."""

    arrays: dict[str, Tensor]
    name: str
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None


def read(weights: str | Path, arch: str) -> Weights:
    """Weights by name or from a file; nothing in a file is executed.

    Args:
        weights: a name of torchvision, such as "DEFAULT", "IMAGENET1K_V1" or
            "ResNet18_Weights.IMAGENET1K_V1"; a ``.safetensors``; or a file of `torch.save` with a
            state_dict, alone or under one of the keys `WRAPPED`.
        arch: the network that they are for.

    Raises:
        ValueError: a name that torchvision has not for this network; a file that is damaged, holds
            anything but arrays, or code.
        FileNotFoundError: no such file, or a download that failed.
    """
    if is_name(weights) and not Path(weights).is_file():
        return _torchvision(str(weights), arch)
    file = next((f for f in (Path(weights), home() / weights) if f.is_file()), Path(weights))
    if not file.is_file():
        raise FileNotFoundError(
            f"weights={str(weights)!r}: no such file; give a .safetensors, a state_dict (.pt, .pth) or "
            f"one of torchvision's weights: {', '.join(names(arch)) or f'there are none for {arch}'}"
        )
    if file.suffix == ".safetensors":
        try:
            return Weights(load_file(file), file.name, *_scale(file.with_name("model.json")))
        except (SafetensorError, OSError) as error:
            raise ValueError(f"weights={str(weights)!r} is no whole .safetensors file: {error}") from None
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"weights={str(weights)!r} hold more than arrays (pickled objects, which could run any code) "
            "or are damaged, and are refused; save model.state_dict(), best with safetensors.torch.save_file"
        ) from None
    except Exception as error:  # torch.load raises many kinds on a damaged file
        raise ValueError(f"weights={str(weights)!r} are damaged ({error})") from None
    for key in WRAPPED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found or not all(torch.is_tensor(v) for v in found.values()):
        raise ValueError(
            f"weights={str(weights)!r} hold no state_dict (arrays by name) but {type(found).__name__}"
        )
    return Weights(dict(found), file.name)


def is_name(weights: str | Path) -> bool:
    """Whether it is a name of torchvision's, not a file."""
    return (
        isinstance(weights, str)
        and "/" not in weights
        and "\\" not in weights
        and (weights == weights.upper() or "_Weights." in weights)
    )


def names(arch: str) -> list[str]:
    """The names of torchvision's, or timm's, weights for a network."""
    if arch.startswith("timm:"):
        from medrob.models.timm_models import weight_names  # which imports this module

        return weight_names(arch)
    if arch not in torchvision.models.list_models(module=torchvision.models):
        return []
    return list(torchvision.models.get_model_weights(arch).__members__)


def adopt(backbone: nn.Module, weights: Weights, arch: str) -> str:
    """Give a network weights; a head of other classes stays new, RGB filters are summed for grey images.

    Returns:
        What was taken and what is new, in a sentence.

    Raises:
        ValueError: the weights are of another network; nothing was taken.
    """
    wanted = backbone.state_dict()
    arrays = _plain(weights.arrays, wanted)
    head, stem = _head(backbone), _stem(backbone)
    filters, said = arrays.get(f"{stem}.weight"), []
    colours = filters.shape[1] if filters is not None and filters.ndim == 4 else 0
    if filters is not None and colours == 3 and wanted[f"{stem}.weight"].shape[1] == 1:
        arrays[f"{stem}.weight"] = filters.sum(1, keepdim=True)
        said.append(f"first filters ({stem}) summed over red, green, blue")
    differ = [k for k, v in wanted.items() if k not in arrays or arrays[k].shape != v.shape]
    new = [k for k in differ if k.rpartition(".")[0] == head]
    lost = [k for k in differ if k not in new and not k.endswith(COUNTERS)]
    extra = [k for k in arrays if k not in wanted and not k.startswith(AUXILIARY)]
    extra = [k for k in extra if k.split(".")[0] != head.split(".")[0]]
    if lost or extra or len(new) == len(wanted):
        shown = [f"{k} {_shape(arrays.get(k))} instead of {_shape(wanted[k])}" for k in lost[:3]]
        shown += [f"{k} too many" for k in extra[:3]]
        raise ValueError(
            f"weights={weights.name!r} do not fit {arch}: {len(lost)} of {len(wanted)} arrays differ, "
            f"{len(extra)} are too many ({'; '.join(shown)}); they are of another network, stem or width"
        )
    broken = [k for k in wanted if k in arrays and not torch.isfinite(arrays[k]).all()]
    if broken:
        raise ValueError(
            f"weights={weights.name!r} hold numbers that are not finite, in {', '.join(broken[:3])}"
            f"{', ...' if len(broken) > 3 else ''}: the training that made them went wrong"
        )
    load_arrays(backbone, {k: arrays[k] for k in wanted if k in arrays and k not in new}, strict=False)
    if new:
        rows = {k: v for k, v in arrays.items() if k == f"{head}.weight"}
        before = f"{len(rows[f'{head}.weight'])} outputs" if rows else "none"
        said.append(f"head ({head}) new: {len(wanted[f'{head}.weight'])} outputs instead of {before}")
    unused = [k for k in arrays if k not in wanted]
    if unused:
        said.append(f"left out: {', '.join(unused[:4])}{', ...' if len(unused) > 4 else ''}")
    taken = f"{len(wanted) - len(new)} of {len(wanted)} arrays from {weights.name}"
    return "; ".join([taken, *said])


def load_arrays(network: nn.Module, arrays: Mapping[str, Tensor], *, strict: bool = True) -> None:
    """Give a network arrays by name, as of its own version: some (MNASNet) take those of none for old ones.

    Raises:
        RuntimeError: they do not fit.
    """
    named: Any = OrderedDict(arrays)
    named._metadata = getattr(network.state_dict(), "_metadata", None)
    network.load_state_dict(named, strict=strict)


def sum_stem(backbone: nn.Module) -> None:
    """Let a network of RGB images take grey ones, as if they were repeated in three channels."""
    stem = backbone.get_submodule(_stem(backbone))
    assert isinstance(stem, nn.Conv2d)
    stem.weight = nn.Parameter(stem.weight.detach().sum(1, keepdim=True))
    stem.in_channels = 1


def _torchvision(name: str, arch: str) -> Weights:
    known = names(arch)
    bare = name.rpartition(".")[2]
    group = torchvision.models.get_model_weights(arch) if known else None
    if group is None or bare not in known or name not in (bare, f"{group.__name__}.{bare}"):
        raise ValueError(
            f"weights={name!r} are not torchvision's for {arch}; "
            f"{'give ' + ', '.join(known) if known else 'there are none'}, or the path of a file"
        )
    found = group[bare]
    try:
        arrays = found.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        place = Path(torch.hub.get_dir()) / "checkpoints" / found.url.rpartition("/")[2]
        raise FileNotFoundError(
            f"weights={name!r} could not be downloaded ({error}); download {found.url} on a computer with a "
            f"connection and put it at {place}"
        ) from None
    transform = found.transforms()
    return Weights(arrays, f"{group.__name__}.{bare}", transform.mean, transform.std)


def _scale(description: Path) -> tuple[Any, Any]:
    """Mean and spread from the description beside weights of our own."""
    try:
        config = json.loads(description.read_text())
        return config.get("mean", 0.5), config.get("std", 0.5)
    except (OSError, ValueError, AttributeError):
        return None, None


def _plain(arrays: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The arrays under the names of the network: without what wrappers put before them."""
    for _ in PREFIXES:
        for prefix in PREFIXES:
            if all(k.startswith(prefix) for k in arrays) and not any(k.startswith(prefix) for k in wanted):
                arrays = {k.removeprefix(prefix): v for k, v in arrays.items()}
    return dict(arrays)


def _head(backbone: nn.Module) -> str:
    """The name of the last layer with weights."""
    layers = [k for k, m in backbone.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    return layers[-1] if layers else ""


def _stem(backbone: nn.Module) -> str:
    """The name of the first convolution."""
    return next((k for k, m in backbone.named_modules() if isinstance(m, nn.Conv2d)), "")


def _shape(array: Tensor | None) -> str:
    return "nothing" if array is None else "x".join(map(str, array.shape)) or "a number"
