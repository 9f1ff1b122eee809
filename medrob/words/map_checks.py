"""What the checks of trust say of the maps."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob.analysis.tables import MAP
from medrob.analysis.testing import (
    OPPOSITE,
    UNDEFINED,
    YES,
    Finding,
)
from medrob.analysis.trust import FAITHFULNESS, FEWEST, THRESHOLD, verdicts
from medrob.check import require

PLACES = {"energy": "share of the map inside the lesion", "pointing": "highest point inside it in"}
STRATA = {
    "preserved": "prediction preserved",
    "flipped": "prediction flipped (the map may move with it)",
}


def randomisation(trust: pd.DataFrame) -> str:
    """In words: which methods at which layers fail, are unclear or cannot be tested."""
    rows = verdicts(trust)
    one = rows["value"].notna() & rows.duplicated(["layer", "value", "low", "high"])  # the same map again
    rows, lines = rows[~one], []
    for verdict, words in (
        ("failed", "fail randomisation (their maps stay much the same by a network that has learnt nothing)"),
        ("unclear", "are unclear (the interval lies across the limit)"),
        ("too few images", f"rest on fewer than {FEWEST} images and are not judged"),
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
    if not rows["verdict"].isin(["passed", "failed", "unclear"]).any():
        return "\n".join(lines)
    lines.append(
        f"{passed} of {len(rows)} maps change when all weights are randomised (the rank correlation with the "
        f"map before is {THRESHOLD} or less, with its whole interval)."
    )
    return "\n".join(lines)


def faithfulness(trust: pd.DataFrame) -> str:
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
            elif row.images < FEWEST:
                verdict, end = f"fewer than {FEWEST} images, not judged", ""
            else:
                end = f" {sign * row.above:+.3f} ({low:+.3f} to {high:+.3f}, {row.images} images)"
            said.setdefault(verdict, []).append(f"{row.method}{end}")
        if said:
            parts = (f"{verdict}: {', '.join(names)}" for verdict, names in said.items())
            lines.append(f"{word} against a random map of the same resolution: {'; '.join(parts)}.")
    return "\n".join(lines)


def localisation(trust: pd.DataFrame, *, method: str, layer: str) -> str:
    """In words: does the map lie on the lesion when clean, and does it still at the highest severity?

    Judged by the paired difference to chance: the share of each picture that its lesion covers. Images
    whose prediction is preserved are told apart from the flipped: a map may move when its class is no
    longer predicted.

    Args:
        trust: holds the rows of `medrob.trust.localisation`.
        method, layer: of the map.
    """
    if trust.empty:
        return "No lesion masks in this data set: localisation cannot be asked."
    columns = [*MAP, "test", "stage", "corruption", "severity", "images", "degenerate"]
    require(trust, [*columns, "value", "low", "high", "chance", "above", "above_low", "above_high"], "trust")
    rows = trust[(trust["method"] == method) & (trust["layer"] == layer)]
    clean = rows[(rows["corruption"] == "clean") & rows["test"].isin(PLACES) & rows["value"].notna()]
    if clean.empty:
        return f"{method} at {layer}: no clean map of an image with a lesion can be compared."
    said = [
        f"{PLACES[row['test']]} {row['value']:.0%} ({row['low']:.0%} to {row['high']:.0%}; {_counted(row)}; "
        f"chance {row['chance']:.0%}, image by image above it by {_above(row)}), {_place(row)}"
        for _, row in clean.iterrows()
    ]
    lines = [f"Clean: {'; '.join(said)}."]
    changed = rows[(rows["stage"] == "change") & (rows["severity"] == rows["severity"].max())]
    for test, part in changed.groupby("test", sort=False):
        severity = part["severity"].iloc[0]
        lines.append(
            f"Severity {severity} against the same images clean, kept and flipped, {test}: {_changes(part)}."
        )
    for test in clean.loc[clean["above_low"] > 0, "test"]:
        dirty = rows[(rows["test"] == test) & (rows["severity"] == rows["severity"].max())]
        lines += [
            f"At severity {part['severity'].iloc[0]}, {test}, {words}: {_verdicts(part)}."
            for stage, words in STRATA.items()
            if len(part := dirty[(dirty["stage"] == stage) & (dirty["corruption"] != "clean")])
        ]
    return "\n".join(lines)


def _changes(rows: pd.DataFrame) -> str:
    """Corruptions by whether the map lies less, or more, on the lesion than when clean."""
    found: dict[str, list[str]] = {}
    for row in rows.to_dict("records"):
        change = Finding.of(row)
        verdict = change.verdict(chance=0, small=0, tested=False)
        words = {YES: "higher", OPPOSITE: "lower", UNDEFINED: "no map left to judge"}
        told = words.get(verdict, "not shown to differ")
        if 0 < row["images"] < FEWEST:
            told, verdict = f"fewer than {FEWEST} maps, not judged", UNDEFINED
        number = f" ({change.value:+.3f}, {change.low:+.3f} to {change.high:+.3f})"
        name = row["corruption"].replace("_", " ")
        found.setdefault(told, []).append(name + number * (verdict in (YES, OPPOSITE)))
    return "; ".join(f"{verdict} under {', '.join(names)}" for verdict, names in found.items())


def _above(row: pd.Series) -> str:
    """The paired difference to chance, in points."""
    value, low, high = (100 * row[f"above{end}"] for end in ("", "_low", "_high"))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f}) points"


def _place(row: pd.Series) -> str:
    """Against chance, by the paired difference."""
    if np.isnan(row["value"]):
        return "no map left to judge"
    if row["images"] < FEWEST:
        return f"fewer than {FEWEST} maps, not judged"
    if row["above_low"] > 0:
        return "more than chance"
    # Where no map hits, the bootstrap has no spread: could chance have missed every time, too?
    missed = row["test"] == "pointing" and row["value"] == 0
    luck = missed and (1 - row["chance"]) ** row["images"] >= 0.025
    return "less than chance" if row["above_high"] < 0 and not luck else "not shown to differ from chance"


def _verdicts(rows: pd.DataFrame) -> str:
    """Corruptions by what is found under them, with the number of images."""
    found: dict[str, list[str]] = {}
    for _, row in rows.iterrows():
        found.setdefault(_place(row), []).append(f"{row['corruption'].replace('_', ' ')} ({_counted(row)})")
    return "; ".join(f"{verdict} under {', '.join(names)}" for verdict, names in found.items())


def _counted(row: pd.Series) -> str:
    """How many images count, and of how many, if maps are left out as degenerate."""
    of = f" of {row['images'] + row['degenerate']}" if row["degenerate"] else ""
    return f"{row['images']}{of} images"


def worst_case(trust: pd.DataFrame) -> str:
    """In words: how far the map moves at worst, where the picture hardly changes and the decision stays.

    Args:
        trust: holds the rows of `medrob.trust.worst_case`.
    """
    require(trust, [*MAP, "test", "value", "low", "high", "images"], "trust")
    rows = trust.set_index([*MAP, "test"])
    lines = []
    for method, layer in trust.loc[trust["test"] == "attack", MAP].itertuples(index=False, name=None):
        found, noise, picture, kept = (
            rows.loc[(method, layer, test)]
            for test in ("attack", "max-sensitivity", "attack-picture", "attack-kept")
        )
        lines.append(
            f"Worst case, {method} at {layer}, {found['images']:.0f} images: an attack moves the map by RMSE "
            f"{Finding.of(found).plain().replace('+', '')}, random noise of the same size by "
            f"{noise['value']:.2f}; the picture changes by {picture['value']:.1f} grey levels (RMSE), "
            f"the decision is kept in {kept['value']:.0%}."
        )
    return "\n".join(lines) or "No attack was made."
