"""One page on a data set, and on a network for it, before any training: ``python -m medrob check DATA``."""

import contextlib
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from medrob import config, data, figures, words
from medrob.data import ImageDataset
from medrob.files import atomic, cache, home
from medrob.words import say

IMAGES = ("dataset", *data.OPTIONS)  # the parameters of notebook 01 that decide the images
NETWORK = [name for name in (*config.Network.model_fields, "seed", "device") if name != "run"]
PARAMETERS: Any = {config.Augment: IMAGES, config.Train: NETWORK, config.Heatmaps: ["layers"]}
SHEET = 24  # classes of which there are pictures
SIDE = 224  # pixels, where pictures are of different sizes
ROWS = 40  # of a table; the middle of a longer one is left out
Values = dict[str, Any]


FIELDS = {name: model.model_fields[name] for model, names in PARAMETERS.items() for name in names}


def check(given: Mapping[str, str]) -> int:
    """Print the page on the data set, and the network, of parameters as texts; 1 if something is refused."""
    values = {name: _value(text, FIELDS[name].default) for name, text in given.items()}
    wrong = (config.mistakes(model, _of(values, names)) for model, names in PARAMETERS.items())
    told = dict.fromkeys(sentence for mistakes in wrong for _, sentence in mistakes)
    text, refused = ("\n".join(told), True) if told else preview(values)
    print(text.encode("utf-8", "replace").decode())  # the name of a file may be no text
    return int(refused)


def _value(text: str, default: Any) -> Any:
    """A value as papermill reads it, in YAML; what is a text by default stays one unless it is a list."""
    with contextlib.suppress(yaml.YAMLError):
        return text if isinstance(default, str) and not text.startswith("[") else yaml.safe_load(text)
    return text


def _of(values: Values, names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}


def preview(values: Values) -> tuple[str, bool]:
    """The page on the data set and the network of these parameters; whether something was refused.

    Pictures are written to ``data/check/<name>.png``. Nothing is raised.
    """
    sets, parts, refused = list[ImageDataset](), dict[str, list[str]](), dict[str, None]()
    values, asked = {**values}, values.get("size")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for part in (_images, _files, _pictures, _network):
            title = part.__name__.strip("_").capitalize()
            try:
                for line in part(sets, values):
                    parts.setdefault(title, []).append(line)
            except (ValueError, TypeError, OSError) as error:
                refused[str(error)] = None
            except (Exception, SystemExit) as error:  # a page must come, whatever code of a user's does
                refused[f"{title}: {type(error).__name__}: {error}"] = None
    if warned := [*dict.fromkeys(f"- {w.message}" for w in said)]:
        parts["Guessed or left out"] = warned
    body = (f"{title}\n{'-' * len(title)}\n" + "\n".join(lines) for title, lines in parts.items())
    also = f" and size={values['size']}" if values.get("size") != asked else ""
    usable = say(
        "check", "warned" if warned else "usable", name=_name(values), warnings=len(warned), also=also
    )
    first = "\n".join(refused) or usable
    page = "\n\n".join([first, *body])
    # In a terminal, "give size=" is "give --size=".
    return re.sub(rf"(?<![\w-])({'|'.join(FIELDS)})=", r"--\1=", page), bool(refused)


def _name(values: Values) -> str:
    return re.sub(r"[^\w.-]", "-", Path(values["dataset"]).absolute().stem)


def _images(sets: list[ImageDataset], values: Values) -> Iterator[str]:
    """Load the splits into `sets`: images of each class, their sizes, grey levels, masks, repetitions."""
    options = _of(values, data.OPTIONS)
    try:
        sets += data.load_splits(values["dataset"], *data.SPLITS, **options)
    except data.SidesError:
        values["size"] = options["size"] = SIDE
        sets += data.load_splits(values["dataset"], *data.SPLITS, **options)
        yield say("check", "resized", size=SIDE)
    train, total = sets[0], sum(map(len, sets))
    height, width, channels = train.images.shape[1:]
    shape = f"{width}x{height} pixels, {'grey' if channels == 1 else 'RGB'}"
    yield say("check", "images", total=total, shape=shape, data=train)
    counts = pd.DataFrame({d.split: d.counts for d in sets}).assign(all=lambda table: table.sum(axis=1))
    yield counts.to_string(max_rows=ROWS)
    low, middle, high = np.percentile(train.images[:: len(train) // 60 + 1], [1, 50, 99])
    yield say("check", "levels", low=low, middle=middle, high=high)
    if masks := [d.masks.any((1, 2)) for d in sets if d.masks is not None]:
        yield say("check", "masks", masked=np.concatenate(masks).sum(), total=total)
    about = data.describe(*sets)
    repeated = sum(pd.concat(d.pictures for d in sets)["picture"].duplicated())
    across = sum(split["duplicates"] for split in about.values())
    yield say("check", "repeated", copies=repeated, across=across)
    yield say("check", "cache", cache=cache())


def _files(sets: list[ImageDataset], values: Values) -> Iterator[str]:
    """Which kinds and sizes of files there are, by their headers; which splits and groups are given."""
    with contextlib.suppress(ValueError, OSError), warnings.catch_warnings(action="ignore"):  # loading told
        path = data.find(values["dataset"])
        if path is None or path.suffix.lower() == ".npz":
            return
        try:
            rows, _, _ = data.listed(path, **_of(values, ["group", "label", "uncertain"]))
        except ValueError:  # a layout that is refused: what is there?
            endings = [file.suffix or "none" for file in path.rglob("*") if file.is_file()]
            counts = pd.Series(endings, name="files").value_counts().rename_axis("ending")
            yield from [counts.to_string(max_rows=ROWS)] * path.is_dir()
            return
        found = pd.DataFrame(map(data.form, rows["file"]), columns=["kind", "width", "height"])
        sides = found.groupby("kind")[["width", "height"]].agg(["min", "max"])
        sides.columns = [f"{end} {side}" for side, end in sides.columns]
        yield sides.assign(files=found["kind"].value_counts()).to_string(max_rows=ROWS)
        made = ", ".join(split for split in data.SPLITS if split not in set(rows["split"]))
        yield say("check", "made" if made else "given", splits=made)
        splits = rows.groupby("group")["split"].nunique() if "group" in rows else pd.Series(dtype=int)
        yield say(
            "check", "groups" if len(splits) else "no_groups", groups=len(splits), apart=sum(splits > 1)
        )


def _pictures(sets: list[ImageDataset], values: Values) -> Iterator[str]:
    """Draw three pictures of each of the first classes."""
    figures.use_style()
    for train in sets[:1]:
        names, path = train.class_names[:SHEET], home() / "data" / "check" / f"{_name(values)}.png"
        columns = min(3, len(names))
        sheet = figures.montage(train.images, train.labels, names, train.masks, each=3, columns=columns)
        with atomic(path) as file:
            sheet.savefig(file, format="png")
        yield str(path)


def _network(sets: list[ImageDataset], values: Values) -> Iterator[str]:
    """What the network is, what it gives for ten test images, and its layers; nothing if none is named."""
    if not sets or not values.keys() & {*NETWORK, "layers"} - {*IMAGES}:
        return
    from medrob import models, saliency  # with torch, which images alone do not need

    choice = config.Train(**_of(values, NETWORK))
    if choice.own:  # judged as it comes
        choice = choice.model_copy(update={"epochs": 0})
    model = models.for_data(sets[0], choice)
    if "SHA-256" in model.origin:  # weights that are meant to be judged as they are
        models.check_trained(model, sets[0].class_names)
    yield words.network(choice.arch, model).replace("\\", "")
    if not model.new:  # else they would be random
        yield from _answers(model, data.subset(sets[-1], 10, choice.seed), choice.device)
    layers, device = values.get("layers"), choice.device
    maps = saliency.explain(model, sets[-1].images[:1], methods=["gradcam"], layers=layers, device=device)
    shapes = [(layer, f"{found.shape[1]}x{found.shape[2]}") for (_, layer), found in maps.items()]
    yield pd.DataFrame(shapes, columns=["layer", "its maps"]).to_string(index=False, max_rows=ROWS)


def _answers(model: Any, few: ImageDataset, device: str) -> Iterator[str]:
    """The range of the logits of images, and a row of probabilities for each."""
    import torch

    from medrob import evaluation, models

    with models.evaluating(model), torch.inference_mode():
        x = models.as_input(model, torch.tensor(few.images).permute(0, 3, 1, 2))
        _, outputs = models.forward(model, x, {})
    how = "sigmoid" if few.task == "multilabel" else "softmax"
    given = dict(tried=len(few), low=outputs.min().item(), high=outputs.max().item())
    yield say("check", "outputs", how=how, **given)
    table = evaluation.predict_conditions(model, few, [("clean", 0)], device=device)
    named = table.filter(["label", "predicted"]).map(dict(enumerate(few.class_names)).get)
    table = table.drop(columns=["corruption", "severity"]).assign(**named).round(3)
    yield table.to_string(index=False, max_cols=12)
