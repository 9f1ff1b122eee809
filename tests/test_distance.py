import numpy as np
import pandas as pd
import pytest
from skimage import metrics as oracle

from medrob import corruptions
from medrob.corruptions import CLEAN, grid
from medrob.evaluation import compare_images, distance


def pair(channels, size=28, count=5, seed=0):
    """Smooth images, and the same with noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, : size + 3] / size
    waves = 120 + 90 * np.sin(7 * rows + 3) * np.cos(5 * columns)
    clean = np.tile(waves[None, ..., None], (count, 1, 1, channels)) + rng.normal(0, 5, (count, 1, 1, 1))
    noisy = clean + rng.normal(0, 1, clean.shape) * np.linspace(1, 60, count)[:, None, None, None]
    return tuple(np.clip(np.rint(x), 0, 255).astype(np.uint8) for x in (clean, noisy))


@pytest.mark.parametrize(("size", "channels"), [(7, 1), (7, 3), (28, 1), (65, 3)])
def test_scikit_image(channels, size):
    a, b = pair(channels, size)
    found = compare_images(a, b)
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        assert found["rmse"][i] == pytest.approx(np.sqrt(oracle.mean_squared_error(x, y)))
        assert found["psnr"][i] == pytest.approx(oracle.peak_signal_noise_ratio(x, y, data_range=255))
        ssim = oracle.structural_similarity(x, y, data_range=255, channel_axis=2)
        assert found["ssim"][i] == pytest.approx(ssim, abs=1e-10)


@pytest.mark.parametrize("level", [0, 255, None])
def test_equal_images(level, tiny):
    images = tiny.images if level is None else np.full((2, 9, 9, 3), level, np.uint8)
    found = compare_images(images, images.copy())
    assert (found["rmse"] == 0).all() and (found["psnr"] == np.inf).all()
    assert found["ssim"] == pytest.approx(1, abs=1e-12)


def test_distances(tiny, monkeypatch):
    todo = grid(["gaussian_noise"])[:4]
    found = distance.distances(tiny, todo, seed=2)
    assert list(found) == ["image", "corruption", "severity", "rmse", "psnr", "ssim"]
    assert list(found.groupby(["corruption", "severity"], sort=False).groups) == todo
    clean = found[found["severity"] == 0]
    assert (clean["rmse"] == 0).all() and clean["image"].tolist() == list(range(60))
    worked = compare_images(tiny.images, corruptions.corrupt(tiny.images, "gaussian_noise", 3, seed=2))
    assert found.loc[found["severity"] == 3, "rmse"].to_numpy() == pytest.approx(worked["rmse"])
    monkeypatch.setattr(distance, "CHUNK", 7 * tiny.images[0].size)
    for threads in (1, 3):
        monkeypatch.setattr(distance, "cores", lambda threads=threads: threads)
        pd.testing.assert_frame_equal(distance.distances(tiny, todo, seed=2), found)


def test_examples(tiny):
    todo = [CLEAN, ("speckle_noise", 4)]
    pictures = corruptions.examples(tiny.images, 37, todo, seed=2)
    away = {c: compare_images(tiny.images[[37]], image[None])["rmse"][0] for c, image in pictures.items()}
    found = distance.distances(tiny, todo, seed=2).query("image == 37").set_index(["corruption", "severity"])
    assert list(pictures) == todo and (pictures[CLEAN] == tiny.images[37]).all()
    assert away == pytest.approx(found["rmse"].to_dict())  # the same noise as in the whole set


def test_the_spread_over_images_by_hand():
    rows = [{"image": i, "corruption": "fog", "severity": s, "rmse": i * s} for s in (0, 2) for i in range(5)]
    table = pd.DataFrame(rows).assign(psnr=np.inf, ssim=1.0)
    found = distance.spread(table).set_index("metric")
    assert found.loc["rmse", ["value", "low", "high"]].tolist() == pytest.approx([4, 0.4, 7.6])
    assert found["value"].isna().tolist() == [False, True, False] and (found["severity"] == 2).all()
