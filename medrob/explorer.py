"""Play with a network: an image, its corruption and its maps, live in a notebook and as a still picture."""

from __future__ import annotations

import functools
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ipywidgets
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.core.getipython import get_ipython
from IPython.display import HTML, display

from medrob import analysis, config, corruptions, data, drift, evaluation, figures, models, saliency, words
from medrob.check import only_the_sentence
from medrob.corruptions import CLEAN, SEVERITIES
from medrob.data import ImageDataset
from medrob.figures import word
from medrob.run import Run

MOST = 8  # classes in the table of probabilities


@only_the_sentence()
def explore(run: str, *, images: np.ndarray | str | Path | None = None, **maps: Any) -> Explorer:
    """A panel to choose an image, a corruption and a map in, and to see what becomes of them.

    It shows itself as the last line of a cell; where nobody can move its sliders, a picture stands for it.

    Args:
        run: whose network and test images are taken; it needs notebooks 01 and 02.
        images: others, uint8 (N, H, W, C), or one of them, or an image file, which gets the size and the
            channels of those of the run.
        **maps: parameters of notebook 04, such as methods=["saliency"] or layers=["features.3"].
    """
    known, tables = Run(run), dict[str, pd.DataFrame]()
    network = models.load(known.need("model.safetensors").parent)
    params = known.params
    began = params["01_augment"]
    if images is None:
        [dataset] = data.load_run(known, "test")
        names = [name for name in ("predictions", "drift") if known.path(f"{name}.parquet").exists()]
        tables = {name: known.table(name) for name in names}
    else:
        dataset = _own(images, known.data["splits"]["test"])
    config.judge("04_heatmaps", maps)
    choice = config.Heatmaps.model_construct(**params.get("04_heatmaps", {}) | maps)
    suite = corruptions.names(began["suite"], channels=dataset.channels)
    explainer = drift.Explainer.of(network, choice)
    explorer = Explorer(explainer, dataset, suite, tables, target=choice.target, seed=began["seed"])
    if images is not None:  # nobody knows their classes
        explorer.choices = {"all": explorer.choices["all"]}
    return explorer


def _own(images: Any, like: Mapping[str, Any]) -> ImageDataset:
    """Images from outside; `like`: what ``data.json`` says of the test images of the run."""
    if isinstance(images, str | Path):
        picture = data.read(Path(images))
        levels = (0, 255) if picture.dtype == np.uint8 else (np.nanmin(picture), np.nanmax(picture))
        size, _, channels = like["shape"]
        images = data.fit(picture, size=size, channels=channels, levels=levels)
    images = images if images.shape[-1] in (1, 3) else images[..., None]
    images = images if images.ndim == 4 else images[None]
    return ImageDataset(images, np.zeros(len(images), int), tuple(like["counts"]))


class Explorer:
    """A network and images: `look` gives what is seen of one, `draw` shows it, `choices` are lists of images.

    In a notebook it shows itself as its `panel`, or as the picture that it starts with.
    """

    def __init__(
        self, explainer: drift.Explainer, dataset: ImageDataset, suite: Sequence[str],
        tables: Mapping[str, pd.DataFrame], *, target: str, seed: int,
    ) -> None:  # fmt: skip
        self.explainer, self.dataset, self.suite = explainer, dataset, suite
        self.target, self.seed = target, seed
        self.choices = _choices(dataset, tables)
        known = "drift" in tables
        method, layer = analysis.headline(tables["drift"] if known else _sizes(explainer, dataset.images))
        explained = np.unique(tables["drift"]["image"]) if known else self.choices["all"]
        image = drift.example(dataset, explained)
        self.start: dict[str, Any] = dict(image=image, corruption=suite[0], severity=3)
        self.start |= dict(method=method, layer=layer)
        self._only = functools.cache(lambda method, layer: explainer.only([method], [layer]))

    def look(self, image: int, corruption: str, severity: int, method: str, layer: str) -> SimpleNamespace:
        """The image clean and corrupted, explained by a method at a layer, as in ``drift.parquet``.

        What `medrob.drift.one_image` gives, with the titles of the two, their probabilities (a row a class),
        the rmse of the two maps, and the text that says it.
        """
        conditions, explainer = [CLEAN, (corruption, severity)], self._only(method, layer)
        of = explainer, self.dataset, image, conditions
        view = drift.one_image(*of, target=self.target, seed=self.seed)
        (view.map,), view.titles = view.maps.values(), ["clean", f"{word(corruption)} {severity}"]
        task = evaluation.task_of(explainer.model, self.dataset.task)
        p = models.activate(view.logits, task).numpy()
        view.probabilities = pd.DataFrame(p.T, self.dataset.class_names, ["clean", "corrupted"])
        view.rmse = float(drift.compare(view.map[:1], view.map[1:], ["rmse"])["rmse"][0])
        kept = saliency.same_decision(view.logits[:1], view.logits[1:], torch.tensor([view.target]), task)
        about = dict(image=image, method=word(method), layer=explainer.pairs[0][1], target=view.name)
        view.text = words.explored(kept=bool(kept), rmse=view.rmse, **about)
        return view

    def draw(self, **choice: Any) -> None:
        """Show both pictures and maps, what is said of them, and the classes that are probable in either."""
        try:
            view = self.look(**choice)
            with mpl.rc_context():
                figures.use_style()
                sheet = figures.overlays(view.pictures, view.map, view.titles, mask=view.mask)
                sheet.set_dpi(120)
                display(sheet)
                plt.close(sheet)
            most = view.probabilities.max(axis=1).nlargest(MOST).index
            rows = view.probabilities[view.probabilities.index.isin(most)]
            display(HTML(f"<p>{html.escape(view.text)}</p>{rows.to_html(float_format='%.3f', border=0)}"))
        except Exception as error:  # networks, corruptions and files of users raise all kinds
            display(HTML(f"<p><b>{html.escape(str(error) or type(error).__name__)}</b></p>"))

    def panel(self) -> ipywidgets.interactive:
        """Widgets to choose with, and below them what is chosen, drawn when a slider is let go."""
        among = ipywidgets.Dropdown(options=list(self.choices))
        slider = functools.partial(ipywidgets.IntSlider, continuous_update=False)
        place = slider(self.start["image"], 0, len(self.dataset) - 1)
        layers = list(dict.fromkeys([*(self.explainer.layers or ()), self.start["layer"]]))
        options = {"corruption": self.suite, "method": saliency.names(), "layer": layers}
        lists = {n: ipywidgets.Dropdown(options=o, value=self.start[n]) for n, o in options.items()}

        def begin(_: Any) -> None:  # at the first image of the list that was chosen
            place.value, place.max = 0, len(self.choices[among.value]) - 1

        def show(images: str, place: int, **choice: Any) -> None:
            self.draw(image=int(self.choices[images][place]), **choice)

        among.observe(begin, "value")
        severity = slider(self.start["severity"], 1, max(SEVERITIES))
        return ipywidgets.interactive(show, images=among, place=place, severity=severity, **lists)

    def _ipython_display_(self) -> None:
        # What executes a notebook by itself (papermill, nbval, nbconvert) lets no cell ask for input.
        live = getattr(getattr(get_ipython(), "kernel", None), "_allow_stdin", False)
        display(self.panel()) if live else self.draw(**self.start)


def _sizes(explainer: drift.Explainer, images: np.ndarray) -> pd.DataFrame:
    """How fine the maps of a method are, Grad-CAM if it is there: what the choice of the first one needs."""
    method = "gradcam" if "gradcam" in explainer.methods else explainer.methods[0]
    maps, _ = explainer.only([method]).maps(images[[0]], np.zeros(1, int))
    rows = [(*key, min(raw.shape[1:])) for key, raw in maps.items()]
    return pd.DataFrame(rows, columns=["method", "layer", "size"])


def _choices(dataset: ImageDataset, tables: Mapping[str, pd.DataFrame]) -> dict[str, np.ndarray]:
    """Lists of images: all, of a class, right or wrong when clean, flipped or moved, the most so first."""
    hot = dataset.labels if dataset.labels.ndim == 2 else np.eye(dataset.num_classes)[dataset.labels]
    found = {"all": np.arange(len(dataset))}
    found |= {f"class {name}": np.flatnonzero(hot[:, k]) for k, name in enumerate(dataset.class_names)}
    if "predictions" in tables:
        predictions = tables["predictions"].set_index(["corruption", "severity"])
        clean = predictions.loc[[CLEAN]].set_index("image")
        if "label" in clean:
            right = clean["predicted"] == clean["label"]
            found |= {"correct": clean.index[right].to_numpy(), "wrong": clean.index[~right].to_numpy()}
        flips = predictions["predicted"] != predictions["image"].map(clean["predicted"])
        share = flips.groupby(predictions["image"].to_numpy()).mean().sort_values(ascending=False)
        found["flipped"] = share.index[share > 0].to_numpy()
    if "drift" in tables:
        rows = analysis.rows_of(tables["drift"], *analysis.headline(tables["drift"]), "drift")
        moved = rows.groupby("image")["rmse"].mean().dropna().sort_values(ascending=False)
        found["largest drift"] = moved.index.to_numpy()
    return {name: rows for name, rows in found.items() if len(rows)}
