"""A tidy frame as a LaTeX table: words for names, intervals in one column, digits that count."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import NamedTuple

import numpy as np
import pandas as pd

from medrob.figures import TEXTWIDTH, word
from medrob.thesis.latex import DASH, P, decimals, escape, number, p_value, with_interval

LONG = 40  # rows; longer tables run over pages
WIDE = 36  # characters; longer texts are broken into lines
# Points a character takes in a text of 11 points.
SIZES = {"": 5.5, r"\small": 5.0, r"\footnotesize": 4.5, r"\scriptsize": 4.0}
GAP = 8.0  # points between columns: \tabcolsep is set to half of it
P_VALUES = {"p": P, "p_holm": f"{P} (Holm)", "p_bh": f"{P} (Benjamini-Hochberg)"}
P_VALUES["p_adjusted"] = f"{P} (corrected)"
COLUMNS = P_VALUES | {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "iou20": "top-20 % overlap",
    "js": "Jensen-Shannon",
    "images_per_second": "images / s",
    "memory_mb": "memory (MB)",
}
NAMED = {
    "corruption",
    "method",
    "metric",
    "signal",
    "test",
    "measure",
    "same_as",
}  # names of medrob
# Shrinks what is wider than the text even in the smallest font, and leaves the rest alone.
NARROW = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"
Failed = Collection[tuple[str, str]]


class Column(NamedTuple):
    """The cells of a column in plain text, and whether they are numbers."""

    cells: list[str]
    numeric: bool


def latex_table(
    frame: pd.DataFrame, caption: str, label: str, *, context: str = "", failed: Failed = ()
) -> str:
    """A booktabs table, or a longtable beyond `LONG` rows.

    Args:
        frame: any tidy frame. Three columns x, x_low, x_high become one, and so do low, high and the
            column before them. A word that is the same in all rows moves to the caption.
        caption, context: plain text; what concerns this table alone is said between them.
        label: for ``\\ref``. failed: (method, layer) pairs; these methods are marked with a dagger.

    Returns:
        LaTeX that needs the packages array, booktabs and graphicx, and longtable beyond `LONG` rows.
    """
    columns, same = _without_constants(readable(frame, failed=failed))
    caption += same
    if any(DASH in cell for column in columns.values() for cell in column.cells):
        caption += f" A dash ({DASH}): not defined."
    caption = escape(f"{caption} {context}".strip())
    size, alignment = _layout(columns)
    settings = rf"\setlength{{\tabcolsep}}{{{GAP / 2:g}pt}}" + f"\n{size}".rstrip()
    style = _body(columns).style.hide(axis="index")
    if len(frame) <= LONG:
        tabular = style.to_latex(hrules=True, column_format=alignment).rstrip()
        head = f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n\\label{{{label}}}\n{settings}\n"
        return f"{head}{NARROW}\n{tabular}}}\n\\end{{table}}\n"
    text = style.to_latex(
        hrules=True, column_format=alignment, environment="longtable", caption=caption, label=label
    )
    again = rf"\multicolumn{{{len(columns)}}}{{l}}{{\emph{{continued}}}} \\"  # not the whole caption
    text = text.replace(rf"\caption[]{{{caption}}} \\", again)
    return f"{{\n{settings}\n{text}}}\n"


def readable(frame: pd.DataFrame, *, failed: Failed = ()) -> dict[str, Column]:
    """The columns as they are read, by heading."""
    intervals = _intervals(list(frame.columns))
    ends = {column for pair in intervals.values() for column in pair}
    shown: dict[str, Column] = {}
    for name in frame.columns:
        if name in ends:
            continue
        pair = intervals.get(name, ())
        if frame[[*pair]].isna().all(axis=None):
            pair = ()
        heading = _words(name, frame.columns.name) + (" (95 % interval)" if pair else "")
        if heading in shown:
            raise ValueError(f"two columns read {heading!r} in a table; rename one of {list(frame.columns)}")
        shown[heading] = _column(frame[[name, *pair]], failed)
    return shown


def _intervals(names: list[Hashable]) -> dict[Hashable, tuple[Hashable, Hashable]]:
    """Column -> the columns of its interval."""
    pairs: dict[Hashable, tuple[Hashable, Hashable]] = {
        name: (f"{name}_low", f"{name}_high")
        for name in names
        if {f"{name}_low", f"{name}_high"} <= set(names)
    }
    if {"low", "high"} <= set(names) and names.index("low") > 0:
        pairs.setdefault(names[names.index("low") - 1], ("low", "high"))
    return pairs


def _words(name: Hashable, group: Hashable) -> str:
    """The heading of a column; a number is read after the name of the columns, such as severity 3."""
    if isinstance(name, (int, np.integer)) and isinstance(group, str):
        return f"{word(group)} {name}"
    return COLUMNS.get(str(name)) or word(str(name))


def _column(values: pd.DataFrame, failed: Failed) -> Column:
    """The cells of a column (the first), with the interval if there are three."""
    column = values.iloc[:, 0]
    name = column.name
    if name in P_VALUES:
        return Column([p_value(p, bare=True, undefined=DASH) for p in column], True)
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        if pd.api.types.is_bool_dtype(column):
            column = column.map({True: "yes", False: "no"})
        cells = [DASH if pd.isna(value) else str(value) for value in column]
        return Column([word(cell, failed) if name in NAMED else cell for cell in cells], False)
    table = values.to_numpy(float)
    finite = np.abs(table[np.isfinite(table)])
    if table.shape[1] > 1:
        places = _places(finite)
        return Column([with_interval(v, low, high, places, undefined=DASH) for v, low, high in table], True)
    places = 0 if (finite % 1 == 0).all() else _places(finite)
    return Column([number(value, places, undefined=DASH) for value in table[:, 0]], True)


def _places(sizes: np.ndarray) -> int:
    """Digits for a whole column: those of its typical number, so that the points stand in line."""
    if not len(sizes):
        return 3
    typical = float(np.median(sizes))
    return decimals(typical if typical > 1 else min(float(sizes.max()), 1.0))


def _without_constants(columns: dict[str, Column]) -> tuple[dict[str, Column], str]:
    """The columns that differ between rows, and a sentence on the words that do not."""
    columns = {name: column for name, column in columns.items() if any(column.cells) or not column.cells}
    same = {
        name: cells[0]
        for name, (cells, numeric) in columns.items()
        if not numeric and len(cells) > 1 and set(cells) == {cells[0]} != {DASH}
    }
    if not same or len(same) == len(columns):
        return columns, ""
    words = "; ".join(f"{name} {cell}" for name, cell in same.items())
    return {n: c for n, c in columns.items() if n not in same}, f" In all rows: {words}."


def _layout(columns: dict[str, Column]) -> tuple[str, str]:
    """The largest font in which the table fits the text, and the columns' alignment."""
    widest = {
        name: max(map(len, (*_lines(name, numeric), *cells))) for name, (cells, numeric) in columns.items()
    }
    broken = [name for name, column in columns.items() if not column.numeric and widest[name] > WIDE]
    fixed = sum(count for name, count in widest.items() if name not in broken)
    room = TEXTWIDTH - GAP * len(columns)
    need = fixed + WIDE * len(broken)
    size = next((name for name, points in SIZES.items() if need * points <= room), r"\scriptsize")
    share = (room - fixed * SIZES[size]) / TEXTWIDTH / max(len(broken), 1)
    paragraph = rf">{{\raggedright\arraybackslash}}p{{{max(share, 0.15):.2f}\textwidth}}"
    kinds = (paragraph if n in broken else "r" if c.numeric else "l" for n, c in columns.items())
    return size, "".join(kinds) or "l"


def _lines(name: str, numeric: bool) -> list[str]:
    """A heading, in two lines where it names an interval."""
    return name.replace(" (", "\n(", 1).split("\n") if numeric else [name]


def _heading(name: str, numeric: bool) -> str:
    lines = r" \\ ".join(map(escape, _lines(name, numeric)))
    return rf"\begin{{tabular}}[b]{{@{{}}r@{{}}}}{lines}\end{{tabular}}" if r"\\" in lines else lines


def _body(columns: dict[str, Column]) -> pd.DataFrame:
    """LaTeX for each heading and cell; a small gap where the first column begins another group of rows."""
    body = pd.DataFrame({_heading(n, c.numeric): list(map(escape, c.cells)) for n, c in columns.items()})
    if body.empty:
        return pd.DataFrame(
            {name: ["no rows" * (i == 0)] for i, name in enumerate(body)} or {"": ["no rows"]}
        )
    changes = body.iloc[:, 0].ne(body.iloc[:, 0].shift()) & (body.index > 0)
    if 2 * (changes.sum() + 1) <= len(body):  # groups of two rows or more
        body.iloc[:, 0] = np.where(changes, "\\addlinespace\n", "") + body.iloc[:, 0]
    return body
