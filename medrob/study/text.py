"""YAML whose mappings remember their lines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml


class Lined(dict[str, Any]):
    """A mapping of a YAML file: its keys as text, and the line that each stands on (``lines[key]``)."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}


class _Loader(yaml.SafeLoader):
    """Safe YAML; a key that stands twice is a mistake, and ``1e-3`` a number."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.mistakes: list[tuple[int, str]] = []

    def mapping(self, node: yaml.MappingNode) -> Lined:
        """Construct a mapping: merged keys (``<<``) first, its own over them."""
        seen: dict[str, int] = {}
        for name, _ in node.value:
            line = name.start_mark.line + 1
            if not isinstance(name, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", name.start_mark)
            if name.value in seen and name.value != "<<":
                told = f"{name.value!r} stands here a second time, first in line {seen[name.value]}"
                self.mistakes.append((line, told))
            seen.setdefault(name.value, line)
        self.flatten_mapping(node)
        found = Lined()
        for name, value in node.value:
            found[name.value] = self.construct_object(value, deep=True)
            found.lines[name.value] = name.start_mark.line + 1
        return found


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.mapping)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read(file: Path) -> tuple[Any, list[tuple[int, str]]]:
    """What a YAML file holds, and the keys that stand twice in it, with their lines.

    Raises:
        ValueError: the file is no YAML, or would run code. OSError: it cannot be read.
    """
    try:
        loader = _Loader(file.read_text(encoding="utf-8"))
        return loader.get_single_data(), loader.mistakes
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not a study: {error}") from None
    except RecursionError:
        raise ValueError(f"{file} is not a study: it is nested too deeply") from None
