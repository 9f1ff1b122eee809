"""What the data, the corruptions and the training say: the sentences of notebooks 01 and 02."""

from __future__ import annotations

from typing import Any

import pandas as pd

from medrob.words.phrases import corruption, count, listed, name, text


def data_sets(*sets: Any) -> str:
    """How many images of which size each split (`medrob.data.ImageDataset`) has."""
    sizes = listed([f"{len(part):,} {part.split}" for part in sets])
    shape = "x".join(map(str, sets[-1].images.shape[1:]))
    return f"{name(sets[-1].name)} has {sizes} images of {shape}; the task is {sets[-1].task}."


def distances(distances: pd.DataFrame) -> str:
    """Which corruption changes the images most at the highest severity, in two measures."""
    rows = distances[distances["severity"] == distances["severity"].max()]
    mean = rows.groupby("corruption", sort=False)[["rmse", "ssim"]].mean()
    pixels, structure = corruption(mean["rmse"].idxmax()), corruption(mean["ssim"].idxmin())
    return (
        f"At severity {rows['severity'].max()}, {pixels} moves the pixels furthest (RMSE "
        f"{mean['rmse'].max():.0f} grey levels), and {structure} leaves least of the structure (SSIM "
        f"{mean['ssim'].min():.2f})."
    )


def network(arch: str, model: Any) -> str:
    """The size of the network, where its weights come from, and how it normalises grey levels."""
    size = sum(weights.numel() for weights in model.parameters())
    levels = f"mean {model.normalise.mean} and spread {model.normalise.std}"
    return f"{name(arch)} has {size:,} parameters and {model.origin}. Grey levels are normalised by {levels}."


def training(history: pd.DataFrame, best: int) -> str:
    """How good the kept epoch, `best`, is, and whether longer training might help."""
    checked = history[history["split"] == "val"].set_index("epoch")
    kept, last, loss = checked.loc[best], checked.index[-1], checked["loss"]
    scores = f"its validation AUC is {kept['auc']:.3f}, its accuracy {kept['accuracy']:.3f}"
    longer = "It is the last one, so longer training might do better."
    losses = (
        f"{kept['loss']:.3f} then, {loss.iloc[-1]:.3f} in the last epoch and {loss.min():.3f} at its lowest"
    )
    later = longer if best == last else "Later epochs did not do better."
    return text(f"Epoch {best} of {last} is kept: {scores}.", later, f"The validation loss is {losses}.")


def speed(history: pd.DataFrame) -> str:
    """What the training cost."""
    memory = history[["memory_mb", "gpu_memory_mb"]].max()
    images = count(history.loc[history["split"] == "train", "images_per_second"].median(), "training image")
    return (
        f"Training took {history['seconds'].sum():.0f} s, with {images} per second. The peak memory was "
        f"{memory['memory_mb']:.0f} MB, on the GPU {memory['gpu_memory_mb']:.0f} MB."
    )
