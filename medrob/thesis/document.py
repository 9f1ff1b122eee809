"""The thesis folder as LaTeX: captions, numbers that a text quotes, and a document of everything."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from medrob.thesis.latex import UNDEFINED, P, decimals, escape, macro, number, p_value, with_interval

Part = Mapping[str, Any]
FIRST = "summary"  # the figure of the first page
P_NAMES = {"Holm": "PHolm", "Benjamini-Hochberg": "PBH", "none": "PRaw"}  # correction -> end of the macro
P_WORDS = {"PHolm": "Holm", "PBH": "Benjamini-Hochberg", "PRaw": "uncorrected"}


def quoted(numbers: pd.DataFrame) -> list[dict[str, Any]]:
    """What each macro of a number prints, in plain text; what is NaN prints as "not defined".

    Args:
        numbers: name, value (a number or a text), low, high (the 95 % interval) and what (in words); if any:
            p and correction ("Holm", "Benjamini-Hochberg", "none"; "" where nothing is tested).

    Returns:
        For each row: name, what, and macros: "" (the value), Low, High, CI (all three), PHolm, PBH or PRaw.
    """
    entries = []
    for row in numbers.to_dict("records"):
        value, low, high = row["value"], row["low"], row["high"]
        macros = {"": value}
        if not isinstance(value, str):
            alone = pd.isna(low) and pd.isna(high)  # it has no interval to print
            sizes = [abs(v) for v in (value, low, high) if np.isfinite(v)]
            count = alone and sizes and sizes[0] % 1 == 0 and (isinstance(value, int) or sizes[0] >= 2)
            places = 0 if count else decimals(max(sizes, default=1.0))
            macros[""] = number(value, places)
            if not alone or pd.isna(value):
                macros |= {"Low": number(low, places), "High": number(high, places)}
                macros["CI"] = with_interval(value, low, high, places)
            if correction := row.get("correction"):
                p = UNDEFINED if pd.isna(row["p"]) else f"{P}\N{NO-BREAK SPACE}{p_value(row['p'])}"
                macros[P_NAMES[correction]] = p
        entries.append({"name": row["name"], "what": row["what"], "macros": macros})
    return entries


def documents(parts: Sequence[Part], run: str, textwidth: float) -> dict[str, str]:
    """The text of ``captions.tex``, ``numbers.tex`` and ``thesis.tex``; a ValueError if two macros agree."""
    figures = [{**part, "macro": macro(part["file"], "medrobCaption")} for part in _ordered(parts, "figure")]
    entries = [entry for part in _ordered(parts, "numbers") for entry in part["entries"]]
    numbers = [{**entry, "macro": macro(entry["name"])} for entry in entries]
    owners: dict[str, str] = {}
    names = [(figure["macro"], figure["file"]) for figure in figures]
    names += [(entry["macro"] + end, entry["name"]) for entry in numbers for end in entry["macros"]]
    for name, owner in names:
        if name in owners:
            raise ValueError(
                f"{owners[name]!r} and {owner!r} both give the macro {name}; rename one, or run the notebook "
                "again that no longer writes it"
            )
        owners[name] = owner
    # A LaTeX file is full of braces and per cent signs: << >> and <% %> stand for them.
    templates = Environment(
        loader=PackageLoader("medrob.thesis", ""), undefined=StrictUndefined, trim_blocks=True,
        block_start_string="<%", block_end_string="%>", variable_start_string="<<", variable_end_string=">>",
        comment_start_string="<#", comment_end_string="#>", keep_trailing_newline=True,
    )  # fmt: skip
    templates.filters["latex"] = escape
    templates.filters["breakable"] = lambda name: re.sub("(?<=[a-z])(?=[A-Z])", r"\\allowbreak ", name)
    facts = {
        "run": run, "textwidth": textwidth, "first": FIRST, "figures": figures, "numbers": numbers,
        "tables": _ordered(parts, "table"), "p_words": P_WORDS, "undefined": UNDEFINED,
    }  # fmt: skip
    files = ("captions.tex", "numbers.tex", "thesis.tex")
    return {file: templates.get_template(f"{file}.jinja").render(facts) for file in files}


def _ordered(parts: Sequence[Part], kind: str) -> list[Part]:
    """The parts of a kind by name, the summary first."""
    return sorted((p for p in parts if p["kind"] == kind), key=lambda p: (p["file"] != FIRST, p["file"]))
