"""The numbers that a text quotes, and what they say in words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from medrob.analysis.means import headline, mean_drift
from medrob.analysis.tables import MAP


def summary(
    scores: pd.DataFrame, drift: pd.DataFrame, association: pd.DataFrame, failure: pd.DataFrame
) -> pd.DataFrame:
    """The numbers that a text quotes: name, value, low, high, what (in words)."""
    auc_rows = scores[(scores["class"] == "all") & (scores["metric"] == "auc")]
    clean = auc_rows[auc_rows["corruption"] == "clean"].iloc[0]
    rows = [("clean auc", clean["value"], clean["low"], clean["high"], "AUC on clean images")]
    dirty = auc_rows[(auc_rows["corruption"] != "clean") & auc_rows["drop"].notna()]
    if len(dirty):
        worst = dirty.loc[dirty["drop"].idxmax()]
        what = f"largest AUC drop: {worst['corruption']}, severity {worst['severity']}"
        rows.append(("worst drop", worst["drop"], worst["drop_low"], worst["drop_high"], what))
    highest = drift["severity"].max()
    for row in mean_drift(drift[drift["severity"] == highest], MAP).itertuples():
        what = f"mean drift (RMSE of min-max maps), {row.method} at {row.layer}, severity {highest}"
        rows.append((f"drift {row.method} {row.layer}", row.value, row.low, row.high, what))
    for row in association[association["kind"] == "within severity"].itertuples():
        what = f"rank correlation of AUC drop and drift within severity, {row.method} at {row.layer}"
        rows.append((f"association {row.method} {row.layer}", row.value, row.low, row.high, what))
    for row in failure[(failure["severity"] == highest) & (failure["event"] == "flipped")].itertuples():
        label = " ".join(part for part in (row.signal, row.method, row.layer) if part)
        what = f"AUROC of {label} for a flipped prediction, severity {highest}"
        rows.append((f"warning {label}", row.auroc, row.low, row.high, what))
    return pd.DataFrame(rows, columns=["name", "value", "low", "high", "what"])


def say_association(kinds: pd.DataFrame) -> str:
    """In words: what `association` says of one method and layer.

    Args:
        kinds: its rows, indexed by kind.
    """

    def numbers(kind: str) -> str:
        row = kinds.loc[kind]
        if not np.isfinite(row["value"]):
            return "not defined"
        return f"{row['value']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f}, p = {row['p']:.3f})"

    within = kinds.loc["within severity"]
    if not np.isfinite(within["value"]):
        return (
            "Within severity there is nothing to correlate: too few corruptions, or drift that does not vary."
        )
    shown = within["p"] < 0.05 and within["low"] * within["high"] > 0
    direction = "costs more" if within["value"] > 0 else "costs less"
    verdict = (
        f"at the same severity, the corruption that moves the map more {direction} AUC"
        if shown
        else "at the same severity, no link between drift and loss of AUC is shown"
    )
    partial = kinds.loc["partial"]
    if shown and not (partial["p"] < 0.05 and partial["low"] * partial["high"] > 0):
        verdict += "; that this goes beyond what the RMSE of the picture tells anyway is not shown"
    return (
        f"Pooled over severities the rank correlation is {numbers('pooled')}.\n"
        f"Within severity it is {numbers('within severity')}; less what the pixels' own RMSE explains, "
        f"{numbers('partial')}.\nSo {verdict}."
    )


def say_failure(failure: pd.DataFrame, *, method: str, layer: str, severity: int) -> str:
    """In words: how drift compares with low confidence as a warning of a flipped prediction."""
    rows = failure[(failure["severity"] == severity) & (failure["event"] == "flipped")]
    drift = rows[(rows["method"] == method) & (rows["layer"] == layer)].iloc[0]
    every = rows[rows["signal"] == "low confidence"].iloc[0]
    begin = f"Severity {severity}: {every['events']} of {every['cases']} predictions flipped."
    lost = every["cases"] - drift["cases"]
    if lost:
        begin += (
            f" {lost} pictures, {every['events'] - drift['events']} of them flipped, have a degenerate "
            "map and no drift; they are left out below."
        )
    if not np.isfinite(drift["auroc"]):
        return f"{begin}\nNothing to detect: no picture with a drift has flipped, or all have."
    warns = "warns of a flip" if drift["low"] > 0.5 else "is not shown to warn of a flip"
    verdict = "not distinguishable from"
    if drift["gain_low"] > 0:
        verdict = "better than"
    elif drift["gain_high"] < 0:
        verdict = "worse than"
    return (
        f"{begin}\nDrift {warns}: AUROC {drift['auroc']:.2f} ({drift['low']:.2f} to {drift['high']:.2f}). "
        f"Low confidence reaches {drift['auroc'] - drift['gain']:.2f} on the same pictures:\n"
        f"drift is {verdict} it, by {drift['gain']:+.2f} "
        f"({drift['gain_low']:+.2f} to {drift['gain_high']:+.2f})."
    )


def compare_runs(runs: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]) -> pd.DataFrame:
    """Runs side by side, the mean over the corruptions at each severity.

    Args:
        runs: name -> the tables (scores, drift).

    Returns:
        run, severity, auc, drop, drift (RMSE at `headline`; 0 at severity 0), method, layer, images
        (explained).
    """
    frames = []
    for name, (scores, drift) in runs.items():
        method, layer = headline(drift)
        rows = scores[(scores["metric"] == "auc") & (scores["class"] == "all")]
        frame = rows.groupby("severity")[["value", "drop"]].mean().rename(columns={"value": "auc"})
        at = drift[(drift["method"] == method) & (drift["layer"] == layer)]
        frame["drift"] = at.groupby(["severity", "corruption"])["rmse"].mean().groupby("severity").mean()
        frame.loc[0, "drift"] = 0.0
        known = dict(run=name, method=method, layer=layer, images=drift["image"].nunique())
        frames.append(frame.reset_index().assign(**known))
    columns = ["run", "severity", "auc", "drop", "drift", "method", "layer", "images"]
    return pd.concat(frames, ignore_index=True)[columns]
