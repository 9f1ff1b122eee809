"""What the tests of trust share: rows that are compared and judged, and maps that are given."""

import numpy as np
import pandas as pd
import torch

from medrob import evaluation, trust

KEY = ["method", "layer", "test", "stage", "corruption", "severity"]


def close(a, b, atol=1e-4):
    """The same rows, but for the order in which numbers are added."""
    pd.testing.assert_frame_equal(a[KEY], b[KEY])
    for column in trust.COLUMNS[6:]:
        np.testing.assert_allclose(a[column].astype(float), b[column].astype(float), atol=atol)


def proper(rows):
    """What holds of the rows of every test."""
    assert tuple(rows.columns) == trust.COLUMNS and not rows.duplicated(KEY).any()
    few = rows["images"] < evaluation.FEWEST
    known = rows[~few]
    assert ((known["low"] <= known["value"] + 1e-9) & (known["value"] <= known["high"] + 1e-9)).all()
    assert rows[rows["images"] == 0]["value"].isna().all() and rows[few][["low", "high"]].isna().all(
        axis=None
    )
    assert rows["stage"].map(type).eq(str).all() and rows["severity"].dtype.kind == "i"


def give_maps(monkeypatch, maps):
    """Have these maps explained, one batch after another: {key: (N, h, w)}."""

    def found(self, images, index, targets=None):
        return {key: torch.as_tensor(m)[index].float() for key, m in maps.items()}, None

    monkeypatch.setattr("medrob.saliency.Explainer.maps", found)
