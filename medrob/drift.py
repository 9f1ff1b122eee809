"""Drift: how far the maps of corrupted images move from the map of the clean one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from medrob.conditions import CLEAN, Condition
from medrob.conditions import apply as corrupted
from medrob.data import ImageDataset
from medrob.models import pick_device
from medrob.progress import bar
from medrob.saliency.explain import check_methods, evaluating, pick_layers
from medrob.saliency.gradient import cams
from medrob.similarity import METRICS, Maps, compare

COLUMNS = (
    *("image", "label", "corruption", "severity", "method", "layer", "size"),
    *("target", "preserved", "degenerate"),
)
SELECTIONS = ("all", "random", "correct", "wrong")


def select(
    predictions: pd.DataFrame, *, images: int | Sequence[int] = 0, how: str = "random", seed: int = 0
) -> np.ndarray:
    """Choose the images to explain, as many of each class as there are.

    Args:
        predictions: from `medrob.evaluation.predict_conditions`.
        images: how many of each class (0 = all), or their indices, which are then taken as they are.
        how: "random" or "all" = of all images; "correct", "wrong" = of those that the network
            recognises, or not, when clean. Fewer are taken where there are not so many.
        seed: of the draw.

    Returns:
        Sorted indices, int64.

    Raises:
        ValueError: an unknown way, an index outside the images, or nothing to choose from.
    """
    clean = predictions[(predictions["corruption"] == "clean")].set_index("image")
    if not isinstance(images, (int, np.integer)):
        chosen = np.unique(np.asarray(list(images)))
        if not len(chosen) or chosen.dtype.kind not in "iu" or not np.isin(chosen, clean.index).all():
            raise ValueError(f"images={list(images)!r}: give indices from 0 to {clean.index.max()}")
        return chosen.astype(np.int64)
    if how not in SELECTIONS or images < 0:
        raise ValueError(
            f"select={how!r}, images={images}: select is one of {', '.join(SELECTIONS)}; "
            "images a number of each class (0 = all) or a list of indices"
        )
    group = clean["label"] if "label" in clean else clean["predicted"]
    if how in ("correct", "wrong"):
        if "label" not in clean:
            raise ValueError(f"select={how!r}: a multi-label prediction is not right or wrong as a whole")
        clean = clean[(clean["predicted"] == clean["label"]) == (how == "correct")]
    rng = np.random.default_rng(seed)
    order = rng.permutation(clean.index.to_numpy())
    kept = [order[group.loc[order] == label][: images or None] for label in np.unique(group)]
    chosen = np.sort(np.concatenate(kept))
    if not len(chosen):
        raise ValueError(f"select={how!r}: there is no such image among the {len(predictions)} predictions")
    return chosen.astype(np.int64)


def measure(
    model: nn.Module,
    dataset: ImageDataset,
    conditions: Iterable[Condition],
    *,
    methods: Sequence[str],
    layers: Sequence[str] | str | None = None,
    images: np.ndarray | None = None,
    metrics: Sequence[str] = tuple(METRICS),
    seed: int = 0,
    batch_size: int = 64,
    device: str | None = None,
) -> pd.DataFrame:
    """Explain every chosen image clean and under every condition, and compare the maps.

    The class explained is the one predicted for the clean image, at every severity.

    Args:
        model, dataset: the network and the images it is judged on.
        conditions: from `medrob.conditions.grid`.
        methods, layers: see `medrob.saliency.explain`.
        images: indices of the images; None = all.
        metrics: of `medrob.similarity.METRICS`.
        seed: of the corruptions: the one that the predictions were made with.
        batch_size: images a pass.
        device: see `medrob.models.pick_device`; None = where the model is.

    Returns:
        A row per image, condition (without clean), method and layer: image, label (-1 if multi-label),
        corruption, severity, method, layer, size (side of the map, pixels), target (class explained),
        preserved (is it still the one predicted), degenerate (either map), and the metrics.
    """
    methods, chosen = check_methods(methods), pick_layers(model, layers)
    rows = np.arange(len(dataset)) if images is None else np.asarray(images)
    where = pick_device(device) if device else next(model.parameters()).device
    todo = [condition for condition in conditions if condition != CLEAN]
    blocks: list[dict[str, Any]] = []
    progress = bar(total=len(rows) * (len(todo) + 1), desc="explaining", unit="image")
    with evaluating(model.to(where)):
        for batch in (rows[i : i + batch_size] for i in range(0, len(rows), batch_size)):
            data = dataset[batch]
            found, logits = cams(model, _input(data.images, where), methods, chosen)
            clean = {layer: _stacked(found, methods, layer) for layer in chosen}
            target = logits.argmax(1)
            progress.update(len(batch))
            for corruption, severity in todo:
                moved = corrupted(data.images, (corruption, severity), seed=seed, index=batch)
                found, logits = cams(model, _input(moved, where), methods, chosen, target)
                known = {
                    "image": batch,
                    "label": data.labels if data.labels.ndim == 1 else np.full(len(batch), -1),
                    "corruption": np.full(len(batch), corruption, object),
                    "severity": np.full(len(batch), severity),
                    "target": target.cpu().numpy(),
                    "preserved": (logits.argmax(1) == target).cpu().numpy(),
                }
                for layer in chosen:
                    b = _stacked(found, methods, layer)
                    blocks.append(_block(known, methods, layer, clean[layer], b, metrics))
                progress.update(len(batch))
    progress.close()
    columns = [*COLUMNS, *metrics]
    frame = pd.DataFrame({c: np.concatenate([block[c] for block in blocks]) for c in columns})
    place = {layer: i for i, layer in enumerate(chosen)}
    order = np.lexsort(
        (
            frame["image"],
            frame["layer"].map(place),
            frame["method"].map(methods.index),
            frame["severity"],
            frame["corruption"].map(_order(todo)),
        )
    )
    return frame.iloc[order].reset_index(drop=True)


def _block(
    known: dict[str, np.ndarray],
    methods: Sequence[str],
    layer: str,
    a: Maps,
    b: Maps,
    metrics: Sequence[str],
) -> dict[str, np.ndarray]:
    """The columns of one batch, condition and layer; maps a and b hold the methods one after another."""
    n = len(known["image"])
    return {
        **{name: np.tile(column, len(methods)) for name, column in known.items()},
        "method": np.repeat(np.array(methods, object), n),
        "layer": np.full(len(methods) * n, layer, object),
        "size": np.full(len(methods) * n, min(a.values.shape[1:])),
        "degenerate": (a.degenerate | b.degenerate).cpu().numpy(),
        **compare(a, b, metrics),
    }


def _stacked(found: dict[tuple[str, str], Tensor], methods: Sequence[str], layer: str) -> Maps:
    """The maps of one layer, all methods one after another."""
    return Maps(torch.cat([found[method, layer] for method in methods]))


def _order(conditions: Iterable[Condition]) -> dict[str, int]:
    return {name: i for i, name in enumerate(dict.fromkeys(name for name, _ in conditions))}


def _input(images: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
