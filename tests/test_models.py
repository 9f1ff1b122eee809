import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
import torchvision
from small_training import Evil, pictures, small

from medrob import evaluation, models
from medrob.models import Normalise, build
from medrob.models.network import memory_order


@pytest.mark.parametrize("arch", ["resnet50", "densenet121"])
def test_width_64_is_torchvisions_network(arch):
    ours = build(arch, in_channels=3, num_classes=7, stem="torchvision").eval()
    theirs = getattr(torchvision.models, arch)(num_classes=7).eval()
    for module in theirs.modules():  # an untrained batch norm hides much: make it do something
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.1, 0.5)
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
    assert list(ours.backbone.state_dict()) == list(theirs.state_dict())
    ours.backbone.load_state_dict(theirs.state_dict())
    images = pictures(2, 3, 64, 48)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs((images / 255 - 0.5) / 0.5), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("stem", "sizes"), [("small", [28, 28, 14, 14, 7, 7, 4, 4]), ("torchvision", [7, 7, 4, 4, 2, 2, 1, 1])]
)
def test_layer_shapes(stem, sizes, tiny):
    model = small(stem=stem).train()
    table = models.layer_shapes(model, tiny.images)
    assert table["height"].tolist() == table["width"].tolist() == sizes
    assert table["channels"].tolist() == [4, 4, 8, 8, 16, 16, 32, 32]
    assert model.training and not any(m._forward_hooks for m in model.modules())


def test_normalise():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    out = Normalise()(levels)
    assert out.dtype == torch.float32 and torch.equal(out, Normalise()(levels.float()))
    torch.testing.assert_close(out, (levels / 255 - 0.5) / 0.5)
    assert (out.min(), out.max()) == (-1, 1)
    torch.testing.assert_close(Normalise(0.2, 0.4)(levels), (levels / 255 - 0.2) / 0.4)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    images = pictures(2, 3, 4, 4)
    expected = torchvision.transforms.functional.normalize(images / 255, mean, std)
    torch.testing.assert_close(Normalise(mean, std)(images), expected)


def test_seed():
    before = torch.get_rng_state()
    a, b, c = (small(seed=s).state_dict() for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)  # a seed of its own leaves PyTorch's alone
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["backbone.conv1.weight"], c["backbone.conv1.weight"])
    assert not torch.equal(small(seed=None).backbone.fc.weight, small(seed=None).backbone.fc.weight)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arch": "densenet12"}, r"is unknown; .*architectures\(\), .* or your own"),
        ({"arch": "none.here:net"}, r"arch='none.here:net' cannot be built .*No module named"),
        ({"arch": "os:nothing"}, r"arch='os:nothing' cannot be built .*give 'package.module:name'"),
        ({"arch": "os:getcwd"}, "'os:getcwd' cannot be built .*called with in_channels= and num_classes="),
        ({"arch": "vit_b_16", "size": 60}, r"arch='vit_b_16' cannot be built \(1 channels, 60 pixels\)"),
        ({"arch": "maxvit_t", "size": 60}, "arch='maxvit_t' cannot be built"),
        ({"arch": "alexnet", "size": 28}, r"'alexnet' cannot be used for images of shape \(2, 1, 28, 28\)"),
        ({"arch": "densenet121", "size": 16}, r"'densenet121' cannot be used for images of shape"),
    ],
)
def test_networks_that_cannot_be_built(changes, message):
    device = "meta" if changes["arch"] in ("maxvit_t", "densenet121") else "cpu"
    with torch.device(device), pytest.raises(ValueError, match=message):
        small(**changes)


# torchvision's networks


SHAPES = dict(in_channels=1, num_classes=3)


def test_every_classifier_of_torchvision_has_a_name():
    names = models.architectures()
    assert names[:6] == tuple(models.RESNETS) and len(set(names)) == len(names) >= 80
    assert {"densenet201", "vit_h_14", "swin_v2_b", "regnet_y_128gf"} < set(names)
    assert not [name for name in names if "quantized" in name or "rcnn" in name or name.startswith("r3d")]


@pytest.mark.parametrize("arch", ["vit_b_16", "inception_v3"])
def test_networks_of_one_image_size_and_of_one_output(arch):
    """Without values (device "meta"): the shapes alone, of the networks at their full size."""
    with torch.device("meta"):
        model = build(arch, **SHAPES).train()
        assert model.config.get("size") == (224 if arch == "vit_b_16" else None)
        assert model(torch.empty(2, 1, 224, 224)).shape == (2, 3)
        if arch == "vit_b_16":
            assert build(arch, **SHAPES, size=64)(torch.empty(2, 1, 64, 64)).shape == (2, 3)


def test_grey_images_are_as_good_as_repeated_in_three_channels():
    grey, rgb = (build("squeezenet1_1", in_channels=n, num_classes=3, seed=0).eval() for n in (1, 3))
    images = pictures(2, 1, 32, 32)
    with torch.inference_mode():
        logits = rgb(images.repeat(1, 3, 1, 1))
        torch.testing.assert_close(grey(images), logits, rtol=1e-3, atol=1e-5)
    assert logits.std() > 0


@pytest.mark.parametrize("arch", ["vit_b_32", "mnasnet0_5", "timm:test_resnet"])
def test_a_saved_network_predicts_the_same(arch, tmp_path, monkeypatch):
    if arch == "vit_b_32":  # small, but by the same way
        monkeypatch.setattr(torchvision.models.vision_transformer, "_vision_transformer", tiny_vit)
    model = build(arch, **SHAPES, size=32, task="multilabel", seed=0).eval()
    torch.nn.init.normal_([*model.parameters()][-2])  # the head of a ViT begins at zero
    models.save(model, tmp_path)
    again = models.load(tmp_path)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
    assert not again.training and again.config == model.config
    assert again.config.get("size") == (32 if "vit" in arch else None)
    images = pictures(2, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(again(images), model(images)) and model(images).std() > 0
    file = str(tmp_path / "model.safetensors")
    if "timm" not in arch:
        with pytest.raises(ValueError, match=r"' take grey images, and these are RGB; `channels=1`"):
            build(arch, in_channels=3, num_classes=3, size=32, weights=file)
    assert "head new" in build(arch, in_channels=1, num_classes=5, size=32, weights=file).origin


def tiny_vit(patch_size, weights, progress, **changes):
    form = dict(num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8)
    changes = {k: v for k, v in changes.items() if k not in form}
    return torchvision.models.VisionTransformer(patch_size=patch_size, **form, **changes)


def test_activate():
    logits = torch.tensor([[0, np.log(3)], [-1e4, 1e4]], dtype=torch.float32)
    for task, worked in {"multiclass": [[0.25, 0.75], [0, 1]], "multilabel": [[0.5, 0.75], [0, 1]]}.items():
        torch.testing.assert_close(models.activate(logits, task), torch.tensor(worked))


def test_devices():
    assert models.pick_device("cpu") == torch.device("cpu") and models.pick_device("auto").type != "meta"
    for device in ("gpu", "cuda:99"):
        with pytest.raises(ValueError, match=rf"device='{device}' cannot be used here .* give 'auto', 'cpu'"):
            models.pick_device(device)


class Viewed(torch.nn.Module):
    """Looks at its maps in the usual order in memory."""

    def forward(self, x):
        return x.view(len(x), -1)[:, :3]


def test_narrow_shortcuts_keep_the_usual_order_in_memory():
    """PyTorch's backward pass writes outside its memory there: see `memory_order`."""
    cpu = torch.device("cpu")
    orders = {width: memory_order(small(width=width), cpu) for width in (4, 8, 12, 16)}
    assert {w for w, order in orders.items() if order == torch.channels_last} == {16}
    assert memory_order(torch.nn.Conv2d(64, 64, 3), cpu) == torch.contiguous_format  # of unknown make
    own = torch.nn.Sequential(torch.nn.Conv2d(1, 16, 3, padding=1), Viewed())
    assert evaluation.predict(own, np.zeros((2, 4, 4, 1), np.uint8)).shape == (2, 3)


@pytest.mark.parametrize("damage", ["pickle", "torch", 0, -1])
def test_damaged_and_hostile_weights(tmp_path, damage):
    models.save(small(), tmp_path)
    trap, file = tmp_path / "sprung", tmp_path / "model.safetensors"
    if damage == "torch":
        torch.save({"backbone.conv1.weight": Evil(trap)}, file)
    else:
        file.write_bytes(pickle.dumps(Evil(trap)) if damage == "pickle" else file.read_bytes()[:damage])
    with pytest.raises(ValueError, match=r"model.safetensors are damaged or do not fit .* train again"):
        models.load(tmp_path)
    assert not trap.exists()


def test_damaged_or_missing_descriptions(tmp_path):
    models.save(small(), tmp_path)
    file = tmp_path / "model.json"
    config = json.loads(file.read_text())
    odd = ("seed", "x"), ("width", int("1" * 4000)), ("width", -1)
    texts = [json.dumps(config | {name: value}) for name, value in odd]
    for text in ("", "[]", "[" * 100_000, '{"depth": 3}', "\xff", *texts):
        file.write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match=r"model.json and model.safetensors are damaged .* train again"):
            models.load(tmp_path)
    file.write_text(json.dumps(config | {"arch": "vgg"}))
    with pytest.raises(ValueError, match="arch='vgg' is unknown"):
        models.load(tmp_path)
    for name in ("model.safetensors", "model.json"):
        (tmp_path / name).unlink()
        with pytest.raises(FileNotFoundError, match=rf"{name} is missing: the notebook 02_train .* writes"):
            models.load(tmp_path)


def test_importing_medrob_is_quiet_imports_nothing_heavy_and_writes_nothing(tmp_path):
    script = """
import sys
import medrob.run
heavy = {"torch", "numpy", "pandas", "cv2", "imgaug", "matplotlib", "scipy", "sklearn"}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
assert medrob.run.Run("demo").name == "demo"
"""
    command = [sys.executable, "-B", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
