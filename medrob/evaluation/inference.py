"""Prediction: images in, class probabilities out, one condition after another."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import torch
from torch import nn

from medrob.check import check_images
from medrob.corruptions import Condition, apply_condition
from medrob.data import ImageDataset
from medrob.machine import bar
from medrob.models import activate, as_input, check_logits, evaluating, pick_device, place


def device_of(model: nn.Module, device: str | None = None) -> torch.device:
    """The device of that name; None = where the model's parameters are, the CPU for a model without any."""
    if device:
        return pick_device(device)
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def task_of(model: nn.Module, default: str = "multiclass") -> str:
    """The task in the network's own `config`, if it has one that says so; else the default."""
    config = getattr(model, "config", None)
    return str(config.get("task", default)) if isinstance(config, Mapping) else default


def predict(
    model: nn.Module, images: np.ndarray, *, batch_size: int = 256, device: str | None = None
) -> np.ndarray:
    """Class probabilities of images, uint8 (N, H, W, C): float32 (N, K), softmax or, if multi-label, sigmoid.

    The model takes grey levels 0-255 (N, C, H, W) and gives logits; the mode of every module is given back.
    `device` None = where the model is. Other images and results that are not finite are refused.
    """
    images = check_images(images)
    where, task = device_of(model, device), task_of(model)
    probabilities = np.empty((len(images), 0), np.float32)
    with evaluating(place(model, where)), torch.inference_mode():
        for i in range(0, len(images), batch_size):
            x = as_input(model, torch.tensor(images[i : i + batch_size], device=where).permute(0, 3, 1, 2))
            check_logits(logits := model(x), model, len(x))
            p = activate(logits.float(), task)
            if i == 0:  # what is kept of each batch would lie between its images in memory, which then grows
                probabilities = np.empty((len(images), p.shape[1]), np.float32)
            probabilities[i : i + batch_size] = p.cpu().numpy()
    return probabilities


def predict_conditions(
    model: nn.Module, dataset: ImageDataset, conditions: Iterable[Condition],
    *, images: np.ndarray | None = None, seed: int = 0, batch_size: int = 256, device: str | None = None,
) -> pd.DataFrame:  # fmt: skip
    """A row per condition and image: image, corruption, severity, label, predicted, ``p_<class>``...

    If multi-label, ``label_<class>``, 0 or 1, in place of label; predicted is the most probable class; group
    where the data set has groups.
    `images` are indices, None = all.
    """
    index = np.arange(len(dataset)) if images is None else images
    found = {}
    for condition in bar(list(conditions), desc="predicting", unit="condition"):
        parts = []
        for rows in np.split(index, range(batch_size, len(index), batch_size)):
            changed = apply_condition(dataset.images[rows], condition, seed=seed, index=rows)
            parts.append(predict(model, changed, batch_size=batch_size, device=device))
        found[condition] = np.concatenate(parts)
    return prediction_table(dataset, index, found)


def prediction_table(
    dataset: ImageDataset, index: np.ndarray, probabilities: Mapping[Condition, np.ndarray]
) -> pd.DataFrame:
    """The table of `predict_conditions` from each condition's probabilities (images, classes)."""
    names, labels = dataset.class_names, dataset.labels[index]
    single = labels.ndim == 1
    truth = {"label": labels} if single else {f"label_{n}": labels[:, k] for k, n in enumerate(names)}
    frames = []
    for condition, p in probabilities.items():
        key = {"image": index, "corruption": condition[0], "severity": condition[1]}
        columns = {f"p_{name}": p[:, k] for k, name in enumerate(names)}
        key |= {} if dataset.groups is None else {"group": dataset.groups[index]}
        frames.append(pd.DataFrame(key | truth | {"predicted": p.argmax(1)} | columns))
    return pd.concat(frames, ignore_index=True)
