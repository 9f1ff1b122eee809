"""A user's own images: which files a table lists, CSV or Parquet, and their labels."""

import codecs
import io
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
from medrob.data.shortcuts import shortcuts
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
    columns = {role: _column(frame.drop(columns=asked), role) for role in ("path", "mask", "split")}
    columns["path"] = columns["path"] or _names_files(frame, folder)
    path, mask, split = columns.values()
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
    free = frame.drop(columns=[name for name in columns.values() if name])
    few = [n for n in free if not (split or n in asked) and 2 <= free[n].nunique(dropna=False) <= FOLDS]
    said = {n: free[n].astype(str).str.contains("train|test|valid", case=False).mean() for n in few}
    like = [n for n in few if said[n] > 0.5 or NAMES["splits"].fullmatch(plain(n))]
    places = rows["file"].map(lambda place: os.path.relpath(place, folder))
    parts = {part for place in places for part in Path(place).parts[:-1] if listing.split_of(part)}
    dirs = sorted(parts) if not split and len({*map(listing.split_of, parts)}) > 1 else []
    advice = "; name train, val and test in a 'split'"
    tell("columns, or folders, that look like splits, and are not used", [*like, *dirs], advice)
    owners = [n for n in free if n == group or (plain(n) in KNOWN["groups"].split() and n not in asked)]
    labels = asked or _labels(free.drop(columns=[*owners, *like], errors="ignore"))
    unused = [name for name in free if name not in (*owners, *labels)]
    unsure = [n for n in unused if n not in like and not NAMES["single"].fullmatch(plain(n))]
    rows = listing.grouped(rows, places, dict(frame[owners]), dict(frame[unsure]), group)
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
    traits, given = frame.loc[rows.index, unused], rows["label"].map(str)
    pairs = {name: len(set(zip(given, values.astype(str), strict=True))) for name, values in traits.items()}
    same = [n for n in unused if pairs[n] == given.nunique() == traits[n].astype(str).nunique()]
    tell("columns that say the same as the label", same, ": its other names, or what gives it away")
    traits = traits.drop(columns=same).rename(columns="column {!r}".format)
    for note in shortcuts(traits, np.array(rows["label"].tolist()), names):
        warnings.warn(note, stacklevel=2)
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


def _frame(file: Path) -> pd.DataFrame:
    try:
        if file.suffix.lower() == ".parquet":
            frame = pd.read_parquet(file)
            if (nested := frame.map(pd.api.types.is_list_like).any()).any():
                raise ValueError(f"column {nested.idxmax()!r} holds lists or tables: give a value a row")
            return frame.reset_index(drop=frame.index.names == [None] and frame.index.dtype.kind in "iu")
        wide = file.read_bytes()[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        with file.open(encoding="utf-16" if wide else "utf-8-sig") as stream:
            first = stream.readline()
            excel = re.findall(r"^sep=(.)\n", first)  # Excel says so before the names of the columns
            separator = excel[0] if excel else max(",;\t|", key=first.count)
            # Excel may add rows of separators alone.
            text = first * (not excel) + "".join(row for row in stream if row.strip(f"{separator} \n"))
        given: Any = dict(sep=separator, decimal="," if separator == ";" else ".", na_values=KNOWN["missing"])
        given |= dict(skipinitialspace=True, keep_default_na=False)
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
            frame = pd.read_csv(io.StringIO(text), index_col=False, **given)
        numbers = frame.select_dtypes("number").columns
        written = pd.read_csv(io.StringIO(text), index_col=False, dtype=str, **given)[numbers]
        # 0001, 12e03 and numbers too long for a float are names.
        ids = [name for name in numbers if written[name].str.match(r"-?(0\d|\d{16}|\d+e\d)").any()]
        frame[ids] = written[ids]
        twice = [name for name in numbers.drop(ids) if written[name].nunique() > frame[name].nunique()]
        tell("columns of numbers that are written in several ways, such as 1 and 1.0", twice, "")
    except pd.errors.ParserWarning:  # if row 1 is too long; other rows raise an error that names them
        # The first columns, as many as are too many, become the index.
        longer = pd.read_csv(io.StringIO(text), **given)
        row = 1 + longer.iloc[:, -longer.index.nlevels :].notna().any(axis=1).to_numpy().argmax()
        told = f"row {row} has more values than there are columns"
        raise ValueError(f"{told}; put texts that hold {separator!r} in quotes") from None
    except Exception as error:  # the readers raise many kinds on a damaged file
        advice = "; save it as UTF-8 (in Excel: CSV UTF-8)" * isinstance(error, UnicodeDecodeError)
        raise ValueError(f"this is no table in UTF-8 that can be read ({error}){advice}") from None
    for name in frame:
        if re.fullmatch(r".+\.\d+", name) and (twice := name.rpartition(".")[0]) in frame:
            raise ValueError(f"column {twice!r} is there twice; rename or remove one")
    nameless = [name for name in frame if str(name).startswith("Unnamed: ")]
    saved = [name for name in nameless if frame[name].is_unique or frame[name].isna().all()]
    return frame.drop(columns=saved)  # an index that was saved, or nothing


# Files


def _names_files(frame: pd.DataFrame, folder: Path) -> str | None:
    """The column that names a file in every row, if there is one alone; endings of pictures come first.

    If there is none, one that names files several times, for a refusal that says so.
    """
    every = [name for name in frame if frame[name].dtype.kind in "OiuT"]
    names = [name for name in every if frame[name].is_unique]
    ends = [n for n in names if frame[n].map(lambda v: Path(str(v)).suffix.lower() in SUFFIXES).mean() > 0.5]
    if len(ends) == 1:
        return ends[0]  # though a file is lost: it is then named
    found = [name for name in ends or names if _found(frame[name], folder).notna().all()]
    if len(found) > 1:
        advice = "call one of them 'path', or, if each names other pictures, give every picture a row"
        raise ValueError(f"columns {', '.join(found)} all name files; {advice}")
    twice = (name for name in every if name not in names and frame[name].nunique() > len(frame) / FOLDS)
    return next((name for name in (*found, *twice) if _found(frame[name], folder).notna().all()), None)


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
    """The file that each value names, or None."""
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
    return found


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
    found = listing.masks_of(inside, folder)  # whatever the folders above are called
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
    if len(last := [n for n in few if NAMES["label"].fullmatch(str(n))]) == 1 and not several:
        return last
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
    if values.str.fullmatch(r"[\[({][^:]*[\])}]").all():  # of Python or JSON
        vectors = values.str.fullmatch(r"\W*[01]\.?0?([\s,]+[01]\.?0?)+\W*")
        refuse(values, vectors & vectors.all(), "holds several zeros and ones", "give each label a column")
        quoted = values.str.findall(r"""'[^']*'|"[^"]*"|[^][(){}\s,]+""")
        return _several(rows, quoted.explode().str.strip("\"'"), "in brackets")
    for separator in "|;":
        if values.str.contains(separator, regex=False).any():
            parts = values.str.split(separator, regex=False).explode()
            return _several(rows, parts, f"separated by {separator!r}")
    return listing.classes(rows, values)


def _several(rows: pd.DataFrame, values: pd.Series, how: str) -> Listing:
    """A listing with several labels an image, a row a label; "No Finding", a blank or none is no label."""
    parts = values.str.strip().dropna()
    parts = listing.one_spelling(parts[~parts.str.casefold().isin(["no finding", "none", ""])], "labels")
    names = sorted(parts.unique(), key=listing.natural)
    labels = pd.crosstab(parts.index, parts).reindex(index=rows.index, columns=names, fill_value=0)
    told = f"column {values.name!r} lists several labels, {how}: {len(names)} labels"
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
        if not uncertain:
            advice = (
                "say what -1 means, by uncertain='zeros', 'ones' or 'drop' (no image), or name the classes"
            )
            raise ValueError(f"labels are blank or -1 ({found}); {advice}; blanks then become 0")
        way = {"zeros": "become 0", "ones": "become 1", "drop": "leave their image out"}[uncertain]
        warnings.warn(f"labels that are blank become 0, labels of -1 {way} ({found})", stacklevel=2)
    kept = ~unsure | (uncertain != "drop")
    labels = frame.fillna(0).replace(-1, int(uncertain == "ones"))[kept].to_numpy(np.int64)
    rows, names = rows[kept], tuple(map(str, frame))
    if len(names) == 1:
        return rows.assign(label=labels[:, 0]), (f"no {names[0]}", names[0]), "binary"
    if several or not len(labels) or (labels.sum(1) != 1).any():
        for k, other in enumerate(names if len(labels) and len(names) > 2 and not several else ()):
            if (labels.sum(1) - labels[:, k] == 1).all():
                rest = ",".join(name for name in names if name != other)
                told = f"but for {other!r}, every row has exactly one 1 in the columns of labels"
                warnings.warn(f"{told}: if the others are classes, give label={rest!r}", stacklevel=2)
        return rows.assign(label=list(labels)), names, "multilabel"
    held = labels.any(0)
    empty = f"; no row has {', '.join(frame.columns[~held])}, which is left out" if not held.all() else ""
    told = f"every row has exactly one 1 in {len(names)} columns of labels: they are taken for classes{empty}"
    warnings.warn(f"{told} (for several labels an image give label='{'|'.join(names)}')", stacklevel=2)
    rows, names = rows.assign(label=labels[:, held].argmax(1)), tuple(frame.columns[held])
    return rows, names, "binary" if len(names) == 2 else "multiclass"
