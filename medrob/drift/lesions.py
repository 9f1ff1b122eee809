"""Where maps lie against lesions: energy, pointing game and overlap of one map and one mask."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from medrob.saliency import degenerate, upsample

LOCALISATION = ("energy", "pointing", "iou")
TIED = 1e-6  # relative to the maximum: bilinear interpolation rounds, so equal peaks may differ by this


def localise(maps: Tensor, masks: Tensor) -> dict[str, Tensor]:
    """How well maps lie on lesions, after the ReLU and enlarged to the mask (bilinear).

    ``energy``: share of the map inside the mask (Wang et al. 2020).
    ``pointing``: is the highest pixel inside? (Zhang et al. 2018, without their margin); if several pixels
    are the highest, the share of them inside.
    ``iou``: intersection over union of the mask and as many of the highest pixels; of pixels tied at the
    last place each counts in part.

    Args:
        maps: raw, (N, h, w). masks: bool (N, H, W).

    Returns:
        ``{name: float32 (N,)}``, 0-1; NaN where the map is degenerate or the mask empty.

    Raises:
        ValueError: shapes that do not fit, masks that are not boolean.
    """
    if maps.ndim != 3 or masks.ndim != 3 or len(maps) != len(masks) or masks.dtype != torch.bool:
        raise ValueError(
            f"maps are {tuple(maps.shape)}, masks {masks.dtype} {tuple(masks.shape)}; give maps (N, h, w) "
            "and as many masks, bool (N, H, W)"
        )
    inside = masks.flatten(1)
    bad = degenerate(maps) | ~inside.any(1)
    size = (masks.shape[1], masks.shape[2])
    values = upsample(torch.nan_to_num(maps.float()).relu(), size).flatten(1)
    # Divided by the maximum first, so that no sum of tiny or huge values leaves the range of float32.
    values = values / values.amax(1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
    top = values >= 1 - TIED
    measured = {
        "energy": (values * inside).sum(1) / values.sum(1),
        "pointing": (top & inside).sum(1) / top.sum(1),
        "iou": _iou(values, inside),
    }
    return {name: torch.where(bad, torch.nan, value) for name, value in measured.items()}


def _iou(values: Tensor, inside: Tensor) -> Tensor:
    """IoU of (N, P) inside and as many of the highest values, ties at the last place counted in part."""
    area = inside.sum(1)
    if values.device.type == "cpu":  # NumPy sorts floats ten times as fast
        ordered = torch.from_numpy(np.sort(values.numpy(), axis=1))
    else:
        ordered = values.sort(1).values
    last = ordered.gather(1, (values.shape[1] - area.clamp_min(1))[:, None])
    above, tied = values > last, values == last
    part = (area - above.sum(1)) / tied.sum(1)
    shared = (above & inside).sum(1) + part * (tied & inside).sum(1)
    return shared / (2 * area - shared)
