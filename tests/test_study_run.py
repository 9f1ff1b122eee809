"""The whole chain, as users run it: a study of two runs and their comparison through Snakemake."""

from pathlib import Path

import pandas as pd
import pytest
from chain import ROOT, run

from medrob.report import verify
from medrob.run import STAGES, Run

TIMES = {"seconds", "images_per_second", "memory_mb", "gpu_memory_mb"}
TINY = """
defaults:
  01_augment: {size: 28, limit: 45, suite: [gaussian_noise, contrast, motion_blur]}
  02_train: {width: 8, epochs: 1}
  03_test: {resamples: 50}
  04_heatmaps: {images: 3, checked: 2, methods: [gradcam, layercam]}
runs: {first: {}, second: {}}
"""


def without_name(file):
    """The bytes of a file; of LaTeX, without the name of the run."""
    found = file.read_bytes()
    return found.replace(b"first", b"").replace(b"second", b"") if file.suffix == ".tex" else found


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A home with two tiny runs of the same parameters, made side by side, and the command that made them."""
    home = tmp_path_factory.mktemp("home")
    (home / "study.yaml").write_text(TINY)
    command = ["snakemake", "--cores", "2", "--directory", str(home), "--snakefile", str(ROOT / "Snakefile")]
    command += ["--config", f"study={home / 'study.yaml'}", "threads=1"]
    run(home, *command)
    return home, command


@pytest.fixture(autouse=True)
def runs(study, monkeypatch):
    """The two runs."""
    monkeypatch.setenv("MEDROB_HOME", str(study[0]))
    return Run("first"), Run("second")


def test_the_same_parameters_give_the_same_tables_figures_and_weights(runs):
    first, second = runs
    tables = [Path(f).stem for files in STAGES.values() for f in files if f.endswith(".parquet")]
    for name in tables:
        a, b = (r.table(name).drop(columns=TIMES, errors="ignore") for r in runs)
        pd.testing.assert_frame_equal(a, b, check_exact=True)
        assert len(a), name
    assert first.path("model.safetensors").read_bytes() == second.path("model.safetensors").read_bytes()
    drawn = sorted(f.name for f in first.figures.iterdir() if f.is_file())
    assert {"summary.pdf", "summary.png", "03_auc.tex", "03_scores.csv", "thesis.tex"} <= set(drawn)
    for name in drawn:
        if "performance" not in name and "05_runs" not in name and "05_ranks" not in name:
            ours, theirs = (without_name(run.figures / name) for run in runs)
            assert ours == theirs, name


def test_the_record_and_the_tables_are_whole(runs):
    made = runs[0]
    assert list(made.record["stages"]) == list(STAGES)
    train = made.record["stages"]["02_train"]
    assert train["parameters"]["width"] == 8 and train["seconds"] > 0 and train["packages"]["torch"]
    assert train["device"].startswith(("cpu", "cuda", "mps"))
    assert made.data["splits"]["test"]["counts"] == {"normal": 15, "nodule": 15, "consolidation": 15}
    assert len(made.table("corruptions")) == len(made.table("predictions")) == 45 * 16
    drift = made.table("drift")
    assert len(drift) == 9 * 15 * 2 * 6
    assert not drift.duplicated(["image", "corruption", "severity", "method", "layer"]).any()
    assert set(made.table("scores")["class"]) == {"all", "normal", "nodule", "consolidation"}


def test_the_runs_are_compared_and_a_finished_study_is_not_run_again(study):
    home, command = study
    assert list(Run("comparison").record["stages"]) == ["05_analysis"]
    assert Run("comparison").params["05_analysis"]["runs"] == ["first", "second"]
    figures = home / "figures" / "comparison"
    assert (figures / "summary.pdf").exists()
    assert not (figures / "05_runs.pdf").exists()  # one network, trained twice: there is nothing to compare
    assert all(verify(Run(name)) == [] for name in ("first", "second", "comparison"))
    assert "Nothing to be done" in run(home, *command)
