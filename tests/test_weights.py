"""Weights by name, from files and from timm's networks; nothing is downloaded, nothing executed."""

import argparse
import hashlib
import pickle
import re
import sys
import types
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from small_training import Evil, pictures, small

from medrob import config, evaluation, models
from medrob.models import build, cam_layers, evaluating
from medrob.models.adopt import adopt
from medrob.models.weights import Weights

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


OTHER = r"do not fit .* to another network, stem or width"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 8}, OTHER),
        ({"arch": "resnet34"}, OTHER),
        ({"in_channels": 3}, "take grey images, and these are RGB"),
    ],
)
def test_weights_of_another_network(home, changes, message):
    models.save(small(), home / "mine")  # a path is also looked for in the project's folder
    assert "model.safetensors" in small(weights="mine/model.safetensors").origin
    with pytest.raises(ValueError, match=f"model.safetensors' {message}"):
        small(weights="mine/model.safetensors", **changes)


@pytest.mark.parametrize("wrapper", ["bare", "state_dict", "parallel"])
def test_a_state_dict_of_rgb_images_and_other_classes_is_taken(tmp_path, wrapper):
    theirs = torchvision.models.resnet18(num_classes=1000).eval()
    arrays = theirs.state_dict()
    arrays = {"module." + k: v for k, v in arrays.items()} if wrapper == "parallel" else arrays
    file = str(tmp_path / "w.pth")
    torch.save({"state_dict": arrays, "epoch": 3} if wrapper == "state_dict" else arrays, file)
    ours = small(width=64, stem="torchvision", weights=file, normalise="imagenet").eval()
    digest = hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()[:16]
    assert ours.origin == (
        f"120 of 122 arrays from w.pth (SHA-256 {digest}...); "
        "head new, as the file has none of its shape: fc.weight, fc.bias; "
        "grey images are repeated in its 3 channels"
    )
    theirs.fc = ours.backbone.fc
    images = pictures(2, 1, 64, 64)
    scaled = torchvision.transforms.functional.normalize(images.repeat(1, 3, 1, 1) / 255, *IMAGENET)
    models.save(ours, tmp_path)
    again = models.load(tmp_path)
    with torch.inference_mode():  # a grey image is repeated, each channel normalised by its own numbers
        torch.testing.assert_close(ours(images), theirs(scaled), rtol=1e-4, atol=1e-5)
        assert torch.equal(again(images), ours(images))
    assert (again.normalise.mean, again.normalise.std) == IMAGENET


def test_our_own_weights_start_another_training(tmp_path):
    models.save(small(mean=0.3, std=0.2), tmp_path)
    file = str(tmp_path / "model.safetensors")
    ours = small(num_classes=5, seed=1, weights=file)
    assert "head new, as the file has none of its shape: fc.weight, fc.bias" in ours.origin
    assert (ours.normalise.mean, ours.normalise.std) == (0.3, 0.2)
    assert torch.equal(ours.backbone.layer4[1].conv2.weight, small().backbone.layer4[1].conv2.weight)
    same = small(seed=1, weights=file).origin
    assert same.startswith("122 of 122 arrays from model.safetensors") and "as model.json says" in same


def test_what_normalises_is_said_and_chosen(tmp_path):
    torch.save(torchvision.models.resnet18(num_classes=3).state_dict(), tmp_path / "w.pth")
    options = dict(width=64, stem="torchvision", weights=str(tmp_path / "w.pth"))
    ours = small(**options)
    assert ours.origin.endswith("how its images were normalised: here mean 0.5, spread 0.5 (normalise=)")
    grey = small(normalise="imagenet")
    assert grey.normalise.mean == pytest.approx(0.449) and grey.normalise.std == pytest.approx(0.226)
    for chosen in ("imagenet", "half"):
        assert "not known" not in small(**options, normalise=chosen).origin
    colour = small(in_channels=3, normalise="imagenet")
    assert colour.normalise.mean == [0.485, 0.456, 0.406]
    models.save(colour, tmp_path)
    assert models.load(tmp_path).normalise.std == [0.229, 0.224, 0.225]


def test_a_part_of_a_head_that_is_not_used_is_named(tmp_path):
    arrays = torchvision.models.mobilenet_v3_small(num_classes=3).state_dict()
    torch.save(arrays | {"classifier.9.weight": torch.zeros(2, 2)}, tmp_path / "w.pth")
    model = build("mobilenet_v3_small", in_channels=3, num_classes=3, weights=str(tmp_path / "w.pth"))
    assert "left out: classifier.9.weight" in model.origin


def test_torchvisions_weights_by_name(monkeypatch):
    theirs = torchvision.models.resnet18(num_classes=1000)
    asked = []

    def fetch(self, **options):
        asked.append((self.name, options["check_hash"]))
        return theirs.state_dict()

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", fetch)
    for name in ("DEFAULT", "IMAGENET1K_V1", "ResNet18_Weights.DEFAULT"):
        rgb = build("resnet18", in_channels=3, num_classes=2, weights=name)
    assert asked == [("IMAGENET1K_V1", True)] * 3
    assert rgb.config["stem"] == "torchvision" and rgb.config["mean"] == [0.485, 0.456, 0.406]
    assert torch.equal(rgb.backbone.conv1.weight, theirs.conv1.weight)
    grey = build("resnet18", in_channels=1, num_classes=2, weights="DEFAULT")
    assert torch.equal(grey.backbone.conv1.weight, theirs.conv1.weight) and grey.config["repeated"] == 3
    assert (grey.config["mean"], grey.config["std"]) == IMAGENET
    for changes, message in (
        (dict(stem="small"), r"1 of 122 tensors are missing .*conv1.weight \[64, 3, 7, 7\] instead"),
        (dict(weights="IMAGENET21K"), "nor a name such as 'DEFAULT'; the names for resnet18: IMAGENET1K_V1"),
        (dict(arch="ownnets:tiny"), "the names for ownnets:tiny: there are none"),
    ):
        with pytest.raises(ValueError, match=message):
            build(**dict(in_channels=3, num_classes=2, weights="DEFAULT") | changes)


def test_published_densenets_have_other_names(monkeypatch):
    """In torchvision's files, which also lack the counters of batch norm."""
    arrays = torchvision.models.densenet121().state_dict()
    renamed = {re.sub(r"(denselayer\d+\.[a-z]+)(\d)", r"\1.\2", name): v for name, v in arrays.items()}
    published = {name: v for name, v in renamed.items() if "num_batches" not in name}
    weights = torchvision.models.DenseNet121_Weights
    monkeypatch.setattr(weights, "get_state_dict", lambda self, **options: published.copy())
    model = build("densenet121", in_channels=3, num_classes=2, weights="DEFAULT")
    assert model.origin.startswith("725 of 727 arrays from densenet121 DEFAULT; head new")
    assert torch.equal(model.backbone.features.conv0.weight, arrays["features.conv0.weight"])


def test_a_download_that_fails_says_what_to_do(monkeypatch):
    def refuse(*args, **options):
        raise OSError("no connection")

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", refuse)
    with pytest.raises(FileNotFoundError, match=r"download https://.*resnet18-f37072fd.pth .* put it into"):
        build("resnet18", in_channels=3, num_classes=2, weights="DEFAULT")


def test_bad_weight_files(tmp_path):
    file, trap = tmp_path / "w.pth", tmp_path / "sprung"
    with pytest.raises(
        ValueError, match=r"no such file .*nor a name .* for resnet18: IMAGENET1K_V1, DEFAULT"
    ):
        small(weights=str(file))
    for content in ({"fc.weight": Evil(trap)}, torch.nn.Linear(1, 1), [1], {"epoch": 3}, {}, b"", b"PK"):
        if isinstance(content, bytes):
            file.write_bytes(content or pickle.dumps(Evil(trap)))
        else:
            torch.save(content, file)
        with pytest.raises(ValueError, match="are damaged, or no state_dict, or hold more than arrays"):
            small(weights=str(file))
    twice, deep = {"fc.weight": torch.ones(1)}, {"fc.weight": torch.ones(1)}
    for level in range(200):
        twice, deep = ({"a": twice, "b": twice} if level < 40 else twice), {"a": deep}
    for content in (twice, deep):  # a few kB whose ways to the array are 2^40, or as long as it likes
        torch.save(content, file)
        with pytest.raises(ValueError, match=r"w.pth"):
            small(weights=str(file))
    torch.save(torchvision.models.resnet34().state_dict(), file)
    with pytest.raises(ValueError, match="do not fit resnet18, stem torchvision, width 4, whatever"):
        small(weights=str(file))
    assert not trap.exists()


def test_weights_that_were_altered_or_are_of_another_kind(tmp_path):
    arrays, file = small().backbone.state_dict(), tmp_path / "w.pt"
    torch.save(arrays, file)
    content, key = bytearray(file.read_bytes()), "layer1.0.conv1.weight"
    content[content.find(arrays[key].numpy().tobytes())] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"w.pt' are damaged, .*: the checksum of .* differs"):
        small(weights=str(file))
    file.write_bytes(content.replace(b"PK\x01\x02", b"PK\x01\x00"))  # no archive that zipfile reads
    with pytest.raises(ValueError, match=r"w.pt' are damaged"):
        small(weights=str(file))
    weight, counter = arrays[key], "bn1.num_batches_tracked"
    for changes, match in (
        ({key: weight.to_sparse()}, f"{key} holds torch.float32 .torch.sparse_coo, cpu., not torch.float32"),
        ({key: weight.to("meta")}, f"{key} holds torch.float32 .torch.strided, meta., not torch.float32"),
        ({key: weight.to(torch.complex64)}, f"{key} holds torch.complex64"),
        ({key: weight.int()}, f"{key} holds torch.int32"),
        ({key: weight.log()}, f"{key} holds NaN or infinite values"),
        ({"bn1.running_var": -arrays["bn1.running_var"]}, "holds negative variances"),
        ({"names": np.array(["a", "b"], object)}, r"numpy.*ObjectDType \(write names as a list\)"),
        ({counter: torch.zeros(9)}, "1 of 122 tensors are missing or have another shape"),
    ):
        torch.save({**arrays, **changes}, file)
        with pytest.raises(ValueError, match=match):
            small(weights=str(file))


@pytest.mark.parametrize("text", ['{"mean": "a", "std": 1}', '{"mean": 0, "std": 0}'])
def test_what_normalises_must_be_numbers(tmp_path, text):
    models.save(small(), tmp_path)
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(ValueError, match=r"give finite numbers|give a spread above zero"):
        small(weights=str(tmp_path / "model.safetensors"))


def resnet(**changes):
    return build(**dict(arch="timm:test_resnet", in_channels=1, num_classes=3, size=28, seed=0) | changes)


def test_a_network_of_timm_predicts_is_saved_and_comes_back(tmp_path):
    model = resnet().eval()
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), np.uint8)
    before = evaluation.predict(model, images)
    assert list(cam_layers(model))[-1] == "layer4" and before.sum(1) == pytest.approx(1)
    models.save(model, tmp_path)
    assert np.array_equal(evaluation.predict(models.load(tmp_path), images), before)
    again = resnet(weights=str(tmp_path / "model.safetensors"), num_classes=5)
    assert "head new" in again.origin


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (dict(arch="timm:resnet10"), "unknown to timm; timm.list_models"),
        (dict(arch="timm:test_vit", size=33), "cannot be built|cannot be used"),
        (dict(weights="IMAGENET1K_V1"), "the names for timm:test_resnet: DEFAULT"),
    ],
)
def test_bad_arguments(changes, match):
    with pytest.raises(ValueError, match=match):
        resnet(**changes)


def test_weights_of_timm_are_taken_with_what_normalises_them(monkeypatch):
    import timm

    real = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **rest: real(name, **rest))
    model = resnet(arch="timm:resnet10t", weights="DEFAULT")
    assert "head new" in model.origin and "are normalised as timm says" in model.origin
    assert model.config["mean"] == list(timm.get_pretrained_cfg("resnet10t").mean)


PLAIN = torchvision.models.resnet18(num_classes=2).state_dict()
TAKEN = dict(in_channels=3, num_classes=2, stem="auto", width=0)


@pytest.fixture
def taken(tmp_path):
    """The resnet18 that is built with what a file w.pth holds."""

    def build_with(content, **changes):
        torch.save(content, tmp_path / "w.pth")
        return build("resnet18", **TAKEN | changes, weights=str(tmp_path / "w.pth"))

    return build_with


def test_old_files_without_counters_are_taken(taken):
    model = taken({name: value for name, value in PLAIN.items() if "num_batches" not in name})
    assert torch.equal(model.backbone.fc.weight, PLAIN["fc.weight"])


def prefixed(*prefixes, arrays=PLAIN):
    return {"".join(prefixes) + name: value for name, value in arrays.items()}


def renamed(*pairs):
    arrays = PLAIN
    for old, new in pairs:
        arrays = {name.replace(old, new): value for name, value in arrays.items()}
    return arrays


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (prefixed("module.", "_orig_mod."), ""),
        ({name.replace("layer1.", "layer1._orig_mod."): value for name, value in PLAIN.items()}, ""),
        ({"state_dict": prefixed("encoder.")}, ""),
        ({"n_averaged": torch.tensor(3)} | prefixed("module."), "left out: n_averaged"),
        ({"state_dict": prefixed("model.") | {"loss.weight": torch.ones(2)}}, "out: state_dict.loss.weight"),
        (PLAIN | {"criterion.weight": torch.ones(2)}, "left out: criterion.weight"),
        ({"a": {"net": PLAIN}, "args": argparse.Namespace(lr=1), "best": np.float64(0.5)}, ""),
        (dict(net=PLAIN, n=np.int64(3), best=np.float32(1), ids=np.arange(2), at=datetime.now()), ""),
        (
            {"optimizer": {i: {"m": v} for i, v in enumerate(PLAIN.values())}, "model": PLAIN},
            "left out: all 122 of optimizer",
        ),
        ({"model": PLAIN, "ema": dict(PLAIN)}, "left out: all 122 of ema"),
        ({"net": renamed(("downsample", "shortcut"), ("fc.", "linear."))}, ""),
        (renamed(("fc.", "fc.1.")), "fc.weight is fc.1.weight of the file; fc.bias is fc.1.bias of the file"),
        (
            {"net": {k if k.startswith("fc") else f"backbone.{k}": v for k, v in PLAIN.items()}},
            "fc.weight is net.fc.weight of the file",
        ),
        (renamed(("fc.", "head.")), "fc.weight is head.weight of the file; fc.bias is head.bias of the file"),
        ({k: v.half() if v.is_floating_point() else v for k, v in PLAIN.items()}, ""),
    ],
)
def test_every_array_is_taken_whatever_stands_before_its_name(taken, content, said):
    model = taken(content)
    assert model.origin.startswith("122 of 122 arrays from w.pth (SHA-256 ") and said in model.origin
    assert ("left out" in model.origin) == ("out:" in said) and not model.new
    for ours, theirs in zip(model.backbone.state_dict().values(), PLAIN.values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)  # of half precision


def test_a_second_head_does_not_take_the_place_of_the_right_one(taken):
    other = {"linear.weight": torch.ones(2, 512), "linear.bias": torch.ones(2)}
    with pytest.raises(ValueError, match=r"2 are unexpected: linear\.weight unexpected"):
        taken(PLAIN | other)


@pytest.mark.parametrize("prefixes", [("model_ema.", "model."), ("net.teacher.", "net."), ("", "ema.")])
def test_of_two_networks_in_a_file_none_is_taken(taken, prefixes):
    other = {name: value + 1 for name, value in PLAIN.items()}
    places = " and ".join(repr(prefix[:-1]) for prefix in prefixes)
    with pytest.raises(ValueError, match=f"hold 2 networks whose values differ, under {places}"):
        taken(prefixed(prefixes[0], arrays=other) | prefixed(prefixes[1]))


def test_several_networks_in_a_list_are_named(taken):
    other = {name: value + 1 for name, value in PLAIN.items()}
    with pytest.raises(ValueError, match=r"under 'nets.0' and 'nets.1'; .* or give .* an ensemble of them"):
        taken({"nets": [PLAIN, other]})
    assert not taken([PLAIN]).new


def test_a_head_of_one_logit_is_that_of_two_classes(taken):
    theirs = torchvision.models.resnet18(num_classes=1).eval()
    model, images = taken(theirs.state_dict(), task="binary").eval(), pictures(2, 3, 64, 64)
    with torch.inference_mode():
        z = theirs((images / 255 - 0.5) / 0.5)
        torch.testing.assert_close(model(images), torch.cat([-z / 2, z / 2], 1), rtol=1e-4, atol=1e-5)
    assert "its one logit z becomes two" in model.origin and not model.new
    for other in (dict(num_classes=3, task="binary"), dict(task="multilabel")):
        assert taken(theirs.state_dict(), **other).new


def test_safetensors_with_a_prefix_and_a_network_with_one(tmp_path):
    save_file(prefixed("model."), tmp_path / "w.safetensors")
    scale = '{"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1]}'
    (tmp_path / "preprocessor_config.json").write_text(scale)
    model = build("resnet18", **TAKEN, weights=str(tmp_path / "w.safetensors"))
    assert torch.equal(model.backbone.fc.weight, PLAIN["fc.weight"])
    assert model.normalise.mean == [0.1, 0.2, 0.3] and "as preprocessor_config.json says" in model.origin
    inside = torch.nn.ModuleDict({"net": torchvision.models.resnet18(num_classes=2)})
    assert adopt(inside, Weights(PLAIN, "w"), "mine") == ("122 of 122 arrays from w", "", "")


TWO = torch.nn.Sequential(torch.nn.Linear(512, 4), torch.nn.Linear(4, 2))


@pytest.mark.parametrize("head", [torch.nn.Linear(512, 7), TWO, torch.nn.Identity()])
def test_a_head_that_does_not_fit_is_new_and_no_trained_network(tmp_path, blobs, head):
    theirs = torchvision.models.resnet18()
    theirs.fc = head
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    choice = dict(arch="resnet18", weights=str(tmp_path / "w.pth"))
    model = models.for_data(blobs(), config.Train(**choice))
    assert model.config["stem"] == "torchvision" and model.config["width"] == 64
    with pytest.raises(ValueError, match=r"w.pth' do not fit resnet18, stem torchvision, width 8"):
        models.for_data(blobs(), config.Train(**choice, width=8))
    assert "head new" in model.origin and model.new == "fc.weight, fc.bias"
    with pytest.raises(ValueError, match=r"^fc.weight, fc.bias would not be as trained"):
        models.for_data(blobs(), config.Train(**choice, epochs=0))


def test_programs_are_refused_with_what_to_save(tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    image = (torch.zeros(1, 2),)
    torch.jit.trace(network, image).save(tmp_path / "script.pt")
    torch.export.save(torch.export.export(network, image), tmp_path / "program.pt2")
    torch.save(network, tmp_path / "whole.pt")
    others = {"a.onnx": "an ONNX program", "a.h5": "a file of Keras"}
    others["model-00001-of-00002.safetensors"] = "a part"
    for name in others:
        (tmp_path / name).touch()
    for name, kind in {
        **others,
        "script.pt": "it is a TorchScript program", "program.pt2": "it is a program of torch.export",
        "whole.pt": "it holds torch.nn.modules.container.Sequential",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=rf"{kind}.*; in the program that made .*: torch.save\(model.st"):
            small(weights=str(tmp_path / name))


def test_positions_of_another_size_are_refused(tmp_path):
    torch.save(resnet(arch="timm:test_vit", size=64).backbone.state_dict(), tmp_path / "w.pth")
    options = dict(arch="timm:test_vit", weights=str(tmp_path / "w.pth"))
    assert resnet(**options, size=64).new == ""
    with pytest.raises(ValueError, match=r"pos_embed .* to images of another size"):
        resnet(**options, size=96)


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


def test_channels_in_another_order_are_no_known_scale(taken):
    text = f"norm = dict({CODE}, to_rgb=False)"
    cfg = {"cfg": text}, {"cfg": {"data_preprocessor": GREY}}
    for told in (*cfg, {"to_rgb": False}, {"input_space": "BGR"}, {"do_flip_channel_order": True}):
        assert (
            "not known how its images were normalised (w.pth has blue, green"
            in taken({"net": PLAIN, **({} if "cfg" in told else SCALED), **told}).origin
        )


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
        {"config": {"label2id": {"a": 1, "b": 0}}}, {"which": {"of": {"b": np.int64(0), "a": np.int64(1)}}},
        {"mine": np.array(["b", "a"])}, {"meta": {"CLASSES": ("b", "a")}}, {"map": {"1": "b", "2": "a"}},
        {"args": argparse.Namespace(names="b,a")}, {"json": '{"b": 0, "a": 1}'}, {"safetensors": "b,a"},
        {"lists": argparse.Namespace(of=list(np.array(["b", "a"])))},
        {"pairs": [[0, "b"], [1, "a"]]}, {"categories": [{"id": 1, "name": "b"}, {"id": 2, "name": "a"}]},
        {"classes.txt": "b\na\n"}, {"bom.classes.txt": "\ufeffb\na"}, {"labels.txt": "0 b\n1: a"},
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


def test_classes_that_are_told_twice_or_of_another_number(tmp_path, blobs):
    data = replace(blobs(), class_names=("a", "b"))
    torch.save(PLAIN, tmp_path / "w.pth")
    choice = config.Train(arch="resnet18", weights=str(tmp_path / "w.pth"), epochs=0, normalise="half")
    for told, said in (
        ({"ids": {"b": 0, "a": 1}, "classes": ["a", "b"]}, "they are put in .*; not used, .*: ids of w"),
        ({"ids": {"b": 0, "c": 1, "a": 2}}, "ids of w.pth .* b, c, a, .* these are 3, and not used"),
        (
            {"names": ["x", "y", "z"], "labels": ["x", "y", "z"]},
            r"labels of .* x, y, z, .* these are 3, and no",
        ),
    ):
        torch.save({"net": PLAIN, **told}, tmp_path / "w.pth")
        with pytest.warns(UserWarning, match=said):
            assert models.for_data(data, choice).config.get("order", [0, 1]) == [0, 1]
    torch.save({"net": PLAIN, "classes": ["a", "b"], "class_to_idx": {"b": 0, "a": 1}}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"classes of w.pth, class_to_idx of w.pth tell different orders"):
        models.for_data(data, choice)


SCORES = {"rng": torch.ones(9, dtype=torch.uint8), "best": torch.tensor(0.9), "class_weights": torch.ones(2)}


@pytest.mark.parametrize(
    ("content", "unused"),
    [
        ({"state_dict": prefixed("model.") | {"to_rgb.weight": torch.ones(3, 1, 1, 1)}}, "state_dict.to_rgb"),
        ({"state_dict": prefixed("net.model.") | {"scale": torch.tensor(1.5)}}, "state_dict.scale"),
        ({"model": PLAIN, "calib": {"temperature": torch.ones(1)}}, "calib.temperature"),
        ({"model": PLAIN, "temperature": torch.ones(1)}, "temperature"),
        ({"model": PLAIN, "T": torch.tensor(1.5)}, r"T \(what calibrates, as a temperature by which"),
        ({"model": PLAIN, "calibration": {"temperature": 1.5}}, "calibration.temperature"),
        ({"model": PLAIN, "args": {"temperature": 4.0}}, ""),
        (prefixed("net.") | {"second.weight": torch.ones(2, 512), "s.bias": torch.ones(2)}, "second.weight"),
        ({"model": PLAIN, "ema": {k: v for k, v in PLAIN.items() if "running" not in k}, **SCORES}, ""),
        ({"model": PLAIN, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}}, ""),
        ({"state_dict": prefixed("model.") | {"ce_loss.weight": torch.ones(2)}}, ""),
    ],
)  # fmt: skip
def test_a_file_with_layers_beside_the_network_is_another_network(tmp_path, blobs, content, unused):
    torch.save(content, tmp_path / "w.pth")
    choice = dict(arch="resnet18", weights=str(tmp_path / "w.pth"))
    assert re.search(f"left out: {unused}", models.for_data(blobs(), config.Train(**choice)).origin)
    if unused:
        with pytest.raises(ValueError, match=f"layers that resnet18 does not have, .*: {unused}"):
            models.for_data(blobs(), config.Train(**choice, epochs=0))
    else:
        models.for_data(blobs(), config.Train(**choice, epochs=0))


def at_first_layer(network, images):
    """What the first convolution of a network is given."""
    kept = []
    first = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    with evaluating(network), torch.inference_mode():
        hook = first.register_forward_hook(lambda module, given, output: kept.append(given[0]))
        network(images)
    hook.remove()
    return kept[0]


@pytest.mark.parametrize("arch", ["googlenet", "inception_v3"])
def test_a_transform_of_the_input_that_no_file_tells(tmp_path, monkeypatch, arch):
    """`transform_input` behind ImageNet's scale is (x / 255 - 0.5) / 0.5, up to rounding."""
    options = dict(num_classes=2, init_weights=False, aux_logits=False)
    theirs = torchvision.models.get_model(arch, **options, transform_input=True)
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    images = pictures(2, 3, 96, 96)
    fed = at_first_layer(theirs, torchvision.transforms.functional.normalize(images / 255, *IMAGENET))
    told = "trained on from it behind ImageNet's numbers is fed exactly as by normalise=half, "
    for normalise, same in (("auto", True), ("imagenet", False)):
        model = build(arch, **TAKEN, weights=str(tmp_path / "w.pth"), normalise=normalise)
        assert told + ("as here" if same else "not as here") in model.origin
        assert torch.allclose(at_first_layer(model, images), fed, atol=1e-5) == same
    own = types.SimpleNamespace(net=lambda in_channels, num_classes: theirs)
    monkeypatch.setitem(sys.modules, "mine", own)
    model = build("mine:net", in_channels=3, num_classes=2)
    torch.testing.assert_close(at_first_layer(model, images), fed, rtol=0, atol=1e-5)
    assert "as torchvision says" in model.origin
    kind = torchvision.models.get_model_weights(arch)
    monkeypatch.setattr(kind, "get_state_dict", lambda self, **options: published(arch))
    model = build(arch, in_channels=3, num_classes=2, weights="DEFAULT")
    torch.testing.assert_close(at_first_layer(model, images), fed, rtol=0, atol=1e-5)


def published(arch):
    """A state_dict as torchvision's own, of random numbers."""
    return torchvision.models.get_model(arch, init_weights=False, aux_logits=True).state_dict()
