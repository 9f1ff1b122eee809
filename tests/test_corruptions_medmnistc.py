"""Against medmnistc, where it is installed: `uv pip install --no-deps medmnistc`.

It is not among medrob's dependencies, since it pins older ones; the same corruptions are checked by hand and
against Pillow in the other tests. Its motion blur needs the library of ImageMagick, which is stubbed here.
"""

import random
import sys
from unittest.mock import MagicMock

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from skimage import data as pictures

from medrob.corruptions import corrupt, names
from medrob.corruptions.registry import PUBLISHED

with pytest.MonkeyPatch.context() as patch:
    for stub in ("wand", "wand.image", "wand.api"):
        patch.setitem(sys.modules, stub, MagicMock(Image=object))
    registry = pytest.importorskip("medmnistc.corruptions.registry", reason="medmnistc is not installed")

MEDMNIST_C = PUBLISHED["medmnist-c"]
NOISE = ("gaussian_noise", "speckle_noise", "shot_noise", "impulse_noise")
CHANCE = ("motion_blur", "stain_deposit", "bubble", "characters")
IMAGE = np.ascontiguousarray(pictures.immunohistochemistry()[100:324, 100:324])


def theirs(name: str, severity: int) -> np.ndarray:
    data, corruption = name.split("/")
    known = registry.CORRUPTIONS_DS[data][corruption.replace("gamma", "gamma_corr")]
    known.rng = np.random.default_rng(severity)
    np.random.seed(severity)  # noqa: NPY002
    return np.asarray(known.apply(Image.fromarray(IMAGE), severity - 1)).astype(float)


def ours(name: str, severity: int) -> np.ndarray:
    return corrupt(IMAGE[None], name, severity, seed=severity)[0].astype(float)


EVERY = [name for data in MEDMNIST_C for name in names(f"medmnist-c:{data}")]


def test_the_tables_are_theirs():
    for data, table in MEDMNIST_C.items():
        known = {n.replace("gamma_corr", "gamma"): k for n, k in registry.CORRUPTIONS_DS[data].items()}
        assert list(known) == list(table) or set(known) == set(table)
        for name, levels in table.items():
            if name == "stain_deposit":
                levels = tuple(number for number, _ in levels)
            if name == "zoom_blur":
                levels = tuple(np.arange(1, *level).tolist() for level in levels)
            published = [np.asarray(level).tolist() for level in known[name].severity_params[:5]]
            if name == "black_corner":  # theirs has severities 4 and 5 the wrong way round
                published = sorted(published, reverse=True)
            assert published == [np.asarray(level).tolist() for level in levels], (data, name)


@pytest.mark.parametrize("name", [n for n in EVERY if n.split("/")[1] not in NOISE + CHANCE])
def test_deterministic_corruptions_are_within_one_grey_level(name):
    for severity in (1, 3, 5):
        if name.endswith("black_corner") and severity > 3:
            continue
        gap = np.abs(ours(name, severity) - theirs(name, severity))
        assert (gap <= 1).mean() >= 0.99, (severity, gap.max())


@pytest.mark.parametrize("name", [n for n in EVERY if n.split("/")[1] in NOISE])
def test_noise_has_the_same_distribution(name):
    for severity in (1, 5):
        a, b = (make(name, severity) - IMAGE for make in (ours, theirs))
        error = np.hypot((a * a).std(), (b * b).std()) / a.size**0.5  # of a difference of variances
        assert abs(a.var() - b.var()) < 5 * error + 0.02 * a.var() + 0.2
        assert abs(a.mean() - b.mean()) < 0.5 + 5 * a.std() / a.size**0.5  # theirs truncates
        assert stats.ks_2samp(np.floor(a / 3).ravel(), np.floor(b / 3).ravel()).statistic < 0.03


@pytest.mark.parametrize("name", ["pathmnist/bubble", "bloodmnist/bubble", "dermamnist/characters"])
def test_marks_by_chance_change_as_much_on_average(name):
    for severity in (1, 5):
        images = np.repeat(IMAGE[None], 60, axis=0)
        random.seed(severity)
        far = [
            np.abs(made - IMAGE.astype(float)).mean(axis=(1, 2, 3))
            for made in (corrupt(images, name, severity), [theirs(name, severity) for _ in images])
        ]
        error = np.hypot(far[0].std(), far[1].std()) / 60**0.5
        assert abs(far[0].mean() - far[1].mean()) < 4 * error, (severity, far[0].mean(), far[1].mean())
