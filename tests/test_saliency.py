import itertools

import numpy as np
import pytest
import pytorch_grad_cam as peer
import torch
import torchcam.methods as torchcam
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from scipy.stats import rankdata
from torch import nn

from medrob import models
from medrob.saliency import Settings, cams, degenerate, explain, names, normalise, upsample
from medrob.saliency.explain import ONE_PASS
from medrob.saliency.maps import ranks

ALL = ONE_PASS
BLOCKS = [f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)]


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
    "gradcam-elementwise": [[1, 1], [9, 15]],
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


# -- By hand -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ALL)
def test_one_layer_network_by_hand(method):
    toy = Toy().double()
    maps, logits = cams(toy, to_input(PICTURE), [method], {"relu": toy.relu}, torch.tensor([0]))
    assert maps[method, "relu"].dtype == torch.float64
    np.testing.assert_allclose(maps[method, "relu"][0], BY_HAND[method], rtol=1e-12)
    np.testing.assert_allclose(logits, [[24, 7]], rtol=1e-12)  # 5 + 19; 16 - 9
    public = explain(toy, PICTURE, methods=[method], layers=["relu"], targets=0)[method, "relu"]
    assert public.dtype == np.float32
    np.testing.assert_allclose(public[0], BY_HAND[method], rtol=1e-6)


def test_the_table_by_hand_has_every_method():
    assert {*BY_HAND} == {*ALL} == {*names("gradient-cam")} - {"smoothgradcam++"}


positive = arrays(np.float64, (1, 3, 2, 3), elements=st.floats(0, 50))
signed = arrays(
    np.float64, (1, 3, 2, 3), elements=st.floats(-20, 20).filter(lambda g: g == 0 or abs(g) > 1e-3)
)


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
    np.testing.assert_allclose(formula("layercam", A, g), formula("gradcam-elementwise", A, g), atol=1e-9)
    flat = np.broadcast_to(g[:, :, :1, :1], g.shape).copy()  # a gradient equal at every position
    for method in ("hirescam", "xgradcam"):
        np.testing.assert_allclose(
            formula(method, A, flat), formula("gradcam", A, flat), rtol=1e-9, atol=1e-9
        )


def formula(method, A, g):
    """The map of a method, from activations and gradients: through a network that has just these."""

    class Given(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.g = nn.Identity(), torch.from_numpy(g)
            self.anchor = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, x):
            return (self.layer(x) * self.g).sum((1, 2, 3))[:, None]

    model = Given()
    maps, _ = cams(model, torch.from_numpy(A), [method], {"layer": model.layer})
    return maps[method, "layer"].numpy()


def test_xgradcam_of_a_channel_without_activation_is_finite():
    A, g = np.zeros((1, 2, 2, 2)), np.ones((1, 2, 2, 2))
    A[0, 1] = [[1, 2], [3, 4]]
    np.testing.assert_allclose(formula("xgradcam", A, g)[0], A[0, 1])


# -- Identities on a network -------------------------------------------------------------------------


def test_last_block_gradcam_hirescam_and_xgradcam_are_one_map(found):
    """Global average pooling and a linear layer: the gradient is the same at every position."""
    last = {m: found[m, "layer4.1"] for m in ("gradcam", "hirescam", "xgradcam")}
    scale = np.abs(last["gradcam"]).max()
    assert scale > 0
    for method in ("hirescam", "xgradcam"):
        np.testing.assert_allclose(last[method], last["gradcam"], atol=1e-5 * scale)
    # ... and only there: elsewhere they are different methods.
    assert not np.allclose(found["gradcam", "layer3.1"], found["hirescam", "layer3.1"], rtol=0.1)
    assert not np.allclose(found["gradcam", "layer3.1"], found["xgradcam", "layer3.1"], rtol=0.1)


@pytest.mark.parametrize("layer", BLOCKS)
def test_layercam_is_elementwise_gradcam_at_every_block(found, layer):
    a, b = found["layercam", layer], found["gradcam-elementwise", layer]
    np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())
    assert (a >= 0).all()


# -- Other libraries ---------------------------------------------------------------------------------

ORACLE_LAYERS = ["layer1.0", "layer2.1", "layer3.1", "layer4.0", "layer4.1"]
TARGETS = np.array([0, 2, 1, 1])


def ours_enlarged(maps, size=32):
    """As the libraries give them: normalised, enlarged, normalised again."""
    return normalise(upsample(normalise(maps), size))


@pytest.mark.parametrize("layer", ORACLE_LAYERS)
@pytest.mark.parametrize(
    ("method", "other"),
    [("gradcam", "GradCAM"), ("xgradcam", "XGradCAM"), ("layercam", "LayerCAM"), ("hirescam", "HiResCAM")],
)
def test_agrees_with_pytorch_grad_cam(model, layer, method, other):
    images = pictures()
    ours = explain(model, images, methods=[method], layers=[layer], targets=TARGETS)[method, layer]
    with getattr(peer, other)(model, [models.cam_layers(model)[layer]]) as cam:
        theirs = cam(to_input(images), [ClassifierOutputTarget(t) for t in TARGETS])
    assert theirs.max() > 0.9
    np.testing.assert_allclose(ours_enlarged(ours), theirs, atol=1e-4)
    model.zero_grad(set_to_none=True)


@pytest.mark.parametrize("layer", ORACLE_LAYERS)
@pytest.mark.parametrize(
    ("method", "other"), [("gradcam", "GradCAM"), ("xgradcam", "XGradCAM"), ("layercam", "LayerCAM")]
)
def test_agrees_with_torch_cam(model, layer, method, other):
    images = pictures()
    ours = explain(model, images, methods=[method], layers=[layer], targets=TARGETS)[method, layer]
    theirs = torch_cam(other, model, layer, images)
    assert theirs.max() > 0.9
    np.testing.assert_allclose(ours_enlarged(ours), ours_enlarged(theirs), atol=1e-4)


def torch_cam(name, model, layer, images):
    """The normalised maps of torch-cam, at the layer's resolution."""
    with getattr(torchcam, name)(model, f"backbone.{layer}", input_shape=(1, 32, 32)) as extractor:
        (maps,) = extractor(TARGETS.tolist(), model(to_input(images).requires_grad_()))
    return maps.detach().numpy()


@pytest.mark.parametrize("layer", ORACLE_LAYERS)
def test_grad_cam_plus_plus_agrees_with_pytorch_grad_cam_up_to_its_epsilon(layer):
    """It adds 1e-6 to 2 g^2 + S g^3, which decides the result where g is small: here g is made large."""
    big = network()
    with torch.no_grad():
        big.backbone.fc.weight.mul_(3000)
    images = pictures()
    ours = explain(big, images, methods=["gradcam++"], layers=[layer], targets=TARGETS)["gradcam++", layer]
    with peer.GradCAMPlusPlus(big, [models.cam_layers(big)[layer]]) as cam:
        theirs = cam(to_input(images), [ClassifierOutputTarget(t) for t in TARGETS])
    np.testing.assert_allclose(ours_enlarged(ours), theirs, atol=1e-3)


@pytest.mark.parametrize("layer", ["layer2.1", "layer4.1"])
def test_torch_cam_is_no_oracle_for_grad_cam_plus_plus(model, layer):
    """torch-cam up to 0.5.0 divides a copy of alpha, so that its weights are the sum of ReLU(g)^3."""
    images = pictures()
    theirs = torch_cam("GradCAMpp", model, layer, images)
    kept = {}
    module = models.cam_layers(model)[layer]
    handle = module.register_forward_hook(lambda m, i, out: kept.update(A=out))
    logits = model(to_input(images).requires_grad_())
    handle.remove()
    (g,) = torch.autograd.grad(logits.gather(1, torch.from_numpy(TARGETS)[:, None]).sum(), kept["A"])
    cubes = torch.einsum("nk,nkhw->nhw", (g.relu() ** 3).sum((2, 3)), kept["A"]).detach()
    # torch-cam adds a small number when it normalises, which shows where the cubes are tiny.
    np.testing.assert_allclose(normalise(cubes), theirs, atol=1e-3)
    ours = explain(model, images, methods=["gradcam++"], layers=[layer], targets=TARGETS)["gradcam++", layer]
    assert np.abs(normalise(ours) - theirs).max() > 0.02


# -- How it is called --------------------------------------------------------------------------------


def test_shapes_types_and_order(model, found):
    assert list(found) == [*itertools.product(ALL, BLOCKS)]
    sizes = {1: 32, 2: 16, 3: 8, 4: 4}
    for (_, layer), maps in found.items():
        side = sizes[int(layer[5])]
        assert maps.shape == (4, side, side) and maps.dtype == np.float32 and np.isfinite(maps).all()


@pytest.mark.parametrize("method", ALL)
def test_one_pass_for_all_is_method_by_method_and_layer_by_layer(model, found, method):
    for layer in ("layer1.0", "layer3.0", "layer4.1"):
        alone = explain(model, pictures(), methods=[method], layers=[layer])
        assert list(alone) == [(method, layer)]
        close(alone[method, layer], found[method, layer])


def close(a, b):
    np.testing.assert_allclose(a, b, atol=1e-5 * max(np.abs(b).max(), 1e-12), rtol=1e-4)


def test_a_batch_costs_one_forward_and_one_backward_pass():
    model, count = network(), {"forward": 0, "backward": 0}
    model.backbone.fc.register_forward_hook(lambda *_: count.update(forward=count["forward"] + 1))
    model.backbone.fc.register_full_backward_hook(lambda *_: count.update(backward=count["backward"] + 1))
    explain(model, pictures(5), methods=ALL, batch_size=2)
    assert count == {"forward": 3, "backward": 3}


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batch_size_does_not_matter(model, found, batch_size):
    other = explain(model, pictures(), methods=ALL, batch_size=batch_size)
    for key in found:
        close(other[key], found[key])


def test_order_of_images_does_not_matter(model, found):
    order = np.array([2, 0, 3, 1])
    other = explain(model, pictures()[order], methods=ALL)
    for key in found:
        close(other[key], found[key][order])


def test_without_targets_the_predicted_class_is_explained(model, found):
    images = pictures()
    with torch.no_grad():
        predicted = model(to_input(images)).argmax(1).numpy()
    named = explain(model, images, methods=["gradcam"], targets=predicted)
    other = explain(model, images, methods=["gradcam"], targets=(predicted + 1) % 3)
    for layer in BLOCKS:
        close(named["gradcam", layer], found["gradcam", layer])
        assert not np.allclose(other["gradcam", layer], found["gradcam", layer], rtol=0.05)


def test_one_target_for_all(model):
    one = explain(model, pictures(), methods=["gradcam"], layers=["layer4.1"], targets=2)
    each = explain(model, pictures(), methods=["gradcam"], layers=["layer4.1"], targets=np.full(4, 2))
    np.testing.assert_array_equal(*(x["gradcam", "layer4.1"] for x in (one, each)))


def test_a_batch_of_one_and_of_none(model, found):
    one = explain(model, pictures()[:1], methods=ALL)
    none = explain(model, pictures()[:0], methods=ALL)
    for key in found:
        close(one[key], found[key][:1])
        assert none[key].shape == (0, *found[key].shape[1:]) and none[key].dtype == np.float32


def test_images_are_not_changed_nor_a_tensor_given_to_cams(model):
    images = pictures()
    before = images.copy()
    explain(model, images, methods=ALL)
    np.testing.assert_array_equal(images, before)
    x = to_input(images)
    cams(model, x, ["gradcam"], {"layer4.1": models.cam_layers(model)["layer4.1"]})
    assert not x.requires_grad and x.grad is None


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_off(model, found, context):
    with context():
        close(
            explain(model, pictures(), methods=["gradcam"])["gradcam", "layer2.0"],
            found["gradcam", "layer2.0"],
        )
        assert not torch.is_grad_enabled()


def test_rgb_and_the_torchvision_stem():
    model = network(channels=3, stem="torchvision")
    maps = explain(model, pictures(2, 64, 3), methods=["layercam"], layers="all")
    assert [m.shape[1] for m in maps.values()] == [16, 16, 8, 8, 4, 4, 2, 2]


# -- The network is left as found --------------------------------------------------------------------


def state(model):
    return (
        {name: module.training for name, module in model.named_modules()},
        {name: (p.requires_grad, p.grad is None, p.detach().clone()) for name, p in model.named_parameters()},
        {name: buffer.clone() for name, buffer in model.named_buffers()},
        [len(m._forward_hooks) + len(m._backward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
    )


def assert_same_state(a, b):
    assert a[0] == b[0] and a[3] == b[3]
    for name, (requires_grad, empty, value) in a[1].items():
        assert (requires_grad, empty) == b[1][name][:2] and torch.equal(value, b[1][name][2])
    assert all(torch.equal(value, b[2][name]) for name, value in a[2].items())


@pytest.mark.parametrize("layers", [["layer2.0"], ["layer2.0", "fc"]])
def test_the_network_is_left_as_found_even_after_an_error(layers):
    model = network()
    model.train()
    model.backbone.layer2.eval()
    model.backbone.layer3[0].bn1.eval()
    model.backbone.conv1.weight.requires_grad_(False)
    before = state(model)
    if "fc" in layers:
        with pytest.raises(ValueError, match=r"layer 'fc' gives \(4, 3\); a CAM needs maps \(N, K, h, w\)"):
            explain(model, pictures(), methods=ALL, layers=layers)
    else:
        explain(model, pictures(), methods=ALL, layers=layers)
    assert_same_state(before, state(model))


def test_a_network_in_training_mode_is_explained_in_eval_mode(found):
    maps = explain(network().train(), pictures(), methods=["gradcam"])
    close(maps["gradcam", "layer3.0"], found["gradcam", "layer3.0"])


def test_frozen_parameters_do_not_matter(found):
    frozen = network().requires_grad_(False)
    maps = explain(frozen, pictures(), methods=["gradcam++"])
    close(maps["gradcam++", "layer1.0"], found["gradcam++", "layer1.0"])
    assert not any(p.requires_grad for p in frozen.parameters())


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("layer", ["conv", "relu"])
def test_a_relu_in_place_does_not_overwrite_the_layer_before_it(method, layer):
    maps = [
        explain(Toy(inplace), PICTURE, methods=[method], layers=[layer], targets=0)[method, layer]
        for inplace in (False, True)
    ]
    np.testing.assert_array_equal(*maps)


def test_the_layer_before_a_relu_in_place_by_hand():
    """Before the ReLU, A2 = [-1 1; 3 5] and g2 = [0 1; 1 3], so w = (1-1+2+0)/4 = .5, (0+1+1+3)/4 = 1.25."""
    maps = explain(Toy(True), PICTURE, methods=["gradcam"], layers=["conv"], targets=0)
    np.testing.assert_allclose(maps["gradcam", "conv"][0], [[-0.75, 2.25], [5.25, 8.25]])


def test_float64_network(found):
    maps = explain(network().double(), pictures(), methods=["gradcam"])
    close(maps["gradcam", "layer4.0"], found["gradcam", "layer4.0"])


# -- Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            dict(methods=["gradcam", "gradcom"]),
            r"unknown \['gradcom'\]; the methods are gradcam, gradcam\+\+",
        ),
        (dict(methods=[]), "the methods are"),
        (dict(layers=["layer5.0"]), r"has no \['layer5.0'\]; it has .*layer4\.1"),
        (dict(layers=[]), "names none"),
        (dict(layers=["relu", "fc"]), r"layer 'fc' gives \(2, 3\)"),
        (dict(targets=3), r"targets hold \[3\]; the network's classes are 0 to 2"),
        (dict(targets=np.array([0, 7])), r"targets hold \[7\]; the network's classes are 0 to 2"),
        (dict(targets=-1), "class number from 0"),
        (dict(targets=np.array([0, 1, 2])), "for each of 2 images"),
        (dict(targets=np.array([0.0, 1.0])), "class number from 0"),
        (dict(targets="label"), r"targets='label': give a class number from 0, or one for each of 2 images"),
        (dict(batch_size=0), "batch_size is 0, but must be an integer, 1 or more"),
        (dict(layers=["avgpool"]), r"layers=\['avgpool'\] leave no map: they give one value for the whole"),
        (dict(device="quantum"), "device='quantum' cannot be used"),
    ],
)
def test_bad_arguments_are_named(model, change, match):
    with pytest.raises(ValueError, match=match):
        explain(model, pictures(2), **{"methods": ["gradcam"], **change})


@pytest.mark.parametrize("size", [1.5, None, "64", True])
def test_a_batch_size_that_is_no_number(model, size):
    with pytest.raises(TypeError, match=r"batch_size is .*, but must be an integer, 1 or more"):
        explain(model, pictures(2), methods=["gradcam"], batch_size=size)


@pytest.mark.parametrize("window", [0.0, 2.0, float("nan")])
def test_a_window_larger_than_the_picture_or_none(window):
    with pytest.raises(ValueError, match=r"window=.*give a"):
        Settings(window=window)


def test_layers_can_be_given_as_modules(model, found):
    again = explain(
        model, pictures(), methods=["gradcam"], layers=[model.backbone.layer2[1]], targets=TARGETS
    )
    assert list(again) == [("gradcam", "layer2.1")]
    with pytest.raises(ValueError, match=r"has no \['Conv2d\(1, 1,.*it has layer1.0"):
        explain(model, pictures(), methods=["gradcam"], layers=[nn.Conv2d(1, 1, 1)])


@pytest.mark.parametrize(
    ("images", "error", "match"),
    [
        (pictures(2).astype(np.float32), TypeError, "images are float32; give a uint8 array"),
        (pictures(2)[0], ValueError, r"^images have shape \(32, 32, 1\); give \(N, H, W, C\)"),
        (pictures(2, channels=3), RuntimeError, "to have 1 channels"),
    ],
)
def test_bad_images_are_named(model, images, error, match):
    with pytest.raises(error, match=match):
        explain(model, images, methods=["gradcam"])


def test_layers_that_do_not_take_part_are_named():
    with pytest.raises(ValueError, match=r"layers=\['unused'\] do not run"):
        explain(Toy(), PICTURE, methods=["gradcam"], layers=["relu", "unused"])

    class Side(Toy):
        def forward(self, x):
            self.unused(x)
            return super().forward(x)

    with pytest.raises(ValueError, match=r"layers=\['unused'\]: the logits do not depend on them"):
        explain(Side(), PICTURE, methods=["gradcam"], layers=["relu", "unused"])


def test_a_network_without_known_blocks_needs_named_layers():
    with pytest.raises(ValueError, match="no layers that are known to give maps; name layers of your own"):
        explain(Toy(), PICTURE, methods=["gradcam"])
    with pytest.raises(ValueError, match="it has conv, relu, unused"):
        explain(Toy(), PICTURE, methods=["gradcam"], layers=["layer1"])


def test_unknown_family():
    with pytest.raises(ValueError, match="family='magic' is unknown; the families are all, gradient-cam"):
        names("magic")


# -- Normalising, enlarging, and maps without content -------------------------------------------------

RAW = np.array([[[-1.0, 2.0], [4.0, 8.0]]])


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("min-max", [[0, 0.25], [0.5, 1]]),
        ("sum-to-one", [[0, 2 / 14], [4 / 14, 8 / 14]]),
        ("rank", [[0.25, 0.5], [0.75, 1]]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_normalise_by_hand(how, expected, dtype, kind):
    raw = kind(RAW.astype(dtype))
    out = normalise(raw, how)
    assert type(out) is type(raw) and out.dtype == raw.dtype
    np.testing.assert_allclose(out[0], expected, rtol=1e-6)
    np.testing.assert_array_equal(raw, RAW)


def test_minmax_starts_at_the_lowest_value_and_ranks_share_ties():
    np.testing.assert_allclose(normalise(np.array([[[2.0, 4.0], [6.0, 4.0]]]))[0], [[0, 0.5], [1, 0.5]])
    np.testing.assert_allclose(
        normalise(np.array([[[-5.0, 0.0], [3.0, 3.0]]]), "rank")[0], [[0.375, 0.375], [0.875, 0.875]]
    )


def test_each_map_is_normalised_for_itself():
    maps = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    for how in ("min-max", "sum-to-one", "rank"):
        alone = [normalise(maps[i : i + 1] * 10**i, how)[0] for i in range(3)]
        np.testing.assert_allclose(normalise(maps, how), alone, rtol=1e-5)


def test_flat_maps_become_zero():
    flat = np.stack([np.zeros((3, 3)), np.full((3, 3), -2.0), np.full((3, 3), 5.0)])
    np.testing.assert_array_equal(normalise(flat), np.zeros((3, 3, 3)))
    assert np.isfinite(normalise(flat, "sum-to-one")).all()


def test_upsample_by_hand():
    """Centres aligned: the enlarged pixels lie at -1/4, 1/4, 3/4, 5/4 of the small ones, clamped."""
    out = upsample(np.array([[[0.0, 4.0], [0.0, 4.0]]]), 4)
    np.testing.assert_allclose(out, np.broadcast_to([0.0, 1.0, 3.0, 4.0], (1, 4, 4)))
    assert upsample(torch.rand(2, 3, 4), (6, 7)).shape == (2, 6, 7)
    assert upsample(np.empty((0, 3, 4), np.float32), 8).shape == (0, 8, 8)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0, 0], [0, 1]], False),
        ([[-9, -8], [-7, 1e-20]], False),  # small, but it has a highest place
        ([[-1, -2], [-3, -4]], True),  # nothing positive
        ([[0, 0], [0, 0]], True),
        ([[3, 3], [3, 3]], True),  # no spread
        ([[1, 1], [1, 1 + 1e-7]], True),  # none beyond rounding
        ([[1, 1], [1, 1 + 1e-5]], False),
        ([[1e-42, 0], [0, 0]], True),  # too small to be normalised
        ([[np.nan, 1], [2, 3]], True),
        ([[np.inf, 1], [2, 3]], True),
        ([[1, 2, 3]], True),  # three positions
        ([[5]], True),
        ([[1, 2, 3, 4]], False),
    ],
)
def test_degenerate_by_hand(values, expected, kind):
    maps = kind(np.array([values], np.float32))
    flag = degenerate(maps)
    assert type(flag) is type(maps) and flag.shape == (1,) and bool(flag[0]) is expected


@pytest.mark.parametrize("function", [normalise, degenerate, lambda maps: upsample(maps, 8)])
def test_a_single_map_or_integers_are_refused(function):
    for kind in (np.asarray, torch.from_numpy):
        with pytest.raises(ValueError, match=r"maps are .*\(2, 2\); give floating point \(N, h, w\)"):
            function(kind(RAW[0]))
        with pytest.raises(ValueError, match=r"maps are torch.int64 \(1, 2, 2\); give floating point"):
            function(kind(RAW.astype(np.int64)))


def test_unknown_normalisation():
    with pytest.raises(
        ValueError, match="how='softmax' is unknown; the normalisations are min-max, sum-to-one, rank"
    ):
        normalise(RAW, "softmax")


@pytest.mark.parametrize("size", [0, -3, 2.5, (3, 0), (1, 2, 3), "8"])
def test_a_size_that_no_picture_has(size):
    with pytest.raises(ValueError, match="give a whole number of pixels of at least 1, or"):
        upsample(RAW.astype(np.float32), size)


def test_what_explain_gives_can_be_normalised_and_enlarged(found):
    maps = found["gradcam", "layer4.0"]
    shown = upsample(normalise(maps), 32)
    assert isinstance(shown, np.ndarray) and shown.dtype == np.float32 and shown.shape == (4, 32, 32)
    assert shown.min() >= 0 and shown.max() <= 1


@given(
    arrays(
        np.float32, st.tuples(st.integers(1, 4), st.integers(1, 30)), elements=st.integers(0, 6).map(float)
    )
    | arrays(np.float32, (2, 20), elements=st.floats(0, 2.0**100, width=32)),
    st.sampled_from([np.float32, np.float64]),
)
@settings(max_examples=150, deadline=None)
def test_ranks_are_scipys(values, dtype):
    got = ranks(torch.from_numpy(values.astype(dtype)))
    np.testing.assert_array_equal(got, rankdata(values, axis=1))


def test_ranks_of_minus_zero_are_those_of_zero():
    assert ranks(torch.tensor([[0.0, -0.0, 1.0, -0.0]])).tolist() == [[2, 2, 4, 2]]
