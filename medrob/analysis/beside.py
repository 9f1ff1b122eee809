"""How the declared drift stands beside what needs no map."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medrob.analysis.detection import auroc_interval, compared, detect, precision_interval
from medrob.analysis.evidence import Evidence, once
from medrob.analysis.layout import ends, estimate

AHEAD = ("ahead", "ahead_low", "ahead_high")


@once
def beside(evidence: Evidence) -> pd.DataFrame:
    """The declared drift beside each signal that needs no map, on the same pictures, with paired intervals.

    Returns:
        event, signal ("drift" or a baseline), auroc (as in `failure`), low, high, ahead (AUROC of drift less
        this one; NaN for drift itself), ahead_low, ahead_high, precision (average precision), precision_low,
        precision_high, chance (of precision), compared, events (pictures that the numbers rest on, and those
        of them in which it happened). NaN as in `failure`.
    """
    signals, group, rows = evidence.declared_signals, evidence.group, []
    events = {event: happened[evidence.highest] for event, happened in evidence.events.items()}
    happened = np.stack(list(events.values()))
    found = {name: detect(signal, happened, evidence.weights, group) for name, signal in signals.items()}
    for i, event in enumerate(events):
        pictures, failed = compared(np.isfinite(signals["drift"]), happened[i], group)
        n, k = int(pictures.sum()), int(failed.sum())
        for name in signals:
            auroc, precision, chance = found[name][i]
            ahead = found["drift"][i][0] - auroc if name != "drift" else np.full(len(auroc), np.nan)
            numbers = (auroc[0], *auroc_interval(auroc, k, n - k), *estimate(ahead))
            precisions = (precision[0], *precision_interval(precision))
            rows.append((event, name, *numbers, *precisions, chance, n, k))
    columns = ["event", "signal", "auroc", "low", "high", *AHEAD, *ends("precision")]
    return pd.DataFrame(rows, columns=[*columns, "chance", "compared", "events"])
