"""The study file: runs, grids, comparisons, and every mistake with its place; what a stage follows from."""

import importlib
import os
import shutil

import nbformat
import pandas as pd
import pytest

from medrob import corruptions, plan, study
from medrob.corruptions import registry
from medrob.files import PROJECT
from medrob.run import STAGES, Run

NOTEBOOKS = PROJECT / "notebooks"


@pytest.fixture
def load(tmp_path):
    def read(text):
        (tmp_path / "study.yaml").write_text(text)
        return study.load(tmp_path / "study.yaml")

    return read


@pytest.fixture
def mistakes(load):
    """A study is refused with these mistakes and no other."""

    def check(text, starts):
        with pytest.raises(ValueError) as caught:
            load(text)
        lines = sorted(line.strip() for line in str(caught.value).splitlines()[1:])
        assert len(lines) == len(starts), lines
        for line, start in zip(lines, starts, strict=True):
            assert line.startswith(start)

    return check


def test_every_stage_of_every_run_is_there(load):
    found = load("runs: {one: {02_train: {epochs: 3, lr: 1e-3}}, two: , 3: {}}")
    assert list(found.runs) == ["one", "two", "3"]
    assert found.runs["one"]["02_train"] == {"epochs": 3, "lr": 0.001}  # YAML 1.1 takes 1e-3 for a text
    assert found.runs["two"] == {stage: {} for stage in STAGES}
    assert found.parameters("one", "02_train")["lr"] == 0.001
    assert found.parameters("two", "02_train")["lr"] == 0.005
    assert found.members("one") == ["one"] and found.members("comparison") == ["one", "two", "3"]
    assert "demo" in study.load(PROJECT / "study.yaml").runs


def test_defaults_and_a_grid(load):
    found = load("""
defaults: {02_train: {epochs: 5, lr: 1e-3}}
runs:
  plain: {02_train: {epochs: 6}}
grids:
  seeds: {02_train: {augment: [none, mixed], seed: [0, 1]}, 01_augment: {size: [28]}}
""")
    names = ["seeds-none-seed0", "seeds-none-seed1", "seeds-mixed-seed0", "seeds-mixed-seed1"]
    assert list(found.runs) == ["plain", *names]
    assert found.runs["plain"] == {s: {} for s in STAGES} | {"02_train": {"epochs": 6, "lr": 0.001}}
    assert found.runs["seeds-none-seed1"]["02_train"] == dict(epochs=5, lr=0.001, augment="none", seed=1)
    assert found.runs["seeds-none-seed0"]["01_augment"] == {"size": 28}
    assert found.compare == {"comparison": list(found.runs)}


@pytest.mark.parametrize(
    ("axes", "names"),
    [
        ("02_train: {lr: [1e-3, 0.01], patience: [1]}", ["g-lr0.001", "g-lr0.01"]),
        ("04_heatmaps: {methods: [[gradcam], [layercam]]}", ["g-methods1", "g-methods2"]),
        ("01_augment: {suite: [mri, 'medmnist-c:pathmnist']}", ["g-mri", "g-medmnist_c_pathmnist"]),
        ("01_augment: {dataset: [phantom, A/one.csv]}", ["g-dataset1", "g-dataset2"]),
    ],
)
def test_runs_of_a_grid_are_named_by_what_differs(load, home, axes, names):
    (home / "A").mkdir()
    (home / "A" / "one.csv").write_text("file,label\n")
    assert list(load(f"grids: {{g: {{{axes}}}}}").runs) == names


def test_every_mistake_is_told_at_once_with_its_place(mistakes):
    text = """
defaults: {02_train: {epochs: many}, 01_augment: {suite: foo}}
runs:
  one: {02_train: {lr: fast, epoch: 3}}
  a b: {}
  two: {01_augment: {run: z, dataset: absent.npz, suite: thesis}}
grids:
  g: {02_train: {augment: [none, mirror], seed: [3]}}
compare: {both: [one, five]}
"""
    starts = [
        "compare, both: give two runs or more, each once, such as [one, two], not ['one', 'five']",
        "defaults, 01_augment: suite='foo': unknown suite or corruption 'foo'",
        "defaults, 02_train: epochs='many': it should be a valid integer",
        "grids, g, 02_train: augment='mirror' is unknown",
        "runs, a b: run='a b' is not a run name: use letters, digits",
        "runs, one, 02_train: lr='fast': it should be a valid number",
        "runs, one, 02_train: unknown parameter 'epoch'; did you mean 'epochs'?",
        "runs, two, 01_augment: 'run' is set by the study; leave it out",
        "runs, two, 01_augment: dataset='absent.npz': no file or folder",
    ]
    mistakes(text, starts)


def test_mistakes_are_told_once_and_those_in_the_shape_before_those_in_parameters(mistakes):
    text = "defaults: {02_train: {arch: resnet19}}\nruns: {a: {}}\ngrids: {g: {02_train: {seed: [0, 1]}}}"
    mistakes(text, ["defaults, 02_train: arch='resnet19' is unknown"])
    text = "{runs: {a: {06_more: {}, 02_train: 28}}, grid: {}, grids: {g: {02_train: {seed: 3}}}}"
    starts = [
        "grid: unknown key; did you mean 'grids'? Known: defaults, runs, grids, compare",
        "grids, g, 02_train, seed: it should be a valid list, not 3",
        "runs, a, 02_train: it should be a valid dictionary, not 28",
        "runs, a, 06_more: it should match pattern '^(01_augment|02_train",
    ]
    mistakes(text, starts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # no study at all
        ("", "names no runs; write 'runs:' and below it a name"),
        ("runs: {a: {b", "is not a study: while parsing"),
        ("runs: {a: !!python/name:os.getcwd }", "is not a study: could not determine a constructor"),
        ('runs: {"\\UFFFFFFFF": {}}', "is not a study: "),
        ("runs: {[a]: {}}", "is not a study: line 1: a key must be a word"),
        ("runs: {a: &a {}, b: *a}", "is not a study: line 1: an alias is not taken"),
        ("runs: " + "[" * 2_000 + "]" * 2_000, "is not a study: it is nested too deeply"),
        # names
        (f"runs: {{{'a' * 101}: {{}}}}", "is not a run name: use letters"),
        ("runs: {a: {}, A: {}}", "runs, A: another run or comparison has the folder 'A'"),
        ("grids: {g: {02_train: {seed: [0, 0]}}}", "02_train, seed: the list is empty or names one twice"),
        ("runs: {Comparison: {}, b: {}}", "another run or comparison has the folder 'comparison'"),
        # comparisons
        ("{runs: {a: {}, b: {}}, compare: {A: [a, b]}}", "compare, A: another run or comparison"),
        # what does not go together
        ("runs: {a: {02_train: {arch: alexnet}, 01_augment: {size: 28}}}", "'alexnet' cannot be used for"),
        ("runs: {a: {04_heatmaps: {layers: [layer9.9]}}}", "layers=['layer9.9']: the network has no"),
        ("runs: {a: {}, a: {}}", "is not a study: line 1: duplicate key 'a' (first defined on line 1)"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(load, text, message):
    with pytest.raises(ValueError) as caught:
        load(text)
    assert message in str(caught.value)


def test_a_study_that_is_not_there(tmp_path):
    for file in (tmp_path / "absent.yaml", tmp_path, tmp_path / ("x" * 5000)):
        with pytest.raises(FileNotFoundError, match=r"there is no study .*; write one"):
            study.load(file)


def test_all_runs_are_compared_unless_it_is_said_which(load):
    runs = "runs: {a: {}, 1: {01_augment: {suite: mri}}}"
    assert load(runs).compare == {"comparison": ["a", "1"]}
    assert load("runs: {a: {}}").compare == load(f"{runs}\ncompare: {{}}").compare == {}
    assert load(f"{runs}\ncompare: {{x: [1, a]}}").compare == {"x": ["1", "a"]}


def test_options_of_the_command_line(tmp_path):
    given = study.options({"threads": "3", "gpu": 0, "study": str(tmp_path / "my.yaml")})
    assert (given.threads, given.gpu, given.study.name) == (3, 0, "my.yaml")
    assert given.notebooks == NOTEBOOKS
    with pytest.raises(ValueError, match="threads=True: give a whole number"):
        study.options({"threads": True})
    with pytest.raises(ValueError) as caught:
        study.options({"stdy": "a", "threads": -1, "gpu": 1.5})
    assert len(str(caught.value).splitlines()) == 3 and "did you mean 'study'? Known" in str(caught.value)


def keys(load, stages="{}", notebooks=NOTEBOOKS):
    found = load(f"runs: {{a: {stages}}}")
    return {stage: plan.key(found, stage, "a", notebooks) for stage in STAGES}


def differing(before, after):
    """The numbers of the stages whose keys differ."""
    return "".join(stage[1] for stage in STAGES if before[stage] != after[stage])


@pytest.mark.parametrize(
    ("stages", "changed"),
    [
        ("{01_augment: {suite: xray}}", "1345"),  # another suite does not train
        ("{01_augment: {size: 32}}", "12345"),
        ("{02_train: {epochs: 99}}", "2345"),  # what is tested is this network
        ("{03_test: {resamples: 5}}", "35"),
        ("{05_analysis: {textwidth: 300}}", "5"),
        ("{01_augment: {suite: thesis}, 02_train: {epochs: 8}}", ""),  # defaults, and "auto" of the phantom
    ],
)
def test_a_parameter_changes_the_keys_of_what_follows_from_it(load, stages, changed):
    assert differing(keys(load), keys(load, stages)) == changed


def test_code_of_a_notebook_counts_and_its_text_and_outputs_do_not(load, tmp_path):
    before = keys(load)
    shutil.copytree(NOTEBOOKS, tmp_path / "notebooks")
    book = nbformat.read(tmp_path / "notebooks" / "02_train.ipynb", as_version=4)
    last = [cell for cell in book.cells if cell.cell_type == "code"][-1]
    book.cells.insert(0, nbformat.v4.new_markdown_cell("A sentence."))
    last.outputs = []
    for more, changed in (("", ""), ("\nx = 1", "2345")):
        last.source += more
        nbformat.write(book, tmp_path / "notebooks" / "02_train.ipynb")
        plan._cells.cache_clear()
        assert differing(before, keys(load, notebooks=tmp_path / "notebooks")) == changed


def test_the_key_of_a_comparison_holds_its_runs_and_no_name(load):
    runs = "runs: {a: {}, b: {}, c: {}}\n"
    found = load(f"{runs}compare: {{x: [a, b], y: [a, b], z: [a, c]}}")
    x, y, z, a, b = (plan.key(found, "05_analysis", name, NOTEBOOKS) for name in "xyzab")
    assert x == y and len({x, z, a}) == 3 and a == b


def test_what_papermill_is_given(load):
    found = load("{runs: {a: {03_test: {resamples: 5}}, b: {}}, compare: {x: [a, b]}}")
    assert plan.given(found, "03_test", "a") == "{resamples: 5, run: a}"
    assert plan.given(found, "05_analysis", "a") == "{runs: [a]}"
    assert plan.given(found, "05_analysis", "x") == "{results: x, runs: [a, b]}"
    assert plan.jobs(found) == [
        *((run, stage) for run in "ab" for stage in STAGES), ("x", "05_analysis"),
    ]  # fmt: skip


def test_a_stage_stands_while_its_stamp_holds_the_key(load):
    found = load("runs: {a: {}}")
    assert not plan.stands(found, "02_train", "a", NOTEBOOKS, set())
    stamp = Run("a").stamp("02_train")
    stamp.parent.mkdir(parents=True)
    stamp.write_text(f"checksum {plan.key(found, '02_train', 'a', NOTEBOOKS)}\n")
    for untrue in (stamp, Run("a").path("data.json")):  # what it reads is to be made again
        assert not plan.stands(found, "02_train", "a", NOTEBOOKS, {untrue})
    assert plan.stands(found, "02_train", "a", NOTEBOOKS, {Run("a").path("corruptions.parquet")})
    assert not plan.stands(load("runs: {a: {02_train: {seed: 1}}}"), "02_train", "a", NOTEBOOKS, set())


def test_code_of_a_room_counts_for_the_stages_that_use_it(load, tmp_path, monkeypatch):
    before = keys(load)
    package = tmp_path / "medrob"
    shutil.copytree(plan.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(plan, "PACKAGE", package)
    for files, changed in (
        *(("*.py", ""), ("saliency/*.py", "45"), ("training.py", "2345"), ("words/*.py", "5")),
        *(("report/*.py", ""), ("evaluation/metrics.py", "12345")),  # a metric chooses the epoch
    ):
        file = next(package.glob(files))
        with file.open("a") as stream:
            stream.write("# a comment\n" if files != "*.py" else "")
        os.utime(file, ns=(1, 1))
        plan._code.cache_clear()
        after = keys(load)
        assert differing(before, after) == changed, file
        before = after
    plan._code.cache_clear()


def test_a_corruption_counts_with_its_file(load, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))
    text = (
        "from medrob.corruptions import corruption\n@corruption(severities=[1, 2, 3, 4, 5])\n"
        "def first(images, level, draws):\n    return images * 0 + level"
    )
    seen = []
    for number, more in enumerate(("", " * 2")):
        (tmp_path / "ownnoise.py").write_text(f"{text}{more}\n")
        os.utime(tmp_path / "ownnoise.py", ns=(number * 10**10,) * 2)  # the clock may be coarse
        importlib.invalidate_caches()
        if seen:
            importlib.reload(importlib.import_module("ownnoise"))
        seen.append(keys(load, "{01_augment: {suite: ['ownnoise:first']}}"))
    assert differing(*seen) == "1345"
    corruptions.corruption(severities=(1, 2, 3, 4, 5))(lambda images, level, draws: images)
    assert keys(load, "{01_augment: {suite: ['ownnoise:first']}}") == seen[1]


def test_files_replaced_under_the_same_path_count(load, home):
    data, weights = home / "mine.csv", home / "w.safetensors"
    weights.write_text("one")
    data.write_text("file,label\n")
    stages = f"{{01_augment: {{dataset: '{data}'}}, 02_train: {{weights: '{weights}'}}}}"
    before = keys(load, stages)
    os.utime(data)
    assert keys(load, stages) == before
    for file, text, changed in ((weights, "another", "2345"), (data, "file,label\na,0\n", "12345")):
        file.write_text(text)
        after = keys(load, stages)
        assert differing(before, after) == changed
        before = after


def test_a_data_set_counts_with_all_files_that_are_read(tmp_path):
    for name in ("a/x/1.png", "elsewhere/2.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "a" / "y").symlink_to(tmp_path / "elsewhere")  # a class folder that is a link
    table, parquet, damaged = (tmp_path / name for name in ("t.csv", "t.parquet", "d.parquet"))
    rows = pd.DataFrame({"file": ["a/x/1.png", "a/y/2.png"], "label": [0, 1]})
    rows.to_csv(table, index=False)
    rows.to_parquet(parquet)
    damaged.write_bytes(b"PAR1")
    paths = [str(tmp_path / "a"), str(table), str(parquet)]
    seen = [[plan.contents(path) for path in paths]]
    for file in (tmp_path / "a/x/1.png", tmp_path / "elsewhere/2.png"):
        times = file.stat()
        file.write_bytes(b"2")  # of the same size, and then of the same time
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        seen.append([plan.contents(path) for path in paths])
    (tmp_path / "a/x/1.png").rename(tmp_path / "a/x/2.png")
    seen.append([plan.contents(paths[0]), "", ""])
    assert all(len(set(values)) == len(values) for values in zip(*seen, strict=True))
    assert len({plan.contents(name) for name in (str(damaged), "absent.npz", "absent.csv")}) == 3
    assert plan.contents("phantom:0.8") == plan.contents("pneumoniamnist") == ""


def test_a_table_that_is_read_only_with_an_option_counts_with_its_files(load, tmp_path):
    names = [f"{name}.png" for name in "abcd"]
    table = pd.DataFrame({"file": names, "one": [-1, 0, 1, 1], "two": [0, 1, 0, 1]})
    table.to_csv(tmp_path / "t.csv", index=False)
    stages, seen = f"{{01_augment: {{dataset: '{tmp_path / 't.csv'}', uncertain: zeros}}}}", set()
    for change in ("1", "2"):
        for name in names:
            (tmp_path / name).write_bytes((name + change).encode())
        seen.add(keys(load, stages)["01_augment"])
    assert len(seen) == 2


def test_what_lies_beside_weights_counts_for_the_training(load, home):
    (home / "w.safetensors").write_text("one")
    stages = "{02_train: {weights: w.safetensors}}"
    seen = [keys(load, stages)]
    for text in ("{}", '{"image_mean": 0.5}'):
        (home / "preprocessor_config.json").write_text(text)
        seen.append(keys(load, stages))
    assert len({keys["02_train"] for keys in seen}) == 3 and len({keys["01_augment"] for keys in seen}) == 1


def test_code_of_a_network_of_ones_own_counts_with_its_package(tmp_path, monkeypatch):
    (tmp_path / "ownpack").mkdir()
    for name in ("ownpack/__init__", "ownpack/nets", "ownpack/parts", "alone"):
        (tmp_path / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    before = [plan.source_of(arch) for arch in ("ownpack.nets:net", "alone:net")]
    (tmp_path / "ownpack" / "parts.py").write_text("width = 3")
    after = [plan.source_of(arch) for arch in ("ownpack.nets:net", "alone:net")]
    assert before[0] != after[0] and before[1] == after[1]
    (tmp_path / "alone.py").write_text("width = 3")
    assert plan.source_of("alone:net") != after[1]
    assert plan.source_of("resnet18") == plan.source_of("no_such_module:f") == plan.source_of(":f") == ""
