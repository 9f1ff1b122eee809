"""Studies through Snakemake, with notebooks that compute nothing: what runs, fails, is killed, taken up."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import filelock
import nbformat
import pandas as pd
import psutil
import pytest
import stub_notebooks
from medrob.runs import Run
from medrob.runs.overview import verify

from medrob.study import jobs, session

ROOT = Path(__file__).parents[1]


class Home:
    """A folder with a study, and the command that runs it as far as 03_test of its runs."""

    def __init__(self, folder, *runs):
        self.targets = [folder / "data" / "runs" / run / "notebooks" / "03_test.ipynb" for run in runs]
        self.folder = folder
        self.notebooks = stub_notebooks.write(folder / "notebooks")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "MEDROB_HOME": str(folder), "PATH": path}
        self.environment.pop("MEDROB_PROGRESS", None)

    def command(self):
        where = ["--directory", self.folder, "--snakefile", ROOT / "Snakefile"]
        given = [f"study={self.folder / 'study.yaml'}", f"notebooks={self.notebooks}"]
        return ["snakemake", "--cores", "2", *where, *self.targets, "--config", *given]

    def run(self):
        options = {"capture_output": True, "text": True, "env": self.environment, "cwd": ROOT}
        return subprocess.run([*map(str, self.command())], **options)

    def start(self):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([*map(str, self.command())], env=self.environment, cwd=ROOT, **quiet)

    def file(self, run, name):
        return self.folder / "data" / "runs" / run / name

    def table(self, run):
        return pd.read_parquet(self.file(run, "scores.parquet"))


def kernel(study, partial):
    """The kernel of the notebook that a study writes to a file, as soon as there is one."""
    while study.poll() is None:
        for process in psutil.Process(study.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "ipykernel_launcher" in process.cmdline() and str(partial) in process.parent().cmdline():
                    return process
        time.sleep(0.05)
    raise AssertionError(f"the study ended without {partial}")


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """A study one of whose two runs fails in 02_train."""
    home = Home(tmp_path_factory.mktemp("study"), "good", "bad")
    (home.folder / "study.yaml").write_text("runs: {good: {}, bad: {02_train: {fail: true}}}")
    return home, home.run()


def test_a_failed_run_keeps_its_traceback_and_the_others_go_on(failed, monkeypatch):
    home, done = failed
    assert done.returncode != 0
    partial = home.file("bad", "notebooks/02_train.partial.ipynb")
    assert f"failed: {partial} holds the traceback" in done.stderr
    assert "AssertionError: asked to" in done.stderr
    assert any(
        output.output_type == "error"
        for cell in nbformat.read(partial, as_version=4).cells
        for output in cell.get("outputs", [])
    )
    assert home.file("good", "notebooks/03_test.ipynb").exists()
    assert not home.file("bad", "model.safetensors").exists()
    assert "01_augment     2 done" in done.stderr and "02_train       1 done" in done.stderr


def planned(home):
    """The notebooks that would be run: {"good 02_train", ...}."""
    done = subprocess.run(
        [*map(str, home.command()), "-n"], env=home.environment, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return set(re.findall(r"^(notebook_\w+) ", done.stdout + done.stderr, re.MULTILINE))


def test_what_is_run_again(failed):
    home, _ = failed
    study, text = home.folder / "study.yaml", home.notebooks / "01_augment.ipynb"
    home = Home(home.folder, "good")
    assert planned(home) == set()
    study.write_text("runs: {good: {02_train: {epochs: 2}}}")
    assert planned(home) == {"notebook_02_train", "notebook_03_test"}
    study.write_text("runs: {good: {}}")
    before = text.read_text()
    text.write_text(before.replace("study.finish()", "study.finish(), 1"))
    assert planned(home) == {"notebook_01_augment"}
    text.write_text(before)


def test_a_whole_study_with_a_comparison_and_a_run_that_measures_another(tmp_path, monkeypatch):
    home = Home(tmp_path)
    study = tmp_path / "study.yaml"
    study.write_text("runs: {a: {03_test: {reference: z}}, z: {}}")
    done = home.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "comparison: to do 05_analysis" in done.stderr
    assert len(re.findall(r"^(?:a|z|comparison), 0\d_\w+: done in 0:0\d$", done.stderr, re.MULTILINE)) == 11
    again = home.run()
    assert "comparison: finished" in again.stderr and "Nothing to be done" in again.stderr
    monkeypatch.setenv("MEDROB_HOME", str(tmp_path))
    assert verify(Run("a")) == verify(Run("comparison")) == []
    # What another study has marked is left alone while it runs.
    home.file("z", "history.parquet").unlink()
    mark = home.file("a", "notebooks/03_test.todo")
    mark.touch()
    with filelock.FileLock(tmp_path / "data" / "runs" / ".study.lock"):
        planned(home)
        assert mark.exists() and not home.file("z", "notebooks/02_train.todo").exists()
    assert planned(home) == {
        f"notebook_{stage}" for stage in ("02_train", "03_test", "04_heatmaps", "05_analysis")
    }
    assert not home.file("a", "notebooks/02_train.todo").exists()


def test_killed_anywhere_the_same_command_completes_with_the_same_tables(failed, tmp_path):
    whole, _ = failed
    home = Home(tmp_path, "good")
    (tmp_path / "study.yaml").write_text("runs: {good: {02_train: {wait: 0.5}}}")
    # The submitting process, while a notebook is running: its lock goes with it, the notebook does not.
    partial = home.file("good", "notebooks/02_train.partial.ipynb")
    study = home.start()
    kernel(study, partial)
    study.kill()
    study.wait()
    # A kernel.
    study = home.start()
    kernel(study, home.file("good", "notebooks/03_test.partial.ipynb")).kill()
    assert study.wait(timeout=240) != 0
    done = home.run()
    assert done.returncode == 0, done.stdout + done.stderr
    pd.testing.assert_frame_equal(home.table("good"), whole.table("good"))
    assert sorted(f.name for f in home.file("good", "notebooks").glob("*.ipynb")) == [
        *("01_augment.ipynb", "02_train.ipynb", "03_test.ipynb")
    ]
    assert "Nothing to be done" in home.run().stderr


def test_a_malformed_study_stops_before_anything_starts(tmp_path):
    home = Home(tmp_path)
    (tmp_path / "study.yaml").write_text("runs:\n  a b: {02_train: {epoch: 3}}\n")
    done = home.run()
    assert done.returncode != 0
    assert "line 2: run='a b' is not a run name" in done.stderr + done.stdout
    assert "no parameter 'epoch'; it has epochs" in done.stderr + done.stdout
    assert not (tmp_path / "data").exists()


def test_one_study_at_a_time_in_a_folder(home):
    first = session.Session(["a"])
    first.begin()
    with pytest.raises(RuntimeError, match=r"another study is running in .*runs; wait until it has ended"):
        session.Session(["a"]).begin()
    first.end()
    first._lock.release()
    session.Session(["a"]).begin()


def test_what_a_killed_study_left_running_is_stopped(home):
    def sleeper(where):
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", str(where)])

    ours = sleeper(home / "data" / "runs" / "a" / "notebooks" / "02_train.partial.ipynb")
    others = sleeper(home.parent / "elsewhere" / "data" / "runs" / "02_train.partial.ipynb")
    try:
        assert session.stop_leftovers() == 1
        ours.wait(timeout=10)  # raises as long as it runs; psutil may have taken its exit code
        assert others.poll() is None
    finally:
        others.kill()
        others.wait()


def test_totals_by_stage():
    run = Run("one").start("01_augment", run="one")
    run.path("corruptions.parquet").touch()
    seconds = run.finish()["seconds"]
    told = session.Session(["one", "two"]).totals()
    assert f"01_augment     1 done      0:0{round(seconds)}, of them now   0      0:00" in told


def papermilled(file, durations, seconds=None, began=1000.0):
    """A notebook as papermill leaves it: cells that took so long, None where they have not been run."""
    start = datetime.fromtimestamp(began, UTC).isoformat()
    cells = []
    for duration in durations:
        noted = {"status": "pending"} if duration is None else {"status": "completed", "duration": duration}
        cells.append(nbformat.v4.new_code_cell("x", metadata={"papermill": noted}))
    noted = {"start_time": start, "end_time": start if seconds else None, "duration": seconds}
    file.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"papermill": noted}), file)
    return jobs.read(file)


def test_how_far_a_job_is_and_how_long_it_will_take(tmp_path):
    job = papermilled(tmp_path / "a.ipynb", [1.0, 2.0, None, None])
    assert jobs.share(job, None, "") == 0.5
    assert jobs.share(job, None, "training 40 %, 0:52 gone") == pytest.approx(0.6)
    before = papermilled(tmp_path / "b.ipynb", [1.0, 1.0, 6.0, 2.0], seconds=11.0)
    assert jobs.share(job, before, "maps 50%, 0:03 gone") == pytest.approx((1 + 1 + 3) / 10)
    assert jobs.told(job, before, "maps 50%, 0:03 gone", 1010.0) == (
        "50%, 0:10 gone, about 0:10 to go (maps 50%)"
    )
    taken_up = "training, taken up after epoch 3 50%, 0:03 gone, about 0:03 to go"
    assert jobs.told(job, before, taken_up, 1010.0).endswith("(training, taken up after epoch 3 50%)")
    other = papermilled(tmp_path / "c.ipynb", [9.0], seconds=9.0)  # of other cells: no measure
    assert jobs.share(job, other, "") == 0.5
    assert jobs.told(papermilled(tmp_path / "d.ipynb", [None] * 9), None, "", 1005.0) == "0%, 0:05 gone"
    (tmp_path / "e.ipynb").write_text('{"cells": [')
    assert jobs.read(tmp_path / "e.ipynb") is None


def test_how_far_a_study_is(capsys):
    def notebook(run, stage, *given, **more):
        return papermilled(Run(run).path("notebooks", f"{stage}.ipynb"), *given, **more)

    for stage, seconds in (("01_augment", 10.0), ("02_train", 30.0)):
        notebook("old", stage, [1.0, seconds - 1], seconds=seconds)
        os.utime(Run("old").path("notebooks", f"{stage}.ipynb"), (1, 1))
    study = session.Session(["old", "new"])
    study.plan({"old": [], "new": ["01_augment", "02_train"]})
    assert "old: finished" in capsys.readouterr().err
    assert study._altogether() == ""
    study._began = time.time() - 20
    notebook("new", "01_augment", [1.0, 9.0], seconds=10.0)
    assert study._altogether() == "1 of 2 notebooks, 0:20 gone, about 1:00 to go"
    assert study._altogether() == ""  # once
    notebook("new", "02_train.partial", [1.0, None], began=time.time() - 5)
    assert dict(study._jobs()) == {
        Run("new").path("notebooks", "02_train.partial.ipynb"): "3%, 0:05 gone, about 2:25 to go"
    }


def test_what_does_not_stand_is_run_without_snakemakes_memory(failed, tmp_path):
    home = Home(failed[0].folder, "good")
    study, memory, table = (
        home.folder / "study.yaml",
        home.folder / ".snakemake",
        home.file("good", "scores.parquet"),
    )
    memory.rename(tmp_path / "memory")
    try:
        assert planned(home) == set()
        study.write_text("runs: {good: {02_train: {epochs: 2}}}")
        assert planned(home) == {"notebook_02_train", "notebook_03_test"}
        study.write_text("runs: {good: {}}")
        assert planned(home) == set()  # what was only planned leaves nothing behind
        table.rename(tmp_path / "scores")
        assert planned(home) == {"notebook_03_test"}
        (tmp_path / "scores").rename(table)
    finally:
        shutil.rmtree(memory)
        (tmp_path / "memory").rename(memory)
