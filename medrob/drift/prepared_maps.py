"""Raw maps, and what the similarities need of them: worked out once and on demand."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from medrob.saliency import degenerate, normalise, ranks, sort

SSIM_WINDOW = 7  # as scikit-image's default
UNBIASED = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)  # scikit-image takes sample variances
TOPS = (0.1, 0.2)  # shares of the positions
Windows = tuple[Tensor, Tensor, Tensor]


class PreparedMaps:
    """Raw maps (N, h, w), and what the similarities need of them, worked out once and on demand.

    Everything stays on the device of the maps, in float32, or float64 where the maps are.

    Attributes:
        degenerate: bool (N,); see `medrob.saliency.degenerate`. All other values of such a map mean nothing.
        positive: (N, h, w), after ReLU.
    """

    def __init__(self, raw: np.ndarray | Tensor) -> None:
        raw = raw.detach() if isinstance(raw, Tensor) else torch.from_numpy(np.array(raw))
        raw = raw.float() if raw.dtype in (torch.float16, torch.bfloat16) else raw
        self.degenerate = degenerate(raw)
        self.positive = raw.relu().contiguous()

    @cached_property
    def values(self) -> Tensor:
        """Min-max maps (N, h, w), 0-1."""
        return normalise(self.positive)

    @cached_property
    def shares(self) -> Tensor:
        """Sum-to-one maps (N, h, w): the share of each position in the whole."""
        return normalise(self.positive, "sum-to-one")

    @cached_property
    def ordered(self) -> tuple[Tensor, dict[float, Tensor]]:
        """Ranks minus their mean (N, h, w), and the lowest value in each of the `TOPS` (N, 1)."""
        flat = self.positive.flatten(1)
        values, order = sort(flat)
        lowest = values[:, :1]
        above = lowest.nextafter(torch.full_like(lowest, torch.inf))  # the lowest value never counts
        counts = {share: math.ceil(share * flat.shape[1] - 1e-9) for share in TOPS}
        begins = {share: values[:, -count, None].maximum(above) for share, count in counts.items()}
        centred = ranks(flat, (values, order)).sub_((flat.shape[1] + 1) / 2)
        return centred.view_as(self.positive), begins

    @property
    def ranks(self) -> Tensor:
        """Ranks 1 to the number of positions, ties at their mean rank, minus the mean of all: (N, h, w)."""
        return self.ordered[0]

    @cached_property
    def tops(self) -> dict[float, Tensor]:
        """For each of `TOPS`, 1 at the highest positions, else 0: (N, h, w)."""
        begins, dtype = self.ordered[1], self.positive.dtype
        return {share: (self.positive >= begin[:, None]).to(dtype) for share, begin in begins.items()}

    @cached_property
    def windows(self) -> Windows:
        """What SSIM needs of the min-max maps in each window."""
        return _windows(self.values, data_range=1)

    @cached_property
    def rank_windows(self) -> Windows:
        """What SSIM needs of the ranks in each window."""
        positions = self.positive[0].numel()
        return _windows(self.ranks, mean=(positions + 1) / 2, data_range=positions)


def box(x: Tensor) -> Tensor:
    """Means over 7x7 windows, without those that cross the border: (N, h - 6, w - 6)."""
    for axis in (1, 2):  # a sum of 7 as 3 + 3 + 1: fewer additions
        n = x.shape[axis] - SSIM_WINDOW + 1
        three = x.narrow(axis, 0, n + 3) + x.narrow(axis, 1, n + 3)
        three += x.narrow(axis, 2, n + 3)
        seven = three.narrow(axis, 0, n) + three.narrow(axis, 3, n)
        seven += x.narrow(axis, 6, n)
        x = seven
    return x.div_(SSIM_WINDOW**2)


def _windows(x: Tensor, *, mean: float = 0.0, data_range: float) -> Windows:
    """Means, their squares plus half of c1, variances plus half of c2, all variances times 48/49.

    Args:
        x: (N, h, w), minus `mean`.
    """
    middle, c1, c2 = box(x), (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    variance = box(x.square()).sub_(middle.square()).add_(c2 / 2 / UNBIASED)
    middle += mean
    return middle, middle.square().add_(c1 / 2), variance
