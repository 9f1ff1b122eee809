"""How far maps move, which map a text quotes and which are the same: by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest

from medrob import analysis


def test_mean_drift_by_hand():
    """Two images of two corruptions; an image's values are averaged before the images are."""
    drift = pd.DataFrame(
        {"image": [0, 0, 1, 1, 0, 0, 1, 1], "corruption": ["a", "b"] * 4, "severity": [1] * 4 + [2] * 4,
         "method": "m", "layer": "l", "preserved": [True, True, True, False, True, False, False, False],
         "degenerate": [False] * 3 + [True] + [False] * 4,
         "rmse": [0.1, 0.3, 0.4, np.nan, 0.2, 0.4, 0.6, 0.8]}
    )  # fmt: skip
    by_severity = analysis.mean_drift(drift, ["severity"])
    assert by_severity["value"].tolist() == pytest.approx([(0.2 + 0.4) / 2, (0.3 + 0.7) / 2])
    assert by_severity["degenerate"].tolist() == [0.25, 0]
    both = analysis.mean_drift(drift, ["corruption", "severity"])
    assert both[["value", "images"]].to_numpy().T.tolist() == [
        pytest.approx([0.25, 0.3, 0.4, 0.6]), [2, 1, 2, 2]
    ]  # fmt: skip
    four = pd.concat([drift, drift.assign(image=drift["image"] + 2)])
    six = pd.concat([four, drift.assign(image=drift["image"] + 4)])
    means = [analysis.mean_drift(rows, ["corruption", "severity"])["low"].notna() for rows in (four, six)]
    assert [known.tolist() for known in means] == [[False] * 4, [True, False, True, True]]  # four are few
    strata = analysis.strata(drift).set_index(["stratum", "severity"])["value"]
    assert strata["preserved"].to_dict() == pytest.approx({1: (0.2 + 0.4) / 2, 2: 0.2})
    assert strata.loc["flipped", 2] == pytest.approx((0.4 + 0.7) / 2)
    assert np.isnan(strata.loc["flipped", 1])  # the only flipped picture has a degenerate map
    assert set(analysis.strata(drift.assign(preserved=True))["stratum"]) == {"all", "preserved"}


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"l1": 28, "l2": 14, "l3": 7, "l4": 4}, "l3"),  # 28 px
        ({"l1": 56, "l2": 28, "l3": 14, "l4": 7}, "l4"),  # 224 px
        ({"l1": 6, "l2": 6, "l3": 3}, "l2"),
    ],
)
def test_headline_is_the_deepest_layer_of_fine_maps(sizes, expected):
    rows = itertools.product(("layercam", "gradcam"), sizes.items(), range(10))
    drift = pd.DataFrame([(m, *layer) for m, layer, _ in rows], columns=["method", "layer", "size"])
    assert analysis.headline(drift) == ("gradcam", expected)
    assert analysis.headline(drift[drift["method"] != "gradcam"]) == ("layercam", expected)
    assert analysis.headline(drift.drop(columns="size"))[1] == [*sizes][-1]


def of_methods(**rmse):
    """Drift of one layer, one value a method and comparison."""
    rows = pd.DataFrame(rmse).melt(var_name="method", value_name="rmse", ignore_index=False)
    rows = rows.reset_index(names="image")
    return rows.assign(layer="layer4.1", corruption="fog", severity=1)


def test_twins_are_named_once_with_the_first_of_them_and_methods_that_are_close_are_none():
    base = np.linspace(0, 1, 8)
    moved = of_methods(gradcam=base, layercam=base[::-1], hirescam=base + 1e-6, xgradcam=base - 1e-6)
    found = analysis.twins(moved)
    assert found.to_dict("records") == [
        {"method": "hirescam", "layer": "layer4.1", "same_as": "gradcam"},
        {"method": "xgradcam", "layer": "layer4.1", "same_as": "gradcam"},
    ]
    assert list(dict.fromkeys(analysis.distinct(moved)["method"])) == ["gradcam", "layercam"]

    lost = np.where(np.arange(8) < 4, base, np.nan)  # where there is a map; and two that never move
    for first, other in ((base, base + 0.01), (base, lost), (0 * base, 0 * base)):
        moved = of_methods(gradcam=first, layercam=other)
        assert analysis.twins(moved).empty
        pd.testing.assert_frame_equal(analysis.distinct(moved), moved)
