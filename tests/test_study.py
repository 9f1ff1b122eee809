import ast
import json
import shutil
from pathlib import Path

import papermill
import pytest

from medrob import study
from medrob.runs import STAGES

PROJECT = Path(__file__).parents[1]
NOTEBOOKS = PROJECT / "notebooks"


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
    theirs = papermill.inspect_notebook(str(path))
    assert list(study.parameters(path)) == list(theirs)
    assert study.parameters(path) == {name: ast.literal_eval(p["default"]) for name, p in theirs.items()}
    assert all(p["help"] for p in theirs.values())  # every parameter says what it means


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


def code_of(stage):
    cells = json.loads((NOTEBOOKS / f"{stage}.ipynb").read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@pytest.mark.parametrize("stage", STAGES)
def test_a_notebook_hands_every_parameter_to_start(stage):
    calls = [node for node in ast.walk(ast.parse(code_of(stage))) if isinstance(node, ast.Call)]
    (start,) = (call for call in calls if getattr(call.func, "attr", "") == "start")
    assert ast.literal_eval(start.args[0]) == stage
    assert [k.arg for k in start.keywords] == list(study.parameters(NOTEBOOKS / f"{stage}.ipynb"))


def test_the_projects_own_study():
    assert "demo" in study.load(PROJECT / "study.yaml", NOTEBOOKS)


def test_a_list_of_layers_instead_of_all(tmp_path):
    runs = load(tmp_path, "runs: {one: {04_heatmaps: {layers: [layer4.1], images: [3]}}}")
    assert runs["one"]["04_heatmaps"] == {"layers": ["layer4.1"], "images": [3]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runs: {a: !!python/object/apply:os.getcwd []}", "is not a study"),
        ("runs: {a: [01_augment]}", "run a: give stages and their parameters"),
        ("runs: {a: fast}", "run a: give stages and their parameters"),
        ("runs: {a: {01_augment: 28}}", "run a, 01_augment: give parameters, .* not 28"),
        ("runs: {a: {01_augment: [size]}}", "run a, 01_augment: give parameters"),
        ("runs: {../a: {}}", "run='../a' is not a run name"),
        ("runs: {a/b: {}}", "run a/b: give a name, not a path"),
    ],
)
def test_wrong_shapes_are_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, text)


def test_a_notebook_without_parameters(tmp_path):
    (tmp_path / "a.ipynb").write_text('{"cells": []}')
    with pytest.raises(ValueError, match=r"a.ipynb has no cell tagged 'parameters'"):
        study.parameters(tmp_path / "a.ipynb")


def test_the_fingerprint_sees_the_package(tmp_path, monkeypatch):
    notebook = NOTEBOOKS / "02_train.ipynb"
    here = study.fingerprint("02_train", notebook)
    package = Path(shutil.copytree(PROJECT / "medrob", tmp_path / "medrob"))
    monkeypatch.setattr(study, "__file__", str(package / "study.py"))

    def after(file, text):
        with (package / file).open("a") as stream:
            stream.write(text)
        return study.fingerprint("02_train", notebook)

    assert after("training.py", "\n# a comment\n") == here  # another place, the same code
    assert after("figures/style.py", "\nX = 1\n") == here  # a figure does not ask for a new training
    changed = after("training.py", "\nX = 1\n")
    assert changed != here
    assert after("corruptions/noise.py", "\nX = 1\n") != changed


def imported(source):
    """The modules of the package, and names in them, that code imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "medrob":
            module = node.module.removeprefix("medrob").removeprefix(".")
            found |= {module, *(f"{module}.{alias.name}".removeprefix(".") for alias in node.names)}
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_all_that_its_notebook_imports(stage):
    package, files = PROJECT / "medrob", {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        files[".".join(part for part in parts if part != "__init__")] = path
    # What draws, reports and keeps, but computes no table of the stage.
    left_out = {"", "figures", "runs", "progress"} | ({"analysis"} if stage == "04_heatmaps" else set())
    todo, reached = imported(code_of(stage)), set()
    while todo:
        name = todo.pop()
        if name in files and name not in reached and name.split(".")[0] not in left_out:
            reached.add(name)
            todo |= imported(files[name].read_text())
    # What an earlier stage depends on runs this one again, too.
    stages = list(STAGES)[: list(STAGES).index(stage) + 1]
    counted = {path for s in stages for pattern in study.DEPENDS[s] for path in package.glob(pattern)}
    assert reached and {files[name] for name in reached} <= counted


def test_what_a_stage_depends_on_is_there():
    assert list(study.DEPENDS) == list(STAGES)
    for pattern in {pattern for patterns in study.DEPENDS.values() for pattern in patterns}:
        assert list((PROJECT / "medrob").glob(pattern)), pattern
