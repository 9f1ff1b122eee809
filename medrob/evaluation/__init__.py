"""Prediction, scores, and the distance of pictures. Only `predict` and `predict_conditions` load PyTorch."""

from typing import TYPE_CHECKING, Any

from medrob.evaluation.bootstrap import auc, bootstrap_weights, interval
from medrob.evaluation.calibration import fit_temperature, rescaled
from medrob.evaluation.distance import compare_images, distances, examples, severities
from medrob.evaluation.metrics import METRICS, metrics
from medrob.evaluation.predictions import class_names, require_scores
from medrob.evaluation.quoted import numbers
from medrob.evaluation.robustness import ERROR_NAMES, corruption_errors
from medrob.evaluation.scores import reliability, score

if TYPE_CHECKING:
    from medrob.evaluation.inference import predict, predict_conditions

__all__ = [
    "ERROR_NAMES",
    "METRICS",
    "auc",
    "bootstrap_weights",
    "class_names",
    "compare_images",
    "corruption_errors",
    "distances",
    "examples",
    "fit_temperature",
    "interval",
    "metrics",
    "numbers",
    "predict",
    "predict_conditions",
    "reliability",
    "require_scores",
    "rescaled",
    "score",
    "severities",
]


def __getattr__(name: str) -> Any:
    """Import what predicts when it is first named: notebooks 01 and 05 start without PyTorch."""
    if name in ("predict", "predict_conditions"):
        from medrob.evaluation import inference

        return getattr(inference, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
