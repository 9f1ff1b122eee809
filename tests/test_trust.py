import itertools
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_grad_cam.metrics import road
from scipy.stats import spearmanr
from torchvision.models import VisionTransformer

from medrob import corruptions, data, drift, evaluation, models, saliency, trust
from medrob.analysis import failed, verdicts
from medrob.drift import Explainer, compare
from medrob.saliency import Settings
from medrob.trust.imputation import impute
from medrob.trust.localisation import expected_iou
from medrob.trust.means import Entry, means
from medrob.trust.randomisation import another_image, parts

METHODS = ["gradcam", "layercam"]
LAYERS = ["layer1.0", "layer4.1"]
KEY = ["method", "layer", "test", "stage", "corruption", "severity"]


def module(name):
    """A module whose package has a function of the same name."""
    return sys.modules[f"medrob.trust.{name}"]


@pytest.fixture
def images(tiny):
    return tiny.images[:10]


@pytest.fixture
def explainer(network):
    return Explainer(network, METHODS, LAYERS)


@pytest.fixture
def two_draws(monkeypatch):
    monkeypatch.setattr(module("randomisation"), "DRAWS", 2)


@pytest.fixture
def say(monkeypatch):
    """A function that has maps of our own explained, one batch after another: {key: (N, h, w)}."""

    def set_maps(maps):
        def attribute(model, x, methods, layers, targets, *, settings, noise):
            return {key: torch.as_tensor(m)[noise.index].float() for key, m in maps.items()}, None

        monkeypatch.setattr("medrob.drift.explainer.attribute", attribute)

    return set_maps


@pytest.fixture
def state(network):
    """A function that says whether the network is as it was, and PyTorch's random numbers too."""
    network.train()
    network.backbone.fc.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes, random = [m.training for m in network.modules()], torch.get_rng_state()

    def same():
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
        assert [m.training for m in network.modules()] == modes
        assert all(p.grad is None and p.requires_grad for p in network.parameters())
        assert not any(m._forward_hooks for m in network.modules())
        assert torch.equal(torch.get_rng_state(), random)

    return same


def close(a, b, atol=1e-4):
    """The same rows, but for the order in which numbers are added."""
    pd.testing.assert_frame_equal(a[KEY], b[KEY])
    for column in trust.COLUMNS[6:]:
        np.testing.assert_allclose(a[column].astype(float), b[column].astype(float), atol=atol)


def proper(rows):
    """What holds of the rows of every test."""
    assert tuple(rows.columns) == trust.COLUMNS and not rows.duplicated(KEY).any()
    known = rows[rows["images"] > 1]
    assert ((known["low"] <= known["value"] + 1e-9) & (known["value"] <= known["high"] + 1e-9)).all()
    assert rows[rows["images"] == 0][["value", "low", "high"]].isna().all(axis=None)
    assert rows["stage"].map(type).eq(str).all() and rows["severity"].dtype.kind == "i"


# -- the table -----------------------------------------------------------------------------------------


def test_means_and_counts_worked_by_hand():
    entries = [
        Entry("gradcam", "layer1.0", "energy", np.array([0.1, 0.3, np.nan]), np.array([0.2, 0.4, 0.9])),
        Entry("gradcam", "layer1.0", "iou", np.full(3, np.nan), 0.5, corruption="contrast", severity=2),
        Entry("gradcam", "layer1.0", "floor", np.zeros(3)),
    ]
    rows = means(entries, seed=0)
    proper(rows)
    assert rows["images"].tolist() == [2, 0, 3] and rows["degenerate"].tolist() == [1, 3, 0]
    np.testing.assert_allclose(rows["value"], [0.2, np.nan, 0])
    # Chance is that of the images that count: the third, degenerate one is no part of it.
    np.testing.assert_allclose(rows["chance"], [0.3, np.nan, np.nan])
    # Of two values a resample holds only one of them in half of the cases: the interval is their range.
    np.testing.assert_allclose(rows.loc[[0, 2], ["low", "high"]], [[0.1, 0.3], [0, 0]])
    # Paired, both are .1 below their own chance, and nothing is uncertain about that.
    np.testing.assert_allclose(rows[["above", "above_low", "above_high"]], [[-0.1] * 3, *[[np.nan] * 3] * 2])


def test_how_alike_methods_are_is_the_median_rank_correlation():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 5, 4, 4), np.float32)
    flat = np.where(np.arange(5)[:, None, None] == 4, 0, a)  # the last map is degenerate
    maps = {("a", "x"): flat, ("b", "x"): b, ("c", "x"): 3 * a + 1, ("a", "y"): b}
    rows = trust.between(maps).set_index(["layer", "method", "other"])
    assert rows.index.tolist() == [("x", "a", "b"), ("x", "a", "c"), ("x", "b", "c")]
    expected = [spearmanr(a[i].ravel(), b[i].ravel()).statistic for i in range(5)]
    np.testing.assert_allclose(rows["value"], [np.median(expected[:4]), 1, np.median(expected)], atol=1e-6)
    assert rows["images"].tolist() == [4, 4, 5]


def test_intervals_are_those_of_a_plain_bootstrap():
    values = np.random.default_rng(0).gamma(1, size=40)
    rows = means([Entry("gradcam", "layer1.0", "iou", values)] * 300, seed=3)
    weights = evaluation.bootstrap_weights(40, 2000, 3).astype(int)
    drawn = [np.repeat(values, w).mean() for w in weights]
    np.testing.assert_allclose(rows[["low", "high"]], [np.quantile(drawn, [0.025, 0.975])] * 300)


def test_no_entries_make_an_empty_table_of_the_same_columns():
    assert tuple(means([], seed=0).columns) == trust.COLUMNS and len(means([], seed=0)) == 0


@pytest.mark.parametrize("n", [2, 3, 20])
def test_another_image_is_never_the_same_and_each_is_taken_once(n):
    assert sorted(another_image(n, 0)) == [*range(n)] and (another_image(n, 0) != np.arange(n)).all()


# -- randomisation -------------------------------------------------------------------------------------


def test_a_network_that_keeps_its_weights_gives_the_same_maps(explainer, images, monkeypatch, two_draws):
    monkeypatch.setattr(module("randomisation"), "_reset", lambda part: None)
    rows = trust.randomisation(explainer, images)
    proper(rows)
    assert {"randomisation", "randomisation-ssim"} == {*rows["test"]}
    assert (rows["images"] > 0).all()
    np.testing.assert_allclose(rows["value"], 1, atol=1e-6)
    assert len(failed(rows)) == 4


def test_an_edge_detector_fails_and_gradcam_at_the_last_layer_does_not(explainer, images, monkeypatch):
    genuine = saliency.attribute

    def attribute(model, x, methods, layers, targets, **options):
        maps, logits = genuine(model, x, ["gradcam"], layers, targets, **options)
        edges = x[:, 0].float().diff(dim=1)[:, :, :-1].abs() + x[:, 0].float().diff(dim=2)[:, :-1].abs()
        return maps | {("layercam", layer): edges for layer in layers}, logits

    monkeypatch.setattr("medrob.drift.explainer.attribute", attribute)
    rows = trust.randomisation(explainer, images)
    assert failed(rows) == (("layercam", "layer1.0"), ("layercam", "layer4.1"))
    found = verdicts(rows).set_index(["method", "layer"])["verdict"]
    assert found["gradcam", "layer4.1"] == "passed"
    # Pictures of the same kind have edges at the same places, but not the same edges.
    edges = rows[(rows["method"] == "layercam") & (rows["test"] == "randomisation")]
    assert (edges["chance"] < edges["value"]).all()


def test_values_are_the_comparison_of_explained_pictures(explainer, images, two_draws):
    """The same numbers by the public parts: explain, take the weights away, explain again, compare.

    Of the last stage an image has the mean over the networks where its map is not degenerate.
    """
    targets = evaluation.predict(explainer.model, images).argmax(1)
    rows = trust.randomisation(explainer, images, seed=5)
    rows = rows[rows["test"] == "randomisation"].set_index(["method", "layer", "stage"])
    mine = explainer.explain(images, targets)
    found = {}
    for draw in range(2):
        for stage, copy in trust.cascade(explainer.model, seed=(5, draw)):
            if draw == 0 or stage == "all":
                for key, lost in replace(explainer, model=copy).explain(images, targets).items():
                    value = compare(mine[key], lost)["spearman"]
                    found.setdefault((*key, stage), []).append(value)
    for where, values in found.items():
        known = [np.nanmean(v) for v in np.transpose(values) if np.isfinite(v).any()]
        assert rows.loc[where, "value"] == pytest.approx(np.mean(known), abs=1e-5)
        assert rows.loc[where, "images"] == len(known) == 10 - rows.loc[where, "degenerate"]
    assert any(np.isnan(values).any() for values in found.values())
    for key, maps in mine.items():
        chance = compare(maps, maps[another_image(10, 5)])["spearman"]
        known = np.isfinite(found[(*key, "all")]).any(0)
        assert rows.loc[(*key, "all"), "chance"] == pytest.approx(np.nanmean(chance[known]), abs=1e-5)


def test_the_cascade_takes_one_part_after_another_from_the_top(network):
    assert [*parts(network)] == ["fc", "layer4", "layer3", "layer2", "layer1", "bn1", "conv1"]
    with torch.no_grad():  # as if trained: no value is that of a new network
        for value in network.state_dict().values():
            value.add_(3)
    lost = []
    for stage, copy in trust.cascade(network, seed=0):
        lost += [stage] if stage != "all" else ["conv1"]
        for name, value in copy.backbone.state_dict().items():
            changed = not torch.equal(value, network.backbone.state_dict()[name])
            assert changed == (name.split(".")[0] in lost), (stage, name)
    assert stage == "all"
    bn = copy.backbone.layer1[0].bn1
    assert (bn.running_mean == 0).all() and (bn.running_var == 1).all() and (bn.weight == 1).all()


def test_weights_depend_on_the_seed_alone(network):
    def last(seed):
        *_, (_, copy) = trust.cascade(network, seed=seed)
        return copy.backbone.layer1[0].conv1.weight

    first = last(1)
    torch.manual_seed(99)
    assert torch.equal(last(1), first) and not torch.equal(last(2), first)


def test_parameters_without_a_reset_of_their_own_are_lost_too():
    vit = VisionTransformer(32, 16, 2, 2, 8, 8, num_classes=2)
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.add_(1.0)
    assert len(parts(vit)) >= 5 and next(iter(parts(vit))).startswith("heads")
    *_, (stage, copy) = trust.cascade(vit, seed=0)
    assert stage == "all"
    kept = [n for n, p in copy.named_parameters() if torch.equal(p, vit.state_dict()[n])]
    assert kept == [] and all(torch.isfinite(p).all() for p in copy.parameters())


def test_maps_of_one_position_are_not_testable_and_do_not_pass(images, two_draws):
    model = models.build(in_channels=1, num_classes=3, width=4, stem="torchvision", seed=0).eval()
    rows = trust.randomisation(Explainer(model, "gradcam", ["layer1.0", "layer4.1"]), images)
    proper(rows)
    deep = rows[rows["layer"] == "layer4.1"]
    assert (deep["images"] == 0).all() and (deep["degenerate"] == 10).all()
    assert verdicts(rows).set_index("layer").loc["layer4.1", "verdict"] == "not testable"
    assert ("gradcam", "layer4.1") not in failed(rows)


def test_randomisation_does_not_depend_on_the_batch(explainer, images, two_draws):
    rows = trust.randomisation(explainer, images)
    close(rows, trust.randomisation(replace(explainer, batch_size=7), images), atol=2e-3)
    pd.testing.assert_frame_equal(rows, trust.randomisation(explainer, images))
    # Maps too small for SSIM have no row of it.
    assert {*rows[rows["test"] == "randomisation-ssim"]["layer"]} == {"layer1.0"}


def test_one_image_has_no_other_to_be_compared_with(explainer, images, two_draws):
    rows = trust.randomisation(explainer, images[:1])
    assert rows["chance"].isna().all() and (rows["images"] + rows["degenerate"] == 1).all()


# -- faithfulness --------------------------------------------------------------------------------------


class Quadrant(torch.nn.Module):
    """Says with a probability of its mean / 255 that the top left quarter of a picture is bright."""

    def __init__(self):
        super().__init__()
        self.config = dict(task="multilabel")
        self.layer = torch.nn.Conv2d(1, 1, 1)

    def forward(self, x):
        n = x.shape[-1] // 2
        return torch.logit(x[:, :, :n, :n].mean((2, 3)) / 255)


def quarters(*values):
    """A map of 4x4 with a value for each quarter, and a little less towards the end of each."""
    return np.kron(np.reshape(values, (2, 2)), np.ones((2, 2))) - np.arange(16).reshape(4, 4) / 1e4


def test_areas_of_the_best_and_the_worst_map_worked_by_hand(say, monkeypatch):
    """16 pixels, 4 a step. Deletion takes the quarter from 204 to the grey of 127.5: .8 to .5."""
    shares = dict.fromkeys(("insertion", "deletion"), np.linspace(0, 1, 5))
    monkeypatch.setattr(module("faithfulness"), "SHARES", module("faithfulness").SHARES | shares)
    image = np.zeros((2, 4, 4, 1), np.uint8)
    image[:, :2, :2] = 204
    orders = [quarters(*values) for values in itertools.permutations((4.0, 3.0, 2.0, 1.0))]
    layers = [f"order {i}" for i in range(24)]
    say({("gradcam", layer): np.stack([order] * 2) for layer, order in zip(layers, orders, strict=True)})
    rows = trust.faithfulness(Explainer(Quadrant(), "gradcam", "layer"), image, 0)
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
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("percentile", [10, 50, 90])
def test_imputation_is_that_of_pytorch_grad_cam(channels, percentile):
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.uniform(0, 255, (3, channels, 20, 24)).astype(np.float32))
    maps = saliency.upsample(torch.from_numpy(rng.uniform(size=(3, 4, 4)).astype(np.float32)), (20, 24))
    solve = road.NoisyLinearImputer(noise=0)
    kept = maps < maps.flatten(1).quantile(percentile / 100, dim=1)[:, None, None]
    found = impute(images, ~kept)
    for image, mask, filled in zip(images, kept, found, strict=True):
        np.testing.assert_allclose(filled, solve(image, mask.float()), atol=0.05)  # of 255 grey levels
    assert torch.equal(found[kept[:, None].expand_as(found)], images[kept[:, None].expand_as(found)])


def test_a_hole_in_a_plane_is_filled_by_the_plane():
    """A plane is the mean of its neighbours everywhere."""
    plane = (3 * torch.arange(16.0)[:, None] + 5 * torch.arange(16.0) + 7)[None, None]
    hole = torch.zeros(1, 16, 16, dtype=torch.bool)
    hole[0, 4:12, 3:13] = True
    np.testing.assert_allclose(impute(torch.where(hole, 255, plane), hole), plane, atol=0.05)
    assert torch.equal(impute(plane, torch.zeros_like(hole)), plane)


@pytest.mark.filterwarnings("ignore:__array_wrap__")
def test_road_is_that_of_pytorch_grad_cam(say, network, monkeypatch):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (3, 20, 20, 1)).astype(np.uint8)
    maps = rng.uniform(size=(3, 20, 20)).astype(np.float32)
    with torch.no_grad():
        network.backbone.fc.weight *= 30
    say({("gradcam", "layer1.0"): maps})
    monkeypatch.setattr(module("faithfulness"), "NOISE", 0.0)
    monkeypatch.setattr(road.NoisyLinearImputer.__init__, "__defaults__", (0.0, road.neighbors_weights))
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    expected = road.ROADCombined()(x, maps, [lambda out: out.softmax(-1)[1]] * 3, network)
    assert np.abs(expected).max() > 0.01
    rows = trust.faithfulness(Explainer(network, "gradcam", "layer1.0"), images, 1).set_index("test")
    assert rows.loc["road", "value"] == pytest.approx(expected.mean(), abs=2e-4)


def test_the_noise_of_the_imputation_is_on_imputed_pixels_only():
    image = np.full((1, 20, 20, 1), 100, np.uint8)
    quadrant = Explainer(Quadrant(), "gradcam", "layer")
    batch = module("faithfulness")._Batch(quadrant, image, torch.tensor([0]), saliency.Noise(0, [0]))
    ranks = torch.arange(400).view(1, 1, 20, 20)
    for count in range(40, 400, 40):
        first, last = ranks < count, ranks >= 400 - count
        assert torch.equal(batch.picture("road-morf", first, last) != 100, first)
        assert torch.equal(batch.picture("road-lerf", first, last) != 100, last)
    picture = batch.picture("road-morf", ranks < 200, ranks >= 200)
    half = picture[picture != 100] - 100
    assert 0.8 < half.std() / 2.55 < 1.2 and half.abs().max() < 12


def test_a_map_without_knowledge_is_at_chance_and_a_good_one_above(say):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 120, (24, 16, 16, 1)).astype(np.uint8)
    image[:, :8, :8] += 110
    good = np.tile(np.kron([[1.0, 0], [0, 0]], np.ones((2, 2))), (24, 1, 1))
    say({("gradcam", "good"): good, ("gradcam", "blind"): rng.uniform(size=(24, 4, 4))})
    rows = trust.faithfulness(Explainer(Quadrant(), "gradcam", "layer"), image, 0)
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
    ranks = module("faithfulness")._ranks(maps, ties)
    assert (ranks[:, 2, 3] == 0).all() and (ranks[:, 5, 5] == 1).all()
    assert ranks.flatten(1).sort(1).values.tolist() == [[*range(64)]] * 2
    assert not torch.equal(ranks[0], ranks[1])
    zero = maps[0] == 0
    assert torch.equal(ranks[0][zero].argsort(), ties[0][zero].argsort())


def test_faithfulness_does_not_depend_on_the_batch_and_repeats_itself(network, images):
    with torch.no_grad():
        network.backbone.fc.weight *= 30
    few, explainer = images[:4], Explainer(network, "gradcam", ["layer1.0", "layer3.1"])
    whole = trust.faithfulness(explainer, few)
    proper(whole)
    # A pixel may change its rank by rounding.
    close(whole, trust.faithfulness(replace(explainer, batch_size=3), few), atol=0.02)
    pd.testing.assert_frame_equal(whole, trust.faithfulness(explainer, few))
    assert not whole["chance"].equals(trust.faithfulness(explainer, few, seed=1)["chance"])


def test_maps_of_one_position_say_nothing_of_faithfulness(images):
    model = models.build(in_channels=1, num_classes=3, width=4, stem="torchvision", seed=0).eval()
    rows = trust.faithfulness(Explainer(model, "gradcam", "layer4.1"), images[:3])
    proper(rows)
    assert (rows["images"] == 0).all() and (rows["degenerate"] == 3).all() and rows["chance"].isna().all()


# -- localisation --------------------------------------------------------------------------------------

CORNER = torch.tensor(np.kron([[True, False], [False, False]], np.ones((2, 2), bool))[None])


def test_localisation_of_an_enlarged_map_worked_by_hand():
    """[1, 0] enlarged to 4 is [1, .75, .25, 0]: the map is its product with itself."""
    found = drift.localise(torch.tensor([[[1.0, 0.0], [0.0, 0.0]]]), CORNER)
    assert found["energy"] == pytest.approx(1.75**2 / 2**2)
    assert found["pointing"] == 1 and found["iou"] == 1
    away = drift.localise(torch.tensor([[[0.0, -3.0], [0.0, 1.0]]]), CORNER)
    assert away["energy"] == pytest.approx(0.25 * 0.25 / 4)
    assert away["pointing"] == 0 and away["iou"] == 0


def test_localisation_of_a_map_as_fine_as_the_mask_worked_by_hand():
    maps = torch.zeros(1, 4, 4)
    maps[0, 0] = torch.tensor([4.0, 3, 9, 1])
    maps[0, 1] = torch.tensor([2.0, -8, 1, 0])
    found = drift.localise(maps, CORNER)  # inside: 4, 3, 2 and a negative one
    assert found["energy"] == pytest.approx(9 / 20)
    assert found["pointing"] == 0
    assert found["iou"] == pytest.approx(3 / 5)  # the four highest are 9, 4, 3, 2


def test_ties_count_in_part():
    maps = torch.zeros(2, 4, 4)
    maps[0, :2, :3] = 5  # six are highest, four of them inside; four are asked for
    maps[1, 3, 3], maps[1, 0, 0] = 2, 1  # then fourteen zeros for two places, three of them inside
    found = drift.localise(maps, CORNER.repeat(2, 1, 1))
    np.testing.assert_allclose(found["pointing"], [4 / 6, 0])
    np.testing.assert_allclose(found["energy"], [4 / 6, 1 / 3])
    shared = np.array([4 * 4 / 6, 1 + 2 * 3 / 14])
    np.testing.assert_allclose(found["iou"], shared / (8 - shared), rtol=1e-6)


def test_localisation_does_not_depend_on_the_scale():
    maps, masks = torch.rand(5, 4, 4), torch.rand(5, 16, 16) > 0.8
    found, same = drift.localise(maps, masks), drift.localise(maps * 1e-20, masks)
    assert tuple(found) == drift.LOCALISATION
    for test, value in found.items():
        np.testing.assert_allclose(value, same[test], atol=1e-6)
        assert ((value >= 0) & (value <= 1)).all()


def test_maps_without_content_and_empty_masks_are_not_scored():
    maps = torch.stack([torch.eye(4), -torch.eye(4), torch.ones(4, 4), torch.eye(4)])
    masks = CORNER.repeat(4, 1, 1)
    masks[3] = False
    for value in drift.localise(maps, masks).values():
        assert value.isnan().tolist() == [False, True, True, True]


def test_chance_of_iou_worked_by_hand():
    """Two of six drawn, two marked: of 15 draws one has both (IoU 1), eight have one (IoU 1/3)."""
    assert expected_iou(2, 6) == pytest.approx((1 + 8 / 3) / 15)
    assert expected_iou(6, 6) == pytest.approx(1)
    assert expected_iou(300, 1000) == pytest.approx(0.3 / 1.7, rel=0.01)


def test_random_maps_are_at_chance():
    rng = np.random.default_rng(0)
    masks = torch.zeros(4000, 8, 8, dtype=bool)
    masks[:, 2:5, 1:6] = True
    found = drift.localise(torch.from_numpy(rng.exponential(size=masks.shape)), masks)
    for test, chance in {"energy": 15 / 64, "pointing": 15 / 64, "iou": expected_iou(15, 64)}.items():
        spread = found[test].std() / np.sqrt(4000)
        assert abs(found[test].mean() - chance) < 4 * spread


@pytest.fixture(scope="module")
def masked():
    """Phantom pictures; some have a lesion and some have none."""
    dataset = data.load("phantom", "test", size=28, limit=12)
    assert 0 < dataset.masks.any((1, 2)).sum() < 12
    return dataset


GRID = [("clean", 0), ("contrast", 5), ("gaussian_noise", 2)]


def test_locating_is_the_comparison_of_explained_pictures(explainer, masked):
    """In the table of drift: corrupted maps, and the clean ones in columns of their own."""
    targets = evaluation.predict(explainer.model, masked.images).argmax(1)
    found = drift.measure(replace(explainer, batch_size=5), masked, GRID)
    by = found.set_index(["corruption", "severity", "method", "layer"]).sort_index()
    for condition in GRID:
        pictures = corruptions.apply_condition(masked.images, condition, seed=0, index=np.arange(12))
        suffix = "_clean" if condition[0] == "clean" else ""
        for key, maps in explainer.explain(pictures, targets).items():
            here = by.loc[(*(GRID[1] if suffix else condition), *key)]
            for test, value in drift.localise(*map(torch.from_numpy, (maps, masked.masks))).items():
                np.testing.assert_allclose(here[test + suffix], value, atol=1e-3)
    np.testing.assert_allclose(here["area"], masked.masks.mean((1, 2)), rtol=1e-6)


def located(energy, preserved, **columns):
    """A table of drift, an image a row; clean, energy is .5 and what the others are stays."""
    frame = pd.DataFrame(
        dict(image=range(len(energy)), corruption="contrast", severity=1, method="a", layer="b")
    )
    frame = frame.assign(energy=energy, preserved=preserved, pointing=1.0, iou=0.5, energy_clean=0.5)
    return frame.assign(**(dict(pointing_clean=1.0, iou_clean=0.5) | columns))


def test_rows_of_localisation_worked_by_hand():
    masks = np.zeros((4, 4, 4), bool)
    masks[0, :2, :2], masks[1, 0], masks[3, 0, 0] = True, True, True  # the third is empty
    missing = dict(pointing=[1, 0, np.nan, np.nan], iou=[0.3, 0.1, np.nan, np.nan])
    table = located([0.4, 0.2, np.nan, np.nan], [True, False, False, True], **missing)
    rows = trust.localisation(table, masks)
    proper(rows)
    rows = rows[(rows["stage"] == "") & (rows["severity"] == 1)]
    assert rows["test"].tolist() == ["energy", "pointing", "iou"]
    assert (rows["images"] == 2).all()
    assert (rows["degenerate"] == 1).all()  # the fourth; the third has no mask
    np.testing.assert_allclose(rows["value"], [0.3, 0.5, 0.2])
    np.testing.assert_allclose(rows["chance"], [0.25, 0.25, expected_iou(4, 16)])


def test_rows_of_clean_images_come_from_their_own_columns(explainer, masked):
    measured = drift.measure(explainer, masked, GRID)
    rows = trust.localisation(measured, masked.masks)
    proper(rows)
    assert set(rows[["corruption", "severity"]].itertuples(index=False, name=None)) == {*GRID}
    whole = rows[rows["stage"] == ""]
    assert (whole["images"] + whole["degenerate"] == masked.masks.any((1, 2)).sum()).all()
    here = measured[(measured["corruption"] == "contrast") & (measured["method"] == METHODS[0])]
    here = here[here["layer"] == LAYERS[0]]
    first = rows[(rows["corruption"] == "clean") & (rows["test"] == "energy")].iloc[0]
    assert first["value"] == pytest.approx(here["energy_clean"].mean())


def test_localisation_under_a_corruption_is_compared_with_the_same_images_clean():
    masks = np.zeros((9, 4, 4), bool)
    masks[:, :2, :2] = True
    table = located(
        [0.4, 0.2, np.nan] * 3, True, energy_clean=[0.5, 0.5, 0.9] * 3, corruption="fog", severity=2
    )
    rows = trust.localisation(table, masks)
    change = rows[rows["stage"] == "change"].set_index("test")
    np.testing.assert_allclose(change["value"], [-0.2, 0, 0])
    assert change["images"].tolist() == [6, 9, 9] and change["degenerate"].tolist() == [3, 0, 0]
    assert (change["chance"] == 0).all()


def test_one_image_has_no_interval():
    one = means([Entry("a", "b", "energy", np.array([0.4, np.nan]), 0.1)], seed=0)
    assert one["value"].tolist() == [0.4] and one[["low", "high", "above_low"]].isna().all(axis=None)


def test_localisation_tells_preserved_from_flipped():
    masks = np.zeros((4, 4, 4), bool)
    masks[:3, :2, :2] = True  # the fourth has no lesion
    rows = trust.localisation(located([0.4, 0.2, np.nan, np.nan], [True, False, False, True]), masks)
    energy = rows[(rows["test"] == "energy") & (rows["severity"] == 1)].set_index("stage")
    assert list(energy.index) == ["", "preserved", "flipped", "change"]
    np.testing.assert_allclose(energy["value"], [0.3, 0.4, 0.2, -0.2])
    assert energy["images"].tolist() == [2, 1, 1, 2] and energy["degenerate"].tolist() == [1, 0, 1, 1]
    assert rows[rows["severity"] == 0]["stage"].tolist() == [""] * 3


# -- scale ---------------------------------------------------------------------------------------------


def test_floors_and_ceilings_are_those_of_explained_pictures(explainer, images):
    targets = evaluation.predict(explainer.model, images).argmax(1)
    rows = trust.scale(explainer, images, seed=2)
    proper(rows)
    close(rows, trust.scale(replace(explainer, batch_size=4), images, seed=2), atol=1e-3)
    rows = rows.set_index(["test", "method", "layer"])["value"]
    mine = explainer.explain(images, targets)
    *_, (_, untrained) = trust.cascade(explainer.model, seed=2)
    random = replace(explainer, model=untrained).explain(images, targets)
    for key, maps in mine.items():
        assert rows["floor", *key] == 0
        for test, end in {"image": maps[another_image(10, 2)], "weights": random[key]}.items():
            expected = np.nanmean(compare(maps, end)["rmse"])
            assert rows[f"ceiling-{test}", *key] == pytest.approx(expected, abs=1e-5)


def test_the_floor_of_a_stochastic_method_is_its_spread_between_seeds(network, images, monkeypatch):
    def attribute(model, x, methods, layers, targets, *, settings, noise):
        fields = 1 + noise.normal((8, 8), x.device).abs()
        still = x[:, 0, ::4, ::4].float()
        return {(m, "layer1.0"): fields if m == "smoothgradcam++" else still for m in methods}, None

    monkeypatch.setattr("medrob.drift.explainer.attribute", attribute)
    both = Explainer(network, ["gradcam", "smoothgradcam++"], "layer1.0", Settings(seed=6))
    rows = trust.scale(both, images)
    floor = rows[rows["test"] == "floor"].set_index("method")["value"]
    a, b = (1 + saliency.Noise(s, np.arange(10)).normal((8, 8), torch.device("cpu")).abs() for s in (6, 7))
    assert floor["gradcam"] == 0
    assert floor["smoothgradcam++"] == pytest.approx(compare(a, b)["rmse"].mean(), abs=1e-6)


def test_one_image_has_no_ceiling_by_another(explainer, images):
    with pytest.warns(UserWarning, match="one image only"):
        rows = trust.scale(explainer, images[:1])
    by = rows.set_index("test")
    assert by.loc["ceiling-image", "value"].isna().all() and (by.loc["ceiling-image", "images"] == 0).all()
    assert (by.loc["floor", "value"] == 0).all()


def test_normalised_drift_worked_by_hand():
    limits = {"a": (0.1, 0.5), "b": (0.3, 0.3), "c": (0.0, np.nan), "e": (0.0, 5e-5)}  # e: one map for all
    scale = pd.DataFrame(
        [
            dict(method="gradcam", layer=layer, test=test, value=value)
            for layer, (floor, ceiling) in limits.items()
            for test, value in {"floor": floor, "ceiling-image": ceiling, "ceiling-weights": 9}.items()
        ]
        + [dict(method="gradcam", layer="a", test="energy", value=0.7)]
    )
    moved = pd.DataFrame(
        dict(method="gradcam", layer=[*"aabacde"], rmse=[0.1, 0.3, 0.4, 0.6, 0.2, 0.2, 1e-5])
    )
    moved.index = [5, 1, 8, 2, 9, 4, 3]
    found = trust.normalised(moved, scale)
    assert found.index.tolist() == [5, 1, 8, 2, 9, 4, 3]
    np.testing.assert_allclose(found, [0, 0.5, np.nan, 1.25, np.nan, np.nan, np.nan])


# -- all of them ---------------------------------------------------------------------------------------

ALL = [trust.randomisation, trust.faithfulness, trust.scale]


@pytest.mark.parametrize("test", ALL)
def test_the_network_is_left_as_found(test, state, explainer, images, two_draws):
    test(explainer, images[:3])
    state()


def test_rows_of_all_tests_make_one_table(explainer, images, masked, tmp_path, two_draws):
    frames = [test(explainer, images[:3]) for test in ALL]
    frames.append(trust.localisation(drift.measure(explainer, masked, GRID[:2]), masked.masks))
    rows = pd.concat(frames, ignore_index=True)
    proper(rows)
    rows.to_parquet(tmp_path / "trust.parquet")
    back = pd.read_parquet(tmp_path / "trust.parquet")
    pd.testing.assert_frame_equal(back, rows)
    assert failed(back) == failed(frames[0])


@pytest.mark.parametrize("test", [*ALL, trust.worst_case])
def test_images_and_targets_that_do_not_fit_are_refused(test, explainer, images):
    with pytest.raises(ValueError, match=r"targets are int64 \(4,\); give a class number for each of 3"):
        test(explainer, images[:3], np.zeros(4, int))
    with pytest.raises(ValueError, match="classes are 0 to 2"):
        test(explainer, images[:3], 7)
    with pytest.raises(ValueError, match="images is empty"):
        test(explainer, images[:0])
    with pytest.raises(TypeError, match="give a uint8 array"):
        test(explainer, images[:3].astype(float))


@pytest.mark.parametrize(
    "ask, match",
    [
        (lambda masks: drift.localise(torch.ones(2, 4, 4), masks), "as many masks"),
        (lambda masks: drift.localise(torch.ones(12, 4, 4), masks.int()), "masks torch.int32"),
        (
            lambda masks: trust.localisation(pd.DataFrame(dict(image=[0])), masks.numpy()),
            "drift lacks corrup",
        ),
    ],
)
def test_wrong_maps_and_tables_are_refused_in_words(ask, match, masked):
    with pytest.raises(ValueError, match=match):
        ask(torch.from_numpy(masked.masks))
