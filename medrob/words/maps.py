"""What the maps say: how far they move, and what the checks of trust make of them. For notebook 04."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from medrob import analysis
from medrob.analysis import CONDITION, FAITHFULNESS, FEWEST, MAP, THRESHOLD, rows_of
from medrob.words.phrases import count, grouped, listed, name, number, place, say, shown, side, text

NOT_JUDGED = ("no map to judge", f"fewer than {FEWEST} images, not judged")


def chosen(counts: Mapping[str, int], how: str) -> str:
    """How many images of each class are explained, and which: "random", "correct" or "wrong" ones."""
    classes = listed([f"{number} of {name(label)}" for label, number in counts.items()])
    return say("chosen", "images", total=sum(counts.values()), how=how, classes=classes)


def explained(image: int, classes: Sequence[str], method: str) -> str:
    """Which class the maps of one image explain, or which ones, row by row."""
    rows = classes if len(set(classes)) > 1 else classes[:1]
    return say("explained", "image", image=image, classes=", ".join(map(name, rows)), method=method)


def explored(*, kept: bool, rmse: float, **view: object) -> str:
    """What is seen of one image under one condition, in plain text."""
    measured = "no_map" if np.isnan(rmse) else "drift"
    return say("explored", "map", "kept" if kept else "flipped", measured, rmse=rmse, **view)


def drift(drift: pd.DataFrame) -> str:
    """How many comparisons there are, how often the prediction is kept, what is degenerate and where most."""
    flat = drift.groupby([*MAP, *CONDITION], sort=False, observed=True)["degenerate"].mean()
    numbers = dict(total=len(drift), images=drift["image"].nunique(), most=flat.max())
    numbers |= dict(kept=drift["preserved"].mean(), lost=drift["degenerate"].mean())
    numbers["worst"] = dict(zip(flat.index.names, flat.idxmax(), strict=True))
    numbers["flipped"] = 1 - drift.loc[drift["degenerate"], "preserved"].mean()
    return say("drift", "all", *(["worst", "flipped"] if flat.any() else []), **numbers)


def headline(drift: pd.DataFrame, *, severity: int) -> str:
    """The map that is declared for the tests, and how many of its maps are degenerate."""
    rows = rows_of(drift, *analysis.headline(drift), "drift")
    flat, there = rows["degenerate"].astype(bool), rows["severity"] == severity
    numbers = dict(lost=flat.sum(), total=len(rows), lost_there=(flat & there).sum(), total_there=there.sum())
    return say("headline", "map", map=rows.iloc[0], severity=severity, **numbers)


def identity(same: Mapping[str, np.ndarray] | None, layer: str) -> str:
    """Is the sum of the raw Grad-CAM the logit (`medrob.saliency.identity`), shown on the first image?"""
    numbers = {} if same is None else {name: values[0] for name, values in same.items()}
    return say("identity", "other" if same is None else "same", layer=layer, **numbers)


def twins(drift: pd.DataFrame) -> str:
    """Which methods give the same map."""
    same, lines = analysis.twins(drift), []
    for (layer, first), group in same.groupby(["layer", "same_as"], sort=False):
        methods = listed(map(name, [first, *group["method"]]))
        lines.append(say("twins", "same", layer=layer, methods=methods))
    if not lines and drift["method"].nunique() > 1:
        lines.append(say("twins", "different"))
    return text(*lines)


def normalised(strata: pd.DataFrame, *, method: str, layer: str, severity: int) -> str:
    """How far a map moves where 1 is another image's map: all, preserved and flipped predictions."""
    rows = rows_of(strata[strata["severity"] == severity], method, layer, "strata").to_dict("records")
    lines = [f"{r['stratum']}: {number(r, form='.2f', note=count(r['images'], 'image'))}" for r in rows]
    return text(say("normalised", "title", map=rows[0], severity=severity), lines)


def randomisation(trust: pd.DataFrame, images: int) -> str:
    """Which maps, looked at in so many images, change when all weights are randomised, and which do not."""
    rows, lines = analysis.verdicts(trust), []
    again = rows["value"].notna() & rows.duplicated(["layer", "value", "low", "high"])  # a twin's map
    rows = rows[~again]
    for verdict in ("failed", "unclear", "too few images", "not testable", "passed"):
        found = rows[rows["verdict"] == verdict]
        layers = found.groupby("method", sort=False)["layer"].agg(", ".join).reset_index()
        where = "; ".join(map(place, layers.to_dict("records")))
        numbers = dict(maps=len(found), total=len(rows), where=where, fewest=FEWEST, limit=THRESHOLD)
        lines += [say("randomisation", verdict, **numbers)] if len(found) else []
    return text(say("randomisation", "images", images=images), lines)


def faithfulness(trust: pd.DataFrame) -> str:
    """Which methods mark what the network needs better than a random map of the same resolution?"""
    lines = []
    for test, part in analysis.faithfulness_table(trust).groupby("test", sort=False):
        pairs = []
        for row in part.to_dict("records"):
            said = _judged(row, "above", "better", "worse", "not shown to differ")
            value = f" {number(row, 'above', '+.3f', count(row['images'], 'image'))}"
            pairs.append((said, name(row["method"]) + ("" if said in NOT_JUDGED else value)))
        lines.append(f"{FAITHFULNESS[test][0]}: {grouped(pairs, ': ')}.")
    return text(say("faithfulness", "title"), lines)


def localisation(trust: pd.DataFrame, *, method: str, layer: str) -> str:
    """Does the map lie on the lesion when clean, and still at the highest severity, more than by chance?

    Chance is the share of each image that its lesion covers.
    """
    if trust.empty:
        return say("localisation", "no_masks")
    rows, lines = rows_of(trust, method, layer, "trust"), []
    clean, severity = rows["corruption"] == "clean", rows["severity"].max()
    worst = rows[(rows["severity"] == severity) & ~clean]
    best = rows[rows["stage"] == "attainable"].set_index("test")["value"]
    clean = rows[
        clean & (rows["stage"] == "") & rows["test"].isin(["energy", "pointing"]) & rows["value"].notna()
    ]
    for row in clean.to_dict("records"):
        points = {end: f"{100 * row[end]:+.1f}" for end in ("above", "above_low", "above_high")}
        points |= dict(said=_against_chance(row), counted=_counted(row))
        more = say("localisation", "more", row=row, **points)
        lines.append(say("localisation", row["test"], row=row, more=more))
    lines += [say("localisation", "attainable", **best)] if len(best) else []
    of_class = rows["stage"].str.startswith("class ") & (rows["test"] == "pointing")
    others = rows[of_class & (rows["images"] > 0)]
    each = [
        say("localisation", "of_class", row=row, name=row["stage"].removeprefix("class "))
        for row in others.to_dict("records")
    ]
    lines += [say("localisation", "classes", found=listed(each))] if len(each) > 1 else []
    for test, part in worst[worst["stage"] == "change"].groupby("test", sort=False):
        pairs = []
        for row in part.to_dict("records"):
            said = _judged(row, "value", "higher", "lower", "not shown to differ")
            value = f" {number(row, form='+.3f')}" if said in ("higher", "lower") else ""
            pairs.append((said, shown(row["corruption"]) + value))
        found = grouped(pairs, " under ")
        lines.append(say("localisation", "change", severity=severity, test=test, found=found))
    for test in clean.loc[clean["above_low"] > 0, "test"]:
        for stage in ("preserved", "flipped"):
            part = worst[(worst["test"] == test) & (worst["stage"] == stage)].to_dict("records")
            pairs = [(_against_chance(r), f"{shown(r['corruption'])} ({_counted(r)})") for r in part]
            found = grouped(pairs, " under ")
            lines += [say("localisation", stage, severity=severity, test=test, found=found)] if pairs else []
    return text(lines) if len(clean) else say("localisation", "no_map", map=rows.iloc[0])


def _judged(row: dict, stem: str, above: str, below: str, neither: str) -> str:
    """`side`, or why there is nothing to judge."""
    if np.isnan(row[stem]) or row["images"] < FEWEST:
        return NOT_JUDGED[0 if np.isnan(row[stem]) else 1]
    return side(row, stem, above, below, neither)


def _against_chance(row: dict) -> str:
    """Against chance, by the paired difference."""
    unsure = "not shown to differ from chance"
    # Where no map hits, the bootstrap has no spread: could chance have missed every time, too?
    missed = row["test"] == "pointing" and row["value"] == 0
    lucky = missed and (1 - row["chance"]) ** row["images"] >= 0.025
    return _judged(row, "above", "more than chance", unsure if lucky else "less than chance", unsure)


def _counted(row: dict) -> str:
    """How many images count, and of how many, if maps are left out as degenerate."""
    total = count(row["images"] + row["degenerate"], "image")
    return f"{row['images']} of {total}" if row["degenerate"] else total
