"""How a sentence is made of numbers: intervals, names, counts, lists, and what a verdict is called."""

import re
import string
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from medrob.analysis import FEWEST, OPPOSITE, UNDEFINED, YES, bounds, corrected_p, verdict

Row: TypeAlias = Mapping | pd.Series
Failed: TypeAlias = Collection[tuple[str, str]]  # (method, layer) pairs that fail randomisation
SENTENCES = tomllib.loads(Path(__file__).with_name("sentences.toml").read_text(encoding="utf-8"))
WORDS = tomllib.loads(Path(__file__).with_name("names.toml").read_text(encoding="utf-8"))
FEW = "not to be judged (too few cases) against"
BETTER = ("better than", "worse than", "not distinguishable from", FEW)
NOT_JUDGED = f"not judged (fewer than {FEWEST} images or groups)"


class _Phrases(string.Formatter):
    """Python's formats, and those that ``sentences.toml`` explains."""

    def convert_field(self, value: Any, conversion: str | None) -> Any:
        conversions: dict[str, Callable[[Any], str]] = {"n": name, "w": shown, "m": place}
        return conversions[conversion](value) if conversion else value

    def format_field(self, value: Any, form: str) -> str:
        if isinstance(value, Mapping | pd.Series):
            stem, _, form = form.rpartition(" ")
            return number(value, stem or "value", form)
        return count(value, form) if form.replace(" ", "").isalpha() else format(value, form)


def say(section: str, *sentences: str, **numbers: Any) -> str:
    """Sentences of a section of ``sentences.toml``, each in a line, with these numbers; "" is none."""
    lines = [_Phrases().vformat(SENTENCES[section][key], (), numbers) for key in sentences if key]
    return re.sub(r"(?<=\d) ?%", "\u00a0%", "\n".join(lines))  # "81 %", never broken at the end of a line


def text(*parts: str | Sequence[str]) -> str:
    """Sentences below each other, which Markdown takes for a paragraph, and lists; without what is empty."""
    lines: list[str] = []
    for part in filter(None, parts):  # the blank line keeps a list out of the paragraph before
        lines += [part] if isinstance(part, str) else ["", *(f"- {item}" for item in part), ""]
    return "\n".join(lines).strip("\n")


def name(text: object) -> str:
    """A name of the data, a method or a layer, as Markdown, and TeX within it, shows it unchanged."""
    return re.sub(r"([\\`*_\[\]<>#|~$])", r"\\\1", str(text))


def word(name: str, failed: Failed = ()) -> str:
    """The label of a name: ``gaussian_noise`` -> ``gaussian noise``; a dagger marks a method that failed."""
    dagger = "†" * any(name == method for method, _ in failed)
    return WORDS.get(name, name.split("/")[-1].replace("_", " ")) + dagger


def shown(text: str) -> str:
    """The `word` for a method, a corruption or a signal, as Markdown shows it."""
    return name(word(text))


def count(number: float, noun: str) -> str:
    """``1 image``, ``2,000 images``."""
    return f"{number:,.0f} {noun}{'' if number == 1 else 's'}"


def counted(images: pd.DataFrame) -> str:
    """``240 images``, or, where groups such as patients are known, ``240 images of 60 groups``."""
    groups = f" of {count(images['group'].nunique(), 'group')}" if "group" in images else ""
    return count(len(images), "image") + groups


def place(row: Row) -> str:
    """``Grad-CAM at layer4.1``: which map."""
    return f"{shown(row['method'])} at {name(row['layer'])}"


def listed(items: Iterable[str]) -> str:
    """``a, b and c``; "" of none."""
    *most, last = list(items) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def grouped(pairs: Iterable[tuple[str, str]], link: str) -> str:
    """What is said of each, and of whom: ``better than a, b; worse than c``."""
    groups: dict[str, list[str]] = {}
    for said, who in pairs:
        groups.setdefault(said, []).append(who)
    return "; ".join(f"{said}{link}{', '.join(who)}" for said, who in groups.items())


def number(row: Row, stem: str = "value", form: str = "+.2f") -> str:
    """``+0.88 (+0.74 to +0.96, Holm p = .008)``."""
    value, low, high = bounds(row, stem)
    if not np.isfinite(value):
        return UNDEFINED
    value, low, high = value + 0.0, low + 0.0, high + 0.0  # no -0.0, while -0.0001 keeps its sign
    ends = f"{low:{form}} to {high:{form}}" if low < high else ""
    more = ", ".join(filter(None, (ends, p_value(row))))
    return f"{value:{form}}" + (f" ({more})" if more else "")


def p_value(row: Row) -> str:
    """``Holm p = .008``: p, and how it is corrected; "" where nothing is tested."""
    p, correction = corrected_p(row)
    if not np.isfinite(p):
        return ""
    told = "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".")
    return f"{correction or 'uncorrected'} {told}"


def side(row: Row, stem: str, above: str, below: str, neither: str, few: str = NOT_JUDGED) -> str:
    """What is said where the whole interval is above 0, below, or neither: judged without a test.

    few: where there is no interval, because too few units have a value, an event or none.
    """
    told = {YES: above, OPPOSITE: below, UNDEFINED: few}
    return told.get(verdict(row, stem, tested=False), neither)
