import itertools
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from map_checks import close, give_maps, proper
from pytorch_grad_cam.metrics import road

from medrob import data, saliency, trust
from medrob.drift import Explainer
from medrob.trust.faithfulness import impute

checks = sys.modules["medrob.trust.faithfulness"]  # of which the package shows the function


class Quadrant(torch.nn.Module):
    """Says with a probability of its mean / 255 that the top left quarter of a picture is bright."""

    def __init__(self):
        super().__init__()
        self.config = dict(task="multilabel")
        self.layer = torch.nn.Conv2d(1, 1, 1)

    def forward(self, x):
        n = x.shape[-1] // 2
        return torch.logit(x[:, :, :n, :n].mean((2, 3)) / 255)


def faithfulness(network, layer, images, target):
    dataset = data.ImageDataset(images, np.zeros(len(images), int), ("a", "b"))
    return trust.faithfulness(Explainer(network, "gradcam", layer), dataset, target)


def test_areas_of_the_best_and_the_worst_map_worked_by_hand(monkeypatch):
    """16 pixels, 4 a step. Deletion takes the quarter from 204 to the grey of 127.5: .8 to .5."""
    shares = dict.fromkeys(("insertion", "deletion"), np.linspace(0, 1, 5))
    monkeypatch.setattr(checks, "SHARES", checks.SHARES | shares)
    image = np.zeros((2, 4, 4, 1), np.uint8)
    image[:, :2, :2] = 204
    # Maps of 4 x 4 with a value for each quarter, and a little less towards the end of each.
    quarters = np.array([*itertools.permutations((4.0, 3.0, 2.0, 1.0))]).reshape(24, 2, 2)
    orders = np.kron(quarters, np.ones((2, 2))) - np.arange(16).reshape(4, 4) / 1e4
    layers = [f"order {i}" for i in range(24)]
    give_maps(
        monkeypatch,
        {("gradcam", layer): np.stack([order] * 2) for layer, order in zip(layers, orders, strict=True)},
    )
    rows = faithfulness(Quadrant(), "layer", image, 0)
    proper(rows)
    value = rows.set_index(["test", "layer"])["value"]
    # A Gaussian of .4 pixels along one side of the quarter, over the neighbours 0, 1 and 2 away.
    near, far = np.exp(-1 / 0.32), np.exp(-4 / 0.32)
    blurred = 0.8 * (1 - (near + 2 * far) / 2 / (1 + 2 * near + 2 * far)) ** 2
    for layer, order in zip(layers, orders, strict=True):
        place = 4 - round(order[0, 0])  # the step in which the quarter goes
        gone = 0.8 - 0.3 * (1 - (place + 0.5) / 4)
        come = blurred + (0.8 - blurred) * (1 - (place + 0.5) / 4)
        assert value["deletion", layer] == pytest.approx(gone, abs=1e-5)
        assert value["insertion", layer] == pytest.approx(come, abs=1e-5)
    assert value["deletion"].idxmin() in layers[:6] and value["insertion"].idxmax() in layers[:6]


@pytest.mark.filterwarnings("ignore:__array_wrap__")  # theirs
@pytest.mark.parametrize(("channels", "percentile"), [(1, 90), (3, 10)])
def test_imputation_is_that_of_pytorch_grad_cam(channels, percentile):
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.uniform(0, 255, (3, channels, 20, 24)).astype(np.float32))
    maps = saliency.upsample(torch.from_numpy(rng.uniform(size=(3, 4, 4)).astype(np.float32)), (20, 24))
    solve = road.NoisyLinearImputer(noise=0)
    kept = maps < maps.flatten(1).quantile(percentile / 100, dim=1)[:, None, None]
    found = impute(images, ~kept[:, None])
    for image, mask, filled in zip(images, kept, found, strict=True):
        np.testing.assert_allclose(filled, solve(image, mask.float()), atol=0.05)  # of 255 grey levels
    assert torch.equal(found[kept[:, None].expand_as(found)], images[kept[:, None].expand_as(found)])


@pytest.mark.filterwarnings("ignore:__array_wrap__")
def test_road_is_that_of_pytorch_grad_cam(network, monkeypatch):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (3, 20, 20, 1)).astype(np.uint8)
    maps = rng.uniform(size=(3, 20, 20)).astype(np.float32)
    with torch.no_grad():
        network.backbone.fc.weight *= 30
    give_maps(monkeypatch, {("gradcam", "layer1.0"): maps})
    monkeypatch.setattr(checks, "NOISE", 0.0)
    monkeypatch.setattr(road.NoisyLinearImputer.__init__, "__defaults__", (0.0, road.neighbors_weights))
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    expected = road.ROADCombined()(x, maps, [lambda out: out.softmax(-1)[1]] * 3, network)
    assert np.abs(expected).max() > 0.01
    rows = faithfulness(network, "layer1.0", images, 1).set_index("test")
    assert rows.loc["road", "value"] == pytest.approx(expected.mean(), abs=2e-4)


def test_the_noise_of_the_imputation_is_on_imputed_pixels_only():
    image = np.full((1, 20, 20, 1), 100, np.uint8)
    quadrant = Explainer(Quadrant(), "gradcam", "layer")
    batch = checks._Batch(quadrant, image, torch.tensor([0]), saliency.Noise(0, [0]))
    ranks = torch.arange(400).view(1, 1, 20, 20)
    for count in range(40, 400, 40):
        first, last = ranks < count, ranks >= 400 - count
        assert torch.equal(batch.picture("road-morf", first, last) != 100, first)
        assert torch.equal(batch.picture("road-lerf", first, last) != 100, last)
    picture = batch.picture("road-morf", ranks < 200, ranks >= 200)
    half = picture[picture != 100] - 100
    assert 0.8 < half.std() / 2.55 < 1.2 and half.abs().max() < 12


def test_a_map_without_knowledge_is_at_chance_and_a_good_one_above(monkeypatch):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 120, (24, 16, 16, 1)).astype(np.uint8)
    image[:, :8, :8] += 110
    good = np.tile(np.kron([[1.0, 0], [0, 0]], np.ones((2, 2))), (24, 1, 1))
    give_maps(monkeypatch, {("gradcam", "good"): good, ("gradcam", "blind"): rng.uniform(size=(24, 4, 4))})
    rows = faithfulness(Quadrant(), "layer", image, 0)
    rows = rows.set_index(["layer", "test"])
    for test in ("insertion", "deletion", "road"):
        blind = rows.loc["blind", test]
        assert blind["low"] <= blind["chance"] <= blind["high"]
    assert rows.loc[("good", "insertion"), "low"] > rows.loc[("good", "insertion"), "chance"]
    assert rows.loc[("good", "road"), "low"] > rows.loc[("good", "road"), "chance"]
    assert rows.loc[("good", "deletion"), "high"] < rows.loc[("good", "deletion"), "chance"]


def test_ties_go_in_a_random_order_fixed_for_each_image():
    maps = torch.zeros(2, 8, 8)
    maps[:, 2, 3], maps[:, 5, 5] = 2, 1
    ties = saliency.Noise(0, [4, 9]).normal((8, 8), torch.device("cpu"))
    ranks = checks._ranks(maps, ties)
    assert (ranks[:, 2, 3] == 0).all() and (ranks[:, 5, 5] == 1).all()
    assert ranks.flatten(1).sort(1).values.tolist() == [[*range(64)]] * 2
    assert not torch.equal(ranks[0], ranks[1])
    zero = maps[0] == 0
    assert torch.equal(ranks[0][zero].argsort(), ties[0][zero].argsort())


def test_faithfulness_does_not_depend_on_the_batch_and_repeats_itself(network):
    with torch.no_grad():
        network.backbone.fc.weight *= 30
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1), np.uint8)
    few, explainer = data.ImageDataset(images, np.zeros(3, int)), Explainer(network, "gradcam", "layer1.0")
    whole = trust.faithfulness(explainer, few)
    proper(whole)
    # A pixel may change its rank by rounding.
    close(whole, trust.faithfulness(replace(explainer, batch_size=2), few), atol=0.02)
    assert not whole["chance"].equals(trust.faithfulness(explainer, few, seed=1)["chance"])
