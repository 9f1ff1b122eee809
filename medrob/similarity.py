"""How alike two saliency maps are, on three scales: min-max, sum-to-one (shares) and ranks.

Left out, since they would say the same twice: Pearson on shares is `pearson`, Pearson on ranks is `spearman`,
and ranks and top positions are those of the raw map on any scale. SSIM on shares is left out too: it needs a
data range, and shares have none of their own (they shrink with the number of positions).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from medrob.saliency.maps import degenerate, normalise, ranks, sort

SSIM_WINDOW = 7
UNBIASED = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
TOPS = (0.1, 0.2)
Windows = tuple[Tensor, Tensor, Tensor]


class Maps:
    """Raw maps (N, h, w), and what the metrics need of them, worked out once and on demand.

    Everything stays on the device of the maps, in float32, or float64 where the maps are.

    Attributes:
        degenerate: bool (N,); see `medrob.saliency.degenerate`. What else is known of such a map is void.
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
    def centred(self) -> Tensor:
        """Min-max maps less their mean (N, h, w)."""
        return self.values - self.values.mean((1, 2), keepdim=True)

    @cached_property
    def shares(self) -> Tensor:
        """Sum-to-one maps (N, h, w): the share of each position in the whole."""
        return normalise(self.positive, "sum")

    @cached_property
    def ordered(self) -> tuple[Tensor, dict[float, Tensor]]:
        """Ranks less their mean (N, h, w), and the value that each of the `TOPS` begins with (N, 1)."""
        flat = self.positive.flatten(1)
        found, order = sort(flat)
        above = found[:, :1].nextafter(
            torch.full_like(found[:, :1], torch.inf)
        )  # the lowest value is never in
        counts = {share: math.ceil(share * flat.shape[1] - 1e-9) for share in TOPS}
        begins = {share: found[:, -count, None].maximum(above) for share, count in counts.items()}
        centred = ranks(flat, (found, order)).sub_((flat.shape[1] + 1) / 2)
        return centred.view_as(self.positive), begins

    @property
    def ranks(self) -> Tensor:
        """Ranks 1 to the number of positions, ties at their mean rank, less the mean of all: (N, h, w)."""
        return self.ordered[0]

    @cached_property
    def tops(self) -> dict[float, Tensor]:
        """For each of `TOPS`, 1 where the highest positions lie, else 0: (N, h, w)."""
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

    @cached_property
    def entropy(self) -> Tensor:
        """Of the shares, in bits (N,)."""
        return _entropy(self.shares)

    @cached_property
    def centre(self) -> Tensor:
        """Centre of mass (row, column), in positions: (N, 2)."""
        shares = self.shares
        rows, columns = (torch.arange(n, device=shares.device, dtype=shares.dtype) for n in shares.shape[1:])
        return torch.stack([shares.sum(2) @ rows, shares.sum(1) @ columns], 1)

    @cached_property
    def energy(self) -> Tensor:
        """Binary logarithm of the sum of the positive values (N,): the highest over its share."""
        return self.positive.amax((1, 2)).log2() - self.shares.amax((1, 2)).log2()


def _entropy(shares: Tensor) -> Tensor:
    bits = shares.clamp_min(torch.finfo(shares.dtype).tiny).log2_()
    return -bits.mul_(shares).sum((1, 2))


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Of maps whose mean is 0."""
    return (a * b).sum((1, 2)) / (_length(a) * _length(b))


def _length(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=(1, 2))


def _box(x: Tensor) -> Tensor:
    """Means over 7x7 windows, those across the border left out; along each side, 7 places as 3 + 3 + 1."""
    for axis in (1, 2):
        n = x.shape[axis] - SSIM_WINDOW + 1
        three = x.narrow(axis, 0, n + 3) + x.narrow(axis, 1, n + 3)
        three += x.narrow(axis, 2, n + 3)
        seven = three.narrow(axis, 0, n) + three.narrow(axis, 3, n)
        seven += x.narrow(axis, 6, n)
        x = seven
    return x.div_(SSIM_WINDOW**2)


def _windows(x: Tensor, *, mean: float = 0.0, data_range: float) -> Windows:
    """Means, their squares plus half of c1, variances plus half of c2 (times 48/49, as the variances are).

    Args:
        x: (N, h, w), less `mean`.
    """
    middle, c1, c2 = _box(x), (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    variance = _box(x.square()).sub_(middle.square()).add_(c2 / 2 / UNBIASED)
    middle += mean
    return middle, middle.square().add_(c1 / 2), variance


def _ssim(a: Tensor, b: Tensor, of_a: Windows, of_b: Windows) -> Tensor:
    """SSIM of maps (N, h, w) and their windows, its two factors written as 1 less a difference.

    That is 1 - (m - n)^2 / (m^2 + n^2 + c1) for means, and 1 - var(a - b) / (var a + var b + c2).
    """
    means = (of_a[0] - of_b[0]).square_()
    spread = _box((a - b).square_()).sub_(means).div_(of_a[2] + of_b[2])
    means.div_(of_a[1] + of_b[1])
    return ((1 - means) * (1 - spread)).mean((1, 2))


def _rmse(a: Tensor, b: Tensor) -> Tensor:
    return _length(a - b) / math.sqrt(math.prod(a.shape[1:]))


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    both = (a * b).sum((1, 2))
    return both / (a.sum((1, 2)) + b.sum((1, 2)) - both)


def _too_small(maps: Maps) -> Tensor | None:
    """NaN (N,) for maps without a whole window of SSIM; None for others."""
    if min(maps.positive.shape[1:]) >= SSIM_WINDOW:
        return None
    return torch.full_like(maps.positive[:, 0, 0], torch.nan)


def rmse(a: Maps, b: Maps) -> Tensor:
    """Root mean squared difference of min-max maps: 0 alike, 1 opposite. Times 255: the grey-level scale."""
    return _rmse(a.values, b.values)


def ssim(a: Maps, b: Maps) -> Tensor:
    """Mean structural similarity (Wang et al. 2004) of min-max maps: -1 to 1, 1 alike; NaN below 7x7.

    7x7 uniform window, data range 1. Windows that would cross the border are left out, as scikit-image does.
    """
    small = _too_small(a)
    return _ssim(a.values, b.values, a.windows, b.windows) if small is None else small


def spearman(a: Maps, b: Maps) -> Tensor:
    """Rank correlation over the positions, ties at their mean rank (Spearman 1904): -1 to 1, 1 alike."""
    return _correlation(a.ranks, b.ranks)


def iou10(a: Maps, b: Maps) -> Tensor:
    """Intersection over union of the 10 % of positions with the highest values: 0 to 1, 1 alike.

    At least one position; positions tied with the last one count too, positions at the map's lowest value
    (0 in most maps, after the ReLU) never.
    """
    return _overlap(a.tops[0.1], b.tops[0.1])


def iou20(a: Maps, b: Maps) -> Tensor:
    """As `iou10`, of the highest 20 %: 0 to 1, 1 alike."""
    return _overlap(a.tops[0.2], b.tops[0.2])


def pearson(a: Maps, b: Maps) -> Tensor:
    """Correlation of the values over the positions (Pearson 1895): -1 to 1, 1 alike."""
    return _correlation(a.centred, b.centred)


def rmse_sum(a: Maps, b: Maps) -> Tensor:
    """Root mean squared difference of sum-to-one maps: 0 alike, at most sqrt(2 / positions).

    Compare layers of one size only: a share is the smaller, the more positions there are.
    """
    return _rmse(a.shares, b.shares)


def rmse_rank(a: Maps, b: Maps) -> Tensor:
    """Root mean squared difference of ranks over the number of positions: 0 alike, opposite under 0.58."""
    return _rmse(a.ranks, b.ranks) / a.ranks[0].numel()


def ssim_rank(a: Maps, b: Maps) -> Tensor:
    """As `ssim`, of rank maps, data range the number of positions: no single peak sets the scale.

    -1 to 1, 1 alike; NaN below 7x7.
    """
    small = _too_small(a)
    return _ssim(a.ranks, b.ranks, a.rank_windows, b.rank_windows) if small is None else small


def jsd(a: Maps, b: Maps) -> Tensor:
    """Jensen-Shannon divergence (Lin 1991) of sum-to-one maps, base 2: 0 alike, 1 nowhere in common.

    The divergence, in bits, not its square root, the distance. It is the entropy of the mean less the mean
    of the entropies, right to about 1e-6 in float32.
    """
    mixed = _entropy((a.shares + b.shares).div_(2))
    return (mixed - (a.entropy + b.entropy) / 2).clamp(0, 1)


def shift(a: Maps, b: Maps) -> Tensor:
    """Way between the centres of mass, in fractions of the map's diagonal: 0 alike, always below 1.

    The diagonal is that of the pixels, border included: a way over the picture is the same number at every
    layer. Mass is the value after the ReLU.
    """
    return torch.linalg.vector_norm(a.centre - b.centre, dim=1) / math.hypot(*a.positive.shape[1:])


def energy_ratio(a: Maps, b: Maps) -> Tensor:
    """Binary logarithm of the energy of b over that of a; energy is the sum of the raw map after the ReLU.

    0 alike, 1 twice as much in b, -1 half as much: finite, and swapped maps only change the sign. The one
    metric that sees the scale of the maps, and the one with a sign: see `apart`.
    """
    return b.energy - a.energy


METRICS: dict[str, Callable[[Maps, Maps], Tensor]] = {
    "rmse": rmse,
    "ssim": ssim,
    "spearman": spearman,
    "iou10": iou10,
    "iou20": iou20,
    "pearson": pearson,
    "rmse_sum": rmse_sum,
    "rmse_rank": rmse_rank,
    "ssim_rank": ssim_rank,
    "jsd": jsd,
    "shift": shift,
    "energy_ratio": energy_ratio,
}
HEADLINE = ("rmse", "ssim", "spearman", "iou10")

# What a higher value means: maps more "alike", further "apart", or "signed": apart the further it is from 0.
DIRECTION: dict[str, str] = {
    **dict.fromkeys(METRICS, "apart"),
    **dict.fromkeys(("ssim", "ssim_rank", "pearson", "spearman", "iou10", "iou20"), "alike"),
    "energy_ratio": "signed",
}


def check_metrics(metrics: Sequence[str] | str) -> list[str]:
    """The metrics without repeats, if all are known; "all" stands for `METRICS`, one name for a list of one.

    Raises:
        ValueError: an unknown metric.
    """
    if isinstance(metrics, str):
        metrics = tuple(METRICS) if metrics == "all" else (metrics,)
    unknown = [metric for metric in metrics if metric not in METRICS]
    if unknown:
        raise ValueError(
            f'metrics={list(metrics)!r}: unknown {unknown}; the metrics are {", ".join(METRICS)}, or "all"'
        )
    return list(dict.fromkeys(metrics))


def apart(metric: str, values: np.ndarray) -> np.ndarray:
    """Values of a metric turned so that higher is further apart: what is alike negated, the sign dropped."""
    (metric,) = check_metrics(metric)
    turned: dict[str, Callable[[np.ndarray], np.ndarray]]
    turned = {"apart": np.positive, "alike": np.negative, "signed": np.abs}
    return turned[DIRECTION[metric]](values)


def compare(
    a: np.ndarray | Tensor | Maps,
    b: np.ndarray | Tensor | Maps,
    metrics: Sequence[str] | str = HEADLINE,
) -> dict[str, np.ndarray]:
    """Compare raw maps pair by pair, after ReLU and the normalisation of each map that the metric asks for.

    Args:
        a, b: floating point (N, h, w), the same shape, on the same device; `Maps` where one side is
            compared many times. Half precision is computed in float32.
        metrics: of `METRICS`; "all" = all of them.

    Returns:
        ``{metric: float32 (N,)}``, NaN where either map is degenerate (`medrob.saliency.degenerate`).

    Raises:
        ValueError: an unknown metric, or shapes that differ.
    """
    metrics = check_metrics(metrics)
    a, b = (m if isinstance(m, Maps) else Maps(m) for m in (a, b))
    if a.positive.shape != b.positive.shape:
        raise ValueError(
            f"maps have shapes {tuple(a.positive.shape)} and {tuple(b.positive.shape)}; give the same"
        )
    bad = a.degenerate | b.degenerate
    if not len(bad) or not metrics:
        return {metric: np.empty(len(bad), np.float32) for metric in metrics}
    found = torch.stack([METRICS[metric](a, b).float() for metric in metrics])
    return dict(zip(metrics, found.masked_fill(bad, torch.nan).cpu().numpy(), strict=True))
