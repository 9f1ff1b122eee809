"""Networks by name, and networks of one's own: built, written into the run folder and read from it."""

import contextlib
import json
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from medrob.check import resolve
from medrob.config import Train, first_error, scale
from medrob.data import ImageDataset
from medrob.files import atomic
from medrob.models.adopt import USUAL, adopt, input_channels, load_arrays, named, remedy
from medrob.models.backbones import architectures, backbone_for, form_of
from medrob.models.network import RESNETS, Classifier, Normalise
from medrob.models.outputs import check_no_program, evaluating
from medrob.models.passes import as_input, check_logits
from medrob.models.told import alike, carried, class_names, order_of, within
from medrob.models.weights import TIMM, Weights, find, read


def build(
    arch: str = "resnet18",
    *,
    in_channels: int,
    num_classes: int,
    stem: str = "auto",
    width: int = 0,
    size: int | None = None,
    task: str = "multiclass",
    weights: str = "",
    normalise: str | Sequence[Any] = "auto",
    repeated: int = 0,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    order: Sequence[int] = (),
    ending: Sequence[str] | None = None,
    seed: int | None = None,
) -> Classifier:
    """Build a classifier; the arguments that are not listed are parameters of notebook 02.

    Args:
        arch: one of `architectures()`; ``"timm:name"``, one of timm's; or ``"package.module:function"``:
            your own function, which takes ``in_channels`` and ``num_classes`` and gives a module of
            normalised images.
        stem, width: of our ResNets alone. "auto" and 0 = as in the weights; without any, small and 64.
        size: side of the images in pixels, to be refused now if the network cannot take them. Networks of one
            size (ViT, MaxViT, some of timm's) are built for it, else for their usual size.
        repeated: into so many channels grey images are repeated; 0 = 3 where it learnt of RGB images.
        mean, std: what normalises instead of `normalise`, in shares of 255, a number or one for each channel.
        order: which of its outputs is the first, second, ... class; () = as they come.
        ending: see `medrob.models.outputs.ending`; None = found by trying.
        seed: of the random weights; None = PyTorch's present state.

    Raises:
        ValueError: what cannot be built, images it cannot take, weights that do not fit, other outputs.
    """
    if ":" not in arch and arch not in architectures():
        raise ValueError(
            f"arch={arch!r} is unknown; give one of medrob.models.architectures(), timm's "
            f"('timm:resnet10t') or your own ('package.module:function')"
        )
    found = read(weights, arch, form_of(arch, size, None).get("size")) if weights else None
    form = form_of(arch, size, found, stem, width)
    config = dict(arch=arch, in_channels=in_channels, num_classes=num_classes, **form, task=task)
    order = order or (found.order if found and sorted(found.order) == [*range(num_classes)] else ())
    config |= ({"order": [*order]} if order else {}) | ({} if ending is None else {"ending": [*ending]})
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        backbone, taken = backbone_for(arch, repeated or in_channels, num_classes, form, found)
        kinds = {str(p.dtype) for p in backbone.parameters() if p.dtype.is_floating_point} - USUAL
        backbone = backbone.float() if kinds else backbone
        given = (mean, std) if mean is not None else scale(normalise)
        itself = within(backbone, named(backbone, found), taken or in_channels, size or 64)
        model = _classifier(backbone, config, taken, given, found, itself)
        said = _check_outputs(model, size) if size and arch not in RESNETS else []
    said += [f"it computes in float32, although it is of {', '.join(kinds)}"] if kinds else []
    said += ["its outputs are in the order that model.json tells"] if found and order else []
    origin = "the weights that its own code gives" if model.own else "random weights"
    if found is not None:
        name = ", ".join([arch, *(f"{k} {v}" for k, v in form.items())])
        binary = not model.own and num_classes == 2 and task != "multilabel"
        origin, model.new, model.unused = adopt(backbone, found, name, binary=binary)
        # A pooling has no weights: whether it was there, no file tells.
        small = stem == "auto" and form.get("stem") == "small"
        said += ["no pooling is taken to follow its stem, a small one"] if small else []
    model.origin = "; ".join(filter(None, [origin, *said, model.origin]))
    return model


def wrap(
    network: nn.Module,
    *,
    in_channels: int,
    num_classes: int,
    normalise: str | Sequence[Any] = "auto",
    task: str = "multiclass",
) -> Classifier:
    """A network in hand as one that takes grey levels 0-255 and gives logits; see `Classifier.explained`."""
    check_no_program(network)
    arch = f"wrapped:{type(network).__name__}"  # in no module: it can be saved, but is loaded by its own code
    config = dict(arch=arch, in_channels=in_channels, num_classes=num_classes, task=task)
    taken = input_channels(network, {})
    itself = within(network, {}, taken or in_channels, 64)
    return _classifier(network, config, taken, scale(normalise), None, itself)


def _classifier(
    backbone: nn.Module, config: dict[str, Any], taken: int, given: tuple[Any, Any],
    found: Weights | None, itself: tuple[Any, Any],
) -> Classifier:  # fmt: skip
    """A network that takes `taken` channels, behind what normalises: as given, as learnt, or by half."""
    channels, arch = config["in_channels"], config["arch"]
    if channels == 3 and taken == 1:
        whose = f"weights={found.name!r}" if found else f"the weights of {arch}"
        raise ValueError(
            f"{whose} take grey images, and these are RGB; `channels=1` of notebook 01 makes them grey"
        )
    said = list[str]()
    if channels == 1 and taken == 3:
        config, channels = config | {"repeated": 3}, 3
        said = ["grey images are repeated in its 3 channels"]
    chosen = given[0] is not None
    told = (found.mean, found.std, found.source) if found else (None, None, "")
    told = (*itself, "the network itself") if (alone := itself[0] is not None) else told
    told = told if told[2] or chosen else carried(backbone)
    mean, std = (_by_channel(values, channels) for values in (given if chosen else told[:2]))
    if np.min(std) <= 0:
        raise ValueError(f"std={std}: give a spread above zero")
    if alone and not chosen:
        range_ = "0 to 1" if std == 1 else "0 to 255"
        said.append(
            f"it normalises by itself, as its first layer shows, and is given grey levels from {range_}"
        )
    elif told[0] is not None and not chosen:
        said.append(f"grey levels are normalised as {told[2]} says")
    elif told[0] is not None and not alike(given, told[:2]):
        said.append(
            f"grey levels are normalised as asked, but {told[2]} says mean {told[0]}, spread {told[1]}"
        )
    elif not chosen and (found or ":" in arch.removeprefix(TIMM)):
        why = told[2] and f" ({told[2]})"
        said.append(
            f"it is not known how its images were normalised{why}: here mean 0.5, spread 0.5 (normalise=)"
        )
    model = Classifier(backbone, config | {"mean": mean, "std": std}, Normalise(mean, std), "; ".join(said))
    model.names = dict(found.classes) if found else {}
    for module in backbone.modules():
        model.names |= class_names(module, type(module).__name__)
    return model


def _check_outputs(model: Classifier, size: int) -> list[str]:
    """What is made of images and outputs to get logits; refuses a network that does not take or give them."""
    arch, shape = model.config["arch"], (2, model.config["in_channels"], size, size)
    noise = torch.randint(256, shape, generator=torch.Generator("cpu").manual_seed(0), device="cpu")
    images = as_input(model, noise)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]), evaluating(model):
            logits, said = model.explained(images)
    except Exception as error:  # whatever the network's own code raises
        problem = f"cannot be used for images of shape {shape}"
        raise ValueError(f"arch={arch!r} {problem}: {error}") from error
    check_logits(logits, f"arch={arch!r}", len(images), model.config["num_classes"])
    return said


def for_data(data: ImageDataset, choice: Train) -> Classifier:
    """The network that the parameters of notebook 02 choose, for the channels and classes of data."""
    asked = choice.model_dump(include={"arch", "weights", "normalise", "seed"}) | choice.form
    form = dict(in_channels=data.channels, num_classes=data.num_classes, size=data.images.shape[1])
    model = build(**asked, **form, task=data.task)
    if not choice.epochs:
        check_trained(model, data.class_names)
    return model


def check_trained(model: Classifier, classes: Sequence[str]) -> None:
    """Refuse a network whose head is not from the weights, or that lacks layers of these.

    If the network, or the file of its weights, names its outputs under a usual key, these are put in the
    order of the data's classes, which is told; or what they are called is told.
    """
    if model.new:
        raise ValueError(
            f"{model.new} would not be as trained ({model.origin}); give the weights of a network of these "
            "classes, or as arch a function of your own that builds all of it, or train with epochs=1 or more"
        )
    if model.unused:
        raise ValueError(
            f"the weights hold layers that {model.config['arch']} does not have, and with them it is another "
            f"network: {model.unused}{remedy(model.unused.split(', '))}; give as arch a function of "
            "your own, 'package.module:function', that builds all of it, or a file without them, or train "
            "with epochs=1 or more"
        )
    _, unknown, how = model.origin.partition("it is not known how")
    if unknown:
        warnings.warn(f"{unknown}{how}; give normalise= as it was trained", stacklevel=3)
    order, said = order_of(model.names, classes)
    for text in said:
        warnings.warn(text, stacklevel=3)
    if order:
        model.config["order"] = order


def check_choice(choice: Train, size: int = 0, layers: Sequence[str] = ()) -> None:
    """Refuse what notebook 02 could not build, and layers that 04 would not find in it.

    No memory is taken for its weights; what a file of weights holds is not looked at, and of code of one's
    own only whether it is there.
    """
    if choice.weights:
        find(choice.weights, choice.arch)
    if ":" in choice.arch.removeprefix(TIMM):
        try:
            resolve(choice.arch)
        except ValueError as error:
            raise ValueError(f"arch={error}") from None
        return
    modules = _modules(choice.arch, choice.form["stem"], choice.form["width"], size or None)
    if modules and (unknown := [layer for layer in layers if layer not in modules]):
        last = ", ".join(modules[-12:])
        raise ValueError(f"layers={unknown!r}: the network has no such layer; it has {last}")


@cache
def _modules(arch: str, stem: str, width: int, size: int | None) -> list[str]:
    """The names of the modules of a network; none if it needs real memory (RegNet): 02 will tell."""
    with contextlib.suppress(NotImplementedError), torch.device("meta"):
        model = build(arch, in_channels=1, num_classes=2, size=size, stem=stem, width=width)
        return [name for name, _ in model.backbone.named_modules() if name]
    return []


def save(model: Classifier, folder: Path) -> None:
    """Write ``model.safetensors`` and ``model.json`` (how to build it) into a folder, whole or not at all."""
    with atomic(folder / "model.safetensors") as file:
        # Copies: weights that two layers share are written twice.
        save_file({k: v.clone().contiguous() for k, v in model.state_dict().items()}, file)
        file.chmod(0o644)  # readable like the files beside it
    with atomic(folder / "model.json") as file:
        file.write_text(json.dumps(model.config, indent=1) + "\n")


def load(folder: Path) -> Classifier:
    """The network that `save` wrote, in eval mode, on the CPU.

    Raises:
        FileNotFoundError, ValueError: the files are missing, damaged or do not fit each other.
    """
    description, file = folder / "model.json", folder / "model.safetensors"
    for path in (description, file):
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing: the notebook 02_train trains a network and writes it there"
            )
    try:
        arguments = description.read_bytes()
        model = TypeAdapter(build).validate_json(arguments, strict=True)  # type: ignore[arg-type]
        load_arrays(model, load_file(file))
    except (ValidationError, TypeError, ArithmeticError, SafetensorError, RuntimeError) as error:
        problem = first_error(error).partition("\n")[0]
        said = f"are damaged or do not fit each other ({problem}); train again"
        raise ValueError(f"{description} and {file.name} {said}") from None
    return model.eval()


def _by_channel(values: Any, channels: int) -> Any:
    """What normalises: a number, or a list of one for each channel; of grey images their mean."""
    numbers: list[float] = []
    with contextlib.suppress(TypeError, ValueError):
        numbers = np.ravel(np.asarray(0.5 if values is None else values, float)).tolist()
    if not numbers or not np.isfinite(numbers).all() or channels > 1 < len(numbers) != channels:
        raise ValueError(f"normalise: {values!r}; give finite numbers, one or one for each channel")
    return numbers if len(numbers) == channels > 1 else sum(numbers) / len(numbers)
