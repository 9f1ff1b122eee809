"""What a training needs to go on after it was cut off at any moment."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medrob.files import atomic

FILE = "checkpoint.pt"


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of the weights, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def resume(folder: Path | None, arguments: dict[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a training after its last whole epoch, or that of a new one.

    Args:
        folder: where its `FILE` lies; None = a new training.
        arguments: all that decides the result. With others than the checkpoint's, training begins anew.
        parts: what has a ``load_state_dict``, by name; they are set back to that state.

    Raises:
        ValueError: a damaged checkpoint.
    """
    fresh = dict(epoch=0, best_value=[-float("inf")], stale=0, best={}, history=[], finished=False)
    if folder is None or not (file := folder / FILE).exists():
        return fresh
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        before = state.pop("arguments")
    except Exception as error:  # torch.load raises many kinds on a damaged file
        raise ValueError(f"{file} is damaged ({error}); delete it to train from the beginning") from None
    differ = [name for name in {**before, **arguments} if before.get(name) != arguments.get(name)]
    if differ:
        was = ", ".join(f"{name} was {before.get(name)!r}" for name in differ)
        warnings.warn(
            f"{file} is of a training with other settings ({was}); training starts again", stacklevel=3
        )
        return fresh
    for name, part in parts.items():
        if held := state.pop(name):  # the scaler of a device without float16 keeps nothing, and takes nothing
            part.load_state_dict(held)
    return state


def keep(
    folder: Path | None, state: dict[str, Any], arguments: dict[str, Any], parts: Mapping[str, Any]
) -> None:
    """Write the checkpoint, whole or not at all."""
    if folder is not None:
        held = {name: part.state_dict() for name, part in parts.items()}
        with atomic(folder / FILE) as file:
            torch.save({**state, **held, "arguments": arguments}, file)
