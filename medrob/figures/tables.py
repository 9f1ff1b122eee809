"""A tidy frame as a LaTeX table: words for names, intervals in one column, digits that count."""

from __future__ import annotations

import itertools
from collections.abc import Hashable

import numpy as np
import pandas as pd

from medrob.figures.latex import DASH, P, decimals, escape, number, p_value, with_interval
from medrob.figures.style import TEXTWIDTH, word

LONG = 40  # rows; longer tables run over pages
WIDE = 36  # characters; longer texts are broken into lines
SIZES = {
    "": 5.5,
    r"\small": 5.0,
    r"\footnotesize": 4.5,
    r"\scriptsize": 4.0,
}  # points a character, 11 pt text
GAP = 8.0  # points between columns: \tabcolsep is set to half of it
COLUMNS = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "iou20": "top-20 % overlap",
    "js": "Jensen-Shannon",
    "images_per_second": "images / s",
    "memory_mb": "memory (MB)",
    "p": P,
    "p_holm": f"{P} (Holm)",
    "p_bh": f"{P} (Benjamini-Hochberg)",
    "p_adjusted": f"{P} (corrected)",
}
P_VALUES = ("p", "p_holm", "p_bh", "p_adjusted")
NAMED = (
    "corruption",
    "method",
    "metric",
    "signal",
    "test",
    "measure",
    "same_as",
)  # columns whose cells are names of medrob
EMPTY = "no rows"
# Shrinks what is wider than the text even in the smallest font, and leaves the rest alone.
NARROW = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"


def latex_table(
    frame: pd.DataFrame, caption: str, label: str, *, context: str = "", digits: int | None = None
) -> str:
    """A booktabs table, or a longtable beyond `LONG` rows.

    Args:
        frame: any tidy frame. Three columns x, x_low, x_high become one, and so do low, high and the
            column before them. A word that is the same in all rows moves to the caption.
        caption, context: plain text; what concerns this table alone is said between them.
        label: for ``\\ref``.
        digits: after the point; None: as many as count in each column.

    Returns:
        LaTeX that needs the packages array, booktabs and graphicx, and longtable beyond `LONG` rows.
    """
    columns, same = _folded(readable(frame, digits=digits))
    caption += same
    if any(DASH in cell for cells, _ in columns.values() for cell in cells):
        caption += f" A dash ({DASH}): not defined."
    size, spec = _layout(columns)
    head = " & ".join(_heading(name, numeric) for name, (_, numeric) in columns.items()) + r" \\"
    rows = _rows([cells for cells, _ in columns.values()])
    if not rows:
        rows = [rf"\multicolumn{{{max(len(columns), 1)}}}{{c}}{{{EMPTY}}} \\"]
    caption = rf"\caption{{{escape(f'{caption} {context}'.strip())}}}"
    begin = [rf"\setlength{{\tabcolsep}}{{{GAP / 2:g}pt}}", size]
    if len(frame) > LONG:
        again = rf"\multicolumn{{{len(columns)}}}{{l}}{{\emph{{continued}}}} \\"
        lines = [
            "{", *begin, rf"\begin{{longtable}}{{{spec}}}", caption, rf"\label{{{label}}} \\",
            r"\toprule", head, r"\midrule", r"\endfirsthead", again, r"\toprule", head, r"\midrule",
            r"\endhead", r"\bottomrule", r"\endfoot", *rows, r"\end{longtable}", "}",
        ]  # fmt: skip
    else:
        lines = [
            r"\begin{table}", r"\centering", caption, rf"\label{{{label}}}", *begin,
            NARROW, rf"\begin{{tabular}}{{{spec}}}", r"\toprule", head, r"\midrule", *rows, r"\bottomrule",
            r"\end{tabular}}", r"\end{table}",
        ]  # fmt: skip
    return "\n".join(line for line in lines if line) + "\n"


def readable(frame: pd.DataFrame, *, digits: int | None = None) -> dict[str, tuple[list[str], bool]]:
    """The columns as they are read: heading -> (cells in plain text, whether they are numbers)."""
    names, bounds = list(frame.columns), _bounds(list(frame.columns))
    inside = {column for pair in bounds.values() for column in pair}
    shown = {}
    for name in names:
        if name in inside:
            continue
        low_high = bounds.get(name)
        if low_high and frame[[*low_high]].isna().all(axis=None):
            low_high = None
        heading = _words(name, frame.columns.name)
        heading += " (95 % interval)" if low_high else ""
        if heading in shown:
            raise ValueError(f"two columns read {heading!r} in a table; rename one of {names}")
        shown[heading] = _cells(frame, name, low_high, digits)
    return shown


def _folded(columns: dict[str, tuple[list[str], bool]]) -> tuple[dict[str, tuple[list[str], bool]], str]:
    """The columns that differ between rows, and a sentence on the words that do not; none that is empty."""
    columns = {name: column for name, column in columns.items() if any(column[0]) or not column[0]}
    same = {n: cells[0] for n, (cells, numeric) in columns.items() if not numeric and _constant(cells)}
    if not same or len(same) == len(columns):
        return columns, ""
    words = "; ".join(f"{name} {cell}" for name, cell in same.items())
    return {n: c for n, c in columns.items() if n not in same}, f" In all rows: {words}."


def _constant(cells: list[str]) -> bool:
    return len(cells) > 1 and set(cells) == {cells[0]} and cells[0] != DASH


def _bounds(names: list[Hashable]) -> dict[Hashable, tuple[Hashable, Hashable]]:
    """Column -> the columns of its interval."""
    found: dict[Hashable, tuple[Hashable, Hashable]] = {
        name: (f"{name}_low", f"{name}_high")
        for name in names
        if {f"{name}_low", f"{name}_high"} <= set(names)
    }
    if {"low", "high"} <= set(names) and names.index("low") > 0:
        found.setdefault(names[names.index("low") - 1], ("low", "high"))
    return found


def _words(name: Hashable, group: Hashable) -> str:
    """The heading of a column; a number is read after the name of the columns, such as severity 3."""
    if isinstance(name, (int, np.integer)) and isinstance(group, str):
        return f"{word(group)} {name}"
    if isinstance(name, tuple):
        return " ".join(_words(part, None) for part in name if part != "")
    return COLUMNS.get(str(name)) or word(str(name))


def _cells(
    frame: pd.DataFrame, name: Hashable, bounds: tuple[Hashable, Hashable] | None, digits: int | None
) -> tuple[list[str], bool]:
    column = frame[name]
    if name in P_VALUES:
        return [p_value(p, bare=True, undefined=DASH) for p in column], True
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        told = {True: "yes", False: "no"} if pd.api.types.is_bool_dtype(column) else {}
        values = [DASH if pd.isna(v) else str(told.get(v, v)) for v in column]
        return [word(v) if name in NAMED else v for v in values], False
    values = frame[[name, *(bounds or ())]].astype(float)
    places = _places(values) if digits is None else digits
    if bounds is None:
        known = values.to_numpy()[np.isfinite(values)]
        places = 0 if (known % 1 == 0).all() else places
        return [number(v, places, undefined=DASH) for v in column.astype(float)], True
    return [with_interval(v, low, high, places, undefined=DASH) for v, low, high in values.to_numpy()], True


def _places(values: pd.DataFrame) -> int:
    """Digits for a whole column: those of its typical number, so that the points stand in line."""
    sizes = np.abs(values.to_numpy())
    sizes = sizes[np.isfinite(sizes)]
    if not len(sizes):
        return 3
    typical = float(np.median(sizes))
    return decimals(typical if typical > 1 else min(float(sizes.max()), 1.0))


def _layout(columns: dict[str, tuple[list[str], bool]]) -> tuple[str, str]:
    """The largest font in which the table fits the text, and the columns' alignment."""
    widest = {
        name: max(map(len, (*_lines(name, numeric), *cells))) for name, (cells, numeric) in columns.items()
    }
    broken = [name for name, (_, numeric) in columns.items() if not numeric and widest[name] > WIDE]
    fixed = sum(count for name, count in widest.items() if name not in broken)
    need = fixed + WIDE * len(broken)
    room = TEXTWIDTH - GAP * len(columns)
    size = next((s for s, points in SIZES.items() if need * points <= room), r"\scriptsize")
    share = (room - fixed * SIZES[size]) / TEXTWIDTH / max(len(broken), 1)
    paragraph = rf">{{\raggedright\arraybackslash}}p{{{max(share, 0.15):.2f}\textwidth}}"
    kinds = [paragraph if n in broken else "r" if numeric else "l" for n, (_, numeric) in columns.items()]
    return size, "".join(kinds) or "l"


def _lines(name: str, numeric: bool) -> list[str]:
    """A heading, in two lines where it names an interval."""
    return name.replace(" (", "\n(", 1).split("\n") if numeric else [name]


def _heading(name: str, numeric: bool) -> str:
    lines = r" \\ ".join(map(escape, _lines(name, numeric)))
    return rf"\begin{{tabular}}[b]{{@{{}}r@{{}}}}{lines}\end{{tabular}}" if r"\\" in lines else lines


def _rows(columns: list[list[str]]) -> list[str]:
    """The lines of the body; a small gap where the first column begins another group, of two rows or more."""
    lines, before = [], None
    changes = sum(a != b for a, b in itertools.pairwise(columns[0])) if columns else 0
    grouped = bool(columns) and 2 * (changes + 1) <= len(columns[0])
    for cells in zip(*columns, strict=True):
        if grouped and before is not None and cells[0] != before:
            lines.append(r"\addlinespace")
        lines.append(" & ".join(map(escape, cells)) + r" \\")
        before = cells[0]
    return lines
