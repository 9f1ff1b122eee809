"""Do maps change when the network does? Cascading randomisation of its weights (Adebayo et al. 2018)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Unpack

import numpy as np
import pandas as pd
import torch
from torch import nn

from medrob.progress import bar
from medrob.similarity import SSIM_WINDOW, Maps, compare
from medrob.trust.subject import Asked, Key, others, subject
from medrob.trust.table import Entry, table

EVERYTHING = "all"  # the last stage: no trained weight is left
STAGES = 5  # at least so many, where the network has so many parts
TESTS = {"randomisation": "spearman", "randomisation-ssim": "ssim"}


def randomisation(
    model: nn.Module,
    images: np.ndarray,
    *,
    draws: int = 5,
    seed: int = 0,
    **asked: Unpack[Asked],
) -> pd.DataFrame:
    """Similarity of each image's map to the map by the same network with its weights lost, part by part.

    The class explained stays the same. Chance is the similarity to the map of another image by the
    untouched network: pictures of the same kind have like maps for that reason alone (Yona & Greenfeld 2021).

    Args:
        model: left as found; copies are randomised, see `cascade`.
        images: uint8 (N, H, W, C). asked: methods, layers, targets, batch_size, device and settings, as of
            `medrob.saliency.explain`.
        draws: networks without any trained weight; an image's value is the mean over those whose map is
            not degenerate. The stages before are those of the first network alone. The interval is over
            images, for these networks.
        seed: of the random weights, of the other image and of the bootstrap.

    Returns:
        Rows with the columns `medrob.trust.COLUMNS`; test "randomisation" (Spearman's rank correlation
        of the maps after ReLU) and "randomisation-ssim" (of maps of at least 7x7 positions), stage = the
        part lost last, "all" when nothing trained is left. Chance is NaN if there is one image only.

    Raises:
        TypeError, ValueError: as `medrob.saliency.explain`; draws below 1.
    """
    what = subject(model, images, **asked)
    if draws < 1:
        raise ValueError(f"draws={draws!r}: give a whole number of at least 1")
    other = others(len(what), seed)
    similar: dict[tuple[str, Key, str], np.ndarray] = {}  # (draws, images); stage "" = another image
    shape, metrics = (draws, len(what)), list(TESTS.values())

    def note(stage: str, draw: int | slice, rows: np.ndarray, a: dict[Key, Maps], b: dict[Key, Maps]) -> None:
        for key in a:
            for metric, value in compare(a[key], b[key], metrics).items():
                similar.setdefault((metric, key, stage), np.full(shape, np.nan))[draw, rows] = value

    steps = bar(total=len(what) * (1 + draws + len(parts(model))), desc="randomising", unit="image")
    for rows in what.batches():
        mine = {key: Maps(maps) for key, maps in what.maps(model, rows).items()}
        if len(what) > 1:
            theirs = {key: Maps(maps) for key, maps in what.maps(model, other[rows]).items()}
            note("", slice(None), rows, mine, theirs)
        steps.update(2 * len(rows))
        for draw in range(draws):
            for stage, network in cascade(model, seed=(seed, draw)):
                if draw > 0 and stage != EVERYTHING:
                    continue
                lost = {key: Maps(maps) for key, maps in what.maps(network, rows).items()}
                note(stage, draw, rows, mine, lost)
                steps.update(len(rows))
        sizes = {key: min(maps.values.shape[1:]) for key, maps in mine.items()}
    steps.close()
    entries = [
        Entry(*key, test, _mean(similar[metric, key, stage]), _chance(similar, metric, key), stage)
        for test, metric in TESTS.items()
        for key in sizes
        if metric != "ssim" or sizes[key] >= SSIM_WINDOW
        for stage in [*list(parts(model))[:-1], EVERYTHING]
    ]
    return table(entries, seed=seed)


def _chance(similar: dict[tuple[str, Key, str], np.ndarray], metric: str, key: Key) -> np.ndarray | float:
    return _mean(similar[metric, key, ""]) if (metric, key, "") in similar else np.nan


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the draws of (draws, images), NaN left out: (images,); NaN where all are."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(0) / known.sum(0)


def parts(model: nn.Module) -> dict[str, list[nn.Module]]:
    """The parts of a network that are randomised together, top down: ``{"fc": [...], "layer4": [...]}``.

    Modules with parameters of their own, grouped by the first words of their names: by as few words as
    make at least 5 parts. A ResNet has its head, four stages and its stem; the order is that in which
    the network defines its modules, from the last to the first.
    """
    owners = {
        name.removeprefix("backbone."): module
        for name, module in model.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    }
    found: dict[str, list[nn.Module]] = {}
    for words in range(1, 1 + max((name.count(".") + 1 for name in owners), default=0)):
        found = {}
        for name, module in owners.items():
            found.setdefault(".".join(name.split(".")[:words]), []).append(module)
        if len(found) >= STAGES:
            break
    return dict(reversed(found.items()))


def cascade(model: nn.Module, *, seed: int | Sequence[int] = 0) -> Iterator[tuple[str, nn.Module]]:
    """The network with its weights lost from the head downwards: (part lost last, network), "all" at last.

    A module goes back to its untrained state by its own `reset_parameters`, as in Quantus (Hedstrom et al.
    2023); that of a batch normalisation forgets its statistics too, which fit trained weights only.
    Parameters that no module can reset are drawn from a normal distribution of the same mean square.

    Yields:
        One and the same copy each time, changed further: use it before the next is asked for. The weights
        depend on the seed alone, not on the device, and PyTorch's random state is given back.
    """
    network = copy.deepcopy(model).cpu()
    device = next(model.parameters()).device
    groups = parts(network)
    for step, (name, modules) in enumerate(groups.items()):
        with torch.random.fork_rng():
            torch.manual_seed(int(np.random.SeedSequence([*np.atleast_1d(seed), step]).generate_state(1)[0]))
            network.cpu()
            for module in modules:
                _reset(module)
        yield (EVERYTHING if step == len(groups) - 1 else name), network.to(device)


def _reset(module: nn.Module) -> None:
    """Put a module's own parameters into an untrained state; those of its children are their own affair."""
    for name in ("reset_parameters", "_reset_parameters"):  # the latter: nn.MultiheadAttention
        if hasattr(module, name):
            return getattr(module, name)()
    with torch.no_grad():
        for parameter in module.parameters(recurse=False):
            parameter.normal_(0, float(parameter.square().mean().sqrt()))
