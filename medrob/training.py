"""Training: one loop that can be cut off at any moment, its optimiser and loss, its history."""

import contextlib
import hashlib
import io
import math
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler

from medrob import augment
from medrob.config import Recipe
from medrob.data import ImageDataset
from medrob.evaluation import metrics
from medrob.files import atomic
from medrob.machine import bar, peak_gpu_memory_mb, peak_memory_mb
from medrob.models import Classifier, activate, load_arrays, pick_device, place
from medrob.run import CHECKPOINT


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
        The history: a row per epoch and split ("train": in training mode, augmented; "val": eval mode; of a
        network that is not trained one row, epoch 0) with loss (nats), accuracy, auc, lr (at the epoch's
        start), seconds, images_per_second, memory_mb and gpu_memory_mb (10^6 bytes, the largest so far).

    Raises:
        ValueError: a class without images, a loss that is not finite, a damaged checkpoint.
    """
    for data in (train, val) if recipe.epochs else ():
        constant = [name for name, count in data.counts.items() if count in (0, len(data))]
        if constant:
            told = f"{data.name}, split {data.split!r} ({len(data)} images): no image, or every image, is of"
            advice = "a network cannot learn such a class; take more images or leave it out"
            raise ValueError(f"{told} {', '.join(constant)}: {advice}")
    if recipe.augment == augment.EXPANDED:
        train = augment.expanded(train)
    arguments = recipe.model_dump(include={*Recipe.model_fields})
    arguments |= {"network": repr(model.config), "weights": _fingerprint(model), "seed": seed}
    arguments |= {"train": train.fingerprint, "val": val.fingerprint}
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
        best = kept_epoch(pd.DataFrame(state["history"]), recipe.monitor) if done else 0
        for epoch in range(done + 1, recipe.epochs + 1):
            if 0 < recipe.patience < epoch - best:
                break  # too many came after the best one
            rows = one_epoch(epoch)
            state["history"] += rows
            best = kept_epoch(pd.DataFrame(state["history"]), recipe.monitor)
            if best == epoch:
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
        warnings.warn(f"{file} is of a training with other settings ({was}); it starts again", stacklevel=3)
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


def make_optimizer(parameters: Iterable[nn.Parameter], recipe: Recipe) -> Optimizer:
    """The optimiser of a recipe for these parameters."""
    common: dict[str, Any] = dict(lr=recipe.lr, weight_decay=recipe.weight_decay)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, **common, momentum=0.9, nesterov=True)
    # AdamW decays the weights apart from the gradient (Loshchilov & Hutter 2019), Adam with it.
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, **common)


def make_schedule(optimizer: Optimizer, recipe: Recipe, steps: int) -> lr_scheduler.LRScheduler:
    """The learning rate by step, `steps` an epoch."""
    total = max(1, recipe.epochs) * steps
    # The schedule "step" takes a tenth of the rate after these shares of the epochs, after one at least.
    drops = [max(round(share * recipe.epochs), i) * steps for i, share in ((1, 0.5), (2, 0.75))]

    def factor(step: int) -> float:
        if recipe.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(step, total) / total))
        return 0.1 ** sum(step >= drop for drop in drops) if recipe.schedule == "step" else 1.0

    return lr_scheduler.LambdaLR(optimizer, factor)


def make_objective(recipe: Recipe, train: ImageDataset) -> nn.Module:
    """The loss of a recipe in nats: cross-entropy, or for several labels (0.0 or 1.0) the mean of theirs.

    Balanced, a class of n of N images weighs N / (K n), a label absent / present.
    """
    several, weight = train.task == "multilabel", None
    if recipe.class_weights == "balanced":
        counts, total = np.array(list(train.counts.values()), float), len(train)
        balanced = (total - counts) / counts if several else total / (len(counts) * counts)
        weight = torch.from_numpy(balanced).float()
    return nn.BCEWithLogitsLoss(pos_weight=weight) if several else nn.CrossEntropyLoss(weight)


def starts(images: int, batch_size: int) -> range:
    """Where the batches begin; a last image alone joins the batch before: batch norm needs two."""
    return range(0, max(1, images - 1), batch_size)


class Epochs:
    """A training: called with the number of an epoch, it trains that epoch and gives two rows of history.

    `parts` are what changes from epoch to epoch.
    """

    def __init__(
        self, model: Classifier, train: ImageDataset, val: ImageDataset, recipe: Recipe, seed: int
    ) -> None:
        self.model, self.train, self.val, self.recipe, self.seed = model, train, val, recipe, seed
        self.device = next(model.parameters()).device
        self.policy = augment.policy(recipe.augment)
        self.objective = make_objective(recipe, train).to(self.device)
        self.optimizer = make_optimizer(model.parameters(), recipe)
        steps = len(starts(len(train), recipe.batch_size))
        self.schedule = make_schedule(self.optimizer, recipe, steps)
        cuda = self.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        self.mixed = recipe.precision == "mixed" and cuda
        self.parts: dict[str, Any] = {"model": model, "optimizer": self.optimizer, "schedule": self.schedule}

    def __call__(self, epoch: int) -> list[dict[str, Any]]:
        """Train one epoch."""
        rate, began = self.optimizer.param_groups[0]["lr"], time.perf_counter()
        order, logits = self._learn(epoch)
        rows = [self._row("train", self.train, order, logits, rate, began)]
        return [{"epoch": epoch} | row for row in (*rows, self.check(rate))]

    def check(self, rate: float = 0.0) -> dict[str, Any]:
        """The row of the validation images, by the network as it is."""
        began = time.perf_counter()
        return self._row("val", self.val, np.arange(len(self.val)), self._judge(), rate, began)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of images."""
        return self.objective(logits.float(), labels.float() if labels.ndim == 2 else labels)

    def _batches(
        self, data: ImageDataset, parts: list[np.ndarray], seeds: Iterable[list[int] | None]
    ) -> Iterator[Tensor]:
        """The images of each part (rows) on the device, uint8 (N, C, H, W); augmented if it has a seed.

        A thread prepares them while the network works on the batch before.
        """

        def prepare(rows: np.ndarray, seed: list[int] | None) -> Tensor:
            images = data.images[rows]
            if seed is not None:
                images = self.policy(images, np.random.default_rng(seed))
            return torch.from_numpy(images).permute(0, 3, 1, 2)

        jobs = zip(parts, seeds, strict=True)
        with ThreadPoolExecutor(1) as pool:
            # Two batches ahead, no more: each may take hundreds of megabytes.
            ahead = deque(pool.submit(prepare, *job) for job in islice(jobs, 2))
            while ahead:
                batch = ahead.popleft().result()
                ahead.extend(pool.submit(prepare, *job) for job in islice(jobs, 1))
                yield batch.to(self.device)

    def _learn(self, epoch: int) -> tuple[np.ndarray, Tensor]:
        """The order of the images, and their logits in training mode."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.train))
        # Dropout draws from torch's generator: seeded here, a resumed training draws the same.
        torch.manual_seed(int(np.random.default_rng([self.seed, epoch, 1]).integers(2**31)))
        begin = starts(len(order), self.recipe.batch_size)
        labels = torch.from_numpy(self.train.labels[order]).to(self.device)
        outputs = torch.zeros(len(order), self.train.num_classes, device=self.device)
        finite = torch.ones((), dtype=torch.bool, device=self.device)
        self.model.train()
        seeds = [[self.seed, epoch, 2, i] for i in begin]
        images = self._batches(self.train, np.split(order, begin[1:]), seeds)
        for i, x in zip(begin, images, strict=True):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed):
                logits = self.model(x)
            loss = self.loss(logits, labels[i : i + len(x)])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            finite &= torch.isfinite(loss.detach())
            outputs[i : i + len(x)] = logits.detach().float()
        if not finite:  # asked once an epoch: waiting for a GPU's answer costs time
            raise ValueError(f"the loss became {loss.item()} in epoch {epoch}: give a smaller lr")
        return order, outputs

    @torch.inference_mode()
    def _judge(self) -> Tensor:
        """The logits of the validation images in eval mode, float32."""
        self.model.eval()
        size = self.recipe.batch_size
        parts = np.split(np.arange(len(self.val)), range(size, len(self.val), size))
        images = self._batches(self.val, parts, [None] * len(parts))
        logits = torch.cat([self.model(x).float() for x in images])
        if not logits.isfinite().all():
            advice = "give a smaller lr" if self.recipe.epochs else "its weights are damaged"
            raise ValueError(f"the outputs on validation images are not finite: {advice}")
        return logits

    def _row(
        self, split: str, data: ImageDataset, rows: np.ndarray, logits: Tensor, rate: float, began: float
    ) -> dict[str, Any]:
        """What the history says of a pass over the images `rows`, which began at that time."""
        seconds = time.perf_counter() - began
        labels = data.labels[rows]
        scores = metrics(activate(logits, data.task).cpu().numpy(), labels, data.task)
        return dict(
            split=split,
            loss=self.loss(logits, torch.from_numpy(labels).to(self.device)).item(),
            accuracy=scores["accuracy"],
            auc=scores["auc"],
            lr=rate,
            seconds=seconds,
            images_per_second=len(labels) / seconds,
            memory_mb=peak_memory_mb(),
            gpu_memory_mb=peak_gpu_memory_mb(),
        )
