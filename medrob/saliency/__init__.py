"""Saliency maps: where a network looks. All gradient CAMs of all layers come from one pass of a batch."""

from medrob.saliency.decision import same_decision, task_of
from medrob.saliency.explain import (
    INPUT,
    ONE_PASS,
    STOCHASTIC,
    attribute,
    check_methods,
    device_of,
    explain,
    layers_for,
    layers_of,
    names,
    pick_layers,
)
from medrob.saliency.gradient import cams, formulas
from medrob.saliency.maps import degenerate, normalise, ranks, sort, upsample
from medrob.saliency.settings import Noise, Settings

__all__ = [
    "INPUT",
    "ONE_PASS",
    "STOCHASTIC",
    "Noise",
    "Settings",
    "attribute",
    "cams",
    "check_methods",
    "degenerate",
    "device_of",
    "explain",
    "formulas",
    "layers_for",
    "layers_of",
    "names",
    "normalise",
    "pick_layers",
    "ranks",
    "same_decision",
    "sort",
    "task_of",
    "upsample",
]
