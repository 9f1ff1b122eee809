"""The thesis folder of a run: figures, tables, captions and numbers, the same bytes every time."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
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

# No dates and no versions in the files: the same figure gives the same bytes.
METADATA = {
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
    "png": {"Software": None},
}
RESERVED = ("thesis", "captions", "numbers")


class Bundle:
    r"""Writes into the figures folder of a run, to which every notebook adds its part.

    What each call wrote is noted in ``parts/``; `document` puts the parts together.

    Args:
        folder: usually ``Run(...).figures``; made when something is written.
        stage: who writes, such as "03_test". What this stage wrote before and does not write again is
            removed by `document`; without a stage nothing is removed.
        context: ends every caption: a sentence, or a mapping such as ``{"data": "phantom", "seed": 0}``.
        facts: what the captions of `medrob.thesis.CAPTIONS` leave open, such as ``{"layer": "layer4.1"}``.
        failed: (method, layer) pairs that fail randomisation (`medrob.analysis.failed`): these methods are
            marked in tables, and captions explain the mark. It may be set later.
        prefix: how the macros begin, letters alone. Two runs in one thesis need two.

    Raises:
        ValueError: a prefix with anything but letters, or a stage that cannot be part of a file's name.
    """

    def __init__(
        self,
        folder: Path,
        *,
        stage: str = "",
        context: str | Mapping[str, Any] = "",
        facts: Mapping[str, Any] | None = None,
        failed: Collection[tuple[str, str]] = (),
        prefix: str = "medrob",
    ) -> None:
        if not re.fullmatch("[A-Za-z]+", prefix):
            raise ValueError(f"prefix={prefix!r}: LaTeX macros hold letters alone; give one such as 'medrob'")
        if stage and file_name(stage) != stage:
            raise ValueError(f"stage={stage!r}: use letters, digits, '_', '-' and '+', such as '03_test'")
        self.folder, self.stage, self.prefix = Path(folder), stage, prefix
        self.context, self.facts, self.failed = context, dict(facts or {}), failed
        self._written: dict[str, str] = {}  # key of a part -> the name it was given
        self._numbers: dict[str, dict[str, Any]] = {}

    def figure(self, figure: Figure, name: str, caption: str = "") -> None:
        """Write the figure as PDF and PNG (300 dots per inch); then show and close it.

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
            keep: the rows and columns to print, where all would be too many; None: all.
        """
        file = self._file("table", name)
        latex = latex_table(
            frame if keep is None else keep,
            captions.full_caption(file, caption, self.facts),
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
        check_macros([{"kind": "numbers", "file": self.stage, "entries": entries}], self.prefix)
        self._numbers = merged
        self._written[f"numbers-{self.stage}"] = self.stage
        self._put("numbers", self.stage, {}, entries=entries)

    def document(self, *, stages: Collection[str] | None = None, textwidth: float = TEXTWIDTH) -> Path:
        """Put the parts of all stages together: ``captions.tex``, ``numbers.tex`` and ``thesis.tex``.

        Call it last in every notebook: what this stage wrote before, and has not written now, is removed.

        Args:
            stages: whose parts count besides this stage's, usually those of the run's record after it was
                finished, which leaves out what is older than what it builds on; None: all.
            textwidth: of the document, in points.

        Returns:
            The path of ``thesis.tex``.

        Raises:
            ValueError: two stages give the same macro, or a part is damaged. OSError: as in `figure`.
        """
        parts = [part for part in self._parts() if not self._outdated(part)]
        if stages is not None:
            parts = [part for part in parts if part["stage"] in {"", self.stage, *stages}]
        texts = documents(parts, self.folder.name, self.prefix, textwidth)
        files = {name: text.encode() for name, text in texts.items()}
        sums = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in files)
        self._write(files | {"parts/document.sha256": sums.encode()})
        for part in filter(self._outdated, self._parts()):
            self._remove([*part["files"], f"parts/{_key(part)}.json"])
        return self.folder / "thesis.tex"

    def _ending(self) -> str:
        return captions.ending(self.context, self.failed)

    def _file(self, kind: str, name: str) -> str:
        """The file's name without its ending; refuses a name that another one has taken."""
        file = file_name(name)
        if file in RESERVED:
            raise ValueError(f"name={name!r} is kept for {file}.tex; give another, such as '05_{file}'")
        macro(file)
        taken = self._written.setdefault(f"{kind}-{file}", name)
        if taken != name:
            raise ValueError(f"{kind}s {taken!r} and {name!r} would both be written to {file!r}; rename one")
        return file

    def _put(self, kind: str, file: str, files: Mapping[str, bytes], **facts: Any) -> None:
        """Write the files of a part and its note; remove what it had before and has no more."""
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        part = {"kind": kind, "file": file, "stage": self.stage, "files": sums, **facts}
        before = [old for old in self._parts() if _key(old) == _key(part)]
        note = json.dumps(part, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        self._write({**files, f"parts/{_key(part)}.json": note.encode()})
        for old in before:
            self._remove(set(old["files"]) - set(files))

    def _write(self, files: Mapping[str, bytes]) -> None:
        """Write all files or none."""
        with contextlib.ExitStack() as stack:
            for name, content in files.items():
                stack.enter_context(atomic(self.folder / name)).write_bytes(content)

    def _parts(self) -> list[dict[str, Any]]:
        """The notes of all stages, by file name."""
        return [_read(file) for file in sorted(self.folder.glob("parts/*.json"))]

    def _outdated(self, part: Mapping[str, Any]) -> bool:
        """Whether this stage wrote the part before and has not written it now."""
        return bool(self.stage) and part["stage"] == self.stage and _key(part) not in self._written

    def _remove(self, names: Collection[str]) -> None:
        for name in names:
            (self.folder / name).unlink(missing_ok=True)


def _key(part: Mapping[str, Any]) -> str:
    return f"{part['kind']}-{part['file']}"


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
