"""One function per figure: tidy tables or images in, a Figure out; nothing is read, saved or computed."""

from medrob.figures.of_analysis import (
    drift_by_class,
    drop_against_drift,
    failure_curves,
    image_boxes,
    image_scatter,
    strata_bars,
    warnings,
)
from medrob.figures.of_augment import augmentations, corruption_grid, image_distance, montage
from medrob.figures.of_heatmaps import (
    drift_by_layer,
    drift_scale,
    faithfulness,
    localisation,
    overlay_grid,
    randomisation,
    row_labels,
)
from medrob.figures.of_runs import answers_compared, method_ranks, runs_compared
from medrob.figures.of_summary import summary
from medrob.figures.of_test import drop_heatmap, reliability, severity_curves
from medrob.figures.of_train import kept_epoch, learning_curves, performance
from medrob.figures.panels import facts_of
from medrob.figures.style import FIRST, TEXTWIDTH, WORDS, use_style, word

__all__ = [
    "FIRST", "TEXTWIDTH", "WORDS", "answers_compared", "augmentations", "corruption_grid", "drift_by_class",
    "drift_by_layer", "drift_scale", "drop_against_drift", "drop_heatmap", "facts_of", "failure_curves",
    "faithfulness", "image_boxes", "image_distance", "image_scatter", "kept_epoch", "learning_curves",
    "localisation", "method_ranks", "montage", "overlay_grid", "performance", "randomisation", "reliability",
    "row_labels", "runs_compared", "severity_curves", "strata_bars", "summary", "use_style", "warnings",
    "word",
]  # fmt: skip
