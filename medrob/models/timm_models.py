"""Networks of timm (PyTorch Image Models), named "timm:...": timm is imported only where one is asked for."""

from __future__ import annotations

import difflib
from typing import Any

from torch import nn

from medrob.models.weights import Weights

PREFIX = "timm:"


def is_timm(arch: str) -> bool:
    """Whether a network is named as one of timm's."""
    return arch.startswith(PREFIX)


def weight_names(arch: str) -> list[str]:
    """What `weights` may be beside a file: "DEFAULT", if timm has weights for the network."""
    return ["DEFAULT"] if _settings(arch).has_weights else []


def form(arch: str, size: int | None) -> dict[str, int]:
    """The side of the images in pixels, of networks that are built for one (ViT, Swin); else nothing.

    Raises:
        ValueError: timm has no such network.
    """
    settings = _settings(arch)
    return {"size": size or settings.input_size[-1]} if settings.fixed_input_size else {}


def network(arch: str, in_channels: int, num_classes: int, size: int | None = None) -> nn.Module:
    """The network with random weights; `size` as `form` gives it.

    Raises:
        ValueError: it cannot be built for these images.
    """
    import timm

    built_for: dict[str, Any] = {} if size is None else {"img_size": size}
    try:
        return timm.create_model(
            arch.removeprefix(PREFIX), in_chans=in_channels, num_classes=num_classes, **built_for
        )
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        pixels = f", {size} pixels" if size else ""
        raise ValueError(
            f"arch={arch!r} cannot be built ({in_channels} channels{pixels}): {error}"
        ) from error


def pretrained(arch: str, weights: str, size: int | None = None) -> Weights:
    """timm's weights for the network, downloaded once.

    Raises:
        ValueError: another name than "DEFAULT", or a network without weights.
        FileNotFoundError: they could not be downloaded.
    """
    import timm

    settings = _settings(arch)
    if weights not in weight_names(arch):
        known = "give DEFAULT" if settings.has_weights else "there are none"
        raise ValueError(f"weights={weights!r} are not timm's for {arch}; {known}, or the path of a file")
    built_for: dict[str, Any] = {} if size is None else {"img_size": size}
    try:
        whole = timm.create_model(arch.removeprefix(PREFIX), pretrained=True, **built_for)
    except (OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"weights={weights!r} of {arch} could not be downloaded ({error}); download {settings.hf_hub_id} "
            "from huggingface.co on a computer with a connection, and give the path of the file"
        ) from None
    return Weights(whole.state_dict(), f"{arch} {weights}", settings.mean, settings.std)


def _settings(arch: str) -> Any:
    """What timm says of a network: its size, weights, and what its images were normalised by."""
    import timm

    name = arch.removeprefix(PREFIX)
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), 1)
        hint = f"; like it: {PREFIX}{near[0]}" if near else ""
        raise ValueError(f"arch={arch!r} is unknown to timm; timm.list_models() lists its networks{hint}")
    settings = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return settings or timm.models.PretrainedCfg()
