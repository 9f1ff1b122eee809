import json
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from medrob import augment, evaluation, models, training
from medrob.data import ImageDataset
from medrob.figures import kept_epoch
from medrob.files import checksum
from medrob.runs import Run
from medrob.training.epoch import Epochs, starts
from medrob.training.recipe import optimizer as make_optimizer
from medrob.training.recipe import schedule as make_schedule

TIMES = ["seconds", "images_per_second", "memory_mb"]  # differ from run to run


def build(**changes):
    config = dict(in_channels=1, num_classes=2, width=4, task="binary", seed=0) | changes
    return models.build("resnet18", **config)


def fit(blobs, model=None, **changes):
    """Train a small network on blobs; give the network and its history."""
    model = model or build()
    options = dict(epochs=3, lr=5e-3, batch_size=16, patience=0, seed=0, device="cpu") | changes
    return model, training.fit(model, blobs(), blobs(32, split="val"), **options)


def same(a, b):
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


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


def cut(done, epochs, train):
    """Run a training and pull the plug after so many epochs."""
    done.clear()
    PLUG["after"] = epochs
    with pytest.raises(StopError):
        train()
    PLUG["after"] = None
    done.clear()


# Learning


@pytest.mark.parametrize("classes", [2, 3])
def test_learns_what_is_easy(blobs, classes):
    model = build(num_classes=classes, task="binary" if classes == 2 else "multiclass")
    train, val, test = (blobs(48, classes, split) for split in ("train", "val", "test"))
    history = training.fit(model, train, val, epochs=6, lr=5e-3, batch_size=16, patience=0, device="cpu")
    scores = evaluation.metrics(evaluation.predict(model, test.images), test.labels, test.task)
    assert scores["auc"] > 0.99
    loss = history[history["split"] == "train"]["loss"]
    assert loss.iloc[-1] < loss.iloc[0] / 2


def test_learns_several_labels(blobs):
    base = blobs(48, 4)
    labels = np.stack([base.labels == 1, base.labels > 1], 1).astype(int)
    data = ImageDataset(base.images, labels, ("one", "low"), name="labels")
    model = build(task="multilabel")
    history = training.fit(model, data, data, epochs=12, lr=5e-3, batch_size=16, patience=0, device="cpu")
    assert history.iloc[-1]["auc"] > 0.95


def test_history(blobs):
    model, history = fit(blobs)
    assert tuple(history) == training.HISTORY
    assert history["epoch"].tolist() == [1, 1, 2, 2, 3, 3]
    assert history["split"].tolist() == ["train", "val"] * 3
    assert history.notna().all(axis=None) and (history[["loss", *TIMES]] > 0).all(axis=None)
    assert (history["gpu_memory_mb"] == 0).all()
    # Nine steps (three an epoch) along half a cosine, noted at the start of each epoch.
    worked = 5e-3 * (1 + np.cos(np.pi * np.arange(0, 9, 3) / 9)) / 2
    assert history["lr"].to_numpy()[::2] == pytest.approx(worked)
    assert not model.training and next(model.parameters()).device.type == "cpu"


def test_validation_rows_are_what_predict_says(blobs):
    model, history = fit(blobs, epochs=1)
    val = blobs(32, split="val")
    p = evaluation.predict(model, val.images)
    scores = evaluation.metrics(p, val.labels, val.task) | {
        "loss": -np.log(p[np.arange(32), val.labels]).mean()
    }
    row = history[history["split"] == "val"].iloc[0]
    for name in ("auc", "accuracy", "loss"):
        assert row[name] == pytest.approx(scores[name], abs=1e-5)


def objective(labels, **settings):
    """The loss that a recipe gives for data of these labels."""
    data = ImageDataset(np.zeros((len(labels), 2, 2, 1), np.uint8), np.asarray(labels))
    return training.Objective(training.Recipe(**settings), data)


def test_objective():
    logits = torch.tensor([[0.0, np.log(3)], [0.0, 0.0]], dtype=torch.float32)
    one, many = torch.tensor([1, 0]), torch.tensor([[1, 1], [0, 1]])
    worked = -np.log([0.75, 0.5])
    assert objective([0, 1])(logits, one).item() == pytest.approx(worked.mean())
    assert objective(many.tolist())(logits, many).item() == pytest.approx(
        -np.log([0.5, 0.75, 0.5, 0.5]).mean()
    )
    # Smoothed by 0.2, a class of two has 0.9 and 0.1: of the first image -0.9 ln 0.75 - 0.1 ln 0.25.
    smooth = objective([0, 1], label_smoothing=0.2)(logits, one).item()
    assert smooth == pytest.approx((-0.9 * np.log(0.75) - 0.1 * np.log(0.25) - np.log(0.5)) / 2)
    smooth = objective(many.tolist(), label_smoothing=0.2)(torch.zeros(2, 2), many).item()
    assert smooth == pytest.approx(np.log(2))


def test_class_weights_are_balanced():
    logits = torch.tensor([[0.0, np.log(3)], [0.0, 0.0]], dtype=torch.float32)
    balanced = objective([0, 0, 0, 1], class_weights="balanced")
    assert balanced.weight.tolist() == pytest.approx([4 / (2 * 3), 4 / (2 * 1)])
    worked = (2 * -np.log(0.75) + 2 / 3 * -np.log(0.5)) / (2 + 2 / 3)
    assert balanced(logits, torch.tensor([1, 0])).item() == pytest.approx(worked)
    theirs = F.cross_entropy(logits, torch.tensor([1, 0]), weight=balanced.weight)
    assert balanced(logits, torch.tensor([1, 0])).item() == pytest.approx(theirs.item())
    many = objective([[1, 0], [0, 0], [0, 1], [0, 1]], class_weights="balanced")
    assert many.weight.tolist() == [3, 1]  # absent / present


# Recipes


def rates(epochs=8, steps=5, **settings):
    """The learning rate of every step, as a share of the highest."""
    recipe = training.Recipe(epochs=epochs, lr=1.0, optimizer="sgd", **settings)
    optimizer = make_optimizer([torch.nn.Parameter(torch.zeros(1))], recipe)
    plan, result = make_schedule(optimizer, recipe, steps), []
    for _ in range(epochs * steps):
        result.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        plan.step()
    return np.array(result)


def test_schedules():
    assert rates(schedule="constant").tolist() == [1] * 40
    assert rates(schedule="step") == pytest.approx(np.repeat([1, 0.1, 0.01], [20, 10, 10]))
    parameter = torch.nn.Parameter(torch.zeros(1))
    theirs = torch.optim.SGD([parameter], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, 40)
    for ours in rates(schedule="cosine"):
        assert ours == pytest.approx(theirs.param_groups[0]["lr"])
        theirs.step()
        cosine.step()
    warm = rates(schedule="constant", warmup=0.8)
    assert warm[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])


def test_the_recipe_of_medmnist():
    recipe = training.recipe("medmnist", epochs=100, lr=5.0, augment="mixed")
    assert (recipe.optimizer, recipe.lr, recipe.batch_size, recipe.monitor) == ("adam", 1e-3, 128, "auc")
    assert (recipe.epochs, recipe.augment, recipe.patience, recipe.schedule) == (100, "mixed", 0, "step")
    optimizer = make_optimizer([torch.nn.Parameter(torch.zeros(1))], recipe)
    theirs = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    assert type(optimizer) is torch.optim.Adam and optimizer.defaults == theirs.defaults
    # As published: a tenth from epoch 50 and from epoch 75 (counted from 0).
    milestones = torch.optim.lr_scheduler.MultiStepLR(theirs, [50, 75], gamma=0.1)
    ours = make_schedule(optimizer, recipe, 1)
    for _ in range(100):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"])
        for part in (optimizer, theirs, ours, milestones):
            part.step()


@pytest.mark.parametrize(
    "settings",
    [
        dict(optimizer="sgd", schedule="constant", clip=1.0),
        dict(optimizer="adam", schedule="step", warmup=0.5, label_smoothing=0.1),
        dict(class_weights="balanced", monitor="loss", precision="float32", weight_decay=0),
    ],
)
def test_every_setting_trains(blobs, settings):
    model, history = fit(blobs, epochs=6, lr=5e-2 if "clip" in settings else 5e-3, **settings)
    assert history.iloc[-1]["auc"] > 0.9
    kept = evaluation.predict(model, blobs(32, split="val").images)
    best = history[history["split"] == "val"].iloc[:, :]
    place = best["loss"].argmin() if settings.get("monitor") == "loss" else best["auc"].argmax()
    scores = evaluation.metrics(kept, blobs(32, split="val").labels, "binary")
    assert scores["auc"] == pytest.approx(best["auc"].iloc[place], abs=1e-6)


def test_clipping_bounds_the_step(blobs):
    before = build().state_dict()
    model, _ = fit(
        blobs,
        epochs=1,
        batch_size=48,
        optimizer="sgd",
        schedule="constant",
        clip=1e-4,
        lr=1.0,
        weight_decay=0,
    )
    moved = sum(
        (model.state_dict()[k] - v).square().sum()
        for k, v in before.items()
        if k in dict(model.named_parameters())
    )
    # Nesterov's first step is (1 + momentum) times the gradient.
    assert moved.sqrt().item() == pytest.approx(1.9e-4, rel=1e-3)


def test_exhaustive_shows_every_image_in_26_ways(blobs, monkeypatch):
    seen = []
    whole = augment._exhaustive

    def watch(images, rng, views):
        seen.extend(zip((image.tobytes() for image in images), views.tolist(), strict=True))
        return whole(images, rng, views)

    monkeypatch.setitem(augment.POLICIES, "exhaustive", (watch, 26))
    fit(blobs, epochs=1, batch_size=128, augment="exhaustive")
    assert len(seen) == len(set(seen)) == 48 * 26


# The same again


@pytest.mark.parametrize("policy", ["none", "mixed"])
def test_the_same_seed_is_the_same_to_the_bit(blobs, policy):
    first, a = fit(blobs, epochs=2, augment=policy)
    torch.rand(7)  # whatever else draws random numbers
    np.random.rand(7)  # noqa: NPY002
    again, b = fit(blobs, epochs=2, augment=policy)
    assert same(first, again)
    pd.testing.assert_frame_equal(a.drop(columns=TIMES), b.drop(columns=TIMES), check_exact=True)


def test_another_seed_is_another_order(blobs):
    assert not same(fit(blobs, epochs=1)[0], fit(blobs, epochs=1, seed=1)[0])


@pytest.mark.parametrize("policy", augment.names())
def test_every_augmentation_trains(blobs, policy):
    data = blobs()
    kept = data.images.copy()
    history = training.fit(build(), data, data, epochs=1, batch_size=24, augment=policy, device="cpu")
    assert np.isfinite(history["loss"]).all() and (data.images == kept).all()


# Cut off and resumed


@pytest.mark.parametrize("done", [1, 3])
def test_resumed_is_uninterrupted_to_the_bit(blobs, ran, done):
    whole, expected = fit(blobs, epochs=4, augment="mixed")
    run = Run("cut")
    cut(ran, done, lambda: fit(blobs, epochs=4, augment="mixed", run=run))
    assert sorted(f.name for f in run.folder.iterdir()) == [".training.lock", "checkpoint.pt"]
    resumed, history = fit(blobs, epochs=4, augment="mixed", run=run)
    assert ran == list(range(done + 1, 5))
    assert same(resumed, whole) and same(models.load(run.folder), whole)
    pd.testing.assert_frame_equal(history.drop(columns=TIMES), expected.drop(columns=TIMES), check_exact=True)


def test_a_finished_training_begins_anew(blobs, ran):
    run = Run("done")
    first, a = fit(blobs, run=run)
    fit(blobs, run=run)
    assert ran == [1, 2, 3]  # cut off before it was in the record: not trained again
    record = {"files": {"model.safetensors": checksum(run.path("model.safetensors"))}, "parameters": {}}
    run.path("run.json").write_text(json.dumps({"stages": {"02_train": record}}))
    again, b = fit(blobs, run=run)
    assert ran == [1, 2, 3, 1, 2, 3] and same(first, again)
    pd.testing.assert_frame_equal(a.drop(columns=TIMES), b.drop(columns=TIMES), check_exact=True)


@pytest.mark.parametrize(
    ("changes", "network", "first"),
    [
        ({}, {}, 2),  # the same again: goes on
        ({"lr": 1e-3}, {}, 1),
        ({"epochs": 2}, {}, 1),
        ({"batch_size": 24}, {}, 1),
        ({"augment": "photometric"}, {}, 1),
        ({"seed": 1}, {}, 1),
        ({"patience": 1}, {}, 1),
        ({"clip": 1.0}, {}, 1),
        ({}, {"seed": 1}, 1),  # of the first weights
        ({}, {"stem": "torchvision"}, 1),
    ],
)
def test_a_checkpoint_of_other_arguments_is_not_used(blobs, ran, changes, network, first):
    run = Run("other")
    cut(ran, 1, lambda: fit(blobs, run=run))
    fit(blobs, build(**network), run=run, **changes)
    assert ran[0] == first


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_checkpoint_of_other_data_is_not_used(blobs, ran, split):
    run, data = Run("other"), {"train": blobs(), "val": blobs(32, split="val")}
    cut(ran, 1, lambda: training.fit(build(), **data, epochs=2, run=run, device="cpu"))
    data[split] = blobs(32, split=split, seed=1)
    training.fit(build(), **data, epochs=2, run=run, device="cpu")
    assert ran == [1, 2]


TRAINING = """
import os, signal
import numpy as np
from medrob import models, training
from medrob.data import ImageDataset
from medrob.runs import Run

def data(split):
    rng = np.random.default_rng(len(split))
    labels = np.arange(40) % 2
    images = (rng.integers(0, 60, (40, 16, 16, 1)) + 90 * labels[:, None, None, None]).astype(np.uint8)
    return ImageDataset(images, labels, ("a", "b"), "binary", name="blobs", split=split)

def train(run):
    model = models.build("resnet18", in_channels=1, num_classes=2, width=4, task="binary", seed=0)
    options = dict(epochs=3, lr=5e-3, batch_size=8, augment="mixed", patience=0, device="cpu")
    return training.fit(model, data("train"), data("val"), run=Run(run), **options)
"""
KILLED = """
steps, whole = 11, training.Objective.total
def total(*arguments):
    global steps
    steps -= 1
    if not steps:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*arguments)
training.Objective.total = total
train("killed")
"""


def test_killed_in_mid_epoch_and_run_again_is_the_same_to_the_bit(ran):
    """Five steps and two losses an epoch; the eleventh is in the middle of the second."""
    done = subprocess.run([sys.executable, "-c", TRAINING + KILLED], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    killed, whole = Run("killed"), Run("whole")
    assert not killed.path("model.safetensors").exists()
    exec(TRAINING, here := {})
    a = here["train"]("killed")
    assert ran == [2, 3]
    b = here["train"]("whole")
    assert killed.path("model.safetensors").read_bytes() == whole.path("model.safetensors").read_bytes()
    pd.testing.assert_frame_equal(a.drop(columns=TIMES), b.drop(columns=TIMES), check_exact=True)


def test_cut_off_between_the_last_checkpoint_and_the_weights(blobs, ran, monkeypatch):
    run = Run("late")

    def stop(*args):
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(training.loop, "save", stop)
        with pytest.raises(StopError):
            fit(blobs, run=run)
    resumed, history = fit(blobs, run=run)
    assert ran == [1, 2, 3] and len(history) == 6
    assert same(resumed, fit(blobs)[0]) and same(models.load(run.folder), resumed)


def test_a_second_process_on_the_same_run_is_refused(blobs, home):
    run = Run("taken")
    run.folder.mkdir(parents=True)
    with (
        filelock.FileLock(run.path(".training.lock")),
        pytest.raises(RuntimeError, match="run 'taken' is being trained by another process; wait for it"),
    ):
        fit(blobs, epochs=1, run=run)
    fit(blobs, epochs=1, run=run)


def test_tensorboard(blobs):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = Run("logged")
    _, history = fit(blobs, epochs=2, run=run, tensorboard=True)
    log = events.EventAccumulator(str(run.path("tensorboard"))).Reload()
    assert [e.step for e in log.Scalars("auc/val")] == [1, 2]
    logged = [e.value for e in log.Scalars("loss/train")]
    assert logged == pytest.approx(history[history["split"] == "train"]["loss"].tolist())


def test_without_a_run_nothing_is_written(blobs, home):
    fit(blobs, epochs=1)
    assert list(home.iterdir()) == []


class Evil:
    """Unpickling it creates the file whose path it holds."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_and_hostile_checkpoints(blobs, tmp_path):
    run = Run("bad")
    fit(blobs, epochs=1, run=run)
    file, trap = run.path("checkpoint.pt"), tmp_path / "sprung"
    whole, weights = file.read_bytes(), run.path("model.safetensors").read_bytes()
    torch.save({"arguments": Evil(trap)}, tmp_path / "evil.pt")
    for content in (b"", whole[:1000], pickle.dumps(Evil(trap)), (tmp_path / "evil.pt").read_bytes()):
        file.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"(?s)checkpoint.pt is damaged .* delete it to train from the begin"
        ):
            fit(blobs, epochs=1, run=run)
        assert file.read_bytes() == content
    assert not trap.exists()
    assert run.path("model.safetensors").read_bytes() == weights  # earlier results stay


# Early stopping


def scripted(monkeypatch, aucs, losses):
    """Let validation AUC and loss of each epoch be what is given; give the weights after each epoch."""
    whole, weights = Epochs.__call__, []

    def epoch(self, number):
        rows = whole(self, number)
        rows[1].update(auc=aucs[len(weights)], loss=losses[len(weights)])
        weights.append({k: v.clone() for k, v in self.model.state_dict().items()})
        return rows

    monkeypatch.setattr(Epochs, "__call__", epoch)
    return weights


@pytest.mark.parametrize(
    ("aucs", "losses", "patience", "epochs", "best"),
    [
        ([0.6, 0.9, 0.8, 0.9, 1.0], [1.0] * 5, 2, 4, 2),  # as good is not better: stops before the fifth
        ([0.6, 0.9, 0.8, 0.9, 1.0], [1.0] * 5, 3, 5, 5),
        ([0.6, 0.9, 0.8, 0.9, 0.7], [1.0] * 5, 0, 5, 2),  # 0: never early
        ([0.9, 0.8, 0.7, 0.6, 0.5], [1.0] * 5, 1, 2, 1),
        ([0.0, 0.0, 0.0, 0.0, 0.0], [1.0] * 5, 4, 5, 1),
        ([0.6, 1.0, 1.0, 1.0, 1.0], [1.0, 0.9, 0.4, 0.3, 0.5], 2, 5, 4),  # of equal AUC, the lower loss
    ],
)
def test_early_stopping_keeps_the_best_weights(blobs, monkeypatch, aucs, losses, patience, epochs, best):
    weights = scripted(monkeypatch, aucs, losses)
    model, history = fit(blobs, epochs=5, patience=patience)
    assert history["epoch"].max() == len(weights) == epochs
    assert kept_epoch(history) == best
    assert all(torch.equal(weights[best - 1][k], v) for k, v in model.state_dict().items())


# Refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs=0: give a whole number of at least 1"),
        ({"epochs": 1.5}, "epochs=1.5"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": True}, "batch_size=True"),
        ({"patience": -1}, "patience=-1: give a number of epochs"),
        ({"lr": 0}, "lr=0: give a learning rate above 0"),
        ({"lr": -1e-3}, "lr=-0.001"),
        ({"lr": float("nan")}, "lr=nan"),
        ({"lr": float("inf")}, "lr=inf"),
        ({"lr": "high"}, "lr='high'"),
        ({"optimizer": "rmsprop"}, "optimizer='rmsprop' is unknown; give one of adamw, adam, sgd"),
        ({"schedule": "linear"}, "schedule='linear' is unknown"),
        ({"warmup": 3}, "warmup=3: give epochs, from 0 to below epochs=3"),
        ({"label_smoothing": 1}, "label_smoothing=1: give a number from 0 to below 1"),
        ({"class_weights": "yes"}, "class_weights='yes' is unknown; give one of none, balanced"),
        ({"clip": -1}, "clip=-1: give a number of at least 0"),
        ({"precision": "half"}, "precision='half' is unknown"),
        ({"monitor": "f1"}, "monitor='f1' is unknown; give one of auc, loss"),
        ({"recipe": "thesis"}, "recipe='thesis' is unknown; the recipes are own, medmnist"),
        ({"dropout": 0.5}, "unknown setting dropout; the settings are epochs, batch_size"),
        ({"augment": "mirror"}, "augment='mirror' is unknown"),
        ({"device": "gpu"}, "device='gpu' cannot be used here"),
    ],
)
def test_bad_arguments(blobs, home, changes, message):
    with pytest.raises(ValueError, match=message):
        fit(blobs, run=Run("bad"), **changes)
    assert list(home.iterdir()) == []


def test_a_class_without_images_is_refused(blobs):
    whole = blobs()
    for train, val, where in (
        (whole[whole.labels == 0], whole, "split 'train' .24 images. has no image of b"),
        (whole, blobs(32, split="val")[whole.labels[:32] == 1], "split 'val' .16 images. has no image of a"),
        (whole[:0], whole, "has no image of a, b"),
    ):
        with pytest.raises(ValueError, match=where):
            training.fit(build(), train, val, epochs=1, device="cpu")


def test_a_label_that_every_image_has_is_refused(blobs):
    whole = blobs()
    labels = np.stack([whole.labels, np.ones(48, int)], 1)
    data = ImageDataset(whole.images, labels, ("some", "all"))
    with pytest.raises(ValueError, match="every image has all: nothing to tell apart"):
        training.fit(build(task="multilabel"), data, data, epochs=1, device="cpu")


def test_data_that_do_not_fit_the_network(blobs):
    data = blobs()
    with pytest.raises(ValueError, match="has 1 channels and 2 classes; the network was built for 1 and 3"):
        training.fit(build(num_classes=3), data, data, device="cpu")
    with pytest.raises(ValueError, match="is binary, the network was built with task='multilabel'"):
        training.fit(build(task="multilabel"), data, data, device="cpu")


def test_a_loss_that_explodes_is_refused(blobs):
    run = Run("nan")
    with pytest.raises(ValueError, match=r"the loss became (nan|inf) in epoch 1: give a smaller lr"):
        fit(blobs, lr=1e30, run=run)
    assert not run.path("model.safetensors").exists() and not run.path("checkpoint.pt").exists()


@pytest.mark.parametrize("size", [16, 24])
def test_a_last_image_alone_is_no_trouble(blobs, size):
    """Batch norm needs two values a channel; here the last maps are a single position."""
    data = blobs(2 * size + 1)
    history = training.fit(build(stem="torchvision"), data, data, epochs=2, batch_size=size, device="cpu")
    assert np.isfinite(history["loss"]).all() and len(history) == 4


@given(st.integers(1, 70), st.integers(2, 40))
def test_batches(images, size):
    begin = list(starts(images, size))
    sizes = np.diff([*begin, images])
    assert begin[0] == 0 and sizes.sum() == images
    assert (sizes[:-1] == size).all() and sizes[-1] <= size + 1
    assert images == 1 or sizes.min() > 1
