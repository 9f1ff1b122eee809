import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import center_of_mass
from scipy.spatial.distance import jensenshannon
from scipy.stats import pearsonr, rankdata, spearmanr
from skimage.metrics import structural_similarity

from medrob.drift import SIMILARITIES, USUAL, PreparedMaps, compare
from medrob.saliency import normalise

CORRELATIONS = ("ssim", "spearman", "pearson")  # from -1
ALIKE = (*CORRELATIONS, "iou10", "iou20")  # 1 for the same map; the others are 0
sizes = pytest.mark.parametrize("size", [(7, 7), (9, 14), (32, 32)])


def maps(n=5, size=(9, 9), seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=(n, *size)).astype(dtype)


def one(*rows):
    return np.array([rows], np.float32)


def test_rmse_by_hand():
    """Min-max maps [0 .5; 1 0] and [0 1; 1 .5]: differences 0, .5, 0, .5."""
    a, b = one([-3, 2], [4, 0]), one([1, 5], [5, 3])
    assert compare(a, b, ["rmse"])["rmse"] == pytest.approx([np.sqrt(0.5 / 4)])
    assert compare(one([0, 1], [1, 0]), one([1, 0], [0, 1]), ["rmse"])["rmse"] == [1]  # opposite maps


@sizes
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ssim_is_that_of_scikit_image(size, dtype):
    a, b = maps(size=size, dtype=dtype), maps(size=size, seed=1, dtype=dtype)
    b[2:] += 3 * a[2:]
    expected = [
        structural_similarity(x, y, data_range=1, win_size=7)
        for x, y in zip(*(normalise(torch.from_numpy(m)).numpy() for m in (a, b)), strict=True)
    ]
    np.testing.assert_allclose(compare(a, b, ["ssim"])["ssim"], expected, atol=1e-5)


@sizes
def test_the_others_are_those_of_scipy_and_scikit_image(size):
    """Half of the positions are negative, 0 after the ReLU: many ties."""
    a, b = maps(size=size), maps(size=size, seed=1) + maps(size=size)
    found = compare(a, b, SIMILARITIES)
    for i, (x, y) in enumerate(zip(np.maximum(a, 0), np.maximum(b, 0), strict=True)):
        ranked = [rankdata(m).reshape(size) for m in (x, y)]
        way = np.subtract(center_of_mass(x), center_of_mass(y))
        expected = {
            "spearman": spearmanr(x.ravel(), y.ravel()).statistic,
            "pearson": pearsonr(x.ravel(), y.ravel()).statistic,
            "rmse_rank": np.sqrt(np.mean((ranked[0] - ranked[1]) ** 2)) / x.size,
            "rmse_sum": np.sqrt(np.mean((x / x.sum() - y / y.sum()) ** 2)),
            "jsd": jensenshannon(x.ravel(), y.ravel(), base=2) ** 2,
            "shift": np.hypot(*way) / np.hypot(*size),
            "energy_ratio": np.log2(y.sum() / x.sum()),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][i], value, atol=1e-5, err_msg=name)


coarse = arrays(np.float32, (2, 1, 4, 5), elements=st.integers(-1, 3).map(float))


@given(coarse)
@settings(max_examples=100, deadline=None)
def test_spearman_with_many_ties_is_that_of_scipy(pair):
    a, b = np.maximum(pair, 0)
    assume(np.ptp(a) and np.ptp(b))
    expected = spearmanr(a.ravel(), b.ravel()).statistic
    assert compare(*pair, ["spearman"])["spearman"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("moved", "expected"),
    [
        ({18: 9, 19: 8}, 1),  # the same two of 20 positions, in the other order
        ({19: 9, 0: 8}, 1 / 3),  # one of two in common
        ({0: 9, 1: 8}, 0),
        ({19: 9, 18: 8, 17: 8}, 2 / 3),  # a tie at the border: both are in
    ],
)
def test_iou10_by_hand(moved, expected):
    """The highest 10 % of 20 positions are two."""
    a, b = np.full((2, 1, 4, 5), 0.5, np.float32)
    a[0, 3, 3:] = 8, 9  # positions 18 and 19
    b.flat[list(moved)] = list(moved.values())
    a[0, 2, 0] = b[0, 2, 0] = 0
    assert compare(a, b, ["iou10"])["iou10"] == pytest.approx([expected])


def test_iou10_leaves_out_positions_of_value_zero():
    """Two of 20 positions are asked for, but a has one positive value only."""
    a, b = np.zeros((2, 1, 4, 5), np.float32)
    a[0, 0, 0] = 1
    b[0, 0, :2] = 1, 2
    assert compare(a, b, ["iou10"])["iou10"] == [0.5]


def test_identical_maps_are_perfectly_alike():
    a = maps(20)
    for name, value in compare(a, a.copy(), SIMILARITIES).items():
        np.testing.assert_allclose(value, float(name in ALIKE), atol=1e-5)


finite = st.floats(-100, 100, width=32).filter(lambda v: v == 0 or abs(v) > 1e-3)


@given(arrays(np.float32, (2, 1, 8, 8), elements=finite), st.floats(1e-6, 1e6))
@settings(max_examples=80, deadline=None)
def test_symmetric_bounded_and_blind_to_scale(pair, scale):
    a, b = pair
    first, second = compare(a, b, SIMILARITIES), compare(b, a, SIMILARITIES)
    scaled = compare(a, b * np.float32(scale), SIMILARITIES)
    sign, more = first.pop("energy_ratio"), scaled.pop("energy_ratio")
    np.testing.assert_allclose(second["energy_ratio"], -sign, atol=1e-5)
    np.testing.assert_allclose(more, sign + np.log2(scale), atol=1e-3)
    for name, (value,) in first.items():
        np.testing.assert_allclose(second[name], value, atol=2e-6)
        if not name.startswith("iou"):  # positions that rounding makes tied may enter it
            np.testing.assert_allclose(scaled[name], value, atol=2e-3)
        low = -1 if name in CORRELATIONS else 0
        assert np.isnan(value) or low - 1e-5 <= value <= 1 + 1e-5


def test_neither_negative_values_nor_the_other_pairs_matter():
    a, b = maps(6), maps(6, seed=1)
    whole = compare(a, b, SIMILARITIES)
    for name, value in compare(a, np.where(b < 0, b * 50, b), SIMILARITIES).items():
        np.testing.assert_array_equal(value, whole[name])
        alone = [compare(a[i : i + 1], b[i : i + 1], [name])[name][0] for i in range(6)]
        np.testing.assert_allclose(value, alone, atol=1e-6)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, lambda x: PreparedMaps(torch.from_numpy(x))])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_tensors_and_prepared_maps_give_the_same(kind, dtype):
    a, b = maps(dtype=dtype), maps(seed=1, dtype=dtype)
    expected, found = compare(a, b), compare(kind(a), kind(b))
    single = compare(a.astype(np.float32), b.astype(np.float32))
    assert tuple(found) == USUAL
    for name, value in found.items():
        assert isinstance(value, np.ndarray) and value.dtype == np.float32 and value.shape == (5,)
        np.testing.assert_array_equal(value, expected[name])
        np.testing.assert_allclose(value, single[name], atol=1e-5)


@pytest.mark.parametrize("fill", [0.0, -1.0, 3.0, np.nan, np.inf])
def test_a_degenerate_map_is_nan_in_every_similarity_never_0_or_1(fill):
    a, b = maps(3), maps(3, seed=1)
    a[1] = fill
    for x, y in ((a, b), (b, a), (a, a)):
        for value in compare(x, y, SIMILARITIES).values():
            assert np.isnan(value).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("size", "degenerate"),
    [((1, 1), True), ((1, 3), True), ((2, 2), False), ((1, 4), False), ((6, 6), False), ((6, 40), False)],
)
def test_maps_of_few_positions(size, degenerate):
    found = compare(maps(4, size) + 3, maps(4, size, seed=1) + 3)
    for name in ("rmse", "spearman", "iou10"):
        assert np.isnan(found[name]).all() == degenerate
    assert np.isnan(found["ssim"]).all()  # it needs a whole window of 7x7


@pytest.mark.parametrize("b", [maps(1), maps(size=(8, 9))])
def test_maps_of_other_shapes_are_refused(b):
    with pytest.raises(ValueError, match=r"shapes \(5, 9, 9\) and .* give the same"):
        compare(maps(), b)
