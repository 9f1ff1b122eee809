import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file

from medrob import evaluation, models
from medrob.models import Normalise, build, cam_layers
from medrob.models.device import memory_order


def small(**changes):
    return build(**dict(in_channels=1, num_classes=3, width=4, seed=0) | changes)


# The networks


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_width_64_is_torchvisions_network(arch):
    ours = build(arch, in_channels=3, num_classes=7, stem="torchvision").eval()
    theirs = getattr(torchvision.models, arch)(num_classes=7).eval()
    for module in theirs.modules():  # an untrained batch norm hides much: make it do something
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.1, 0.5)
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
    assert list(ours.backbone.state_dict()) == list(theirs.state_dict())
    ours.backbone.load_state_dict(theirs.state_dict())
    images = torch.randint(0, 256, (2, 3, 64, 48), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs((images / 255 - 0.5) / 0.5), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("arch", "blocks"), [("resnet18", [2, 2, 2, 2]), ("resnet50", [3, 4, 6, 3])])
def test_cam_layers_from_shallow_to_deep(arch, blocks):
    model = small(arch=arch)
    names = [f"layer{i + 1}.{j}" for i, count in enumerate(blocks) for j in range(count)]
    assert list(cam_layers(model)) == names and len(names) == {"resnet18": 8, "resnet50": 16}[arch]
    for name, module in cam_layers(model).items():
        assert module is model.backbone.get_submodule(name)


def test_cam_layers_of_other_networks():
    assert len(cam_layers(torchvision.models.resnet18())) == 8
    with pytest.raises(
        ValueError, match=r"Sequential has no layers that are known to give maps; name layers"
    ):
        cam_layers(torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1)))


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
        ({"arch": "resnet19"}, "arch='resnet19' is unknown; the networks are resnet18, resnet34"),
        ({"arch": "densenet12"}, r"architectures\(\) lists them\), .* and your own .*; like it: densenet121"),
        (
            {"task": "regression"},
            "task='regression' is unknown; the tasks are binary, multiclass, multilabel",
        ),
        ({"size": 28.0}, "size=28.0: give a whole number"),
        ({"size": 7}, "size=7: resnet18 takes images of at least 8 pixels"),
        ({"stem": "large"}, "stem='large' is unknown; the stems are small, torchvision"),
        ({"width": 0}, "width=0: give a whole number of at least 1"),
        ({"width": 4.0}, "width=4.0"),
        ({"width": True}, "width=True"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"in_channels": -1}, "in_channels=-1"),
        (
            {"arch": "none.here:net", "width": None},
            r"arch='none.here:net' cannot be imported \(No module named",
        ),
        ({"arch": "os:nothing", "width": None}, r"arch='os:nothing' cannot be imported"),
        ({"arch": "os:getcwd", "width": None}, r"arch='os:getcwd' must take in_channels= and num_classes="),
        ({"arch": "builtins:dict", "width": None}, r"gave a dict; it must give a torch.nn.Module"),
        ({"arch": "os:getcwd"}, r"width=4: os:getcwd has neither; leave them out"),
    ],
)
def test_bad_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


# torchvision's networks


SHAPES = dict(in_channels=1, num_classes=3)


def without_values(arch, **arguments):
    """A network of full size that holds no numbers (device "meta")."""
    with torch.device("cpu" if arch.startswith("regnet") else "meta"):
        return build(arch, **(SHAPES | arguments)).to("meta").eval()


@pytest.mark.parametrize(
    "arch",
    [
        *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3"),
        *("mnasnet0_5", "mobilenet_v3_small", "regnet_y_400mf", "shufflenet_v2_x0_5", "squeezenet1_0"),
        *("squeezenet1_1", "swin_t", "vgg11_bn", "resnext50_32x4d"),
    ],
)
def test_smallest_images(arch):
    model = without_values(arch)
    least = model.smallest
    assert model(torch.empty(2, 1, least, least, device="meta")).shape == (2, 3)
    with pytest.raises(
        ValueError, match=rf"takes \(N, 1, H, W\) with sides of at least {least} pixels; got \("
    ):
        model(torch.empty(2, 1, least, least - 1, device="meta"))
    if least > 8:  # it is the network that cannot, not we who forbid it
        assert f"size={least - 1}: {arch} takes images of at least {least} pixels" in message(
            arch, size=least - 1
        )
        with pytest.raises((RuntimeError, ValueError)):
            model.backbone(torch.empty(2, 1, least - 1, least - 1, device="meta"))


def message(arch, **arguments):
    with pytest.raises(ValueError) as error:
        build(arch, **(SHAPES | arguments))
    return str(error.value)


def test_every_classifier_of_torchvision_has_a_name():
    names = models.architectures()
    assert names[:5] == tuple(models.RESNETS) and len(set(names)) == len(names) >= 80
    assert {"densenet201", "vit_h_14", "swin_v2_b", "regnet_y_128gf"} < set(names)
    assert not [name for name in names if "quantized" in name or "rcnn" in name or name.startswith("r3d")]


@pytest.mark.parametrize(("arch", "step"), [("vit_b_16", 16), ("vit_b_32", 32), ("maxvit_t", 224)])
def test_networks_of_one_image_size(arch, step):
    assert without_values(arch).config["size"] == 224
    if step < 224:
        model = without_values(arch, size=64, in_channels=3)
        assert model(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 3)
        with pytest.raises(
            ValueError, match=r"takes \(N, 3, H, W\) with sides of 64 pixels; got \(2, 3, 64, 96\)"
        ):
            model(torch.empty(2, 3, 64, 96, device="meta"))
    assert f"size=60: {arch} takes images whose side is a multiple of {step} pixels" in message(arch, size=60)


def test_grey_images_are_as_good_as_repeated_in_three_channels():
    for arch in ("mobilenet_v3_small", "squeezenet1_1"):
        grey, rgb = (build(arch, in_channels=n, num_classes=3, seed=0).eval() for n in (1, 3))
        images = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
        with torch.inference_mode():
            logits = rgb(images.repeat(1, 3, 1, 1))
            torch.testing.assert_close(grey(images), logits, rtol=1e-3, atol=1e-5)
        assert logits.std() > 0


def test_stem_and_width_belong_to_our_resnets():
    for given in ({"width": 16}, {"stem": "small"}):
        assert "densenet121 has neither; leave them out, or take one of resnet18" in message(
            "densenet121", **given
        )
    assert "in_channels=2: densenet121 takes 1 (grey) or 3 (RGB)" in message("densenet121", in_channels=2)
    assert {"stem": "small", "width": 64}.items() <= without_values("resnet18").config.items()


@pytest.mark.parametrize(
    ("arch", "size"), [("mobilenet_v3_small", 32), ("shufflenet_v2_x0_5", 32), ("vit_b_32", 32)]
)
def test_a_saved_network_of_torchvision_predicts_the_same(arch, size, tmp_path, monkeypatch):
    if arch == "vit_b_32":  # small, but by the same way
        monkeypatch.setattr(torchvision.models.vision_transformer, "_vision_transformer", tiny_vit)
    model = build(arch, in_channels=1, num_classes=3, size=size, task="multilabel", seed=0).eval()
    torch.nn.init.normal_([*model.parameters()][-2])  # the head of a ViT begins at zero
    models.save(model, tmp_path)
    again = models.load(tmp_path)
    assert again.config == model.config and again.config.get("size") == (32 if "vit" in arch else None)
    images = torch.randint(0, 256, (2, 1, size, size), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(again(images), model(images)) and model(images).std() > 0
    with pytest.raises(ValueError, match=rf"model.safetensors' do not fit {arch}"):
        build(arch, in_channels=3, num_classes=3, size=size, weights=tmp_path / "model.safetensors")


def tiny_vit(patch_size, weights, progress, **changes):
    form = dict(num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8)
    changes = {k: v for k, v in changes.items() if k not in form}
    return torchvision.models.VisionTransformer(patch_size=patch_size, **form, **changes)


# Networks of users


def test_a_network_of_your_own_gets_normalised_images():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16, 4))
    model = models.wrap(backbone, in_channels=3, num_classes=4, mean=mean, std=std)
    assert model.backbone is backbone
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    expected = torchvision.transforms.functional.normalize(images / 255, mean, std)
    torch.testing.assert_close(model.normalise(images), expected)
    torch.testing.assert_close(model(images), backbone(expected))
    assert evaluation.predict(model.eval(), images.permute(0, 2, 3, 1).numpy()).shape == (2, 4)
    grey = models.wrap(backbone, in_channels=1, num_classes=4, mean=[0.2], std=0.4)
    torch.testing.assert_close(grey.normalise(images), (images / 255 - 0.2) / 0.4)
    with pytest.raises(
        ValueError, match=r"takes \(N, 3, H, W\) with sides of at least 1 pixels; got \(2, 1, 4"
    ):
        model(images[:, :1])


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"backbone": "resnet18"}, TypeError, r"backbone is a str; give a torch.nn.Module"),
        (
            {"mean": (0.5, 0.5)},
            ValueError,
            r"mean=\(0.5, 0.5\): give a number, or one for each of 3 channels",
        ),
        ({"std": 0}, ValueError, r"std=0: give a number above 0, or one"),
        ({"std": (1, 1, -1)}, ValueError, r"std=\(1, 1, -1\): give a number above 0"),
        ({"mean": float("nan")}, ValueError, "mean=nan"),
        ({"task": "ranking"}, ValueError, "task='ranking' is unknown"),
        ({"num_classes": 0}, ValueError, "num_classes=0: give a whole number of at least 1"),
    ],
)
def test_bad_arguments_of_wrap(changes, error, match):
    arguments = dict(backbone=torch.nn.Flatten(), in_channels=3, num_classes=4) | changes
    with pytest.raises(error, match=match):
        models.wrap(arguments.pop("backbone"), **arguments)


def test_a_network_of_your_own_is_saved_but_only_you_can_build_it(tmp_path):
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    model = models.wrap(linear, in_channels=1, num_classes=2)
    models.save(model, tmp_path)
    with pytest.raises(ValueError, match=r"network of your own, Sequential: build it, `wrap` it"):
        models.load(tmp_path)
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))  # as the message says


@pytest.mark.parametrize("shape", [(2, 3, 28, 28), (2, 1, 7, 28), (1, 28, 28), (2, 28, 28, 1)])
def test_images_that_do_not_fit(network, shape):
    with pytest.raises(ValueError, match=r"takes \(N, 1, H, W\) with sides of at least 8 pixels; got \("):
        network(torch.zeros(shape))


def test_smallest_image(network):
    assert network(torch.zeros(1, 1, 8, 8)).shape == (1, 3)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_activate(task):
    logits = torch.tensor([[0, np.log(3)], [-1e4, 1e4]], dtype=torch.float32)
    worked = {"multiclass": [[0.25, 0.75], [0, 1]], "multilabel": [[0.5, 0.75], [0, 1]]}
    torch.testing.assert_close(models.activate(logits, task), torch.tensor(worked[task], dtype=torch.float32))


def test_devices():
    assert models.pick_device("cpu") == torch.device("cpu")
    assert models.pick_device("auto") == models.pick_device(None)
    for device in ("gpu", "cuda:99", "meta"):
        with pytest.raises(ValueError, match=rf"device='{device}' cannot be used here .* give 'auto', 'cpu'"):
            models.pick_device(device)


# Files


def test_saved_network_predicts_the_same(tiny, tmp_path):
    model = small(arch="resnet34", stem="torchvision", task="multilabel")
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean)
    models.save(model, tmp_path)
    again = models.load(tmp_path)
    assert again.config == model.config and not again.training
    assert (evaluation.predict(again, tiny.images) == evaluation.predict(model, tiny.images)).all()
    assert sorted(f.name for f in tmp_path.iterdir()) == ["model.json", "model.safetensors"]


class Evil:
    """Unpickling it creates the file whose path it holds."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_posing_as_weights_is_refused(tmp_path):
    models.save(small(), tmp_path)
    trap, file = tmp_path / "sprung", tmp_path / "model.safetensors"
    for write in (
        lambda: file.write_bytes(pickle.dumps(Evil(trap))),
        lambda: torch.save({"backbone.conv1.weight": Evil(trap)}, file),
    ):
        write()
        with pytest.raises(ValueError, match=r"model.safetensors' do not fit resnet18, width 4"):
            models.load(tmp_path)
    assert not trap.exists()


@pytest.mark.parametrize("keep", [0, 8, 1000, -1])
def test_truncated_weights(tmp_path, keep):
    models.save(small(), tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"model.safetensors' do not fit"):
        models.load(tmp_path)


@pytest.mark.parametrize("changes", [{"width": 8}, {"arch": "resnet34"}, {"in_channels": 3}])
def test_weights_of_another_network(tmp_path, changes):
    models.save(small(), tmp_path)
    with pytest.raises(
        ValueError, match=r"model.safetensors' do not fit .* of another network, stem or width"
    ):
        small(weights=tmp_path / "model.safetensors", **changes)


# Weights from elsewhere


@pytest.mark.parametrize("wrapper", ["bare", "state_dict", "parallel"])
def test_a_state_dict_of_rgb_images_and_other_classes_is_taken(tmp_path, wrapper):
    theirs = torchvision.models.resnet18(num_classes=1000).eval()
    arrays = theirs.state_dict()
    arrays = {"module." + k: v for k, v in arrays.items()} if wrapper == "parallel" else arrays
    torch.save({"state_dict": arrays, "epoch": 3} if wrapper == "state_dict" else arrays, tmp_path / "w.pth")
    ours = small(width=64, stem="torchvision", weights=tmp_path / "w.pth", mean=0.449, std=0.226).eval()
    assert ours.origin == (
        "120 of 122 arrays from w.pth; first filters (conv1) summed over red, green, blue; "
        "head (fc) new: 3 outputs instead of 1000 outputs"
    )
    theirs.fc = ours.backbone.fc
    images = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        logits = theirs(((images / 255 - 0.449) / 0.226).repeat(1, 3, 1, 1))
        torch.testing.assert_close(ours(images), logits, rtol=1e-3, atol=1e-4)
    models.save(ours, tmp_path)
    again = models.load(tmp_path)
    assert (again.normalise.mean, again.normalise.std) == (0.449, 0.226)


def test_our_own_weights_start_another_training(tmp_path):
    models.save(small(mean=0.3, std=0.2), tmp_path)
    ours = small(num_classes=5, seed=1, weights=tmp_path / "model.safetensors")
    assert ours.origin.endswith("head (fc) new: 5 outputs instead of 3 outputs")
    assert (ours.normalise.mean, ours.normalise.std) == (0.3, 0.2)
    assert torch.equal(ours.backbone.layer4[1].conv2.weight, small().backbone.layer4[1].conv2.weight)
    same = small(seed=1, weights=tmp_path / "model.safetensors")
    assert same.origin == "122 of 122 arrays from model.safetensors"


def test_what_normalises_is_said_and_chosen(tmp_path):
    theirs = torchvision.models.resnet18(num_classes=3)
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    options = dict(width=64, stem="torchvision", weights=tmp_path / "w.pth")
    ours = small(**options)
    assert ours.origin.endswith("how its images were normalised: here mean 0.5, spread 0.5 (normalise=)")
    grey = small(**options, normalise="imagenet")
    assert grey.normalise.mean == pytest.approx(0.449) and grey.normalise.std == pytest.approx(0.226)
    assert "not known" not in grey.origin and "not known" not in small(**options, normalise="half").origin
    colour = small(in_channels=3, normalise="imagenet")
    assert colour.normalise.mean == [0.485, 0.456, 0.406]
    models.save(colour, tmp_path)
    assert models.load(tmp_path).normalise.std == [0.229, 0.224, 0.225]
    with pytest.raises(ValueError, match="normalise='mean' is unknown; give one of auto, half, imagenet"):
        small(normalise="mean")


def test_a_part_of_a_head_that_is_not_used_is_named(tmp_path):
    arrays = torchvision.models.mobilenet_v3_small(num_classes=3).state_dict()
    torch.save(arrays | {"classifier.9.weight": torch.zeros(2, 2)}, tmp_path / "w.pth")
    model = models.build("mobilenet_v3_small", in_channels=3, num_classes=3, weights=tmp_path / "w.pth")
    assert "left out: classifier.9.weight" in model.origin


def test_weights_of_a_network_with_versions_come_back(tmp_path):
    model = models.build("mnasnet0_5", in_channels=3, num_classes=3, size=32, seed=0)
    models.save(model, tmp_path)
    again = models.load(tmp_path)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    models.build("mnasnet0_5", in_channels=3, num_classes=5, weights=tmp_path / "model.safetensors")


def test_weights_are_looked_for_in_the_projects_folder(home):
    models.save(small(), home / "mine")
    assert "model.safetensors" in small(weights="mine/model.safetensors").origin


def test_weights_that_are_not_finite_are_refused(tmp_path):
    arrays = torchvision.models.resnet18(num_classes=3).state_dict()
    arrays["layer1.0.conv1.weight"][0] = float("nan")
    torch.save(arrays, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"not finite, in layer1.0.conv1.weight: the training that made"):
        small(width=64, stem="torchvision", weights=tmp_path / "w.pth")


OWN = """
import torch
from torch import nn

def right(in_channels, num_classes):
    return nn.Sequential(nn.Dropout(), nn.Flatten(), nn.LazyLinear(num_classes))

def one_more(in_channels, num_classes):
    return right(in_channels, num_classes + 1)

class Two(nn.Module):
    def forward(self, x):
        return x, x

def pair(in_channels, num_classes):
    return Two()

class More(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.head = nn.LazyLinear(classes)

    def forward(self, x):
        logits = self.head(x.flatten(1))
        return (logits, x) if self.training else logits

def more(in_channels, num_classes):
    return More(num_classes)

def fixed(in_channels, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(5, num_classes))
"""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("one_more", r"gives \(2, 4\) for 2 images; it must give logits \(2, 3\), one for each class"),
        ("pair", r"gives tuple for 2 images; it must give logits \(2, 3\)"),
        ("more", r"gives tuple for 2 images in training; it must give logits \(2, 3\)"),
        ("fixed", r"does not take images of shape \(2, 1, 8, 8\): RuntimeError: .*mat1 and mat2"),
    ],
)
def test_outputs_of_a_network_of_ones_own_are_looked_at(tmp_path, monkeypatch, name, told):
    (tmp_path / "ownnets.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    model = models.build("ownnets:right", in_channels=1, num_classes=3, size=8)
    assert model.training and model(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    first, second = (
        models.build("ownnets:right", in_channels=1, num_classes=3, size=8, seed=1) for _ in "12"
    )
    assert torch.equal(first.backbone[2].weight, second.backbone[2].weight)
    with pytest.raises(ValueError, match=rf"arch='ownnets:{name}' {told}"):
        models.build(f"ownnets:{name}", in_channels=1, num_classes=3, size=8)


def test_torchvisions_weights_by_name(monkeypatch):
    theirs = torchvision.models.resnet18(num_classes=1000)
    asked = []

    def fetch(self, **options):
        asked.append((self.name, options))
        return theirs.state_dict()

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", fetch)
    for name in ("DEFAULT", "IMAGENET1K_V1", "ResNet18_Weights.DEFAULT"):
        rgb = build("resnet18", in_channels=3, num_classes=2, weights=name)
    assert asked == [("IMAGENET1K_V1", dict(progress=False, check_hash=True, weights_only=True))] * 3
    assert rgb.config["stem"] == "torchvision" and rgb.config["mean"] == [0.485, 0.456, 0.406]
    assert torch.equal(rgb.backbone.conv1.weight, theirs.conv1.weight)
    grey = build("resnet18", in_channels=1, num_classes=2, weights="DEFAULT")
    torch.testing.assert_close(grey.backbone.conv1.weight, theirs.conv1.weight.sum(1, keepdim=True))
    assert grey.config["mean"] == pytest.approx(0.449) and grey.config["std"] == pytest.approx(0.226)
    with pytest.raises(
        ValueError, match=r"1 of 122 arrays differ.*conv1.weight 64x3x7x7 instead of 64x3x3x3"
    ):
        build("resnet18", in_channels=3, num_classes=2, stem="small", weights="DEFAULT")
    with pytest.raises(
        ValueError, match="'IMAGENET21K' are not torchvision's for resnet18; give IMAGENET1K_V1"
    ):
        build("resnet18", in_channels=3, num_classes=2, weights="IMAGENET21K")


def test_a_download_that_fails_says_what_to_do(monkeypatch):
    def refuse(*args, **options):
        raise OSError("no connection")

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", refuse)
    with pytest.raises(
        FileNotFoundError, match=r"download https://.*resnet18-f37072fd.pth .* and put it at .*"
    ):
        build("resnet18", in_channels=3, num_classes=2, weights="DEFAULT")


def test_bad_weight_files(tmp_path):
    file, trap = tmp_path / "w.pth", tmp_path / "sprung"
    with pytest.raises(
        FileNotFoundError, match=r"no such file; give a .safetensors, .*: IMAGENET1K_V1, DEFAULT"
    ):
        small(weights=file)
    for content, match in (
        ({"fc.weight": Evil(trap)}, "hold more than arrays"),
        (torch.nn.Linear(1, 1), "hold more than arrays"),
        ([1, 2], "hold no state_dict .* but list"),
        ({"epoch": 3}, "hold no state_dict"),
        ({}, "hold no state_dict"),
        (torchvision.models.resnet34().state_dict(), "do not fit resnet18, stem small, width 4: "),
    ):
        torch.save(content, file)
        with pytest.raises(ValueError, match=match):
            small(weights=file)
    for content in (pickle.dumps(Evil(trap)), b"", b"PK\x03\x04 broken"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"hold more than arrays|are damaged"):
            small(weights=str(file))
    assert not trap.exists()


def test_a_function_of_your_own_builds_the_network(tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text(
        "from torch import nn\n\n\n"
        "def tiny(in_channels, num_classes):\n"
        "    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),\n"
        "                         nn.Linear(4, num_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = build(
        "my_nets:tiny",
        in_channels=1,
        num_classes=3,
        seed=0,
        **models.form("my_nets:tiny", stem="small", width=16),
    )
    models.save(model.eval(), tmp_path)
    images = torch.randint(0, 256, (2, 1, 16, 16), dtype=torch.uint8)
    assert torch.equal(models.load(tmp_path)(images), model(images))
    assert models.form("resnet18", stem="auto", width=0) == {"stem": None, "width": None}
    assert models.form("vgg11", stem="small", width=16) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"arch": "resnet18"}', '{"depth": 3}', "\xff"])
def test_damaged_description(tmp_path, text):
    models.save(small(), tmp_path)
    (tmp_path / "model.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"model.json is damaged .* train again"):
        models.load(tmp_path)


def test_description_of_an_unknown_network(tmp_path):
    models.save(small(), tmp_path)
    config = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(config | {"arch": "vgg"}))
    with pytest.raises(ValueError, match="arch='vgg' is unknown"):
        models.load(tmp_path)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_no_network_there(tmp_path, name):
    models.save(small(), tmp_path)
    (tmp_path / name).unlink()
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(
            FileNotFoundError, match=r"model\.\w+ is missing: the notebook 02_train .* writes it"
        ):
            models.load(folder)
    with pytest.raises(FileNotFoundError, match=rf"{name} is missing"):
        models.load(tmp_path)


# The package


def test_importing_medrob_is_quiet_imports_nothing_heavy_and_writes_nothing(tmp_path):
    script = """
import sys
import medrob
heavy = {"torch", "numpy", "pandas", "cv2", "imgaug", "matplotlib", "scipy", "sklearn"}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
assert medrob.run.Run("demo").name == "demo"
assert set(medrob.__all__) <= set(dir(medrob))
"""
    done = subprocess.run(
        [sys.executable, "-B", "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_unknown_module():
    import medrob

    with pytest.raises(AttributeError, match=r"has no attribute 'model'; it has analysis, .*models"):
        medrob.model  # noqa: B018


class Viewed(torch.nn.Module):
    """Looks at its maps in the usual order in memory."""

    def forward(self, x):
        return x.view(len(x), -1)[:, :3]


def test_narrow_shortcuts_keep_the_usual_order_in_memory():
    """PyTorch's backward pass writes outside its memory there: see `memory_order`."""
    cpu = torch.device("cpu")
    orders = {
        width: memory_order(build("resnet18", in_channels=1, num_classes=2, width=width), cpu)
        for width in (4, 8, 12, 16)
    }
    assert {w for w, order in orders.items() if order == torch.channels_last} == {16}
    assert memory_order(torch.nn.Conv2d(64, 64, 3), cpu) == torch.contiguous_format  # of unknown make
    own = torch.nn.Sequential(torch.nn.Conv2d(1, 16, 3, padding=1), Viewed())
    assert evaluation.predict(own, np.zeros((2, 4, 4, 1), np.uint8)).shape == (2, 3)
