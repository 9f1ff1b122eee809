import re
import shutil

import nbformat
import pandas as pd
import pytest
from medrob.report.notebooks import said, with_formulas
from medrob.runs import STAGES, Run
from medrob.runs.overview import overview, shown, verify
from medrob.runs.state import study_lock

from medrob import report, thesis
from medrob.__main__ import main
from medrob.files import checksum, home


def make(name="one", stages=STAGES, seed=0):
    """A run with small tables and executed notebooks."""
    run = Run(name)
    for stage in stages:
        run.start(stage, run=name, dataset="none-such.npz", seed=seed)
        for file in STAGES[stage]:
            run.path(file).write_text(f"{file} {seed}")
        if stage == "03_test":
            clean = {"corruption": ["clean"], "metric": ["auc"], "class": ["all"], "value": [0.9123]}
            clean |= {"low": [0.9], "high": [0.925]}
            run.save_table("scores", pd.DataFrame(clean))
        run.finish()
        notebook(run.path("notebooks", f"{stage}.ipynb"), f"What {stage} says & thinks.")
    return run


def notebook(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    prose = nbformat.v4.new_markdown_cell("# Title\n\nWeights $w_k$ and `$code$`:\n\n$$L = \\frac{1}{Z}$$")
    picture = nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo="})
    told = nbformat.v4.new_output("stream", name="stdout", text=text + "\n")
    cell = nbformat.v4.new_code_cell("print(1)", outputs=[told, picture])
    nbformat.write(nbformat.v4.new_notebook(cells=[prose, cell]), path)


def test_the_report_is_whole_and_needs_no_network():
    make("one")
    make("two", seed=1)
    (home() / "figures" / "one").mkdir(parents=True)
    (home() / "figures" / "one" / "summary.png").write_bytes(b"png")
    folder = home() / "report"
    index = report.write(folder, title="A <study>")
    pages = {str(file.relative_to(folder)) for file in folder.rglob("*.html")}
    assert pages == {"index.html", *(f"{r}/{p}.html" for r in ("one", "two") for p in (*STAGES, "record"))}
    for page in folder.rglob("*.html"):
        text = page.read_text()
        assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", text) and "<script" not in text, page
        for link in re.findall(r"""(?:src|href)="([^"#:]+)["#]""", text):
            assert (page.parent / link).exists(), (page, link)
    text = index.read_text()
    assert "A &lt;study&gt;" in text and "What 05_analysis says &amp; thinks." in text
    assert "0.912 (0.900-0.925)" in text and "complete" in text and "one/summary.png" in text
    assert text.index("<table") < text.index("What the analysis says")
    record = (folder / "one" / "record.html").read_text()
    assert "peak memory, MB" in record and "numpy" in record and "none-such.npz" in record
    assert "<math" in (folder / "one" / "01_augment.html").read_text()


def test_a_report_replaces_a_report_and_nothing_else():
    make("one", ["01_augment"])
    folder = home() / "report"
    report.write(folder)
    Run("one").path("notebooks", "01_augment.ipynb").unlink()
    report.write(folder)
    assert not (folder / "one" / "01_augment.html").exists()
    (home() / "mine").mkdir()
    (home() / "mine" / "thesis.tex").touch()
    with pytest.raises(ValueError, match="holds something else than a report"):
        report.write(home() / "mine")
    (home() / "mine" / "index.html").touch()
    (folder / "one" / "notes.txt").touch()
    for place, name in ((home() / "mine", "index.html, thesis.tex"), (folder, "one/notes.txt")):
        with pytest.raises(ValueError, match=rf"holds something else than a report \({name}\)"):
            report.write(place)
    assert (folder / "one" / "notes.txt").exists()


def test_a_report_of_one_study_alone(capsys):
    for name in ("one", "two", "other"):
        make(name, ["01_augment"])
    (home() / "my.yaml").write_text("runs: {one: {}, two: {}, later: {}}")
    assert main(["report", "--study", str(home() / "my.yaml")]) == 0
    text = (home() / "report" / "index.html").read_text()
    assert 'href="#one"' in text and 'href="#two"' in text and "other" not in text


def test_no_runs_no_report():
    with pytest.raises(FileNotFoundError, match=r"there are no runs in .* `make run` makes them"):
        report.write(home() / "report")


def test_a_failed_notebook_is_shown_as_such():
    run = make("one", ["01_augment"])
    notebook(run.path("notebooks", "02_train.partial.ipynb"), "half")
    report.write(home() / "report")
    assert "was not finished" in (home() / "report" / "one" / "02_train.html").read_text()
    assert overview().loc[0, "state"] == "cut off in 02_train"


def test_what_was_cut_off_or_is_no_run_does_not_stop_the_report():
    run = make("one", ["01_augment"])
    run.path("notebooks", "05_analysis.partial.ipynb").write_bytes(b'{"cells": [\xff')
    run.path("notebooks", "02_train.partial.ipynb").write_text('{"cells": 3}')
    (home() / "data" / "runs" / "my run").mkdir()
    report.write(home() / "report")
    assert "was cut off" in (home() / "report" / "one" / "05_analysis.html").read_text()


def test_a_comparison_says_what_is_of_all_its_runs():
    make("one")
    study = Run("one").start("05_analysis", runs=["one"], results="both")
    study.finish()
    cells = [
        ("print(words.failure(x))", "of one alone"),
        ("print(words.runs(y))", "side by side"),
    ]
    book = nbformat.v4.new_notebook()
    for source, text in cells:
        told = nbformat.v4.new_output("stream", name="stdout", text=text)
        book.cells.append(nbformat.v4.new_code_cell(source, outputs=[told]))
    Run("both").path("notebooks").mkdir(parents=True, exist_ok=True)
    nbformat.write(book, Run("both").path("notebooks", "05_analysis.ipynb"))
    text = report.write(home() / "report").read_text()
    assert "What the comparison says" in text and "side by side" in text and "of one alone" not in text


def test_formulas_become_mathml_and_code_does_not():
    text = with_formulas("a $x^2$ `$y$` costs 3 \\$ and $$z$$\n```\n$q$\n```")
    assert text.count("<math") == 2 and "`$y$`" in text and "$q$" in text and 'display="block"' in text
    assert "costs 3 \\$ and" in text


def test_what_a_notebook_says():
    run = make("one", ["01_augment"])
    assert said(run.path("notebooks", "01_augment.ipynb")) == ["What 01_augment says & thinks."]


# The records


def test_a_run_as_it_was_made_is_verified(monkeypatch, capsys):
    make("one")
    assert verify(Run("one")) == []
    assert main(["verify", "one"]) == 0 and main(["verify", str(Run("one").folder)]) == 0
    assert "all files are those that were made" in capsys.readouterr().out


def test_verify_names_what_is_missing_altered_or_mixed(capsys):
    run = make("one")
    run.path("drift.parquet").write_text("another")
    run.path("model.json").unlink()
    told = "\n".join(verify(run))
    assert "drift.parquet is not the one that 04_heatmaps made" in told
    assert "model.json is missing; notebook 02_train makes it" in told
    assert main(["verify", "one"]) == 1
    assert "model.json is missing" in capsys.readouterr().out
    assert verify(Run("none")) == [f"{Run('none').path('run.json')} records no finished stage"]


def test_verify_looks_at_what_the_thesis_takes_and_at_the_executed_notebooks():
    run = make("one")
    bundle = thesis.Bundle(run.figures, stage="03_test")
    for name in ("03_auc", "03_drop"):
        bundle.table(pd.DataFrame({"a": [1]}), name)
    bundle.document()
    run.start("03_test", run="one", dataset="none-such.npz", seed=0)
    run.finish()
    for stage in ("03_test", "04_heatmaps"):
        made = checksum(run.path("notebooks", f"{stage}.ipynb"))
        run.path("notebooks", f"{stage}.key").write_text(f"abc 04_heatmaps:def notebook:{made}")
    assert verify(run) == []
    (run.figures / "03_auc.csv").write_text("a\n2\n")
    (run.figures / "03_drop.tex").unlink()
    (run.figures / "numbers.tex").write_text("other")
    run.path("notebooks", "03_test.ipynb").unlink()
    notebook(run.path("notebooks", "04_heatmaps.ipynb"), "other")
    record = run.path("run.json").read_text()
    run.path("run.json").write_text(record.replace('"seed": 0', '"seed": 1', 1))
    assert verify(run) == [
        "run.json does not say of 01_augment what was recorded; run 01_augment again",
        "notebooks/03_test.ipynb is missing; run 03_test again",
        "notebooks/04_heatmaps.ipynb is not the one that the study executed",
        "figures/one/03_auc.csv is not the one that was made",
        "figures/one/03_drop.tex is missing; notebook 03_test makes it",
        "figures/one/numbers.tex is not the one that was made",
    ]
    shutil.rmtree(run.figures)
    assert "figures/one holds nothing of 03_test; run 03_test again" in verify(run)


def test_a_stage_refuses_files_that_do_not_belong_together():
    run = make("one", ["01_augment", "02_train", "03_test"])
    run.path("model.safetensors").write_text("another")
    with pytest.raises(ValueError, match=r"is mixed: model.safetensors is not the one that 02_train made"):
        run.start("04_heatmaps")
    # Trained again with the same parameters, to other weights: the test is of a network that is no more.
    run.start("02_train", run="one", dataset="none-such.npz", seed=0)
    run.path("model.safetensors").write_text("a third")
    run.finish()
    with pytest.raises(ValueError, match=r"is mixed: 03_test was made from another model.safetensors"):
        run.start("04_heatmaps")


def test_a_comparison_is_a_run_of_its_own():
    one, two = make("one"), make("two", seed=1)
    before = one.record
    study = Run("one").start("05_analysis", runs=["one", "two"], results="both")
    assert study.figures == home() / "figures" / "both"
    for name in ("association", "failure", "summary"):
        study.save_table(name, pd.DataFrame({"a": [1]}))
    study.finish()
    both = Run("both")
    assert one.record == before and list(both.record["stages"]) == ["05_analysis"]
    assert both.table("summary")["a"].tolist() == [1]
    assert verify(both) == []
    assert overview().set_index("run").loc["both", "state"] == "comparison"
    make("two", seed=2)
    assert any("made from another two/drift.parquet" in problem for problem in verify(both))
    with pytest.raises(ValueError, match="results='two' is a run with stages of its own"):
        Run("one").start("05_analysis", runs=["one", "two"], results="two")
    two.path("drift.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"run 'two' has no drift.parquet"):
        Run("one").start("05_analysis", runs=["one", "two"], results="both")


def test_all_runs_are_listed(capsys):
    make("one")
    make("two", ["01_augment", "02_train"])
    (home() / "data/runs/three").mkdir()
    (home() / "data/runs/four").mkdir()
    (home() / "data/runs/four/run.json").write_text("{")
    table = overview().set_index("run")
    assert table["state"].to_dict()["one"] == "complete" and table.loc["one", "auc"] == 0.912
    assert table.loc["two", "state"] == "done to 02_train" and table.loc["three", "state"] == "begun"
    assert "damaged" in table.loc["four", "state"]
    partial = Run("two").path("notebooks", "03_test.partial.ipynb")
    notebook(partial, "text")
    assert overview().set_index("run").loc["two", "state"] == "cut off in 03_test"
    with study_lock():
        assert overview().set_index("run").loc["two", "state"] == "running 03_test"
    book = nbformat.read(partial, as_version=4)
    book.cells[1].outputs.append(nbformat.v4.new_output("error", ename="E", evalue="", traceback=[]))
    nbformat.write(book, partial)
    assert overview().set_index("run").loc["two", "state"] == "failed in 03_test"
    assert main(["runs"]) == 0
    told = capsys.readouterr().out
    assert "complete" in told and "0.912 (0.900-0.925)" in told and "nan" not in told.lower()


def test_data_go_by_their_last_name_where_it_is_one():
    rows = [{"run": "a", "data": "x/mine.npz"}, {"run": "b", "data": "phantom"}, {"run": "c"}]
    table = pd.DataFrame(rows, columns=["run", "data", "seed", "auc", "low", "high"])
    assert shown(table)["data"].tolist() == ["mine.npz", "phantom", ""]
    table.loc[1, "data"] = "y/mine.npz"
    assert shown(table)["data"].tolist() == ["x/mine.npz", "y/mine.npz", ""]


def test_no_runs_are_no_error(capsys):
    assert main(["runs"]) == 0
    assert "There are no runs" in capsys.readouterr().out


def test_parameters_for_papermill(capsys, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("runs: {mine: {02_train: {epochs: 3}}}")
    assert main(["parameters", "mine", "02_train", "--study", str(file)]) == 0
    assert capsys.readouterr().out == "run: mine\nepochs: 3\n"
    assert main(["parameters", "mine", "2", "--study", str(file)]) == 1
    assert "the stages 01_augment" in capsys.readouterr().err
