"""Pixels taken out and made up from their neighbours: noisy linear imputation (Rong et al. 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TOLERANCE = 1e-3  # of the residual, in grey levels


def impute(images: Tensor, removed: Tensor) -> Tensor:
    """Replace pixels so that each is the weighted mean of its eight neighbours.

    Direct neighbours weigh 1/6, diagonal ones 1/12, less those beyond the border (Rong et al. 2022). The
    equations are symmetric and positive definite; conjugate gradients solve those of all images at once.
    No noise is added here.

    Args:
        images: float (N, C, H, W), grey levels 0-255. removed: bool (N, H, W), not all of an image.

    Returns:
        float (N, C, H, W); the pixels that are kept are the same.
    """
    free = removed[:, None]
    kept = (~free).sum((2, 3), keepdim=True).clamp_min(1)
    level = torch.where(free, 0, images).sum((2, 3), keepdim=True) / kept  # first guess: the mean
    image = torch.where(free, 0, images - level)
    weight = _neighbours(torch.ones_like(image[:1, :1]))

    def product(x: Tensor) -> Tensor:
        return torch.where(free, weight * x - _neighbours(x), 0)

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum((2, 3), keepdim=True)

    x = torch.zeros_like(image)
    residual = torch.where(free, _neighbours(image), 0)
    direction, length = residual, dot(residual, residual)
    tiny = torch.finfo(image.dtype).tiny
    for step in range(4 * sum(image.shape[2:])):
        if step % 8 == 0 and not (residual.abs() > TOLERANCE).any():
            break
        moved = product(direction)
        pace = length / dot(direction, moved).clamp_min(tiny)
        x, residual = x + pace * direction, residual - pace * moved
        longer = dot(residual, residual)
        direction, length = residual + longer / length.clamp_min(tiny) * direction, longer
    return torch.where(free, x + level, images)


def _neighbours(x: Tensor) -> Tensor:
    """Weighted sum of the eight neighbours of each position of (N, C, H, W), nothing beyond the border."""
    wide = F.pad(x, (1, 1, 1, 1))
    rows = wide[..., :-2, :] + 2 * wide[..., 1:-1, :] + wide[..., 2:, :]
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:] - 4 * x) / 12
