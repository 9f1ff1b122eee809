"""Two processes on the CPU (gloo) that share every batch end where one alone does."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from medrob import data, models, training
from medrob.runs import Run
from medrob.training.__main__ import main

NETWORK = """
from torch import nn

def plain(in_channels, num_classes):
    return nn.Sequential(
        nn.Conv2d(in_channels, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(16, num_classes),
    )
"""
SETTINGS = [
    "epochs=2",
    "batch_size=10",
    "class_weights=balanced",
    "clip=0.5",
    "device=cpu",
]


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A function that begins a run on 25 uneven training images."""
    (tmp_path / "nets.py").write_text(NETWORK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    rng = np.random.default_rng(0)
    content = {}
    for split, count in (("train", 25), ("val", 11), ("test", 9)):
        labels = np.arange(count) % 3 // 2
        images = rng.integers(0, 60, (count, 12, 12)) + 90 * labels[:, None, None]
        content |= {f"{split}_images": images.astype(np.uint8), f"{split}_labels": labels[:, None]}
    np.savez(tmp_path / "own.npz", **content)

    def begin(name):
        chosen = dict(dataset=str(tmp_path / "own.npz"), size=0, limit=0, seed=0)
        study = Run(name).start("01_augment", **chosen)
        study.save_table("corruptions", pd.DataFrame({"image": [0]}))
        study.note(data=data.describe(*(data.load(chosen["dataset"], s) for s in data.SPLITS)))
        study.finish()
        return study

    return begin


@pytest.mark.parametrize(
    "network",
    [["arch=nets:plain"], ["arch=resnet18", "width=4", "optimizer=sgd", "lr=0.01"]],
    ids=["own", "resnet18"],
)
def test_two_processes_end_where_one_does(begun, network):
    two, one = begun("two"), begun("one")
    settings = [*SETTINGS, *network]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "medrob.training", "two", *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    main(["one", *settings])
    a, b = (load_file(run.path("model.safetensors")) for run in (two, one))
    assert list(a) == list(b)
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=1e-5, err_msg=name)
    columns = ["epoch", "split", "loss", "accuracy", "auc", "lr"]
    pd.testing.assert_frame_equal(two.table("history")[columns], one.table("history")[columns], rtol=1e-4)
    assert two.record["stages"]["02_train"]["processes"] == 2
    assert f"arch={models.load(two.folder).config['arch']}" == network[0]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], "give the name of a run"),
        (["epochs=2"], "give the name of a run"),
        (["mine", "epoch=2"], "no parameter 'epoch'; there are run, arch"),
        (["mine", "epochs=many"], "epochs='many' is not like its default 8"),
        (["mine", "run=other"], "no parameter 'run'"),
    ],
)
def test_bad_arguments(arguments, match):
    with pytest.raises(ValueError, match=match):
        main(arguments)


def test_a_batch_that_is_too_small_to_share(monkeypatch, blobs):
    import torch.distributed as dist

    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    model = models.build("resnet18", in_channels=1, num_classes=2, width=4, task="binary")
    with pytest.raises(ValueError, match="batch_size=6: give at least 2 for each of 4 processes"):
        training.fit(model, blobs(), blobs(32, split="val"), batch_size=6, device="cpu")
