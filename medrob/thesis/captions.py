"""What is printed of each figure and table (``texts.toml``), and the facts that every caption ends with."""

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from medrob.figures import word

TEXTS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("texts.toml").read_text("utf-8"))
CAPTIONS: dict[str, str] = TEXTS["figures"]


def context(about: Mapping[str, Any], train: Mapping[str, Any] | None) -> dict[str, str | int]:
    """What a caption says of a run, by its ``data.json`` and the parameters of 02_train (None before it)."""
    began, test = about["parameters"], about["splits"]["test"]
    name = str(began["dataset"]).replace("\\", "/").rsplit("/", 1)[-1]
    facts: dict[str, str | int] = {
        "data": f"{name}, {test['shape'][0]} x {test['shape'][1]} pixels",
        "test images": int(test["images"]),
    }
    if train:
        width = f", width {train['width']}" if train["arch"].startswith("resnet") else ""  # others have none
        facts["network"] = train["arch"] + width
        facts["training augmentation"] = train["augment"]
        facts["training seed"] = int(train["seed"])
    return facts | {"seed of data and corruptions": int(began["seed"])}


def full_caption(file: str, caption: str, facts: Mapping[str, Any]) -> str:
    """A caption as a sentence: as given, or that of `CAPTIONS`, or the words of the file's name."""
    text = caption.strip() or CAPTIONS.get(file, "").format(**facts) or word(file.lstrip("0123456789_"))
    return _sentence(text[:1].upper() + text[1:])


def printed(file: str, frame: pd.DataFrame, facts: Mapping[str, Any]) -> tuple[pd.DataFrame, str]:
    """The rows and columns of a table that are printed, and its caption."""
    texts = TEXTS["tables"].get(file, {})
    rows = frame.query(texts["rows"], local_dict=dict(facts)) if "rows" in texts else frame
    rows = rows[texts["columns"].split()] if "columns" in texts else rows
    rows = rows.replace({"stage": {"": "all"}}) if "stage" in rows else rows
    return rows, texts.get("caption", "").format(**facts)


def ending(context: Mapping[str, Any], failed: Collection[tuple[str, str]]) -> str:
    """The end of every caption: ``Data: phantom; seed: 0.``, and what a dagger means if there is one."""
    facts = "; ".join(f"{word(key)}: {value}" for key, value in context.items())
    layers: dict[str, list[str]] = {}
    for method, layer in failed:
        layers.setdefault(method, []).append(layer)
    methods = "; ".join(f"{word(method)} at {', '.join(names)}" for method, names in layers.items())
    dagger = f"† fails randomisation: {methods}." if methods else ""
    return f"{_sentence(facts[:1].upper() + facts[1:])} {dagger}".strip()


def _sentence(text: str) -> str:
    """The text with a full stop, if it has no other end."""
    return text if not text or text[-1] in ".?!" else f"{text}."
