"""What a training needs to go on after it was cut off at any moment."""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from medrob.files import atomic, checksum
from medrob.runs import Run

FRESH: dict[str, Any] = dict(
    epoch=0, best_value=[-float("inf")], best_epoch=0, stale=0, best={}, history=[], finished=False
)


@contextlib.contextmanager
def only_one(run: Run | None) -> Iterator[None]:
    """Keep other processes from training the same run meanwhile; the system frees it if this one dies.

    Raises:
        RuntimeError: another process trains it.
    """
    if run is None:
        yield
        return
    import filelock

    run.folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(run.path(".training.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise RuntimeError(
            f"run {run.name!r} is being trained by another process; wait for it, stop it, or give this one "
            "another run name"
        ) from None
    try:
        yield
    finally:
        lock.release()


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of the weights, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def resume(run: Run | None, arguments: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """The state after the last whole epoch of the same training if it was cut off, else a new one.

    Args:
        run: whose ``checkpoint.pt`` it is; None = always new.
        arguments: all that decides the result; those of the checkpoint must be the same.
        **parts: what has a ``load_state_dict``; they are set back to that state.

    Raises:
        ValueError: a damaged checkpoint.
    """
    fresh = FRESH | {"history": []}
    checkpoint = run.path("checkpoint.pt") if run else None
    if run is None or checkpoint is None or not checkpoint.exists():
        return fresh
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        before = state.pop("arguments")
        ended = state["finished"]
    except Exception as error:  # torch.load raises many kinds on a damaged file
        raise ValueError(
            f"{checkpoint} is damaged ({error}); delete it to train from the beginning"
        ) from None
    done = ended and _recorded(run, checkpoint.stat().st_mtime_ns)
    differ = [name for name in {**before, **arguments} if before.get(name) != arguments.get(name)]
    if differ and not ended:
        told = ", ".join(f"{name} was {before.get(name)!r}" for name in differ)
        warnings.warn(f"{checkpoint}: begun otherwise ({told}), so training begins anew", stacklevel=3)
    if differ or done:  # a training that is finished begins anew
        return fresh
    for name, part in parts.items():
        if held := state.pop(name):  # the scaler of a device without float16 keeps nothing, and takes nothing
            part.load_state_dict(held)
    return state


def _recorded(run: Run, since: int) -> bool:
    """Whether the training went on to its end: its weights were written since then, and are in the record."""
    weights = run.path("model.safetensors")
    made = run.record["stages"].get("02_train", {}).get("files", {}).get(weights.name)
    return weights.exists() and weights.stat().st_mtime_ns >= since and made == checksum(weights)


def keep(run: Run | None, state: dict[str, Any], arguments: dict[str, Any], **parts: Any) -> None:
    """Write ``checkpoint.pt``, whole or not at all."""
    if run is not None:
        held = {name: part.state_dict() for name, part in parts.items()}
        with atomic(run.path("checkpoint.pt")) as file:
            torch.save({**state, **held, "arguments": arguments}, file)
