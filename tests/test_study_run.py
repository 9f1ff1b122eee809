"""The whole chain, as users run it: a study of two runs and their comparison through Snakemake."""

import json
from pathlib import Path

import pandas as pd
import pytest
from chain import ROOT, run

from medrob.report import verify
from medrob.run import STAGES, Run

TIMES = {"seconds", "images_per_second", "memory_mb", "gpu_memory_mb"}
TINY = """
defaults:
  01_augment: {size: 28, limit: 45}
  02_train: {width: 8, epochs: 1}
  03_test: {resamples: 50}
  04_heatmaps: {images: 3, methods: [gradcam, layercam]}
runs: {first: {}, second: {}}
"""


def without_name(file):
    """The bytes of a file; of LaTeX, without the name of the run."""
    found = file.read_bytes()
    return found.replace(b"first", b"").replace(b"second", b"") if file.suffix == ".tex" else found


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A home with two tiny runs of the same parameters, made side by side."""
    home = tmp_path_factory.mktemp("home")
    (home / "study.yaml").write_text(TINY)
    command = ["snakemake", "--cores", "2", "--directory", str(home)]
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
    assert Run("first").data["splits"]["test"]["counts"] == {
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
    assert len(drift) == 9 * 25 * 2 * 6
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
