"""Figures of the analysis, of several runs and the summary, drawn from small made-up tables."""

import drawings
import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from drawings import LAYERS, NAMES, caption, drawn, legend_texts, no_text_on_text, words_in
from scipy import stats

from medrob import analysis, figures
from medrob.analysis import QUESTIONS
from medrob.thesis import CAPTIONS

CLASSES = ["healthy", "ill"]


@pytest.fixture(autouse=True)
def _style():
    figures.use_style()
    yield
    plt.close("all")


@pytest.fixture
def scores():
    return drawings.scores()


@pytest.fixture
def mean():
    return drawings.mean()


@pytest.fixture(scope="module")
def association():
    rows = [
        ("gradcam", layer, k, 0.5, 0.1, 0.8)
        for layer in LAYERS
        for k in ("pooled", "within severity", "partial")
    ]
    return pd.DataFrame(rows, columns=["method", "layer", "kind", "value", "low", "high"])


@pytest.fixture(scope="module")
def failure():
    signals = [("drift", "gradcam", layer) for layer in LAYERS]
    signals += [(s, "", "") for s in ("low confidence", "entropy", "image rmse")]
    numbers = (0.7, 0.6, 0.8, 0.1, 0.0, 0.2, 10, 55, 2, 5)
    rows = [(s, "flipped", *signal, *numbers) for s in range(1, 6) for signal in signals]
    columns = ["severity", "event", "signal", "method", "layer", "auroc", "low", "high"]
    columns += ["gain", "gain_low", "gain_high", "events", "cases", "lost_events", "lost"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture(scope="module")
def drift():
    """Three images, one with nothing but degenerate maps under contrast."""
    keys = [
        (i, n, 5, m, layer) for i in range(3) for n in NAMES for m in ("gradcam", "dead") for layer in LAYERS
    ]
    rows = pd.DataFrame(keys, columns=["image", "corruption", "severity", "method", "layer"])
    lost = (rows["method"] == "dead") | ((rows["image"] == 0) & (rows["corruption"] == "contrast"))
    rows["rmse"] = (0.1 + 0.01 * rows["image"]).where(~lost)
    return rows.assign(label=rows["image"] % 2, preserved=True, degenerate=lost)


@pytest.fixture(scope="module")
def tests_of(association):
    kinds = {"within severity": 0.6, "per image": 0.2, "flipped, severity 5": 0.7}
    rows = [("gradcam", "layer4.0", k, v, v - 0.1, v + 0.1, 0.01, 0.03) for k, v in kinds.items()]
    columns = ["method", "layer", "kind", "value", "low", "high", "p", "p_adjusted"]
    more = association[(association["kind"] != "within severity") | (association["layer"] != "layer4.0")]
    beyond = pd.DataFrame([("gradcam", "layer4.0", analysis.PER_IMAGE_PARTIAL, 0.2, 0.1, 0.3)])
    beyond = beyond.set_axis(columns[:6], axis=1)
    declared = pd.DataFrame(rows, columns=columns).assign(family="declared", correction="Holm")
    return pd.concat([more, beyond, declared], ignore_index=True).assign(
        corruption="all", across_classes=np.nan
    )


@pytest.fixture(scope="module")
def points():
    """Drift and loss of margin of 30 images."""
    rng = np.random.default_rng(0)
    keys = [(i, i % 2, n, s, layer) for i in range(30) for n in NAMES for s in (1, 3) for layer in LAYERS[:2]]
    rows = pd.DataFrame(keys, columns=["image", "label", "corruption", "severity", "layer"])
    rmse = 0.1 * rows["severity"] * rng.random(len(rows))
    return rows.assign(method="gradcam", rmse=rmse, drop=2 * rmse + rng.normal(0, 0.01, len(rows)))


def by_class(drift, scores, method):
    where = dict(method=method, severity=5)
    return figures.drift_by_class(
        analysis.drift_by_class(drift, ["healthy", "ill"], **where), scores, **where
    )


def against(scores, mean, layers):
    pairs = analysis.drop_and_drift(scores, mean, method="gradcam")
    return figures.drop_against_drift(pairs, analysis.lines_over_corruptions(pairs), layers=layers)


def scatter(points):
    return figures.image_scatter(points, analysis.lines_over_images(points), classes=CLASSES)


def summarised(scores, mean, tests, failure, failed=()):
    pairs = analysis.drop_and_drift(scores, mean, method="gradcam")
    answers = analysis.answers(tests)
    tables = scores, pairs, analysis.lines_over_corruptions(pairs), tests, failure, answers
    return figures.summary(*tables, method="gradcam", layer="layer4.0", failed=failed)


@pytest.mark.parametrize("width", [418, 300])
def test_labels_of_the_whole_figure_fit_its_width(drift, scores, width):
    figures.use_style(width)
    figure = by_class(drift, scores, "gradcam")
    assert "\n" in figure.get_supxlabel() and "10 %" in figure.get_supxlabel()
    no_text_on_text(figure)


def test_drift_by_class_says_what_is_missing(drift, scores):
    figure = by_class(drift, scores, "dead")
    assert words_in(figure) == ["every map is degenerate (dead, severity 5; above: AUC drop)"]
    with pytest.raises(ValueError, match="the table drift lacks label"):
        by_class(drift.drop(columns="label"), scores, "gradcam")
    lost = drift.assign(rmse=drift["rmse"].where(drift["corruption"] != "contrast"))
    assert words_in(by_class(lost, scores, "gradcam")) == ["every map is degenerate"]


def test_drop_against_drift_has_a_panel_for_each_layer_and_severity(scores, mean):
    figure = against(scores, mean, LAYERS[:2])
    assert len(drawn(figure)) == 10
    no_text_on_text(figure)


def test_drop_against_drift_without_an_interval_or_a_drift(scores, mean):
    drawn(against(scores, mean.assign(low=np.nan, high=np.nan), LAYERS[:2]))
    figure = against(scores, mean.assign(value=np.nan, low=np.nan, high=np.nan), LAYERS[:2])
    assert words_in(figure) == ["no usable map, or no AUC"]
    lost = mean.assign(value=mean["value"].where(mean["layer"] != LAYERS[1]))
    assert words_in(against(scores, lost, LAYERS[:2])) == ["no usable map,\nor no AUC"] * 5
    drawn(against(scores.assign(drop_low=np.nan, drop_high=np.nan), mean, LAYERS[:1]))


def test_the_line_over_corruptions_is_that_of_least_squares(scores, mean):
    rng = np.random.default_rng(0)
    pairs = analysis.drop_and_drift(scores, mean.assign(value=rng.random(len(mean))), method="gradcam")
    here = pairs[(pairs["layer"] == "layer2.0") & (pairs["severity"] == 3)]
    oracle = stats.linregress(here["value"], here["drop"])
    lines = analysis.lines_over_corruptions(pairs).query("layer == 'layer2.0' and severity == 3")
    np.testing.assert_allclose(lines["drop"], oracle.intercept + oracle.slope * lines["drift"])
    ends = analysis.lines_over_corruptions(pairs.assign(value=pairs["value"] - here["value"].mean()))
    ends = ends.query("layer == 'layer2.0' and severity == 3")
    half = np.hypot(oracle.stderr * ends["drift"], centre_error(here)) * stats.t.ppf(0.975, 1)
    np.testing.assert_allclose(ends["high"] - ends["drop"], half, rtol=1e-6)
    assert analysis.lines_over_corruptions(here.head(2)).empty
    assert analysis.lines_over_corruptions(here.assign(value=0.1)).empty


def centre_error(rows):
    """The standard error of the height of the line at the mean."""
    fit = np.polyval(np.polyfit(rows["value"], rows["drop"], 1), rows["value"])
    return np.sqrt(((rows["drop"] - fit) ** 2).sum() / (len(rows) - 2) / len(rows))


def test_strata_of_degenerate_maps_alone_are_said_in_words():
    strata = pd.DataFrame(columns=["severity", "method", "layer", "stratum", "value", "low", "high"])
    texts = [t.get_text() for t in figures.strata_bars(strata, layer="layer4.1").axes[0].texts]
    assert texts == ["every map of layer4.1 is degenerate"]


def test_strata_without_a_flip_say_so():
    rows = [(s, "gradcam", "layer4.1", "preserved", 0.2, 0.1, 0.3) for s in (1, 2)]
    strata = pd.DataFrame(rows, columns=["severity", "method", "layer", "stratum", "value", "low", "high"])
    figure = figures.strata_bars(strata, layer="layer4.1")
    assert legend_texts(figure) == ["prediction preserved"]
    assert figure.get_supxlabel() == "severity (layer4.1; no prediction is flipped)"
    assert "has flipped (no prediction is flipped)," in caption(figure, "05_strata", layer="layer4.1")
    lost = strata.assign(stratum="flipped", value=np.nan, low=np.nan, high=np.nan)
    figure = figures.strata_bars(pd.concat([strata, lost]), layer="layer4.1")
    assert "every map of a flipped prediction is degenerate" in figure.get_supxlabel().replace("\n", " ")
    assert len(figure.legends[0].get_texts()) == 1


def test_warnings_and_summary_use_every_panel(scores, mean, tests_of, failure):
    panels = drawn(figures.warnings(failure, severity=5))
    assert [ax.get_title() for ax in panels] == [
        "(a) 12 of 60 predictions flipped",
        "(b) on the same pictures",
    ]
    options = dict(method="gradcam", layer="layer4.0", severity=5)
    figure = summarised(scores, mean, tests_of, failure)
    panels = drawn(figure)
    assert len(panels) == 6
    said = [text.get_text() for text in panels[-1].texts]
    assert said == [
        "between conditions: yes, Holm p = .030",
        "image by image: yes, Holm p = .030",
        "warning of a flip: yes, Holm p = .030",
    ]
    no_text_on_text(figure)
    renderer = figure.canvas.get_renderer()
    flip = panels[-1].transData.inverted()
    words = [flip.transform_bbox(text.get_window_extent(renderer)) for text in panels[-1].texts]
    lines = [part.get_segments()[0] for part in panels[-1].collections if part.get_linestyle() != [(0, None)]]
    dotted = [sorted(ends[:, 1]) for ends in lines if not ends[:, 0].any()]
    assert len(dotted) == 3 and all(box.x0 < 0 < box.x1 for box in words)
    assert not any(low < box.ymax and box.ymin < high for low, high in dotted for box in words)
    ranks = [line.get_window_extent(renderer).padded(2) for line in panels[3].get_lines()[:3]]
    assert len({round(box.x0) for box in ranks}) == 3
    edges = panels[3].get_window_extent(renderer)
    assert all(edges.x0 <= box.x0 and box.x1 <= edges.x1 for box in ranks)
    told = CAPTIONS["summary"].format(**options)
    assert "between all conditions, image by image in all conditions" in told


def test_a_summary_of_nothing_says_so(scores, mean, tests_of, failure):
    lost = tests_of.assign(value=np.nan, low=np.nan, high=np.nan, p=np.nan, p_adjusted=np.nan)
    gone = mean.assign(value=np.nan, low=np.nan, high=np.nan)
    none = failure.assign(auroc=np.nan, low=np.nan, high=np.nan)
    figure = summarised(scores, gone, lost, none)
    figure.canvas.draw()
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert any(text.startswith("no usable map") for text in texts)
    assert words_in(figure)[0] == "every map is degenerate" and not figure.axes[1].get_lines()
    assert [text.get_text()[:11] for text in figure.axes[3].texts] == ["not defined"]
    assert "image by image: not defined" in texts
    assert sum(text.startswith("nothing to detect") for text in texts) == 1
    assert "nothing to detect" in figures.warnings(none, severity=5).axes[0].texts[0].get_text()


def test_image_scatter_fits_the_line_of_least_squares(points):
    figure = scatter(points)
    panels = drawn(figure)
    assert len(panels) == 4
    assert legend_texts(figure) == ["gaussian noise", "motion blur", "contrast", "healthy", "ill"]
    here = points[(points["layer"] == LAYERS[1]) & (points["severity"] == 3)]
    slope, cut = np.polyfit(here["rmse"], here["drop"], 1)
    line = panels[3].get_lines()[0]
    assert line.get_ydata() == pytest.approx(cut + slope * line.get_xdata())
    no_text_on_text(figure)


def test_image_scatter_leaves_out_at_most_half_a_per_cent_at_each_edge(points):
    wide = points.assign(drop=points["drop"] * points["severity"] ** 3)  # the severest spread the most
    figure = scatter(wide)
    for ax, (_, group) in zip(drawn(figure), wide.groupby(["layer", "severity"]), strict=True):
        for column, (low, high) in {"rmse": ax.get_xlim(), "drop": ax.get_ylim()}.items():
            assert (group[column] < low).mean() <= 0.005 and (group[column] > high).mean() <= 0.005
    assert "the true label" in caption(figure, "05_images", method="Grad-CAM")


def test_image_boxes_are_hatched_by_class_and_say_the_drop(points, scores):
    figure = figures.image_boxes(points[points["layer"] == LAYERS[0]], scores, classes=CLASSES)
    panels = drawn(figure)
    assert [ax.get_ylabel() for ax in panels] == ["severity 1", "severity 3"]
    assert [text.get_text() for text in panels[0].texts] == ["+0.030", "+0.060", "+0.090"]
    hatches = {box.get_hatch() for group in panels[0].containers for box in group.boxes}
    assert hatches == {"", "////"} or hatches == {None, "////"}
    assert legend_texts(figure) == ["healthy", "ill"]
    assert "of each class (the true label" in caption(figure, "05_boxes", method="Grad-CAM", layer="layer1.0")


@pytest.mark.parametrize("labels", [-1, "many"])
def test_labels_that_cannot_be_shown_are_drawn_as_one(points, scores, labels):
    rows = points.assign(label=points["image"] % 9 if labels == "many" else labels)
    assert len(drawn(scatter(rows))) == 4
    figure = figures.image_boxes(rows[rows["layer"] == LAYERS[0]], scores, classes=CLASSES)
    assert not figure.legends
    assert "images of all classes together" in caption(figure, "05_boxes", method="x", layer="y")


def test_images_without_a_usable_map_are_said_in_words(points, scores):
    lost = points.assign(rmse=np.nan)
    for figure in (scatter(lost), figures.image_boxes(lost, scores, classes=CLASSES)):
        assert figure.axes[0].texts[0].get_text() == "no picture has a usable map"


def test_failure_curves_and_their_absence():
    x = np.linspace(0, 1, 5)
    curve = pd.DataFrame({"x": x, "y": x, "low": x - 0.1, "high": x + 0.1})
    parts = [curve.assign(signal=s, event="flipped") for s in ("drift", "entropy")]
    roc = pd.concat(parts).rename(columns={"x": "alarms", "y": "found"})
    parts.append(curve.assign(signal="best possible"))
    risk = pd.concat(parts).rename(columns={"x": "coverage", "y": "risk"})
    figure = figures.failure_curves(roc, risk)
    assert [ax.get_title() for ax in drawn(figure)] == [
        "(a) prediction flipped",
        "(b) setting pictures aside",
    ]
    assert legend_texts(figure) == ["drift", "entropy", "best possible"]
    empty = figures.failure_curves(roc.iloc[:0], risk.iloc[:0])
    words = [ax.texts[0].get_text() for ax in empty.axes]
    assert "none or all flipped" in words[0] and "not one label an image" in words[1]


def test_the_answers_of_runs():
    names = [question.name for question in QUESTIONS]
    verdicts = dict(zip(names, ("yes", "no", "not defined"), strict=True))
    rows = [
        (
            run,
            "gradcam",
            "layer4.1",
            name,
            *((np.nan,) * 4 if v == "not defined" else (0.6, 0.5, 0.7, 0.01)),
            v,
        )
        for run in ("plain", "robust")
        for name, v in verdicts.items()
    ]
    columns = ["run", "method", "layer", "name", "value", "low", "high", "p_adjusted", "verdict"]
    figure = figures.answers_compared(pd.DataFrame(rows, columns=columns).assign(correction="Holm"))
    faces = [
        [line.get_markerfacecolor() for line in ax.lines if line.get_marker() == "o"] for ax in figure.axes
    ]
    assert faces == [["0.1"] * 2, ["0.65"] * 2, []]
    assert [text.get_text() for text in figure.axes[2].texts] == ["not defined"] * 2
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["plain", "robust"]
    assert "(plain, robust: Grad-CAM at layer4.1)" in caption(figure, "05_answers")


def test_runs_and_ranks():
    rows = [
        (m, r, s, 0.5 + k, 0.4 + k, 0.6 + k, k, k - 0.1, k + 0.1)
        for m in ("auc", "drop", "drift")
        for r, k in (("plain", 0.0), ("robust", 0.2))
        for s in ("clean", "1", "2", "all")
        if s != "clean" or m == "auc"
    ]
    columns = ["measure", "run", "severity", "value", "low", "high"]
    columns += ["difference", "difference_low", "difference_high"]
    compared = pd.DataFrame(rows, columns=columns).assign(seeds=1)
    pooled = compared.assign(seeds=np.where(compared["run"] == "plain", 3, 1))
    assert legend_texts(figures.runs_compared(pooled)) == ["plain and 2 other seeds", "robust"]
    figure = figures.runs_compared(compared)
    assert len(drawn(figure)) == 3 and legend_texts(figure) == ["plain", "robust"]
    alone = figures.runs_compared(compared[compared["run"] == "plain"])
    assert len(drawn(alone)) == 2  # nothing to compare: no panel of differences
    assert "(c)" in caption(figure, "05_runs") and "(plain, robust)" in caption(figure, "05_runs")
    assert "(c)" not in caption(alone, "05_runs") and "first run" not in caption(alone, "05_runs")
    ranked = pd.DataFrame(
        [(r, m, "layer4.1", "rmse", 0.1 * k, 0.1 * k - 0.01, 0.1 * k + 0.01, k)
         for r in ("plain", "robust") for k, m in enumerate(("gradcam", "layercam"), 1)],
        columns=["run", "method", "layer", "metric", "value", "low", "high", "rank"],
    )  # fmt: skip
    ax = drawn(figures.method_ranks(ranked))[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["Grad-CAM, layer4.1", "LayerCAM, layer4.1"]
    assert "first run" in caption(ax.figure, "05_ranks")
    alone = figures.method_ranks(ranked[ranked["run"] == "plain"])
    assert "first run" not in caption(alone, "05_ranks")
    for figure, places in ((alone, [0, 1]), (ax.figure, [-0.125, 0.125, 0.875, 1.125])):
        dots = [y for bars in figure.axes[0].containers for y in bars[0].get_ydata()]
        assert sorted(dots) == places
    none = figures.method_ranks(ranked.assign(rank=np.nan))
    assert none.axes[0].texts[0].get_text() == "no method has usable maps in every run"


def test_methods_that_failed_are_marked_where_they_are_drawn(scores, mean, tests_of, failure):
    failed = [("gradcam", "layer4.0")]
    figure = summarised(scores, mean, tests_of, failure, failed)
    assert [ax.get_ylabel() for ax in figure.axes][1] == "RMSE of maps\nGrad-CAM†, layer4.0"
    warned = figures.warnings(failure, severity=5, failed=failed)
    assert legend_texts(warned)[0] == "Grad-CAM†"
    titles = [
        ax.get_title()
        for ax in figures.drift_by_layer(mean[mean["severity"] == 5], note="", failed=failed).axes
    ]
    assert titles == ["Grad-CAM†", "LayerCAM"]
    assert figures.word("gradcam") == "Grad-CAM"  # nothing is remembered
