"""A user's own images: which files a folder or a table lists. Nothing is decoded yet.

A listing is a table with a row a file and the columns file (a `Path`), label (a class number, or zeros and
ones), split ("train", "val", "test", or "" where it is still to be made), and if known group (such as the
patient) and mask (a `Path` or None). With it come the class names and the task, as in `ImageDataset`.
"""

import os
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from medrob.data.dataset import MOST_CLASSES, SPLITS
from medrob.data.decode import is_dicom

Listing = tuple[pd.DataFrame, tuple[str, ...], str]

# What folders and tables call train, val and test, in small letters.
NAMES = re.compile(
    r"(?:(train|training|tr)|(val|valid|validation|dev)|(test|testing))[ _-]?(?:set|data|images)?"
)
# Files that are meant to be images; others (notes, tables, Thumbs.db) are passed over.
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".sr", ".ras", ".dcm", ".dicom", ".ima"),
)
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


def of_folder(folder: Path) -> Listing:
    """List the images below a folder of class folders, or of split folders that hold class folders.

    Class and split folders may be links; a class folder may hold folders of its own.
    """
    files, folders = _walk(folder)
    level = _level(folders)
    images = [path for path in files if len(path.parts) > level]
    full = {path.parts[:level] for path in images}
    for path in folders:
        if len(path.parts) == level and path.parts not in full:
            raise ValueError(f"class folder {path} is empty (no image in it); fill or remove it")
    splits = [_split(path.parts[0]) if level == 2 else "" for path in images]
    rows = pd.DataFrame({"file": [folder / path for path in images], "split": splits})
    deep = [path for path in folders if len(path.parts) > level]
    if deep and set(rows["split"]) != set(SPLITS):  # some split has to be drawn from these images
        told = (
            f"{Path(*deep[0].parts[:level])} contains subfolders, their images are split one by one: if they"
        )
        warnings.warn(f"{told} are patients, give a table with a column 'patient'", stacklevel=2)
    if loose := [folder / path for path in files if len(path.parts) <= level]:
        told = f"images lie beside class folders, such as {loose[0]}, and are left out: move them there"
        warnings.warn(f"{len(loose)} {told}", stacklevel=2)
    return _classes(rows, pd.Series([path.parts[level - 1] for path in images]))


def _level(folders: list[Path]) -> int:
    """How deep the class folders lie: 1, or 2 in split folders; other layouts are refused."""
    tops = [path.name for path in folders if len(path.parts) == 1]
    inner = {top: {p.name for p in folders if len(p.parts) == 2 and p.parts[0] == top} for top in tops}
    named, others = [top for top in tops if _split(top)], [top for top in tops if not _split(top)]
    below = [path for path in folders if len(path.parts) == (3 if named else 2) and _split(path.name)]
    same, wrong = inner[tops[0]] if tops else set(), ""
    if named and others:
        wrong = f"the split {named[0]} and beside it {', '.join(others)}"
    elif not tops or not all(inner[top] for top in named):
        wrong = "no class folders"
    elif below:
        wrong = f"the split {below[0].name} in the class folder {below[0].parent}"
    elif others and len(same) > (len(tops) > 1) and all(names == same for names in inner.values()):
        found = ", ".join(sorted(same))
        wrong = f"{', '.join(others)}, which are no splits, with the same folders in each ({found})"
    if wrong:
        raise ValueError(
            f"it holds {wrong}; give class folders (normal/1.png), or split folders above them (train, val, "
            "test: train/normal/1.png), or list the images in a table with the columns path and label"
        )
    return 2 if named else 1


def _walk(top: Path) -> tuple[list[Path], list[Path]]:
    """The image files and the folders below a folder, relative to it and sorted, but for the system's."""
    files, folders = [], []
    for place, inside, names in os.walk(top, followlinks=True):
        here = Path(place)
        inside[:] = [name for name in inside if not name.startswith((".", "__MACOSX"))]
        above = {path.resolve() for path in (here, *here.parents)}
        for path in (here / name for name in inside):
            if path.resolve() in above:
                raise ValueError(f"{path} is a link that leads back to a folder above it: remove it")
            folders.append(path.relative_to(top))
        for path in (here / name for name in names):
            if not path.name.startswith(".") and (path.suffix.lower() in SUFFIXES or is_dicom(path)):
                files.append(path.relative_to(top))
            elif path.is_symlink() and not path.exists():
                raise ValueError(f"{path} is a link to {path.readlink()}, which is not there: remove it")
    return sorted(files), sorted(folders)


def _split(name: str) -> str | None:
    """The split that a name such as "Training_Set" stands for, if any."""
    known = NAMES.fullmatch(name.strip().lower())
    return SPLITS[known.lastindex - 1] if known and known.lastindex else None


def _classes(rows: pd.DataFrame, values: pd.Series) -> Listing:
    """A listing whose labels are classes, of their names or numbers; numbers keep their order."""
    labels, names = pd.factorize(values.astype(object), sort=True)
    if not 2 <= len(names) <= MOST_CLASSES:
        found = f"{len(names)} ({', '.join(map(str, names[:3]))})"
        raise ValueError(f"the number of classes is {found}; give 2 to {MOST_CLASSES}")
    return rows.assign(label=labels), tuple(map(str, names)), "binary" if len(names) == 2 else "multiclass"


def of_table(file: Path) -> Listing:
    """List the images of a table, CSV or Parquet; paths start at the table's folder.

    Columns: ``path``; ``label`` (names or whole numbers) or, for several labels, one column of zeros and
    ones for each; if known ``split``, ``group`` (patient; no group is in two splits) and ``mask`` (picture
    that is above zero on the lesion). `COLUMNS` lists what else they may be called.
    """
    frame, columns = _frame(file), {}
    every = ", ".join(map(str, frame.columns))
    for role, known in COLUMNS.items():
        names = [name for name in frame.columns if str(name).strip().lower() in known]
        if len(names) > 1:
            raise ValueError(f"columns {', '.join(names)} may all be the {role}; leave one of them")
        for name in names:
            columns[role] = values = frame.pop(name)
            _refuse(values, values.isna() & (role != "mask"), "is empty", "fill them, or remove the rows")
    if "path" not in columns or not len(frame):
        raise ValueError(f"a column 'path' and rows are needed; there are {len(frame)} rows and {every}")
    rows = pd.DataFrame({"file": _files(columns["path"], file.parent), "split": ""})
    if "mask" in columns and columns["mask"].notna().any():
        given = _files(columns["mask"].dropna(), file.parent)
        rows["mask"] = given.reindex(rows.index).replace(np.nan, None)
    if "split" in columns:
        rows["split"] = columns["split"].astype(str).map(_split)
        advice = f"the splits are {', '.join(SPLITS)}"
        _refuse(columns["split"], rows["split"].isna(), "is no split", advice)
    if "group" in columns:
        rows["group"] = columns["group"].astype(str).str.strip()
        shared = rows.groupby("group")["split"].transform("nunique") > 1
        advice = "leave the split column out to have one made"
        _refuse(columns["group"], shared, "is in more than one split", advice)
    if "label" in columns:
        return _single(rows, columns["label"])
    if frame.empty:
        raise ValueError("there are no labels: give a column 'label', or one of zeros and ones for each")
    for name in frame:
        advice = "without a column 'label' every other column is a label: rename it, or remove this one"
        _refuse(frame[name], ~frame[name].isin([0, 1]), "is neither 0 nor 1", advice)
    labels, several = frame.to_numpy(np.int64), tuple(map(str, frame))
    if len(several) == 1:
        return rows.assign(label=labels[:, 0]), (f"no {several[0]}", several[0]), "binary"
    return rows.assign(label=list(labels)), several, "multilabel"


def _single(rows: pd.DataFrame, values: pd.Series) -> Listing:
    """A listing with one label an image."""
    ordinal = str(values.name).strip().lower() == "grade"
    if ordinal or pd.api.types.is_float_dtype(values):
        numbers = pd.to_numeric(values, errors="coerce")
        advice = "give whole numbers, or names in a column 'label' if the classes have no order"
        _refuse(values, numbers % 1 != 0, "is no whole number", advice)
        values = numbers.astype(int)
    elif not pd.api.types.is_integer_dtype(values):
        values = values.astype(str).str.strip()
    rows, names, task = _classes(rows, values)
    return rows, names, "ordinal" if ordinal else task


def _frame(file: Path) -> pd.DataFrame:
    try:
        if file.suffix.lower() == ".parquet":
            return pd.read_parquet(file).reset_index(drop=True)
        given = dict(skipinitialspace=True, keep_default_na=False, na_values=MISSING)
        frame = pd.read_csv(file, index_col=False, **given)
    except Exception as error:  # the readers raise many kinds on a damaged file
        raise ValueError(f"this is no table in UTF-8 that can be read ({error})") from None
    first = str(frame.columns[0])
    if len(frame.columns) == 1 and re.search("[;\t]", first):
        raise ValueError(f"there is one column, {first!r}: separate the columns by commas")
    return frame.loc[:, ~frame.columns.str.startswith("Unnamed: ")]  # an index that was saved


def _refuse(values: pd.Series, bad: pd.Series, what: str, advice: str) -> None:
    """Refuse a table if values of a column are bad: in how many rows, and the first."""
    if bad.any():
        first = f"first in row {bad.idxmax() + 1}: {values[bad].iloc[[0]].item()!r}"
        raise ValueError(
            f"column {values.name!r} {what} in {bad.sum()} of {len(bad)} rows, {first}; {advice}"
        )


def _files(values: pd.Series, folder: Path) -> pd.Series:
    """The files that a column names, all of them there and below the table's folder."""
    folder = Path(os.path.abspath(folder))  # noqa: PTH100  links inside the folder may lead out of it
    found = values.astype(str).map(lambda name: Path(os.path.normpath(folder / name)))
    outside = ~found.map(lambda path: path.is_relative_to(folder))
    _refuse(values, outside, f"leads out of {folder}", "put the table above its images")
    _refuse(values, ~found.map(Path.is_file), "names no file", "paths start at the table's folder")
    return found
