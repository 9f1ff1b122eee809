"""Do maps change when the network does (Adebayo et al. 2018)? Such maps are also a ceiling of drift."""

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from medrob.drift import SSIM_WINDOW, Explainer, Key, PreparedMaps, compare
from medrob.machine import bar
from medrob.saliency import STOCHASTIC
from medrob.trust.means import Entry, means

EVERYTHING = "all"  # the last stage: no trained weight is left
ANOTHER = ""  # in place of a stage: the map of another image by the untouched network
STAGES = 5  # at least so many, where the network has so many parts
DRAWS = 5  # networks without any trained weight
TESTS = {"randomisation": "spearman", "randomisation-ssim": "ssim"}
ENDS = ("floor", "ceiling-image", "ceiling-weights")
ROUNDING = 1e-4  # of an RMSE of min-max maps: below, they are one, as in `medrob.analysis.twins`


def randomisation(
    explainer: Explainer, images: np.ndarray, targets: np.ndarray | int | None = None, *, seed: int = 0
) -> pd.DataFrame:
    """Similarity of each image's map to the map by the same network with its weights lost, part by part.

    Tests "randomisation" (Spearman's rank correlation) and "randomisation-ssim" (of maps of at least 7x7);
    stage = the part lost last, "all" when nothing trained is left. Chance is the similarity to the map of
    another image by the untouched network: pictures of the same kind have like maps for that reason alone
    (Yona & Greenfeld 2021); NaN of one image only. Of the last stage, an image's value is the mean over
    `DRAWS` networks, of those whose map is not degenerate; the stages before are those of the first alone.
    """
    classes, other = explainer.classes(images, targets), another_image(len(images), seed)
    stages = [*list(parts(explainer.model))[:-1], EVERYTHING]
    places = itertools.product(TESTS.values(), explainer.pairs, (ANOTHER, *stages))
    similar = {place: np.full((DRAWS, len(images)), np.nan) for place in places}

    def maps(rows: np.ndarray, model: nn.Module = explainer.model) -> dict[Key, PreparedMaps]:
        raw, _ = replace(explainer, model=model).maps(images[rows], rows, classes[rows])
        return {key: PreparedMaps(values) for key, values in raw.items()}

    def keep(stage: str, draws: int | slice, rows: np.ndarray, lost: dict[Key, PreparedMaps]) -> None:
        for key in mine:
            for name, value in compare(mine[key], lost[key], list(TESTS.values())).items():
                similar[name, key, stage][draws, rows] = value

    for rows in bar(explainer.batches(len(images)), desc="randomising", unit="batch"):
        mine = maps(rows)
        if len(images) > 1:
            keep(ANOTHER, slice(None), rows, maps(other[rows]))
        for draw in range(DRAWS):
            for stage, network in cascade(explainer.model, seed=(seed, draw)):
                if draw == 0 or stage == EVERYTHING:
                    keep(stage, draw, rows, maps(rows, network))
    mean = {place: pd.DataFrame(draws).mean().to_numpy() for place, draws in similar.items()}
    entries = [
        Entry(*key, test, mean[name, key, stage], mean[name, key, ANOTHER], stage)
        for test, name in TESTS.items()
        for key, prepared in mine.items()
        if name != "ssim" or min(prepared.positive.shape[1:]) >= SSIM_WINDOW
        for stage in stages
    ]
    return means(entries, seed=seed)


def another_image(n: int, seed: int) -> np.ndarray:
    """For each of n images another one, each taken once (one cycle through a random order): int64 (n,)."""
    order = np.random.default_rng(seed).permutation(n)
    return np.roll(order, 1)[order.argsort()]


def parts(model: nn.Module) -> dict[str, list[nn.Module]]:
    """The parts of a network that are randomised together, top down: ``{"fc": [...], "layer4": [...]}``.

    Modules with parameters of their own, grouped by as few words of their names as make at least 5 parts.
    """
    modules = [(name.removeprefix("backbone.").split("."), m) for name, m in model.named_modules()]
    owners = [(words, m) for words, m in modules if next(m.parameters(recurse=False), None) is not None]
    groups: dict[str, list[nn.Module]] = {}
    for depth in range(1, 1 + max(len(words) for words, _ in owners)):
        if len(groups) < STAGES:
            groups = {}
            for words, module in owners:
                groups.setdefault(".".join(words[:depth]), []).append(module)
    return dict(reversed(groups.items()))


def cascade(model: nn.Module, *, seed: int | Sequence[int]) -> Iterator[tuple[str, nn.Module]]:
    """The network with its weights lost from the head downwards: (part lost last, network), in the end "all".

    It is one and the same copy each time, changed further: use it before the next is asked for. The weights
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
    """Put a module into an untrained state by its own method, as Quantus does (Hedstrom et al. 2023)."""
    for name in ("reset_parameters", "_reset_parameters"):  # the latter: nn.MultiheadAttention
        if hasattr(module, name):
            return getattr(module, name)()
    with torch.no_grad():  # without such a method, to random values of the same mean square
        for parameter in module.parameters(recurse=False):
            parameter.normal_(0, float(parameter.square().mean().sqrt()))


def scale(
    explainer: Explainer, images: np.ndarray, targets: np.ndarray | int | None = None, *, seed: int = 0
) -> pd.DataFrame:
    """RMSE between min-max maps where nothing has changed, and where everything has.

    ``floor``: the same image with other noise (the next seed), 0 for deterministic methods.
    ``ceiling-image``: another image; NaN of one alone. ``ceiling-weights``: all weights lost.
    """
    classes, n = explainer.classes(images, targets), len(images)
    settings = replace(explainer.settings, seed=explainer.settings.seed + 1)
    noisy = [method for method in explainer.methods if method in STOCHASTIC]
    *_, (_, untrained) = cascade(explainer.model, seed=seed)
    other = another_image(n, seed)
    values = {(test, key): np.full(n, np.nan) for test in ENDS for key in explainer.pairs}
    for rows in bar(explainer.batches(n), desc="scaling", unit="batch"):
        here = images[rows], rows, classes[rows]
        mine: dict[Key, Any] = {key: PreparedMaps(maps) for key, maps in explainer.maps(*here)[0].items()}
        # Without noise the second map is the first.
        again = replace(explainer, methods=noisy, settings=settings).maps(*here)[0] if noisy else {}
        there = other[rows]
        another = explainer.maps(images[there], there, classes[there])[0] if n > 1 else {}
        lost = replace(explainer, model=untrained).maps(*here)[0]
        for test, maps in zip(ENDS, (mine | again, another, lost), strict=True):
            for key, moved in maps.items():
                values[test, key][rows] = compare(mine[key], moved, ["rmse"])["rmse"]
    return means([Entry(*key, test, value) for (test, key), value in values.items()], seed=seed)


def normalised(drift: pd.DataFrame, trust: pd.DataFrame) -> pd.Series:
    """Drift between its floor (0) and the map of another image (1): (rmse - floor) / (ceiling - floor).

    `trust` holds the rows of `scale`. NaN where the ceiling is not above the floor by more than rounding
    makes (all images have the same map), or a method and layer has none.
    """
    limits = trust[trust["test"].isin(ENDS)].pivot(index=["method", "layer"], columns="test", values="value")
    limits = limits.reindex(pd.MultiIndex.from_frame(drift[["method", "layer"]])).set_index(drift.index)
    span = limits["ceiling-image"] - limits["floor"]
    return ((drift["rmse"] - limits["floor"]) / span.where(span > ROUNDING)).rename("normalised")


def between(maps: Mapping[Key, np.ndarray]) -> pd.DataFrame:
    """How alike raw maps of each two methods are at each layer: median rank correlation over the images.

    Columns: layer, method, other, value, images (whose maps count).
    """
    prepared = {key: PreparedMaps(raw) for key, raw in maps.items()}
    rows = []
    for (method, layer), (other, its_layer) in itertools.combinations(prepared, 2):
        if layer == its_layer:
            values = compare(prepared[method, layer], prepared[other, layer], ["spearman"])["spearman"]
            known = values[np.isfinite(values)]
            rows.append((layer, method, other, np.median(known) if len(known) else np.nan, len(known)))
    return pd.DataFrame(rows, columns=["layer", "method", "other", "value", "images"])
