"""The committed notebooks: executed, small, and telling again what they told, through nbval."""

import subprocess
import sys

import nbformat
import pytest
from chain import ROOT, environment, run

from medrob.run import STAGES, Run


@pytest.mark.parametrize(
    ("stage", "name", "sentence"),
    [
        ("01_augment", "sise", "ValueError: 01_augment: unknown parameter 'sise'; did you mean 'size'?"),
        ("02_train", "seed", "FileNotFoundError: run 'demo' has no data.json"),
    ],
)
def test_a_refusal_stops_the_notebook_with_its_sentence_alone(tmp_path, stage, name, sentence):
    out = tmp_path / "out.ipynb"
    command = ["papermill", f"notebooks/{stage}.ipynb", str(out), "-k", "python3", "-p", name, "28"]
    done = subprocess.run(command, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True)
    assert done.returncode != 0 and sentence in done.stderr
    outputs = [o for cell in nbformat.read(out, as_version=4).cells for o in cell.get("outputs", [])]
    (refusal,) = [output for output in outputs if output.output_type == "error"]
    assert len(refusal.traceback) == 1 and refusal.traceback[0].startswith(sentence)
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
