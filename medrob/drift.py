"""Drift: how far the maps of corrupted images move from the map of the clean one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from medrob.conditions import CLEAN, Condition
from medrob.conditions import apply as corrupted
from medrob.corruptions.apply import check_integer
from medrob.data import ImageDataset
from medrob.models import pick_device, place
from medrob.progress import bar
from medrob.saliency.decision import same_decision, task_of
from medrob.saliency.explain import (
    attribute,
    check_methods,
    device_of,
    evaluating,
    layers_for,
    layers_of,
)
from medrob.saliency.settings import Noise, Settings
from medrob.similarity import METRICS, Maps, check_metrics, compare
from medrob.trust import LOCALISATION, localise

SELECTIONS = ("all", "random", "correct", "wrong")
TARGETS = ("predicted", "label", "own")


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
        conditions: from `medrob.conditions.grid`.
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
    table = _Table(todo, pairs, rows, metrics, dataset.masks is not None)
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


class _Table:
    """The table of `measure`, laid out whole beforehand: conditions x (method, layer) x images."""

    def __init__(
        self,
        todo: list[Condition],
        pairs: list[tuple[str, str]],
        rows: np.ndarray,
        metrics: Sequence[str],
        masks: bool,
    ) -> None:
        self.todo, self.pairs, self.rows, self.metrics = todo, pairs, rows, tuple(metrics)
        shape = (len(todo), len(pairs), len(rows))
        self.places = LOCALISATION if masks else ()
        self.values = {m: np.full(shape, np.nan, np.float32) for m in (*self.metrics, *self.places)}
        self.clean_values = {m: np.full(shape[1:], np.nan, np.float32) for m in self.places}
        self.degenerate, self.preserved = np.zeros(shape, bool), np.zeros((shape[0], shape[2]), bool)
        self.target, self.size = np.zeros(len(rows), np.int64), np.zeros(len(pairs), np.int64)
        # Pairs of the same layer have maps of one size: they are compared in one go.
        self.groups: dict[str, list[int]] = {}
        for i, (_, layer) in enumerate(pairs):
            self.groups.setdefault(layer, []).append(i)

    def clean(
        self, part: slice, found: dict[tuple[str, str], Tensor], target: Tensor, masks: Tensor | None
    ) -> dict[str, Maps]:
        """Keep what is known of the clean maps of a batch; give them back, a `Maps` for each layer."""
        self.target[part] = target.cpu()
        clean = {layer: self._stacked(found, at) for layer, at in self.groups.items()}
        for layer, at in self.groups.items():
            self.size[at] = min(clean[layer].values.shape[1:])
            for name, value in self._located(found, at, masks).items():
                self.clean_values[name][at, part] = value
        return clean

    def moved(
        self,
        c: int,
        part: slice,
        clean: dict[str, Maps],
        found: dict[tuple[str, str], Tensor],
        masks: Tensor | None,
    ) -> None:
        """Compare the maps of a batch under condition number c with the clean ones."""
        for layer, at in self.groups.items():
            maps = self._stacked(found, at)
            flags = (clean[layer].degenerate | maps.degenerate).cpu().numpy()
            self.degenerate[c, at, part] = flags.reshape(len(at), -1)
            for name, value in compare(clean[layer], maps, self.metrics).items():
                self.values[name][c, at, part] = value.reshape(len(at), -1)
            for name, value in self._located(found, at, masks).items():
                self.values[name][c, at, part] = value

    def _stacked(self, found: dict[tuple[str, str], Tensor], at: list[int]) -> Maps:
        return Maps(torch.cat([found[self.pairs[i]] for i in at]))

    def _located(
        self, found: dict[tuple[str, str], Tensor], at: list[int], masks: Tensor | None
    ) -> dict[str, np.ndarray]:
        """Localisation of the maps of one layer, {name: (pairs, images)}; nothing without masks."""
        if masks is None:
            return {}
        maps = torch.cat([found[self.pairs[i]] for i in at])
        values = localise(maps, masks.repeat(len(at), 1, 1))
        return {name: value.cpu().numpy().reshape(len(at), -1) for name, value in values.items()}

    def frame(self, dataset: ImageDataset) -> pd.DataFrame:
        """The rows, conditions slowest, images fastest."""
        c, pair, n = (axis.ravel() for axis in np.indices(self.degenerate.shape, np.int32))
        labels = dataset.labels if dataset.labels.ndim == 1 else np.full(len(dataset), -1)

        def words(values: Iterable[str], at: np.ndarray) -> np.ndarray:
            return np.array(list(values), object)[at]

        columns = {
            "image": self.rows[n],
            "label": labels[self.rows][n],
            "corruption": words((name for name, _ in self.todo), c),
            "severity": np.array([severity for _, severity in self.todo])[c],
            "method": words((method for method, _ in self.pairs), pair),
            "layer": words((layer for _, layer in self.pairs), pair),
            "size": self.size[pair],
            "target": self.target[n],
            "preserved": self.preserved[c, n],
            "degenerate": self.degenerate.ravel(),
            **{metric: value.ravel() for metric, value in self.values.items()},
            **{f"{name}_clean": value[pair, n] for name, value in self.clean_values.items()},
        }
        if self.places and dataset.masks is not None:
            # One at a time: together they may have no room in memory.
            area = np.array([dataset.masks[row].mean() for row in self.rows])
            columns["area"] = area[n].astype(np.float32)
        return pd.DataFrame(columns)


def _check_rows(images: np.ndarray | None, n: int) -> np.ndarray:
    if images is None:
        return np.arange(n)
    rows = np.asarray(images)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or not np.isin(rows, np.arange(n)).all():
        raise ValueError(f"images={images!r}: give indices from 0 to {n - 1}")
    if len(np.unique(rows)) < len(rows):
        raise ValueError(f"images={images!r}: give each index once")
    return rows


def example(dataset: ImageDataset, chosen: np.ndarray) -> int:
    """One of the chosen images to be shown: the first that is not of the first class, if there is one."""
    other = chosen[dataset.labels[chosen] > 0] if dataset.labels.ndim == 1 else chosen
    return int(other[0] if len(other) else chosen[0])


def explained(target: str | int, dataset: ImageDataset, predictions: pd.DataFrame, image: int) -> int:
    """The class explained in one clean image: that of `targets`, or the one predicted in the table."""
    asked = targets(target, dataset, np.array([image]))
    if asked is not None:
        return int(asked[0])
    here = (predictions["corruption"] == "clean") & (predictions["image"] == image)
    return int(predictions.loc[here, "predicted"].iloc[0])


def explained_under(
    rows: Sequence[Condition], target: str | int, dataset: ImageDataset, predictions: pd.DataFrame, image: int
) -> np.ndarray:
    """The class explained in one image under each condition, int64 (rows,): see `explained`.

    With "own" it is the class predicted under that condition, else the same in every row.
    """
    if target != "own":
        return np.full(len(rows), explained(target, dataset, predictions, image))
    own = predictions[predictions["image"] == image].set_index(["corruption", "severity"])["predicted"]
    return own.loc[list(rows)].to_numpy(np.int64)


def targets(target: str | int, dataset: ImageDataset, rows: np.ndarray | None = None) -> np.ndarray | None:
    """The class to explain in each image.

    Args:
        target: see `measure`.
        dataset: the images. rows: indices of those that are explained; None = all.

    Returns:
        int64 (N,); None = the class that the network predicts.

    Raises:
        ValueError: an unknown target; "label" where an image has several labels.
    """
    names = dataset.class_names
    if isinstance(target, int | np.integer) and not isinstance(target, bool) and 0 <= target < len(names):
        target = names[target]
    if target not in (*TARGETS, *names):
        raise ValueError(
            f"target={target!r} is unknown; give one of {', '.join((*TARGETS, *names))}, or the number of a "
            f"class, 0 to {len(names) - 1}"
        )
    if target in ("predicted", "own"):
        return None
    labels = dataset.labels if rows is None else dataset.labels[rows]
    if target != "label":
        return np.full(len(labels), names.index(target), np.int64)
    if labels.ndim > 1:
        raise ValueError("target='label': an image has several labels here; give the name of one")
    return labels.astype(np.int64)
