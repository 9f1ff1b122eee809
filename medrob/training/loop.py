"""Training: early stopping on the validation split, a checkpoint after every epoch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from medrob import augment
from medrob.data import ImageDataset
from medrob.models import Classifier, place, save
from medrob.models.weights import load_arrays
from medrob.progress import bar
from medrob.runs import Run
from medrob.training import checkpoint
from medrob.training.epoch import Epochs, starts
from medrob.training.parallel import team
from medrob.training.recipe import Objective, Recipe
from medrob.training.recipe import optimizer as make_optimizer
from medrob.training.recipe import recipe as make_recipe
from medrob.training.recipe import schedule as make_schedule

HISTORY = (
    *("epoch", "split", "loss", "accuracy", "auc", "lr"),
    *("seconds", "images_per_second", "memory_mb", "gpu_memory_mb"),
)


def fit(
    model: Classifier,
    train: ImageDataset,
    val: ImageDataset,
    *,
    seed: int = 0,
    device: str | None = "auto",
    run: Run | None = None,
    tensorboard: bool = False,
    **settings: Any,
) -> pd.DataFrame:
    """Train, and keep the weights that did best on the validation images.

    Every epoch draws its order and its augmentation from (seed, epoch), so that a resumed training
    goes on exactly as an uninterrupted one. Started by torchrun, the processes share each batch.

    Args:
        model: from `medrob.models.build`; trained in place, left in eval mode on the CPU with
            the best weights.
        train, val: data of the same channels and classes.
        seed: of order and augmentation.
        device: see `medrob.models.pick_device`.
        run: where to keep the checkpoint and the weights; a training that was cut off with the
            same arguments goes on from its last whole epoch. None = nothing is written.
        tensorboard: also log to the folder ``tensorboard`` of the run (needs the package tensorboard).
        **settings: ``recipe="medmnist"``, a preset of `RECIPES`, and the attributes of `Recipe`.

    Returns:
        The history: a row per epoch and split (``train``: in training mode, augmented; ``val``:
        eval mode) with columns `HISTORY`; loss in nats, lr at the epoch's start, seconds, memory in
        MB (10^6 bytes): the largest of the process so far, and of its GPU (0 without).

    Raises:
        ValueError: settings out of range, data that do not fit the network, a class without
            training or validation images, a loss that is not finite, a damaged checkpoint.
        RuntimeError: another process is training the same run.
    """
    recipe = make_recipe(settings.pop("recipe", "own"), **settings)
    policy = augment.policy(recipe.augment)
    for data in (train, val):
        _check_fits(model, data)
    with contextlib.ExitStack() as stack:
        here = stack.enter_context(team(device))
        if recipe.batch_size < 2 * here.size:
            raise ValueError(
                f"batch_size={recipe.batch_size}: give at least 2 for each of {here.size} processes"
            )
        arguments = {
            **{"network": repr(model.config), "weights": checkpoint.fingerprint(model), "seed": seed},
            **{"train": train.fingerprint, "val": val.fingerprint, "processes": here.size},
            **recipe.settings(),
        }
        if here.leads:
            stack.enter_context(checkpoint.only_one(run))
        place(model, here.device)
        objective = Objective(recipe, train).to(here.device)
        optimizer = make_optimizer(model.parameters(), recipe)
        steps = len(starts(len(train) * policy.views, recipe.batch_size))
        schedule = make_schedule(optimizer, recipe, steps)
        one_epoch = Epochs(model, train, val, recipe, policy, objective, optimizer, schedule, here, seed)
        parts = dict(model=model, optimizer=optimizer, schedule=schedule, scaler=one_epoch.scaler)
        state = checkpoint.resume(run, arguments, **parts)
        log = stack.enter_context(_log(run if tensorboard and here.leads else None, state["epoch"]))
        desc = f"training, taken up after epoch {state['epoch']}" if state["epoch"] else "training"
        progress = bar(total=recipe.epochs, initial=state["epoch"], desc=desc, unit="epoch")
        while not state["finished"]:
            rows = one_epoch(state["epoch"] + 1)
            _note(state, rows, model, recipe)
            log(rows)
            progress.update()
            progress.set_postfix(loss=f"{rows[0]['loss']:.3f}", val_auc=f"{rows[1]['auc']:.3f}")
            if here.leads:
                checkpoint.keep(run, state, arguments, **parts)
        progress.close()
        load_arrays(model, state["best"])
        model.cpu().eval()
        if run and here.leads:
            save(model, run.folder)
        here.wait()
    return pd.DataFrame(state["history"], columns=list(HISTORY))


def _note(state: dict[str, Any], rows: list[dict[str, Any]], model: Classifier, recipe: Recipe) -> None:
    """Add an epoch to the state: its rows, and its weights if they are the best so far."""
    state["epoch"] += 1
    state["history"] = [*state["history"], *rows]
    state["stale"] += 1
    loss = rows[1]["loss"]
    value = [rows[1]["auc"], -loss] if recipe.monitor == "auc" else [-loss]  # of equal AUC, the lower loss
    if value > state["best_value"]:
        best = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
        state.update(best_value=value, best_epoch=state["epoch"], stale=0, best=best)
    impatient = bool(recipe.patience) and state["stale"] >= recipe.patience
    state["finished"] = state["epoch"] >= recipe.epochs or impatient


@contextlib.contextmanager
def _log(run: Run | None, done: int) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """A function that writes rows of history for TensorBoard, or does nothing."""
    if run is None:
        yield lambda rows: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("tensorboard=True needs a package: pip install tensorboard") from None
    with SummaryWriter(str(run.path("tensorboard")), purge_step=done + 1) as writer:

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
