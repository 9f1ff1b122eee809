"""Training: one loop that can be cut off at any moment, its recipe, its record."""

from medrob.training.loop import HISTORY, fit
from medrob.training.recipe import RECIPES, Objective, Recipe, recipe

__all__ = ["HISTORY", "RECIPES", "Objective", "Recipe", "fit", "recipe"]
