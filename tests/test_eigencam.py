import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection
from test_saliency import network, pictures

from medrob.saliency import explain
from medrob.saliency.gradient import eigencam

LAYERS = ["layer1.0", "layer2.1", "layer4.1"]  # more positions than channels, and the other way round


def eigen(A):
    A = torch.from_numpy(A)
    return eigencam(A, torch.zeros_like(A)).numpy()


def by_svd(A):
    """The projection on the first right singular vector of positions x channels, of a sum not below 0."""
    maps = []
    for a in A:
        _, _, vectors = np.linalg.svd(a.reshape(len(a), -1).T)
        projected = np.tensordot(vectors[0], a, 1)
        maps.append(projected * (-1 if projected.sum() < 0 else 1))
    return np.stack(maps)


def activations(layer, size=16):
    model, kept = network().double(), {}
    module = model.get_submodule(f"backbone.{layer}")
    module.register_forward_hook(lambda m, i, out: kept.update(A=out.numpy()))
    with torch.no_grad():
        model(torch.from_numpy(pictures(3, size)).permute(0, 3, 1, 2).double())
    return kept["A"]


@pytest.mark.parametrize("layer", LAYERS)
def test_is_the_singular_vector_of_the_activations_of_a_network(layer):
    A = activations(layer)
    maps = eigen(A)
    np.testing.assert_allclose(maps, by_svd(A), rtol=1e-9, atol=1e-9 * maps.max())
    assert (maps >= -1e-9 * maps.max()).all() and maps.max() > 0  # Perron and Frobenius


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 9, 2, 3), (2, 4, 2, 2), (1, 1, 3, 3), (2, 5, 1, 1)])
@pytest.mark.parametrize("offset", [2.0, -2.0])
def test_is_the_singular_vector_where_activations_have_signs(shape, offset):
    A = np.random.default_rng(0).normal(offset, 1, shape)
    np.testing.assert_allclose(eigen(A), by_svd(A), rtol=1e-9, atol=1e-12)
    assert (eigen(A).sum((1, 2)) >= 0).all()
    np.testing.assert_allclose(eigen(-A), eigen(A), rtol=1e-9)


@pytest.mark.parametrize("layer", LAYERS)
def test_pytorch_grad_cam_centres_the_channels_and_the_paper_does_not(layer):
    """Centred first, the two are one map up to its sign, which pytorch-grad-cam leaves to chance."""
    A = activations(layer)
    theirs = get_2d_projection(A)
    centred = eigen(A - A.mean((2, 3), keepdims=True))
    scale = np.abs(theirs).max((1, 2), keepdims=True)
    np.testing.assert_allclose(np.abs(centred / scale), np.abs(theirs / scale), atol=1e-5)
    for ours, other in zip(eigen(A), theirs, strict=True):
        assert np.abs(np.abs(ours) - np.abs(other)).max() > 0.1 * np.abs(other).max()


@given(arrays(np.float64, (3, 2, 2, 3), elements=st.floats(0, 50)))
@settings(max_examples=60, deadline=None)
def test_the_map_holds_as_much_energy_as_one_direction_can(A):
    flat = A.reshape(3, 2, -1)
    largest = np.linalg.norm(flat, ord=2, axis=(1, 2))
    maps = eigen(A)
    np.testing.assert_allclose(np.linalg.norm(maps.reshape(3, -1), axis=1), largest, rtol=1e-9, atol=1e-9)
    assert (maps >= -1e-9 * (1 + largest[:, None, None])).all()


def test_the_class_plays_no_part_and_company_none():
    model, images = network(), pictures(3, 16)
    maps = [explain(model, images, methods=["eigencam"], layers=LAYERS, targets=t) for t in (0, 2)]
    alone = explain(model, images[1:2], methods=["eigencam"], layers=LAYERS)
    for key, m in maps[0].items():
        np.testing.assert_allclose(maps[1][key], m, rtol=1e-6)
        np.testing.assert_allclose(alone[key], m[1:2], atol=1e-4 * m.max())
