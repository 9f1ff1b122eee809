"""A table made in shares, by several jobs, and gathered: the same bits as made at once."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from medrob.files import atomic

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
KEY, SECONDS = b"medrob", b"seconds"


def share_of(items: Sequence[T], share: str) -> list[T]:
    """The items of a share: "2/4" is the second quarter, in order.

    Raises:
        ValueError: not a share, or more shares than pairs of items.
    """
    found = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", share)
    if not found or int(found[1]) > int(found[2]) or 2 * int(found[2]) > max(2, len(items)):
        raise ValueError(
            f"share={share!r} of {len(items)} conditions: give a part and how many there are, such as '2/4', "
            f"with at most {max(1, len(items) // 2)} parts"
        )
    number, count = int(found[1]), int(found[2])
    return list(items[len(items) * (number - 1) // count : len(items) * number // count])


def made(
    folder: Path, name: str, share: str, key: dict[str, Any], items: Iterable[T],
    function: Callable[[list[T]], pd.DataFrame],
) -> tuple[pd.DataFrame, float]:  # fmt: skip
    """Make a table, or a share of it, or gather the shares.

    Args:
        folder: where shares lie. name: of the table.
        share: "" = all of it, from the shares if they are there and were made by the same `key`.
        key: what the table follows from.
        items: what the table goes through, its slowest index.
        function: items -> their rows.

    Returns:
        The rows, and the seconds that the jobs of their shares took; 0 if they were not made in shares.
    """
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

    items = list(items)
    told = json.dumps(key, sort_keys=True, default=str).encode()
    if share:
        began = time.perf_counter()
        table = pa.Table.from_pandas(function(share_of(items, share)), preserve_index=False)
        took = f"{time.perf_counter() - began:.2f}".encode()
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), KEY: told, SECONDS: took})
        with atomic(folder / f"{name}.{share.replace('/', 'of')}.parquet") as file:
            parquet.write_table(table, file)
        return table.to_pandas(), 0.0
    parts = [parquet.read_table(file) for file in _whole_set(folder, name)]
    parts = [part for part in parts if (part.schema.metadata or {}).get(KEY) == told]
    if parts and len(parts) == len(_whole_set(folder, name)):
        seconds = sum(float(part.schema.metadata[SECONDS]) for part in parts)
        return pd.concat([part.to_pandas() for part in parts], ignore_index=True), seconds
    # By way of Arrow as well, so that the types are those of gathered shares.
    return pa.Table.from_pandas(function(items), preserve_index=False).to_pandas(), 0.0


def _whole_set(folder: Path, name: str) -> list[Path]:
    """The files of a set of shares that is complete, in order; none if there is no such set."""
    counts: dict[int, set[int]] = {}
    for file in folder.glob(f"{name}.*of*.parquet"):
        if found := re.fullmatch(rf"{re.escape(name)}\.(\d+)of(\d+)\.parquet", file.name):
            counts.setdefault(int(found[2]), set()).add(int(found[1]))
    for count, numbers in counts.items():
        if numbers == set(range(1, count + 1)):
            return [folder / f"{name}.{number}of{count}.parquet" for number in range(1, count + 1)]
    return []
