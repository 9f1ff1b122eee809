"""Explain every image clean and corrupted, and compare the maps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from medrob.check import check_integer
from medrob.corruptions.conditions import CLEAN, Condition
from medrob.corruptions.conditions import apply as corrupted
from medrob.data import ImageDataset
from medrob.drift.choice import targets
from medrob.drift.table import Table
from medrob.models import pick_device, place
from medrob.progress import bar
from medrob.saliency.decision import same_decision, task_of
from medrob.saliency.explain import attribute, check_methods, device_of, evaluating, layers_for, layers_of
from medrob.saliency.settings import Noise, Settings
from medrob.similarity import METRICS, check_metrics


def measure(
    model: nn.Module,
    dataset: ImageDataset,
    conditions: Iterable[Condition],
    *,
    methods: Sequence[str],
    layers: Sequence[str] | str | None = None,
    images: np.ndarray | None = None,
    target: str | int = "predicted",
    metrics: Sequence[str] | str = tuple(METRICS),
    seed: int = 0,
    settings: Settings = Settings(),
    batch_size: int = 64,
    device: str | None = None,
) -> pd.DataFrame:
    """Explain every chosen image clean and under every condition, and compare the maps.

    Args:
        model, dataset: the network and the images it is judged on.
        conditions: from `medrob.corruptions.conditions.grid`.
        methods, layers: see `medrob.saliency.explain`.
        images: indices of the images; None = all.
        target: the class explained. "predicted" = that predicted for the clean image, at every severity;
            "label" = the true one; "own" = that predicted for each picture, clean or corrupted, for itself:
            the map may then change because the class did. Or a class's name or number: that one, in every
            image; the way to explain the labels of a multi-label network one at a time.
        metrics: of `medrob.similarity.METRICS`.
        seed: of the corruptions: that of the predictions, so that the pictures are the same.
        settings: of the methods that have a choice; an image's noise is that of its corrupted copies.
        batch_size: images a pass.
        device: see `medrob.models.pick_device`; None = where the model is.

    Returns:
        A row per image, condition (without clean), method and layer: image, label (-1 if multi-label),
        corruption, severity, method, layer, size (side of the map, pixels), target (class explained in the
        clean image), preserved (is the class predicted for the clean image still predicted; of a multi-label
        network: is the decision about the label explained, logit above 0, still the same), degenerate
        (either map), and the metrics. Where lesion masks are known, also area (share of the image),
        energy, pointing and iou (`medrob.trust.localise`) of the corrupted map, and the same with
        ``_clean`` of the clean map; NaN for images without a lesion.

    Raises:
        ValueError: an unknown method, layer, target or metric, indices outside the images, nothing to
            measure.
    """
    batch_size = check_integer("batch_size", batch_size, 1)
    methods, metrics = check_methods(methods), check_metrics(metrics)
    chosen = layers_for(model, methods, layers)
    rows = _check_rows(images, len(dataset))
    asked, task = targets(target, dataset, rows), task_of(model, dataset.task)
    where = pick_device(device) if device else device_of(model)
    todo = [condition for condition in conditions if condition != CLEAN]
    if not len(rows) or not todo:
        raise ValueError(f"nothing to measure: {len(rows)} images, {len(todo)} conditions other than clean")
    for condition in todo:  # an unknown corruption stops here, not after the first batch
        corrupted(dataset.images[:0], condition, seed=seed, index=rows[:0])
    pairs = [(m, layer) for m in methods for layer in layers_of(m, chosen)]
    table = Table(todo, pairs, rows, metrics, dataset.masks is not None)
    progress = bar(total=len(rows) * (len(todo) + 1), desc="explaining", unit="image")
    with evaluating(place(model, where)):
        for begin in range(0, len(rows), batch_size):
            part = slice(begin, begin + batch_size)
            index = rows[part]
            known = None if asked is None else torch.from_numpy(asked[part]).to(where)
            noise = Noise(settings.seed, index)
            masks = None if dataset.masks is None else torch.from_numpy(dataset.masks[index]).to(where)

            def maps(
                pictures: np.ndarray, targets: Tensor | None, noise: Noise = noise
            ) -> tuple[dict[tuple[str, str], Tensor], Tensor]:
                x = torch.from_numpy(pictures).to(where).permute(0, 3, 1, 2)
                return attribute(model, x, methods, chosen, targets, settings=settings, noise=noise)

            found, before = maps(dataset.images[index], known)
            explained = before.argmax(1) if known is None else known
            clean = table.clean(part, found, explained, masks)
            progress.update(len(index))
            for c, condition in enumerate(todo):
                moved = corrupted(dataset.images[index], condition, seed=seed, index=index)
                found, logits = maps(moved, None if target == "own" else explained)
                table.preserved[c, part] = same_decision(before, logits, explained, task).cpu()
                table.moved(c, part, clean, found, masks)
                progress.update(len(index))
    progress.close()
    return table.frame(dataset)


def _check_rows(images: np.ndarray | None, n: int) -> np.ndarray:
    if images is None:
        return np.arange(n)
    rows = np.asarray(images)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or not np.isin(rows, np.arange(n)).all():
        raise ValueError(f"images={images!r}: give indices from 0 to {n - 1}")
    if len(np.unique(rows)) < len(rows):
        raise ValueError(f"images={images!r}: give each index once")
    return rows
