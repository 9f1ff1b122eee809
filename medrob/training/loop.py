"""Training: early stopping on the validation split, a checkpoint after every epoch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from medrob.config import Recipe
from medrob.data import ImageDataset
from medrob.models import Classifier, pick_device, place
from medrob.progress import bar
from medrob.training import checkpoint
from medrob.training.epoch import Epochs

HISTORY = (
    *("epoch", "split", "loss", "accuracy", "auc", "lr"),
    *("seconds", "images_per_second", "memory_mb", "gpu_memory_mb"),
)


def fit(
    model: Classifier,
    train: ImageDataset,
    val: ImageDataset,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str = "auto",
    folder: Path | None = None,
    tensorboard: bool = False,
) -> pd.DataFrame:
    """Train, and end with the weights that did best on the validation images.

    Every epoch draws its order and its augmentation from (seed, epoch), so that a resumed training
    goes on exactly as an uninterrupted one.

    Args:
        model: from `medrob.models.build`; trained in place, left in eval mode on the CPU.
        train, val: data of the same channels and classes.
        recipe: its settings.
        seed: of order and augmentation.
        device: see `medrob.models.pick_device`.
        folder: where ``checkpoint.pt`` is kept. A training that was cut off with the same arguments goes on
            from its last whole epoch; delete the file once the results are kept. None = nothing is written.
        tensorboard: also log to the folder ``tensorboard`` in `folder` (needs the package tensorboard).

    Returns:
        The history: a row per epoch and split (``train``: in training mode, augmented; ``val``:
        eval mode) with columns `HISTORY`; loss in nats, lr at the epoch's start, seconds, memory in
        MB (10^6 bytes): the largest of the process so far, and of its GPU (0 without).

    Raises:
        ValueError: data that do not fit the network, a class without training or validation images,
            a loss that is not finite, a damaged checkpoint.
    """
    for data in (train, val):
        _check_fits(model, data)
    arguments = {
        **{"network": repr(model.config), "weights": checkpoint.fingerprint(model), "seed": seed},
        **{"train": train.fingerprint, "val": val.fingerprint},
        **recipe.model_dump(),
    }
    place(model, pick_device(device))
    one_epoch = Epochs(model, train, val, recipe, seed)
    state = checkpoint.resume(folder, arguments, one_epoch.parts)
    with _log(folder if tensorboard else None, state["epoch"]) as log:
        desc = f"training, resumed after epoch {state['epoch']}" if state["epoch"] else "training"
        progress = bar(total=recipe.epochs, initial=state["epoch"], desc=desc, unit="epoch")
        while not state["finished"]:
            rows = one_epoch(state["epoch"] + 1)
            _add_epoch(state, rows, model, recipe)
            log(rows)
            progress.update()
            progress.set_postfix(loss=f"{rows[0]['loss']:.3f}", val_auc=f"{rows[1]['auc']:.3f}")
            checkpoint.keep(folder, state, arguments, one_epoch.parts)
        progress.close()
    with torch.no_grad():
        for name, value in model.state_dict().items():  # in place: some networks refuse weights of no version
            value.copy_(state["best"][name])
    model.cpu().eval()
    return pd.DataFrame(state["history"], columns=list(HISTORY))


def kept_epoch(history: pd.DataFrame, monitor: str) -> int:
    """The epoch whose weights `fit` kept: of the highest validation AUC (of equal ones, the lowest loss)."""
    by, ascending = (["auc", "loss"], [False, True]) if monitor == "auc" else (["loss"], [True])
    val = history[history["split"] == "val"]
    return int(val.sort_values(by, ascending=ascending, kind="stable")["epoch"].iloc[0])


def _add_epoch(state: dict[str, Any], rows: list[dict[str, Any]], model: Classifier, recipe: Recipe) -> None:
    """Add an epoch to the state: its rows, and its weights if they are the best so far."""
    state["epoch"] += 1
    state["history"] = [*state["history"], *rows]
    state["stale"] += 1
    loss = rows[1]["loss"]
    # A small validation set gives many equal AUCs: of these, the epoch of the lower loss is better.
    value = [rows[1]["auc"], -loss] if recipe.monitor == "auc" else [-loss]
    if value > state["best_value"]:
        best = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
        state.update(best_value=value, stale=0, best=best)
    impatient = bool(recipe.patience) and state["stale"] >= recipe.patience
    state["finished"] = state["epoch"] >= recipe.epochs or impatient


@contextlib.contextmanager
def _log(folder: Path | None, done: int) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """A function that writes rows of history for TensorBoard, or does nothing."""
    if folder is None:
        yield lambda rows: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("tensorboard=True needs a package: pip install tensorboard") from None
    # A run that was cut off after logging an epoch would log it twice: purge_step hides what comes later.
    with SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1) as writer:

        def write(rows: list[dict[str, Any]]) -> None:
            for row in rows:
                for name in HISTORY[2:]:
                    writer.add_scalar(f"{name}/{row['split']}", row[name], row["epoch"])
            writer.flush()

        yield write


def _check_fits(model: Classifier, data: ImageDataset) -> None:
    where, config = f"{data.name}, split {data.split!r}", model.config
    if (data.channels, data.num_classes) != (config["in_channels"], config["num_classes"]):
        raise ValueError(
            f"{where} has {data.channels} channels and {data.num_classes} classes; the network was built "
            f"for {config['in_channels']} and {config['num_classes']}"
        )
    if (data.task == "multilabel") != (config["task"] == "multilabel"):
        raise ValueError(f"{where} is {data.task}, the network was built with task={config['task']!r}")
    empty = [name for name, count in data.counts.items() if count == 0]
    if empty:
        raise ValueError(
            f"{where} ({len(data)} images) has no image of {', '.join(empty)}: a network cannot learn, "
            "nor an AUC judge, what it never sees; take more images or leave the class out"
        )
    full = [name for name, count in data.counts.items() if count == len(data)]
    if full:
        raise ValueError(f"{where}: every image has {', '.join(full)}: nothing to tell apart; leave it out")
