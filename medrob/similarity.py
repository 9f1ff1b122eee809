"""How alike two saliency maps are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medrob.saliency.maps import degenerate, normalise, ranks, sort

SSIM_WINDOW = 7


class Maps:
    """Raw maps (N, h, w), and what the metrics need of them, worked out once and on demand.

    Attributes:
        values: (N, h, w), after ReLU and min-max normalisation.
        degenerate: bool (N,); see `medrob.saliency.degenerate`.
    """

    def __init__(self, raw: np.ndarray | Tensor) -> None:
        raw = torch.as_tensor(raw)
        self.degenerate = degenerate(raw)
        self.values = torch.nan_to_num(normalise(raw))

    @cached_property
    def ordered(self) -> tuple[Tensor, Tensor]:
        """The sorted values (N, positions) and their order."""
        return sort(self.values.flatten(1).contiguous())

    @cached_property
    def ranks(self) -> Tensor:
        """Ranks (N, positions), centred and of length one: a dot product is a rank correlation."""
        centred = ranks(self.values.flatten(1), self.ordered) - (self.values[0].numel() + 1) / 2
        return F.normalize(centred, dim=1)

    @cached_property
    def means(self) -> tuple[Tensor, Tensor]:
        """Mean and variance (unbiased) in each window of SSIM."""
        mean = _box(self.values)
        return mean, UNBIASED * (_box(self.values.square()) - mean.square())

    def top(self, share: float) -> Tensor:
        """Where the highest `share` of the positions lie: bool (N, positions)."""
        count = math.ceil(share * self.values[0].numel() - 1e-9)
        flat = self.values.flatten(1)
        return (flat >= self.ordered[0][:, -count, None]) & (flat > 0)


UNBIASED = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)


def _box(x: Tensor) -> Tensor:
    """Means over 7x7 windows, those across the border left out: two products with a band matrix."""

    def band(n: int) -> Tensor:
        places = torch.arange(n, device=x.device)[:, None] - torch.arange(
            n - SSIM_WINDOW + 1, device=x.device
        )
        return ((places >= 0) & (places < SSIM_WINDOW)).to(x.dtype) / SSIM_WINDOW

    return band(x.shape[1]).T @ (x @ band(x.shape[2]))


def rmse(a: Maps, b: Maps) -> Tensor:
    """Root mean squared difference of min-max maps: 0 alike, 1 opposite. Times 255: the grey-level scale."""
    return (a.values - b.values).square().mean((1, 2)).sqrt()


def ssim(a: Maps, b: Maps) -> Tensor:
    """Mean structural similarity (Wang et al. 2004), 7x7 uniform window, data range 1; NaN below 7x7.

    Windows that would cross the border are left out, as scikit-image does.
    """
    if min(a.values.shape[1:]) < SSIM_WINDOW:
        return torch.full((len(a.values),), torch.nan, device=a.values.device)
    (ma, va), (mb, vb) = a.means, b.means
    cov = UNBIASED * (_box(a.values * b.values) - ma * mb)
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    return value.mean((1, 2))


def spearman(a: Maps, b: Maps) -> Tensor:
    """Rank correlation over the positions, ties at their mean rank (Spearman 1904): -1 to 1."""
    return (a.ranks * b.ranks).sum(1)


def iou10(a: Maps, b: Maps) -> Tensor:
    """Intersection over union of the 10 % of positions with the highest values: 0 to 1.

    At least one position; positions tied with the last one count too, positions of value 0 never.
    """
    ta, tb = a.top(0.1), b.top(0.1)
    return (ta & tb).sum(1) / (ta | tb).sum(1)


METRICS: dict[str, Callable[[Maps, Maps], Tensor]] = {
    "rmse": rmse,
    "ssim": ssim,
    "spearman": spearman,
    "iou10": iou10,
}


def compare(
    a: np.ndarray | Tensor | Maps,
    b: np.ndarray | Tensor | Maps,
    metrics: Sequence[str] = ("rmse", "ssim", "spearman", "iou10"),
) -> dict[str, np.ndarray]:
    """Compare raw maps pair by pair, after ReLU and min-max normalisation of each.

    Args:
        a, b: float (N, h, w), the same shape; `Maps` where one side is compared many times.
        metrics: of `METRICS`.

    Returns:
        ``{metric: float32 (N,)}``, NaN where either map is degenerate (`medrob.saliency.degenerate`).

    Raises:
        ValueError: an unknown metric, or shapes that differ.
    """
    unknown = [metric for metric in metrics if metric not in METRICS]
    if unknown:
        raise ValueError(
            f"metrics={list(metrics)!r}: unknown {unknown}; the metrics are {', '.join(METRICS)}"
        )
    a, b = (m if isinstance(m, Maps) else Maps(m) for m in (a, b))
    if a.values.shape != b.values.shape:
        raise ValueError(
            f"maps have shapes {tuple(a.values.shape)} and {tuple(b.values.shape)}; give the same"
        )
    bad = a.degenerate | b.degenerate
    if not len(bad):
        return {metric: np.empty(0, np.float32) for metric in metrics}
    found = {metric: METRICS[metric](a, b).float() for metric in metrics}
    return {metric: torch.where(bad, torch.nan, value).cpu().numpy() for metric, value in found.items()}
