"""A figure as PGF: lines that LaTeX draws, letters in the font of the document."""

from __future__ import annotations

import functools
import io
import shutil
import warnings
from typing import Any
from unittest import mock

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.backends import backend_pgf
from matplotlib.figure import Figure
from matplotlib.image import _ImageBase

from medrob.figures.latex import escape

ENGINES = ("pdflatex", "xelatex", "lualatex")
LARGEST = 2_000_000  # characters; TeX keeps a page in a fixed memory
SETTINGS: dict[Any, Any] = {
    "pgf.rcfonts": False,
    "pgf.preamble": r"\usepackage[T1]{fontenc}\usepackage{lmodern}",
}


class Renderer(backend_pgf.RendererPgf):
    """matplotlib's renderer, with the texts escaped: a class may be called ``A & B``."""

    def draw_text(self, gc: Any, x: float, y: float, s: str, *rest: Any, **options: Any) -> None:
        """Draw `s`, which is maths if matplotlib has found dollar signs in it, and plain text otherwise."""
        super().draw_text(gc, x, y, s if _maths(rest, options) else escape(s), *rest, **options)

    def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> tuple[float, float, float]:
        """The size of `s` in the font of LaTeX."""
        return super().get_text_width_height_descent(s if ismath else escape(s), prop, ismath)


def _maths(rest: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """The argument ismath, behind prop and angle."""
    return bool(options.get("ismath", rest[2] if len(rest) > 2 else False))


class TooLarge(Exception):  # noqa: N818
    """The PGF would exceed `LARGEST`."""


class Limited(io.StringIO):
    """A stream that ends the drawing at `LARGEST`, before a million points fill the memory."""

    def write(self, text: str, /) -> int:
        """Take `text`, or raise `TooLarge`."""
        if self.tell() > LARGEST:
            raise TooLarge
        return super().write(text)


@functools.cache
def engine() -> str | None:
    """The first TeX engine of this machine, None without one."""
    return next((name for name in ENGINES if shutil.which(name)), None)


def pgf(figure: Figure, name: str) -> bytes | None:
    r"""The figure for ``\input`` after ``\usepackage{pgf}``, or None where it cannot be had.

    TeX measures the letters, so that an engine is needed (pdflatex before xelatex and lualatex). A figure
    that holds pixels has no PGF: they would be loose files beside it. Those are pictures and colour bars.
    Nor has one beyond `LARGEST`, such as a scatter plot of many thousand points.

    Warns:
        UserWarning: TeX cannot set a text of the figure; its last words are given.
    """
    if engine() is None or figure.findobj(_pixels):
        return None
    stream = Limited()
    try:
        with mpl.rc_context(SETTINGS | {"pgf.texsystem": engine()}), mock.patch.object(
            backend_pgf, "RendererPgf", Renderer
        ):  # fmt: skip
            figure.savefig(stream, format="pgf")
    except TooLarge:
        return None
    except (ValueError, backend_pgf.LatexError) as error:
        words = " ".join(str(error).split())[-300:]
        warnings.warn(f"{name}: no PGF, {engine()} cannot set it: {words}", stacklevel=3)
        return None
    return stream.getvalue().encode()


def _pixels(artist: Artist) -> bool:
    """A picture, or what is drawn as one."""
    return isinstance(artist, _ImageBase) or bool(artist.get_rasterized())
