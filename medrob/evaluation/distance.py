"""How far a corrupted picture is from the clean one, in the picture itself."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import cv2
import numpy as np
import pandas as pd

from medrob.corruptions import Condition, apply_condition
from medrob.data import ImageDataset
from medrob.machine import bar, cores

WINDOW = 7
CHUNK = 1 << 18  # values compared at once by a thread: memory does not grow with the data set


def compare_images(a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    """RMSE, PSNR and SSIM of each pair of images, uint8 (N, H, W, C).

    Each is float64 (N,). RMSE in grey levels (0-255); PSNR in dB, infinite for equal images; SSIM (Wang et
    al. 2004; 7x7 uniform window, data range 255, mean over channels, as scikit-image), NaN under 7x7.
    """
    gap = np.subtract(a, b, dtype=np.int32)
    mse = (gap * gap).mean((1, 2, 3))
    with np.errstate(divide="ignore"):
        psnr = 10 * np.log10(255**2 / mse)
    return {"rmse": np.sqrt(mse), "psnr": psnr, "ssim": _ssim(a, b)}


def _ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    count, height, width, channels = a.shape
    if min(height, width) < WINDOW:
        return np.full(count, np.nan)
    edge, area = WINDOW // 2, WINDOW**2

    def mean(z: np.ndarray) -> np.ndarray:
        """Means over all windows inside the images; sums of whole numbers, exact in any order."""
        tall = z.reshape(count * height, width, channels)  # what crosses from image to image is cut away
        sums = np.asarray(cv2.boxFilter(tall, cv2.CV_32S, (WINDOW, WINDOW), normalize=False))
        return sums.reshape(z.shape)[:, edge:-edge, edge:-edge] / area

    x, y = a.astype(np.uint16), b.astype(np.uint16)
    unbiased = area / (area - 1)
    mx, my = mean(x), mean(y)
    vx, vy = unbiased * (mean(x * x) - mx * mx), unbiased * (mean(y * y) - my * my)
    cov = unbiased * (mean(x * y) - mx * my)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    value = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return value.mean((1, 2, 3))


def distances(dataset: ImageDataset, conditions: Iterable[Condition], *, seed: int = 0) -> pd.DataFrame:
    """A row per condition and image: image, corruption, severity, rmse, psnr, ssim against the clean image.

    A thread for each core shares the images; their number changes no result.
    """

    def rows(condition: Condition, chunk: np.ndarray) -> pd.DataFrame:
        images = dataset.images[chunk]
        away = compare_images(images, apply_condition(images, condition, seed=seed, index=chunk))
        return pd.DataFrame({"image": chunk, "corruption": condition[0], "severity": condition[1], **away})

    size = max(1, CHUNK // dataset.images[:1].size)
    chunks = np.split(np.arange(len(dataset)), range(size, len(dataset), size))
    frames: list[pd.DataFrame] = []
    with ThreadPoolExecutor(cores()) as pool:
        for condition in bar(list(conditions), desc="corrupting", unit="condition"):
            frames += pool.map(partial(rows, condition), chunks)
    return pd.concat(frames, ignore_index=True)


def spread(distances: pd.DataFrame) -> pd.DataFrame:
    """Mean (value) and 5th and 95th percentile (low, high) over images, by corruption, severity, metric."""
    keys = ["corruption", "severity", "metric"]
    rows = distances[distances["severity"] > 0].replace(np.inf, np.nan)  # PSNR of an unchanged picture
    long = rows.melt(["image", *keys[:2]], ["rmse", "psnr", "ssim"], "metric")
    groups = long.groupby(keys, sort=False)["value"]
    ends = groups.quantile([0.05, 0.95]).unstack().set_axis(["low", "high"], axis=1)
    return ends.assign(value=groups.mean()).reset_index()
