"""What the maps say: how far they move, and what the checks of trust make of them. For notebook 04."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from medrob import analysis
from medrob.analysis import CONDITION, FAITHFULNESS, FEWEST, MAP, THRESHOLD, rows_of
from medrob.words.phrases import count, grouped, listed, name, number, place, say, shown, side, text

NOT_JUDGED = f"not judged (fewer than {FEWEST} images)"


def chosen(counts: Mapping[str, int], how: str) -> str:
    """How many images of each class are explained, and which: "random", "correct" or "wrong" ones."""
    classes = listed([f"{number} of {name(label)}" for label, number in counts.items()])
    return say("chosen", "images", total=sum(counts.values()), how=how, classes=classes)


def explained(image: int, target: str, method: str) -> str:
    """Which class the maps of one image explain."""
    return say("explained", "image", image=image, target=name(target), method=method)


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
        methods = listed(map(shown, [first, *group["method"]]))
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
            value = "" if said == NOT_JUDGED else f" {number(row, 'above', '+.3f')}"
            pairs.append((said, shown(row["method"]) + value))
        lines.append(f"{FAITHFULNESS[test][0]} is {grouped(pairs, ' for ')}.")
    return text(say("faithfulness", "title"), lines)


def localisation(trust: pd.DataFrame, *, method: str, layer: str) -> str:
    """Does the map lie on the lesion when clean, more than by chance, and less at the highest severity?

    Chance is the share of each image that its lesion covers.
    """
    if trust.empty:
        return say("localisation", "no_masks")
    rows = rows_of(trust, method, layer, "trust")
    rows = rows[rows["test"].isin(["energy", "pointing"])]
    parts = {stage: part.to_dict("records") for stage, part in rows.groupby("stage", sort=False)}
    clean = [row for row in parts.get("", []) if row["corruption"] == "clean" and np.isfinite(row["value"])]
    if not clean:
        return say("localisation", "no_map", map=rows.iloc[0])
    lines = [say("localisation", row["test"], row=row, more=_against_chance(row)) for row in clean]
    if best := {row["test"]: row["value"] for row in parts.get("attainable", [])}:
        lines.append(say("localisation", "attainable", **best))
    each = [
        say("localisation", "of_class", row=row, name=stage.removeprefix("class "))
        for stage in parts
        for row in parts[stage]
        if stage.startswith("class ") and row["test"] == "pointing" and row["images"]
    ]
    lines += [say("localisation", "classes", found=listed(each))] if len(each) > 1 else []
    severity, changed = rows["severity"].max(), dict[str, list[tuple[str, str]]]()
    for row in parts.get("change", []):
        if row["severity"] == severity:
            said = _judged(row, "value", "higher", "lower", "not shown to differ")
            value = f" {number(row, form='+.3f')}" if said in ("higher", "lower") else ""
            changed.setdefault(row["test"], []).append((said, shown(row["corruption"]) + value))
    for test, pairs in changed.items():
        lines.append(
            say("localisation", "change", severity=severity, test=test, found=grouped(pairs, " under "))
        )
    return text(lines)


def _judged(row: dict, stem: str, above: str, below: str, neither: str) -> str:
    """`side`, unless there is too little to judge."""
    return NOT_JUDGED if row["images"] < FEWEST else side(row, stem, above, below, neither)


def _against_chance(row: dict) -> str:
    """A share with its interval, and how far it is above chance, image by image."""
    # Where no map hits, the bootstrap has no spread: could chance have missed every time, too?
    missed = row["test"] == "pointing" and row["value"] == 0
    lucky = missed and (1 - row["chance"]) ** row["images"] >= 0.025
    unsure = "not shown to differ from chance"
    said = _judged(row, "above", "more than chance", unsure if lucky else "less than chance", unsure)
    total = count(row["images"] + row["degenerate"], "image")
    counted = f"{row['images']} of {total}" if row["degenerate"] else total
    points = {end: 100 * row[end] for end in ("above", "above_low", "above_high")}
    return say("localisation", "more", row=row, said=said, counted=counted, **points)
