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
from medrob.data.decode import attempt, drawn, form
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
            if path.is_symlink() and not path.exists():
                raise ValueError(f"{path} is a link to {path.readlink()}, which is not there: remove it")
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


def masks_of(files: Iterable[Path], top: Path = Path()) -> dict[Path, tuple[Path, ...]]:
    """The pictures among files below `top`, and the masks of each: what is named as one and has a picture.

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
    for path, of in _alike({key: path for path, key in pictures.items()}, top).items():
        found.setdefault(of, []).append(path)
        del pictures[path]
    pairs = {mask: f"{mask} of {key.name}" for key, of in found.items() for mask in of}
    told = f", of {len(found)} pictures: they say where the lesion is"
    tell("masks beside images", pairs.values(), told)
    orphans = [path for path in masks if path not in pairs]
    tell("files that are named as masks, but have no image", orphans, "; they are left out")
    return {path: tuple(found.get(key, ())) for path, key in pictures.items()}


def _paired(masks: list[Path], known: Mapping[Path, set[Path]]) -> dict[Path, list[Path]]:
    """The masks of each picture, by what it is `known` by; what may stand for several pictures has none."""
    found, cut = defaultdict[Path, list[Path]](list), re.compile(r"[\W_]+[a-zA-Z]+$")
    for path in masks:  # "lung masks" are not those of a class "lung"
        keys = [key for key in (mask_of(path), mask_of(path, bare=True)) if key]
        while not known.keys() & {*keys} and cut.search(keys[0].name):
            keys = [key.with_name(cut.sub("", key.name)) for key in keys]  # 0_m, 0_left_mask
        of = next((known[key] for key in keys if key in known), set())
        if len(of) == 1:
            found[min(of)].append(path)
    return found


def _alike(pictures: Mapping[Path, Path], top: Path) -> dict[Path, Path]:
    """Masks by what they show, and of what: named as a picture but for an end or folder. Copies are told."""
    ends, masks = defaultdict[str, dict[Path, Path]](dict), dict[Path, Path]()
    for stem in pictures:
        cuts = [cut.start() for cut in re.finditer(r"(?<=.)(?=[\W_])|(?<=[a-z0-9])(?=[A-Z])", stem.name)]
        others = {stem.name[cut:]: stem.with_name(stem.name[:cut]) for cut in cuts}
        parts = stem.parts
        others |= {part: Path(*parts[:k], *parts[k + 1 :]) for k, part in enumerate(parts[:-1])}
        for end in [end for end, other in others.items() if other in pictures]:
            ends[end][pictures[stem]] = others[end]
    for end, called in ends.items():
        if 4 * len(called) > len(pictures) and re.search("[A-Za-z]", end):
            some = [(top / path, top / pictures[other]) for path, other in sorted(called.items())[:9]]
            shown = [(drawn(attempt(mask)), drawn(attempt(picture))) for mask, picture in some]
            if 2 * shown.count((True, False)) > len(some):
                masks |= called
                continue
            advice = "; they are taken as pictures: call masks x_mask, and remove copies"
            tell(f"pictures that are called as another one and {end!r}", sorted(called), advice)
    return masks


def mask_of(path: Path, *, bare: bool = False) -> Path | None:
    """Where the picture of a mask would stand (that of a_masks/1.png in a, or beside a_masks if `bare`)."""
    inside, beside = without(path, "masks", bare=bare), NAMES["mask"].fullmatch(path.stem)
    if inside == path and not beside:
        return None
    return without(inside, "images").parent / ((beside[1] or beside[2] or "") if beside else path.stem)


def without(path: Path, kind: str, *, bare: bool = False) -> Path:
    """The path without the folders of a kind of `NAMES`, or what stands in their names before it."""
    known = [(part, NAMES[kind].fullmatch(part)) for part in path.parts[:-1]]
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

    That is a word such as "unknown", numbers within another owner (the exams 1 and 2 of every patient), and a
    value that a third of all images have, unless its column is asked for as the `group`.
    """
    links, kinds = {}, KNOWN["groups"].split()  # patients come first, then what is within them
    for name, values in known.items():
        text = values.astype("string").str.strip()
        text = text.mask(text.map(NAMES["nobody"].fullmatch, na_action="ignore").notna())
        links[name] = one_spelling(text, f"values of {name!r}", marks=True).astype("string")
    place = {kind: k for k, kind in enumerate(kinds)}
    for name in sorted(links, key=lambda name: -place.get(plain(name.removesuffix(" of DICOM")), len(kinds))):
        for other in [other for other in links if name not in (other, group)]:
            pairs = pd.DataFrame({"value": links[name], "owner": links[other]}).dropna().drop_duplicates()
            owners, most = pairs["value"].value_counts(), pairs["owner"].value_counts().max()
            if len(pairs) and owners.reindex(links[name]).median() >= FEWEST and 2 * most >= len(owners):
                met = f"{owners.index[0]} is met in {owners.iloc[0]} of them, so alone it links no images"
                warnings.warn(f"{name!r} numbers what one {other!r} has: {met}", stacklevel=2)
                del links[name]
                break
    for name, text in links.items():
        images = text.map(text.value_counts()).fillna(0)
        many = (images >= max(len(text) / 3, FEWEST)) & (name != group)
        way = f" (group={name!r} makes {text[many].iloc[0]!r} an owner)" if many.any() else ""
        links[name] = text.mask(many)
        words = known[name][links[name].isna()].dropna().astype(str).str.strip().unique()
        told = f"values of {name!r} that stand for nobody, or for a third of all images"
        tell(told, [*filter(None, words)], f"; they link no images{way}")
    linked = {name: text for name, text in links.items() if text.dropna().duplicated().any()}
    tags = [name for name in known if name.endswith(" of DICOM")]
    if not {*tags} & {*linked}:
        tell("tags of DICOM that could name an owner", tags, "; they link no images")
    for name in [name for name in links if name not in (*linked, *tags, FILE_NUMBERS)]:
        if (blank := known[name].isna()).any() or known[name].is_unique:
            what = f"is blank in {sum(blank)} of {len(blank)} rows" if any(blank) else "has no value twice"
            merged = "; if cells were merged in Excel, fill them down" * (any(blank) and not blank.iloc[0])
            warnings.warn(f"{name!r} {what} and links no images{merged}", stacklevel=2)
    return pd.DataFrame(linked, next(iter(known.values())).index)


def without_unsure(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, whose splits are complete; a warning for all that may tell an owner who is in several."""
    unsure = rows.filter(regex=r"^\? ")
    for name, values in unsure.items():
        apart = rows["split"].groupby(values.to_numpy()).nunique() > 1
        # Fractions measure, unless each is there twice; few values are owners if they are numbered (R1, R2).
        once = values.dtype.kind == "f" and (values % 1 > 0).any() and values.value_counts().min() < 2
        few = len(apart) < FEWEST and not all(re.search(r"[^\W\d]\W*\d", str(v)) for v in apart.index)
        if apart.any() and len(apart) < values.count() and not (once or few):
            told = f"{name[2:]!r} has {len(apart)} values over {values.count()} images, such as"
            told += f" {values.mode()[0]}; {apart.sum()} are in several splits: if it tells who or what is"
            told += f" shown, the same one would be in train and test; give group={name[2:]!r}"
            warnings.warn(told, stacklevel=2)
    return rows.drop(columns=unsure.columns)


def owners(parts: pd.Series) -> pd.Series:
    """The number in each name that most likely tells who is shown: 8863 of 8863_idx5_x51_y201.

    `parts` are the lists of words and numbers of the names. The number is the first that has enough values
    and that begins several names, or repeats behind one of the image (1-HN-007, 2-HN-007). None without one.
    """
    table = pd.DataFrame(dict(enumerate(zip_longest(*parts))), parts.index, dtype="string")
    numbers = table.where(table.apply(lambda part: part.str.contains(r"\d", na=False)))
    numbers = numbers if numbers.notna().any(axis=None) else table  # folders may have no numbers
    more = table.notna().shift(-1, axis=1, fill_value=False)  # something stands behind
    unique = numbers.nunique()
    apart = unique.index[(unique == 0) | (unique >= FEWEST)]  # but 40X and 100X do not
    before = {k: [*apart[apart < k], k] for k in table}
    found = [k for k in table if table.loc[numbers[k].notna() & more[k], before[k]].duplicated().any()]
    image = next((k for k in table if unique[k] == len(table)), len(unique))
    found += [k for k in table if k > image and FEWEST <= unique[k] <= numbers[k].count() / 2]
    if not found:
        return pd.Series(None, parts.index, object)
    first = max(found, key=lambda k: (min(unique[k], FEWEST), -k))
    return numbers.loc[:, first:].bfill(axis=1)[first].astype(object)


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
        value = value if len(value) < 300 else f"{value[:40]}... ({len(value)} characters)"
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
    several = re.compile(rf".*,.*|\d+( \d+)+|({label})([\W_]+(and )?({label}))+", re.S)
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
    inside = r"(?<=\w)[\W_]+(?=[^\W\d])|(?<=[^\W\d])[\W_]+(?=\w)"  # not the sign of -1 or HER2-
    bare = same.index.to_series().replace({inside: "", r"(?<=\d)[\W_]+(?=\d)": "-"}, regex=True)
    near = same.str[0].groupby(bare).agg(list)
    several = [" and ".join(map(repr, names)) for names in near if len(names) > 1]
    tell(f"{what} that differ in marks alone", several, "; they are kept apart: write each in one way")
    return values.map(key.map(same.str[0]))
