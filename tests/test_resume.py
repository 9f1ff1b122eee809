"""A training that was cut off goes on as if it had not been, or says why it cannot."""

import hashlib
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_training import TIMES, Evil, build, fit, same, train

from medrob.data import ImageDataset
from medrob.training import Epochs


@pytest.fixture
def ran(monkeypatch):
    """The epochs that have run so far."""
    whole, done = Epochs.__call__, []

    def epoch(self, number):
        done.append(number)
        return whole(self, number)

    monkeypatch.setattr(Epochs, "__call__", epoch)
    return done


def test_a_finished_training_is_not_repeated_before_its_checkpoint_is_deleted(blobs, ran, home, tmp_path):
    first, a = fit(blobs, epochs=2, folder=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]
    again, b = fit(blobs, epochs=2, folder=tmp_path)  # cut off before the results were kept
    assert ran == [1, 2] and same(first, again)
    pd.testing.assert_frame_equal(a, b, check_exact=True)
    assert same(first, fit(blobs, epochs=2)[0]) and ran == [1, 2, 1, 2]
    assert [*home.iterdir()] == []  # without a folder nothing is written


@pytest.mark.parametrize("other", ["augment", "seed", "weights", "network", "train", "val"])
def test_a_checkpoint_of_other_arguments_is_not_used(blobs, ran, tmp_path, other):
    fit(blobs, epochs=1, folder=tmp_path)
    model = build(**{"weights": {"seed": 1}, "network": {"stem": "torchvision"}}.get(other, {}))
    changes = {"augment": {"augment": "photometric"}, "seed": {"seed": 1}}.get(other, {})
    data = [blobs(n, split=split, seed=split == other) for split, n in (("train", 48), ("val", 32))]
    with pytest.warns(UserWarning, match=rf"checkpoint.pt is of a training with other .*{other} was"):
        train(model, *data, folder=tmp_path, epochs=1, **changes)
    assert ran == [1, 1]


def trained(folder):
    """A training of three epochs, of five steps and two losses each."""
    images = np.random.default_rng(0).integers(0, 60, (40, 16, 16, 1)).astype(np.uint8)
    images[1::2] += 90
    splits = [ImageDataset(images, np.arange(40) % 2, ("a", "b"), split=split) for split in ("train", "val")]
    model = build()
    return model, train(model, *splits, batch_size=8, augment="mixed", folder=folder)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_resume import Epochs, trained
steps, whole = 11, Epochs.loss
def loss(*arguments):
    global steps
    steps -= 1
    if not steps:  # in the middle of the second epoch
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*arguments)
Epochs.loss = loss
trained(Path(sys.argv[2]))
"""


def test_killed_in_mid_epoch_and_run_again_is_the_same_to_the_bit(ran, tmp_path):
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    killed, a = trained(tmp_path)
    assert ran == [2, 3]
    whole, b = trained(tmp_path / "whole")
    assert same(killed, whole)
    pd.testing.assert_frame_equal(a.drop(columns=TIMES), b.drop(columns=TIMES), check_exact=True)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_and_hostile_checkpoints(blobs, tmp_path):
    fit(blobs, epochs=1, folder=tmp_path)
    file, trap = tmp_path / "checkpoint.pt", tmp_path / "sprung"
    whole = file.read_bytes()
    torch.save({"arguments": Evil(trap)}, tmp_path / "evil.pt")
    evil = (tmp_path / "evil.pt").read_bytes()
    places = range(0, len(whole), len(whole) // 6)
    flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in places]
    signed = [hashlib.sha256(content).digest() + content for content in (pickle.dumps(Evil(trap)), evil)]
    for content in (b"", whole[:1000], evil, *flipped, *signed):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"checkpoint.pt is damaged.*; delete it to train from") as error:
            fit(blobs, epochs=1, folder=tmp_path)
        assert "weights_only" not in str(error.value)
        assert file.read_bytes() == content
    assert not trap.exists()
