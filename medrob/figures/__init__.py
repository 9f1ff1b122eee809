"""One function per figure: tidy tables or images in, a Figure out; nothing is read, saved or shown."""

from medrob.figures.context import context
from medrob.figures.export import Bundle
from medrob.figures.maps import (
    drift_by_layer,
    drop_against_drift,
    overlay_grid,
    row_labels,
    strata_bars,
    warnings,
)
from medrob.figures.pictures import augmentations, corruption_grid, image_distance, montage
from medrob.figures.scores import drop_heatmap, reliability, severity_curves
from medrob.figures.style import use_style, word
from medrob.figures.summary import runs_compared, summary
from medrob.figures.training import learning_curves, performance
from medrob.figures.trust import drift_scale, faithfulness, localisation, randomisation

__all__ = [
    "Bundle",
    "augmentations",
    "context",
    "corruption_grid",
    "drift_by_layer",
    "drift_scale",
    "drop_against_drift",
    "drop_heatmap",
    "faithfulness",
    "image_distance",
    "learning_curves",
    "localisation",
    "montage",
    "overlay_grid",
    "performance",
    "randomisation",
    "reliability",
    "row_labels",
    "runs_compared",
    "severity_curves",
    "strata_bars",
    "summary",
    "use_style",
    "warnings",
    "word",
]
