"""Which layers of a network are explained, and how tokens become maps."""

import warnings

import numpy as np
import pytest
import pytorch_grad_cam as peer
import timm
import torch
import torchvision
import transformers
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchvision.models import SwinTransformer, VisionTransformer
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

from medrob import models
from medrob.models import cam_layers, evaluating, forward, layer_shapes, named_layers, to_maps
from medrob.models.network import DenseNet
from medrob.models.passes import channel_axis
from medrob.saliency import explain, normalise, upsample
from medrob.saliency.explainer import layers_for


def pictures(n=3, size=32, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), np.uint8)


def lively(model, seed=0):
    """All parameters random: torchvision starts some layers at zero, and nothing would depend on them."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3, generator=rng)
    return model.eval()


# How many layers, and (name, channels, side) of the first and the last, for images of 224 pixels.
VIT, REGNET = "encoder.layers.encoder_layer", "trunk_output.block"
EXPECTED = {
    "resnet18": (8, ("layer1.0", 64, 224), ("layer4.1", 512, 28)),
    "resnet50": (16, ("layer1.0", 256, 224), ("layer4.2", 2048, 28)),
    "densenet121": (4, ("features.transition1.relu", 256, 56), ("features.relu5", 1024, 7)),
    "efficientnet_b0": (17, ("features.1.0", 16, 112), ("features.8", 1280, 7)),
    "convnext_tiny": (18, ("features.1.0", 96, 56), ("features.7.2", 768, 7)),
    "alexnet": (4, ("features.1", 64, 55), ("features.12", 256, 6)),
    "regnet_y_400mf": (16, (f"{REGNET}1.block1-0", 48, 56), (f"{REGNET}4.block4-5", 440, 7)),
    "mobilenet_v2": (18, ("features.1", 16, 112), ("features.18", 1280, 7)),
    "mobilenet_v3_small": (12, ("features.1", 16, 56), ("features.12", 576, 7)),
    "mnasnet0_5": (17, ("layers.8.0", 16, 56), ("layers.16", 1280, 7)),
    "shufflenet_v2_x0_5": (17, ("stage2.0", 48, 28), ("conv5", 1024, 7)),
    "squeezenet1_1": (8, ("features.3", 128, 55), ("features.12", 512, 13)),
    "googlenet": (9, ("inception3a", 256, 28), ("inception5b", 1024, 7)),
    "inception_v3": (11, ("Mixed_5b", 256, 25), ("Mixed_7c", 2048, 5)),
    "maxvit_t": (11, ("blocks.0.layers.0", 64, 56), ("blocks.3.layers.1", 512, 7)),
    "vit_b_16": (12, (f"{VIT}_0.ln_1", 768, 14), (f"{VIT}_11.ln_1", 768, 14)),
}


@pytest.mark.parametrize("arch", EXPECTED)
def test_layers_of_torchvisions_networks(arch):
    """Without values (device "meta"): the shapes alone, of the networks at their full size."""
    with torch.device("cpu" if arch.startswith(("regnet", "alexnet")) else "meta"):
        model = models.build(arch, in_channels=1, num_classes=3)
    layers = cam_layers(model)  # by a probe where no blocks are known, which needs values
    model.to("meta")
    assert all(model.backbone.get_submodule(name) is module for name, module in layers.items())
    with evaluating(model), torch.no_grad():
        outputs, logits = forward(model, torch.empty(2, 1, 224, 224, device="meta"), layers)
    shapes = [(name, *to_maps(layers[name], outputs[name]).shape) for name in layers]
    count, first, last = EXPECTED[arch]
    assert len(shapes) == count and list(outputs) == list(layers)  # in the order in which they run
    assert all(batch == 2 and height == width > 1 for _, batch, _, height, width in shapes)
    assert [shape[:1] + shape[2:4] for shape in (shapes[0], shapes[-1])] == [first, last]
    sides = [shape[3] for shape in shapes]
    assert sides == sorted(sides, reverse=True) and logits.shape == (2, 3)


def test_layers_have_the_same_names_in_any_wrapping():
    with torch.device("meta"):
        ours = models.build("vit_b_16", in_channels=3, num_classes=3)
    names = list(cam_layers(ours))
    assert list(cam_layers(ours.backbone)) == names
    assert [f"1.{name}" for name in names] == list(cam_layers(nn.Sequential(nn.Identity(), ours.backbone)))


def test_densenet_is_explained_after_its_last_relu():
    """By hand: g is W / Z at every position, so that three methods are one map."""
    form = dict(growth_rate=4, block_config=(2, 2), num_init_features=8, bn_size=2, num_classes=3)
    model = DenseNet(lively(torchvision.models.DenseNet(**form))).eval()
    images = pictures(2)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    assert list(cam_layers(model)) == ["features.transition1.relu", "features.relu5"]
    with torch.no_grad():
        before = model.features[:-1](x)
        A = before.relu().double()
    assert (before < 0).any()
    by_hand = torch.einsum("k,nkhw->nhw", model.classifier.weight[1].double() / A[0, 0].numel(), A).detach()
    methods = ["gradcam", "xgradcam", "hirescam"]
    maps = explain(model, images, methods=methods, layers=["features.relu5"], targets=1)
    for found in maps.values():
        assert np.abs(found - by_hand.numpy()).max() < 1e-5 * float(by_hand.abs().max())


def test_a_norm_takes_the_place_of_the_last_block_of_a_stage():
    """Before it, sum_k g_k A_k is 0 at every position: the map would be rounding."""
    model = models.build("convnext_tiny", in_channels=3, num_classes=2, seed=0).eval()
    found = cam_layers(model)
    ends = ["features.2.0", "features.4.0", "features.6.0"]
    assert [name for name in found if isinstance(found[name], nn.LayerNorm)] == ends
    assert not {"features.1.2", "features.3.2", "features.5.8"} & set(found) and "features.7.2" in found
    maps = explain(model, pictures(2, 32, 3), methods=["hirescam"], layers=["features.1.2", "features.2.0"])
    before, after = (np.abs(m).max() for m in maps.values())
    assert before < 1e-3 * after


@pytest.mark.parametrize(("activation", "signed"), [(nn.SiLU(), True), (nn.ReLU(), False)])
def test_negative_activations_are_told_to_methods_that_do_not_take_them(activation, signed):
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)]
    model = nn.Sequential(nn.Conv2d(1, 4, 3), activation, *head)
    methods = ["gradcam", "gradcam++", "xgradcam", "smoothgradcam++", "hirescam", "layercam"]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        explain(lively(model), pictures(6, 8, 1), methods=methods, layers=["1"], batch_size=2)
    negative = [str(one.message).split(":")[0] for one in told if "negative in places" in str(one.message)]
    expected = ["gradcam++, xgradcam at 1", "smoothgradcam++ at 1"] if signed else []
    assert negative == expected  # once, not once a batch


class Own(nn.Module):
    """Convolutions and pooling, for images of one size only."""

    def __init__(self, size=28):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.pool = nn.MaxPool2d(2)
        self.second = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU())
        self.third = nn.Conv2d(6, 6, 3, padding=1)
        self.spread = nn.AdaptiveAvgPool2d(3)
        self.fc = nn.Linear(6 * (size // 4) ** 2, 3)

    def forward(self, x):
        x = self.pool(self.first(x))
        y = self.pool(self.second(x))
        self.spread(y)
        return self.fc((y + self.third(y)).flatten(1))


@pytest.mark.parametrize("size", [28, 224])
def test_the_last_map_of_each_resolution_of_a_network_of_your_own(size):
    model = Own(size).train()
    model.first.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    assert list(cam_layers(model)) == ["first.2", "second.1", "third"]
    # ... and the network was not touched.
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())
    if size == 28:
        maps = explain(model, pictures(2, 28, 1), methods=["layercam"])
        assert [m.shape[1:] for m in maps.values()] == [(28, 28), (14, 14), (7, 7)]


def test_a_network_where_nothing_is_found_names_what_it_has():
    class Strange(Own):
        def forward(self, x):
            if x.sum() > 0:  # a step that needs values
                return super().forward(x)
            return super().forward(-x)

    flat, image = nn.Sequential(nn.Flatten(), nn.Linear(784, 2)), pictures(1, 28, 1)
    match = r"maps .pictures of no usual size could be tried: RuntimeError.*mat1 and mat2 .*; take methods"
    with pytest.raises(ValueError, match=match):  # none could be named
        cam_layers(flat)
    assert layer_shapes(flat, image).empty
    assert explain(Strange(), image, methods=["gradcam"], layers=["third"])
    assert list(cam_layers(Strange()))[-1] == "third"
    for layers in ("all", ["input"]):
        assert [*explain(flat, image, methods=["saliency"], layers=layers)] == [("saliency", "input")]


def test_a_network_that_only_shares_a_name_with_torchvisions():
    """It has no `ln_1`."""
    nested = nn.Sequential(type("EncoderBlock", (Own,), {})())
    assert list(cam_layers(nested)) == ["0.first.2", "0.second.1", "0.third"]


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        (["layer4.2"], r"unknown 'layer4.2'; did you mean 'layer4\.1'\? Known: .*layer1\.0, .*layer4\.1"),
        (["lyaer3.0", "nonsense"], r"unknown 'lyaer3.0', 'nonsense'; did you mean 'layer3\.0'\?"),
        (["normalise"], r"unknown 'normalise'"),
    ],
)
def test_unknown_layers(network, asked, match):
    with pytest.raises(ValueError, match=match) as error:
        layers_for(network, ["gradcam"], asked)
    assert "fc" not in str(error.value)  # the head gives no map


def test_named_layers(network):
    assert "layer1.0.conv1" in named_layers(network) and "" not in named_layers(network)
    found = layers_for(network, ["gradcam"], ["layer1.0.conv1"])
    assert found == {"layer1.0.conv1": network.backbone.layer1[0].conv1}
    shared = nn.ReLU()
    assert layers_for(nn.Sequential(shared, shared), ["gradcam"], ["1"]) == {"1": shared}
    model = timm.create_model("test_vit", num_classes=3).eval()
    with pytest.raises(ValueError, match="the places of the picture; name others"):  # no map of it
        layers_for(model, ["gradcam"], [f"blocks.{len(model.blocks) - 1}"])


def dinov2():
    """Of Hugging Face, with a class token and four registers; its blocks give their tokens in a tuple."""
    form = dict(hidden_size=32, num_attention_heads=2, num_hidden_layers=4, intermediate_size=64)
    config = transformers.Dinov2WithRegistersConfig(**form, image_size=64, patch_size=8, num_labels=3)
    network = transformers.Dinov2WithRegistersForImageClassification(config)
    return models.wrap(network, in_channels=3, num_classes=3).eval()


@pytest.mark.parametrize(
    ("arch", "form", "count"),
    [
        ("hugging face", {}, 4),
        ("test_convnext", {}, 4),
        ("test_vit", {}, 2),
        ("swin_tiny_patch4_window7_224", dict(img_size=64, window_size=4), 4),
    ],
)
def test_layers_light_up_where_a_blob_is(arch, form, count):
    torch.manual_seed(0)
    model = dinov2() if arch == "hugging face" else timm.create_model(arch, num_classes=3, **form).eval()
    state = torch.get_rng_state()
    layers = cam_layers(model)
    assert len(layers) >= count and torch.equal(state, torch.get_rng_state())
    side = 160 if arch.startswith("test_") else 64
    images = np.repeat(pictures(1, side), 2, axis=0)
    images[1, side // 2 :, : side // 2] = 255 - images[1, side // 2 :, : side // 2]
    with torch.no_grad():
        outputs, _ = forward(model, torch.from_numpy(images).permute(0, 3, 1, 2).float(), layers)
    for name, module in layers.items():
        change = to_maps(module, outputs[name]).diff(dim=0)[0].abs().sum(0)
        h, w = (n // 2 for n in change.shape)
        quarters = [change[:h, :w], change[:h, -w:], change[-h:, :w], change[-h:, -w:]]
        assert int(torch.stack([q.mean() for q in quarters]).argmax()) == 2, name
    assert all(np.ptp(m) > 0 for m in explain(model, images, methods=["gradcam"]).values())


def test_a_member_of_an_ensemble_stands_for_it_and_that_is_said():
    class Ensemble(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.members = torch.nn.ModuleList(timm.create_model("test_resnet", num_classes=3) for _ in "12")

        def forward(self, x):
            return sum(member(x) for member in self.members)

    with pytest.warns(UserWarning, match="all layers lie in 'members.0', and none in members.1"):
        cam_layers(Ensemble())


def test_checkpoints_hide_no_layers():
    plain, other = (timm.create_model("test_resnet", num_classes=3) for _ in "12")
    other.set_grad_checkpointing()
    assert list(cam_layers(other)) == list(cam_layers(plain)) and other.grad_checkpointing


def test_deep_blocks_are_found_though_small_pictures_would_hide_them():
    """At 64 px each position of the last stage (2 x 2) sees the whole picture."""
    form = dict(layer_type="bottleneck", depths=[2, 2, 2, 2], hidden_sizes=[32, 64, 128, 256])
    network = transformers.ResNetForImageClassification(
        transformers.ResNetConfig(**form, num_labels=3)
    ).eval()
    network.config.size = 64
    blocks = [f"resnet.encoder.stages.{stage}.layers.{block}" for stage in range(4) for block in range(2)]
    assert list(cam_layers(network)) == blocks


def test_the_blocks_of_hugging_faces_swin_are_taken_where_they_give_tuples():
    form = dict(image_size=64, embed_dim=16, num_heads=[1, 2], depths=[2, 2], window_size=4, num_labels=3)
    model = transformers.SwinForImageClassification(transformers.SwinConfig(**form)).eval()
    blocks = [f"swin.encoder.layers.{i}.blocks.{j}" for i in range(2) for j in range(2)]
    assert list(cam_layers(model)) == [*blocks[:3], "swin.layernorm"]  # before which a map is rounding
    model = models.wrap(model, in_channels=3, num_classes=3)
    maps = explain(model, pictures(2, 64), methods=["gradcam"], layers=blocks[:3:2])
    assert [m.shape[1:] for m in maps.values() if np.ptp(m)] == [(16, 16), (8, 8)]


def test_what_comes_after_the_last_block_is_explained_and_no_mask_or_padding():
    """As in EfficientNets outside of torchvision, and where attention over the picture follows."""

    class Blocks(nn.Module):
        def __init__(self, mask):
            super().__init__()
            sides = zip([3, 8, 8], [8, 8, 16], strict=True)
            blocks = [nn.Sequential(nn.Conv2d(i, o, 3, 2, 1), nn.BatchNorm2d(o), nn.ReLU()) for i, o in sides]
            self.blocks, self.act = nn.ModuleList(blocks), nn.SiLU()
            self.pad, self.conv = nn.ZeroPad2d(1), nn.Conv2d(16, 24, 3)
            self.mask, self.fc = nn.Conv2d(24, 1, 3, padding=1) if mask else None, nn.Linear(24, 3)

        def forward(self, x):
            for block in self.blocks:
                x = self.act(block(x))
            x = self.act(self.conv(self.pad(x)))
            return self.fc((x * self.mask(x).sigmoid() if self.mask else x).mean((2, 3)))

    for mask in (True, False):
        assert list(cam_layers(Blocks(mask))) == ["blocks.0", "blocks.1", "blocks.2", "act"]


def test_layers_of_a_network_that_looks_at_several_views_are_refused():
    network = torchvision.models.squeezenet1_1(num_classes=3)

    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x):
            return self.network(x) + self.network(x.flip(2))

    with pytest.raises(ValueError, match="runs several times for each picture"):
        cam_layers(Views())


TURNS = {
    "turns or mirrors": [lambda x: x.flip(-1), lambda x: x.mT, lambda x: x.rot90(1, (2, 3))],
    "looks at a part": [lambda x: x[..., 8:-8, 8:-8], lambda x: x[..., 16:, 8:-8]],
    "is not the shape of a picture": [lambda x: x[..., : x.shape[-1] // 2]],
}


CASES = [("resnet18", said, turn) for said, turns in TURNS.items() for turn in turns]
CASES += [("shufflenet_v2_x0_5", *CASES[0][1:]), ("efficientnet_b0", *CASES[3][1:])]


@pytest.mark.parametrize(("arch", "said", "turn"), CASES)
def test_known_blocks_behind_a_step_that_moves_the_picture_are_refused(arch, said, turn):
    small = dict(width=16, stem="torchvision") if arch == "resnet18" else {}
    backbone = models.build(arch, in_channels=3, num_classes=2, **small).backbone

    class Moved(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = backbone

        def forward(self, x):
            return self.net(turn(x))

    with pytest.raises(ValueError, match=f"{said}.*; name layers of your own"):
        cam_layers(Moved())


PEERS = [("gradcam", "GradCAM"), ("layercam", "LayerCAM")]


@pytest.mark.parametrize(("method", "other"), PEERS)
@pytest.mark.parametrize("layer", [0, 2])
def test_vit_agrees_with_pytorch_grad_cam(layer, method, other):
    form = dict(image_size=32, patch_size=8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32)
    model = lively(VisionTransformer(**form, num_classes=3))
    name = f"{VIT}_{layer}.ln_1"
    assert list(cam_layers(model))[layer] == name
    assert_agrees(model, name, method, other, lambda t: t[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2))


@pytest.mark.parametrize(("method", "other"), PEERS)
@pytest.mark.parametrize(("version", "name"), [(1, "features.1.1"), (2, "norm")])
def test_swin_agrees_with_pytorch_grad_cam(version, name, method, other):
    parts = dict(block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2) if version == 2 else {}
    form = dict(patch_size=[4, 4], embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=[4, 4])
    model = lively(SwinTransformer(**form, **parts, num_classes=3), seed=3)
    assert list(cam_layers(model)) == ["features.1.0", "features.1.1", "features.3.0", "norm"]
    assert_agrees(model, name, method, other, lambda tokens: tokens.permute(0, 3, 1, 2))


def assert_agrees(model, name, method, other, transform):
    x = torch.from_numpy(pictures()).permute(0, 3, 1, 2).float()
    module = model.get_submodule(name)
    with getattr(peer, other)(model, [module], reshape_transform=transform) as cam:
        theirs = np.stack([cam(x, [ClassifierOutputTarget(t)] * len(x)) for t in range(3)])
    # Enlarged and normalised as there. Some maps have nothing positive; not all of them.
    assert (theirs.std((2, 3)) > 0.05).sum() >= 3
    for target in range(3):
        ours = explain(model, pictures(), methods=[method], layers=[name], targets=target)[method, name]
        enlarged = normalise(upsample(normalise(torch.from_numpy(ours)), 32))
        np.testing.assert_allclose(enlarged, theirs[target], atol=1e-4)


def test_tokens_to_maps_by_hand():
    tokens = torch.arange(10.0).view(1, 5, 2)  # a class token, then four of two channels
    for given in (tokens, tokens[:, 1:]):
        maps = to_maps(nn.Identity(), given)
        assert maps.tolist() == [[[[2, 4], [6, 8]], [[3, 5], [7, 9]]]]
    plane = tokens[:, 1:].view(1, 2, 2, 2)
    assert torch.equal(to_maps(nn.LayerNorm(2), plane), plane.permute(0, 3, 1, 2))
    assert torch.equal(to_maps(nn.Identity(), plane), plane)
    assert to_maps(nn.Identity(), tokens).data_ptr() == tokens[:, 1:].data_ptr()  # a view


@pytest.mark.parametrize(
    ("module", "shape", "axis"),
    [
        (nn.Conv2d(1, 1, 1), (1, 8, 4, 4), 1),
        (nn.Identity(), (1, 16, 8), 2),
        (nn.LayerNorm(8), (1, 4, 4, 8), 3),
        (nn.Linear(8, 8), (1, 4, 4, 8), 3),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.LayerNorm(8)), (1, 4, 4, 8), 3),
        (nn.Sequential(), (1, 8, 4, 4), 1),
        (torchvision.models.convnext.LayerNorm2d(8), (1, 8, 4, 4), 1),
    ],
)
def test_channel_axis(module, shape, axis):
    assert channel_axis(module, torch.zeros(shape)) == axis


def test_tokens_that_are_no_grid():
    with pytest.raises(ValueError, match="7 tokens fill no square, with or without a class token"):
        to_maps(nn.Identity(), torch.zeros(3, 7, 4))
