"""Do maps change when the network does? Cascading randomisation of its weights (Adebayo et al. 2018)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import nn

from medrob.drift import SSIM_WINDOW, Explainer, Key, PreparedMaps, compare
from medrob.progress import bar
from medrob.trust.means import Entry, means

EVERYTHING = "all"  # the last stage: no trained weight is left
ANOTHER = ""  # in place of a stage: the map of another image by the untouched network
STAGES = 5  # at least so many, where the network has so many parts
DRAWS = 5  # networks without any trained weight
TESTS = {"randomisation": "spearman", "randomisation-ssim": "ssim"}


def randomisation(
    explainer: Explainer, images: np.ndarray, targets: np.ndarray | int | None = None, *, seed: int = 0
) -> pd.DataFrame:
    """Similarity of each image's map to the map by the same network with its weights lost, part by part.

    The class explained stays the same. Chance is the similarity to the map of another image by the
    untouched network: pictures of the same kind have like maps for that reason alone (Yona & Greenfeld 2021).
    Of the last stage, an image's value is the mean over `DRAWS` networks, of those whose map is not
    degenerate; the stages before are those of the first network alone.

    Args:
        explainer, images, targets: see `medrob.drift.Explainer` and its `classes`; copies are
            randomised, see `cascade`.
        seed: of the random weights, of the other image and of the bootstrap.

    Returns:
        Rows with the columns `medrob.trust.COLUMNS`; test "randomisation" (Spearman's rank correlation
        of the maps after ReLU) and "randomisation-ssim" (of maps of at least 7x7 positions), stage = the
        part lost last, "all" when nothing trained is left. Chance is NaN if there is one image only.
    """
    classes, other = explainer.classes(images, targets), another_image(len(images), seed)
    stages = [*list(parts(explainer.model))[:-1], EVERYTHING]
    similar = {
        (name, key, stage): np.full((DRAWS, len(images)), np.nan)
        for name in TESTS.values()
        for key in explainer.pairs
        for stage in (ANOTHER, *stages)
    }

    def maps(rows: np.ndarray, model: nn.Module = explainer.model) -> dict[Key, PreparedMaps]:
        raw, _ = replace(explainer, model=model).maps(images[rows], rows, classes[rows])
        return {key: PreparedMaps(values) for key, values in raw.items()}

    def keep(stage: str, draws: int | slice, rows: np.ndarray, lost: dict[Key, PreparedMaps]) -> None:
        for key in mine:
            for name, value in compare(mine[key], lost[key], list(TESTS.values())).items():
                similar[name, key, stage][draws, rows] = value

    progress = bar(total=len(images) * (1 + len(stages) + DRAWS), desc="randomising", unit="image")
    for rows in explainer.batches(len(images)):
        mine = maps(rows)
        if len(images) > 1:
            keep(ANOTHER, slice(None), rows, maps(other[rows]))
        progress.update(2 * len(rows))
        for draw in range(DRAWS):
            for stage, network in cascade(explainer.model, seed=(seed, draw)):
                if draw == 0 or stage == EVERYTHING:
                    keep(stage, draw, rows, maps(rows, network))
                    progress.update(len(rows))
    progress.close()
    entries = [
        Entry(*key, test, _mean(similar[name, key, stage]), _mean(similar[name, key, ANOTHER]), stage)
        for test, name in TESTS.items()
        for key, prepared in mine.items()
        if name != "ssim" or min(prepared.positive.shape[1:]) >= SSIM_WINDOW
        for stage in stages
    ]
    return means(entries, seed=seed)


def another_image(n: int, seed: int) -> np.ndarray:
    """For each of n images another one, each taken once (one cycle through a random order): int64 (n,)."""
    order = np.random.default_rng(seed).permutation(n)
    others = np.empty(n, np.int64)
    others[order] = np.roll(order, 1)
    return others


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
    groups: dict[str, list[nn.Module]] = {}
    for words in range(1, 1 + max((name.count(".") + 1 for name in owners), default=0)):
        groups = {}
        for name, module in owners.items():
            groups.setdefault(".".join(name.split(".")[:words]), []).append(module)
        if len(groups) >= STAGES:
            break
    return dict(reversed(groups.items()))


def cascade(model: nn.Module, *, seed: int | Sequence[int]) -> Iterator[tuple[str, nn.Module]]:
    """The network with its weights lost from the head downwards: (part lost last, network), in the end "all".

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
    """Put a module's own parameters into an untrained state; its children are reset by themselves."""
    for name in ("reset_parameters", "_reset_parameters"):  # the latter: nn.MultiheadAttention
        if hasattr(module, name):
            return getattr(module, name)()
    with torch.no_grad():
        for parameter in module.parameters(recurse=False):
            parameter.normal_(0, float(parameter.square().mean().sqrt()))
