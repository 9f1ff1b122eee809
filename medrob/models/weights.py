"""Weights from elsewhere: torchvision's and timm's by name, or arrays in a file, of which no code is run."""

import argparse
import pickle
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from safetensors import safe_open
from torch import Tensor, nn

from medrob.files import checksum, exists, home
from medrob.models.told import arrays_in, carried, parsed, scale_and_classes, texts_beside

TIMM = "timm:"  # what the names of timm's networks begin with; timm is imported only where one is asked for
# What training scripts keep beside the arrays, and what only makes numbers, paths or settings.
SCALAR: Any = np.float64(0).__reduce__()[0]  # NumPy 1 had it elsewhere
ARRAY: Any = np.empty(0).__reduce__()[0]
HARMLESS: list[Any] = [argparse.Namespace, Counter, type(Path()), np.dtype, np.ndarray, SCALAR, ARRAY]
HARMLESS += [(SCALAR, "numpy.core.multiarray.scalar"), (ARRAY, "numpy.core.multiarray._reconstruct")]
HARMLESS += {type(np.dtype(kind)) for kind in np.typecodes["AllInteger"] + np.typecodes["Float"] + "?"}
HARMLESS += [type(np.dtype(str)), defaultdict, int, float, str, list, dict, set, frozenset]
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
    source: str = ""  # who says so, or why they are not known
    # What its outputs may be called, in their order, by who says so.
    classes: Mapping[str, list[str]] = field(default_factory=dict)
    order: Sequence[int] = ()  # of its outputs, when medrob wrote it
    loose: frozenset[str] = frozenset()  # arrays that are no layers, such as an optimizer's
    checksum: str = ""  # SHA-256 of the file

    @property
    def filters(self) -> Sequence[int]:
        """The shape of the first filters, which tells stem, width and channels; () if there are none."""
        several = (array.shape for array in self.arrays.values() if array.ndim == 4 and len(array) > 1)
        return next(several, ())  # a single one is no layer, but a mean of the images


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
        content = _unpacked(file) if file.suffix == ".safetensors" else _unpickled(file)
        texts = texts_beside(file)
        arrays, loose = arrays_in(content)
        for name, text in texts.items():  # a number that calibrates
            numbers, settings = arrays_in({Path(name).stem: text})
            arrays, loose = arrays | numbers, loose | settings
        if not arrays:
            raise ValueError("no tensors by name")
        told = scale_and_classes({file.name: content, **texts})
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
    return Weights(arrays, file.name, *told, order, loose, checksum(file))


def _unpacked(file: Path) -> dict[str, Any]:
    """The arrays of a .safetensors, and what is told beside them, as text."""
    with safe_open(file, "pt") as content:
        told = {key: parsed(text) for key, text in (content.metadata() or {}).items()}
        return {name: content.get_tensor(name) for name in content.keys()} | {"metadata": told}  # noqa: SIM118


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
