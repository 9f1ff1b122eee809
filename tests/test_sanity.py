"""What the rows of trust say in words."""

import numpy as np
import pandas as pd
import pytest

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
    words = analysis.say_randomisation(rows)
    assert "2 of 8 maps fail randomisation" in words and "a at layer1.0, layer4.1" in words
    assert "2 of 8 maps are unclear" in words and "2 of 8 maps cannot be tested" in words
    assert words.endswith("2 of 8 depend on what the network has learnt.")


def places(clean, **dirty):
    """Energy (low, value) for clean and at severity 5 of corruptions; chance .1."""
    rows = [("clean", 0, *clean), *((name, 5, *limits) for name, limits in dirty.items())]
    frame = pd.DataFrame(rows, columns=["corruption", "severity", "low", "value"])
    return frame.assign(
        method="gradcam", layer="layer4.1", test="energy", high=frame["value"] + 0.1, chance=0.1
    )


def say(frame):
    return analysis.say_localisation(frame, method="gradcam", layer="layer4.1")


def test_still_looks_no_longer_looks_never_looked():
    words = say(places((0.4, 0.5), fog=(0.3, 0.4), noise=(0.05, 0.15), snow=(np.nan, np.nan)))
    assert "50% of the map lies inside the lesion (40% to 60%)" in words and "looks at the lesion." in words
    assert "it still does under fog" in words and "no longer shown to under noise" in words
    assert "no map is left to judge under snow" in words
    never = say(places((0.08, 0.12), fog=(0.3, 0.4)))
    assert "is not shown to look at the lesion" in never and "severity" not in never
    assert "can be compared" in say(places((np.nan, np.nan)))


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="trust lacks chance"):
        say(places((0.4, 0.5)).drop(columns="chance"))
