"""Explain every image clean and corrupted, and compare the maps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medrob.corruptions import CLEAN, Condition
from medrob.corruptions import apply_condition as corrupted
from medrob.data import ImageDataset
from medrob.drift.explainer import Explainer, Key
from medrob.drift.lesions import localise
from medrob.drift.prepared_maps import PreparedMaps
from medrob.drift.selection import targets
from medrob.drift.similarities import USUAL, check_similarities, compare
from medrob.progress import bar
from medrob.saliency import same_decision, task_of

Columns = dict[str, np.ndarray]  # name -> (pairs of method and layer or 1, images)


def measure(
    explainer: Explainer,
    dataset: ImageDataset,
    conditions: Iterable[Condition],
    *,
    images: np.ndarray | None = None,
    target: str | int = "predicted",
    similarities: Sequence[str] | str = USUAL,
    seed: int = 0,
) -> pd.DataFrame:
    """Explain every chosen image clean and under every condition, and compare the maps.

    Args:
        explainer: the network and how its maps are made.
        dataset: the images it is judged on.
        conditions: from `medrob.corruptions.grid`.
        images: indices of the images; None = all.
        target: the class explained. "predicted" = that predicted for the clean image, at every severity;
            "label" = the true one; "own" = that predicted for each picture, clean or corrupted: the map may
            then change because the class did. Or a class's name or number: that one, in every image; the
            way to explain the labels of a multi-label network one at a time.
        similarities: names of `SIMILARITIES`; "all" = all of them.
        seed: of the corruptions: that of the predictions, so that the pictures are the same.

    Returns:
        A row per image, condition (without clean), method and layer: image, label (-1 if multi-label),
        corruption, severity, method, layer, size (shorter side of the map), target (class explained in the
        clean image), preserved (`medrob.saliency.same_decision`), degenerate (either map), and the
        similarities. Where lesion masks are known, also energy, pointing and iou (`localise`) of the
        corrupted map, the same with ``_clean`` of the clean map, and area (share of the image); NaN for
        images without a lesion.

    Raises:
        ValueError: an unknown target or similarity, indices outside the images, nothing to measure.
    """
    rows = _check_rows(images, len(dataset))
    known, task = targets(target, dataset, rows), task_of(explainer.model, dataset.task)
    corruptions = [condition for condition in conditions if condition != CLEAN]
    if not len(rows) or not corruptions:
        raise ValueError(
            f"nothing to measure: {len(rows)} images, {len(corruptions)} conditions other than clean"
        )
    names = check_similarities(similarities)
    of_clean: list[Columns] = []  # of each batch
    of_moved: list[list[Columns]] = [[] for _ in corruptions]
    progress = bar(total=len(rows) * (len(corruptions) + 1), desc="explaining", unit="image")
    for batch in explainer.batches(len(rows)):
        index = rows[batch]
        pictures, masks = dataset.images[index], None if dataset.masks is None else dataset.masks[index]
        given = None if known is None else torch.from_numpy(known[batch]).to(explainer.compute_device)
        maps, before = explainer.maps(pictures, index, given)
        classes = before.argmax(1) if given is None else given
        clean, columns = _columns(maps, masks)
        columns["target"] = classes.cpu().numpy()[None]
        of_clean.append(columns)
        progress.update(len(batch))
        for c, condition in enumerate(corruptions):
            changed = corrupted(pictures, condition, seed=seed, index=index)
            maps, after = explainer.maps(changed, index, None if target == "own" else classes)
            kept = same_decision(before, after, classes, task).cpu().numpy()[None]
            of_moved[c].append({"preserved": kept} | _columns(maps, masks, clean, names)[1])
            progress.update(len(batch))
    progress.close()
    first, moved = _joined(of_clean), [_joined(batches) for batches in of_moved]
    labels = dataset.labels if dataset.labels.ndim == 1 else np.full(len(dataset), -1)
    # Each column has or gets the axes conditions x (method, layer) x images; an axis of 1 is repeated.
    table = {
        "image": rows,
        "label": labels[rows],
        "corruption": np.array([name for name, _ in corruptions], object)[:, None, None],
        "severity": np.array([severity for _, severity in corruptions])[:, None, None],
        "method": np.array([method for method, _ in explainer.pairs], object)[:, None],
        "layer": np.array([layer for _, layer in explainer.pairs], object)[:, None],
        "size": first.pop("size"),
        "target": first.pop("target"),
        **{name: np.stack([columns[name] for columns in moved]) for name in moved[0]},
        **{f"{name}_clean": values for name, values in first.items()},
    }
    if dataset.masks is not None:
        # One mask at a time: all together they may not fit into memory.
        table["area"] = np.array([dataset.masks[row].mean() for row in rows], np.float32)
    shape = len(corruptions), len(explainer.pairs), len(rows)
    return pd.DataFrame({name: np.broadcast_to(values, shape).ravel() for name, values in table.items()})


def _columns(
    maps: dict[Key, Tensor],
    masks: np.ndarray | None,
    clean: dict[str, PreparedMaps] | None = None,
    similarities: Sequence[str] = (),
) -> tuple[dict[str, PreparedMaps], Columns]:
    """The maps of a batch by layer, prepared, and what is measured of them, compared with the clean ones.

    All methods of a layer have maps of one size: they are stacked, and measured in one go.
    """
    prepared: dict[str, PreparedMaps] = {}
    columns: Columns = {}
    for layer in dict.fromkeys(layer for _, layer in maps):
        at = [i for i, (_, its_layer) in enumerate(maps) if its_layer == layer]
        raw = torch.cat([values for (_, its_layer), values in maps.items() if its_layer == layer])
        prepared[layer] = PreparedMaps(raw)
        if clean is None:
            measured = {"size": np.full(len(raw), min(raw.shape[1:]))}
        else:
            bad = clean[layer].degenerate | prepared[layer].degenerate
            measured = {"degenerate": bad.cpu().numpy()}
            measured |= compare(clean[layer], prepared[layer], similarities)
        if masks is not None:
            located = localise(raw, torch.from_numpy(masks).to(raw.device).repeat(len(at), 1, 1))
            measured |= {name: values.cpu().numpy() for name, values in located.items()}
        for name, values in measured.items():
            rows = values.reshape(len(at), -1)
            columns.setdefault(name, np.empty((len(maps), rows.shape[1]), rows.dtype))[at] = rows
    return prepared, columns


def _joined(batches: list[Columns]) -> Columns:
    """The columns of all batches, joined along the images."""
    return {name: np.concatenate([columns[name] for columns in batches], 1) for name in batches[0]}


def _check_rows(images: np.ndarray | None, n: int) -> np.ndarray:
    if images is None:
        return np.arange(n)
    rows = np.asarray(images)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or not np.isin(rows, np.arange(n)).all():
        raise ValueError(f"images={images!r}: give indices from 0 to {n - 1}")
    if len(np.unique(rows)) < len(rows):
        raise ValueError(f"images={images!r}: give each index once")
    return rows
