"""Do the maps lie on the lesion, and do they still when the picture degrades?"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import hypergeom
from torch import Tensor

from medrob.saliency.maps import Array, degenerate, upsample
from medrob.trust.table import Entry, table

LOCALISATION = ("energy", "pointing", "iou")
TIED = 1e-6  # relative to the maximum: interpolation rounds
CONDITION = ["corruption", "severity"]
CHANGE = "change"  # the stage of what is lost or won against the clean images
GROUP = [*CONDITION, "method", "layer"]


def localise(maps: Array, masks: Array) -> dict[str, Array]:
    """How well maps lie on lesions, after the ReLU and enlarged to the mask (bilinear).

    ``energy``: share of the map inside the mask (Wang et al. 2020).
    ``pointing``: is the highest pixel inside? (Zhang et al. 2018, without their margin); if several pixels
    are the highest, the share of them inside.
    ``iou``: intersection over union of the mask and as many of the highest pixels; of pixels tied at the
    last place each counts in part.

    Args:
        maps: raw, (N, h, w), a NumPy array or a tensor. masks: bool (N, H, W), of the same kind.

    Returns:
        ``{test: float32 (N,)}``, 0-1, of the kind that came; NaN where the map is degenerate or the mask
        empty.

    Raises:
        ValueError: shapes that do not fit, masks that are not boolean.
    """
    raw = torch.as_tensor(maps)
    inside = torch.as_tensor(masks, device=raw.device)
    if raw.ndim != 3 or inside.ndim != 3 or len(raw) != len(inside) or inside.dtype != torch.bool:
        raise ValueError(
            f"maps are {tuple(raw.shape)}, masks {inside.dtype} {tuple(inside.shape)}; give maps (N, h, w) "
            "and as many masks, bool (N, H, W)"
        )
    bad = degenerate(raw) | ~inside.flatten(1).any(1)
    size = (inside.shape[1], inside.shape[2])
    values = upsample(torch.nan_to_num(raw.float()).relu(), size).flatten(1)
    values = values / values.amax(1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
    inside = inside.flatten(1)
    top = values >= 1 - TIED
    found = {
        "energy": (values * inside).sum(1) / values.sum(1),
        "pointing": (top & inside).sum(1) / top.sum(1),
        "iou": _iou(values, inside),
    }
    values_of = {test: torch.where(bad, torch.nan, value) for test, value in found.items()}
    return values_of if isinstance(maps, Tensor) else {test: v.numpy() for test, v in values_of.items()}


def _iou(values: Tensor, inside: Tensor) -> Tensor:
    """IoU of (N, P) inside and as many of the highest values, ties at the last place counted in part."""
    area = inside.sum(1)
    if values.device.type == "cpu":  # NumPy sorts floats ten times as fast
        ordered = torch.from_numpy(np.sort(values.numpy(), axis=1))
    else:
        ordered = values.sort(1).values
    last = ordered.gather(1, (values.shape[1] - area.clamp_min(1))[:, None])
    above, tied = values > last, values == last
    part = (area - above.sum(1)) / tied.sum(1)
    shared = (above & inside).sum(1) + part * (tied & inside).sum(1)
    return shared / (2 * area - shared)


@lru_cache(maxsize=4096)
def expected_iou(area: int, pixels: int) -> float:
    """Mean IoU of a mask of that area and as many pixels drawn at random, without replacement.

    Their intersection I is hypergeometric, IoU = I / (2 area - I). For large areas this is p / (2 - p)
    with p = area / pixels.
    """
    shared = np.arange(area + 1)
    return float((hypergeom(pixels, area, area).pmf(shared) * shared / (2 * area - shared)).sum())


def localisation(located: pd.DataFrame, masks: np.ndarray | None, *, seed: int = 0) -> pd.DataFrame:
    """Mean energy, pointing and IoU under each condition, beside chance.

    Chance is the mean share of the image that the mask covers (energy, pointing) and the mean `expected_iou`,
    over the images that count.

    Args:
        located: from `medrob.drift.measure`, whose columns ``energy_clean`` ... become the rows of the
            clean images. Images whose mask is empty are left out.
        masks: bool (N, H, W) of the data set; `image` is an index into it. None = not known: no rows.
        seed: of the bootstrap.

    Returns:
        Rows with the columns `medrob.trust.COLUMNS`; tests "energy", "pointing" and "iou". images +
        degenerate is the number of images with a mask; the others of the frame have none. Stage "" holds
        all of them; if the frame tells what is preserved, "preserved" and "flipped" hold, for each
        condition but clean, those whose prediction is and is not kept. Stage "change": the value less that of
        the same image when clean, where both have a map (chance is 0).

    Raises:
        ValueError: a column is missing.
    """
    if masks is None:
        return table([])
    missing = [column for column in ("image", *GROUP, *LOCALISATION) if column not in located]
    if missing:
        raise ValueError(f"located lacks the columns {missing}; take the frame from medrob.drift.measure")
    kept = located.drop_duplicates(["image", *CONDITION]) if "preserved" in located else located.iloc[:0]
    located = pd.concat([_clean(located), located[["image", *GROUP, *LOCALISATION]]])
    pixels, area = masks[0].size, masks.sum((1, 2))
    images = np.unique(located["image"])
    images = images[area[images] > 0]
    share = area[images] / pixels
    overlap = np.array([expected_iou(int(a), pixels) for a in area[images]])
    chance = {"energy": share, "pointing": share, "iou": overlap}
    groups = list(located[GROUP].drop_duplicates().itertuples(index=False, name=None))
    strata = _strata(kept, images)
    entries, members = [], []
    for test in LOCALISATION:
        wide = located.pivot(index="image", columns=GROUP, values=test).reindex(images)
        for corruption, severity, method, layer in groups:
            values = wide[corruption, severity, method, layer].to_numpy()
            where: dict[str, Any] = dict(corruption=corruption, severity=severity)
            for stage, there in {
                "": np.ones(len(images), bool),
                **strata.get((corruption, severity), {}),
            }.items():
                part = np.where(there, values, np.nan)
                entries.append(Entry(method, layer, test, part, chance[test], stage, **where))
                members.append(there.sum())
            first = ("clean", 0, method, layer)
            if severity and first in wide:
                change = values - wide[first].to_numpy()
                entries.append(Entry(method, layer, test, change, 0.0, CHANGE, **where))
                members.append(len(images))
    rows = table(entries, seed=seed)
    return rows.assign(degenerate=np.array(members, int) - rows["images"].to_numpy(int))


def _strata(kept: pd.DataFrame, images: np.ndarray) -> dict[tuple[str, int], dict[str, np.ndarray]]:
    """For each condition, which of the images are preserved and which flipped, bool (images,) each."""
    found = {}
    for condition, group in kept.groupby(CONDITION, sort=False):
        preserved = group.set_index("image")["preserved"].reindex(images).to_numpy(dtype=bool)
        found[condition] = {"preserved": preserved, "flipped": ~preserved}
    return found


def _clean(located: pd.DataFrame) -> pd.DataFrame:
    """The rows of the clean images, if a frame keeps them in columns of their own."""
    columns = ["image", *GROUP, *LOCALISATION]
    if f"{LOCALISATION[0]}_clean" not in located:
        return located.iloc[:0][columns]
    first = located.drop_duplicates(["image", "method", "layer"])
    clean = {test: first[f"{test}_clean"] for test in LOCALISATION}
    return first.assign(corruption="clean", severity=0, **clean)[columns]
