"""The thesis folder of a run: figures, tables, captions and numbers, the same bytes every time."""

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

from medrob.figures import TEXTWIDTH
from medrob.files import atomic
from medrob.thesis import captions
from medrob.thesis.document import documents, quoted
from medrob.thesis.latex import escape, file_name
from medrob.thesis.latex_table import latex_table

# No dates and no versions in the files: the same figure gives the same bytes.
METADATA = {
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
    "png": {"Software": None},
}


class Bundle:
    """What a notebook adds to the figures folder of a run; nothing is written before `document`.

    `stage`: who writes, such as "03_test". What it wrote before and does not write again is removed.

    Attributes:
        context: ends every caption: a mapping such as ``{"data": "phantom", "seed": 0}``.
        facts: what the captions in ``texts.toml`` leave open, such as ``{"layer": "layer4.1"}``.
        failed: (method, layer) pairs that fail randomisation (`medrob.analysis.failed`): these methods are
            marked in tables, and captions explain the mark.
    """

    def __init__(self, folder: Path, stage: str) -> None:
        self.folder, self.stage = folder, stage
        self.context: Mapping[str, Any] = {}
        self.facts: dict[str, Any] = {}
        self.failed: Collection[tuple[str, str]] = ()
        self._names: dict[str, str] = {}  # key of a part -> the name it was given
        self._parts: dict[str, tuple[dict[str, Any], Mapping[str, bytes]]] = {}  # its note, its files
        self._numbers: dict[str, dict[str, Any]] = {}

    def figure(self, figure: Figure, name: str, caption: str = "") -> None:
        """Draw the figure as PDF and PNG (300 dots per inch); then show and close it.

        In the name of the files all but letters, digits, ``-`` and ``+`` becomes ``_``; a name that gives the
        file of another is refused. Without a caption, it is that in ``texts.toml``, or the name in words.
        """
        file = self._file("figure", name)
        files = {}
        for kind, metadata in METADATA.items():
            stream = io.BytesIO()
            figure.savefig(stream, format=kind, metadata=metadata)
            files[f"{file}.{kind}"] = stream.getvalue()
            figure.set_layout_engine("none")  # the places stay as they are; to find them takes long
        text = captions.full_caption(file, caption, self.facts | getattr(figure, "facts", {}))
        ending = captions.ending(self.context, self.failed)
        self._put("figure", file, files, caption=escape(f"{text} {ending}".strip()))
        plt.show()
        plt.close(figure)

    def table(
        self, frame: pd.DataFrame, name: str, caption: str = "", *, keep: pd.DataFrame | None = None
    ) -> None:
        """Write ``<name>.csv`` (all rows, all digits) and ``<name>.tex`` (rounded; see `latex_table`).

        `keep`: the rows and columns to print; None: those in ``texts.toml``, or all.
        """
        file = self._file("table", name)
        rows, text = captions.printed(file, frame if keep is None else keep, self.facts)
        latex = latex_table(
            rows,
            captions.full_caption(file, caption or text, self.facts),
            f"tab:{self.folder.name}:{file}",
            ending=captions.ending(self.context, self.failed),
            failed=self.failed,
        )
        csv = frame.to_csv(index=False, lineterminator="\n")
        self._put("table", file, {f"{file}.csv": csv.encode(), f"{file}.tex": latex.encode()})

    def numbers(self, numbers: pd.DataFrame) -> None:
        r"""Keep numbers that a text quotes, besides those kept before: see `medrob.thesis.document.quoted`.

        In ``numbers.tex``, ``clean auc`` becomes ``\medrobCleanAUC``, which prints 0.960, and
        ``\medrobCleanAUCCI``, which prints 0.960 (0.944 to 0.975).
        """
        self._numbers |= {entry["name"]: entry for entry in quoted(numbers)}
        self._put("numbers", self.stage, {}, entries=list(self._numbers.values()))

    def document(self, stages: Collection[str], textwidth: float = TEXTWIDTH) -> Path:
        """Write the parts of this stage, and put those of all stages together: the path of ``thesis.tex``.

        ``captions.tex``, ``numbers.tex`` and ``thesis.tex`` are made anew. stages: whose parts count besides
        this stage's: those that the record of the run holds.

        Raises:
            ValueError: two names give the same macro, or a part is damaged; nothing was changed.
            OSError: the folder cannot be written; nothing was changed.
        """
        old = {file.stem: _read(file) for file in sorted(self.folder.glob("parts/*.json"))}
        parts = {key: part for key, part in old.items() if part["stage"] in set(stages) - {self.stage}}
        files: dict[str, bytes] = {}
        for key, (part, content) in self._parts.items():
            note = json.dumps(part, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
            files |= {**content, f"parts/{key}.json": note.encode()}
            parts[key] = json.loads(note)
        texts = documents([parts[key] for key in sorted(parts)], self.folder.name, textwidth)
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

    def _file(self, kind: str, name: str) -> str:
        """The file's name without its ending; refuses a name that another one has taken."""
        file = file_name(name)
        taken = self._names.setdefault(f"{kind}-{file}", name)
        if taken != name:
            raise ValueError(f"{kind}s {taken!r} and {name!r} would both be written to {file!r}; rename one")
        return file

    def _put(self, kind: str, file: str, files: Mapping[str, bytes], **facts: Any) -> None:
        """Collect the files of a part and its note."""
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        part = {"kind": kind, "file": file, "stage": self.stage, "files": sums, **facts}
        self._parts[f"{kind}-{file}"] = part, files


def _read(file: Path) -> dict[str, Any]:
    """A part's note; a ValueError that names the file if it is damaged, or names files elsewhere."""
    try:
        part = json.loads(file.read_text(encoding="utf-8"))
        if f"{part['kind']}-{part['file']}" != file.stem or any({*"/\\"} & {*name} for name in part["files"]):
            raise ValueError("it names other files")
        return part | {"stage": part["stage"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is damaged ({error}); delete it and run its notebook again") from None
