"""What the rows of trust say in words."""

import numpy as np
import pandas as pd
import pytest

from medrob import analysis, words


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
    text = words.randomisation(rows)
    assert "2 of 8 maps fail randomisation" in text and "a at layer1.0, layer4.1" in text
    assert "2 of 8 maps are unclear" in text and "2 of 8 maps cannot be tested" in text
    assert "2 of 8 maps change when all weights are randomised (the rank correlation" in text


def above(frame):
    return {"above": frame["value"] - 0.1, **{f"above_{end}": frame[end] - 0.1 for end in ("low", "high")}}


def places(clean, **dirty):
    """Energy (low, value) for clean and at severity 5 of corruptions; chance .1; maps of 9 images of 12."""
    rows = [("clean", 0, *clean), *((name, 5, *limits) for name, limits in dirty.items())]
    frame = pd.DataFrame(rows, columns=["corruption", "severity", "low", "value"])
    frame = frame.assign(method="gradcam", layer="layer4.1", test="energy", high=frame["value"] + 0.1)
    frame["stage"] = np.where(frame["severity"] == 0, "", "preserved")
    frame["degenerate"] = np.where(frame["severity"] == 0, 0, 3)
    return frame.assign(images=12 - frame["degenerate"], chance=0.1, **above(frame))


def say(frame):
    return words.localisation(frame, method="gradcam", layer="layer4.1")


def test_still_looks_no_longer_looks_never_looked():
    text = say(places((0.4, 0.5), fog=(0.3, 0.4), shot_noise=(0.05, 0.15), snow=(np.nan, np.nan)))
    assert text == (
        "Clean: share of the map inside the lesion 50% (40% to 60%; 12 images; chance 10%, image by image "
        "above it by +40.0 (+30.0 to +50.0) points), more than chance.\n"
        "At severity 5, energy, prediction preserved: more than chance under fog (9 of 12 images); "
        "not shown to differ from chance under shot noise (9 of 12 images); no map left to judge under snow "
        "(9 of 12 images)."
    )
    never = say(places((0.08, 0.12), fog=(0.3, 0.4)))
    assert "not shown to differ from chance" in never and "severity" not in never
    assert "can be compared" in say(places((np.nan, np.nan)))
    assert "No lesion masks" in say(places((0.4, 0.5))[:0])


def test_preserved_and_flipped_energy_and_pointing_are_told_apart():
    rows = places((0.4, 0.5), fog=(0.3, 0.4), snow=(-0.2, -0.1))
    flipped = rows[1:].assign(stage="flipped", images=[7, 4], degenerate=0, above_low=-0.09, above_high=-0.01)
    pointing = rows[:1].assign(test="pointing", above_low=-0.2, above_high=-0.1)
    clean, preserved, moved = say(pd.concat([rows, flipped, pointing])).split("\n")
    assert clean.endswith(
        "highest point inside it in 50% (40% to 60%; 12 images; chance 10%, image by image "
        "above it by +40.0 (-20.0 to -10.0) points), less than chance."
    )
    assert "more than chance under fog" in preserved and "less than chance under snow (9 of 12" in preserved
    assert "flipped" in moved and "less than chance under fog (7 images)" in moved
    assert "fewer than 5 maps, not judged under snow (4 images)" in moved


@pytest.mark.parametrize(
    ("images", "text"), [(9, "not shown to differ from chance"), (90, "less than chance")]
)
def test_missing_a_small_lesion_every_time_may_be_chance(images, text):
    rows = places((0.4, 0.5), fog=(0, 0)).assign(test="pointing", images=images, chance=0.05, degenerate=0)
    rows.loc[1, ["above_low", "above_high"]] = -0.06, -0.04
    assert f"{text} under fog ({images} images)" in say(rows)


def test_still_looks_is_judged_by_the_paired_difference():
    """All of the interval lies above the mean of chance, but not image by image; and the other way round."""
    rows = places((0.4, 0.5), fog=(0.3, 0.4), snow=(0.05, 0.15))
    rows["above_low"] = [0.3, -0.01, 0.01]
    rows["above_high"] = 0.5
    assert "not shown to differ from chance under fog (9 of 12 images); more than chance under snow" in say(
        rows
    )


def test_faithful_is_better_than_a_random_map_image_by_image():
    rows = [
        ("a", "insertion", 0.2, 0.1, 0.3), ("b", "insertion", 0.1, -0.1, 0.3),
        ("a", "deletion", 0.2, 0.1, 0.3), ("b", "deletion", -0.2, -0.3, -0.1),
        ("a", "road", np.nan, np.nan, np.nan), ("b", "floor", 1, 1, 1),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["method", "test", "above", "above_low", "above_high"])
    lines = words.faithfulness(frame.assign(layer="layer4.1", images=7)).split("\n")
    begin = "against a random map of the same resolution"
    assert lines == [
        f"Insertion {begin}: better: a +0.200 (+0.100 to +0.300, 7 images); "
        "not shown to differ: b +0.100 (-0.100 to +0.300, 7 images).",
        f"Deletion {begin}: worse: a -0.200 (-0.300 to -0.100, 7 images); "
        "better: b +0.200 (+0.100 to +0.300, 7 images).",
        f"ROAD {begin}: no map to judge: a.",
    ]


def test_the_table_of_faithfulness_has_the_sign_in_which_more_is_better():
    rows = pd.DataFrame(dict(method="a", layer="x", test=["road", "deletion", "floor"], images=7, value=0.3))
    rows = rows.assign(low=0.2, high=0.4, chance=0.1, above=0.2, above_low=-0.1, above_high=0.3)
    table = analysis.faithfulness_table(rows).set_index("test")[["above", "above_low", "above_high"]]
    np.testing.assert_allclose(table, [[0.2, -0.1, 0.3], [-0.2, -0.3, 0.1]])


def moves(**drifts):
    """{method: drift of each image} -> the rows of drift, under fog at severity 5."""
    parts = [pd.DataFrame(dict(image=range(len(x)), method=m, rmse=x)) for m, x in drifts.items()]
    frame = pd.concat(parts, ignore_index=True)
    frame = frame.assign(corruption="fog_bank", severity=5, layer="x", label=0, preserved=frame["image"] > 2)
    return frame.assign(degenerate=frame["rmse"].isna())


def test_near_twins_are_named_apart_from_exact_ones():
    x = np.linspace(0, 1, 8)
    drift = moves(a=x, b=x, c=x**2, d=1 - x)
    pairs = [("a", "b", 1.0), ("a", "c", 0.995), ("b", "c", 0.995), ("c", "d", 0.99), ("a", "d", 0.2)]
    alike = pd.DataFrame(pairs, columns=["method", "other", "value"]).assign(layer="x", images=6)
    exact, near = words.twins(drift, alike).split("\n")
    assert exact == "x: a = b are one map, one piece of evidence."
    assert near.endswith("above 0.99, 6 images), hardly two pieces of evidence: x: a ~ c (0.995).")
    assert words.twins(drift, alike[3:]).endswith("two pieces of evidence: none.")


def test_the_drift_in_words():
    text = words.drift(moves(a=[np.nan, 1, 1, 1, np.nan], b=[1.0] * 5))
    assert text == (
        "10 comparisons of 5 images; prediction kept in 40.0%; 20.0% degenerate,\nmost of a at x under fog "
        "bank at severity 5, 40%; of the degenerate 50% are flipped predictions. They are left out below."
    )
    assert words.drift(moves(a=[1.0, 2])) == (
        "2 comparisons of 2 images; prediction kept in 0.0%; 0.0% degenerate."
    )


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="trust lacks chance"):
        say(places((0.4, 0.5)).drop(columns="chance"))
