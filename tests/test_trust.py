import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from map_checks import close, proper
from torchvision.models import VisionTransformer

from medrob import data, drift, evaluation, saliency, trust
from medrob.analysis import failed, verdicts
from medrob.corruptions import grid
from medrob.drift import Explainer, compare
from medrob.saliency import Settings
from medrob.trust.means import Entry, means
from medrob.trust.randomisation import another_image, parts

METHODS = ["gradcam", "layercam"]
LAYERS = ["layer1.0", "layer4.1"]
checks = sys.modules["medrob.trust.randomisation"]  # of which the package shows the function


@pytest.fixture
def few(tiny):
    return tiny[:10]


@pytest.fixture
def explainer(network):
    return Explainer(network, METHODS, LAYERS)


@pytest.fixture
def two_draws(monkeypatch):
    monkeypatch.setattr(checks, "DRAWS", 2)


def test_means_and_counts_worked_by_hand():
    entries = [
        Entry("gradcam", "layer1.0", "energy", np.tile([0.1, 0.3, np.nan], 4), np.tile([0.2, 0.4, 0.9], 4)),
        Entry("gradcam", "layer1.0", "iou", np.full(12, np.nan), 0.5, corruption="contrast", severity=2),
        Entry("gradcam", "layer1.0", "floor", np.r_[np.zeros(11), np.nan]),
    ]
    rows = means(entries, seed=0)
    proper(rows)
    assert rows["images"].tolist() == [8, 0, 11] and rows["degenerate"].tolist() == [4, 12, 1]
    np.testing.assert_allclose(rows["value"], [0.2, np.nan, 0])
    # Chance is that of the images that count: the third, degenerate one is no part of it.
    np.testing.assert_allclose(rows["chance"], [0.3, np.nan, np.nan])
    np.testing.assert_allclose(rows.loc[2, ["low", "high"]].astype(float), 0)
    # Paired, both are .1 below their own chance, and nothing is uncertain about that.
    np.testing.assert_allclose(rows[["above", "above_low", "above_high"]], [[-0.1] * 3, *[[np.nan] * 3] * 2])
    alone = means([Entry("a", "b", "energy", np.r_[[0.4] * 4, [np.nan] * 4], 0.1)], seed=0)  # no interval
    assert alone["value"].tolist() == [0.4] and alone[["low", "high", "above_low"]].isna().all(axis=None)
    # The t interval of a mean: the standard deviation of 8 values is .1 sqrt(8/7).
    even = means([Entry("a", "b", "energy", np.tile([0.1, 0.3], 4))], seed=0).iloc[0]
    assert even[["low", "high"]].tolist() == pytest.approx([0.2 - 0.0894, 0.2 + 0.0894], abs=0.003)
    assert tuple(means([], seed=0).columns) == trust.COLUMNS and means([], seed=0).empty


@pytest.mark.parametrize("n", [2, 20])
def test_another_image_is_never_the_same_and_each_is_taken_once(n):
    assert sorted(another_image(n, 0)) == [*range(n)] and (another_image(n, 0) != np.arange(n)).all()


def test_a_network_that_keeps_its_weights_gives_the_same_maps(explainer, few, monkeypatch, two_draws):
    monkeypatch.setattr(checks, "_reset", lambda part: None)
    rows = trust.randomisation(explainer, few)
    proper(rows)
    assert (rows["test"] == "randomisation").all() and (rows["images"] > 0).all()
    np.testing.assert_allclose(rows["value"], 1, atol=1e-6)
    assert len(failed(rows)) == 4


def test_an_edge_detector_fails_and_gradcam_at_the_last_layer_does_not(
    explainer, few, monkeypatch, two_draws
):
    genuine = Explainer.maps

    def maps(self, images, index, targets=None):
        found, logits = genuine(self.only(["gradcam"]), images, index, targets)
        x = torch.from_numpy(images)[..., 0].float()
        edges = x.diff(dim=1)[:, :, :-1].abs() + x.diff(dim=2)[:, :-1].abs()
        return found | {("layercam", layer): edges for layer in LAYERS}, logits

    monkeypatch.setattr(Explainer, "maps", maps)
    rows = trust.randomisation(explainer, few)
    assert failed(rows) == (("layercam", "layer1.0"), ("layercam", "layer4.1"))
    found = verdicts(rows).set_index(["method", "layer"])["verdict"]
    assert found["gradcam", "layer4.1"] == "passed"
    # Pictures of the same kind have edges at the same places, but not the same edges.
    edges = rows[rows["method"] == "layercam"]
    assert (edges["chance"] < edges["value"]).all()


def test_values_are_the_comparison_of_explained_pictures(explainer, few, two_draws):
    """The same numbers by the public parts: explain, take the weights away, explain again, compare.

    Of the last stage an image has the mean over the networks where its map is not degenerate.
    """
    images = few.images
    targets = evaluation.predict(explainer.model, images).argmax(1)
    rows = trust.randomisation(explainer, few, seed=5).set_index(["method", "layer", "stage"])
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
    torch.manual_seed(99)  # weights depend on the seed alone
    same, other = ([*trust.cascade(network, seed=seed)][-1][1].backbone.conv1.weight for seed in (0, 1))
    assert torch.equal(same, copy.backbone.conv1.weight) and not torch.equal(same, other)


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


def test_randomisation_does_not_depend_on_the_batch(explainer, few, two_draws):
    rows = trust.randomisation(explainer, few[:4])
    close(rows, trust.randomisation(replace(explainer, batch_size=3), few[:4]), atol=2e-3)


def ends(*args, **options):
    """The means of the ends of the scale."""
    return trust.scale(*args, **options)[0]


@pytest.mark.parametrize(("test", "column"), [(trust.randomisation, "chance"), (ends, "value")])
def test_one_image_has_no_other_to_be_compared_with(test, column, explainer, few, two_draws):
    rows = test(explainer, few[:1])
    rows = rows[rows["test"].isin(["randomisation", "ceiling-image"])]
    assert len(rows) and rows[column].isna().all()


def test_floors_and_ceilings_are_those_of_explained_pictures(explainer, few):
    images = few.images
    targets = evaluation.predict(explainer.model, images).argmax(1)
    rows, another = trust.scale(explainer, few, seed=2)
    proper(rows)
    close(rows, ends(replace(explainer, batch_size=4), few, seed=2), atol=1e-3)
    rows = rows.set_index(["test", "method", "layer"])["value"]
    mine = explainer.explain(images, targets)
    *_, (_, untrained) = trust.cascade(explainer.model, seed=2)
    random = replace(explainer, model=untrained).explain(images, targets)
    for key, maps in mine.items():
        assert rows["floor", *key] == 0
        for test, end in {"image": maps[another_image(10, 2)], "weights": random[key]}.items():
            expected = compare(maps, end)["rmse"]
            assert rows[f"ceiling-{test}", *key] == pytest.approx(np.nanmean(expected), abs=1e-5)
            if test == "image":
                np.testing.assert_allclose(another[key], expected, atol=1e-5)


def test_the_floor_of_a_stochastic_method_is_its_spread_between_seeds(network, few, monkeypatch):
    def maps(self, images, index, targets=None):
        fields = 1 + saliency.Noise(self.settings.seed, index).normal((8, 8), self.device).abs()
        still = torch.from_numpy(images)[:, ::4, ::4, 0].float()
        of = {"gradcam": still, "smoothgradcam++": fields}
        return {key: of[key[0]] for key in self.pairs}, None

    monkeypatch.setattr(Explainer, "maps", maps)
    both = Explainer(network, ["gradcam", "smoothgradcam++"], "layer1.0", Settings(seed=6))
    rows = ends(both, few)
    floor = rows[rows["test"] == "floor"].set_index("method")["value"]
    a, b = (1 + saliency.Noise(s, np.arange(10)).normal((8, 8), torch.device("cpu")).abs() for s in (6, 7))
    assert floor["gradcam"] == 0
    assert floor["smoothgradcam++"] == pytest.approx(compare(a, b)["rmse"].mean(), abs=1e-6)


def test_normalised_drift_worked_by_hand():
    limits = {"a": (0.1, 0.5), "b": (0.3, 0.3), "c": (0.0, np.nan), "e": (0.0, 5e-5)}  # e: one map for all
    rows = [
        (layer, *end) for layer, (floor, ceiling) in limits.items()
        for end in (("floor", floor), ("ceiling-image", ceiling), ("ceiling-weights", 9))
    ]  # fmt: skip
    scale = pd.DataFrame([*rows, ("a", "energy", 0.7)], columns=["layer", "test", "value"])
    scale = scale.assign(method="gradcam")
    rmse, index = [0.1, 0.3, 0.4, 0.6, 0.2, 0.2, 1e-5], [5, 1, 8, 2, 9, 4, 3]
    moved = pd.DataFrame(dict(method="gradcam", layer=[*"aabacde"], rmse=rmse), index=index)
    moved["image"] = [7, 7, 7, 4, 4, 4, 4]
    another = {("gradcam", layer): [0.3, 0.7] for layer in "abce"}
    found = trust.normalised(moved, scale, another)
    assert found.index.tolist() == [5, 1, 8, 2, 9, 4, 3]
    np.testing.assert_allclose(found["normalised"], [0, 0.5, np.nan, 1.25, np.nan, np.nan, np.nan])
    np.testing.assert_allclose(found["another"], [0.5, 0.5, np.nan, 1.5, np.nan, np.nan, np.nan])


ALL = [trust.randomisation, trust.faithfulness, ends]


@pytest.mark.parametrize("test", ALL)
def test_the_network_is_left_as_found(test, network, few, two_draws):
    network.train()
    network.backbone.fc.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes, random = [m.training for m in network.modules()], torch.get_rng_state()
    test(Explainer(network, METHODS, LAYERS), few[:1])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [m.training for m in network.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert not any(m._forward_hooks for m in network.modules())
    assert torch.equal(torch.get_rng_state(), random)


def test_means_of_patients_who_have_several_images():
    """30 patients x 4 identical images have the interval of 30; of fewer than `FEWEST` there is none."""
    values = np.random.default_rng(0).gamma(1, size=30)

    def row(count, copies):
        patients = np.repeat(np.arange(count), copies)
        return means([Entry("a", "b", "c", values[patients], 0.5)], seed=0, groups=patients).iloc[0]

    one, four, few = row(30, 1), row(30, 4), row(evaluation.FEWEST - 1, 30)
    for column in ("value", "low", "high", "above_low", "above_high"):
        assert four[column] == pytest.approx(one[column])
    assert four["images"] == 4 * one["images"] and one["high"] > one["low"]
    assert few["value"] > 0 and few[["low", "high", "above_low", "above_high"]].isna().all()


@pytest.mark.parametrize("test", ALL)
def test_images_of_one_patient_are_drawn_together(test, network, two_draws):
    images = np.random.default_rng(0).integers(0, 256, (evaluation.FEWEST, 8, 8, 1), np.uint8)
    alone, one = (data.ImageDataset(images, groups * 0, ("a", "b"), groups=groups)
                  for groups in (np.arange(len(images)), np.zeros(len(images), int)))  # fmt: skip
    explainer = Explainer(network, ["gradcam"], "layer1.0")
    assert test(explainer, alone)["low"].notna().any() and test(explainer, one)["low"].isna().all()


def test_controls_are_predicted_and_explained_in_one_pass(network, tiny, monkeypatch):
    monkeypatch.setattr(checks, "CONTROLS", 1)
    explainer, how = Explainer(network, ["gradcam"], ["layer3.1"]), dict(images=np.arange(3), seed=1)
    found = trust.controls(explainer, tiny, ["contrast"], **how)
    *_, (_, last) = trust.cascade(network, seed=(1, 0, 0))
    conditions, (predicted, moved) = grid(["contrast"]), found["random weights", 0]
    expected = evaluation.predict_conditions(last, tiny, conditions, batch_size=64, **how)
    pd.testing.assert_frame_equal(predicted, expected)
    alone = drift.measure(replace(explainer, model=last), tiny, conditions, **how)
    pd.testing.assert_frame_equal(moved, alone)
    again = trust.controls(explainer, tiny, ["contrast"], **how, training=1)
    assert len({tuple(tables[key][0]["p_normal"]) for tables in (found, again) for key in found}) == 4
