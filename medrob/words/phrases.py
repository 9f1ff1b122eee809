"""The phrases that all sentences share: numbers, counts, names, comparisons, and their Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from medrob.analysis import OPPOSITE, SMALL, UNDEFINED, YES, Finding, rows_of

SPECIAL = re.compile(r"([\\`*_\[\]<>#|~$])")  # what Markdown, or TeX within it, would not show as it is
BARE = ("value", "auroc", "area")  # numbers whose interval stands in the columns low and high
BETTER = ("better than", "worse than", "not distinguishable from")


def name(text: object) -> str:
    """A name of the data, a method or a layer, escaped so that Markdown shows it as it is."""
    return SPECIAL.sub(r"\\\1", str(text))


def corruption(text: str) -> str:
    """A corruption's name in words: ``gaussian_noise`` -> ``gaussian noise``."""
    return name(text.replace("_", " "))


def place(row: Mapping | pd.Series) -> str:
    """``gradcam at layer4.1``: which map."""
    return f"{name(row['method'])} at {name(row['layer'])}"


def count(number: float, noun: str) -> str:
    """``1 image``, ``2,000 images``."""
    return f"{number:,.0f} {noun}{'' if number == 1 else 's'}"


def listed(items: Iterable[str]) -> str:
    """``a, b and c``."""
    *most, last = items
    return f"{', '.join(most)} and {last}" if most else last


def grouped(pairs: Iterable[tuple[str, str]], link: str) -> str:
    """What is said of each, and of whom: ``better than a, b; worse than c``."""
    groups: dict[str, list[str]] = {}
    for said, who in pairs:
        groups.setdefault(said, []).append(who)
    return "; ".join(f"{said}{link}{', '.join(who)}" for said, who in groups.items())


def text(*parts: str | Sequence[str]) -> str:
    """Sentences below each other, which Markdown takes for a paragraph, and lists; without what is empty."""
    lines: list[str] = []
    for part in filter(None, parts):  # the blank line keeps a list out of the paragraph before
        lines += [part] if isinstance(part, str) else ["", *(f"- {item}" for item in part), ""]
    return "\n".join(lines).strip("\n")


def of_map(rows: pd.DataFrame, table: str, method: str, layer: str) -> pd.DataFrame:
    """The rows of one map; a ValueError names the table that has none."""
    return rows_of(rows, method, layer, table)


def finding(row: Mapping | pd.Series, stem: str = "value") -> Finding:
    """A number of a row with its interval: value, low and high, or gain, gain_low and gain_high."""
    ends = ("low", "high") if stem in BARE else (f"{stem}_low", f"{stem}_high")
    return Finding.of(row, (stem, *ends))


def number(found: Finding, form: str = "+.2f", note: str = "") -> str:
    """``+0.88 (+0.74 to +0.96, Holm p = .008)``; a note stands last in the brackets."""
    if not np.isfinite(found.value):
        return UNDEFINED
    ends = f"{found.low:{form}} to {found.high:{form}}" if np.isfinite([found.low, found.high]).all() else ""
    more = ", ".join(filter(None, (ends, p_value(found), note)))
    return f"{found.value:{form}}" + (f" ({more})" if more else "")


def p_value(found: Finding) -> str:
    """``Holm p = .008``: p, and how it is corrected; "" where nothing is tested."""
    if not np.isfinite(found.p):
        return ""
    p = "p < .001" if found.p < 0.001 else f"p = {found.p:.3f}".replace("0.", ".")
    return f"{found.correction or 'uncorrected'} {p}"


def judged(found: Finding, scale: str, *, tested: bool = True) -> str:
    """The verdict on a number of a scale: "correlation", "auroc" or "gain"."""
    return found.verdict(chance=0.5 if scale == "auroc" else 0, small=SMALL[scale], tested=tested)


def side(found: Finding, above: str, below: str, neither: str, *, chance: float = 0) -> str:
    """What is said where the whole interval is above chance, below, or neither: judged without a test."""
    verdict = found.verdict(chance=chance, small=0, tested=False)
    return {YES: above, OPPOSITE: below, UNDEFINED: UNDEFINED}.get(verdict, neither)
