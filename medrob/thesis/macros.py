"""The numbers that a text quotes, as macros."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from medrob.check import require
from medrob.thesis.latex import decimals, number, p_value, with_interval

P_NAMES = {"Holm": "PHolm", "Benjamini-Hochberg": "PBH", "none": "PRaw"}  # correction -> end of the macro


def quoted(numbers: pd.DataFrame) -> list[dict[str, Any]]:
    """What each macro of `medrob.thesis.Bundle.numbers` prints, in plain text.

    Args:
        numbers: name and value (a number or a text); if any: low, high (the 95 % interval), p, correction
            ("Holm", "Benjamini-Hochberg", "none"; "" where nothing is tested) and what (in words).

    Returns:
        For each row: name, what, and macros: "" (the value), Low, High, CI (all three; none of a value
        without an interval) and PHolm, PBH or PRaw (P if the frame does not say).

    Raises:
        ValueError: a column is missing, or two rows have the same name.
    """
    require(numbers, ["name", "value"], "numbers")
    if (again := numbers["name"].duplicated()).any():
        raise ValueError(f"numbers has two rows named {numbers['name'][again].iloc[0]!r}; rename one")
    return [_entry(row) for row in numbers.to_dict("records")]


def _entry(row: Mapping[Any, Any]) -> dict[str, Any]:
    what = row.get("what")
    entry = {"name": str(row["name"]), "what": what if isinstance(what, str) else ""}
    return entry | {"macros": {"": row["value"]} if isinstance(row["value"], str) else _macros(row)}


def _macros(row: Mapping[Any, Any]) -> dict[str, str]:
    """End of a macro -> what it prints, of a row whose value is a number."""
    value, low, high = row["value"], row.get("low", np.nan), row.get("high", np.nan)
    places = _places(value, low, high)
    macros = {"": number(value, places)}
    alone = pd.notna(value) and pd.isna(low) and pd.isna(high)  # it has no interval to print
    if {"low", "high"} <= set(row) and not alone:
        macros |= {"Low": number(low, places), "High": number(high, places)}
        macros["CI"] = with_interval(value, low, high, places)
    if "p" in row and row.get("correction") != "":
        macros[P_NAMES.get(str(row.get("correction")), "P")] = p_value(row["p"])
    return macros


def _places(value: float, low: float, high: float) -> int:
    """Digits after the point: none for a count, else as many as count for the largest of the three."""
    sizes = [abs(v) for v in (value, low, high) if pd.notna(v) and np.isfinite(v)]
    count = pd.isna(low) and pd.isna(high) and sizes and sizes[0] % 1 == 0
    if count and (isinstance(value, (int, np.integer)) or sizes[0] >= 2):
        return 0
    return decimals(max(sizes, default=1.0))
