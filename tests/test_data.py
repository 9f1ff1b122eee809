import hashlib
import io
import pickle
import zipfile
from pathlib import Path

import medmnist
import numpy as np
import pytest
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from small_training import Evil

from medrob import config, data
from medrob.data import ImageDataset, load, phantom
from medrob.data.dataset import parts, subset
from medrob.stage import Stage


def arrays(count=12, classes=3, side=10, colours=None):
    """What an .npz in MedMNIST layout holds."""
    rng = np.random.default_rng(0)
    shape = (count, side, side) if colours is None else (count, side, side, colours)
    found = {}
    for split in data.SPLITS:
        found[f"{split}_images"] = rng.integers(0, 256, shape).astype(np.uint8)
        found[f"{split}_labels"] = (np.arange(count) % classes)[:, None].astype(np.uint8)
    return found


@pytest.fixture
def npz(tmp_path):
    """A function that writes an .npz, by default a valid one, and gives its path."""

    def write(name="own.npz", **changes):
        content = {k: v for k, v in (arrays() | changes).items() if v is not None}
        np.savez_compressed(tmp_path / name, **content)
        return str(tmp_path / name)

    return write


# The phantom, and names


def test_phantom():
    ds = load("phantom", "val", size=28, limit=30, seed=4)
    images, labels, masks = phantom.generate("val", size=28, limit=30, seed=4)
    assert (ds.images == images).all() and (ds.labels == labels).all() and (ds.masks == masks).all()
    assert (ds.task, ds.class_names, ds.split) == ("multiclass", phantom.CLASSES, "val")
    assert (ds.num_classes, ds.channels, len(ds), set(ds.counts.values())) == (3, 1, 30, {10})
    assert load("phantom", limit=1).images.shape == (1, 48, 48, 1)
    assert (load("phantom:0.9", "val", size=28, limit=30, seed=4).images != ds.images).any()


@pytest.mark.parametrize(
    ("dataset", "size", "message"),
    [
        ("phantom:high", 0, "give 'phantom' or 'phantom:0.8'"),
        ("phantom:nan", 0, r"give 'phantom' or 'phantom:0.8' \(confounder, 0-1"),
        ("phantom", 225, "size is 225; .* 28 to 224"),
        ("fantom", 0, "dataset='fantom' is unknown; .*pneumoniamnist"),
        ("", 0, "dataset='' is unknown"),
        ("breastmnist", 32, "MedMNIST comes in 28, 64, 128, 224 pixels"),
    ],
)
def test_bad_names_and_sizes(dataset, size, message):
    with pytest.raises(ValueError, match=message):
        load(dataset, size=size)


# Files of arrays


def test_npz_grey_and_rgb(npz):
    for colours in (None, 1, 3):
        content = arrays(colours=colours)
        ds = load(npz(**content), "train")
        assert ds.images.shape == (12, 10, 10, colours or 1) and ds.images.dtype == np.uint8
        assert (ds.images.ravel() == content["train_images"].ravel()).all()
    assert ds.labels.dtype == np.int64 and ds.labels.tolist() == [0, 1, 2] * 4
    assert (ds.name, ds.split, ds.task, ds.class_names) == ("own", "train", "multiclass", ("0", "1", "2"))


def test_npz_tasks(npz):
    assert load(npz(**arrays(classes=2))).task == "binary"
    assert load(npz(test_labels=np.arange(12) % 3)).labels.tolist() == [0, 1, 2] * 4
    many = {f"{split}_labels": np.eye(4, dtype=np.int8)[np.arange(12) % 3] for split in data.SPLITS}
    ds = load(npz(**many))
    assert (ds.task, ds.labels.shape) == ("multilabel", (12, 4))
    assert ds.counts == {"0": 4, "1": 4, "2": 4, "3": 0}
    file = npz(test_labels=np.zeros((12, 1), np.uint8), val_labels=np.ones((12, 1), np.uint8))
    for split in data.SPLITS:  # every split has the same classes
        assert (load(file, split).class_names, load(file, split).task) == (("0", "1", "2"), "multiclass")


def test_a_file_with_a_medmnist_name_has_its_classes(npz):
    ds = load(npz("bloodmnist_64.npz", **arrays(classes=8, colours=3)))
    assert ds.class_names[0] == "basophil" and ds.num_classes == 8
    assert load(npz("retinamnist.npz", **arrays(classes=5))).task == "ordinal"
    assert load(npz("bloodmnist_mine.npz")).class_names == ("0", "1", "2")
    with pytest.raises(ValueError, match=r"from 0 to 2, outside the 2 classes \(malignant, normal"):
        load(npz("breastmnist.npz"))


def test_paths_start_here_or_at_home(npz, home, monkeypatch):
    content = Path(npz()).read_bytes()
    (home / "data").mkdir()
    (home / "data" / "far.npz").write_bytes(content)
    assert len(load("data/far.npz")) == 12
    monkeypatch.chdir(Path(npz()).parent)
    assert len(load("own.npz")) == 12
    with pytest.raises(FileNotFoundError, match=r"no file or folder 'none.npz', neither in .* nor in"):
        load("none.npz")
    Path("notes.xlsx").write_text("")
    with pytest.raises(ValueError, match=r"'notes.xlsx': give an .npz, a table .*, or a folder"):
        load("notes.xlsx")


def test_resize(npz):
    labels, flat = np.zeros((12, 1), int), np.full((12, 10, 10, 3), (10, 20, 30), np.uint8)
    left = np.zeros((12, 10, 10), np.uint8)
    left[:, :, :5] = 200
    assert (load(npz(test_images=flat, test_labels=labels), size=7).images == flat[:, :7, :7]).all()
    small = load(npz(test_images=left, test_labels=labels), size=2)
    assert small.images[..., 0].tolist() == [[[200, 0], [200, 0]]] * 12  # area average: exact halves
    large = load(npz(test_images=left, test_labels=labels), size=20)
    assert large.images.shape == (12, 20, 20, 1) and large.images[0, 0, [0, -1], 0].tolist() == [200, 0]
    assert load(npz(), size=10).fingerprint == load(npz()).fingerprint


def test_an_npz_without_val_and_test_is_split(npz):
    absent = {f"{split}_{what}": None for split in ("val", "test") for what in ("images", "labels")}
    images = np.arange(60, dtype=np.uint8)[:, None, None] * np.ones((8, 8), np.uint8)
    file = npz(**absent, train_images=images, train_labels=np.arange(60) % 3)
    found = data.load_splits(file, *data.SPLITS)
    assert [(d.split, len(d)) for d in found] == [("train", 42), ("val", 6), ("test", 12)]
    assert sorted(np.concatenate([d.images[:, 0, 0, 0] for d in found])) == list(range(60))
    assert all((d.images[:, 0, 0, 0] % 3 == d.labels).all() for d in found)
    assert load(file, seed=1).fingerprint != found[2].fingerprint
    with pytest.raises(ValueError, match=r"own, split 'train': labels have shape \(59,\) for 60 images"):
        load(npz(**absent, train_images=images, train_labels=np.arange(59)))


@pytest.mark.parametrize("key", ["subject_ids", "doctor"])
def test_owners_in_an_npz_stay_together_or_are_said(tmp_path, npz, key):
    owner = np.array([f"P{k // 3}" for k in range(60)])
    images = np.arange(60, dtype=np.uint8)[:, None, None] * np.ones((8, 8), np.uint8)
    content = {"train_images": images, "train_labels": np.arange(60) % 2, f"train_{key}": owner[:, None]}
    np.savez(tmp_path / "made.npz", **content, train_boxes=images)
    with pytest.warns(UserWarning, match=f"not read: {'train_doctor, ' * (key == 'doctor')}train_boxes"):
        data.load_splits(str(tmp_path / "made.npz"), "train")
    found = data.load_splits(str(tmp_path / "made.npz"), *data.SPLITS, group=key * (key == "doctor"))
    assert [(len(d), len({*d.groups})) for d in found] == [(42, 14), (6, 2), (12, 4)]
    assert all((d.groups == owner[d.images[:, 0, 0, 0]]).all() for d in found)
    given = npz(**{f"{split}_patient": np.arange(12) + 6 * k for k, split in enumerate(data.SPLITS)})
    with pytest.warns(UserWarning, match=r"12 of 24 groups, by 'patient', are in several splits \(24 of 36"):
        assert [*load(given).groups] == [*map(str, range(12, 24))]
    with pytest.raises(ValueError, match="val_patient holds 11 values; give one for each image"):
        load(npz(val_patient=np.arange(11)))


def test_grey_stored_as_rgb_in_an_npz_is_grey(npz):
    grey = arrays()
    three = {k: np.repeat(v[..., None], 3, -1) for k, v in grey.items() if k.endswith("images")}
    with pytest.warns(UserWarning, match=r"stored as RGB: 36 of 36 .*one channel \(channels=3: as RGB\)"):
        assert (load(npz(**three)).images == grey["test_images"][..., None]).all()
    assert (load(npz(**three), channels=3).images == three["test_images"]).all()
    assert load(npz("pathmnist.npz", **three)).channels == 3  # which has colours


@pytest.mark.parametrize("twin", ["train", "test"])
def test_a_picture_with_two_labels_is_refused(npz, twin):
    content = arrays(side=28)
    content[f"{twin}_images"][4] = content["train_images"][0]  # of class 0, and now of class 1
    with pytest.raises(ValueError, match=f"different labels; keep one of each of these: train 0, {twin} 4"):
        data.load_splits(npz(**content), *data.SPLITS)
    assert len(load(npz("breastmnist.npz", **content | {key: content[key] % 2 for key in content}))) == 12


# Bad files


@pytest.mark.parametrize("key", ["test_images", "test_labels", "train_labels"])
def test_pickles_are_refused_and_not_run(npz, tmp_path, key):
    trap = tmp_path / "sprung"
    file = npz(**{key: np.array([Evil(trap)] * 12, object)})
    with pytest.raises(ValueError, match=r"own.npz: .* holds Python objects \(pickles\).* is refused"):
        load(file)
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(Evil(trap)))
    with pytest.raises(ValueError, match=r"is refused|damaged"):
        load(str(tmp_path / "bare.npz"))
    assert not trap.exists()


SHAPES = [(12, 10, 10, 2), (12, 3, 10, 10), (12, 9, 9, 9, 1), (12, 0, 10), ()]
HUGE = "label 1000000000000 stands for more than 1000 classes"


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"test_images": np.zeros((12, 10, 10), np.float32)}, TypeError, "images are float32; give a uint8"),
        *(({"test_images": np.zeros(s, np.uint8)}, ValueError, "images have shape") for s in SHAPES),
        ({"test_images": np.zeros((11, 10, 10), np.uint8)}, ValueError, "for 11 images"),
        ({"test_labels": np.full((12, 1), np.nan)}, TypeError, "labels are float64; give class numbers"),
        ({"test_labels": np.full((12, 1), -1)}, ValueError, "from -1 to -1, outside the 3 classes"),
        ({"test_labels": np.full((12, 1), 2**63, np.uint64)}, ValueError, "label 9223372036854775808"),
        ({"test_labels": np.full((12, 1), 10**12)}, ValueError, HUGE),
        ({"test_labels": np.full((12, 3), 3)}, ValueError, "labels run from 3 to 3.* allowed are 0 to 1"),
        ({"test_labels": np.zeros((12, 1, 1), int)}, ValueError, r"labels have shape \(12, 1, 1\)"),
        ({"test_labels": np.array(0)}, ValueError, r"shape \(1,\) for 12 images"),
        ({"test_labels": None}, ValueError, "there is no test_labels .*; the file holds train_images"),
        ({"test_images": None}, ValueError, "there is no test_images .*; the file holds"),
    ],
)
def test_bad_arrays(npz, changes, kind, message):
    with pytest.raises(kind, match=message):
        load(npz(**changes))


HEADER, DAMAGED = b"\x93NUMPY\x01\x00\x04\x00????", r"other.npz: .*(damaged|is refused)"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "there is no test_images and no test_labels .*; the file holds nothing"),
        ({"word/document.xml": "<x/>"}, "the file holds word/document.xml"),
        ({"test_images": b"raw bytes", "test_labels": b"raw bytes"}, DAMAGED),
        ({"test_images.npy": HEADER, "test_labels.npy": b""}, DAMAGED),
    ],
)
def test_files_that_are_not_npz_or_cut_off(tmp_path, npz, members, message):
    file = tmp_path / "other.npz"
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=message):
        load(str(file))
    whole = Path(npz(test_images=arrays(side=28)["test_images"])).read_bytes()
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    cut = (whole[:keep] for keep in (0, 1, 4, 100, len(whole) // 2, -1))
    for content in (b"a,b\n1,2\n", array.getvalue(), *cut):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"other.npz: .*(damaged or truncated|is refused)"):
            load(str(file))


def test_a_header_that_asks_for_less_than_there_is(npz):
    file = Path(npz())
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    images = members["test_images.npy"].replace(b"10, 10", b"10, 8 ")
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (members | {"test_images.npy": images}).items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=r"own.npz: .*damaged or truncated"):
        load(str(file))


# MedMNIST by name


def test_medmnist_download(npz, home, monkeypatch):
    official, asked, tools = Path(npz(**arrays(classes=2, side=28))), [], torchvision.datasets.utils
    checksum = hashlib.md5(official.read_bytes()).hexdigest()
    monkeypatch.setitem(medmnist.INFO["breastmnist"], "MD5", checksum)

    def fake(url, path):
        asked.append(url)
        Path(path).write_bytes(official.read_bytes())

    monkeypatch.setattr(tools, "_get_redirect_url", lambda url, max_hops: url)
    monkeypatch.setattr(tools, "_urlretrieve", fake)
    file = home / "data" / "raw" / "breastmnist.npz"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"of another checksum")
    ds = load("breastmnist", "val")
    assert asked == [medmnist.INFO["breastmnist"]["url"]] and file.read_bytes() == official.read_bytes()
    assert (ds.class_names, ds.task) == (("malignant", "normal, benign"), "binary")
    assert load("breastmnist", "val", limit=4).counts == {"malignant": 2, "normal, benign": 2}
    assert len(asked) == 1  # the file that is there is used
    official.write_bytes(b"cut")
    file.unlink()
    for size, suffix in ((0, ""), (64, "_64")):
        with pytest.raises(FileNotFoundError) as error:
            load("breastmnist", size=size)
        url = medmnist.INFO["breastmnist"][f"url{suffix}"]
        path = file.with_name(f"breastmnist{suffix}.npz")
        assert f"download {url} on a computer with a connection, put it at {path}," in str(error.value)


# Choosing images


def test_limit_is_stratified_seeded_and_keeps_the_order(npz):
    labels = np.r_[np.zeros(60), np.ones(30), np.full(10, 2)].astype(int)
    images = np.arange(100, dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(8, 2)
    file = npz(test_images=images, test_labels=np.random.default_rng(0).permutation(labels)[:, None])
    ds, again, other = (load(file, limit=20, seed=s) for s in (0, 0, 1))
    assert ds.counts == {"0": 12, "1": 6, "2": 2}
    chosen = ds.images[:, 0, 0, 0].astype(int)
    assert (np.diff(chosen) > 0).all() and (load(file).labels[chosen] == ds.labels).all()
    assert again.fingerprint == ds.fingerprint != other.fingerprint
    assert load(file, limit=3).counts == {"0": 1, "1": 1, "2": 1}
    assert load(file, limit=0).fingerprint == load(file, limit=1000).fingerprint == load(file).fingerprint


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(1, 50), st.integers(0, 5))
def test_limit_keeps_proportions(labels, limit, seed):
    ds = ImageDataset(np.zeros((len(labels), 2, 2, 1), np.uint8), np.array(labels), tuple("abcde"))
    kept = subset(ds, limit, seed)
    assert len(kept) == min(limit, len(labels))
    for name, count in ds.counts.items():
        assert abs(kept.counts[name] - count * len(kept) / len(ds)) <= len(set(labels))
        if limit >= len(set(labels)):
            assert bool(kept.counts[name]) == bool(count)


def test_limit_keeps_rare_labels():
    labels = np.zeros((400, 5), int)
    labels[::2, 0] = 1
    for k in range(1, 5):
        labels[[7 * k, 90 + k, 200 + k], k] = 1
    few = subset(ImageDataset(np.zeros((400, 8, 8, 1), np.uint8), labels), 20, seed=0)
    assert len(few) == 20 and min(few.counts.values()) >= 1 and few.counts["0"] >= 5


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rare", [[3, 5], [7, 7, 7, 7], [3] * 8])
def test_no_class_of_three_images_goes_missing(rare, seed):
    labels = np.repeat(np.arange(2 + len(rare)), [60, 40, *rare])
    made = parts(labels, None, seed, ["test", "val"])
    counts = np.stack([np.bincount(labels[made == name], minlength=2 + len(rare)) for name in data.SPLITS])
    assert (counts > 0).all(), counts
    assert abs(counts.sum(1) / len(labels) - [0.7, 0.1, 0.2]).max() < 0.08
    groups = np.arange(len(labels)) // 2  # pairs stay together, so that of three images one class has two
    together = parts(labels, groups, seed, ["test", "val"])
    assert all(len(set(together[groups == group])) == 1 for group in np.unique(groups))


def test_splits_that_a_large_group_makes_uneven_are_said():
    labels, groups = np.arange(100) % 2, np.maximum(np.arange(100), 60)
    with pytest.warns(UserWarning, match="the largest of 40 groups has 61 of 100 images"):
        parts(labels, groups, 0, ["test", "val"])


# The data set itself


def test_fingerprint(tiny):
    images, labels = tiny.images[::2].copy(), tiny.labels[::2].copy()
    first = ImageDataset(np.asfortranarray(images), labels).fingerprint
    assert first == tiny[::2].fingerprint and len(first) == 16
    images[3, 2, 1] ^= 1
    pixel = ImageDataset(images, labels).fingerprint
    labels[[0, 1]] = labels[[1, 0]]
    assert len({first, pixel, ImageDataset(images, labels).fingerprint}) == 3
    shapes = [ImageDataset(np.zeros((2, *sides, 1), np.uint8), [0, 1]) for sides in ((4, 2), (2, 4))]
    assert shapes[0].fingerprint != shapes[1].fingerprint


def test_rows(tiny):
    for rows in (slice(3, 7), [5, 1], np.arange(60) > 57, 4):
        part, places = tiny[rows], np.atleast_1d(np.arange(60)[rows])
        assert (part.images == tiny.images[places]).all() and (part.masks == tiny.masks[places]).all()
        assert part.labels.tolist() == tiny.labels[places].tolist()
        assert part.class_names == tiny.class_names
    assert np.shares_memory(tiny[np.arange(3, 60)].images, tiny.images)  # all that follow: no copy
    assert len(tiny[:0]) == 0 and tiny[:0].counts == dict.fromkeys(tiny.class_names, 0)


def test_first_of_each(tiny):
    assert tiny.first_of_each() == {n: tiny.labels.tolist().index(k) for k, n in enumerate(tiny.class_names)}
    labels = np.array([[0, 0, 0], [0, 1, 0], [1, 1, 0]])
    assert ImageDataset(np.zeros((3, 4, 4, 1), np.uint8), labels).first_of_each() == {"0": 2, "1": 1}


def test_a_run_knows_its_data(npz):
    file = npz(**arrays(side=28))
    stage = Stage("01_augment", config.judge("01_augment", {"dataset": file, "limit": 6, "seed": 3}))
    stage.load(*data.SPLITS)
    stage.keep()
    [ds] = data.load_run(stage.run, "val")
    assert ds.fingerprint == load(file, "val", limit=6, seed=3).fingerprint
    assert stage.run.data["splits"]["val"]["counts"] == {"0": 2, "1": 2, "2": 2}
    npz(**arrays(side=28) | {"val_images": arrays(side=28)["test_images"]})
    with pytest.raises(ValueError, match=r"split 'val': the data have changed since run 'demo' was begun"):
        data.load_run(stage.run, "val")
