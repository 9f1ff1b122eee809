"""Do maps change when the network does (Adebayo et al. 2018)? Such maps are also a ceiling of drift."""

import copy
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from medrob.corruptions import grid
from medrob.data import ImageDataset
from medrob.drift import Explainer, Key, PreparedMaps, compare, measured, steadiness
from medrob.machine import bar
from medrob.saliency import STOCHASTIC
from medrob.trust.means import Entry, means

EVERYTHING = "all"  # the last stage: no trained weight is left
ANOTHER = ""  # in place of a stage: the map of another image by the untouched network
STAGES = 5  # at least so many, where the network has so many parts
DRAWS = 5  # networks without any trained weight
ENDS = ("floor", "ceiling-image", "ceiling-weights")
ROUNDING = 1e-4  # of an RMSE of min-max maps: below, they are one, as in `medrob.analysis.twins`
HEAD, NOTHING = "untrained head", "random weights"
CONTROLS = 3  # draws of each: an untrained head passes or fails by its draw


def randomisation(
    explainer: Explainer, dataset: ImageDataset, targets: np.ndarray | int | None = None, *, seed: int = 0
) -> pd.DataFrame:
    """Rank correlation of each image's map with the map by the same network, its weights lost part by part.

    Test "randomisation"; stage = the part lost last, "all" when nothing trained is left. Chance is the
    correlation with the map of another image by the untouched network: pictures of the same kind have like
    maps for that reason alone (Yona & Greenfeld 2021); NaN of one image only. Of the last stage, an image's
    value is the mean over `DRAWS` networks, of those whose map is not degenerate; the stages before are those
    of the first alone.
    """
    images, n = dataset.images, len(dataset)
    classes, other = explainer.classes(images, targets), another_image(n, seed)
    stages = [*list(parts(explainer.model))[:-1], EVERYTHING]
    places = itertools.product(explainer.pairs, (ANOTHER, *stages))
    similar = {place: np.full((DRAWS, n), np.nan) for place in places}

    def maps(rows: np.ndarray, model: nn.Module = explainer.model) -> dict[Key, PreparedMaps]:
        raw, _ = replace(explainer, model=model).maps(images[rows], rows, classes[rows])
        return {key: PreparedMaps(values) for key, values in raw.items()}

    def others(rows: np.ndarray) -> Iterator[tuple[str, int | slice, dict[Key, PreparedMaps]]]:
        if n > 1:
            yield ANOTHER, slice(None), maps(other[rows])
        for draw in range(DRAWS):
            for stage, network in cascade(explainer.model, seed=(seed, draw)):
                if draw == 0 or stage == EVERYTHING:
                    yield stage, draw, maps(rows, network)

    for rows in bar(explainer.batches(n), desc="randomising", unit="batch"):
        mine = maps(rows)
        for stage, draw, moved in others(rows):
            for key in mine:
                similar[key, stage][draw, rows] = compare(mine[key], moved[key], ["spearman"])["spearman"]
    mean = {place: pd.DataFrame(draws).mean().to_numpy() for place, draws in similar.items()}
    entries = [
        Entry(*key, "randomisation", mean[key, stage], mean[key, ANOTHER], stage)
        for key, stage in itertools.product(explainer.pairs, stages)
    ]
    return means(entries, seed=seed, groups=dataset.groups)


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
    explainer: Explainer, dataset: ImageDataset, targets: np.ndarray | int | None = None, *, seed: int = 0
) -> tuple[pd.DataFrame, dict[Key, np.ndarray]]:
    """RMSE between min-max maps where nothing has changed, and where everything has; means over the images.

    ``floor``: the same image with other noise (the next seed), 0 for deterministic methods.
    ``ceiling-image``: another image; NaN of one alone; also image by image, (N,) for each method and layer.
    ``ceiling-weights``: all weights lost.
    """
    images, n = dataset.images, len(dataset)
    classes, other = explainer.classes(images, targets), another_image(n, seed)
    settings = replace(explainer.settings, seed=explainer.settings.seed + 1)
    noisy = [method for method in explainer.methods if method in STOCHASTIC]
    *_, (_, untrained) = cascade(explainer.model, seed=seed)
    values = {(test, key): np.full(n, np.nan) for test in ENDS for key in explainer.pairs}
    for rows in bar(explainer.batches(n), desc="scaling", unit="batch"):
        here, there = (images[rows], rows, classes[rows]), other[rows]
        mine: dict[Key, Any] = {key: PreparedMaps(maps) for key, maps in explainer.maps(*here)[0].items()}
        # Without noise the second map is the first.
        again = replace(explainer, methods=noisy, settings=settings).maps(*here)[0] if noisy else {}
        another = explainer.maps(images[there], there, classes[there])[0] if n > 1 else {}
        lost = replace(explainer, model=untrained).maps(*here)[0]
        for test, maps in zip(ENDS, (mine | again, another, lost), strict=True):
            for key, moved in maps.items():
                values[test, key][rows] = compare(mine[key], moved, ["rmse"])["rmse"]
    entries = [Entry(*key, test, value) for (test, key), value in values.items()]
    far = {key: values[ENDS[1], key] for key in explainer.pairs}
    return means(entries, seed=seed, groups=dataset.groups), far


def normalised(drift: pd.DataFrame, trust: pd.DataFrame, another: Mapping[Key, np.ndarray]) -> pd.DataFrame:
    """Drift between its floor (0) and the map of another image (1): (rmse - floor) / (ceiling - floor).

    `trust` and `another` are what `scale` gives for the images of the drift, in their order. Columns:
    normalised, and the same of the distance to the map of another image, image by image. NaN where the
    ceiling is not above the floor by more than rounding makes (all images have the same map), or a method and
    layer has none.
    """
    limits = trust[trust["test"].isin(ENDS)].pivot(index=["method", "layer"], columns="test", values="value")
    limits = limits.reindex(pd.MultiIndex.from_frame(drift[["method", "layer"]])).set_index(drift.index)
    span = limits["ceiling-image"] - limits["floor"]
    far = pd.DataFrame(another, index=drift["image"].unique()).rename_axis("image")
    far.columns = far.columns.set_names(["method", "layer"])
    places = pd.MultiIndex.from_frame(drift[["image", "method", "layer"]])
    ends = far.unstack().reorder_levels(["image", "method", "layer"]).reindex(places).set_axis(drift.index)
    found = pd.DataFrame({"normalised": drift["rmse"], "another": ends})
    return found.sub(limits["floor"], axis=0).div(span.where(span > ROUNDING), axis=0)


def _asked(explainer: Explainer, ask: Callable, seed: int, training: int, draws: int) -> dict:
    """By name and draw, what is asked of the explainer with an untrained head, and with random weights alone.

    Runs that differ in `training`, its seed, have other draws.
    """
    last, found = {next(iter(parts(explainer.model))): HEAD, EVERYTHING: NOTHING}, {}
    for draw in range(draws):
        for stage, network in cascade(explainer.model, seed=(seed, training, draw)):
            if stage in last:
                with warnings.catch_warnings():  # small logits of such a network are no probabilities
                    warnings.filterwarnings("ignore", "all that .* lies between 0 and 1")
                    found[last[stage], draw] = ask(replace(explainer, model=network))
    return found


def controls(
    explainer: Explainer, dataset: ImageDataset, corruptions: Sequence[str], *,
    images: np.ndarray, seed: int, training: int = 0,
) -> dict[tuple[str, int], tuple[pd.DataFrame, pd.DataFrame]]:  # fmt: skip
    """Predictions and drift of the same network with an untrained head, and with random weights alone.

    Whatever a test finds in them is not what the network has learnt. `explainer` has one method and layer;
    `images` are indices; `training` is its seed. By name and draw: the tables of `medrob.drift.measured`.
    """
    conditions = grid(corruptions)
    ask = partial(measured, dataset=dataset, conditions=conditions, images=images, seed=seed)
    return _asked(explainer, ask, seed, training, CONTROLS)


def unsteady(
    explainer: Explainer, dataset: ImageDataset, corruptions: Sequence[str], *,
    images: np.ndarray, changes: Sequence[str], seed: int, training: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """How unsteady the maps of one such network each are, for its own predictions: a column a network.

    They are called "map of untrained head" and so on; the rows are those of `medrob.drift.steadiness`.
    """
    how = dict(images=images, training=dataset.images[images[:1]], changes=changes, seed=seed)
    ask = partial(steadiness, dataset=dataset, corruptions=corruptions, **how)
    found = _asked(explainer, ask, seed, training, draws=1)
    return pd.DataFrame({f"map of {name}": table["unsteady"] for (name, _), table in found.items()})
