"""The thesis folder of a run: figures, tables, captions and numbers, the same bytes every time."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from medrob.figures import TEXTWIDTH, facts_of
from medrob.files import atomic
from medrob.thesis import captions
from medrob.thesis.document import check_macros, documents
from medrob.thesis.latex import escape, file_name, macro
from medrob.thesis.latex_table import latex_table
from medrob.thesis.macros import quoted
from medrob.thesis.printed import PRINTED, Printed

# No dates and no versions in the files: the same figure gives the same bytes.
METADATA = {
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
    "png": {"Software": None},
}
RESERVED = ("thesis", "captions", "numbers")
PREFIX = "medrob"  # of the macros


class Bundle:
    r"""Writes into the figures folder of a run, to which every notebook adds its part.

    Nothing is written before `document`, which puts the parts of all stages together: a notebook that fails
    leaves the folder as it was.

    Args:
        folder: usually ``Run(...).figures``.
        stage: who writes, such as "03_test". What it wrote before and does not write again is removed.

    Attributes:
        context: ends every caption: a mapping such as ``{"data": "phantom", "seed": 0}``.
        facts: what the captions of `medrob.thesis.CAPTIONS` leave open, such as ``{"layer": "layer4.1"}``.
        failed: (method, layer) pairs that fail randomisation (`medrob.analysis.failed`): these methods are
            marked in tables, and captions explain the mark.
    """

    def __init__(self, folder: Path, stage: str) -> None:
        self.folder, self.stage = Path(folder), stage
        self.context: Mapping[str, Any] = {}
        self.facts: dict[str, Any] = {}
        self.failed: Collection[tuple[str, str]] = ()
        self._names: dict[str, str] = {}  # key of a part -> the name it was given
        self._parts: dict[str, tuple[dict[str, Any], Mapping[str, bytes]]] = {}  # its note, its files
        self._numbers: dict[str, dict[str, Any]] = {}

    def figure(self, figure: Figure, name: str, caption: str = "") -> None:
        """Draw the figure as PDF and PNG (300 dots per inch); then show and close it.

        Args:
            figure: the drawing.
            name: of the files, such as "03_auc"; anything but letters, digits, ``-`` and ``+`` becomes ``_``.
            caption: plain text; without one, that of `medrob.thesis.CAPTIONS`, or the name in words.

        Raises:
            ValueError: another name gives the same file. OSError: the folder cannot be written.
        """
        file = self._file("figure", name)
        files = {f"{file}.pdf": _rendered(figure, "pdf")}
        figure.set_layout_engine("none")  # the places stay as they are; to find them takes long
        files[f"{file}.png"] = _rendered(figure, "png")
        text = captions.full_caption(file, caption, self.facts | facts_of(figure))
        self._put("figure", file, files, caption=escape(f"{text} {self._ending()}".strip()))
        plt.show()
        plt.close(figure)

    def table(
        self, frame: pd.DataFrame, name: str, caption: str = "", *, keep: pd.DataFrame | None = None
    ) -> pd.DataFrame:
        r"""Write ``<name>.csv`` (all rows, all digits) and ``<name>.tex`` (booktabs, rounded).

        In the LaTeX the names are words, and an interval stands in one column with its value. It needs
        ``\usepackage{array,booktabs,graphicx}``, and longtable for more than 40 rows.

        Args:
            frame: a tidy table, which is returned. name, caption: as in `figure`.
            keep: the rows and columns to print; None: those of `medrob.thesis.printed`, or all.
        """
        file = self._file("table", name)
        printed = PRINTED.get(file, Printed(""))
        latex = latex_table(
            printed.select(frame, self.facts) if keep is None else keep,
            captions.full_caption(file, caption or printed.caption.format(**self.facts), self.facts),
            f"tab:{self.folder.name}:{file}",
            context=self._ending(),
            failed=self.failed,
        )
        csv = frame.to_csv(index=False, lineterminator="\n")
        self._put("table", file, {f"{file}.csv": csv.encode(), f"{file}.tex": latex.encode()})
        return frame

    def numbers(self, numbers: pd.DataFrame) -> None:
        r"""Keep numbers that a text quotes: ``clean auc`` becomes ``\medrobCleanAUC`` in ``numbers.tex``.

        ``\medrobCleanAUC`` prints 0.960, ``\medrobCleanAUCCI`` 0.960 (0.944 to 0.975), ``...Low`` and
        ``...High`` its ends, ``...P`` p = .008 or p < .001. What is NaN prints as "not defined". Called
        again, it adds to the numbers of this stage.

        Args:
            numbers: as in `medrob.thesis.macros.quoted`.

        Raises:
            ValueError: two names give the same macro, or a column is missing. OSError: as in `figure`.
        """
        merged = self._numbers | {entry["name"]: entry for entry in quoted(numbers)}
        entries = list(merged.values())
        check_macros([{"kind": "numbers", "file": self.stage, "entries": entries}], PREFIX)
        self._numbers = merged
        self._put("numbers", self.stage, {}, entries=entries)

    def document(self, stages: Collection[str], textwidth: float = TEXTWIDTH) -> Path:
        """Write the parts of this stage, and put those of all stages together.

        ``captions.tex``, ``numbers.tex`` and ``thesis.tex`` are made anew; what this stage wrote before and
        has not made again is removed.

        Args:
            stages: whose parts count besides this stage's: those that the record of the run holds.
            textwidth: of the document, in points.

        Returns:
            The path of ``thesis.tex``.

        Raises:
            ValueError: two stages give the same macro, or a part is damaged.
            OSError: the folder cannot be written; nothing was changed.
        """
        old = {file.stem: _read(file) for file in sorted(self.folder.glob("parts/*.json"))}
        parts = {key: part for key, part in old.items() if part["stage"] in set(stages) - {self.stage}}
        files: dict[str, bytes] = {}
        for key, (part, content) in self._parts.items():
            note = json.dumps(part, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
            files |= {**content, f"parts/{key}.json": note.encode()}
            parts[key] = json.loads(note)
        ordered = [parts[key] for key in sorted(parts)]
        texts = documents(ordered, self.folder.name, PREFIX, textwidth)
        files |= {name: text.encode() for name, text in texts.items()}
        sums = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in texts)
        files["parts/document.sha256"] = sums.encode()
        with contextlib.ExitStack() as stack:  # all files or none
            for name, data in files.items():
                stack.enter_context(atomic(self.folder / name)).write_bytes(data)
        for key, part in old.items():
            if part["stage"] == self.stage:
                for name in {*part["files"], f"parts/{key}.json"} - set(files):
                    (self.folder / name).unlink(missing_ok=True)
        return self.folder / "thesis.tex"

    def _ending(self) -> str:
        return captions.ending(self.context, self.failed)

    def _file(self, kind: str, name: str) -> str:
        """The file's name without its ending; refuses a name that another one has taken."""
        file = file_name(name)
        if file in RESERVED:
            raise ValueError(f"name={name!r} is kept for {file}.tex; give another, such as '05_{file}'")
        macro(file)
        taken = self._names.setdefault(f"{kind}-{file}", name)
        if taken != name:
            raise ValueError(f"{kind}s {taken!r} and {name!r} would both be written to {file!r}; rename one")
        return file

    def _put(self, kind: str, file: str, files: Mapping[str, bytes], **facts: Any) -> None:
        """Collect the files of a part and its note."""
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        part = {"kind": kind, "file": file, "stage": self.stage, "files": sums, **facts}
        self._parts[f"{kind}-{file}"] = part, files


def _rendered(figure: Figure, kind: str) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, metadata=METADATA[kind])
    return stream.getvalue()


def _read(file: Path) -> dict[str, Any]:
    """A part's note; a ValueError that names the file if it is damaged, or names files elsewhere."""
    try:
        part = json.loads(file.read_text(encoding="utf-8"))
        kind, name = part["kind"], part["file"]
        if f"{kind}-{name}" != file.stem or any("/" in f or "\\" in f for f in part["files"]):
            raise ValueError("it names other files")
        part["stage"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is damaged ({error}); delete it and run its notebook again") from None
    return part
