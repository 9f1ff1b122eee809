"""Drift: how alike two saliency maps are, and how far those of corrupted images move from the clean one."""

from medrob.drift.explainer import Explainer, Key
from medrob.drift.lesions import LOCALISATION, localise
from medrob.drift.measurement import measure
from medrob.drift.one_image import OneImage, one_image
from medrob.drift.prepared_maps import SSIM_WINDOW, PreparedMaps
from medrob.drift.selection import SELECTIONS, TARGETS, example, explained_under, select, targets
from medrob.drift.similarities import SIMILARITIES, USUAL, compare

__all__ = [
    "LOCALISATION",
    "SELECTIONS",
    "SIMILARITIES",
    "SSIM_WINDOW",
    "TARGETS",
    "USUAL",
    "Explainer",
    "Key",
    "OneImage",
    "PreparedMaps",
    "compare",
    "example",
    "explained_under",
    "localise",
    "measure",
    "one_image",
    "select",
    "targets",
]
