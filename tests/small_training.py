"""Small networks and a training of seconds, for the tests of the rooms models and training."""

from pathlib import Path

import torch

from medrob import config, models, training

TIMES = ["seconds", "images_per_second", "memory_mb"]  # differ from run to run


class Evil:
    """Unpickling it creates the file whose path it holds."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def small(**changes):
    return models.build(**dict(in_channels=1, num_classes=3, width=4, seed=0) | changes)


def build(**changes):
    return small(**dict(num_classes=2, task="binary") | changes)


def pictures(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def train(model, train, val, *, seed=0, folder=None, **changes):
    """The history of a training of 3 epochs on the CPU; `changes` are settings of the recipe."""
    recipe = config.Recipe(**dict(epochs=3, lr=5e-3, batch_size=16, patience=0) | changes)
    return training.fit(model, train, val, recipe, seed=seed, device="cpu", folder=folder)


def fit(blobs, model=None, **changes):
    """Train a small network on blobs; the network and its history."""
    model = model or build()
    return model, train(model, blobs(), blobs(32, split="val"), **changes)


def same(a, b):
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
TAKEN = dict(in_channels=3, num_classes=2, stem="auto", width=0)  # as in the file
PLAIN = small(**TAKEN | dict(stem="torchvision", width=4)).backbone.state_dict()


def prefixed(*prefixes, arrays=PLAIN):
    return {"".join(prefixes) + name: value for name, value in arrays.items()}
