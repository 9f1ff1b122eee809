"""The declared question, asked of one map of a run, and of several runs side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from medrob.analysis.answer import answers
from medrob.analysis.associations import association
from medrob.analysis.failures import failure
from medrob.analysis.images import per_image
from medrob.analysis.maps import headline
from medrob.analysis.tables import CONDITION, MAP, grid, require_map
from medrob.analysis.testing import adjust, all_tests, family
from medrob.check import require


def ask(
    predictions: pd.DataFrame,
    drift: pd.DataFrame,
    distances: pd.DataFrame,
    *,
    method: str,
    layer: str,
    severity: int,
    metric: str = "rmse",
    resamples: int | None = None,
    permutations: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The declared tests of one map alone, corrected by Holm: the same numbers as those of the whole run.

    Args:
        predictions, drift, distances, metric: as in `failure`. method, layer, severity: of the declared
            family. resamples, permutations, seed: of the intervals and of p; None: as many resamples as
            `association`, `per_image` and `failure` take by themselves.

    Returns:
        See `answers`.

    Raises:
        ValueError: as `failure`; an unknown method or layer.
    """
    require(drift, [*MAP, "severity"], "drift")
    require_map(drift, method, layer, "drift")
    own = drift[(drift["method"] == method) & (drift["layer"] == layer)]
    options: dict[str, Any] = dict(metric=metric, permutations=permutations, seed=seed)
    options |= {} if resamples is None else {"resamples": resamples}
    tests = all_tests(
        association(predictions, own, distances, **options),
        per_image(predictions, own, distances, **options),
        failure(predictions, own[own["severity"] == severity], distances, **options),
    )
    tests = adjust(tests, method=method, layer=layer, kinds=family(severity))
    return answers(tests, method=method, layer=layer, severity=severity)


def answers_of_runs(
    runs: Mapping[str, tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]],
    *,
    metric: str = "rmse",
    resamples: int | None = None,
    permutations: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The declared tests of every run, each with its own map (`headline`) at its own highest severity.

    Args:
        runs: name -> its tables predictions, drift and corruptions. The rest as in `ask`.

    Returns:
        A row per run and question: run, method, layer, severity, conditions (in words), and the columns of
        `answers`; p is corrected by Holm within each run.

    Raises:
        ValueError: no runs, or as `ask`.
    """
    if not isinstance(runs, Mapping):
        raise TypeError(f"runs is a {type(runs).__name__}; give a dict, the name of each run and its tables")
    if not runs:
        raise ValueError("there are no runs to ask; give at least one")
    options: dict[str, Any] = dict(metric=metric, resamples=resamples, permutations=permutations, seed=seed)
    parts = []
    for name, tables in runs.items():
        if len(tables) != 3:
            raise ValueError(f"run {name!r}: give its tables predictions, drift and corruptions")
        predictions, drift, distances = tables
        method, layer = headline(drift)
        at: dict[str, Any] = dict(method=method, layer=layer, severity=int(drift["severity"].max()))
        found = ask(predictions, drift, distances, **at, **options)
        held = set(drift[CONDITION].drop_duplicates().itertuples(index=False, name=None))
        known = {"run": name, **at, "conditions": grid(held)}
        parts.append(pd.DataFrame(known, index=found.index).join(found))
    return pd.concat(parts, ignore_index=True)
