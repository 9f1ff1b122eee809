"""Corruptions as a user meets them: catalogue, determinism, severities, bad input, test sets as files."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data as pictures

from medrob.corruptions import apply, corrupt, describe, names, registry, suites
from medrob.data import phantom

GREY = tuple(name for name in names("all") if not describe(name).colour)
MEDMNIST = [name for suite in suites() if ":" in suite for name in names(suite)]
# Every corruption once: MedMNIST-C's tables differ from each other only in numbers.
EVERYTHING = names("all") + tuple({name.split("/")[1]: name for name in reversed(MEDMNIST)}.values())


def noise_images(count: int, height: int, width: int, channels: int) -> np.ndarray:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def textures(size: int, count: int = 16) -> np.ndarray:
    """Cuts of two RGB photographs: a face and a stained section."""
    random = np.random.default_rng(5)
    sources = (pictures.astronaut(), pictures.immunohistochemistry())
    cuts = []
    for k in range(count):
        top, left = random.integers(0, 288, 2)
        cut = sources[k % 2][top : top + 224, left : left + 224]
        cuts.append(cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA))
    return np.stack(cuts)


def radiographs(size: int, count: int = 16) -> np.ndarray:
    return phantom.generate("test", size=size, seed=0, limit=count)[0]


def test_suites_are_the_published_ones():
    assert names() == ("gaussian_noise", "speckle_noise", "motion_blur", "contrast", "brightness")
    assert len(names("imagenet-c")) == 15 and len(names("imagenet-c-extra")) == 4
    sizes = {suite.split(":")[1]: len(names(suite)) for suite in suites() if ":" in suite}
    assert sizes == {
        **{"pathmnist": 11, "bloodmnist": 11, "dermamnist": 15, "retinamnist": 8, "tissuemnist": 8},
        **{"octmnist": 6, "breastmnist": 7, "chestmnist": 13, "pneumoniamnist": 13},
        **{"organamnist": 13, "organcmnist": 13, "organsmnist": 13},
    }
    assert {"mri", "ct", "ultrasound", "xray", "microscopy"} < set(suites())
    listed = names(["fog", "thesis", "contrast", "pneumoniamnist/pixelate"])
    assert listed == ("fog", *names("thesis"), "pneumoniamnist/pixelate") and names("frost") == ("frost",)


def test_all_is_every_corruption_without_a_data_set_of_its_own():
    known = [n for n, c in registry._REGISTERED.items() if c.function.__module__.startswith("medrob.")]
    assert sorted([*names("all"), *MEDMNIST]) == sorted(known)
    assert set(registry.TABLES) <= set(known)  # no published table without its function


def test_every_name_of_every_suite_is_described():
    for name in (name for suite in suites() for name in names(suite)):
        entry = describe(name)
        assert entry.name == name and entry.group and len(entry.summary) > 20
        assert "224" in entry.parameters and all(len(levels) == 5 for levels in entry.parameters.values())
        assert entry.key == name.split("/")[-1]  # the same noise as under its plain name
        if "/" in name:
            assert entry.source == "Di Salvo et al. 2024"


def test_grey_data_leaves_out_colour_corruptions():
    left = names("medmnist-c:pathmnist", channels=1)
    assert "pathmnist/saturate" not in left and len(left) == 10
    assert names("medmnist-c:pathmnist", channels=3) == names("medmnist-c:pathmnist")
    assert names("thesis", channels=1) == names("thesis")
    for name in ("saturate", "stain_shift", "bloodmnist/saturate"):
        with pytest.raises(ValueError, match="RGB"):
            corrupt(noise_images(1, 28, 28, 1), name, 1)


@pytest.mark.parametrize("name", EVERYTHING)
def test_shape_dtype_purity_change_and_not_a_bit_by_chunks_or_threads(name, monkeypatch):
    for height, width, channels in ((28, 28, 1), (40, 33, 3))[describe(name).colour :]:
        images = (textures(48, 3) if channels == 3 else radiographs(48, 3))[:, :height, :width].copy()
        before = images.copy()
        images.setflags(write=False)
        changed = corrupt(images, name, 5, seed=1)
        assert changed.shape == images.shape and changed.dtype == np.uint8
        assert not np.shares_memory(changed, images)
        np.testing.assert_array_equal(images, before)
        assert (changed != images).mean() > 0.001
    strided = np.repeat(images, 2, axis=2)[:, :, ::2]
    monkeypatch.setattr(apply, "_CHUNK", 2 * images[:1].size)
    np.testing.assert_array_equal(corrupt(strided, name, 5, seed=1), changed)
    monkeypatch.setattr(apply, "_PARALLEL", 1)
    monkeypatch.setattr(apply, "cores", lambda: 3)
    np.testing.assert_array_equal(corrupt(images, name, 5, seed=1), changed)


def test_largest_size():
    images = np.full((1, 512, 380, 1), 90, np.uint8)
    images[:, 100:300, 100:200] = 200
    for name in (n for n in GREY if n not in names("ct")):  # tomography is slow
        assert (corrupt(images, name, 3) != images).any(), name


@pytest.mark.parametrize(("level", "count"), [(0, 1), (255, 1), (0, 0)])
def test_flat_images_and_an_empty_batch_survive(level, count):
    images = np.full((count, 28, 28, 3), level, np.uint8)
    for name in EVERYTHING:
        assert corrupt(images, name, 5).shape == images.shape


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(EVERYTHING),
    severity=st.integers(1, 5),
    seed=st.integers(0, 2**40),
    start=st.integers(0, 10**6),
    cut=st.integers(0, 5),
    height=st.integers(28, 40),
    width=st.integers(28, 40),
)
def test_a_slice_of_the_result_is_the_result_of_the_slice(name, severity, seed, start, cut, height, width):
    images = noise_images(5, height, width, 3)
    whole = corrupt(images, name, severity, seed=seed, start=start)
    first = corrupt(images[:cut], name, severity, seed=seed, start=start)
    rest = corrupt(images[cut:], name, severity, seed=seed, start=start + cut)
    np.testing.assert_array_equal(np.concatenate([first, rest]), whole)


FIXED = "defocus_blur zoom_blur gaussian_blur brightness contrast pixelate jpeg_compression beam_hardening"
FIXED += " depth_gain exposure scatter_fog vignetting"


@pytest.mark.parametrize("name", GREY)
def test_seed_and_index_matter_where_chance_does(name):
    images = np.repeat(radiographs(64, 1), 2, axis=0)
    a, b = corrupt(images, name, 5, seed=0), corrupt(images, name, 5, seed=1)
    assert (a != b).any() == (a[0] != a[1]).any() == (name not in FIXED.split())


def test_neighbouring_images_and_seeds_are_uncorrelated():
    flat = np.full((40, 64, 64, 1), 128, np.uint8)
    fields = [corrupt(flat, "gaussian_noise", 3, seed=seed).reshape(40, -1) for seed in (0, 1)]
    assert np.abs(np.corrcoef(np.concatenate(fields)) - np.eye(80)).max() < 6 / 64


@pytest.mark.parametrize("name", ["gaussian_noise", "impulse_noise", "shot_noise", "rician_noise", "bubble"])
def test_severities_are_nested(name):
    flat = np.full((2, 64, 64, 1), 100, np.uint8)
    changed = [corrupt(flat, name, severity).astype(int) - 100 for severity in range(1, 6)]
    for milder, worse in pairwise(changed):
        agree = (np.sign(milder) * np.sign(worse))[np.abs(milder) > 10]  # one field: it never turns round
        assert (agree >= 0).mean() > 0.98
        assert np.abs(worse).sum() > np.abs(milder).sum()


# Tables whose image distance does not grow strictly from each severity to the next, on radiographs or on RGB
# textures: published so, and kept so. Corruption: the scales at which that shows.
NOT_MONOTONE = {
    "glass_blur": "224 64 32",  # fewer iterations, or a smaller sigma, at a higher severity
    "motion_blur": "32",  # (6, 2) and (8, 2) differ only beyond six sigma
    "snow": "224",  # severity 3 raises the threshold
    "frost": "224 64 32",  # the image's weight falls, and with it the mean brightness
    "spatter": "32",  # fewer drops at 2 and 3, then mud instead of water
    "saturate": "224 64 32",  # 1 and 2 take colour away, 3 to 5 add it
    "elastic_transform": "224 64 32",  # wide waves at 1 and 2, narrow ones from 3 on
    "pathmnist/motion_blur": "224",  # (10, 5) and (15, 5) differ only beyond four sigma
    "dermamnist/motion_blur": "224",
    "bloodmnist/stain_deposit": "224",  # severities 3 and 4 are the same
    # At 28 pixels 5 x 5 blocks at severity 3, uneven ones, take more than 4 x 4 even ones at 4.
    **{f"{data}mnist/pixelate": "224" for data in ("chest", "tissue", "oct", "breast")},
}


def distances(images: np.ndarray, name: str) -> list[float]:
    """Mean root mean square distance of images to themselves at severities 1 to 5, in grey levels."""
    gaps = (corrupt(images, name, severity).astype(float) - images for severity in range(1, 6))
    return [np.sqrt((gap * gap).mean(axis=(1, 2, 3))).mean() for gap in gaps]


def growing(images: np.ndarray, name: str) -> bool:
    means = distances(images, name)
    return bool(means[0] > 0 and (np.diff(means) > 0).all())


BLOCKS = [name for name in MEDMNIST if name.endswith("/pixelate")]  # which divide small sides badly


@pytest.mark.parametrize("name", dict.fromkeys([*EVERYTHING, *BLOCKS, *NOT_MONOTONE]))
def test_damage_grows_with_severity(name):
    grey = textures if describe(name).colour else radiographs
    for make, size, scale in ((textures, 28, "32"), (grey, 64, "64")):
        scale = scale if scale in describe(name).parameters else "224"
        if scale not in NOT_MONOTONE.get(name, "").split():
            images = make(size, 4 if name in names("ct") else 16)
            assert growing(images, name), (make, size, distances(images, name))


def test_lengths_scale_where_no_table_was_published():
    """The same wave at any size fades by exp(-(2 pi f sigma)^2 / 2), f in cycles a pixel of 224."""
    sigma = 0.3 * ((21 - 1) / 2 - 1) + 0.8  # OrganAMNIST's widest kernel
    for size in (28, 64, 128, 224, 320):
        wave = np.cos(2 * np.pi * 6 * (np.arange(size) + 0.5) / size)
        rows = np.rint(128 + 100 * wave).astype(np.uint8)[:, None, None]
        images = np.broadcast_to(rows, (1, size, size, 1))
        blurred = corrupt(images, "organamnist/gaussian_blur", 5)[0, :, size // 2, 0] - 128.0
        fade = (blurred @ wave) / (100 * wave @ wave)
        assert fade == pytest.approx(np.exp(-((2 * np.pi * 6 / 224 * sigma) ** 2) / 2), abs=0.02)


IMAGES = np.zeros((2, 28, 28, 1), np.uint8)


@pytest.mark.parametrize(
    ("images", "severity", "error", "message"),
    [
        (IMAGES.astype(np.float32), 1, TypeError, r"images are float32; give a uint8 array"),
        (IMAGES[..., 0], 1, ValueError, r"shape \(2, 28, 28\); give \(N, H, W, C\)"),
        (np.zeros((2, 8, 28, 1), np.uint8), 1, ValueError, "16 pixels or more"),
        (IMAGES, 6, ValueError, r"severity is 6, .*must be an integer from 1 to 5"),
        (IMAGES, 3.0, ValueError, r"severity is 3.0, .*must be an integer from 1 to 5"),
    ],
)
def test_wrong_images_and_severities(images, severity, error, message):
    with pytest.raises(error, match=message):
        corrupt(images, "contrast", severity)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'gaussian_noise'"):
        corrupt(IMAGES, "gausian_noise", 1)
    with pytest.raises(ValueError, match=r"did you mean 'motion_blur'.*the suites are all, thesis"):
        names(["thesis", "motion_blurr"])
    with pytest.raises(ValueError, match=r"suite is \[\].*or a list of names"):
        names([])
