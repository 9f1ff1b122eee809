"""Do the maps lie on the lesion, and do they still when the picture degrades?"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.stats import hypergeom

from medrob.check import require
from medrob.drift import LOCALISATION
from medrob.trust.means import Entry, means

GROUP = ["corruption", "severity", "method", "layer"]
CHANGE = "change"  # the stage of what is lost or won against the clean images


@lru_cache(maxsize=4096)
def expected_iou(area: int, pixels: int) -> float:
    """Mean IoU of a mask of that area and as many pixels drawn at random, without replacement.

    Their intersection I is hypergeometric, IoU = I / (2 area - I). For large areas this is p / (2 - p)
    with p = area / pixels.
    """
    shared = np.arange(area + 1)
    return float((hypergeom(pixels, area, area).pmf(shared) * shared / (2 * area - shared)).sum())


def localisation(drift: pd.DataFrame, masks: np.ndarray | None, *, seed: int = 0) -> pd.DataFrame:
    """Mean energy, pointing and IoU under each condition, beside chance.

    Chance is the mean share of the image that the mask covers (energy, pointing) and the mean `expected_iou`,
    over the images that count.

    Args:
        drift: from `medrob.drift.measure`, whose columns ``energy_clean`` ... become the rows of the
            clean images. Images whose mask is empty are left out.
        masks: bool (N, H, W) of the data set; `image` is an index into it. None = not known: no rows.
        seed: of the bootstrap.

    Returns:
        Rows with the columns `medrob.trust.COLUMNS`; tests "energy", "pointing" and "iou". images +
        degenerate is the number of images with a mask. Stage "" holds all of them; "preserved" and "flipped"
        hold, for each condition but clean, those whose prediction is and is not kept. Stage "change": the
        value minus that of the same image when clean, where both have a map (chance is 0).

    Raises:
        ValueError: a column is missing.
    """
    if masks is None:
        return means([], seed=seed)
    of_clean = [f"{test}_clean" for test in LOCALISATION]
    require(drift, ["image", *GROUP, "preserved", *LOCALISATION, *of_clean], "drift")
    clean = drift.drop_duplicates(["image", "method", "layer"]).assign(corruption="clean", severity=0)
    clean = clean.drop(columns=list(LOCALISATION)).rename(
        columns=dict(zip(of_clean, LOCALISATION, strict=True))
    )
    columns = ["image", *GROUP, "preserved", *LOCALISATION]
    table = pd.concat([clean[columns], drift[columns]])
    pixels, area = masks[0].size, masks.sum((1, 2))
    images = np.unique(drift["image"])
    images = images[area[images] > 0]
    share = area[images] / pixels
    overlap = np.array([expected_iou(int(a), pixels) for a in area[images]])
    chance = {"energy": share, "pointing": share, "iou": overlap}
    preserved = table.pivot(index="image", columns=GROUP, values="preserved").reindex(images)
    entries, members = [], []
    for test in LOCALISATION:
        wide = table.pivot(index="image", columns=GROUP, values=test).reindex(images)
        for group in table[GROUP].drop_duplicates().itertuples(index=False, name=None):
            corruption, severity, method, layer = group
            values, kept = wide[group].to_numpy(), preserved[group].to_numpy(bool)
            strata = {"": np.ones(len(images), bool)}
            strata |= {"preserved": kept, "flipped": ~kept} if severity else {}
            for stage, there in strata.items():
                part = np.where(there, values, np.nan)
                entries.append(Entry(method, layer, test, part, chance[test], stage, corruption, severity))
                members.append(there.sum())
            if severity:
                change = values - wide["clean", 0, method, layer].to_numpy()
                entries.append(Entry(method, layer, test, change, 0.0, CHANGE, corruption, severity))
                members.append(len(images))
    rows = means(entries, seed=seed)
    return rows.assign(degenerate=np.array(members, int) - rows["images"].to_numpy(int))
