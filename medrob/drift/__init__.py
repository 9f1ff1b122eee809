"""Drift: how alike two saliency maps are, and how far those of corrupted images move from the clean one."""

from medrob.drift.choice import example, one_image, select, targets
from medrob.drift.measurement import (
    LOCALISATION,
    SIMILARITIES,
    PreparedMaps,
    compare,
    localise,
    measure,
    measured,
)
from medrob.drift.steadiness import CHANGES, steadiness
from medrob.saliency import Explainer, Key
