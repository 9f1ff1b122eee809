"""The parameters of the notebooks: what their cells say, what is refused, and in which words."""

import ast
import subprocess
import sys

import papermill
import pytest

from medrob import config, corruptions, words
from medrob.files import PROJECT

NOTEBOOKS = PROJECT / "notebooks"


@pytest.mark.parametrize("stage", config.STAGES)
def test_a_notebooks_cell_and_its_model_say_the_same(stage):
    cell = papermill.inspect_notebook(str(NOTEBOOKS / f"{stage}.ipynb"))
    fields = config.STAGES[stage].model_fields
    assert list(cell) == list(fields)
    assert {name: ast.literal_eval(p["default"]) for name, p in cell.items()} == {
        name: field.default for name, field in fields.items()
    }
    assert {name: p["help"] for name, p in cell.items()} == {
        n: " ".join(field.description.split()) for n, field in fields.items()
    }
    assert all(field.description for field in fields.values())


def test_defaults_are_judged_without_pytorch_and_fast_imports():
    code = """
import sys
from medrob import corruptions
assert "scipy" not in sys.modules
from medrob import config, words
for stage, model in config.STAGES.items():
    assert not list(config.mistakes(model, model().model_dump()))
    config.judge(stage, {})
print([name for name in ("torch", "torchvision", "imgaug", "matplotlib") if name in sys.modules])
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize(
    ("stage", "values", "text"),
    [
        # types
        ("01_augment", {"size": True}, "size=True: give a whole number"),
        ("02_train", {"lr": "fast"}, "lr='fast': it should be a valid number"),
        ("04_heatmaps", {"methods": "gradcam"}, "methods='gradcam': it should be a valid list"),
        # ranges
        ("02_train", {"epochs": -1}, "epochs=-1: it should be greater than or equal to 0"),
        ("02_train", {"normalise": [123.7, 58.4]}, "in shares of 255 such as [0.48, 0.23], or what"),
        ("02_train", {"lr": float("nan")}, "lr=nan: it should be "),
        # choices
        ("01_augment", {"channels": 2}, "channels=2: it should be 0, 1 or 3"),
        ("02_train", {"optimizer": "foo"}, "optimizer='foo': it should be 'adamw', 'adam' or 'sgd'"),
        ("02_train", {"device": "gpu"}, "device='gpu': it should match pattern '^(auto|cpu|mps|cuda"),
        ("04_heatmaps", {"layers": "layer4"}, "layers='layer4': give 'all', or a list such as ['layer4.1']"),
        ("04_heatmaps", {"images": [3, 3]}, "images=[3, 3]: the list is empty or names one twice"),
        # what other rooms know, and the nearest name
        ("01_augment", {"suite": "thesus"}, "unknown suite or corruption 'thesus', did you mean 'thesis'"),
        ("01_augment", {"dataset": "pneumoniamist"}, "dataset='pneumoniamist' is unknown; give 'phantom'"),
        ("02_train", {"augment": "mirror"}, "augment='mirror' is unknown; the policies are none, geometric"),
        ("04_heatmaps", {"methods": ["gradcamm"]}, "unknown 'gradcamm'; did you mean 'gradcam'? Known: "),
        ("02_train", {"epoch": 3}, "unknown parameter 'epoch'; did you mean 'epochs'? Known: run, arch"),
        # together
        ("01_augment", {"run": "foo/bar"}, "run='foo/bar' is not a run name: use letters"),
        ("02_train", {"epochs": 0}, "epochs=0 takes a network that has been trained; give its weights="),
        ("02_train", {"arch": "resnet19"}, "arch='resnet19' is unknown; give one of"),
        ("02_train", {"weights": "absent.pth"}, "weights='absent.pth': no such file (of a folder, name"),
    ],
)  # fmt: skip
def test_what_is_refused_says_what_is_allowed(stage, values, text):
    with pytest.raises(ValueError) as caught:
        config.judge(stage, values)
    message = str(caught.value)
    assert message.startswith(f"{stage}: ") and text in message
    assert len(message.splitlines()) == 1, message
    assert not any(words in message for words in ("Input", "pydantic", "http", "type=", "Value error"))


def test_all_mistakes_are_told_at_once_a_line_each_and_parameters_do_not_change_afterwards():
    with pytest.raises(ValueError) as caught:
        config.judge("02_train", {"epoch": 3, "lr": "fast", "optimizer": "adm", "width": -1, "seed": 7})
    lines = [line.strip().removeprefix("02_train: ") for line in str(caught.value).splitlines()]
    starts = ["width=-1: it", "optimizer='adm': it", "lr='fast': it", "unknown parameter 'epoch'"]
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True)), lines
    with pytest.raises(ValueError, match="frozen"):
        config.judge("02_train", {"lr": 1, "device": "cuda:1"}).epochs = 3  # a whole number is a number


@pytest.mark.parametrize(
    ("given", "suite", "number"),
    [
        ({"dataset": "phantom:1"}, "thesis", 5),
        ({"dataset": "pneumoniamnist"}, "medmnist-c:pneumoniamnist", 13),
        ({"dataset": "bloodmnist_64.npz", "suite": "auto"}, "medmnist-c:bloodmnist", 11),
        ({"dataset": "mine.npz"}, ["imagenet-c", "imagenet-c-extra"], 19),
    ],
)
def test_a_suite_that_is_not_given_is_that_of_the_data_set(monkeypatch, tmp_path, given, suite, number):
    monkeypatch.chdir(tmp_path)
    for file in ("bloodmnist_64.npz", "mine.npz"):
        (tmp_path / file).touch()
    taken = config.judge("01_augment", given).suite
    assert taken == suite and len(corruptions.names(taken)) == number
    assert f"{number} corruptions" in (said := words.suite(taken, corruptions.names(taken)))
    left = set(corruptions.names(taken)) - set(grey := corruptions.names(taken, channels=1))
    assert "Left out" not in said and ("Left out" in words.suite(taken, grey)) == bool(left)
