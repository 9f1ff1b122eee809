"""Training: one loop that can be cut off at any moment, its optimiser and loss, its history."""

from medrob.training.loop import HISTORY, fit
from medrob.training.recipe import RECIPES, Recipe, recipe

__all__ = ["HISTORY", "RECIPES", "Recipe", "fit", "recipe"]
