"""The bridge to imgaug, both ways."""

import warnings

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import imgaug.augmenters as iaa

from medrob.corruptions import as_augmenter, compose, corrupt, describe, distances, names, register
from medrob.corruptions.catalogue import CATALOGUE


@pytest.fixture(autouse=True)
def _forget_registered():
    before = dict(CATALOGUE)
    yield
    CATALOGUE.clear()
    CATALOGUE.update(before)


def images(count: int = 4, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 40, 36, channels), dtype=np.uint8)


def test_a_corruption_is_an_augmenter():
    augmenter = as_augmenter("gaussian_noise", 3, seed=4)
    first = augmenter(images=images())
    assert first.shape == (4, 40, 36, 3) and (first != images()).any()
    again = as_augmenter("gaussian_noise", 3, seed=4)(images=images())
    np.testing.assert_array_equal(again, first)
    assert (augmenter(images=images()) != first).any()  # the next batch draws anew


def test_augmenters_nest_and_take_lists_of_images():
    chain = iaa.Sequential([as_augmenter("contrast", 2), iaa.Fliplr(1.0)], seed=1)
    result = chain(images=list(images()))
    np.testing.assert_array_equal(np.stack(result), corrupt(images(), "contrast", 2)[:, :, ::-1])


def test_severities_are_drawn():
    flat = np.full((60, 32, 32, 1), 100, np.uint8)
    drawn = as_augmenter("brightness", (1, 3), seed=0)(images=flat)
    levels = {int(corrupt(flat[:1], "brightness", s)[0, 0, 0, 0]) for s in (1, 2, 3)}
    assert set(np.unique(drawn)) == levels
    listed = as_augmenter("brightness", [2, 5], seed=0)(images=flat)
    assert len(np.unique(listed)) == 2


def test_augmenters_refuse():
    with pytest.raises(ValueError, match="did you mean 'fog'"):
        as_augmenter("fogg", 1)
    with pytest.raises(ValueError, match="severity is 6"):
        as_augmenter("fog", (1, 6))
    with pytest.raises(TypeError, match="severity is '3'"):
        as_augmenter("fog", "3")
    for severity in ([], (5, 1), (1, 2, 3)):
        with pytest.raises(ValueError, match=r"integer, \(low, high\) or a list"):
            as_augmenter("fog", severity)
    with pytest.raises(ValueError, match="scale is '9'"):
        as_augmenter("fog", 1, scale="9")


def test_an_augmenter_becomes_a_corruption():
    entry = register("salt", lambda severity: iaa.Salt(0.02 * severity), group="noise")
    assert entry == describe("salt") and entry.group == "noise" and "salt" in names("all")
    whole = corrupt(images(), "salt", 2, seed=1)
    np.testing.assert_array_equal(corrupt(images()[2:], "salt", 2, seed=1, start=2), whole[2:])
    assert (corrupt(images(), "salt", 2, seed=2) != whole).any()
    growth = distances(images(), "salt").mean(axis=1)
    assert (np.diff(growth) > 0).all()


def test_five_or_one_augmenters_can_be_registered():
    register("steps", [iaa.Add(10 * severity) for severity in range(1, 6)])
    flat = np.full((1, 32, 32, 1), 100, np.uint8)
    assert [int(corrupt(flat, "steps", s)[0, 0, 0, 0]) for s in range(1, 6)] == [110, 120, 130, 140, 150]
    register("steps", iaa.Add(7))
    assert [int(corrupt(flat, "steps", s)[0, 0, 0, 0]) for s in (1, 5)] == [107, 107]


def test_register_refuses():
    with pytest.raises(ValueError, match="built-in"):
        register("fog", iaa.Add(1))
    with pytest.raises(ValueError, match="without '/'"):
        register("my/noise", iaa.Add(1))
    with pytest.raises(TypeError, match="imgaug Augmenters"):
        register("mine", 3)
    with pytest.raises(TypeError, match="imgaug Augmenters"):
        register("mine", lambda severity: severity)
    with pytest.raises(ValueError, match="3 levels"):
        register("mine", [iaa.Add(1)] * 3)
    with pytest.raises(ValueError, match="keep shape"):
        register("mine", iaa.CropToFixedSize(16, 16))


def test_register_refuses_what_ignores_the_seed():
    def restless(batch, *_):
        return [np.random.default_rng().integers(0, 256, i.shape, dtype=np.uint8) for i in batch]

    with pytest.raises(ValueError, match="not deterministic"):
        register("restless", iaa.Lambda(func_images=restless))
    assert "restless" not in names("all")


@pytest.mark.parametrize("kind", ["Fog", "ElasticTransform"])
def test_what_seeds_the_global_generator_is_the_same_on_all_threads(kind):
    register("theirs", lambda severity: getattr(iaa.imgcorruptlike, kind)(severity=severity))
    many = np.random.default_rng(0).integers(0, 256, (64, 64, 64, 3), dtype=np.uint8)
    alone = corrupt(many, "theirs", 3, workers=1)
    np.testing.assert_array_equal(corrupt(many, "theirs", 3, workers=4), alone)


def test_an_augmenter_of_colours_becomes_a_corruption_of_colours():
    assert register("greyer", iaa.MultiplySaturation(0.5)).colour
    assert (corrupt(images(), "greyer", 1) != images()).any()
    with pytest.raises(ValueError, match="needs RGB"):
        corrupt(images(channels=1), "greyer", 1)
    assert names("registered") == ("greyer",)


def test_compositions_can_be_registered():
    steps = [("gaussian_noise", 2), ("motion_blur", 3)]
    entry = register("both", lambda severity: compose([("gaussian_noise", severity), ("motion_blur", 3)]))
    assert entry.text == entry.summary
    changed = corrupt(images(), "both", 2)
    assert changed.shape == images().shape and (changed != compose(steps)(images())).any()  # a key of its own
    np.testing.assert_array_equal(corrupt(images(), "both", 2)[1:], corrupt(images()[1:], "both", 2, start=1))
    assert distances(images(), "both").mean(1)[0] > 0


def test_what_fails_in_use_says_so():
    register("theirs", iaa.imgcorruptlike.Fog(severity=1))
    with pytest.raises(ValueError, match=r"augmenter of 'theirs' fails on an image of \(28, 28, 1\)"):
        corrupt(np.zeros((1, 28, 28, 1), np.uint8), "theirs", 1)


@pytest.mark.parametrize(
    "augmenter",
    [
        iaa.Sometimes(0.9, iaa.OneOf([iaa.Add((-60, 60)), iaa.Multiply((0.5, 1.5)), iaa.Invert(1.0)])),
        iaa.BlendAlpha(0.7, iaa.Sequential([iaa.Add((-60, 60)), iaa.Invert(0.5)], random_order=True)),
        iaa.AdditiveGaussianNoise(scale=20).to_deterministic(),
    ],
)
def test_nested_augmenters_follow_their_key_alone(augmenter):
    register("nested", augmenter)
    whole = corrupt(images(8), "nested", 3)
    iaa.Fliplr(0.5)(images=images())  # imgaug's global generator moves on
    for k in range(8):
        np.testing.assert_array_equal(corrupt(images(8)[k : k + 1], "nested", 3, start=k)[0], whole[k])
    assert (corrupt(images(8), "nested", 3, seed=1) != whole).any()


def test_an_error_of_ones_own_on_grey_means_colour():
    def only_rgb(found, *_):
        if found[0].shape[-1] == 1:
            raise ValueError("RGB only")
        return [255 - image for image in found]

    assert register("inverted", iaa.Lambda(func_images=only_rgb)).colour


def test_names_and_loops_are_refused():
    register("both", compose([("fog", 1)]))
    with pytest.raises(ValueError, match="holds 'both' itself"):
        register("both", compose([("both", 1)]))
    with pytest.raises(ValueError, match="built-in corruption or suite"):
        register("thesis", iaa.Add(1))
