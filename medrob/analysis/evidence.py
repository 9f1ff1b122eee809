"""What every question is asked of: the tables of a run, laid out once as arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from medrob.analysis.chance import image_orders
from medrob.analysis.layout import CONDITION, MAP, Cube, cube, laid, resampled
from medrob.analysis.maps import headline, repeated
from medrob.check import require, require_numbers
from medrob.corruptions import CLEAN
from medrob.evaluation import class_names

SIGNALS = ("low confidence", "entropy", "small margin", "image rmse")
DOUBT = SIGNALS[0]  # the standard to beat
TINY = float(np.finfo(np.float32).tiny)  # a probability of 0 is one that float32 cannot hold


@dataclass(frozen=True, eq=False)
class Evidence:
    """The tables predictions, drift and corruptions of a run, and the arrays that questions need.

    Each array is laid out when it is first needed, and kept: a ValueError then names an image that a table
    lacks. "Images" are those that have a drift, a part of all that are predicted.

    Attributes:
        resamples: of the images, for intervals; of AUROCs at most 500, of ROC curves 200.
        permutations: exchanges of images or corruptions, for p.
    """

    predictions: pd.DataFrame
    drift: pd.DataFrame
    distances: pd.DataFrame
    resamples: int = 2000
    permutations: int = 2000

    def __post_init__(self) -> None:
        require(self.drift, ["image", *CONDITION, *MAP, "rmse", "degenerate"], "drift")
        require_numbers(self.drift[~self.drift["degenerate"].astype(bool)], ["rmse"], "drift")
        class_names(self.predictions)
        require(self.distances, ["image", *CONDITION, "rmse"], "corruptions")
        require_numbers(self.distances, ["rmse"], "corruptions")
        if not len(self.drift):
            raise ValueError("the table drift has no rows; run 04_heatmaps on at least one image")

    def only(self, method: str, layer: str) -> Evidence:
        """The evidence of one map, which has the same answers about it and takes far less time."""
        rows = (self.drift["method"] == method) & (self.drift["layer"] == layer)
        return replace(self, drift=self.drift[rows])

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
    def declared_map(self) -> tuple[str, str]:
        """The method and layer of the tests declared beforehand."""
        return self.declared["method"], self.declared["layer"]

    @property
    def layers(self) -> list[str]:
        """All layers of the declared method, shallow to deep."""
        return list(dict.fromkeys(self.drift.loc[self.drift["method"] == self.declared["method"], "layer"]))

    # -- Conditions and images --------------------------------------------------------------------------

    @property
    def corruptions(self) -> np.ndarray:
        """The corruption of each condition."""
        return self.moved.conditions.get_level_values("corruption").to_numpy()

    @property
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
        return [str(c).removeprefix("p_") for c in self.predictions if str(c).startswith("p_")]

    @property
    def single(self) -> bool:
        """Whether an image has one label, not several."""
        return "label" in self.predictions

    @cached_property
    def all_images(self) -> np.ndarray:
        """All images that are, or, where they have a drift, should be, predicted."""
        return np.union1d(self.predictions["image"], self.drift["image"])

    @cached_property
    def place(self) -> np.ndarray:
        """The places of the images among `all_images`."""
        return np.searchsorted(self.all_images, self.moved.images)

    @cached_property
    def every(self) -> dict[str, np.ndarray]:
        """Columns of the predictions, (1 + conditions, all images): clean first, then each condition."""
        labels = ["label"] if self.single else [f"label_{name}" for name in self.classes]
        columns = ["predicted", *labels, *(f"p_{name}" for name in self.classes)]
        keys = pd.MultiIndex.from_tuples([CLEAN, *self.moved.conditions])
        return laid(self.predictions, columns, keys, self.all_images, "predictions")

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Of the images, float (1 + conditions, images, classes), clean first."""
        return np.stack([self.every[f"p_{name}"][:, self.place] for name in self.classes], -1).astype(float)

    @cached_property
    def picture(self) -> np.ndarray:
        """RMSE of the image itself: float (conditions, images)."""
        conditions, images = self.moved.conditions, self.moved.images
        return laid(self.distances, ["rmse"], conditions, images, "corruptions")["rmse"].astype(float)

    @cached_property
    def margin_drop(self) -> np.ndarray:
        """How far the class predicted for the clean image has fallen behind: (conditions, images)."""
        margin = margins(self.probabilities, self.group, self.single)
        return margin[0] - margin[1:]

    @cached_property
    def group(self) -> np.ndarray:
        """The class predicted for each clean image, the stratum beside the condition: int (images,)."""
        return self.every["predicted"][0, self.place]

    @cached_property
    def events(self) -> dict[str, np.ndarray]:
        """ "flipped" and, where there is one label an image, "wrong": bool (conditions, images)."""
        predicted = self.every["predicted"][1:, self.place]
        found = {"flipped": predicted != self.group}
        if self.single:
            found["wrong"] = predicted != self.every["label"][1:, self.place]
        return found

    @cached_property
    def signals(self) -> dict[str, np.ndarray]:
        """The warnings that need no map, of `SIGNALS`: float (conditions, images)."""
        values = (*doubts(self.probabilities[1:], self.single), self.picture)
        return dict(zip(SIGNALS, values, strict=True))

    @cached_property
    def declared_signals(self) -> dict[str, np.ndarray]:
        """The declared drift and the rest; NaN where that map is degenerate: (conditions, images)."""
        moved = self.moved.of(*self.declared_map)
        others = {name: np.where(np.isfinite(moved), v, np.nan) for name, v in self.signals.items()}
        return {"drift": moved, **others}

    # -- Chance -----------------------------------------------------------------------------------------

    @cached_property
    def weights(self) -> np.ndarray:
        """How often each image stands in each resample: float32 (images, 1 + up to 500), the first as is."""
        return np.ascontiguousarray(resampled(len(self.moved.images), min(self.resamples, 500)).T)

    @cached_property
    def orders(self) -> np.ndarray:
        """Exchanges of images that are predicted alike when clean, the first as is: (orders, images)."""
        return image_orders(self.group, self.permutations)


def margins(p: np.ndarray, chosen: np.ndarray, single: bool) -> np.ndarray:
    """How far a class of each image is ahead of its best rival, in logits: (conditions, images).

    The margin is log p_c - log max p_k over k other than c, where c is the class predicted for the clean
    image. If an image has several labels, or there is one class: that of c against its absence.

    Args:
        p: (conditions, images, classes). chosen: int (images,).
    """
    at = np.arange(len(chosen))
    own = p[:, at, chosen]
    rival = 1 - own
    if single and p.shape[-1] > 1:
        others = p.copy()
        others[:, at, chosen] = 0
        rival = others.max(-1)
    return np.log(np.maximum(own, TINY)) - np.log(np.maximum(rival, TINY))


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
