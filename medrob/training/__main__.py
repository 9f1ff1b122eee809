"""Train a run in several processes: ``torchrun --nproc-per-node 2 -m medrob.training mine epochs=20``.

Does what the notebook 02_train does, with its parameters and their defaults, but draws no figures. The run
must have been begun by 01_augment; 03_test goes on from here.
"""

from __future__ import annotations

import ast
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from medrob import data, models, training
from medrob.runs import Run, fits
from medrob.study import parameters

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "02_train.ipynb"


def main(arguments: list[str]) -> None:
    """Train the run that the first argument names; the others are ``parameter=value``.

    Raises:
        ValueError: no run, an unknown parameter, or a value of another type than the default.
    """
    if not arguments or "=" in arguments[0]:
        raise ValueError("give the name of a run, then parameters: python -m medrob.training mine epochs=20")
    chosen = parameters(NOTEBOOK) | {"run": arguments[0]}
    for argument in arguments[1:]:
        name, _, text = argument.partition("=")
        if name not in chosen or name == "run":
            raise ValueError(f"no parameter {name!r}; there are {', '.join(chosen)}")
        value: Any = text
        with contextlib.suppress(ValueError, SyntaxError):
            value = ast.literal_eval(text)
        if not fits(value, chosen[name], name):
            raise ValueError(f"{name}={value!r} is not like its default {chosen[name]!r}")
        chosen[name] = value
    _train(Run(arguments[0]).start("02_train", **chosen), chosen)


def _train(study: Run, chosen: dict[str, Any]) -> None:
    train, val = (data.load_run(study, split) for split in ("train", "val"))
    form = models.form(chosen["arch"], stem=chosen["stem"], width=chosen["width"])
    shape: dict[str, Any] = dict(in_channels=train.channels, num_classes=train.num_classes)
    shape |= dict(size=train.images.shape[1], task=train.task)
    form |= {name: chosen[name] for name in ("weights", "normalise", "seed")}
    model = models.build(chosen["arch"], **shape, **form)
    apart = (
        "run",
        "arch",
        "stem",
        "width",
        "weights",
        "normalise",
        "recipe",
        "tensorboard",
        "seed",
        "device",
    )
    recipe = training.recipe(chosen["recipe"], **{k: v for k, v in chosen.items() if k not in apart})
    where = {name: chosen[name] for name in ("seed", "device", "tensorboard")}
    history = training.fit(model, train, val, run=study, **where, **recipe.settings())
    if int(os.environ.get("RANK", 0)) == 0:
        study.save_table("history", history)
        study.note(device=str(models.pick_device(chosen["device"])), weights=model.origin)
        study.note(settings=recipe.settings(), processes=int(os.environ.get("WORLD_SIZE", 1)))
        study.finish()


if __name__ == "__main__":
    main(sys.argv[1:])
