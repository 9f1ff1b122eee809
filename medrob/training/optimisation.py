"""Optimiser, learning rate and loss of a recipe."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler

from medrob.config import Recipe
from medrob.data import ImageDataset

STEPS = (0.5, 0.75)  # shares of the epochs after which the schedule "step" takes a tenth of the rate


def make_optimizer(parameters: Iterable[nn.Parameter], recipe: Recipe) -> Optimizer:
    """The optimiser of a recipe for these parameters."""
    common: dict[str, Any] = dict(lr=recipe.lr, weight_decay=recipe.weight_decay)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, **common, momentum=0.9, nesterov=True)
    # AdamW decays the weights apart from the gradient (Loshchilov & Hutter 2019), Adam with it.
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, **common)


def make_schedule(optimizer: Optimizer, recipe: Recipe, steps: int) -> lr_scheduler.LRScheduler:
    """The learning rate by step, `steps` an epoch: the schedule, times a linear rise while it warms up."""
    total, warm = recipe.epochs * steps, round(recipe.warmup * steps)
    # After at least one epoch each, also where there are few.
    drops = [max(round(share * recipe.epochs), i) * steps for i, share in enumerate(STEPS, 1)]

    def factor(step: int) -> float:
        if recipe.schedule == "cosine":
            falling = 0.5 * (1 + math.cos(math.pi * min(step, total) / total))
        elif recipe.schedule == "step":
            falling = 0.1 ** sum(step >= drop for drop in drops)
        else:
            falling = 1.0
        return falling * min(1.0, (step + 1) / (warm + 1))

    return lr_scheduler.LambdaLR(optimizer, factor)


class Objective(nn.Module):
    """The loss of a recipe in nats: cross-entropy, or for several labels the mean of theirs.

    Takes logits (N, K) with labels (N,) of classes, or (N, K) of zeros and ones.
    """

    weight: Tensor | None

    def __init__(self, recipe: Recipe, train: ImageDataset) -> None:
        super().__init__()
        self.smoothing = recipe.label_smoothing
        weight = None
        if recipe.class_weights == "balanced":
            weight = torch.from_numpy(_balanced(train)).float()
        self.register_buffer("weight", weight)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of the images."""
        logits = logits.float()
        if labels.ndim == 1:
            total = nn.functional.cross_entropy(
                logits, labels, weight=self.weight, label_smoothing=self.smoothing, reduction="sum"
            )
        else:
            targets = labels.to(logits.dtype) * (1 - self.smoothing) + self.smoothing / 2
            total = nn.functional.binary_cross_entropy_with_logits(
                logits, targets, pos_weight=self.weight, reduction="sum"
            )
        # Not reduction="mean": with smoothing, PyTorch divides by other weights there.
        return total / self._divisor(labels)

    def _divisor(self, labels: Tensor) -> Tensor:
        """The weights of the images' classes in sum, or how many labels there are."""
        if labels.ndim == 1 and self.weight is not None:
            return self.weight[labels].sum()
        return labels.new_tensor(labels.numel(), dtype=torch.float32)


def _balanced(train: ImageDataset) -> np.ndarray:
    """N / (K n) for a class of n images; absent / present for a label."""
    counts = np.array(list(train.counts.values()), float)
    if train.task == "multilabel":
        return (len(train) - counts) / counts
    return len(train) / (len(counts) * counts)
