"""One function per figure: tidy tables or images in, a Figure out; nothing is read, saved or shown."""

from medrob.figures.association import drop_against_drift, image_boxes, image_scatter
from medrob.figures.compared import FIRST, answers_compared, method_ranks, runs_compared
from medrob.figures.context import context
from medrob.figures.export import Bundle
from medrob.figures.failure import failure_curves, strata_bars, warnings
from medrob.figures.maps import drift_by_class, drift_by_layer, overlay_grid, row_labels
from medrob.figures.pictures import augmentations, corruption_grid, image_distance, montage
from medrob.figures.scores import drop_heatmap, reliability, severity_curves
from medrob.figures.style import use_style, word
from medrob.figures.summary import summary
from medrob.figures.training import kept_epoch, learning_curves, performance
from medrob.figures.trust import drift_scale, faithfulness, localisation, randomisation

__all__ = [
    "FIRST",
    "Bundle",
    "answers_compared",
    "augmentations",
    "context",
    "corruption_grid",
    "drift_by_class",
    "drift_by_layer",
    "drift_scale",
    "drop_against_drift",
    "drop_heatmap",
    "failure_curves",
    "faithfulness",
    "image_boxes",
    "image_distance",
    "image_scatter",
    "kept_epoch",
    "learning_curves",
    "localisation",
    "method_ranks",
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
