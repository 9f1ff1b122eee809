"""A table of images, CSV or Parquet: a path, labels, and if known split, group and mask."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from medrob.data.listing import Listing, classes, paths, split_name

# What a column may be called, in small letters. "grade" makes the task ordinal.
COLUMNS = {
    "path": ("path", "image", "file", "filename", "image_path"),
    "label": ("label", "class", "target", "diagnosis", "grade"),
    "split": ("split", "set", "subset", "partition"),
    "group": ("group", "patient", "patient_id", "patientid", "subject"),
    "mask": ("mask", "mask_path"),
}

# What a CSV file says for nothing; "None", which is the name of a class in some, is not.
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null")


def read(file: Path) -> Listing:
    """List the images of a table; paths start at the table's folder.

    Columns: ``path``; ``label`` (names or whole numbers) or, for several labels, one column of zeros and
    ones for each; if known ``split``, ``group`` (patient; no group is in two splits) and ``mask`` (picture
    that is above zero on the lesion). `COLUMNS` lists what else they may be called.

    Raises:
        ValueError: a damaged table, a column that is missing or named twice, labels that are no classes,
            paths outside the table's folder or to files that are not there, a group in two splits.
    """
    frame = _frame(file)
    column = {role: _column(frame, role, file) for role in COLUMNS}
    if column["path"] is None:
        raise ValueError(f"{file} has no column 'path'; it has {', '.join(map(str, frame.columns))}")
    if frame.empty:
        raise ValueError(f"{file} has no rows")
    labels, names, task = _labels(frame, column, file)
    files = _files(frame, column["path"], file)
    masks = None
    if column["mask"]:
        given = frame[column["mask"]].notna().to_numpy()
        masks = paths([None] * len(frame))
        masks[given] = _files(frame[given], column["mask"], file)
    splits = np.full(len(frame), "", "U5")
    if column["split"]:
        values = _filled(frame, column["split"], file)
        splits = np.array([split_name(str(value), str(file)) for value in values])
    groups = None
    if column["group"]:
        groups = _filled(frame, column["group"], file).astype(str).str.strip().to_numpy()
        _refuse_shared(groups, splits, column["group"], file)
    return Listing(file, files, labels, names, task, splits, groups, masks)


def _frame(file: Path) -> pd.DataFrame:
    try:
        if file.suffix.lower() == ".parquet":
            frame = pd.read_parquet(file).reset_index(drop=True)
        else:
            given = dict(skipinitialspace=True, keep_default_na=False, na_values=MISSING)
            frame = pd.read_csv(file, index_col=False, **given)
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not written in UTF-8; save it so") from None
    except Exception as error:  # the readers raise many kinds on a damaged file
        raise ValueError(f"{file} is not a table that can be read ({error})") from None
    first = str(frame.columns[0]) if len(frame.columns) == 1 else ""
    if ";" in first or "\t" in first:
        raise ValueError(f"{file} has one column, {first!r}: separate the columns by commas")
    unnamed = [name for name in frame.columns if str(name).startswith("Unnamed: ")]  # an index that was saved
    return frame.drop(columns=unnamed)


def _column(frame: pd.DataFrame, role: str, file: Path) -> str | None:
    found = [name for name in frame.columns if str(name).strip().lower() in COLUMNS[role]]
    if len(found) > 1:
        raise ValueError(f"{file}: columns {', '.join(found)} may all be the {role}; leave one of them")
    return found[0] if found else None


def _filled(frame: pd.DataFrame, column: str, file: Path) -> pd.Series:
    """A column without gaps."""
    empty = frame.index[frame[column].isna()]
    if len(empty):
        raise ValueError(
            f"{file}: column {column!r} is empty in {len(empty)} of {len(frame)} rows, first in row "
            f"{empty[0] + 1}; fill them, or remove the rows"
        )
    return frame[column]


def _labels(
    frame: pd.DataFrame, column: dict[str, str | None], file: Path
) -> tuple[np.ndarray, tuple[str, ...], str]:
    if column["label"]:
        values = _filled(frame, column["label"], file)
        if pd.api.types.is_float_dtype(values):
            broken = values[values % 1 != 0]
            if len(broken):
                raise ValueError(
                    f"{file}: label {broken.iloc[0]} in row {broken.index[0] + 1} is no class; give names or "
                    "whole numbers"
                )
            values = values.astype(int)
        elif not pd.api.types.is_integer_dtype(values):
            values = values.astype(str).str.strip()
        ordinal = column["label"].strip().lower() == "grade"
        if ordinal and not pd.api.types.is_integer_dtype(values):
            raise ValueError(
                f"{file}: grades must be integers, got {values.iloc[0]!r}; use whole numbers, or call the "
                "column 'label' if the classes have no order"
            )
        labels, names = classes(values.tolist(), str(file))
        if ordinal:
            return labels, names, "ordinal"
        return labels, names, "binary" if len(names) == 2 else "multiclass"
    several = [name for name in frame.columns if name not in column.values()]
    if not several:
        raise ValueError(f"{file} has no labels: give a column 'label', or one of zeros and ones for each")
    for name in several:
        values = _filled(frame, name, file)
        if not values.isin([0, 1]).all():
            odd = values[~values.isin([0, 1])].iloc[0]
            raise ValueError(
                f"{file}: column {name!r} holds {odd}; without a column 'label' every other column is one "
                "of several labels, zeros and ones: rename the column of the class, or remove this one"
            )
    if len(several) == 1:
        return frame[several[0]].to_numpy(np.int64), (f"no {several[0]}", str(several[0])), "binary"
    return frame[several].to_numpy(np.int64), tuple(map(str, several)), "multilabel"


def _files(frame: pd.DataFrame, column: str, file: Path) -> np.ndarray:
    """The files that a column names, all of them there and below the table's folder."""
    folder = Path(os.path.abspath(file.parent))  # noqa: PTH100  links inside the folder may lead out of it
    given = _filled(frame, column, file).astype(str)
    found = [Path(os.path.normpath(folder / name)) for name in given]
    outside = [name for name, path in zip(given, found, strict=True) if not path.is_relative_to(folder)]
    if outside:
        raise ValueError(
            f"{file}: {len(outside)} of {len(found)} paths in column {column!r} lead out of {folder}, like "
            f"{outside[0]!r}; put the table above its images"
        )
    missing = [path for path in found if not path.is_file()]
    if missing:
        raise ValueError(
            f"{file}: {len(missing)} of {len(found)} files in column {column!r} are not there, such as "
            f"{missing[0]}; paths start at the table's folder"
        )
    return paths(found)


def _refuse_shared(groups: np.ndarray, splits: np.ndarray, column: str, file: Path) -> None:
    pairs = pd.DataFrame({"group": groups, "split": splits}).drop_duplicates()
    shared = pairs[pairs["group"].duplicated(keep=False)].sort_values("group")
    if len(shared):
        first = shared["group"].iloc[0]
        where = ", ".join(sorted(shared.loc[shared["group"] == first, "split"]))
        raise ValueError(
            f"{file}: {shared['group'].nunique()} groups (column {column!r}) are in more than one split, "
            f"such as {first!r} in {where}: leave the split column out to have one made"
        )
