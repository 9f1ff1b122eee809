"""What lies under the paths that a study names: hashes that see a file replaced in its place."""

from __future__ import annotations

import csv
import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from medrob.files import home


def files(path_or_name: str) -> str:
    """A hash of the files that lie at a path: of a data set, or of weights.

    Files are read once a process. A folder counts with all that is in it, a table with the files it names.

    Returns:
        16 hexadecimal digits; "" for what is known by name, "absent" for a path where nothing lies.
    """
    if not path_or_name:
        return ""
    path = next((p for p in (Path(path_or_name), home() / path_or_name) if p.exists()), None)
    if path is None:
        return "absent" if "/" in path_or_name or Path(path_or_name).suffix else ""
    inside = path.rglob("*") if path.is_dir() else [path, *_named(path)]
    found = sorted(file for file in inside if file.is_file())
    return _together(found, path if path.is_dir() else path.parent)


def source(arch: str) -> str:
    """A hash of the code of a network of one's own, ``"package.module:function"``.

    Returns:
        16 hexadecimal digits over the module's file, and over all of its package if it is in one; "" for a
        network known by name, "absent" for a module that is not found.
    """
    module, colon, _ = arch.partition(":")
    if not colon:
        return ""
    try:
        top, found = find_spec(module.split(".")[0]), find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return "absent"
    if not (top and found and found.origin):
        return "absent"
    folders = [Path(folder) for folder in top.submodule_search_locations or []]
    files = {file for folder in folders for file in folder.rglob("*.py")} | {Path(found.origin)}
    return _together(sorted(files), Path(found.origin).parent)


def _together(files: list[Path], base: Path) -> str:
    """A hash of files and their names below a folder."""
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
    """The files that a CSV or Parquet file names, in any of its columns, beside itself."""
    if table.suffix.lower() == ".csv":
        with table.open(newline="", encoding="utf-8", errors="replace") as stream:
            cells = {cell.strip() for row in csv.reader(stream) for cell in row}
    elif table.suffix.lower() == ".parquet":
        import pandas as pd

        try:
            frame = pd.read_parquet(table)
        except (ValueError, OSError):  # damaged: its own bytes count, and the notebook says what is wrong
            return []
        cells = {cell for name in frame for cell in frame[name] if isinstance(cell, str)}
    else:
        return []
    named = sorted(cell for cell in cells if cell and "\0" not in cell and len(cell) < 1000)
    return [path for path in (table.parent / cell for cell in named) if path.is_file()]
