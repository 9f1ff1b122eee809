"""How far a corrupted picture is from the clean one, in the picture itself."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.ndimage import uniform_filter

from medrob.conditions import Condition
from medrob.conditions import apply as corrupted
from medrob.conditions import examples as example_images
from medrob.data import ImageDataset, check_images
from medrob.progress import bar

WINDOW = 7
CHUNK = 1 << 20  # values compared at once: memory does not grow with the data set


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
    x, y = a.astype(np.float64), b.astype(np.float64)
    mse = ((x - y) ** 2).mean((1, 2, 3))
    with np.errstate(divide="ignore"):
        psnr = 10 * np.log10(255**2 / mse)
    return {"rmse": np.sqrt(mse), "psnr": psnr, "ssim": _ssim(x, y)}


def distances(dataset: ImageDataset, conditions: Iterable[Condition], *, seed: int = 0) -> pd.DataFrame:
    """The distance of every corrupted image from the clean one.

    Returns:
        A row per condition and image: image, corruption, severity, rmse, psnr, ssim.
    """
    frames = []
    for corruption, severity in bar(list(conditions), desc="corrupting", unit="condition"):
        step = max(1, CHUNK // max(1, dataset.images[:1].size))
        for start in range(0, len(dataset), step):
            images = dataset.images[start : start + step]
            index = np.arange(start, start + len(images))
            moved = corrupted(images, (corruption, severity), seed=seed, index=index)
            known = {"image": index, "corruption": corruption}
            frames.append(pd.DataFrame({**known, "severity": severity, **compare_images(images, moved)}))
    return pd.concat(frames, ignore_index=True)


def examples(
    dataset: ImageDataset, image: int, conditions: Iterable[Condition], *, seed: int = 0
) -> tuple[dict[Condition, np.ndarray], dict[Condition, float]]:
    """One image under several conditions: the pictures uint8 (H, W, C), and their RMSE against clean."""
    pictures = example_images(dataset.images, image, conditions, seed=seed)
    clean = dataset.images[image : image + 1]
    away = {c: float(compare_images(clean, picture[None])["rmse"][0]) for c, picture in pictures.items()}
    return pictures, away


def _ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if min(x.shape[1:3]) < WINDOW:
        return np.full(len(x), np.nan)
    edge = WINDOW // 2

    def mean(z: np.ndarray) -> np.ndarray:
        return uniform_filter(z, (0, WINDOW, WINDOW, 0))[:, edge:-edge, edge:-edge]

    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    mx, my = mean(x), mean(y)
    vx, vy = unbiased * (mean(x * x) - mx * mx), unbiased * (mean(y * y) - my * my)
    cov = unbiased * (mean(x * y) - mx * my)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    value = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return value.mean((1, 2, 3))
