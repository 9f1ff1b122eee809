"""Images per second of every ImageNet-C corruption, beside imgaug, imagecorruptions and medmnistc.

    OPENBLAS_NUM_THREADS=1 python tests/benchmarks/bench_corruptions.py [--sizes 64] [--channels 1 3]

Single thread, the ImageNet-C table for everyone (scale="224"), mean over severities 1 to 5. Times are
processor seconds, which other load on the machine does not lengthen, the best of five rounds. The others take
one image at a time and work on three channels even for grey images; imgaug and imagecorruptions refuse images
under 32 pixels. medmnistc, if installed (`uv pip install --no-deps medmnistc`), runs its own suites for
dermoscopy and histology at 224 pixels, all but motion blur, which needs the library of ImageMagick.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from statistics import geometric_mean
from unittest.mock import MagicMock

import cv2
import numpy as np

from medrob.corruptions import corrupt, describe, names

Rival = Callable[[np.ndarray, str, int], object]


def example_images(size: int, channels: int, count: int) -> np.ndarray:
    """Smooth random pictures with edges, uint8 (count, size, size, channels)."""
    random = np.random.default_rng(0)
    images = np.empty((count, size, size, channels), np.uint8)
    for image in images:
        coarse = random.integers(0, 256, (8, 8, channels), dtype=np.uint8)
        smooth = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
        image[:] = smooth.reshape(image.shape)
        cv2.circle(image, (size // 3, size // 2), size // 5, [200] * channels, -1)
    return images


def seconds_per_image(call: Callable[[int], object], images: int, budget: float) -> float:
    """Best of five rounds; `call(severity)` handles that many images."""
    call(1), call(2), call(3), call(4), call(5)  # tables are made once
    best, used = float("inf"), 0.0
    for _ in range(5):
        start = time.process_time()
        for severity in range(1, 6):
            call(severity)
        took = time.process_time() - start
        best, used = min(best, took / 5 / images), used + took
        if used > budget:
            break
    return best


def rivals() -> dict[str, Rival]:
    """One function (image, name, severity) for each library that can be imported."""
    found: dict[str, Rival] = {}
    try:
        import imgaug.augmenters as iaa

        found["imgaug"] = lambda image, name, severity: getattr(iaa.imgcorruptlike, f"apply_{name}")(
            image, severity=severity, seed=1
        )
    except ImportError:
        print("imgaug is not installed")
    try:
        import imagecorruptions

        found["imagecorruptions"] = lambda image, name, severity: imagecorruptions.corrupt(
            image, severity, corruption_name=name
        )
    except ImportError:
        print("imagecorruptions is not installed")
    return found


def medmnistc() -> Rival | None:
    """The same for medmnistc, whose names are "dermamnist/pixelate" and the like."""
    for module in ("wand", "wand.image", "wand.api"):
        sys.modules.setdefault(module, MagicMock(Image=object))
    try:
        from medmnistc.corruptions.registry import CORRUPTIONS_DS
        from PIL import Image
    except ImportError:
        print("medmnistc is not installed")
        return None

    def apply(image: np.ndarray, name: str, severity: int) -> object:
        data, corruption = name.split("/")
        known = CORRUPTIONS_DS[data][corruption]
        known.rng = np.random.default_rng(0)
        return known.apply(Image.fromarray(image), severity - 1)

    return apply


def main() -> None:
    """Print the tables."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[28, 64, 224])
    parser.add_argument("--channels", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--seconds", type=float, default=0.5, help="budget of a measurement")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    others, common = rivals(), names("imagenet-c") + names("imagenet-c-extra")
    for size in options.sizes:
        for channels in options.channels:
            table(size, channels, common, others, options.seconds)
    medical = medmnistc()
    if medical and 224 in options.sizes and 3 in options.channels:
        todo = names("medmnist-c:dermamnist") + names("medmnist-c:pathmnist")[-3:]
        table(224, 3, todo, {"medmnistc": medical}, options.seconds)


def table(size: int, channels: int, todo: Sequence[str], others: dict[str, Rival], budget: float) -> None:
    """One size and number of channels."""
    images = example_images(size, channels, max(8, (1 << 19) // (size * size * channels)))
    print(f"\n{size} x {size} x {channels}: images/s" + "".join(f", and times {name}" for name in others))
    ratios: dict[str, list[float]] = {name: [] for name in others}
    for name in todo:
        if channels == 1 and describe(name).colour:
            continue
        ours = seconds_per_image(
            lambda severity, name=name: corrupt(images, name, severity, scale="224"),
            len(images),
            budget,
        )
        line = f"{name:26}{1 / ours:10,.0f}"
        for rival, call in others.items():
            try:
                theirs = seconds_per_image(
                    lambda severity, call=call, name=name: [call(i, name, severity) for i in images[:8]],
                    8,
                    budget,
                )
            except Exception:  # refuses this size, or lacks this corruption
                line += f"{'-':>10}"
                continue
            ratios[rival].append(theirs / ours)
            line += f"{theirs / ours:10.1f}"
        print(line, flush=True)
    for rival, values in ratios.items():
        if values:
            print(f"geometric mean over {rival}: {geometric_mean(values):.1f} (least {min(values):.1f})")
        else:
            print(f"{rival} refuses images of this size")


if __name__ == "__main__":
    main()
