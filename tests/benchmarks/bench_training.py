"""Training beside a plain PyTorch loop: `make bench`, or bench_training.py [images, widths]."""

import os
import sys
import time

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from medrob import config, models, training
from medrob.data import ImageDataset

BATCH, ROUNDS = 128, 2


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


if __name__ == "__main__":
    os.environ["MEDROB_PROGRESS"] = "off"
    count, *widths = map(int, sys.argv[1:] or (1024, 16, 64))
    device = str(models.pick_device("auto"))
    for width in widths:
        plainly, ours = train(count, device, width).values()
        print(
            f"training, width {width}, {device}: plain {plainly:.1f}, medrob {ours:.1f} images/s", flush=True
        )
