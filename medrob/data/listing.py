"""A user's own images: which are masks, what belongs together, which classes there are; nothing is decoded.

A listing is a table with a row a file and the columns file (a `Path`), label (a class number, or zeros and
ones), split ("train", "val", "test", or "" where it is still to be made), and if known group (such as the
patient) and mask (a tuple of `Path`, to be united). With it come the class names and the task, as in
`ImageDataset`. What files, folders and columns may be called is in ``listing.toml``.
"""

import os
import re
import tomllib
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd

from medrob.data.dataset import MOST_CLASSES, SPLITS, together
from medrob.data.decode import form
from medrob.data.dicom import is_dicom, whom

Listing = tuple[pd.DataFrame, tuple[str, ...], str]

KNOWN: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
SUFFIXES = KNOWN["endings"].split()
NAMES = {name: re.compile(pattern, re.I | re.X) for name, pattern in KNOWN["names"].items()}
ENDINGS = (".csv", ".tsv", ".parquet")  # of tables
FILE_NUMBERS = "patient numbers in file names"
FEWEST = 5  # values of a column that may name patients


def tell(what: str, found: Collection[object], then: str) -> None:
    """Warn of what is found, if anything is: how many, and the first."""
    if len(found):
        more = ", ..." if len(found) > 1 else ""
        warnings.warn(f"{what}: {len(found)} ({next(iter(found))}{more}){then}", stacklevel=3)


def walk(top: Path) -> tuple[list[Path], list[Path], list[Path]]:
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
            bare = (path.suffix[1:].isdigit() or not path.suffix) and path.is_file()
            medical = is_dicom(path) and path.name.upper() != "DICOMDIR"  # which lists the files of a disc
            image = path.suffix.lower() in SUFFIXES or medical or (bare and form(path)[1] > 0)
            (files if image else others).append(path.relative_to(top))
    return sorted(files), sorted(folders), others


def split_of(name: object) -> str | None:
    """The split that a name such as "Training_Set" stands for, if any."""
    known = NAMES["split"].fullmatch(normal(name))
    return SPLITS[known.lastindex - 1] if known and known.lastindex else None


# Masks


def masks_of(files: Iterable[Path]) -> dict[Path, tuple[Path, ...]]:
    """The pictures among files, and the masks of each: what is named as one and has a picture.

    Others that are so named are left out, and told.
    """
    named = {path: mask_of(path) for path in files}
    pictures = {path: without(path, "images").with_suffix("") for path, of in named.items() if of is None}
    if not pictures:
        tell("all files, or folders, are named as masks", [*named], "; they are taken as pictures")
        return dict.fromkeys(named, ())
    masks, known = [path for path, of in named.items() if of], defaultdict[Path, set[Path]](set)
    if not (found := _paired(masks, {key: {key} for key in pictures.values()})):
        for key in {*pictures.values()}:
            for word in (r"^[^\W\d_]+[ _.-]*", r"[ _.-]*[^\W\d_][^\W_]*$"):  # of image_1, 1_T1, 1/image
                known[key.parent / re.sub(word, "", key.name)].add(key)
        found = _paired(masks, known)
    if not found:  # by their names alone, in whatever folders
        for key in {*pictures.values()}:
            known[Path(key.name)].add(key)
        found = _paired(masks, known)
    pairs = {mask: f"{mask} of {key.name}" for key, of in found.items() for mask in of}
    told = f", of {len(found)} pictures: they say where the lesion is"
    tell("masks beside images", pairs.values(), told)
    united = [{mask.parent.name for mask in of} for of in found.values()]
    if several := sorted({", ".join(sorted(places)) for places in united if len(places) > 1}):
        told = f"a picture has masks in several folders, which are united: {'; '.join(several)}"
        warnings.warn(f"{told}; move away those that do not mark the lesion", stacklevel=2)
    orphans = [path for path in masks if path not in pairs]
    tell("files that are named as masks, but have no image", orphans, "; they are left out")
    return {path: tuple(found.get(key, ())) for path, key in pictures.items()}


def _paired(masks: list[Path], known: Mapping[Path, set[Path]]) -> dict[Path, list[Path]]:
    """The masks of each picture, by what it is `known` by; what may stand for several pictures has none."""
    found, cut = defaultdict[Path, list[Path]](list), re.compile(r"[\W_]+[a-zA-Z]+$")
    for path in masks:  # "lung masks" are not those of a class "lung"
        keys = [key for key in (mask_of(path), mask_of(path, bare=True)) if key]
        while not known.keys() & {*keys, *(Path(key.name) for key in keys)} and cut.search(keys[0].name):
            keys = [key.with_name(cut.sub("", key.name)) for key in keys]  # 0_m, 0_left_mask
        keys += [Path(key.name) for key in keys]
        of = next((known[key] for key in keys if key in known), set())
        if len(of) == 1:
            found[min(of)].append(path)
    return found


def mask_of(path: Path, *, bare: bool = False) -> Path | None:
    """Where the picture of a mask would stand (that of a_masks/1.png in a, or beside a_masks if `bare`)."""
    inside, beside = without(path, "masks", bare=bare), NAMES["mask"].fullmatch(path.stem)
    if inside == path and not beside:
        return None
    return without(inside, "images").parent / ((beside[1] or beside[2] or "") if beside else path.stem)


def without(path: Path, kind: str, *, bare: bool = False) -> Path:
    """The path without the folders of a kind of `NAMES`, or what stands in their names before it."""
    words = (re.sub(r"(?<=[a-z])(?=[A-Z])", " ", part) for part in path.parts[:-1])  # leftMask
    known = [(part, NAMES[kind].fullmatch(word)) for part, word in zip(path.parts, words, strict=False)]
    return Path(*(("" if bare else found[1] or "") if found else part for part, found in known), path.name)


# Groups


def grouped(
    rows: pd.DataFrame, names: pd.Series, columns: dict[str, Any], unsure: dict[str, Any], group: str = ""
) -> pd.DataFrame:
    """The rows with what belongs together: by any column, any tag of DICOM, or "patient12" in names.

    What is `unsure`, or how the names of files begin, may tell other owners: it is taken if it is asked for
    as the `group`, else kept in columns "? name" until the splits are known, for `without_unsure`.
    """
    stems = names.map(lambda name: Path(name).stem)
    kinds = stems.str.replace(r"\d+", "0", regex=True).str.replace(r"[^\W\d_]+", "a", regex=True).nunique()
    part = r"[^\W\d_]+\d*|\d+" if kinds == 1 else r"[^\W_]+"  # 7L and 7R, but not 00a1 of a hash
    unsure = unsure | {"file name": owners(stems.str.findall(part))}
    tags = pd.DataFrame([whom(file) if is_dicom(file) else {} for file in rows["file"]], rows.index)
    known = columns | dict(tags.items())
    known[FILE_NUMBERS] = names.str.extract(NAMES["group"])[0]
    if group and group not in known:
        if group not in unsure:
            raise ValueError(f"group={group!r} is unknown; there are {', '.join([*unsure, *known])}")
        known[group] = unsure.pop(group).rename(group)
    links = _links(known, group)
    if group and group not in links:
        raise ValueError(f"group={group!r} groups nothing: no two images share a value; leave it out")
    rows = rows.assign(**{f"? {name}": values for name, values in unsure.items()})
    if not len(links.columns):
        return rows
    alone = links.isna().all(axis=1)
    several = links if len(links.columns) == 1 else links.apply(lambda column: f"{column.name} " + column)
    image = "image " + rows.index.astype(str).to_series(rows.index)
    owner = several.bfill(axis=1).iloc[:, 0].fillna(image).astype(object)
    owner = owner.groupby(together(links)).transform("first")
    apart = rows["split"].groupby(owner).transform("nunique") > 1
    by = " or ".join(map(repr, links))
    told = f"all images of one {by} stay in one split ({owner[~alone].nunique()} groups)"
    if apart.any():
        told = f"{owner[apart].nunique()} of {owner[~alone].nunique()} groups, by {by}, are in several splits"
        told += f" ({apart.sum()} of {len(rows)} images), such as {owner[apart].iloc[0]}: scores may be too"
        told += " high; the splits are kept as they are given (leave them out to have them made)"
    told += f"; images without a value, each a group of its own: {alone.sum()}" if alone.any() else ""
    if alone.any() or apart.any() or plain(by) not in ("group", "patient"):
        warnings.warn(told, stacklevel=2)
    return rows.assign(group=owner)


def _links(known: dict[str, pd.Series], group: str) -> pd.DataFrame:
    """The columns that link images, as text; what names no owner is told, and blank or left out.

    That is a word such as "unknown"; and, unless its column is asked for as the `group`, a value that several
    owners have (the exams 1 and 2 of every patient), or all images. One that a third have is refused, unless
    another `group` is asked for.
    """
    links, kinds = (
        dict[str, pd.Series](),
        KNOWN["groups"].split(),
    )  # patients come first, then what is within them
    place = {kind: k for k, kind in enumerate(kinds)}
    for name in sorted(known, key=lambda name: place.get(plain(name.removesuffix(" of DICOM")), len(kinds))):
        text = known[name].astype("string").str.strip()
        text = text.mask(text.map(NAMES["nobody"].fullmatch, na_action="ignore").notna())
        text = one_spelling(text, f"values of {name!r}", marks=True).astype("string")
        if name != group:
            many = text.isna()
            for owner in links.values():
                pairs = pd.DataFrame({"value": text, "owner": owner}).dropna().drop_duplicates()
                met, most = pairs["value"].value_counts(), pairs["owner"].value_counts().max()
                # One owner has half of the values: they number what each owner has.
                if len(pairs) and 2 * most >= len(met):
                    many |= text.map(met) >= FEWEST
            text = text.mask(many.fillna(False))
            images = text.value_counts()
            large = images[images >= max(len(text) / 3, FEWEST)].index
            if len(large) and len(images) > 1 and not group:
                told = f"{name!r} has {large[0]!r} in {images[large[0]]} of {len(text)} images"
                raise ValueError(f"{told}: give group={name!r} if it tells who is shown, else leave it blank")
            text = text.mask(text.isin(large))
        links[name] = text
        words = known[name][text.isna()].dropna().astype(str).str.strip().unique()
        told = f"values of {name!r} that stand for nobody, for a third of all images or for several owners"
        tell(told, [*filter(None, words)], f"; they link no images (unless you give group={name!r})")
    linked = {name: links[name] for name in known if links[name].dropna().duplicated().any()}
    tags = [name for name in known if name.endswith(" of DICOM")]
    if not {*tags} & {*linked}:
        tell("tags of DICOM that could name an owner", tags, "; they link no images")
    for name in [name for name in links if name not in (*linked, *tags, FILE_NUMBERS)]:
        blank = f"{links[name].isna().sum()} of {len(links[name])} rows have no value that counts"
        warnings.warn(f"{name!r} links no images: {blank}, and no value is there twice", stacklevel=2)
    return pd.DataFrame(linked, next(iter(known.values())).index)


def without_unsure(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, whose splits are complete; a warning for all that may tell an owner who is in several."""
    unsure = rows.filter(regex=r"^\? ")
    for name, values in unsure.items():
        apart = rows["split"].groupby(values.to_numpy()).nunique() > 1
        measured = values.dtype.kind == "f" and (values % 1 > 0).any()
        if apart.any() and FEWEST <= len(apart) < values.count() and not measured:
            told = f"{name[2:]!r} has {len(apart)} values over {values.count()} images, such as"
            told += f" {values.mode()[0]}; {apart.sum()} are in several splits: if it tells who or what is"
            told += f" shown, the same one would be in train and test; give group={name[2:]!r}"
            warnings.warn(told, stacklevel=2)
    return rows.drop(columns=unsure.columns)


def owners(parts: pd.Series) -> pd.Series:
    """The number in each name that most likely tells who is shown: 8863 of 8863_idx5_x51_y201.

    `parts` are the lists of words and numbers of the names. The number is the first that has enough values
    and, with what stands before it, begins several names; if none does, the first such word. Else None.
    """
    table = pd.DataFrame(dict(enumerate(zip_longest(*parts))), parts.index, dtype="string")
    numbers = table.where(table.apply(lambda part: part.str.contains(r"\d", na=False)))
    numbers = numbers if numbers.notna().any(axis=None) else table  # folders may have no numbers
    more = table.notna().shift(-1, axis=1, fill_value=False)  # something stands behind
    many = table.loc[:, ~numbers.nunique().between(1, FEWEST - 1)]  # not 40X and 100X
    for k in many:
        if many.loc[numbers[k].notna() & more[k], :k].duplicated().any():
            return numbers[k].astype(object)
    for k in table.loc[:, table.nunique() >= FEWEST]:  # initials, if no number tells
        if table.loc[more[k], :k].duplicated().any():
            return table[k].astype(object)
    return pd.Series(None, parts.index, object)


def plain(name: object) -> str:
    """The small letters and digits of a name."""
    return re.sub("[^a-z0-9]", "", normal(name).lower())


def normal(name: object) -> str:
    """A name without what one cannot see: one form of each letter (NFKC), no blanks of no width around it."""
    return re.sub("[\u00ad\u200b-\u200f\u2060\ufeff]", "", unicodedata.normalize("NFKC", str(name))).strip()


def refuse(values: pd.Series, bad: pd.Series, what: str, advice: str) -> None:
    """Refuse a table if values of a column are bad: in how many rows, and the first."""
    if bad.any():
        value = values[bad].iloc[[0]].item()
        value = repr(str(value) if isinstance(value, Path) else value)
        where = f"in {bad.sum()} of {len(bad)} rows, first in row {bad.idxmax() + 1}"
        raise ValueError(f"column {values.name!r} {what} {where}: {value}; {advice}")


# Classes


def classes(rows: pd.DataFrame, values: pd.Series) -> Listing:
    """A listing whose labels are classes, of their names or numbers; numbers in names keep their order."""
    values = one_spelling(values, "classes")
    names = sorted(values.unique(), key=natural)
    if not 2 <= len(names) <= MOST_CLASSES:
        found = f"{len(names)} ({', '.join(map(str, names[:3]))})"
        raise ValueError(f"the number of classes is {found}; give 2 to {MOST_CLASSES}")
    label = "|".join(re.escape(str(name)) for name in names)
    several = re.compile(rf"[\[({{].*|.*,.*|\d+( \d+)+|({label})([\W_]+(and )?({label}))+", re.S)
    advice = "; they are taken as names: separate several labels by '|', in a table"
    tell("classes that may be several labels", [*filter(several.fullmatch, map(str, names))], advice)
    labels = pd.Categorical(values, names).codes.astype(int)
    return rows.assign(label=labels), tuple(map(str, names)), "binary" if len(names) == 2 else "multiclass"


def natural(name: object) -> list[tuple[int, float, str]]:
    """A key that sorts 2 before 10, alone or within names, and -1 before 0."""
    if re.fullmatch(r"-\d+", str(name)):
        return [(0, float(str(name)), "")]
    parts = re.split(r"(\d+)", str(name))
    return [(0, float(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def one_spelling(values: pd.Series, what: str, *, marks: bool = False) -> pd.Series:
    """Names that differ in capitals, blanks, zeros (3, 03, 3.0) become the most frequent; a warning tells.

    With `marks`, also those that differ in marks or zeros (P-3, P03); marks between digits tell them apart.
    """
    values = values.map(lambda v: unicodedata.normalize("NFC", v) if isinstance(v, str) else v).astype(object)
    written = values.value_counts().index.to_series()
    blank = r"(?<!\d)[\W_]+|[\W_]+(?!\d)|\s+|(?<!\d)0+(?=\d)" if marks else r"\s+"
    short = written.map(lambda name: re.sub(r"^0*(\d+?)(\.0+)?$", r"\1", normal(name)))
    key = short.map(lambda name: re.sub(blank, "", name).casefold())
    same = written.groupby(key, sort=False).agg(list)
    several = [" and ".join(map(repr, names)) for names in same if len(names) > 1]
    tell(f"{what} spelled in several ways", several, "; each is taken for one")
    bare = same.index.str.replace(r"(?<=\w)[\W_]+(?=\w)", "", regex=True)
    near = same.str[0].groupby(bare).agg(list)
    several = [" and ".join(map(repr, names)) for names in near if len(names) > 1]
    tell(f"{what} that differ in marks alone", several, "; they are kept apart: write each in one way")
    return values.map(key.map(same.str[0]))
