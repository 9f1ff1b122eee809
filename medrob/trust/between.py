"""How many witnesses are several methods? How alike their maps of the same images are."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from torch import Tensor

from medrob.similarity import Maps, compare
from medrob.trust.subject import Key


def between(maps: Mapping[Key, np.ndarray | Tensor]) -> pd.DataFrame:
    """How alike the maps of two methods are at the same layer: the median rank correlation over the images.

    Args:
        maps: from `medrob.saliency.explain`, ``{(method, layer): raw maps (N, h, w)}``.

    Returns:
        A row for each two methods at each layer: layer, method, other, value, images (whose maps count).
    """
    prepared = {key: Maps(found) for key, found in maps.items()}
    rows = []
    for (method, layer), (other, place) in combinations(prepared, 2):
        if layer == place:
            values = compare(prepared[method, layer], prepared[other, layer], "spearman")["spearman"]
            known = values[np.isfinite(values)]
            rows.append((layer, method, other, np.median(known) if len(known) else np.nan, len(known)))
    return pd.DataFrame(rows, columns=["layer", "method", "other", "value", "images"])
