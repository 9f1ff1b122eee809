"""The thesis folder of a run: figures, tables, captions and numbers, the same bytes every time.

What is printed of each figure and table stands in ``texts.toml``.
"""

import contextlib
import hashlib
import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from medrob.files import atomic
from medrob.thesis.latex import TEXTS, documents, file_name, quoted
from medrob.thesis.latex_table import latex_table
from medrob.words import grouped, word

CAPTIONS: dict[str, str] = TEXTS["figures"]
Entry = Mapping[str, Any]  # what a record says of a stage
# No dates and no versions in the files: the same figure gives the same bytes.
METADATA = {
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
    "png": {"Software": None},
}


def _caption(file: str, caption: str, facts: Mapping[str, Any]) -> str:
    """A caption as a sentence: as given, or that of `CAPTIONS`, or the words of the file's name."""
    text = caption.strip() or CAPTIONS.get(file, "").format(**facts) or word(file.lstrip("0123456789_"))
    return text[:1].upper() + text[1:] + "." * (text[-1:] not in (".", "?", "!", ""))


def _printed(file: str, frame: pd.DataFrame, facts: Mapping[str, Any]) -> tuple[pd.DataFrame, str]:
    """The rows and columns of a table that are printed, and its caption."""
    texts = TEXTS["tables"].get(file, {})
    rows = frame.query(texts["rows"], local_dict=dict(facts)) if "rows" in texts else frame
    rows = rows[texts["columns"].split()] if "columns" in texts else rows
    if "stage" in rows:
        rows = rows.replace({"stage": {"": "value", "change": "change", "attainable": "best possible"}})
    rows = rows.rename(columns=TEXTS["headings"])
    return rows, texts.get("caption", "").format(**facts)


def _dagger(failed: Collection[tuple[str, str]]) -> str:
    """What a dagger means, if there is one: the end of every caption."""
    methods = grouped([(word(method), layer) for method, layer in failed], " at ")
    return f"† fails randomisation: {methods}." if methods else ""


class Bundle:
    """What a notebook adds to the figures folder of a run; nothing is written before `document`.

    `name`: that of the stage, such as "03_test". What it wrote before and does not write again is removed.

    Attributes:
        facts: what the captions in ``texts.toml`` leave open, such as ``{"layer": "layer4.1"}``.
        failed: (method, layer) pairs that fail randomisation (`medrob.analysis.failed`): these methods are
            marked in tables, and captions explain the mark.
        notes: what the record keeps of every part: its kind, its files with their checksums, its caption.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.facts: dict[str, Any] = {}
        self.failed: Collection[tuple[str, str]] = ()
        self.notes: dict[str, dict[str, Any]] = {}
        self._files: dict[str, bytes] = {}
        self._numbers: dict[str, dict[str, Any]] = {}

    def figure(self, figure: Figure, name: str, caption: str = "") -> None:
        """Draw the figure as PDF and PNG (300 dots per inch); then show and close it.

        In the name of the files all but letters, digits, ``-`` and ``+`` becomes ``_``. Without a caption, it
        is that in ``texts.toml``, or the name in words.
        """
        file = file_name(name)
        files = {}
        for kind, metadata in METADATA.items():
            stream = io.BytesIO()
            figure.savefig(stream, format=kind, metadata=metadata)
            files[f"{file}.{kind}"] = stream.getvalue()
            figure.set_layout_engine("none")  # the places stay as they are; to find them takes long
        text = _caption(file, caption, self.facts)
        self._put("figure", file, files, caption=f"{text} {_dagger(self.failed)}".strip())
        plt.show()
        plt.close(figure)

    def table(
        self, frame: pd.DataFrame, name: str, caption: str = "", *, keep: pd.DataFrame | None = None
    ) -> None:
        """Write ``<name>.csv`` (all rows, all digits) and ``<name>.tex`` (rounded; see `latex_table`).

        `keep`: the rows and columns to print; None: those in ``texts.toml``, or all.
        """
        file = file_name(name)
        rows, text = _printed(file, frame if keep is None else keep, self.facts)
        latex = latex_table(
            rows,
            _caption(file, caption or text, self.facts),
            f"tab:{self.folder.name}:{file}",
            ending=_dagger(self.failed),
            failed=self.failed,
        )
        csv = frame.to_csv(index=False, lineterminator="\n")
        self._put("table", file, {f"{file}.csv": csv.encode(), f"{file}.tex": latex.encode()})

    def numbers(self, numbers: pd.DataFrame) -> None:
        r"""Keep numbers that a text quotes, besides those kept before: see `medrob.thesis.latex.quoted`.

        In ``numbers.tex``, ``clean auc`` becomes ``\medrobCleanAUC``, which prints 0.960, and
        ``\medrobCleanAUCCI``, which prints 0.960 (0.944 to 0.975).
        """
        self._numbers |= {entry["name"]: entry for entry in quoted(numbers)}
        self._put("numbers", self.name, {}, entries=list(self._numbers.values()))

    def document(self, stages: Mapping[str, Entry], before: Entry | None = None) -> None:
        """Write the parts of this stage, and the LaTeX files about all stages (`documents`), or nothing.

        `stages`: the entries of the run's record, with that of this stage (`notes` under "thesis"); `before`:
        its earlier entry, whose files are removed if they are not made again.
        """
        texts = documents(stages, self.folder.name)
        files = self._files | {name: text.encode() for name, text in texts.items()}
        with contextlib.ExitStack() as stack:  # all files or none
            for name, data in files.items():
                stack.enter_context(atomic(self.folder / name)).write_bytes(data)
        for name in set(checksums(before or {})) - set(files):
            (self.folder / name).unlink(missing_ok=True)

    def _put(self, kind: str, file: str, files: Mapping[str, bytes], **facts: Any) -> None:
        """Collect the files of a part and its note."""
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        self.notes[f"{kind}-{file}"] = {
            "kind": kind,
            "file": file,
            "stage": self.name,
            "files": sums,
            **facts,
        }
        self._files |= files


def checksums(entry: Entry) -> dict[str, str]:
    """The files of a stage in the figures folder, by its entry in the record, and their checksums."""
    files = [item for note in entry.get("thesis", {}).values() for item in note["files"].items()]
    return {name: made for name, made in files if Path(name).name == name}  # none elsewhere
