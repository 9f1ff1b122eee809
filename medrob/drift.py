"""Drift: how far the maps of corrupted images move from the map of the clean one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from medrob.conditions import CLEAN, Condition
from medrob.conditions import apply as corrupted
from medrob.data import ImageDataset
from medrob.models import pick_device
from medrob.progress import bar
from medrob.saliency.explain import check_batch_size, check_methods, evaluating, pick_layers
from medrob.saliency.gradient import cams
from medrob.similarity import METRICS, Maps, compare

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
    clean = predictions[predictions["corruption"] == "clean"].set_index("image")
    if np.ndim(images) == 1 and how in SELECTIONS:
        chosen = np.unique(np.asarray(images))
        if not len(chosen) or chosen.dtype.kind not in "iu" or not np.isin(chosen, clean.index).all():
            raise ValueError(f"images={images!r}: give indices from 0 to {clean.index.max()}")
        return chosen.astype(np.int64)
    if how not in SELECTIONS or not isinstance(images, (int, np.integer)) or images < 0:
        raise ValueError(
            f"select={how!r}, images={images!r}: select is one of {', '.join(SELECTIONS)}; "
            "images a number of each class (0 = all) or a list of indices"
        )
    group = clean["label"] if "label" in clean else clean["predicted"]
    if how in ("correct", "wrong"):
        if "label" not in clean:
            raise ValueError(f"select={how!r}: a multi-label prediction is not right or wrong as a whole")
        clean = clean[(clean["predicted"] == clean["label"]) == (how == "correct")]
    rng = np.random.default_rng(seed)
    order = rng.permutation(clean.index.to_numpy(copy=True))
    kept = [order[group.loc[order] == label][: images or None] for label in np.unique(group)]
    chosen = np.sort(np.concatenate(kept))
    if not len(chosen):
        raise ValueError(f"select={how!r}: there is no such image among the {len(group)} clean ones")
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

    Raises:
        ValueError: an unknown method, layer or metric, indices outside the images, nothing to measure.
    """
    batch_size = check_batch_size(batch_size)
    methods, chosen = check_methods(methods), pick_layers(model, layers)
    rows = np.arange(len(dataset))
    if images is not None:
        rows = np.asarray(images)
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or not np.isin(rows, np.arange(len(dataset))).all():
            raise ValueError(f"images={images!r}: give indices from 0 to {len(dataset) - 1}")
    where = pick_device(device) if device else next(model.parameters()).device
    todo = [condition for condition in conditions if condition != CLEAN]
    if not len(rows) or not todo:
        raise ValueError(f"nothing to measure: {len(rows)} images, {len(todo)} conditions other than clean")
    # The tables are laid out whole beforehand: conditions x methods x layers x images.
    shape = (len(todo), len(methods), len(chosen), len(rows))
    values = {metric: np.full(shape, np.nan, np.float32) for metric in metrics}
    degenerate, preserved = np.zeros(shape, bool), np.zeros((len(todo), len(rows)), bool)
    target, size = np.zeros(len(rows), np.int64), np.zeros(len(chosen), np.int64)
    progress = bar(total=len(rows) * (len(todo) + 1), desc="explaining", unit="image")
    with evaluating(model.to(where)):
        for begin in range(0, len(rows), batch_size):
            part = slice(begin, begin + batch_size)
            images = dataset.images[rows[part]]
            found, logits = cams(model, _input(images, where), methods, chosen)
            clean = [_stacked(found, methods, layer) for layer in chosen]
            explained = logits.argmax(1)
            target[part], size[:] = explained.cpu(), [min(maps.values.shape[1:]) for maps in clean]
            progress.update(len(images))
            for c, condition in enumerate(todo):
                moved = corrupted(images, condition, seed=seed, index=rows[part])
                found, logits = cams(model, _input(moved, where), methods, chosen, explained)
                preserved[c, part] = (logits.argmax(1) == explained).cpu()
                for l, layer in enumerate(chosen):
                    maps = _stacked(found, methods, layer)
                    flags = (clean[l].degenerate | maps.degenerate).cpu().numpy()
                    degenerate[c, :, l, part] = flags.reshape(len(methods), -1)
                    for metric, value in compare(clean[l], maps, metrics).items():
                        values[metric][c, :, l, part] = value.reshape(len(methods), -1)
                progress.update(len(images))
    progress.close()
    labels = dataset.labels[rows] if dataset.labels.ndim == 1 else np.full(len(rows), -1)
    c, m, l, n = (axis.ravel() for axis in np.indices(shape))
    return pd.DataFrame(
        {
            "image": rows[n],
            "label": labels[n],
            "corruption": np.array([name for name, _ in todo], object)[c],
            "severity": np.array([severity for _, severity in todo])[c],
            "method": np.array(methods, object)[m],
            "layer": np.array(list(chosen), object)[l],
            "size": size[l],
            "target": target[n],
            "preserved": preserved[c, n],
            "degenerate": degenerate.ravel(),
            **{metric: value.ravel() for metric, value in values.items()},
        }
    )


def _stacked(found: dict[tuple[str, str], Tensor], methods: Sequence[str], layer: str) -> Maps:
    """The maps of one layer, all methods one after another."""
    return Maps(torch.cat([found[method, layer] for method in methods]))


def _input(images: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
