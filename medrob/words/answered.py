"""The answer to the question, in words."""

from __future__ import annotations

import pandas as pd

from medrob import analysis
from medrob.analysis.answer import QUESTIONS
from medrob.analysis.testing import (
    NO,
    OPEN,
    OPPOSITE,
    UNDEFINED,
    WITHIN,
    YES,
    Finding,
    rows_of,
)
from medrob.check import require
from medrob.words.links import severity_share

VERDICTS = (YES, OPPOSITE, NO, OPEN, UNDEFINED)


def answers(asked: pd.DataFrame) -> str:
    """In words: does the answer hold from run to run?

    Args:
        asked: from `answers_of_runs`.
    """
    require(asked, ["run", "name", "question", "verdict", "conditions"], "asked")
    count, lines = asked["run"].nunique(), []
    if asked["conditions"].nunique() > 1:
        held = asked.groupby("run", sort=False)["conditions"].first()
        each = "; ".join(f"{run}: {words}" for run, words in held.items())
        lines.append(f"The runs hold different conditions, and were asked of these ({each}).")
    for name, question, *_ in QUESTIONS:
        rows = asked[asked["name"] == name]
        given = {v: rows.loc[rows["verdict"] == v, "run"].tolist() for v in VERDICTS}
        parts = [
            f"{verdict} in {len(where)} ({', '.join(where)})" for verdict, where in given.items() if where
        ]
        lines.append(f"{question} {'; '.join(parts)}.")
    held = asked[asked["verdict"] == YES].groupby("name")["run"].nunique()
    everywhere = int((held == count).sum())
    told = ("none of the three questions has", "one of them has", "two of them have", "all three have")
    where = f"Over these {count} runs" if count > 1 else "In this run"
    lines.append(f"{where}, {told[everywhere]} the answer yes{' in every run' if count > 1 else ''}.")
    return "\n".join(lines)


def answer(tests: pd.DataFrame, *, method: str, layer: str, severity: int) -> str:
    """The answer to the question, as declared: three tests of one map, corrected by Holm's method.

    Args:
        tests: from `adjust`, whose family was `family(severity)`.

    Raises:
        ValueError: as `answers`.
    """
    found = analysis.answers(tests, method=method, layer=layer, severity=severity)
    rows, lines = rows_of(tests, method, layer, "tests"), []
    for row, (*_, chance, _, partial) in zip(found.to_dict("records"), QUESTIONS, strict=True):
        number, verdict = Finding.of(row), row["verdict"].capitalize()
        said = {
            NO: f"{verdict}, or too little to matter",
            UNDEFINED: f"{verdict}, there is too little to go by",
        }
        told = "" if row["verdict"] == UNDEFINED else f": {number.unsigned() if chance else number}"
        line = f"{row['question']} {said.get(row['verdict'], verdict)}{told}."
        if row["kind"] == WITHIN and row["verdict"] != YES and (share := severity_share(rows)):
            over = Finding.of(rows.loc["pooled"]).plain()
            line += f" Over all severities the correlation is {over}{share}."
        if row["beyond"]:
            line += f" Beyond the RMSE of the picture: {row['beyond']}, {Finding.of(rows.loc[partial])}."
        lines.append(line)
    return "\n".join([*lines, _altogether(found, f"{method} at {layer}")])


def _altogether(found: pd.DataFrame, where: str) -> str:
    """The last sentence."""
    count = found["verdict"].value_counts().to_dict()
    yes, asked = count.get(YES, 0), len(found)
    begin = f"Saliency drift ({where}) goes with loss of performance here"
    if count.get(UNDEFINED, 0) == asked:
        return f"Whether saliency drift ({where}) goes with loss of performance here cannot be said."
    if count.get(NO, 0) + count.get(OPPOSITE, 0) == asked:
        return f"Saliency drift ({where}) does not go with loss of performance here."
    rest = ", ".join(f"{verdict} in {n}" for verdict, n in count.items() if verdict != YES)
    if not yes:
        return f"That saliency drift ({where}) goes with loss of performance is not shown here: {rest}."
    told = (
        f"{begin} in all three ways"
        if yes == asked
        else f"{begin} in {yes} of the {asked} ways asked ({rest})"
    )
    held = found[(found["verdict"] == YES) & (found["beyond"] != "")]["beyond"]
    if len(held) and (lost := int((held != YES).sum())):
        share = f"{lost} of the {len(held)}" if len(held) > 1 else "the one"
        told += f"; in {share} where that is asked, it is not shown to tell more than the RMSE of the picture"
    return f"{told}."


def sensitivity(
    extremes: pd.DataFrame,
    tests: pd.DataFrame,
    drift: pd.DataFrame,
    *,
    method: str,
    layer: str,
    severity: int,
) -> str:
    """In words: would another treatment of the degenerate maps give another answer?

    Args:
        extremes: from `sensitivity`. tests: from `adjust`. drift: from `medrob.drift.measure`.
        method, layer, severity: of the declared family.
    """
    own = drift[(drift["method"] == method) & (drift["layer"] == layer)]
    flat = own["degenerate"].astype(bool)
    begin = f"{flat.sum()} of {len(own)} maps of {method} at {layer} are degenerate"
    if not flat.any():
        return f"No map of {method} at {layer} is degenerate: none is left out."
    if flat.all():
        return f"{begin}: nothing can be said."
    usual = analysis.answers(tests, method=method, layer=layer, severity=severity).set_index("kind")[
        "verdict"
    ]
    changed = [
        f"counted as {row.counted_as}, '{row.question}' would be answered '{row.verdict}', not "
        f"'{usual[row.kind]}'"
        for row in extremes.itertuples()
        if row.verdict != usual[row.kind]
    ]
    if not changed:
        return (
            f"{begin} and left out. Counted as the largest or as the smallest drift, they change no answer."
        )
    return f"{begin} and left out, which matters:\n" + ";\n".join(changed) + "."
