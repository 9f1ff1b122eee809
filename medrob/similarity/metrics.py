"""How alike two saliency maps are, on three scales: min-max, sum-to-one (shares) and ranks.

Left out, since they would say the same twice: Pearson on shares is `pearson`, Pearson on ranks is `spearman`,
and ranks and top positions are those of the raw map on any scale. SSIM on shares is left out too: it needs a
data range, and shares have none of their own (they shrink with the number of positions).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from medrob.similarity.prepared import SSIM_WINDOW, Maps, Windows, box, entropy


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Of maps whose mean is 0."""
    return ((a * b).sum((1, 2)) / (_length(a) * _length(b))).clamp(-1, 1)  # beyond by rounding


def _length(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=(1, 2))


def _ssim(a: Tensor, b: Tensor, of_a: Windows, of_b: Windows) -> Tensor:
    """SSIM of maps (N, h, w) and their windows, its two factors written as 1 less a difference.

    That is 1 - (m - n)^2 / (m^2 + n^2 + c1) for means, and 1 - var(a - b) / (var a + var b + c2).
    """
    means = (of_a[0] - of_b[0]).square_()
    spread = box((a - b).square_()).sub_(means).div_(of_a[2] + of_b[2])
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
    mixed = entropy((a.shares + b.shares).div_(2))
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
