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
from medrob.data import cache, class_folders, decode, load, npz
from medrob.data import splits as splits_of
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


def splits(source, **options):
    return [load(str(source), split, **options) for split in data.SPLITS]


# Folders


@pytest.mark.parametrize(
    "roots", [("train", "val", "test"), ("Training", "Validation", "Testing"), ("TRAIN", "valid", "Test")]
)
def test_split_folders(folder, roots):
    train, val, test = splits(folder(*roots, count=3))
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
    assert load(str(top), "train").counts["ill"] + load(str(top), "val").counts["ill"] == 11
    assert load(str(top)).counts == {"ill": 10, "well": 10}


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


@pytest.mark.parametrize(
    ("labels", "task", "names", "first"),
    [
        (["b", "a"] * 30, "binary", ("a", "b"), 1),
        ([3, 10, 5] * 20, "multiclass", ("3", "5", "10"), 0),
        ([2.0, 1.0] * 30, "binary", ("1", "2"), 1),
        ([True, False] * 30, "binary", ("False", "True"), 1),
    ],
)
def test_labels_of_every_kind(frame, tmp_path, labels, task, names, first):
    rows = frame[["path"]].assign(label=labels, split=["train", "train", "test", "val"] * 15)
    file = table(tmp_path, rows)
    d = load(file, "train")
    assert (d.task, d.class_names, d.labels[0]) == (task, names, first)


def test_several_labels_grades_and_masks(frame, tmp_path):
    rest = frame[["path"]]
    many = rest.assign(effusion=[0, 1] * 30, mass=[0, 0, 1] * 20, hernia=[1] + [0] * 59)
    d = load(table(tmp_path, many, "many.csv"), "train")
    assert (d.task, d.class_names, d.labels.shape) == ("multilabel", ("effusion", "mass", "hernia"), (42, 3))
    assert load(table(tmp_path, rest.assign(grade=[0, 1, 2] * 20), "grade.csv")).task == "ordinal"
    assert load(table(tmp_path, rest.assign(oedema=[0, 1] * 30), "one.csv")).class_names == (
        "no oedema",
        "oedema",
    )
    spot = np.zeros((32, 32), np.uint8)
    spot[:16, 16:] = 255
    put(tmp_path / "masks" / "spot.png", spot)
    masked = frame.assign(mask=["masks/spot.png", None, None] * 20)
    d = load(table(tmp_path, masked, "masked.csv"), "train", size=8)
    assert d.masks.shape == (42, 8, 8) and d.masks.dtype == bool
    full = d.masks.any((1, 2))
    assert full.sum() == 14 and (d.masks[full] == (spot > 0)[::4, ::4]).all()


def test_paths_start_at_the_table(frame, tmp_path, monkeypatch):
    file = table(tmp_path, frame)
    monkeypatch.chdir(tmp_path / "images")
    assert len(load(file)) == 12
    absolute = frame.assign(path=[str(tmp_path / p) for p in frame["path"]])
    assert load(table(tmp_path, absolute, "absolute.csv")).fingerprint == load(file).fingerprint


# Decoding


def test_grey_rgb_and_rgba_are_what_pillow_reads(tmp_path):
    shape = dict(side=24)
    for name, colours in (("grey.png", 1), ("rgb.png", 3), ("rgba.png", 4), ("rgb.bmp", 3), ("rgb.jpg", 3)):
        file = put(tmp_path / name, picture(3, colours=colours, **shape))
        with Image.open(file) as image:
            theirs = np.asarray(image).reshape(24, 24, -1)[..., :3]
        ours = decode.read(file)
        assert ours.shape == theirs.shape
        assert np.abs(ours.astype(int) - theirs).max() <= (2 if name == "rgb.jpg" else 0)
    grey = decode.fit(decode.read(tmp_path / "rgb.png"), size=0, channels=1, levels=255)
    luma = decode.read(tmp_path / "rgb.png") @ [0.299, 0.587, 0.114]
    assert grey.shape == (24, 24, 1) and np.abs(grey[..., 0] - luma).max() < 0.51
    three = decode.fit(decode.read(tmp_path / "grey.png"), size=0, channels=3, levels=255)
    assert (three == decode.read(tmp_path / "grey.png")).all() and three.shape == (24, 24, 3)


def test_resized_by_area(tmp_path):
    file = put(tmp_path / "a.png", picture(side=32))
    small = decode.fit(decode.read(file), size=16, channels=1, levels=255)[..., 0]
    worked = picture(side=32).reshape(16, 2, 16, 2).mean((1, 3))
    assert np.abs(small - worked).max() <= 0.5


def test_sixteen_bits_are_scaled_alike_in_a_set(folder):
    top = folder("train", "val", "test", count=2, dtype=np.uint16)
    for file in top.rglob("*.png"):
        put(file, cv2.imread(str(file), cv2.IMREAD_UNCHANGED) >> 4)  # 12 bits, as many detectors have
    test = load(str(top))
    stored = cv2.imread(str(top / "test" / "ill" / "0.png"), cv2.IMREAD_UNCHANGED)
    assert (test.images[0, ..., 0] == np.rint(stored / 4095 * 255)).all()


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


def test_dicom_without_a_window_or_a_suffix(tmp_path):
    for name in ("ill", "well"):
        for k in range(10):
            dicom(tmp_path / "scans" / name / f"IM{k}", 1000 + picture(k, dtype=np.uint16, side=8) // 32)
    test = load(str(tmp_path / "scans"))
    assert test.images.shape == (4, 8, 8, 1) and test.images.min() == 0 and test.images.max() == 255


# The cache


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


def test_images_stay_on_the_disk_and_cannot_be_changed_there(folder):
    top = folder("train", "val", "test", count=3)
    test = load(str(top))
    assert isinstance(test.images.base, np.memmap) or isinstance(test.images, np.memmap)
    assert isinstance(test[1:3].images.base, np.ndarray)  # a view
    with pytest.raises(ValueError, match="read-only"):
        test.images[:] = 0


def test_a_large_npz_is_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "LARGE", 1000)
    content = {f"{s}_images": np.stack([picture(k) for k in range(9)]) for s in data.SPLITS}
    content |= {f"{s}_labels": np.arange(9) % 3 for s in data.SPLITS}
    np.savez_compressed(tmp_path / "big.npz", **content)
    for size, shape in ((0, (9, 16, 16, 1)), (12, (9, 12, 12, 1))):
        mapped = load(str(tmp_path / "big.npz"), size=size)
        monkeypatch.setattr(npz, "LARGE", 10**9)
        inside = load(str(tmp_path / "big.npz"), size=size)
        monkeypatch.setattr(npz, "LARGE", 1000)
        assert mapped.images.shape == shape and mapped.fingerprint == inside.fingerprint
        assert isinstance(mapped.images.base, np.memmap) or isinstance(mapped.images, np.memmap)


def test_a_run_of_a_folder_finds_its_data_again(folder):
    source = str(folder(count=20))
    began = dict(dataset=source, size=8, limit=6, seed=3, channels=3, skip_unreadable=True)
    stage = Stage("01_augment", config.judge("01_augment", began))
    stage.load(*data.SPLITS)
    stage.keep()
    assert data.load_run(stage.run, "val").images.shape == (4, 8, 8, 3)


# Pictures in two splits


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
    with pytest.warns(
        UserWarning, match=r"mine: 1 pictures are in more than one split, such as train 1, test 2"
    ):
        data.check_splits(*found)
    assert [facts["duplicates"] for facts in data.describe(*found).values()] == [1, 0, 1]


# Refusals


def refuse(source, match, error=ValueError, **options):
    with pytest.raises(error, match=match):
        load(str(source), **options)
    assert not list((data.cache.folder()).glob("*images.npy"))


def test_bad_folders(folder, tmp_path):
    top = folder("train", "test", count=1)
    (top / "train" / "neither").mkdir()
    refuse(top, r"class folder .*train/neither is empty")
    (top / "train" / "neither").rmdir()
    (top / "loose").mkdir()
    refuse(top, r"holds the split test and beside it loose: give either class folders or split")
    (top / "loose").rmdir()
    refuse(top, "has 2 images, 1 images in its largest class: too few to make a split")
    refuse(top / "train" / "ill", "ill has no class folders: make one for each class")
    refuse(top / "none", "no file or folder", FileNotFoundError)
    (tmp_path / "notes.txt").write_text("")
    refuse(tmp_path / "notes.txt", r"give an .npz, a .csv or .parquet table, or a folder")
    (tmp_path / "single" / "ill").mkdir(parents=True)
    put(tmp_path / "single" / "ill" / "a.png", picture())
    refuse(tmp_path / "single", r"the number of classes is 1 \(ill\); a classifier needs 2 to 1000")
    (tmp_path / "only" / "test" / "b").mkdir(parents=True)


def test_a_link_that_leads_back(folder):
    top = folder("train", "test")
    (top / "train" / "ill" / "again").symlink_to(top / "train")
    (top / "train" / "well" / "self").symlink_to(top / "train" / "well" / "self")
    with pytest.raises(
        ValueError, match=r"again/ill/again is a link that leads back|is a link that leads back"
    ):
        load(str(top))


def test_a_split_that_lacks_training_images(folder):
    refuse(folder("val", "test", count=2), "has no training images; it has test, val")


def test_more_classes_in_test_than_in_train(folder):
    top = folder("train", "val", "test", count=2)
    put(top / "test" / "odd" / "1.png", picture(5))
    found = splits(top)
    assert all(d.class_names == ("ill", "odd", "well") for d in found)
    with pytest.raises(ValueError, match=r"split 'train' .* has none of class odd"):
        data.check_splits(*found)


def test_unreadable_images_are_named_counted_and_skipped_on_demand(folder):
    top = folder("train", "val", "test", count=4)
    (top / "train" / "ill" / "0.png").write_bytes(b"")
    (top / "train" / "ill" / "1.png").write_bytes((top / "train" / "ill" / "2.png").read_bytes()[:60])
    (top / "test" / "well" / "3.png").write_text("not a picture")
    put(top / "val" / "well" / "0.png", picture(side=1).reshape(1, 1))
    match = (
        r"4 of 24 images cannot be used: .*0.png \(zero bytes\).*1.png \(no image that.*0.png \(1x1 pixels"
    )
    refuse(top, match)
    found = splits(top, skip_unreadable=True)
    assert [len(d) for d in found] == [6, 7, 7]
    assert (found[0].images[0, ..., 0] == picture(2)).all()
    for file in top.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(ValueError, match="none of 24 images can be read"):
        load(str(top), skip_unreadable=True)


def test_huge_images_are_refused_before_they_are_decoded(folder, monkeypatch):
    monkeypatch.setattr(decode, "MOST_PIXELS", 200 * 200)
    top = folder("train", "val", "test", count=1)
    put(top / "test" / "ill" / "0.png", picture(side=300))
    refuse(top, r"300x300 pixels are more than 40,000; cut it into tiles", size=16)


def test_images_of_different_kinds(folder):
    top = folder("train", "val", "test", count=2)
    put(top / "val" / "ill" / "1.png", picture(5, colours=3))
    refuse(top, r"1 of 12 images, such as .*val/ill/1.png, are not grey like the first; give channels=1")
    assert load(str(top), channels=3).channels == 3 and load(str(top), channels=1).channels == 1
    put(top / "val" / "ill" / "1.png", picture(5, side=20))
    with pytest.raises(
        ValueError, match=r"1 of 12 images, .* are not of 16x16 pixels like the first; give size="
    ):
        load(str(top))
    assert load(str(top), "val", size=16).images.shape == (4, 16, 16, 1)
    put(top / "val" / "ill" / "1.png", picture(5, dtype=np.uint16))
    with pytest.raises(ValueError, match="have 16 bit and the first has 8"):
        load(str(top))
    with pytest.raises(ValueError, match=r"channels=2: give 1 \(grey\), 3 \(RGB\)"):
        load(str(top), channels=2)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (dict(label=[1.0, np.nan] * 30), r"column 'label' is empty in 30 of 60 rows, first in row 2"),
        (dict(label=[1.5, 2.0] * 30), r"label 1.5 in row 1 is no class"),
        (dict(label="ill"), r"the number of classes is 1 \(ill\)"),
        (dict(label=list(range(60))), None),
        (dict(path="../secret.png"), r"60 of 60 paths in column 'path' lead out of .*'../secret.png'"),
        (dict(path="/etc/hostname"), r"lead out of"),
        (dict(path="images/none.png"), r"60 of 60 files in column 'path' are not there, such as .*none.png"),
        (dict(path=None), "column 'path' is empty in 60"),
        (dict(split=["train", "holdout"] * 30), "'holdout' is no split; the splits are train, val, test"),
        (
            dict(split=["train", "test", "val"] * 20),
            r"20 groups .column 'patient'. are in more than one split",
        ),
        (dict(file="a"), r"columns path, file may all be the path"),
        (dict(mask="images/none.png"), "column 'mask' are not there"),
    ],
)
def test_bad_tables(frame, tmp_path, changes, match):
    file = table(tmp_path, frame.assign(**changes))
    refuse(file, match or "too few to make a split")


def test_tables_without_labels_or_paths(frame, tmp_path):
    refuse(table(tmp_path, frame[["label"]]), "has no column 'path'; it has label")
    refuse(table(tmp_path, frame[["path"]]), "has no labels: give a column 'label'")
    refuse(
        table(tmp_path, frame[["path"]].assign(age=40)), r"column 'age' holds 40; without a column 'label'"
    )
    refuse(table(tmp_path, frame[:0]), "has no rows")
    (tmp_path / "bad.parquet").write_bytes(b"no table")
    refuse(tmp_path / "bad.parquet", "is not a table that can be read")
    (tmp_path / "empty.csv").write_bytes(b"")
    refuse(tmp_path / "empty.csv", "is not a table that can be read")


def test_a_full_disk_leaves_nothing(folder, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    top = folder("train", "val", "test", count=2)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"could not write .*: No space left on device; nothing was changed"):
        load(str(top))
    assert [f.suffix for f in cache.folder().iterdir()] == [".json"]  # what is known of the files


def test_a_jpeg_that_was_cut_off_is_refused(tmp_path):
    file = tmp_path / "a.jpg"
    cv2.imwrite(str(file), np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))
    assert decode.read(file).shape == (64, 64, 1)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(decode.UnreadableError, match="cut off: a JPEG without its end"):
        decode.read(file)
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((8, 8), np.uint8))
    named = (tmp_path / "b.png").rename(tmp_path / "b.jpg")  # OpenCV looks at what it is
    assert decode.read(named).shape == (8, 8, 1)


def test_a_cut_off_jpeg_with_a_thumbnail_is_refused(tmp_path):
    small, whole = Image.fromarray(picture(1, side=32)), Image.fromarray(picture(2, side=256))
    small.save(tmp_path / "small.jpg")
    thumbnail = b"Exif\0\0" + (tmp_path / "small.jpg").read_bytes()
    whole.save(tmp_path / "a.jpg", exif=thumbnail)
    content = (tmp_path / "a.jpg").read_bytes()
    assert thumbnail[-40:] in content and decode.read(tmp_path / "a.jpg").shape == (256, 256, 1)
    (tmp_path / "a.jpg").write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(decode.UnreadableError, match="a JPEG without its end"):
        decode.read(tmp_path / "a.jpg")


def test_none_is_a_class_and_na_is_nothing(tmp_path):
    for i in range(20):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((8, 8), i, np.uint8))
    rows = "".join(f"{i}.png,{('None', 'cyst')[i % 2]}\n" for i in range(20))
    (tmp_path / "a.csv").write_text("path,label\n" + rows)
    assert set(load(tmp_path / "a.csv", "train").class_names) == {"None", "cyst"}
    (tmp_path / "b.csv").write_text("path,label\n" + rows.replace("None", "NA"))
    with pytest.raises(ValueError, match="'label' is empty in 10 of 20 rows"):
        load(tmp_path / "b.csv", "train")


def test_folders_of_one_name_in_two_places_are_two_sets(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDROB_HOME", str(tmp_path / "home"))
    for place, level in (("one", 20), ("two", 200)):
        for name in ("a", "b"):
            for i in range(10):
                file = tmp_path / place / "images" / name / f"{i}.bmp"
                file.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(file), np.full((8, 8), level + i, np.uint8))
                os.utime(file, (1, 1))
    means = []
    for place in ("one", "two"):
        monkeypatch.chdir(tmp_path / place)
        means.append(load("images", "train").images.mean())
    assert means[0] < 50 < 150 < means[1]


def test_what_is_left_out_is_named(tmp_path):
    for name in ("a", "b"):
        for i in range(10):
            file = tmp_path / name / f"{i}.png"
            file.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(file), np.full((8, 8), 10 * i, np.uint8))
    (tmp_path / "a" / "zero.png").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"1 of 21 images are left out: .*zero.png \(zero bytes\)"):
        load(tmp_path, "train", skip_unreadable=True)


# Splits that are made


@pytest.mark.parametrize("seed", range(5))
def test_a_class_of_three_patients_is_in_every_split(frame, tmp_path, seed):
    rare = frame["patient"].isin([4, 9, 15])
    file = table(tmp_path, frame.assign(label=frame["label"].where(~rare, "rare")))
    found = [load(file, split, seed=seed) for split in data.SPLITS]
    assert all(min(d.counts.values()) >= 1 for d in found), [d.counts for d in found]
    assert found[0].counts["rare"] == 3


@pytest.mark.parametrize("seed", range(5))
def test_a_label_of_few_images_is_in_every_split(frame, tmp_path, seed):
    hernia = np.isin(np.arange(60), [3, 20, 41, 58]).astype(int)
    many = frame[["path"]].assign(mass=[0, 1] * 30, hernia=hernia)
    found = [load(table(tmp_path, many), split, seed=seed) for split in data.SPLITS]
    assert all(d.counts["hernia"] >= 1 for d in found), [d.counts for d in found]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rare", [[3, 5], [6, 6, 6], [7, 7, 7, 7], [3] * 8])
def test_no_class_of_three_images_goes_missing(rare, seed):
    labels = np.repeat(np.arange(2 + len(rare)), [60, 40, *rare])
    made = splits_of.parts(labels, None, seed, ["test", "val"], "here")
    counts = np.stack([np.bincount(labels[made == name], minlength=2 + len(rare)) for name in data.SPLITS])
    assert (counts > 0).all(), counts
    assert abs(counts.sum(1) / len(labels) - [0.7, 0.1, 0.2]).max() < 0.08
    groups = np.arange(len(labels)) // 2  # pairs stay together, so that of three images one class has two
    together = splits_of.parts(labels, groups, seed, ["test", "val"], "here")
    assert all(len(set(together[groups == group])) == 1 for group in np.unique(groups))


def test_an_npz_without_val_and_test_is_split(tmp_path, home, monkeypatch):
    labels = np.arange(60) % 3
    images = np.arange(60, dtype=np.uint8)[:, None, None] * np.ones((8, 8), np.uint8)
    np.savez(tmp_path / "own.npz", train_images=images, train_labels=labels[:, None])
    found = [load(str(tmp_path / "own.npz"), split) for split in data.SPLITS]
    assert [len(d) for d in found] == [42, 6, 12]
    seen = np.concatenate([d.images[:, 0, 0, 0] for d in found])
    assert sorted(seen) == list(range(60)) and all(
        (d.images[:, 0, 0, 0] % 3 == d.labels).all() for d in found
    )
    assert load(str(tmp_path / "own.npz"), seed=1).fingerprint != found[2].fingerprint
    assert [d.class_names for d in found] == [("0", "1", "2")] * 3
    monkeypatch.setattr(npz, "LARGE", 100)
    mapped = [load(str(tmp_path / "own.npz"), split) for split in data.SPLITS]
    assert [d.fingerprint for d in mapped] == [d.fingerprint for d in found]
    assert len(list((home / "data" / "cache").glob("own-*-val-2-0.npy"))) == 1
    monkeypatch.undo()
    for labels in (
        np.full(60, 0.5),
        np.array(["a", "b"] * 30),
        np.arange(59),
        np.arange(60) - 1,
        np.array(3),
    ):
        np.savez(tmp_path / "bad.npz", train_images=images, train_labels=labels)
        with pytest.raises(ValueError, match=r"bad.npz: train_labels are .* give whole numbers from 0"):
            load(str(tmp_path / "bad.npz"))


def test_a_limit_keeps_rare_labels(tmp_path):
    labels = np.zeros((400, 5), int)
    labels[::2, 0] = 1
    for k in range(1, 5):
        labels[[7 * k, 90 + k, 200 + k], k] = 1
    few = data.subset(data.ImageDataset(np.zeros((400, 8, 8, 1), np.uint8), labels), 20, seed=0)
    assert len(few) == 20 and min(few.counts.values()) >= 1 and few.counts["0"] >= 5


def test_patients_are_the_same_with_a_space_after_them(frame, tmp_path):
    spaced = frame.assign(patient=[f"P{p}{' ' * (k % 2)}" for k, p in enumerate(frame["patient"])])
    assert [d.fingerprint for d in splits(table(tmp_path, spaced))] == [
        d.fingerprint
        for d in splits(table(tmp_path, frame.assign(patient="P" + frame["patient"].astype(str)), "b.csv"))
    ]


def test_folders_that_would_be_misread_are_refused(folder, tmp_path):
    top = folder("ill/train", "ill/test", "well/train", names=("x", "y"), count=2)
    with pytest.raises(ValueError, match=r"ill holds the split test: splits must be above the class folders"):
        load(str(top))
    wrapped = folder("wrap/chest/train", "wrap/chest/test", count=2) / "wrap"
    with pytest.raises(ValueError, match=r"wrap holds one folder, chest: give .*wrap/chest"):
        load(str(wrapped))


def test_a_class_folder_that_is_a_lost_link_is_refused(folder):
    top = folder(count=20)
    (top / "third").symlink_to(top / "nowhere")
    with pytest.raises(ValueError, match=r"third is a link to .*nowhere, which is not there"):
        load(str(top))


def test_folders_above_the_classes_that_are_no_splits_are_refused(folder):
    top = folder("fold_1", "fold_2", count=2)
    with pytest.raises(ValueError, match="fold_1, fold_2 all hold the folders ill, well; if those are the"):
        load(str(top))


def test_what_was_unreadable_is_tried_again(folder, monkeypatch):
    top = folder("train", "val", "test", count=2)

    def broken(file):
        raise decode.UnreadableError("no decoder")

    with monkeypatch.context() as patched, pytest.raises(ValueError, match="no decoder"):
        patched.setattr(decode, "read", broken)
        load(str(top))
    assert len(load(str(top))) == 4


def test_patients_in_folders_of_their_own_are_told(folder):
    top = folder(count=20)
    put(top / "ill" / "patient3" / "a.png", picture(901))
    with pytest.warns(UserWarning, match="ill contains subfolders, whose images are split one by one"):
        load(str(top))


def test_a_link_that_leads_nowhere_is_named(folder):
    top = folder("train", "val", "test", count=2)
    (top / "test" / "ill" / "lost.png").symlink_to(top / "nowhere.png")
    with pytest.raises(ValueError, match=r"1 of 13 images cannot be used: .*lost.png"):
        load(str(top))


def test_tables_as_other_programs_save_them(frame, tmp_path):
    (tmp_path / "a.CSV").write_text(frame.to_csv())  # with its index
    assert len(load(str(tmp_path / "a.CSV"))) == 12
    (tmp_path / "b.csv").write_text(frame.to_csv(index=False, sep=";"))
    with pytest.raises(
        ValueError, match="has one column, 'path;label;patient': separate the columns by commas"
    ):
        load(str(tmp_path / "b.csv"))
    (tmp_path / "c.csv").write_bytes("path,label\na.png,Grün\n".encode("latin-1"))
    with pytest.raises(ValueError, match="is not written in UTF-8"):
        load(str(tmp_path / "c.csv"))


def test_a_mask_that_cannot_be_read_is_the_one_that_is_named(frame, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    masked = frame.assign(mask=["bad.png"] + [None] * 59)
    with pytest.raises(ValueError, match=r"images/0.png \(its mask .*bad.png: no image that OpenCV"):
        load(table(tmp_path, masked))


def test_split_folders_by_the_names_that_downloads_have(folder):
    top = folder("training_set", "Validation Data", "test-images", count=2)
    (top / "__MACOSX" / "training_set").mkdir(parents=True)
    assert [len(d) for d in splits(top)] == [4, 4, 4]


def test_loose_images_beside_class_folders_are_told(folder):
    top = folder(count=20)
    put(top / "loose.png", picture(900))
    with pytest.warns(UserWarning, match=r"1 images lie beside class folders, in .*mine, and are left out"):
        load(str(top))


def test_grades_in_words_have_no_order(frame, tmp_path):
    graded = frame[["path"]].assign(grade=["mild", "none", "severe"] * 20)
    with pytest.raises(ValueError, match="grades must be integers, got 'mild'"):
        load(table(tmp_path, graded))


def test_a_file_named_like_a_medmnist_set_with_classes_of_its_own(tmp_path):
    arrays = {}
    for split in data.SPLITS:
        arrays |= {f"{split}_images": np.zeros((4, 8, 8), np.uint8), f"{split}_labels": np.arange(4) % 2}
    np.savez(tmp_path / "bloodmnist_mine.npz", **arrays)
    assert load(str(tmp_path / "bloodmnist_mine.npz")).class_names == ("0", "1")
    np.savez(tmp_path / "bloodmnist_64.npz", **arrays)
    assert "basophil" in load(str(tmp_path / "bloodmnist_64.npz")).class_names


@pytest.mark.parametrize("lost", ["images.npy", "json"])
def test_a_cache_that_is_not_whole_is_made_again(folder, home, lost):
    top = folder("train", "val", "test", count=2)
    first = load(str(top)).fingerprint
    file = next((home / "data" / "cache").glob(f"mine-*.{lost}"))
    file.write_bytes(file.read_bytes()[:-20])
    assert load(str(top)).fingerprint == first
    file.unlink()
    assert load(str(top)).fingerprint == first


def test_what_a_killed_decoding_left_is_removed(folder, home):
    left = home / "data" / "cache" / ".mine-1.images.npy.77.part"
    left.parent.mkdir(parents=True)
    left.touch()
    os.utime(left, (1, 1))
    load(str(folder("train", "val", "test", count=2)))
    assert not left.exists()


# Kinds of files


def test_dicom_by_its_content_whatever_it_is_called(tmp_path):
    stored = 1000 + picture(3, dtype=np.uint16, side=8) // 32
    named = dicom(tmp_path / "a.dcm", stored)
    uid = dicom(tmp_path / "1.2.840.10008.5.1", stored)
    assert (decode.read(uid) == decode.read(named)).all()
    png = put(tmp_path / "a.png", picture(4))
    bare = png.rename(tmp_path / "scan")
    assert (decode.read(bare)[..., 0] == picture(4)).all()
    assert class_folders.is_image(uid) and not class_folders.is_image(bare)


def test_padding_is_black_in_both_senses_of_grey(tmp_path):
    stored = np.full((8, 8), 600)
    stored[:, :2], stored[4, 4] = 0, 100
    for kind, bright in (("MONOCHROME1", 100), ("MONOCHROME2", 600)):
        file = dicom(tmp_path / "a.dcm", stored, PhotometricInterpretation=kind, PixelPaddingValue=0)
        image = decode.read(file)[..., 0]
        assert (image[:, :2] == 0).all() and (image[stored == bright] == 255).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_stored_as_nothing(tmp_path, dtype):
    image = picture(5, dtype=dtype)
    white = np.iinfo(dtype).max
    for kind, wanted in (("minisblack", image), ("miniswhite", white - image)):
        tifffile.imwrite(tmp_path / "a.tif", image, photometric=kind)
        assert (decode.read(tmp_path / "a.tif")[..., 0] == wanted).all(), kind


def test_several_pictures_in_one_file_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([picture(1), picture(2)]), photometric="minisblack")
    with pytest.raises(decode.UnreadableError, match="2 pages in one file; give one file for each picture"):
        decode.read(tmp_path / "a.tif")


def test_a_huge_dicom_is_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "MOST_PIXELS", 100)
    with pytest.raises(decode.UnreadableError, match="16x16 pixels are more than 100"):
        decode.read(dicom(tmp_path / "a.dcm", picture(1, dtype=np.uint16) // 16))


def test_a_huge_image_in_a_tiny_file_is_not_decoded(tmp_path):
    Image.new("1", (10_001, 10_000)).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 65536
    with pytest.raises(decode.UnreadableError, match="10001x10000 pixels are more than 100,000,000"):
        decode.read(tmp_path / "a.png")
