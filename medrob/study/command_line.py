"""What ``snakemake --config`` gives: numbers, and whether they suit the study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medrob.study.load import Study
from medrob.study.notebooks import parameters

CONFIG = ("study", "notebooks", "threads", "gpu", "split")


def numbers(config: Mapping[str, Any], **defaults: int) -> dict[str, int]:
    """The whole numbers of ``snakemake --config``: threads, gpu, split.

    Raises:
        ValueError: an unknown key, or something else than a number that makes sense.
    """
    if unknown := set(config) - set(CONFIG):
        raise ValueError(f"--config: unknown {', '.join(sorted(unknown))}; it takes {', '.join(CONFIG)}")
    found = dict(defaults)
    for name, least in (("threads", 1), ("gpu", 0), ("split", 1)):
        if name in config:
            try:
                found[name] = int(str(config[name]))
            except ValueError:
                raise ValueError(f"--config {name}={config[name]!r}: give a whole number") from None
            if found[name] < least:
                raise ValueError(f"--config {name}={found[name]}: give at least {least}")
    return found


def check_split(given: Study, notebooks: Path, split: int) -> None:
    """Refuse more shares of a stage than there are pairs of conditions to share.

    Raises:
        ValueError: the runs with too few, and what they have.
    """
    from medrob import corruptions
    from medrob.corruptions import conditions

    usual = parameters(notebooks / "01_augment.ipynb").get("suite", "thesis")
    suites = {run: stages["01_augment"].get("suite", usual) for run, stages in given.runs.items()}
    most = {s: len(conditions.grid(corruptions.names(s))) // 2 for s in set(suites.values())}
    few = [f"{run} ({most[suite]})" for run, suite in suites.items() if most[suite] < split]
    if few:
        raise ValueError(
            f"--config split={split}: a share takes two conditions or more; runs that can have fewer shares, "
            f"and how many: {', '.join(few)}"
        )
