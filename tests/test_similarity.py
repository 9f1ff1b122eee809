import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata, spearmanr
from skimage.metrics import structural_similarity

from medrob.drift import SIMILARITIES, PreparedMaps, compare
from medrob.drift.measurement import ranks
from medrob.saliency import normalise


def maps(n=5, size=(9, 9), seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=(n, *size)).astype(dtype)


def one(*rows):
    return np.array([rows], np.float32)


def test_rmse_by_hand():
    """Min-max maps [0 .5; 1 0] and [0 1; 1 .5]: differences 0, .5, 0, .5."""
    a, b = one([-3, 2], [4, 0]), one([1, 5], [5, 3])
    assert compare(a, b, ["rmse"])["rmse"] == pytest.approx([np.sqrt(0.5 / 4)])
    assert compare(one([0, 1], [1, 0]), one([1, 0], [0, 1]), ["rmse"])["rmse"] == [1]  # opposite maps


@pytest.mark.parametrize(("size", "dtype"), [((7, 7), np.float64), ((9, 14), np.float32)])
def test_ssim_is_that_of_scikit_image(size, dtype):
    a, b = maps(size=size, dtype=dtype), maps(size=size, seed=1, dtype=dtype)
    b[2:] += 3 * a[2:]
    expected = [
        structural_similarity(x, y, data_range=1, win_size=7)
        for x, y in zip(*(normalise(torch.from_numpy(m)).numpy() for m in (a, b)), strict=True)
    ]
    np.testing.assert_allclose(compare(a, b, ["ssim"])["ssim"], expected, atol=1e-5)


@given(arrays(np.float32, (2, 1, 4, 5), elements=st.integers(-1, 3).map(float)))
@settings(max_examples=50, deadline=None)
def test_spearman_with_many_ties_is_that_of_scipy(pair):
    a, b = np.maximum(pair, 0)
    assume(np.ptp(a) and np.ptp(b))
    expected = spearmanr(a.ravel(), b.ravel()).statistic
    assert compare(*pair, ["spearman"])["spearman"] == pytest.approx(expected, abs=1e-6)


def test_ranks_share_ties_on_any_device():
    values = torch.tensor([[0.0, -0.0, 1.0, -0.0], [2, 1, 0, 2]])
    assert ranks(values).tolist() == rankdata(values, axis=1).tolist() == [[2, 2, 4, 2], [3.5, 2, 1, 3.5]]
    if torch.cuda.is_available():
        assert ranks(values.cuda()).tolist() == ranks(values).tolist()


finite = st.floats(-100, 100, width=32).filter(lambda v: v == 0 or abs(v) > 1e-3)


@given(arrays(np.float32, (2, 1, 8, 8), elements=finite), st.floats(1e-6, 1e6))
@settings(max_examples=40, deadline=None)
def test_symmetric_bounded_blind_to_scale_and_perfect_with_itself(pair, scale):
    a, b = pair
    first, second, own = compare(a, b), compare(b, a), compare(a, a.copy())
    scaled = compare(a, b * np.float32(scale))
    for name, (value,) in first.items():
        np.testing.assert_allclose(second[name], value, atol=2e-6)
        np.testing.assert_allclose(scaled[name], value, atol=2e-3)
        low = 0 if name == "rmse" else -1
        assert np.isnan(value) or low - 1e-5 <= value <= 1 + 1e-5
        assert np.isnan(own[name]) or own[name] == pytest.approx(float(name != "rmse"), abs=1e-5)


def test_neither_negative_values_nor_the_other_pairs_matter():
    a, b = maps(6), maps(6, seed=1)
    whole = compare(a, b)
    for name, value in compare(a[2:], np.where(b < 0, b * 50, b)[2:]).items():
        np.testing.assert_allclose(value, whole[name][2:], atol=1e-6)


@pytest.mark.parametrize("kind", [torch.from_numpy, PreparedMaps])
def test_arrays_tensors_and_prepared_maps_give_the_same(kind):
    a, b = maps(), maps(seed=1)
    expected, found = compare(a, b), compare(kind(a), kind(b))
    double = compare(a.astype(np.float64), b.astype(np.float64))
    assert tuple(found) == tuple(SIMILARITIES)
    for name, value in found.items():
        assert isinstance(value, np.ndarray) and value.dtype == np.float32 and value.shape == (5,)
        np.testing.assert_array_equal(value, expected[name])
        np.testing.assert_allclose(value, double[name], atol=1e-5)


@pytest.mark.parametrize("fill", [-1.0, np.nan])
def test_a_degenerate_map_is_nan_in_every_similarity_never_0_or_1(fill):
    a, b = maps(3), maps(3, seed=1)
    a[1] = fill
    for x, y in ((a, b), (b, a), (a, a)):
        for value in compare(x, y).values():
            assert np.isnan(value).tolist() == [False, True, False]


@pytest.mark.parametrize(("size", "degenerate"), [((1, 3), True), ((2, 2), False), ((6, 40), False)])
def test_maps_of_few_positions_and_of_other_shapes(size, degenerate):
    found = compare(maps(4, size) + 3, maps(4, size, seed=1) + 3)
    for name in ("rmse", "spearman"):
        assert np.isnan(found[name]).all() == degenerate
    assert np.isnan(found["ssim"]).all()  # it needs a whole window of 7x7
    for b in (maps(1), maps(size=(8, 9))):
        with pytest.raises(ValueError, match=r"shapes \(5, 9, 9\) and .* give the same"):
            compare(maps(), b)
