"""What every question is asked of: the tables of a run, laid out once as arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from typing import Any

import numpy as np
import pandas as pd

from medrob.analysis.exchange import image_orders
from medrob.analysis.layout import CONDITION, MAP, Cube, cube, held, laid
from medrob.analysis.map_choice import headline, repeated
from medrob.check import require, require_numbers
from medrob.corruptions import CLEAN
from medrob.evaluation import bootstrap_weights, class_names

SIGNALS = ("low confidence", "entropy", "small margin", "image rmse")
DOUBT = SIGNALS[0]  # the standard to beat
TINY = float(np.finfo(np.float32).tiny)  # a probability of 0 is one that float32 cannot hold


@dataclass(frozen=True, eq=False)
class Evidence:
    """The tables predictions, drift and corruptions of a run, and the arrays that questions need.

    Each array is laid out when it is first needed, and kept. All resamples and exchanges are those of `seed`.

    Attributes:
        resamples: of the images, for intervals; of AUROCs at most 500, of ROC curves 200.
        permutations: exchanges of images or corruptions, for p.

    Raises:
        ValueError: a table lacks a column, a condition or an image, or drift has no rows.
    """

    predictions: pd.DataFrame
    drift: pd.DataFrame
    distances: pd.DataFrame
    resamples: int = 2000
    permutations: int = 2000
    seed: int = 0
    answered: dict[str, pd.DataFrame] = field(init=False, default_factory=dict, repr=False)  # see `once`

    def __post_init__(self) -> None:
        require(self.drift, ["image", *CONDITION, *MAP, "rmse"], "drift")
        class_names(self.predictions, also=["predicted"])
        require(self.distances, ["image", *CONDITION, "rmse"], "corruptions")
        require_numbers(self.distances, ["rmse"], "corruptions")
        if "degenerate" in self.drift:
            require_numbers(self.drift[~self.drift["degenerate"].astype(bool)], ["rmse"], "drift")
        if not len(self.drift):
            raise ValueError("the table drift has no rows; run 04_heatmaps on at least one image")
        needed = held(self.drift)
        for name, table, wanted in (
            ("predictions", self.predictions, needed | {CLEAN}),
            ("corruptions", self.distances, needed),
        ):
            if missing := wanted - held(table):
                raise ValueError(
                    f"the table {name} lacks the conditions {sorted(missing)}, which drift holds"
                )

    def only(self, **wanted: Any) -> Evidence:
        """The evidence of one method, layer or severity alone: ``only(method="gradcam", layer="layer4.1")``.

        Raises:
            ValueError: it is not in the table drift.
        """
        drift = self.drift
        for column, value in wanted.items():
            known = list(dict.fromkeys(drift[column].tolist()))
            if value not in known:
                raise ValueError(
                    f"{column}={value!r} is not in the table drift; it has {', '.join(map(str, known))}"
                )
            drift = drift[drift[column] == value]
        return replace(self, drift=drift)

    # -- Maps -------------------------------------------------------------------------------------------

    @cached_property
    def moved(self) -> Cube:
        """The drift (RMSE) of every map that repeats no other one: one map is one piece of evidence."""
        every = cube(self.drift)
        again = {(method, layer) for method, layer, _ in repeated(every)}
        keep = [i for i, key in enumerate(every.maps) if key not in again]
        return replace(every, values=every.values[keep], maps=[every.maps[i] for i in keep])

    @cached_property
    def declared(self) -> dict[str, Any]:
        """method, layer (`headline`) and severity (the highest) of the tests declared beforehand."""
        method, layer = headline(self.drift)
        return {"method": method, "layer": layer, "severity": int(self.drift["severity"].max())}

    @property
    def layers(self) -> list[str]:
        """All layers of the declared method, shallow to deep."""
        return list(dict.fromkeys(self.drift.loc[self.drift["method"] == self.declared["method"], "layer"]))

    @cached_property
    def declared_drift(self) -> np.ndarray:
        """The drift of the declared map, (conditions, images)."""
        return self.moved.of(self.declared["method"], self.declared["layer"])

    # -- Conditions and images --------------------------------------------------------------------------

    @cached_property
    def corruptions(self) -> np.ndarray:
        """The corruption of each condition."""
        return self.moved.conditions.get_level_values("corruption").to_numpy()

    @cached_property
    def severities(self) -> np.ndarray:
        """The severity of each condition."""
        return self.moved.conditions.get_level_values("severity").to_numpy()

    @property
    def highest(self) -> np.ndarray:
        """Which conditions are at the declared severity: bool (conditions,)."""
        return self.severities == self.declared["severity"]

    @cached_property
    def classes(self) -> list[str]:
        """The names of the classes."""
        return list(class_names(self.predictions))

    @cached_property
    def all_images(self) -> np.ndarray:
        """The images that are predicted, of which those with a drift may be a part."""
        return np.unique(self.predictions["image"])

    @cached_property
    def picture(self) -> np.ndarray:
        """RMSE of the image itself: float (conditions, images)."""
        values = laid(self.distances, ["rmse"], self.moved.conditions, self.moved.images, "corruptions")
        return values["rmse"].astype(float)

    @cached_property
    def margin_drop(self) -> np.ndarray:
        """See `margin_drop`: (conditions, images)."""
        fell = margin_drop(self.predictions)
        return laid(fell, ["drop"], self.moved.conditions, self.moved.images, "predictions")["drop"]

    @cached_property
    def group(self) -> np.ndarray:
        """The class predicted for each clean image, the stratum beside the condition: int (images,)."""
        clean = pd.MultiIndex.from_tuples([CLEAN], names=CONDITION)
        return laid(self.predictions, ["predicted"], clean, self.moved.images, "predictions")["predicted"][0]

    @cached_property
    def events(self) -> dict[str, np.ndarray]:
        """ "flipped" and, where there is one label an image, "wrong": bool (conditions, images)."""
        found = {"flipped": self._predicted["predicted"] != self.group}
        if "label" in self.predictions:
            found["wrong"] = self._predicted["predicted"] != self._predicted["label"]
        return found

    @cached_property
    def signals(self) -> dict[str, np.ndarray]:
        """The warnings that need no map, of `SIGNALS`: float (conditions, images)."""
        names = [f"p_{name}" for name in self.classes]
        p = np.stack([self._predicted[name] for name in names], -1).astype(float)
        values = (*doubts(p, "label" in self.predictions), self.picture)
        return dict(zip(SIGNALS, values, strict=True))

    @cached_property
    def declared_signals(self) -> dict[str, np.ndarray]:
        """Declared drift and the rest at the declared severity; NaN where that map is degenerate."""
        moved = self.declared_drift[self.highest]
        usable = np.isfinite(moved)
        others = {name: np.where(usable, v[self.highest], np.nan) for name, v in self.signals.items()}
        return {"drift": moved, **others}

    @cached_property
    def _predicted(self) -> dict[str, np.ndarray]:
        columns = [f"p_{name}" for name in self.classes]
        columns += ["predicted", *["label"] * ("label" in self.predictions)]
        return laid(self.predictions, columns, self.moved.conditions, self.moved.images, "predictions")

    # -- Chance -----------------------------------------------------------------------------------------

    @cached_property
    def weights(self) -> np.ndarray:
        """How often each image stands in each resample: float32 (images, 1 + up to 500), the first as is."""
        n = len(self.moved.images)
        drawn = bootstrap_weights(n, min(self.resamples, 500), self.seed)
        return np.concatenate([np.ones((n, 1), np.float32), np.ascontiguousarray(drawn.T)], 1)

    @cached_property
    def orders(self) -> np.ndarray:
        """Exchanges of images that are predicted alike when clean, the first as is: (orders, images)."""
        return image_orders(self.group, self.permutations, self.seed)


def once(question: Callable[[Evidence], pd.DataFrame]) -> Callable[[Evidence], pd.DataFrame]:
    """A question that is answered only once for the same evidence, however many tables build on it."""

    @wraps(question)
    def asked(evidence: Evidence) -> pd.DataFrame:
        name = question.__name__
        if name not in evidence.answered:
            evidence.answered[name] = question(evidence)
        return evidence.answered[name]

    return asked


def margin_drop(predictions: pd.DataFrame) -> pd.DataFrame:
    """How far the class predicted for the clean image has fallen behind its best rival.

    The margin is log p_c - log max p_k over k other than c, the difference of the logits; c stays the class
    predicted for the clean image. Where an image has several labels: that of the most probable one against
    its absence, which is its logit.

    Returns:
        image, corruption, severity, drop (clean margin - margin), for all conditions but clean.

    Raises:
        ValueError: a column is missing, or an image without a clean prediction.
    """
    names = [f"p_{name}" for name in class_names(predictions, also=["predicted"])]
    is_clean = predictions["corruption"] == CLEAN[0]
    clean = predictions[is_clean].set_index("image")["predicted"]
    if missing := set(predictions["image"]) - set(clean.index):
        raise ValueError(f"the table predictions has no clean prediction of image {sorted(missing)[0]}")
    p = predictions[names].to_numpy(float)
    rows, chosen = np.arange(len(p)), clean.loc[predictions["image"]].to_numpy()
    own, rival = p[rows, chosen], 1 - p[rows, chosen]
    if "label" in predictions and len(names) > 1:
        others = p.copy()
        others[rows, chosen] = 0
        rival = others.max(1)
    margin = np.log(np.maximum(own, TINY)) - np.log(np.maximum(rival, TINY))
    before = pd.Series(margin[is_clean], index=predictions.loc[is_clean, "image"])
    drop = before.loc[predictions["image"]].to_numpy() - margin
    return predictions[["image", *CONDITION]].assign(drop=drop)[~is_clean].reset_index(drop=True)


def doubts(p: np.ndarray, single: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the classes (..., K): 1 - the highest probability, the entropy, 1 - its margin over the second.

    The first and third are sums of small numbers, so that probabilities saved as 1 are told apart by what the
    other classes have. If an image has several labels, each there or not: the entropy is the sum over them.
    """
    order = np.sort(p, axis=-1)
    rest = order[..., :-1].sum(-1) if single else 1 - order[..., -1]
    parts = (p,) if single else (p, 1 - p)
    entropy = -sum((q * np.log(np.clip(q, 1e-300, 1))).sum(-1) for q in parts)
    if p.shape[-1] == 1:
        return rest, entropy, 1 - np.abs(2 * p[..., 0] - 1)
    return rest, entropy, rest + order[..., -2]
