"""What the checks of trust say of the methods of a run, by rules fixed before looking."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob.analysis.layout import MAP, ends
from medrob.check import require

EVERYTHING = "all"  # the last stage of `medrob.trust.randomisation`
# Declared before looking at any result. Adebayo et al. (2018) give no number; at a rank correlation of
# one half a quarter of the variance of the ranks is shared.
THRESHOLD = 0.5
# Each test of faithfulness, and 1 where a higher value is better.
FAITHFULNESS = {"insertion": ("Insertion", 1), "deletion": ("Deletion", -1), "road": ("ROAD", 1)}
FEWEST = 5  # images: an interval over fewer says nothing


def verdicts(trust: pd.DataFrame) -> pd.DataFrame:
    """What randomisation says of each method and layer, by a rule fixed beforehand.

    Judged is the network without any trained weight: while lower layers are kept, their activations hold
    a map in place whatever the method (Sixt et al. 2020; Binder et al. 2023; Hedstrom et al. 2024).

    Args:
        trust: holds the rows of `randomisation`.

    Returns:
        method, layer, value, low, high, images, verdict: "failed" = the interval of the rank correlation
        lies wholly above 0.5, "passed" = wholly at or below, "unclear" = across, "not testable" = every
        map by the random networks, or by the trained one, is degenerate, "too few images" = below 5.
    """
    require(trust, [*MAP, "test", "stage", "value", "low", "high", "images"], "trust")
    rows = trust[(trust["test"] == "randomisation") & (trust["stage"] == EVERYTHING)]
    conditions = {
        "not testable": rows["images"] == 0,
        "too few images": rows["images"] < FEWEST,
        "failed": rows["low"] > THRESHOLD,
        "passed": rows["high"] <= THRESHOLD,
    }
    verdict = np.select(list(conditions.values()), list(conditions), "unclear")
    columns = ["method", "layer", "value", "low", "high", "images"]
    return rows[columns].assign(verdict=verdict).reset_index(drop=True)


def failed(trust: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    """The (method, layer) pairs that fail randomisation (`verdicts`): they have no claim to stability."""
    rows = verdicts(trust)
    rows = rows[rows["verdict"] == "failed"]
    return tuple(zip(rows["method"], rows["layer"], strict=True))


def faithfulness_table(trust: pd.DataFrame) -> pd.DataFrame:
    """The rows of faithfulness for a text, judged image by image against a random map.

    Args:
        trust: holds the rows of `medrob.trust.faithfulness`.

    Returns:
        method, test, value, low, high, chance; above, above_low, above_high: the paired difference to the
        random map, with the sign turned for deletion, so that above 0 is better everywhere; images.
    """
    require(trust, [*MAP, "test", "images", "value", "chance", *ends("above")], "trust")
    rows = trust[trust["test"].isin(FAITHFULNESS)].reset_index(drop=True)
    rows = rows[["method", "test", "value", "low", "high", "chance", *ends("above"), "images"]]
    turned = rows["test"].map({test: sign for test, (_, sign) in FAITHFULNESS.items()}) < 0
    rows.loc[turned, ends("above")] = -rows.loc[turned, ["above", "above_high", "above_low"]].to_numpy()
    return rows
