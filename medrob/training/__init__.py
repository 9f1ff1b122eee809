"""Training: one loop that can be cut off at any moment, its optimiser and loss, its history."""

from medrob.training.loop import HISTORY, fit, kept_epoch

__all__ = ["HISTORY", "fit", "kept_epoch"]
