"""The report, the list of runs, and whether the files of a run are those that were made."""

import functools
import json
import re
import shutil

import nbformat
import pandas as pd
import pytest
from chain import save

from medrob import config, data, execute, report, thesis
from medrob.__main__ import main
from medrob.files import home as home_of
from medrob.report import overview, verify
from medrob.run import STAGES, Run
from medrob.stage import Stage


def make(name="one", stages=STAGES, seed=0):
    """A run with small tables and executed notebooks."""
    run = Run(name)
    for stage in stages:
        made_from = run.ready(stage)
        for file in STAGES[stage]:
            run.path(file).parent.mkdir(parents=True, exist_ok=True)
            run.path(file).write_text(f"{file} {seed}")
        if stage == "01_augment":
            whole = {split: data.load("phantom", split, size=28, limit=3) for split in data.SPLITS}
            began = {"dataset": "phantom", "size": 28, "limit": 3}
            about = {"parameters": began, "splits": data.describe(*whole.values())}
            run.path("data.json").write_text(json.dumps(about))
        if stage == "03_test":
            clean = dict(severity=[0], metric=["auc"], value=[0.9123], low=[0.9], high=[0.925])
            save(run, "scores", pd.DataFrame(clean | {"class": ["all"]}))
        keep(run, stage, seed, made_from)
        notebook(run.path("notebooks", f"{stage}.ipynb"), stage)
    return run


def keep(run, stage, seed=0, made_from=None, **parameters):
    """Record that a stage is finished."""
    default = config.judge(stage, {}).model_dump(mode="json")
    parameters = default | {"dataset": "phantom", "seed": seed} | parameters
    about = {"parameters": parameters, "seconds": 1.0, "peak_memory_mb": 100}
    told = [{"text": f"What {stage} says & thinks."}, {"figure": "05_runs"}, {"text": "side by side"}]
    figure = {"kind": "figure", "file": "05_runs", "stage": stage, "files": {}, "caption": "A & B_1. More"}
    about |= {"told": told, "thesis": {"figure-05_runs": figure}} if stage == "05_analysis" else {}
    about |= {"answer": dict(verdicts="It works.\nIt looks.", done="Much.", limits="Little.")}
    run.keep(stage, about | {"made_from": made_from or run.ready(stage)})


def compare(name, runs):
    both = Run(name)
    for file in STAGES["05_analysis"]:
        save(both, file.removesuffix(".parquet"), pd.DataFrame({"a": [1]}))
    files = {f"{run}/{f}": made for run in runs for f, made in Run(run).ready("05_analysis").items()}
    keep(both, "05_analysis", made_from=files, runs=list(runs), results=name)
    return both


def notebook(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text)]), path)


def test_the_report_is_whole_and_needs_no_network():
    make("one")
    make("two", seed=1)
    for name in ("summary.png", "05_runs.png"):
        (home_of() / "figures" / "one").mkdir(parents=True, exist_ok=True)
        (home_of() / "figures" / "one" / name).write_bytes(b"png")
    shutil.rmtree(Run("one").path("notebooks"))  # as of a run that was executed by hand
    folder = home_of() / "report"
    text = report.write().read_text()
    pages = {str(file.relative_to(folder)) for file in folder.rglob("*.html")}
    assert pages == {"index.html", "one/index.html", "two/index.html"}
    distant = r"""(?:src|href)=["'](?:https?:)?//|url\(["']?(?:https?:)?//|@import|<script src"""
    for page in folder.rglob("*.html"):
        assert not re.findall(distant, page.read_text()), page
        for link in re.findall(r"""(?:src|href)="([^"#:]+)["#]""", page.read_text()):
            assert (page.parent / link).exists() or "two" in str(page), (page, link)
    found = [text.index(words) for words in ("It works.\nIt looks.", "one/summary.png", "Much.", "Little.")]
    assert found == sorted(found) and found[-1] < text.index("0.912 (0.900-0.925)") and "complete" in text
    whole = (folder / "one" / "index.html").read_text()
    assert "What 05_analysis says &amp; thinks." in whole and "A &amp; B_1. More</figcaption>" in whole
    assert 'alt="A &amp; B_1">' in whole and 'alt=""' not in whole
    assert "peak_memory_mb" in whole


def test_a_report_is_written_over_and_what_else_lies_there_stays():
    make("one", ["01_augment"])
    folder = home_of() / "report"
    report.write()
    (folder / "index.html").write_text("old")
    (folder / "one" / "notes.txt").touch()
    make("other", ["01_augment"])
    (home_of() / "my.yaml").write_text("runs: {one: {}, later: {}}")
    assert main(["report", "--study", str(home_of() / "my.yaml")]) == 0
    text = (folder / "index.html").read_text()
    assert 'href="#one"' in text and "other" not in text and (folder / "one" / "notes.txt").exists()
    assert {path.name for path in home_of().iterdir()} == {"data", "my.yaml", "report"}


def test_what_failed_was_cut_off_or_is_no_run_does_not_stop_the_report():
    run = make("one", ["01_augment"])
    notebook(run.path("notebooks", "02_train.partial.ipynb"), "half")
    assert overview().loc[0, "state"] == "failed, cut off or running in 02_train"
    run.path("notebooks", "03_test.partial.ipynb").write_text('{"cells": 3}')
    run.path("notebooks", "05_analysis.partial.ipynb").write_bytes(b'{"cells": [\xff')
    (home_of() / "data" / "runs" / "my run").mkdir()
    text = report.write().read_text()
    assert "02_train, 03_test, 05_analysis failed or is running" in text and "my run" not in text
    assert [file.name for file in (home_of() / "report" / "one").iterdir()] == ["index.html"]


def exported(run, stage, *names):
    """Let a finished stage write tables for the thesis."""
    bundle = thesis.Bundle(run.figures, stage)
    for name in names:
        bundle.table(pd.DataFrame({"a": [1]}), name)
    bundle.numbers(pd.DataFrame([{"name": stage, "value": 0.5, "low": 0.4, "high": 0.6, "what": "a number"}]))
    stages = run.record["stages"]
    entry = stages[stage] | {"thesis": bundle.notes}
    bundle.document(stages | {stage: entry})
    run.keep(stage, entry)


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A home with a run of all stages with figures and stamps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDROB_HOME", str(folder := tmp_path_factory.mktemp("complete")))
        run = make("one")
        for stage in STAGES:
            exported(run, stage, f"{stage}_a", f"{stage}_b")
            execute.stamp(run, stage, "key")
    return folder


@pytest.fixture
def whole(complete, home):
    """A copy of the complete run."""
    shutil.copytree(complete, home, dirs_exist_ok=True)
    return Run("one")


def test_verify_names_what_is_missing_altered_or_mixed(whole, capsys):
    run = whole
    assert [told.partition("records ")[2][:17] for told in verify(Run("none"))] == ["no finished stage"]
    (run.figures / "thesis.aux").write_text("of LaTeX")
    assert main(["verify", "one"]) == 0
    assert "all files are those that were made" in capsys.readouterr().out
    for path in (run.figures / "03_test_a.csv", run.figures / "numbers.tex", run.path("drift.parquet")):
        path.write_text("other")
    for path in (run.figures / "03_test_b.tex", run.path("model.json"), run.path("notebooks/03_test.ipynb")):
        path.unlink()
    notebook(run.path("notebooks", "04_heatmaps.ipynb"), "other")
    (run.figures / "of_another.pdf").write_text("x")
    run.path("fog.npz").write_text("x")
    problems = [
        "data/runs/one/model.json is missing",
        "data/runs/one/notebooks/03_test.ipynb is missing",
        "figures/one/03_test_a.csv was changed after it was made",
        "figures/one/03_test_b.tex is missing",
        "data/runs/one/drift.parquet was changed after it was made",
        "data/runs/one/notebooks/04_heatmaps.ipynb was changed after it was made",
        "figures/one/numbers.tex was changed after it was made",
        "data/runs/one/fog.npz is not in the record of the run; delete it or move it away",
        "figures/one/of_another.pdf is not in the record of the run; delete it or move it away",
        "make it with `snakemake --cores all`",
    ]
    assert all(told.startswith(words) for told, words in zip(verify(run), problems, strict=True))
    assert main(["verify", "one"]) == 1 and "model.json is missing" in capsys.readouterr().out
    record = run.path("run.json").read_text()
    run.path("run.json").write_text(record.replace('"seed": 0', '"seed": 1', 1))
    first, advice = verify(run)
    assert first == "the entry of 01_augment in run.json was altered or removed"
    assert advice.startswith(problems[-1])


def test_a_stage_that_was_executed_by_hand_after_its_study_is_told(whole):
    keep(whole, "03_test")  # the same tables once more
    assert execute.wrong(whole, "03_test")[0] == []
    whole.path("scores.parquet").write_bytes(b"other")
    assert any("scores.parquet was changed" in text for text in execute.wrong(whole, "03_test")[0])
    keep(whole, "03_test")
    assert execute.wrong(whole, "03_test")[0] == ["scores.parquet was made by hand"]


ALTERED = [(["run"], None), (["stages"], []), (["stages", "03_test"], None), (["stages", "03_test"], {})]
ALTERED += [(["stages", "03_test", "checksum"], ""), (["stages", "01_augment", "files", "data.json"], -1)]
ALTERED += [(["stages", "05_analysis", "thesis"], "x"), (["stages", "02_train", "made_from"], ["x"])]


def test_a_record_of_any_shape_is_told_and_nothing_breaks(whole, capsys):
    file = whole.path("run.json")
    text = file.read_text()
    for (*keys, last), value in ALTERED:
        record = json.loads(text)
        functools.reduce(dict.__getitem__, keys, record)[last] = value
        file.write_text(json.dumps(record))
        assert main(["verify", "one"]) == len(overview()) == 1, keys
        assert any(any(execute.wrong(whole, stage)) for stage in STAGES), keys
    file.unlink()
    file.mkdir()
    assert main(["verify", "one"]) == 1 and "run.json is damaged" in capsys.readouterr().err
    assert "damaged" in overview().loc[0, "state"]


def test_folders_and_links_in_place_of_files_and_all_that_is_foreign_are_told(whole):
    figure = whole.figures / "03_test_a.csv"
    figure.unlink()
    figure.mkdir()
    (whole.figures / "nowhere").symlink_to("absent")
    (whole.figures / "numbers.tex.bak").touch()
    for name in ("checkpoint_2.pt", "stamps/06.ipynb", "notebooks/copy.ipynb", "tensorboard/mine.txt"):
        whole.path(name).parent.mkdir(exist_ok=True)
        whole.path(name).touch()
    for name in ("checkpoint.pt", "notebooks/02_train.partial.ipynb", ".locks/02_train"):
        whole.path(name).parent.mkdir(exist_ok=True)
        whole.path(name).touch()
    told = "\n".join(verify(whole))
    assert "figures/one/03_test_a.csv is a folder; delete it or move it away" in told
    here = ("checkpoint_2.pt", "notebooks/copy.ipynb", "stamps/06.ipynb", "tensorboard/mine.txt")
    foreign = [f"data/runs/one/{name}" for name in here]
    foreign += [f"figures/one/{name}" for name in ("nowhere", "numbers.tex.bak")]
    assert [line.split()[0] for line in told.splitlines() if "not in the record" in line] == foreign
    shutil.rmtree(whole.folder)
    shutil.copytree(make("two", ["01_augment"]).folder, whole.folder)
    assert "is that of run 'two': the folder was replaced" in verify(whole)[0]


def test_a_comparison_is_a_run_of_its_own():
    make("one")
    two = make("two", seed=1)
    both = compare("both", ["one", "two"])
    exported(both, "05_analysis", "05_t")
    assert list(both.record["stages"]) == ["05_analysis"] and verify(both) == []
    assert overview().set_index("run").loc["both", "state"] == "comparison"
    text = report.write().read_text()
    assert text.index('id="both"') < text.index('id="one"')
    page = (home_of() / "report" / "both" / "index.html").read_text()
    assert "side by side" in page and "What 05_analysis says" not in page
    make("two", seed=2)
    problem, advice = verify(both)[0], verify(both)[-1]
    assert problem == "05_analysis was made from another two/corruptions.parquet"
    assert advice.endswith("05_analysis.ipynb out.ipynb -y '{runs: [one, two], results: both}'`")
    with pytest.raises(ValueError, match="results='two' is a run with stages of its own"):
        Stage("05_analysis", config.judge("05_analysis", {"runs": ["one", "two"], "results": "two"}))
    two.path("drift.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"run 'two' has no drift.parquet"):
        two.ready("05_analysis")


def test_all_runs_are_listed(capsys):
    with pytest.raises(FileNotFoundError, match=r"there are no runs in .* `make run` makes them"):
        report.write()
    assert main(["runs"]) == 0
    assert "There are no runs" in capsys.readouterr().out
    make("one")
    make("two", ["01_augment", "02_train"])
    make("five")
    make("five", ["01_augment"], seed=1)  # once more, and otherwise
    for name in ("three", "four"):
        (home_of() / "data" / "runs" / name).mkdir()
    (home_of() / "data/runs/four/run.json").write_text("{")
    table = overview().set_index("run")
    notebook(Run("one").path("notebooks", "03_test.partial.ipynb"), "what stood before this attempt stands")
    assert overview().set_index("run").loc["one", "state"] == "complete"
    assert re.match(r"\d\d_\w+ was made from another", table.loc["five", "state"])
    assert table.loc["one", "state"] == "complete" and table.loc["one", "auc"] == "0.912 (0.900-0.925)"
    assert table.loc["two", "state"] == "done to 02_train" and table.loc["three", "state"] == "begun"
    assert "damaged" in table.loc["four", "state"]
    notebook(Run("two").path("notebooks", "03_test.partial.ipynb"), "text")
    Run("one").path("drift.parquet").unlink()
    assert main(["runs"]) == 0
    told = capsys.readouterr().out
    assert "failed, cut off or running in 03_test" in told and "drift.parquet is missing" in told
    assert "nan" not in told.lower()
