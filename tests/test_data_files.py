"""Folders and tables: what a user's own files become."""

import functools
import os
import warnings
import zlib

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile

from medrob import data
from medrob.data import decode, listing, load
from medrob.data.dataset import complete
from medrob.data.shortcuts import shortcuts
from medrob.files import cache


def picture(seed=0, side=16, colours=1, dtype=np.uint8):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, np.iinfo(dtype).max, (side, side, colours), endpoint=True).astype(dtype)
    return image[..., 0] if colours == 1 else image


def put(file, image):
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), image)
    return file


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


def splits(source, **options):
    return [load(str(source), split, **options) for split in data.SPLITS]


def refuse(source, match, **options):
    with pytest.raises(ValueError, match=match):
        load(str(source), **options)
    assert not list(cache().glob("*.npy"))


# Folders


@pytest.mark.parametrize(
    "roots", [("train", "valid", "TESTING"), ("training_set", "Validation Data", "test-images")]
)
def test_split_folders(folder, roots):
    top = folder(*roots, count=3)
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
        (
            "train/a/1 test/a/1 loose/",
            r"folders \(loose, test, .*\) are no layout that is known: give class f",
        ),
        *(
            (files, "are no layout that is known: give class folders")
            for files in (
                *("train/a/1 train/b/1 test/", "1", "a/train/1 a/test/1 b/train/1"),
                *(
                    "chest/a/train/1 chest/b/train/1",
                    "top/a/1 top/b/1",
                    "p1/a/1 p1/b/1 p2/a/1 p2/b/1 p3/a/1",
                    "f1/a/1 f1/b/1 f2/a/1 f2/b/1",
                ),
            )
        ),
        ("a/1 b/", "class folder b is empty .no image in it.; fill or remove it"),
        *(
            (files, r"list.csv may be one: give its path; or move it away if the folders are the classes")
            for files in ("part_1/1 part_2/1 list.csv", "part_1/1 part_2/2 part_2/list.csv")
        ),
        ("patient1/1 patient02/2", "are no layout that is known: give class folders"),
        ("a/1", r"the number of classes is 1 \(a\); give 2 to 1000"),
        ("val/a/1 val/b/1 test/a/1 test/b/1", "there are no training images; it has test, val"),
        ("a/x/1 b/x/1", "2 images, 1 images in the largest class, are too few to make a split of"),
    ],
)
def test_other_layouts_are_refused(tmp_path, files, match):
    for number, name in enumerate(files.split()):
        if name.endswith("/"):
            (tmp_path / "mine" / name).mkdir(parents=True)
        elif name.endswith(".csv"):
            (tmp_path / "mine" / name).write_text("")
        else:
            put(tmp_path / "mine" / f"{name}.png", picture(number))
    refuse(tmp_path / "mine", match)


def test_links_that_lead_back_or_nowhere(whole):
    (whole / "test" / "ill" / "lost.png").symlink_to(whole / "nowhere.png")
    refuse(whole, r"lost.png is a link to .*nowhere.png, which is not there")
    (whole / "test" / "ill" / "lost.png").unlink()
    (whole / "third").symlink_to(whole / "nowhere")
    refuse(whole, r"third is a link to .*nowhere, which is not there")
    (whole / "third").unlink()
    (whole / "train" / "ill" / "again").symlink_to(whole / "train")
    refuse(whole, r"train/ill/again is a link that leads back to a folder above it")


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


@pytest.mark.parametrize("patients", [range(20), np.arange(20.0), ["", None, *"abcdefghijklmnopqr"]])
def test_patient_0_is_one_and_blank_is_none(frame, tmp_path, patients):
    rows = frame.assign(patient=np.repeat(np.array(patients, object), 3).tolist())
    found = splits(table(tmp_path, rows))
    groups = [set(d.groups) for d in found]
    assert sum(map(len, groups)) == len(set.union(*groups)) == (20 if None not in patients else 24)


# Tables


def table(tmp_path, frame, name="own.csv"):
    file = tmp_path / name
    frame.to_parquet(file) if name.endswith("parquet") else frame.to_csv(file, index=False)
    return str(file)


@pytest.fixture
def frame(tmp_path):
    """A table of 60 images: 20 patients of three pictures, two classes."""
    files = [put(tmp_path / "images" / f"{k}.png", picture(k)) for k in range(60)]
    patient = [f"P{k // 3}{' ' * (k % 2)}" for k in range(60)]  # with a space after it or without
    label = np.where(np.arange(60) // 3 % 2, "ill", "well")
    return pd.DataFrame({"path": [f"images/{f.name}" for f in files], "label": label, "patient": patient})


SUBJECTS = {  # what names of files begin with; whom they show, of 60 pictures
    "CNV-{0}-{2}.jpeg": "{0}",
    "SOB_B_A-14-{0}AB-{1}-00{2}.png": "14-{0}AB",
    "{0}_00{2}.png": "{0}",
    "{0}_{3}.jpeg": "{0}",
    "{0}_idx5_x{1}_y{2}_class0.png": "{0}",
    "benign ({4}).png": None,
    "Lung_Opacity-{4}.png": None,
    "lungaca{0}.jpeg": None,
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_who_is_shown_may_stand_in_names_of_files(tmp_path, name):
    values = [(1000 + k // 3, k % 3 * 40, k % 3, ["left", "right", "both"][k % 3], k) for k in range(60)]
    for k, value in enumerate(values):
        (tmp_path / "mine" / ("COVID", "Normal")[k // 3 % 2]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / ("COVID", "Normal")[k // 3 % 2] / name.format(*value)).touch()
        (tmp_path / "mine" / "COVID" / f"COVID-{k + 1}.png").touch() if "Lung" in name else None
    with warnings.catch_warnings(record=True) as told:
        listing.of_folder(tmp_path / "mine")
    said = [text for w in told if (text := str(w.message)).startswith("'file name' has 20 values over 60 ")]
    assert len(said) == (SUBJECTS[name] is not None)
    if said:
        assert said[0].endswith("the same one would be in train and test; give group='file name'")
        rows, _, _ = listing.of_folder(tmp_path / "mine", "file name")
        assert {*rows["group"]} == {SUBJECTS[name].format(*value) for value in values}
    with pytest.raises(ValueError, match="group='slide' is unknown; there are folder, file name"):
        listing.of_folder(tmp_path / "mine", "slide")


def test_folders_in_class_folders_that_may_be_the_classes(tmp_path):
    for k in range(40):
        top, study = tmp_path / "images", f"patient{k // 4}/study1_{['negative', 'positive'][k // 2 % 2]}"
        put(top / ["XR_HAND", "XR_ELBOW"][k // 20] / study / f"image{k % 2}.png", picture(k))
    put(tmp_path / "masks" / "XR_HAND" / "1.png", picture())
    beside = pytest.warns(
        UserWarning, match=r"folders of masks beside images: 1 \(.*masks\); they are not used"
    )
    for k in range(20):
        put(tmp_path / "Lesions" / "ab"[k % 2] / f"{k}.png", picture(k))
        put(tmp_path / "ab"[k % 2] / f"{k}.png", picture(k))
    with pytest.warns(
        UserWarning, match="pictures that are called as another one and 'Lesions': 20 .Lesions"
    ):
        listing.masks_of(path.relative_to(tmp_path) for path in tmp_path.glob("[abL]*/**/*.png"))
    told = "in several class folders: patient/study_negative, patient/study_positive; they are not used"
    with beside, pytest.warns(UserWarning, match=told):
        listing.of_folder(tmp_path / "images")


@pytest.mark.parametrize("name", ["own.csv", "own.parquet"])
def test_no_patient_is_in_two_splits(frame, tmp_path, name):
    found = splits(table(tmp_path, frame, name))
    assert [len(d) for d in found] == [42, 6, 12]
    known = {picture(k).tobytes(): (k // 3, frame["label"][k]) for k in range(60)}
    seen = [{known[image.tobytes()][0] for image in d.images} for d in found]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 20
    for d in found:
        assert abs(d.counts["ill"] - d.counts["well"]) <= 6
        assert [d.class_names[y] for y in d.labels] == [known[i.tobytes()][1] for i in d.images]
        assert d[::2].groups.tolist() == [f"P{known[i.tobytes()][0]}" for i in d.images[::2]]


@pytest.mark.parametrize(
    ("labels", "task", "names", "first"),
    [
        (["b", "a"] * 30, "binary", ("a", "b"), 1),
        ([3, 10, 5] * 20, "multiclass", ("3", "5", "10"), 0),
        ([2.0, 1.0] * 30, "binary", ("1", "2"), 1),
        ([1, -1] * 30, "binary", ("-1", "1"), 1),
        (["01", "1", "2"] * 20, "binary", ("1", "2"), 0),
        ([True, False] * 30, "binary", ("False", "True"), 1),
        (["None", "cyst"] * 30, "binary", ("None", "cyst"), 0),
    ],
)
def test_labels_of_every_kind(frame, tmp_path, labels, task, names, first):
    rows = frame[["path"]].assign(label=labels, split=["train", "train", "test", "val"] * 15)
    d = load(table(tmp_path, rows), "train")
    assert (d.task, d.class_names, d.labels[0]) == (task, names, first)


def test_labels_by_name_and_patients_in_file_names(frame, tmp_path):
    rows = frame[["path"]].assign(smoke=[True, False] * 30, type=["mel", "nv", "nv"] * 20, male=[0, 1] * 30)
    with pytest.warns(UserWarning, match="labels are those of 'type': 2 classes"):
        assert load(table(tmp_path, rows), label="type").class_names == ("mel", "nv")
    with pytest.warns(UserWarning, match="exactly one 1 .* classes .for several .* give label='male|smoke'"):
        two = load(table(tmp_path, rows), "train", label="male, smoke")
    both = load(table(tmp_path, rows), "train", label="male|smoke")
    assert two.class_names == both.class_names == ("male", "smoke") and both.task == "multilabel"
    assert (two.task, two.labels.tolist()) == ("binary", both.labels.argmax(1).tolist())
    with pytest.raises(ValueError, match="label='colour' is no column; there are path, smoke"):
        load(table(tmp_path, rows), label="colour")
    for k, name in enumerate(rows["path"]):
        (tmp_path / name).rename(tmp_path / f"images/CNV-{k // 2 + 10}-{k}.png")
    rows["path"] = [f"images/CNV-{k // 2 + 10}-{k}.png" for k in range(60)]
    given = rows.rename(columns={"type": "dx"}).assign(split=["train"] * 40 + ["val"] * 10 + ["test"] * 10)
    for case, count in ((given.drop(columns="split"), 30), (given.assign(split=given["split"][::-1]), 0)):
        with warnings.catch_warnings(record=True) as told:
            load(table(tmp_path, case))
        assert sum("'file name' has 30 values" in str(text.message) for text in told) == bool(count)
    with pytest.raises(ValueError, match="uncertain='Zeros': give 'zeros', 'ones' or 'drop'"):
        load(table(tmp_path, given), uncertain="Zeros")


def test_several_labels_grades_and_masks(frame, tmp_path):
    rest = frame[["path"]]
    many = rest.assign(effusion=[0, 1] * 30, mass=[0, 0, 1] * 20, hernia=[1] + [0] * 59)
    d = load(table(tmp_path, many, "many.csv"), "train")
    assert (d.task, d.class_names, d.labels.shape) == ("multilabel", ("effusion", "mass", "hernia"), (42, 3))
    assert load(table(tmp_path, rest.assign(grade=[0, 1, 2] * 20), "grade.csv")).task == "ordinal"
    one = load(table(tmp_path, rest.assign(oedema=[0, 1] * 30), "one.csv"))
    assert (one.class_names, one.task) == (("no oedema", "oedema"), "binary")
    spot = np.zeros((32, 32), np.uint8)
    spot[:16, 16:] = 255
    put(tmp_path / "masks" / "spot.png", spot)
    masked = frame.assign(mask=["masks/spot.png\n", None, None] * 20)
    d = load(table(tmp_path, masked, "masked.csv"), "train", size=8)
    assert d.masks.shape == (42, 8, 8) and d.masks.dtype == bool
    full = d.masks.any((1, 2))
    assert full.sum() == 14 and (d.masks[full] == (spot > 0)[::4, ::4]).all()
    (tmp_path / "bad.png").write_bytes(b"nothing")
    masked = table(tmp_path, frame.assign(mask=["bad.png"] + ["masks/spot.png"] * 59), "bad.csv")
    with pytest.raises(ValueError, match=r"images/0.png: its mask .*bad.png: no image that OpenCV"):
        load(masked)


def saved(frame, top):
    """The same table as other programs save it."""
    yield frame.assign(path=[str(top / path) for path in frame["path"]]).to_csv(index=False)
    yield frame.to_csv()  # with its index
    yield "\ufeff" + frame.to_csv(index=False)
    yield frame.assign(age=40.5).to_csv(index=False, sep=";", decimal=",")
    yield frame.assign(path=frame["path"].str.replace("/", "\\")).to_csv(index=False, sep="\t")
    yield frame.assign(path=[path[7:-4] for path in frame["path"]]).to_csv(index=False)  # "12"
    yield frame.assign(path=[path[7:-4] + ".JPG" for path in frame["path"]]).to_csv(index=False)


def test_tables_as_other_programs_save_them(frame, tmp_path, monkeypatch):
    whole = load(table(tmp_path, frame)).fingerprint
    monkeypatch.chdir(tmp_path / "images")
    for number, text in enumerate(saved(frame, tmp_path)):
        (tmp_path / "a.CSV").write_text(text, "utf-8")
        assert load(str(tmp_path / "a.CSV")).fingerprint == whole, number


def test_rows_and_files_that_are_named_as_masks_are_masks(frame, tmp_path):
    masks, spot = [path.replace(".png", "_mask.png") for path in frame["path"]], np.zeros((16, 16), np.uint8)
    spot[2:5, 3:7] = 255
    plain = load(table(tmp_path, frame))
    for path in masks:
        put(tmp_path / path, spot)
    rows = pd.concat([frame, frame.assign(path=masks, label=None)[::2]])  # the others lie beside
    for name, content in {"beside.csv": frame, "rows.csv": rows}.items():
        with pytest.warns(UserWarning, match=r"masks beside images: 60 \(.*\), of 60 pictures"):
            test = load(table(tmp_path, content, name))
        assert test.fingerprint == plain.fingerprint and (test.masks == (spot > 0)).all()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"path;label;label\na.png;x;y\n", "column 'label' is there twice"),
        ("path,label\na.png,Grün\n".encode("latin-1"), "no table in UTF-8 that can be read"),
        (b"", "no table in UTF-8 that can be read"),
        (b"label\nx\n", "a column 'path' and rows are needed; there are 1 rows and label"),
        (b"path,label\n", "a column 'path' and rows are needed; there are 0 rows and path, label"),
    ],
)
def test_tables_that_are_none(tmp_path, content, match):
    (tmp_path / "own.csv").write_bytes(content)
    refuse(tmp_path / "own.csv", f"own.csv: .*{match}")
    pd.DataFrame({"path": ["a.png"], "x": [["a"]]}).to_parquet(tmp_path / "own.parquet")
    refuse(tmp_path / "own.parquet", "own.parquet: .*column 'x' holds lists or tables")
    (tmp_path / "own.parquet").write_bytes(b"no table")
    refuse(tmp_path / "own.parquet", "own.parquet: this is no table")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (dict(label=[1.0, np.nan] * 30), r"column 'label' is empty in 30 of 60 rows, first in row 2"),
        (dict(label=["NA", "a"] * 30), r"column 'label' is empty in 30 of 60 rows, first in row 1"),
        (dict(label=[1.5, 2.0] * 30), r"'label' is no whole number in 30 of 60 rows, first in row 1: 1.5"),
        (dict(path="../secret.png"), r"'path' leads out of .* in 60 of 60 rows, .*'../secret.png'"),
        (
            dict(path=[f"images\\{k}0.tif" for k in range(60)]),
            "names no file, or several in 55 .*; paths start at the table's folder",
        ),
        (
            dict(path="images/none.png"),
            r"'path' names no file, or several in 60 of 60 .*'images/none.png'; paths",
        ),
        (dict(path=None), "column 'path' is empty in 60"),
        (
            dict(path="x" * 5000),
            r"'path' names no file, or several in 60 .*x... \(5002 characters\)",
        ),
        (dict(label=[1e30, 1.0] * 30), "'label' is no whole number in 30 of 60 rows"),
        (dict(split=["train", "holdout"] * 30), "'split' is no split in 30 .*'holdout'; the splits are"),
        (dict(split=["train", "test", "val"] * 20), "'patient' is in more than one split in 60 .*: 'P0'; "),
        (dict(path=..., file="a", img="a"), r"columns file, img may all be the path"),
        (dict(label=..., dx="a", level=1), "columns dx, level may all be the label; say which by label='dx'"),
        (
            dict(label=..., smoker=[0, 1] * 30, type=["nv", "mel", "mel"] * 20),
            "no labels: .* type, smoker may",
        ),
        (dict(mask="images/none.png"), "column 'mask' names no file"),
        (dict(label=..., patient=...), "there are no labels: give a column 'label'"),
        (dict(label=..., patient=..., age=40), "there are no labels: give a column 'label'"),
        (dict(label=..., mass=[0, 1, 2] * 20), "'mass' is neither 0 nor 1 in 20 .*: 2; without a column"),
        (dict(label=[1, 0, -1] * 20), "labels are blank or -1 .'label': 0 blank, 20 of -1.; say"),
        (dict(label=..., mass=[0, 1, -1] * 20), "labels are blank or -1 .'mass': 0 blank, 20 of -1.; say"),
        (dict(path=["images/0.png"] * 60), "'path' repeats an image in 59 of 60 rows"),
        (
            dict(label=..., grade=["mild", "none"] * 30),
            "'grade' is no whole number in 60 .*: 'mild'; give whole",
        ),
    ],
)
def test_bad_tables(frame, tmp_path, changes, match):
    changed = frame.drop(columns=[name for name, value in changes.items() if value is ...])
    changed = changed.assign(**{name: value for name, value in changes.items() if value is not ...})
    refuse(table(tmp_path, changed), match)


@pytest.mark.parametrize("seed", range(5))
def test_a_class_or_label_of_few_is_in_every_split(frame, tmp_path, seed):
    rare = pd.Series(np.isin(np.arange(60) // 3, [4, 9, 15]))
    file = table(tmp_path, frame.assign(label=frame["label"].where(~rare, "rare")))
    found = splits(file, seed=seed)
    assert all(min(d.counts.values()) >= 1 for d in found), [d.counts for d in found]
    assert found[0].counts["rare"] == 3
    hernia = np.isin(np.arange(60), [3, 20, 41, 58]).astype(int)
    many = table(tmp_path, frame[["path"]].assign(mass=[0, 1] * 30, hernia=hernia), "many.csv")
    assert all(d.counts["hernia"] >= 1 for d in splits(many, seed=seed))


def test_images_that_share_any_owner_stay_together(frame, tmp_path):
    """Columns that are not nested link images to each other; what is the same in all links nothing."""
    k = pd.Series(range(60))
    lesion, blank, series = "L" + (k // 3).astype(str), ("P" + (k // 6).astype(str)).where(k < 6), k + 900
    for column, values in {
        "patient": dict(patient=blank, lesion_id=lesion),  # mostly blank
        "case_id": dict(case_id=(k // 6).where(k % 6 < 4), slide_id=(k // 2).where(k % 6 > 1)),
        "series_uid": dict(series_uid=series, institution="ANON", pid="ANON", lesion_id=lesion),
    }.items():
        rows = frame.drop(columns="patient").assign(**values)
        with pytest.warns(UserWarning, match="all images of one '.*lesion_id' stay" * ("patient" in values)):
            found = splits(table(tmp_path, rows))
        owners = rows[list(values)].drop(columns="institution", errors="ignore").set_axis(range(60))
        known = {picture(i).tobytes(): owners.loc[i].dropna() for i in range(60)}
        for name in owners.columns.drop("pid", errors="ignore"):
            seen = [{known[image.tobytes()].get(name) for image in d.images} - {None} for d in found]
            assert sum(map(len, seen)) == len(set.union(*seen)), (column, name)


def test_one_patient_written_in_several_ways_is_one(frame, tmp_path):
    for number, ways in enumerate(
        (("P{0}", "p{0}", "P {0} "), ("{0}", "{0}.0", "0{0}"), ("P-{0}", "P0{0}", "p_{0}"))
    ):
        patients = [ways[k % 3].format(k // 3) for k in range(60)]
        frame.assign(patient=patients).to_parquet(tmp_path / f"{number}.parquet")
        frame.assign(patient=patients).to_csv(tmp_path / f"{number}.csv", index=False)
        for name in (f"{number}.parquet", f"{number}.csv"):
            with pytest.warns(UserWarning, match=r"values of 'patient' spelled in several ways: 20 \('.*0"):
                groups = [set(d.groups) for d in splits(tmp_path / name)]
            assert sum(map(len, groups)) == len(set.union(*groups)) == 20
    file = table(tmp_path, frame.assign(label=["COVID-19", "COVID19", "HER2+", "HER2-", "1-2", "12"] * 10))
    with pytest.warns(
        UserWarning, match=r"classes that differ in marks alone: 1 \('COVID-19' and 'COVID19'\)"
    ):
        load(file)
    file = table(tmp_path, frame.assign(label=["1", "1.0", "2"] * 20))
    with pytest.warns(UserWarning, match=r"numbers that are written in several ways, .* 1.0: 1 \(label\)"):
        load(file)


def test_numbers_apart_and_versions_are_not_one():
    apart = pd.Series(["1-12", "11-2", "1.12", "v1.0", "v10"])
    assert listing.one_spelling(apart, "patients", marks=True).nunique() == 5
    assert listing.one_spelling(pd.Series(["v1.0", "v1", "HER2+", "HER2-"]), "classes").nunique() == 4


def test_0001_is_a_name_and_not_the_number_1(frame, tmp_path):
    for k in range(60):
        put(tmp_path / f"{k:04}.png", picture(k))
        put(tmp_path / f"{k}.png", picture(k + 100))
    whole = load(table(tmp_path, frame)).fingerprint
    assert load(table(tmp_path, frame.assign(path=[f"{k:04}" for k in range(60)]))).fingerprint == whole


def test_zeros_and_ones_with_one_1_a_row_are_classes(frame, tmp_path):
    k = np.arange(60)
    rows = frame[["path"]].assign(NV=k % 3 == 1, MEL=k % 3 == 0, UNK=0.0, BCC=1.0 * (k % 3 == 2))
    with pytest.warns(UserWarning, match="exactly one 1 in 4 .* classes; no row has UNK, which is left out"):
        train = load(table(tmp_path, rows), "train")
    assert (train.task, train.class_names) == ("multiclass", ("NV", "MEL", "BCC"))
    known = {picture(k).tobytes(): k for k in range(60)}
    seen = np.array([known[image.tobytes()] for image in train.images])
    assert train.labels.tolist() == np.array([1, 0, 2])[seen % 3].tolist()
    with pytest.warns(UserWarning, match="but for 'smoker', every row has .* give label='NV,MEL,UNK,BCC'"):
        load(table(tmp_path, rows.assign(smoker=k // 7 % 2)))
    sorted_by_class = frame.sort_values("label").assign(nr=k, name=lambda table: table["label"] + "ness")
    with pytest.warns(UserWarning, match=r"say the same as the label: 1 \(name\)") as told:
        load(table(tmp_path, sorted_by_class))
    assert not any("it alone tells" in str(warning.message) for warning in told)


def test_the_column_that_names_files_is_found_whatever_it_is_called(frame, tmp_path):
    rows = frame.assign(ID=range(60), age=[f"{k}.9" for k in range(60)]).drop(columns="path")
    twice = table(tmp_path, rows.assign(other=rows["ID"]), "twice.csv")
    refuse(twice, "columns ID, other all name files; call one of them 'path'")
    shuffled = rows.assign(scan=frame["path"][::-1].to_numpy())
    refuse(table(tmp_path, shuffled.replace("images/7.png", "lost.png")), "column 'scan' .*lost.png")
    whole = load(table(tmp_path, frame)).fingerprint
    assert load(table(tmp_path, shuffled)).fingerprint != whole
    rows.to_csv(tmp_path / "train.tsv", sep="\t", index=False)
    (tmp_path / "test.tsv").touch()
    with pytest.warns(UserWarning, match="otherwise than in 'ID': 60") as told:
        assert load(str(tmp_path / "train.tsv")).fingerprint == whole
    assert sum("beside train.tsv, of which nothing is used: own.csv, te" in str(t.message) for t in told) == 1
    twice = table(tmp_path, rows.assign(ID=np.arange(60) // 2), "boxes.csv")
    with pytest.raises(ValueError, match="column 'ID' repeats an image in 30 of 60 rows"):
        load(twice)


@pytest.mark.parametrize(
    ("column", "kept"), [("Patient ID", True), ("lesion_id", True), ("patient-id ", True), ("doctor", False)]
)
def test_columns_of_groups(frame, tmp_path, column, kept):
    file = table(tmp_path, frame.rename(columns={"patient": column}).assign(age=40, fold=1))
    with pytest.warns(
        UserWarning, match=f"all images of one '{column}' stay" if kept else "give group='doctor'"
    ):
        one = splits(file)
    asked = splits(file, group=column.strip() if kept is False else "")
    known = {picture(k).tobytes(): k // 3 for k in range(60)}
    for found in (asked, one) if kept else (asked,):
        owners = [{known[image.tobytes()] for image in d.images} for d in found]
        assert sum(map(len, owners)) == 20
    with pytest.raises(ValueError, match="group='eye' is no column; there are path"):
        load(file, group="eye")


TEXTS = ["Mass|Edema", "No Finding", "edema", "Mass", "Edema", "Edema"]


@pytest.mark.parametrize("texts", [TEXTS, [text.replace("|", "; ") for text in TEXTS * 2]])
def test_several_labels_in_a_text(frame, tmp_path, texts):
    rows = frame[["path"]].assign(split=["train", "valid", "test"] * 20, label=(texts * 30)[:60])
    with pytest.warns(UserWarning, match="several labels, separated by '[|;]'"):
        train, val, _ = splits(table(tmp_path, rows))
    assert train.task == "multilabel" and train.labels[0].tolist() == [1, 1]
    assert train.class_names == ("Edema", "Mass")
    assert train.labels[1].tolist() == [0, 1] and val.labels[:2].tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize(
    "way, second, count", [("zeros", [0, 0], 20), ("ones", [1, 0], 20), ("drop", [1, 0], 10)]
)
def test_uncertain_labels(frame, tmp_path, way, second, count):
    rows = frame[["path"]].assign(split=["train", "valid", "test"] * 20, Sex="F")
    rows = rows.assign(edema=[1, 0, 1, -1, 0, 0] * 10, mass=[None, 1, 1, 0, 1, -1] * 10)
    with pytest.warns(UserWarning, match="labels of -1 "):
        train, _, test = splits(table(tmp_path, rows), uncertain=way)
    assert train.labels[:2].tolist() == [[1, 0], second] and len(test) == count


def test_folders_of_volumes(tmp_path):
    for name in ("a/1.nii", "b/2.nii", "list.csv"):
        (tmp_path / "volumes" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "volumes" / name).write_text("")
    with pytest.raises(ValueError, match=r"no image, but 2 \.nii, 1 \.csv, which are not read"):
        load(str(tmp_path / "volumes"))


MASKS = """masks/{}/{}_m.png {}/{}_left_mask.png
    {}/{}Mask.png {}/{}_mask.png {}/{}.mask_1.png {}/{}_1stHO.png {}/masks/{}.png masks/{}/{}.png
    {}/mask_{}.png {}/{}_roi.png {}_masks/{}.png {}/GT/{}.png"""


@pytest.mark.parametrize("name", MASKS.split())
def test_masks_beside_images_are_masks(folder, name):
    top, spot = folder(count=10), np.zeros((16, 16), np.uint8)
    plain = load(str(top), "train")
    spot[2:5, 3:7] = 255
    for file in sorted(top.rglob("*.png")):
        put(top / name.format(file.parent.name, file.stem), spot)
        put(top / name.format(file.parent.name, file.stem).replace("masks/", "seg/"), spot)
    with pytest.warns(UserWarning, match="masks beside images: .*, of 20 pictures"):
        train = load(str(top), "train")
    assert (train.images == plain.images).all() and (train.masks == (spot > 0)).all()


def test_folders_of_masks_are_no_classes(folder):
    top = folder(names=("a", "b", "masks"))
    refuse(top, "class folders are named as masks, but are those of no image: masks; rename them")


def test_masks_that_cover_nearly_all_or_nothing_are_told(folder):
    top, spot = folder(count=10), np.zeros((16, 16), np.uint8)
    spot[4:8, 4:8] = 1
    wide, none = (
        "masks that cover more than half of a picture: 20 of 20, ",
        "no mask marks anything: 20 are b",
    )
    for mask, told in {
        "over": (1 - spot, wide),
        "trimap": (1 + spot, wide),
        "none": (0 * spot, none),
    }.values():
        for file in sorted(top.rglob("?.png")):
            put(file.with_name(f"{file.stem}_mask.png"), mask)
        with pytest.warns(UserWarning, match=f"{told}.*; the lesion is what is not black"):
            load(str(top))


def test_a_mask_that_jpeg_has_blurred_ends_at_half(folder):
    top, spot = folder(count=10), np.zeros((16, 16), np.uint8)
    spot[4:8, 4:8] = 255
    for file in sorted(top.rglob("*.png")):
        put(file.with_name(f"{file.stem}_mask.jpg"), spot)
    with pytest.warns(UserWarning, match="masks beside images"):
        assert (load(str(top), "train").masks == (spot > 0)).mean() > 0.99


# All files of a set, and the cache


WHITE = [(281, "H", 1, 4095, True)]  # TIFF's MaxSampleValue


def significant(file, image, bits=12):
    """A PNG that says how many of its sixteen bits are significant."""
    content, chunk = put(file, image).read_bytes(), b"sBIT" + bytes([bits])
    chunk = b"\0\0\0\1" + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    file.write_bytes(content[:33] + chunk + content[33:])  # behind the header


@pytest.mark.parametrize(
    "name, values, expected",
    [
        ("bright.png", (0, 4095), (0, 4095)),  # of one picture a pixel is 65535
        ("marked.png", (0, 4095), (0, 4095)),  # letters of 65535 in all pictures
        ("marked.png", (0, 255), (0, 255)),
        ("a.png", (0, 255), (0, 255)),
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


def test_grey_stored_as_colours_is_one_channel_unless_a_picture_is_coloured(folder):
    top, rng = folder("train", "val", "test", count=3), np.random.default_rng(0)
    grey = splits(top)
    files = sorted(top.rglob("*.png"))
    for file in files[1:]:  # the first stays as it is: sets are mixed
        three = np.repeat(cv2.imread(str(file))[..., :1], 3, axis=-1)
        put(file, np.clip(three + rng.integers(-1, 2, three.shape), 0, 255).astype(np.uint8))
    with pytest.warns(UserWarning, match="grey images: 18 of 18, stored as RGB: 17; all are .* one channel"):
        found = splits(top)
    assert all(np.abs(a.images.astype(int) - b.images).max() <= 1 for a, b in zip(grey, found, strict=True))
    assert load(str(top), channels=3).channels == 3
    coloured = cv2.imread(str(files[5]))
    coloured[4, 5] = 9, 9, 99
    put(files[5], coloured)
    told = f"grey images: 17 of 18, .*; in colour: 1, such as {files[5]}; all are read as one channel"
    with pytest.warns(UserWarning, match=told):
        assert [d.channels for d in splits(top)] == [1, 1, 1]
    assert load(str(top), channels=3).channels == 3
    for k, file in enumerate(files[:10]):
        put(file, np.roll(coloured, k, 0))
    with pytest.warns(UserWarning, match="grey images: 8 of 18, .*; in colour: 10, .* all are read as RGB"):
        assert [d.channels for d in splits(top)] == [3, 3, 3]


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


CHANGED = ["null", "[]", "3", '[[999, "x"]]', "[1, 2]", "[" * 10_000, ..., None]


@pytest.mark.parametrize("content", CHANGED)
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
    put(other, picture(5, colours=3))
    with pytest.warns(UserWarning, match=f"grey images: 11 of 12, .*; in colour: 1, such as {other}"):
        assert [load(str(whole), channels=n).channels for n in (0, 1, 3)] == [1, 1, 3]
    put(other, picture(5, dtype=np.uint16))
    with pytest.raises(ValueError, match=r"1.png is .* uint16, the first .* uint8 .*; store all in 8 or all"):
        load(str(whole))
    put(other, picture(5, side=20))
    with pytest.raises(ValueError, match=r"1.png is \(20, 20, 1\) .* first \(16, 16, 1\) .*; give size="):
        load(str(whole))
    assert load(str(whole), size=16).images.shape == (4, 16, 16, 1)


def test_what_tells_classes_apart_besides_the_picture_is_told_once(tmp_path):
    def told(write):
        top = tmp_path / f"set{len(list(tmp_path.iterdir()))}"
        for k in range(40):
            put(top / "ab"[k % 2] / f"{k}.png", picture(k, side=40))
            write(top / "ab"[k % 2] / f"{k}.png", k % 2, picture(k, side=40))
        with warnings.catch_warnings(record=True) as said:
            data.load_splits(str(top), *data.SPLITS, size=16)
        return [str(w.message) for w in said if "it alone tells" in str(w.message)]

    def deep(file, second, image):
        put(file, image.astype(np.uint16) * (16 if second else 1))

    def jpeg(file, second, image):
        put(file.with_suffix(".jpg") if second else file, image)
        file.unlink() if second else None

    def framed(file, second, image):
        image[: 10 * second] = 0
        put(file, image)

    assert told(lambda file, second, image: put(file, image)) == []
    assert told(lambda file, second, image: put(file, image[: 30 + len(file.stem)])) == []
    assert [text for text in told(deep) if "bits" in text] == [
        "how many bits are in use differs: it alone tells a class from the others with an AUC of 1.00. "
        "a: median 8; b: median 12"
    ]
    [kind] = told(jpeg)
    assert kind.endswith(" 1.00. a: PNG, grey, 8 bit in 20; b: JPEG, grey, 8 bit in 20")
    [border] = told(framed)
    assert border.startswith("the share of an even border") and border.endswith("a: median 0; b: median 0.25")
    assert len(told(lambda file, second, image: put(file, image[: 40 - 9 * second]))) == 2  # size and form


def test_shortcuts_are_those_of_auc_and_of_shares():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    for shift in np.linspace(0, 3, 13):
        y = rng.integers(0, 2, 200)
        number = pd.Series(np.round(rng.normal(shift * y), 1))
        apart = abs(2 * roc_auc_score(y, number) - 1)
        texts = (number > shift / 2).map({True: "high", False: "low"})
        share = abs(texts[y == 1].eq("high").mean() - texts[y == 0].eq("high").mean())
        found = [t.split()[0] for t in shortcuts(pd.DataFrame({"n": number, "t": texts}), y, ["a", "b"])]
        assert found == [name for name, by in {"n": apart, "t": share}.items() if by > 0.5]
    traits = pd.DataFrame({"view": ["AP", "PA"] * 20, "age": [None, 50.0] * 20})
    several = np.stack([np.arange(40) % 2, np.arange(40) // 20], 1)
    assert [t.split(". ")[1] for t in shortcuts(traits, several, ["x", "y"])] == [
        "x: PA in 20; y: AP in 10, PA in 10"
    ]
    assert list(shortcuts(traits[:4], np.array([0, 1, 0, 1]), ["a", "b"])) == []  # four images say nothing
    assert len(list(shortcuts(traits[:4], np.array([0, 1, 0, 1]), ["a", "b"], always="view"))) == 1


def test_images_without_a_patient_are_told(folder, tmp_path):
    top = folder(count=10)
    paths = sorted(str(file.relative_to(top)) for file in top.rglob("*.png"))
    patients = [None if i % 2 else f"p{i // 4}" for i in range(20)]
    rows = pd.DataFrame({"path": paths, "label": [i // 10 for i in range(20)], "patient": patients})
    rows.to_csv(top / "table.csv", index=False)
    with pytest.warns(UserWarning, match=r"images without a value, each a group of its own: 10"):
        load(str(top / "table.csv"), "train")


def test_pictures_that_look_like_masks_or_copies_are_told(folder):
    top = folder(count=20)
    for path in list(top.rglob("*.png")):
        put(
            path.with_name(f"{path.stem}_lesion.png"),
            picture(int(path.stem) + 500 + 50 * (path.parent.name == "ill")),
        )
    with pytest.warns(UserWarning, match="called as another one and '_lesion': 40 .*call masks x_mask"):
        splits(top)


@pytest.mark.parametrize("name", ["Ground Truth", "ROI", "segmentation_masks", "lesion masks", "Contours"])
def test_folders_of_masks_by_other_names(folder, name):
    top = folder()
    for path in list(top.rglob("*.png")):
        put(top / name / path.relative_to(top), 255 * (picture(1) > 99).astype(np.uint8))
    assert all(data.masks.any((1, 2)).all() for data in splits(top))


def test_a_table_with_masks_in_a_folder_and_pictures_that_it_does_not_name(tmp_path):
    for k in range(30):
        put(tmp_path / "images" / f"{k}.png", picture(k))
        put(tmp_path / "masks" / f"{k}_mask.png", 255 * (picture(k) > 99).astype(np.uint8))
    frame = pd.DataFrame({"path": [f"images/{k}.png" for k in range(20)], "label": ["a", "b"] * 10})
    with pytest.warns(UserWarning, match=r"which it does not name: 10 \(.*they are left out"):
        found = splits(table(tmp_path, frame))
    assert sum(map(len, found)) == 20 and all(data.masks.any((1, 2)).all() for data in found)


def test_numbers_of_patients_with_a_blank_or_without_a_name_are_told(frame, tmp_path):
    numbers, unknown = np.arange(len(frame)) // 4 * 1.0, frame.drop(columns="patient")
    for column, values in (("ptid", np.where(numbers == 0, np.nan, numbers)), ("", numbers)):
        source = table(tmp_path, pd.concat([pd.Series(values, frame.index, name=column), unknown], axis=1))
        with pytest.warns(UserWarning, match=f"'{column or 'Unnamed: 0'}' has .* if it tells who or what"):
            splits(source)
