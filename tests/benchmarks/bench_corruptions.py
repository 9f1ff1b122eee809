"""Images per second of every ImageNet-C corruption, beside imgaug and imagecorruptions.

    OPENBLAS_NUM_THREADS=1 python tests/benchmarks/bench_corruptions.py [--sizes 64] [--channels 1 3]

Single thread, the ImageNet-C table for everyone, mean over severities 1 to 5. Times are processor seconds,
which other load does not lengthen, the best of five rounds. The others take one image at a time and work on
three channels even for grey images; they refuse images under 32 pixels.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import geometric_mean

sys.path.insert(0, str(Path(__file__).parents[1]))

import imagecorruptions
import imgaug.augmenters as iaa
import numpy as np
from test_corruptions_oracles import pictures

from medrob.corruptions import Draws, describe, names

RIVALS: dict[str, Callable[[np.ndarray, str, int], object]] = {
    "imgaug": lambda x, name, s: getattr(iaa.imgcorruptlike, f"apply_{name}")(x, severity=s, seed=1),
    "imagecorruptions": lambda x, name, s: imagecorruptions.corrupt(x, s, corruption_name=name),
}


def seconds_per_image(call: Callable[[int], object], images: int) -> float:
    """Best of five rounds; `call(severity)` handles that many images."""
    best, used = float("inf"), 0.0
    for k in range(6):
        start = time.process_time()
        for severity in range(1, 6):
            call(severity)
        took = time.process_time() - start
        if k:  # tables are made in the first round
            best, used = min(best, took / 5 / images), used + took
        if used > 0.5:
            break
    return best


def table(size: int, channels: int) -> None:
    """One size and number of channels."""
    images = pictures(size, channels, max(8, (1 << 19) // (size * size * channels)))
    print(f"\n{size} x {size} x {channels}: images/s" + "".join(f", and times {name}" for name in RIVALS))
    ratios: dict[str, list[float]] = {name: [] for name in RIVALS}
    for name in names("imagenet-c") + names("imagenet-c-extra", channels=channels):
        entry, draws = describe(name), Draws(0, name, 0, len(images))
        levels = entry.parameters["224"]
        ours = seconds_per_image(lambda s: entry.function(images, levels[s - 1], draws), len(images))  # noqa: B023
        line = f"{name:26}{1 / ours:10,.0f}"
        for rival, call in RIVALS.items():
            try:
                theirs = seconds_per_image(lambda s: [call(i, name, s) for i in images[:8]], 8)  # noqa: B023
                ratios[rival].append(theirs / ours)
                line += f"{theirs / ours:10.1f}"
            except Exception:  # refuses this size, or lacks this corruption
                line += f"{'-':>10}"
        print(line, flush=True)
    for rival, values in ratios.items():
        mean = f"{geometric_mean(values):.1f} (least {min(values):.1f})" if values else "refuses this size"
        print(f"geometric mean over {rival}: {mean}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[28, 64, 224])
    parser.add_argument("--channels", type=int, nargs="+", default=[1, 3])
    options = parser.parse_args()
    for size in options.sizes:
        for channels in options.channels:
            table(size, channels)
