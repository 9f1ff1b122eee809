"""What lies under the path of a data set: a hash that sees a file replaced in its place."""

from __future__ import annotations

import csv
import hashlib
from functools import cache
from pathlib import Path

from medrob.runs import home


def content(dataset: str) -> str:
    """A hash of the files of a data set that is given as a path.

    Files are read once a process. A folder counts with all that is in it, a CSV file with the files it names.

    Returns:
        16 hexadecimal digits; "" for a data set known by name, "absent" for a path where nothing lies.
    """
    if not dataset:
        return ""
    path = next((p for p in (Path(dataset), home() / dataset) if p.exists()), None)
    if path is None:
        return "absent" if "/" in dataset or Path(dataset).suffix else ""
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
    else:
        files = [path, *(_named(path) if path.suffix.lower() == ".csv" else [])]
    base = path if path.is_dir() else path.parent
    digest = hashlib.sha256()
    for file in files:
        name = file.relative_to(base) if file.is_relative_to(base) else file
        changed = file.stat()
        digest.update(f"{name} {_hash(file, changed.st_size, changed.st_mtime_ns)}\n".encode())
    return digest.hexdigest()[:16]


@cache
def _hash(file: Path, size: int, changed: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _named(table: Path) -> list[Path]:
    """The files that a CSV file names, in any of its columns, beside itself."""
    with table.open(newline="", encoding="utf-8", errors="replace") as stream:
        cells = {cell for row in csv.reader(stream) for cell in row if cell}
    found = (table.parent / cell for cell in sorted(cells) if "\0" not in cell and len(cell) < 1000)
    return [path for path in found if path.is_file()]
