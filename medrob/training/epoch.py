"""One epoch: a pass over the training images, one over the validation images, and what they cost."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medrob import augment
from medrob.config import Recipe
from medrob.data import ImageDataset
from medrob.evaluation import metrics
from medrob.machine import peak_gpu_memory_mb, peak_memory_mb
from medrob.models import Classifier, activate
from medrob.training.optimisation import Objective, make_optimizer, make_schedule

CHUNK = 1024  # images that go to the GPU at once


class Feed:
    """The images of a split as batches on the device, uint8 (N, C, H, W), channels last.

    They live on the GPU if they take less than half of its free memory and nothing is done to them;
    else they are prepared by a thread of their own while the network works on the batch before.
    """

    def __init__(
        self, data: ImageDataset, device: torch.device, policy: augment.Policy | None = None
    ) -> None:
        self.data, self.device = data, device
        self.policy = policy if policy is not None and policy.name != "none" else None
        self.resident: Tensor | None = None
        if device.type == "cuda" and self.policy is None:
            free = torch.cuda.mem_get_info(device)[0]
            if data.images.nbytes < free / 2:
                held = torch.empty(data.images.shape, dtype=torch.uint8, device=device)
                for i in range(0, len(data), CHUNK):  # the images may be larger than the memory of the CPU
                    held[i : i + CHUNK] = torch.tensor(data.images[i : i + CHUNK], device=device)
                self.resident = held.permute(0, 3, 1, 2)

    def batches(self, parts: list[np.ndarray], seeds: list[Any]) -> Iterator[Tensor]:
        """The images of each part (rows, or views x images + rows), augmented from its seed."""
        if self.resident is not None:
            for rows in parts:
                yield self.resident[torch.from_numpy(rows).to(self.device)]
        elif self.policy is None and self.device.type == "cpu":
            yield from map(self._batch, parts, seeds)
        else:
            jobs = zip(parts, seeds, strict=True)
            with ThreadPoolExecutor(1) as pool:
                # Two batches ahead, no more: each may take hundreds of megabytes.
                ahead = deque(pool.submit(self._batch, *job) for job in islice(jobs, 2))
                while ahead:
                    batch = ahead.popleft().result()
                    ahead.extend(pool.submit(self._batch, *job) for job in islice(jobs, 1))
                    yield batch.to(self.device, non_blocking=batch.is_pinned())

    def _batch(self, places: np.ndarray, seed: Any) -> Tensor:
        views, rows = np.divmod(places, len(self.data))
        images = self.data.images[rows]
        if self.policy is not None:
            images = self.policy(images, np.random.default_rng(seed), views)
        batch = torch.from_numpy(images).permute(0, 3, 1, 2)
        return batch.pin_memory() if self.device.type == "cuda" else batch


def starts(images: int, batch_size: int) -> range:
    """Where the batches begin; a last image alone joins the batch before: batch norm needs two."""
    return range(0, max(1, images - 1), batch_size)


class Epochs:
    """A training: network, data, optimiser, and how they are used.

    Calling it with the number of an epoch trains that epoch and gives two rows of history. `parts` are what
    changes from epoch to epoch.
    """

    def __init__(
        self, model: Classifier, train: ImageDataset, val: ImageDataset, recipe: Recipe, seed: int
    ) -> None:
        self.model, self.train, self.val, self.recipe, self.seed = model, train, val, recipe, seed
        self.device = next(model.parameters()).device
        policy = augment.policy(recipe.augment)
        self.views = policy.views
        self.feed, self.check = Feed(train, self.device, policy), Feed(val, self.device)
        self.objective = Objective(recipe, train).to(self.device)
        self.optimizer = make_optimizer(model.parameters(), recipe)
        steps = len(starts(len(train) * self.views, recipe.batch_size))
        self.schedule = make_schedule(self.optimizer, recipe, steps)
        self.mixed = recipe.precision == "mixed" and self.device.type == "cuda"
        # GPUs that only imitate bfloat16 (before Ampere) are faster in float16.
        real = self.mixed and torch.cuda.is_bf16_supported(including_emulation=False)
        self.half = torch.bfloat16 if real else torch.float16
        self.scaler = torch.amp.GradScaler(enabled=self.mixed and self.half == torch.float16)
        self.parts = dict(model=model, optimizer=self.optimizer, schedule=self.schedule, scaler=self.scaler)

    def __call__(self, epoch: int) -> list[dict[str, Any]]:
        """Train one epoch."""
        rate, began = self.optimizer.param_groups[0]["lr"], time.perf_counter()
        order, logits = self._learn(epoch)
        learned = self._row("train", self.train, order % len(self.train), logits, began)
        began = time.perf_counter()
        judged = self._row("val", self.val, np.arange(len(self.val)), self._judge(), began)
        return [dict(epoch=epoch, lr=rate) | row for row in (learned, judged)]

    def _learn(self, epoch: int) -> tuple[np.ndarray, Tensor]:
        """The order of the images (views x images + row), and their logits in training mode."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.train) * self.views)
        # Dropout draws from torch's generator: seeded here, a resumed training draws the same.
        torch.manual_seed(int(np.random.default_rng([self.seed, epoch, 1]).integers(2**31)))
        begin = starts(len(order), self.recipe.batch_size)
        parts = np.split(order, begin[1:])
        labels = torch.from_numpy(self.train.labels[order % len(self.train)]).to(self.device)
        outputs = torch.zeros(len(order), self.train.num_classes, device=self.device)
        finite = torch.ones((), dtype=torch.bool, device=self.device)
        self.model.train()
        images = self.feed.batches(parts, [[self.seed, epoch, 2, i] for i in begin])
        for i, x in zip(begin, images, strict=True):
            with torch.autocast(self.device.type, self.half, enabled=self.mixed):
                logits = self.model(x)
            loss = self.objective(logits, labels[i : i + len(x)])
            self._step(loss)
            finite &= torch.isfinite(loss.detach())
            outputs[i : i + len(x)] = logits.detach().float()
            if self.device.type == "cpu" and not finite:
                break  # on GPUs waiting for the answer costs time: it is asked for once an epoch
        if not finite:
            raise ValueError(f"the loss became {loss.item()} in epoch {epoch}: give a smaller lr")
        return order, outputs

    def _step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.recipe.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()

    @torch.inference_mode()
    def _judge(self) -> Tensor:
        """The logits of the validation images in eval mode, float32."""
        self.model.eval()
        size = self.recipe.batch_size
        parts = np.split(np.arange(len(self.val)), range(size, len(self.val), size))
        outputs = torch.zeros(len(self.val), self.val.num_classes, device=self.device)
        for i, x in enumerate(self.check.batches(parts, [0] * len(parts))):
            outputs[i * size : i * size + len(x)] = self.model(x).float()
        return outputs

    def _row(
        self, split: str, data: ImageDataset, rows: np.ndarray, logits: Tensor, began: float
    ) -> dict[str, Any]:
        """What the history says of a pass over the images `rows`, which began at that time."""
        seconds = time.perf_counter() - began
        labels = data.labels[rows]
        scores = metrics(activate(logits, data.task).cpu().numpy(), labels, data.task)
        return dict(
            split=split,
            loss=self.objective(logits, torch.from_numpy(labels).to(self.device)).item(),
            accuracy=scores["accuracy"],
            auc=scores["auc"],
            seconds=seconds,
            images_per_second=len(labels) / seconds,
            memory_mb=peak_memory_mb(),
            gpu_memory_mb=peak_gpu_memory_mb(),
        )
