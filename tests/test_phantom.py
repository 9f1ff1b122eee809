import numpy as np
import pytest
from scipy import ndimage

from medrob.data import phantom
from medrob.data.phantom import CLASSES, COUNTS, generate


def draw_twice(size, count=60):
    """The same patients with and without their lesions: images, images without, masks, labels."""
    labels = phantom._labels("train", count, 0)
    p, rngs = phantom._draw("train", range(count), 0)
    images, masks = phantom._radiograph(p, rngs, labels, size)
    p, rngs = phantom._draw("train", range(count), 0)
    healthy, empty = phantom._radiograph(p, rngs, np.zeros_like(labels), size)
    assert not empty.any()
    return images.astype(float), healthy.astype(float), masks, labels


def test_shapes_types_and_counts():
    for size in (28, 224):
        images, labels, masks = generate("test", size=size, limit=6)
        assert images.shape == (6, size, size, 1) and images.dtype == np.uint8
        assert labels.shape == (6,) and labels.dtype == np.int64
        assert masks.shape == (6, size, size) and masks.dtype == np.bool_
        assert images.reshape(6, -1).std(axis=1).min() > 20  # grey levels
    assert {split: len(generate(split, size=28)[1]) for split in COUNTS} == COUNTS
    assert len(generate("val", size=28, limit=403)[0]) == 403  # patients do not run out


def test_chunks_do_not_matter(monkeypatch):
    expected = generate("train", size=40, limit=12)
    for pixels in (1, 5000):
        monkeypatch.setattr(phantom, "CHUNK_PIXELS", pixels)
        for a, b in zip(expected, generate("train", size=40, limit=12), strict=True):
            np.testing.assert_array_equal(a, b)


def test_every_image_is_another_one():
    images = [generate(split, size=28, seed=seed, limit=20)[0] for split in COUNTS for seed in (0, 1)]
    flat = np.concatenate(images).reshape(120, -1).astype(float)
    distances = np.abs(flat[:, None] - flat[None]).mean(axis=2)
    assert distances[~np.eye(len(flat), dtype=bool)].min() > 3  # grey levels


@pytest.mark.parametrize("split", COUNTS)
def test_every_block_of_three_holds_each_class_once_in_its_own_order(split):
    for seed in (0, 1000):
        blocks = phantom._labels(split, 300, seed).reshape(-1, 3)
        np.testing.assert_array_equal(np.sort(blocks, axis=1), np.tile([0, 1, 2], (100, 1)))
        assert len(np.unique(blocks, axis=0)) == 6


@pytest.mark.parametrize(("size", "count"), [(28, 600), (64, 150), (224, 9)])
def test_masks(size, count):
    _, labels, masks = generate("train", size=size, limit=count)
    radius = np.sqrt(masks.sum(axis=(1, 2)) / np.pi) / size  # of the disc of equal area, in image sides
    normal, nodule, consolidation = (radius[labels == k] for k in range(3))
    assert (normal == 0).all()
    assert nodule.min() > min(0.025, 1.2 / size) and nodule.max() < 0.08
    assert consolidation.min() > 0.05 and np.median(consolidation) > 1.5 * np.median(nodule)
    assert all(ndimage.label(mask)[1] == 1 for mask in masks[labels == 1])  # one piece


@pytest.mark.parametrize("size", [28, 64, 128])
def test_mask_is_where_the_lesion_is_brighter(size):
    images, healthy, masks, labels = draw_twice(size)
    added = images - healthy
    assert np.abs(added[labels == 0]).max() == 0
    for difference, mask in zip(added[labels > 0], masks[labels > 0], strict=True):
        inside = difference[mask].mean()
        assert inside > 5  # grey levels
        assert inside > 3 * np.abs(difference[~ndimage.binary_dilation(mask, iterations=size // 6)].mean())


def test_mask_is_half_of_the_peak_density():
    labels = np.tile([1, 2], 20)
    p, rngs = phantom._draw("train", range(40), 3)
    plane = phantom._plane(p, rngs, 96)
    body = phantom._anatomy(p, plane)._replace(vessels=np.zeros_like(plane.x))  # no air bronchograms
    density, masks = phantom._lesion(p, labels, plane, body)
    half = density.max(axis=(1, 2), keepdims=True) / 2
    # A nodule's peak may fall between pixels: its rim is told apart up to a small margin.
    assert (masks >= (density > 1.05 * half)).all() and (masks <= (density > 0.95 * half)).all()
    assert (body.air[masks & (labels == 2)[:, None, None]] > 0).all()  # consolidation fills air


def test_lesions_lie_in_the_lungs():
    p, rngs = phantom._draw("train", range(300), 0)
    plane = phantom._plane(p, rngs, 64)
    body = phantom._anatomy(p, plane)
    for k in (1, 2):
        _, masks = phantom._lesion(p, np.full(300, k), plane, body)
        assert (body.air[masks] > 0.1).mean() > 0.95


def test_looks_like_a_chest():
    images, labels, _ = generate("train", size=64, limit=150)
    mean = images[labels == 0, ..., 0].mean(axis=0)
    right_lung, left_lung, spine = mean[20:36, 14:24], mean[12:24, 42:50], mean[20:36, 30:34]
    assert max(right_lung.mean(), left_lung.mean()) < spine.mean() - 60  # air is dark, bone is bright
    assert mean[40:46, 36:42].mean() > mean[40:46, 22:28].mean() + 20  # the heart lies on the viewer's right
    assert mean[58:, 20:44].mean() > right_lung.mean() + 60  # the belly is bright


@pytest.mark.parametrize(("size", "step"), [(28, 4), (64, 2), (32, 7)])
def test_other_size_same_patient(size, step):
    small, labels, small_masks = generate("train", size=size, limit=12)
    large, large_labels, large_masks = generate("train", size=size * step, limit=12)
    np.testing.assert_array_equal(labels, large_labels)
    shrunk = large.reshape(12, size, step, size, step).mean(axis=(2, 4))
    for a, b in zip(small[..., 0], shrunk, strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.96
    shrunk_masks = large_masks.reshape(12, size, step, size, step).mean(axis=(2, 4)) > 0.5
    overlap = (small_masks & shrunk_masks).sum() / (small_masks | shrunk_masks).sum()
    assert overlap > 0.85


def test_exposure_obeys_beer_lambert_and_poisson():
    values = {"photons": 9.0, "scatter": 0.0, "heel": 0.0, "blur": 0.5, "level": 0.5, "window": 0.3}
    p = {name: np.full((1, 1, 1), value, np.float32) for name, value in values.items()}
    for density in (0.5, 1.6, 3.0):
        picture = phantom._expose(np.full((1, 100, 100), density, np.float32), p, [np.random.default_rng(0)])
        assert picture.mean() == pytest.approx(255 * (0.5 + 0.3 * (density - 1.6)), abs=0.5)
        noise = 255 * 0.3 / np.sqrt(np.exp(9.0 - density))  # log of a Poisson count: 1 / sqrt(mean)
        assert picture.std() == pytest.approx(np.hypot(noise, np.sqrt(1 / 12)), rel=0.05)  # and rounding


@pytest.mark.parametrize("confounder", [0.0, 0.3, 0.8, 1.0])
def test_marker_follows_the_class_as_often_as_told_and_the_electrode_does_not(confounder):
    labels, p = phantom._labels("train", 1500, 0), phantom._draw("train", range(1500), 0)[0]
    marked, electrode = phantom._marked(p, labels, confounder), p["electrode"][:, 0, 0] < 0.5
    tolerance = 0.07 * (confounder < 1)  # three standard errors of 500 coins; at 1 there is no coin
    for k, share in enumerate([0.5 - confounder / 2, 0.5 + confounder / 2, 0.5 - confounder / 2]):
        assert marked[labels == k].mean() == pytest.approx(share, abs=tolerance)
        assert electrode[labels == k].mean() == pytest.approx(0.5, abs=0.07)


def test_marker_is_seen_in_the_corners_and_nothing_else_changes():
    free, labels, free_masks = generate("train", limit=90, confounder=0.0)
    tied, tied_labels, tied_masks = generate("train", limit=90, confounder=1.0)
    np.testing.assert_array_equal(labels, tied_labels)
    np.testing.assert_array_equal(free_masks, tied_masks)
    change = tied[..., 0].astype(float) - free[..., 0]
    p, _ = phantom._draw("train", range(90), 0)
    was, now = phantom._marked(p, labels, 0.0), phantom._marked(p, labels, 1.0)
    np.testing.assert_array_equal(now, labels == CLASSES.index(phantom.CONFOUNDED))
    assert (change[was == now] == 0).all()
    assert (change[now & ~was].max(axis=(1, 2)) > 50).all()  # a letter appears
    assert (change[was & ~now].min(axis=(1, 2)) < -50).all()  # a letter goes
    is_left = p["marker_letter"][:, 0, 0] < 0.5
    column = np.abs(change).max(axis=1).argmax(axis=1)
    np.testing.assert_array_equal(column[was != now] > 32, is_left[was != now])  # L stands on the right
    elsewhere = change.copy()
    elsewhere[:, :18, :14] = elsewhere[:, :18, -14:] = 0
    assert np.abs(ndimage.uniform_filter(elsewhere, (0, 5, 5))).max() < 8  # quantum noise only
