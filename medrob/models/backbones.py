"""Networks by name, and those of one's own, without what normalises: built, and found by their arrays."""

import contextlib
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from medrob.check import resolve
from medrob.models.adopt import input_channels, named
from medrob.models.network import RESNETS, DenseNet, ResNet
from medrob.models.outputs import check_no_program, evaluating
from medrob.models.passes import as_input
from medrob.models.weights import TIMM, Weights, timm_network, timm_settings


def architectures() -> tuple[str, ...]:
    """The networks that `build` makes: our own ResNets first, then torchvision's classifiers."""
    others = torchvision.models.list_models(module=torchvision.models)
    return tuple(dict.fromkeys([*RESNETS, *others]))


def form_of(
    arch: str, size: int | None, found: Weights | None, stem: str = "auto", width: int = 0
) -> dict[str, Any]:
    """What else decides a network: the images' side; stem and width, else as the first filters tell."""
    if arch in RESNETS:
        filters = tuple(found.filters) if found else ()
        usual = "torchvision" if filters[2:] == (7, 7) else "small"
        return dict(stem=usual if stem == "auto" else stem, width=width or (filters[0] if filters else 64))
    if arch.startswith(("vit_", "maxvit_")):
        return {"size": size or 224}
    if arch.startswith(TIMM) and (settings := timm_settings(arch)).fixed_input_size:
        return {"size": size or settings.input_size[-1]}
    return {"size": size} if ":" in arch and not arch.startswith(TIMM) and size else {}


def backbone_for(
    arch: str, channels: int, num_classes: int, form: dict[str, Any], found: Weights | None
) -> tuple[nn.Module, int]:
    """The network without the normalisation, and the channels of the images that it takes, 0 = not told.

    Where grey images come, and it or its weights take RGB ones, it is that of RGB images. What code of one's
    own takes is found by trying.
    """
    own, size, problem = ":" in arch.removeprefix(TIMM), form.get("size", 0), None
    for built in dict.fromkeys((channels, 3) if own else (channels,)):
        try:
            backbone = _backbone(arch, built, num_classes, form)
            break
        except ValueError as error:
            problem = problem or error
    else:
        raise problem or AssertionError
    taken = input_channels(backbone, named(backbone, found))
    if found and taken == 3 and channels == 1:
        backbone = _backbone(arch, 3, num_classes, form)
    for tried in dict.fromkeys((channels, 3)) if own and size else ():
        with contextlib.suppress(Exception), torch.no_grad(), torch.random.fork_rng(devices=[]):
            with evaluating(backbone):
                backbone(as_input(backbone, torch.zeros(2, tried, size, size)))
            return backbone, tried
    return backbone, taken


def _backbone(arch: str, in_channels: int, num_classes: int, form: dict[str, Any]) -> nn.Module:
    """The network without the normalisation, of random weights."""
    if arch in RESNETS:
        return ResNet(arch, in_channels, num_classes, **form)
    size = form.get("size")
    try:
        if arch.startswith(TIMM):
            return timm_network(arch, size, in_chans=in_channels, num_classes=num_classes)
        if ":" in arch:
            own = resolve(arch)(in_channels=in_channels, num_classes=num_classes)
            if not isinstance(own, nn.Module):
                raise ValueError(f"it gave a {type(own).__name__}, and must give a torch.nn.Module")
            check_no_program(own)
            if odd := [k for k, v in own.state_dict().items() if not isinstance(v, Tensor) or v.is_quantized]:
                kind = f"as of quantised layers or get_extra_state: {', '.join(odd)}"
                raise ValueError(f"it gave a network that holds more than arrays of numbers, {kind}")
            return own
        options: dict[str, Any] = {}
        if arch in ("googlenet", "inception_v3"):  # one tensor of logits in training, too
            options = {"aux_logits": False, "init_weights": True}
        elif size:
            options = {"input_size": (size, size)} if arch == "maxvit_t" else {"image_size": size}
        network = torchvision.models.get_model(arch, weights=None, num_classes=num_classes, **options)
    except Exception as error:  # whatever code of one's own raises
        own = ":" in arch.removeprefix(TIMM)
        if isinstance(error, NotImplementedError) and not own:  # it needs real memory
            raise
        pixels = f", {size} pixels" if size else ""
        kind = f"{type(error).__name__}: " if own and not isinstance(error, ValueError) else ""
        called = own and isinstance(error, TypeError)
        advice = "; it is called with in_channels= and num_classes=" if called else ""
        problem = f"cannot be built ({in_channels} channels{pixels}): {kind}{error}{advice}"
        raise ValueError(f"arch={arch!r} {problem}") from error
    if in_channels == 1:  # as if a grey image were repeated in three channels
        stem = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
        stem.weight = nn.Parameter(stem.weight.detach().sum(1, keepdim=True))
        stem.in_channels = 1
    return DenseNet(network) if arch.startswith("densenet") else network
