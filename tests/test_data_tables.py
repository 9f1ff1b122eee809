"""Tables of images: labels, patients, splits and masks in the columns of a user's own."""

import contextlib
import unicodedata
import warnings

import numpy as np
import pandas as pd
import pytest
from own_files import picture, put, refuse, splits, table

from medrob.data import listing, load

PATIENTS = {
    "": list(range(20)),  # 0 is a patient
    "images without a value, each a group of its own: 3": ["", *"abcdefghijklmnopqrs"],
    "its own: 3$": ["", *(f"1000000000000000{k:03}" for k in range(19))],  # no float holds them
    "group of its own: 3": ["", *(f"{k + 10}e0" for k in range(19))],
}


@pytest.mark.parametrize("said", PATIENTS)
def test_patient_0_is_one_and_blank_is_none(frame, tmp_path, said):
    with pytest.warns(UserWarning, match=said) if said else contextlib.nullcontext():
        found = splits(table(tmp_path, frame.assign(patient=np.repeat(PATIENTS[said], 3))))
    groups = [set(d.groups) for d in found]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 20 + 2 * bool(said)


@pytest.fixture
def frame(tmp_path):
    """A table of 60 images: 20 patients of three pictures, two classes."""
    files = [put(tmp_path / "images" / f"{k}.png", picture(k)) for k in range(60)]
    patient = [f"P{k // 3}{' ' * (k % 2)}" for k in range(60)]  # with a space after it or without
    label = np.where(np.arange(60) // 3 % 2, "ill", "well")
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
    for place in ("/home/me/data/{}", "../input/set/{}", "C:\\data\\{}", "file:///{}"):
        yield frame.assign(path=frame["path"].map(place.format)).to_csv(index=False)
    yield frame.assign(path=[path[7:-4] + ".JPG" for path in frame["path"]]).to_csv(index=False)


def test_tables_as_other_programs_save_them(frame, tmp_path, monkeypatch):
    whole = load(table(tmp_path, frame)).fingerprint
    monkeypatch.chdir(tmp_path / "images")
    for number, text in enumerate(saved(frame, tmp_path)):
        (tmp_path / "a.CSV").write_text(text)
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
        ("path,label\na.png,Grün\n".encode("latin-1"), "no table in UTF-8 that can be read"),
        ("path,label\na.png,Grün\n".encode("utf-16"), "no table in UTF-8 that can be read"),
        (b"", "no table in UTF-8 that can be read"),
        (b"path,label\na.png,Mass, Oedema\n", "no table .*; save it .* and texts that hold commas in quotes"),
        (b"path,label\na.png,x\nb.png,y\nc.png,Mass, Oedema\n", "no table .* in line 4, saw 3.* in quotes"),
        (b"label\nx\n", "a column 'path' and rows are needed; there are 1 rows and label"),
        (b"own.csv,x\n", "its first row names a file .own.csv.: put names of columns above it"),
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
        (dict(label=[1.5, 2.0] * 30), r"'label' is no whole number in 30 of 60 rows, first in row 1: 1.5"),
        (dict(path="../secret.png"), r"'path' leads out of .* in 60 of 60 rows, .*'../secret.png'"),
        (dict(path=[f"images\\{k}0.tif" for k in range(60)]), "no file, or several in 55 .*; paths start at"),
        (dict(path=None), "column 'path' is empty in 60"),
        (dict(path="x" * 5000), r"'path' names no file, or several in 60 .*x"),
        (dict(label=[1e30, 1.0] * 30), "'label' is no whole number in 30 of 60 rows"),
        (dict(split=["train", "holdout"] * 30), "'split' is no split in 30 .*'holdout'; the splits are"),
        (dict(path=..., file="a", img="a"), r"columns file, img may all be the path"),
        (dict(label=..., dx="a", level=1), "columns dx, level may all be the label; say which by label='dx'"),
        (dict(label=..., smoker=[0, 1] * 30, type=["nv", "b", "b"] * 20), "no labels: .* type, smoker may"),
        (dict(mask="images/none.png"), "column 'mask' names no file"),
        (dict(label=..., **{"Label (0/1)": [0.5, 1] * 30}), "'Label .0/1.' is no whole number"),
        (dict(label=..., patient=..., age=40), "there are no labels: give a column 'label'"),
        (dict(label=..., mass=[0, 1, 2] * 20), "'mass' is neither 0 nor 1 in 20 .*: 2; without a column"),
        (dict(label=[1, 0, -1] * 20), "labels are blank or -1 .'label': 0 blank, 20 of -1.; say"),
        (dict(label=..., mass=[0, 1, -1] * 20), "labels are blank or -1 .'mass': 0 blank, 20 of -1.; say"),
        (dict(path=["images/0.png"] * 60), "'path' repeats an image in 59 of 60 rows"),
        (
            dict(label=..., grade=["mild", "no"] * 30),
            "'grade' is no whole number in 60 .*: 'mild'; give whole",
        ),
    ],
)
def test_bad_tables(frame, tmp_path, changes, match):
    changed = frame.drop(columns=[name for name, value in changes.items() if value is ...])
    changed = changed.assign(**{name: value for name, value in changes.items() if value is not ...})
    refuse(table(tmp_path, changed), match)


def test_numbers_within_a_patient_and_words_for_nobody_link_nothing(frame, tmp_path):
    """The exams 1 and 2, the slides A to C of every patient; "unknown" and -1; twins."""
    k = np.arange(60)
    exams = frame.assign(exam=k % 3 // 2 + 1, slide=np.resize(["A", "B", "C"], 60), study="TCGA")
    with pytest.warns(UserWarning, match=r"'exam' that .* or for several owners: 2 \(1, ...\); they link no"):
        found = splits(table(tmp_path, exams))
    assert sum(len({*d.groups}) for d in found) == 20
    nobody = frame.assign(patient=np.where(k < 20, np.resize(["unknown", "-1", "ANON"], 60), k // 2 + 1))
    with pytest.warns(UserWarning, match=r"'patient' that stand for nobody, .*: 3 \(unknown, .*link no"):
        assert sum(len({*d.groups}) for d in splits(table(tmp_path, nobody))) == 20 + 20
    half = frame.assign(patient=np.where(k < 24, "P99", frame["patient"]))  # too many images for a patient
    with pytest.raises(ValueError, match="'patient' has 'P99' in 24 of 60 images: give group='patient'"):
        load(table(tmp_path, half))
    asked = splits(table(tmp_path, half), group="patient")
    assert [sum(np.isin(d.groups, "P99")) for d in asked if "P99" in d.groups] == [24]
    twins = frame.assign(subject=(k + 3) // 6)  # each of whom has two patient numbers
    assert sum(len({*d.groups}) for d in splits(table(tmp_path, twins))) == 11


def test_patients_may_be_folders_of_a_table(frame, tmp_path):
    for k, path in enumerate(places := [f"files/LIDC-{k // 3:04}/{k}.png" for k in range(60)]):
        put(tmp_path / path, picture(k))
    file = table(tmp_path, pd.DataFrame({"path": places, "label": frame["label"]}))
    with pytest.warns(UserWarning, match="'folder' has 20 values over 60 images, .* give group='folder'"):
        splits(file)
    assert sum(len({*d.groups}) for d in splits(file, group="folder")) == 20


def test_given_splits_stay_and_what_crosses_them_is_counted(frame, tmp_path):
    given = table(tmp_path, frame.assign(split=["train", "test", "val"] * 20))
    with pytest.warns(UserWarning, match=r"20 of 20 groups, by 'patient', are in several splits \(60 of 60"):
        assert [len(d) for d in splits(given)] == [20, 20, 20]
    made = table(tmp_path, frame.assign(lesion=np.arange(60) // 3, pat_id=np.arange(60) // 6))
    with pytest.warns(UserWarning, match="'pat_id' has 10 values over 60 .* are in several splits"):
        splits(made)
    for values in (np.arange(60), None, "-1"):
        file = table(tmp_path, frame.assign(scan=values))
        with pytest.raises(ValueError, match="group='scan' groups nothing"):
            load(file, group="scan")


@pytest.mark.parametrize("seed", range(3))
def test_a_class_or_label_of_few_is_in_every_split(frame, tmp_path, seed):
    rare = pd.Series(np.isin(np.arange(60) // 3, [4, 9, 15]))
    found = splits(table(tmp_path, frame.assign(label=frame["label"].where(~rare, "rare"))), seed=seed)
    assert all(min(d.counts.values()) >= 1 for d in found) and found[0].counts["rare"] == 3
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
    for ways in (("P{0}", "p{0}", "P {0} "), ("{0}", "{0}.0", "0{0}"), ("P-{0}", "P0{0}", "p_{0}")):
        patients = [ways[k % 3].format(k // 3) for k in range(60)]
        for name in ("own.parquet", "own.csv")[: 1 + ("." in ways[1])]:  # numbers are texts there, too
            with pytest.warns(UserWarning, match=r"values of 'patient' spelled in several ways: 20 \('.*0"):
                groups = [
                    set(d.groups) for d in splits(table(tmp_path, frame.assign(patient=patients), name))
                ]
            assert sum(map(len, groups)) == len(set.union(*groups)) == 20
    file = table(tmp_path, frame.assign(label=["COVID-19", "COVID19", "HER2+", "HER2-", "1-2", "12"] * 10))
    with pytest.warns(UserWarning, match=r"that differ in marks alone: 2 \('1-2' and '12', ...\)"):
        load(file)


def test_numbers_apart_and_versions_are_not_one():
    apart = pd.Series(["1-12", "11-2", "1.12", "v1.0", "v10"])
    with pytest.warns(UserWarning, match="that differ in marks alone: 2 .'1-12' and '11-2' and '1.12', "):
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
    rows = frame[["path"]].assign(NV=k % 3 == 1, MEL=k % 3 == 0, BCC=1.0 * (k % 3 == 2))
    with pytest.warns(UserWarning, match="exactly one 1 in 3 columns of labels: they are taken for classes"):
        train = load(table(tmp_path, rows), "train")
    assert (train.task, train.class_names) == ("multiclass", ("NV", "MEL", "BCC"))
    known = {picture(k).tobytes(): k for k in range(60)}
    seen = np.array([known[image.tobytes()] for image in train.images])
    assert train.labels.tolist() == np.array([1, 0, 2])[seen % 3].tolist()


def test_the_column_that_names_files_is_found_whatever_it_is_called(frame, tmp_path):
    rows = frame.assign(ID=range(60), age=[f"{k}.9" for k in range(60)]).drop(columns="path")
    twice = table(tmp_path, rows.assign(other=rows["ID"]), "twice.csv")
    refuse(twice, "columns ID, other all name files; call one of them 'path'")
    shuffled = rows.assign(scan=frame["path"][::-1].to_numpy())
    refuse(
        table(tmp_path, shuffled.replace("images/7.png", "lost.png")), "a column 'path' and rows are needed"
    )
    whole = load(table(tmp_path, frame)).fingerprint
    assert load(table(tmp_path, shuffled)).fingerprint != whole
    rows.to_csv(tmp_path / "train.tsv", sep="\t", index=False)
    (tmp_path / "test.tsv").touch()
    with pytest.warns(UserWarning, match="otherwise than in 'ID': 60") as told:
        assert load(str(tmp_path / "train.tsv")).fingerprint == whole
    assert sum("beside train.tsv, of which nothing is used: own.csv, te" in str(t.message) for t in told) == 1


@pytest.mark.parametrize("column", ["lesion_id", "Patient-id ", "Patienten-Nr.", "subj_id", "doctor"])
def test_columns_of_groups(frame, tmp_path, column):
    file = table(tmp_path, frame.rename(columns={"patient": column}).assign(age=40, fold=1))
    with pytest.warns(
        UserWarning, match=f"(all images of one '{column}' stay)|(give group='{column}')"
    ) as told:
        found = splits(file)
    if column == "doctor":
        assert any("give group=" in str(text.message) for text in told)
        found = splits(file, group="doctor")
    assert sum(len({*d.groups}) for d in found) == len({*np.concatenate([d.groups for d in found])}) == 20
    with pytest.raises(ValueError, match=r"group='eye' is unknown; there are .*file name"):
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


def test_a_table_with_masks_in_a_folder_and_pictures_that_it_does_not_name(tmp_path):
    tmp_path = tmp_path / "annotations"  # says nothing about what lies in it
    for k in range(30):
        put(tmp_path / "images" / f"{k}.png", picture(k))
        put(tmp_path / "masks" / f"{k}_mask.png", 255 * (picture(k) > 99).astype(np.uint8))
    frame = pd.DataFrame({"path": [f"images/{k}.png" for k in range(20)], "label": ["a", "b"] * 10})
    with pytest.warns(UserWarning, match=r"which it does not name: 10 \(.*they are left out"):
        found = splits(table(tmp_path, frame))
    assert sum(map(len, found)) == 20 and all(data.masks.any((1, 2)).all() for data in found)


def test_numbers_of_patients_with_a_blank_or_without_a_name_are_told(frame, tmp_path):
    numbers, unknown = np.arange(len(frame)) // 4 * 1.0, frame.drop(columns="patient")
    for column, values in (("rabbit", np.where(numbers == 0, np.nan, numbers)), ("", numbers)):
        source = table(tmp_path, pd.concat([pd.Series(values, frame.index, name=column), unknown], axis=1))
        with pytest.warns(UserWarning, match=f"'{column or 'Unnamed: 0'}' has .* if it tells who or what"):
            splits(source)


def test_a_column_of_owners_that_links_nothing_is_told(frame, tmp_path):
    links = "'patient' links no images:"
    for values, match in {
        "merged": (frame["patient"].where(frame.index % 3 == 0), f"{links} 40 of 60 rows have no value that"),
        "blank": (None, f"{links} 60 of 60 rows"),
        "unique": (range(60), f"{links} 0 of 60 rows have no value that counts, and no value is there twice"),
    }.values():
        with pytest.warns(UserWarning, match=match):
            load(table(tmp_path, frame.assign(patient=values)))


def test_a_named_index_of_parquet_is_a_column(frame, tmp_path):
    whole = load(table(tmp_path, frame)).fingerprint
    for index in ("patient", "path", ["patient", "path"]):
        assert load(table(tmp_path, frame.set_index(index), "own.parquet")).fingerprint == whole, index
    nameless = frame.set_index("path").rename_axis(None)
    assert load(table(tmp_path, nameless, "own.parquet")).fingerprint == whole


def test_names_in_several_forms_of_unicode_are_one(frame, tmp_path):
    """NFC and NFD, wide digits, blanks of no width, in owners, classes and names of files."""
    ways = [lambda text, form=form: unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    wide = [str, lambda text: text.translate({48 + k: 0xFF10 + k for k in range(10)}) + "\u200b"]
    for form in (ways, wide):
        rows = frame.assign(patient=[form[k % 2](f"M\u00fcller{k // 3}") for k in range(60)])
        found = splits(
            table(tmp_path, rows.assign(label=[form[k % 2](f"\u00fc{k // 3 % 2}") for k in range(60)]))
        )
        groups = [{*d.groups} for d in found]
        assert sum(map(len, groups)) == len(set.union(*groups)) == 20
        assert len(found[0].class_names) == 2
    whole = load(table(tmp_path, frame)).fingerprint
    for k in range(60):
        (tmp_path / f"images/{k}.png").rename(tmp_path / ways[1](f"images/Gef\u00e4\u00df{k}.png"))
    named = frame.assign(path=[ways[0](f"images/Gef\u00e4\u00df{k}.png") for k in range(60)])
    assert load(table(tmp_path, named)).fingerprint == whole


def test_a_column_of_splits_is_known_by_its_values_or_told(frame, tmp_path):
    given = np.repeat(["train", "val", "test"], [39, 9, 12])
    for name in ("train_test_split", "cv_fold", "group", "subset"):
        with pytest.warns(UserWarning, match=f"splits are those of '{name}'"):
            assert [len(d) for d in splits(table(tmp_path, frame.assign(**{name: given})))] == [39, 9, 12]
    for name, values in {
        "Usage": pd.Series(given).map(dict(train="Training", val="PublicTest", test="PrivateTest")),
        "DataSplit": pd.Series(given).where(given == "train"),
        "is_train": 1 * (given == "train"),
        "fold": np.arange(60) % 5,
    }.items():
        with pytest.warns(UserWarning, match=f"look like splits, and are not used: 1 .{name}.; name train"):
            load(table(tmp_path, frame.assign(**{name: values})))
    places = [f"sets/{split}/{k}.png" for k, split in enumerate(given)]
    for old, new in zip(frame["path"], places, strict=True):
        (tmp_path / new).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / old).rename(tmp_path / new)
    moved = frame.assign(path=places)
    with pytest.warns(UserWarning, match="columns, or folders, that look like splits, .* 3 .test, "):
        load(table(tmp_path, moved))
    alone = moved.drop(columns="label").assign(is_train=1 * (given == "train"), ill=[0, 1] * 30)
    assert load(table(tmp_path, alone)).class_names == ("no ill", "ill")


@pytest.mark.parametrize("both", ["a, b", "a b", "a/b", "a + b", "b and a", "a\nb", "12 7", "[0 1]"])
def test_classes_that_may_be_several_labels_are_told(frame, tmp_path, both):
    rows = frame.assign(label=["a", "b", "non a", both] * 15)
    with pytest.warns(UserWarning, match=r"(?s)may be several labels: 1 \(.*; they are taken as names"):
        assert len(load(table(tmp_path, rows)).class_names) == 4


def test_owners_are_told_and_measures_are_not(frame, tmp_path):
    k = np.arange(60)
    for values, told in (
        (k // 15, False), (k // 3 + 0.0, True), (100.01 + k // 3, False), (np.arctan(k), False),
    ):  # fmt: skip
        with warnings.catch_warnings(record=True) as said:
            load(table(tmp_path, frame.drop(columns="patient").assign(rabbit=values)))
        assert any("'rabbit' has" in str(text.message) for text in said) == told, values[:9]


def test_a_mask_is_no_picture_that_is_lost_and_a_first_row_no_names(frame, tmp_path):
    frame["path"] = [f"{k}.png" for k in range(60)]
    frame["mask"] = [f"masks/{k}.png" for k in range(60)]
    for k in range(60):
        put(tmp_path / f"masks/{k}.png", np.eye(8, dtype=np.uint8))
    (tmp_path / "images/3.png").unlink()
    frame.to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(ValueError, match=r"'path' names no file, or several in 1 of 60 rows, .*'3.png'"):
        load(str(tmp_path / "own.csv"))
    frame[["path", "label"]].assign(path=[str(k) for k in range(60)]).drop(index=3).to_csv(
        tmp_path / "none.csv", index=False, header=False
    )
    with pytest.raises(ValueError, match=r"its first row names a file \(0\)"):
        load(str(tmp_path / "none.csv"))


def test_initials_in_names_of_files_are_told(frame, tmp_path):
    words = [f"{first}{last}" for first in "ABCDE" for last in "KLMN"]
    frame["path"] = [f"images/{words[k // 3]}_{k % 3}.png" for k in range(60)]
    for name, k in zip(frame["path"], range(60), strict=True):
        (tmp_path / f"images/{k}.png").rename(tmp_path / name)
    with pytest.warns(UserWarning, match="'file name' has 20 values over 60 images, such as AK"):
        splits(table(tmp_path, frame[["path", "label"]]))
    with pytest.warns(UserWarning, match="labels are those"):
        found = splits(table(tmp_path, frame[["path", "label"]]), group="file name")
    assert sum(len(set(part.groups)) for part in found) == 20
