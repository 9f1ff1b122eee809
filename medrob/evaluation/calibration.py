"""Temperature scaling: one number, fitted on validation images, that calibrates the probabilities."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from medrob.evaluation.metrics import check_scores


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray, task: str) -> float:
    """The temperature T that gives ``softmax(log p / T)`` the least NLL (Guo et al. 2017).

    Args:
        probabilities: of validation images, (N, K). labels: int (N,), or (N, K) if multi-label.
        task: of `medrob.data.TASKS`; each label of a multi-label task is a pair of classes.

    Returns:
        T in 0.05 to 20; above 1: the network was too confident.

    Raises:
        ValueError: see `metrics`.
    """
    p, y = check_scores(probabilities, labels, task)

    def loss(log_t: float) -> float:
        q = np.clip(scale(p, float(np.exp(log_t)), task), 1e-12, 1)
        if task == "multilabel":
            return float(-np.log(np.where(y.astype(bool), q, np.clip(1 - q, 1e-12, 1))).mean())
        return float(-np.log(q[np.arange(len(q)), y]).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def scale(probabilities: np.ndarray, temperature: float, task: str) -> np.ndarray:
    """Probabilities (N, K) at another temperature, above 0; the order of the classes stays."""
    p = np.asarray(probabilities, np.float64)
    if task == "multilabel":
        p = np.clip(p, 1e-12, 1 - 1e-12)
        return 1 / (1 + np.exp(-(np.log(p) - np.log1p(-p)) / temperature))
    return softmax(np.log(np.clip(p, 1e-30, 1)) / temperature, axis=1)


def rescaled(predictions: pd.DataFrame, temperature: float, task: str) -> pd.DataFrame:
    """The table of predictions with its probabilities at another temperature."""
    names = [c for c in predictions if str(c).startswith("p_")]
    scaled = scale(predictions[names].to_numpy(), temperature, task)
    return predictions.assign(**dict(zip(names, scaled.T.astype(np.float32), strict=True)))
