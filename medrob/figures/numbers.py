"""The numbers that a text quotes, as macros."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from medrob.figures.latex import decimals, number, p_value, with_interval

BOUNDS = ("low", "high")
P_NAMES = {"Holm": "PHolm", "Benjamini-Hochberg": "PBH", "none": "PRaw"}  # correction -> end of the macro


def quoted(numbers: pd.DataFrame | Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each macro of `medrob.figures.Bundle.numbers` prints, in plain text.

    Args:
        numbers: a frame with the columns name and value; low, high (the 95 % interval), p, correction (of p:
            "Holm", "Benjamini-Hochberg", "none"; "" where nothing is tested), digits (after the point) and
            what (in words) where there are any. Or a mapping from names to a number, a text,
            or (value, low, high).

    Returns:
        For each row: name, what, and macros: "" (the value), Low, High, CI (all three; none of a value
        without an interval) and PHolm, PBH or PRaw (P if the frame does not say), as far as the frame has
        them.

    Raises:
        TypeError: neither a frame nor a mapping. ValueError: a column is missing.
    """
    if not isinstance(numbers, pd.DataFrame):
        return [_entry(row) for row in _rows(numbers)]
    missing = {"name", "value"} - set(numbers)
    if missing:
        raise ValueError(
            f"numbers lacks the column {', '.join(sorted(missing))}; it needs name and value, and may have "
            f"low, high, p, digits and what; it has {', '.join(map(str, numbers.columns))}"
        )
    return [_entry(row) for row in numbers.to_dict("records")]


def _rows(numbers: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if not isinstance(numbers, Mapping):
        raise TypeError(
            f"numbers is {type(numbers).__name__}: give a frame with the columns name and value, "
            "or a mapping such as {'clean auc': (0.96, 0.94, 0.98)}"
        )
    for name, value in numbers.items():
        triple = isinstance(value, (tuple, list))
        if triple and len(value) != 3:
            raise ValueError(f"numbers[{name!r}]={value!r}: give a number, a text or (value, low, high)")
        bounds = dict(zip(("value", *BOUNDS), value, strict=True)) if triple else {"value": value}
        yield {"name": name} | bounds


def _entry(row: Mapping[Any, Any]) -> dict[str, Any]:
    value, bounds = row["value"], [row.get(bound, np.nan) for bound in BOUNDS]
    places = _places(value, bounds, row.get("digits"))
    macros = {"": number(value, places)}
    bare = pd.notna(value) and all(pd.isna(bound) for bound in bounds)  # it has no interval to print
    if not isinstance(value, str) and not bare and set(BOUNDS) <= set(row):
        low, high = bounds
        macros |= {"Low": number(low, places), "High": number(high, places)}
        macros["CI"] = with_interval(value, low, high, places)
    if "p" in row and not isinstance(value, str) and row.get("correction", "said") != "":
        macros[P_NAMES.get(str(row.get("correction")), "P")] = p_value(row["p"])
    what = row.get("what")
    return {"name": str(row["name"]), "what": what if isinstance(what, str) else "", "macros": macros}


def _places(value: Any, bounds: list[Any], digits: Any) -> int:
    """Digits after the point: as said, none for a count, else as many as count for the largest of three."""
    if digits is not None and not pd.isna(digits):
        return int(digits)
    if isinstance(value, str):
        return 0
    sizes = [abs(v) for v in (value, *bounds) if not pd.isna(v) and np.isfinite(v)]
    alone = all(pd.isna(v) for v in bounds)
    if alone and sizes and (isinstance(value, (int, np.integer)) or (sizes[0] % 1 == 0 and sizes[0] >= 2)):
        return 0
    return decimals(max(sizes, default=1.0))
