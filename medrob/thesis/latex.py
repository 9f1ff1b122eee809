"""Numbers as plain text, plain text as LaTeX, macros that a text quotes, and a document of everything."""

import hashlib
import math
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError

from medrob.analysis import FOLDS, ORDERS, QUESTIONS, Evidence
from medrob.figures import TEXTWIDTH, short
from medrob.words import WORDS, done, word

UNDEFINED = "not defined"
LONGEST = 26  # characters of a word
DASH = "—"  # in a table, for what is not defined
P = "\N{MATHEMATICAL ITALIC SMALL P}"
DIGITS = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
MACRO_WORDS = {"+": "Plus", "%": "Percent", "ci": "CI"} | {str(i): word for i, word in enumerate(DIGITS)}
SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {"\N{NO-BREAK SPACE}": "~", "\N{THIN SPACE}": r"\,"} | {c: f"\\{c}" for c in "&%$#_{}"}
TEXTS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("texts.toml").read_text("utf-8"))
MATHS = tomllib.loads(Path(__file__).with_name("symbols.toml").read_text("utf-8"))
SYMBOLS = {sign: rf"\ensuremath{{{text}}}" for sign, text in MATHS.items()}
# What pdflatex prints with T1 fonts and no further package, beyond ASCII.
PRINTED = ({chr(code) for code in range(0xA1, 0x180)} - set("ĦħĸĿŀŉŦŧſ")) | set("–—‘’‚“”„…•†‡€™‰")
REFERENCES = Path(__file__).with_name("references.bib").read_text("utf-8")
WORKS = frozenset(re.findall(r"^@\w+{(\w+),", REFERENCES, re.MULTILINE))
CITATION = r" ?\(([A-Z][^()]* (?:19|20)\d\d)\)"
Part = Mapping[str, Any]
FIRST = "summary"  # the figure of the first page
P_NAMES = {"Holm": "PHolm", "Benjamini-Hochberg": "PBH", "none": "PRaw"}  # correction -> end of the macro
P_WORDS = {"PHolm": "Holm", "PBH": "Benjamini-Hochberg", "PRaw": "uncorrected"}


def escape(text: str) -> str:
    """LaTeX that prints `text`: special characters escaped, spaces and line breaks made one space.

    Letters with accents, dashes, Greek letters and common signs are printed; what the standard fonts lack
    loses its accents, or is printed in the font `\\medrobLetters` if the document has one (see
    ``thesis.tex``), or as its code, such as U+4E2D. Words too long for a line are cut (`fitting`).
    """
    text = fitting(text)
    text = unicodedata.normalize("NFC", re.sub(r"[ \t\r\n\x00-\x1f\x7f]+", " ", text))
    text = re.sub(r"(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", text)
    return "".join(_escape(character) for character in text)


def fitting(text: str) -> str:
    """The text with every word of more than `LONGEST` characters cut."""
    return re.sub(rf"\S{{{LONGEST + 1},}}", lambda found: short(found[0], LONGEST), text)


def _escape(character: str) -> str:
    if known := SPECIAL.get(character) or SYMBOLS.get(character):
        return known
    if character.isascii() or character in PRINTED:
        return character
    simple = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    if simple:
        return escape(simple)
    code = rf"\texttt{{U+{ord(character):04X}}}\allowbreak"
    return rf"\ifdefined\medrobLetters{{\medrobLetters {character}}}\else{code}\fi{{}}"


def _ascii(name: str) -> str:
    """`name` in ASCII: accents dropped, other letters as their code, other signs as spaces."""
    letters = (c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    plain = "".join(c if c.isascii() else f"u{ord(c):04x}" if c.isalnum() else " " for c in letters)
    if not re.search("[A-Za-z0-9]", plain):
        raise ValueError(f"name={name!r} holds no letter or digit; give a name such as '03_auc'")
    return plain


def file_name(name: str) -> str:
    """A name that every file system and LaTeX take: up to 100 letters, digits, ``_``, ``-`` and ``+``."""
    file = re.sub(r"[^A-Za-z0-9_+-]+", "_", _ascii(name)).strip("_")
    return file if len(file) <= 100 else f"{file[:90]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def macro(name: str, prefix: str = "medrob") -> str:
    r"""The LaTeX macro for a name, of letters alone, words as they are spelled in labels (AUC, GradCAM).

    ``drift gradcam layer4.1`` -> ``\medrobDriftGradCAMLayerFourOne``.
    """
    words = [f"\\{prefix}"]
    for part in re.findall(r"[A-Za-z]+|[0-9+%]", _ascii(name)):
        label = re.sub("[^A-Za-z]", "", WORDS.get(part.lower(), ""))
        known = label if label.lower() == part.lower() else ""
        words.append(MACRO_WORDS.get(part.lower()) or known or part[0].upper() + part[1:])
    return "".join(words)


def decimals(size: float) -> int:
    """Digits after the point for numbers of this size: three up to 1, fewer beyond, so that three count."""
    if not math.isfinite(size) or size == 0:
        return 3
    if size < 0.01:
        return min(1 - math.floor(math.log10(size)), 6)
    return next((3 - i for i, limit in enumerate((1, 10, 100)) if size <= limit), 0)


def number(value: float, digits: int = 3) -> str:
    """A number as plain text: 0.960, −0.031, ∞, 12 345; "not defined" for NaN."""
    if pd.isna(value):
        return UNDEFINED
    if math.isinf(value):
        return "−∞" if value < 0 else "∞"
    text = f"{abs(value):,.{digits}f}"
    sign = "−" if value < 0 and text.strip("0.,") else ""
    return sign + text.replace(",", "\N{THIN SPACE}" if abs(value) >= 10_000 else "")


def with_interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """``0.960 (0.944 to 0.975)``: the zero before the point is kept, as AUC may be 1 and a drop below 0."""
    if pd.isna(value):
        return UNDEFINED
    known = low < high  # else unknown, or without a width, which no sample of images can show
    ends = f"{number(low, digits)} to {number(high, digits)}" if known else f"interval {UNDEFINED}"
    return f"{number(value, digits)} ({ends})"


def p_value(p: float) -> str:
    """``= .008`` or ``< .001``, with a space that does not break, without the zero, as p never exceeds 1."""
    sign, text = ("<", ".001") if p < 0.001 else (">", ".999") if p > 0.999 else ("=", f"{p:.3f}"[1:])
    return f"{sign}\N{NO-BREAK SPACE}{text}"


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
        what = " ".join(WORDS.get(part, part) for part in row["what"].split(" "))  # no names of the code
        entries.append({"name": row["name"], "what": what, "macros": macros})
    return entries


def cited(text: str) -> str:
    """LaTeX in which ``(He et al. 2016)`` became ``\\cite{he2016}``, if all works in a bracket are known."""

    def cite(found: re.Match[str]) -> str:
        works = found[1].split("; ")
        first = [re.split(r" et al| \W*&| \d", work)[0] for work in works]
        keys = [re.sub(r"\W", "", name.lower()) + work[-4:] for name, work in zip(first, works, strict=True)]
        return rf"~\cite{{{','.join(keys)}}}" if WORKS.issuperset(keys) else found[0]

    return re.sub(CITATION, cite, text)


def documents(stages: Mapping[str, Part], run: str) -> dict[str, str]:
    """The texts of a run's LaTeX files by their names, by its record."""
    in_order = [entry for _, entry in sorted(stages.items())]
    notes = {key: note for entry in in_order for key, note in entry.get("thesis", {}).items()}
    parts = sorted(notes.values(), key=lambda part: part["file"] != FIRST)  # the others as they were made
    kinds = {kind: [part for part in parts if part["kind"] == kind] for kind in ("figure", "table")}
    figures = [{**part, "macro": macro(part["file"], "medrobCaption")} for part in kinds["figure"]]
    entries = [entry for part in parts for entry in part.get("entries", ())]
    given = {stage: entry["parameters"] for stage, entry in stages.items() if "parameters" in entry}
    suite = stages.get("01_augment", {}).get("corruptions", {})
    facts = {
        "done": done, "questions": QUESTIONS, "evidence": Evidence, "suite": suite, "folds": FOLDS,
        "orders": min(math.factorial(len(suite)), ORDERS),
        "run": run, "stages": stages, "given": given, "works": TEXTS["methods"], "first": FIRST,
        "figures": figures, "numbers": [{**entry, "macro": macro(entry["name"])} for entry in entries],
        "tables": kinds["table"], "p_words": P_WORDS,
        "textwidth": given.get("05_analysis", {}).get("textwidth", TEXTWIDTH),
    }  # fmt: skip
    # A LaTeX file is full of braces and per cent signs: << >> and <% %> stand for them.
    templates = Environment(
        loader=PackageLoader("medrob.thesis", ""), undefined=StrictUndefined, trim_blocks=True,
        block_start_string="<%", block_end_string="%>", variable_start_string="<<", variable_end_string=">>",
        comment_start_string="<#", comment_end_string="#>", keep_trailing_newline=True,
    )  # fmt: skip
    templates.filters |= {
        "latex": lambda text: cited(escape(str(text))),
        "word": word,
        "plain": lambda markdown: re.sub(r"\\(\W|_)", r"\1", markdown),
        "name": lambda path: str(path).replace("\\", "/").rsplit("/", 1)[-1],
        "breakable": lambda name: re.sub("(?<=[a-z])(?=[A-Z])", r"\\allowbreak ", name),
    }
    files = ("captions.tex", "methods.tex", "numbers.tex", "thesis.tex")
    try:
        texts = {file: templates.get_template(f"{file}.jinja").render(facts) for file in files}
    except UndefinedError as error:  # another version of medrob wrote the record
        raise ValueError(f"run.json of run {run!r} lacks what is written ({error}); run it again") from None
    return texts | {"references.bib": REFERENCES}
