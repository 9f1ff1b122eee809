import numpy as np
import pytest
import torch
from test_saliency import BY_HAND, PICTURE, Toy, close, network, pictures, to_input

from medrob import models
from medrob.saliency import Noise, Settings, explain
from medrob.saliency.gradient import smooth_weights as weights

METHOD = "smoothgradcam++"
LAYERS = ["layer1.0", "layer2.1", "layer4.0"]
TARGETS = np.array([0, 2, 1])
FEW = Settings(samples=3)


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def images():
    return pictures(3, 16)


def smooth(model, images, settings=FEW, **options):
    options = {"targets": TARGETS, "layers": LAYERS, **options}
    maps = explain(model, images, methods=[METHOD], settings=settings, **options)
    return {layer: m for (_, layer), m in maps.items()}


@pytest.fixture(scope="module")
def found(model, images):
    return smooth(model, images)


# -- By hand -----------------------------------------------------------------------------------------


def test_weights_by_hand():
    """Copies with g = [1 2] and [3 -2]: D1 = [2 0], D2 = [5 4], D3 = [14 0]; A = [1 3], S = 4."""
    A, first, second = (torch.tensor([[[row]]]).double() for row in ([1, 3], [1, 2], [3, -2]))
    D = [(first**p + second**p) / 2 for p in (1, 2, 3)]
    assert [d.flatten().tolist() for d in D] == [[2, 0], [5, 4], [14, 0]]
    np.testing.assert_allclose(weights(A, *D), [[2 * 5 / (10 + 4 * 14)]], rtol=1e-12)


def test_a_denominator_of_zero_weighs_nothing():
    """2 D2 + S D3 is 0 without any gradient, and at poles such as 2 * 2 - 4 * 1."""
    A = torch.tensor([[[[1.0, 3.0]]]])
    D1, D2, D3 = (torch.tensor([[[row]]]) for row in ([1.0, 0.0], [2.0, 0.0], [-1.0, 0.0]))
    assert weights(A, D1, D2, D3).tolist() == [[0]]


@pytest.mark.parametrize("noise", [0, 0.5])
def test_gradients_that_do_not_change_give_grad_cam_plus_plus(noise):
    """The logits of this network are linear in its layer: noisy copies have the same gradient."""
    settings = Settings(samples=4, noise=noise)
    maps = smooth(Toy().double(), PICTURE, settings, targets=0, layers=["relu"])
    np.testing.assert_allclose(maps["relu"][0], BY_HAND["gradcam++"], rtol=1e-6)


def test_without_noise_it_is_grad_cam_plus_plus(model, images, found):
    maps = smooth(model, images, Settings(samples=2, noise=0))
    plus = explain(model, images, methods=["gradcam++"], layers=LAYERS, targets=TARGETS)
    for layer in LAYERS:
        close(maps[layer], plus["gradcam++", layer])
        assert not np.allclose(found[layer], plus["gradcam++", layer], rtol=0.01)


def test_agrees_with_one_copy_at_a_time(images):
    """Every image and copy by itself, through autograd on float64."""
    model = network().double()
    module = models.cam_layers(model)["layer2.1"]
    ours = smooth(model, images, layers=["layer2.1"])["layer2.1"]
    for i, image in enumerate(to_input(images).double()):
        kept, D = {}, 0.0
        handle = module.register_forward_hook(lambda m, given, out, kept=kept: kept.update(A=out))
        for copy in range(3):
            field = Noise(0, [i]).normal(image.shape, torch.device("cpu"), copy)
            (g,) = torch.autograd.grad(model(image + 0.15 * 255 * field)[0, TARGETS[i]], kept["A"])
            D = D + np.stack([g[0].numpy() ** p / 3 for p in (1, 2, 3)])
        model(image[None])
        handle.remove()
        A = kept["A"][0].detach().numpy()
        bottom = 2 * D[1] + A.sum((1, 2), keepdims=True) * D[2]
        w = np.where(bottom == 0, 0, D[1] / np.where(bottom == 0, 1, bottom) * np.maximum(D[0], 0)).sum(
            (1, 2)
        )
        np.testing.assert_allclose(ours[i], np.tensordot(w, A, 1), rtol=1e-5, atol=1e-12)


# -- How it is run -----------------------------------------------------------------------------------


def test_clean_and_corrupted_copies_share_the_noise_which_is_not_clipped(images):
    shown = []
    for picture in (images, 255 - images):
        model, inputs = network(), []
        model.register_forward_pre_hook(lambda m, given, inputs=inputs: inputs.append(given[0].detach()))
        smooth(model, picture)
        shown.append([x - to_input(picture) for x in inputs])
    for clean, corrupted in zip(*shown, strict=True):
        np.testing.assert_allclose(clean, corrupted, atol=1e-3)
    fields = torch.stack([field for field in shown[0] if field.any()])
    assert len(fields) == 3 and fields.std() == pytest.approx(0.15 * 255, rel=0.1)
    assert len(fields.flatten().unique()) > 0.9 * fields.numel()


def test_a_copy_costs_one_forward_and_one_backward_pass_for_all_layers(images):
    model, count = network(), {"forward": 0, "backward": 0}
    model.backbone.fc.register_forward_hook(lambda *_: count.update(forward=count["forward"] + 1))
    model.backbone.fc.register_full_backward_hook(lambda *_: count.update(backward=count["backward"] + 1))
    smooth(model, images, layers="all")
    assert count == {"forward": 3 + 2, "backward": 3}  # the copies; the logits and the activations
