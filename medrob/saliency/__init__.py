"""Saliency maps: where a network looks. All gradient CAMs of all layers come from one pass of a batch."""

from medrob.saliency.explain import INPUT, attribute, explain, names, pick_layers
from medrob.saliency.gradient import cams
from medrob.saliency.maps import degenerate, normalise, upsample
from medrob.saliency.settings import Noise, Settings

__all__ = [
    "INPUT",
    "Noise",
    "Settings",
    "attribute",
    "cams",
    "degenerate",
    "explain",
    "names",
    "normalise",
    "pick_layers",
    "upsample",
]
