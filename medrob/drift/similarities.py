"""How alike two saliency maps are: after the ReLU, each set to 0-1 for itself, or as ranks."""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from medrob.saliency import degenerate, normalise

SSIM_WINDOW = 7  # as scikit-image's default
UNBIASED = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)  # scikit-image takes sample variances


class PreparedMaps:
    """Raw maps (N, h, w), and what the similarities need of them, worked out once and on demand."""

    def __init__(self, raw: np.ndarray | Tensor) -> None:
        raw = raw.detach() if isinstance(raw, Tensor) else torch.from_numpy(np.array(raw))
        self.degenerate = degenerate(raw)  # bool (N,); all other values of such a map mean nothing
        self.positive = raw.relu().contiguous()

    @cached_property
    def values(self) -> Tensor:
        """Min-max maps, 0-1."""
        return normalise(self.positive)

    @cached_property
    def ranks(self) -> Tensor:
        """Ranks, ties at their mean rank, minus the mean of all."""
        flat = self.positive.flatten(1)
        return ranks(flat).sub_((flat.shape[1] + 1) / 2).view_as(self.positive)


Maps = np.ndarray | Tensor | PreparedMaps


def sort(values: Tensor) -> Tensor:
    """Rows of (N, P) in rising order; on the CPU by NumPy, which is ten times as fast."""
    return torch.from_numpy(np.sort(values.numpy(), axis=1)) if values.is_cpu else values.sort(1).values


def ranks(values: Tensor) -> Tensor:
    """Ranks 1..P along the last axis of (N, P), ties given their mean rank."""
    if values.is_cpu:
        return torch.from_numpy(rankdata(values.numpy(), axis=1)).to(values.dtype)
    found = sort(values)
    last = torch.searchsorted(found, values, right=True)
    return (torch.searchsorted(found, values) + last + 1).to(values.dtype) / 2


def _length(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=(1, 2))


def _rmse(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    return _length(a.values - b.values) / a.values[0].numel() ** 0.5


def _ssim(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    """Factors 1 - (m - n)^2 / (m^2 + n^2 + c1) for means m, n, and 1 - var(a - b) / (var a + var b + c2)."""
    if min(a.values.shape[1:]) < SSIM_WINDOW:
        return torch.full_like(a.values[:, 0, 0], torch.nan)
    (m, var_a), (n, var_b) = _moments(a.values), _moments(b.values)
    apart = (m - n).square()
    spread = (_box((a.values - b.values).square()) - apart) / (var_a + var_b)
    means = apart / ((m.square() + 0.01**2 / 2) + (n.square() + 0.01**2 / 2))
    return ((1 - means) * (1 - spread)).mean((1, 2))


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Means over windows, and variances with half of c2, times 48/49."""
    means = _box(values)
    return means, _box(values.square()) - means.square() + 0.03**2 / 2 / UNBIASED


def _box(x: Tensor) -> Tensor:
    """Means over 7x7 windows, without those that cross the border: (N, h - 6, w - 6)."""
    for axis in (1, 2):  # a sum of 7 as 3 + 3 + 1: fewer additions
        n = x.shape[axis] - SSIM_WINDOW + 1
        three = x.narrow(axis, 0, n + 3) + x.narrow(axis, 1, n + 3)
        three += x.narrow(axis, 2, n + 3)
        seven = three.narrow(axis, 0, n) + three.narrow(axis, 3, n)
        seven += x.narrow(axis, 6, n)
        x = seven
    return x.div_(SSIM_WINDOW**2)


def _spearman(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    correlation = (a.ranks * b.ranks).sum((1, 2)) / (_length(a.ranks) * _length(b.ranks))
    return correlation.clamp(-1, 1)  # rounding may go beyond


# Each gives a value for each pair of maps (N,). To add one, enter its function here.
SIMILARITIES: dict[str, Callable[[PreparedMaps, PreparedMaps], Tensor]] = {
    # Root mean squared difference of min-max maps: 0 alike, 1 opposite. Times 255: the grey-level scale.
    "rmse": _rmse,
    # Mean structural similarity (Wang et al. 2004) of min-max maps, uniform window, data range 1, as in
    # scikit-image: -1 to 1, 1 alike; NaN below 7x7.
    "ssim": _ssim,
    # Rank correlation over the positions, ties at their mean rank (Spearman 1904): -1 to 1, 1 alike.
    "spearman": _spearman,
}


def compare(a: Maps, b: Maps, similarities: Sequence[str] = tuple(SIMILARITIES)) -> dict[str, np.ndarray]:
    """Compare raw maps pair by pair, after ReLU and the normalisation of each map that the similarity needs.

    Both are floating point (N, h, w), of one shape; `PreparedMaps` where one side is compared many times.
    Gives ``{similarity: float32 (N,)}``, NaN where either map is degenerate (`medrob.saliency.degenerate`).
    """
    a, b = (maps if isinstance(maps, PreparedMaps) else PreparedMaps(maps) for maps in (a, b))
    if a.positive.shape != b.positive.shape:
        shapes = f"{tuple(a.positive.shape)} and {tuple(b.positive.shape)}"
        raise ValueError(f"maps have shapes {shapes}; give the same")
    values = torch.stack([SIMILARITIES[name](a, b).float() for name in similarities])
    values = values.masked_fill(a.degenerate | b.degenerate, torch.nan)
    return dict(zip(similarities, values.cpu().numpy(), strict=True))
