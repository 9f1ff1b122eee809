"""A folder of class folders, in split folders or not: which files it lists."""

import re
import warnings
from collections import Counter
from pathlib import Path

import pandas as pd

from medrob.data import listing
from medrob.data.listing import ENDINGS, NAMES, Listing, split_of, tell


def of_folder(folder: Path, group: str = "") -> Listing:
    """List the images below a folder of class folders, or of split folders that hold class folders.

    Class and split folders may be links; a class folder may hold folders of its own. Masks beside the images,
    or in folders of their own beside those of the images, are masks. The `group` "folder" or "file name" says
    that images of one folder in a class folder, or of one number in their names, belong together.
    """
    files, folders, others = listing.walk(folder)
    kinds = Counter("".join(path.suffixes[-2:]).lower() or "without an ending" for path in others)
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    if others and not files:
        raise ValueError(f"it holds no image, but {listed}, which are not read: convert them")
    masks, above = listing.masks_of(files), folder.absolute().parent
    near = above.iterdir() if NAMES["images"].fullmatch(folder.name) else ()
    beside = [place for place in near if NAMES["masks"].fullmatch(place.name) and listing.walk(place)[0]]
    tell(f"folders of masks beside {folder.name}", beside, f"; they are not used: give {above} to use them")
    places = {path: path for path in masks}
    if any(masks.values()):  # then a folder "images" stands for no class
        places = {path: listing.without(path, "images") for path in masks}
        folders = sorted({above for place in places.values() for above in place.parents if above.parts})
    level = _level(folders, others)
    full = {place.parts[:level] for place in places.values()}
    if empty := [path for path in folders if len(path.parts) == level and path.parts not in full]:
        told = f"class folder {empty[0]} is empty (no image in it, or only masks of none)"
        raise ValueError(f"{told}; fill, rename or remove it")
    tell("images beside class folders", [path for path, place in places.items() if len(place.parts) <= level],
         "; they are left out: move them into one")  # fmt: skip
    if others:
        warnings.warn(f"files of kinds that are not read, and are left out: {listed}", stacklevel=2)
    images = {path: place for path, place in places.items() if len(place.parts) > level}
    rows = pd.DataFrame({"file": [folder / path for path in images]})
    rows["split"] = [split_of(place.parts[0]) if level == 2 else "" for place in images.values()]
    if any(masks.values()):
        rows["mask"] = [tuple(folder / mask for mask in masks[path]) for path in images]
    inside = pd.Series(["/".join(place.parts[level:]) for place in images.values()], rows.index)
    own, labels = inside.str.rpartition("/")[0], pd.Series([p.parts[level - 1] for p in images.values()])
    kinds = own.str.replace(r"(?<=[^\d/])\d+", "", regex=True)
    twice = [kind for kind, count in labels.groupby(kinds).nunique().items() if kind and count > 1]
    advice = "; they are not used: if they are the classes, list the images in a table"
    tell("folders of the same names in several class folders", twice, advice)
    unsure = {"folder": listing.owners((own + "/").str.split("/"))}
    return listing.classes(listing.grouped(rows, inside, {}, unsure, group), labels)


def _level(folders: list[Path], others: list[Path]) -> int:
    """How deep the class folders lie: 1, or 2 in split folders; other layouts are refused."""
    inner = {top.name: {p.name for p in folders if p.parent == top} for top in folders if len(top.parts) == 1}
    splits = {top for top in inner if split_of(top)}
    level = 2 if splits else 1
    mixed = splits and (splits != set(inner) or not all(inner.values()))
    below = any(len(path.parts) == level + 1 and split_of(path.name) for path in folders)
    names = [name for names in inner.values() for name in names] if splits else [*inner]
    tables = [str(path) for path in sorted(others) if path.suffix.lower() in (*ENDINGS, ".xls", ".xlsx")]
    stems = {re.sub(r"\d+", "", name) for name in inner}  # of one set: images_001, images_002
    # A folder alone may hold the classes, or a table may tell them.
    parted = len(stems) == 1 and any(stems) and tables
    alone = not splits and (parted or (len(inner) == 1 and any(inner.values())))
    patients = all(map(NAMES["group"].fullmatch, names))
    words = {word for name in names for word in re.split(r"[\W_]+", name)}  # of a_train, a_test, train/train
    twice = len({*map(split_of, words)} - {None}) > 1
    if not inner or mixed or below or alone or patients or twice:
        told = f"its folders ({', '.join(map(str, folders[:5])) or 'none'}) are no layout that is known: give"
        known = "class folders (normal/1.png), or split folders above them (such as train/normal/1.png)"
        advice = f"; {', '.join(tables[:3])} may be one: give its path" if tables else ""
        raise ValueError(f"{told} {known}, or list the images in a table with columns path and label{advice}")
    return level
