"""A user's own images: which files a folder or a table lists. Nothing is decoded yet.

A listing is a table with a row a file and the columns file (a `Path`), label (a class number, or zeros and
ones), split ("train", "val", "test", or "" where it is still to be made), and if known group (such as the
patient) and mask (a tuple of `Path`, to be united). With it come the class names and the task, as in
`ImageDataset`.
"""

import os
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from medrob.data.dataset import MOST_CLASSES, SPLITS
from medrob.data.decode import is_dicom
from medrob.data.dicom import patient
from medrob.files import exists

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
# What a column may be called, in letters and digits alone. A "grade" makes the task ordinal.
COLUMNS = {
    "path": "path image file filename imagepath imageindex imageid imagename imagefile filepath "
    "imagefilepath isicid idcode dicomid img fname",
    "label": "label class target diagnosis grade dx labels findinglabels category pathology retinopathygrade",
    "split": "split set subset partition dataset phase fold",
    "mask": "mask maskpath roimaskfilepath segmentation",
}
# Columns whose images belong together, the coarsest first: of several the first is taken.
GROUPS = """
    group patient patientid patientno patientnumber subject subjectid participant participantid person
    personid pid mrn case caseid study studyid studyuid studyinstanceuid exam examid accession accessionnumber
    seriesuid seriesinstanceuid slide slideid wsi specimen specimenid lesion lesionid eyeid
"""
IN_NAMES = re.compile(r"((?:patient|person|subject|case|pat|sub)[-_ ]?\d+)", re.I)
SINGLE = re.compile(r"age|sex|gender|fold|year|date|width|height|view|site|x|y")  # these never name a patient
# How masks are called beside "x.png" (as "x_mask_1.png"), the folders of masks, and those of their pictures.
MASK = re.compile(
    r"(.+?)[ _.-]+(?:mask|seg|segmentation|label|gt|manual|\d(?:st|nd)HO)s?(?:[ _.-]?\(?\d+\)?)?", re.I
)
MASK_FOLDERS = re.compile(r"masks?|seg(mentation)?s?|ground_?truth|gt", re.I)
IMAGE_FOLDERS = re.compile("images?|imgs?", re.I)
QUIET = (
    "hidden",
    ".txt",
    ".csv",
    ".json",
    ".xml",
    ".md",
    ".html",
    ".pdf",
    ".xls",
    ".xlsx",
    ".db",
    ".ini",
    ".parquet",
)
NONE = ("no finding", "none", "")  # of several labels: no label
# What a CSV file says for nothing; "None", which is the name of a class in some, is not.
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null")


def of_folder(folder: Path) -> Listing:
    """List the images below a folder of class folders, or of split folders that hold class folders.

    Class and split folders may be links; a class folder may hold folders of its own. Masks beside the images
    (`MASK`), or in folders of their own beside those of the images, are masks.
    """
    files, folders, others = _walk(folder)
    places, masks = _masks(files)
    if masks:
        folders = sorted({place for path in places.values() for place in path.parents if place.parts})
    level = _level(folders)
    images = [path for path, place in places.items() if len(place.parts) > level]
    full = {places[path].parts[:level] for path in images}
    for path in folders:
        if len(path.parts) == level and path.parts not in full:
            raise ValueError(f"class folder {path} is empty (no image in it); fill or remove it")
    splits = [_split(places[path].parts[0]) if level == 2 else "" for path in images]
    rows = pd.DataFrame({"file": [folder / path for path in images], "split": splits})
    if masks:
        rows["mask"] = [tuple(folder / mask for mask in masks.get(path, ())) for path in images]
    rows = _grouped(rows, {}, [Path(*places[path].parts[level:]) for path in images])
    deep = [path for path in folders if len(path.parts) > level]
    if deep and "group" not in rows and set(rows["split"]) != set(SPLITS):  # some split has to be drawn
        told = (
            f"{Path(*deep[0].parts[:level])} contains subfolders, their images are split one by one: if they"
        )
        warnings.warn(f"{told} are patients, give a table with a column 'patient'", stacklevel=2)
    if loose := [folder / path for path, place in places.items() if len(place.parts) <= level]:
        told = f"images lie beside class folders, such as {loose[0]}, and are left out: move them there"
        warnings.warn(f"{len(loose)} {told}", stacklevel=2)
    _tell_others(others)
    return _classes(rows, pd.Series([places[path].parts[level - 1] for path in images]))


def _masks(files: list[Path]) -> tuple[dict[Path, Path], dict[Path, list[Path]]]:
    """Where each picture stands, without folders such as "images"; and the masks of pictures that have any.

    A mask is what is named as one and has a picture; then others that are so named are left out, and told.
    """
    named = {path: _mask_of(path) for path in files}
    without = {path: _without(path, IMAGE_FOLDERS) for path in files}
    known = {without[path].with_suffix(""): path for path in files if named[path] is None}
    masks: dict[Path, list[Path]] = {}
    for path, key in named.items():
        if key in known:
            masks.setdefault(known[key], []).append(path)
    if not masks:
        return {path: path for path in files}, {}
    orphans = [path for path, key in named.items() if key and key not in known]
    found = sum(map(len, masks.values()))
    told = f"{found} files are masks of {len(masks)} images, such as {next(iter(masks.values()))[0]}"
    told += ": they say where the lesion is, and are no images"
    if orphans:
        told += (
            f"; {len(orphans)} are named as masks but have no image, such as {orphans[0]}, and are left out"
        )
    warnings.warn(told, stacklevel=2)
    return {path: without[path] for path, key in named.items() if key is None}, masks


def _mask_of(path: Path) -> Path | None:
    """Where the picture of a mask would stand, without ending; None if the name is not one of a mask."""
    inside = _without(path, MASK_FOLDERS)
    beside = MASK.fullmatch(path.stem)
    if inside == path and not beside:
        return None
    return _without(inside.with_name(beside[1] if beside else path.stem), IMAGE_FOLDERS)


def _without(path: Path, names: re.Pattern[str]) -> Path:
    return Path(*(part for part in path.parts[:-1] if not names.fullmatch(part)), path.name)


def _tell_others(others: list[Path]) -> None:
    """Warn of files that are not taken, by their endings; notes and tables in a word."""
    names = pd.Series([path.name.lower() for path in others], dtype=str)
    kinds = names.str.extract(r"(?:^(\.)|.*?(\.[a-z0-9]+\.gz|\.[^.]*)$)")
    kinds = kinds[0].where(kinds[0].isna(), "hidden").fillna(kinds[1]).fillna("without an ending")
    counts = kinds.value_counts()
    quiet = counts[counts.index.isin(QUIET)]
    loud = ", ".join(f"{count} {kind}" for kind, count in counts.drop(quiet.index).items())
    notes = f"{quiet.sum()} of notes and tables ({', '.join(quiet.index)})" if len(quiet) else ""
    if len(others):
        what = "; ".join(filter(None, [loud, notes]))
        warnings.warn(
            f"{len(others)} files are of kinds that are not read, and are left out: {what}", stacklevel=2
        )


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
        for path in (here / name for name in names):
            if not path.name.startswith(".") and (path.suffix.lower() in SUFFIXES or is_dicom(path)):
                files.append(path.relative_to(top))
            elif path.is_symlink() and not path.exists():
                raise ValueError(f"{path} is a link to {path.readlink()}, which is not there: remove it")
            else:
                others.append(path.relative_to(top))
    return sorted(files), sorted(folders), others


def _split(name: object) -> str | None:
    """The split that a name such as "Training_Set" stands for, if any."""
    known = NAMES.fullmatch(str(name).strip().lower())
    return SPLITS[known.lastindex - 1] if known and known.lastindex else None


def _classes(rows: pd.DataFrame, values: pd.Series) -> Listing:
    """A listing whose labels are classes, of their names or numbers; numbers in names keep their order."""
    values = _one_spelling(values.astype(object))
    names = sorted(values.unique(), key=_natural)
    if not 2 <= len(names) <= MOST_CLASSES:
        found = f"{len(names)} ({', '.join(map(str, names[:3]))})"
        raise ValueError(f"the number of classes is {found}; give 2 to {MOST_CLASSES}")
    labels = values.map({name: number for number, name in enumerate(names)}).astype(int)
    task = "binary" if len(names) == 2 else "multiclass"
    return rows.assign(label=labels.to_numpy()), tuple(map(str, names)), task


def _natural(name: object) -> list[tuple[int, float, str]]:
    """A key that sorts 2 before 10, alone or within names."""
    parts = re.split(r"(\d+)", str(name))
    return [(0, float(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]


def _one_spelling(values: pd.Series) -> pd.Series:
    """Names that differ in capitals or blanks become the most frequent of them, and a warning tells."""
    plain = values.map(lambda name: " ".join(str(name).split()).casefold())
    spellings = values.groupby(plain).agg(lambda same: list(same.value_counts().index))
    if several := [" and ".join(map(repr, names)) for names in spellings if len(names) > 1]:
        told = f"labels differ in capitals or blanks alone and are one class each: {'; '.join(several[:5])}"
        warnings.warn(told, stacklevel=2)
    return plain.map(spellings.map(lambda names: names[0]))


def of_table(file: Path, group: str = "", uncertain: str = "") -> Listing:
    """List the images of a table, CSV or Parquet; paths start at the table's folder.

    Columns: ``path``; ``label`` (names or whole numbers, several as ``a|b``) or, for several labels, one
    column of zeros and ones for each; if known ``split``, ``group`` (patient; no group is in two splits) and
    ``mask`` (picture that is above zero on the lesion). `COLUMNS` and `GROUPS` list what else they may be
    called. `uncertain` says what labels of -1 become ("zeros", "ones", "drop": no image); blanks become 0.
    """
    frame, columns = _frame(file), {}
    every = ", ".join(map(str, frame.columns))
    if group and group not in frame:
        raise ValueError(f"group={group!r} is no column; there are {every}")
    plain = {_plain(name): name for name in frame}
    ranked = [group] if group else [plain[name] for name in GROUPS.split() if name in plain]
    owners = {name: frame.pop(name) for name in ranked}
    for role, known in COLUMNS.items():
        names = [name for name in frame.columns if _plain(name) in known.split()]
        if role == "split":  # a fold, or the name of a data set, is none
            splits = {name: frame[name].astype(str).map(_split).notna().all() for name in names}
            names = [name for name in names if name == "split" or splits[name]]
        if len(names) > 1:
            raise ValueError(f"columns {', '.join(names)} may all be the {role}; leave one of them")
        for name in names:
            columns[role] = values = frame.pop(name)
            _refuse(values, values.isna() & (role != "mask"), "is empty", "fill them, or remove the rows")
    if "path" not in columns:  # RSNA's "patientId" names the files
        for name, values in (owners | dict(frame.items())).items():
            if len(values) and not values.isna().any() and _resolved(values, file.parent)[0].notna().all():
                columns["path"] = values
                frame = frame.drop(columns=name, errors="ignore")
                warnings.warn(f"no column is called 'path': {name!r} names files, and is taken", stacklevel=2)
                break
    if "path" not in columns or not len(frame.index):
        raise ValueError(f"a column 'path' and rows are needed; there are {len(frame)} rows and {every}")
    rows = pd.DataFrame({"file": _files(columns["path"], file.parent), "split": ""})
    if "mask" in columns and columns["mask"].notna().any():
        given = _files(columns["mask"].dropna(), file.parent)
        rows["mask"] = [(given[row],) if row in given else () for row in rows.index]
    if "split" in columns:
        rows["split"] = columns["split"].astype(str).map(_split)
        advice = f"the splits are {', '.join(SPLITS)}"
        _refuse(columns["split"], rows["split"].isna(), "is no split", advice)
    beside = [path for place in set(rows["file"].map(lambda path: path.parent)) for path in place.iterdir()]
    used = {*rows["file"], *(mask for masks in rows.get("mask", ()) for mask in masks), file.absolute()}
    beside = [path for path in beside if path.is_file() and path not in used]
    more = [path for path in beside if path.suffix.lower() in SUFFIXES]
    if more:
        told = f"{len(more)} images beside those of the table are not in it, such as {more[0]}"
        warnings.warn(told, stacklevel=2)
    _tell_others([path for path in beside if path not in more])
    names_of_files = [path.relative_to(Path(os.path.abspath(file.parent))) for path in rows["file"]]  # noqa: PTH100
    rows = _grouped(rows, owners, names_of_files)
    if "label" in columns:
        _tell_columns(frame, rows)
        return _distinct(_single(rows, columns["label"]))
    several = [name for name in frame if _zeros_and_ones(frame[name])]
    _tell_columns(frame.drop(columns=several), rows)
    if not several:
        raise ValueError("there are no labels: give a column 'label', or one of zeros and ones for each")
    rows, labels = _certain(rows, frame[several], uncertain)
    if len(several) == 1:
        return _distinct((rows.assign(label=labels[:, 0]), (f"no {several[0]}", several[0]), "binary"))
    return _distinct((rows.assign(label=list(labels)), tuple(map(str, several)), "multilabel"))


def _plain(name: object) -> str:
    return re.sub("[^a-z0-9]", "", str(name).lower())


def _zeros_and_ones(values: pd.Series) -> bool:
    """Whether a column is meant as a label: most that is in it is 0, 1 or (uncertain) -1."""
    given = values.dropna()
    return len(given) > 0 and bool(given.isin([0, 1, -1]).mean() > 0.5)


def _certain(rows: pd.DataFrame, frame: pd.DataFrame, uncertain: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Zeros and ones of a table of labels, and the rows that are left; what is not so needs a policy."""
    for name in frame:
        advice = "without a column 'label' such a column is a label: rename it, or remove this one"
        bad = ~frame[name].isin([0, 1, -1]) & frame[name].notna()
        _refuse(frame[name], bad, "is neither 0 nor 1", advice)
    blank, unsure = frame.isna(), frame == -1
    if blank.any(axis=None) or unsure.any(axis=None):
        found = "; ".join(
            f"{name!r}: {blank[name].sum()} blank, {unsure[name].sum()} of -1"
            for name in frame
            if (blank | unsure)[name].any()
        )
        if not uncertain:
            raise ValueError(
                f"labels are blank or -1 ({found}); say what -1 means: uncertain='zeros', 'ones' or 'drop' "
                "(leave the image out). Blanks then become 0, not mentioned"
            )
        way = f"{uncertain}: {unsure.any(axis=1).sum()} images have one"
        warnings.warn(f"labels that are blank become 0, labels of -1 {way} ({found})", stacklevel=2)
    kept = ~unsure.any(axis=1) if uncertain == "drop" else pd.Series(True, frame.index)
    labels = frame.fillna(0).replace(-1, int(uncertain == "ones"))[kept].to_numpy(np.int64)
    return rows[kept].reset_index(drop=True), labels


def _grouped(rows: pd.DataFrame, owners: dict[str, pd.Series], names: list[Path]) -> pd.DataFrame:
    """The rows with what belongs together: by a column, else DICOM's patients, else "patient12" in names."""
    origin = ""
    if not owners and len(rows) and all(map(is_dicom, rows["file"])):
        owners, origin = {"PatientID": rows["file"].map(patient)}, " of DICOM"
    if not owners:
        owners, origin = {"patient12": pd.Series(names).astype(str).str.extract(IN_NAMES)[0]}, " in the names"
    for name, values in owners.items():
        text = (
            values.astype(object).where(values.notna(), None).map(lambda value: value and str(value).strip())
        )
        own = pd.Series([f"image {row}" for row in rows.index])
        group, count = text.where(text.astype(bool), own), text[text.astype(bool)].nunique()
        if count < (2 if origin else 1) or group.nunique() == len(rows):
            continue
        shared = group.groupby([group, rows["split"]]).ngroup().groupby(group).transform("nunique") > 1
        if not origin:
            _refuse(
                values, shared, "is in more than one split", "leave the split column out to have one made"
            )
        told = f"the {count} different {name!r}{origin} keep their images in one split"
        if shared.any():
            first = group[shared].iloc[0]
            told = f"{group[shared].nunique()} {name!r}{origin}, such as {first}, are in several splits"
        if others := [other for other in owners if other != name]:
            told += f" ({', '.join(others)} are not used)"
        if origin or others or _plain(name) not in ("group", "patient"):
            warnings.warn(told, stacklevel=2)
        return rows.assign(group=group)
    return rows


def _tell_columns(frame: pd.DataFrame, rows: pd.DataFrame) -> None:
    """Warn of columns that are not used; of those that look like patients, how."""
    made = set(rows["split"]) != set(SPLITS)
    for name, values in frame.items() if "group" not in rows and made else ():
        several, repeated = values.nunique(), values.count()
        if 5 <= several < repeated and values.dtype.kind != "f" and not SINGLE.fullmatch(_plain(name)):
            warnings.warn(
                f"{name!r} has {several} values over {len(rows)} images: if it names who or what is shown, "
                f"the same {name} would be in train and test; give group={name!r}",
                stacklevel=2,
            )
    if len(frame.columns):
        warnings.warn(f"columns that are not used: {', '.join(map(str, frame))}", stacklevel=2)


def _distinct(listing: Listing) -> Listing:
    """A row a file: repeated rows are left out, and told; a file with two labels is refused."""
    rows, names, task = listing
    labels = rows["label"].map(str)
    two = labels.groupby(rows["file"]).transform("nunique") > 1
    _refuse(rows["file"], two, "has two labels for one image", "give one row an image (several labels: a|b)")
    again = rows["file"].duplicated()
    if again.any():
        first = rows["file"][again].iloc[0]
        warnings.warn(f"{again.sum()} rows repeat an image, such as {first}, and are left out", stacklevel=2)
    return rows[~again].reset_index(drop=True), names, task


def _single(rows: pd.DataFrame, values: pd.Series) -> Listing:
    """A listing with a column of labels: one an image, or several with a separator."""
    ordinal = _plain(values.name).endswith("grade")
    numbers = pd.to_numeric(values, errors="coerce") if values.dtype != bool else values.astype(object)
    exact = (numbers % 1 == 0) & (numbers.abs() < 2**53)  # a float holds no larger one exactly
    if ordinal or pd.api.types.is_float_dtype(values):
        advice = "give whole numbers, or names in a column 'label' if the classes have no order"
        _refuse(values, ~exact, "is no whole number", advice)
        values = numbers.astype(int)
    elif values.dtype != bool and exact.all():  # "0" and "1.0" as text
        values = numbers.astype(int)
    else:
        values = values.astype(str).str.strip()
        if separator := _separator(values):
            return _several(rows, values, separator)
    rows, names, task = _classes(rows, values)
    return rows, names, "ordinal" if ordinal else task


def _separator(values: pd.Series) -> str:
    """What stands between labels: "|" always, ";" and "," where their parts are fewer than their lists."""
    for separator in "|;,":
        parts = {part.strip(" []'\"").casefold() for value in values for part in value.split(separator)}
        if values.str.contains(separator, regex=False).any():
            if separator == "|" or values.str.startswith("[").all() or len(parts) < values.nunique():
                return separator
            told = f"labels hold {separator!r}, such as {values[values.str.contains(separator)].iloc[0]!r}"
            warnings.warn(f"{told}: they are taken as names; separate several labels by '|'", stacklevel=2)
    return ""


def _several(rows: pd.DataFrame, values: pd.Series, separator: str) -> Listing:
    """A listing with several labels an image, of texts such as "Mass|Effusion"; "No Finding" is none."""
    parts = values.str.split(separator, regex=False).explode().str.strip(" []'\"")
    parts = _one_spelling(parts[~parts.str.casefold().isin(NONE)])
    names = sorted(parts.unique(), key=_natural)
    labels = pd.crosstab(parts.index, parts).reindex(index=values.index, columns=names, fill_value=0)
    shown = ", ".join(names[:5])
    told = f"column {values.name!r} lists several labels, separated by {separator!r}: {len(names)} labels"
    warnings.warn(f"{told} ({shown}); 'No Finding' is none of them", stacklevel=2)
    return rows.assign(label=list((labels > 0).to_numpy(np.int64))), tuple(names), "multilabel"


def _frame(file: Path) -> pd.DataFrame:
    try:
        if file.suffix.lower() == ".parquet":
            frame = pd.read_parquet(file).reset_index(drop=True)
            for name, values in frame.items():
                if values.map(lambda value: isinstance(value, (list, dict, np.ndarray))).any():
                    raise ValueError(f"column {name!r} holds lists or tables: give a text or a number a row")
            return frame
        given = dict(skipinitialspace=True, keep_default_na=False, na_values=MISSING)
        with file.open(encoding="utf-8-sig") as stream:
            first = stream.readline()
        separator = next((mark for mark in ";\t" if mark in first and "," not in first), ",")
        given |= dict(sep=separator, decimal="," if separator == ";" else ".", encoding="utf-8-sig")
        frame = pd.read_csv(file, index_col=False, **given)
    except Exception as error:  # the readers raise many kinds on a damaged file
        raise ValueError(f"this is no table in UTF-8 that can be read ({error})") from None
    if separator != ",":
        warnings.warn(f"columns are separated by {separator!r}, and are read so", stacklevel=2)
    twice = [name for name in frame if re.fullmatch(r".+\.\d+", name) and name.rpartition(".")[0] in frame]
    if twice:
        raise ValueError(f"column {twice[0].rpartition('.')[0]!r} is there twice; rename or remove one")
    return frame.loc[:, ~frame.columns.str.startswith("Unnamed: ")]  # an index that was saved


def _refuse(values: pd.Series, bad: pd.Series, what: str, advice: str) -> None:
    """Refuse a table if values of a column are bad: in how many rows, and the first."""
    if bad.any():
        value = repr(values[bad].iloc[[0]].item())
        value = value if len(value) < 300 else f"{value[:40]}... ({len(value)} characters)"
        first = f"first in row {bad.idxmax() + 1}: {value}"
        raise ValueError(
            f"column {values.name!r} {what} in {bad.sum()} of {len(bad)} rows, {first}; {advice}"
        )


def _files(values: pd.Series, folder: Path) -> pd.Series:
    """The files that a column names, all of them there and below the table's folder."""
    found, outside, mended = _resolved(values, folder)
    _refuse(values, outside, f"leads out of {folder}", "put the table above its images")
    advice = "paths start at the table's folder"
    if values.astype(str).str.contains("\\", regex=False).any():
        advice += ", with / and not \\ between folders"
    elif not values.astype(str).map(lambda name: Path(name).suffix.lower() in SUFFIXES).any():
        advice += ", and end as the files do (.png)"
    _refuse(values, found.isna(), "names no file", advice)
    if mended.any():
        told = f"{values.name!r} names {mended.sum()} files otherwise than they are called: "
        told += f"{values[mended].iloc[0]!r} is taken for {found[mended].iloc[0]}"
        warnings.warn(told, stacklevel=2)
    return found


def _resolved(values: pd.Series, folder: Path) -> tuple[pd.Series, pd.Series, pd.Series]:
    """The files named or None, and whether a name leads out of the folder, and whether it had to be mended.

    What is not there is looked for below the folder: with slashes, with an ending, or in other folders, if
    one file alone has that name: its path ends in what is named, or what is named ends in its path.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100  links inside the folder may lead out of it
    found = values.astype(str).map(lambda name: Path(os.path.normpath(folder / name)))
    outside = ~found.map(lambda path: path.is_relative_to(folder))
    lost = ~found.map(lambda path: exists(path) and path.is_file()) & ~outside
    places: dict[str, list[tuple[str, ...]]] = {}
    for path in _walk(folder)[0] if lost.any() else ():
        for name in {path.name, path.stem} if _mask_of(path) is None else ():
            places.setdefault(name, []).append((*path.parts[:-1], name, path.name))

    def look(name: str) -> Path | None:
        parts = tuple(part for part in name.replace("\\", "/").split("/") if part not in (".", ""))
        hits = {
            (*place[:-2], place[-1])
            for place in places.get(parts[-1] if parts else "", ())
            if place[:-1][-len(parts) :] == parts or parts[-len(place) + 1 :] == place[:-1]
        }
        return folder.joinpath(*hits.pop()) if len(hits) == 1 else None

    found = found.astype(object)
    found[lost] = values[lost].astype(str).map(look)
    return found.where(found.notna(), None), outside, lost & found.notna()
