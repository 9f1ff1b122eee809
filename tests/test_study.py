import json
from pathlib import Path

import papermill
import pytest

from medrob import study
from medrob.runs import STAGES

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def load(tmp_path, text):
    file = tmp_path / "study.yaml"
    file.write_text(text)
    return study.load(file, NOTEBOOKS)


def test_every_stage_of_every_run_is_there(tmp_path):
    runs = load(tmp_path, "runs: {one: {02_train: {epochs: 3}}, two: }")
    assert list(runs) == ["one", "two"]
    assert runs["one"]["02_train"] == {"epochs": 3}
    assert runs["two"] == {stage: {} for stage in STAGES}


def test_all_mistakes_are_listed_at_once(tmp_path):
    text = "runs: {'a b': {}, x: {02_train: {epoch: 3, lr: fast}, 06_more: {}}, y: {01_augment: {run: z}}}"
    with pytest.raises(ValueError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert "'a b' is not a run name" in message
    assert "no parameter 'epoch'; it has arch, stem, width, epochs" in message
    assert "lr='fast' is not like its default" in message
    assert "no stage '06_more'; the stages are 01_augment" in message
    assert "run y, 01_augment: no parameter 'run'" in message


@pytest.mark.parametrize("text", ["", "runs:", "[1, 2]", "runs: [a]", "runs: {a: {b"])
def test_what_is_no_study_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=r"is not a study|names no runs"):
        load(tmp_path, text)


@pytest.mark.parametrize("stage", STAGES)
def test_papermill_sees_the_same_parameters(stage):
    path = NOTEBOOKS / f"{stage}.ipynb"
    assert list(study.parameters(path)) == list(papermill.inspect_notebook(str(path)))


def test_the_fingerprint_sees_code_and_nothing_else(tmp_path):
    path = tmp_path / "01_augment.ipynb"

    def fingerprint(source, outputs=(), prose="a"):
        code = {"cell_type": "code", "source": [source], "outputs": list(outputs), "metadata": {}}
        cells = [{"cell_type": "markdown", "source": [prose], "metadata": {}}, code]
        path.write_text(json.dumps({"cells": cells}))
        return study.fingerprint("01_augment", path)

    first = fingerprint("a = 1")
    assert fingerprint("a = 1  # why", [{"output_type": "stream"}], "b") == first
    assert fingerprint("a = 2") != first
