"""How far a corrupted picture is from the clean one, in the picture itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import cv2
import numpy as np
import pandas as pd

from medrob.check import check_images
from medrob.corruptions import NOT_MONOTONE, Condition, apply_condition, describe
from medrob.corruptions import distances as rmse_by_severity
from medrob.corruptions import examples as example_images
from medrob.data import ImageDataset
from medrob.machine import cores
from medrob.progress import bar

WINDOW = 7
FAINT = 2.0  # grey levels (RMSE) that nobody sees in print
CHUNK = 1 << 18  # values compared at once by a thread: memory does not grow with the data set


def compare_images(a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    """RMSE, PSNR and SSIM of each pair of images.

    Args:
        a, b: uint8 (N, H, W, C), the same shape.

    Returns:
        ``{"rmse", "psnr", "ssim"}``: float64 (N,). RMSE in grey levels (0-255); PSNR in dB, infinite
        for equal images; SSIM (Wang et al. 2004; 7x7 uniform window, data range 255, mean over the
        channels, as scikit-image), NaN for images under 7x7.

    Raises:
        TypeError, ValueError: images of another type, or shapes that differ.
    """
    a, b = check_images(a, "a"), check_images(b, "b")
    if a.shape != b.shape:
        raise ValueError(f"images have shapes {a.shape} and {b.shape}; give two of the same shape")
    gap = np.subtract(a, b, dtype=np.int32)
    mse = (gap * gap).mean((1, 2, 3))
    with np.errstate(divide="ignore"):
        psnr = 10 * np.log10(255**2 / mse)
    return {"rmse": np.sqrt(mse), "psnr": psnr, "ssim": _ssim(a, b)}


def distances(dataset: ImageDataset, conditions: Iterable[Condition], *, seed: int = 0) -> pd.DataFrame:
    """The distance of every corrupted image from the clean one.

    A thread for each core shares the images; their number changes no result.

    Returns:
        A row per condition and image: image, corruption, severity, rmse, psnr, ssim.
    """
    size = max(1, CHUNK // max(1, dataset.images[:1].size))
    chunks = [slice(start, start + size) for start in range(0, len(dataset), size)]
    frames: list[pd.DataFrame] = []
    with ThreadPoolExecutor(cores()) as pool:
        for condition in bar(list(conditions), desc="corrupting", unit="condition"):
            frames += pool.map(partial(_distances_of, dataset, condition, seed), chunks)
    return pd.concat(frames, ignore_index=True)


def _distances_of(dataset: ImageDataset, condition: Condition, seed: int, chunk: slice) -> pd.DataFrame:
    """The rows of one condition and chunk of images."""
    images, index = dataset.images[chunk], np.arange(len(dataset))[chunk]
    distance = compare_images(images, apply_condition(images, condition, seed=seed, index=index))
    return pd.DataFrame({"image": index, "corruption": condition[0], "severity": condition[1], **distance})


def examples(
    dataset: ImageDataset, image: int, conditions: Iterable[Condition], *, seed: int = 0
) -> tuple[dict[Condition, np.ndarray], dict[Condition, float]]:
    """One image under several conditions: the pictures uint8 (H, W, C), and their RMSE against clean."""
    pictures = example_images(dataset.images, image, conditions, seed=seed)
    clean = dataset.images[image : image + 1]
    away = {c: float(compare_images(clean, picture[None])["rmse"][0]) for c, picture in pictures.items()}
    return pictures, away


def severities(sets: Mapping[str, np.ndarray], names: Iterable[str]) -> pd.DataFrame:
    """Whether each step of severity moves pictures further: the mean RMSE at severities 1 to 5.

    Args:
        sets: uint8 (N, H, W, C) under a name each. names: corruptions.

    Returns:
        A row per corruption, a column per set: five RMSE in grey levels, with "≤" before one that is not
        above the last; empty where a corruption needs RGB. `exception` says at which scales of its
        published table that is known (`NOT_MONOTONE`), and where even severity 5 moves pixels by less than
        `FAINT` grey levels, as blurs of a few pixels at 224 do at 28.
    """
    table = {}
    for name in names:
        row, weak = {}, []
        for title, images in sets.items():
            if images.shape[-1] == 3 or not describe(name).colour:
                steps = rmse_by_severity(images, name).mean(axis=1)
                weak += [f"hardly visible: {title}"] * bool(steps[-1] < FAINT)
                grows = np.diff(steps, prepend=0) > 0
                row[title] = " ".join(
                    f"{'' if up else '≤'}{step:.1f}" for up, step in zip(grows, steps, strict=True)
                )
        table[name] = {**row, "exception": ", ".join([*NOT_MONOTONE.get(name, ()), *weak])}
    return pd.DataFrame.from_dict(table, orient="index").fillna("")[[*sets, "exception"]]


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
