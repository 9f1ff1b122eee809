"""The table of drift, laid out whole before it is measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from medrob.corruptions.conditions import Condition
from medrob.data import ImageDataset
from medrob.similarity import Maps, compare
from medrob.trust import LOCALISATION, localise


class Table:
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
