"""Training beside a plain PyTorch loop, and decoding beside bare parallel OpenCV: `make bench`.

python tests/benchmarks/bench_training.py [images of the folder, training images, widths]
"""

import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from medrob import config, models, training
from medrob.data import ImageDataset, load
from medrob.machine import cores

SIDE, SIZE, BATCH, ROUNDS = 512, 224, 128, 2


def plain(model, images, labels, device):
    """Seconds of an epoch as PyTorch's tutorials write it, fed by a DataLoader, scored as it goes."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    loader = DataLoader(TensorDataset(x, torch.from_numpy(labels)), BATCH, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.to(device).train()
    began = time.perf_counter()
    for pictures, classes in loader:
        loss = torch.nn.functional.cross_entropy(model(pictures.to(device)), classes.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    loss.item()
    return time.perf_counter() - began


def train(count, device, width):
    """Images a second of both loops, the best of alternating rounds."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (count, 28, 28, 1)).astype(np.uint8), np.arange(count) % 2
    data = ImageDataset(images, labels)
    best = {"plain": 0.0, "medrob": 0.0}
    for _ in range(ROUNDS):
        for name in best:
            model = models.build(in_channels=1, num_classes=2, width=width, seed=0)
            if name == "plain":
                speed = count / plain(model, images, labels, device)
            else:
                recipe = config.Recipe(epochs=1, batch_size=BATCH, precision="float32")
                history = training.fit(model, data, data[: 2 * BATCH], recipe, device=device)
                speed = history["images_per_second"].iloc[0]
            best[name] = max(best[name], speed)
    return best


def decode(count):
    """Seconds to decode and shrink a folder of JPEGs: bare OpenCV on all cores, and `load`, twice."""
    with tempfile.TemporaryDirectory() as place:
        os.environ["MEDROB_HOME"] = place
        rng = np.random.default_rng(0)
        picture = cv2.GaussianBlur(rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8), (0, 0), 2)
        files = []
        for k in range(count):
            files.append(Path(place) / "set" / ("train", "val", "test")[k % 3] / "ab"[k % 2] / f"{k}.jpg")
            files[-1].parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(files[-1]), np.roll(picture, k, 0))

        def bare(file):
            return cv2.resize(cv2.imread(str(file)), (SIZE, SIZE), interpolation=cv2.INTER_AREA)

        times = {}
        for name, work in {
            "cv2": lambda: list(ThreadPoolExecutor(cores()).map(bare, files)),
            "medrob": lambda: load(f"{place}/set", size=SIZE),
            "medrob, again": lambda: load(f"{place}/set", size=SIZE),
        }.items():
            began = time.perf_counter()
            work()
            times[name] = time.perf_counter() - began
        return times


if __name__ == "__main__":
    os.environ["MEDROB_PROGRESS"] = "off"
    cv2.setNumThreads(1)  # both sides have a thread a core already
    number, pictures = map(int, [*sys.argv[1:], "5000", "1024"][:2] if len(sys.argv) < 2 else sys.argv[1:3])
    device = str(models.pick_device("auto"))
    for width in map(int, sys.argv[3:] or (16, 64)):
        speed = train(pictures, device, width)
        ours, theirs = speed["medrob"], speed["plain"]
        print(
            f"training, width {width}, {device}: plain {theirs:.1f}, medrob {ours:.1f} images/s", flush=True
        )
    times = decode(number)
    print(
        f"decoding {number} JPEGs of {SIDE} px: cv2 {times['cv2']:.1f} s, medrob {times['medrob']:.1f} s "
        f"({times['medrob'] / times['cv2']:.2f}x), again {times['medrob, again']:.2f} s"
    )
