"""What the maps say: which are explained, how far they move, which are the same. Of notebook 04."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from medrob import analysis
from medrob.analysis import CONDITION, MAP
from medrob.words.phrases import corruption, count, finding, listed, name, number, of_map, place, text

NEAR = 0.99  # median rank correlation of two methods' maps above which they are hardly two; declared


def chosen(counts: Mapping[str, int], how: str) -> str:
    """How many images of each class are explained, and which: "random", "correct" or "wrong" ones."""
    classes = listed([f"{number} of {name(label)}" for label, number in counts.items()])
    return f"{count(sum(counts.values()), 'image')} are explained ({how}): {classes}."


def explained(image: int, classes: Sequence[str], method: str) -> str:
    """Which class the maps of one image explain, or which ones, row by row."""
    rows = ", ".join(map(name, classes)) if len(set(classes)) > 1 else name(classes[0])
    return f"Image {image}: the maps explain {rows}, by {name(method)}."


def drift(drift: pd.DataFrame) -> str:
    """How many comparisons there are, how often the prediction is kept, what is degenerate and where most."""
    flat = drift.groupby([*MAP, *CONDITION], sort=False, observed=True)["degenerate"].mean()
    kept, lost = f"{drift['preserved'].mean():.1%}", f"{drift['degenerate'].mean():.1%}"
    begin = f"There are {count(len(drift), 'comparison')} of {count(drift['image'].nunique(), 'image')}."
    begin += f" The prediction is kept in {kept} of them, and {lost} are degenerate."
    if not flat.max():
        return begin
    worst = dict(zip(flat.index.names, flat.index[flat.argmax()], strict=True))
    where = f"{place(worst)} under {corruption(worst['corruption'])} at severity {worst['severity']}"
    flipped = 1 - drift.loc[drift["degenerate"], "preserved"].mean()
    end = f"Of the degenerate, {flipped:.0%} are flipped predictions. They are left out below."
    return text(begin, f"Most are degenerate for {where} ({flat.max():.0%}).", end)


def headline(drift: pd.DataFrame, *, severity: int) -> str:
    """The map that is declared for the tests, and how many of its maps are degenerate."""
    rows = of_map(drift, "drift", *analysis.headline(drift))
    flat, at = rows["degenerate"].astype(bool), rows["severity"] == severity
    limit = "at most" if flat.mean() <= 0.1 else "no layer has at most"
    where = f"{place(rows.iloc[0])}, severity {severity} ({limit} a tenth of the maps degenerate)"
    here = f"{(flat & at).sum()} of {at.sum()} at severity {severity}"
    total = count(len(rows), "map")
    return f"The declared map is {where}: {flat.sum()} of its {total} are degenerate, {here}."


def twins(drift: pd.DataFrame, alike: pd.DataFrame | None = None) -> str:
    """Which methods give the same map, and, if `alike` (`medrob.trust.between`) is given, nearly the same."""
    same, lines, near = analysis.twins(drift), [], ""
    for (layer, first), group in same.groupby(["layer", "same_as"], sort=False):
        methods = listed(map(name, [first, *group["method"]]))
        lines.append(f"At {name(layer)}, {methods} give one map: one piece of evidence.")
    if not lines and drift["method"].nunique() > 1:
        lines.append("No two methods give the same map: each is evidence of its own.")
    if alike is not None:
        repeated = set(zip(same["method"], same["layer"], strict=True))
        pairs = [
            f"{name(row.method)} and {name(row.other)} at {name(row.layer)} ({row.value:.3f})"
            for row in alike[alike["value"] > NEAR].itertuples()
            if not {(row.method, row.layer), (row.other, row.layer)} & repeated
        ]
        limit = f"median rank correlation above {NEAR} over {count(alike['images'].max(), 'image')}"
        near = f"Nearly the same map ({limit}), and so hardly two pieces of evidence: "
        near += f"{', '.join(pairs) or 'none'}."
    return text(*lines, near)


def normalised(strata: pd.DataFrame, *, method: str, layer: str, severity: int) -> str:
    """How far a map moves where 1 is another image's map: all, preserved and flipped predictions."""
    rows = of_map(strata[strata["severity"] == severity], "strata", method, layer)
    numbers = [number(finding(row), ".2f", count(row["images"], "image")) for row in rows.to_dict("records")]
    lines = [f"{stratum}: {value}" for stratum, value in zip(rows["stratum"], numbers, strict=True)]
    where = f"{place(rows.iloc[0])} at severity {severity}"
    return text(f"The normalised drift of {where} (1: as far as another image's map) is", lines)
