"""A tidy frame as a LaTeX table: words for names, intervals in one column, digits that count."""

from collections import namedtuple
from collections.abc import Hashable
from textwrap import wrap

import numpy as np
import pandas as pd

from medrob.figures import TEXTWIDTH, Failed, word
from medrob.thesis import latex
from medrob.thesis.latex import DASH, P, escape

LONG = {False: 40, True: 24}  # rows, upright and on its side; longer tables run over pages
WIDE = 36  # characters; longer texts are broken into lines
LETTER = 4.7  # points that a character takes in \footnotesize, 9 points in a text of 11
LENGTH = 660.0  # points: the width of a page on its side
GAP = 6.0  # points between columns: \tabcolsep is set to half of it
P_VALUES = {"p": P, "p_holm": f"{P} (Holm)", "p_adjusted": f"{P} (corrected)"}
NAMED = {"corruption", "method", "metric", "signal", "test", "measure", "same_as"}  # hold names of medrob
Column = namedtuple("Column", "cells numeric")  # the cells in plain text; are they numbers?


def latex_table(
    frame: pd.DataFrame, caption: str, label: str, *, ending: str = "", failed: Failed = ()
) -> str:
    """A booktabs table of 9 points (packages array, booktabs), or a longtable beyond `LONG` rows.

    What is wider than the text stands on a page on its side (package pdflscape).

    Args:
        frame: any tidy frame. Three columns x, x_low, x_high become one, and so do low, high and the
            column before them.
        caption, ending: plain text; what concerns this table alone is said between them.
        label: for ``\\ref``. failed: (method, layer) pairs; these methods are marked with a dagger.
    """
    shown = readable(frame, failed=failed)
    columns = {name: column for name, column in shown.items() if any(column.cells) or frame.empty}
    if any(DASH in cell for column in columns.values() for cell in column.cells):
        caption += f" A dash ({DASH}): not defined."
    if any("…" in cell for column in columns.values() for cell in column.cells):
        caption += " Names with … are cut; the CSV file of this table has them whole."
    caption = latex.cited(escape(f"{caption} {ending}".strip()))
    alignment, aside = _layout(columns)
    body = pd.DataFrame({_heading(name): list(map(escape, c.cells)) for name, c in columns.items()})
    changes = body.iloc[:, 0].ne(body.iloc[:, 0].shift()) & (body.index > 0)
    if 2 * (changes.sum() + 1) <= len(body):  # a small gap between groups of two rows or more
        body.iloc[:, 0] = np.where(changes, "\\addlinespace\n", "") + body.iloc[:, 0]
    long = len(frame) > LONG[aside]
    text = body.style.hide(axis="index").to_latex(
        hrules=True, column_format=alignment, caption=caption, label=label,
        environment="longtable" if long else "table", position_float=None if long else "centering",
    )  # fmt: skip
    again = rf"\multicolumn{{{len(columns)}}}{{l}}{{\emph{{continued}}}} \\"  # not the whole caption
    text = text.replace(rf"\caption[]{{{caption}}} \\", again)
    text = text.replace(
        "\\centering\n", "\\centering\\footnotesize\n", 1
    )  # a float begins at the size of the text
    text = f"{{\\setlength{{\\tabcolsep}}{{{GAP / 2:g}pt}}\\footnotesize\n{text}}}\n"
    return f"\\begin{{landscape}}\n{text}\\end{{landscape}}\n" if aside else text


def readable(frame: pd.DataFrame, *, failed: Failed = ()) -> dict[str, Column]:
    """The columns as they are read, by heading (of two lines where it names an interval)."""
    names = list(frame.columns)
    ends: dict[Hashable, tuple[Hashable, Hashable]] = {
        name: (f"{name}_low", f"{name}_high") for name in names if f"{name}_low" in names
    }
    if "low" in names and names.index("low") > 0:
        ends.setdefault(names[names.index("low") - 1], ("low", "high"))
    shown: dict[str, Column] = {}
    for name in names:
        if any(name in pair for pair in ends.values()):
            continue
        pair = ends.get(name, ())
        if frame[[*pair]].isna().all(axis=None):
            pair = ()
        if isinstance(name, (int, np.integer)):  # read after the name of the columns, such as severity 3
            heading = f"{word(str(frame.columns.name))} {name}"
        else:
            heading = P_VALUES.get(str(name)) or word(str(name))
        column = _column(frame[[name, *pair]], failed)
        heading += " (95 % interval)" * bool(pair)
        shown[heading.replace(" (", "\n(", 1) if column.numeric else heading] = column
    return shown


def _column(values: pd.DataFrame, failed: Failed) -> Column:
    """The cells of a column (the first), with the interval if there are three."""
    column = values.iloc[:, 0]
    name = column.name
    if name in P_VALUES:
        texts = [DASH if pd.isna(p) else latex.p_value(p) for p in column]
        return Column([text.removeprefix("=\N{NO-BREAK SPACE}") for text in texts], True)
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        if pd.api.types.is_bool_dtype(column):
            column = column.map({True: "yes", False: "no"})
        cells = [DASH if pd.isna(value) else str(value) for value in column]
        return Column([latex.fitting(word(cell, failed) if name in NAMED else cell) for cell in cells], False)
    table = values.to_numpy(float)
    finite = np.abs(table[np.isfinite(table)])
    # Digits for a whole column: those of its typical number, so that the points stand in line.
    typical = float(np.median(finite)) if len(finite) else 1.0
    places = latex.decimals(typical if typical > 1 else min(float(finite.max(initial=0)), 1.0))
    if table.shape[1] > 1:
        texts = [latex.with_interval(v, low, high, places).replace("interval ", "") for v, low, high in table]
    else:
        texts = [latex.number(row[0], 0 if (finite % 1 == 0).all() else places) for row in table]
    return Column([text.replace(latex.UNDEFINED, DASH) for text in texts], True)


def _layout(columns: dict[str, Column]) -> tuple[str, bool]:
    """The alignment of the columns, and whether they need a page on its side."""
    widest = {name: max(map(_points, (*_folded(name), *column.cells))) for name, column in columns.items()}
    broken = [name for name, c in columns.items() if not c.numeric and widest[name] > WIDE * LETTER]
    fixed = GAP * len(columns) + sum(points for name, points in widest.items() if name not in broken)
    aside = fixed + WIDE * LETTER * len(broken) > TEXTWIDTH
    share = ((LENGTH if aside else TEXTWIDTH) - fixed) / max(len(broken), 1)
    paragraph = rf">{{\raggedright\arraybackslash}}p{{{max(share, 60):.0f}pt}}"
    kinds = (paragraph if n in broken else "r" if c.numeric else "l" for n, c in columns.items())
    return "".join(kinds), aside


def _points(text: str) -> float:
    """How wide a text is; Chinese letters and the like may be printed as codes, such as U+4E2D."""
    return LETTER * sum(6 if ord(letter) > 0x2FFF else 1 for letter in text)


def _folded(name: str) -> list[str]:
    """A heading in lines, broken between words."""
    return [part for line in name.split("\n") for part in wrap(line, 16, break_long_words=False)]


def _heading(name: str) -> str:
    lines = r" \\ ".join(map(escape, _folded(name)))
    return rf"\begin{{tabular}}[b]{{@{{}}r@{{}}}}{lines}\end{{tabular}}" if r"\\" in lines else lines
