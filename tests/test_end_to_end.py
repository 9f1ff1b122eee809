"""The whole chain, as users run it: a study through Snakemake, and the committed notebooks through nbval."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from medrob.runs import STAGES, Run
from medrob.runs.overview import verify

ROOT = Path(__file__).parents[1]
TIMES = {"seconds", "images_per_second", "memory_mb", "gpu_memory_mb"}
TINY = """
runs:
  first: &tiny
    01_augment: {size: 28, limit: 45}
    02_train: {width: 8, epochs: 1}
    03_test: {resamples: 50}
    04_heatmaps: {images: 3, methods: [gradcam, layercam]}
  second: *tiny
"""


def environment(home):
    """The environment of a terminal in which the project is active, with another home."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "MEDROB_HOME": str(home), "MEDROB_PROGRESS": "off", "PATH": path}


def run(home, *command):
    """Run a command, which must succeed; what it printed."""
    done = subprocess.run(command, cwd=ROOT, env=environment(home), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


def without_name(file):
    """The bytes of a file; of LaTeX, without the name of the run."""
    found = file.read_bytes()
    return found.replace(b"first", b"").replace(b"second", b"") if file.suffix == ".tex" else found


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A home with two tiny runs of the same parameters, made side by side."""
    home = tmp_path_factory.mktemp("home")
    (home / "study.yaml").write_text(TINY)
    command = ["snakemake", "--cores", "2", "--nolock", "--directory", str(home)]
    command += ["--snakefile", str(ROOT / "Snakefile")]
    command += ["--config", f"study={home / 'study.yaml'}", "threads=1"]
    run(home, *command)
    return home, command


def test_the_same_parameters_give_the_same_tables_figures_and_weights(study, monkeypatch):
    home, _ = study
    monkeypatch.setenv("MEDROB_HOME", str(home))
    first, second = Run("first"), Run("second")
    tables = [Path(f).stem for files in STAGES.values() for f in files if f.endswith(".parquet")]
    for name in tables:
        a, b = (r.table(name).drop(columns=TIMES, errors="ignore") for r in (first, second))
        pd.testing.assert_frame_equal(a, b, check_exact=True)
        assert len(a), name
    assert first.path("model.safetensors").read_bytes() == second.path("model.safetensors").read_bytes()
    drawn = sorted(f.name for f in first.figures.iterdir() if f.is_file())
    assert {"summary.pdf", "summary.png", "03_auc.tex", "03_scores.csv", "thesis.tex"} <= set(drawn)
    for name in drawn:
        if "performance" not in name and "05_runs" not in name and "05_ranks" not in name:
            ours, theirs = (without_name(run.figures / name) for run in (first, second))
            assert ours == theirs, name


def test_the_record_says_what_made_the_run(study, monkeypatch):
    home, _ = study
    monkeypatch.setenv("MEDROB_HOME", str(home))
    record = json.loads(Run("first").path("run.json").read_text())
    assert list(record["stages"]) == list(STAGES)
    train = record["stages"]["02_train"]
    assert train["parameters"]["width"] == 8
    assert train["seconds"] > 0
    assert train["packages"]["torch"]
    assert train["device"] == "cpu" or train["device"].startswith(("cuda", "mps"))
    assert record["stages"]["01_augment"]["data"]["test"]["counts"] == {
        "normal": 15,
        "nodule": 15,
        "consolidation": 15,
    }


def test_the_tables_are_whole(study, monkeypatch):
    home, _ = study
    monkeypatch.setenv("MEDROB_HOME", str(home))
    made = Run("first")
    assert len(made.table("corruptions")) == 45 * 26
    assert len(made.table("predictions")) == 45 * 26
    drift = made.table("drift")
    assert len(drift) == 9 * 25 * 2 * 8
    assert not drift.duplicated(["image", "corruption", "severity", "method", "layer"]).any()
    scores = made.table("scores")
    assert set(scores["class"]) == {"all", "normal", "nodule", "consolidation"}


def test_the_runs_are_compared_beside_them(study, monkeypatch):
    home, _ = study
    monkeypatch.setenv("MEDROB_HOME", str(home))
    assert list(Run("comparison").record["stages"]) == ["05_analysis"]
    assert Run("comparison").params["05_analysis"]["runs"] == ["first", "second"]
    assert (home / "figures" / "comparison" / "05_runs.pdf").exists()
    assert all(verify(Run(name)) == [] for name in ("first", "second", "comparison"))


def test_a_finished_study_is_not_run_again(study):
    home, command = study
    assert "Nothing to be done" in run(home, *command)


def test_a_mistyped_parameter_stops_the_notebook(tmp_path):
    command = ["papermill", "notebooks/01_augment.ipynb", str(tmp_path / "out.ipynb")]
    done = subprocess.run(
        [*command, "-k", "python3", "-p", "sise", "28"],
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "unknown parameter 'sise'; the parameters are run, dataset, suite" in done.stderr
    assert not (tmp_path / "data").exists()


def test_the_committed_notebooks_are_small_and_executed_in_order():
    for stage in STAGES:
        path = ROOT / "notebooks" / f"{stage}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert path.stat().st_size < 400_000, stage
        assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), stage
        assert not any(output.output_type == "error" for cell in code for output in cell.outputs)
        assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1


def test_the_committed_notebooks_run_and_tell_what_they_told(tmp_path, monkeypatch):
    """nbval runs all five on the demo and compares the cells that do not depend on training."""
    options = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=900", "-p", "no:cacheprovider"]
    run(tmp_path, sys.executable, "-m", "pytest", *options, *(f"notebooks/{stage}.ipynb" for stage in STAGES))
    monkeypatch.setenv("MEDROB_HOME", str(tmp_path))
    demo = Run("demo")
    scores = (
        demo.table("scores")
        .query("metric == 'auc' and `class` == 'all'")
        .set_index(["corruption", "severity"])
    )
    assert scores.loc[("clean", 0), "value"] > 0.8
    assert scores.xs(5, level="severity")["drop"].min() > -0.02
    assert scores.xs(5, level="severity")["drop"].max() > 0.05
    drift = demo.table("drift")
    by_severity = drift.groupby("severity")["rmse"].mean()
    assert by_severity.is_monotonic_increasing
    flipped = drift.groupby("preserved")["rmse"].mean()
    assert flipped[False] > flipped[True]
