"""Folders and files: what a user's own pictures become."""

import functools
import os
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from own_files import picture, put, refuse, splits

from medrob import data
from medrob.data import decode, listing, load
from medrob.data.dataset import complete
from medrob.data.folder import of_folder
from medrob.files import cache


@pytest.fixture
def folder(tmp_path):
    """A function that makes a folder of class folders, `count` images in each, and gives its path."""

    def make(*roots, count=10, names=("ill", "well"), **options):
        top = tmp_path / "mine"
        for i, root in enumerate(roots or ("",)):
            for j, name in enumerate(names):
                for k in range(count):
                    put(top / root / name / f"{k}.png", picture(100 * i + 20 * j + k, **options))
        return top

    return make


@pytest.fixture
def whole(folder):
    """A folder of train, val and test, two images of each class."""
    return folder("train", "val", "test", count=2)


def test_split_folders(folder):
    top = folder("training_set", "Validation Data", "TESTING", count=3)
    (top / "__MACOSX" / "train").mkdir(parents=True)
    train, val, test = splits(top)
    assert [len(d) for d in (train, val, test)] == [6, 6, 6]
    assert (test.task, test.class_names, test.name, test.split) == ("binary", ("ill", "well"), "mine", "test")
    assert test.labels.tolist() == [0, 0, 0, 1, 1, 1] and test.images.shape == (6, 16, 16, 1)
    assert (test.images[4, ..., 0] == picture(221)).all() and (train.images[0, ..., 0] == picture(0)).all()


@pytest.mark.parametrize(
    ("roots", "counts"),
    [((), (14, 2, 4)), (("Training", "Testing"), (18, 2, 20)), (("train", "val"), (16, 20, 4))],
)
def test_a_missing_split_is_made_in_proportion(folder, roots, counts):
    top = folder(*roots, count=20, names=("a", "b", "c"))
    found = splits(top)
    assert [d.counts for d in found] == [dict.fromkeys("abc", n) for n in counts]
    assert [part["duplicates"] for part in data.describe(*found).values()] == [0, 0, 0]
    assert load(str(top), "train", seed=1).fingerprint != found[0].fingerprint


LAYOUT = r"are no layout that is known: give class folders"
TABLE = r"list.csv may be one: give its path"


def test_links_and_other_files_in_class_folders(folder, tmp_path):
    top = folder("train", "test", count=10)
    (top / "train" / "ill" / "notes.txt").write_text("not a picture")
    (top / "train" / "ill" / ".hidden.png").write_text("")
    put(top / "train" / "ill" / "patient" / "deep.PNG", picture(77))
    (tmp_path / "elsewhere").mkdir()
    (top / "test" / "well").rename(tmp_path / "elsewhere" / "well")
    (top / "test" / "well").symlink_to(tmp_path / "elsewhere" / "well")
    put(top / "train" / "loose.png", picture(900))
    (top / "test" / "well" / "scan.nii.gz").write_text("a volume")
    os.mkfifo(top / "train" / "ill" / "pipe")
    kinds = pytest.warns(
        UserWarning, match="files of kinds that are not read, and are left out: 1 .nii.gz, .*1 without"
    )
    with kinds, pytest.warns(UserWarning, match=r"images beside class folders: 1 \(train/loose.png\); they"):
        assert load(str(top), "train").counts["ill"] + load(str(top), "val").counts["ill"] == 11
    assert load(str(top)).counts == {"ill": 10, "well": 10}


@pytest.mark.parametrize(
    ("files", "match"),
    [
        *((files, LAYOUT) for files in ("train/a/1 test/a/1 loose/", "train/a/1 train/b/1 test/", "1")),
        *((files, LAYOUT) for files in ("a/train/1 a/test/1 b/train/1", "chest/a/train/1 chest/b/train/1")),
        *((files, LAYOUT) for files in ("top/a/1 top/b/1", "patient1/1 patient02/2")),
        *(
            (files, LAYOUT)
            for files in ("a_train/1 b_train/1 a_test/1 b_test/1", "train/train/a/1 test/test/a/1")
        ),
        ("a/1 b/", "class folder b is empty .no image in it, or only masks of none.; fill, rename"),
        ("part_1/1 part_2/1 list.csv", TABLE),
        ("part_1/1 part_2/2 part_2/list.csv", TABLE),
        ("a/1.nii b/2.nii list.csv", r"no image, but 2 \.nii, 1 \.csv, which are not read"),
        ("a/1", r"the number of classes is 1 \(a\); give 2 to 1000"),
        ("val/a/1 val/b/1 test/a/1 test/b/1", "there are no training images; it has test, val"),
        ("a/x/1 b/x/1", "2 images, 1 images in the largest class, are too few to make a split of"),
    ],
)
def test_other_layouts_are_refused(tmp_path, files, match):
    for number, name in enumerate(files.split()):
        if name.endswith("/"):
            (tmp_path / "mine" / name).mkdir(parents=True)
        elif "." in name:
            (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "mine" / name).touch()
        else:
            put(tmp_path / "mine" / f"{name}.png", picture(number))
    refuse(tmp_path / "mine", match)


def test_links_that_lead_back_or_nowhere(whole):
    (whole / "test" / "ill" / "lost.png").symlink_to(whole / "nowhere.png")
    refuse(whole, r"lost.png: cannot be read: .*No such file")
    (whole / "test" / "ill" / "lost.png").unlink()
    (whole / "train" / "ill" / "again").symlink_to(whole / "train")
    refuse(whole, r"train/ill/again is a link that leads back to a folder above it")


def test_names_without_endings_and_signs_that_are_no_numbers(folder):
    top = folder(names=("10²", "①", "b"))
    whole = load(str(top))
    for file in sorted(top.rglob("*[02468].png")):
        file.rename(file.with_suffix(""))  # known by its content
    (top / "①" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (top / "b" / "README").write_text("BMP files of three classes")
    with pytest.warns(UserWarning, match="are left out: 2 without an ending"):
        test = load(str(top))
    assert test.class_names == ("10²", "b", "①") and test.fingerprint == whole.fingerprint


def test_more_classes_in_test_than_in_train(whole):
    put(whole / "test" / "odd" / "1.png", picture(5))
    found = splits(whole)
    assert all(d.class_names == ("ill", "odd", "well") for d in found)
    with pytest.raises(ValueError, match=r"split 'train' .* has none of class odd"):
        data.describe(*found)


def test_duplicates_are_found_and_told(folder):
    top = folder("train", "val", "test", count=3)
    put(top / "test" / "ill" / "2.bmp", picture(1))  # train/ill/1.png in another format
    put(top / "train" / "well" / "again.png", picture(20))  # twice in one split is no leak
    match = "mine: 1 picture is in more than one split, such as .*train/ill/1.png, .*test/ill/2.bmp: scores"
    with pytest.warns(UserWarning, match=match):
        facts = data.describe(*splits(top))
    assert [part["duplicates"] for part in facts.values()] == [1, 0, 1]
    put(top / "val" / "well" / "x.bmp", picture(0))
    with pytest.raises(ValueError, match=r"different labels; keep one .*train/ill/0.png, .*val/well/x.bmp"):
        load(str(top))


def test_equal_pictures_stay_in_one_split(tmp_path):
    for k in range(60):
        put(tmp_path / "mine" / "ab"[k // 3 % 2] / f"{k}.png", picture(k // 3))
    seen = [{image.tobytes() for image in d.images} for d in splits(tmp_path / "mine")]
    assert sum(map(len, seen)) == 20
    k = pd.Series(range(120))  # a picture of each patient is one of another patient, too
    rows = pd.DataFrame({"k": k, "group": k // 3, "label": k // 6 % 2, "split": ""})
    made = complete(rows, 0, k.where((k % 6 != 2) & (k % 6 != 3), -k // 6))
    assert made["split"].groupby(made["k"] // 6).nunique().max() == 1


SUBJECTS = {  # names of files; whom they show, of 60 pictures
    "CNV-{0}-{2}.jpeg": "{0}",
    "SOB_B_A-14-{0}AB-{1}-00{2}.png": "{0}",
    "TCGA-AB-{0}-01Z-DX1_{5}_{4}.png": "{0}",
    "{1}X_{0}_{2}.png": "{0}",
    "PT{0}{6}.png": "PT{0}",
    "scan{0}slice{2}.png": "scan{0}",
    "AB{0}/series{2}/1.png": "AB{0}",
    "type{2}/{0}/{1}X/1.png": "{0}",
    "{0}_00{2}.png": "{0}",
    "{0}_{3}.jpeg": "{0}",
    "{0}_idx5_x{5}_y{4}_class0.png": "{0}",
    "benign ({4}).png": None,
    "Lung_Opacity-{4}.png": None,
    "lungaca{0}.jpeg": None,
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_who_is_shown_may_stand_in_names_of_files_and_folders(tmp_path, name):
    sides = ["left", "right", "both"]
    values = [(1000 + k // 3, k % 3 * 40, k % 3, sides[k % 3], k, k // 2, "LRB"[k % 3]) for k in range(60)]
    for k, value in enumerate(values):
        file = tmp_path / "mine" / ("COVID", "Normal")[k // 3 % 2] / name.format(*value)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        (tmp_path / "mine" / "COVID" / f"COVID-{k + 1}.png").touch() if "Lung" in name else None
    group = "folder" if "/" in name else "file name"
    with warnings.catch_warnings(record=True) as told:
        rows, _, _ = of_folder(tmp_path / "mine")
        listing.without_unsure(rows.assign(split=np.resize(["train", "val", "test"], len(rows))))
    said = [text for w in told if (text := str(w.message)).startswith(f"'{group}' has 20 values over 60 ")]
    assert len(said) == (SUBJECTS[name] is not None)
    if said:
        assert said[0].endswith(f"the same one would be in train and test; give group='{group}'")
        rows, _, _ = of_folder(tmp_path / "mine", group)
        assert {*rows["group"]} == {SUBJECTS[name].format(*value) for value in values}
        assert rows["group"].nunique() == 20 and len(rows) == 60
    with pytest.raises(ValueError, match="group='slide' is unknown; there are folder, file name"):
        of_folder(tmp_path / "mine", "slide")


def test_folders_in_class_folders_that_may_be_the_classes(tmp_path):
    for k in range(40):
        study = f"patient{k // 4}/study1_{['negative', 'positive'][k // 2 % 2]}"
        put(tmp_path / ["XR_HAND", "XR_ELBOW"][k // 20] / study / f"image{k % 2}.png", picture(k))
    told = r"in several class folders: 2 \(patient/study_negative, ...\); they are not used"
    with pytest.warns(UserWarning, match=told):
        of_folder(tmp_path)


MASKS = """masks/{}/{}_m.png {}/{}_left_mask.png
    {}/{}Mask.png {}/{}_mask.png {}/{}.mask_1.png {}/{}_1stHO.png {}/masks/{}.png masks/{}/{}.png
    {}/mask_{}.png {}/{}_msk.png {}/{}_roi.png {}_masks/{}.png {}/GT/{}.png
    {}/infection-masks/{}.png {}/nodule_masks/{}.png {}/left_mask_{}.png {}/{}_mask_left.png"""

PLACES = ("images", "infection masks", "lung masks")
FOLDERS = ("Ground Truth", "ROI", "segmentation_masks", "lesion masks", "Contours")


@pytest.mark.parametrize("name", [*MASKS.split(), *(f"{name}/{{}}/{{}}.png" for name in FOLDERS)])
def test_masks_beside_images_are_masks(tmp_path, name):
    pairs = {}
    for image in [tmp_path / c / f"{k}.png" for c in ("ill", "well") for k in range(3)]:
        mask = name.format(image.parent.name, image.stem)
        pairs[image] = tuple(sorted({tmp_path / mask, tmp_path / mask.replace("masks/", "seg/")}))
        for file in (image, *pairs[image]):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    with pytest.warns(UserWarning, match="masks beside images: .*, of 6 pictures"):
        rows, names, _ = of_folder(tmp_path)
    assert names == ("ill", "well") and dict(zip(rows["file"], rows["mask"], strict=True)) == pairs


def test_masks_in_several_folders_are_united_and_said():
    files = [Path(f"{c}/{place}/{k}.png") for c in "ab" for k in range(3) for place in PLACES]
    with pytest.warns(UserWarning, match="united: infection masks, lung masks; move away those that do not"):
        assert {*map(len, listing.masks_of(files).values())} == {2}


PAIRS = """image_{}.png mask_{}.png img{}.png mask{}.png pic({}).png mask({}).png {}_img.png {}_seg.png
    {}-Benign-Image.bmp {}-Benign-Mask.tif {}/image.png {}/mask.png {}/img.jpg {}/label.png
    P{}_T1.png P{}_seg.png Images/img_{}.png Masks/mask_{}.png {}.png mask{}.png"""


@pytest.mark.parametrize(("image", "mask"), zip(PAIRS.split()[::2], PAIRS.split()[1::2], strict=True))
def test_a_picture_with_a_word_of_its_own_has_its_mask(image, mask):
    pairs = {Path(c, image.format(k)): (Path(c, mask.format(k)),) for c in "ab" for k in range(9)}
    with pytest.warns(UserWarning, match=r"masks beside images: 18 \(a/.* of .*, of 18 pictures"):
        assert listing.masks_of([*pairs, *(mask for (mask,) in pairs.values())]) == pairs
    left, right = (Path("a", f"1_{side}.png") for side in ("left", "right"))
    told = r"named as masks, but have no image: 2 \(a/1_mask.png, ...\); they are left out"
    with pytest.warns(UserWarning, match=told):  # of which of the two?
        found = listing.masks_of([left, right, Path("a/1_mask.png"), Path("a/masks/7.png")])
    assert found == {left: (), right: ()}
    with pytest.warns(UserWarning, match="all files, or folders, are named as masks: 1"):
        assert listing.masks_of([Path("a/1_mask.png")]) == {Path("a/1_mask.png"): ()}


@pytest.mark.parametrize(
    "mask", ["ManualMask/leftMask/{}.png", "b_masks/{}.png", "B_GroundTruth/{}_Segmentation.png"]
)
def test_masks_in_other_folders_are_known_by_their_names(mask):
    pairs = {Path("a", f"{k}.png"): (Path(mask.format(k)),) for k in range(9)}
    with pytest.warns(UserWarning, match="of 9 pictures"):
        assert listing.masks_of([*pairs, *(mask for (mask,) in pairs.values())]) == pairs


def test_masks_that_cover_nearly_all_are_told_and_soft_ones_end_at_half(folder):
    top, spot = folder(count=10), np.zeros((16, 16), np.uint8)
    spot[4:8, 4:8] = 1

    def train(mask, ending, told):
        for file in sorted(top.rglob("*_mask.*")):
            file.unlink()
        for file in sorted(top.rglob("?.png")):
            put(file.with_name(f"{file.stem}_mask.{ending}"), mask)
        with pytest.warns(UserWarning, match=told):
            return load(str(top), "train")

    for mask in (1 - spot, 1 + spot):
        train(mask, "png", "cover more than half of a picture: 20 of 20, .*; the lesion is what is not black")
    told = "many grey levels, or JPEG: those of 20 pictures; .* brighter than half"
    assert (train(255 * spot, "jpg", told).masks == (spot > 0)).mean() > 0.99
    soft = picture(3) // 8 + 160 * spot  # 0 to 31, and 160 to 191 on the lesion
    assert (train(soft, "png", told).masks == (spot > 0)).all()
    with pytest.raises(ValueError, match="the number of classes is 1"):
        load(str(folder("other", names=("a", "masks")) / "other"))


WHITE = [(281, "H", 1, 4095, True)]  # TIFF's MaxSampleValue


def significant(file, image, bits=12):
    """A PNG that says how many of its sixteen bits are significant."""
    content, chunk = put(file, image).read_bytes(), b"sBIT" + bytes([bits])
    chunk = b"\0\0\0\1" + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    file.write_bytes(content[:33] + chunk + content[33:])  # behind the header


@pytest.mark.parametrize(
    "name, values, expected",
    [
        ("bright.png", (0, 4095), (0, 4095)),  # of one picture a pixel is 65535, and another has 16 bits
        ("marked.png", (0, 255), (0, 255)),  # letters of 65535 in all pictures
        ("a.png", (0, 191), (0, 255)),
        ("a.png", (31_700, 36_000), (31_488, 36_095)),  # Hounsfield units + 32768
        ("a.png", (0, 1500), (0, 1535)),
        ("declared.png", (0, 1500), (0, 4095)),
        ("declared.png", (0, 60_000), (0, 61_439)),  # scaled to sixteen bits, as the standard has it
        ("a.tif", (0, 1500), (0, 4095)),
    ],
)
def test_black_and_white_of_a_set(tmp_path, name, values, expected):
    rng, kept = np.random.default_rng(0), {}
    write = {"declared.png": significant, "a.tif": functools.partial(tifffile.imwrite, extratags=WHITE)}
    for k in range(60):
        kept[k] = image = rng.integers(*values, (24, 24), endpoint=True).astype(np.uint16)
        image[0, 0] = 65535 if name == "bright.png" and k == 3 else image[0, 0]
        image *= 15 if name == "bright.png" and k == 8 else 1
        image[2:6, 2:8] = 65535 if name == "marked.png" else image[2:6, 2:8]
        file = put(tmp_path / "mine" / "ab"[k % 2] / f"{k}{name[-4:]}", image)
        write.get(name, put)(file, image)
    with pytest.warns(UserWarning, match=f"8 bits: 60; values {expected[0]} to {expected[1]} become black"):
        test = load(str(tmp_path / "mine"))
    wanted = [np.clip((image - expected[0]) / np.ptp(expected) * 255, 0, 255) for image in kept.values()]
    away = np.abs(test.images[:, None, ..., 0].astype(float) - wanted).max((2, 3)).min(1)
    assert away.max() < 0.51 and len(away) == 12


def test_files_of_two_ranges_are_told(tmp_path):
    for k in range(40):
        image = picture(k, dtype=np.uint16) >> (8 if k % 4 else 4)
        put(tmp_path / "mine" / "ab"[k % 2] / f"{k}.png", image)
    with (
        pytest.warns(UserWarning, match="in use are 8 bits in 30, 12 bits in 10"),
        pytest.warns(UserWarning, match="of 40 in all, that use less than 32 .*: 30 .*; store all in one"),
    ):
        load(str(tmp_path / "mine"))


def test_grey_stored_as_colours_is_one_channel_unless_most_are_coloured(whole):
    grey, files = splits(whole), sorted(whole.rglob("*.png"))
    for file in files[1:]:  # the first stays as it is: sets are mixed
        three = np.repeat(cv2.imread(str(file))[..., :1], 3, axis=-1).astype(int)
        put(file, np.clip(three + np.resize([-1, 0, 1], three.shape), 0, 255).astype(np.uint8))
    with pytest.warns(UserWarning, match="grey images: 12 of 12, stored as RGB: 11; all are .* one channel"):
        found = splits(whole)
    assert all(np.abs(a.images.astype(int) - b.images).max() <= 1 for a, b in zip(grey, found, strict=True))
    assert load(str(whole), channels=3).channels == 3
    coloured = cv2.imread(str(files[5]))
    coloured[4, 5] = 9, 9, 99
    put(files[5], coloured)
    told = f"grey images: 11 of 12, .*; in colour: 1, such as {files[5]}; all are read as one channel"
    with pytest.warns(UserWarning, match=told):
        assert load(str(whole)).channels == 1
    for k, file in enumerate(files[:7]):
        put(file, np.roll(coloured, k, 0))
    with pytest.warns(UserWarning, match="grey images: 5 of 12, .*; in colour: 7, .* all are read as RGB"):
        assert load(str(whole)).channels == 3


def test_decoded_once_and_again_when_a_file_changes(folder, monkeypatch, home):
    top = folder("train", "val", "test", count=3)
    read, reads = decode.read, []
    monkeypatch.setattr(decode, "read", lambda file: reads.append(file) or read(file))
    first = splits(top)
    assert len(reads) == 19  # every file, and the first to see its kind
    assert [d.fingerprint for d in splits(top)] == [d.fingerprint for d in first] and len(reads) == 19
    file = top / "test" / "ill" / "1.png"
    size, times = file.stat().st_size, (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    put(file, picture(999))
    file.write_bytes(file.read_bytes().ljust(size, b"\0"))  # as "cp -p" would replace it
    os.utime(file, ns=times)
    test = load(str(top))
    assert (test.images[1, ..., 0] == picture(999)).all() and len(reads) == 38
    assert not list((home / "data" / "cache").glob(".*"))
    with pytest.raises(ValueError, match="read-only"):  # as it lies on the disk
        test.images[:] = 0


@pytest.mark.parametrize("content", ["[]", ..., None])
@pytest.mark.parametrize("kind", ["parquet", "images.npy"])
def test_a_cache_that_is_not_whole_is_made_again(whole, kind, content):
    first, file = load(str(whole)).fingerprint, next(cache().glob(f"mine-*.{kind}"))
    if content is None:
        file.unlink()
    else:  # cut off, or other text
        file.write_bytes(file.read_bytes()[:-20] if content is ... else content.encode())
    assert load(str(whole)).fingerprint == first


def test_a_full_disk_leaves_nothing(whole, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"could not write .*: No space left on device; nothing was changed"):
        load(str(whole))
    assert [file.name for file in cache().iterdir()] == ["contents.json"]


def test_unreadable_images_are_named_and_counted(folder):
    top = folder("train", "val", "test", count=4)
    (top / "train" / "ill" / "0.png").write_bytes(b"")
    (top / "train" / "ill" / "1.png").write_bytes((top / "train" / "ill" / "2.png").read_bytes()[:60])
    (top / "test" / "well" / "3.png").write_text("not a picture")
    put(top / "val" / "well" / "0.png", picture(side=1).reshape(1, 1))
    told = r"cannot use 4 of 24 images; repair or remove them: .*0.png: zero bytes; .*1.png: no image that"
    refuse(top, f"{told}.*0.png: 1x1 pixels.*3.png: no image")
    for file in top.rglob("*.png"):
        file.write_bytes(b"")
    refuse(top, "cannot use 24 of 24 images")


def test_images_of_different_kinds(whole):
    other = whole / "val" / "ill" / "1.png"
    put(other, picture(5, dtype=np.uint16))
    with pytest.raises(ValueError, match=r"1\.png is uint16, the first uint8; store all in 8 or all"):
        load(str(whole))
    put(other, picture(5, side=20))
    with pytest.raises(data.SidesError, match=r"1\.png: 20x20 pixels, the first 16x16; give size="):
        load(str(whole))
    assert load(str(whole), size=16).images.shape == (4, 16, 16, 1)


def test_masks_beside_the_folder_that_is_given_are_told(tmp_path):
    for k in range(20):
        put(tmp_path / "images" / "ab"[k % 2] / f"{k}.png", picture(k))
    put(tmp_path / "masks" / "a" / "0.png", picture())
    with pytest.warns(UserWarning, match=r"folders of masks beside images: 1 \(.*masks\); they are not used"):
        load(str(tmp_path / "images"))
