"""The thesis folder as LaTeX: captions, numbers, and a document of everything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from medrob.figures import word
from medrob.thesis.latex import UNDEFINED, escape, macro

Part = Mapping[str, Any]
FIRST = "summary"  # the figure of the first page
P_WORDS = {"PHolm": "(Holm)", "PBH": "(Benjamini-Hochberg)", "PRaw": "(uncorrected)"}


def documents(parts: Iterable[Part], run: str, prefix: str, textwidth: float) -> dict[str, str]:
    """The text of ``captions.tex``, ``numbers.tex`` and ``thesis.tex``.

    Raises:
        ValueError: see `check_macros`.
    """
    parts = list(parts)
    check_macros(parts, prefix)
    figures = [{**part, "macro": _caption_macro(part, prefix)} for part in _ordered(parts, "figure")]
    # A LaTeX file is full of braces and per cent signs: << >> and <% %> stand for them.
    latex = Environment(
        loader=PackageLoader("medrob.thesis", ""), undefined=StrictUndefined, trim_blocks=True,
        block_start_string="<%", block_end_string="%>", variable_start_string="<<", variable_end_string=">>",
        comment_start_string="<#", comment_end_string="#>", keep_trailing_newline=True,
    )  # fmt: skip
    facts = {
        "run": run, "printed_run": escape(run), "textwidth": f"{textwidth:g}", "first": FIRST,
        "figures": figures, "tables": _ordered(parts, "table"),
        "numbers": [_index_row(entry, prefix) for entry in _entries(parts)],
    }  # fmt: skip
    return {
        "captions.tex": _captions(figures, run),
        "numbers.tex": _numbers(parts, run, prefix),
        "thesis.tex": latex.get_template("thesis.tex.jinja").render(facts),
    }


def check_macros(parts: Iterable[Part], prefix: str) -> None:
    """Refuse two names that would make the same macro.

    Raises:
        ValueError: it names both.
    """
    parts = list(parts)
    names = [(_caption_macro(part, prefix), part["file"]) for part in _ordered(parts, "figure")]
    for entry in _entries(parts):
        names += [(macro(entry["name"], prefix) + end, entry["name"]) for end in entry["macros"]]
    owners: dict[str, str] = {}
    for name, owner in names:
        if name in owners:
            raise ValueError(
                f"{owners[name]!r} and {owner!r} both give the macro {name}; rename one, or run the notebook "
                "again that no longer writes it"
            )
        owners[name] = owner


def _captions(figures: Iterable[Part], run: str) -> str:
    lines = [f"% Captions of the figures of run {run}. \\input this file before \\begin{{document}}."]
    for part in figures:
        lines += ["", f"% {part['file']}.pdf", rf"\newcommand{{{part['macro']}}}{{%", part["caption"] + "}"]
    return "\n".join(lines) + "\n"


def _numbers(parts: Iterable[Part], run: str, prefix: str) -> str:
    lines = [
        f"% Numbers of run {run}. \\input this file before \\begin{{document}}.",
        "% X prints the value, XLow and XHigh its 95 % interval, XCI all three, XPHolm, XPBH or XPRaw p,",
        "% corrected by Holm's method, by that of Benjamini and Hochberg, or not at all.",
    ]
    for entry in _entries(parts):
        name = macro(entry["name"], prefix)
        lines += ["", f"% {' '.join((entry['what'] or entry['name']).split())}"]
        lines += [rf"\newcommand{{{name}{end}}}{{{escape(text)}}}" for end, text in entry["macros"].items()]
    return "\n".join(lines) + "\n"


def _ordered(parts: Iterable[Part], kind: str) -> list[Part]:
    """The parts of a kind by name, the summary first."""
    return sorted((p for p in parts if p["kind"] == kind), key=lambda p: (p["file"] != FIRST, p["file"]))


def _entries(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """The numbers of all stages, in the order of the stages."""
    return [entry for part in _ordered(parts, "numbers") for entry in part["entries"]]


def _caption_macro(part: Part, prefix: str) -> str:
    """The macro of a figure's caption: ``03_auc`` -> ``\\medrobCaptionZeroThreeAUC``."""
    return macro(part["file"], f"{prefix}Caption")


def _index_row(entry: dict[str, Any], prefix: str) -> str:
    """A number with its macro and its words, as a row of the last table."""
    name = macro(entry["name"], prefix)
    shown = name + "CI" * ("CI" in entry["macros"])
    letters = re.sub("(?<=[a-z])(?=[A-Z])", r"\\allowbreak ", shown[1:])
    tested = [end for end, text in entry["macros"].items() if end[:1] == "P" and text != UNDEFINED]
    p = "".join(f", {name}{end}{{}} {P_WORDS.get(end, '')}" for end in tested).rstrip()
    return rf"\textbackslash {letters} & {shown}{p} & {escape(entry['what'] or word(entry['name']))} \\"
