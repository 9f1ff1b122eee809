"""What every question is asked of: the tables of a run, laid out once as arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medrob.analysis.layout import CONDITION, MAP, axes_of, distinct, headline, laid
from medrob.analysis.statistics import exchanged, flipped, image_orders
from medrob.check import require
from medrob.corruptions import CLEAN
from medrob.evaluation import class_names, drawn, units

WITHOUT, WITH = "without the clean picture", "with the clean picture"
OF_DRIFT = ["rmse", "degenerate", "amount", "amount_clean", "logit", "logit_clean", "preserved"]
DOUBT, CLEAN_CLASS, DRIFT = "low confidence", "clean class", "drift"
LARGEST = 1.0  # the RMSE of two min-max maps can be no larger
TINY = float(np.finfo(np.float32).tiny)  # a probability of 0 is one that float32 cannot hold


@dataclass(eq=False)
class Evidence:
    """The tables predictions, drift and corruptions of a run, and the arrays that questions need.

    "Images" are those that have a drift, a part of all that are predicted; "clean first" means (1 +
    conditions, ...). A ValueError names a column, a condition or an image that a table lacks.

    Attributes:
        resamples: of the images, for intervals; of AUROCs at most 500. permutations: exchanges, for p.
        controls: what negative controls answer (`medrob.analysis.controls`), None = there are none.
        declared: method, layer (`headline`) and severity (the highest) of the tests declared beforehand.
        layers: all of the declared method, shallow to deep. maps: (method, layer) of all that repeat no other
            one: one map is one piece of evidence. head: the place of the declared one. conditions:
            (corruption, severity). images: their numbers.
        moved: the drift (maps, conditions, images). That of a degenerate map is `LARGEST` and no missing
            value: such maps come where predictions fail. NaN if the map is degenerate everywhere.
        degenerate, vanished: 1 where either map is degenerate; where the corrupted map alone has no energy.
        amount, lost: the energy, the sum of the raw map after the ReLU; that of the clean map less it, over
            the sum of both: 1 where all is gone, 0 where there was nothing.
        every: columns of the predictions, of all images, clean first. place: of the images among these.
        group: the class predicted for each clean image; stratum: its number with the condition.
        unit: what each image is drawn and exchanged with: its patient or group, or itself (unit_of_all: of
            all images). weights: of each image in each resample, the first as is: (1 + resamples, images).
        p, own: probabilities of every class, (1 + conditions, images, classes), and of the class predicted
            when clean; clean first. logit, logit_lost: of the class explained, and its fall.
        events: "flipped" (of several labels an image: whether the one explained is there) and, where there is
            one label, "wrong".
    """

    predictions: pd.DataFrame
    drift: pd.DataFrame
    distances: pd.DataFrame
    resamples: int = 2000
    permutations: int = 2000
    controls: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        require(self.drift, ["image", *CONDITION, *MAP, *OF_DRIFT], "drift")
        require(self.distances, ["image", *CONDITION, "rmse"], "corruptions")
        if not len(self.drift):
            raise ValueError("the table drift has no rows; run 04_heatmaps on at least one image")
        self.classes = list(class_names(self.predictions))
        self.declared_map = method, layer = headline(self.drift)
        severity = int(self.drift["severity"].max())
        self.declared: dict[str, Any] = dict(method=method, layer=layer, severity=severity)
        self.layers = list(dict.fromkeys(self.drift.loc[self.drift["method"] == method, "layer"]))
        self._lay_out_maps(distinct(self.drift))
        self._lay_out_predictions()
        self.weights = self.drawn(self.unit, min(self.resamples, 500))
        self.orders = None if "group" in self.every else image_orders(self.group, self.permutations)
        count = self.unit.max() + 1
        signs = 2 * np.random.default_rng(0).integers(0, 2, (self.permutations, count)) - 1
        self.signs = np.concatenate([np.ones((1, count)), signs]).astype(np.float32)

    def _lay_out_predictions(self) -> None:
        conditions, images = self.conditions, self.images
        self.severities = conditions.get_level_values("severity").to_numpy()
        self.single = "label" in self.predictions  # an image has one label, not several
        labels = ["label"] if self.single else [f"label_{name}" for name in self.classes]
        columns = ["predicted", *labels, *(f"p_{name}" for name in self.classes)]
        columns += ["group"] * ("group" in self.predictions)
        all_images = np.union1d(self.predictions["image"], images)
        clean_first = pd.MultiIndex.from_tuples([CLEAN, *conditions], names=CONDITION)
        of_all = clean_first, pd.Index(all_images, name="image")
        self.every = laid(self.predictions, columns, "predictions", *of_all)
        self.place = np.searchsorted(all_images, images)
        away = laid(self.distances, ["rmse"], "corruptions", conditions, pd.Index(images, name="image"))
        self.picture: np.ndarray = away["rmse"].astype(float)
        here = {column: values[:, self.place] for column, values in self.every.items()}
        self.p = p = np.stack([here[f"p_{name}"] for name in self.classes], -1).astype(float)
        self.group, self.predicted = here["predicted"][0], here["predicted"][1:]
        self.stratum = np.arange(len(conditions))[:, None] * len(self.classes) + self.group
        known = {"group": self.every["group"][0]} if "group" in self.every else {}
        self.unit_of_all = units(pd.DataFrame(known, index=all_images))
        self.unit = np.unique(self.unit_of_all[self.place], return_inverse=True)[1]
        self.own: np.ndarray = p[:, np.arange(len(images)), self.group]
        margin = _margins(p, self.group, self.single)
        self.margin_drop = margin[0] - margin[1:]
        self.events = {"flipped": self.predicted != self.group if self.single else ~self.preserved}
        if self.single:
            self.events["wrong"] = self.predicted != here["label"][1:]
        self.doubts: tuple[np.ndarray, ...] = doubts(p[1:], self.single)

    def _lay_out_maps(self, drift: pd.DataFrame) -> None:
        maps, self.conditions, images = axes_of(drift)
        self.maps, self.images = list(maps), images.to_numpy()
        arrays = laid(drift, OF_DRIFT, "drift", maps, self.conditions, images).values()
        drifts, self.degenerate, self.amount, before, logit, logit_clean, preserved = (
            array.astype(float) for array in arrays
        )
        self.preserved: np.ndarray = preserved[0] == 1
        self.head = self.maps.index(self.declared_map)
        self.logit, self.logit_lost = logit[0], (logit_clean - logit)[0]
        self.vanished = ((self.degenerate == 1) & (self.amount == 0) & (before > 0)).astype(float)
        never = (self.degenerate == 1).all((1, 2), keepdims=True)
        self.moved = np.where((self.degenerate == 1) & ~never, LARGEST, drifts)
        both = before + self.amount
        self.lost = np.divide(before - self.amount, both, out=np.zeros_like(both), where=both != 0)

    def signals(self, at: int) -> dict[str, np.ndarray]:
        """All of `SIGNALS`, those of maps of ``maps[at]``; NaN if it is degenerate everywhere."""
        known = np.isfinite(self.moved[at])
        return {name: np.where(known, of(self, at), np.nan) for name, (_, of) in SIGNALS.items()}

    @staticmethod
    def drawn(unit: np.ndarray, resamples: int, seed: int = 0) -> np.ndarray:
        """Weights (1 + resamples, images): whole units are drawn (`medrob.evaluation.drawn`)."""
        return drawn(pd.DataFrame({"group": unit}), resamples, seed)

    def exchanged(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Sums (B,) of a b, (conditions, images), the first as is, then as chance would have it.

        Both have a mean of 0 in each stratum. Whole images change places within their class, or, where images
        belong together, units their sign.
        """
        if self.orders is not None:
            return exchanged(a, b, self.orders)
        return flipped((a * b).sum(0), self.unit, self.signs)


# What may tell of a failure, high where one is to be feared: its league, which is what has to be known for
# it, and how it is made of the evidence and the place of a map in it, (conditions, images). What it adds is
# measured against all others of its league; who has the clean picture has the corrupted one, too. To add one,
# enter it here.
SIGNALS: dict[str, tuple[str, Callable[[Evidence, int], np.ndarray]]] = {
    DOUBT: (WITHOUT, lambda e, _: e.doubts[0]),
    "entropy": (WITHOUT, lambda e, _: e.doubts[1]),
    "small margin": (WITHOUT, lambda e, _: e.doubts[2]),
    "image rmse": (WITH, lambda e, _: e.picture),
    CLEAN_CLASS: (WITH, lambda e, _: 1 - e.own[1:]),  # its probability, on the corrupted picture
    "clean logit": (WITH, lambda e, _: -e.logit),
    "logit lost": (WITH, lambda e, _: e.logit_lost),
    "clean confidence": (WITH, lambda e, _: np.broadcast_to(1 - e.own[0], e.picture.shape)),
    "energy": (WITH, lambda e, at: -e.amount[at]),
    "energy lost": (WITH, lambda e, at: e.lost[at]),
    "vanished": (WITH, lambda e, at: e.vanished[at]),
    "no map": (WITH, lambda e, at: e.degenerate[at]),  # vanished, or never there
    DRIFT: (WITH, lambda e, at: e.moved[at]),
}


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
