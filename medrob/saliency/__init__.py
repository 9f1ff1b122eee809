"""Saliency maps: where a network looks. All gradient CAMs of all layers come from one pass of a batch."""

from medrob.saliency.explain import explain, names
from medrob.saliency.gradient import cams
from medrob.saliency.maps import degenerate, normalise, upsample

__all__ = ["cams", "degenerate", "explain", "names", "normalise", "upsample"]
