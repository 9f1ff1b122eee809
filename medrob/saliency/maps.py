"""What is done to raw maps: ReLU and normalisation, enlargement, and the flag of a map without content."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

NORMALISATIONS = ("min-max", "sum-to-one", "rank")
MIN_POSITIONS = 4

Array = TypeVar("Array", np.ndarray, Tensor)
P = ParamSpec("P")


def _any_kind(
    function: Callable[Concatenate[Tensor, P], Tensor],
) -> Callable[Concatenate[Array, P], Array]:
    """Let a function of maps take NumPy arrays too, and give back the kind that came; check their shape."""

    @functools.wraps(function)
    def wrapped(maps: Array, *args: P.args, **kwargs: P.kwargs) -> Array:
        given = maps if isinstance(maps, Tensor) else torch.from_numpy(np.array(maps))
        if given.ndim != 3 or not given.is_floating_point():
            raise ValueError(f"maps are {given.dtype} {tuple(given.shape)}; give floating point (N, h, w)")
        found = function(given, *args, **kwargs)
        return found if isinstance(maps, Tensor) else found.numpy()

    return wrapped


@_any_kind
def normalise(maps: Tensor, how: str = "min-max") -> Tensor:
    """ReLU, then each map for itself to a common scale.

    Args:
        maps: raw, (N, h, w), a NumPy array or a tensor.
        how: "min-max" = to 0-1; "sum-to-one" = to shares of the whole; "rank" = average ranks over the
            number of positions, in 0-1, ties shared. A map that is flat after the ReLU becomes 0 ("rank": 0.5
            and a bit): ask `degenerate` before reading anything into it.

    Returns:
        The same shape and kind.
    """
    if how not in NORMALISATIONS:
        raise ValueError(f"how={how!r} is unknown; the normalisations are {', '.join(NORMALISATIONS)}")
    flat = maps.relu().flatten(1)
    if how == "min-max":
        flat = flat - flat.amin(1, keepdim=True)
        flat = flat / flat.amax(1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    elif how == "sum-to-one":  # by the highest value first, so that no sum overflows
        flat = flat / flat.amax(1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
        flat = flat / flat.sum(1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    else:
        flat = ranks(flat) / flat.shape[1]
    return flat.view(maps.shape)


def sort(values: Tensor) -> tuple[Tensor, Tensor]:
    """Sort rows of (N, P), none negative: the sorted values, and the order, int64.

    On the CPU, value and place of float32 are packed into one integer and sorted by NumPy, six times as
    fast as a sort with indices: the bits of floats that are not negative are in the order of the floats.
    """
    if values.device.type != "cpu" or values.dtype != torch.float32:
        return values.sort(1)
    keys = values.numpy().view(np.int32).astype(np.int64)
    keys <<= 32
    keys |= np.arange(values.shape[1])
    keys.sort(axis=1)
    found = (keys >> 32).astype(np.int32).view(np.float32)
    keys &= 0xFFFFFFFF
    return torch.from_numpy(found), torch.from_numpy(keys)


def ranks(values: Tensor, ordered: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Ranks 1..P along the last axis of (N, P), ties given their mean rank (as SciPy's rankdata).

    Args:
        values: not negative. ordered: what `sort` gives for them, if it is known.
    """
    found, order = ordered or sort(values)
    (n, positions), dtype = found.shape, values.dtype
    same = torch.zeros(n, positions + 1, dtype=torch.bool, device=values.device)
    torch.eq(found[:, 1:], found[:, :-1], out=same[:, 1:-1])
    before, after = same[:, :-1], same[:, 1:]  # equal to the value before, to the value after
    first, last = (before ^ after).nonzero()[:, 1].view(-1, 2).T  # ends of the runs of ties
    shared = ((first + last + 2).to(dtype) / 2).repeat_interleave(last - first + 1)
    place = torch.arange(1, positions + 1, dtype=dtype, device=values.device).repeat(n, 1)
    return torch.empty_like(place).scatter_(1, order, place.masked_scatter_(before | after, shared))


@_any_kind
def degenerate(maps: Tensor) -> Tensor:
    """Which maps (N, h, w) say nothing: fewer than 4 positions, no positive value, or zero spread; bool (N,).

    Spread is judged after the ReLU, and to a relative precision of 1e-6; a value counts as positive from
    the smallest number that floating point keeps to full precision. A map with NaN or infinity is degenerate.
    """
    flat = maps.relu().flatten(1)
    if flat.shape[1] < MIN_POSITIONS:
        return torch.ones(len(maps), dtype=torch.bool, device=maps.device)
    high, low = flat.amax(1), flat.amin(1)
    return ~((high - low > 1e-6 * high) & (high >= torch.finfo(flat.dtype).tiny))


@_any_kind
def upsample(maps: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Maps (N, h, w) enlarged to (N, size, size), or to (N, *size), bilinear, pixel centres as in OpenCV."""
    sides = np.asarray(size)
    if sides.shape not in ((), (2,)) or sides.dtype.kind not in "iu" or (sides < 1).any():
        raise ValueError(f"size={size!r}: give a whole number of pixels of at least 1, or (height, width)")
    return F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
