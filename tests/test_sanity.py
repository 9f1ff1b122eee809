"""What the rows of trust say of the maps, by rules."""

import numpy as np
import pandas as pd

from medrob import analysis


def randomised(**limits):
    """{method: (low, high)} -> the rows of randomisation."""
    rows = [
        dict(method=m, layer=layer, test="randomisation", stage=stage, images=0 if np.isnan(low) else 9,
             value=(low + high) / 2, low=low, high=high)
        for m, (low, high) in limits.items() for layer in ("layer1.0", "layer4.1") for stage in ("fc", "all")
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    frame.loc[frame["stage"] == "fc", ["low", "high"]] = 0.99  # the stages before do not count
    return frame


def test_the_verdict_is_read_off_the_interval_when_all_weights_are_lost():
    rows = randomised(a=(0.6, 0.8), b=(-0.2, 0.5), c=(0.4, 0.7), d=(np.nan, np.nan))
    found = analysis.verdicts(rows).set_index(["method", "layer"])["verdict"]
    assert [found[m, "layer4.1"] for m in "abcd"] == ["failed", "passed", "unclear", "not testable"]
    assert analysis.failed(rows) == (("a", "layer1.0"), ("a", "layer4.1"))


def test_the_table_of_faithfulness_has_the_sign_in_which_more_is_better():
    rows = pd.DataFrame(dict(method="a", layer="x", test=["road", "deletion", "floor"], images=7, value=0.3))
    rows = rows.assign(low=0.2, high=0.4, chance=0.1, above=0.2, above_low=-0.1, above_high=0.3)
    table = analysis.faithfulness_table(rows).set_index("test")[["above", "above_low", "above_high"]]
    np.testing.assert_allclose(table, [[0.2, -0.1, 0.3], [-0.2, -0.3, 0.1]])
