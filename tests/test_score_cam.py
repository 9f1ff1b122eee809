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
    network,
    ours_enlarged,
    pictures,
    to_input,
)
from torch import nn

from medrob import models
from medrob.saliency import Settings, attribute, degenerate, explain, normalise

ALL, TARGETS = ["scorecam"], np.array([0, 2, 1])
LAYERS = ["layer1.0", "layer2.1", "layer4.0"]


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def images():
    return pictures(3, 16)


@pytest.fixture(scope="module")
def found(model, images):
    return explain(model, images, methods=ALL, layers=LAYERS, targets=TARGETS)


# -- By hand -----------------------------------------------------------------------------------------

# A1 = [1 2; 3 4] and A2 = [0 1; 3 5] are as large as the picture, so H1 = [0 1/3; 2/3 1], H2 = [0 .2; .6 1].
A1, A2 = np.array([[1.0, 2], [3, 4]]), np.array([[0.0, 1], [3, 5]])


def weighted(w1, w2):
    return w1 * A1 + w2 * A2


def softmax(s1, s2):
    return 1 / (1 + np.exp(s2 - s1)), 1 / (1 + np.exp(s1 - s2))


# x H1 = [0 2/3; 2 4] has Y = -2/3 + 4 + 1 + 15, x H2 = [0 .4; 1.8 4] has -.4 + 3.6 + .6 + 15.
BY_HAND = weighted(*softmax(58 / 3, 18.8))


def toy_map(toy, **settings):
    """The float64 map of the picture by a toy network, as a NumPy array."""
    how = dict(settings=Settings(**settings))
    x, toy = to_input(PICTURE), toy.double().eval()
    maps, _ = attribute(toy, x, ["scorecam"], {"relu": toy.relu}, torch.tensor([0]), **how)
    return maps["scorecam", "relu"][0].numpy()


@pytest.mark.parametrize("inplace", [False, True])
def test_by_hand(inplace):
    np.testing.assert_allclose(toy_map(Toy(inplace)), BY_HAND, rtol=1e-12)


def test_cap_on_channels_by_hand():
    """A2 has more energy, 35 against 30: alone it has the whole softmax."""
    np.testing.assert_allclose(toy_map(Toy(), channels=1), A2, rtol=1e-12)


def by_loops(model, images, layer, channels):
    """One image, one channel, one pass at a time; masks enlarged by OpenCV. (N, h, w) of float64."""
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
                scores.append(model((torch.from_numpy(H) * image)[None])[0, TARGETS[i]].item())
            order = np.argsort([-np.square(a).sum() for a in A], kind="stable")[:channels]
            w = np.zeros(len(A))
            w[order] = np.exp(np.array(scores)[order] - max(scores))
            maps.append(np.tensordot(w / w.sum(), A, 1))
    handle.remove()
    return np.stack(maps)


@pytest.mark.parametrize("layer", ["layer2.1", "layer4.0"])
def test_agrees_with_one_pass_at_a_time(images, layer):
    double = network().double()
    for channels in (0, 5):
        settings = Settings(channels=channels)
        ours = explain(double, images, methods=ALL, layers=[layer], targets=TARGETS, settings=settings)
        expected = by_loops(double, images, layer, channels or None)
        np.testing.assert_allclose(ours["scorecam", layer], expected, rtol=1e-5)


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


def test_agrees_with_torch_cam_where_it_is_right(model, images):
    """It normalises masks before it enlarges them: compared at a layer as large as the image."""
    layer, x = "layer1.1", to_input(images)
    ours = explain(model, images, methods=ALL, layers=[layer], targets=TARGETS)["scorecam", layer]
    with torchcam.ScoreCAM(model, f"backbone.{layer}", input_shape=x.shape[1:]) as extractor:
        (theirs,) = extractor(list(map(int, TARGETS)), model(x))
    np.testing.assert_allclose(normalise(torch.from_numpy(ours)), theirs.detach(), atol=1e-4)


# -- How they are run --------------------------------------------------------------------------------


def test_a_passes_size_is_bounded(images):
    model, sizes = network(), []
    model.register_forward_pre_hook(lambda m, inputs: sizes.append(len(inputs[0])))
    explain(model, images, methods=ALL, layers=LAYERS, settings=Settings(chunk=5))
    assert max(sizes) == 5 > len(images)


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


def test_a_channel_without_content_is_black():
    toy, expected = Dead().double(), []
    x = to_input(PICTURE).double()
    with torch.no_grad():
        A = toy.relu(toy.conv(x))[0]
        for a in A:
            spread = a.max() - a.min()
            expected.append(toy(x * (a - a.min()) / spread if spread else 0 * x)[0, 0])
        assert [toy(0 * x)[0, 0] == score for score in expected] == [False] * 3 + [True] * 3
        expected = (torch.stack(expected).softmax(0)[:, None, None] * A).sum(0)
    np.testing.assert_allclose(toy_map(toy), expected, rtol=1e-12)


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


def test_a_dead_layer_gives_a_degenerate_map():
    toy = Dead(alive=False)
    maps = explain(toy, np.concatenate([PICTURE, PICTURE]), methods=ALL, layers=["relu"])
    found = maps["scorecam", "relu"]
    assert not found.any() and degenerate(torch.from_numpy(found)).all()
