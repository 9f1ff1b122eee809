"""How a network is trained: optimiser, schedule, loss and stopping, with the published recipe as a preset."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "step", "constant")
CLASS_WEIGHTS = ("none", "balanced")
PRECISIONS = ("mixed", "float32")
MONITORS = ("auc", "loss")

# What a preset decides; the rest (epochs, augmentation) stays the user's.
RECIPES: dict[str, dict[str, Any]] = {
    "own": {},
    # MedMNIST v2 (Yang et al. 2023): 100 epochs, the weights of the best validation AUC are kept.
    "medmnist": dict(
        **dict(optimizer="adam", lr=1e-3, schedule="step", warmup=0.0, weight_decay=0.0, batch_size=128),
        **dict(label_smoothing=0.0, class_weights="none", clip=0.0, precision="float32"),
        **dict(monitor="auc", patience=0),
    ),
}


@dataclass(frozen=True)
class Recipe:
    """The settings of a training.

    Attributes:
        epochs: at most so many passes over the training images.
        batch_size: images a step.
        optimizer: "adamw" (Loshchilov & Hutter 2019), "adam" or "sgd" (Nesterov momentum 0.9).
        lr: the highest learning rate.
        schedule: "cosine" falls to zero, "step" to a tenth after 50 % and again after 75 % of the epochs,
            "constant" stays.
        warmup: epochs, may be a fraction, in which the rate rises linearly to where the schedule has it.
        weight_decay: decoupled for "adamw", an L2 penalty else.
        label_smoothing: share of the target that is spread evenly over the classes, 0 up to below 1.
        class_weights: "balanced" weighs the loss of a class by N / (K n_class), of a label's presence by
            n_absent / n_present; "none" leaves it.
        clip: largest norm of the gradient; 0 = not clipped.
        precision: "mixed" computes in half precision on GPUs (bfloat16 where it is there), "float32" never;
            other devices compute in float32 either way.
        augment: one of `medrob.augment.names()`, or an imgaug expression (see `medrob.augment.policy`).
        monitor: what is judged on the validation images: the highest "auc" (of equal ones, that of the lower
            loss) or the lowest "loss" is kept.
        patience: stop after so many epochs without a better one; 0 = never.

    Raises:
        ValueError: a setting out of range, with what is allowed.
    """

    epochs: int = 10
    batch_size: int = 128
    optimizer: str = "adamw"
    lr: float = 1e-3
    schedule: str = "cosine"
    warmup: float = 0.0
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    class_weights: str = "none"
    clip: float = 0.0
    precision: str = "mixed"
    augment: str = "none"
    monitor: str = "auc"
    patience: int = 5

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            _number(name, getattr(self, name), int, 1, math.inf, "a whole number of at least 1")
        stop = "a number of epochs, 0 = never stop early"
        _number("patience", self.patience, int, 0, math.inf, stop)
        rate = "a learning rate above 0, such as 0.001"
        _number("lr", self.lr, (int, float), math.ulp(0), math.inf, rate)
        for name in ("weight_decay", "clip"):
            _number(name, getattr(self, name), (int, float), 0, math.inf, "a number of at least 0")
        below = "a number from 0 to below 1"
        _number("label_smoothing", self.label_smoothing, (int, float), 0, 1, below)
        if self.warmup:
            rise = f"epochs, from 0 to below epochs={self.epochs}"
            _number("warmup", self.warmup, (int, float), 0, self.epochs, rise)
        for name, known in {
            **{"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "class_weights": CLASS_WEIGHTS},
            **{"precision": PRECISIONS, "monitor": MONITORS},
        }.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown; give one of {', '.join(known)}")

    def settings(self) -> dict[str, Any]:
        """The settings by name, as ``run.json`` and the checkpoint keep them."""
        return asdict(self)


def recipe(name: str = "own", **settings: Any) -> Recipe:
    """A preset of `RECIPES`: it replaces the settings that it decides, and leaves the others.

    Raises:
        ValueError: an unknown preset or setting, or a value out of range.
    """
    if name not in RECIPES:
        raise ValueError(f"recipe={name!r} is unknown; the recipes are {', '.join(RECIPES)}")
    known = [f.name for f in fields(Recipe)]
    unknown = [key for key in settings if key not in known]
    if unknown:
        raise ValueError(f"unknown setting {', '.join(unknown)}; the settings are {', '.join(known)}")
    return Recipe(**settings | RECIPES[name])


def _number(name: str, value: Any, kind: Any, low: float, high: float, allowed: str) -> None:
    fits = isinstance(value, kind) and not isinstance(value, bool)
    if not fits or not low <= value < high:
        raise ValueError(f"{name}={value!r}: give {allowed}")
