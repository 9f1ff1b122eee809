"""How alike two saliency maps are, on three scales: min-max, sum-to-one (shares) and ranks."""

import math
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from medrob.saliency import degenerate, normalise, ranks, sort

SSIM_WINDOW = 7  # as scikit-image's default
UNBIASED = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)  # scikit-image takes sample variances
USUAL = ("rmse", "ssim", "spearman", "iou10")  # those that the figures and tables read


class PreparedMaps:
    """Raw maps (N, h, w), and what the similarities need of them, worked out once and on demand."""

    def __init__(self, raw: np.ndarray | Tensor) -> None:
        raw = raw.detach() if isinstance(raw, Tensor) else torch.from_numpy(np.array(raw))
        raw = raw.float() if raw.dtype in (torch.float16, torch.bfloat16) else raw
        self.degenerate = degenerate(raw)  # bool (N,); all other values of such a map mean nothing
        self.positive = raw.relu().contiguous()

    @cached_property
    def values(self) -> Tensor:
        """Min-max maps, 0-1."""
        return normalise(self.positive)

    @cached_property
    def shares(self) -> Tensor:
        """Sum-to-one maps."""
        return normalise(self.positive, "sum-to-one")

    @cached_property
    def ranks(self) -> Tensor:
        """Ranks, ties at their mean rank, minus the mean of all."""
        flat = self.positive.flatten(1)
        return ranks(flat).sub_((flat.shape[1] + 1) / 2).view_as(self.positive)

    @cached_property
    def sorted(self) -> Tensor:
        """The values of each map in ascending order (N, positions)."""
        return sort(self.positive.flatten(1))

    @cached_property
    def windows(self) -> tuple[Tensor, Tensor, Tensor]:
        """What SSIM needs: means, their squares plus half of c1, variances plus half of c2 times 48/49."""
        means, squares = _box(self.values), _box(self.values.square())
        variances = squares.sub_(means.square()).add_(0.03**2 / 2 / UNBIASED)
        return means, means.square().add_(0.01**2 / 2), variances


Maps = np.ndarray | Tensor | PreparedMaps


def compare(a: Maps, b: Maps, similarities: Sequence[str] = USUAL) -> dict[str, np.ndarray]:
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


def _length(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=(1, 2))


def _rmse(a: Tensor, b: Tensor) -> Tensor:
    return _length(a - b) / math.sqrt(math.prod(a.shape[1:]))


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of maps whose mean is 0."""
    return ((a * b).sum((1, 2)) / (_length(a) * _length(b))).clamp(-1, 1)  # rounding may go beyond


def _overlap(a: PreparedMaps, b: PreparedMaps, share: float) -> Tensor:
    count = math.ceil(share * a.sorted.shape[1] - 1e-9)
    both = [(m.positive, m.sorted[:, -count, None, None], m.sorted[:, 0, None, None]) for m in (a, b)]
    x, y = ((values >= last) & (values > lowest) for values, last, lowest in both)
    return (x & y).sum((1, 2)) / (x | y).sum((1, 2))


def _ssim(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    """Factors 1 - (m - n)^2 / (m^2 + n^2 + c1) for means m, n, and 1 - var(a - b) / (var a + var b + c2)."""
    if min(a.values.shape[1:]) < SSIM_WINDOW:
        return torch.full_like(a.values[:, 0, 0], torch.nan)
    means = (a.windows[0] - b.windows[0]).square_()
    spread = _box((a.values - b.values).square_()).sub_(means).div_(a.windows[2] + b.windows[2])
    means.div_(a.windows[1] + b.windows[1])
    return ((1 - means) * (1 - spread)).mean((1, 2))


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


def _jsd(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    """The entropy of the mean minus the mean of the entropies."""

    def entropy(shares: Tensor) -> Tensor:
        bits = shares.clamp_min(torch.finfo(shares.dtype).tiny).log2_()
        return -bits.mul_(shares).sum((1, 2))

    mixed = entropy((a.shares + b.shares).div_(2))
    return (mixed - (entropy(a.shares) + entropy(b.shares)) / 2).clamp(0, 1)


def _shift(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    """The diagonal is that of the pixels, border included: a shift is the same number at every layer."""
    rows, columns = (torch.arange(n).to(a.shares) for n in a.shares.shape[1:])
    x, y = (torch.stack([m.shares.sum(2) @ rows, m.shares.sum(1) @ columns], 1) for m in (a, b))
    return torch.linalg.vector_norm(x - y, dim=1) / math.hypot(*a.shares.shape[1:])


def _energy_ratio(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    """The sums themselves may overflow; each is the highest value over its share."""
    x, y = (m.positive.amax((1, 2)).log2() - m.shares.amax((1, 2)).log2() for m in (a, b))
    return y - x


# Each gives a value for each pair of maps (N,). To add one, enter its function here.
SIMILARITIES: dict[str, Callable[[PreparedMaps, PreparedMaps], Tensor]] = {
    # Root mean squared difference of min-max maps: 0 alike, 1 opposite. Times 255: the grey-level scale.
    "rmse": lambda a, b: _rmse(a.values, b.values),
    # Mean structural similarity (Wang et al. 2004) of min-max maps, uniform window, data range 1, as in
    # scikit-image: -1 to 1, 1 alike; NaN below 7x7.
    "ssim": _ssim,
    # Rank correlation over the positions, ties at their mean rank (Spearman 1904): -1 to 1, 1 alike.
    "spearman": lambda a, b: _correlation(a.ranks, b.ranks),
    # Intersection over union of the 10 % of positions with the highest values, at least one: 0 to 1, 1 alike.
    # Positions tied with the last one count too; those at the map's lowest value (mostly 0) never do.
    "iou10": lambda a, b: _overlap(a, b, 0.1),
    "iou20": lambda a, b: _overlap(a, b, 0.2),
    # Correlation of the values over the positions (Pearson 1895): -1 to 1, 1 alike.
    "pearson": lambda a, b: _correlation(*(m.values - m.values.mean((1, 2), keepdim=True) for m in (a, b))),
    # As rmse, of sum-to-one maps: at most sqrt(2 / positions), so compare layers of one size only.
    "rmse_sum": lambda a, b: _rmse(a.shares, b.shares),
    # As rmse, of ranks over the number of positions: opposite maps are below 0.58.
    "rmse_rank": lambda a, b: _rmse(a.ranks, b.ranks) / a.positive[0].numel(),
    # Jensen-Shannon divergence (Lin 1991) of sum-to-one maps, in bits: 0 alike, 1 nowhere in common.
    "jsd": _jsd,
    # Distance between the centres of mass, in fractions of the map's diagonal: 0 alike, always below 1.
    "shift": _shift,
    # Binary logarithm of the energy (sum of the raw map after the ReLU) of b over that of a: 0 alike, 1 twice
    # as much in b, -1 half as much. The only similarity that sees the scale of the maps.
    "energy_ratio": _energy_ratio,
}
