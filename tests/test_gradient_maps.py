"""Maps of the input: gradients through captum, and occlusion."""

import captum.attr as captum
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from medrob import models
from medrob.saliency import Settings, explain
from medrob.saliency.pixel import PIXEL as ALL
from medrob.saliency.pixel import separated

WEIGHT = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 1.0, 1.0, -1.0]], dtype=torch.float64)
PICTURE = np.array([[10, 20], [30, 40]], np.uint8).reshape(1, 2, 2, 1)


class Linear(nn.Module):
    """Logits linear in a picture of 2x2: every attribution is known."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2, bias=False).double()
        self.fc.weight.data.copy_(WEIGHT)

    def forward(self, x):
        return self.fc(x.flatten(1))


class Functional(nn.Module):
    """ReLU as a function, as a method, in place, and one module used twice."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
        self.relu, self.fc = nn.ReLU(inplace=True), nn.Linear(4, 3)

    def forward(self, x):
        x = self.relu(self.a(x / 255))
        x = self.relu(self.b(x))
        x = F.relu(self.c(x), inplace=True) + torch.relu(x[:, :, 1:-1, 1:-1]).relu()
        return self.fc(x.mean((2, 3)))


def network(channels=1, seed=0):
    return models.build(in_channels=channels, num_classes=3, width=4, seed=seed).eval()


def pictures(n=3, size=16, channels=1):
    return np.random.default_rng(0).integers(0, 256, (n, size, size, channels), np.uint8)


def to_input(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).float()


def one(model, images, method, **options):
    return explain(model, images, methods=[method], **options)[method, "input"]


# -- Known answers -----------------------------------------------------------------------------------

X = PICTURE[0, ..., 0]
W = WEIGHT[0].reshape(2, 2).numpy()
BY_HAND = {
    "saliency": np.abs(W),
    "smoothgrad": np.abs(W),  # the gradient is the same everywhere
    "guided-backprop": np.abs(W),  # there is no ReLU to guide it
    "input-x-gradient": W * X,
    "integrated-gradients": W * X,
    "deeplift": W * X,
    "occlusion": W * X,  # squares of one pixel: the logit loses just its share
}


@pytest.mark.parametrize("method", ALL)
def test_a_linear_network_by_hand(method):
    found = one(Linear(), PICTURE, method, targets=0, layers=["fc"])
    np.testing.assert_allclose(found[0], BY_HAND[method], rtol=1e-5)


def test_every_method_has_its_known_answer():
    assert {*BY_HAND} == {*ALL}


def test_occlusion_by_larger_squares_is_the_mean_of_those_that_cover_a_pixel():
    # 16x16 picture of ones under weights 0..255, squares of 2 moved by 1: a corner has one, the middle four.
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 2, bias=False))
    model[1].weight.data = torch.arange(512.0).reshape(2, 256)
    found = one(model, np.ones((1, 16, 16, 1), np.uint8), "occlusion", targets=0)[0]
    squares = {(i, j): 4 * (16 * i + j) + 1 + 16 + 17 for i in range(15) for j in range(15)}
    assert found[0, 0] == pytest.approx(squares[0, 0])
    assert found[1, 1] == pytest.approx(np.mean([squares[i, j] for i in (0, 1) for j in (0, 1)]))


# -- A second library, and sums that must hold -------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "peer"), [("saliency", captum.Saliency), ("input-x-gradient", captum.InputXGradient)]
)
def test_agrees_with_captum(method, peer):
    model, images = network(3), pictures(channels=3)
    expected = peer(model).attribute(to_input(images).requires_grad_(), target=1).detach()
    expected = expected.amax(1) if method == "saliency" else expected.sum(1)
    np.testing.assert_allclose(one(model, images, method, targets=1), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("method", "error"), [("deeplift", 1e-4), ("integrated-gradients", 0.01)])
@pytest.mark.parametrize("make", [network, Functional])
def test_the_map_sums_to_the_rise_of_the_logit_from_black(method, error, make):
    model, images = make().eval(), pictures(5)
    rise = model(to_input(images)) - model(torch.zeros(1, 1, 16, 16))
    layers, settings = None if make is network else ["a"], Settings(samples=1000)
    found = one(model, images, method, targets=1, layers=layers, settings=settings)
    scale = float(rise[:, 1].abs().max().detach())
    np.testing.assert_allclose(found.sum((1, 2)), rise[:, 1].detach(), atol=error * scale)


def test_guided_backprop_is_backprop_through_clamped_gradients():
    class Guided(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            context.save_for_backward(x)
            return x.relu()

        @staticmethod
        def backward(context, g):
            return g.relu() * (context.saved_tensors[0] > 0)

    model, x = Functional(), to_input(pictures()).requires_grad_()
    g = Guided.apply
    h = g(model.b(g(model.a(x / 255))))
    h = g(model.c(h)) + g(g(h[:, :, 1:-1, 1:-1]))
    (expected,) = torch.autograd.grad(model.fc(h.mean((2, 3)))[:, 2].sum(), x)
    found = one(model, pictures(), "guided-backprop", targets=2, layers=["a"])
    np.testing.assert_allclose(found, expected.abs().amax(1), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("make", [network, Functional])
def test_separated_relus_leave_the_logits_alone(make):
    model, x = make(), to_input(pictures())
    twin = separated(model)
    torch.testing.assert_close(twin(x), model(x), rtol=0, atol=0)
    used = []
    for module in twin.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda module, i, o: used.append(module))
    twin(x)
    assert len(used) == len(set(used)) >= 4 and not any(relu.inplace for relu in used)


def test_smoothgrad_without_noise_is_the_gradient():
    model, images = network(), pictures()
    found = one(model, images, "smoothgrad", settings=Settings(noise=0, samples=3))
    np.testing.assert_allclose(found, one(model, images, "saliency"), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("method", ["deeplift", "guided-backprop"])
def test_a_network_that_cannot_be_followed_is_refused_in_words(method):
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(256, 2)

        def forward(self, x):
            return self.fc(x.flatten(1)) if x.sum() > 0 else self.fc(-x.flatten(1))

    with pytest.raises(ValueError, match="leave out guided-backprop and deeplift"):
        one(Branching(), pictures(), method, layers=["fc"])
    assert one(Branching(), pictures(), "saliency", layers=["fc"]).shape == (3, 16, 16)
