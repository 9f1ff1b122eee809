import contextlib
import io

import cv2
import numpy as np
import pytest
import pytorch_grad_cam as peer
import torch
import torchcam.methods as torchcam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from test_saliency import (
    PICTURE,
    Toy,
    close,
    network,
    ours_enlarged,
    pictures,
    to_input,
)
from torch import nn

from medrob import models
from medrob.saliency import Noise, Settings, attribute, degenerate, explain, normalise
from medrob.saliency.score import SCORE_CAMS as ALL

MASKED = ("scorecam", "sscam", "iscam")
TARGETS = np.array([0, 2, 1])
LAYERS = ["layer1.0", "layer2.1", "layer4.0"]
FEW = Settings(samples=2)


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def images():
    return pictures(3, 16)


@pytest.fixture(scope="module")
def found(model, images):
    return explain(model, images, methods=ALL, layers=LAYERS, targets=TARGETS, settings=FEW)


# -- By hand -----------------------------------------------------------------------------------------

# A1 = [1 2; 3 4] and A2 = [0 1; 3 5] are as large as the picture, so H1 = [0 1/3; 2/3 1], H2 = [0 .2; .6 1].
A1, A2 = np.array([[1.0, 2], [3, 4]]), np.array([[0.0, 1], [3, 5]])


def weighted(w1, w2):
    return w1 * A1 + w2 * A2


def softmax(s1, s2):
    return 1 / (1 + np.exp(s2 - s1)), 1 / (1 + np.exp(s1 - s2))


BY_HAND = {
    # x H1 = [0 2/3; 2 4] has Y = -2/3 + 4 + 1 + 15, x H2 = [0 .4; 1.8 4] has -.4 + 3.6 + .6 + 15.
    "scorecam": weighted(*softmax(58 / 3, 18.8)),
    # At half strength -1/3 + 2 + 3 and -.2 + 1.8 + 3; the mean with the whole is 12 and 11.7.
    "iscam": weighted(*softmax(12, 11.7)),
    # Y = 24; 19 without A1, 5 without A2.
    "ablationcam": weighted(5 / 24, 19 / 24),
}


def toy_maps(toy, methods, target=0, layer="relu", **settings):
    """Float64 maps of the picture by a toy network, as NumPy arrays."""
    layers, targets = {layer: getattr(toy, layer)}, torch.tensor([target])
    network = toy.double().eval()
    maps, _ = attribute(network, to_input(PICTURE), methods, layers, targets, settings=Settings(**settings))
    return {method: m[0].numpy() for (method, _), m in maps.items()}


@pytest.mark.parametrize("method", BY_HAND)
@pytest.mark.parametrize("inplace", [False, True])
def test_by_hand(method, inplace):
    np.testing.assert_allclose(
        toy_maps(Toy(inplace), [method], samples=2)[method], BY_HAND[method], rtol=1e-12
    )


def test_ablation_of_another_class_and_of_a_negative_score_by_hand():
    """Class 1: Y = 16 - 9. Where Y is below 0 the drop is divided by its size: support stays positive."""
    maps = toy_maps(Toy(), ["ablationcam"], target=1)
    np.testing.assert_allclose(maps["ablationcam"], weighted(16 / 7, -9 / 7), rtol=1e-12)
    negative = Toy()
    with torch.no_grad():
        negative.fc.weight.neg_()
    maps = toy_maps(negative, ["ablationcam"], target=1)  # Y = -7, 9 without A1, -16 without A2
    np.testing.assert_allclose(maps["ablationcam"], weighted(-16 / 7, 9 / 7), rtol=1e-12)


def test_ablation_where_the_score_is_zero_gives_the_drop_itself():
    toy = Toy()
    with torch.no_grad():
        toy.fc.weight[0] = torch.tensor([1, 0, 0, 0, 0, -1, 0, 0])  # Y = 1 - 1
    np.testing.assert_allclose(toy_maps(toy, ["ablationcam"])["ablationcam"], weighted(1, -1), rtol=1e-12)


def test_cap_on_channels_by_hand():
    """A2 has more energy, 35 against 30: alone it has the whole softmax, and its own weight of ablation."""
    maps = toy_maps(Toy(), ALL, channels=1)
    for method in MASKED:
        np.testing.assert_allclose(maps[method], A2, rtol=1e-12)
    np.testing.assert_allclose(maps["ablationcam"], weighted(0, 19 / 24), rtol=1e-12)


def by_loops(model, images, layer, masks, channels=None):
    """One image, one channel, one pass at a time; masks enlarged by OpenCV. (N, h, w) of float64.

    `masks(H, i)` lists what image i is multiplied by.
    """
    kept = {}
    handle = models.cam_layers(model)[layer].register_forward_hook(
        lambda m, i, out: kept.update(A=out.numpy())
    )
    maps = []
    with torch.no_grad():
        for i, image in enumerate(to_input(images).double()):
            model(image[None])
            A, scores = kept["A"][0], []
            for a in A:
                H = cv2.resize(a, images.shape[2:0:-1], interpolation=cv2.INTER_LINEAR)
                H = (H - H.min()) / ((H.max() - H.min()) or 1)
                shown = [torch.from_numpy(M) * image for M in masks(H, i)]
                scores.append(np.mean([model(x[None])[0, TARGETS[i]].item() for x in shown]))
            order = np.argsort([-np.square(a).sum() for a in A], kind="stable")[:channels]
            w = np.zeros(len(A))
            w[order] = np.exp(np.array(scores)[order] - max(scores))
            maps.append(np.tensordot(w / w.sum(), A, 1))
    handle.remove()
    return np.stack(maps)


def noisy(H, i):
    fields = [Noise(0, [i]).normal((1, *H.shape), torch.device("cpu"), s)[0, 0].numpy() for s in range(2)]
    return [H + 0.15 * field for field in fields]


@pytest.mark.parametrize(
    ("method", "masks"),
    [("scorecam", lambda H, i: [H]), ("iscam", lambda H, i: [H / 2, H]), ("sscam", noisy)],
)
@pytest.mark.parametrize("layer", ["layer2.1", "layer4.0"])
def test_agrees_with_one_pass_at_a_time(images, method, masks, layer):
    double = network().double()
    for channels in (0, 5):
        settings = Settings(samples=2, channels=channels)
        ours = explain(double, images, methods=[method], layers=[layer], targets=TARGETS, settings=settings)
        expected = by_loops(double, images, layer, masks, channels or None)
        np.testing.assert_allclose(ours[method, layer], expected, rtol=1e-5)


def test_what_the_methods_have_in_common(model, images, found):
    """IS-CAM of one step and SS-CAM without noise are Score-CAM."""
    settings = Settings(samples=1, noise=0)
    maps = explain(model, images, methods=MASKED, layers=LAYERS, targets=TARGETS, settings=settings)
    for layer in LAYERS:
        close(maps["iscam", layer], found["scorecam", layer])
        close(maps["sscam", layer], found["scorecam", layer])
        assert not np.allclose(found["iscam", layer], found["scorecam", layer], rtol=1e-5)
        assert not np.allclose(found["sscam", layer], found["scorecam", layer], rtol=1e-5)


# -- Other libraries ---------------------------------------------------------------------------------


def peer_maps(name, model, layer, images):
    """The maps of pytorch-grad-cam: normalised, enlarged, normalised again; its progress bars unseen."""
    targets = [ClassifierOutputTarget(t) for t in TARGETS]
    with (
        contextlib.redirect_stderr(io.StringIO()),
        getattr(peer, name)(model, [model.get_submodule(layer)]) as cam,
    ):
        return cam(to_input(images), targets)


@pytest.mark.parametrize("layer", LAYERS)
def test_scorecam_agrees_with_pytorch_grad_cam_but_for_its_aligned_corners(
    model, images, found, layer, monkeypatch
):
    """It enlarges masks with corners aligned, which matters where the layer is smaller than the image."""
    ours = ours_enlarged(found["scorecam", layer], 16)
    theirs = peer_maps("ScoreCAM", model, f"backbone.{layer}", images)
    assert (np.abs(ours - theirs).max() < 1e-4) == (layer == "layer1.0")
    monkeypatch.setattr(nn, "UpsamplingBilinear2d", lambda size: nn.Upsample(size, mode="bilinear"))
    theirs = peer_maps("ScoreCAM", model, f"backbone.{layer}", images)
    assert theirs.max() > 0.9
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("layer", LAYERS)
def test_ablationcam_agrees_with_pytorch_grad_cam_where_the_score_is_positive(images, layer):
    """Where it is negative, dividing by it turns the map of pytorch-grad-cam upside down."""
    for shift in (10, -10):
        shifted = network()
        with torch.no_grad():
            shifted.backbone.fc.bias.add_(shift)
        key = ("ablationcam", layer)
        ours = explain(shifted, images, methods=["ablationcam"], layers=[layer], targets=TARGETS)[key]
        theirs = peer_maps("AblationCAM", shifted, f"backbone.{layer}", images)
        assert theirs.max() > 0.9
        np.testing.assert_allclose(ours_enlarged(np.sign(shift) * ours, 16), theirs, atol=1e-4)


def torch_cam(name, model, layer, images, targets=TARGETS, fields=None, **options):
    """The normalised maps of torch-cam at the layer's resolution; `fields` replace its noise."""
    shape = (1, *images.shape[1:3])
    with getattr(torchcam, name)(model, layer, input_shape=shape, **options) as extractor:
        if fields is not None:
            given = iter(fields)
            extractor._distrib.sample = lambda size: next(given).expand(size)
        (maps,) = extractor(list(map(int, targets)), model(to_input(images)))
    return maps.detach().numpy()


@pytest.mark.parametrize(
    ("method", "name", "options"),
    [
        ("scorecam", "ScoreCAM", {}),
        ("sscam", "SSCAM", {"num_samples": 2}),
        ("iscam", "ISCAM", {"num_samples": 1}),
    ],
)
def test_agrees_with_torch_cam_where_it_is_right(model, images, method, name, options):
    """It normalises masks before it enlarges them: compared at a layer as large as the image."""
    noise = Noise(0, range(3))
    fields = [0.15 * noise.normal((1, 16, 16), torch.device("cpu"), i) for i in range(2)]
    settings = Settings(samples=options.get("num_samples", 1))
    ours = explain(model, images, methods=[method], layers=["layer1.1"], targets=TARGETS, settings=settings)
    given = fields if method == "sscam" else None
    theirs = torch_cam(name, model, "backbone.layer1.1", images, fields=given, **options)
    np.testing.assert_allclose(normalise(torch.from_numpy(ours[method, "layer1.1"])), theirs, atol=1e-4)


# -- How they are run --------------------------------------------------------------------------------


def test_a_passes_size_is_bounded(images):
    model, sizes = network(), []
    model.register_forward_pre_hook(lambda m, inputs: sizes.append(len(inputs[0])))
    explain(model, images, methods=ALL, layers=LAYERS, settings=Settings(samples=2, chunk=5))
    assert max(sizes) == 5 > len(images)


def test_clean_and_corrupted_copies_share_the_noise():
    """Twice as bright a picture has the same masks before the ReLU: what is shown is twice as bright, too."""
    shown = []
    for picture in (PICTURE, 2 * PICTURE):
        toy, inputs = Toy().double(), []
        toy.register_forward_pre_hook(lambda m, given, inputs=inputs: inputs.append(given[0]))
        explain(toy, picture, methods=["sscam"], layers=["conv"], targets=0, settings=Settings(samples=3))
        shown.append(torch.cat([x for x in inputs if len(x) == 2]))
    assert shown[0].shape == (6, 1, 2, 2)
    np.testing.assert_allclose(shown[1], 2 * shown[0], rtol=1e-12)


# -- Channels without content ------------------------------------------------------------------------


class Dead(Toy):
    """Of six channels, three say nothing: two never pass the ReLU, one is the same everywhere."""

    def __init__(self, alive=True):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 6, 1), nn.Linear(24, 2)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, 2, 3, 0, 1, 1]).view(6, 1, 1, 1) * alive)
            self.conv.bias.copy_(torch.tensor([0.0, -3, 1, 2, -900, -901]) - (0 if alive else 5))
            torch.manual_seed(0)
            self.fc.weight.normal_()


def test_channels_without_content_run_once_and_change_nothing():
    """Each by itself: black for the two dead ones and the flat one, and softmax over all six."""
    toy, sizes = Dead().double(), []
    black, expected = torch.zeros(1, 1, 2, 2).double(), []
    x, H = to_input(PICTURE).double(), []
    with torch.no_grad():
        A = toy.relu(toy.conv(x))[0]
        for a in A:
            spread = a.max() - a.min()
            H.append((a - a.min()) / spread if spread else torch.zeros_like(a))
            expected.append(toy(x * H[-1])[0, 0])
        assert [toy(black)[0, 0] == s for s in expected] == [False] * 3 + [True] * 3
        expected = (torch.stack(expected).softmax(0)[:, None, None] * A).sum(0)
    toy.register_forward_pre_hook(lambda m, given: sizes.append(len(given[0])))
    np.testing.assert_allclose(toy_maps(toy, ["scorecam"])["scorecam"], expected, rtol=1e-12)
    assert sizes == [1, 1, 4]  # the logits; the activations; three masks and black


def test_a_channel_flat_up_to_rounding_is_flat():
    """1 and the next number after it: stretched to 0-1, rounding would be the mask."""
    seen, conv = [], nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        conv.weight.fill_(1e-7)
        conv.bias.fill_(1)
    model = nn.Sequential(models.Normalise(), conv, nn.Flatten(), nn.Linear(64, 2))
    assert len(model[:2](to_input(pictures(1, 8))).unique()) > 1
    model.register_forward_pre_hook(lambda m, given: seen.append(given[0]))
    explain(model, pictures(1, 8), methods=["scorecam"], layers=["1"], targets=0)
    assert seen[0].any() and not seen[-1].any()  # the last is black


@pytest.mark.parametrize("method", ALL)
def test_a_dead_layer_gives_a_degenerate_map(method):
    toy = Dead(alive=False)
    maps = explain(toy, np.concatenate([PICTURE, PICTURE]), methods=[method], layers=["relu"], settings=FEW)
    assert not maps[method, "relu"].any() and degenerate(torch.from_numpy(maps[method, "relu"])).all()


# -- Ablation in networks of another kind ------------------------------------------------------------


def ablated_by_loops(model, module, images, axis, call=1):
    """Drops Y - Y_k, (N, K), one image and one channel at a time; of the output of a numbered call."""
    drops = []
    for image, target in zip(to_input(images), TARGETS, strict=False):
        scores, k, width = [], None, 1
        while k is None or k < width:
            count = 0

            def hook(m, i, output, k=k):
                nonlocal count, width
                count += 1
                if count != call:
                    return output
                width = output.shape[axis]
                output = output.clone()
                if k is not None:
                    output.movedim(axis, 0)[k] = 0
                return output

            handle = module.register_forward_hook(hook)
            with torch.no_grad():
                scores.append(model(image[None])[0, target].item())
            handle.remove()
            k = 0 if k is None else k + 1
        drops.append(np.array(scores[0]) - scores[1:])
    return np.stack(drops)


class Around(nn.Module):
    """What goes around the layer meets it again by concatenation; the layer has 3 channels."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.stem, self.layer, self.fc = (
            nn.Conv2d(1, 2, 3, padding=1),
            nn.Conv2d(2, 3, 3, padding=1),
            nn.Linear(5, 3),
        )

    def forward(self, x):
        x = self.stem(x / 255)
        return self.fc(torch.cat([x, self.layer(x)], 1).square().mean((2, 3)))


class Twice(Around):
    """The layer runs twice; the second time it matters."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Tanh()

    def forward(self, x):
        x = self.layer(self.stem(x / 255))
        return self.fc(self.layer(torch.cat([x, 2 * x, x[:, :1] ** 2], 1)).square().mean((2, 3)))


class Tokens(nn.Module):
    """A class token and 16 patches (N, 17, 4); the head reads the class token, after one mixing step."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.patches, self.layer = nn.Conv2d(1, 4, 4, 4), nn.Linear(4, 4)
        self.mix, self.fc = nn.Linear(17, 17), nn.Linear(4, 3)

    def forward(self, x):
        tokens = self.patches(x / 255).flatten(2).mT
        tokens = self.layer(torch.cat([torch.ones_like(tokens[:, :1]), tokens], 1)).relu()
        return self.fc(self.mix(tokens.mT).mT[:, 0])


class Last(nn.Module):
    """A layer that gives (N, h, w, K)."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.patches, self.layer, self.fc = nn.Conv2d(1, 4, 4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(self.layer(self.patches(x / 255).movedim(1, -1)).square().mean((1, 2)))


@pytest.mark.parametrize(
    ("kind", "axis", "call"), [(Around, 1, 1), (Twice, 1, 2), (Tokens, 2, 1), (Last, 3, 1)]
)
@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_ablation_takes_the_channel_out_of_any_layout(kind, axis, call, chunk, images):
    model, kept = kind().eval(), {}
    handle = model.layer.register_forward_hook(lambda m, i, out: kept.update(A=out.detach()))
    Y = model(to_input(images)).detach().numpy()[range(3), TARGETS]
    handle.remove()
    A = kept["A"].movedim(axis, 1)
    A = A[:, :, 1:].unflatten(2, (4, 4)) if kind is Tokens else A
    drops = ablated_by_loops(model, model.layer, images, axis, call)
    assert (np.abs(drops) > 1e-4).any(1).all()
    expected = np.einsum("nk,nkhw->nhw", drops / np.abs(Y)[:, None], A.numpy())
    ours = explain(
        model,
        images,
        methods=["ablationcam"],
        layers=["layer"],
        targets=TARGETS,
        settings=Settings(chunk=chunk),
    )
    np.testing.assert_allclose(ours["ablationcam", "layer"], expected, atol=1e-4 * np.abs(expected).max())


def test_what_comes_before_an_ablated_layer_runs_once_for_each_image(images):
    model, seen = network(), {"conv1": 0, "fc": 0}
    for name in seen:
        model.backbone.get_submodule(name).register_forward_hook(
            lambda m, i, out, name=name: seen.update({name: seen[name] + len(out)})
        )
    explain(model, images, methods=["ablationcam"], layers=["layer4.1"], targets=TARGETS)
    assert seen["fc"] > 80 and seen["conv1"] < 20  # 3 images, 32 channels, some of them dead
