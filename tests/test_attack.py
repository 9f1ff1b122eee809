import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from map_checks import proper
from torch import nn
from torchvision.models import VisionTransformer

from medrob import models
from medrob.drift import Explainer, PreparedMaps, compare
from medrob.evaluation import compare_images, predict
from medrob.saliency import cams, explain, normalise
from medrob.trust import ATTACKABLE, attack, worst_case


def network(channels=1, seed=0):
    """A small residual network with random weights, in doubt: its mean logits are equal.

    Those of its last layer are positive, so that few maps lack a positive value.
    """
    model = models.build(in_channels=channels, num_classes=3, width=4, seed=seed)
    rng = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=rng)
            module.running_var.uniform_(0.5, 2, generator=rng)
    with torch.no_grad():
        model.backbone.fc.weight.abs_()
        logits = model.eval()(torch.from_numpy(pictures(channels=channels)).permute(0, 3, 1, 2))
        model.backbone.fc.bias -= logits.mean(0)
    return model


def pictures(n=6, size=32, channels=1):
    """Soft pictures with some black and some white."""
    rough = np.random.default_rng(0).integers(-60, 316, (n, 8, 8, channels))
    return rough.repeat(size // 8, 1).repeat(size // 8, 2).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model():
    return network()


def search(model, images, layer="layer3.1", method="gradcam", *, test="attack", tries=7, **options):
    """The pictures found, and their drift."""
    seed, targets = options.pop("seed", 0), options.pop("targets", None)
    explainer = Explainer(model, method, layer, **options)
    classes = explainer.classes(images, targets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(attack.TRIES, test, tries)
        parts = [
            attack.furthest(explainer, images[rows], rows, classes[rows], test, seed)
            for rows in explainer.batches(len(images))
        ]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


class Glass(nn.Module):
    """Its Grad-CAM of class 0 is the picture itself; it says 0 where the mean grey level is above `tip`."""

    def __init__(self, tip=0.0):
        super().__init__()
        self.layer, self.fc = nn.Conv2d(1, 1, 1), nn.Linear(1, 2)
        with torch.no_grad():
            self.layer.weight.fill_(1)
            self.layer.bias.zero_()
            self.fc.weight.copy_(torch.tensor([[1.0], [0.0]]))
            self.fc.bias.copy_(torch.tensor([0.0, tip]))

    def forward(self, x):
        return self.fc(self.layer(x.float()).mean((2, 3)))


class Smooth(nn.Module):
    """Smooth everywhere, and the gradient at its layer depends on the picture."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.layer = nn.Conv2d(1, 3, 3), nn.Softplus(0.1)
            self.last, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(self.last(self.layer(self.first(x / 20))).tanh().mean((2, 3)))


def exhaustive(model, picture, epsilon=2):
    """The largest drift of a 2x2 picture over the whole ball, of the pictures still predicted alike."""
    moves = np.array([*itertools.product(range(-epsilon, epsilon + 1), repeat=4)]).reshape(-1, 2, 2, 1)
    every = (picture.astype(int) + moves).astype(np.uint8)
    maps = explain(model, every, methods=["gradcam"], layers=["layer"], targets=0)["gradcam", "layer"]
    clean = explain(model, picture, methods=["gradcam"], layers=["layer"], targets=0)["gradcam", "layer"]
    kept = predict(model, every).argmax(1) == predict(model, picture).argmax(1)
    assert kept.any()
    return np.where(kept, compare(clean.repeat(len(maps), 0), maps, ["rmse"])["rmse"], 0).max(), kept.mean()


def square(*levels):
    return np.array(levels, np.uint8).reshape(1, 2, 2, 1)


def test_a_picture_whose_worst_case_is_known_by_hand():
    """100 120 120 140: the middle at 1/2 moves most if it goes up while both ends go down, or the reverse.

    (122 - 98) / (138 - 98) = .6; two of four positions move by .1: RMSE .1 / sqrt(2).
    """
    picture, by_hand = square(100, 120, 120, 140), 0.1 / np.sqrt(2)
    np.testing.assert_allclose(exhaustive(Glass(), picture)[0], by_hand, rtol=1e-5)
    tried = [search(Glass(), picture, "layer", targets=0, seed=seed, tries=21) for seed in range(6)]
    drift = np.array([found[0] for _, found in tried])
    np.testing.assert_allclose(drift.max(), by_hand, rtol=1e-5)
    assert (drift > 0.4 * by_hand).all()
    moves = tried[drift.argmax()][0].astype(int).ravel() - picture.ravel()
    assert moves.tolist() in ([-2, 2, 2, -2], [2, -2, -2, 2])


@pytest.mark.parametrize("levels", [(74, 65, 60, 50), (60, 64, 78, 69), (43, 51, 59, 56)])
@pytest.mark.parametrize("margin", [40, 0.6])
def test_never_beyond_the_best_of_the_whole_ball_and_at_it_from_some_place(levels, margin):
    """A margin of .6 grey levels makes the network say something else in a part of the ball."""
    picture = square(*levels)
    model = Glass(float(picture.mean()) - margin)
    best, kept = exhaustive(model, picture)
    assert (kept == 1) == (margin == 40)
    for test in attack.TRIES:
        found = [search(model, picture, "layer", targets=0, seed=s, test=test, tries=21) for s in range(8)]
        drift = np.array([value[0] for _, value in found])
        assert (drift <= best * (1 + 1e-5)).all() and (drift > 0).all()
        assert all(predict(model, images).argmax(1) == 0 for images, _ in found)
        if test == "attack":
            np.testing.assert_allclose(drift.max(), best, rtol=1e-5)


@pytest.mark.parametrize("method", ATTACKABLE)
def test_the_slope_is_that_of_the_drift(method):
    """Second derivatives against differences of what the public functions give, in float64."""
    model = Smooth().double().eval()
    rng = np.random.default_rng(0)
    clean = torch.from_numpy(rng.uniform(0, 255, (2, 1, 9, 9)))
    x = clean + torch.from_numpy(rng.uniform(-9, 9, clean.shape))
    layers, targets, kept = {"layer": model.layer}, torch.tensor([0, 2]), torch.tensor([True, True])
    reference = PreparedMaps(cams(model, clean, [method], layers, targets)[0][method, "layer"])
    assert not reference.degenerate.any()

    def drift(x):
        maps = cams(model, x, [method], layers, targets)[0][method, "layer"]
        return (normalise(maps) - reference.values).square().mean((1, 2))

    slope = attack.slope(
        Explainer(model, method, "layer"), x, targets, F.one_hot(targets, 3).float(), kept, reference
    )
    for _ in range(3):
        way = torch.from_numpy(rng.standard_normal(x.shape))
        expected = (drift(x + 1e-5 * way) - drift(x - 1e-5 * way)) / 2e-5
        np.testing.assert_allclose((slope * way).sum((1, 2, 3)), expected, rtol=1e-4)


@pytest.mark.parametrize(("task", "side"), [("binary", 1), ("multilabel", 1), ("multilabel", -1)])
def test_where_the_prediction_is_lost_the_way_is_back(task, side):
    model, x = Glass(50), torch.tensor([[10.0, 20], [30, 60]]).view(1, 1, 2, 2)
    model.config = dict(task=task)
    glass, before = Explainer(model, "gradcam", "layer"), torch.tensor([[side, 0.0]])
    lost, class_0 = torch.tensor([False]), torch.tensor([0])
    slope = attack.slope(glass, x, class_0, before, lost, PreparedMaps(x[:, 0] + 30))
    np.testing.assert_allclose(slope, np.full((1, 1, 2, 2), side / 4))  # of the mean of four pixels


@pytest.mark.parametrize("epsilon", [0, 2, 255])
@pytest.mark.parametrize("test", attack.TRIES)
def test_pictures_stay_in_the_ball_and_in_range(model, test, epsilon, monkeypatch):
    monkeypatch.setattr(attack, "EPSILON", epsilon)
    images = pictures(3)
    before = images.copy()
    assert images.min() == 0 and images.max() == 255
    found, drift = search(model, images, test=test, tries=4)
    np.testing.assert_array_equal(images, before)
    assert found.dtype == np.uint8 and found.shape == images.shape and drift.dtype == np.float32
    away = np.abs(found.astype(int) - images)
    assert away.max() <= epsilon and (drift > 0).any() == (epsilon > 0)
    assert epsilon == 255 or (away.max((1, 2, 3)) == epsilon)[drift > 0].all()


@pytest.mark.parametrize("shift", [0, 1])
def test_predictions_are_kept_and_drift_is_that_of_the_public_functions(model, shift):
    """Of the class predicted, and of another one."""
    images = pictures()
    before = predict(model, images).argmax(1)
    assert len(set(before)) > 1
    explained = (before + shift) % 3
    found, drift = search(model, images, targets=explained if shift else None)
    np.testing.assert_array_equal(predict(model, found).argmax(1), before)
    ask = dict(methods=["gradcam"], layers=["layer3.1"], targets=explained)
    a, b = (explain(model, x, **ask)["gradcam", "layer3.1"] for x in (images, found))
    np.testing.assert_allclose(drift, compare(a, b, ["rmse"])["rmse"], atol=1e-5)


@pytest.mark.parametrize("layer", ["layer1.0", "layer4.1"])
@pytest.mark.parametrize("method", ["gradcam", "layercam", "eigencam"])
def test_climbing_beats_chance_and_more_tries_never_find_less(model, method, layer):
    """At the same number of looks, for every picture: the first place of both is the same."""
    _, climbed = search(model, pictures(3), layer, method, tries=10)
    _, drawn = search(model, pictures(3), layer, method, tries=10, test="max-sensitivity")
    _, first = search(model, pictures(3), layer, method, tries=1, test="max-sensitivity")
    assert climbed.mean() > 1.5 * drawn.mean()
    assert (climbed >= first).all() and (drawn >= first).all() and (drawn > first).any()


def test_attention_is_climbed_too():
    """Tokens of a vision transformer, whose fused attention has no second derivative."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = VisionTransformer(32, 8, 2, 2, 8, 16, num_classes=3)
        nn.init.normal_(backbone.heads.head.weight)
    model, layer = nn.Sequential(models.Normalise(), backbone), "1.encoder.layers.encoder_layer_0"
    ask = (model, pictures(3, channels=3), layer, "layercam")
    climbed, drawn = (search(*ask, test=test, tries=10)[1] for test in attack.TRIES)
    assert climbed.mean() > 1.5 * drawn.mean()


def test_multi_label_keeps_the_decision_about_the_label_explained(monkeypatch):
    """Another label may become the most probable; the one explained keeps its side of 0."""
    monkeypatch.setattr(attack, "EPSILON", 8)
    several = network()
    several.config["task"] = "multilabel"
    found, _ = search(several, pictures(), method="layercam", targets=1)
    before, after = (predict(several, x)[:, 1] > 0.5 for x in (pictures(), found))
    np.testing.assert_array_equal(before, after)
    assert not np.array_equal(search(network(), pictures(), method="layercam", targets=1)[0], found)


def test_a_map_without_content_has_no_drift_and_is_left_out():
    flat = np.full((1, 2, 2, 1), 90, np.uint8)
    images = np.concatenate([square(100, 120, 120, 140), flat])
    found, drift = search(Glass(), images, "layer", targets=0, tries=21)
    assert drift[0] > 0 and np.isnan(drift[1])
    np.testing.assert_array_equal(found[1:], flat)
    glass = Explainer(Glass(), "gradcam", "layer")
    rows = worst_case(glass, images, 0)
    assert (rows["images"] == 1).all() and (rows["degenerate"] == 1).all()
    np.testing.assert_allclose(rows.set_index("test").loc["attack", "value"], drift[0])
    nothing = worst_case(glass, flat, 0)
    assert (nothing["images"] == 0).all() and nothing[["value", "low", "high"]].isna().to_numpy().all()


@pytest.mark.parametrize("test", attack.TRIES)
def test_the_seed_decides_and_neither_batch_size_nor_mode_does(test, monkeypatch):
    """In float64, where the rounding of sums cannot decide the sign of a slope."""
    model, images = network().double(), pictures(3)
    found, drift = search(model, images, "layer2.1", test=test)
    torch.manual_seed(1)
    same = search(model, images, "layer2.1", test=test, batch_size=2)
    np.testing.assert_array_equal(same[0], found)
    np.testing.assert_allclose(same[1], drift, rtol=1e-6)
    monkeypatch.setattr(attack, "TRIES", {test: 7})
    frozen = network().double().requires_grad_(False).train()
    with torch.inference_mode():
        rows = worst_case(Explainer(frozen, "gradcam", "layer2.1"), images)
    assert rows.loc[0, "value"] == pytest.approx(drift.mean(), rel=1e-6)
    assert (search(model, images, "layer2.1", test=test, seed=1)[0] != found).any()


def test_the_table(model, monkeypatch):
    monkeypatch.setattr(attack, "TRIES", {"attack": 3, "max-sensitivity": 3})
    images, layers = pictures(), ["layer2.0", "layer3.1"]
    explainer = Explainer(model, ["gradcam", "layercam", "smoothgrad"], layers, batch_size=4)
    rows = worst_case(explainer, images, 2, seed=1)
    tests = [f"{test}{what}" for test in attack.TRIES for what in ("", "-picture", "-kept")]
    expected = itertools.product(["gradcam", "layercam"], layers, tests)
    assert [*rows[["method", "layer", "test"]].itertuples(index=False, name=None)] == [*expected]
    proper(rows)
    assert (rows["images"] == 6).all()
    here = rows[(rows["method"] == "layercam") & (rows["layer"] == "layer2.0")].set_index("test")
    for test in attack.TRIES:
        ask = dict(targets=2, test=test, tries=3, seed=1, batch_size=4)
        found, drift = search(model, images, "layer2.0", "layercam", **ask)
        np.testing.assert_allclose(here.loc[test, "value"], drift.mean(), rtol=1e-6)
        away = compare_images(images, found)["rmse"]
        np.testing.assert_allclose(here.loc[f"{test}-picture", "value"], away.mean())
        assert here.loc[f"{test}-kept", ["value", "low", "high"]].tolist() == [1, 1, 1]


def test_the_network_is_left_as_found_even_after_an_error():
    model, calls = network().train(), iter([None, None])  # of the clean pictures and the first place
    model.backbone.conv1.weight.requires_grad_(False)
    handle = model.backbone.fc.register_forward_hook(lambda *_: next(calls))
    with pytest.raises(StopIteration):  # in the slope
        search(model, pictures(2), targets=np.zeros(2, int))
    handle.remove()
    assert not any(module._forward_hooks for module in model.modules())
    assert all(module.training for module in model.modules())
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["backbone.conv1.weight"]
    assert all(p.grad is None for p in model.parameters())
    assert torch.is_grad_enabled() and torch.relu(torch.tensor(-1.0)) == 0
