"""A set larger than the memory: from the files to drift, in less memory than its images take."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pandas as pd
import pytest

SIDE, COUNTS = 512, {"train": 30, "val": 10, "test": 350}  # the test images take 92 MB
ROOM = 60  # MB
# glibc gives blocks of 1 MB and more back at once: what is held is judged, not how its heap is fragmented.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}

# Once with eight images a split, then with all: the system gives no more memory than the first pass took, and
# the room. Pages of files that are mapped for reading do not count: the system may drop them at any time.
SCRIPT = """
import re, resource, sys
import cv2, torch
from pathlib import Path
from medrob import config, corruptions
from medrob import data, drift, evaluation, figures, models, training
from medrob.evaluation import distance
from medrob.files import home

cv2.setNumThreads(1)
torch.set_num_threads(1)
table, npz, room = *sys.argv[1:3], int(sys.argv[3])
network = torch.nn.Sequential(
    torch.nn.Conv2d(1, 8, 16, 16), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
    torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 2),
)
model = models.Classifier(network, {"num_classes": 2, "task": "binary"}, models.Normalise())


def all_stages(limit):
    train, val, test = (data.load(table, split, limit=limit) for split in data.SPLITS)
    data.describe(train, val, test)
    figures.montage(train.images, train.labels, train.class_names)
    todo = [corruptions.CLEAN, ("brightness", 3)]
    distance.distances(test[-60:], todo[1:])
    training.fit(model, train, val, config.Recipe(epochs=1, batch_size=4), device="cpu", folder=home())
    predictions = evaluation.predict_conditions(model, test, todo, batch_size=4)
    evaluation.predict(model, test.images, batch_size=4)
    rows = drift.select(predictions, images=0)
    explainer = drift.Explainer(model, ["gradcam"], ["2"], batch_size=4)
    moved = drift.measure(explainer, test, todo, images=rows)
    data.load(npz, "test", size=500, limit=limit)
    return test, moved


all_stages(8)
taken = 1024 * int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
resource.setrlimit(resource.RLIMIT_DATA, (taken + room * 10**6,) * 2)
test, moved = all_stages(0)
print(len(test), len(moved))
try:
    test.images.copy()
except MemoryError:
    print("a copy has no room")
"""


def pictures(count, first):
    """Smooth pictures, grey, all different."""
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
    smooth = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 9), None, 0, 255, cv2.NORM_MINMAX)
    return (np.roll(smooth, first + k, 0) for k in range(count))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts mapped memory in RLIMIT_DATA")
def test_every_stage_streams_a_set_that_has_no_room_in_memory(tmp_path):
    rows, arrays = [], {}
    for split, count in COUNTS.items():
        for image in pictures(count, len(rows)):
            rows.append((f"{len(rows)}.jpg", len(rows) % 2, split))
            cv2.imwrite(str(tmp_path / rows[-1][0]), image)
        numbers = np.arange(count)
        arrays[f"{split}_images"] = np.full((count, SIDE, SIDE), numbers[:, None, None] % 256, np.uint8)
        arrays[f"{split}_labels"] = numbers % 2
    pd.DataFrame(rows, columns=["path", "label", "split"]).to_csv(tmp_path / "set.csv", index=False)
    np.savez_compressed(tmp_path / "set.npz", **arrays)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "set.csv"), str(tmp_path / "set.npz"), str(ROOM)],
        env=os.environ | ALLOCATOR | {"MEDROB_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["350 350", "a copy has no room"], done.stderr[-2000:]
