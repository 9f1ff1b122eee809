"""What files of weights tell besides the arrays: how images were scaled, and the classes."""

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_training import IMAGENET, PLAIN, prefixed

from medrob import config, models
from medrob.models.told import scale_of

SCALED = {"mean": [0.4, 0.5, 0.6], "std": [0.1, 0.2, 0.3]}
TENSORS = {name: torch.tensor(values).view(1, 3, 1, 1) for name, values in SCALED.items()}
NAMED = {f"image_{name}": values for name, values in SCALED.items()}
UNKNOWN = "not known how its images were normalised"


@pytest.mark.parametrize(
    "content", [{"model": PLAIN, **SCALED}, {"net": PLAIN, **TENSORS}, {"net": PLAIN, "config.json": NAMED}]
)
def test_the_scale_is_taken_or_the_difference_told(taken, content, tmp_path):
    who = next((name for name in content if "." in name), "w.pth")
    if who != "w.pth":
        (tmp_path / who).write_text(json.dumps(content.pop(who)))
    model = taken(content)
    assert model.normalise.mean == pytest.approx(SCALED["mean"])
    assert model.normalise.std == pytest.approx(SCALED["std"]) and f"as {who} says" in model.origin
    other = taken(content, normalise="imagenet")
    assert (other.normalise.mean, other.normalise.std) == IMAGENET
    assert f"normalised as asked, but {who} says mean [0.4" in other.origin
    assert "normalised" not in taken(content, normalise=[*SCALED.values()]).origin


@pytest.mark.parametrize(
    ("settings", "who"),
    [
        ({"args": argparse.Namespace(**SCALED)}, "args of w.pth"),
        ({"hyper_parameters": SCALED, "config": {"data": SCALED}}, "hyper_parameters of w.pth"),
        ({"hyper_parameters": SCALED, "metrics": {"mean": 0.9, "std": 0.1}}, "hyper_parameters of w.pth"),
    ],
)
def test_the_scale_may_stand_among_settings_and_of_two_none_is_taken(taken, settings, who):
    model = taken({"net": PLAIN, **settings})
    assert model.normalise.mean == pytest.approx(SCALED["mean"]) and f"as {who} says" in model.origin
    other = {"cfg": {"mean": [0.5], "std": [0.5]}}
    assert f"{UNKNOWN} ({who} has [0.4, 0.5, 0.6]" in taken({"net": PLAIN, **settings, **other}).origin


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"mean": 3}, ""),
        ({"metrics": SCALED}, ""),
        ({"mean": [123.7, 116.3, 103.5], "std": [1, 1, 1]}, "has mean and spread of grey levels 0-255"),
        ({"mean": [0.406, 0.456, 0.485], "std": [0.2] * 3}, "has ImageNet's mean in the order blue"),
        ({"do_normalize": False}, "has do_normalize=False, which is not computed here"),
        ({"normalize": "imagenet"}, "has normalize=imagenet"),
        (SCALED | {"normalization": "image"}, "has normalization=image"),
        (SCALED | {"to_rgb": False, "input_space": "RGB"}, "has to_rgb=False, which"),
        (SCALED | {"input_space": "BGR", "max_pixel_value": 255.0}, "has input_space=BGR, which"),
        (NAMED | {"rescale_factor": 1 / 127.5, "do_rescale": True}, "has rescale_factor=0.0078"),
        (NAMED | {"rescale_offset": True, "include_top": True}, "has rescale_offset=True, include_top=True"),
    ],
)
def test_a_scale_with_anything_beside_it_that_is_not_usual_is_not_known(told, why):
    mean, std, reason = scale_of(told, "w.pth")
    assert mean is std is None and reason.startswith(f"w.pth {why}" if why else "")


def test_a_scale_that_is_not_known_is_warned(taken, blobs, tmp_path):
    assert f"{UNKNOWN} (w.pth has to_rgb=False" in taken({"net": PLAIN, **SCALED, "to_rgb": False}).origin
    choice = config.Train(arch="resnet18", weights=str(tmp_path / "w.pth"), epochs=0)
    with pytest.warns(UserWarning, match=r"w.pth has to_rgb=False, .* give normalise="):
        models.for_data(blobs(), choice)
    inside = prefixed("1.") | {f"0.{name}": values for name, values in TENSORS.items()}
    assert "left out: 0.mean, 0.std" in taken(inside).origin


def test_numbers_that_calibrate_are_named(taken, tmp_path):
    settings = dict(temperature=[1.8, 1.2], threshold=0.3, model_args={"global_pool": "max"})
    (tmp_path / "config.json").write_text(json.dumps(settings))
    origin = taken({"net": PLAIN, "test_acc": torch.tensor(2)}).origin
    names = "config.temperature", "config.model_args.global_pool", "test_acc"
    assert all(name in origin for name in names) and "not applied" in origin


@pytest.mark.parametrize(
    "told",
    [
        {"class_to_idx": {"a": 1, "b": 0}}, {"idx_to_class": {1: "A", 0: "b"}}, {"classes": ["b", "a"]},
        {"hyper_parameters": {"class_names": ("b", "a")}}, {"config": {"id2label": {"0": "b", "1": "a"}}},
        {"of": {"cls_to_idx": {"b": np.int64(0), "a": np.int64(1)}}}, {"label_map": {"1": "b", "2": "a"}},
        {"label_encoder": np.array(["b", "a"])}, {"args": argparse.Namespace(names="b,a")},
        {"safetensors": "", "label2id": '{"b": 0, "a": 1}'}, {"w.classes.txt": "\ufeffb\na"},
        {"class_indices.json": '{"b": 0, "a": 1}'}, {"data.yaml": "names: [b, a]\nnc: 2"},
        {"w.json": '["b", "a"]'},
    ],
)  # fmt: skip
def test_classes_of_another_order_in_a_checkpoint_are_put_in_that_of_the_data(tmp_path, blobs, told):
    file = str(tmp_path / ("w.safetensors" if "safetensors" in told else "w.pth"))
    beside = next((name for name in told if "." in name), "")
    if beside:
        (tmp_path / beside).write_text(told[beside])
    if file.endswith("safetensors"):
        save_file(PLAIN, file, told)
    else:
        torch.save(PLAIN if beside else {"net": PLAIN, **told}, file)
    data = replace(blobs(8), class_names=("a", "b"))
    choice = config.Train(arch="resnet18", weights=file, epochs=0, normalise="half")
    with pytest.warns(UserWarning, match=r"calls .* outputs b, [aA], .*put in that of a, b$"):
        model = models.for_data(data, choice).eval()
    x = torch.from_numpy(data.images[:3]).movedim(3, 1)
    with torch.inference_mode():
        expected = model.backbone(model.normalise(x.expand(-1, 3, -1, -1)))[:, [1, 0]]
        torch.testing.assert_close(model(x), expected)


def test_texts_of_other_networks_in_the_folder_are_not_used(tmp_path, taken):
    """Each has a word in its name that is neither general nor of the weights', or is called as others."""
    text = json.dumps({**SCALED, "classes": ["b", "a"]})
    for name in ("a_model.json", "config.json", "densenet_config.json", "w2.json"):
        (tmp_path / name).write_text(text)
    (tmp_path / "config.pt").touch()
    model = taken(PLAIN)
    assert UNKNOWN in model.origin and ".json" not in str({*model.names})
    for name in ("preprocessor_config.json", "w_config.json"):  # the surer one goes before
        (tmp_path / name).write_text(text)
        assert f"are normalised as {name} says" in taken(PLAIN).origin


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"ids": {"b": 0, "a": 1}, "classes": ["a", "b"]}, "not used as the order of .*: ids of w"),
        ({"plot_order": ["b", "a"]}, "not used as the order .*: plot_order of w.pth, which has b, a; if"),
        ({"ids": {"b": 0, "c": 1, "a": 2}}, "ids of w.pth .* b, c, a, .* these are 3, and not used"),
        ({"labels": ["x", "y"]}, "labels of w.pth calls .* x, y, .*; they are taken for a, b: if that"),
        ({"classes": ["a", "b"], "class_to_idx": {"b": 0, "a": 1}}, "w.pth tell different orders of the"),
    ],
)
def test_classes_that_are_told_twice_or_are_others(tmp_path, blobs, told, said):
    data = replace(blobs(8), class_names=("a", "b"))
    torch.save({"net": PLAIN, **told}, tmp_path / "w.pth")
    choice = config.Train(arch="resnet18", weights=str(tmp_path / "w.pth"), epochs=0, normalise="half")
    if "different" in said:
        with pytest.raises(ValueError, match=said):
            models.for_data(data, choice)
    else:
        with pytest.warns(UserWarning, match=said):
            assert "order" not in models.for_data(data, choice).config
