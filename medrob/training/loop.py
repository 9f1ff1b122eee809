"""Training: one loop, early stopping on the validation split, a checkpoint after every epoch."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from medrob import augment as augmentation
from medrob.data import ImageDataset
from medrob.evaluation import metrics
from medrob.models import Classifier, activate, pick_device, save
from medrob.progress import bar
from medrob.runs import Run, atomic, peak_memory_mb
from medrob.training.recipe import Objective, Recipe
from medrob.training.recipe import optimizer as make_optimizer
from medrob.training.recipe import recipe as make_recipe
from medrob.training.recipe import schedule as make_schedule

HISTORY = (
    *("epoch", "split", "loss", "accuracy", "auc", "lr"),
    *("seconds", "images_per_second", "memory_mb"),
)


def fit(
    model: Classifier,
    train: ImageDataset,
    val: ImageDataset,
    *,
    seed: int = 0,
    device: str | None = "auto",
    run: Run | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """Train, and keep the weights that did best on the validation images.

    Every epoch draws its order and its augmentation from (seed, epoch), so that a resumed
    training goes on exactly as an uninterrupted one.

    Args:
        model: from `medrob.models.build`; trained in place, left in eval mode on the CPU with
            the best weights.
        train, val: data of the same channels and classes.
        seed: of order and augmentation.
        device: see `medrob.models.pick_device`.
        run: where to keep the checkpoint and the weights; a training that was cut off with the
            same arguments goes on from its last whole epoch. None = nothing is written.
        **settings: ``recipe="medmnist"``, a preset of `RECIPES`, and the attributes of `Recipe`.

    Returns:
        The history: a row per epoch and split (``train``: in training mode, augmented; ``val``:
        eval mode) with columns `HISTORY`; loss in nats, lr, seconds, peak memory in MB (of the
        GPU if there is one, else of the process).

    Raises:
        ValueError: settings out of range, data that do not fit the network, a class without
            training or validation images, a loss that is not finite.
    """
    recipe = make_recipe(settings.pop("recipe", "own"), **settings)
    for data in (train, val):
        _check_fits(model, data)
    policy = augmentation.policy(recipe.augment)
    where = pick_device(device)
    model.to(where)
    objective = Objective(recipe, train).to(where)
    steps = len(_starts(len(train), recipe.batch_size))
    optimizer = make_optimizer(model.parameters(), recipe)
    schedule = make_schedule(optimizer, recipe, steps)
    arguments = {
        **model.config,
        "weights": _fingerprint(model),
        "train": train.fingerprint,
        "val": val.fingerprint,
        "seed": seed,
        **recipe.settings(),
    }
    checkpoint = run.path("checkpoint.pt") if run else None
    state = _resume(checkpoint, arguments, model, optimizer, schedule)
    progress = bar(total=recipe.epochs, initial=state["epoch"], desc="training", unit="epoch")
    while not _finished(state, recipe.epochs, recipe.patience):
        state["epoch"] += 1
        rows = _epoch(model, train, val, optimizer, schedule, objective, policy, recipe, seed, state["epoch"])
        state["history"] += rows
        auc = rows[1]["auc"]
        good = auc if recipe.monitor == "auc" else -rows[1]["loss"]
        state["stale"] += 1
        if good > state["best_value"]:
            best = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
            state.update(best_value=good, best_epoch=state["epoch"], stale=0, best=best)
        progress.update()
        progress.set_postfix(loss=f"{rows[0]['loss']:.3f}", val_auc=f"{auc:.3f}")
        if checkpoint:
            held = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            with atomic(checkpoint) as file:
                torch.save({**state, **held, "schedule": schedule.state_dict(), "arguments": arguments}, file)
    progress.close()
    model.load_state_dict(state["best"])
    model.cpu().eval()
    if run:
        save(model, run.folder)
    return pd.DataFrame(state["history"], columns=list(HISTORY))


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


def _starts(images: int, batch_size: int) -> range:
    """Where the batches begin; a last image alone joins the batch before: batch norm needs two."""
    return range(0, max(1, images - 1), batch_size)


def _fingerprint(model: nn.Module) -> str:
    """SHA-256 of the weights, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for value in model.state_dict().values():
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _finished(state: dict[str, Any], epochs: int, patience: int) -> bool:
    return state["epoch"] >= epochs or bool(patience and state["stale"] >= patience)


def _resume(
    checkpoint: Path | None,
    arguments: dict[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> dict[str, Any]:
    """The state after the last whole epoch of the same training if it was cut off, or that of a new one."""
    fresh = dict(epoch=0, best_value=-float("inf"), best_epoch=0, stale=0, best={}, history=[])
    if checkpoint is None or not checkpoint.exists():
        return fresh
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        finished = _finished(state, arguments["epochs"], arguments["patience"])
        if state.pop("arguments") != arguments or finished:
            return fresh
    except Exception as error:  # torch.load raises many kinds on a damaged file
        raise ValueError(
            f"{checkpoint} is damaged ({error}); delete it to train from the beginning"
        ) from None
    model.load_state_dict(state.pop("model"))
    optimizer.load_state_dict(state.pop("optimizer"))
    schedule.load_state_dict(state.pop("schedule"))
    return state


def _epoch(
    model: Classifier,
    train: ImageDataset,
    val: ImageDataset,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    objective: Objective,
    policy: augmentation.Policy,
    recipe: Recipe,
    seed: int,
    epoch: int,
) -> list[dict[str, Any]]:
    """One pass over the training images, one over the validation images: two rows of history."""
    began, batch_size = time.perf_counter(), recipe.batch_size
    rate = optimizer.param_groups[0]["lr"]
    order = np.random.default_rng([seed, epoch]).permutation(len(train))
    torch.manual_seed(int(np.random.default_rng([seed, epoch, 1]).integers(2**31)))
    device = next(model.parameters()).device
    outputs = []
    model.train()
    starts = _starts(len(order), batch_size)
    for i, rows in zip(starts, np.split(order, starts[1:]), strict=True):
        images = policy(train.images[rows], np.random.default_rng([seed, epoch, 2, i]))
        x = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
        logits = model(x)
        loss = objective(logits, torch.from_numpy(train.labels[rows]).to(device))
        if not torch.isfinite(loss):
            raise ValueError(f"the loss became {loss.item()} in epoch {epoch}: give a smaller lr")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if recipe.clip:
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        schedule.step()
        outputs.append(logits.detach())
    trained = time.perf_counter()
    measured = [(train.labels[order], torch.cat(outputs), train.task)]
    model.eval()
    with torch.inference_mode():
        batches = torch.from_numpy(val.images).permute(0, 3, 1, 2).split(batch_size)
        measured.append((val.labels, torch.cat([model(x.to(device)) for x in batches]), val.task))
    ended = time.perf_counter()
    gpu = device.type == "cuda"
    result = []
    for split, seconds, (labels, logits, task) in zip(
        ("train", "val"), (trained - began, ended - trained), measured, strict=True
    ):
        probabilities = activate(logits, task).float().cpu().numpy()
        scores = metrics(probabilities, labels, task)
        result.append(
            dict(
                epoch=epoch,
                split=split,
                loss=objective(logits, torch.from_numpy(labels).to(device)).item(),
                accuracy=scores["accuracy"],
                auc=scores["auc"],
                lr=rate,
                seconds=seconds,
                images_per_second=len(labels) / seconds,
                memory_mb=torch.cuda.max_memory_allocated(device) / 1e6 if gpu else peak_memory_mb(),
            )
        )
    return result
