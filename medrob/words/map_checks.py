"""What the checks of trust say of the maps, by rules that were fixed before looking. Of notebook 04."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob import analysis
from medrob.analysis import FAITHFULNESS, FEWEST, MAP, THRESHOLD
from medrob.words.phrases import corruption, count, finding, grouped, name, number, of_map, place, side, text

NO_MAP, TOO_FEW = "no map to judge", f"fewer than {FEWEST} images, not judged"
SAME = "not shown to differ"
RANDOMISED = {
    "failed": "fail randomisation (they stay much the same in a network that has learnt nothing)",
    "unclear": "are unclear (the interval lies across the limit)",
    "too few images": f"rest on fewer than {FEWEST} images and are not judged",
    "not testable": "cannot be tested (every map of one of the networks is degenerate)",
    "passed": "change when all weights are randomised (the rank correlation with the map before is "
    f"{THRESHOLD} or less, with its whole interval)",
}
PLACES = {
    "energy": "the share of the map inside the lesion is",
    "pointing": "the highest point is inside it in",
}
STAGES = {"preserved": "preserved", "flipped": "flipped (the map may move with it)"}


def randomisation(trust: pd.DataFrame, images: int) -> str:
    """Which maps, looked at in so many images, change when all weights are randomised, and which do not."""
    rows = analysis.verdicts(trust)
    again = rows["value"].notna() & rows.duplicated(["layer", "value", "low", "high"])  # a twin's map
    rows, lines = rows[~again], []
    for verdict, said in RANDOMISED.items():
        found = rows[rows["verdict"] == verdict]
        layers = found.groupby("method", sort=False)["layer"].agg(", ".join).reset_index()
        where = "; ".join(map(place, layers.to_dict("records")))
        named = "" if verdict == "passed" else f": {where}"
        lines += [f"{len(found)} of {count(len(rows), 'map')} {said}{named}."] if len(found) else []
    return text(f"The check uses {count(images, 'image')}.", lines)


def faithfulness(trust: pd.DataFrame) -> str:
    """Which methods mark what the network needs better than a random map of the same resolution?"""
    rows, lines = analysis.faithfulness_table(trust), []
    for test, part in rows.groupby("test", sort=False):
        lines.append(f"{FAITHFULNESS[test][0]}: {grouped(map(_faithful, part.to_dict('records')), ': ')}.")
    random = "a random map of the same resolution; each interval is judged by itself."
    return text(f"Each map is compared, image by image, with {random}", lines)


def _faithful(row: dict) -> tuple[str, str]:
    """What is said of a method in a test, and the method with its number."""
    if not np.isfinite(row["above"]) or row["images"] < FEWEST:
        return TOO_FEW if np.isfinite(row["above"]) else NO_MAP, name(row["method"])
    above, images = finding(row, "above"), count(row["images"], "image")
    said = side(above, "better", "worse", SAME)
    return said, f"{name(row['method'])} {number(above, '+.3f', images)}"


def worst_case(trust: pd.DataFrame) -> str:
    """How far the map moves at worst, where the image hardly changes and the decision stays."""
    tests = trust.pivot_table(index=MAP, columns="test", values="value")
    lines = [
        f"{place(row)}, {count(row['images'], 'image')}: an attack moves the map by RMSE "
        f"{number(finding(row), '.2f')}, random noise of the same size by {other['max-sensitivity']:.2f}; "
        f"the image changes by {other['attack-picture']:.1f} grey levels (RMSE), and the decision is kept in "
        f"{other['attack-kept']:.0%}."
        for row in trust[trust["test"] == "attack"].to_dict("records")
        for other in [tests.loc[(row["method"], row["layer"])]]
    ]
    nothing = "No attack was made: it needs `attack=True` and a method whose map takes a single pass."
    return text("The worst case:", lines) if lines else nothing


def localisation(trust: pd.DataFrame, *, method: str, layer: str) -> str:
    """Does the map lie on the lesion when clean, and does it still at the highest severity?

    It is judged by the paired difference to chance: the share of each image that its lesion covers. Preserved
    and flipped predictions are kept apart: a map may move when its class is no longer predicted.
    """
    if trust.empty:
        return "There are no lesion masks in this data set: localisation cannot be asked."
    rows = of_map(trust, "trust", method, layer)
    clean = rows[(rows["corruption"] == "clean") & rows["test"].isin(PLACES) & rows["value"].notna()]
    if clean.empty:
        return f"{place(rows.iloc[0])}: no clean map of an image with a lesion can be compared."
    worst = rows[(rows["severity"] == rows["severity"].max()) & (rows["corruption"] != "clean")]
    at, lines = f"At severity {rows['severity'].max()}", [_on_lesion(row) for row in clean.to_dict("records")]
    for test, part in worst[worst["stage"] == "change"].groupby("test", sort=False):
        changes = grouped(map(_change, part.to_dict("records")), " under ")
        lines.append(f"{at} against the same images clean, kept and flipped, {test}: {changes}.")
    for test in clean.loc[clean["above_low"] > 0, "test"]:
        for stage, prediction in STAGES.items():
            part = worst[(worst["test"] == test) & (worst["stage"] == stage)].to_dict("records")
            found = [(_against_chance(r), f"{corruption(r['corruption'])} ({_counted(r)})") for r in part]
            lines += [f"{at}, {test}, prediction {prediction}: {grouped(found, ' under ')}."] if found else []
    return text(lines)


def _on_lesion(row: dict) -> str:
    """Where a clean map lies, in one measure."""
    value, low, high, chance = (f"{row[end]:.0%}" for end in ("value", "low", "high", "chance"))
    above, *ends = (f"{100 * row[f'above{end}']:+.1f}" for end in ("", "_low", "_high"))
    points = f"{above} ({ends[0]} to {ends[1]}) points above chance: {_against_chance(row)}"
    share = f"{PLACES[row['test']]} {value} ({low} to {high}; {_counted(row)}; chance {chance})"
    return f"Clean: {share}; image by image, {points}."


def _change(row: dict) -> tuple[str, str]:
    """Does the map lie less, or more, on the lesion than when clean? And the corruption with the number."""
    found, under = finding(row), corruption(row["corruption"])
    if row["images"] < FEWEST or not np.isfinite(found.value):
        return TOO_FEW if np.isfinite(found.value) else NO_MAP, under
    said = side(found, "higher", "lower", SAME)
    return said, under if said == SAME else f"{under} {number(found, '+.3f')}"


def _against_chance(row: dict) -> str:
    """Against chance, by the paired difference."""
    if np.isnan(row["value"]) or row["images"] < FEWEST:
        return NO_MAP if np.isnan(row["value"]) else TOO_FEW
    # Where no map hits, the bootstrap has no spread: could chance have missed every time, too?
    missed = row["test"] == "pointing" and row["value"] == 0
    luck = missed and (1 - row["chance"]) ** row["images"] >= 0.025
    if row["above_low"] > 0:
        return "more than chance"
    return "less than chance" if row["above_high"] < 0 and not luck else "not shown to differ from chance"


def _counted(row: dict) -> str:
    """How many images count, and of how many, if maps are left out as degenerate."""
    total = count(row["images"] + row["degenerate"], "image")
    return f"{row['images']} of {total}" if row["degenerate"] else total
