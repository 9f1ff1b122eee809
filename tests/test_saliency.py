"""Gradient CAMs: by hand, against other libraries, and what is done to their maps."""

import itertools

import numpy as np
import pytest
import pytorch_grad_cam as peer
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from medrob import models
from medrob.saliency import Noise, Settings, degenerate, explain, identity, names, normalise, upsample
from medrob.saliency.of_layers import ONE_PASS as ALL
from medrob.saliency.of_layers import cams, formulas, smooth_weights

pytestmark = pytest.mark.usefixtures("one_size")


class Toy(nn.Module):
    """One layer of two feature maps, and logits linear in them: A and g are known exactly."""

    def __init__(self, inplace=False):
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(1, 2, 1), nn.ReLU(inplace), nn.Linear(8, 2, bias=False)
        self.unused = nn.Conv2d(1, 1, 1)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))
            self.conv.bias.copy_(torch.tensor([0.0, -3.0]))
            self.fc.weight[0] = torch.tensor([1, -1, 2, 0, -1, 1, 1, 3])
            self.fc.weight[1] = torch.tensor([0, 0, 0, 4, -1, -1, -1, -1])

    def forward(self, x):
        return self.fc(self.relu(self.conv(x)).flatten(1))


# The picture, and what the ReLU makes of it: A1 = [1 2; 3 4], A2 = [0 1; 3 5], S1 = 10, S2 = 9.
PICTURE = np.array([[1, 2], [3, 4]], np.uint8).reshape(1, 2, 2, 1)
# Class 0: g1 = [1 -1; 2 0], g2 = [-1 1; 1 3].
PLUS1, PLUS2 = 1 / 12 + 2 / 22, 1 / 11 + 1 / 11 + 3 / 29
# [A1.A1 A1.A2; A1.A2 A2.A2] = [30 31; 31 35] has the larger eigenvalue (65 + sqrt(3869)) / 2.
E1, E2 = np.array([31, (5 + 3869**0.5) / 2]) / np.hypot(31, (5 + 3869**0.5) / 2)
BY_HAND = {
    "gradcam": [[0.5, 2.0], [4.5, 7.0]],  # w = .5, 1
    "gradcam++": [[PLUS1, 2 * PLUS1 + PLUS2], [3 * PLUS1 + 3 * PLUS2, 4 * PLUS1 + 5 * PLUS2]],
    "xgradcam": [[0.5, 1 + 19 / 9], [1.5 + 19 / 3, 2 + 95 / 9]],  # w = 5/10, 19/9
    "hirescam": [[1, -1], [9, 15]],  # [1 -2; 6 0] + [0 1; 3 15]
    "layercam": [[1, 1], [9, 15]],  # [1 0; 6 0] + [0 1; 3 15]
    "eigencam": [[E1, 2 * E1 + E2], [3 * E1 + 3 * E2, 4 * E1 + 5 * E2]],
}


def network(seed=0, *, width=8, channels=1, stem="small"):
    """A small residual network with random weights, and random statistics in its batch normalisation."""
    model = models.build(in_channels=channels, num_classes=3, width=width, stem=stem, seed=seed)
    rng = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=rng)
            module.running_var.uniform_(0.5, 2, generator=rng)
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5, generator=rng)
                module.bias.normal_(0, 0.3, generator=rng)
    return model.eval()


def pictures(n=4, size=32, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), np.uint8)


def to_input(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).float()


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def found(model):
    return explain(model, pictures(), methods=ALL)


def test_one_layer_network_by_hand():
    toy = Toy().double()
    maps, logits = cams(toy, to_input(PICTURE), ALL, {"relu": toy.relu}, torch.tensor([0]))
    np.testing.assert_allclose(logits, [[24, 7]], rtol=1e-12)  # 5 + 19; 16 - 9
    public = explain(toy, PICTURE, methods=ALL, layers=["relu"], targets=0)
    for method in ALL:
        assert maps[method, "relu"].dtype == torch.float64 and public[method, "relu"].dtype == np.float32
        np.testing.assert_allclose(maps[method, "relu"][0], BY_HAND[method], rtol=1e-12)
        np.testing.assert_allclose(public[method, "relu"][0], BY_HAND[method], rtol=1e-6)
    assert {*BY_HAND} == {*ALL} and len(names()) == len({*names()}) == 15


positive = arrays(np.float64, (1, 3, 2, 3), elements=st.floats(0, 50))
far = st.floats(-20, 20).filter(lambda g: g == 0 or abs(g) > 1e-3)
signed = arrays(np.float64, (1, 3, 2, 3), elements=far)


@given(positive, signed)
@settings(max_examples=60, deadline=None)
def test_closed_form_of_grad_cam_plus_plus_is_equation_19(A, g):
    total = A.sum((2, 3), keepdims=True)
    r = np.maximum(g, 0)
    alpha = np.divide(r**2, 2 * r**2 + total * r**3, out=np.zeros_like(g), where=r > 0)
    expected = ((alpha * r).sum((2, 3), keepdims=True) * A).sum(1)
    got = formula("gradcam++", A, g)
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


@given(positive, signed)
@settings(max_examples=30, deadline=None)
def test_identities_of_the_formulas(A, g):
    np.testing.assert_allclose(formula("layercam", A, g), np.maximum(A * g, 0).sum(1), atol=1e-9)
    assert np.isfinite(formula("xgradcam", A * [[[[0]], [[1]], [[1]]]], g)).all()  # a channel says nothing
    flat = np.broadcast_to(g[:, :, :1, :1], g.shape).copy()  # a gradient equal at every position
    plain = formula("gradcam", A, flat)
    for method in ("hirescam", "xgradcam"):
        np.testing.assert_allclose(formula(method, A, flat), plain, rtol=1e-9, atol=1e-9)


def formula(method, A, g):
    return formulas(torch.from_numpy(A), torch.from_numpy(g), [method])[method].numpy()


def test_the_sum_of_gradcam_is_the_logit_less_its_bias_where_the_network_ends_so_and_nowhere_else(model):
    images = pictures(3)
    same = identity(model, images, "layer4.1")
    assert same["sum"] == pytest.approx(same["logit"] - same["bias"], rel=1e-3, abs=1e-4)
    assert same["sum"].all()
    assert identity(model, images, "layer3.1") is None
    model.config["order"] = [2, 0, 1]  # its outputs in the order of other classes
    other = identity(model, images, "layer4.1")
    assert other["logit"] == pytest.approx(same["logit"]) and other["sum"] == pytest.approx(same["sum"])
    del model.config["order"]
    assert identity(nn.Sequential(model, nn.Softplus()), images, "0.backbone.layer4.1") is None


PEERS = {"gradcam": "GradCAM", "xgradcam": "XGradCAM", "layercam": "LayerCAM", "hirescam": "HiResCAM"}
PEERS |= {"gradcam++": "GradCAMPlusPlus"}
TARGETS = np.array([0, 2, 1, 1])


def ours_enlarged(maps, size=32):
    """As the libraries give them: normalised, enlarged, normalised again."""
    return normalise(upsample(normalise(torch.as_tensor(maps)), size)).numpy()


@pytest.mark.parametrize("layer", ["layer2.1", "layer4.1"])
@pytest.mark.parametrize("method", PEERS)
def test_agrees_with_pytorch_grad_cam(layer, method):
    """It adds 1e-6 to 2 g^2 + S g^3 of Grad-CAM++, which decides where g is small: there g is made large."""
    images, model, large = pictures(), network(), method == "gradcam++"
    with torch.no_grad():
        model.backbone.fc.weight.mul_(3000 if large else 1)
    ours = explain(model, images, methods=[method], layers=[layer], targets=TARGETS)[method, layer]
    with getattr(peer, PEERS[method])(model, [models.cam_layers(model)[layer]]) as cam:
        theirs = cam(to_input(images), [ClassifierOutputTarget(t) for t in TARGETS])
    assert theirs.max() > 0.9
    np.testing.assert_allclose(ours_enlarged(ours), theirs, atol=1e-3 if large else 1e-4)


def eigen(A):
    return formula("eigencam", A, np.zeros(1))


def by_svd(A):
    """The projection on the first right singular vector of positions x channels, of a sum not below 0."""
    maps = []
    for a in A:
        _, _, vectors = np.linalg.svd(a.reshape(len(a), -1).T)
        projected = np.tensordot(vectors[0], a, 1)
        maps.append(projected * (-1 if projected.sum() < 0 else 1))
    return np.stack(maps)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 9, 2, 3), (2, 4, 2, 2), (1, 1, 3, 3), (2, 5, 1, 1)])
@pytest.mark.parametrize("offset", [2.0, -2.0])
def test_eigencam_is_the_singular_vector(shape, offset):
    A = np.random.default_rng(0).normal(offset, 1, shape)
    np.testing.assert_allclose(eigen(A), by_svd(A), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(eigen(-A), eigen(A), rtol=1e-9)
    positive = eigen(np.abs(A))
    assert (positive >= -1e-9 * positive.max()).all()  # Perron and Frobenius


SMOOTH = "smoothgradcam++"


def test_smooth_weights_by_hand():
    """Copies with g = [1 2] and [3 -2]: D1 = [2 0], D2 = [5 4], D3 = [14 0]; A = [1 3], S = 4.

    2 D2 + S D3 is 0 without any gradient, and at poles such as 2 * 2 - 4 * 1: then nothing is weighed.
    """
    A, first, second = (torch.tensor([[[row]]]).double() for row in ([1, 3], [1, 2], [3, -2]))
    D = [(first**p + second**p) / 2 for p in (1, 2, 3)]
    assert [d.flatten().tolist() for d in D] == [[2, 0], [5, 4], [14, 0]]
    np.testing.assert_allclose(smooth_weights(A, *D), [[2 * 5 / (10 + 4 * 14)]], rtol=1e-12)
    D1, D2, D3 = (torch.tensor([[[row]]]) for row in ([1.0, 0.0], [2.0, 0.0], [-1.0, 0.0]))
    assert smooth_weights(A, D1, D2, D3).tolist() == [[0]]


@pytest.mark.parametrize("noise", [0, 0.5])
def test_gradients_that_do_not_change_give_grad_cam_plus_plus(noise):
    """The logits of this network are linear in its layer: noisy copies have the same gradient."""
    how = dict(methods=[SMOOTH], layers=["relu"], targets=0, settings=Settings(samples=4, noise=noise))
    maps = explain(Toy().double(), PICTURE, **how)
    np.testing.assert_allclose(maps[SMOOTH, "relu"][0], BY_HAND["gradcam++"], rtol=1e-6)


def test_smooth_agrees_with_one_copy_at_a_time():
    """Every image and copy by itself, through autograd on float64; all layers at the cost of one."""
    model, images = network().double(), pictures(3, 16)
    module, passes = models.cam_layers(model)["layer2.1"], []
    with model.register_forward_hook(lambda *_: passes.append(1)):
        how = dict(methods=[SMOOTH], targets=TARGETS[:3], settings=Settings(samples=3))
        ours = explain(model, images, **how)[SMOOTH, "layer2.1"]
    assert len(passes) == 3 + 2  # the copies; the logits and the activations
    for i, image in enumerate(to_input(images).double()):
        kept, D = {}, 0.0
        with module.register_forward_hook(lambda m, given, out, kept=kept: kept.update(A=out)):
            for copy in range(3):
                field = Noise(0, [i]).normal(image.shape, torch.device("cpu"), copy)
                (g,) = torch.autograd.grad(model(image + 0.15 * 255 * field)[0, TARGETS[i]], kept["A"])
                D = D + np.stack([g[0].numpy() ** p / 3 for p in (1, 2, 3)])
            model(image[None])
        A = kept["A"][0].detach().numpy()
        bottom = 2 * D[1] + A.sum((1, 2), keepdims=True) * D[2]
        alpha = np.where(bottom == 0, 0, D[1] / np.where(bottom == 0, 1, bottom))
        w = (alpha * np.maximum(D[0], 0)).sum((1, 2))
        np.testing.assert_allclose(ours[i], np.tensordot(w, A, 1), rtol=1e-5, atol=1e-12)


def test_one_pass_for_all_is_method_by_method_and_layer_by_layer(model, found):
    for method, layer in zip(ALL, itertools.cycle(("layer1.0", "layer3.0", "layer4.1"))):
        alone = explain(model, pictures(), methods=[method], layers=[layer])
        assert list(alone) == [(method, layer)]
        close(alone[method, layer], found[method, layer])


def close(a, b):
    np.testing.assert_allclose(a, b, atol=1e-5 * max(np.abs(b).max(), 1e-12), rtol=1e-4)


def test_a_batch_costs_one_forward_and_one_backward_pass():
    model, count = network(), {"forward": 0, "backward": 0}
    models.cam_layers(model)  # found once, by passes of their own
    model.backbone.fc.register_forward_hook(lambda *_: count.update(forward=count["forward"] + 1))
    model.backbone.fc.register_full_backward_hook(lambda *_: count.update(backward=count["backward"] + 1))
    explain(model, images := pictures(5), methods=ALL, batch_size=2)
    assert count == {"forward": 3, "backward": 3} and np.array_equal(images, pictures(5))


def test_without_targets_the_predicted_class_is_explained(model, found):
    images, layer = pictures(), "layer3.1"
    with torch.no_grad():
        predicted = model(to_input(images)).argmax(1).numpy()
    named, other = (
        explain(model, images, methods=["gradcam"], layers=[layer], targets=(predicted + k) % 3)
        for k in (0, 1)
    )
    close(named["gradcam", layer], found["gradcam", layer])
    assert not np.allclose(other["gradcam", layer], found["gradcam", layer], rtol=0.05)


def test_the_layer_before_a_relu_in_place_by_hand():
    """Before the ReLU, A2 = [-1 1; 3 5] and g2 = [0 1; 1 3], so w = (1-1+2+0)/4 = .5, (0+1+1+3)/4 = 1.25."""
    maps = explain(Toy(True), PICTURE, methods=["gradcam"], layers=["conv"], targets=0)
    np.testing.assert_allclose(maps["gradcam", "conv"][0], [[-0.75, 2.25], [5.25, 8.25]])


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (dict(methods=["gradcam", "gradcom"]), ValueError, "unknown 'gradcom'; did you mean 'gradcam'"),
        (dict(layers=["relu", "fc"]), ValueError, r"layer 'fc' gives \(2, 3\); a CAM needs maps"),
        (dict(layers=["avgpool"]), ValueError, "layers give no map of the picture: 'avgpool': "),
        (dict(layers=["input"]), ValueError, "unknown 'input'"),
        (dict(targets=np.array([0, 7])), ValueError, r"targets hold \[7\]; the network's classes are 0 to 2"),
        (dict(targets=np.array([0, 1, 2])), ValueError, "broadcast"),
        (dict(targets=np.array([0.0, 1.5])), TypeError, "Cannot cast"),
        (dict(device="quantum"), ValueError, "device='quantum' cannot be used"),
    ],
)
def test_bad_arguments_are_named(model, change, error, match):
    with pytest.raises(error, match=match):
        explain(model, pictures(2), **{"methods": ["gradcam"], **change})


def test_half_precision_is_refused():
    with pytest.raises(ValueError, match=r"too coarse for maps; give model\.float\(\)"):
        explain(network().bfloat16(), pictures(2), methods=["gradcam"])


def test_layers_that_do_not_take_part_are_named():
    with pytest.raises(ValueError, match=r"layers=\['unused'\] do not run"):
        explain(Toy(), PICTURE, methods=["gradcam"], layers=["relu", "unused"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normalise_by_hand(dtype):
    raw = torch.tensor([[[-1.0, 2.0], [4.0, 8.0]], [[20.0, 40.0], [60.0, 40.0]]], dtype=dtype)
    before, out = raw.clone(), normalise(raw)
    assert out.dtype == dtype and torch.equal(raw, before)
    np.testing.assert_allclose(out, [[[0, 0.25], [0.5, 1]], [[0, 0.5], [1, 0.5]]], rtol=1e-6)
    flat = torch.tensor([0.0, -2.0, 5.0], dtype=dtype)[:, None, None].expand(3, 3, 3)
    assert not normalise(flat).any()


def test_upsample_by_hand():
    """Centres aligned: the enlarged pixels lie at -1/4, 1/4, 3/4, 5/4 of the small ones, clamped."""
    out = upsample(torch.tensor([[[0.0, 4.0], [0.0, 4.0]]]), 4)
    np.testing.assert_allclose(out, np.broadcast_to([0.0, 1.0, 3.0, 4.0], (1, 4, 4)))
    assert upsample(torch.rand(2, 3, 4), (6, 7)).shape == (2, 6, 7)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0, 0], [0, 1]], False),
        ([[-9, -8], [-7, 1e-20]], False),  # small, but it has a highest place
        ([[-1, -2], [-3, -4]], True),  # nothing positive
        ([[3, 3], [3, 3]], True),  # no spread
        ([[1, 1], [1, 1 + 1e-7]], True),  # none beyond rounding
        ([[1, 1], [1, 1 + 1e-5]], False),
        ([[1e-42, 0], [0, 0]], True),  # too small to be normalised
        ([[np.nan, 1], [2, 3]], True),
        ([[1, 2, 3]], True),  # three positions
        ([[5]], True),
        ([[1, 2, 3, 4]], False),
    ],
)
def test_degenerate_by_hand(values, expected):
    assert degenerate(torch.tensor([values], dtype=torch.float32)).tolist() == [expected]
