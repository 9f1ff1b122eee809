import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import VisionTransformer

from medrob import models, trust
from medrob.evaluation import predict
from medrob.evaluation.distance import compare_images
from medrob.saliency.explain import explain
from medrob.saliency.gradient import cams
from medrob.saliency.maps import normalise
from medrob.similarity import Maps, compare
from medrob.trust.attack import ATTACKABLE, _Search, _SmoothReLU, attack, max_sensitivity, worst_case

FEW = dict(layer="layer3.1", steps=6)


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


@pytest.fixture(scope="module")
def found(model):
    return attack(model, pictures(), **FEW)


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


# -- Where the answer is known -------------------------------------------------------------------------


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
    picture, model = square(100, 120, 120, 140), Glass()
    by_hand = 0.1 / np.sqrt(2)
    best, _ = exhaustive(model, picture)
    np.testing.assert_allclose(best, by_hand, rtol=1e-5)
    tried = [attack(model, picture, layer="layer", targets=0, seed=seed) for seed in range(6)]
    drift = np.array([worst.drift[0] for worst in tried])
    np.testing.assert_allclose(drift.max(), by_hand, rtol=1e-5)
    assert (drift > 0.4 * by_hand).all()
    moves = tried[drift.argmax()].images.astype(int).ravel() - picture.ravel()
    assert moves.tolist() in ([-2, 2, 2, -2], [2, -2, -2, 2])


@pytest.mark.parametrize("levels", [(74, 65, 60, 50), (60, 64, 78, 69), (55, 74, 62, 41), (43, 51, 59, 56)])
@pytest.mark.parametrize("margin", [40, 0.6])
def test_never_beyond_the_best_of_the_whole_ball_and_at_it_from_some_place(levels, margin):
    """A margin of .6 grey levels makes the network say something else in a part of the ball."""
    picture = square(*levels)
    model = Glass(float(picture.mean()) - margin)
    best, kept = exhaustive(model, picture)
    assert (kept == 1) == (margin == 40)
    for function in (attack, max_sensitivity):
        worst = [function(model, picture, layer="layer", targets=0, seed=seed) for seed in range(8)]
        drift = np.array([w.drift[0] for w in worst])
        assert (drift <= best * (1 + 1e-5)).all() and (drift > 0).all()
        assert all(predict(model, w.images).argmax(1) == 0 for w in worst)
        if function is attack:
            np.testing.assert_allclose(drift.max(), best, rtol=1e-5)


@pytest.mark.parametrize("method", ATTACKABLE)
def test_the_slope_is_that_of_the_drift(method):
    """Second derivatives against differences of what the public functions give, in float64."""
    model = Smooth().double().eval()
    rng = np.random.default_rng(0)
    clean = torch.from_numpy(rng.uniform(0, 255, (2, 1, 9, 9)))
    x = clean + torch.from_numpy(rng.uniform(-9, 9, clean.shape))
    layers, targets, kept = {"layer": model.layer}, torch.tensor([0, 2]), torch.tensor([True, True])
    reference = Maps(cams(model, clean, [method], layers, targets)[0][method, "layer"])
    assert not reference.degenerate.any()

    def drift(x):
        maps = cams(model, x, [method], layers, targets)[0][method, "layer"]
        return (normalise(maps) - reference.values).square().mean((1, 2))

    search = _Search(method, layers, epsilon=2, tries=1, seed=0, climb=True)
    slope = search._slope(model, x, targets, F.one_hot(targets, 3).float(), kept, reference)
    for _ in range(3):
        way = torch.from_numpy(rng.standard_normal(x.shape))
        expected = (drift(x + 1e-5 * way) - drift(x - 1e-5 * way)) / 2e-5
        np.testing.assert_allclose((slope * way).sum((1, 2, 3)), expected, rtol=1e-4)


def test_where_the_prediction_is_lost_the_way_is_back():
    model, x = Glass(50), torch.tensor([[10.0, 20], [30, 60]]).view(1, 1, 2, 2)
    clean = Maps(x[:, 0] + 30)
    search = _Search("gradcam", {"layer": model.layer}, epsilon=2, tries=1, seed=0, climb=True)
    lost, class_0 = torch.tensor([False]), torch.tensor([0])
    slope = search._slope(model, x, class_0, torch.tensor([[1.0, 0]]), lost, clean)
    np.testing.assert_allclose(slope, np.full((1, 1, 2, 2), 0.25))  # of the mean of four pixels


def test_softplus_stands_in_for_relu_only_while_it_is_asked_for():
    x = torch.linspace(-1, 1, 9)
    with _SmoothReLU():
        smooth = [nn.ReLU()(x), nn.ReLU(inplace=True)(x.clone()), F.relu(x), torch.relu(x), x.relu()]
    for y in smooth:
        np.testing.assert_allclose(y, F.softplus(x, 30))
    for y in (nn.ReLU()(x), F.relu(x), x.relu()):
        np.testing.assert_array_equal(y, x.clamp_min(0))


# -- What is promised of every picture -----------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [1, 2.0, 5, 255])
@pytest.mark.parametrize("function", [attack, max_sensitivity])
def test_pictures_stay_in_the_ball_and_in_range(model, function, epsilon):
    images = pictures(3)
    assert images.min() == 0 and images.max() == 255
    count = {"steps": 3} if function is attack else {"samples": 4}
    worst = function(model, images, layer="layer3.1", epsilon=epsilon, **count)
    assert worst.images.dtype == np.uint8 and worst.images.shape == images.shape
    away = np.abs(worst.images.astype(int) - images)
    assert away.max() <= epsilon
    moved = worst.drift > 0
    assert epsilon == 255 or (moved.any() and (away.max((1, 2, 3)) == epsilon)[moved].all())


def test_predictions_are_kept_and_drift_is_that_of_the_public_functions(model, found):
    images = pictures()
    before = predict(model, images).argmax(1)
    assert len(set(before)) > 1
    np.testing.assert_array_equal(predict(model, found.images).argmax(1), before)
    np.testing.assert_array_equal(found.targets, before)
    a, b = (
        explain(model, x, methods=["gradcam"], layers=["layer3.1"], targets=before)["gradcam", "layer3.1"]
        for x in (images, found.images)
    )
    np.testing.assert_allclose(found.drift, compare(a, b, ["rmse"])["rmse"], atol=1e-5)
    assert found.drift.dtype == np.float32


def test_an_attack_without_the_rule_would_lose_predictions():
    """The rule is at work: in this ball there are pictures predicted otherwise."""
    model, images = network(), pictures()
    before = predict(model, images).argmax(1)
    flips = 0
    for seed in range(3):
        shift = np.random.default_rng(seed).integers(-20, 21, images.shape)
        flips += (predict(model, (images + shift).clip(0, 255).astype(np.uint8)).argmax(1) != before).sum()
    assert flips
    worst = max_sensitivity(model, images, epsilon=20, samples=20, layer="layer3.1")
    np.testing.assert_array_equal(predict(model, worst.images).argmax(1), before)


@pytest.mark.parametrize("layer", ["layer1.0", "layer2.1", "layer4.1"])
@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "layercam", "eigencam"])
def test_climbing_beats_chance(model, method, layer):
    """At the same number of looks, for every picture: the first place of both is the same."""
    climbed = attack(model, pictures(3), method=method, layer=layer, steps=9)
    drawn = max_sensitivity(model, pictures(3), method=method, layer=layer, samples=10)
    assert climbed.drift.mean() > 1.5 * drawn.drift.mean()
    first = max_sensitivity(model, pictures(3), method=method, layer=layer, samples=1)
    assert (climbed.drift >= first.drift).all() and (drawn.drift >= first.drift).all()


def test_softplus_shows_a_way_that_relu_hides(model, monkeypatch):
    """At a shallow layer the map moves with the gradients, which ReLU keeps constant in pieces."""
    ask = dict(method="layercam", layer="layer1.0")
    smooth = attack(model, pictures(), **ask)
    monkeypatch.setattr(_SmoothReLU, "RELU", ())
    assert smooth.drift.mean() > 1.2 * attack(model, pictures(), **ask).drift.mean()


def test_attention_is_climbed_too():
    """Tokens of a vision transformer, whose fused attention has no second derivative."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = VisionTransformer(32, 8, 2, 2, 8, 16, num_classes=3)
        nn.init.normal_(backbone.heads.head.weight)
    model = nn.Sequential(models.Normalise(), backbone)
    ask = dict(method="layercam", layer="1.encoder.layers.encoder_layer_0")
    images = pictures(3, channels=3)
    climbed, drawn = attack(model, images, steps=9, **ask), max_sensitivity(model, images, samples=10, **ask)
    assert climbed.drift.mean() > 1.5 * drawn.drift.mean()


def test_more_steps_samples_never_find_less(model):
    for function, name in ((attack, "steps"), (max_sensitivity, "samples")):
        few, many = (function(model, pictures(3), layer="layer3.1", **{name: n}).drift for n in (2, 5))
        assert (many >= few).all() and (many > few).any()


def test_a_ball_without_room_gives_the_clean_picture(model):
    for worst in (
        attack(model, pictures(2), epsilon=0, steps=2),
        max_sensitivity(model, pictures(2), epsilon=0),
    ):
        np.testing.assert_array_equal(worst.images, pictures(2))
        np.testing.assert_array_equal(worst.drift, [0, 0])


# -- Determinism ---------------------------------------------------------------------------------------


def same(a, b, rows=slice(None)):
    np.testing.assert_array_equal(a.images, b.images[rows])
    np.testing.assert_allclose(a.drift, b.drift[rows], rtol=1e-6)
    np.testing.assert_array_equal(a.targets, b.targets[rows])


def test_the_same_seed_gives_the_same_and_another_does_not(model, found):
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    same(attack(model, pictures(), **FEW), found)
    assert (attack(model, pictures(), seed=1, **FEW).images != found.images).any()


@pytest.mark.parametrize("function", [attack, max_sensitivity])
def test_neither_batch_size_nor_company_matters(function):
    """In float64, where the rounding of sums cannot decide the sign of a slope."""
    model, images = network().double(), pictures(3)
    ask = {"layer": "layer2.1", "steps" if function is attack else "samples": 6}
    whole = function(model, images, **ask)
    same(function(model, images, batch_size=2, **ask), whole)
    same(function(model, images[2:], start=2, **ask), whole, [2])
    shifted = function(model, images, start=1, **ask)
    assert (shifted.images != whole.images).any()


def test_in_float32_batch_size_changes_no_more_than_rounding_does(model, found):
    other = attack(model, pictures(), batch_size=4, **FEW)
    np.testing.assert_allclose(other.drift, found.drift, rtol=0.05)


def test_without_a_layer_it_is_the_deepest(model):
    same(attack(model, pictures(2), steps=2), attack(model, pictures(2), steps=2, layer="layer4.1"))


def test_targets_are_explained_and_the_prediction_is_kept_all_the_same(model):
    images = pictures()
    before = predict(model, images).argmax(1)
    other = (before + 1) % 3
    worst = attack(model, images, targets=other, **FEW)
    np.testing.assert_array_equal(worst.targets, other)
    np.testing.assert_array_equal(predict(model, worst.images).argmax(1), before)
    a, b = (
        explain(model, x, methods=["gradcam"], layers=["layer3.1"], targets=other)["gradcam", "layer3.1"]
        for x in (images, worst.images)
    )
    np.testing.assert_allclose(worst.drift, compare(a, b, ["rmse"])["rmse"], atol=1e-5)


def test_rgb_and_images_untouched():
    model, images = network(3), pictures(2, channels=3)
    before = images.copy()
    worst = attack(model, images, steps=2)
    assert worst.images.shape == images.shape and (worst.drift > 0).any()
    np.testing.assert_array_equal(images, before)


# -- Maps without content ------------------------------------------------------------------------------


def test_a_map_without_content_has_no_drift_and_is_left_out():
    flat = np.full((1, 2, 2, 1), 90, np.uint8)
    images = np.concatenate([square(100, 120, 120, 140), flat])
    worst = attack(Glass(), images, layer="layer", targets=0)
    assert worst.drift[0] > 0 and np.isnan(worst.drift[1])
    np.testing.assert_array_equal(worst.images[1:], flat)
    rows = worst_case(Glass(), images, layers=["layer"], targets=0)
    assert (rows["images"] == 1).all() and (rows["degenerate"] == 1).all()
    np.testing.assert_allclose(rows.set_index("test").loc["attack", "value"], worst.drift[0])
    nothing = worst_case(Glass(), flat, layers=["layer"], targets=0)
    assert (nothing["images"] == 0).all() and nothing[["value", "low", "high"]].isna().to_numpy().all()


class Sometimes(Glass):
    """Its map vanishes as soon as the first pixel is darker than 100."""

    def forward(self, x):
        return super().forward(x * (x[:, :, :1, :1] >= 100))


def test_a_picture_whose_map_vanishes_does_not_count():
    """From a first place without a map there is no way up; another is taken."""
    for seed in range(8):
        worst = attack(Sometimes(), square(100, 120, 120, 140), layer="layer", targets=0, seed=seed)
        assert worst.images[0, 0, 0, 0] >= 100 and 0 < worst.drift[0] < 0.1


# -- worst_case ----------------------------------------------------------------------------------------


def test_the_table(model):
    images = pictures()
    ask = dict(steps=2, samples=3, batch_size=4, epsilon=3, seed=1, targets=2)
    rows = worst_case(model, images, methods=["gradcam", "layercam"], layers=["layer2.0", "layer3.1"], **ask)
    assert list(rows.columns) == list(trust.COLUMNS)
    tests = [f"{test}{what}" for test in ("attack", "max-sensitivity") for what in ("", "-picture", "-kept")]
    expected = itertools.product(["gradcam", "layercam"], ["layer2.0", "layer3.1"], tests)
    assert [*rows[["method", "layer", "test"]].itertuples(index=False, name=None)] == [*expected]
    assert (rows["stage"] == "").all() and (rows["corruption"] == "clean").all()
    assert (rows["severity"] == 0).all() and rows["chance"].isna().all()
    assert (rows["images"] == 6).all() and (rows["degenerate"] == 0).all()
    assert ((rows["low"] <= rows["value"]) & (rows["value"] <= rows["high"])).all()

    here = rows[(rows["method"] == "layercam") & (rows["layer"] == "layer2.0")].set_index("test")
    ask = dict(method="layercam", layer="layer2.0", batch_size=4, epsilon=3, seed=1, targets=2)
    worst, drawn = attack(model, images, steps=2, **ask), max_sensitivity(model, images, samples=3, **ask)
    for test, result in {"attack": worst, "max-sensitivity": drawn}.items():
        np.testing.assert_allclose(here.loc[test, "value"], result.drift.mean(), rtol=1e-6)
        away = compare_images(images, result.images)["rmse"]
        np.testing.assert_allclose(here.loc[f"{test}-picture", "value"], away.mean())
        assert here.loc[f"{test}-kept", ["value", "low", "high"]].tolist() == [1, 1, 1]
    spread = worst.drift.std() / np.sqrt(6)
    width = here.loc["attack", "high"] - here.loc["attack", "low"]
    np.testing.assert_allclose(width, 2 * 1.96 * spread, rtol=0.2)


def test_the_table_asks_the_deepest_layer_unless_told(model):
    rows = worst_case(model, pictures(2), methods="gradcam", steps=1, samples=1)
    assert set(rows["layer"]) == {"layer4.1"} and len(rows) == 6


# -- The network is left as found ----------------------------------------------------------------------


def state(model):
    return (
        {name: module.training for name, module in model.named_modules()},
        {name: (p.requires_grad, p.grad) for name, p in model.named_parameters()},
        [len(m._forward_hooks) + len(m._backward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        ["forward" in vars(module) for module in model.modules()],
    )


@pytest.mark.parametrize("broken", [False, True])
def test_the_network_is_left_as_found_even_after_an_error(broken):
    model = network().train()
    model.backbone.layer2.eval()
    model.backbone.conv1.weight.requires_grad_(False)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    calls = []

    def interrupt(*_):
        calls.append(0)
        if len(calls) == 3 and broken:  # clean, the first place, and now the slope
            raise RuntimeError("interrupted")

    handle = model.backbone.fc.register_forward_hook(interrupt)
    before = state(model)
    if broken:
        with pytest.raises(RuntimeError, match="interrupted"):
            attack(model, pictures(2), **FEW)
    else:
        attack(model, pictures(2), **FEW)
    assert state(model) == before
    handle.remove()
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name])
    assert torch.is_grad_enabled()
    assert torch.relu(torch.tensor(-1.0)) == 0


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_frozen_networks_in_training_mode_where_gradients_are_off(found, context):
    frozen = network().requires_grad_(False).train()
    with context():
        same(attack(frozen, pictures(), **FEW), found)


# -- Bad input -----------------------------------------------------------------------------------------

ONE = "steps is 0, but must be an integer, 1 or more"


@pytest.mark.parametrize(
    ("wrong", "error", "match"),
    [
        ({"epsilon": -1}, ValueError, "epsilon is -1, but must be an integer from 0 to 255"),
        ({"epsilon": 256}, ValueError, "epsilon is 256"),
        ({"epsilon": 1.5}, TypeError, r"epsilon is 1\.5 \(float\), but must be an integer from 0 to 255"),
        ({"epsilon": float("nan")}, TypeError, "epsilon is nan"),
        ({"epsilon": float("inf")}, TypeError, "epsilon is inf"),
        ({"steps": 0}, ValueError, ONE),
        ({"steps": 2.5}, TypeError, r"steps is 2\.5"),
        ({"seed": -1}, ValueError, "seed is -1, but must be an integer, 0 or more"),
        ({"start": -1}, ValueError, "start is -1"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
        ({"method": "scorecam"}, ValueError, "method='scorecam' cannot be attacked.*give one of gradcam"),
        ({"method": "gradcamm"}, ValueError, "method='gradcamm'"),
        ({"layer": "layer9"}, ValueError, r"the network has no \['layer9'\]"),
        ({"layer": "fc"}, ValueError, "'fc'"),
        ({"targets": 3}, ValueError, r"targets hold \[3\]; the network's classes are 0 to 2"),
        ({"targets": [0]}, ValueError, "give a class number for each of 6 images"),
    ],
)
def test_bad_arguments_are_refused_in_words(model, wrong, error, match):
    with pytest.raises(error, match=match):
        attack(model, pictures(), **{"layer": "layer3.1", "steps": 1} | wrong)


def test_bad_arguments_of_the_others(model):
    with pytest.raises(ValueError, match="samples is 0, but must be an integer, 1 or more"):
        max_sensitivity(model, pictures(), samples=0)
    with pytest.raises(ValueError, match="images is empty; give at least one image"):
        attack(model, pictures()[:0])
    with pytest.raises(TypeError, match="steeps"):
        attack(model, pictures(), steeps=2)
    with pytest.raises(TypeError, match="give a uint8 array"):
        attack(model, pictures().astype(float))
    with pytest.raises(
        ValueError, match=r"none of methods=\['smoothgrad'\] can be attacked; give some of gradcam"
    ):
        worst_case(model, pictures(2), methods=["smoothgrad"])


def test_multi_label_keeps_the_decision_about_the_label_explained():
    """Another label may become the most probable; the one explained keeps its side of 0."""
    several = network()
    several.config["task"] = "multilabel"
    ask = dict(method="layercam", targets=1, epsilon=8, **FEW)
    worst = attack(several, pictures(), **ask)
    before, after = (predict(several, x)[:, 1] > 0.5 for x in (pictures(), worst.images))
    np.testing.assert_array_equal(before, after)
    free = attack(network(), pictures(), **ask)
    assert not np.array_equal(free.images, worst.images)
    search = _Search("gradcam", {}, 2, 1, 0, True, "multilabel")
    one, two = torch.tensor([[1.0, -2.0]] * 2), torch.tensor([[3.0, 4.0]] * 2)
    assert search._margin(two, one, torch.tensor([0, 1])).tolist() == [3, -4]
