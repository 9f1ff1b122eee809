import ast
import json
import os
import re
from dataclasses import fields
from pathlib import Path

import pandas as pd
import papermill
import pytest
from medrob.runs import STAGES
from medrob.study.inputs import source

from medrob import study

PROJECT = Path(__file__).parents[1]
NOTEBOOKS = PROJECT / "notebooks"


def load(tmp_path, text, **options):
    file = tmp_path / "study.yaml"
    file.write_text(text)
    return study.load(file, NOTEBOOKS, **options)


def test_every_stage_of_every_run_is_there(tmp_path):
    runs = load(tmp_path, "runs: {one: {02_train: {epochs: 3}}, two: }").runs
    assert list(runs) == ["one", "two"]
    assert runs["one"]["02_train"] == {"epochs": 3}
    assert runs["two"] == {stage: {} for stage in STAGES}


def test_all_mistakes_are_listed_at_once(tmp_path):
    text = "runs: {'a b': {}, x: {02_train: {epoch: 3, lr: fast}, 06_more: {}}, y: {01_augment: {run: z}}}"
    with pytest.raises(ValueError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert "'a b' is not a run name" in message
    assert "no parameter 'epoch'; it has arch, stem, width, weights, normalise, recipe, epochs" in message
    assert "lr='fast' is not like its default" in message
    assert "no stage '06_more'; the stages are 01_augment" in message
    assert "run y, 01_augment: no parameter 'run'" in message


@pytest.mark.parametrize("text", ["", "runs:", "[1, 2]", "runs: {a: {b"])
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


def code_of(stage):
    cells = json.loads((NOTEBOOKS / f"{stage}.ipynb").read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def keywords(call, tree):
    """The keywords of a call, those of ``**name`` where ``name = dict(...)`` stands before."""
    found = []
    for keyword in call.keywords:
        if keyword.arg:
            found.append((keyword.arg, ast.unparse(keyword.value)))
            continue
        (given,) = (
            node.value for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == ast.unparse(keyword.value)
            and getattr(node.value, "func", None) is not None and ast.unparse(node.value.func) == "dict"
            and node.lineno < call.lineno
        )  # fmt: skip
        found += keywords(given, tree)
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_notebook_hands_every_parameter_to_start(stage):
    tree = ast.parse(code_of(stage))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    (start,) = (call for call in calls if getattr(call.func, "attr", "") == "start")
    assert ast.literal_eval(start.args[0]) == stage
    given = keywords(start, tree)
    assert sorted(name for name, _ in given) == sorted(study.parameters(NOTEBOOKS / f"{stage}.ipynb"))
    assert all(name == value for name, value in given)


def test_the_projects_own_study():
    assert "demo" in study.load(PROJECT / "study.yaml", NOTEBOOKS).runs


def test_a_list_of_layers_instead_of_all(tmp_path):
    runs = load(tmp_path, "runs: {one: {04_heatmaps: {layers: [layer4.1], images: [3]}}}").runs
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


# Lines, defaults, grids, comparisons


def test_mistakes_stand_with_their_lines(tmp_path):
    text = """
defaults:
  02_train: {epochs: many}
runs:
  one:
    02_train:
      lr: 1e-3
      epoch: 3
  one: {}
grid: {}
compare: {both: [one, two]}
"""
    with pytest.raises(ValueError) as caught:
        load(tmp_path, text)
    lines = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert [line.split(":")[0] for line in lines] == ["line 3", "line 9", "line 10", "line 11"]
    assert "epochs='many' is not like its default" in lines[0]
    assert "'one' stands here a second time, first in line 5" in lines[1]
    assert "unknown key 'grid'; a study has defaults, runs, grids, compare" in lines[2]
    assert "no run two; the runs are one" in lines[3]


def mistakes(tmp_path, text):
    """What is told of a study, line by line."""
    with pytest.raises(ValueError) as caught:
        load(tmp_path, text)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_a_mistake_in_defaults_is_told_once_beside_all_others(tmp_path):
    text = """
defaults: {01_augment: {suite: foo}}
runs:
  a: {02_train: {epoch: 3, clip: -1.0, lr: -1.0}}
  b: {01_augment: {dataset: pneumoniamist}}
grids:
  g: {02_train: {augment: [none, "iaa.Fliplr(1"]}}
"""
    lines = mistakes(tmp_path, text)
    starts = [
        "line 2: defaults, 01_augment: suite='foo' is unknown",
        "line 4: run a, 02_train: clip=-1.0: give",
        "line 4: run a, 02_train: lr=-1.0: give",
        "line 4: run a, 02_train: no parameter 'epoch'",
        "line 5: run b, 01_augment: dataset='pneumoniamist' is unknown; give 'phantom'",
        "line 7: grid g, 02_train: augment='iaa.Fliplr(1' is no imgaug expression",
    ]
    assert len(lines) == len(starts), lines
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True)), lines


def test_what_only_the_notebooks_would_find_is_told_before_the_start(tmp_path):
    text = """
runs:
  a: {01_augment: {channels: 2, dataset: nothere.npz}, 02_train: {seed: [0, 1]}}
  b: {02_train: {device: gpu, weights: x.pth}, 03_test: {reference: nobody, resamples: [100]}}
  c: {03_test: {reference: d}, 04_heatmaps: {layers: [layer9.9], images: [-1], methods: [gradcam, gradcam]}}
  d: {03_test: {reference: c}}
"""
    lines = mistakes(tmp_path, text)
    starts = [
        "line 3: run a, 01_augment: channels=2: give 1 (grey)",
        "line 3: run a, 01_augment: dataset='nothere.npz': no such file or folder",
        "line 3: run a, 02_train: seed=[0, 1] is not like its default 0",
        "line 4: run b, 02_train: device='gpu' is unknown",
        "line 4: run b, 02_train: weights='x.pth': no such file",
        "line 4: run b, 03_test: reference='nobody' is neither 'alexnet' nor a run of the study",
        "line 4: run b, 03_test: resamples=[100] is not like its default 2000",
        "line 5: run c, 03_test: reference='d' leads back to the run itself",
        "line 5: run c, 04_heatmaps: images=[-1]: give indices",
        "line 5: run c, 04_heatmaps: layers=['layer9.9']: the network has none of that name; it has",
        "line 5: run c, 04_heatmaps: methods is empty or names one twice",
        "line 6: run d, 03_test: reference='c' leads back to the run itself",
    ]
    assert len(lines) == len(starts), lines
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True)), lines


def test_networks_without_stem_and_width_take_what_the_notebook_gives(tmp_path):
    text = "runs: {a: {02_train: {arch: densenet121}}, b: {02_train: {stem: auto, width: 0}}}"
    assert list(load(tmp_path, text).runs) == ["a", "b"]
    from medrob.study.choices import RECIPE

    from medrob.training import Recipe

    assert [field.name for field in fields(Recipe)] == list(RECIPE)


def test_runs_without_a_corruption_in_common_are_not_compared(tmp_path):
    runs = "runs: {a: {}, b: {01_augment: {suite: mri}}, c: {01_augment: {suite: imagenet-c}}}"
    assert load(tmp_path, runs).compare == {}
    assert load(tmp_path, f"{runs}\ncompare: {{x: [a, c]}}").compare == {"x": ["a", "c"]}
    with pytest.raises(ValueError, match=r"compare, x: the suites mri, thesis have no corruption in common"):
        load(tmp_path, f"{runs}\ncompare: {{x: [a, b]}}")


def test_shares_are_no_more_than_pairs_of_conditions(tmp_path):
    given = load(tmp_path, "runs: {a: {}, b: {01_augment: {suite: imagenet-c}}}")
    study.check_split(given, NOTEBOOKS, 13)
    with pytest.raises(ValueError, match=r"split=14: .* how many: a \(13\)"):
        study.check_split(given, NOTEBOOKS, 14)


def test_defaults_a_grid_and_an_override(tmp_path):
    text = """
defaults: {02_train: {epochs: 5, lr: 1e-3}}
runs:
  plain: {02_train: {epochs: 6}}
  seeds-mixed-seed1: {02_train: {epochs: 7}}
grids:
  seeds: {02_train: {augment: [none, mixed], seed: [0, 1]}, 01_augment: {size: [28]}}
"""
    given = load(tmp_path, text)
    assert list(given.runs) == [
        *("plain", "seeds-mixed-seed1", "seeds-none-seed0", "seeds-none-seed1", "seeds-mixed-seed0")
    ]
    assert given.runs["plain"]["02_train"] == {"epochs": 6, "lr": 0.001}
    assert given.runs["seeds-none-seed1"]["02_train"] == dict(epochs=5, lr=0.001, augment="none", seed=1)
    assert given.runs["seeds-mixed-seed1"]["02_train"] == dict(epochs=7, lr=0.001, augment="mixed", seed=1)
    assert given.runs["seeds-none-seed0"]["01_augment"] == {"size": 28}
    assert given.runs["plain"]["01_augment"] == {}
    assert given.compare == {"comparison": list(given.runs)}


def test_a_path_and_a_list_become_words_of_a_name(tmp_path):
    data, methods = (
        "01_augment: {dataset: [phantom, a/b c.npz]}",
        "04_heatmaps: {methods: [[gradcam], [layercam]]}",
    )
    text = f"grids: {{g: {{{data}, {methods}}}}}"
    runs = load(tmp_path, text, choices=False).runs
    assert next(iter(runs)) == "g-phantom-methods1" and list(runs)[-1] == "g-b_c-methods2"
    text = "grids: {g: {01_augment: {dataset: [a/images, b/images]}}}"
    runs = load(tmp_path, text, choices=False).runs
    assert list(runs) == ["g-dataset1", "g-dataset2"]


MANY = list(range(1, 122))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runs: [a]", "line 1: runs: give names of runs"),
        ("grids: {g: {02_train: {seed: 3}}}", "seed must be a list of values to try"),
        ("grids: {g: {02_train: {seed: []}}}", "seed must be a list of values to try"),
        ("grids: {g: {02_train: {seed: [0, 0]}}}", "'g-seed0' would be the name of several"),
        ("grids: {g: {02_train: {seed: [0, fast]}}}", "seed='fast' is not like its default"),
        (f"grids: {{g: {{02_train: {{seed: {MANY}, epochs: {MANY}}}}}}}", "would be 14641 runs; at most 10"),
        ("grids: {g: {02_train: {seed: [0, 1]}}, g-seed0: {}}", "is also one of grid g"),
        ("runs: {comparison: {}, b: {}}", "this name is kept for the comparison"),
        ("{runs: {a: {}, b: {}}, compare: {a: [a, b]}}", "'a' is also a run"),
        ("{runs: {a: {}, b: {}}, compare: {c: a}}", "give a list of runs"),
        ("{runs: {a: {}, b: {}}, compare: {c: [a, a]}}", "a stands there twice"),
        ("{runs: {a: {}, b: {}}, compare: {c: [a]}}", "give two runs or more"),
        ("runs: {a: {02_train: {weights: DEFAULTS}}}", "'DEFAULTS' are not torchvision's for resnet18"),
        ("runs: {a: {02_train: {weights: DEFAULT}}}", "are of the published network: give stem: auto"),
        ("runs: {a: {04_heatmaps: {batch_size: 0}}}", "batch_size=0 is too small"),
        ("runs: {a: {04_heatmaps: {methods: [all]}}}", "methods='all' is unknown"),
        ("runs: {a: {01_augment: {dataset: 'phantom:foo'}}}", "dataset='phantom:foo': give 'phantom'"),
        ("{runs: {a: {}, b: {}}, compare: {A: [a, b]}}", "'A' is also a run"),
        ("runs: {a: {}, A: {}}", "would be one folder where capitals do not count"),
        (f"runs: {{{'a' * 101}: {{}}}}", "has 101 characters; give at most 100"),
        ("runs: {a: {04_heatmaps: {layers: layer4}}}", "layers='layer4': give 'all', or a list"),
        ("runs: {a: {04_heatmaps: {samples: 0}}}", "samples=0 is too small; give at least 1"),
        ("runs: {a: {01_augment: {suite: thesus}}}", "suite='thesus' is unknown; give one of thesis"),
        ("runs: {a: {02_train: {epochs: 0}}}", "epochs=0: give a whole number of at least 1"),
        ("runs: {a: {01_augment: {limit: -1}}}", "limit=-1 is too small; give at least 0"),
        ("runs: {a: {04_heatmaps: {methods: [gradcam, magic]}}}", "methods='magic' is unknown"),
        ("runs: {a: {04_heatmaps: {methods: []}}}", "methods is empty"),
        ("runs: {a: {02_train: {arch: resnet19}}}", "arch='resnet19' is unknown"),
        ("runs: {a: {01_augment: {size: 4}, 02_train: {width: 8}}}", "02_train: "),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, text)


def test_runs_may_share_parameters_by_anchors(tmp_path):
    text = "runs: {a: &a {02_train: {epochs: 3}}, b: {<<: *a, 03_test: {resamples: 9}}}"
    runs = load(tmp_path, text).runs
    assert runs["b"]["02_train"] == {"epochs": 3} and runs["b"]["03_test"] == {"resamples": 9}


# What results depend on


@pytest.fixture
def package(tmp_path):
    """A package of which a notebook uses a part."""
    folder = tmp_path / "medrob"
    files = {
        "__init__.py": "",
        "a.py": """
from medrob.b import used
LIMIT = 3
def f():
    return used() + LIMIT
def g():
    return 1
""",
        "b.py": """
import math
TABLE = {"x": lambda: helper()}
def used():
    return TABLE
def helper(): return 0
def idle(): return 1
""",
        "c/__init__.py": """
from medrob.c.d import h
def __getattr__(name):
    return __import__("medrob.c.e")
""",
        "c/d.py": "def h(): return 2\ndef i(): return 3",
        "c/e.py": "def lazy(): return 4\ndef other(): return 5",
        "figures/__init__.py": "from medrob.figures.x import draw",
        "figures/x.py": "from medrob.a import g\ndef draw(): return g()",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


CELLS = ["from medrob import a, c, figures", "a.f(); c.h(); c.lazy(); figures.draw()"]


def test_what_code_reaches(package):
    from medrob.study.dependencies import reached

    computed = {"medrob.a:f", "medrob.a:LIMIT", "medrob.b:used", "medrob.b:TABLE", "medrob.b:helper"}
    computed |= {"medrob.c.d:h", "medrob.c.e:lazy"}
    assert reached(CELLS, drawing=False, package=package) == computed
    drawn = {"medrob.figures.x:draw", "medrob.a:g"}
    assert reached(CELLS, drawing=True, package=package) == computed | drawn


@pytest.mark.parametrize(
    ("file", "old", "new", "computes", "draws"),
    [
        ("b.py", "return 0", "return 9", True, True),  # reached through a table
        ("a.py", "LIMIT = 3", "LIMIT = 4", True, True),
        ("c/e.py", "return 4", "return 9", True, True),  # imported when first named
        ("b.py", "def idle(): return 1", "def idle(): return 9", False, False),
        ("c/d.py", "return 3", "return 9", False, False),
        ("a.py", "return used()", '"""A docstring."""  # a comment\n    return used()', False, False),
        ("figures/x.py", "return g()", "return -g()", False, True),
        ("a.py", "    return 1", "    return 9", False, True),  # used by a figure alone
        ("b.py", "import math", "import math\nprint()", True, True),  # runs on import
    ],
)
def test_touching_a_definition_counts_where_it_is_reached(package, file, old, new, computes, draws):
    def both():
        return [study.fingerprint(CELLS, drawing=drawing, package=package) for drawing in (False, True)]

    before = both()
    text = (package / file).read_text()
    assert old in text
    (package / file).write_text(text.replace(old, new))
    os.utime(package / file, ns=(1, 1))  # the clock of the disk may be coarse
    after = both()
    assert [a != b for a, b in zip(before, after, strict=True)] == [computes, draws]


def test_the_notebooks_own_text_counts_but_for_comments():
    first = study.fingerprint(["a = 1"], drawing=False)
    assert study.fingerprint(["a = 1  # why"], drawing=False) == first
    assert study.fingerprint(["a = 2"], drawing=False) != first
    assert study.fingerprint(["%matplotlib inline"], drawing=False) != first


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_reaches_what_it_computes_with(stage):
    from medrob.study.dependencies import reached

    found = {
        item.split(":")[0] for item in reached(study.code_cells(NOTEBOOKS / f"{stage}.ipynb"), drawing=False)
    }
    wanted = {
        "01_augment": {
            "medrob.data.load",
            "medrob.data.phantom",
            "medrob.evaluation.distance",
            "medrob.corruptions.noise",
        },
        "02_train": {
            "medrob.data.load",
            "medrob.models.build",
            "medrob.evaluation.metrics",
            "medrob.augment",
        },
        "03_test": {"medrob.evaluation.inference", "medrob.evaluation.bootstrap", "medrob.corruptions.blur"},
        "04_heatmaps": {
            "medrob.drift.measurement",
            "medrob.saliency.gradient",
            "medrob.drift.similarities",
            "medrob.saliency.score",
        },
        "05_analysis": {"medrob.analysis.associations", "medrob.analysis.failures"},
    }[stage]
    assert wanted <= found
    assert not any(module.startswith(("medrob.figures", "medrob.runs", "medrob.study")) for module in found)


def keys(**given):
    stages = {stage: given.get(stage, {}) for stage in STAGES}
    return {stage: study.own_key(stage, stages, NOTEBOOKS) for stage in STAGES}


def changed(**given):
    before, after = keys(), keys(**given)
    return [stage for stage in STAGES if before[stage] != after[stage]]


def test_a_parameter_reruns_its_stage_and_what_follows():
    assert changed(**{"01_augment": {"size": 32}}) == list(STAGES)
    assert changed(**{"02_train": {"epochs": 99}}) == list(STAGES)[1:]
    assert changed(**{"05_analysis": {"textwidth": 300}}) == ["05_analysis"]
    assert (
        changed(**{"03_test": study.parameters(NOTEBOOKS / "03_test.ipynb")}) == []
    )  # the defaults, said aloud


def test_a_parameter_reruns_nothing_that_does_not_follow_from_it():
    assert changed(**{"01_augment": {"export": True}}) == ["01_augment"]
    assert changed(**{"01_augment": {"suite": "xray"}}) == [s for s in STAGES if s != "02_train"]
    assert changed(**{"03_test": {"resamples": 5}}) == ["03_test", "05_analysis"]
    assert changed(**{"02_train": {"tensorboard": True}}) == ["02_train"]
    assert changed(**{"03_test": {"temperature": True}}) == list(STAGES)[2:]


def test_code_of_a_network_of_ones_own_counts(tmp_path, monkeypatch):
    (tmp_path / "ownpack").mkdir()
    for name in ("__init__", "nets", "parts"):
        (tmp_path / "ownpack" / f"{name}.py").write_text("")
    (tmp_path / "alone.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    given = {"02_train": {"arch": "ownpack.nets:net"}}, {"02_train": {"arch": "alone:net"}}
    first = [keys(**one) for one in given]
    (tmp_path / "ownpack" / "parts.py").write_text("width = 3")
    second = [keys(**one) for one in given]
    assert [s for s in STAGES if first[0][s] != second[0][s]] == list(STAGES)[1:]
    assert first[1] == second[1]
    (tmp_path / "alone.py").write_text("width = 3")
    assert keys(**given[1])["02_train"] != first[1]["02_train"]
    assert source("resnet18") == "" and source("no_such_module:f") == "absent"


def test_data_replaced_under_the_same_path_count(tmp_path):
    file = tmp_path / "mine.npz"
    assert study.content(str(file)) == "absent" and study.content("pneumoniamnist") == ""
    file.write_bytes(b"one")
    first = keys(**{"01_augment": {"dataset": str(file)}})
    file.touch()
    assert keys(**{"01_augment": {"dataset": str(file)}}) == first
    file.write_bytes(b"two")
    second = keys(**{"01_augment": {"dataset": str(file)}})
    assert all(second[stage] != first[stage] for stage in STAGES)


def test_a_folder_and_a_table_count_with_their_files(tmp_path):
    (tmp_path / "a" / "x").mkdir(parents=True)
    (tmp_path / "a" / "x" / "1.png").write_bytes(b"1")
    table = tmp_path / "t.csv"
    table.write_text("file,label\na/x/1.png,0\nabsent.png,1\n")
    parquet = tmp_path / "t.parquet"
    pd.DataFrame({"file": ["a/x/1.png", "absent.png"], "label": [0, 1]}).to_parquet(parquet)
    before = study.content(str(tmp_path / "a")), study.content(str(table)), study.content(str(parquet))
    (tmp_path / "a" / "x" / "1.png").write_bytes(b"22")
    after = study.content(str(tmp_path / "a")), study.content(str(table)), study.content(str(parquet))
    assert all(x != y for x, y in zip(before, after, strict=True))
    (tmp_path / "a" / "x" / "1.png").rename(tmp_path / "a" / "x" / "2.png")
    assert study.content(str(tmp_path / "a")) not in (before[0], after[0])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("02_train: {optimizer: foo}", "02_train: optimizer='foo' is unknown; give one of"),
        ("02_train: {recipe: foo}", "02_train: recipe='foo' is unknown; the recipes are own, medmnist"),
        ("02_train: {lr: .nan}", "02_train: lr=nan"),
        ("04_heatmaps: {select: foo}", "04_heatmaps: select='foo' is unknown; give one of all, random"),
    ],
)
def test_settings_that_no_training_takes_are_told_before_the_start(tmp_path, given, told):
    (tmp_path / "study.yaml").write_text(f"runs: {{a: {{{given}}}}}")
    with pytest.raises(ValueError, match=re.escape(told)):
        study.load(tmp_path / "study.yaml", NOTEBOOKS)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"split": "x"}, "split='x': give a whole"),
        ({"stdy": "a"}, "unknown stdy"),
        ({"threads": 0}, "at least 1"),
    ],
)
def test_numbers_of_the_command_line(config, told):
    assert study.numbers({"split": "3"}, gpu=1, split=1) == {"gpu": 1, "split": 3}
    with pytest.raises(ValueError, match=told):
        study.numbers(config)


def test_weights_that_are_replaced_are_another_key(tmp_path):
    file = tmp_path / "w.safetensors"
    keys = []
    for text in ("one", "two"):
        file.write_text(text)
        given = {stage: {} for stage in STAGES} | {"02_train": {"weights": str(file)}}
        keys.append([study.key(stage, given, NOTEBOOKS) for stage in ("01_augment", "02_train", "03_test")])
    first, second = keys
    assert first[0] == second[0] and first[1] != second[1] and first[2] != second[2]
