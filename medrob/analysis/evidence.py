"""What every question is asked of: the tables of a run, laid out once as arrays."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from medrob.analysis.layout import CONDITION, MAP, cube, distinct, headline, laid
from medrob.analysis.statistics import image_orders
from medrob.check import require, require_numbers
from medrob.corruptions import CLEAN
from medrob.evaluation import class_names, resampled

SIGNALS = ("low confidence", "entropy", "small margin", "image rmse")
DOUBT = SIGNALS[0]  # the standard to beat
TINY = float(np.finfo(np.float32).tiny)  # a probability of 0 is one that float32 cannot hold


@dataclass(eq=False)
class Evidence:
    """The tables predictions, drift and corruptions of a run, and the arrays that questions need.

    "Images" are those that have a drift, a part of all that are predicted; "clean first" means (1 +
    conditions, ...). A ValueError names a column, a condition or an image that a table lacks.

    Attributes:
        resamples: of the images, for intervals; of AUROCs at most 500, of ROC curves 200.
        permutations: exchanges of images or corruptions, for p. orders: those of images.
        declared: method, layer (`headline`) and severity (the highest) of the tests declared beforehand.
        layers: all of the declared method, shallow to deep.
        moved: the drift of every map that repeats no other one: one map is one piece of evidence.
        every: columns of the predictions, of all images, clean first. place: of the images among these.
        truth: all images and their labels, to tell data sets apart.
        group: the class predicted for each clean image, the stratum beside the condition.
        picture: RMSE of the image. margin_drop: see `_margins`. events: "flipped" and, where there is one
            label an image, "wrong". signals: the warnings that need no map. declared_signals: these and the
            declared "drift", where that map is not degenerate. All (conditions, images).
        weights: how often each image stands in each resample, the first as is: (images, 1 + resamples).
    """

    predictions: pd.DataFrame
    drift: pd.DataFrame
    distances: pd.DataFrame
    resamples: int = 2000
    permutations: int = 2000

    def __post_init__(self) -> None:
        require(self.drift, ["image", *CONDITION, *MAP, "rmse", "degenerate"], "drift")
        require_numbers(self.drift[~self.drift["degenerate"].astype(bool)], ["rmse"], "drift")
        if not len(self.drift):
            raise ValueError("the table drift has no rows; run 04_heatmaps on at least one image")
        self.classes = list(class_names(self.predictions))
        require(self.distances, ["image", *CONDITION, "rmse"], "corruptions")
        require_numbers(self.distances, ["rmse"], "corruptions")
        method, layer = headline(self.drift)
        self.declared: dict[str, Any] = dict(
            method=method, layer=layer, severity=int(self.drift["severity"].max())
        )
        self.declared_map = method, layer
        self.layers = list(dict.fromkeys(self.drift.loc[self.drift["method"] == method, "layer"]))
        self.moved = cube(distinct(self.drift))
        conditions, images = self.moved.conditions, self.moved.images
        self.corruptions, self.severities = (conditions.get_level_values(c).to_numpy() for c in CONDITION)
        self.highest = self.severities == self.declared["severity"]
        self.single = "label" in self.predictions  # an image has one label, not several
        labels = ["label"] if self.single else [f"label_{name}" for name in self.classes]
        columns = ["predicted", *labels, *(f"p_{name}" for name in self.classes)]
        all_images = np.union1d(self.predictions["image"], images)
        clean_first = pd.MultiIndex.from_tuples([CLEAN, *conditions])
        self.every = laid(self.predictions, columns, clean_first, all_images, "predictions")
        self.place = np.searchsorted(all_images, images)
        self.truth = np.stack([all_images, *(self.every[label][0] for label in labels)]).tobytes()
        self.picture = laid(self.distances, ["rmse"], conditions, images, "corruptions")["rmse"].astype(float)
        here = {column: values[:, self.place] for column, values in self.every.items()}
        p = np.stack([here[f"p_{name}"] for name in self.classes], -1).astype(float)
        self.group, predicted = here["predicted"][0], here["predicted"][1:]
        margin = _margins(p, self.group, self.single)
        self.margin_drop = margin[0] - margin[1:]
        self.events = {"flipped": predicted != self.group}
        if self.single:
            self.events["wrong"] = predicted != here["label"][1:]
        self.signals = dict(zip(SIGNALS, (*doubts(p[1:], self.single), self.picture), strict=True))
        moved = self.moved.of(*self.declared_map)
        others = {name: np.where(np.isfinite(moved), v, np.nan) for name, v in self.signals.items()}
        self.declared_signals = {"drift": moved, **others}
        self.weights = np.ascontiguousarray(resampled(len(images), min(self.resamples, 500)).T)
        self.orders = image_orders(self.group, self.permutations)

    def only(self, method: str, layer: str) -> Self:
        """The evidence of one map, which has the same answers about it and takes far less time."""
        rows = (self.drift["method"] == method) & (self.drift["layer"] == layer)
        return replace(self, drift=self.drift[rows])


def _margins(p: np.ndarray, chosen: np.ndarray, single: bool) -> np.ndarray:
    """How far the class predicted for the clean image, `chosen`, is ahead of its best rival, in logits.

    log p_c - log max p_k over k other than c, (conditions, images), from p (conditions, images, classes). If
    an image has several labels, or there is one class, the rival is that c is absent.
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
