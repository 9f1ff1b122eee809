"""Do the maps lie on the lesion, and do they still when the picture degrades?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.stats import hypergeom

from medrob.drift import LOCALISATION, localise
from medrob.trust.means import Entry, means

GROUP = ["corruption", "severity", "method", "layer"]


def expected_iou(area: int, pixels: int) -> float:
    """Mean IoU of a mask of that area and as many random pixels: I / (2 area - I), I hypergeometric."""
    shared = np.arange(area + 1)
    return float((hypergeom(pixels, area, area).pmf(shared) * shared / (2 * area - shared)).sum())


def localisation(
    drift: pd.DataFrame, masks: np.ndarray | None, *, classes: Sequence[str] = (), seed: int = 0
) -> pd.DataFrame:
    """Mean energy, pointing and IoU of a table of `medrob.drift.measure`, beside chance.

    Chance is the mean share of the image that the mask covers (energy, pointing) and the mean `expected_iou`.
    Masks are bool (N, H, W) of the data set; None = not known: no rows. Images whose mask is empty are left
    out; images + degenerate is the number of the others. Stage "" holds all of them; "class <name>",
    when clean, those of each of `classes`. Stage "change": the value minus that of the same image when clean,
    where both have a map (chance is 0). Stage "attainable": what the best map of as few positions would get,
    in each the share that the lesion covers of it.
    """
    if masks is None:
        return means([], seed=seed)
    clean = drift.drop_duplicates(["image", "method", "layer"]).assign(corruption="clean", severity=0)
    clean = clean.assign(**{test: clean[f"{test}_clean"] for test in LOCALISATION})
    table = pd.concat([clean, drift])
    pixels, area = masks[0].size, masks.sum((1, 2))
    images = np.unique(drift["image"])
    images = images[area[images] > 0]
    share = area[images] / pixels
    overlap = np.array([expected_iou(int(a), pixels) for a in area[images]])
    chance = {"energy": share, "pointing": share, "iou": overlap}
    known = drift.drop_duplicates("image").set_index("image").reindex(images)
    label = known["label"].to_numpy()
    entries, members = [], []
    for test in LOCALISATION:
        wide = table.pivot(index="image", columns=GROUP, values=test).reindex(images)
        for group in table[GROUP].drop_duplicates().itertuples(index=False, name=None):
            corruption, severity, method, layer = group
            values = wide[group].to_numpy()
            parts = [("", len(images), values, chance[test])]
            if severity:
                change = values - wide["clean", 0, method, layer].to_numpy()
                parts.append(("change", len(images), change, 0.0))
            for k, name in () if severity else enumerate(classes):
                of = np.where(label == k, values, np.nan)
                parts.append((f"class {name}", (label == k).sum(), of, chance[test]))
            for stage, count, found, random in parts:
                entries.append(Entry(method, layer, test, found, random, stage, corruption, severity))
                members.append(count)
    layers = drift.drop_duplicates(["method", "layer"]).rename(columns={"size": "positions"})
    lesions = torch.from_numpy(masks[images])
    shares = {n: F.adaptive_avg_pool2d(lesions[:, None].float(), n)[:, 0] for n in set(layers["positions"])}
    best = {n: localise(share, lesions) for n, share in shares.items()}
    for row in layers.itertuples():
        for test, found in best[row.positions].items():
            entries.append(Entry(row.method, row.layer, test, found.numpy(), chance[test], "attainable"))
            members.append(len(images))
    rows = means(entries, seed=seed, groups=known.get("group"))
    return rows.assign(degenerate=np.array(members, int) - rows["images"].to_numpy(int))
