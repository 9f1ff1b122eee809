"""Networks of timm: built by name, saved, explained; none of its weights is downloaded."""

import numpy as np
import pytest
import torch

from medrob import evaluation, models
from medrob.models import Normalise, build, cam_layers
from medrob.saliency import explain


def small(**changes):
    return build(**dict(arch="timm:test_resnet", in_channels=1, num_classes=3, size=28, seed=0) | changes)


def test_a_network_of_timm_predicts_is_saved_and_comes_back(tmp_path):
    model = small().eval()
    assert isinstance(model.normalise, Normalise)
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), np.uint8)
    before = evaluation.predict(model, images)
    assert before.shape == (4, 3) and before.sum(1) == pytest.approx(1)
    models.save(model, tmp_path)
    assert np.array_equal(evaluation.predict(models.load(tmp_path), images), before)
    again = small(weights=str(tmp_path / "model.safetensors"), num_classes=5)
    assert again.origin.endswith("head (fc) new: 5 outputs instead of 3 outputs")


def test_its_blocks_are_explained():
    layers = cam_layers(small())
    assert list(layers)[-1] == "layer4.0"
    images = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1), np.uint8)
    maps = explain(small().eval(), images, methods=["hirescam"])
    assert {key[1] for key in maps} == set(layers)


def test_layers_that_cannot_be_told_are_named_by_the_user():
    model = small(arch="timm:test_vit", size=32)
    assert model.config["size"] == 32 and model(torch.zeros(1, 1, 32, 32)).shape == (1, 3)
    with pytest.raises(ValueError, match="name layers of your own"):
        cam_layers(model)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (dict(arch="timm:resnet10"), "unknown to timm; .*; like it: timm:resnet10t"),
        (dict(width=8), "has neither"),
        (dict(arch="timm:test_vit", size=33), "cannot be built|does not take"),
        (dict(weights="IMAGENET1K_V1"), "are not timm's for timm:test_resnet; give DEFAULT"),
    ],
)
def test_bad_arguments(changes, match):
    with pytest.raises(ValueError, match=match):
        small(**changes)


def test_weights_of_timm_are_taken_with_what_normalises_them(monkeypatch):
    import timm

    real = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **rest: real(name, **rest))
    model = small(arch="timm:resnet10t", weights="DEFAULT")
    assert "summed over red, green, blue" in model.origin and "head (fc) new" in model.origin
    assert model.config["mean"] == pytest.approx(np.mean(timm.get_pretrained_cfg("resnet10t").mean))
