"""A user's own images: which files a folder or a table lists. Nothing is decoded yet.

A listing is a table with a row a file and the columns file (a `Path`), label (a class number, or zeros and
ones), split ("train", "val", "test", or "" where it is still to be made), and if known group (such as the
patient) and mask (a tuple of `Path`, to be united). With it come the class names and the task, as in
`ImageDataset`. What files, folders and columns may be called is in ``listing.toml``.
"""

import contextlib
import os
import re
import tomllib
import warnings
from collections import Counter, defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medrob.data.dataset import MOST_CLASSES, SPLITS
from medrob.data.decode import is_dicom
from medrob.data.dicom import patient
from medrob.files import exists

Listing = tuple[pd.DataFrame, tuple[str, ...], str]

KNOWN: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
SUFFIXES, GROUPS = KNOWN["endings"].split(), KNOWN["groups"].split()
NAMES = {name: re.compile(pattern, re.I | re.X) for name, pattern in KNOWN["names"].items()}


def _tell(found: Collection[object], what: str, then: str = "") -> None:
    """Warn of what is found, if anything is: how many, and the first."""
    if len(found):
        warnings.warn(f"{len(found)} {what}, such as {next(iter(found))}{then}", stacklevel=3)


# Folders


def of_folder(folder: Path) -> Listing:
    """List the images below a folder of class folders, or of split folders that hold class folders.

    Class and split folders may be links; a class folder may hold folders of its own. Masks beside the images,
    or in folders of their own beside those of the images, are masks.
    """
    files, folders, others = _walk(folder)
    if others and not files:
        raise ValueError(f"it holds no image, but {_kinds(others)}, which are not read: convert them")
    tops = {path.parts[0] for path in [*files, *folders]}
    deep = [path for path in folders if len(path.parts) > 1]
    if len(tops) == 1 and deep and not _split(min(tops)) and all(len(path.parts) > 2 for path in files):
        warnings.warn(f"all lies in its folder {min(tops)}, which is taken for the set", stacklevel=2)
        return of_folder(folder / min(tops))
    masks = _masks(files)
    places = {path: path for path in masks}
    if any(masks.values()):  # then a folder "images" stands for no class
        places = {path: _without(path, "images") for path in masks}
        folders = sorted({above for place in places.values() for above in place.parents if above.parts})
    level = _level(folders)
    images = [path for path, place in places.items() if len(place.parts) > level]
    full = {places[path].parts[:level] for path in images}
    for path in folders:
        if len(path.parts) == level and path.parts not in full:
            raise ValueError(f"class folder {path} is empty (no image in it); fill or remove it")
    splits = [_split(places[path].parts[0]) if level == 2 else "" for path in images]
    rows = pd.DataFrame({"file": [folder / path for path in images], "split": splits})
    if any(masks.values()):
        rows["mask"] = [tuple(folder / mask for mask in masks[path]) for path in images]
    rows = _grouped(rows, {}, ["/".join(places[path].parts[level:]) for path in images])
    if "group" not in rows and set(rows["split"]) != set(SPLITS):  # some split has to be drawn
        deep = [path for path in folders if len(path.parts) > level]
        then = ": their images are split one by one; if they are patients, give a table with their column"
        _tell(deep, "folders lie in class folders", then)
    loose = [folder / path for path, place in places.items() if len(place.parts) <= level]
    _tell(loose, "images lie beside class folders", " and are left out: move them there")
    _tell_others(others)
    return _classes(rows, pd.Series([places[path].parts[level - 1] for path in images]))


def _walk(top: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """The image files, folders and other files below a folder, relative to it and sorted."""
    files, folders, others = list[Path](), list[Path](), list[Path]()
    for place, inside, names in os.walk(top, followlinks=True):
        here = Path(place)
        inside[:] = [name for name in inside if not name.startswith((".", "__MACOSX"))]
        above = {path.resolve() for path in (here, *here.parents)}
        for path in (here / name for name in inside):
            if path.resolve() in above:
                raise ValueError(f"{path} is a link that leads back to a folder above it: remove it")
            folders.append(path.relative_to(top))
        for path in (here / name for name in names if not name.startswith(".")):
            image = path.suffix.lower() in SUFFIXES or is_dicom(path)
            if not (image or path.exists()):
                raise ValueError(f"{path} is a link to {path.readlink()}, which is not there: remove it")
            (files if image else others).append(path.relative_to(top))
    return sorted(files), sorted(folders), others


def _level(folders: list[Path]) -> int:
    """How deep the class folders lie: 1, or 2 in split folders; other layouts are refused."""
    inner = {top.name: {p.name for p in folders if p.parent == top} for top in folders if len(top.parts) == 1}
    splits = {top for top in inner if _split(top)}
    level = 2 if splits else 1
    mixed = splits and (splits != set(inner) or not all(inner.values()))
    below = any(len(path.parts) == level + 1 and _split(path.name) for path in folders)
    first = next(iter(inner.values()), set())  # the same folders in each: they would be the classes
    alike = not splits and len(first) > (len(inner) > 1) and all(names == first for names in inner.values())
    if not inner or mixed or below or alike:
        raise ValueError(
            f"its folders ({', '.join(map(str, folders[:5])) or 'none'}) are no layout that is known: give "
            "class folders (normal/1.png), or split folders above them (train, val, test: "
            "train/normal/1.png), or list the images in a table with the columns path and label"
        )
    return level


def _split(name: object) -> str | None:
    """The split that a name such as "Training_Set" stands for, if any."""
    known = NAMES["split"].fullmatch(str(name).strip())
    return SPLITS[known.lastindex - 1] if known and known.lastindex else None


def _masks(files: list[Path]) -> dict[Path, tuple[Path, ...]]:
    """The pictures among files, and the masks of each: what is named as a mask and has a picture.

    If there are any, others that are so named are left out, and told.
    """
    named = {path: _mask_of(path) for path in files}
    pictures = {path: _without(path, "images").with_suffix("") for path in files if named[path] is None}
    known = set(pictures.values())
    found, orphans = defaultdict[Path, list[Path]](list), list[Path]()
    for path, key in named.items():
        if key:
            (found[key] if key in known else orphans).append(path)
    if not found:
        return dict.fromkeys(files, ())
    masks = [mask for masks in found.values() for mask in masks]
    _tell(masks, f"files are masks of {len(found)} images", ": they say where the lesion is")
    _tell(orphans, "files are named as masks but have no image", " and are left out")
    return {path: tuple(found.get(key, ())) for path, key in pictures.items()}


def _mask_of(path: Path) -> Path | None:
    """Where the picture of a mask would stand, without ending; None if the name is not one of a mask."""
    inside, beside = _without(path, "masks"), NAMES["mask"].fullmatch(path.stem)
    if inside == path and not beside:
        return None
    return _without(inside.with_name(beside[1] or beside[2] if beside else path.stem), "images")


def _without(path: Path, kind: str) -> Path:
    known = [(part, NAMES[kind].fullmatch(part)) for part in path.parts[:-1]]
    return Path(*(found[1] or "" if found else part for part, found in known), path.name)


def _tell_others(others: list[Path]) -> None:
    """Warn of files that are not taken."""
    _tell(others, "files are of kinds that are not read", f", and are left out: {_kinds(others)}")


def _kinds(others: list[Path]) -> str:
    endings = ["".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffix) for path in others]
    counts = Counter(ending.lower() or "without an ending" for ending in endings)
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common())


# Tables


def of_table(file: Path, group: str = "", uncertain: str = "", label: str = "") -> Listing:
    """List the images of a table, CSV or Parquet; paths start at the table's folder.

    Columns: ``path``; ``label`` (names or whole numbers, several as ``a|b``) or, for several labels, one
    column of zeros and ones for each; if known ``split``, ``group`` (patient; no group is in two splits) and
    ``mask`` (picture that is above zero on the lesion); rows or files that are named as masks are masks.
    `label` names the columns of labels, where they are called otherwise, separated by commas; `uncertain`
    says what labels of -1 become ("zeros", "ones", "drop": no image); blanks become 0.
    """
    frame, columns = _frame(file), dict[str, pd.Series]()
    every = ", ".join(map(str, frame.columns))
    asked = [label] if label in frame else [name.strip() for name in label.split(",") if name.strip()]
    for option, wanted in {"group": [group] * bool(group), "label": asked}.items():
        if unknown := {*wanted} - {*frame}:
            raise ValueError(f"{option}={unknown.pop()!r} is no column; there are {every}")
    plain = {_plain(name): name for name in frame if name not in asked}
    ranked = [group] if group else [plain[name] for name in GROUPS if name in plain]
    owners = {name: frame.pop(name) for name in ranked}
    for role in ("path", "split", "mask"):
        names = [name for name in _called(frame, role) if name not in asked]
        if role == "split":  # a numbered fold, or the name of a data set, is none
            names = [n for n in names if n == "split" or frame[n].astype(str).map(_split).notna().all()]
        if len(names) > 1:
            raise ValueError(f"columns {', '.join(names)} may all be the {role}; leave one of them")
        if names:
            columns[role] = frame.pop(names[0])
    for name, values in () if "path" in columns else (owners | dict(frame.items())).items():
        with contextlib.suppress(ValueError):  # RSNA's "patientId" names the files
            columns["path"] = _files(values, file.parent)
            frame = frame.drop(columns=name, errors="ignore")
            warnings.warn(f"no column is called 'path': {name!r} names files, and is taken", stacklevel=2)
            break
    if "path" not in columns or not len(frame.index):
        raise ValueError(f"a column 'path' and rows are needed; there are {len(frame)} rows and {every}")
    rows = pd.DataFrame({"file": _files(columns["path"], file.parent), "split": ""})
    if "mask" in columns:
        given = _files(columns["mask"].dropna(), file.parent)
        rows["mask"] = [(given[row],) if row in given else () for row in rows.index]
    if "split" in columns:
        rows["split"] = columns["split"].astype(str).map(_split)
        advice = f"the splits are {', '.join(SPLITS)}"
        _refuse(columns["split"], rows["split"].isna(), "is no split", advice)
    rows = _beside(rows, file)
    frame, owners = frame.loc[rows.index], {name: values[rows.index] for name, values in owners.items()}
    rows = _grouped(rows, owners, [os.path.relpath(path, file.parent) for path in rows["file"]])
    labels = asked or _labels(frame)
    _tell_columns(frame.drop(columns=labels), rows)
    if len(labels) == 1 and (labels[0] in _called(frame, "label") or not _zeros_and_ones(frame[labels[0]])):
        rows, classes, task = _single(rows, frame[labels[0]])
    else:
        rows, classes, task = _certain(rows, frame[labels], uncertain)
    warnings.warn(
        f"labels are those of {', '.join(map(repr, labels))}: {len(classes)} classes, {task}", stacklevel=2
    )
    images = rows["file"].rename(columns["path"].name)
    for what, advice in {"split": "", "label": " (several labels: a|b)"}.items():
        two = rows[what].map(str).groupby(images).transform("nunique") > 1
        _refuse(images, two, f"has two {what}s for one image", f"give one row an image{advice}")
    again, united = images.duplicated(), ""
    if "mask" in rows:
        rows["mask"] = images.map(
            rows.groupby(images)["mask"].agg(lambda m: tuple(dict.fromkeys(sum(m, ()))))
        )
        united = "; their masks are united"
    _tell(images[again], "rows repeat an image", f" and are left out{united}")
    return rows[~again].reset_index(drop=True), classes, task


def _called(frame: pd.DataFrame, role: str) -> list[str]:
    """The columns that may have a role by their names; one that is called exactly so is the only one."""
    names = [name for name in frame if _plain(name) in KNOWN["columns"][role].split()]
    return [name for name in names if name == role] or names


def _zeros_and_ones(values: pd.Series) -> bool:
    """Whether most of what a column holds is 0, 1 or (uncertain) -1."""
    return bool(values.dropna().isin([0, 1, -1]).mean() > 0.5)


def _labels(frame: pd.DataFrame) -> list[str]:
    """The columns of labels: one that is called so, else all of zeros and ones, if no other looks like it."""
    named = _called(frame, "label")
    if len(named) > 1 or "x" in frame:  # then y is a coordinate
        named = [name for name in named if _plain(name) != "y"]
    if len(named) > 1:
        raise ValueError(f"columns {', '.join(named)} may all be the label; say which by label={named[0]!r}")
    if named:
        return named
    free = [name for name in frame if not NAMES["single"].fullmatch(_plain(name))]
    several = [name for name in free if _zeros_and_ones(frame[name])]
    counts = frame[[name for name in free if name not in several]].select_dtypes(exclude="floating").nunique()
    few = [name for name, count in counts.items() if 2 <= count <= len(frame) / 2]
    if few or not several:
        raise ValueError(
            f"there are no labels: give a column 'label', one of zeros and ones for each, or say by label= "
            f"which columns they are; {', '.join(few + several) or 'none'} may be"
        )
    return several


def _plain(name: object) -> str:
    return re.sub("[^a-z0-9]", "", str(name).lower())


def _frame(file: Path) -> pd.DataFrame:
    try:
        if file.suffix.lower() == ".parquet":
            frame = pd.read_parquet(file).reset_index(drop=True)
            if (nested := frame.map(pd.api.types.is_list_like).any()).any():
                raise ValueError(f"column {nested.idxmax()!r} holds lists or tables: give a value a row")
            return frame
        with file.open(encoding="utf-8-sig") as stream:
            first = stream.readline()
        separator = next((mark for mark in ";\t" if mark in first and "," not in first), ",")
        given: Any = dict(sep=separator, decimal="," if separator == ";" else ".", na_values=KNOWN["missing"])
        given |= dict(skipinitialspace=True, keep_default_na=False, encoding="utf-8-sig")
        frame = pd.read_csv(file, index_col=False, **given)
    except Exception as error:  # the readers raise many kinds on a damaged file
        advice = "; save it as UTF-8 (in Excel: CSV UTF-8)" * isinstance(error, UnicodeDecodeError)
        raise ValueError(f"this is no table in UTF-8 that can be read ({error}){advice}") from None
    if separator != ",":
        warnings.warn(f"columns are separated by {separator!r}, and are read so", stacklevel=2)
    for name in frame:
        if re.fullmatch(r".+\.\d+", name) and (twice := name.rpartition(".")[0]) in frame:
            raise ValueError(f"column {twice!r} is there twice; rename or remove one")
    return frame.loc[:, ~frame.columns.str.startswith("Unnamed: ")]  # an index that was saved


def _refuse(values: pd.Series, bad: pd.Series, what: str, advice: str) -> None:
    """Refuse a table if values of a column are bad: in how many rows, and the first."""
    if bad.any():
        value = values[bad].iloc[[0]].item()
        value = repr(str(value) if isinstance(value, Path) else value)
        value = value if len(value) < 300 else f"{value[:40]}... ({len(value)} characters)"
        where = f"in {bad.sum()} of {len(bad)} rows, first in row {bad.idxmax() + 1}"
        raise ValueError(f"column {values.name!r} {what} {where}: {value}; {advice}")


def _files(values: pd.Series, folder: Path) -> pd.Series:
    """The files that a column names, all of them there and below the table's folder.

    What is not there is looked for below the folder: with slashes, with an ending, or in other folders, if
    one file alone has that name: its path ends in what is named, or what is named ends in its path.
    """
    _refuse(values, values.isna(), "is empty", "fill them, or remove the rows")
    folder = Path(os.path.abspath(folder))  # noqa: PTH100  links inside the folder may lead out of it
    named = values.astype(str).str.strip()
    found = named.map(lambda name: Path(os.path.normpath(folder / name))).astype(object)
    outside = ~found.map(lambda path: path.is_relative_to(folder)).astype(bool)
    _refuse(values, outside, f"leads out of {folder}", "put the table above its images")
    lost = ~found.map(lambda path: exists(path) and path.is_file()).astype(bool)
    known = defaultdict[str, set[tuple[str, Path]]](set)
    for path in _walk(folder)[0] if lost.any() else ():
        for text in (f"/{path}", f"/{path.with_suffix('')}"):
            known[text.rpartition("/")[2]].add((text, path))

    def look(name: str) -> Path | None:
        name = "/" + os.path.normpath(name.replace("\\", "/")).lstrip("/")
        near = known[name.rpartition("/")[2]]
        hits = {path for text, path in near if text.endswith(name) or name.endswith(text)}
        hits = hits if len(hits) == 1 else {path for path in hits if _mask_of(path) is None}
        return folder / hits.pop() if len(hits) == 1 else None

    found[lost] = named[lost].map(look)
    advice = "paths start at the table's folder"
    if named.str.contains("\\", regex=False).any():
        advice += ", with / and not \\ between folders"
    elif not named.map(lambda name: Path(name).suffix.lower() in SUFFIXES).any():
        advice += ", and end as the files do (.png)"
    _refuse(values, found.isna(), "names no file", advice)
    taken = [f"{named[row]!r}, taken for {found[row]}" for row in values.index[lost]]
    _tell(taken, f"files in {values.name!r} are called otherwise")
    return found


def _beside(rows: pd.DataFrame, table: Path) -> pd.DataFrame:
    """The rows that are images, with masks that lie beside them or are rows; warns of files not listed."""
    used = {*rows["file"], *(mask for masks in rows.get("mask", ()) for mask in masks)}
    beside = sorted(path for place in {path.parent for path in rows["file"]} for path in place.iterdir())
    beside = [path for path in beside if path not in used and path.is_file() and path.name[0] != "."]
    more = [path for path in beside if path.suffix.lower() in SUFFIXES]
    _tell_others([path for path in beside if path not in more and path.name != table.name])
    masks = _masks(list(dict.fromkeys([*rows["file"], *more]))) if "mask" not in rows else {}
    if any(masks.values()):
        rows = rows[rows["file"].isin(masks)]
        rows, more = rows.assign(mask=rows["file"].map(masks)), [path for path in more if path in masks]
    _tell(more, "images beside those of the table are not in it")
    return rows


def _tell_columns(frame: pd.DataFrame, rows: pd.DataFrame) -> None:
    """Warn of columns that are not used; of those that look like patients, how."""
    made = "group" not in rows and set(rows["split"]) != set(SPLITS)
    for name, values in frame.items() if made else ():
        repeated = 5 <= values.nunique() < values.count() and values.dtype.kind != "f"
        if repeated and not NAMES["single"].fullmatch(_plain(name)):
            warnings.warn(
                f"{name!r} has {values.nunique()} values over {len(rows)} images: if it names who or what is "
                f"shown, the same {name} would be in train and test; give group={name!r}",
                stacklevel=2,
            )
    if len(frame.columns):
        warnings.warn(f"columns that are not used: {', '.join(map(str, frame))}", stacklevel=2)


# Groups


def _grouped(rows: pd.DataFrame, owners: dict[str, pd.Series], names: list[str]) -> pd.DataFrame:
    """The rows with what belongs together: by a column, else DICOM's patients, else "patient12" in names."""
    origin = ""
    if not owners and len(rows) and all(map(is_dicom, rows["file"])):
        owners, origin = {"PatientID": rows["file"].map(patient)}, " of DICOM"
    if not owners:
        found = pd.Series(names, rows.index, dtype=str).str.extract(NAMES["group"])[0]
        owners, origin = {"patient number": found}, " in file names"
    for name, values in owners.items():
        text = values.astype("string").str.strip().replace("", pd.NA)
        group = text.fillna("image " + rows.index.astype(str).to_series(rows.index)).astype(object)
        if text.nunique() < (2 if origin else 1) or group.nunique() == len(rows):
            continue
        shared = rows["split"].groupby(group).transform("nunique") > 1
        told = f"the {text.nunique()} different {name!r}{origin} keep their images in one split"
        if not origin:
            advice = "leave the split column out to have one made"
            _refuse(values, shared, "is in more than one split", advice)
        elif shared.any():
            several = group[shared].unique()
            told = f"{len(several)} {name!r}{origin}, such as {several[0]}, are in several splits"
        if others := [other for other in owners if other != name]:
            told += f" ({', '.join(others)} are not used)"
        if origin or others or _plain(name) not in ("group", "patient"):
            warnings.warn(told, stacklevel=2)
        return rows.assign(group=group)
    _tell_beginnings(rows, pd.Series(names, rows.index, dtype=str))
    return rows


def _tell_beginnings(rows: pd.DataFrame, names: pd.Series) -> None:
    """Warn if files begin alike, up to a number, as "10_left" and "10_right", and are in several splits."""
    made, word = set(rows["split"]) != set(SPLITS), "[^-_. ]+"
    for before in range(4):  # the shortest beginnings that tell several apart
        begin = names.str.extract(
            rf"(?:^|/)((?:{word}[-_. ]){{{before}}}[^-_. /]*\d[^-_. /]*)[-_. ][^/]*\.[^/]*$"
        )[0]
        several = begin.groupby(begin).transform("size") > 1
        apart = begin[several & (made | (rows["split"].groupby(begin).transform("nunique") > 1))]
        if begin.nunique() >= 5 and several.mean() > 0.5:
            then = "; if they are patients, list the images in a table with a column 'patient'"
            _tell(apart.unique(), "beginnings of file names are shared by several images", then)
            return


# Labels


def _classes(rows: pd.DataFrame, values: pd.Series) -> Listing:
    """A listing whose labels are classes, of their names or numbers; numbers in names keep their order."""
    values = _one_spelling(values.astype(object))
    names = sorted(values.unique(), key=_natural)
    if not 2 <= len(names) <= MOST_CLASSES:
        found = f"{len(names)} ({', '.join(map(str, names[:3]))})"
        raise ValueError(f"the number of classes is {found}; give 2 to {MOST_CLASSES}")
    labels = pd.Categorical(values, names).codes.astype(int)
    return rows.assign(label=labels), tuple(map(str, names)), "binary" if len(names) == 2 else "multiclass"


def _natural(name: object) -> list[tuple[int, float, str]]:
    """A key that sorts 2 before 10, alone or within names."""
    parts = re.split(r"(\d+)", str(name))
    return [(0, float(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]


def _one_spelling(values: pd.Series) -> pd.Series:
    """Names that differ in capitals or blanks become the most frequent of them, and a warning tells."""
    plain = values.map(lambda name: " ".join(str(name).split()).casefold())
    spellings = values.groupby(plain).agg(lambda same: list(same.value_counts().index))
    several = [" and ".join(map(repr, names)) for names in spellings if len(names) > 1]
    _tell(several, "classes are spelled in several ways (capitals, blanks)", ": each is one class")
    return plain.map(spellings.str[0])


def _single(rows: pd.DataFrame, values: pd.Series) -> Listing:
    """A listing with a column of labels: one an image, or several with a separator."""
    _refuse(values, values.isna(), "is empty", "fill them, or remove the rows")
    ordinal, fractions = _plain(values.name).endswith("grade"), pd.api.types.is_float_dtype(values)
    values = values if fractions else values.astype(str).str.strip()
    numbers = pd.to_numeric(values, errors="coerce")  # "0" and "1.0" as text, too
    exact = (numbers % 1 == 0) & (numbers.abs() < 2**53)  # a float holds no larger one exactly
    if ordinal or fractions:
        advice = "give whole numbers, or names in a column 'label' if the classes have no order"
        _refuse(values, ~exact, "is no whole number", advice)
    if not exact.all() and (separator := _separator(values)):
        return _several(rows, values, separator)
    rows, names, task = _classes(rows, numbers.astype(int) if exact.all() else values)
    return rows, names, "ordinal" if ordinal else task


def _separator(values: pd.Series) -> str:
    """What stands between labels: "|" always, ";" and "," where their parts are fewer than their lists."""
    for separator in "|;,":
        held = values[values.str.contains(separator, regex=False)]
        parts = values.str.split(separator, regex=False).explode().str.strip(" []'\"").str.casefold()
        fewer = values.str.startswith("[").all() or parts.nunique() < values.nunique()
        if len(held) and (separator == "|" or fewer):
            return separator
        then = ": they are taken as names; separate several labels by '|'"
        _tell(held, f"labels hold {separator!r}", then)
    return ""


def _several(rows: pd.DataFrame, values: pd.Series, separator: str) -> Listing:
    """A listing with several labels an image, of texts such as "Mass|Effusion"; "No Finding" is none."""
    parts = values.str.split(separator, regex=False).explode().str.strip(" []'\"")
    parts = _one_spelling(parts[~parts.str.casefold().isin(["no finding", "none", ""])])
    names = sorted(parts.unique(), key=_natural)
    labels = pd.crosstab(parts.index, parts).reindex(index=values.index, columns=names, fill_value=0)
    told = f"column {values.name!r} lists several labels, separated by {separator!r}: {len(names)} labels"
    warnings.warn(f"{told} ({', '.join(names[:5])}); 'No Finding' is none of them", stacklevel=2)
    return rows.assign(label=list((labels > 0).to_numpy(np.int64))), tuple(names), "multilabel"


def _certain(rows: pd.DataFrame, frame: pd.DataFrame, uncertain: str) -> Listing:
    """A listing with columns of zeros and ones; what is blank or -1 needs a policy."""
    advice = "without a column 'label' such a column is a label: remove it, or name the others by label="
    for name in frame:
        bad = ~frame[name].isin([0, 1, -1]) & frame[name].notna()
        _refuse(frame[name], bad, "is neither 0 nor 1", advice)
    blank, unsure = frame.isna(), frame == -1
    counts = {name: (blank[name].sum(), unsure[name].sum()) for name in frame}
    if found := "; ".join(f"{name!r}: {b} blank, {u} of -1" for name, (b, u) in counts.items() if b or u):
        if not uncertain:
            raise ValueError(
                f"labels are blank or -1 ({found}); say what -1 means: uncertain='zeros', 'ones' or 'drop' "
                "(leave the image out). Blanks then become 0, not mentioned"
            )
        way = {"zeros": "become 0", "ones": "become 1", "drop": "leave their image out"}[uncertain]
        told = (
            f"labels that are blank become 0, labels of -1 {way}: {unsure.any(axis=1).sum()} images have one"
        )
        warnings.warn(f"{told} ({found})", stacklevel=2)
    kept = ~unsure.any(axis=1) | (uncertain != "drop")
    labels = frame.fillna(0).replace(-1, int(uncertain == "ones"))[kept].to_numpy(np.int64)
    rows, names = rows[kept], tuple(map(str, frame))
    if len(names) == 1:
        return rows.assign(label=labels[:, 0]), (f"no {names[0]}", names[0]), "binary"
    return rows.assign(label=list(labels)), names, "multilabel"
