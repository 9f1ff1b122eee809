import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from medrob import evaluation, models
from medrob.models import Normalise, build, cam_layers


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
        ValueError, match=r"Sequential has no residual blocks to explain; name layers of your own"
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
        ({"stem": "large"}, "stem='large' is unknown; the stems are small, torchvision"),
        ({"width": 0}, "width=0: give a whole number of at least 1"),
        ({"width": 4.0}, "width=4.0"),
        ({"width": True}, "width=True"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"in_channels": -1}, "in_channels=-1"),
        ({"weights": "none.safetensors"}, "weights='none.safetensors'"),
    ],
)
def test_bad_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        small(**changes)


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
    for device in ("gpu", "cuda:99"):
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


@pytest.mark.parametrize(
    "changes", [{"width": 8}, {"num_classes": 2}, {"arch": "resnet34"}, {"in_channels": 3}]
)
def test_weights_of_another_network(tmp_path, changes):
    models.save(small(), tmp_path)
    with pytest.raises(ValueError, match=r"model.safetensors' do not fit"):
        small(weights=tmp_path / "model.safetensors", **changes)


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


def test_no_network_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model\.json"):
        models.load(tmp_path)


# The package


def test_importing_medrob_is_quiet_quick_and_writes_nothing(tmp_path):
    script = """
import sys, time
began = time.perf_counter()
import medrob
assert time.perf_counter() - began < 0.2
heavy = {"torch", "numpy", "pandas", "cv2", "imgaug", "matplotlib", "scipy", "sklearn"}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
assert medrob.runs.Run("demo").name == "demo"
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
