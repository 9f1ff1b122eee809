"""Negative controls: what do networks say that have not learnt what they are asked?"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from medrob.corruptions import grid
from medrob.data import ImageDataset
from medrob.drift import Explainer, measure
from medrob.evaluation import predict_conditions
from medrob.trust.randomisation import EVERYTHING, cascade, parts

HEAD, NOTHING = "untrained head", "random weights"
DRAWS = 3  # of each: an untrained head passes or fails by its draw


def controls(
    explainer: Explainer, dataset: ImageDataset, corruptions: Sequence[str], *,
    images: np.ndarray, seed: int = 0,
) -> dict[tuple[str, int], tuple[pd.DataFrame, pd.DataFrame]]:  # fmt: skip
    """Predictions and drift of the same network with an untrained head, and with random weights alone.

    Whatever a test finds in them is not what the network has learnt. `explainer` has one method and layer;
    `images` are indices. By name and draw: the tables of `medrob.evaluation.predict_conditions` and
    `medrob.drift.measure`.
    """
    last = {next(iter(parts(explainer.model))): HEAD, EVERYTHING: NOTHING}
    found, conditions = {}, grid(corruptions)
    how = dict[str, Any](images=images, seed=seed)
    for draw in range(DRAWS):
        for stage, network in cascade(explainer.model, seed=(seed, draw)):
            if stage in last:
                batch = explainer.batch_size
                predictions = predict_conditions(network, dataset, conditions, batch_size=batch, **how)
                alone = replace(explainer, model=network)
                drift = measure(alone, dataset, conditions, similarities=["rmse"], **how)
                found[last[stage], draw] = predictions, drift
    return found
