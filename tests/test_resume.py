"""A training that was cut off goes on as if it had not been, or says why it cannot."""

import hashlib
import pickle
import signal
import subprocess
import sys

import pandas as pd
import pytest
import torch
from small_training import TIMES, Evil, build, fit, same, train

from medrob.training import Epochs

PLUG = {"after": None}


class StopError(Exception):
    """Somebody pulled the plug."""


@pytest.fixture
def ran(monkeypatch):
    """The epochs that have run so far."""
    whole, done = Epochs.__call__, []

    def epoch(self, number):
        if len(done) == PLUG["after"]:
            raise StopError
        done.append(number)
        return whole(self, number)

    PLUG["after"] = None
    monkeypatch.setattr(Epochs, "__call__", epoch)
    return done


def cut(done, epochs, training):
    """Run a training and pull the plug after so many epochs."""
    done.clear()
    PLUG["after"] = epochs
    with pytest.raises(StopError):
        training()
    PLUG["after"] = None
    done.clear()


def test_resumed_is_uninterrupted_to_the_bit(blobs, ran, tmp_path):
    whole, expected = fit(blobs, epochs=4, augment="mixed")
    options = dict(epochs=4, augment="mixed", folder=tmp_path)
    cut(ran, 3, lambda: fit(blobs, **options))
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]
    resumed, history = fit(blobs, **options)
    assert ran == [4] and same(resumed, whole)
    pd.testing.assert_frame_equal(history.drop(columns=TIMES), expected.drop(columns=TIMES), check_exact=True)


def test_a_finished_training_is_not_repeated_before_its_checkpoint_is_deleted(blobs, ran, tmp_path):
    first, a = fit(blobs, folder=tmp_path)
    again, b = fit(blobs, folder=tmp_path)  # cut off before the results were kept
    assert ran == [1, 2, 3] and same(first, again)
    pd.testing.assert_frame_equal(a, b, check_exact=True)
    (tmp_path / "checkpoint.pt").unlink()
    assert same(first, fit(blobs, folder=tmp_path)[0]) and ran == [1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize("other", ["augment", "seed", "weights", "network", "train", "val"])
def test_a_checkpoint_of_other_arguments_is_not_used(blobs, ran, tmp_path, other):
    cut(ran, 1, lambda: fit(blobs, folder=tmp_path))
    model = build(**{"weights": {"seed": 1}, "network": {"stem": "torchvision"}}.get(other, {}))
    changes = {"augment": {"augment": "photometric"}, "seed": {"seed": 1}}.get(other, {})
    data = [blobs(n, split=split, seed=split == other) for split, n in (("train", 48), ("val", 32))]
    with pytest.warns(UserWarning, match=rf"checkpoint.pt is of a training with other .*{other} was"):
        train(model, *data, folder=tmp_path, **changes)
    assert ran == [1, 2, 3]


TRAINING = """
import os, signal, sys
from pathlib import Path
import numpy as np
from medrob import config, models, training
from medrob.data import ImageDataset

def data(split):
    rng = np.random.default_rng(len(split))
    labels = np.arange(40) % 2
    images = (rng.integers(0, 60, (40, 16, 16, 1)) + 90 * labels[:, None, None, None]).astype(np.uint8)
    return ImageDataset(images, labels, ("a", "b"), "binary", name="blobs", split=split)

def train(folder):
    model = models.build("resnet18", in_channels=1, num_classes=2, width=4, task="binary", seed=0)
    recipe = config.Recipe(epochs=3, lr=5e-3, batch_size=8, augment="mixed", patience=0)
    history = training.fit(model, data("train"), data("val"), recipe, device="cpu", folder=Path(folder))
    return model, history
"""
KILLED = """
from medrob.training import Epochs
steps, whole = 11, Epochs.loss
def loss(*arguments):
    global steps
    steps -= 1
    if not steps:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*arguments)
Epochs.loss = loss
train(sys.argv[1])
"""


def test_killed_in_mid_epoch_and_run_again_is_the_same_to_the_bit(ran, tmp_path):
    """Five steps and two losses an epoch; the eleventh is in the middle of the second."""
    command = [sys.executable, "-c", TRAINING + KILLED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    exec(TRAINING, script := {})
    killed, a = script["train"](tmp_path)
    assert ran == [2, 3]
    whole, b = script["train"](tmp_path / "whole")
    assert same(killed, whole)
    pd.testing.assert_frame_equal(a.drop(columns=TIMES), b.drop(columns=TIMES), check_exact=True)


def test_without_a_folder_nothing_is_written(blobs, home, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    fit(blobs, epochs=1)
    assert [*home.iterdir(), *tmp_path.iterdir()] == []


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_and_hostile_checkpoints(blobs, tmp_path):
    fit(blobs, epochs=1, folder=tmp_path)
    file, trap = tmp_path / "checkpoint.pt", tmp_path / "sprung"
    whole = file.read_bytes()
    torch.save({"arguments": Evil(trap)}, tmp_path / "evil.pt")
    evil = (tmp_path / "evil.pt").read_bytes()
    places = range(0, len(whole), len(whole) // 20)
    flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in places]
    signed = [hashlib.sha256(content).digest() + content for content in (pickle.dumps(Evil(trap)), evil)]
    for content in (b"", whole[:1000], evil, *flipped, *signed):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"checkpoint.pt is damaged.*; delete it to train from") as error:
            fit(blobs, epochs=1, folder=tmp_path)
        assert "weights_only" not in str(error.value)
        assert file.read_bytes() == content
    assert not trap.exists()
