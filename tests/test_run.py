import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chain import save
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medrob.files import PROJECT, atomic, home
from medrob.run import CHECKPOINT, READS, STAGES, Run

FRAME = pd.DataFrame({"image": [0, 1], "corruption": ["clean", "contrast"], "rmse": [0.0, np.nan]})


def finish(run, stage, text="x", **entry):
    """Finish a stage that writes small files."""
    made_from = run.ready(stage)
    for file in STAGES[stage]:
        run.path(file).parent.mkdir(parents=True, exist_ok=True)
        run.path(file).write_text(text)
    return run.keep(stage, {"parameters": {}, "made_from": made_from, **entry})


@pytest.mark.parametrize("name", ["", "..", "a/../b", "x y", "-rf", ".hidden", "ä", "a\n", "a;b", "a" * 101])
def test_bad_names_are_refused_and_others_write_nothing(name, home):
    with pytest.raises(ValueError, match="is not a run name: use letters"):
        Run(name)
    assert Run("demo").path("notebooks", "x") == home / "data/runs/demo/notebooks/x"
    assert list(home.iterdir()) == []


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=12))
@example("data/runs/demo")
def test_a_run_never_leaves_the_project(name):
    try:
        run = Run(name)
    except ValueError:
        return
    assert run.folder.parent == home() / "data" / "runs" and run.figures.parent == home() / "figures"


@pytest.mark.parametrize("installed", [True, False])
def test_an_installed_package_writes_where_we_are(tmp_path, installed):
    (tmp_path / "medrob" / "data").mkdir(parents=True)  # beside a clone
    code = "from importlib.util import find_spec as find; from medrob import files; "
    code += "print(find('medrob.config').origin, files.home(), files.ALONE, sep=chr(10))"
    path = str(tmp_path / "site-packages")
    if installed:
        shutil.copytree(PROJECT / "medrob", f"{path}/medrob", ignore=shutil.ignore_patterns("__pycache__"))
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    module, folder, words = done.stdout.split("\n")[:3]
    assert Path(module).parts[-2:] == ("medrob", "config.py")
    assert Path(folder) == (tmp_path if installed else Path(module).parents[1])
    assert ("come with medrob's repository" in words) == installed


def test_a_missing_file_names_notebook_and_command():
    for stage, file in ((stage, file) for stage, files in STAGES.items() for file in files):
        with pytest.raises(FileNotFoundError) as error:
            Run("mine").need(file)
        assert f"run 'mine' has no {file}" in str(error.value)
        given = "{runs: [mine]}" if stage == "05_analysis" else "{run: mine}"
        assert f"make it with `papermill notebooks/{stage}.ipynb out.ipynb -y '{given}'`" in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"a run holds data.json, corruptions.parquet"):
        Run("mine").table("score")


def test_damaged_table():
    path = save(Run("demo"), "scores", FRAME)
    for content in (path.read_bytes()[:keep] for keep in (-1, 200, 0)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"scores.parquet is damaged .* run its notebook again"):
            Run("demo").table("scores")


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


def test_the_record_of_a_stage():
    run = Run("demo")
    entry = finish(run, "01_augment", parameters={"run": "demo", "size": 28, "layers": ("a", "b")})
    record = run.path("run.json").read_text()
    assert run.params == {"01_augment": {"run": "demo", "size": 28, "layers": ["a", "b"]}}
    assert run.record["stages"]["01_augment"] == json.loads(json.dumps(entry))
    assert set(entry["files"]) == set(STAGES["01_augment"]) == set(run.written())
    assert list(run.problems("01_augment")) == []
    run.path("run.json").write_text(record.replace("28", "29"))
    with pytest.raises(FileNotFoundError, match=r"01_augment is not finished, or its entry in run\.json was"):
        run.ready("02_train")


def test_stages_come_in_order():
    run = Run("demo")
    with pytest.raises(FileNotFoundError, match=r"no data.json .*notebooks/01_augment.ipynb"):
        run.ready("02_train")
    finish(run, "01_augment")
    finish(run, "02_train")
    assert set(run.ready("03_test")) == set(READS["03_test"])
    run.path("model.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model.json .*notebooks/02_train.ipynb"):
        run.ready("03_test")


def test_altered_files_and_what_was_made_from_others_are_told():
    run = Run("demo")
    for stage in STAGES:
        finish(run, stage)
    run.path("scores.parquet").write_text("altered")
    with pytest.raises(ValueError, match=r"scores.parquet was changed after it was made"):
        run.ready("05_analysis")
    finish(run, "03_test")  # other scores of the same predictions: the maps stand
    assert list(run.problems("04_heatmaps")) == []
    finish(run, "03_test", text="other predictions")
    assert list(run.problems("04_heatmaps")) == ["04_heatmaps was made from another predictions.parquet"]
    with pytest.raises(ValueError, match=r"made from another predictions\.parquet"):
        run.ready("05_analysis")


def test_what_a_stage_needed_meanwhile_goes_with_its_end():
    run = Run("demo")
    finish(run, "01_augment")
    killed = [run.path(".scores.parquet.123.part"), run.path(CHECKPOINT)]
    for path in killed:
        path.touch()
    finish(run, "02_train")
    assert not any(path.exists() for path in killed)


@pytest.mark.parametrize("text", ["{", "[]", '{"run": 1, "stages": []}', "[" * 100_000, "\xff"])
def test_damaged_record(text):
    run = Run("demo")
    run.folder.mkdir(parents=True)
    run.path("run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"run.json is damaged .* run 01_augment again"):
        run.ready("01_augment")
    assert run.path("run.json").read_bytes() == text.encode("latin-1")
