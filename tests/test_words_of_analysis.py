"""The sentences of notebook 05, from tables made by hand: tests, warnings, answers, and runs side by side."""

import numpy as np
import pandas as pd
import pytest

from medrob import words

HEAD = dict(method="gradcam", layer="deep")
AT = HEAD | dict(severity=5)
NOTHING = (np.nan,) * 4
CLEAR, WRONG = (0.7, 0.4, 0.9, 0.01), (-0.7, -0.9, -0.4, 0.01)
NULL, UNSURE = (0.0, -0.08, 0.09, 0.8), (0.2, -0.1, 0.5, 0.2)
WARNS, NO_WARNING = (0.8, 0.7, 0.9, 0.001), (0.5, 0.46, 0.54, 0.9)


def corrected(across=np.nan, **kinds):
    """{kind: (value, low, high, p)} -> the corrected tests of one map over all corruptions."""
    names = {"within": "within severity", "image": "per image", "beyond": "per image, partial"}
    names["warning"] = "flipped, severity 5"
    declared = ("within", "image", "warning")
    rows = [
        dict(kind=names.get(kind, kind), value=value, low=low, high=high, p=p, p_adjusted=p,
             correction="Holm" if kind in declared else "Benjamini-Hochberg",
             family="declared" if kind in declared else "exploration")
        for kind, (value, low, high, p) in kinds.items()
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(corruption="all", across_classes=across, **HEAD)


@pytest.mark.parametrize(
    ("plain", "partial", "expected"),
    [
        (CLEAR, CLEAR, "the corruption that moves the map more costs more AUC; this goes beyond what"),
        (CLEAR, UNSURE, "moves the map more costs more AUC; this is not shown to go beyond"),
        (WRONG, NOTHING, "moves the map more costs less AUC; this is not shown to go beyond"),
        (UNSURE, CLEAR, "drift and loss of AUC are not shown to be linked."),
        (NULL, CLEAR, "drift and loss of AUC are not linked to any extent that matters."),
        (NOTHING, NOTHING, "there is nothing to correlate"),
    ],
)
def test_links_between_conditions_and_image_by_image(plain, partial, expected):
    said = words.association(corrected(pooled=CLEAR, within=plain, partial=partial))
    image = words.per_image(corrected(image=plain, beyond=partial, across=0.37))
    assert expected in said and "nan" not in said + image
    same = expected.replace("corruption that moves the map more costs", "image whose map moves more loses")
    assert same.replace("moves the map more costs", "moves more loses").replace("AUC", "margin") in image
    if np.isfinite(plain[0]):
        assert "Within a severity it is " in said and "Holm p = " in said and "it is +0.37." in image
        assert "Across classes" not in words.per_image(corrected(image=plain, beyond=partial))
        assert ("explains not defined." in said) == np.isnan(partial[0])


def test_what_severity_makes_of_the_pooled_correlation():
    for pooled, within, expected in (
        ((0.9, 0.8, 0.95, 0.1), UNSURE, "+0.90 (+0.80 to +0.95), but that is the work of severity"),
        ((0.95, 0.92, 0.99, 0.1), CLEAR, "; severity, which moves both, makes a part of it."),
        ((0.5, 0.3, 0.95, 0.1), CLEAR, "is +0.50 (+0.30 to +0.95).\n"),
    ):
        said = words.association(corrected(pooled=pooled, within=within, partial=NOTHING))
        assert expected in said and "resample images, not corruptions; p exchanges corruptions" in said


def failures(*auroc, **columns):
    """The row of drift of the declared map, flipped at severity 5, and one of a baseline."""
    row = dict(severity=5, event="flipped", signal="drift", events=30, cases=100, lost=0, lost_events=0,
               compared=80, compared_events=25, within="shot_noise, snow",
               across_classes=0.8, **HEAD)  # fmt: skip
    row |= dict(zip(("auroc", "low", "high", "p"), auroc, strict=True)) | columns
    return pd.DataFrame([row, row | dict(signal="entropy", method="", layer="", auroc=0.6)])


@pytest.mark.parametrize(
    ("auroc", "expected"),
    [
        ((0.7, 0.6, 0.8, 0.01), "warns of a flip: AUROC within a class 0.70 (0.60 to 0.80, Holm p = .010)"),
        ((0.7, 0.4, 0.8, 0.01), "is not shown to warn of a flip"),
        (NO_WARNING, "does not warn of a flip"),
        ((0.3, 0.2, 0.4, 0.01), "is smaller where the prediction flips"),
        (NOTHING, "nothing to detect"),
    ],
)
def test_drift_as_a_warning(auroc, expected):
    said = words.failure(failures(*auroc), corrected(warning=auroc))
    assert expected in said and "At severity 5, 30 of 100 predictions flipped." in said and "nan" not in said
    if np.isfinite(auroc[0]):
        assert "across classes 0.80." in said
        assert "rests on 80 corrupted images, 25 of them flipped: those under shot noise, snow" in said
    rows = failures(*auroc, lost=3, lost_events=1, compared=100, across_classes=np.nan)
    said = words.failure(rows, corrected(warning=auroc))
    assert "31 of 103 predictions flipped.\n3 corrupted images, 1 of them flipped, have a degenerate" in said
    assert "rests on" not in said and "across" not in said


def test_drift_beside_what_needs_no_map():
    doubt = [(name, 0.6, 0.7, 0.2, 0.1, 0.3) for name in ("low confidence", "entropy", "small margin")]
    rmse, other = ("image rmse", 0.3, 0.4, 0.5, -0.1, 0.6), ("other", 0.9, 1.0, -0.1, -0.2, -0.05)
    rows = [("drift", 0.8, 0.9, np.nan, np.nan, np.nan), *doubt, rmse, other]
    columns = ["signal", "auroc", "high", "ahead", "ahead_low", "ahead_high"]
    signals = pd.DataFrame(rows, columns=columns).assign(event="flipped")
    said = words.beside(signals)
    assert "Prediction flipped: drift has an AUROC of 0.80, " in said
    assert "better than low confidence, entropy, small margin (0.60) by +0.20 (+0.10 to +0.30);" in said
    assert "not distinguishable from image rmse (0.30, below chance, 0.70 the other way round) by" in said
    assert "worse than other (0.90) by -0.10 (-0.20 to -0.05)." in said
    none = words.beside(signals[:2].assign(auroc=np.nan, ahead=np.nan))
    assert "Prediction flipped: there is nothing to compare" in none and "nan" not in none


def test_the_best_map_is_optimistic_or_the_declared_one():
    for p, warn, above in ((0.001, "1 warn, 1 are", "it stays"), (0.4, "2 are", "is not shown to be")):
        top = failures(0.9, 0.7, 0.95, p, layer="shallow", lost_events=2)
        said = words.best(pd.concat([failures(0.6, 0.4, 0.8, 0.3), top[:1]], ignore_index=True), **AT)
        assert f"Of 2 maps (a method at a layer, Holm over all of them), {warn} not shown to warn." in said
        assert "chosen after looking, is gradcam at shallow: AUROC 0.90 (0.70 to 0.95, Holm p = " in said
        assert "from 80 corrupted images with 25 flipped, without 2 that have no map." in said
        assert "one is gradcam at deep: AUROC 0.60 (0.40 to 0.80, uncorrected p = .300)" in said
        assert f"{above} above chance after correction" in said
    said = words.best(failures(0.7, 0.6, 0.8, 0.01), **AT)
    assert said.startswith("Of 1 map (") and "declared one, gradcam at deep, warns best: AUROC 0.70" in said
    assert "no map can be chosen" in words.best(failures(*NOTHING), **AT)


def test_what_drift_adds():
    for gain, expected in {
        (0.1, 0.05, 0.2): "drift adds to confidence",
        (-0.1, -0.2, -0.05): "only adds noise to",
        (0.0, -0.005, 0.005): "adds nothing that matters to",
        (0.1, -0.1, 0.2): "is not shown to add to",
        (np.nan,) * 3: "cannot be judged beside",
    }.items():
        row = dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True), event="wrong", auroc=0.875)
        said = words.added(pd.DataFrame([row | HEAD]), **HEAD)
        assert said.startswith("- Prediction wrong: drift ") and expected in said and "nan" not in said
        assert (f"AUROC 0.875 with it, {gain[0]:+.3f} (" in said) or "too few images" in said


def set_aside(spared=(0.1, 0.05, 0.2), saved=(0.1, 0.05, 0.2), wrong=0.49, rmse=0.366):
    """The areas of drift, low confidence, the RMSE of the image and the best order."""
    areas = {"drift": 0.277, "low confidence": 0.41, "image rmse": rmse, "best possible": 0.145}
    rows = pd.Series(areas, name="area").rename_axis("signal").reset_index()
    for stem, ends in (("spared", spared), ("saved", saved)):
        rows[[stem, f"{stem}_low", f"{stem}_high"]] = ends
    return rows.assign(low=0.2, high=0.3, wrong=wrong, **AT)


def test_setting_images_aside():
    for options, expected in (
        ({}, "by their drift (gradcam at deep) leaves a mean risk of 0.277 (0.200 to 0.300), better than"),
        ({}, "low confidence (0.410); of the signals that need no map, image rmse does best (0.366)."),
        ({}, "49% of the predictions are wrong."),
        (dict(spared=(0, -1, 1)), "not shown to be better than chance"),
        (dict(spared=(-1, -2, -0.5)), "worse than chance"),
        (dict(saved=(0, -1, 1)), "That is not distinguishable from low confidence"),
        (dict(rmse=0.5), "low confidence (0.410).\nThe best possible order leaves 0.145."),
        (dict(wrong=0), "changes nothing: no prediction is wrong"),
        (dict(wrong=1.0), "changes nothing: every prediction is wrong"),
    ):
        assert expected in words.risk(set_aside(**options))
    assert "no map is usable" in words.risk(set_aside()[:0])


def all_tests(within, image, warning, partial=CLEAR, beyond=CLEAR, pooled=CLEAR):
    """The tests of one map; those of images and of conditions as correlations."""
    more = dict(partial=partial, beyond=beyond, pooled=pooled)
    return corrected(within=within, image=image, warning=warning, **more)


@pytest.mark.parametrize(
    ("tests", "last"),
    [
        (all_tests(CLEAR, CLEAR, WARNS), "goes with loss of performance here in all 3 ways asked."),
        (all_tests(CLEAR, CLEAR, WARNS, UNSURE, UNSURE),
         "in 2 of the 2 where that is asked, it is not shown to tell more than the RMSE of the image."),
        (all_tests(CLEAR, CLEAR, NOTHING), "in 2 of the 3 ways asked (not defined in 1)."),
        (all_tests(NULL, WRONG, NO_WARNING), "does not go with loss of performance here."),
        (all_tests(UNSURE, NULL, NO_WARNING), "is not shown to go with loss of performance here: no in 2, "
         "not shown in 1."),
        (all_tests(NOTHING, NOTHING, NOTHING), "goes with loss of performance here cannot be said."),
    ],
)  # fmt: skip
def test_the_last_sentence_of_the_answer(tests, last):
    said = words.answer(tests)
    assert said.endswith(last) and "nan" not in said and "saliency drift (gradcam at deep) " in said.lower()


def test_each_question_has_its_answer_with_the_number():
    lines = words.answer(all_tests(CLEAR, NULL, WARNS)).split("\n")
    assert lines[0].endswith(
        "AUC? Yes: +0.70 (+0.40 to +0.90, Holm p = .010). Beyond the RMSE of the image: yes, +0.70 (+0.40 to "
        "+0.90, Benjamini-Hochberg p = .010)."
    )
    assert lines[1].endswith("margin? No, or too little to matter: +0.00 (-0.08 to +0.09, Holm p = .800).")
    assert lines[2].endswith("flips? Yes: 0.80 (0.70 to 0.90, Holm p = .001).")
    lines = words.answer(all_tests(UNSURE, NOTHING, WARNS, pooled=(0.9, 0.8, 0.95, 0.1))).split("\n")
    assert "Over all severities the rank correlation is +0.90 (+0.80 to +0.95), but that is the" in lines[0]
    assert lines[1].endswith("Not defined: there is too little to go by.")


def test_degenerate_maps_counted_either_way():
    for flat, verdict, expected in (
        ([False, False], "yes", "0 of 2 maps of gradcam at deep are degenerate: none is left out."),
        ([True, True], "yes", "are degenerate: nothing can be said."),
        ([True, False], "yes", "1 of 2 maps of gradcam at deep are degenerate and left out. Counted as"),
        ([True, False], "no", "- Counted as the largest drift, 'Does it?' is answered 'no', not 'yes'."),
    ):
        drift = pd.DataFrame(dict(degenerate=flat)).assign(**HEAD)
        extreme = dict(kind="per image", verdict=verdict, counted_as="the largest drift", question="Does it?")
        said = words.sensitivity(pd.DataFrame([extreme]), all_tests(CLEAR, CLEAR, WARNS), drift)
        assert expected in said


def test_answers_from_run_to_run():
    given = [("my_run", 0, "yes"), ("my_run", 1, "no"), ("b", 0, "yes"), ("b", 1, "yes")]
    both = pd.DataFrame(given, columns=["run", "question", "verdict"]).assign(conditions="fog 1-5")
    assert words.answers(both).split("\n") == [
        r"- 0 yes in 2 (my\_run, b).", r"- 1 yes in 1 (b); no in 1 (my\_run).", "",
        "Over these 2 runs, 1 of 2 questions have the answer yes in every run.",
    ]  # fmt: skip
    said = words.answers(both.assign(conditions=["fog 1"] * 2 + ["snow 2"] * 2))
    assert r"different conditions, and were asked about these (my\_run: fog 1; b: snow 2)." in said


def compared(difference=(0.1, 0.05, 0.2), **columns):
    """Two runs over all severities."""
    rows = [
        dict(measure=measure, run=run, severity="all", pairing="same images", seeds=1, left_out="", **HEAD)
        for run in ("one", "two") for measure in ("auc", "drop", "drift")
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    frame[["difference", "difference_low", "difference_high"]] = difference
    frame.loc[frame["run"] == "two", list(columns)] = list(columns.values())
    return frame


def test_runs_beside_the_first():
    for table, expected in (
        (compared(), "the AUC under corruption is higher, +0.100 (+0.050 to +0.200); the AUC drop"),
        (compared((-0.1, -0.2, -0.05)), "drift is lower, -0.100 (-0.200 to -0.050)."),
        (compared((0.0, -0.1, 0.1)), "drift is not shown to differ, +0.000 ("),
        (compared((np.nan,) * 3), "the AUC drop cannot be compared (a class is missing); drift cannot be"),
        (compared(layer="shallow"), ", but not like with like: gradcam at shallow beside gradcam at deep."),
        (compared(pairing="independent"), "They are on other images, so the intervals are those of"),
        (compared(left_out="snow 2"), "Of two, snow 2 is left out, as not every run has it."),
    ):
        said = words.runs(table)
        assert expected in said and "- two against one: " in said and "nan" not in said
    alone = compared()[:3]
    assert words.runs(alone) == "There is one run: there is nothing to compare it with."
    assert "one network, trained with 2 seeds" in words.runs(alone.assign(seeds=2))


RANKED = pd.DataFrame(dict(run="x", method=[*"abc"], rank=[1, 2, 3], layer="deep", same_as="", fails=False))
RANKED = RANKED.assign(rank_low=RANKED["rank"], rank_high=RANKED["rank"])


@pytest.mark.parametrize(
    ("runs", "w", "p", "methods", "expected"),
    [
        (1, np.nan, np.nan, 3, "There is one run, so"),
        (2, np.nan, np.nan, 2, "too few methods"),
        (2, 0.75, 0.2, 3, "with 2 runs of 3 methods: p is at least 0.17 (Kendall's W = 0.75)."),
        (3, 0.9, 0.01, 4, "The 3 runs agree on the order: Kendall's W = 0.90, uncorrected p = .010."),
        (3, 0.3, 0.4, 4, "The 3 runs are not shown to agree on the order"),
    ],
)
def test_the_order_of_the_methods_and_whether_runs_agree_on_it(runs, w, p, methods, expected):
    agreed = pd.Series(dict(runs=runs, w=w, p=p, methods=methods))
    assert expected in words.ranks(RANKED, agreed)
    said = words.ranks(RANKED.assign(fails=[False, True, False]), agreed)
    assert said.startswith("From the steadiest map to the least steady: a, b, c.\nSteady or not, b failed")
    close = RANKED.assign(rank_high=[2, 2, 3])
    assert "steady: a ≈ b, c (≈: the data do not tell their ranks apart)." in words.ranks(close, agreed)
    assert "No method can be ranked" in words.ranks(RANKED.assign(rank=np.nan), agreed)
