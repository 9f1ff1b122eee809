"""Compare maps pair by pair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from medrob.similarity.metrics import HEADLINE, METRICS, check_metrics
from medrob.similarity.prepared import Maps


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
