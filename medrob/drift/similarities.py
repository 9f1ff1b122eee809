"""How alike two saliency maps are, on three scales: min-max, sum-to-one (shares) and ranks.

Some combinations are left out. Pearson on shares is `pearson`, Pearson on ranks is `spearman`, and ranks and
top positions do not depend on the scale. SSIM on shares needs a data range, and shares have none of their
own: they shrink with the number of positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from medrob.drift.prepared_maps import SSIM_WINDOW, PreparedMaps, Windows, box

Similarity = Callable[[PreparedMaps, PreparedMaps], Tensor]
SIMILARITIES: dict[str, Similarity] = {}
USUAL = ("rmse", "ssim", "spearman", "iou10")  # those that the figures and tables read


def compare(
    a: np.ndarray | Tensor | PreparedMaps,
    b: np.ndarray | Tensor | PreparedMaps,
    similarities: Sequence[str] | str = USUAL,
) -> dict[str, np.ndarray]:
    """Compare raw maps pair by pair, after ReLU and the normalisation of each map that the similarity needs.

    Args:
        a, b: floating point (N, h, w), the same shape, on the same device; `PreparedMaps` where one side is
            compared many times. Half precision is computed in float32.
        similarities: names of `SIMILARITIES`; "all" = all of them.

    Returns:
        ``{similarity: float32 (N,)}``, NaN where either map is degenerate (`medrob.saliency.degenerate`).

    Raises:
        ValueError: an unknown similarity, or shapes that differ.
    """
    names = check_similarities(similarities)
    a, b = (maps if isinstance(maps, PreparedMaps) else PreparedMaps(maps) for maps in (a, b))
    if a.positive.shape != b.positive.shape:
        raise ValueError(
            f"maps have shapes {tuple(a.positive.shape)} and {tuple(b.positive.shape)}; give the same"
        )
    bad = a.degenerate | b.degenerate
    if not len(bad):
        return {name: np.empty(0, np.float32) for name in names}
    values = torch.stack([SIMILARITIES[name](a, b).float() for name in names])
    return dict(zip(names, values.masked_fill(bad, torch.nan).cpu().numpy(), strict=True))


def check_similarities(names: Sequence[str] | str) -> list[str]:
    """The names without repeats, if all are known; "all" stands for `SIMILARITIES`.

    Raises:
        ValueError: an unknown name, or none.
    """
    if isinstance(names, str):
        names = tuple(SIMILARITIES) if names == "all" else (names,)
    unknown = [name for name in names if name not in SIMILARITIES]
    if unknown or not len(names):
        raise ValueError(
            f"similarities={list(names)!r}: unknown {unknown}; the similarities are "
            f'{", ".join(SIMILARITIES)}, or "all"'
        )
    return list(dict.fromkeys(names))


def similarity(function: Similarity) -> Similarity:
    """Register a function of two `PreparedMaps` that gives a value for each pair of maps (N,)."""
    SIMILARITIES[function.__name__] = function
    return function


@similarity
def rmse(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    """Root mean squared difference of min-max maps: 0 alike, 1 opposite. Times 255: the grey-level scale."""
    return _rmse(a.values, b.values)


@similarity
def ssim(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    """Mean structural similarity (Wang et al. 2004) of min-max maps: -1 to 1, 1 alike; NaN below 7x7.

    7x7 uniform window, data range 1. Windows that cross the border are left out, as in scikit-image.
    """
    return _ssim(a, b, "values", "windows")


@similarity
def spearman(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    """Rank correlation over the positions, ties at their mean rank (Spearman 1904): -1 to 1, 1 alike."""
    return _correlation(a.ranks, b.ranks)


@similarity
def iou10(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    """Intersection over union of the 10 % of positions with the highest values: 0 to 1, 1 alike.

    At least one position; positions tied with the last one count too, positions at the map's lowest value
    (0 in most maps, after the ReLU) never.
    """
    return _overlap(a.tops[0.1], b.tops[0.1])


@similarity
def iou20(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    """As `iou10`, of the highest 20 %: 0 to 1, 1 alike."""
    return _overlap(a.tops[0.2], b.tops[0.2])


@similarity
def pearson(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    """Correlation of the values over the positions (Pearson 1895): -1 to 1, 1 alike."""
    x, y = (maps.values - maps.values.mean((1, 2), keepdim=True) for maps in (a, b))
    return _correlation(x, y)


@similarity
def rmse_sum(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    """Root mean squared difference of sum-to-one maps: 0 alike, at most sqrt(2 / positions).

    Compare layers of one size only: the more positions there are, the smaller is each share.
    """
    return _rmse(a.shares, b.shares)


@similarity
def rmse_rank(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    """Root mean squared difference of ranks over the number of positions: 0 alike, opposite under 0.58."""
    return _rmse(a.ranks, b.ranks) / a.ranks[0].numel()


@similarity
def ssim_rank(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    """As `ssim`, of rank maps, data range the number of positions: no single peak sets the scale."""
    return _ssim(a, b, "ranks", "rank_windows")


@similarity
def jsd(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    """Jensen-Shannon divergence (Lin 1991) of sum-to-one maps, base 2: 0 alike, 1 nowhere in common.

    The divergence, in bits, not its square root, the distance. It is the entropy of the mean minus the mean
    of the entropies, right to about 1e-6 in float32.
    """
    mixed = _entropy((a.shares + b.shares).div_(2))
    return (mixed - (_entropy(a.shares) + _entropy(b.shares)) / 2).clamp(0, 1)


@similarity
def shift(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    """Distance between the centres of mass, in fractions of the map's diagonal: 0 alike, always below 1.

    The diagonal is that of the pixels, border included: a shift over the picture is the same number at
    every layer. Mass is the value after the ReLU.
    """
    moved = _centre(a.shares) - _centre(b.shares)
    return torch.linalg.vector_norm(moved, dim=1) / math.hypot(*a.positive.shape[1:])


@similarity
def energy_ratio(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    """Binary logarithm of the energy of b over that of a; energy is the sum of the raw map after the ReLU.

    0 alike, 1 twice as much in b, -1 half as much: finite, and swapped maps only change the sign. The only
    similarity that sees the scale of the maps.
    """
    # The sums themselves may overflow; each is the highest value over its share.
    x, y = (m.positive.amax((1, 2)).log2() - m.shares.amax((1, 2)).log2() for m in (a, b))
    return y - x


def _rmse(a: Tensor, b: Tensor) -> Tensor:
    return _length(a - b) / math.sqrt(math.prod(a.shape[1:]))


def _length(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=(1, 2))


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of maps whose mean is 0."""
    return ((a * b).sum((1, 2)) / (_length(a) * _length(b))).clamp(-1, 1)  # rounding may go beyond


def _entropy(shares: Tensor) -> Tensor:
    """Entropy in bits (N,) of shares (N, h, w)."""
    bits = shares.clamp_min(torch.finfo(shares.dtype).tiny).log2_()
    return -bits.mul_(shares).sum((1, 2))


def _centre(shares: Tensor) -> Tensor:
    """Centre of mass (row, column) of shares (N, h, w), in positions: (N, 2)."""
    rows, columns = (torch.arange(n, device=shares.device, dtype=shares.dtype) for n in shares.shape[1:])
    return torch.stack([shares.sum(2) @ rows, shares.sum(1) @ columns], 1)


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    both = (a * b).sum((1, 2))
    return both / (a.sum((1, 2)) + b.sum((1, 2)) - both)


def _ssim(a: PreparedMaps, b: PreparedMaps, maps: str, windows: str) -> Tensor:
    """SSIM of the attribute `maps`, given their `windows`; NaN (N,) for maps smaller than a window.

    Its two factors are written as 1 minus a difference, which keeps more digits where maps are alike:
    1 - (m - n)^2 / (m^2 + n^2 + c1) for means m and n, and 1 - var(a - b) / (var a + var b + c2).
    """
    if min(a.positive.shape[1:]) < SSIM_WINDOW:
        return torch.full_like(a.positive[:, 0, 0], torch.nan)
    of_a: Windows = getattr(a, windows)
    of_b: Windows = getattr(b, windows)
    means = (of_a[0] - of_b[0]).square_()
    spread = box((getattr(a, maps) - getattr(b, maps)).square_()).sub_(means).div_(of_a[2] + of_b[2])
    means.div_(of_a[1] + of_b[1])
    return ((1 - means) * (1 - spread)).mean((1, 2))
