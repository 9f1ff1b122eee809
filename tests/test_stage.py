import subprocess
import sys
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from small_training import build, same

from medrob import config, data, plan
from medrob.run import STAGES, Run
from medrob.stage import begin

TINY = {"run": "demo", "size": 28, "limit": 9}


def notebook(monkeypatch, *cells):
    """Pretend that these cells have been run, as papermill does."""
    shell = SimpleNamespace(user_ns={"In": ["", *cells]})
    monkeypatch.setattr("medrob.stage.get_ipython", lambda: shell)


@pytest.fixture
def augmented():
    """A run whose first stage is finished, on nine images of each split."""
    stage = begin("01_augment", TINY)
    stage.load(*data.SPLITS)
    stage.keep(corruptions=pd.DataFrame({"rmse": [1.0]}))
    return Run("demo")


def state(home):
    return {str(f): f.read_bytes() for f in home.rglob("*") if f.is_file() and ".locks" not in f.parts}


def test_every_wrong_parameter_is_told_at_once(monkeypatch, home):
    notebook(monkeypatch, 'run = "demo"', "# Parameters\nsede = 3\nsize = '28'\n")
    with pytest.raises(ValueError) as error:
        begin("01_augment", {"run": "demo", "size": "28", "channels": 2})
    assert all(name in str(error.value) for name in ("sede", "seed", "size", "channels"))
    cell = config.Augment().model_dump()
    size = cell.pop("size")
    with pytest.raises(ValueError, match="the cell of parameters sets no size; is a name mistyped"):
        begin("01_augment", {**cell, "sise": size, "get_ipython": None})
    assert list(home.iterdir()) == []
    notebook(monkeypatch, 'run = "demo"', "# Parameters\nsuite = ['fog', 'contrast']\n", "begin(...)")
    stage = begin("01_augment", {"run": "demo", "suite": ["fog", "contrast"]})
    assert stage.parameters.suite == ["fog", "contrast"]


def test_the_first_stage_notes_the_data_and_later_ones_load_them(augmented):
    assert augmented.data["parameters"]["size"] == 28
    assert augmented.data["splits"]["test"]["images"] == 9
    stage = begin("02_train", {"run": "demo"})
    (val,) = stage.load("val")
    assert len(val) == 9 and val.images.shape[1] == 28
    assert stage.data["suite"] == "thesis" and stage.seed == 0
    entry = augmented.record["stages"]["01_augment"]
    assert entry["parameters"]["limit"] == 9 and entry["packages"]["numpy"]
    assert set(entry["files"]) == set(STAGES["01_augment"])


def test_a_stage_that_fails_before_its_end_changes_nothing(augmented, home):
    before = state(home)
    stage = begin("01_augment", TINY | {"limit": 6})
    stage.load(*data.SPLITS)
    figure, _ = plt.subplots()
    stage.figure(figure, "01_montage")
    stage.table(pd.DataFrame({"a": [1]}), "01_other", "Some numbers.")
    stage.note(more=1)
    assert state(home) == before
    with pytest.raises(Exception, match="Could not convert"):  # tables are written all or none
        stage.keep(corruptions=pd.DataFrame({"rmse": [2.0]}), other=pd.DataFrame({"a": [1, "x"]}))
    assert state(home) == before
    stage.keep(corruptions=pd.DataFrame({"rmse": [2.0]}))
    assert (augmented.figures / "01_montage.pdf").exists()
    assert augmented.record["stages"]["01_augment"]["more"] == 1


def test_captions_and_methods_say_what_is_known(augmented):
    stage = begin("01_augment", TINY)
    stage.load(*data.SPLITS)
    stage.describe(tested=9)
    stage.note(corruptions={"fog": "Hendrycks & Dietterich 2019", "ours": "own"})
    stage.figure(plt.figure(), "01_montage", "Pictures")
    stage.figure(plt.figure(), "03_auc")
    stage.keep(corruptions=pd.DataFrame({"rmse": [1.0]}))
    text = (augmented.figures / "captions.tex").read_text()
    assert "Pictures.}" in text and "AUC on the 9 test images" in text
    methods = (augmented.figures / "methods.tex").read_text()
    assert "9 test images of 28 x 28 pixels; the classes are normal, " in methods
    assert r"by fog~\cite{hendrycks2019}; ours." in methods and "Seeds: 0 (data, corruptions)" in methods


def test_another_process_on_the_same_stage_is_refused(augmented):
    held = begin("02_train", {"run": "demo"})
    assert begin("02_train", {"run": "demo"}).name == held.name  # begun again by the same notebook
    held.keep(history=pd.DataFrame({"epoch": [1]}))
    assert augmented.record["stages"]["02_train"]["made_from"] == {
        "data.json": augmented.written()["data.json"]
    }
    code = "import filelock, sys\nwith filelock.FileLock(sys.argv[1]):\n    print(flush=True), input()"
    command = [sys.executable, "-c", code, str(augmented.path(".locks", "02_train"))]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with subprocess.Popen(command, **pipes) as other:  # it gets the lock: what has ended holds nobody up
        other.stdout.readline()
        with pytest.raises(RuntimeError, match="another process is working on 02_train of run 'demo'"):
            begin("02_train", {"run": "demo"})
        other.communicate(b"\n")


def test_a_training_that_stands_is_not_repeated(augmented, monkeypatch):
    fitted, history = [], pd.DataFrame({"epoch": [1], "loss": [0.5]})

    def trains(**parameters):
        """Whether the stage trains anew; whatever it does, it ends with the network that was fitted last."""
        stage, before = begin("02_train", {"run": "demo", **parameters}), len(fitted)
        model = build(seed=before)
        stage.keep(model=model, history=stage.trained(lambda model: fitted.append(model) or history, model))
        assert same(model, fitted[-1]) and not list(augmented.problems("02_train"))
        return len(fitted) > before

    assert trains() and not trains()
    first = augmented.record["stages"]["02_train"]
    assert not trains(), "again and again"
    assert augmented.record["stages"]["02_train"]["seconds"] == first["seconds"]  # of the training
    assert trains(epochs=3) and not trains(epochs=3) and trains()
    for file in STAGES["02_train"]:
        augmented.path(file).unlink()
        assert trains()
    record = augmented.path("run.json")
    record.write_text(record.read_text().replace('"epochs": 8', '"epochs": 9'))
    assert trains() and not trains()
    monkeypatch.setitem(plan.CODE, "02_train", ("machine",))
    assert trains()


def test_a_folder_that_cannot_be_written_says_what_to_do(home, monkeypatch):
    (home / "file").write_text("not a folder")
    monkeypatch.setenv("MEDROB_HOME", str(home / "file"))
    with pytest.raises(OSError, match=r"could not write .*set MEDROB_HOME to another folder"):
        begin("01_augment", {"run": "demo"})
    assert (home / "file").read_text() == "not a folder"
