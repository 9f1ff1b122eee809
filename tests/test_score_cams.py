import contextlib
import io
import itertools

import cv2
import numpy as np
import pytest
import pytorch_grad_cam as peer
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from test_saliency import PICTURE, Toy, network, ours_enlarged, pictures, to_input
from torch import nn

from medrob import models
from medrob.saliency import Explainer, Noise, Settings, degenerate, explain
from medrob.saliency.of_layers import MASKS as ALL

pytestmark = pytest.mark.usefixtures("one_size")
TARGETS = np.array([0, 2, 1])
LAYERS = ["layer2.1", "layer4.0"]
FEW = Settings(samples=2)


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def images():
    return pictures(3, 16)


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
}


def toy_maps(toy, methods, target=0, layer="relu", **settings):
    """Float64 maps of the picture by a toy network, as NumPy arrays."""
    explainer = Explainer(toy.double(), methods, [layer], Settings(**settings))
    maps, _ = explainer.maps(PICTURE, np.array([0]), torch.tensor([target]))
    return {method: m[0].numpy() for (method, _), m in maps.items()}


def test_by_hand():
    """A2 has more energy, 35 against 30: alone it has the whole softmax."""
    for method, inplace in itertools.product(BY_HAND, (False, True)):
        found = toy_maps(Toy(inplace), [method], samples=2)[method]
        np.testing.assert_allclose(found, BY_HAND[method], rtol=1e-12)
    for maps in toy_maps(Toy(), ALL, channels=1).values():
        np.testing.assert_allclose(maps, A2, rtol=1e-12)


def by_loops(model, images, layer, masks, channels=None):
    """One image, one channel, one pass at a time; masks enlarged by OpenCV. (N, h, w) of float64.

    `masks(H, i)` lists what image i is multiplied by.
    """
    kept = {}
    module, maps = models.cam_layers(model)[layer], []
    handle = module.register_forward_hook(lambda m, i, out: kept.update(A=out.numpy()))
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
def test_agrees_with_one_pass_at_a_time(images, method, masks, layer="layer2.1"):
    double = network(width=4).double()
    for channels in (0, 5):
        settings = Settings(samples=2, channels=channels)
        ours = explain(double, images, methods=[method], layers=[layer], targets=TARGETS, settings=settings)
        expected = by_loops(double, images, layer, masks, channels or None)
        np.testing.assert_allclose(ours[method, layer], expected, rtol=1e-5)


def peer_maps(name, model, layer, images):
    """The maps of pytorch-grad-cam: normalised, enlarged, normalised again; its progress bars unseen."""
    targets = [ClassifierOutputTarget(t) for t in TARGETS]
    with (
        contextlib.redirect_stderr(io.StringIO()),
        getattr(peer, name)(model, [model.get_submodule(layer)]) as cam,
    ):
        return cam(to_input(images), targets)


def test_scorecam_agrees_with_pytorch_grad_cam_but_for_its_aligned_corners(model, images, monkeypatch):
    """It enlarges masks with corners aligned, which matters where the layer is smaller than the image."""
    (ours,) = explain(model, images, methods=["scorecam"], layers=["layer2.1"], targets=TARGETS).values()
    ours, layer = ours_enlarged(ours, 16), "backbone.layer2.1"
    assert np.abs(ours - peer_maps("ScoreCAM", model, layer, images)).max() > 1e-4
    monkeypatch.setattr(nn, "UpsamplingBilinear2d", lambda size: nn.Upsample(size, mode="bilinear"))
    theirs = peer_maps("ScoreCAM", model, layer, images)
    assert theirs.max() > 0.9
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_passes_size_is_bounded(images):
    model, sizes = network(width=4), []
    model.register_forward_pre_hook(lambda m, inputs: sizes.append(len(inputs[0])))
    explain(model, images, methods=ALL, layers=LAYERS[:1], settings=Settings(samples=2, chunk=5))
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
    np.testing.assert_allclose(toy_maps(toy, ["scorecam"])["scorecam"], expected, rtol=1e-12)


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
    for maps in explain(Dead(alive=False), PICTURE, methods=ALL, layers=["relu"], settings=FEW).values():
        assert not maps.any() and degenerate(torch.from_numpy(maps)).all()
