import sys

import imgaug
import imgaug.augmenters as iaa
import numpy as np
import pytest

from medrob import augment, corruptions, data
from medrob.augment import policy


def pictures(channels=1, size=28, count=6):
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[:size, :size] / size
    waves = 120 + 60 * np.sin(7 * rows) * np.cos(5 * columns)
    return (waves[None, ..., None] + rng.normal(0, 8, (count, 1, 1, channels))).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [*augment.names(), "augments_of_mine:some", "augments_of_mine:blend"])
def test_a_policy_is_a_function_of_images_and_generator(name, channels):
    images = pictures(channels)
    kept = images.copy()
    imgaug.seed(1)
    np.random.seed(1)  # noqa: NPY002
    world = np.random.get_state()[1].copy()  # noqa: NPY002
    first, other = (policy(name)(images, np.random.default_rng(seed)) for seed in (0, 1))
    imgaug.seed(2)  # imgaug's own generator does not matter
    again = policy(name)(images, np.random.default_rng(0))
    assert first.shape == images.shape and first.dtype == np.uint8
    assert (first == again).all() and (images == kept).all()
    assert (first != other).any() == (first != images).any() == (name not in ("none", "expanded"))
    same = policy(name)(np.repeat(images[:1], 8, 0), np.random.default_rng(0))  # a draw for each image
    assert (len({image.tobytes() for image in same}) > 4) == (name not in ("none", "expanded"))
    wide = pictures(channels, 40)[:1, :32]
    assert policy(name)(wide, np.random.default_rng(0)).shape == wide.shape
    assert (np.random.get_state()[1] == world).all()  # noqa: NPY002  NumPy's own generator is left alone


def test_geometric_moves_a_little_and_photometric_keeps_a_flat_image_flat():
    flat = np.full((3, 28, 28, 1), 90, np.uint8)
    exposed = policy("photometric")(flat, np.random.default_rng(0))
    assert (np.ptp(exposed, axis=(1, 2, 3)) == 0).all() and (exposed != 90).any()
    dot = np.zeros((50, 41, 41, 1), np.uint8)
    dot[:, 18:23, 18:23] = 255
    moved = policy("geometric")(dot, np.random.default_rng(0))[..., 0].astype(float)
    rows, columns = np.mgrid[:41, :41]
    mass = moved.sum((1, 2))
    centre = np.stack([(moved * axis).sum((1, 2)) / mass for axis in (rows, columns)])
    away = np.abs(centre - 20)
    assert (away.max(1) > 1).all() and away.max() <= 0.08 * 41 + 0.5  # pixels, along either axis


def test_corruptions_are_those_of_the_thesis():
    images = np.repeat(pictures()[:1], 64, 0)
    changed = policy("corruptions")(images, np.random.default_rng(0))
    clean = (changed == images).all((1, 2, 3))
    assert 2 <= clean.sum() <= 30  # a sixth is severity 0
    fixed = corruptions.grid(["contrast", "brightness"])[1:]
    flat = {corruptions.corrupt(images[:1], *condition).tobytes() for condition in fixed}
    assert len(flat & {image.tobytes() for image in changed}) >= 5  # what has no noise is recognised


OWN = """
import imgaug.augmenters as iaa

flip = iaa.Sequential([iaa.Fliplr(1.0), iaa.Add(value=-7)])
some = iaa.Sometimes(0.9, iaa.OneOf([iaa.Add((-60, 60)), iaa.Multiply((0.5, 1.5)), iaa.Invert(1.0)]))
blend = iaa.BlendAlpha(0.7, iaa.Sequential([iaa.Add((-60, 60)), iaa.Invert(0.5)], random_order=True))
grey, small = iaa.Grayscale(1.0), iaa.Crop(px=1, keep_size=False)
number = 3

def darker(images, rng):
    images -= images // 2
    return images

def fewer(images, rng):
    return images[1:]

def floats(images, rng):
    return images / 2
"""


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    """A module of a student's on the path."""
    (tmp_path / "augments_of_mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("augments_of_mine", None)


def test_an_augmenter_or_a_function_of_ones_own():
    images = pictures(3)
    kept = images.copy()
    flipped = policy("augments_of_mine:flip")(images, np.random.default_rng(0))
    assert (flipped == iaa.Add(-7).augment_images(images[:, :, ::-1])).all()
    darker = policy("augments_of_mine:darker")(images, np.random.default_rng(0))
    assert (darker == kept - kept // 2).all() and (images == kept).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("grey", "cannot be made of grey images; leave out what changes colours"),
        ("small", r"6 images of uint8 \(26, 26, 1\) of 6 of uint8 \(28, 28, 1\); keep type and size"),
        ("fewer", r"makes 5 images of uint8 \(28, 28, 1\) of 6"),
        ("floats", "makes 6 images of float64"),
    ],
)
def test_images_that_it_cannot_take_or_keep_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        policy(f"augments_of_mine:{name}")(pictures(1), np.random.default_rng(0))
    policy("augments_of_mine:grey")(pictures(3), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mirror", "'mirror' is unknown; the policies are none, geometric"),
        ("augments_of_mine:flop", "has no attribute 'flop'.*put its folder on PYTHONPATH"),
        ("augments_of_mine:number", "is a int; your own is 'package.module:name'"),
    ],
)
def test_what_is_no_policy(name, message):
    with pytest.raises(ValueError, match=message):
        policy(name)


def test_an_expanded_training_set_holds_each_image_under_every_condition():
    train = data.load("phantom", "train", size=28, limit=9)
    more, conditions = augment.expanded(train), corruptions.grid(corruptions.names("thesis"))
    assert len(more) == 26 * len(train) and augment.policy("expanded")(train.images, None) is train.images
    for place, condition in enumerate(conditions):
        rows = slice(place * len(train), (place + 1) * len(train))
        wanted = corruptions.corrupt(train.images, *condition, seed=2**31 - 1) if place else train.images
        assert np.array_equal(more.images[rows], wanted), condition
        assert np.array_equal(more.labels[rows], train.labels)
