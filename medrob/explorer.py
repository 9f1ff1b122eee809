"""Play with a network: an image, its corruption and its maps, live in a notebook and as still pictures."""

from __future__ import annotations

import asyncio
import base64
import functools
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import ipywidgets
import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from IPython.core.getipython import get_ipython
from IPython.display import HTML, display
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from medrob import analysis, config, corruptions, data, drift, evaluation, models, saliency, words
from medrob.check import only_the_sentence
from medrob.corruptions import CLEAN, SEVERITIES, Condition
from medrob.data import ImageDataset
from medrob.figures import word
from medrob.run import Run

SIDE, TITLE, GAP = 168, 24, 10  # of the panels of a sheet, in pixels
SOON = 0.03  # seconds: what is changed within them is drawn once
MOST = 8  # classes in the table of probabilities
LESION = (77, 255, 136)  # the colour of its outline


@only_the_sentence()
def explore(
    run: str = "", *, model: nn.Module | None = None, images: np.ndarray | str | Path | None = None,
    **maps: Any,
) -> Explorer:  # fmt: skip
    """A panel to choose an image, a corruption and a map in, and to see what becomes of them.

    It shows itself as the last line of a cell; where nobody can move its sliders, a picture stands for it.

    Args:
        run: whose network and test images are taken; it needs notebooks 01 and 02.
        model: another network, see `medrob.saliency.explain`.
        images: others, uint8 (N, H, W, C), or one of them, or an image file, which gets the size and the
            channels of those of the run.
        **maps: parameters of notebook 04, such as methods=["saliency"] or layers=["features.3"].
    """
    if not run and (model is None or images is None):
        raise ValueError("give a run, such as explore('demo'), or explore(model=..., images=...)")
    known = Run(run) if run else None
    params = known.params if known else {}
    began = params.get("01_augment", {"suite": "thesis", "seed": 0})
    network: Any = models.load(known.folder) if known and model is None else model
    tables: dict[str, pd.DataFrame] = {}
    if known and images is None:
        [dataset] = data.load_run(known, "test")
        names = [name for name in ("predictions", "drift") if known.path(f"{name}.parquet").exists()]
        tables = {name: known.table(name) for name in names}
    else:
        dataset = _own(network, images, known.data["splits"]["test"] if known else {})
    config.judge("04_heatmaps", maps)
    choice = config.Heatmaps.model_construct(**params.get("04_heatmaps", {}) | maps)
    suite = corruptions.names(began["suite"], channels=dataset.channels)
    explainer = drift.Explainer.of(network, choice)
    explorer = Explorer(explainer, dataset, suite, tables, target=choice.target, seed=began["seed"])
    if images is not None:  # nobody knows their classes
        explorer.choices = {"all": explorer.choices["all"]}
    return explorer


def _own(model: Any, images: Any, like: Mapping[str, Any]) -> ImageDataset:
    """Images from outside; `like`: what ``data.json`` says of those that the network knows."""
    if isinstance(images, str | Path):
        picture = data.read(Path(images))
        levels = (0, 255) if picture.dtype == np.uint8 else (np.nanmin(picture), np.nanmax(picture))
        size, _, channels = like.get("shape", (0, 0, picture.shape[-1]))
        images = data.fit(picture, size=size, channels=channels, levels=levels)
    images = images if images.shape[-1] in (1, 3) else images[..., None]
    images = images if images.ndim == 4 else images[None]
    names = like.get("counts") or map(str, range(evaluation.predict(model, images[:1]).shape[1]))
    return ImageDataset(images, np.zeros(len(images), int), tuple(names))


@dataclass(frozen=True)
class View:
    """An image under two conditions, its maps 0-1, its probabilities, and what is said of them."""

    titles: Sequence[str]
    pictures: Sequence[np.ndarray]
    maps: Sequence[np.ndarray]
    mask: np.ndarray | None
    probabilities: pd.DataFrame
    rmse: float
    text: str

    @property
    def html(self) -> str:
        """The sentences, and the probabilities of the classes that are probable before or after."""
        most = self.probabilities.max(axis=1).nlargest(MOST).index
        rows = self.probabilities[self.probabilities.index.isin(most)]
        return f"<p>{html.escape(self.text)}</p>{rows.to_html(float_format='%.3f', border=0)}"

    def sheet(self) -> np.ndarray:
        """The pictures above their maps, which share a colour scale, and the difference; uint8 RGB."""
        maps = [_coloured(values, "inferno") for values in self.maps]
        maps.append(_coloured((self.maps[1] - self.maps[0] + 1) / 2, "RdBu_r"))
        panels = [self._panel(image) for image in (*self.pictures, *maps)]
        titles = [*self.titles, "map", "map", "difference of the maps"]
        height, width, _ = panels[0].shape
        paper = Image.new("RGB", (3 * (width + GAP) - GAP, 2 * (height + TITLE)), "white")
        pen, font = ImageDraw.Draw(paper), ImageFont.load_default(13)
        places = [(column * (width + GAP), row * (height + TITLE)) for row in (0, 1) for column in (0, 1, 2)]
        left, _ = places.pop(2)  # is left for the colours
        for place, title, panel in zip(places, titles, panels, strict=True):
            pen.text((place[0], place[1] + 5), title, "black", font)
            paper.paste(Image.fromarray(panel), (place[0], place[1] + TITLE))
        ramp = np.tile(np.linspace(0, 1, width), (10, 1))
        scales = (0.5, "inferno", "map: 0"), (0.9, "RdBu_r", "difference: -1")
        for part, colours, low in scales:
            top = int(part * height)
            paper.paste(Image.fromarray(_coloured(ramp, colours)), (left, top))
            pen.text((left, top + 12), low, "black", font)
            pen.text((left + width, top + 12), "1", "black", font, "ra")
        return np.asarray(paper)

    def _panel(self, image: np.ndarray) -> np.ndarray:
        """A picture or a map, uint8 (h, w, C), as large as all panels, with the lesion outlined."""
        height, width = self.pictures[0].shape[:2]
        size = (round(width * SIDE / max(height, width)), round(height * SIDE / max(height, width)))
        smaller = cv2.INTER_AREA if height > SIDE else cv2.INTER_NEAREST
        how = smaller if image.shape[0] == height else cv2.INTER_LINEAR
        panel = cv2.resize(np.repeat(image, 3 // image.shape[-1], axis=-1), size, interpolation=how)
        if self.mask is not None:
            mask = cv2.resize(self.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
            outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(panel, outlines, -1, LESION)
        return panel


def _coloured(values: np.ndarray, colours: str) -> np.ndarray:
    return mpl.colormaps[colours](values, bytes=True)[..., :3]


class Explorer:
    """A network and images, and views of them: `look` gives one, `choices` are lists of images.

    In a notebook it shows itself as a `Panel`, or as the picture that it starts with.
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
        self._explained = functools.lru_cache(16)(self._explain)

    def look(self, image: int, corruption: str, severity: int, method: str, layer: str) -> View:
        """The image clean and corrupted, explained by a method at a layer, as in ``drift.parquet``."""
        names, of = self.dataset.class_names, (method, saliency.layers_of(method, [layer])[0])
        known = drift.targets(self.target, self.dataset, np.array([image]))
        given = None if known is None else int(known[0])
        clean, before, logits = self._explained(image, CLEAN, of, given)
        target = int(logits.argmax()) if given is None else given
        changed, after, moved = self._explained(image, (corruption, severity), of, target)
        task = evaluation.task_of(self.explainer.model, self.dataset.task)
        kept = bool(saliency.same_decision(logits, moved, torch.tensor([target]), task))
        rmse = float(drift.compare(before, after, ["rmse"])["rmse"][0])
        p = models.activate(torch.cat([logits, moved]), task).numpy()
        about = dict(image=image, method=word(method), layer=of[1], target=names[target])
        return View(
            titles=("clean", f"{word(corruption)}, severity {severity}"),
            pictures=(clean, changed),
            maps=[saliency.normalise(values).nan_to_num()[0].numpy() for values in (before, after)],
            mask=None if self.dataset.masks is None else self.dataset.masks[image],
            probabilities=pd.DataFrame(p.T, names, ["clean", "corrupted"]),
            rmse=rmse,
            text=words.explored(kept=kept, rmse=rmse, **about),
        )

    def _explain(
        self, image: int, condition: Condition, of: tuple[str, str], target: int | None
    ) -> tuple[np.ndarray, Tensor, Tensor]:
        """The image under a condition, its raw map (1, h, w) and its logits (1, classes), on the CPU."""
        index, explainer = np.array([image]), self._only(*of)
        pictures = corruptions.apply_condition(
            self.dataset.images[index], condition, seed=self.seed, index=index
        )
        wanted = None if target is None else torch.tensor([target], device=explainer.device)
        maps, logits = explainer.maps(pictures, index, wanted)
        return pictures[0], maps[of].detach().float().cpu(), logits.detach().float().cpu()

    def shown(self, **choice: Any) -> tuple[bytes, str]:
        """A view as PNG and as HTML; no picture, and a sentence, where it fails."""
        try:
            view = self.look(**choice)
            return cv2.imencode(".png", view.sheet()[..., ::-1])[1].tobytes(), view.html
        except Exception as error:  # networks, corruptions and files of users raise all kinds
            return b"", f"<p><b>{html.escape(str(error) or type(error).__name__)}</b></p>"

    def _ipython_display_(self) -> None:
        picture, text = self.shown(**self.start)
        still = {"text/plain": "the explorer, as it starts"}
        still |= {"image/png": base64.b64encode(picture).decode()} if picture else {}
        # What executes a notebook by itself (papermill, nbval, nbconvert) lets no cell ask for input.
        if getattr(getattr(get_ipython(), "kernel", None), "_allow_stdin", False):
            return display(still | Panel(self).box._repr_mimebundle_(), raw=True)
        display(still, raw=True)
        display(HTML(text))


class Panel:
    """The widgets of an explorer. However fast they change, the last values are those that are drawn."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer, self._due, start = explorer, False, explorer.start
        options = {
            "corruption": [(word(name), name) for name in explorer.suite],
            "method": [(word(name), name) for name in saliency.names()],
            "layer": list(dict.fromkeys([*(explorer.explainer.layers or ()), start["layer"]])),
        }
        self.chosen = {
            name: ipywidgets.Dropdown(options=values, value=start[name], description=name)
            for name, values in options.items()
        }
        self.among = ipywidgets.Dropdown(options=list(explorer.choices), description="images")
        self.place = ipywidgets.IntSlider(start["image"], 0, len(explorer.dataset) - 1, description="place")
        self.severity = ipywidgets.IntSlider(start["severity"], 1, max(SEVERITIES), description="severity")
        self.picture, self.text = ipywidgets.Image(format="png"), ipywidgets.HTML()
        controls = [self.among, self.place, self.severity, *self.chosen.values()]
        self.among.observe(self._list, "value")
        for control in controls:
            control.observe(self._changed, "value")
            control.layout.width = "auto"
        right = ipywidgets.VBox([*controls, self.text], layout={"width": "300px"})
        self.box = ipywidgets.HBox(
            [self.picture, right], layout={"flex_flow": "row wrap", "align_items": "flex-start"}
        )
        self.update()

    def _list(self, _: Any) -> None:
        """Begin at the first image of the list that was chosen."""
        self.place.value, self.place.max = 0, len(self.explorer.choices[self.among.value]) - 1

    def _changed(self, _: Any) -> None:
        """Draw soon: a kernel does one thing at a time, and what is changed meanwhile is drawn together."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel
            return self.update()
        if not self._due:
            self._due = True
            loop.call_later(SOON, self.update)

    def update(self) -> None:
        """Draw what the widgets say now."""
        self._due = False
        choice = {name: widget.value for name, widget in self.chosen.items()}
        image = int(self.explorer.choices[self.among.value][self.place.value])
        picture, self.text.value = self.explorer.shown(image=image, severity=self.severity.value, **choice)
        self.picture.value = picture or self.picture.value


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
