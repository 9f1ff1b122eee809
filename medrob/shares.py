"""A table that several jobs compute in shares, and one gathers: the same bits as computed at once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from medrob.files import atomic

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
KEY = b"medrob"  # where a share's file says what it follows from


def share_of(items: Sequence[T], share: str) -> list[T]:
    """The items of a share: "2/4" is the second quarter, in order. Each share has at least two items."""
    found = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", share)
    if not found or int(found[1]) > int(found[2]) or 2 * int(found[2]) > max(2, len(items)):
        raise ValueError(
            f"share={share!r} of {len(items)} conditions: give a part and how many there are, such as '2/4', "
            f"with at most {max(1, len(items) // 2)} parts"
        )
    number, count = int(found[1]), int(found[2])
    return list(items[len(items) * (number - 1) // count : len(items) * number // count])


def compute(
    folder: Path, share: str, key: Mapping[str, Any], items: Sequence[T],
    function: Callable[[list[T]], pd.DataFrame],
) -> pd.DataFrame:  # fmt: skip
    """Compute the rows of items, or one share of them, or gather the shares that lie in a folder.

    Args:
        share: "2/4" = compute the second quarter and keep it in the folder; "" = the whole table, from its
            shares if all are there and follow from the same `key`, else computed.
        items: what the table goes through, as its slowest index.
    """
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

    follows = json.dumps(key, sort_keys=True, default=str).encode()
    if not share:
        for parts in _whole_sets(folder):
            tables = [parquet.read_table(file) for file in parts]
            if all((table.schema.metadata or {}).get(KEY) == follows for table in tables):
                return pd.concat([table.to_pandas() for table in tables], ignore_index=True)
    rows = function(share_of(items, share) if share else list(items))
    table = pa.Table.from_pandas(rows, preserve_index=False)
    if share:
        named = table.replace_schema_metadata({**(table.schema.metadata or {}), KEY: follows})
        with atomic(folder / f"{share.replace('/', '-of-')}.parquet") as file:
            parquet.write_table(named, file)
    return table.to_pandas()  # by way of Arrow, so that the types are those of gathered shares


def _whole_sets(folder: Path) -> Iterator[list[Path]]:
    """The sets of shares that are complete, each in order."""
    for first in folder.glob("1-of-*.parquet"):
        count = int(first.stem.removeprefix("1-of-"))
        parts = [folder / f"{number}-of-{count}.parquet" for number in range(1, count + 1)]
        if all(part.exists() for part in parts):
            yield parts
