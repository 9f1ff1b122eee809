"""Weights by name, from files and from timm's networks; nothing is downloaded, nothing executed."""

import argparse
import hashlib
import pickle
import re
import sys
import types
from collections import defaultdict

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from small_training import IMAGENET, PLAIN, TAKEN, Evil, pictures, prefixed, small
from torch.nn.utils import parametrizations as norms
from torch.nn.utils import prune

from medrob import config, models
from medrob.models import build, evaluating
from medrob.models.adopt import adopt
from medrob.models.told import arrays_in
from medrob.models.weights import Weights


def test_weights_of_another_network(home):
    models.save(small(), home / "mine")  # a path is also looked for in the project's folder
    with pytest.raises(ValueError, match=r"safetensors' do not fit .* to another network, stem or width"):
        small(weights="mine/model.safetensors", width=8)


def test_a_state_dict_of_rgb_images_and_other_classes_is_taken(tmp_path):
    theirs = torchvision.models.resnet18(num_classes=1000).eval()
    torch.save({"state_dict": theirs.state_dict(), "epoch": 3}, tmp_path / "w.pth")
    file = str(tmp_path / "w.pth")
    ours = small(width=64, stem="torchvision", weights=file, normalise="imagenet").eval()
    digest = hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()[:16]
    assert ours.origin == (
        f"120 of 122 arrays from w.pth (SHA-256 {digest}...); "
        "head new, as the file has none of its shape: fc.weight, fc.bias (there [1000, 512], [1000]); "
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


def test_one_array_of_several_names_is_taken_from_any_of_them():
    def network():
        layer = torch.nn.Conv2d(1, 1, 3)
        return torch.nn.Sequential(layer, layer, torch.nn.Flatten(), torch.nn.Linear(4, 2))

    theirs, ours = network(), network()
    arrays = {k: v for k, v in theirs.state_dict().items() if k[0] != "1"} | {"logit_scale": torch.ones(3)}
    adopt(ours, Weights(arrays_in(arrays)[0], "w.pt"), "mine")
    assert all(torch.equal(v, theirs.state_dict()[k]) for k, v in ours.state_dict().items())


def test_our_own_weights_start_another_training(tmp_path):
    models.save(small(mean=0.3, std=0.2), tmp_path)
    file = str(tmp_path / "model.safetensors")
    ours = small(num_classes=5, seed=1, weights=file)
    assert "head new, as the file has none of its shape: fc.weight, fc.bias" in ours.origin
    assert (ours.normalise.mean, ours.normalise.std) == (0.3, 0.2)
    assert torch.equal(ours.backbone.layer4[1].conv2.weight, small().backbone.layer4[1].conv2.weight)
    same = small(seed=1, weights=file).origin
    assert same.startswith("122 of 122 arrays from model.safetensors") and "as model.json says" in same
    for text, match in (
        ('"a", "std": 1', "give finite numbers"),
        ('0, "std": 0', "give a spread above zero"),
    ):
        (tmp_path / "model.json").write_text(f'{{"mean": {text}}}')
        with pytest.raises(ValueError, match=match):
            small(weights=file)


def test_what_normalises_is_chosen(tmp_path):
    grey = small(normalise="imagenet")
    assert grey.normalise.mean == pytest.approx(0.449) and grey.normalise.std == pytest.approx(0.226)
    colour = small(in_channels=3, normalise="imagenet")
    assert colour.normalise.mean == [0.485, 0.456, 0.406]
    models.save(colour, tmp_path)
    assert models.load(tmp_path).normalise.std == [0.229, 0.224, 0.225]


def test_torchvisions_weights_by_name_and_what_to_do_if_a_download_fails(monkeypatch):
    theirs = torchvision.models.resnet18(num_classes=1000)
    asked = []

    def fetch(self, **options):
        asked.append((self.name, options["check_hash"]))
        return theirs.state_dict()

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", fetch)
    rgb = build("resnet18", in_channels=3, num_classes=2, weights="ResNet18_Weights.DEFAULT")
    assert asked == [("IMAGENET1K_V1", True)]
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

    def refuse(*args, **options):
        raise OSError("no connection")

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", refuse)
    with pytest.raises(FileNotFoundError, match=r"download https://.*resnet18-f37072fd.pth .* put it into"):
        build("resnet18", in_channels=3, num_classes=2, weights="DEFAULT")


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
        ({key: weight.int()}, f"{key} holds torch.int32"),
        ({key: weight.log()}, f"{key} holds NaN or infinite values"),
        ({"names": np.array(["a", "b"], object)}, r"numpy.*ObjectDType \(write names as a list\)"),
        ({counter: torch.zeros(9)}, "1 of 122 tensors are missing or have another shape"),
    ):
        torch.save({**arrays, **changes}, file)
        with pytest.raises(ValueError, match=match):
            small(weights=str(file))


def resnet(**changes):
    return build(**dict(arch="timm:test_resnet", in_channels=1, num_classes=3, size=28, seed=0) | changes)


def test_networks_of_timm_that_cannot_be_had_and_positions_of_another_size(tmp_path):
    vit = dict(arch="timm:test_vit", weights=str(tmp_path / "w.pth"))
    torch.save(resnet(arch="timm:test_vit", size=64).backbone.state_dict(), vit["weights"])
    assert resnet(**vit, size=64).new == ""
    for changes, match in (
        (dict(arch="timm:resnet10"), "unknown to timm; timm.list_models"),
        (dict(arch="timm:test_vit", size=33), "cannot be built|cannot be used"),
        (dict(weights="IMAGENET1K_V1"), "the names for timm:test_resnet: DEFAULT"),
        (vit | dict(size=96), r"pos_embed .* to images of another size"),
    ):
        with pytest.raises(ValueError, match=match):
            resnet(**changes)


def test_weights_of_timm_are_taken_with_what_normalises_them(monkeypatch):
    import timm

    real = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **rest: real(name, **rest))
    model = resnet(arch="timm:resnet10t", weights="DEFAULT")
    assert "head new" in model.origin and "are normalised as timm says" in model.origin
    assert model.config["mean"] == list(timm.get_pretrained_cfg("resnet10t").mean)


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
        ({"a": {"net": PLAIN}, "args": argparse.Namespace(lr=1), "best": np.float64(0.5)}, ""),
        (dict(net=PLAIN, n=np.int64(3), best=np.float32(1), ids=np.arange(2), at=defaultdict(list)), ""),
        (
            {"optimizer": {i: {"m": v} for i, v in enumerate(PLAIN.values())}, "model": PLAIN},
            "out: all 122 of o",
        ),
        ({"net": renamed(("downsample", "shortcut"), ("fc.", "linear."))}, ""),
        (renamed(("fc.", "fc.1.")), "fc.weight is fc.1.weight of the file; fc.bias is fc.1.bias of the file"),
        (
            {k if k.startswith("fc") else f"backbone.{k}": v for k, v in PLAIN.items()},
            "fc.weight is fc.weight of",
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


@pytest.mark.parametrize("prefixes", [("net.teacher.", "net."), ("", "ema.")])
def test_of_two_networks_in_a_file_none_is_taken(taken, prefixes):
    other = {name: value + 1 for name, value in PLAIN.items()}
    places = " and ".join(repr(prefix[:-1]) for prefix in prefixes)
    with pytest.raises(ValueError, match=f"hold 2 networks whose values differ, under {places}"):
        taken(prefixed(prefixes[0], arrays=other) | prefixed(prefixes[1]))
    with pytest.raises(ValueError, match=r"under 'nets.0' and 'nets.1'; .* or give .* an ensemble of them"):
        taken({"nets": [PLAIN, other]})
    second = {"linear.weight": torch.ones(2, 32), "linear.bias": torch.ones(2)}  # a second head
    with pytest.raises(ValueError, match=r"2 are unexpected: linear\.weight unexpected"):
        taken(PLAIN | second)


def test_a_head_of_one_logit_is_that_of_two_classes(taken):
    theirs = build("resnet18", **TAKEN | dict(stem="torchvision", width=4)).backbone.eval()
    theirs.fc = torch.nn.Linear(32, 1)
    model, images = taken(theirs.state_dict(), task="binary").eval(), pictures(2, 3, 64, 64)
    with torch.inference_mode():
        z = theirs((images / 255 - 0.5) / 0.5)
        torch.testing.assert_close(model(images), torch.cat([-z / 2, z / 2], 1), rtol=1e-4, atol=1e-5)
    assert "its one logit z becomes two" in model.origin and not model.new
    for other in (dict(num_classes=3, task="binary"), dict(task="multilabel")):
        assert taken(theirs.state_dict(), **other).new


@pytest.mark.parametrize("name", ["fc", "head.1"])
def test_a_head_without_bias_has_one_of_0(taken, blobs, tmp_path, name):
    arrays = {k.replace("fc.", f"{name}."): v for k, v in PLAIN.items() if k != "fc.bias"}
    model = taken(arrays)
    assert torch.equal(model.backbone.fc.weight, PLAIN["fc.weight"]) and not model.backbone.fc.bias.any()
    assert model.origin.startswith("121 of 122 arrays") and "fc.bias is 0, as the file has" in model.origin
    choice = config.Train(arch="resnet18", weights=str(tmp_path / "w.pth"), epochs=0, normalise="half")
    models.for_data(blobs(8), choice)


def test_safetensors_with_a_prefix_and_a_network_with_one(tmp_path):
    save_file(prefixed("model."), tmp_path / "w.safetensors")
    scale = '{"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1]}'
    (tmp_path / "preprocessor_config.json").write_text(scale)
    model = build("resnet18", **TAKEN, weights=str(tmp_path / "w.safetensors"))
    assert torch.equal(model.backbone.fc.weight, PLAIN["fc.weight"])
    assert model.normalise.mean == [0.1, 0.2, 0.3] and "as preprocessor_config.json says" in model.origin
    inside = torch.nn.ModuleDict({"net": model.backbone})
    assert adopt(inside, Weights(PLAIN, "w"), "mine") == ("122 of 122 arrays from w", "", "")


TWO = torch.nn.Sequential(torch.nn.Linear(32, 4), torch.nn.Linear(4, 2))


@pytest.mark.parametrize("head", [TWO, torch.nn.Identity()])
def test_a_head_that_does_not_fit_is_new_and_no_trained_network(tmp_path, blobs, head):
    theirs = build("resnet18", **TAKEN | dict(stem="torchvision", width=4)).backbone
    theirs.fc = head
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    choice = dict(arch="resnet18", weights=str(tmp_path / "w.pth"))
    model = models.for_data(blobs(), config.Train(**choice))
    assert model.config["stem"] == "torchvision" and model.config["width"] == 4
    with pytest.raises(ValueError, match=r"w.pth' do not fit resnet18, stem torchvision, width 8"):
        models.for_data(blobs(), config.Train(**choice, width=8))
    assert "head new" in model.origin and model.new == "fc.weight, fc.bias"
    with pytest.raises(ValueError, match=r"^fc.weight, fc.bias would not be as trained"):
        models.for_data(blobs(), config.Train(**choice, epochs=0))


@pytest.mark.parametrize(
    ("layer", "part"),
    [("conv1", norms.weight_norm), ("fc", lambda layer: prune.l1_unstructured(layer, "weight", 0.5))],
)
def test_weights_in_parts_are_refused_with_what_to_do(tmp_path, blobs, layer, part):
    network = build("resnet18", **TAKEN | dict(stem="torchvision", width=4)).backbone
    part(network.get_submodule(layer))
    torch.save(network.state_dict(), tmp_path / "w.pth")
    choice = config.Train(
        arch="resnet18", weights=str(tmp_path / "w.pth"), epochs=0, stem="torchvision", width=4
    )
    with pytest.raises(ValueError, match="keep a weight in parts: make it whole before you save it"):
        models.for_data(blobs(), choice)


def test_programs_are_refused_with_what_to_save(tmp_path, monkeypatch):
    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    image = (torch.zeros(1, 2),)
    torch.jit.trace(network, image).save(tmp_path / "script.pt")
    program = torch.export.export(network, image)
    torch.export.save(program, tmp_path / "program.pt2")
    own = types.SimpleNamespace(net=lambda in_channels, num_classes: program.module())
    monkeypatch.setitem(sys.modules, "mine", own)
    with pytest.raises(ValueError, match="is a program of Torch"):
        build("mine:net", in_channels=1, num_classes=2)
    torch.save(network, tmp_path / "whole.pt")
    (tmp_path / "a.onnx").touch()
    for name, kind in {
        "a.onnx": "are damaged, or no state_dict",
        "script.pt": "it is a TorchScript program", "program.pt2": "it is a program of torch.export",
        "whole.pt": "it holds torch.nn.modules.container.Sequential",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=rf"{kind}.*; in the program that made .*: torch.save\(model.st"):
            small(weights=str(tmp_path / name))


SCORES = {"rng": torch.ones(9, dtype=torch.uint8), "best": torch.tensor(0.9), "class_weights": torch.ones(2)}


@pytest.mark.parametrize(
    ("content", "unused"),
    [
        ({"state_dict": prefixed("model.") | {"to_rgb.weight": torch.ones(3, 1, 1, 1)}}, "state_dict.to_rgb"),
        ({"state_dict": prefixed("net.model.") | {"scale": torch.tensor(1.5)}}, "state_dict.scale"),
        ({"model": PLAIN, "calib": {"temperature": torch.ones(1)}}, "calib.temperature"),
        ({"model": PLAIN, "T": torch.tensor(1.5)}, r"T \(not applied: what calibrates, as a temperature"),
        ({"model": PLAIN, "calibration": {"temperature": 1.5}}, "calibration.temperature"),
        ({"model": PLAIN, "args": {"temperature": 4.0}}, ""),
        ({"model": PLAIN, **SCORES}, ""),
        ({"model": PLAIN, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}}, ""),
        ({"state_dict": prefixed("model.") | {"ce_loss.weight": torch.ones(2)}}, ""),
        (prefixed("model.") | {"ce.weight": torch.ones(2), "crit.pos_weight": torch.ones(2)}, ""),
        (prefixed("model.") | {"class_weight": torch.ones(2)}, "class_weight"),
        (prefixed("model.") | {"criterion.weight": torch.ones(2, 9)}, "criterion.weight"),
        (prefixed("model.") | {"aux_a.weight": torch.ones(3, 3), "aux_a.bias": torch.ones(3)}, "aux_a"),
        ({"net": PLAIN, "two": {k: v + 1 for k, v in PLAIN.items() if "fc" not in k}}, "all 1[02]0 of two"),
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


def test_a_transform_of_the_input_is_taken_into_account(monkeypatch):
    """`transform_input` behind ImageNet's scale is (x / 255 - 0.5) / 0.5, up to rounding."""
    arch, options = "googlenet", dict(num_classes=2, init_weights=False, aux_logits=False)
    theirs = torchvision.models.get_model(arch, **options, transform_input=True)
    images = pictures(2, 3, 96, 96)
    fed = at_first_layer(theirs, torchvision.transforms.functional.normalize(images / 255, *IMAGENET))
    own = types.SimpleNamespace(net=lambda in_channels, num_classes: theirs)
    monkeypatch.setitem(sys.modules, "mine", own)
    model = build("mine:net", in_channels=3, num_classes=2)
    torch.testing.assert_close(at_first_layer(model, images), fed, rtol=0, atol=1e-5)
    assert "as torchvision says" in model.origin
    published = torchvision.models.get_model(arch, init_weights=False, aux_logits=True).state_dict()
    kind = torchvision.models.get_model_weights(arch)
    monkeypatch.setattr(kind, "get_state_dict", lambda self, **options: published)
    model = build(arch, in_channels=3, num_classes=2, weights="DEFAULT")
    torch.testing.assert_close(at_first_layer(model, images), fed, rtol=0, atol=1e-5)
