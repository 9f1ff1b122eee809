"""Maps of the input: gradients through captum, and occlusion."""

import captum.attr as captum
import numpy as np
import pytest
import torch
from test_saliency import network, pictures, to_input
from torch import nn

from medrob.saliency import Settings, explain
from medrob.saliency.pixel import PIXEL as ALL

WEIGHT = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 1.0, 1.0, -1.0]], dtype=torch.float64)
PICTURE = np.array([[10, 20], [30, 40]], np.uint8).reshape(1, 2, 2, 1)
X, W = PICTURE[0, ..., 0], WEIGHT[0].reshape(2, 2).numpy()
BY_HAND = {
    "saliency": np.abs(W),
    "smoothgrad": np.abs(W),  # the gradient is the same everywhere
    "input-x-gradient": W * X,
    "integrated-gradients": W * X,
    "occlusion": W * X,  # squares of one pixel: the logit loses just its share
}


def one(model, images, method, **options):
    return explain(model, images, methods=[method], **options)[method, "input"]


@pytest.mark.parametrize("method", ALL)
def test_a_linear_network_by_hand(method):
    """Logits linear in a picture of 2x2: every attribution is known."""
    linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False).double())
    linear[1].weight.data.copy_(WEIGHT)
    np.testing.assert_allclose(one(linear, PICTURE, method, targets=0)[0], BY_HAND[method], rtol=1e-5)


def test_occlusion_by_larger_squares_is_the_mean_of_those_that_cover_a_pixel():
    # 16x16 picture of ones under weights 0..255, squares of 2 moved by 1: a corner has one, the middle four.
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 2, bias=False))
    model[1].weight.data = torch.arange(512.0).reshape(2, 256)
    found = one(model, np.ones((1, 16, 16, 1), np.uint8), "occlusion", targets=0)[0]
    squares = {(i, j): 4 * (16 * i + j) + 1 + 16 + 17 for i in range(15) for j in range(15)}
    assert found[0, 0] == pytest.approx(squares[0, 0])
    assert found[1, 1] == pytest.approx(np.mean([squares[i, j] for i in (0, 1) for j in (0, 1)]))


@pytest.mark.parametrize(
    ("method", "peer"), [("saliency", captum.Saliency), ("input-x-gradient", captum.InputXGradient)]
)
def test_agrees_with_captum(method, peer):
    model, images = network(channels=3), pictures(3, 16, channels=3)
    expected = peer(model).attribute(to_input(images).requires_grad_(), target=1).detach()
    expected = expected.amax(1) if method == "saliency" else expected.sum(1)
    np.testing.assert_allclose(one(model, images, method, targets=1), expected, rtol=1e-5, atol=1e-9)


def test_integrated_gradients_sum_to_the_rise_of_the_logit_and_smoothgrad_without_noise_is_the_gradient():
    model, images = network(width=4), pictures(3, 16)
    rise = (model(to_input(images)) - model(torch.zeros(1, 1, 16, 16)))[:, 1].detach()
    found = one(model, images, "integrated-gradients", targets=1, settings=Settings(samples=300))
    np.testing.assert_allclose(found.sum((1, 2)), rise, atol=0.02 * float(rise.abs().max()))

    found = one(model, images, "smoothgrad", settings=Settings(noise=0, samples=3))
    np.testing.assert_allclose(found, one(model, images, "saliency"), rtol=1e-4, atol=1e-9)
