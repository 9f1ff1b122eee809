"""Layouts of a layer's output: transformers give tokens, CAMs need maps (N, K, h, w).

Read as maps without being told: (N, K, h, w) of convolutions; (N, h, w, K) of Swin, of a linear
layer and of a LayerNorm; tokens (N, T, K) that fill a square grid, with or without one class token before
them. A module of your own says what else it gives by an attribute, set on the module or its class::

    block.channel_axis = -1    # it gives (N, h, w, K), not (N, K, h, w)
    block.token_grid = (7, 9)  # its last 63 tokens lie on 7 rows and 9 columns; those before have no place
"""

from __future__ import annotations

from math import isqrt

from torch import Tensor, nn

# Classes of torchvision and timm that give (N, h, w, K), beside linear layers and LayerNorm.
CHANNELS_LAST = {
    *("SwinTransformerBlock", "SwinTransformerV2Block", "ShiftedWindowAttention"),
    *("PatchMerging", "PatchMergingV2"),
}


def channel_axis(module: nn.Module | None, output: Tensor) -> int:
    """Which axis of a layer's own output holds the channels: 1 of (N, K, h, w), else the last.

    Args:
        module: the layer; None = one of no known type.
        output: what it gives, (N, K, h, w), (N, h, w, K) or (N, T, K).
    """
    stated = getattr(module, "channel_axis", None)
    if stated is not None:
        return int(stated) % output.ndim
    return 1 if output.ndim == 4 and not _channels_last(module) else output.ndim - 1


def to_maps(module: nn.Module | None, output: Tensor) -> Tensor:
    """A layer's output, or the gradient of it, as maps (N, K, h, w): a view, without tokens of no place.

    Args:
        module, output: see `channel_axis`.

    Raises:
        ValueError: an output of another number of axes, or tokens that fill no grid.
    """
    if output.ndim not in (3, 4):
        raise ValueError("give (N, K, h, w), (N, h, w, K) or tokens (N, T, K)")
    maps = output.movedim(channel_axis(module, output), 1)
    if maps.ndim == 4:
        return maps
    height, width = _grid(module, maps.shape[2])
    return maps[:, :, maps.shape[2] - height * width :].unflatten(2, (height, width))


def _channels_last(module: nn.Module | None) -> bool:
    while isinstance(module, nn.Sequential) and len(module):
        module = module[-1]
    kinds = [c for c in type(module).__mro__ if c.__module__.partition(".")[0] in ("timm", "torchvision")]
    known = {kind.__name__ for kind in kinds}
    if "LayerNorm2d" in known:  # it takes and gives (N, K, h, w)
        return False
    return isinstance(module, (nn.LayerNorm, nn.Linear)) or bool(known & CHANNELS_LAST)


def _grid(module: nn.Module | None, tokens: int) -> tuple[int, int]:
    """Rows and columns: those stated, or a square of all tokens, or of all but a class token."""
    stated = getattr(module, "token_grid", None)
    if stated is not None:
        height, width = map(int, stated)
        if not 0 < height * width <= tokens:
            raise ValueError(f"its token_grid is {height} x {width}, but it has {tokens} tokens")
        return height, width
    for places in (tokens, tokens - 1):
        if places > 0 and isqrt(places) ** 2 == places:
            return isqrt(places), isqrt(places)
    raise ValueError(
        f"its {tokens} tokens fill no square, with or without a class token; "
        "set token_grid = (rows, columns) on the module (medrob.models.tokens)"
    )
