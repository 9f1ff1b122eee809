"""One epoch: a pass over the training images, one over the validation images, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medrob.augment import Policy
from medrob.data import ImageDataset
from medrob.evaluation import metrics
from medrob.machine import peak_gpu_memory_mb, peak_memory_mb
from medrob.models import Classifier, activate
from medrob.training.parallel import Team
from medrob.training.recipe import Objective, Recipe

CHUNK = 1024  # images that go to the GPU at once


class Feed:
    """The images of a split as batches on the device, uint8 (N, C, H, W), channels last.

    They live on the GPU if they take less than half of its free memory and nothing is done to them;
    else they are prepared by a thread of their own while the network works on the batch before.
    """

    def __init__(self, data: ImageDataset, device: torch.device, policy: Policy | None = None) -> None:
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
            yield from map(self._made, parts, seeds)
        else:
            with ThreadPoolExecutor(1) as pool:
                ahead = [pool.submit(self._made, *job) for job in zip(parts[:2], seeds[:2], strict=True)]
                for i in range(len(parts)):
                    batch = ahead.pop(0).result()
                    if i + 2 < len(parts):
                        ahead.append(pool.submit(self._made, parts[i + 2], seeds[i + 2]))
                    yield batch.to(self.device, non_blocking=batch.is_pinned())

    def _made(self, places: np.ndarray, seed: Any) -> Tensor:
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
    """The loop over epochs: network, data, optimiser, and how they are used.

    Calling it with the number of an epoch trains that epoch and gives two rows of history.
    """

    def __init__(
        self,
        model: Classifier,
        train: ImageDataset,
        val: ImageDataset,
        recipe: Recipe,
        policy: Policy,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        team: Team,
        seed: int,
    ) -> None:
        self.model, self.train, self.val = model, train, val
        self.recipe, self.policy, self.objective = recipe, policy, objective
        self.optimizer, self.schedule, self.team, self.seed = optimizer, schedule, team, seed
        self.network = team.wrap(model)
        self.feed, self.check = Feed(train, team.device, policy), Feed(val, team.device)
        self.mixed = recipe.precision == "mixed" and team.device.type == "cuda"
        # GPUs that only imitate bfloat16 (before Ampere) are faster in float16.
        real = self.mixed and torch.cuda.is_bf16_supported(including_emulation=False)
        self.half = torch.bfloat16 if real else torch.float16
        self.scaler = torch.amp.GradScaler(enabled=self.mixed and self.half == torch.float16)

    def __call__(self, epoch: int) -> list[dict[str, Any]]:
        """Train one epoch."""
        rate, began = self.optimizer.param_groups[0]["lr"], time.perf_counter()
        order, logits = self._learn(epoch)
        trained = time.perf_counter()
        rows = [self._row("train", self.train, order % len(self.train), logits, trained - began)]
        judged = time.perf_counter()
        logits = self._judge()
        rows.append(
            self._row("val", self.val, np.arange(len(self.val)), logits, time.perf_counter() - judged)
        )
        return [dict(epoch=epoch, lr=rate) | row for row in rows]

    def _learn(self, epoch: int) -> tuple[np.ndarray, Tensor]:
        """The order of the images (views x images + row), and their logits in training mode."""
        seed, device = self.seed, self.team.device
        order = np.random.default_rng([seed, epoch]).permutation(len(self.train) * self.policy.views)
        torch.manual_seed(int(np.random.default_rng([seed, epoch, 1]).integers(2**31)))
        begin = starts(len(order), self.recipe.batch_size)
        whole = np.split(np.arange(len(order)), begin[1:])
        parts = [self.team.share(places) for places in whole]
        seeds = [[seed, epoch, 2, i, *([self.team.rank] if self.team.rank else [])] for i in begin]
        labels = torch.from_numpy(self.train.labels[order % len(self.train)]).to(device)
        outputs = torch.zeros(len(order), self.train.num_classes, device=device)
        finite = torch.ones((), dtype=torch.bool, device=device)
        self.network.train()
        images = self.feed.batches([order[places] for places in parts], seeds)
        for places, part, x in zip(whole, parts, images, strict=True):
            with torch.autocast(device.type, self.half, enabled=self.mixed):
                logits = self.network(x)
            mine, all_ = (torch.from_numpy(rows).to(device) for rows in (part, places))
            # The sum over this process's share, by the weight of the whole batch: DDP takes the mean.
            loss = self.objective.total(logits, labels[mine]) / self.objective.weight_of(labels[all_])
            self._step(loss * self.team.size)
            finite &= torch.isfinite(loss.detach())
            outputs[mine] = logits.detach().float()
            if device.type == "cpu" and not finite:
                break  # on GPUs waiting for the answer costs time: it is asked for once an epoch
        if not finite:
            raise ValueError(f"the loss became {loss.item()} in epoch {epoch}: give a smaller lr")
        return order, self.team.gather(outputs)

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
        self.team.agree(self.model)
        self.model.eval()
        outputs = torch.zeros(len(self.val), self.val.num_classes, device=self.team.device)
        rows = self.team.share(np.arange(len(self.val)))
        parts = np.split(rows, range(self.recipe.batch_size, len(rows), self.recipe.batch_size))
        for part, x in zip(parts, self.check.batches(parts, [0] * len(parts)), strict=True):
            outputs[torch.from_numpy(part).to(self.team.device)] = self.model(x).float()
        return self.team.gather(outputs)

    def _row(
        self, split: str, data: ImageDataset, rows: np.ndarray, logits: Tensor, seconds: float
    ) -> dict[str, Any]:
        """What the history says of a pass."""
        labels, device = data.labels[rows], self.team.device
        scores = metrics(activate(logits, data.task).cpu().numpy(), labels, data.task)
        return dict(
            split=split,
            loss=self.objective(logits, torch.from_numpy(labels).to(device)).item(),
            accuracy=scores["accuracy"],
            auc=scores["auc"],
            seconds=seconds,
            images_per_second=len(labels) / seconds,
            memory_mb=peak_memory_mb(),
            gpu_memory_mb=peak_gpu_memory_mb(),
        )
