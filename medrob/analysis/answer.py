"""The answer to the question, in numbers and in words."""

from __future__ import annotations

import pandas as pd

from medrob.analysis.images import PER_IMAGE_PARTIAL
from medrob.analysis.maps import mean_drift
from medrob.analysis.tables import INPUT, MAP, require
from medrob.analysis.testing import (
    EVERY,
    NO,
    OPEN,
    OPPOSITE,
    PER_IMAGE,
    SMALL,
    WITHIN,
    YES,
    Finding,
    family,
    rows_of,
)  # fmt: skip
from medrob.conditions import CLEAN

# kind of test -> how its number is named, and what it is
LINKS = {
    WITHIN: ("association", "rank correlation of AUC drop and drift within severity"),
    "partial": ("partial association", "the same, less what the RMSE of the picture explains"),
    PER_IMAGE: ("per image", "rank correlation of margin drop and drift over images, within conditions"),
    PER_IMAGE_PARTIAL: ("partial per image", "the same, less what the RMSE of the picture explains"),
}


def summary(
    scores: pd.DataFrame, drift: pd.DataFrame, tests: pd.DataFrame, failure: pd.DataFrame, *, layer: str
) -> pd.DataFrame:
    """The numbers that a text quotes.

    Args:
        scores: from `medrob.evaluation.score`. drift: from `medrob.drift.measure`.
        tests: from `adjust` (p is then the corrected one) or `all_tests`.
        failure: from `failure`.
        layer: whose maps are quoted, beside those of methods that explain the input.

    Returns:
        name, value, low, high, p (NaN where nothing is tested), what (in words).

    Raises:
        ValueError: scores without a clean AUC, or a table without a column.
    """
    require(scores, ["corruption", "severity", "class", "metric", "value", "low", "high", "drop"], "scores")
    require(tests, [*MAP, "kind", "corruption", "value", "low", "high", "p"], "tests")
    auc_rows = scores[(scores["class"] == "all") & (scores["metric"] == "auc")]
    clean = auc_rows[auc_rows["corruption"] == CLEAN[0]]
    if clean.empty:
        raise ValueError("the table scores has no AUC of the condition ('clean', 0)")
    rows = [("clean auc", *clean.iloc[0][["value", "low", "high"]], None, "AUC on clean images")]
    dirty = auc_rows[(auc_rows["corruption"] != CLEAN[0]) & auc_rows["drop"].notna()]
    if len(dirty):
        worst = dirty.loc[dirty["drop"].idxmax()]
        what = f"largest AUC drop: {worst['corruption']}, severity {worst['severity']}"
        rows.append(("worst drop", worst["drop"], worst["drop_low"], worst["drop_high"], None, what))
    highest = drift["severity"].max()
    drift, tests = (table[table["layer"].isin([layer, INPUT])] for table in (drift, tests))
    failure = failure[failure["layer"].isin([layer, INPUT, ""])]
    for row in mean_drift(drift[drift["severity"] == highest], MAP).itertuples():
        what = f"mean drift (RMSE of min-max maps), {row.method} at {row.layer}, severity {highest}"
        rows.append((f"drift {row.method} {row.layer}", row.value, row.low, row.high, None, what))
    p = "p_adjusted" if "p_adjusted" in tests else "p"
    for row in tests[(tests["corruption"] == EVERY) & tests["kind"].isin(LINKS)].to_dict("records"):
        name, what = LINKS[row["kind"]]
        where = f"{row['method']} {row['layer']}"
        told = f"{what}, {row['method']} at {row['layer']}"
        rows.append((f"{name} {where}", row["value"], row["low"], row["high"], row[p], told))
    for row in failure[(failure["severity"] == highest) & (failure["event"] == "flipped")].itertuples():
        label = " ".join(part for part in (row.signal, row.method, row.layer) if part)
        what = f"AUROC of {label} for a flipped prediction, severity {highest}"
        rows.append((f"warning {label}", row.auroc, row.low, row.high, row.p, what))
    frame = pd.DataFrame(rows, columns=["name", "value", "low", "high", "p", "what"])
    return frame.astype(dict.fromkeys(("value", "low", "high", "p"), float))


QUESTIONS = (  # of `family`: the question, chance, what is too little to matter, the test beyond image RMSE
    ("Does the map move more under the corruption that costs more AUC?", 0.0, "correlation", "partial"),
    ("Does the map move more in the image that loses more margin?", 0.0, "correlation", PER_IMAGE_PARTIAL),
    ("Does the map move more where the prediction flips?", 0.5, "auroc", ""),
)


def say_answer(tests: pd.DataFrame, *, method: str, layer: str, severity: int) -> str:
    """The answer to the question, as declared: three tests of one map, corrected by Holm's method.

    Args:
        tests: from `adjust`, whose family was `family(severity)`.

    Raises:
        ValueError: an unknown method or layer, or a test of the family that was not declared.
    """
    require(tests, ["family", "p_adjusted"], "tests")
    rows = rows_of(tests, method, layer, "tests")
    lines, verdicts, own = [], [], []  # own: whether a yes goes beyond the RMSE of the picture
    for kind, (question, chance, scale, beyond) in zip(family(severity), QUESTIONS, strict=True):
        if kind not in rows.index or rows.loc[kind, "family"] != "declared":
            raise ValueError(f"the test {kind!r} was not declared; give family({severity}) to `adjust`")
        found = Finding.of(rows.loc[kind])
        verdicts.append(found.verdict(chance=chance, small=SMALL[scale]))
        line = f"{question} {verdicts[-1].capitalize()}: {found.unsigned() if chance else found}."
        if beyond and verdicts[-1] in (YES, OPPOSITE):
            more = Finding.of(rows.loc[beyond])
            same = more.verdict(chance=0, small=SMALL[scale]) == verdicts[-1]
            line += f" Beyond the RMSE of the picture: {verdicts[-1] if same else OPEN}, {more}."
            own += [same] * (verdicts[-1] == YES)
        lines.append(line)
    return "\n".join([*lines, _altogether(verdicts, own)])


def _altogether(verdicts: list[str], own: list[bool]) -> str:
    yes, no = verdicts.count(YES), verdicts.count(NO) + verdicts.count(OPPOSITE)
    if yes:
        ways = "all three ways" if yes == len(verdicts) else f"{yes} of {len(verdicts)} ways"
        told = f"Saliency drift goes with loss of performance here in {ways}"
        if all(own):
            return f"{told}."
        lost = own.count(False)
        return f"{told}; in {lost} of them it is not shown to tell more than the RMSE of the picture does."
    if no == len(verdicts):
        return "Saliency drift does not go with loss of performance here."
    return "That saliency drift goes with loss of performance is not shown here."
