"""What happened to every explained image, and the warnings that need no map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from medrob.analysis.tables import CONDITION, MAP, Cube, cube, laid, require_all, require_map
from medrob.conditions import CLEAN
from medrob.evaluation import bootstrap_weights

SIGNALS = ("low confidence", "entropy", "small margin", "image rmse")
DOUBT = SIGNALS[0]  # the standard to beat


@dataclass(frozen=True)
class Cases:
    """The explained images under every condition.

    Attributes:
        drift: see `Cube`.
        events: "flipped" and, where there is one label an image, "wrong": bool (conditions, images).
        signals: the warnings that need no map, of `SIGNALS`: float (conditions, images).
    """

    drift: Cube
    events: dict[str, np.ndarray]
    signals: dict[str, np.ndarray]

    def weights(self, resamples: int, seed: int) -> np.ndarray:
        """Columns (images, 1 + resamples): all images as they are, then the bootstrap."""
        n = len(self.drift.images)
        return np.concatenate(
            [np.ones((n, 1), np.float32), np.ascontiguousarray(bootstrap_weights(n, resamples, seed).T)], 1
        )


def cases(predictions: pd.DataFrame, drift: pd.DataFrame, distances: pd.DataFrame, metric: str) -> Cases:
    """Events and signals of every explained image under every condition; see `failure`."""
    require_all(predictions, drift, distances, metric)
    moved = cube(drift, metric)
    keys, images = moved.conditions, moved.images
    names = [c for c in predictions if str(c).startswith("p_")]
    single = "label" in predictions
    found = laid(predictions, [*names, "predicted", *["label"] * single], keys, images, "predictions")
    clean = laid(
        predictions, ["predicted"], pd.MultiIndex.from_tuples([CLEAN], names=CONDITION), images, "predictions"
    )
    p = np.stack([found[name] for name in names], -1).astype(float)
    events = {"flipped": found["predicted"] != clean["predicted"]}
    if single:
        events["wrong"] = found["predicted"] != found["label"]
    away = laid(distances, ["rmse"], keys, images, "corruptions")["rmse"].astype(float)
    values = (1 - p.max(-1), _entropy(p, single), -_margin(p), away)
    return Cases(moved, events, dict(zip(SIGNALS, values, strict=True)))


def _entropy(p: np.ndarray, single: bool) -> np.ndarray:
    """Of the classes (..., K); the sum over the labels, each there or not, if an image has several."""
    parts = (p,) if single else (p, 1 - p)
    return -sum((q * np.log(np.clip(q, 1e-12, 1))).sum(-1) for q in parts)


def _margin(p: np.ndarray) -> np.ndarray:
    """The highest probability less the second, (...)."""
    top = np.sort(p, axis=-1)
    return top[..., -1] - top[..., -2] if p.shape[-1] > 1 else np.abs(2 * top[..., -1] - 1)


def chosen(
    known: Cases, method: str, layer: str, severity: int, event: str
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Drift and baselines at one severity, NaN where there is no usable map, and what happened.

    Raises:
        ValueError: an unknown method, layer, severity or event.
    """
    require_map(pd.DataFrame(known.drift.maps, columns=MAP), method, layer, "drift")
    at = known.drift.severities == severity
    if not at.any():
        there = ", ".join(map(str, np.unique(known.drift.severities)))
        raise ValueError(f"severity={severity!r} is not in the table drift; it has {there}")
    if event not in known.events:
        raise ValueError(f"event={event!r} is not known here; the events are {', '.join(known.events)}")
    moved = known.drift.of(method, layer)[at]
    others = {name: np.where(np.isfinite(moved), v[at], np.nan) for name, v in known.signals.items()}
    return {"drift": moved, **others}, known.events[event][at]
