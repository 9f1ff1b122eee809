"""Data-parallel training: every process takes its share of each batch, and all end with the same weights.

``torchrun --nproc-per-node 2 -m medrob.training mine`` starts the processes; alone there is one. Each draws
the augmentation of its own share: with an augmentation, two processes learn from other pictures than one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from medrob.models import pick_device


@dataclass(frozen=True)
class Team:
    """The processes of a training: this one's number, how many there are, where this one computes."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, rows: np.ndarray) -> np.ndarray:
        """The rows that fall to this process: every `size`-th."""
        return rows[self.rank :: self.size]

    def wrap(self, model: nn.Module) -> nn.Module:
        """The network whose gradients are the mean over all processes."""
        if self.size == 1:
            return model
        if self.device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
            return DistributedDataParallel(model, [self.device])
        _share_batch_norm(model)
        return DistributedDataParallel(model)

    def gather(self, own: Tensor) -> Tensor:
        """The sum over the processes; each fills in its rows and leaves the others zero."""
        if self.size > 1:
            dist.all_reduce(own)
        return own

    def agree(self, model: nn.Module) -> None:
        """Give all the first process's running means of batch norm, which each has of its own images."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def team(device: str | torch.device | None) -> Iterator[Team]:
    """The processes that torchrun started, joined for a while; without it, this one alone."""
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if size == 1:
        yield Team(0, 1, pick_device(device))
        return
    place = pick_device(device)
    if place.type == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(place)
    began = not dist.is_initialized()
    if began:
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Team(rank, size, place)
    finally:
        if began:
            dist.destroy_process_group()


class SharedBatchNorm(_BatchNorm):
    """Batch norm over the images of all processes on CPUs, where PyTorch's `SyncBatchNorm` does not run."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) in, the same shape out; N may differ between the processes."""
        if not (self.training and dist.is_initialized()):
            return super().forward(input)
        others = [0, *range(2, input.ndim)]
        shape = (1, -1, *(1,) * (input.ndim - 2))
        here = input.new_tensor([input.numel() / input.shape[1]])
        own = _Sum.apply(torch.cat([input.sum(others), here]))
        count, mean = own[-1].detach(), own[:-1] / own[-1].detach()
        centred = input - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(others)) / count
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
                tracked = float(self.num_batches_tracked or 1)
                share = 1 / tracked if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean, share)
                self.running_var.lerp_(variance * count / (count - 1), share)
        result = centred * (variance + self.eps).rsqrt().view(shape)
        return (
            torch.addcmul(self.bias.view(shape), result, self.weight.view(shape)) if self.affine else result
        )


class _Sum(torch.autograd.Function):
    """The sum over the processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient.contiguous())


def _share_batch_norm(module: nn.Module) -> None:
    """Put `SharedBatchNorm`, with the same weights, in the place of every batch norm below a module."""
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm) and not isinstance(child, SharedBatchNorm):
            form = child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
            shared = SharedBatchNorm(*form).train(child.training)
            shared._parameters, shared._buffers = child._parameters, child._buffers
            module.add_module(name, shared)
        else:
            _share_batch_norm(child)
