"""What the degenerate maps could change: they are missing where the network sees little, not at random."""

from __future__ import annotations

from typing import Any

import pandas as pd

from medrob.analysis.question import ask
from medrob.analysis.tables import MAP, require_map
from medrob.check import require

LARGEST, SMALLEST = "the largest drift", "the smallest drift"


def sensitivity(
    predictions: pd.DataFrame,
    drift: pd.DataFrame,
    distances: pd.DataFrame,
    *,
    method: str,
    layer: str,
    severity: int,
    metric: str = "rmse",
    resamples: int = 500,
    permutations: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The declared tests once more, with every degenerate map counted as the largest, or smallest, drift.

    Left out, as everywhere else, they make the answer one about the pictures that have a map. These are the
    two extremes of what they could have been, within what this map shows elsewhere in the run.

    Args:
        predictions, drift, distances, metric: as in `failure`. method, layer, severity: of the declared
            family. resamples, permutations, seed: of the intervals and of p.

    Returns:
        The rows of `medrob.analysis.answer.answers` for each extreme, with counted_as ("the largest drift" or
        "the smallest drift"). Empty if no map is degenerate, or all are.

    Raises:
        ValueError: as `failure`; an unknown method or layer.
    """
    require(drift, [*MAP, "degenerate", "severity", metric], "drift")
    require_map(drift, method, layer, "drift")
    own = drift[(drift["method"] == method) & (drift["layer"] == layer)]
    flat = own[metric].isna()
    options: dict[str, Any] = dict(metric=metric, resamples=resamples, permutations=permutations, seed=seed)
    parts = []
    for name, value in ((LARGEST, own[metric].max()), (SMALLEST, own[metric].min())):
        if not flat.any() or flat.all():
            continue
        filled = own.assign(degenerate=False, **{metric: own[metric].fillna(value)})
        found = ask(predictions, filled, distances, method=method, layer=layer, severity=severity, **options)
        parts.append(found.assign(counted_as=name))
    empty = pd.DataFrame(columns=["kind", "verdict", "counted_as"])
    return pd.concat(parts, ignore_index=True) if parts else empty
