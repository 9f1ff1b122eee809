"""Training: one loop that can be cut off at any moment, its optimiser and loss, its history."""

from medrob.training.loop import fit, kept_epoch
