"""Which map a text quotes, which maps are one and the same, and what the checks of trust say of each."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob.analysis.layout import MAP, Cube, cube, ends

USABLE = 0.1  # the share of maps that may be degenerate; declared
SAME = 1e-4  # RMSE of min-max maps (0-1); rounding in float32 makes some 1e-6
EVERYTHING = "all"  # the last stage of `medrob.trust.randomisation`
# Declared before looking at any result. Adebayo et al. (2018) give no number; at a rank correlation of
# one half a quarter of the variance of the ranks is shared.
THRESHOLD = 0.5
# Each test of faithfulness, and 1 where a higher value is better.
FAITHFULNESS = {"insertion": ("Insertion", 1), "deletion": ("Deletion", -1), "road": ("ROAD", 1)}
FEWEST = 5  # images: an interval over fewer says nothing


def headline(drift: pd.DataFrame) -> tuple[str, str]:
    """The method and layer that a text quotes: Grad-CAM if it is there, at the deepest usable block.

    Usable: at most a tenth of its maps are degenerate; if no layer is, the one with the fewest. Chosen
    before any result is looked at.
    """
    methods = list(dict.fromkeys(drift["method"]))
    method = "gradcam" if "gradcam" in methods else methods[0]
    bad = drift[drift["method"] == method].groupby("layer", sort=False, observed=True)["degenerate"].mean()
    usable = bad[bad <= max(USABLE, bad.min())]
    return method, str(usable.index[-1])


def twins(drift: pd.DataFrame) -> pd.DataFrame:
    """Methods whose maps are the same one at a layer: one piece of evidence, not several.

    At the last block of a network that ends in average pooling and one linear layer, Grad-CAM, HiResCAM
    and XGrad-CAM are identical; LayerCAM is element-wise Grad-CAM at every layer with activations >= 0.
    Two methods count as twins where all their drifts (RMSE) agree within 1e-4, over at least four
    comparisons that differ.

    Returns:
        A row for each method that repeats another one, Grad-CAM before all, else the earlier: method,
        layer, same_as.
    """
    return pd.DataFrame(repeated(cube(drift)), columns=[*MAP, "same_as"])


def repeated(moved: Cube) -> list[tuple[str, str, str]]:
    """The rows of `twins`: method, layer, same_as."""
    found = []
    for layer in dict.fromkeys(name for _, name in moved.maps):
        first: dict[str, np.ndarray] = {}
        methods = [m for m, name in moved.maps if name == layer]
        for method in sorted(methods, key=lambda m: m != "gradcam"):  # the one that a text quotes comes first
            x = moved.of(method, layer).ravel()
            if same := next((other for other, y in first.items() if _agree(x, y)), None):
                found.append((method, layer, same))
            else:
                first[method] = x
    return found


def _agree(x: np.ndarray, y: np.ndarray) -> bool:
    known = np.isfinite(x) & np.isfinite(y)
    alone = np.isfinite(x) != np.isfinite(y)  # a map at the border of degenerate, judged apart by rounding
    enough = len(np.unique(x[known])) >= 4
    return enough and alone.mean() <= 0.01 and bool((np.abs(x - y)[known] <= SAME).all())


def distinct(drift: pd.DataFrame) -> pd.DataFrame:
    """The drift without the rows of methods that repeat another one at that layer (`twins`)."""
    again = pd.MultiIndex.from_frame(twins(drift)[MAP])
    return drift[~pd.MultiIndex.from_frame(drift[MAP]).isin(again)].reset_index(drop=True)


def verdicts(trust: pd.DataFrame) -> pd.DataFrame:
    """What randomisation says of each method and layer, by a rule fixed beforehand.

    Judged is the network without any trained weight: while lower layers are kept, their activations hold
    a map in place whatever the method (Sixt et al. 2020; Binder et al. 2023; Hedstrom et al. 2024).

    Returns:
        method, layer, value, low, high, images, verdict: "failed" = the interval of the rank correlation
        lies wholly above 0.5, "passed" = wholly at or below, "unclear" = across, "not testable" = every
        map by the random networks, or by the trained one, is degenerate, "too few images" = below 5.
    """
    rows = trust[(trust["test"] == "randomisation") & (trust["stage"] == EVERYTHING)]
    conditions = {
        "not testable": rows["images"] == 0,
        "too few images": rows["images"] < FEWEST,
        "failed": rows["low"] > THRESHOLD,
        "passed": rows["high"] <= THRESHOLD,
    }
    verdict = np.select(list(conditions.values()), list(conditions), "unclear")
    return rows[[*MAP, "value", "low", "high", "images"]].assign(verdict=verdict).reset_index(drop=True)


def failed(trust: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    """The (method, layer) pairs that fail randomisation (`verdicts`): they have no claim to stability."""
    rows = verdicts(trust)
    return tuple(rows.loc[rows["verdict"] == "failed", MAP].itertuples(index=False, name=None))


def faithfulness_table(trust: pd.DataFrame) -> pd.DataFrame:
    """The rows of `medrob.trust.faithfulness` for a text, judged image by image against a random map.

    Returns:
        method, test, value, low, high, chance; above, above_low, above_high: the paired difference to the
        random map, with the sign turned for deletion, so that above 0 is better everywhere; images.
    """
    rows = trust[trust["test"].isin(FAITHFULNESS)].reset_index(drop=True)
    rows = rows[["method", "test", "value", "low", "high", "chance", *ends("above"), "images"]]
    turned = rows["test"].map({test: sign for test, (_, sign) in FAITHFULNESS.items()}) < 0
    rows.loc[turned, ends("above")] = -rows.loc[turned, ["above", "above_high", "above_low"]].to_numpy()
    return rows
