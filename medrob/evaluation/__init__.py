"""Prediction and scores. What needs no network (all but `predict`) does not import PyTorch."""

from typing import Any

from medrob.evaluation.bootstrap import bootstrap_weights, interval
from medrob.evaluation.calibration import fit_temperature, rescaled, scale
from medrob.evaluation.metrics import BINS, auc, check_scores, metrics
from medrob.evaluation.report import numbers
from medrob.evaluation.robustness import ALEXNET, corruption_errors
from medrob.evaluation.scores import reliability, score
from medrob.evaluation.table import class_names, require_scores

__all__ = [
    "ALEXNET",
    "BINS",
    "auc",
    "bootstrap_weights",
    "check_scores",
    "class_names",
    "corruption_errors",
    "fit_temperature",
    "interval",
    "metrics",
    "numbers",
    "predict",
    "predict_conditions",
    "reliability",
    "require_scores",
    "rescaled",
    "scale",
    "score",
]


def __getattr__(name: str) -> Any:
    """Import what predicts when it is first named; from then on it is an ordinary attribute."""
    if name in ("predict", "predict_conditions"):
        from importlib import import_module

        module = import_module("medrob.evaluation.prediction")
        globals().update(predict=module.predict, predict_conditions=module.predict_conditions)
        return globals()[name]
    raise AttributeError(f"module 'medrob.evaluation' has no attribute {name!r}; it has {', '.join(__all__)}")
