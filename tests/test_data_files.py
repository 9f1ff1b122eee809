"""Folders, tables and DICOM: what a user's own files become."""

import os

import cv2
import numpy as np
import pandas as pd
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from medrob import config, data
from medrob.data import decode, listing, load
from medrob.stage import Stage


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
    assert not list(decode.cache().glob("*.npy"))


# Folders


@pytest.mark.parametrize(
    "roots",
    [
        ("train", "val", "test"),
        ("TRAIN", "valid", "Testing"),
        ("training_set", "Validation Data", "test-images"),
    ],
)
def test_split_folders(folder, roots):
    top = folder(*roots, count=3)
    (top / "__MACOSX" / "train").mkdir(parents=True)
    train, val, test = splits(top)
    assert [len(d) for d in (train, val, test)] == [6, 6, 6]
    assert (test.task, test.class_names, test.name, test.split) == ("binary", ("ill", "well"), "mine", "test")
    assert test.labels.tolist() == [0, 0, 0, 1, 1, 1] and test.images.shape == (6, 16, 16, 1)
    assert (test.images[4, ..., 0] == picture(221)).all() and (train.images[0, ..., 0] == picture(0)).all()


def test_a_missing_split_is_made_in_proportion(folder):
    whole = folder(count=20, names=("a", "b", "c"))
    train, val, test = splits(whole)
    assert [d.counts for d in (train, val, test)] == [dict.fromkeys("abc", n) for n in (14, 2, 4)]
    assert len(data.duplicates(train, val, test)) == 0
    assert load(str(whole), seed=1).fingerprint != test.fingerprint == load(str(whole)).fingerprint


def test_a_missing_validation_split_comes_from_training(folder):
    train, val, test = splits(folder("Training", "Testing", count=20))
    assert [d.counts["ill"] for d in (train, val, test)] == [18, 2, 20]
    assert len(data.duplicates(train, val, test)) == 0


def test_links_and_other_files_in_class_folders(folder, tmp_path):
    top = folder("train", "test", count=10)
    (top / "train" / "ill" / "notes.txt").write_text("not a picture")
    (top / "train" / "ill" / ".hidden.png").write_text("")
    put(top / "train" / "ill" / "patient" / "deep.PNG", picture(77))
    (tmp_path / "elsewhere").mkdir()
    (top / "test" / "well").rename(tmp_path / "elsewhere" / "well")
    (top / "test" / "well").symlink_to(tmp_path / "elsewhere" / "well")
    with pytest.warns(UserWarning, match="train/ill contains subfolders, whose images are split one by one"):
        assert load(str(top), "train").counts["ill"] + load(str(top), "val").counts["ill"] == 11
    assert load(str(top)).counts == {"ill": 10, "well": 10}


def test_loose_images_beside_class_folders_are_told(folder):
    top = folder(count=20)
    put(top / "loose.png", picture(900))
    with pytest.warns(UserWarning, match=r"1 images lie beside class folders, .*mine/loose.png, and are"):
        load(str(top))


@pytest.mark.parametrize(
    ("files", "match"),
    [
        (
            ["train/a/1", "test/a/1", "loose/"],
            "mine: it holds the split test and beside it loose; give",
        ),
        (["train/a/1", "train/b/1", "test/"], "it holds no class folders; give class folders"),
        (["1"], "it holds no class folders; give class folders"),
        (["a/train/1", "a/test/1", "b/train/1"], "holds the split test in the class folder a; give class"),
        (["chest/train/a/1", "chest/test/b/1"], "holds the split test in the class folder chest;"),
        (["chest/a/1", "chest/b/1"], "chest, which are no splits, with the same folders in each .a, b."),
        (["f1/a/1", "f1/b/1", "f2/a/1", "f2/b/1"], "f1, f2, which are no splits, with the same folders in"),
        (["a/1", "b/"], "class folder b is empty .no image in it.; fill or remove it"),
        (["a/1"], r"the number of classes is 1 \(a\); give 2 to 1000"),
        (["val/a/1", "val/b/1", "test/a/1", "test/b/1"], "there are no training images; it has test, val"),
        (["a/1", "b/1"], "2 images, 1 images in the largest class, are too few to make a split of"),
    ],
)
def test_other_layouts_are_refused(tmp_path, files, match):
    for name in files:
        if name.endswith("/"):
            (tmp_path / "mine" / name).mkdir(parents=True)
        else:
            put(tmp_path / "mine" / f"{name}.png", picture())
    refuse(tmp_path / "mine", match)


def test_links_that_lead_back_or_nowhere(whole):
    (whole / "test" / "ill" / "lost.png").symlink_to(whole / "nowhere.png")
    refuse(whole, r"1 of 13 images .*lost.png: cannot be read")
    (whole / "third").symlink_to(whole / "nowhere")
    refuse(whole, r"third is a link to .*nowhere, which is not there")
    (whole / "third").unlink()
    (whole / "train" / "ill" / "again").symlink_to(whole / "train")
    refuse(whole, r"train/ill/again is a link that leads back to a folder above it")


def test_other_files_and_no_files(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    refuse(tmp_path / "notes.txt", r"give an .npz, a .csv or .parquet table, or a folder")
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        load(str(tmp_path / "none"))


def test_more_classes_in_test_than_in_train(whole):
    put(whole / "test" / "odd" / "1.png", picture(5))
    found = splits(whole)
    assert all(d.class_names == ("ill", "odd", "well") for d in found)
    with pytest.raises(ValueError, match=r"split 'train' .* has none of class odd"):
        data.describe(*found)


def test_folders_of_one_name_in_two_places_are_two_sets(tmp_path, monkeypatch):
    means = []
    for place, level in (("one", 20), ("two", 200)):
        for i in range(20):
            file = put(tmp_path / place / "images" / "ab"[i % 2] / f"{i}.bmp", np.full((8, 8), level + i))
            os.utime(file, (1, 1))
        monkeypatch.chdir(tmp_path / place)
        means.append(load("images", "train").images.mean())
    assert means[0] < 50 < 150 < means[1]


def test_duplicates_are_found_and_told(folder):
    top = folder("train", "val", "test", count=3)
    put(top / "test" / "ill" / "2.bmp", picture(1))  # train/ill/1.png in another format
    put(top / "train" / "well" / "again.png", picture(20))  # twice in one split is no leak
    found = splits(top)
    shared = data.duplicates(*found)
    assert shared.to_dict("records") == [
        {"picture": 0, "split": "train", "image": 1, "label": 0},
        {"picture": 0, "split": "test", "image": 2, "label": 0},
    ]
    match = r"mine: 1 pictures are in more than one split, such as train 1, test 2"
    with pytest.warns(UserWarning, match=match):
        facts = data.describe(*found)
    assert [part["duplicates"] for part in facts.values()] == [1, 0, 1]


# Tables


def table(tmp_path, frame, name="own.csv"):
    file = tmp_path / name
    frame.to_parquet(file) if name.endswith("parquet") else frame.to_csv(file, index=False)
    return str(file)


@pytest.fixture
def frame(tmp_path):
    """A table of 60 images: 20 patients of three pictures, two classes."""
    files = [put(tmp_path / "images" / f"{k}.png", picture(k)) for k in range(60)]
    patient = np.arange(60) // 3
    label = np.where(patient % 2, "ill", "well")
    return pd.DataFrame({"path": [f"images/{f.name}" for f in files], "label": label, "patient": patient})


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
    spaced = frame.assign(patient=[f"P{p}{' ' * (k % 2)}" for k, p in enumerate(frame["patient"])])
    named = frame.assign(patient="P" + frame["patient"].astype(str))
    assert [d.fingerprint for d in splits(table(tmp_path, spaced, "spaced.csv"))] == [
        d.fingerprint for d in splits(table(tmp_path, named, "named.csv"))
    ]


@pytest.mark.parametrize(
    ("labels", "task", "names", "first"),
    [
        (["b", "a"] * 30, "binary", ("a", "b"), 1),
        ([3, 10, 5] * 20, "multiclass", ("3", "5", "10"), 0),
        ([2.0, 1.0] * 30, "binary", ("1", "2"), 1),
        ([True, False] * 30, "binary", ("False", "True"), 1),
        (["None", "cyst"] * 30, "binary", ("None", "cyst"), 0),
    ],
)
def test_labels_of_every_kind(frame, tmp_path, labels, task, names, first):
    rows = frame[["path"]].assign(label=labels, split=["train", "train", "test", "val"] * 15)
    d = load(table(tmp_path, rows), "train")
    assert (d.task, d.class_names, d.labels[0]) == (task, names, first)


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
    masked = frame.assign(mask=["masks/spot.png", None, None] * 20)
    d = load(table(tmp_path, masked, "masked.csv"), "train", size=8)
    assert d.masks.shape == (42, 8, 8) and d.masks.dtype == bool
    full = d.masks.any((1, 2))
    assert full.sum() == 14 and (d.masks[full] == (spot > 0)[::4, ::4]).all()
    (tmp_path / "bad.png").write_bytes(b"nothing")
    masked = table(tmp_path, frame.assign(mask=["bad.png"] + ["masks/spot.png"] * 59), "bad.csv")
    with pytest.raises(ValueError, match=r"images/0.png: its mask .*bad.png: no image that OpenCV"):
        load(masked)
    train, *rest = splits(masked, skip_unreadable=True)
    assert len(train) + sum(map(len, rest)) == 59 and train.masks[:, :8, 8:].all()


def test_tables_as_other_programs_save_them(frame, tmp_path, monkeypatch):
    file = table(tmp_path, frame)
    monkeypatch.chdir(tmp_path / "images")
    absolute = frame.assign(path=[str(tmp_path / p) for p in frame["path"]])
    assert load(table(tmp_path, absolute, "absolute.csv")).fingerprint == load(file).fingerprint
    (tmp_path / "a.CSV").write_text(frame.to_csv())  # with its index
    assert load(str(tmp_path / "a.CSV")).fingerprint == load(file).fingerprint


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"path;label\na.png;x\n", "there is one column, 'path;label': separate the columns by commas"),
        ("path,label\na.png,Grün\n".encode("latin-1"), "no table in UTF-8 that can be read"),
        (b"", "no table in UTF-8 that can be read"),
        (b"label\nx\n", "a column 'path' and rows are needed; there are 1 rows and label"),
        (b"path,label\n", "a column 'path' and rows are needed; there are 0 rows and path, label"),
        (b"path,label\na.png,NA\n", "column 'label' is empty in 1 of 1 rows"),
    ],
)
def test_tables_that_are_none(tmp_path, content, match):
    (tmp_path / "own.csv").write_bytes(content)
    refuse(tmp_path / "own.csv", f"own.csv: .*{match}")
    (tmp_path / "own.parquet").write_bytes(b"no table")
    refuse(tmp_path / "own.parquet", "own.parquet: this is no table")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (dict(label=[1.0, np.nan] * 30), r"column 'label' is empty in 30 of 60 rows, first in row 2"),
        (dict(label=[1.5, 2.0] * 30), r"'label' is no whole number in 30 of 60 rows, first in row 1: 1.5"),
        (dict(label="ill"), r"the number of classes is 1 \(ill\)"),
        (dict(label=list(range(60))), "too few to make a split"),
        (dict(path="../secret.png"), r"'path' leads out of .* in 60 of 60 rows, .*'../secret.png'"),
        (dict(path="/etc/hostname"), r"leads out of"),
        (dict(path="images/none.png"), r"'path' names no file in 60 of 60 rows, .*'images/none.png'; paths"),
        (dict(path=None), "column 'path' is empty in 60"),
        (
            dict(split=["train", "holdout"] * 30),
            "'split' is no split in 30 .*'holdout'; the splits are train",
        ),
        (dict(split=["train", "test", "val"] * 20), "'patient' is in more than one split in 60 .*: 0; leave"),
        (dict(file="a"), r"columns path, file may all be the path"),
        (dict(mask="images/none.png"), "column 'mask' names no file"),
        (dict(label=None), "column 'label' is empty"),
    ],
)
def test_bad_tables(frame, tmp_path, changes, match):
    refuse(table(tmp_path, frame.assign(**changes)), match)


def test_tables_without_labels(frame, tmp_path):
    rest = frame[["path"]]
    refuse(table(tmp_path, rest), "there are no labels: give a column 'label'")
    refuse(table(tmp_path, rest.assign(age=40)), r"'age' is neither 0 nor 1 in 60 .*: 40; without a column")
    graded = table(tmp_path, rest.assign(grade=["mild", "none", "severe"] * 20))
    refuse(graded, "'grade' is no whole number in 60 of 60 rows, first in row 1: 'mild'; give whole numbers")


@pytest.mark.parametrize("seed", range(5))
def test_a_class_of_few_is_in_every_split(frame, tmp_path, seed):
    rare = frame["patient"].isin([4, 9, 15])
    file = table(tmp_path, frame.assign(label=frame["label"].where(~rare, "rare")))
    found = splits(file, seed=seed)
    assert all(min(d.counts.values()) >= 1 for d in found), [d.counts for d in found]
    assert found[0].counts["rare"] == 3
    hernia = np.isin(np.arange(60), [3, 20, 41, 58]).astype(int)
    many = table(tmp_path, frame[["path"]].assign(mass=[0, 1] * 30, hernia=hernia), "many.csv")
    assert all(d.counts["hernia"] >= 1 for d in splits(many, seed=seed))


# One file


@pytest.mark.parametrize(
    ("name", "colours"), [("a.png", 1), ("a.png", 3), ("a.png", 4), ("a.bmp", 3), ("a.jpg", 3)]
)
def test_what_pillow_reads(tmp_path, name, colours):
    file = put(tmp_path / name, picture(3, 24, colours))
    with Image.open(file) as image:
        theirs = np.asarray(image).reshape(24, 24, -1)[..., :3]
    ours = decode.read(file)
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs).max() <= (2 if name == "a.jpg" else 0)
    grey, three = (decode.fit(ours, size=0, channels=n, levels=255) for n in (1, 3))
    luma = ours @ [0.299, 0.587, 0.114] if colours > 1 else ours[..., 0]
    assert grey.shape == (24, 24, 1) and np.abs(grey[..., 0] - luma).max() < 0.51
    assert (three == ours).all() and three.shape == (24, 24, 3)
    small = decode.fit(ours, size=12, channels=3, levels=255)
    assert np.abs(small - three.reshape(12, 2, 12, 2, 3).mean((1, 3))).max() <= 0.5  # by area


def test_a_jpeg_that_was_cut_off_is_refused(tmp_path):
    small, large = Image.fromarray(picture(1, side=32)), Image.fromarray(picture(2, side=256))
    small.save(tmp_path / "small.jpg")
    thumbnail = b"Exif\0\0" + (tmp_path / "small.jpg").read_bytes()
    for options in ({}, {"exif": thumbnail}):
        large.save(tmp_path / "a.jpg", **options)
        content = (tmp_path / "a.jpg").read_bytes()
        (tmp_path / "a.jpg").write_bytes(content + b"\0\0")  # padded
        assert decode.read(tmp_path / "a.jpg").shape == (256, 256, 1)
        (tmp_path / "a.jpg").write_bytes(content[: len(content) * 6 // 10])
        with pytest.raises(decode.UnreadableError, match="cut off: a JPEG without its end"):
            decode.read(tmp_path / "a.jpg")
    named = put(tmp_path / "b.png", picture()).rename(tmp_path / "b.jpg")  # OpenCV looks at what it is
    assert decode.read(named).shape == (16, 16, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_stored_as_nothing_and_several_pages(tmp_path, dtype):
    image, file = picture(5, dtype=dtype), tmp_path / "a.tif"
    for kind, wanted in (("minisblack", image), ("miniswhite", np.iinfo(dtype).max - image)):
        tifffile.imwrite(file, image, photometric=kind)
        assert (decode.read(file)[..., 0] == wanted).all(), kind
    tifffile.imwrite(file, np.stack([image, image]), photometric="minisblack")
    with pytest.raises(decode.UnreadableError, match="2 pictures in one file; give one file for each"):
        decode.read(file)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("height", [10_001, 20_000])
def test_a_huge_image_in_a_tiny_file_is_not_decoded(tmp_path, height):
    Image.new("1", (10_000, height)).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 65536
    with pytest.raises(decode.UnreadableError, match=r"pixels.*; cut it into tiles or make it smaller"):
        decode.read(tmp_path / "a.png")


def dicom(file, pixels, **changes):
    """A DICOM file of these stored values."""
    file.parent.mkdir(parents=True, exist_ok=True)
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[str(file)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d = pydicom.Dataset()
    d.file_meta, d.SOPClassUID, d.SOPInstanceUID = meta, meta.MediaStorageSOPClassUID, "1.2.3"
    d.Rows, d.Columns = pixels.shape
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 12, 11, 0
    for key, value in changes.items():
        setattr(d, key, value)
    d.PixelData = pixels.astype(np.uint16).tobytes()
    d.save_as(file, enforce_file_format=True)
    return file


@pytest.mark.parametrize(
    "window",
    [
        dict(WindowCenter=40, WindowWidth=400, RescaleSlope=1, RescaleIntercept=-1024),
        dict(WindowCenter=[900, 40], WindowWidth=[1500, 80]),
        dict(WindowCenter=600.5, WindowWidth=300, VOILUTFunction="LINEAR_EXACT"),
        dict(WindowCenter=1000, WindowWidth=900, PhotometricInterpretation="MONOCHROME1"),
    ],
)
def test_dicom_goes_through_its_window(tmp_path, window):
    stored = np.arange(4096).reshape(64, 64)
    file = dicom(tmp_path / "a.dcm", stored, **window)
    ours = decode.read(file)[..., 0]
    dataset = pydicom.dcmread(file)
    theirs = pydicom.pixels.apply_voi_lut(pydicom.pixels.apply_modality_lut(stored, dataset), dataset)
    theirs = (theirs - theirs.min()) / np.ptp(theirs) * 255
    theirs = 255 - theirs if "PhotometricInterpretation" in window else theirs
    assert ours.dtype == np.uint8 and np.abs(ours - theirs).max() < 0.51


def test_dicom_by_its_content_whatever_it_is_called(tmp_path):
    stored = 1000 + picture(3, dtype=np.uint16, side=8) // 32
    named, uid = (dicom(tmp_path / name, stored) for name in ("a.dcm", "1.2.840.10008.5.1"))
    assert (decode.read(uid) == decode.read(named)).all()
    bare = put(tmp_path / "a.png", picture(4)).rename(tmp_path / "scan")
    assert (decode.read(bare)[..., 0] == picture(4)).all()
    assert listing.is_image(uid) and not listing.is_image(bare)
    for k in range(20):
        dicom(tmp_path / "scans" / "ab"[k % 2] / f"IM{k}", stored + k)
    test = load(str(tmp_path / "scans"))  # without a window: from the darkest to the brightest
    assert test.images.shape == (4, 8, 8, 1) and test.images.min() == 0 and test.images.max() == 255


def test_padding_is_black_in_both_senses_of_grey(tmp_path, monkeypatch):
    stored = np.full((8, 8), 600)
    stored[:, :2], stored[4, 4] = 0, 100
    for kind, bright in (("MONOCHROME1", 100), ("MONOCHROME2", 600)):
        file = dicom(tmp_path / "a.dcm", stored, PhotometricInterpretation=kind, PixelPaddingValue=0)
        image = decode.read(file)[..., 0]
        assert (image[:, :2] == 0).all() and (image[stored == bright] == 255).all()
    monkeypatch.setattr(decode, "MOST_PIXELS", 50)
    with pytest.raises(decode.UnreadableError, match="8x8 pixels are more than 50"):
        decode.read(file)


# All files of a set, and the cache


def test_sixteen_bits_are_scaled_alike_in_a_set(folder):
    top = folder("train", "val", "test", count=2, dtype=np.uint16)
    for file in top.rglob("*.png"):
        put(file, cv2.imread(str(file), cv2.IMREAD_UNCHANGED) >> 4)  # 12 bits, as many detectors have
    test = load(str(top))
    stored = cv2.imread(str(top / "test" / "ill" / "0.png"), cv2.IMREAD_UNCHANGED)
    assert (test.images[0, ..., 0] == np.rint(stored / 4095 * 255)).all()


def test_decoded_once_and_again_when_a_file_changes(folder, monkeypatch, home):
    top = folder("train", "val", "test", count=3)
    read, reads = decode.read, []
    monkeypatch.setattr(decode, "read", lambda file: reads.append(file) or read(file))
    first = splits(top)
    assert len(reads) == 19  # every file, and the first to see its kind
    assert [d.fingerprint for d in splits(top)] == [d.fingerprint for d in first] and len(reads) == 19
    put(top / "test" / "ill" / "1.png", picture(999))
    os.utime(top / "test" / "ill" / "1.png", ns=(1, 1))
    test = load(str(top))
    assert (test.images[1, ..., 0] == picture(999)).all() and len(reads) == 38
    assert not list((home / "data" / "cache").glob(".*"))
    with pytest.raises(ValueError, match="read-only"):  # as it lies on the disk
        test.images[:] = 0


@pytest.mark.parametrize("lost", ["images.npy", "json"])
def test_a_cache_that_is_not_whole_is_made_again(whole, lost):
    first = load(str(whole)).fingerprint
    file = next(decode.cache().glob(f"mine-*.{lost}"))
    file.write_bytes(file.read_bytes()[:-20])
    assert load(str(whole)).fingerprint == first
    file.unlink()
    assert load(str(whole)).fingerprint == first


def test_a_full_disk_leaves_nothing(whole, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"could not write .*: No space left on device; nothing was changed"):
        load(str(whole))
    assert not list(decode.cache().iterdir())


def test_what_was_unreadable_is_tried_again(whole, monkeypatch):
    def broken(file):
        raise decode.UnreadableError("no decoder")

    with monkeypatch.context() as patched:
        patched.setattr(decode, "read", broken)
        refuse(whole, "12 of 12 images .*no decoder.* cannot be used")
    assert len(load(str(whole))) == 4


def test_unreadable_images_are_named_counted_and_skipped_on_demand(folder):
    top = folder("train", "val", "test", count=4)
    (top / "train" / "ill" / "0.png").write_bytes(b"")
    (top / "train" / "ill" / "1.png").write_bytes((top / "train" / "ill" / "2.png").read_bytes()[:60])
    (top / "test" / "well" / "3.png").write_text("not a picture")
    put(top / "val" / "well" / "0.png", picture(side=1).reshape(1, 1))
    told = r"4 of 24 images .*0.png: zero bytes; .*1.png: no image that.*0.png: 1x1 pixels.*"
    refuse(top, f"{told} cannot be used. Repair or remove them, or give skip_unreadable=True")
    for _ in range(2):  # decoded, and from the cache
        with pytest.warns(UserWarning, match=f"{told} are left out"):
            found = splits(top, skip_unreadable=True)
        assert [len(d) for d in found] == [6, 7, 7]
        expected = [picture(k) for k in (2, 3, 20, 21, 22, 23)]
        assert (found[0].images[..., 0] == expected).all()
        assert (found[2].images[-1, ..., 0] == picture(222)).all()
    for file in top.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"24 of 24 images .* cannot be used"):
        load(str(top), skip_unreadable=True)


def test_images_of_different_kinds(whole):
    put(whole / "val" / "ill" / "1.png", picture(5, colours=3))
    refuse(
        whole,
        r"val/ill/1.png is 16x16 pixels, RGB, 8 bit, the first 16x16 pixels, grey, 8 bit; give channels=1",
    )
    assert load(str(whole), channels=3).channels == 3 and load(str(whole), channels=1).channels == 1
    put(whole / "val" / "ill" / "1.png", picture(5, side=20))
    with pytest.raises(ValueError, match=r"1.png is 20x20 pixels, .*; give size=, the side in pixels"):
        load(str(whole))
    assert load(str(whole), "val", size=16).images.shape == (4, 16, 16, 1)
    put(whole / "val" / "ill" / "1.png", picture(5, dtype=np.uint16))
    with pytest.raises(ValueError, match=r"grey, 16 bit, the first .* 8 bit; store all in 8 or all"):
        load(str(whole))


def test_a_run_of_a_folder_finds_its_data_again(folder):
    began = dict(dataset=str(folder(count=20)), size=8, limit=6, seed=3, channels=3, skip_unreadable=True)
    stage = Stage("01_augment", config.judge("01_augment", began))
    stage.load(*data.SPLITS)
    stage.keep()
    assert data.load_run(stage.run, "val").images.shape == (4, 8, 8, 3)
