import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_training import TIMES, build, fit, train

from medrob import config, evaluation, training
from medrob.data import ImageDataset
from medrob.training import Epochs, make_objective, make_optimizer, make_schedule, starts


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_learns_what_is_easy(blobs, task):
    model = build(num_classes=2 if task == "binary" else 3, task=task)
    learned, val, test = (blobs(48, model.config["num_classes"], s) for s in ("train", "val", "test"))
    if task == "multilabel":
        learned, val, test = (
            ImageDataset(data.images, np.stack([data.labels == 1, data.labels > 0, data.labels != 1], 1) + 0)
            for data in (learned, val, test)
        )
    history = train(model, learned, val, epochs=8, batch_size=8)
    scores = evaluation.metrics(evaluation.predict(model, test.images), test.labels, test.task)
    assert scores["auc"] > 0.98
    loss = history[history["split"] == "train"]["loss"]
    assert loss.iloc[-1] < loss.iloc[0] / 2


def test_history(blobs):
    model, history = fit(blobs)
    assert [*history][:6] == ["epoch", "split", "loss", "accuracy", "auc", "lr"]
    assert [*history][6:] == ["seconds", "images_per_second", "memory_mb", "gpu_memory_mb"]
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
    row, scores = history.set_index("split").loc["val"], evaluation.metrics(p, val.labels, val.task)
    loss = -np.log(p[np.arange(32), val.labels]).mean()
    for name, value in (("loss", loss), ("auc", scores["auc"]), ("accuracy", scores["accuracy"])):
        assert row[name] == pytest.approx(value, abs=1e-5)


def objective(labels, **settings):
    """The loss that a recipe gives for data of these labels."""
    data = ImageDataset(np.zeros((len(labels), 2, 2, 1), np.uint8), np.asarray(labels))
    return make_objective(config.Recipe(**settings), data)


def test_objective_and_balanced_class_weights():
    logits = torch.tensor([[0.0, np.log(3)], [0.0, 0.0]], dtype=torch.float32)
    one, many = torch.tensor([1, 0]), torch.tensor([[1.0, 1], [0, 1]])
    assert objective([0, 1])(logits, one).item() == pytest.approx(-np.log([0.75, 0.5]).mean())
    worked = -np.log([0.5, 0.75, 0.5, 0.5]).mean()
    assert objective(many.int().tolist())(logits, many).item() == pytest.approx(worked)
    balanced = objective([0, 0, 0, 1], class_weights="balanced")
    assert balanced.weight.tolist() == pytest.approx([4 / (2 * 3), 4 / (2 * 1)])
    worked = (2 * -np.log(0.75) + 2 / 3 * -np.log(0.5)) / (2 + 2 / 3)
    assert balanced(logits, one).item() == pytest.approx(worked)
    many = objective([[1, 0], [0, 0], [0, 1], [0, 1]], class_weights="balanced")
    assert many.pos_weight.tolist() == [3, 1]  # absent / present


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        ("constant", np.ones(40)),
        ("step", np.repeat([1, 0.1, 0.01], [20, 10, 10])),
        ("cosine", (1 + np.cos(np.pi * np.arange(40) / 40)) / 2),
    ],
)
def test_schedules(schedule, wanted):
    """The learning rate of every step, as a share of the highest."""
    recipe = config.Recipe(epochs=8, lr=1.0, optimizer="sgd", schedule=schedule)
    optimizer = make_optimizer([torch.nn.Parameter(torch.zeros(1))], recipe)
    plan, rates = make_schedule(optimizer, recipe, 5), []
    for _ in range(40):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        plan.step()
    assert rates == pytest.approx(wanted)


def test_the_recipe_of_medmnist_is_that_of_pytorch():
    recipe = config.Recipe(epochs=100, optimizer="adam", lr=1e-3, schedule="step", weight_decay=0.0)
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
        dict(optimizer="sgd", schedule="constant"),
        dict(optimizer="adam", schedule="step", class_weights="balanced", monitor="loss", weight_decay=0),
    ],
)
def test_every_setting_trains(blobs, settings):
    model, history = fit(blobs, epochs=4, lr=5e-2 if settings.get("optimizer") == "sgd" else 5e-3, **settings)
    kept = evaluation.predict(model, blobs(32, split="val").images)
    val = history[history["split"] == "val"].set_index("epoch")
    best = val["auc"][training.kept_epoch(history, settings.get("monitor", "auc"))]
    scores = evaluation.metrics(kept, blobs(32, split="val").labels, "binary")
    assert scores["auc"] == pytest.approx(best, abs=1e-6) and best > 0.9


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
        ([0.6, 0.9, 0.8, 0.9, 0.7], [1.0] * 5, 0, 5, 2),  # 0: never early
        ([0.6, 1.0, 1.0, 1.0, 1.0], [1.0, 0.9, 0.4, 0.3, 0.5], 2, 5, 4),  # of equal AUC, the lower loss
    ],
)
def test_early_stopping_keeps_the_best_weights(blobs, monkeypatch, aucs, losses, patience, epochs, best):
    weights = scripted(monkeypatch, aucs, losses)
    model, history = fit(blobs, epochs=5, patience=patience)
    assert history["epoch"].max() == len(weights) == epochs
    assert training.kept_epoch(history, "auc") == best
    assert all(torch.equal(weights[best - 1][k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("split", "labels", "message"),
    [
        ("train", [1] * 24, r"split 'train' \(24 images\): no image, or every image, is of a, b: a network"),
        ("val", [[0, 1], [1, 1]] * 12, r"every image, is of b: a network"),
    ],
)
def test_a_class_that_no_image_or_every_image_has_is_refused(blobs, split, labels, message):
    data = {"train": blobs(), "val": blobs(32, split="val")}
    data[split] = ImageDataset(blobs(24).images, np.array(labels), ("a", "b"), split=split)
    with pytest.raises(ValueError, match=message):
        train(build(), **data)


def test_a_loss_that_explodes_is_refused(blobs, tmp_path):
    with pytest.raises(ValueError, match=r"the loss became (nan|inf) in epoch 1: give a smaller lr"):
        fit(blobs, lr=1e30, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_outputs_on_validation_images_that_are_not_finite_are_refused(blobs, tmp_path, monkeypatch):
    network, forward = build(), type(build()).forward
    monkeypatch.setattr(
        type(network), "forward", lambda self, x: forward(self, x) / (x.new_ones(()) * self.training)
    )
    with pytest.raises(ValueError, match="outputs on validation images are not finite: give a smaller lr"):
        train(network, blobs(), blobs(32, split="val"), folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@given(st.integers(1, 70), st.integers(2, 40))
def test_a_last_image_alone_joins_the_batch_before_as_batch_norm_needs_two(images, size):
    begin = list(starts(images, size))
    sizes = np.diff([*begin, images])
    assert begin[0] == 0 and sizes.sum() == images
    assert (sizes[:-1] == size).all() and sizes[-1] <= size + 1
    assert images == 1 or sizes.min() > 1


def test_a_network_that_is_not_trained_stays_as_it_is(blobs, tmp_path):
    model, _ = fit(blobs)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    history = train(model, blobs(), blobs(32, split="val"), folder=tmp_path, epochs=0)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.training and not [*tmp_path.iterdir()]
    row = history.iloc[0]
    assert (len(history), row["epoch"], row["split"], training.kept_epoch(history, "auc")) == (1, 0, "val", 0)
    val = blobs(32, split="val")
    assert row["accuracy"] == (evaluation.predict(model, val.images).argmax(1) == val.labels).mean()
