"""Prediction, scores, and the distance of pictures. Only what `inference` holds loads PyTorch."""

from typing import TYPE_CHECKING

import lazy_loader

# isort: off
# fmt: off
from medrob.evaluation.distance import compare_images
from medrob.evaluation.metrics import (
    FEWEST, Interval, auc, drawn, drop_interval, fewest, interval, mean_interval, means_with_intervals,
    metrics, resampled, share_interval, units,
)
from medrob.evaluation.scores import (
    alarm_class, class_names, corruption_errors, numbers, operating_points, reliability, score, thresholds,
)
# fmt: on

if TYPE_CHECKING:
    from medrob.evaluation.inference import device_of, predict, predict_conditions, prediction_table, task_of


# Imported when it is first named: notebooks 01 and 05 start without PyTorch.
LATER = {"inference": ["device_of", "predict", "predict_conditions", "prediction_table", "task_of"]}
__getattr__, _, _ = lazy_loader.attach(__name__, submod_attrs=LATER)
