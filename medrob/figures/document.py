"""The thesis folder as LaTeX: captions, numbers, and a document of everything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from medrob.figures.latex import UNDEFINED, escape, macro
from medrob.figures.style import TEXTWIDTH, word

Part = Mapping[str, Any]
FIRST = "summary"
P_WORDS = {"PHolm": "(Holm)", "PBH": "(Benjamini-Hochberg)", "PRaw": "(uncorrected)"}


def captions_tex(parts: Iterable[Part], run: str, prefix: str) -> str:
    """A macro for each figure's caption."""
    lines = [f"% Captions of the figures of run {run}. \\input this file before \\begin{{document}}."]
    for part in ordered(parts, "figure"):
        lines += ["", f"% {part['file']}.pdf", rf"\newcommand{{{caption_macro(part, prefix)}}}{{%"]
        lines += [part["caption"] + "}"]
    return "\n".join(lines) + "\n"


def numbers_tex(parts: Iterable[Part], run: str, prefix: str) -> str:
    """A macro for each number."""
    lines = [
        f"% Numbers of run {run}. \\input this file before \\begin{{document}}.",
        "% X prints the value, XLow and XHigh its 95 % interval, XCI all three, XPHolm, XPBH or XPRaw p,",
        "% corrected by Holm's method, by that of Benjamini and Hochberg, or not at all.",
    ]
    for entry in entries(parts):
        lines += ["", f"% {' '.join((entry['what'] or entry['name']).split())}"]
        lines += [
            rf"\newcommand{{{macro(entry['name'], prefix)}{suffix}}}{{{escape(text)}}}"
            for suffix, text in entry["macros"].items()
        ]
    return "\n".join(lines) + "\n"


def thesis_tex(parts: Iterable[Part], run: str, prefix: str, textwidth: float = TEXTWIDTH) -> str:
    """A document that inputs everything; compile it twice with pdflatex, in its folder."""
    parts = list(parts)
    lines = [
        f"% Everything of run {run}. In this folder: pdflatex thesis, twice.",
        r"\documentclass[11pt,a4paper]{article}",
        r"\usepackage[T1]{fontenc}",
        r"\usepackage[utf8]{inputenc}",
        r"\usepackage{lmodern}",
        rf"\usepackage[textwidth={textwidth:g}pt,textheight=660pt]{{geometry}}",
        r"\usepackage{array,booktabs,longtable,graphicx,float,caption,pgf}",
        r"\def\mathdefault#1{#1}",
        r"\newif\ifmedrobpgf",
        r"%\medrobpgftrue  % without the first sign of this line: the figures' letters in the text's font",
        r"\captionsetup{font=small,labelfont=bf}",
        r"\floatplacement{figure}{H}",  # where it stands, so that the order is that of the names
        r"\floatplacement{table}{H}",
        r"\raggedbottom",
        r"\input{numbers.tex}",
        r"\input{captions.tex}",
        r"\begin{document}",
        r"\begin{center}",
        rf"\Large Figures, tables and numbers of the run \texttt{{{escape(run)}}}",
        r"\end{center}",
        *_body(parts, run, prefix),
        r"\end{document}",
    ]
    return "\n".join(lines) + "\n"


def ordered(parts: Iterable[Part], kind: str) -> list[Part]:
    """The parts of a kind by name, the summary first."""
    return sorted((p for p in parts if p["kind"] == kind), key=lambda p: (p["file"] != FIRST, p["file"]))


def entries(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """The numbers of all stages, in the order of the stages."""
    return [entry for part in ordered(parts, "numbers") for entry in part["entries"]]


def caption_macro(part: Part, prefix: str) -> str:
    """The macro of a figure's caption: ``03_auc`` -> ``\\medrobCaptionZeroThreeAUC``."""
    return macro(part["file"], f"{prefix}Caption")


def check_macros(parts: Iterable[Part], prefix: str) -> None:
    """Refuse two names that would make the same macro.

    Raises:
        ValueError: it names both.
    """
    parts = list(parts)
    made = [(caption_macro(part, prefix), part["file"]) for part in ordered(parts, "figure")]
    made += [
        (macro(entry["name"], prefix) + suffix, entry["name"])
        for entry in entries(parts)
        for suffix in entry["macros"]
    ]
    owners: dict[str, str] = {}
    for name, owner in made:
        if name in owners:
            raise ValueError(
                f"{owners[name]!r} and {owner!r} both give the macro {name}; rename one, or run the notebook "
                "again that no longer writes it"
            )
        owners[name] = owner


def _body(parts: list[Part], run: str, prefix: str) -> Iterator[str]:
    figures, tables, numbers = ordered(parts, "figure"), ordered(parts, "table"), entries(parts)
    if not (figures or tables or numbers):
        yield "Nothing has been written yet."
    story = [part for part in figures if part["file"] == FIRST]
    for part in story:  # on the first page, under the title
        yield from _figure(part, run, prefix, height=0.73)
    for part in figures[len(story) :]:
        if part is figures[len(story)]:
            yield r"\clearpage" + "\n" + r"\section*{Figures}"
        yield from _figure(part, run, prefix)
    for part in tables:
        if part is tables[0]:
            yield r"\clearpage" + "\n" + r"\section*{Tables}"
        yield rf"\input{{{part['file']}.tex}}"
    if numbers:
        yield from _index(numbers, prefix)


def _figure(part: Part, run: str, prefix: str, height: float = 0.8) -> list[str]:
    file = part["file"]
    size = rf"width=\textwidth,height={height}\textheight,keepaspectratio"
    lines = [rf"\includegraphics[{size}]{{{file}.pdf}}"]
    if f"{file}.pgf" in part["files"]:
        lines = [r"\ifmedrobpgf", rf"\resizebox{{\textwidth}}{{!}}{{\input{{{file}.pgf}}}}", r"\else", *lines]
        lines += [r"\fi"]
    caption = [rf"\caption{{{caption_macro(part, prefix)}}}", rf"\label{{fig:{run}:{file}}}"]
    return [r"\begin{figure}", r"\centering", *lines, *caption, r"\end{figure}"]


def _index(numbers: list[dict[str, Any]], prefix: str) -> list[str]:
    """Every number with its macro and its words."""
    head = r"\toprule macro & prints & what \\ \midrule"
    lines = [
        r"\clearpage",
        r"\section*{Numbers}",
        r"A macro that ends in \texttt{CI} prints the value with its 95~\% interval; without these letters, "
        r"the value alone; with \texttt{Low} or \texttt{High}, an end of the interval.",
        r"{\footnotesize\setlength{\tabcolsep}{4pt}",
        r"\begin{longtable}{>{\raggedright\arraybackslash\ttfamily}p{0.34\textwidth}"
        r">{\raggedright\arraybackslash}p{0.23\textwidth}>{\raggedright\arraybackslash}p{0.37\textwidth}}",
        head + r" \endhead",
        r"\bottomrule \endfoot",
    ]
    for entry in numbers:
        shown = macro(entry["name"], prefix) + ("CI" if "CI" in entry["macros"] else "")
        letters = re.sub("(?<=[a-z])(?=[A-Z])", r"\\allowbreak ", shown[1:])
        tested = [end for end, text in entry["macros"].items() if end[:1] == "P" and text != UNDEFINED]
        p = "".join(
            rf", {macro(entry['name'], prefix)}{end}{{}} {P_WORDS.get(end, '')}" for end in tested
        ).rstrip()
        what = escape(entry["what"] or word(entry["name"]))
        lines.append(rf"\textbackslash {letters} & {shown}{p} & {what} \\")
    return [*lines, r"\end{longtable}}"]
