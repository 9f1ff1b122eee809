import numpy as np
import pytest
import torch
from small_training import TAKEN

from medrob import data, models

LONGEST = ("test_notebooks.py", "test_study_run.py")  # of minutes: they start first, beside all others


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """A project folder of its own for every test: no test can touch a user's results."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("MEDROB_HOME", str(folder))
    monkeypatch.setenv("MEDROB_PROGRESS", "off")
    return folder


@pytest.fixture(scope="session")
def tiny():
    """60 phantom test images of 28 px, 20 of each class."""
    return data.load("phantom", "test", size=28, limit=60)


@pytest.fixture
def network():
    """A small untrained classifier for `tiny`, in eval mode."""
    return models.build("resnet18", in_channels=1, num_classes=3, width=4, seed=0).eval()


@pytest.fixture
def blobs():
    """A function that makes images of 16 px whose class is the bright quarter: easy to learn."""

    def make(count=48, classes=2, split="train", seed=0):
        rng = np.random.default_rng([seed, len(split)])
        images = rng.integers(0, 60, (count, 16, 16, 1)).astype(np.uint8)
        labels = np.arange(count) % classes
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 2)
            image[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 120
        task = "binary" if classes == 2 else "multiclass"
        return data.ImageDataset(images, labels, tuple("abcd"[:classes]), task, name="blobs", split=split)

    return make


@pytest.fixture
def one_size(monkeypatch):
    """Of networks that take no picture of a usual size, not all usual sizes are tried in vain."""
    monkeypatch.setattr("medrob.models.probe.TRIED", (32,))


@pytest.fixture
def taken(tmp_path):
    """A function that builds the resnet18 of what a file w.pth holds."""

    def build_with(content, **changes):
        torch.save(content, tmp_path / "w.pth")
        return models.build("resnet18", **TAKEN | changes, weights=str(tmp_path / "w.pth"))

    return build_with
