"""One epoch: a pass over the training images, one over the validation images, and what they cost."""

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler

from medrob import augment
from medrob.config import Recipe
from medrob.data import ImageDataset
from medrob.evaluation import metrics
from medrob.machine import peak_gpu_memory_mb, peak_memory_mb
from medrob.models import Classifier, activate


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
            if self.device.type == "cpu" and not finite:
                break  # on GPUs waiting for the answer costs time: it is asked for once an epoch
        if not finite:
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
