"""The physical artefacts against their formulas, worked by hand."""

import numpy as np
import pytest
from skimage import data as pictures

from medrob.corruptions import corrupt, ct, describe, instruments
from medrob.corruptions.draws import Draws


def flat(level: int, size: int = 64, count: int = 4) -> np.ndarray:
    return np.full((count, size, size, 1), level, np.uint8)


def level(name: str, severity: int) -> float:
    return describe(name).parameters["224"][severity - 1]


RADIUS = np.hypot(*np.mgrid[:64, :64] - 31.5)
DISC = np.where(RADIUS < 16, 120, 0).astype(np.uint8)[None, ..., None]


def test_rician_noise_of_the_background_is_rayleigh():
    for severity in (1, 3):
        sigma = 255 * level("rician_noise", severity)
        noisy = corrupt(flat(0), "rician_noise", severity).astype(float)
        assert noisy.mean() == pytest.approx(sigma * (np.pi / 2) ** 0.5, rel=0.02)
        assert noisy.std() == pytest.approx(sigma * (2 - np.pi / 2) ** 0.5, rel=0.03)


def test_the_bias_is_the_exponential_of_a_cubic():
    changed = corrupt(flat(100), "bias_field", 3)[..., 0].astype(float)
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    terms = np.stack([x**i * y**j for i in range(4) for j in range(4 - i)], -1).reshape(-1, 10)
    for image in np.log(changed / 100).reshape(4, -1):
        cubic = terms @ np.linalg.lstsq(terms, image, rcond=None)[0]
        assert np.abs(image - cubic).max() < 0.012  # rounding of grey levels
        assert np.abs(cubic).max() == pytest.approx(level("bias_field", 3), abs=0.012)


@pytest.mark.parametrize("name", ["ghosting", "kspace_motion"])
def test_turning_phases_in_k_space_keeps_the_energy(name):
    changed = corrupt(DISC, name, 5).astype(float)
    assert (changed != DISC).mean() > 0.1
    assert (changed**2).sum() == pytest.approx((DISC.astype(float) ** 2).sum(), rel=0.02)


def test_ghosts_lie_along_the_phase_encoding_direction_and_are_as_sharp_as_what_they_copy():
    """Few rows are lit: copies of a bar, not a smear, whatever the period of the breathing."""
    point = flat(0, count=1)
    point[0, 32, 20] = 255
    ghosts = corrupt(point, "ghosting", 5)[0, ..., 0]
    assert ghosts[:, 20].astype(int).sum() > 300 and np.delete(ghosts, 20, axis=1).max() <= 1
    bars = flat(0, 120, 40)
    bars[:, 59:61] = 200
    lit = (corrupt(bars, "ghosting", 5)[..., 0] > 5).any(axis=2).sum(axis=1)
    assert lit.mean() < 20


def test_spikes_are_two_waves():
    changed = corrupt(flat(128), "kspace_spike", 2)[..., 0] - 128.0
    assert changed.std() == pytest.approx(255 * level("kspace_spike", 2), rel=0.05)  # two of amplitude a
    power = np.abs(np.fft.fft2(changed * np.outer(*[np.hanning(64)] * 2))) ** 2
    largest = np.sort(power.reshape(4, -1))[:, -36:].sum(1)  # four peaks, 3 x 3 under the window
    assert (largest / power.sum((1, 2)) > 0.9).all()


def test_projection_and_reconstruction_invert_each_other():
    (rays,) = ct._project(DISC[..., 0])
    middle = rays[:, rays.shape[1] // 2]
    assert middle.mean() == pytest.approx(120 * 32, rel=0.02)  # through the middle of the disc
    np.testing.assert_allclose(middle, 120 * 32, rtol=0.13)  # pixels line up at 45 degrees
    again = ct._reconstruct(rays, 64, 64)
    assert again[RADIUS < 12].mean() == pytest.approx(120, rel=0.03)
    assert abs(again[(RADIUS > 20) & (RADIUS < 30)].mean()) < 4


def test_low_dose_noise_falls_with_the_root_of_the_photons():
    spread = []
    for photons in (4e6, 1e6):
        noisy = ct.low_dose(np.repeat(DISC, 6, 0), photons, Draws(0, "low_dose", 0, 6)).astype(float)
        spread.append((noisy - DISC)[:, 24:40, 24:40].std())
    assert spread[1] == pytest.approx(2 * spread[0], rel=0.12)


def test_beam_hardening_cups_and_rings_depend_on_the_radius_alone():
    changed = corrupt(DISC, "beam_hardening", 5)[0, ..., 0].astype(float)
    assert changed[RADIUS < 5].mean() < changed[(RADIUS > 11) & (RADIUS < 14)].mean() - 4
    rings = corrupt(flat(128), "ring_artefact", 5)[..., 0]
    for turned in (rings[:, ::-1], rings[:, :, ::-1], rings.swapaxes(1, 2)):
        np.testing.assert_array_equal(rings, turned)


def test_full_speckle_is_rayleigh():
    """The logarithm of a Rayleigh amplitude has a standard deviation of 5.57 dB (Burckhardt 1978)."""
    speckled = corrupt(flat(150, 128), "ultrasound_speckle", 5).astype(float)
    assert speckled.std() == pytest.approx(5.57 * 255 / 60, rel=0.03)
    amplitude = 10 ** ((speckled - 150) * 60 / 255 / 20)
    assert amplitude.mean() == pytest.approx(1, rel=0.02)
    assert amplitude.std() == pytest.approx((4 / np.pi - 1) ** 0.5, rel=0.05)
    assert (corrupt(flat(0), "ultrasound_speckle", 5) == 0).all()


def test_shadow_and_depth_gain_lose_what_the_table_says():
    shadow = corrupt(flat(200), "acoustic_shadow", 3)[..., 0]
    lost = -20 * np.log10(1 - level("acoustic_shadow", 3)) * 255 / 60
    np.testing.assert_allclose(shadow[:, -1].min(1), 200 - lost, atol=2)
    np.testing.assert_allclose(shadow[:, 0].min(1), 200, atol=2)
    deep = corrupt(flat(200), "depth_gain", 3)[0, :, 5, 0]
    np.testing.assert_allclose(deep, 200 - level("depth_gain", 3) * 255 / 60 * np.arange(64) / 63, atol=0.51)


def test_exposure_moves_the_logit():
    changed = corrupt(flat(180), "exposure", 2)[0, 0, 0, 0]
    odds = 180 / 75 * 2 ** (-2 * level("exposure", 2))
    assert changed == round(255 * odds / (1 + odds))


def test_quantum_noise_is_that_of_the_logarithm_of_the_count():
    for value in (60, 120):
        noisy = corrupt(flat(value), "quantum_noise", 2).astype(float)
        photons = level("quantum_noise", 2) * 20 ** (-value / 255)
        assert noisy.std() == pytest.approx(255 / np.log(20) / photons**0.5, rel=0.04)
        assert noisy.mean() == pytest.approx(value, abs=0.6)


def test_grid_lines_have_the_depth_and_period_of_the_table():
    lines = corrupt(flat(200), "grid_lines", 4)[..., 0].astype(float)
    np.testing.assert_allclose(lines.max((1, 2)), 200, atol=2)
    np.testing.assert_allclose(lines.min((1, 2)), 200 * (1 - level("grid_lines", 4)), atol=2)
    strongest = np.abs(np.fft.rfft(lines[:, 32] - lines[:, 32].mean(1, keepdims=True))).argmax(1)
    assert (64 / strongest > 2.4).all() and (64 / strongest < 4.8).all()


def test_scatter_lowers_contrast_and_spares_flat_images():
    np.testing.assert_array_equal(corrupt(flat(90), "scatter_fog", 5), flat(90))
    wave = np.rint(128 + 60 * np.cos(np.pi * np.arange(64) / 4)).astype(np.uint8)
    image = np.broadcast_to(wave, (1, 64, 64))[..., None].copy()
    fogged = corrupt(image, "scatter_fog", 3)[0, 20:44, 20:44, 0].astype(float)
    assert np.ptp(fogged) / 120 == pytest.approx(1 / (1 + level("scatter_fog", 3)), rel=0.06)


def test_stains_are_scaled_and_shifted_in_optical_density():
    image = np.ascontiguousarray(pictures.immunohistochemistry()[None, 200:264, 200:264])
    draws = Draws(0, "stain_shift", 0, 1)
    same = instruments.stain_shift(image, 0.0, draws)
    assert np.abs(same.astype(int) - image).max() <= 1
    changed = instruments.stain_shift(image, 0.1, draws)
    split = np.linalg.inv(instruments._STAINS)
    before, after = (-np.log10((i[0].reshape(-1, 3) + 1.0) / 256) @ split for i in (image, changed))
    inner = ((changed > 20) & (changed < 235)).all(-1).ravel()
    for stain in range(3):
        slope, shift = np.polyfit(before[inner, stain], after[inner, stain], 1)
        assert slope == pytest.approx(np.exp(0.2 * draws.uniform((3,), -1, 1)[0, stain]), rel=0.03)
        assert shift == pytest.approx(0.01 * draws.uniform((3,), -1, 1, stream=1)[0, stain], abs=0.01)


def test_vignetting_follows_the_fourth_power_of_the_cosine():
    changed = corrupt(flat(250, 65), "vignetting", 3)[0, ..., 0]
    tangent = level("vignetting", 3)
    assert changed[32, 32] == 250
    assert changed[0, 0] == round(250 * np.cos(np.arctan(tangent)) ** 4)
    assert changed[32, 0] == round(250 * np.cos(np.arctan(tangent / 2**0.5)) ** 4)


def test_marks_by_hand():
    corner = corrupt(flat(200, 224, 1), "dermamnist/black_corner", 3)[0, ..., 0]
    radius = np.hypot(*np.mgrid[:224, :224] - 112)
    assert (corner[radius < 111] == 200).all() and (corner[radius > 113] == 0).all()
    spots = corrupt(flat(100, 224, 1), "bubble", 1)[0, ..., 0]
    assert spots.min() == 100 and spots.max() == round(100 + 155 * 130 / 255)  # the rim
    assert (spots == round(100 + 155 * 100 / 255)).sum() > 200  # inside
    ink = corrupt(flat(200, 224, 8), "stain_deposit", 1)[..., 0]
    covered = (ink == 0).sum((1, 2))
    assert (covered > 50).all() and (covered < 24**2).all() and set(np.unique(ink[:, :, :2])) <= {0, 200}
    words = corrupt(np.repeat(flat(200, 224, 1), 3, -1), "dermamnist/characters", 5)
    assert 20 < (words != 200).any(-1).sum() < 6000


def test_words_are_spelt_the_same_at_every_severity(monkeypatch):
    """Longer words, and more of them, begin with those of a lower severity."""
    texts: list[str] = []
    monkeypatch.setattr(instruments.cv2, "putText", lambda _, text, *__: texts.append(text))
    longest = 0
    for image in range(8):
        for severity in (4, 5):
            few, texts[:] = texts[:], []
            corrupt(flat(255, 224, 1), "dermamnist/characters", severity, start=image)
        pairs = list(zip(few, texts, strict=False))
        assert pairs and all(long.startswith(short) and len(short) >= 3 for short, long in pairs)
        longest = max(longest, len(few))
    assert longest > 1
