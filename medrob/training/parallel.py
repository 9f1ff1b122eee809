"""Data-parallel training: every process takes its share of each batch, and all end with the same weights.

``torchrun --nproc-per-node 2 -m medrob.training mine`` starts the processes; alone there is one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
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
            # Batch norm then sees the whole batch; on CPUs PyTorch has none that does.
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return DistributedDataParallel(model, [self.device] if self.device.type == "cuda" else None)

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
