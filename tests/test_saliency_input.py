"""What holds for every method; and networks out of the ordinary: explained, or refused in clear words."""

import contextlib
import itertools

import numpy as np
import pytest
import torch
from test_saliency import network, pictures, to_input
from torch import nn

from medrob import drift, trust
from medrob.saliency import STOCHASTIC, Explainer, Settings, explain, layers_of, names
from medrob.saliency.of_layers import ONE_PASS as METHODS
from medrob.saliency.of_layers import cams

LAYER = "layer3.1"


class Net(nn.Module):
    """A convolution, the layer explained, batch normalisation, dropout, a linear head, and a last step."""

    def __init__(self, start=None, head=None, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.fc = nn.Linear(4, 3)
        self.layer, self.dropout = nn.Identity(), nn.Dropout(0.5)
        self.start, self.head = start or (lambda x: x), head or (lambda logits: logits)

    def forward(self, x):
        x = self.layer(self.conv(self.start(x)).relu())
        return self.head(self.fc(self.dropout(self.norm(x)).mean((2, 3))))


def maps_of(model, methods=METHODS, layer="layer", **more):
    found = explain(model, pictures(3, 16), methods=methods, layers=[layer], **more)
    return {method: maps for (method, _), maps in found.items()}


def assert_close(found, expected, share=1e-5):
    for method, maps in expected.items():
        assert np.abs(maps).max() > 0
        np.testing.assert_allclose(found[method], maps, atol=share * np.abs(maps).max(), err_msg=method)


def state(model):
    """What has to be left as found: modes, hooks, every parameter and buffer itself, its value, its .grad."""
    tensors = [*model.parameters(), *model.buffers()]
    return (
        [module.training for module in model.modules()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()],
        [(id(t), t.requires_grad, id(t.grad)) for t in tensors],
        [t.detach().clone() for t in tensors] + [p.grad.clone() for p in tensors if p.grad is not None],
    )


def assert_same(before, after):
    assert before[:3] == after[:3]
    assert all(torch.equal(a, b) for a, b in zip(before[3], after[3], strict=True))


LAYERS, TARGETS = ["layer2.1", "layer4.0"], np.array([0, 2, 1, 1])


@pytest.fixture(scope="module")
def every():
    asked = dict(methods=names(), layers=LAYERS, targets=TARGETS, settings=Settings(samples=2))
    return explain(network(width=4), pictures(4, 16), **asked)


def test_shapes_types_and_order(every):
    assert list(every) == [(method, layer) for method in names() for layer in layers_of(method, LAYERS)]
    for (_, layer), maps in every.items():
        side = {"layer2.1": 8, "layer4.0": 2, "input": 16}[layer]
        assert maps.shape == (4, side, side) and maps.dtype == np.float32 and np.isfinite(maps).all()


def test_batch_chunk_order_and_company_do_not_matter_and_the_noise_belongs_to_the_image(every):
    model, images = network(width=4), pictures(4, 16)

    def maps_of(rows, index, seed=0):
        explainer = Explainer(model, names(), LAYERS, Settings(seed, samples=2, chunk=40))
        found, _ = explainer.maps(images[rows], np.array(index), torch.from_numpy(TARGETS[rows]))
        return {key: maps.numpy() for key, maps in found.items()}

    order = [2, 0, 3, 1]
    assert_close(maps_of(order, order), {key: maps[order] for key, maps in every.items()}, 2e-5)
    alone, *others = (maps_of([2], [place], seed) for seed, place in ((0, 2), (1, 2), (0, 0)))
    assert_close(alone, {key: maps[2:3] for key, maps in every.items()}, 2e-5)
    for other, (method, layer) in itertools.product(others, every):
        mine = alone[method, layer]
        same = np.allclose(other[method, layer], mine, rtol=0, atol=1e-6 * np.abs(mine).max())
        assert same == (method not in STOCHASTIC)


@pytest.mark.parametrize("methods", [names(), *(["smoothgradcam++"], ["scorecam"], ["smoothgrad"])])
@pytest.mark.parametrize("passes", [1, 1000])
def test_the_network_is_left_as_found_even_after_an_error_and_nothing_is_said(
    methods, passes, capsys, recwarn, one_size
):
    model, count, x = network(width=4).train(), itertools.count(), to_input(pictures(3, 16))
    model.backbone.layer2.eval()
    model.backbone.conv1.weight.requires_grad_(False)
    model(x).sum().backward()  # gradients that are there stay

    def fail(module, inputs):
        if next(count) >= passes:
            raise KeyError("in the middle")

    model.backbone.layer4.register_forward_pre_hook(fail)
    before, random = state(model), torch.get_rng_state()
    with pytest.raises(KeyError) if passes == 1 else contextlib.nullcontext():
        explain(model, pictures(3, 16), methods=methods, layers=["layer2.0"], settings=Settings(samples=2))
    assert_same(before, state(model))
    assert torch.equal(torch.get_rng_state(), random)  # dropout drew nothing
    assert not any(capsys.readouterr()) and not recwarn.list


def test_a_first_step_in_place_changes_neither_maps_nor_images():
    few = Settings(samples=2)
    expected = maps_of(Net(start=lambda x: (x - 128) / 64), names(), settings=few)
    x, model = to_input(pictures(3, 16)), Net(start=lambda x: x.sub_(128).div_(64)).eval()
    assert_close(maps_of(model, names(), settings=few), expected)
    cams(model, x, METHODS, {"layer": model.layer})
    assert torch.equal(x, to_input(pictures(3, 16)))


@pytest.mark.parametrize("layer", ["relu", "layer2.0", "layer2.0.bn2"])
def test_relus_and_additions_in_place_do_not_matter(layer):
    """torchvision's blocks add to the output of bn2 in place, and rectify the output of bn1 in place.

    A module that runs twice, as their ReLU does, is explained where it runs last.
    """
    model, x, kept = network(), to_input(pictures(3, 16)), {}

    def probe(module, inputs, out):
        """A copied, and a zero added to it, whose gradient is that of the layer's output."""
        kept.update(A=out.detach().clone(), zero=torch.zeros_like(out, requires_grad=True))
        return out + kept["zero"]

    handle = model.backbone.get_submodule(layer).register_forward_hook(probe)
    logits = model(x)
    handle.remove()
    (g,) = torch.autograd.grad(logits.gather(1, logits.argmax(1)[:, None]).sum(), kept["zero"])
    assert_close(maps_of(model, layer="layer3.1.relu"), maps_of(model, layer="layer3.1"), 1e-7)
    by_hand = {"hirescam": kept["A"] * g, "layercam": kept["A"] * g.relu()}
    assert_close(maps_of(model, layer=layer), {name: maps.sum(1).numpy() for name, maps in by_hand.items()})


STOPS = {
    "detach": lambda logits: logits.detach(),
    "inference": torch.inference_mode()(lambda logits: logits + 1),
    "argmax": lambda logits: nn.functional.one_hot(logits.argmax(1), 3) * 5.0,
}


@pytest.mark.parametrize("stop", STOPS)
def test_a_step_without_gradient_is_named(stop):
    model = Net(head=STOPS[stop]).train()
    before = state(model)
    for method in ("gradcam", "saliency"):
        with pytest.raises(ValueError, match=r"Net has a step that stops the gradient .*; score CAMs and o"):
            explain(model, pictures(3, 16), methods=[method], layers=["layer"])
    assert_same(before, state(model))
    assert np.isfinite(maps_of(model, ["scorecam"])["scorecam"]).all()  # as the message says
    assert explain(model, pictures(3, 16), methods=["occlusion"])["occlusion", "input"].shape == (3, 16, 16)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_step_without_gradient_before_the_layer_does_not_matter(frozen):
    expected = maps_of(Net(start=lambda x: x / 255))
    model = Net(start=lambda x: torch.from_numpy(x.detach().numpy() / np.float32(255)))
    model.requires_grad_(not frozen)
    assert_close(maps_of(model), expected)
    assert all(p.requires_grad is not frozen for p in model.parameters())


def test_a_layer_behind_which_the_gradient_stops():
    class Side(Net):
        def forward(self, x):
            y = self.layer(self.conv(x))
            with torch.no_grad():
                y = self.norm(y)
            return self.fc(y.mean((2, 3)))

    for frozen in (False, True):
        model = Side().requires_grad_(not frozen)
        match = r"layers=\['layer', 'norm'\]: the logits do not depend on them, or by a step that stops"
        with pytest.raises(ValueError, match="a step that stops" if frozen else match):
            explain(model, pictures(3, 16), methods=["gradcam"], layers=["layer", "norm"])


class Odd(Net):
    """`layer` gives something else than maps."""

    def __init__(self, function):
        super().__init__()
        self.layer.forward = function

    def forward(self, x):
        self.layer(x)
        return self.fc(self.conv(x).mean((2, 3)))


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda x: {"maps": x}, r"'layer' gives dict of maps: \(3, .*; a CAM needs maps .*: in one tensor"),
        (lambda x: x.mean((2, 3)), r"layer 'layer' gives \(3, 1\); a CAM needs maps"),
        (lambda x: x.long(), r"layer 'layer' gives \(3, 1, 16, 16\) of torch.int64; .* tensor of float32"),
        (lambda x: x.repeat(2, 1, 1, 1), r"gives \(6, 1, 16, 16\) for 3 images; .* one set for each image"),
    ],
)
def test_layers_that_give_no_maps(function, match):
    model = Odd(function).train()
    before = state(model)
    with pytest.raises(ValueError, match=match):
        maps_of(model, ["gradcam"])
    assert_same(before, state(model))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")
def test_images_on_another_device_than_the_network():
    expected = maps_of(network(), layer=LAYER)
    model = network().cuda()
    layers = {LAYER: model.backbone.get_submodule(LAYER)}
    maps, _ = cams(model, to_input(pictures(3, 16)), METHODS, layers)
    assert all(found.is_cuda for found in maps.values())
    assert_close({method: found.cpu().numpy() for (method, _), found in maps.items()}, expected, 1e-3)
    assert_close(maps_of(model, layer=LAYER, device="cpu"), expected)


class Plain(nn.Module):
    """No convolution, and a `config` that is no dict."""

    config = "of my own"

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(28 * 28, 3)

    def forward(self, x):
        return self.fc(x.flatten(1))


def test_maps_of_the_input_need_no_layers(tiny):
    maps = explain(Plain(), tiny.images[:2], methods=["saliency"])
    assert [*maps] == [("saliency", "input")]
    explainer = drift.Explainer(Plain(), ["saliency"])
    assert len(drift.measure(explainer, tiny[:2], [("contrast", 3)])) == 2
    trust.scale(explainer, tiny[:2])
    with pytest.raises(ValueError, match="gives one logit; give two, one a class"):
        explain(nn.Sequential(nn.Flatten(), nn.Linear(784, 1)), tiny.images[:2], methods=["saliency"])
    with pytest.raises(ValueError, match="no layers"):
        explain(Plain(), tiny.images[:2], methods=["gradcam"])
