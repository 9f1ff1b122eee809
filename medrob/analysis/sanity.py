"""What randomisation says of a method: has it a claim to stability at all?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob.analysis.tables import MAP, require

EVERYTHING = "all"  # the last stage of `medrob.trust.randomisation`
# Declared before looking at any result. Adebayo et al. (2018) give no number; at a rank correlation of
# one half a quarter of the variance of the ranks is shared.
THRESHOLD = 0.5


def verdicts(trust: pd.DataFrame) -> pd.DataFrame:
    """What randomisation says of each method and layer, by a rule fixed beforehand.

    Judged is the network without any trained weight: while lower layers are kept, their activations hold
    a map in place whatever the method (Sixt et al. 2020; Binder et al. 2023; Hedstrom et al. 2024).

    Args:
        trust: holds the rows of `randomisation`.

    Returns:
        method, layer, value, low, high, images, verdict: "failed" = the interval of the rank correlation
        lies wholly above 0.5, "passed" = wholly at or below, "unclear" = across, "not testable" = every
        map by the random networks, or by the trained one, is degenerate.
    """
    require(trust, [*MAP, "test", "stage", "value", "low", "high", "images"], "trust")
    rows = trust[(trust["test"] == "randomisation") & (trust["stage"] == EVERYTHING)]
    verdict = np.select(
        [rows["images"] == 0, rows["low"] > THRESHOLD, rows["high"] <= THRESHOLD],
        ["not testable", "failed", "passed"],
        "unclear",
    )
    columns = ["method", "layer", "value", "low", "high", "images"]
    return rows[columns].assign(verdict=verdict).reset_index(drop=True)


def failed(trust: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    """The (method, layer) pairs that fail randomisation (`verdicts`): they have no claim to stability."""
    rows = verdicts(trust)
    rows = rows[rows["verdict"] == "failed"]
    return tuple(zip(rows["method"], rows["layer"], strict=True))


def say_randomisation(trust: pd.DataFrame) -> str:
    """In words: which methods at which layers fail, are unclear or cannot be tested."""
    rows = verdicts(trust)
    lines = []
    for verdict, words in (
        ("failed", "fail randomisation (their maps stay much the same by a network that has learnt nothing)"),
        ("unclear", "are unclear (the interval lies across the limit)"),
        ("not testable", "cannot be tested (every map of one of the networks is degenerate)"),
    ):
        found = rows[rows["verdict"] == verdict]
        if len(found):
            where = "; ".join(
                f"{method} at {', '.join(group['layer'])}"
                for method, group in found.groupby("method", sort=False)
            )
            lines.append(f"{len(found)} of {len(rows)} maps {words}: {where}.")
    passed = (rows["verdict"] == "passed").sum()
    lines.append(f"{passed} of {len(rows)} depend on what the network has learnt.")
    return "\n".join(lines)


def say_localisation(trust: pd.DataFrame, *, method: str, layer: str) -> str:
    """In words: does the map lie on the lesion when clean, and does it still at the highest severity?

    Args:
        trust: holds the rows of `medrob.trust.localisation`.
        method, layer: of the map.
    """
    require(trust, [*MAP, "test", "corruption", "severity", "value", "low", "high", "chance"], "trust")
    rows = trust[(trust["method"] == method) & (trust["layer"] == layer) & (trust["test"] == "energy")]
    clean = rows[rows["corruption"] == "clean"]
    if clean.empty or not np.isfinite(clean["value"].iloc[0]):
        return f"{method} at {layer}: no clean map of an image with a lesion can be compared."
    first = clean.iloc[0]
    above = first["low"] > first["chance"]
    begin = (
        f"Clean: {first['value']:.0%} of the map lies inside the lesion ({first['low']:.0%} to "
        f"{first['high']:.0%}); chance is {first['chance']:.0%}, so it "
        f"{'looks at the lesion' if above else 'is not shown to look at the lesion'}."
    )
    dirty = rows[rows["severity"] == rows["severity"].max()]
    if not above or not len(dirty) or dirty["severity"].iloc[0] == 0:
        return begin
    names = {verdict: list(part["corruption"]) for verdict, part in dirty.groupby(_place(dirty))}
    severity = dirty["severity"].iloc[0]
    parts = [
        f"{words} under {', '.join(names[verdict])}"
        for verdict, words in (
            ("above", "it still does"),
            ("not above", "it is no longer shown to"),
            ("nothing", "no map is left to judge"),
        )
        if verdict in names
    ]
    return f"{begin}\nAt severity {severity} {'; '.join(parts)}."


def _place(rows: pd.DataFrame) -> pd.Series:
    """Where the interval of each row lies: above chance, not above, or there is nothing."""
    return pd.Series(
        np.select([rows["value"].isna(), rows["low"] > rows["chance"]], ["nothing", "above"], "not above"),
        rows.index,
    )
