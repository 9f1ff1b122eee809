import json
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from medrob.runs import STAGES, Run, assignments, fits

from medrob import machine, runs
from medrob.files import atomic

FRAME = pd.DataFrame({"image": [0, 1], "corruption": ["clean", "contrast"], "rmse": [0.0, np.nan]})


def finish(this, stage, notes=None, **parameters):
    """Run a stage that writes empty files."""
    this.start(stage, **parameters)
    for file in STAGES[stage]:
        this.path(file).touch()
    this.note(**notes or {})
    return this.finish()


def notebook(monkeypatch, *cells):
    """Pretend that these cells have been run, as papermill does."""
    shell = SimpleNamespace(user_ns={"In": ["", *cells]})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


# Names and places


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/../b", "../b", "x y", "-rf", ".hidden", "ä", "a\n", "a;b"]
)
def test_bad_names_are_refused(name):
    with pytest.raises(ValueError, match="is not a run name: use letters"):
        Run(name)


@given(st.text(max_size=12))
@example("data/runs/../../../etc")
def test_a_run_never_leaves_the_project(name):
    try:
        folder = Run(name).folder
    except ValueError:
        return
    assert ".." not in folder.parts
    assert folder.is_relative_to(runs.home()) or name.startswith("/")


def test_a_run_is_a_name_or_a_path(home, tmp_path):
    assert Run("demo").folder == home / "data" / "runs" / "demo"
    assert Run("demo").path("notebooks", "x") == home / "data/runs/demo/notebooks/x"
    assert Run("data/runs/demo").folder == Run("demo").folder
    assert Run(tmp_path / "mine").folder == tmp_path / "mine"
    assert Run(tmp_path / "mine").figures == home / "figures" / "mine"


def test_home_without_the_variable_is_the_project(monkeypatch):
    monkeypatch.delenv("MEDROB_HOME")
    assert (runs.home() / "pyproject.toml").is_file()


def test_naming_a_run_writes_nothing(home):
    assert repr(Run("demo")) == "Run('demo': no stage yet)"
    assert list(home.iterdir()) == []


# Tables


def test_tables_come_back_as_they_were():
    run = Run("demo")
    path = run.save_table("corruptions", FRAME)
    assert path == run.path("corruptions.parquet")
    pd.testing.assert_frame_equal(run.table("corruptions"), FRAME)


def test_a_table_is_replaced_whole_or_not_at_all(monkeypatch):
    run = Run("demo")
    run.save_table("scores", FRAME)

    def half(self, file, **options):
        file.write_bytes(b"PAR1 half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_parquet", half)
    with pytest.raises(KeyboardInterrupt):
        run.save_table("scores", FRAME.iloc[:1])
    monkeypatch.undo()
    pd.testing.assert_frame_equal(pd.read_parquet(run.path("scores.parquet")), FRAME)
    assert [file.name for file in run.folder.iterdir()] == ["scores.parquet"]


@pytest.mark.parametrize("stage", STAGES)
def test_missing_input_names_notebook_and_command(stage):
    for file in STAGES[stage]:
        with pytest.raises(FileNotFoundError) as error:
            Run("mine").need(file)
        assert f"run 'mine' has no {file}" in str(error.value)
        assert f"papermill notebooks/{stage}.ipynb out.ipynb -p run mine" in str(error.value)


def test_unknown_table_lists_the_known_ones():
    with pytest.raises(FileNotFoundError, match=r"a run holds corruptions.parquet, model.safetensors"):
        Run("mine").table("score")


@pytest.mark.parametrize("keep", [0, 3, 200, -1])
def test_damaged_table(keep):
    run = Run("demo")
    path = run.save_table("scores", FRAME)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"scores.parquet is damaged .* run its notebook again"):
        run.table("scores")


# Writing


def test_atomic_leaves_no_trace_of_an_error(tmp_path):
    file = tmp_path / "new" / "a.txt"
    with pytest.raises(ZeroDivisionError), atomic(file) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert list(file.parent.iterdir()) == []
    with atomic(file) as part:
        part.write_text("whole")
        assert not file.exists()
    assert [f.read_text() for f in file.parent.iterdir()] == ["whole"]


def test_full_disk_keeps_what_was_there(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(OSError, match="No space left on device; nothing was changed"), atomic(file) as part:
        part.write_text("half")
        raise OSError(28, "No space left on device")
    assert [f.read_text() for f in tmp_path.iterdir()] == ["old"]


def test_unwritable_folder_says_what_to_do(home, monkeypatch):
    (home / "file").write_text("not a folder")
    monkeypatch.setenv("MEDROB_HOME", str(home / "file"))
    for write in (lambda: Run("demo").start("01_augment"), lambda: Run("demo").save_table("scores", FRAME)):
        with pytest.raises(OSError, match=r"could not write .*set MEDROB_HOME to another folder"):
            write()
    assert (home / "file").read_text() == "not a folder"


# Stages


def test_record_of_a_stage():
    run = Run("demo")
    entry = finish(run, "01_augment", {"data": {"test": {"shape": (28, 28, 1)}}}, run="demo", size=28)
    assert run.params == {"01_augment": {"run": "demo", "size": 28}}
    assert run.record["stages"]["01_augment"] == json.loads(json.dumps(entry))
    assert entry["seconds"] >= 0 and entry["peak_memory_mb"] > 10
    assert entry["peak_gpu_memory_mb"] is None
    assert set(machine.PACKAGES) <= set(entry["packages"]) and entry["packages"]["numpy"] == np.__version__
    assert repr(run) == "Run('demo': 01_augment)"
    assert sorted(f.name for f in run.folder.iterdir()) == ["corruptions.parquet", "run.json"]


def test_gpu_memory_is_that_of_the_gpu_that_took_most(monkeypatch):
    taken = [2e6, 7e6]
    cuda = SimpleNamespace(
        is_initialized=lambda: True, device_count=lambda: 2, max_memory_allocated=taken.__getitem__
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert finish(Run("demo"), "01_augment", {})["peak_gpu_memory_mb"] == 7


def test_stages_come_in_order():
    run = Run("demo")
    with pytest.raises(ValueError, match="stage='02_test' is unknown; the stages are 01_augment"):
        run.start("02_test")
    with pytest.raises(FileNotFoundError, match=r"no corruptions.parquet .*notebooks/01_augment.ipynb"):
        run.start("02_train")
    finish(run, "01_augment")
    with pytest.raises(FileNotFoundError, match=r"no model.safetensors .*notebooks/02_train.ipynb"):
        run.start("04_heatmaps")
    finish(run, "02_train")
    run.path("model.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model.json .*notebooks/02_train.ipynb"):
        run.start("03_test")
    with pytest.raises(RuntimeError, match="call start"):
        run.finish()


def test_changed_parameters_void_later_stages_only():
    run = Run("demo")
    for stage in STAGES:
        finish(run, stage, seed=0)
    finish(run, "02_train", seed=1)
    assert list(run.record["stages"]) == ["01_augment", "02_train"]
    with pytest.raises(
        FileNotFoundError, match="03_test has not been finished since what it builds on changed"
    ):
        run.start("04_heatmaps")
    finish(run, "03_test", seed=0)
    run.start("04_heatmaps", seed=0)


def test_a_parameter_that_a_later_stage_does_not_follow_from_keeps_it():
    run = Run("demo")
    for stage in STAGES:
        finish(run, stage, suite="thesis", resamples=10)
    finish(run, "03_test", suite="thesis", resamples=20)
    assert list(run.record["stages"]) == list(STAGES)[:4]
    finish(run, "01_augment", suite="xray", resamples=10)
    assert list(run.record["stages"]) == ["01_augment", "02_train"]
    run.start("03_test")


def test_other_scores_of_the_same_predictions_keep_the_maps():
    run = Run("demo")
    for stage in ("01_augment", "02_train", "03_test", "04_heatmaps"):
        finish(run, stage)
    run.start("03_test")
    run.path("scores.parquet").write_text("other intervals")
    run.finish()
    run.start("05_analysis")
    run.start("03_test")
    run.path("predictions.parquet").write_text("other predictions")
    run.finish()
    with pytest.raises(ValueError, match=r"04_heatmaps was made from another predictions.parquet"):
        run.start("05_analysis")


def test_a_test_is_made_from_the_predictions_that_are_its_measure():
    for name in ("one", "two"):
        for stage in ("01_augment", "02_train", "03_test"):
            given = {"reference": "two"} if (name, stage) == ("one", "03_test") else {}
            finish(Run(name), stage, **given)
        if name == "one":
            assert not any("/" in file for file in Run("one").record["stages"]["03_test"]["made_from"])
    finish(Run("one"), "03_test", reference="two")
    assert list(Run("one").mixed(["03_test"])) == []
    two = Run("two").start("03_test")
    two.path("predictions.parquet").write_text("other")
    two.finish()
    assert [text.partition(";")[0] for text in Run("one").mixed(["03_test"])] == [
        "03_test was made from another two/predictions.parquet"
    ]


def test_changed_notes_void_later_stages():
    run = Run("demo")
    for stage in ("01_augment", "02_train"):
        finish(run, stage, {"data": {"test": "abc"}})
    finish(run, "01_augment", {"data": {"test": "def"}})
    assert list(run.record["stages"]) == ["01_augment"]


def test_the_same_stage_again_keeps_later_stages():
    run = Run("demo")
    notes = {"shape": (28, 28, 1), "counts": {0: 5}}  # JSON makes a list and a text of these
    for stage in ("01_augment", "02_train", "03_test"):
        finish(run, stage, notes, seed=0, layers=("a", "b"))
    finish(run, "01_augment", notes, seed=0, layers=("a", "b"))
    assert list(run.record["stages"]) == ["01_augment", "02_train", "03_test"]


@pytest.mark.parametrize("text", ["{", "", "[]", "null", "{}", '{"stages": []}', "\xff"])
def test_damaged_record(text):
    run = Run("demo")
    run.folder.mkdir(parents=True)
    run.path("run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"run.json is damaged .* run 01_augment again"):
        run.start("01_augment")
    assert run.path("run.json").read_bytes() == text.encode("latin-1")


# Parameters that papermill injects


PARAMETERS = (
    'run = "demo"  # name\nseed = 0  # of the noise\nlr = 0.1\nlayers = "all"\nimages = 40\nexport = False'
)


def injected(monkeypatch, text):
    notebook(monkeypatch, "import medrob", PARAMETERS, f"# Parameters\n{text}\n", "Run(run).start(...)")
    known = assignments(PARAMETERS)
    return Run("demo").start("01_augment", **known | assignments(text))


@pytest.mark.parametrize(
    "text",
    [
        "seed = 3",
        "lr = 1",
        "lr = 1e-3",
        "layers = ['layer4.1']",
        "images = [3, 17]",
        "export = True",
        "seed = -1",
    ],
)
def test_injected_parameters_that_fit(monkeypatch, text):
    run = injected(monkeypatch, text)
    finish(run, "01_augment", **assignments(text))
    assert run.params["01_augment"] == assignments(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("seed = '3'", "seed='3' is str; it must be int, like its default 0"),
        ("seed = 1.5", "seed=1.5 is float; it must be int"),
        ("seed = True", "seed=True is bool; it must be int"),
        ("seed = None", "seed=None is NoneType; it must be int"),
        ("run = 3", "run=3 is int; it must be str, like its default 'demo'"),
        ("run = ['demo']", "it must be str"),
        ("export = 1", "it must be bool"),
        ("lr = 'high'", "it must be float"),
    ],
)
def test_injected_parameter_of_another_type(monkeypatch, home, text, wanted):
    with pytest.raises(ValueError) as error:
        injected(monkeypatch, text)
    assert wanted in str(error.value)
    assert list(home.iterdir()) == []


def test_unknown_injected_parameter(monkeypatch):
    notebook(monkeypatch, PARAMETERS, "# Parameters\nsede = 3\n")
    with pytest.raises(
        ValueError, match=r"unknown parameter 'sede'; the parameters are run, seed, lr, layers"
    ):
        Run("demo").start("01_augment", **assignments(PARAMETERS))


def test_no_notebook_no_check(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert Run("demo").start("01_augment", anything=1).folder.is_dir()
    notebook(monkeypatch, PARAMETERS, "Run(run).start(...)")  # run by hand: nothing was injected
    Run("demo").start("01_augment", **assignments(PARAMETERS))


def test_parameter_cells():
    cell = 'a = 1  # number\nb = "x # y"  # text\nc: int = 2\nd = a + 1\ne = [1, "z"]\nf = -0.5\nprint(a)'
    assert assignments(cell) == {"a": 1, "b": "x # y", "e": [1, "z"], "f": -0.5}
    assert assignments("%matplotlib inline") == {}


@given(
    st.one_of(st.integers(), st.floats(allow_nan=False), st.booleans(), st.text(), st.lists(st.integers()))
)
def test_every_value_fits_itself(value):
    assert fits(value, value)
    assert not fits(None, value)
