"""A user's own images: which files a table lists, CSV or Parquet, and their labels."""

import os
import re
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medrob.data import listing
from medrob.data.dataset import FOLDS, SPLITS
from medrob.data.listing import KNOWN, NAMES, SUFFIXES, Listing, plain, refuse, tell
from medrob.files import exists


def of_table(file: Path, group: str = "", uncertain: str = "", label: str = "") -> Listing:
    """List the images of a table, CSV or Parquet; paths start at the table's folder.

    Columns: ``path``, or one that names a file in every row; ``label`` (names or whole numbers, several as
    ``a|b``) or one column of zeros and ones for each label or class; if known ``split``, ``group`` (patient;
    no group is in two splits) and ``mask`` (picture that is above zero on the lesion); rows or files that are
    named as masks are masks.
    `label` names the columns of labels, where they are called otherwise, separated by commas ("|": though
    every row has one, they are several labels); `uncertain` says what labels of -1 become ("zeros", "ones",
    "drop": no image); blanks become 0.
    """
    frame, folder = _frame(file), file.parent
    asked = [label] if label in frame else [*filter(None, map(str.strip, re.split(r"[,|]", label)))]
    every = ", ".join(map(str, frame))
    if unknown := {*asked} - {*frame}:
        raise ValueError(f"label={unknown.pop()!r} is no column; there are {every}")
    first = [name for name, hit in zip(frame, _found(pd.Series([*frame]), folder), strict=True) if hit]
    if first := [name for name in first if _found(frame[name].head(1), folder).notna().all()]:
        raise ValueError(f"its first row names a file ({first[0]}): put names of columns above it")
    path, mask, split = (_column(frame.drop(columns=asked), role) for role in ("path", "mask", "split"))
    path = path or _names_files(frame, folder)
    if path is None or not len(frame):
        raise ValueError(f"a column 'path' and rows are needed; there are {len(frame)} rows and {every}")
    others = [p.name for p in sorted(folder.iterdir()) if p != file and NAMES["lists"].fullmatch(p.name)]
    if others:
        told = f"other tables beside {file.name}, of which nothing is used: {', '.join(others[:5])}"
        advice = "bring splits, patients and images that belong together into columns of one table"
        warnings.warn(f"{told}; {advice}", stacklevel=2)
    rows = pd.DataFrame({"file": _files(frame[path], folder), "split": ""})
    if mask:
        given = _files(frame[mask].dropna(), folder)
        rows["mask"] = [(given[row],) if row in given else () for row in rows.index]
    else:
        rows = _beside(rows, Path(os.path.abspath(folder)))  # noqa: PTH100
        frame = frame.loc[rows.index]
    advice = "give one row an image (several labels: a|b)"
    refuse(rows["file"].rename(path), rows["file"].duplicated(), "repeats an image", advice)
    if split:
        rows["split"] = frame[split].astype(str).map(listing.split_of)
        refuse(frame[split], rows["split"].isna(), "is no split", f"the splits are {', '.join(SPLITS)}")
    free = frame.drop(columns=[name for name in (path, mask, split) if name])
    like = [] if split else [name for name in free.drop(columns=asked) if _like_splits(free[name])]
    places = rows["file"].map(lambda place: os.path.relpath(place, folder))
    parts = {part for place in places for part in Path(place).parts[:-1] if listing.split_of(part)}
    dirs = sorted(parts) if not split and len({*map(listing.split_of, parts)}) > 1 else []
    advice = "; name train, val and test in a 'split'"
    tell("columns, or folders, that look like splits, and are not used", [*like, *dirs], advice)
    owners = [n for n in free if n == group or (plain(n) in KNOWN["groups"].split() and n not in asked)]
    labels = asked or _labels(free.drop(columns=[*owners, *like], errors="ignore"))
    unused = [name for name in free if name not in (*owners, *labels)]
    unsure = [n for n in unused if n not in like and not NAMES["single"].fullmatch(plain(n))]
    inside = listing.owners((places.str.rpartition("/")[0] + "/").str.split("/"))
    guesses = dict(frame[unsure])
    if group == "folder" or inside.nunique() > len(frame[labels].drop_duplicates()):  # not folders of classes
        guesses["folder"] = inside
    rows = listing.grouped(rows, places, dict(frame[owners]), guesses, group)
    if unused:
        warnings.warn(f"columns that are not used: {', '.join(map(str, unused))}", stacklevel=2)
    certain = {*frame[labels[0]].dropna()} != {-1, 0, 1}  # which CheXpert has for no, yes and perhaps
    named = certain and labels[0] in _called(frame, "label")
    if len(labels) == 1 and (named or not _zeros_and_ones(frame[labels[0]])):
        rows, names, task = _single(rows, frame[labels[0]])
    else:
        rows, names, task = _certain(rows, frame[labels], uncertain, "|" in label)
    told = f"labels are those of {', '.join(map(repr, labels))}: {len(names)} classes, {task}"
    warnings.warn(told + f"; splits are those of {split!r}" * bool(split), stacklevel=2)
    return rows.reset_index(drop=True), names, task


def _called(frame: pd.DataFrame, role: str) -> list[str]:
    """The columns that may have a role by their names; one that is called exactly so is the only one."""
    bare = {name: plain(re.sub(r"\(.*\)", "", str(name))) for name in frame}  # Label (0/1)
    names = [name for name in frame if bare[name] in KNOWN["columns"][role].split()]
    return [name for name in names if name == role] or names


def _column(frame: pd.DataFrame, role: str) -> str | None:
    """The column that has a role by its name, or as every value is a split, if there is one."""
    names = _called(frame, role)
    # A numbered fold, or the name of a data set, is no split.
    if role == "split" and names != ["split"] and len(frame):
        whole = [n for n in frame if all(map(listing.split_of, frame[n].astype(str).unique()))]
        names = [name for name in names if name in whole] or whole
    if len(names) > 1:
        raise ValueError(f"columns {', '.join(names)} may all be the {role}; leave one of them")
    return names[0] if names else None


def _like_splits(values: pd.Series) -> bool:
    """Whether a column seems to tell of splits, by its name or by what it holds."""
    said = values.astype(str).str.contains("train|test|valid", case=False).mean() > 0.5
    named = NAMES["splits"].fullmatch(plain(values.name)) is not None
    return (said or named) and 2 <= values.nunique(dropna=False) <= FOLDS


def _frame(file: Path) -> pd.DataFrame:
    """The table, without an index that was saved with it."""
    try:
        if file.suffix.lower() == ".parquet":
            frame = pd.read_parquet(file)
            if (nested := frame.map(pd.api.types.is_list_like).any()).any():
                raise ValueError(f"column {nested.idxmax()!r} holds lists or tables: give a value a row")
            return frame.reset_index(drop=frame.index.names == [None] and frame.index.dtype.kind in "iu")
        with file.open(encoding="utf-8-sig") as stream:
            first = stream.readline()
        separator = max(",;\t|", key=first.count)
        given: Any = dict(sep=separator, decimal="," if separator == ";" else ".", index_col=False)
        given |= dict(na_values=KNOWN["missing"], keep_default_na=False, skipinitialspace=True)
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
            frame, written = (pd.read_csv(file, dtype=kind, **given) for kind in (None, str))
        # 0001, 12e03 and numbers too long for a float are names.
        numbers = frame.select_dtypes("number").columns
        ids = [name for name in numbers if written[name].str.match(r"-?(0\d|\d{16}|\d+e\d)").any()]
        frame[ids] = written[ids]
    except Exception as error:  # the readers raise many kinds on a damaged file
        advice = "save it as UTF-8 (in Excel: CSV UTF-8), and texts that hold commas in quotes"
        told = f"this is no table in UTF-8 that can be read ({str(error).strip()})"
        raise ValueError(f"{told}; {advice}") from None
    nameless = [name for name in frame if str(name).startswith("Unnamed: ")]
    return frame.drop(columns=[n for n in nameless if frame[n].is_unique or frame[n].isna().all()])


# Files


def _names_files(frame: pd.DataFrame, folder: Path) -> str | None:
    """The column that names another file in every row, if there is one alone; endings of pictures first."""
    names = [name for name in frame if frame[name].dtype.kind in "OiuT" and frame[name].is_unique]
    ends = [n for n in names if frame[n].map(lambda v: Path(str(v)).suffix.lower() in SUFFIXES).mean() > 0.5]
    found = [name for name in ends or names if _found(frame[name], folder).notna().all()]
    if len(found) > 1:
        raise ValueError(f"columns {', '.join(found)} all name files; call one of them 'path'")
    return found[0] if found else None


def _files(values: pd.Series, folder: Path) -> pd.Series:
    """The files that a column names, all of them there and below the table's folder.

    What is not there is looked for below the folder: with slashes, another ending, other capitals, or in
    other folders, if one file alone has that name: one path ends in the other.
    """
    refuse(values, values.isna(), "is empty", "fill them, or remove the rows")
    folder = Path(os.path.abspath(folder))  # noqa: PTH100  links inside the folder may lead out of it
    named = values.astype(str).str.strip()
    straight = named.map(lambda name: Path(os.path.normpath(folder / name))).astype(object)
    found = _found(values, folder)
    outside = ~found.fillna(straight).map(lambda path: path.is_relative_to(folder)).astype(bool)
    refuse(values, outside, f"leads out of {folder}", "put the table above its images")
    refuse(values, found.isna(), "names no file, or several", "paths start at the table's folder")
    taken = [f"{named[row]!r} is {found[row]}" for row in values.index[found != straight]]
    tell(f"files that are called otherwise than in {values.name!r}", taken, "")
    return found


def _found(values: pd.Series, folder: Path) -> pd.Series:
    """The file that each value names, or None; among pictures, no mask stands for one that is lost."""
    named = values.astype(str).str.strip()
    found = named.map(lambda name: Path(os.path.normpath(folder / name))).astype(object)
    lost = ~found.map(lambda path: exists(path) and path.is_file()).astype(bool)
    known = defaultdict[str, list[tuple[str, Path]]](list)
    for path in listing.walk(folder)[0] if lost.any() else ():
        text = _bare(path)
        known[text.rpartition("/")[2]].append((text, path))

    def look(name: str) -> Path | None:
        name = _bare(name)
        near = known[name.rpartition("/")[2]]
        hits = [path for text, path in near if text.endswith(name) or name.endswith(text)]
        hits = hits if len(hits) == 1 else [path for path in hits if listing.mask_of(path) is None]
        return folder / hits[0] if len(hits) == 1 else None

    found[lost] = named[lost].map(look)
    is_mask = found.dropna().map(
        lambda path: listing.mask_of(Path(os.path.relpath(path, folder))) is not None
    )
    own = named.map(lambda name: listing.mask_of(Path(_bare(name))) is not None)
    wrong = lost & ~own & is_mask.reindex(found.index, fill_value=False)
    return found if is_mask.all() else found.mask(wrong, None)


def _bare(path: object) -> str:
    """A path from "/" on, in small letters and without the ending of an image."""
    text = "/" + os.path.normpath(listing.normal(path).replace("\\", "/")).lstrip("/").casefold()
    stem, dot, end = text.rpartition(".")
    return stem if dot + end in SUFFIXES else text


def _beside(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """The rows that are images, with masks that are rows, or lie beside them or in a folder of masks."""
    places = {path.parent for path in rows["file"]}
    around = {near for place in places if place != folder for near in place.parent.iterdir()}
    places |= {near for near in around if NAMES["masks"].fullmatch(near.name) and near.is_dir()}
    beside = sorted(path for place in places for path in place.iterdir())
    beside = [path for path in beside if path.suffix.lower() in SUFFIXES and path.name[0] != "."]
    inside = [path.relative_to(folder) for path in dict.fromkeys([*rows["file"], *beside])]
    found = listing.masks_of(inside)  # whatever the folders above are called
    masks = {folder / path: tuple(folder / mask for mask in of) for path, of in found.items()}
    unlisted = {*masks} - {*rows["file"]}
    others = sorted(path for path in unlisted if not listing.mask_of(path.relative_to(folder)))
    tell("pictures beside those of the table, which it does not name", others, "; they are left out")
    rows = rows[rows["file"].isin(masks)]
    return rows.assign(mask=rows["file"].map(masks)) if any(masks.values()) else rows


# Labels


def _zeros_and_ones(values: pd.Series) -> bool:
    """Whether most of what a column holds is 0, 1 or (uncertain) -1."""
    return bool(values.dropna().isin([0, 1, -1]).mean() > 0.5)


def _labels(frame: pd.DataFrame) -> list[str]:
    """The columns of labels: one that is called so, else all of zeros and ones, if no other looks like it."""
    named = _called(frame, "label")
    if len(named) > 1:
        raise ValueError(f"columns {', '.join(named)} may all be the label; say which by label={named[0]!r}")
    if named:
        return named
    free = [name for name in frame if not NAMES["single"].fullmatch(plain(name))]
    several = [name for name in free if _zeros_and_ones(frame[name])]
    counts = frame[[name for name in free if name not in several]].select_dtypes(exclude="floating").nunique()
    few = [name for name, count in counts.items() if 2 <= count <= len(frame) / 2]
    if few or not several:
        advice = "give a column 'label', one of zeros and ones for each, or say by label= which they are"
        raise ValueError(f"there are no labels: {advice}; {', '.join(few + several) or 'none'} may be")
    return several


def _single(rows: pd.DataFrame, values: pd.Series) -> Listing:
    """A listing with a column of labels: one an image, or several with a separator."""
    refuse(values, values.isna(), "is empty", "fill them, or remove the rows")
    ordinal, fractions = plain(values.name).endswith("grade"), pd.api.types.is_float_dtype(values)
    values = values if fractions else values.astype(str).str.strip()
    numbers = pd.to_numeric(values, errors="coerce")  # "0" and "1.0" as text, too
    exact = (numbers % 1 == 0) & (numbers.abs() < 2**53)  # a float holds no larger one exactly
    if ordinal or fractions:
        advice = "give whole numbers, or names in a column 'label' if the classes have no order"
        refuse(values, ~exact, "is no whole number", advice)
    if exact.all():
        listing.one_spelling(values, "labels")  # tells of 1 and 01
        rows, names, task = listing.classes(rows, numbers.astype(int))
        return rows, names, "ordinal" if ordinal else task
    for separator in "|;":
        if values.str.contains(separator, regex=False).any():
            parts = values.str.split(separator, regex=False).explode()
            return _several(rows, parts, separator)
    return listing.classes(rows, values)


def _several(rows: pd.DataFrame, values: pd.Series, separator: str) -> Listing:
    """A listing with several labels an image, a row a label; "No Finding", a blank or none is no label."""
    parts = values.str.strip().dropna()
    parts = listing.one_spelling(parts[~parts.str.casefold().isin(["no finding", "none", ""])], "labels")
    names = sorted(parts.unique(), key=listing.natural)
    labels = pd.crosstab(parts.index, parts).reindex(index=rows.index, columns=names, fill_value=0)
    told = f"column {values.name!r} lists several labels, separated by {separator!r}: {len(names)} labels"
    warnings.warn(f"{told} ({', '.join(names[:5])}); 'No Finding' is none of them", stacklevel=2)
    return rows.assign(label=list((labels > 0).to_numpy(np.int64))), tuple(names), "multilabel"


def _certain(rows: pd.DataFrame, frame: pd.DataFrame, uncertain: str, several: bool) -> Listing:
    """A listing with columns of zeros and ones; what is blank or -1 needs a policy.

    They are classes if every row has exactly one 1, unless they are said to be `several` labels.
    """
    advice = "without a column 'label' such a column is a label: remove it, or name the others by label="
    for name in frame:
        bad = ~frame[name].isin([0, 1, -1]) & frame[name].notna()
        refuse(frame[name], bad, "is neither 0 nor 1", advice)
    counts = pd.DataFrame({"blank": frame.isna().sum(), "of -1": (frame == -1).sum()})
    counts, unsure = counts[counts.any(axis=1)], (frame == -1).any(axis=1)
    if len(counts):
        found = "; ".join(f"{name!r}: {blank} blank, {m} of -1" for name, blank, m in counts.itertuples())
        ways = {"zeros": "become 0", "ones": "become 1", "drop": "leave their image out"}
        if uncertain not in ways:
            advice = "say what -1 means, by uncertain='zeros', 'ones' or 'drop', or name the classes"
            raise ValueError(f"labels are blank or -1 ({found}); {advice}")
        warnings.warn(
            f"labels that are blank become 0, labels of -1 {ways[uncertain]} ({found})", stacklevel=2
        )
    kept = ~unsure | (uncertain != "drop")
    labels = frame.fillna(0).replace(-1, int(uncertain == "ones"))[kept].to_numpy(np.int64)
    rows, names = rows[kept], tuple(map(str, frame))
    if len(names) == 1:
        return rows.assign(label=labels[:, 0]), (f"no {names[0]}", names[0]), "binary"
    if several or not len(labels) or (labels.sum(1) != 1).any():
        return rows.assign(label=list(labels)), names, "multilabel"
    told = f"every row has exactly one 1 in {len(names)} columns of labels: they are taken for classes"
    warnings.warn(f"{told} (for several labels an image give label='{'|'.join(names)}')", stacklevel=2)
    return rows.assign(label=labels.argmax(1)), names, "binary" if len(names) == 2 else "multiclass"
