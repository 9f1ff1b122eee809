"""Are the tables of two homes the same? ``same_tables.py cluster/ local/`` says which are not."""

import sys
from pathlib import Path

import pandas as pd

TIMES = ["seconds", "images_per_second", "memory_mb", "gpu_memory_mb"]


def tables(home: Path) -> dict[str, pd.DataFrame]:
    """Every table of every run, without what a clock measures."""
    files = sorted((home / "data" / "runs").glob("*/*.parquet"))
    return {
        f"{file.parent.name}/{file.stem}": pd.read_parquet(file).drop(columns=TIMES, errors="ignore")
        for file in files
    }


if __name__ == "__main__":
    ours, theirs = (tables(Path(home)) for home in sys.argv[1:3])
    assert ours and ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    for name, table in ours.items():
        pd.testing.assert_frame_equal(table, theirs[name], check_exact=True, obj=name)
    print(f"{len(ours)} tables are the same: {', '.join(ours)}")
