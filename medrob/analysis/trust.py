"""What the checks of trust say of the methods of a run, by rules fixed before looking, and in words."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob.analysis.tables import MAP, require

EVERYTHING = "all"  # the last stage of `medrob.trust.randomisation`
# Declared before looking at any result. Adebayo et al. (2018) give no number; at a rank correlation of
# one half a quarter of the variance of the ranks is shared.
THRESHOLD = 0.5
# Each test of faithfulness, and 1 where a higher value is better.
FAITHFULNESS = {"insertion": ("Insertion", 1), "deletion": ("Deletion", -1), "road": ("ROAD", 1)}


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
    lines.append(
        f"{passed} of {len(rows)} maps change when all weights are randomised (the rank correlation with the "
        f"map before is {THRESHOLD} or less, with its whole interval)."
    )
    return "\n".join(lines)


def say_faithfulness(trust: pd.DataFrame) -> str:
    """In words: which methods mark what the network needs, better than a random map of the same resolution?

    Compared image by image; each interval for itself.

    Args:
        trust: holds the rows of `medrob.trust.faithfulness`.
    """
    require(trust, [*MAP, "test", "images", "above", "above_low", "above_high"], "trust")
    lines = []
    for test, (word, sign) in FAITHFULNESS.items():
        rows = trust[trust["test"] == test]
        said: dict[str, list[str]] = {}
        for row in rows.itertuples():
            low, high = sorted((sign * row.above_low, sign * row.above_high))
            verdict = "better" if low > 0 else "worse" if high < 0 else "not shown to differ"
            if not np.isfinite(row.above):
                verdict, end = "no map to judge", ""
            else:
                end = f" {sign * row.above:+.3f} ({low:+.3f} to {high:+.3f}, {row.images} images)"
            said.setdefault(verdict, []).append(f"{row.method}{end}")
        if said:
            parts = (f"{verdict}: {', '.join(names)}" for verdict, names in said.items())
            lines.append(f"{word} against a random map of the same resolution: {'; '.join(parts)}.")
    return "\n".join(lines)


def say_localisation(trust: pd.DataFrame, *, method: str, layer: str) -> str:
    """In words: does the map lie on the lesion when clean, and does it still at the highest severity?

    Judged by the paired difference to chance: the share of each picture that its lesion covers.

    Args:
        trust: holds the rows of `medrob.trust.localisation`.
        method, layer: of the map.
    """
    if trust.empty:
        return "No lesion masks in this data set: localisation cannot be asked."
    columns = [*MAP, "test", "corruption", "severity", "images", "degenerate", "value", "low", "high"]
    require(trust, [*columns, "chance", "above_low"], "trust")
    rows = trust[(trust["method"] == method) & (trust["layer"] == layer) & (trust["test"] == "energy")]
    clean = rows[rows["corruption"] == "clean"]
    if clean.empty or not np.isfinite(clean["value"].iloc[0]):
        return f"{method} at {layer}: no clean map of an image with a lesion can be compared."
    first = clean.iloc[0]
    above = first["above_low"] > 0
    begin = (
        f"Clean: {first['value']:.0%} of the map lies inside the lesion ({first['low']:.0%} to "
        f"{first['high']:.0%}; {_counted(first)}); chance is {first['chance']:.0%}, so it "
        f"{'looks at the lesion' if above else 'is not shown to look at the lesion'}."
    )
    dirty = rows[rows["severity"] == rows["severity"].max()]
    if not above or not len(dirty) or dirty["severity"].iloc[0] == 0:
        return begin
    places = np.select([dirty["value"].isna(), dirty["above_low"] > 0], ["nothing", "above"], "not above")
    parts = [
        f"{words} under "
        + ", ".join(f"{row['corruption'].replace('_', ' ')} ({_counted(row)})" for _, row in part.iterrows())
        for verdict, words in (
            ("above", "it still does"),
            ("not above", "it is no longer shown to"),
            ("nothing", "no map is left to judge"),
        )
        if len(part := dirty[places == verdict])
    ]
    return f"{begin}\nAt severity {dirty['severity'].iloc[0]} {'; '.join(parts)}."


def _counted(row: pd.Series) -> str:
    """How many images count, and of how many, if maps are left out as degenerate."""
    of = f" of {row['images'] + row['degenerate']}" if row["degenerate"] else ""
    return f"{row['images']}{of} images"
