"""The sentences of notebook 05, from tables made by hand: tests, warnings, answers, and runs side by side."""

import numpy as np
import pandas as pd
import pytest

from medrob import words

HEAD = dict(method="gradcam", layer="deep")
AT = HEAD | dict(severity=5)
NOTHING = (np.nan,) * 4
CLEAR, WRONG, UNSURE = (0.7, 0.4, 0.9, 0.01), (-0.7, -0.9, -0.4, 0.01), (0.2, -0.1, 0.5, 0.2)
KINDS = dict(within="within severity", image="per image", beyond="per image, partial", added="wrong, partial")


def corrected(**kinds):
    """{kind: (value, low, high, p)} -> the corrected tests of one map over all corruptions."""
    declared = ("partial", "beyond", "added")
    rows = [
        dict(kind=KINDS.get(kind, kind), value=value, low=low, high=high, p=p, p_adjusted=p,
             correction="Holm" if kind in declared else "Benjamini-Hochberg",
             family="declared" if kind in declared else "exploration")
        for kind, (value, low, high, p) in kinds.items()
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(controls="", **HEAD)


def all_tests(partial=CLEAR, beyond=CLEAR, added=CLEAR, within=CLEAR, image=CLEAR):
    """The tests of one map; those between conditions have no interval."""
    no_ends = {"partial": partial, "within": within, "pooled": (0.7, *NOTHING[:3])}
    kinds = {kind: (value, np.nan, np.nan, p) for kind, (value, _, _, p) in no_ends.items()}
    return corrected(**kinds, beyond=beyond, image=image, added=added)


@pytest.mark.parametrize(
    ("partial", "expected"),
    [
        (CLEAR, "the corruption that moves the map more costs more AUC, and the scores do not explain this."),
        (WRONG, "the corruption that moves the map more costs less AUC, and the scores do not explain this."),
        (UNSURE, "it is not shown that drift and the loss of AUC are linked beyond what the scores tell."),
        (NOTHING, "So it cannot be said whether drift and the loss of AUC are linked beyond what the scores"),
    ],
)
def test_links_between_conditions_and_image_by_image(partial, expected):
    tests = all_tests(partial, partial)
    said, image = words.association(tests), words.per_image(tests)
    assert expected in said and "nan" not in said + image
    same = expected.replace("corruption that moves the map more costs", "one whose map moves more loses")
    same = same.replace(", and the scores do not explain this", " than its logit tells").replace(
        "AUC", "margin"
    )
    assert same.replace("the scores tell", "the logit tells").replace("the scores", "the logit") in image
    assert "rank correlation of drift and AUC drop is +0.70. This says little" in said
    assert "Within a severity, the correlation is +0.70 (Benjamini-Hochberg p = .010). If" in said
    assert ("held fixed, it is not defined." in said) == np.isnan(partial[0])
    nothing = all_tests(within=NOTHING, image=NOTHING)
    for sentence in (words.association(nothing), words.per_image(nothing)):
        assert "no correlation can be computed" in sentence and "\n" not in sentence


def failures(auroc=0.7, **columns):
    """Drift and the clean class for flips at severity 5, and drift at severity 4."""
    row = dict(severity=5, event="flipped", signal="drift", events=30, cases=100, vanished=3,
               vanished_events=2, unseen=1, compared=80, compared_events=25, auroc=auroc, low=auroc - 0.1,
               high=auroc + 0.1)  # fmt: skip
    row |= columns
    rows = [row, row | dict(signal="clean class", auroc=0.998), row | dict(severity=4, cases=7)]
    return pd.DataFrame([*rows, row | dict(event="wrong")])


def test_drift_beside_the_class_whose_fall_is_the_flip():
    said = words.failure(failures())
    assert "At severity 5, 30 of 100 predictions have flipped." in said
    assert "Vanished maps: 3, of which 2 belong to flipped predictions. They count as the largest" in said
    assert "This leaves 80 pictures, of which 25 have flipped." in said
    assert "The AUROC of drift for a flip is 0.70 (0.60 to 0.80). The AUROC of the probability" in said
    assert "class is 0.998: a prediction flips as another" in said
    assert "In 1 picture more there was no clean map" in said
    assert "labels that appear flip by a rise" in words.failure(failures()[:-1])
    said = words.failure(failures(vanished=0, unseen=0, compared=100))
    assert "Vanished" not in said and "more there" not in said and "This leaves" not in said
    assert "No AUROC can be computed" in (none := words.failure(failures(np.nan))) and "nan" not in none


def test_drift_beside_the_signals_of_each_league():
    names = ("low confidence", "entropy", "small margin")
    doubt = [(name, "without the clean picture", 0.6, 0.2, 0.1, 0.3) for name in names]
    league = "with the clean picture"
    rmse, other = ("image rmse", league, 0.3, 0.5, -0.1, 0.6), ("other", league, 0.9, -0.1, -0.2, -0.05)
    columns = ["signal", "league", "auroc", "ahead", "ahead_low", "ahead_high"]
    rows = [("drift", league, 0.8, np.nan, np.nan, np.nan), *doubt, rmse, other]
    signals = pd.DataFrame(rows, columns=columns).assign(event="flipped", severity=5)
    signals = signals.assign(low=signals["auroc"] - 0.05, high=signals["auroc"] + 0.05)
    _, _, without, other = words.beside(signals).split("\n")
    assert without.startswith(
        "- Prediction flipped, without the clean picture: the best signal is *low confidence*, with 0.60 "
        "(0.55 to 0.65). Drift is not judged"
    )
    assert ", with the clean picture: the best signal is *other*, with 0.90 (0.85 to 0.95). Drift" in other
    assert other.endswith(" is not distinguishable from image RMSE; worse than other.")
    few = words.beside(signals.assign(ahead_low=np.nan, ahead_high=np.nan))
    assert few.endswith("is not to be judged (too few cases) against image RMSE, other.")
    none = words.beside(signals.assign(auroc=np.nan, ahead=np.nan))
    assert "Prediction flipped: there is nothing to compare" in none and "nan" not in none


def gains(gain):
    """What all other signals leave of drift and errors."""
    row = dict(zip(("value", "low", "high", "p"), gain, strict=True), event="wrong", **HEAD)
    row |= dict(auroc=0.875, auroc_low=0.8, auroc_high=0.9, explained=0.4, errors=7)
    return pd.DataFrame([row])


BOTH = "Yes: shown for which corruption costs more AUC and which predictions are wrong."
IN_PART = "In part: shown for which corruption costs more AUC; undecided for which predictions are wrong."
OWN = "(Drift that follows the risk of an error very closely, as they tell it, may look like this, too.)"
NOT_SHOWN = "is not shown to tell anything of wrong predictions that these signals do not."


@pytest.mark.parametrize(
    ("gain", "tells", "adds"),
    [
        (CLEAR, BOTH, OWN),
        ((0.1, -0.1, 0.2, 0.01), IN_PART, NOT_SHOWN),
        ((0.1, 0.05, 0.2, 0.30), IN_PART, NOT_SHOWN),
        (
            WRONG,
            IN_PART.replace("undecided", "the other way round"),
            "the one whose map moves less is wrong more often.",
        ),
    ],
)
def test_what_the_map_tells_beyond_the_scores(gain, tells, adds):
    tests, table = all_tests(added=gain), gains(gain)
    first, second, third = words.added(table, tests, **HEAD).split("\n")
    assert first.startswith("Without the place of the map (Grad-CAM at deep), all other signals find wrong")
    assert "an AUROC of 0.88 (0.80 to 0.90)" in first and "40\u00a0% of the variance of the drift" in first
    assert f"a correlation of {gain[0]:+.3f}" in second and "Holm" in second and third.endswith(adds)
    vetoed = words.added(table, tests.assign(controls="untrained head in 3 of 3 draws"), **HEAD)
    assert vetoed.endswith("nothing follows: untrained head in 3 of 3 draws.")
    said = words.answer(tests, auc_table(), moved(), table)
    third = said.split("\n")[2]
    assert f"{tells} How far the map moves goes with" in third and "nan" not in said
    assert ("follows the risk of an error very closely" in third) == (gain == CLEAR)
    assert ("Undecided: +0.10 (+0.05 to +0.20, Holm p = .300). The scores, which" in said) == (gain[3] == 0.3)
    assert "find wrong predictions with an AUROC of 0.88 (0.80 to 0.90), where" in said.split("\n")[-1]
    assert ("a small p alone is no yes" in said) == (gain[1] < 0 < gain[2])
    tests, table = all_tests(added=NOTHING), gains(NOTHING)  # of too few errors
    assert "cannot be judged: 7 predictions are wrong, on too few" in words.added(table, tests, **HEAD)
    assert "an image has several labels" in words.added(table.assign(errors=np.nan), tests, **HEAD)
    said = words.answer(tests, auc_table(), moved(), table)
    assert "; not to be judged for which predictions are wrong." in said.split("\n")[2] and "nan" not in said


def auc_table():
    """Scores of clean pictures, and of two conditions."""
    rows = [("clean", 0, 0.9, 0.0), ("fog", 5, 0.8, 0.1), ("shot_noise", 5, 0.6, 0.3)]
    scores = pd.DataFrame(rows, columns=["corruption", "severity", "value", "drop"])
    ends = dict(low=scores["value"] - 0.02, high=scores["value"] + 0.02)
    ends |= dict(drop_low=scores["drop"] - 0.05, drop_high=scores["drop"] + 0.05)
    return scores.assign(**ends, metric="auc", **{"class": "all"})


def moved(**columns):
    """Drift of four images, one of which has no map left."""
    drift = pd.DataFrame(dict(image=range(4), corruption="fog", severity=5, rmse=[0.1, 0.2, 0.3, np.nan]))
    return drift.assign(
        normalised=2 * drift["rmse"], degenerate=drift["rmse"].isna(), another=1, **HEAD, **columns
    )


def test_the_answer_comes_in_three_sentences_and_then_test_by_test():
    tests = all_tests(beyond=NOTHING, within=WRONG)
    lines = words.answer(tests, auc_table(), moved(), gains(CLEAR)).split("\n")
    assert lines[0] == (
        "- Does it still work? On clean pictures, the AUC is 0.90 (0.88 to 0.92), where 0.5 is guessing and "
        "1 is perfect. Of 2 conditions (a corruption at a severity), shot noise at severity 5 costs most: "
        "0.30 (0.25 to 0.35)."
    )
    assert "looks is 80\u00a0% as far from" in lines[1]  # of .2, .4, .6 and 2: the largest RMSE there is
    assert lines[1].endswith("comparisons no map is left; these count as the largest drift there is.")
    assert "the tests that were declared in advance, for Grad-CAM at deep." in lines[4]
    assert lines[6].endswith("Yes: +0.70 (Holm p = .010). If nothing is held fixed, the value is -0.70.")
    assert "there is too little to go by, or what is held fixed explains all. (The margin" in lines[7]
    assert len(lines) == 9
    rising = words.answer(all_tests(), auc_table().assign(drop=-0.1), moved(), gains(CLEAR))
    assert "1 is perfect. It does not fall under any corruption at any severity.\n" in rising
    assert "said: there is no AUC" in words.answer(all_tests(), auc_table()[:1], moved(), gains(CLEAR))
    far = moved().assign(degenerate=False, normalised=1.2)
    nothing = words.answer(all_tests(*[UNSURE] * 3), auc_table(), far, gains(UNSURE))
    assert "not? This is not shown: undecided for which corruption" in nothing
    assert "120\u00a0% as far" in nothing and "no map is left" not in nothing
    never = moved().assign(rmse=np.nan, normalised=np.nan, degenerate=True)
    assert "no map is left to compare." in words.answer(all_tests(), auc_table(), never, gains(CLEAR))


def test_answers_from_run_to_run():
    given = [("my_run", 0, "yes"), ("my_run", 1, "undecided"), ("b", 0, "yes"), ("b", 1, "yes")]
    both = pd.DataFrame(given, columns=["run", "question", "verdict"])
    assert words.answers(both).split("\n") == [
        r"- 0 The answer is yes in 2 (my\_run, b).",
        r"- 1 The answer is undecided in 1 (my\_run); yes in 1 (b).", "",
        "1 of 2 questions have the answer yes in every one of the 2 runs.",
    ]  # fmt: skip


def compared(difference=(0.1, 0.05, 0.2), **columns):
    """Two runs over all severities."""
    rows = [
        dict(measure=measure, run=run, severity="all", alike=True, seeds=1, **HEAD)
        for run in ("one", "two") for measure in ("auc", "drop", "drift")
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    frame[["difference", "difference_low", "difference_high"]] = difference
    frame.loc[frame["run"] == "two", list(columns)] = list(columns.values())
    return frame


def test_runs_beside_the_first():
    for table, expected in (
        (compared(), "the AUC under corruption is higher: +0.100 (+0.050 to +0.200); the AUC drop"),
        (compared((-0.1, -0.2, -0.05)), "drift is lower: -0.100 (-0.200 to -0.050)."),
        (compared((0.0, -0.1, 0.1)), "drift is not shown to differ: +0.000 ("),
        (compared((0.0, np.nan, np.nan)), "drift is not judged (fewer than 5 images or groups): +0.000."),
        (compared((np.nan,) * 3), "the drop cannot be compared (a class is missing, the methods differ, or"),
        (compared(layer="shallow"), "; the drift is higher: +0.100 (+0.050 to +0.200), but the maps are not"),
    ):
        said = words.runs(table)
        assert expected in said and "- two compared with one: " in said and "nan" not in said
    other = words.runs(compared(alike=False))
    assert other.startswith("- two was tested on other images or under other corruptions than one, so")
    alone = compared()[:3]
    assert words.runs(alone).startswith("There is only one run")
    assert "one network, trained with 2 seeds" in words.runs(alone.assign(seeds=2))


def test_what_controls_say_yes_to():
    table = pd.DataFrame(dict(control="untrained head", draw=[0, 0, 1, 1], name=["per image", "a"] * 2))
    said = words.controls(table.assign(verdict=["yes", "undecided", "yes", "yes"]))
    assert said == "- Untrained head, 2 draws: it finds a link for 'image by image' in 2, 'a' in 1."


def test_an_alarm_is_judged_and_its_cost_is_said():
    signals = ("unsteady map", "low confidence", "energy score")
    pictures = ("clean", "corrupted", "same corruption", "all")
    rows = [(p, s, m) for p in pictures for s in signals for m in ("auroc", "augrc")]
    table = pd.DataFrame(rows, columns=["pictures", "signal", "metric"]).assign(value=0.6, errors=1, cases=9)
    table = table.assign(ahead=0.1, ahead_low=0.05, ahead_high=0.2, low=0.5, high=0.7, passes=5)
    best = (table["signal"] == "energy score") & (table["pictures"] != "clean")
    table.loc[best, "value"] = np.where(table.loc[best, "metric"] == "auroc", 0.68, 0.1)
    judged, _, _, same, clean, corrupted, _, choice, kept, errors, cost = words.alarms(table).split("\n")
    assert same == (
        "- Among pictures of the same corruption: *energy score*, 0.68 (0.50 to 0.70); low confidence 0.60 "
        "(0.50 to 0.70), unsteady map 0.60 (0.50 to 0.70)."
    )
    assert "clean pictures: *unsteady map*, 0.60" in clean and "apart: *energy score*, 0.68" in corrupted
    assert "The best of 3" in choice and "map is better than low confidence at finding errors" in judged
    assert kept.startswith("Over all pictures, *energy score* has the lowest AUGRC: 0.100 (")
    assert errors == "The network makes 1 error in these 9 pictures, clean and at the highest severity."
    assert "5 maps are made" in cost and "changes cost 5 forward passes" in cost
    both = table[table["signal"] == "energy score"].assign(signal="all scores", ahead=0.01, ahead_low=-0.02)
    said = words.alarms(pd.concat([table, both])).split("\n")
    assert said[8] == (
        "All 2 scores together, in one model, have an AUROC of 0.68 (0.50 to 0.70) among pictures of the "
        "same corruption. With the unsteady map beside them it changes by +0.010 (-0.020 to +0.200): that it "
        "tells more is not shown."
    )
    assert "The best of 3" in said[7] and said[9].endswith("learnt nothing would add was not asked.")
    more, control = both.assign(ahead_low=0.005), both.assign(signal="all scores and map of random weights")
    said = words.alarms(pd.concat([table, more, control.assign(ahead_low=0.001, value=0.67)]))
    assert "+0.010 (+0.005 to +0.200): it tells more." in said
    assert "(random weights, one draw), it changes by -0.010, and the network's own map is ahead by" in said
    assert "not shown to tell less, so nothing follows" in words.alarms(pd.concat([table, more, control]))
    lone = control.assign(signal="map of an untrained head")
    for low, said in (
        (0.001, "+0.10 (+0.05 to +0.20)."),
        (-0.1, "+0.20), but the map of a network that has"),
    ):
        judged = words.alarms(pd.concat([table, lone.assign(ahead_low=low)])).split("\n")
        assert said in judged[0] and "The best of 3" in judged[7]
    said = words.alarms(pd.concat([table, both.assign(value=0.67)]))
    assert "+0.200): but one score alone finds more errors than this model, so nothing follows." in said
    right = table.assign(value=table["value"].where(table["pictures"] != "clean"))
    assert "Among clean" not in words.alarms(right) and "nan" not in words.alarms(right)
    few = words.alarms(table.assign(ahead_low=np.nan, ahead_high=np.nan, low=np.nan, high=np.nan))
    assert "map (AUROC 0.60) cannot be compared with low confidence (0.60) at finding errors" in few
    assert "no alarm to judge" in words.alarms(table.assign(value=np.nan))
    assert "several labels" in words.alarms(table[:0])
