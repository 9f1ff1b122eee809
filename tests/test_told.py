"""What files of weights tell besides the arrays: how images were scaled, and the classes."""

import argparse
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_training import IMAGENET, PLAIN, prefixed

from medrob import config, models

SCALED = {"mean": [0.4, 0.5, 0.6], "std": [0.1, 0.2, 0.3]}
GREY = {name: [255 * value for value in values] for name, values in SCALED.items()}
CODE = ", num_classes=2, ".join(f"{name}={values}" for name, values in GREY.items())
LEVELS = {name: torch.tensor([255 * value for value in values]) for name, values in SCALED.items()}


@pytest.mark.parametrize(
    "content",
    [
        {"model": PLAIN, **SCALED},
        {"model": PLAIN, "mean": np.array(SCALED["mean"]), "std": np.array(SCALED["std"])},
        {"state_dict": prefixed("model."), "hyper_parameters": {"lr": 1, "default_cfg": SCALED}},
        {"net": PLAIN, "config": {"image_mean": SCALED["mean"], "image_std": SCALED["std"]}},
        {"net": PLAIN, "args": argparse.Namespace(**SCALED)},
        {"net": PLAIN, "train": {"transform": {"normalize": SCALED}}},
        {"net": PLAIN, "normalize": (SCALED["mean"], SCALED["std"])},
        {"net": PLAIN, "data": LEVELS},
        {"net": PLAIN, **{name: torch.tensor(values).view(1, 3, 1, 1) for name, values in SCALED.items()}},
        {"net": PLAIN, "norm_mean": SCALED["mean"], "norm_std": SCALED["std"]},
        {"net": PLAIN, "transform": {"transforms": [{"height": 9}, {**SCALED, "max_pixel_value": 255.0}]}},
        {"net": PLAIN, "steps": f"Compose([Resize(9), Normalize(mean={SCALED['mean']}, std=(.1, 0.2, .3))])"},
        {"net": PLAIN, "transforms": ["ToTensor()", "Normalize((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))"]},
        {"net": PLAIN, "meta": {"cfg": {"data_preprocessor": GREY | {"to_rgb": True}}}},
        {"net": PLAIN, "meta": {"cfg": f"data_preprocessor = dict({CODE}, to_rgb=True)\nlr = 1"}},
        prefixed("1.") | {f"0.{name}": torch.tensor(values) for name, values in SCALED.items()},
    ],
)
def test_the_scale_in_a_checkpoint_is_taken_or_the_difference_told(taken, content):
    model = taken(content)
    assert model.normalise.mean == pytest.approx(SCALED["mean"])
    assert model.normalise.std == pytest.approx(SCALED["std"]) and "as w.pth says" in model.origin
    other = taken(content, normalise="imagenet")
    assert (other.normalise.mean, other.normalise.std) == IMAGENET
    assert "normalised as asked, but w.pth says mean [0.4" in other.origin
    same = taken(content, normalise=[*SCALED.values()])
    assert "normalised" not in same.origin


def test_numbers_that_calibrate_or_decide_are_named_and_no_normalisation_is_one(taken, tmp_path):
    (tmp_path / "calibration.txt").write_text("T = 1.8\n")
    settings = dict(temperature=[1.8, 1.2], threshold=0.3, normalize=False, model_args={"global_pool": "max"})
    (tmp_path / "config.json").write_text(json.dumps(settings))
    model = taken({"net": PLAIN, "threshold": 0.3, "test_acc.tp": torch.zeros(2)})
    names = "calibration.T", "config.temperature", "config.threshold", "threshold", "test_acc.tp"
    names += ("config.model_args.global_pool",)
    assert all(name in model.origin for name in names) and "not applied" in model.origin
    assert (model.normalise.mean, model.normalise.std) == (0, 1)


def test_channels_in_another_order_are_no_known_scale(taken):
    text = f"norm = dict({CODE}, to_rgb=False)"
    cfg = {"cfg": text}, {"cfg": {"data_preprocessor": GREY}}
    for told in (*cfg, {"to_rgb": False}, {"input_space": "BGR"}, {"do_flip_channel_order": True}):
        assert (
            "not known how its images were normalised (w.pth has blue, green"
            in taken({"net": PLAIN, **({} if "cfg" in told else SCALED), **told}).origin
        )


def test_each_image_by_itself_is_no_known_scale_and_it_is_warned(taken, blobs, tmp_path):
    taken({"net": PLAIN, "normalize": {**SCALED, "normalization": "image"}})
    choice = config.Train(arch="resnet18", weights=str(tmp_path / "w.pth"), epochs=0)
    with pytest.warns(UserWarning, match=r"w.pth normalises each image by .* give normalise="):
        models.for_data(blobs(), choice)
    model = taken({"net": PLAIN, "config": {"normalize": "imagenet"}})
    assert (model.normalise.mean, model.normalise.std) == IMAGENET
    for mean in ([103.53, 116.28, 123.675], [0.406, 0.456, 0.485]):
        origin = taken({"net": PLAIN, "mean": mean, "std": [0.2 * m for m in mean]}).origin
        assert "(w.pth has ImageNet's mean in the order blue, green, red)" in origin


def test_the_scale_of_caffe_is_one_of_grey_levels(taken):
    model = taken({"net": PLAIN, "mean": [123.7, 116.3, 103.5], "std": [1, 1, 1]})
    x = torch.rand(1, 3, 2, 2) * 255
    expected = x - torch.tensor([123.7, 116.3, 103.5]).view(3, 1, 1)
    torch.testing.assert_close(model.normalise(x), expected, rtol=1e-4, atol=1e-3)


def test_scores_are_no_scale(taken):
    content = {"net": PLAIN, "metrics": {"mean": 0.9, "std": 0.1}, "mean": 3}
    assert "not known how its images" in taken(content).origin
    steps = (
        "Normalize(mean=[0.1, 0.1, 0.1], std=[1, 1, 1])",
        f"Normalize(mean={SCALED['mean']}, std=[1, 1, 1])",
    )
    for told, why in (
        ({"mean": SCALED["mean"]}, "has mean without a spread"),
        ({"transform": "Normalize(*IMAGENET)"}, r"has 'Normalize\(\*IMAGENET"),
        ({"train_transform": steps[0], "test_transform": steps[1]}, "tells several: "),
    ):
        assert re.search(
            rf"not known how its images were normalised \(w.pth {why}", taken({"net": PLAIN} | told).origin
        )


@pytest.mark.parametrize(
    "told",
    [
        {"class_to_idx": {"a": 1, "b": 0}}, {"idx_to_class": {1: "A", 0: "b"}}, {"classes": ["b", "a"]},
        {"hyper_parameters": {"class_names": ("b", "a")}}, {"config": {"id2label": {"0": "b", "1": "a"}}},
        {"config": {"label2id": {"a": 1, "b": 0}}},
        {"of": {"cls_to_idx": {"b": np.int64(0), "a": np.int64(1)}}},
        {"label_encoder": np.array(["b", "a"])}, {"meta": {"CLASSES": ("b", "a")}},
        {"args": argparse.Namespace(names="b,a")}, {"label2id": '{"b": 0, "a": 1}'},
        {"label_map": {"1": "b", "2": "a"}}, {"safetensors": "", "classes": "b,a"},
        {"lists": argparse.Namespace(labels=list(np.array(["b", "a"])))},
        {"classes": [[0, "b"], [1, "a"]]}, {"categories": [{"id": 1, "name": "b"}, {"id": 2, "name": "a"}]},
        {"classes.txt": "b\na\n"}, {"w.classes.txt": "\ufeffb\na"}, {"labels.txt": "0 b\n1: a"},
        {"names.csv": "name,place\nb,0\na,1\n"},
        {"class_indices.json": '{"b": 0, "a": 1}'}, {"data.yaml": "names: [b, a]\nnc: 2"},
        {"class_index.json": '{"0": ["n1", "b"], "1": ["n2", "a"]}'}, {"w.json": '["b", "a"]'},
    ],
)  # fmt: skip
def test_classes_of_another_order_in_a_checkpoint_are_put_in_that_of_the_data(tmp_path, blobs, told):
    file = str(tmp_path / ("w.safetensors" if "safetensors" in told else "w.pth"))
    beside = next((name for name in told if "." in name), "")
    if beside:
        (tmp_path / beside).write_text(told[beside])
    if file.endswith("safetensors"):
        save_file(PLAIN, file, told)
    elif beside:
        torch.save(PLAIN, file)
    else:
        torch.save({"net": PLAIN, **told}, file)
    data = replace(blobs(), class_names=("a", "b"))
    choice = config.Train(arch="resnet18", weights=file, epochs=0, normalise="half")
    with pytest.warns(UserWarning, match=r"calls .* outputs b, [aA], .*put in that of a, b$"):
        model = models.for_data(data, choice).eval()
    x = torch.from_numpy(data.images[:3]).movedim(3, 1)
    with torch.inference_mode():
        expected = model.backbone(model.normalise(x.expand(-1, 3, -1, -1)))[:, [1, 0]]
        torch.testing.assert_close(model(x), expected)


def test_texts_of_other_networks_in_the_folder_are_named_and_not_used(tmp_path, taken):
    """Each has a word in its name that is neither general nor of the weights', or is called as others."""
    scale = '{"mean": [0.1, 0.1, 0.1], "std": [0.9, 0.9, 0.9], "classes": ["b", "a"]}'
    others = "a_model.json", "config.json", "densenet_config.json", "w2.json"
    for name in others:
        (tmp_path / name).write_text(scale)
    (tmp_path / "config.pt").touch()
    model = taken(PLAIN)
    assert f"not used, as of other networks by their names: {', '.join(others)}" in model.origin
    assert "not known how its images were normalised" in model.origin and ".json" not in str({*model.names})
    for name in ("w_config.json", "transform.json", "preprocessor_config.json"):
        (tmp_path / name).write_text(json.dumps(SCALED))
        assert f"are normalised as {name} says" in taken(PLAIN).origin
        (tmp_path / name).unlink()


def test_classes_that_are_told_twice_or_of_another_number(tmp_path, blobs):
    data = replace(blobs(), class_names=("a", "b"))
    torch.save(PLAIN, tmp_path / "w.pth")
    choice = config.Train(arch="resnet18", weights=str(tmp_path / "w.pth"), epochs=0, normalise="half")
    for told, said in (
        ({"ids": {"b": 0, "a": 1}, "classes": ["a", "b"]}, "not used as the order of .*: ids of w"),
        ({"plot_order": ["b", "a"]}, "not used as the order .*: plot_order of w.pth, which has b, a; if"),
        ({"args": {"oversample": {"b": 1, "a": 2}}}, "not used as .*: args.oversample of w.pth, .* b, a"),
        ({"ids": {"b": 0, "c": 1, "a": 2}}, "ids of w.pth .* b, c, a, .* these are 3, and not used"),
        (
            {"tags": ["x", "y", "z"], "labels": ["x", "y", "z"]},
            r"labels of .* x, y, z, .* these are 3, and no",
        ),
    ):
        torch.save({"net": PLAIN, **told}, tmp_path / "w.pth")
        with pytest.warns(UserWarning, match=said):
            assert models.for_data(data, choice).config.get("order", [0, 1]) == [0, 1]
    torch.save(PLAIN, tmp_path / "w.pth")
    (tmp_path / "labels.csv").write_text("b,1\na,2\n")  # of images
    with pytest.warns(UserWarning, match="not used as the order .* of labels.csv, which"):
        assert "order" not in models.for_data(data, choice).config
    (tmp_path / "labels.csv").unlink()
    torch.save({"net": PLAIN, "classes": ["a", "b"], "class_to_idx": {"b": 0, "a": 1}}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"classes of w.pth, class_to_idx of w.pth tell different orders"):
        models.for_data(data, choice)
