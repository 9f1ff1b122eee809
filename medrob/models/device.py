"""Where to compute."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def pick_device(device: str | torch.device | None = "auto") -> torch.device:
    """The device by name; "auto" or None = CUDA if there is one, then Apple's MPS, then the CPU.

    Raises:
        ValueError: an unknown device, or one that this machine lacks.
    """
    if device in (None, "auto"):
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        found = torch.empty(0, device=device).device
        reason = "tensors have no values there" if found.type == "meta" else ""
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
    if reason:
        raise ValueError(
            f"device={device!r} cannot be used here ({reason}); give 'auto', 'cpu', 'cuda', 'cuda:0' or 'mps'"
        )
    return found


def memory_order(model: nn.Module, device: torch.device) -> torch.memory_format:
    """The order of images and weights that is fast on a device: channels last.

    Networks of unknown make keep the usual one: many take their maps to lie so (``x.view(len(x), -1)``).
    On MPS it is the usual one: PyTorch's batch norm failed there on channels last (its pull request 188371).
    So it is on the CPU where a convolution of 1x1 pixels with a stride has fewer than 16 input channels, as
    narrow ResNets have in their shortcuts: its backward pass writes outside its memory (PyTorch 2.15, with
    AVX2 below 8 channels, with AVX-512 below 16).
    """
    convs = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    unsafe = any(c.in_channels < 16 and max(c.kernel_size) == 1 < max(c.stride) for c in convs)
    config = getattr(getattr(model, "_orig_mod", model), "config", None)
    unknown = not isinstance(config, Mapping) or ":" in str(config.get("arch", ":"))
    usual = unknown or device.type == "mps" or (device.type == "cpu" and unsafe)
    return torch.contiguous_format if usual else torch.channels_last


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device, its weights in the order that is fast there."""
    return model.to(device, memory_format=memory_order(model, device))  # type: ignore[call-overload]


def ordered(x: Tensor, order: torch.memory_format) -> Tensor:
    """Images (N, C, H, W) in that order, by their strides too, which decide where there is one channel."""
    if order == torch.channels_last or x.ndim != 4:
        return x.to(memory_format=order)
    lie_so = x.is_contiguous() and x.stride(1) == x.shape[2] * x.shape[3]
    return x if lie_so else x.clone(memory_format=order)
