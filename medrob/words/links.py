"""What links drift and loss: between conditions, and image by image."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob.analysis.images import PER_IMAGE_PARTIAL
from medrob.analysis.testing import (
    NO,
    OPEN,
    OPPOSITE,
    PER_IMAGE,
    SMALL,
    UNDEFINED,
    WITHIN,
    YES,
    Finding,
    rows_of,
)


def association(association: pd.DataFrame, *, method: str, layer: str) -> str:
    """In words: does the corruption that moves the map more cost more AUC, at the same severity?

    Args:
        association: from `association`, or from `adjust`: p is then the corrected one.
    """
    kinds = rows_of(association, method, layer, "association")
    pooled, within, partial = (Finding.of(kinds.loc[k]) for k in ("pooled", WITHIN, "partial"))
    found = within.verdict(chance=0, small=SMALL["correlation"])
    if found == UNDEFINED:
        return (
            "Within severity there is nothing to correlate: no AUC, a single corruption, or drift or losses "
            "that do not vary."
        )
    told = {
        YES: "at the same severity, the corruption that moves the map more costs more AUC",
        OPPOSITE: "at the same severity, the corruption that moves the map more costs less AUC",
        NO: "at the same severity, drift and loss of AUC are not linked under these corruptions",
        OPEN: "at the same severity, no link between drift and loss of AUC is shown",
    }[found]
    if found in (YES, OPPOSITE) and partial.verdict(chance=0, small=SMALL["correlation"]) != found:
        told += "; that this goes beyond what the RMSE of the picture tells anyway is not shown"
    together = severity_share(kinds)
    begin = f"Pooled over severities the rank correlation is {pooled.plain()}{together}.\n"
    if together is None:
        begin = "There is one severity. "
    return (
        f"{begin}"
        f"Within severity it is {within}; less what the pixels' own RMSE explains, {partial}.\n"
        "The intervals resample images, not corruptions; p exchanges corruptions.\n"
        f"So {told}."
    )


def severity_share(kinds: pd.DataFrame) -> str | None:
    """What is left of the pooled correlation when severity is held fixed; None if there is one severity.

    Args:
        kinds: the rows of one map, by kind.
    """
    pooled, within = (Finding.of(kinds.loc[k]) for k in ("pooled", WITHIN))
    if (pooled.value, pooled.low, pooled.high) == (within.value, within.low, within.high):
        return None
    if not (pooled.low > 0 and pooled.low > within.high):
        return ""
    if within.verdict(chance=0, small=SMALL["correlation"]) == YES:
        return ", of which severity, which moves both, makes a part"
    return ", but that is the work of severity, which moves both: held fixed, it is not shown"


def per_image(images: pd.DataFrame, *, method: str, layer: str) -> str:
    """In words: in the same condition, does the image whose map moves more lose more margin?

    Args:
        images: from `per_image`, or from `adjust`.
    """
    kinds = rows_of(images, method, layer, "per_image")
    plain, partial = (Finding.of(kinds.loc[k]) for k in (PER_IMAGE, PER_IMAGE_PARTIAL))
    found = plain.verdict(chance=0, small=SMALL["correlation"])
    if found == UNDEFINED:
        return "Image by image there is nothing to correlate: no usable maps, or nothing that varies."
    told = {
        YES: "of one class under the same corruption, the image whose map moves more loses more margin",
        OPPOSITE: "of one class under the same corruption, the image whose map moves more loses less margin",
        NO: "image by image, drift and loss of margin are not linked to any extent that matters",
        OPEN: "image by image, no link between drift and loss of margin is shown",
    }[found]
    if found in (YES, OPPOSITE):
        beyond = partial.verdict(chance=0, small=SMALL["correlation"]) == found
        told += (
            "; this goes beyond what the RMSE of the picture tells anyway"
            if beyond
            else "; that this goes beyond what the RMSE of the picture tells anyway is not shown"
        )
    return (
        f"Within a condition and a class, the rank correlation over images is {plain};\n"
        f"less what the pixels' own RMSE explains, {partial}{_beside(kinds.loc[PER_IMAGE])}.\nSo {told}."
    )


def _beside(row: pd.Series) -> str:
    """The unstratified figure, in words."""
    across = row.get("across_classes", np.nan)
    return f". Across classes, whose maps and margins differ anyway, it is {across:+.2f}" * bool(
        across == across
    )
