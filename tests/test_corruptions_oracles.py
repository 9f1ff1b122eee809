"""Against imgaug, imagecorruptions, Pillow and SciPy."""

import itertools
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import stats
from skimage.filters import gaussian

from medrob.corruptions import blur, corrupt, describe, pixels, weather
from medrob.corruptions.draws import Draws

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import imagecorruptions.corruptions as reference
    from imgaug.augmenters import imgcorruptlike


def pictures(size: int, channels: int = 3, count: int = 2) -> np.ndarray:
    """Smooth random pictures with discs, uint8."""
    random = np.random.default_rng(size)
    images = np.empty((count, size, size, channels), np.uint8)
    for image in images:
        coarse = random.integers(0, 256, (7, 7, channels), dtype=np.uint8)
        smooth = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
        image[:] = smooth.reshape(image.shape)
        cv2.circle(image, (size // 3, size // 2), size // 5, [230, 60, 120][:channels], -1)
    return images


def published(images: np.ndarray, name: str, severity: int) -> np.ndarray:
    """With the table for 224 pixels, whatever the size of the images: the only one that imgaug has."""
    entry = describe(name)
    return entry.function(images, entry.parameters["224"][severity - 1], Draws(0, name, 0, len(images)))


def imgaug(image: np.ndarray, name: str, severity: int, seed: int = 1) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(imgcorruptlike, f"apply_{name}")(image, severity=severity, seed=seed)


def share_within(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float((np.abs(ours.astype(float) - theirs) <= 1).mean())


BLURS = ("defocus_blur", "zoom_blur", "gaussian_blur")
DETERMINISTIC = (*BLURS, "brightness", "contrast", "pixelate", "jpeg_compression", "saturate")


@pytest.mark.parametrize(("size", "channels"), [(64, 1), (64, 3)])
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_corruptions_are_within_one_grey_level_of_imgaug(name, size, channels):
    images = pictures(size, channels, count=1)
    for severity in (1, 3, 5) if (name, channels) != ("saturate", 1) else ():
        theirs = imgaug(images[0], name, severity)  # which tiles a grey image
        assert share_within(published(images, name, severity)[0], theirs) >= 0.99, severity


def test_motion_blur_at_a_fixed_angle(monkeypatch):
    images = pictures(64)
    for severity, angle in ((1, -41.0), (3, 0.0), (5, 33.3)):
        monkeypatch.setattr(reference.np.random, "uniform", lambda *_, angle=angle: angle)
        monkeypatch.setattr(Draws, "uniform", lambda self, *_, angle=angle: np.full(self.count, angle))
        theirs = reference.motion_blur(images[0], severity)
        ours = published(images, "motion_blur", severity)[0]
        assert share_within(ours, theirs) >= 0.99
        monkeypatch.undo()


@pytest.mark.parametrize("offset", [1, 2, 4])
def test_glass_blur_swaps_equal_the_sequential_loop(offset):
    image = np.arange(30 * 26).reshape(30, 26)
    fields = np.random.default_rng(0).integers(0, 65536, (3, 1, 30, 26)).astype(np.uint16)
    loop = image.copy()
    for field in fields[:, 0]:
        cell = field.astype(int) * (2 * offset) ** 2 // 65536
        down, right = cell // (2 * offset) - offset, cell % (2 * offset) - offset
        for h in range(30 - offset, offset, -1):
            for w in range(26 - offset, offset, -1):
                loop[h, w] = loop[h + down[h, w], w + right[h, w]]
    np.testing.assert_array_equal(blur.shuffled(fields, offset), loop.ravel())


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"])
def test_noise_has_the_distribution_of_imgaug(name, size=128):
    ramp = np.linspace(10, 245, size).round().astype(np.uint8)
    image = np.broadcast_to(ramp[None, :, None], (size, size, 3)).copy()
    for severity in (1, 4):
        ours = published(image[None], name, severity)[0].astype(float) - image
        theirs = imgaug(image, name, severity).astype(float) - image
        for low, high in ((0.1, 0.3), (0.4, 0.6), (0.7, 0.9)):
            columns = slice(int(low * size), int(high * size))
            a, b = ours[:, columns].ravel(), theirs[:, columns].ravel()
            spread = np.hypot(a.std(), b.std()) / len(a) ** 0.5
            assert abs(a.mean() - b.mean() - 0.25) < 5 * spread + 0.5  # imgaug truncates: half a level lower
            assert a.std() == pytest.approx(b.std(), rel=12 / len(a) ** 0.5, abs=0.3)
        distance = stats.ks_2samp(np.floor(ours.ravel() / 3), np.floor(theirs.ravel() / 3)).statistic
        assert distance < 2.2 / (ours.size / 2) ** 0.5 + 0.02  # the half level shifts grey levels across bins


def test_shot_noise_is_poisson():
    for severity, photons in enumerate((60, 25, 12, 5, 3), 1):
        for value in (40, 120):
            noisy = published(np.full((8, 64, 64, 1), value, np.uint8), "shot_noise", severity).astype(float)
            counts = np.rint(noisy * photons / 255).ravel()
            rate = photons * value / 255
            kept = counts < photons  # white is the end of the scale
            expected = stats.poisson(rate).pmf(np.arange(photons)) * counts.size
            found = np.bincount(counts[kept].astype(int), minlength=photons)
            usual = expected > 25
            assert np.abs((found - expected)[usual] / np.sqrt(expected[usual])).max() < 6


def test_impulse_noise_flips_half_to_black_and_half_to_white():
    flat = np.full((8, 64, 64, 1), 100, np.uint8)
    for severity, share in enumerate((0.03, 0.06, 0.09, 0.17, 0.27), 1):
        noisy = published(flat, "impulse_noise", severity)
        for value in (0, 255):
            assert (noisy == value).mean() == pytest.approx(share / 2, rel=0.1)
        assert set(np.unique(noisy)) == {0, 100, 255}


@pytest.mark.parametrize("name", ["snow", "spatter"])
def test_weather_has_the_mean_and_spread_of_imgaug(name):
    images = np.repeat(pictures(64, count=1), 40, axis=0)
    for severity in (1, 5):
        ours = published(images, name, severity).astype(float)
        theirs = np.stack([imgaug(images[0], name, severity, seed) for seed in range(40)]).astype(float)
        assert ours.mean() == pytest.approx(theirs.mean(), abs=3.5)
        assert ours.std(0).mean() == pytest.approx(theirs.std(0).mean(), rel=0.2, abs=1)
        assert ours.std((1, 2)).mean() == pytest.approx(theirs.std((1, 2)).mean(), rel=0.15)


def test_plasma_equals_the_loop_of_imagecorruptions(monkeypatch):
    draws = Draws(3, "fog", 0, 2)
    field = draws.bits((64 * 64,)) * np.float32(2 / 65536) - np.float32(1)
    for image in range(2):
        stream = iter(field[image])

        def uniform(low, high, shape, stream=stream):
            return np.array([next(stream) for _ in range(int(np.prod(shape)))]).reshape(shape) * high

        monkeypatch.setattr(reference.np.random, "uniform", uniform)
        theirs = reference.plasma_fractal(64, 1.7)
        monkeypatch.undo()
        np.testing.assert_allclose(weather.plasma(64, 1.7, draws)[image], theirs, atol=2e-5)


def test_elastic_smoothing_equals_scikit_image():
    fields = np.random.default_rng(0).integers(-32768, 32768, (2, 40, 56)).astype(np.int16)
    for sigma in (0.7, 2.44, 19.5, 170.8):
        (ours,) = pixels.smooth(fields[None], sigma)
        for channel, field in enumerate(fields):
            theirs = gaussian(field.astype(float), sigma, mode="reflect", truncate=3 if sigma < 5 else 6)
            assert np.abs(ours[..., channel] - theirs).max() < 2e-3 * max(np.abs(theirs).max(), 1e-2)


def test_enhancements_equal_pillow_but_round():
    images = pictures(64)
    for factor, name in itertools.product((0.4, 0.9, 1.1, 1.6), ("Brightness", "Contrast")):
        theirs = np.asarray(getattr(ImageEnhance, name)(Image.fromarray(images[0])).enhance(factor))
        ours = getattr(pixels, f"enhance_{name.lower()}")
        changed = ours(images, factor, Draws(0, "", 0, len(images)))[0]
        assert np.abs(changed.astype(int) - theirs).max() <= 1


def test_gamma_and_saturation_by_hand():
    ramp = np.arange(256, dtype=np.uint8).repeat(4).reshape(1, 32, 32, 1)
    darker = np.rint(255 * (ramp / 255) ** 1.6).astype(np.uint8)
    np.testing.assert_array_equal(corrupt(ramp, "chestmnist/gamma_corr_up", 5), darker)
    image = np.zeros((1, 16, 16, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 200, 100, 150  # saturation 1/2
    less = published(image, "saturate", 1)[0, 0, 0]  # times 0.3
    np.testing.assert_array_equal(less, [200, 170, 185])  # 200 - 100 * 0.3, 200 - 50 * 0.3
    more = corrupt(image, "pathmnist/saturate", 5)[0, 0, 0]  # plus 0.25
    np.testing.assert_array_equal(more, [200, 50, 125])


def test_pixelate_by_hand():
    image = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    halved = published(image, "pixelate", 2)[0, :, :, 0]
    means = image[0, :, :, 0].reshape(8, 2, 8, 2)
    columns = (means[..., 0].astype(int) + means[..., 1] + 1) // 2  # columns first, rounded up
    blocks = (columns[:, 0] + columns[:, 1] + 1) // 2
    np.testing.assert_array_equal(halved, blocks.repeat(2, 0).repeat(2, 1))


def test_elastic_displacement_follows_the_table_not_imagecorruptions():
    """ImageNet-C's severity 3: fields of 12.2 pixels smoothed by 2.44, corners moved by up to 4.88."""
    columns = np.broadcast_to(np.arange(224, dtype=np.uint8)[:, None], (60, 224, 224, 1))
    moved = corrupt(columns, "elastic_transform", 3).astype(float) - columns
    inner = moved[:, 60:164, 60:164, 0]
    rows, across = np.mgrid[-1:1:104j, -1:1:104j]
    plane = np.stack([np.ones_like(rows), rows, across], -1).reshape(-1, 3)
    flat = inner.reshape(len(inner), -1).T
    local = flat - plane @ np.linalg.lstsq(plane, flat, rcond=None)[0]  # without the affine map
    smoothed = 12.2 / 3**0.5 / (2 * np.pi**0.5 * 2.44)  # standard deviation of a smoothed uniform field
    assert np.median(local.std(0)) == pytest.approx(np.hypot(smoothed, 1 / 12**0.5), rel=0.1)  # and rounding
    assert 1.0 < np.abs(inner.mean((1, 2))).mean() < 4.88
