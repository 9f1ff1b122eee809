"""Studies through Snakemake, with notebooks that compute nothing: what runs, fails, is killed, taken up."""

import contextlib
import re
import subprocess
import time

import nbformat
import pandas as pd
import psutil
import pytest
import stub_notebooks
from chain import environment

from medrob.files import PROJECT
from medrob.run import STAGES

TABLES = [file for files in STAGES.values() for file in files if file.endswith(".parquet")]
RULES = dict(zip(("augment", "train", "test", "heatmaps", "analysis"), STAGES, strict=True))
CHANGED = {"01_augment": "limit: 9", "02_train": "epochs: 3", "05_analysis": "textwidth: 300"}


class Home:
    """A folder with a study, and the command that runs it."""

    def __init__(self, folder):
        self.folder, self.notebooks = folder, stub_notebooks.write(folder / "notebooks")
        self.environment = environment(folder) | {"PYTHONPATH": str(PROJECT)}

    def study(self, text):
        (self.folder / "study.yaml").write_text(text)

    def command(self, *more):
        where = ["--directory", self.folder, "--snakefile", PROJECT / "Snakefile"]
        given = [f"study={self.folder / 'study.yaml'}", f"notebooks={self.notebooks}"]
        flags = [word for word in more if word.startswith("-")]
        options = [word for word in more if not word.startswith("-")]
        return list(map(str, ["snakemake", "--cores", "2", *where, *flags, "--config", *given, *options]))

    def run(self, *more):
        """Run the study; whether it ended well, and what it printed."""
        options = {"capture_output": True, "text": True, "env": self.environment, "cwd": PROJECT}
        done = subprocess.run(self.command(*more), **options)
        return done.returncode == 0, done.stdout + done.stderr

    def start(self):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(self.command(), env=self.environment, cwd=PROJECT, **quiet)

    def planned(self):
        """The jobs that would be run: {"a 02_train", ...}."""
        ended, self.said = self.run("-n", "--quiet=host")
        assert ended, self.said
        found = re.findall(r"^rule (\w+):.*?wildcards: run=(\w+)", self.said, re.MULTILINE | re.DOTALL)
        return {f"{run} {RULES[rule]}" for rule, run in found}

    def file(self, run, name):
        return self.folder / "data" / "runs" / run / name

    def tables(self, run):
        return {file: pd.read_parquet(self.file(run, file)) for file in TABLES}

    def state(self, run):
        """The content of all files that a finished run consists of."""
        folder = self.folder / "data" / "runs" / run
        files = [path for path in folder.rglob("*") if path.is_file() and ".locks" not in path.parts]
        return {str(f.relative_to(folder)): f.read_bytes() for f in files if "partial" not in f.name}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished study of the run "a"."""
    home = Home(tmp_path_factory.mktemp("study"))
    home.study("runs: {a: {}}")
    ended, text = home.run()
    assert ended, text
    return home


def stages(*names, run="a"):
    return {f"{run} {stage}" for stage in STAGES if stage[:2] in names}


def test_another_suite_runs_what_reads_it_and_trains_nothing(finished):
    finished.study("runs: {a: {01_augment: {suite: imagenet-c}}}")
    assert finished.planned() == stages("01", "03", "04", "05")


def test_what_is_lost_or_altered_is_made_again_and_what_follows(finished):
    finished.study("runs: {a: {}}")
    tables, network = finished.tables("a"), finished.file("a", "model.json")
    figures, before = finished.folder / "figures" / "a", network.read_bytes()
    network.write_bytes(before + b"x")
    assert finished.planned() == stages("02", "03", "04", "05")
    assert "a, 02_train: data/runs/a/model.json was changed after it was made" in finished.said
    network.write_bytes(before)  # what is put back is true again
    finished.file("a", "notebooks/02_train.ipynb").unlink()  # a figure, a notebook: their own stage alone
    (figures / "02_train_t.csv").unlink()
    finished.file("a", "trust.parquet").unlink()
    (figures / "thesis.tex").write_text("of another run")
    assert finished.planned() == stages("02", "04", "05")
    ended, text = finished.run()
    assert ended, text
    for file, table in finished.tables("a").items():
        pd.testing.assert_frame_equal(table, tables[file])
    assert all((figures / f"{name}_t.csv").exists() for name in STAGES) and finished.planned() == set()


def test_a_stage_that_fails_loses_nothing_and_the_study_as_it_was_is_finished(finished):
    before = finished.state("a")
    for stage, changed in CHANGED.items():
        marker = finished.folder / f"fail-a-{stage}"
        marker.touch()
        finished.study(f"runs: {{a: {{{stage}: {{{changed}}}}}}}")
        ended, text = finished.run()
        marker.unlink()
        assert not ended
        assert f"{stage} of run a failed; the whole traceback is in" in text
        assert finished.state("a") == before
        partial = nbformat.read(finished.file("a", f"notebooks/{stage}.partial.ipynb"), as_version=4)
        assert partial.cells[-1].outputs[-1].output_type == "error"
    finished.study("runs: {a: {}}")
    assert finished.planned() == set()


def kernel(study, run, stage):
    """The kernel of a notebook that a study executes, as soon as there is one."""
    while study.poll() is None:
        for process in psutil.Process(study.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                above = " ".join(process.parent().cmdline())
                if "ipykernel_launcher" in process.cmdline() and f"{stage}.ipynb" in above and run in above:
                    return process
        time.sleep(0.05)
    raise AssertionError(f"the study ended without {stage}")


def test_killed_anywhere_the_same_command_ends_with_the_same_tables(finished, tmp_path):
    home = Home(tmp_path)
    home.study("runs: {a: {}}")
    waiting = tmp_path / "wait-02_train"
    waiting.touch()
    study = home.start()
    process = kernel(study, "a", "02_train")
    ended, text = home.run()  # a second study in the folder
    assert not ended and "another process is working on a study in" in text
    study.kill()
    study.wait()
    process.wait(timeout=60)  # the notebook of a killed study ends, too
    waiting.unlink()
    study = home.start()
    kernel(study, "a", "03_test").kill()
    assert study.wait(timeout=240) != 0
    ended, text = home.run()
    assert ended, text
    for file, table in home.tables("a").items():
        pd.testing.assert_frame_equal(table, finished.tables("a")[file])
    assert not list(home.file("a", "notebooks").glob("*.partial.ipynb"))
    assert home.planned() == set()
