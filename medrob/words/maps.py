"""What the maps say: how far they move, and what the checks of trust make of them. For notebook 04."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from medrob import analysis
from medrob.analysis import CONDITION, FAITHFULNESS, FEWEST, MAP, THRESHOLD, rows_of
from medrob.corruptions import CLEAN
from medrob.words.phrases import FEW, NOT_JUDGED, grouped, listed, name, number, place, say, shown, side, text


def chosen(images: Any, how: str) -> str:
    """How many images of each class are explained, and which: "random", "correct" or "wrong" ones."""
    classes = listed([f"{number} of {name(label)}" for label, number in images.counts.items()])
    return say("chosen", "images", total=len(images), how=how, classes=classes)


def explained(
    image: int, target: str, method: str, conditions: Iterable[tuple[str, int]], predictions: pd.DataFrame
) -> str:
    """Which class the maps of one image explain, and under which of the conditions it is not predicted."""
    rows = predictions[predictions["image"] == image].set_index(CONDITION)["predicted"]
    flipped = listed(f"{shown(c)} {s}" for c, s in conditions if rows[c, s] != rows[CLEAN])
    numbers = dict(image=image, target=name(target), method=method, flipped=flipped)
    return say("explained", "image", "flipped" if flipped else "kept", **numbers)


def explored(*, kept: bool, rmse: float, **view: object) -> str:
    """What is seen of one image under one condition, in plain text."""
    measured = "no_map" if np.isnan(rmse) else "drift"
    return say("explored", "map", "kept" if kept else "flipped", measured, rmse=rmse, **view)


def drift(drift: pd.DataFrame) -> str:
    """How many comparisons there are, how often the prediction is kept, what is degenerate and where most."""
    flat = drift.groupby([*MAP, *CONDITION], sort=False, observed=True)["degenerate"].mean()
    numbers = dict(total=len(drift), images=drift["image"].nunique(), most=flat.max())
    numbers |= dict(kept=drift["preserved"].mean(), lost=drift["degenerate"].mean())
    numbers |= dict(worst=dict(zip(flat.index.names, flat.idxmax(), strict=True)))
    numbers |= dict(flipped=1 - drift.loc[drift["degenerate"], "preserved"].mean())
    return say("drift", "all", *(["worst", "flipped"] if flat.any() else []), **numbers)


def moved_most(means: pd.DataFrame) -> str:
    """Under which corruption one map moves most, and least; of which class, where the means tell classes."""
    rows = means.dropna(subset="value").sort_values("value")
    of = "of_class" if "of" in rows else "of_all"
    return say("moved_most", of, most=rows.iloc[-1], least=rows.iloc[0]) if len(rows) else ""


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


def normalised(strata: pd.DataFrame, *, method: str, layer: str) -> str:
    """How far a map has gone to that of another picture: all, preserved and flipped predictions."""
    rows = rows_of(strata, method, layer, "strata").set_index("stratum", drop=False)
    means, known = rows.to_dict("index"), rows["value"].dropna()
    keys = [key for key in ("all", "preserved", "flipped") if key in known]
    keys += ["farther"] if (known[keys].round(2) > 1).any() else []
    keys += ["lost"] if keys and means["all"]["degenerate"] else []
    return " ".join(say("normalised", key, **means) for key in keys or ["nothing"])


def scale(limits: pd.DataFrame, *, method: str, layer: str) -> str:
    """How far apart maps are where nothing has changed, and where everything has."""
    rows = rows_of(limits, method, layer, "trust").to_dict("records")
    return say("scale", "ends", map=rows[0], **{row["test"].replace("-", "_"): row for row in rows})


def randomisation(trust: pd.DataFrame, images: int, layer: str) -> str:
    """Which maps, looked at in so many images, change when all weights are randomised, and which do not.

    Of a layer also said: how alike its maps still are when only the last part of the network is random.
    """
    rows = analysis.verdicts(trust)
    again = rows["value"].notna() & rows.duplicated(["layer", "value", "low", "high"])  # a twin's map
    counts = dict(images=images, total=len(rows), again=again.sum())
    title = say("randomisation", "images", "twins" if again.any() else "", **counts)
    rows, lines = rows[~again], list[str]()
    for verdict in ("failed", "unclear", "too few images", "not testable", "passed"):
        found = rows[rows["verdict"] == verdict]
        layers = found.groupby("method", sort=False)["layer"].agg(", ".join).reset_index()
        where = "; ".join(map(place, layers.to_dict("records")))
        numbers = dict(maps=len(found), total=len(rows), where=where, fewest=FEWEST, limit=THRESHOLD)
        lines += [say("randomisation", verdict, **numbers)] if len(found) else []
    steps = trust[(trust["test"] == "randomisation") & (trust["layer"] == layer)].dropna(subset="value")
    most = steps[steps["stage"].isin(steps["stage"].head(1))].nlargest(1, "value").to_dict("records")
    return text(title, lines, *(say("randomisation", "head", row=row) for row in most))


def faithfulness(trust: pd.DataFrame) -> str:
    """Which methods mark what the network needs better than a random map of the same resolution?"""
    tests = analysis.faithfulness_table(trust).groupby("test", sort=False)
    verdicts = ("better", "worse", "not shown to differ")
    found = {test: _judged(rows, "above", verdicts, "method", " for ") for test, rows in tests}
    lines = [f"{FAITHFULNESS[test][0]} is {said}." for test, said in found.items()]
    return text(say("faithfulness", "title"), lines)


def localisation(trust: pd.DataFrame, *, method: str, layer: str) -> str:
    """Does the map lie on the lesion when clean, beside chance, and less at the highest severity?

    Chance is the share of each image that its lesion covers.
    """
    if trust.empty:
        return say("localisation", "no_masks")
    rows = rows_of(trust, method, layer, "trust")
    rows = rows[rows["test"].isin(["energy", "pointing", "iou"])]
    clean = rows[(rows["stage"] == "") & (rows["corruption"] == CLEAN[0])].dropna(subset="value")
    if clean.empty:
        return say("localisation", "no_map", map=rows.iloc[0])
    lines, unsure = [], "not shown to be more than by chance"
    for row in clean.to_dict("records"):
        said = side(row, "above", "more than by chance", unsure, unsure, f"{FEW} chance")
        lines.append(say("localisation", row["test"], row=row, said=said))
    best = rows[rows["stage"] == "attainable"].set_index("test")["value"]
    lines += [say("localisation", "attainable", **best)] if len(best) else []
    each = rows[rows["stage"].str.startswith("class ") & (rows["test"] == "pointing") & (rows["images"] > 0)]
    found = [say("localisation", "of_class", row=row, name=row["stage"][6:]) for _, row in each.iterrows()]
    lines += [say("localisation", "classes", found=listed(found))] if len(found) > 1 else []
    severity = rows["severity"].max()
    changed = rows[(rows["stage"] == "change") & (rows["severity"] == severity)]
    for test, part in changed.groupby("test", sort=False):
        moved = _judged(part, "value", ("higher", "lower", "not shown to differ"), "corruption", " under ")
        lines.append(say("localisation", f"change {test}", severity=severity, found=moved))
    return text(say("localisation", "basis", row=clean.iloc[0]), lines)


def _judged(rows: pd.DataFrame, stem: str, verdicts: tuple[str, str, str], of: str, link: str) -> str:
    """What is said of each row, with its number where there is enough to judge: `grouped`."""
    pairs = []
    for _, row in rows.iterrows():
        said, value = side(row, stem, *verdicts), f" {number(row, stem, '+.3f')}"
        pairs.append((said, shown(row[of]) + value * (said != NOT_JUDGED)))
    return grouped(pairs, link)
