"""Corruptions as a user meets them: catalogue, determinism, severities, bad input."""

import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data as pictures

from medrob.corruptions import NOT_MONOTONE, apply, corrupt, describe, distances, names, suites
from medrob.data import phantom

ROOT = Path(__file__).parents[1]
PLACES = (ROOT / "data" / "raw", ROOT.parent / "shared" / "data")
PNEUMONIA = next((p / "pneumoniamnist.npz" for p in PLACES if (p / "pneumoniamnist.npz").exists()), None)
GREY = tuple(name for name in names("all") if not describe(name).colour)
QUICK = tuple(name for name in GREY if name not in ("low_dose", "beam_hardening", "metal_streaks"))


MEDMNIST_NAMES = {name for suite in suites() if ":" in suite for name in names(suite)}


def everything() -> tuple[str, ...]:
    """Every corruption once: MedMNIST-C's tables differ from each other only in numbers."""
    own = tuple(name for suite in suites() if ":" in suite for name in names(suite))
    first = {name.split("/")[1]: name for name in reversed(own)}
    return names("all") + tuple(first.values())


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


# catalogue


def test_suites_are_the_published_ones():
    assert names() == ("gaussian_noise", "speckle_noise", "motion_blur", "contrast", "brightness")
    assert len(names("imagenet-c")) == 15
    assert len(names("imagenet-c-extra")) == 4
    sizes = {suite.split(":")[1]: len(names(suite)) for suite in suites() if ":" in suite}
    assert sizes == {
        **{"pathmnist": 11, "bloodmnist": 11, "dermamnist": 15, "retinamnist": 8, "tissuemnist": 8},
        **{"octmnist": 6, "breastmnist": 7, "chestmnist": 13, "pneumoniamnist": 13},
        **{"organamnist": 13, "organcmnist": 13, "organsmnist": 13},
    }
    assert {"mri", "ct", "ultrasound", "xray", "microscopy"} < set(suites())


def test_a_list_of_names_and_suites_is_a_suite():
    assert names(["fog", "thesis", "contrast", "pneumoniamnist/pixelate"]) == (
        *("fog", "gaussian_noise", "speckle_noise", "motion_blur", "contrast", "brightness"),
        "pneumoniamnist/pixelate",
    )
    assert names("frost") == ("frost",)


def test_every_table_of_medmnist_c_has_its_function_and_modality():
    for suite in suites():
        if ":" in suite:
            for name in names(suite):
                entry = describe(name)
                assert entry.source == "Di Salvo et al. 2024" and entry.modalities != ("any",)
                assert entry.key == name.split("/")[1]  # the same noise as under its plain name


def test_every_name_of_every_suite_is_described():
    for suite in suites():
        for name in names(suite):
            entry = describe(name)
            assert entry.name == name
            assert entry.source and entry.group and entry.modalities
            assert entry.summary.endswith((".", ":", ",", ";")) or len(entry.summary) > 20
            assert "224" in entry.parameters
            for levels in entry.parameters.values():
                assert len(levels) == 5


def test_grey_data_leaves_out_colour_corruptions_and_says_so():
    with pytest.warns(UserWarning, match=r"RGB only: pathmnist/saturate"):
        left = names("medmnist-c:pathmnist", channels=1)
    assert "pathmnist/saturate" not in left and len(left) == 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert names("medmnist-c:pathmnist", channels=3) == names("medmnist-c:pathmnist")
        assert names("thesis", channels=1) == names("thesis")


def test_importing_the_package_stays_light():
    code = "import sys, medrob.corruptions; print('imgaug' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"] and done.stderr == ""


# shape, dtype, purity


@pytest.mark.parametrize("name", everything())
def test_shape_dtype_purity_and_change(name):
    for height, width, channels in ((28, 28, 1), (40, 33, 3)):
        if channels == 1 and describe(name).colour:
            continue
        images = (textures(48, 2) if channels == 3 else radiographs(48, 2))[:, :height, :width].copy()
        before = images.copy()
        images.setflags(write=False)
        changed = corrupt(images, name, 5)
        assert changed.shape == images.shape and changed.dtype == np.uint8
        assert not np.shares_memory(changed, images)
        np.testing.assert_array_equal(images, before)
        assert (changed != images).mean() > 0.001
        strided = np.repeat(images, 2, axis=2)[:, :, ::2]
        np.testing.assert_array_equal(corrupt(strided, name, 5), changed)


@pytest.mark.parametrize("name", QUICK)
def test_largest_size(name):
    images = np.full((1, 512, 380, 1), 90, np.uint8)
    images[:, 100:300, 100:200] = 200
    changed = corrupt(images, name, 3)
    assert changed.shape == images.shape and (changed != images).any()


@pytest.mark.parametrize("level", [0, 255])
def test_flat_images_survive(level):
    flat = np.full((2, 28, 28, 3), level, np.uint8)
    for name in everything():
        assert corrupt(flat, name, 5).shape == flat.shape


def test_empty_batch_returns_an_empty_batch():
    for name in everything():
        assert corrupt(np.empty((0, 28, 28, 3), np.uint8), name, 1).shape == (0, 28, 28, 3)


# determinism


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(everything()),
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


@settings(max_examples=30, deadline=None)
@given(name=st.sampled_from(everything()), order=st.permutations(range(4)))
def test_order_does_not_matter(name, order):
    images = noise_images(4, 32, 30, 3)
    whole = corrupt(images, name, 4, seed=9)
    for index in order:
        alone = corrupt(images[index : index + 1], name, 4, seed=9, start=index)
        np.testing.assert_array_equal(alone[0], whole[index])


@pytest.mark.parametrize("name", everything())
def test_chunks_and_threads_do_not_change_a_bit(name, monkeypatch):
    images = noise_images(7, 33, 31, 3)
    whole = corrupt(images, name, 3, seed=1)
    monkeypatch.setattr(apply, "_CHUNK", 2 * images[:1].size)
    np.testing.assert_array_equal(corrupt(images, name, 3, seed=1), whole)
    monkeypatch.setattr(apply, "_PARALLEL", 1)
    monkeypatch.setattr(apply, "cores", lambda: 3)
    np.testing.assert_array_equal(corrupt(images, name, 3, seed=1), whole)


def test_another_process_makes_the_same_images():
    code = (
        "import sys, numpy as np; from medrob.corruptions import corrupt, names\n"
        "x = np.random.default_rng(0).integers(0, 256, (3, 32, 28, 1), dtype=np.uint8)\n"
        "parts = [corrupt(x, n, 4, seed=5, start=2) for n in names('imagenet-c') + names('mri')]\n"
        "sys.stdout.buffer.write(np.concatenate(parts).tobytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    images = noise_images(3, 32, 28, 1)
    parts = [corrupt(images, n, 4, seed=5, start=2) for n in names("imagenet-c") + names("mri")]
    assert done.stdout == np.concatenate(parts).tobytes()


def test_opencv_threads_are_given_back():
    before = cv2.getNumThreads()
    images = noise_images(4, 32, 32, 1)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: corrupt(images, "fog", 2, seed=seed), range(20)))
    assert cv2.getNumThreads() == before
    with pytest.raises(ValueError, match="severity"):
        corrupt(images, "fog", 9)
    assert cv2.getNumThreads() == before


RANDOM = tuple(
    name
    for name in GREY
    if name
    not in (
        *("defocus_blur", "zoom_blur", "gaussian_blur", "brightness", "contrast", "pixelate"),
        *("jpeg_compression", "beam_hardening", "depth_gain", "exposure", "scatter_fog", "vignetting"),
    )
)


@pytest.mark.parametrize("name", GREY)
def test_seed_and_index_matter_where_chance_does(name):
    images = np.repeat(radiographs(64, 1), 2, axis=0)
    a, b = corrupt(images, name, 5, seed=0), corrupt(images, name, 5, seed=1)
    assert (a != b).any() == (name in RANDOM)
    assert (a[0] != a[1]).any() == (name in RANDOM)


def test_neighbouring_images_and_seeds_are_uncorrelated():
    flat = np.full((40, 64, 64, 1), 128, np.uint8)
    fields = [corrupt(flat, "gaussian_noise", 3, seed=seed).reshape(40, -1).astype(float) for seed in (0, 1)]
    correlation = np.corrcoef(np.concatenate(fields)) - np.eye(80)
    assert np.abs(correlation).max() < 6 / 64


# severities


@pytest.mark.parametrize("name", ["gaussian_noise", "impulse_noise", "shot_noise", "rician_noise", "bubble"])
def test_severities_are_nested(name):
    flat = np.full((2, 64, 64, 1), 100, np.uint8)
    changed = [corrupt(flat, name, severity).astype(int) - 100 for severity in range(1, 6)]
    for milder, worse in pairwise(changed):
        agree = (np.sign(milder) * np.sign(worse))[np.abs(milder) > 10]  # one field: it never turns round
        assert (agree >= 0).mean() > 0.98
        assert np.abs(worse).sum() > np.abs(milder).sum()


def growing(images: np.ndarray, name: str) -> bool:
    means = distances(images, name).mean(axis=1)
    return bool(means[0] > 0 and (np.diff(means) > 0).all())


def own_scale(name: str, size: int) -> str:
    """The table that a picture of this size uses."""
    scale = next(scale for scale, limit in apply.SCALES.items() if size <= limit)
    return scale if scale in describe(name).parameters else "224"


SETS = {"phantom": (radiographs, (28, 64)), "texture": (textures, (28, 64))}


def graded() -> tuple[str, ...]:
    """Every corruption, the exceptions, and the coarse blocks of each set, which divide small sides badly."""
    blocks = tuple(f"{suite.partition(':')[2]}/pixelate" for suite in suites() if ":" in suite)
    known = tuple(n for n in NOT_MONOTONE if "/" in n)
    return tuple(dict.fromkeys(everything() + known + tuple(n for n in blocks if n in MEDMNIST_NAMES)))


@pytest.mark.parametrize("name", graded())
def test_damage_grows_with_severity(name):
    for kind, (make, sizes) in SETS.items():
        for size in sizes:
            images = make(size, 4 if name in names("ct") else 16)  # tomography is slow
            if images.shape[-1] == 1 and describe(name).colour:
                continue
            if own_scale(name, size) not in NOT_MONOTONE.get(name, ()):
                assert growing(images, name), (kind, size, distances(images, name).mean(1))


@pytest.mark.parametrize("name", GREY + names("medmnist-c:pneumoniamnist"))
def test_damage_grows_on_pneumoniamnist(name):
    if PNEUMONIA is None:
        pytest.skip("PneumoniaMNIST is not in data/raw")
    with np.load(PNEUMONIA, allow_pickle=False) as archive:
        small = archive["test_images"][:16, :, :, None]
    large = np.stack([cv2.resize(image, (64, 64), interpolation=cv2.INTER_CUBIC) for image in small])[
        ..., None
    ]
    for images in (small, large):
        if own_scale(name, images.shape[1]) not in NOT_MONOTONE.get(name, ()):
            assert growing(images, name)


@pytest.mark.parametrize(("name", "scale"), [(n, s) for n, scales in NOT_MONOTONE.items() for s in scales])
def test_declared_exceptions_are_exceptions(name, scale):
    size = 28 if "/" in name else {"32": 28, "64": 64, "224": 224 if name == "frost" else 128}[scale]
    sets = [textures(size)] if describe(name).colour else [radiographs(size, 16), textures(size)]
    assert not all(growing(images, name) for images in sets)


def test_lengths_scale_where_no_table_was_published():
    """The same wave at any size fades by exp(-(2 pi f sigma)^2 / 2), f in cycles a pixel of 224."""
    sigma = 0.3 * ((21 - 1) / 2 - 1) + 0.8  # OrganAMNIST's widest kernel
    for size in (28, 64, 128, 224, 320):
        wave = np.cos(2 * np.pi * 6 * (np.arange(size) + 0.5) / size)
        images = np.broadcast_to(
            np.rint(128 + 100 * wave).astype(np.uint8)[:, None, None], (1, size, size, 1)
        )
        blurred = corrupt(images, "organamnist/gaussian_blur", 5)[0, :, size // 2, 0] - 128.0
        fade = (blurred @ wave) / (100 * wave @ wave)
        assert fade == pytest.approx(np.exp(-((2 * np.pi * 6 / 224 * sigma) ** 2) / 2), abs=0.02)


# bad input

IMAGES = np.zeros((2, 28, 28, 1), np.uint8)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (IMAGES.astype(np.float32), TypeError, r"images are float32; give a uint8 array"),
        (IMAGES.tolist(), TypeError, "images are list"),
        (IMAGES[..., 0], ValueError, r"shape \(2, 28, 28\); give \(N, H, W, C\)"),
        (np.zeros((2, 28, 28, 2), np.uint8), ValueError, r"C = 1 \(grey\) or 3 \(RGB\)"),
        (np.zeros((2, 28, 28, 4), np.uint8), ValueError, r"C = 1 \(grey\) or 3 \(RGB\)"),
        (np.zeros((2, 8, 28, 1), np.uint8), ValueError, "16 pixels or more"),
    ],
)
def test_wrong_images(images, error, message):
    with pytest.raises(error, match=message):
        corrupt(images, "contrast", 1)


@pytest.mark.parametrize("severity", [0, 6, -1])
def test_severity_out_of_range(severity):
    with pytest.raises(ValueError, match=f"severity is {severity}, but must be an integer from 1 to 5"):
        corrupt(IMAGES, "contrast", severity)


@pytest.mark.parametrize("severity", ["3", True, 3.0, float("nan"), None, np.nan])
def test_severity_of_a_wrong_type(severity):
    with pytest.raises(TypeError, match=r"severity is .*integer from 1 to 5"):
        corrupt(IMAGES, "contrast", severity)


@pytest.mark.parametrize("argument", ["seed", "start"])
def test_wrong_seed_and_start(argument):
    with pytest.raises(ValueError, match=f"{argument} is -1.*an integer(, 0 or more| from 0 to )"):
        corrupt(IMAGES, "contrast", 1, **{argument: -1})
    for value in (1.5, float("nan"), True, "0"):
        with pytest.raises(TypeError, match=f"{argument} is "):
            corrupt(IMAGES, "contrast", 1, **{argument: value})


def test_numpy_integers_are_integers():
    np.testing.assert_array_equal(
        corrupt(IMAGES, "fog", np.int64(2), seed=np.uint8(3)), corrupt(IMAGES, "fog", 2, seed=3)
    )


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'gaussian_noise'"):
        corrupt(IMAGES, "gausian_noise", 1)
    with pytest.raises(TypeError, match="name is 3"):
        corrupt(IMAGES, 3, 1)
    with pytest.raises(ValueError, match="did you mean 'medmnist-c:pathmnist'"):
        names("medmnist-c:path-mnist")
    with pytest.raises(ValueError, match="did you mean 'motion_blur'"):
        names(["thesis", "motion_blurr"])
    with pytest.raises(ValueError, match="channels is 2"):
        names("thesis", channels=2)
    for wrong in ([], 3, None, ["fog", 2]):
        with pytest.raises(TypeError, match=r"suite is .*or a list of names"):
            names(wrong)


def test_colour_corruptions_refuse_grey_images():
    for name in ("saturate", "stain_shift", "bloodmnist/saturate"):
        with pytest.raises(ValueError, match="RGB"):
            corrupt(IMAGES, name, 1)


def test_wrong_scale():
    with pytest.raises(ValueError, match=r"scale is '128'.*'32', '64', '224'"):
        corrupt(IMAGES, "contrast", 1, scale="128")
    with pytest.raises(ValueError, match="scale is 64"):
        corrupt(IMAGES, "contrast", 1, scale=64)


def test_start_ends_where_indices_do():
    with pytest.raises(ValueError, match="start is"):
        corrupt(IMAGES, "contrast", 1, start=2**64)
