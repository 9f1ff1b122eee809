"""Training: early stopping on the validation split, a checkpoint after every epoch."""

import contextlib
import hashlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from medrob import augment
from medrob.config import Recipe
from medrob.data import ImageDataset
from medrob.files import atomic
from medrob.machine import bar
from medrob.models import Classifier, load_arrays, pick_device, place
from medrob.run import CHECKPOINT
from medrob.training.epoch import Epochs


def fit(
    model: Classifier,
    train: ImageDataset,
    val: ImageDataset,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str = "auto",
    folder: Path | None = None,
) -> pd.DataFrame:
    """Train in place, and end with the weights that did best on the validation images, on the CPU.

    A training that was cut off with the same arguments goes on from ``checkpoint.pt`` in `folder`, exactly as
    an uninterrupted one: every epoch draws its order and its augmentation from (seed, epoch). Delete the file
    once the results are kept. With ``epochs=0`` the network stays as it is.

    Returns:
        The history: a row per epoch and split (``train``: in training mode, augmented; ``val``: eval mode; of
        a network that is not trained, one row of ``val``, epoch 0)
        with epoch, split, loss (nats), accuracy, auc, lr (at the epoch's start), seconds, images_per_second,
        and memory_mb and gpu_memory_mb (10^6 bytes): the largest so far of the process, and of its GPU (0
        without).

    Raises:
        ValueError: a class without images, a loss that is not finite, a damaged checkpoint.
    """
    for data in (train, val) if recipe.epochs else ():
        constant = [name for name, count in data.counts.items() if count in (0, len(data))]
        if constant:
            raise ValueError(
                f"{data.name}, split {data.split!r} ({len(data)} images): no image, or every image, is of "
                f"{', '.join(constant)}: a network cannot learn, nor an AUC judge, such a class; take more "
                "images or leave it out"
            )
    if recipe.augment == augment.EXPANDED:
        train = augment.expanded(train)
    arguments = {
        **{"network": repr(model.config), "weights": _fingerprint(model), "seed": seed},
        **{"train": train.fingerprint, "val": val.fingerprint},
        **recipe.model_dump(),
    }
    place(model, pick_device(device))
    one_epoch = Epochs(model, train, val, recipe, seed)
    if not recipe.epochs:
        history = pd.DataFrame([{"epoch": 0} | one_epoch.check()])
        model.cpu().eval()
        return history
    state = _resume(folder, arguments, one_epoch.parts)
    done = len(state["history"]) // 2
    desc = f"training, resumed after epoch {done}" if done else "training"
    with bar(total=recipe.epochs, initial=done, desc=desc, unit="epoch") as progress:
        while not _finished(state["history"], recipe):
            rows = one_epoch(done := done + 1)
            state["history"] += rows
            if kept_epoch(pd.DataFrame(state["history"]), recipe.monitor) == done:
                state["best"] = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
            progress.update()
            progress.set_postfix(loss=f"{rows[0]['loss']:.3f}", val_auc=f"{rows[1]['auc']:.3f}")
            if folder is not None:
                held = {name: part.state_dict() for name, part in one_epoch.parts.items()}
                torch.save({**state, **held, "arguments": arguments}, content := io.BytesIO())
                with atomic(folder / CHECKPOINT) as file:  # its checksum first
                    file.write_bytes(hashlib.sha256(content.getvalue()).digest() + content.getvalue())
    load_arrays(model, state["best"])
    model.cpu().eval()
    return pd.DataFrame(state["history"])


def kept_epoch(history: pd.DataFrame, monitor: str) -> int:
    """The epoch whose weights `fit` kept: of the highest validation AUC (of equal ones, the lowest loss)."""
    by, ascending = (["auc", "loss"], [False, True]) if monitor == "auc" else (["loss"], [True])
    val = history[history["split"] == "val"]
    return int(val.sort_values(by, ascending=ascending, kind="stable")["epoch"].iloc[0])


def _finished(history: list[dict[str, Any]], recipe: Recipe) -> bool:
    """Whether all epochs are done, or too many came after the best one."""
    done = len(history) // 2
    stale = done - kept_epoch(pd.DataFrame(history), recipe.monitor) if done else 0
    return done >= recipe.epochs or 0 < recipe.patience <= stale


def _resume(folder: Path | None, arguments: dict[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """History and best weights of a training of these arguments so far; of a new one without any."""
    fresh: dict[str, Any] = {"history": [], "best": {}}
    if folder is None or not (file := folder / CHECKPOINT).exists():
        return fresh
    data, state = file.read_bytes(), None
    if hashlib.sha256(data[32:]).digest() == data[:32]:
        with contextlib.suppress(Exception):  # many kinds, on what is not tensors and numbers
            state = torch.load(io.BytesIO(data[32:]), map_location="cpu", weights_only=True)
    if state is None:
        problem = "is damaged, or holds more than tensors and numbers, and was not opened"
        raise ValueError(f"{file} {problem}; delete it to train from the beginning")
    before = state.pop("arguments")
    differ = [name for name in {**before, **arguments} if before.get(name) != arguments.get(name)]
    if differ:
        was = ", ".join(f"{name} was {before.get(name)!r}" for name in differ)
        warnings.warn(
            f"{file} is of a training with other settings ({was}); training starts again", stacklevel=3
        )
        return fresh
    for name, part in parts.items():
        part.load_state_dict(state.pop(name))
    return state


def _fingerprint(model: nn.Module) -> str:
    """SHA-256 of the weights, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
