"""What the maps of a run say: how far they move, which one is declared, which are the same."""

from __future__ import annotations

import pandas as pd

from medrob import analysis
from medrob.analysis.tables import CONDITION, MAP
from medrob.check import require

NEAR = 0.99  # median rank correlation of two methods' maps above which they are hardly two; declared


def drift(drift: pd.DataFrame) -> str:
    """In words: how many comparisons, how often the prediction is kept, what is degenerate and where most."""
    require(drift, ["image", *CONDITION, *MAP, "preserved", "degenerate"], "drift")
    lost = drift.groupby([*MAP, *CONDITION], sort=False, observed=True)["degenerate"].mean()
    text = (
        f"{len(drift)} comparisons of {drift['image'].nunique()} images; prediction kept in "
        f"{drift['preserved'].mean():.1%}; {drift['degenerate'].mean():.1%} degenerate"
    )
    if not lost.max():
        return f"{text}."
    method, layer, corruption, severity = lost.index[lost.argmax()]
    flipped = 1 - drift.loc[drift["degenerate"], "preserved"].mean()
    return (
        f"{text},\nmost of {method} at {layer} under {corruption.replace('_', ' ')} at severity {severity}, "
        f"{lost.max():.0%}; "
        f"of the degenerate {flipped:.0%} are flipped predictions. They are left out below."
    )


def headline(drift: pd.DataFrame, *, severity: int) -> str:
    """In words: the map that `headline` chooses, and how many of its maps are degenerate.

    Args:
        drift: from `medrob.drift.measure`. severity: of the declared tests.
    """
    require(drift, ["severity"], "drift")
    method, layer = analysis.headline(drift)
    own = drift[(drift["method"] == method) & (drift["layer"] == layer)]
    bad = own["degenerate"].astype(bool)
    at = own["severity"] == severity
    limit = "at most" if bad.mean() <= 0.1 else "no layer has at most"
    return (
        f"Declared: {method} at {layer}, severity {severity} ({limit} a tenth of the maps degenerate): "
        f"{bad.sum()} of its {len(own)} maps are, {(bad & at).sum()} of {at.sum()} at severity {severity}."
    )


def twins(drift: pd.DataFrame, alike: pd.DataFrame | None = None) -> str:
    """In words: which methods are the same map, and where; and which are nearly the same.

    Args:
        drift: from `medrob.drift.measure`.
        alike: from `medrob.trust.between`: pairs above a median rank correlation of 0.99 are named, but
            remain two methods. None = not looked at.
    """
    found = analysis.twins(drift)
    lines = []
    for (layer, one), group in found.groupby(["layer", "same_as"], sort=False):
        lines.append(f"{layer}: {' = '.join([one, *group['method']])} are one map, one piece of evidence.")
    if not lines and drift["method"].nunique() > 1:
        lines.append("No two methods give the same map: each is evidence of its own.")
    if alike is not None:
        repeated = set(zip(found["method"], found["layer"], strict=True))
        near = [
            f"{row.layer}: {row.method} ~ {row.other} ({row.value:.3f})"
            for row in alike[alike["value"] > NEAR].itertuples()
            if not {(row.method, row.layer), (row.other, row.layer)} & repeated
        ]
        lines.append(
            f"Nearly the same map (median rank correlation above {NEAR}, {alike['images'].max()} images), "
            f"hardly two pieces of evidence: {', '.join(near) or 'none'}."
        )
    return "\n".join(lines)
