"""Networks of users as they come: their outputs become logits, images are scaled as in their training."""

import collections
import json
import sys
import types
import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from medrob import config, evaluation, models, saliency
from medrob.models import wrap
from medrob.models.told import scale_of

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 1), np.uint8)
X = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)


class Net(nn.Module):
    """A small network; what is done with its logits, in `ending`, is the user's."""

    def __init__(self, ending=lambda x: x, classes=2, channels=1):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(channels, 8, 3, padding=1)
        self.fc, self.ending = nn.Linear(8, classes), ending
        nn.init.normal_(self.fc.weight, std=4)  # some are surer than float32 can tell from 1

    def logits(self, x):
        return self.fc((40 * self.conv(x)).relu().mean((2, 3)))

    def forward(self, x):
        return self.ending(self.logits(x))


ENDINGS = {
    "softmax": nn.Softmax(1),
    "log softmax": lambda x: F.log_softmax(x, dim=1),
    "function": lambda x: torch.softmax(x, -1),
    "sigmoid": nn.Sigmoid(),
    "tuple": lambda x: (x, torch.ones(3)),
    "features in a list": lambda x: (x, [torch.ones(3)]),
    "mapping": lambda x: dict(loss=torch.ones(1), logits=x, hidden_states=(x,)),
    "features": lambda x: (torch.ones(len(x), 8), x),
    "by name": lambda x: {"probs": x.softmax(1), "logits": x},
    "prediction": lambda x: {"aux": 2 * x, "prediction": x},
    "class numbers": lambda x: {"pred": x.argmax(1), "scores": x},
    "mask of a usual name": lambda x: {"out": torch.ones(len(x), 1, 4, 4), "cls": x},
    "named tuple": lambda x: collections.namedtuple("Outputs", "aux output")(2 * x, x),
    "log sigmoid": F.logsigmoid,
    "plain, of a last convolution": lambda x: x[:, :, None, None],
    "plain, a row": lambda x: x[:, None],
}


@cache
def of_logits(task):
    """The logits, probabilities and maps of a network that gives its logits."""
    model = wrap(Net().eval(), in_channels=1, num_classes=2, task=task)
    return model(X), evaluation.predict(model, IMAGES), maps_of(model)


def maps_of(model):
    return saliency.explain(model, IMAGES, methods=["gradcam"], layers=["conv"])["gradcam", "conv"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_outputs_of_every_form_give_the_probabilities_and_maps_of_their_logits(ending):
    task = "multilabel" if "sigmoid" in ending else "multiclass"
    model = wrap(Net(ENDINGS[ending]).eval(), in_channels=1, num_classes=2, task=task)
    logits, p, maps = of_logits(task)
    _, said = model.explained(X)
    assert torch.equal(model(X), logits) and len(said) == ("plain" not in ending), said
    if "max" in ending or "sigmoid" in ending or "tuple" in ending:
        assert np.array_equal(evaluation.predict(model, IMAGES), p) and np.array_equal(maps_of(model), maps)


@pytest.mark.parametrize(("ending", "order"), [("softmax", 1), ("sigmoid", -1), ("plain", 1)])
def test_logits_beside_a_mask_are_told_whichever_comes_first(ending, order):
    class Both(Net):
        def forward(self, x):
            return [super().forward(x), self.mask(x).sigmoid()][::order]

    network = Both(ENDINGS.get(ending, lambda x: x)).eval()
    network.mask = nn.Conv2d(1, 1, 1)
    task = "multilabel" if "sigmoid" in ending else "multiclass"
    model = wrap(network, in_channels=1, num_classes=2, task=task)
    assert torch.equal(model(X), of_logits(task)[0]) and list(models.cam_layers(model)) == ["conv"]


@pytest.mark.parametrize(
    "ending", [lambda x: x, nn.Sigmoid(), lambda x: x[:, 0], lambda x: x.sigmoid().squeeze(1)]
)
def test_one_logit_becomes_two_classes(ending):
    model = wrap(Net(ending, classes=1).eval(), in_channels=1, num_classes=2)
    with torch.no_grad():
        p = model.backbone.logits(model.normalise(X)).sigmoid()[:, 0]
    np.testing.assert_allclose(evaluation.predict(model, IMAGES)[:, 1], p, atol=1e-6)
    for target in (0, 1):  # both classes have a gradient, of opposite sign
        maps = saliency.explain(model, IMAGES, methods=["gradcam"], layers=["conv"], targets=target)
        assert maps["gradcam", "conv"].std() > 0
    assert "one logit z becomes two" in model.explained(X)[1][-1]
    with pytest.raises(ValueError, match="one logit; give two"):
        evaluation.predict(wrap(model.backbone, in_channels=1, num_classes=2, task="multilabel"), IMAGES)


def test_a_softmax_within_the_network_is_left_alone():
    model = wrap(Net(lambda x: x * x.softmax(1)).eval(), in_channels=1, num_classes=2)
    z = model.backbone.logits(model.normalise(X))
    assert not model.explained(X)[1] and torch.allclose(model(X), z * z.softmax(1))
    small = wrap(Net(lambda x: 0.5 + 1e-3 * x), in_channels=1, num_classes=2)
    with warnings.catch_warnings(action="error"):  # logits, although all lie between 0 and 1
        evaluation.predict(small, IMAGES)
    with pytest.warns(UserWarning, match="for 6 images lies between 0 and 1; if these are probabilities"):
        evaluation.predict(Net(lambda x: 0.5 + 0.4 * (1e-5 * x).tanh()).eval(), IMAGES)


@pytest.fixture
def mine(monkeypatch):
    """A module of the user's, in which functions that build networks can be put."""
    module = types.ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", module)
    return module


def build(**options):
    return models.build("mine:net", **dict(in_channels=1, num_classes=2, size=16) | options)


def test_a_network_is_tried_as_it_will_be_used(mine, blobs):
    """Only RGB images, and logits (N, K, 1, 1) of a last convolution."""

    def network(in_channels, num_classes):
        assert in_channels == 3
        return net

    mine.net, net = network, Net(lambda x: x[:, :, None, None], channels=3)
    data = replace(blobs(), images=np.repeat(IMAGES, 3, axis=-1), labels=np.arange(6) % 2)
    choice = config.Train(arch="mine:net", normalise="half", epochs=0)
    model, x = models.for_data(data, choice).eval(), X.expand(-1, 3, -1, -1)
    assert torch.equal(model(x), net.logits(model.normalise(x)))


@pytest.mark.parametrize(
    ("ending", "said"),
    [(F.dropout, "other outputs each time"), (lambda x: x - x.mean(0), "depends on those beside it")],
)
def test_outputs_that_cannot_be_had_again_are_refused(ending, said):
    with pytest.raises(ValueError, match=said):
        evaluation.predict(wrap(Net(ending), in_channels=1, num_classes=2), IMAGES)


@pytest.mark.parametrize(
    ("ending", "bounds"),
    [
        (lambda x: x.clamp(-0.5, 0.5), "stay between -0.5 and 0.5"),
        (F.softplus, "are never below 0"),
        (lambda x: x - x.exp().sum(1, True).log(), "are never above 0"),
    ],
)
def test_outputs_with_bounds_are_told(mine, ending, bounds):
    mine.net = lambda in_channels, num_classes: Net(ending)
    assert f"its outputs {bounds}, whatever its last layer gives, and are taken" in build().origin


class Repeats(Net):
    def forward(self, x):
        return super().forward(x.repeat(1, 3, 1, 1))


def only_rgb(in_channels, num_classes):
    assert in_channels == 3
    return Net(channels=3).double()


@pytest.mark.parametrize(
    ("network", "repeated"),
    [
        (only_rgb, 3),
        (lambda in_channels, num_classes: nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2)), 3),
        (lambda in_channels, num_classes: Repeats(channels=3), None),
    ],
)
def test_the_channels_of_a_network_are_found_by_trying(mine, network, repeated, tmp_path):
    mine.net = network
    config.Train(arch="mine:net", epochs=0)  # does not run it
    model = build(normalise="half").eval()
    assert model.config.get("repeated") == repeated
    models.save(model, tmp_path)
    p = evaluation.predict(model, IMAGES)
    assert np.array_equal(evaluation.predict(models.load(tmp_path), IMAGES), p)
    if hasattr(model.backbone, "conv"):
        assert list(models.cam_layers(model)) == ["conv"]


def test_what_a_networks_own_eval_does_is_done():
    class Scaled(Net):
        scale = 1

        def train(self, mode=True):
            self.scale = 1
            return super().train(mode)

        def eval(self):
            super().eval()
            self.scale = 2

        def forward(self, x):
            return self.scale * self.logits(x)

    model = wrap(Scaled(), in_channels=1, num_classes=2)
    model.config["ending"] = []  # as of a network that was saved
    with torch.no_grad():
        once = model.train()(X)
        with models.evaluating(model):
            assert torch.equal(model(X), 2 * once)
        assert torch.equal(model(X), once) and torch.equal(model.eval()(X), 2 * once)


def test_networks_that_change_their_input_or_make_weights_in_a_first_pass(mine):
    net = Net(lambda x: x)
    net.register_forward_pre_hook(lambda _, given: (given[0].mul_(2),))
    model = wrap(net, in_channels=1, num_classes=2).eval()
    with torch.no_grad():
        assert torch.equal(model(X), model(X))
    mine.net = lambda in_channels, num_classes: nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))
    first, second = (build(seed=1) for _ in "12")
    assert first.training and torch.equal(first.backbone[1].weight, second.backbone[1].weight)


def test_maps_of_half_precision_are_refused():
    class Half(Net):
        def forward(self, x):
            with torch.autocast("cpu", torch.bfloat16):
                return super().forward(x)

    model = wrap(Half(), in_channels=1, num_classes=2)
    with pytest.raises(ValueError, match=r"gives .* of torch.bfloat16; .*half precision is too coarse"):
        saliency.explain(model, IMAGES, methods=["gradcam"])


LOGITS = r"for 2 images; give logits \(2, 2\)"


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Net(lambda x: (x, 2 * x)), rf"gives tuple of 1: \(2, 2\), 2: \(2, 2\) {LOGITS}"),
        (Net(lambda x: {"a": x, "b": x}), r"gives dict of a: \(2, 2\), b: \(2, 2\)"),
        (Net(lambda x: x.argmax(1)), r"gives class numbers, as of an argmax, .*; give logits \(2, 2\)"),
        (Net(classes=3), rf"mine:net' gives \(2, 3\) {LOGITS} as one tensor, one for each"),
        (nn.Sequential(torch.jit.script(nn.Linear(2, 2))), "is a program of TorchScript or"),
        (type("Extra", (Net,), {"get_extra_state": dict})(), "more than arrays of numbers.*: _extra_state"),
        (None, "cannot be built .*: it gave a NoneType, and must give a torch.nn.Module"),
        (nn.Linear(5, 2), r"cannot be used for images of shape \(2, 1, 16, 16\): .*mat1 and mat2"),
    ],
)
def test_what_gives_no_logits_of_these_images_and_classes_is_refused(mine, network, message):
    mine.net = lambda in_channels, num_classes: network
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "ending",
    [
        *(lambda x: x.sigmoid().clamp(0.2, 0.6), lambda x: 0.5 * x.softmax(1), F.relu6),
        *(lambda x: 1 - x.sigmoid(), lambda x: 255 * x.sigmoid(), lambda x: 1 / (1 + (-x).exp())),
        lambda x: x.sub(x.amax(1, True)).exp() / x.sub(x.amax(1, True)).exp().sum(1, True),
        lambda x: (x.softmax(1) + x.flip(1).mul(0.1).softmax(1)) / 2,
        lambda x: torch.stack([1 - x[:, 0].sigmoid(), x[:, 0].sigmoid()], 1),
        *(F.hardsigmoid, lambda x: 0.5 + 0.4 * (0.01 * x).tanh(), lambda x: x.sigmoid().mul_(0.9)),
    ],
)
def test_probabilities_that_were_changed_are_refused(mine, ending):
    mine.net = lambda in_channels, num_classes: Net(ending)
    with pytest.raises(ValueError, match="not simply PyTorch's softmax or sigmoid"):
        build()


def test_programs_and_several_outputs_are_refused_wherever_a_network_is_used():
    several = Net(lambda x: {"logits": x}).eval()
    program = torch.jit.trace(Net().eval(), X[:1].float())
    for network, said in ((several, "as medrob.models.wrap makes of"), (program, "is a program of Torch")):
        for use in (
            lambda network: evaluation.predict(network, IMAGES),
            lambda network: saliency.explain(network, IMAGES, methods=["gradcam"], layers=["conv"]),
            lambda network: saliency.explain(network, IMAGES, methods=["saliency"]),
        ):
            with pytest.raises(ValueError, match=said):
                use(network)
    scripted = torch.jit.script(nn.Conv2d(1, 2, 3))
    for use in (models.cam_layers, lambda network: wrap(network, in_channels=1, num_classes=2)):
        with pytest.raises(ValueError, match="is a program of Torch"):
            use(scripted)


def test_they_are_refused_wherever_a_network_is_used():
    model = wrap(Net(F.hardsigmoid), in_channels=1, num_classes=2)
    for use in (
        lambda: evaluation.predict(model, IMAGES),
        lambda: saliency.explain(model, IMAGES[:1], methods=["gradcam"], layers=["conv"]),
        lambda: saliency.explain(model, IMAGES[:1], methods=["saliency"]),
    ):
        with pytest.raises(ValueError, match="not simply PyTorch's softmax or sigmoid"):
            use()


def test_grey_images_are_repeated_for_a_network_of_rgb_and_not_the_reverse(mine):
    mine.net = lambda in_channels, num_classes: Net(channels=3)
    model = build(normalise=[[0.1, 0.2, 0.3], [0.5, 0.6, 0.7]])
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.1, 0.2, 0.3], [0.5, 0.6, 0.7]))
    torch.testing.assert_close(model(X), model.backbone((X / 255 - mean) / std), rtol=1e-3, atol=1e-4)
    assert "grey images are repeated in its 3 channels" in model.origin
    mine.net = lambda in_channels, num_classes: Net()
    with pytest.raises(ValueError, match="the weights of mine:net take grey images, and these are RGB"):
        build(in_channels=3)


@pytest.mark.parametrize(
    ("normalise", "black", "white"),
    [([-1024, 1024], -1024, 1024), ([-1, 1], -1, 1), ([0, 1], 0, 1), ([0, 255], 0, 255), ([0.4, 0.2], -2, 3)],
)
def test_what_black_and_white_become(mine, normalise, black, white):
    mine.net = lambda in_channels, num_classes: Net()
    scaled = build(normalise=normalise).normalise(torch.tensor([[[[0, 255]]]], dtype=torch.uint8)).flatten()
    assert scaled.tolist() == pytest.approx([black, white], abs=1e-3)
    with pytest.raises(ValueError, match=r"normalise='foo': give 'auto'"):
        build(normalise="foo")


def test_a_network_says_itself_how_its_images_were_normalised(mine, tmp_path, monkeypatch):
    timm, transformers = pytest.importorskip("timm"), pytest.importorskip("transformers")
    mine.net = lambda in_channels, num_classes: timm.create_model("test_resnet", num_classes=num_classes)
    assert build().normalise.mean == list(timm.get_pretrained_cfg("test_resnet").mean)
    assert "are normalised as timm says" in build().origin
    form = dict(hidden_sizes=[4, 4], depths=[1, 1], embedding_size=4, layer_type="basic", num_labels=2)
    config = transformers.ResNetConfig(**form)
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path)
    theirs = dict(
        image_processor_type="ViTImageProcessor", image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.6, 0.7]
    )
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(theirs))
    pretrained = transformers.AutoModelForImageClassification.from_pretrained
    mine.net = lambda in_channels, num_classes: pretrained(tmp_path)
    model = build().eval()
    assert model.normalise.mean == [0.1, 0.2, 0.3] and "as Hugging Face says" in model.origin
    assert evaluation.predict(model, IMAGES).shape == (6, 2)
    monkeypatch.setattr(Net, "__module__", "torchxrayvision.models")
    mine.net = lambda in_channels, num_classes: Net()
    (tmp_path / "bare").mkdir()
    torch.save(Net().state_dict(), tmp_path / "bare" / "w.pt")
    for model in (build(), build(weights=str(tmp_path / "bare" / "w.pt"))):  # which tells none
        assert model.normalise.std == 1 / 2048 and "as torchxrayvision says" in model.origin
    assert build(normalise="half").normalise.std == 0.5


class Normed(Net):
    def forward(self, x):
        return super().forward((x - self.pixel_mean) / self.pixel_std)


@pytest.mark.parametrize("levels", [1, 255])
def test_a_network_that_normalises_by_itself_is_given_what_it_takes(mine, tmp_path, levels):
    net = Normed(channels=3)
    net.register_buffer("pixel_mean", levels * torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1))
    net.pixel_std = nn.Parameter(levels * torch.tensor([0.5, 0.6, 0.7]).view(3, 1, 1))
    mine.net = lambda in_channels, num_classes: net
    model = build(in_channels=3)
    torch.testing.assert_close(model.normalise(X), X.float() * levels / 255)
    assert f"by itself, as its first layer shows, and is given grey levels from 0 to {levels}" in model.origin
    torch.save(net.state_dict(), tmp_path / "w.pt")  # its numbers may come from there
    net.pixel_mean.zero_()
    model = build(in_channels=3, weights=str(tmp_path / "w.pt"))
    torch.testing.assert_close(model.normalise(X), X.float() * levels / 255)
    net = nn.Sequential(models.Normalise([0.1, 0.2, 0.3], 0.5), Net(channels=3))
    torch.testing.assert_close(build(in_channels=3).normalise(X), X.float())
    for pixel_mean, pixel_std, white in ((128.0, 60.0, 255), (0.0, 255.0, 255), (0.3, 0.2, 1)):  # attributes
        net = Normed(channels=3)
        net.pixel_mean, net.pixel_std = pixel_mean, pixel_std
        assert f"is given grey levels from 0 to {white}" in build(in_channels=3).origin


def test_grey_levels_are_as_a_processor_of_hugging_face_makes_them():
    transformers, size = pytest.importorskip("transformers"), {"height": 16, "width": 16}
    processor = transformers.ViTImageProcessor(
        size=size, image_mean=[0.1, 0.5, 0.4], image_std=[0.2, 0.4, 0.7]
    )
    rgb = IMAGES[..., [0, 0, 0]]
    theirs = processor(list(rgb), return_tensors="pt").pixel_values.float()
    mean, std, who = scale_of(processor.to_dict(), "its processor")
    x = torch.from_numpy(rgb).movedim(3, 1)
    torch.testing.assert_close(models.Normalise(mean, std)(x), theirs, rtol=1e-4, atol=1e-3)
    assert who == "its processor"


@pytest.mark.parametrize("kind", [torch.float16, torch.float64])
def test_networks_of_another_precision_compute_in_float32_and_it_is_said(mine, tmp_path, kind):
    net = Net().to(kind)
    mine.net = lambda in_channels, num_classes: net
    model = build().eval()
    assert model(X).dtype == torch.float32 and f"in float32, although it is of {kind}" in model.origin
    torch.save(Net().to(kind).state_dict(), tmp_path / "w.pt")
    assert f"taken as float32, of {kind}" in build(weights=str(tmp_path / "w.pt")).origin


@pytest.mark.parametrize(
    ("kind", "names", "told"),
    [
        ("settings", "ba", "put in that of a, b"), ("settings", "AB", ""), ("class", "ax", "taken for a"),
        ("settings", ["LABEL_0", "LABEL_1"], ""), ("class", "ba", "put in"), ("one logit", "ba", "put in"),
    ],
)  # fmt: skip
def test_the_outputs_are_put_in_the_order_of_the_datas_classes(mine, blobs, tmp_path, kind, names, told):
    """As Hugging Face's networks name theirs, or as the class of a network does."""

    class Named(Net):
        if kind == "class":
            CLASSES = tuple(names)

    def network(in_channels, num_classes):
        net = Named(channels=in_channels, classes=1 if kind == "one logit" else 2)
        net.config = types.SimpleNamespace(id2label={} if kind == "class" else dict(enumerate(names)))
        return net

    mine.network = network
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        data = replace(blobs(), class_names=("a", "b"))
        model = models.for_data(data, config.Train(arch="mine:network", epochs=0, normalise="half")).eval()
    said = [str(w.message) for w in warned if "calls the network's outputs" in str(w.message)]
    assert bool(said) == bool(told) and all(told in text for text in said)
    models.save(model, tmp_path)
    x = torch.from_numpy(data.images[:3]).movedim(3, 1).contiguous()
    z = model.backbone(model.normalise(x))
    z = torch.cat([-z / 2, z / 2], 1) if kind == "one logit" else z
    expected = z.flip(1) if names == "ba" else z
    torch.testing.assert_close(model(x), expected)
    torch.testing.assert_close(models.load(tmp_path)(x), expected)
    choice = config.Train(arch="mine:network", weights=str(tmp_path / "model.safetensors"), epochs=0)
    with warnings.catch_warnings(action="ignore"):
        torch.testing.assert_close(models.for_data(data, choice).eval()(x), expected)


def test_finding_how_a_network_ends_leaves_it_as_it_was():
    net = nn.DataParallel(Net(nn.Sigmoid()))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    model = wrap(net, in_channels=1, num_classes=2, task="multilabel")
    with torch.no_grad():
        assert torch.equal(model(X).sigmoid(), net(model.normalise(X)))
    assert net.training and all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    with torch.no_grad():
        net.module.fc.bias[0] = torch.nan
    broken = wrap(net, in_channels=1, num_classes=2)
    with pytest.raises(ValueError, match="NaN or infinite outputs"):
        evaluation.predict(broken, IMAGES)
