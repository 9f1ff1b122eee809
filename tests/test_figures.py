"""Figures are drawn from small made-up tables: labels, every panel used, the same bytes twice."""

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from medrob import figures
from medrob.analysis import QUESTIONS
from medrob.figures import style

NAMES = ("gaussian_noise", "motion_blur", "contrast")
LAYERS = ("layer1.0", "layer2.0", "layer3.0", "layer4.0")


@pytest.fixture(autouse=True)
def _style():
    figures.use_style()
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def scores():
    rows = []
    conditions = [("clean", 0), *((n, s) for n in NAMES for s in range(1, 6))]
    for corruption, severity in conditions:
        for name in ("all", "healthy", "ill"):
            for metric in ("auc", "accuracy"):
                drop = 0.03 * severity * (1 + NAMES.index(corruption)) if severity else 0.0
                value = 0.95 - drop
                rows.append(
                    (
                        corruption,
                        severity,
                        name,
                        metric,
                        value,
                        value - 0.02,
                        value + 0.02,
                        drop,
                        drop - 0.01,
                        drop + 0.01,
                    )
                )
    columns = [
        "corruption",
        "severity",
        "class",
        "metric",
        "value",
        "low",
        "high",
        "drop",
        "drop_low",
        "drop_high",
    ]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture(scope="module")
def mean():
    rows = [
        (n, s, m, layer, 0.05 * s, 0.05 * s - 0.01, 0.05 * s + 0.01)
        for n in NAMES
        for s in range(1, 6)
        for m in ("gradcam", "layercam")
        for layer in LAYERS
    ]
    columns = ["corruption", "severity", "method", "layer", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns).assign(images=9, degenerate=0.0)


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


def drawn(figure):
    """Draw the figure; its panels that are switched on, none of which may be empty."""
    figure.canvas.draw()
    panels = [ax for ax in figure.axes if ax.axison]
    assert panels
    assert all(ax.has_data() for ax in panels)
    return panels


def legend_texts(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def words_in(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def caption(figure, name, **given):
    return figures.export.CAPTIONS[name].format(**given | dict(figures.style.facts(figure)))


def boxes_overlap(a, b):
    return a.x0 < b.x1 - 1 and b.x0 < a.x1 - 1 and a.y0 < b.y1 - 1 and b.y0 < a.y1 - 1


def no_text_on_text(figure):
    """Axis labels of the whole figure, its title and its legend keep clear of one another."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    parts = [
        t for t in (figure._supxlabel, figure._supylabel, figure._suptitle) if t is not None and t.get_text()
    ]
    boxes = [part.get_window_extent(renderer) for part in [*parts, *figure.legends]]
    assert all(figure.bbox.padded(1).contains(*corner) for box in boxes for corner in (box.min, box.max))
    assert not any(boxes_overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_severity_curves_begin_at_the_clean_score_and_have_a_panel_a_class(scores):
    figure = figures.severity_curves(scores)
    panels = drawn(figure)
    assert [ax.get_title() for ax in panels] == ["all classes", "healthy", "ill"]
    line = panels[0].get_lines()[0]
    assert list(line.get_xdata()) == [0, 1, 2, 3, 4, 5]
    assert line.get_ydata()[0] == pytest.approx(0.95)
    assert legend_texts(figure) == ["gaussian noise", "motion blur", "contrast"]
    no_text_on_text(figure)


def test_drop_heatmap_is_sorted_and_marks_drops_above_chance(scores):
    scores = scores.copy()
    small = (scores["corruption"] == "gaussian_noise") & (scores["severity"] == 1)
    scores.loc[small, "drop_low"] = -0.01
    ax = figures.drop_heatmap(scores).axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["contrast", "motion blur", "gaussian noise"]
    weights = [t.get_fontweight() for t in ax.texts]
    assert weights.count("normal") == 1
    assert weights[10] == "normal"


def test_drift_by_layer_shows_all_of_every_band(mean):
    figure = figures.drift_by_layer(mean[mean["severity"] == 5], note="severity 5")
    panels = drawn(figure)
    assert [ax.get_title() for ax in panels] == ["Grad-CAM", "LayerCAM"]
    low, high = panels[0].get_ylim()
    assert low == 0
    assert high >= 0.26
    no_text_on_text(figure)


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


@pytest.mark.parametrize("width", [418, 300])
def test_labels_of_the_whole_figure_fit_its_width(drift, scores, width):
    figures.use_style(width)
    figure = figures.drift_by_class(drift, scores, ["healthy", "ill"], method="gradcam", severity=5)
    assert "\n" in figure.get_supxlabel() and "10 %" in figure.get_supxlabel()
    no_text_on_text(figure)


def test_drift_by_class_says_what_is_missing(drift, scores):
    options = dict(severity=5)
    figure = figures.drift_by_class(drift, scores, ["healthy", "ill"], method="dead", **options)
    assert words_in(figure) == ["every map is degenerate (dead, severity 5; above: AUC drop)"]
    with pytest.raises(ValueError, match="the table drift lacks label"):
        figures.drift_by_class(drift.drop(columns="label"), scores, [], method="gradcam", **options)
    with pytest.raises(ValueError, match="the table scores lacks drop"):
        figures.drift_by_class(drift, scores.drop(columns="drop"), [], method="gradcam", **options)
    lost = drift.assign(rmse=drift["rmse"].where(drift["corruption"] != "contrast"))
    figure = figures.drift_by_class(lost, scores, [], method="gradcam", **options)
    assert words_in(figure) == ["every map is degenerate"]


@pytest.mark.parametrize("column", ["class", "value", "low", "drop", "drop_low"])
def test_scores_without_a_column_are_named(scores, mean, tests_of, failure, column):
    where = dict(method="gradcam", layer="layer4.0", severity=5)
    draw = {
        "class value low": figures.severity_curves,
        "class drop drop_low": figures.drop_heatmap,
        "class value low drop": lambda s: figures.summary(s, mean, tests_of, failure, **where),
    }
    for needs, function in draw.items():
        if column in needs.split():
            with pytest.raises(ValueError, match=f"the table scores lacks {column}"):
                function(scores.drop(columns=column))


def test_scores_without_the_metric_or_the_clean_images_are_named(scores):
    with pytest.raises(ValueError, match="no rows of the metric ece; it has auc, accuracy"):
        figures.severity_curves(scores, metric="ece")
    with pytest.raises(
        ValueError, match=r"no auc of the condition \('clean', 0\) for the class all, healthy"
    ):
        figures.severity_curves(scores[scores["severity"] > 0])


def test_digits_stand_out_from_their_cells(scores):
    def luminance(colour):
        linear = np.array(matplotlib.colors.to_rgb(colour))
        linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    lost = (scores["corruption"] == "contrast") & (scores["severity"] == 1)
    ax = figures.drop_heatmap(scores.assign(drop=scores["drop"].mask(lost))).axes[0]
    papers = np.delete(ax.collections[0].get_facecolor(), 0, axis=0)
    assert len(ax.texts) == len(papers) == 14
    for text, paper in zip(ax.texts, papers, strict=True):
        low, high = sorted([luminance(text.get_color()), luminance(paper)])
        assert (high + 0.05) / (low + 0.05) >= 4.5
    assert {text.get_color() for text in ax.texts} == {"black", "white"}


def test_drop_against_drift_has_a_panel_for_each_layer_and_severity(scores, mean):
    figure = figures.drop_against_drift(scores, mean, method="gradcam", layers=LAYERS[:2])
    assert len(drawn(figure)) == 10
    no_text_on_text(figure)


def test_drop_against_drift_without_an_interval_or_a_drift(scores, mean):
    where = dict(method="gradcam", layers=LAYERS[:2])
    drawn(figures.drop_against_drift(scores, mean.assign(low=np.nan, high=np.nan), **where))
    figure = figures.drop_against_drift(scores, mean.assign(value=np.nan, low=np.nan, high=np.nan), **where)
    assert words_in(figure) == ["Grad-CAM: no usable map, or no AUC"]
    lost = mean.assign(value=mean["value"].where(mean["layer"] != LAYERS[1]))
    assert words_in(figures.drop_against_drift(scores, lost, **where)) == ["no usable map,\nor no AUC"] * 5
    bare = scores.assign(drop_low=np.nan, drop_high=np.nan)
    drawn(figures.drop_against_drift(bare, mean, method="gradcam", layers=LAYERS[:1]))


def test_overlay_grid_says_when_a_map_is_empty():
    images = np.full((2, 16, 16, 1), 90, np.uint8)
    maps = {"layer1": np.stack([np.eye(8), np.zeros((8, 8))]), "layer2": -np.ones((2, 4, 4))}
    figure = figures.overlay_grid(images, maps, ["clean", "noise"], mask=np.eye(16, dtype=bool))
    panels = drawn(figure)
    assert [[t.get_text() for t in ax.texts] for ax in panels] == [
        [],
        [],
        ["empty"],
        [],
        ["empty"],
        ["empty"],
    ]


def test_row_labels_hold_the_scores_of_the_condition(scores):
    distances = pd.DataFrame({"image": [3], "corruption": ["contrast"], "severity": [2], "rmse": [31.7]})
    [label] = figures.row_labels([("contrast", 2)], scores, distances, 3)
    assert label.split("\n") == ["contrast 2", "AUC 0.770", "accuracy 0.770", "image RMSE 32"]


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


@pytest.fixture(scope="module")
def tests_of(association):
    kinds = {"within severity": 0.6, "per image": 0.2, "flipped, severity 5": 0.7}
    rows = [("gradcam", "layer4.0", k, v, v - 0.1, v + 0.1, 0.01, 0.03) for k, v in kinds.items()]
    columns = ["method", "layer", "kind", "value", "low", "high", "p", "p_adjusted"]
    more = association[(association["kind"] != "within severity") | (association["layer"] != "layer4.0")]
    declared = pd.DataFrame(rows, columns=columns).assign(family="declared", correction="Holm")
    return pd.concat([more, declared], ignore_index=True).assign(corruption="all")


def test_warnings_and_summary_use_every_panel(scores, mean, tests_of, failure):
    panels = drawn(figures.warnings(failure))
    assert [ax.get_title() for ax in panels] == [
        "(a) 12 of 60 predictions flipped",
        "(b) on the same pictures",
    ]
    options = dict(method="gradcam", layer="layer4.0", severity=5)
    figure = figures.summary(scores, mean, tests_of, failure, **options)
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
    told = figures.export.CAPTIONS["summary"].format(**options)
    assert "between all conditions, image by image in all conditions" in told


def test_a_summary_of_nothing_says_so(scores, mean, tests_of, failure):
    lost = tests_of.assign(value=np.nan, low=np.nan, high=np.nan, p=np.nan, p_adjusted=np.nan)
    gone = mean.assign(value=np.nan, low=np.nan, high=np.nan)
    none = failure.assign(auroc=np.nan, low=np.nan, high=np.nan)
    figure = figures.summary(scores, gone, lost, none, method="gradcam", layer="layer4.0", severity=5)
    figure.canvas.draw()
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert any(text.startswith("no usable map") for text in texts)
    assert words_in(figure)[0] == "every map is degenerate" and not figure.axes[1].get_lines()
    assert [text.get_text()[:11] for text in figure.axes[3].texts] == ["not defined"]
    assert "image by image: not defined" in texts
    assert sum(text.startswith("nothing to detect") for text in texts) == 1
    assert "nothing to detect" in figures.warnings(none).axes[0].texts[0].get_text()


@pytest.fixture(scope="module")
def points():
    """Drift and loss of margin of 30 images."""
    rng = np.random.default_rng(0)
    keys = [(i, i % 2, n, s, layer) for i in range(30) for n in NAMES for s in (1, 3) for layer in LAYERS[:2]]
    rows = pd.DataFrame(keys, columns=["image", "label", "corruption", "severity", "layer"])
    rmse = 0.1 * rows["severity"] * rng.random(len(rows))
    return rows.assign(method="gradcam", rmse=rmse, drop=2 * rmse + rng.normal(0, 0.01, len(rows)))


def test_image_scatter_fits_the_line_of_least_squares(points):
    figure = figures.image_scatter(points, classes=["healthy", "ill"])
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
    figure = figures.image_scatter(wide, classes=["healthy", "ill"])
    for ax, (_, group) in zip(drawn(figure), wide.groupby(["layer", "severity"]), strict=True):
        for column, (low, high) in {"rmse": ax.get_xlim(), "drop": ax.get_ylim()}.items():
            assert (group[column] < low).mean() <= 0.005 and (group[column] > high).mean() <= 0.005
    assert "the true label" in caption(figure, "05_images", method="Grad-CAM")


def test_image_boxes_are_hatched_by_class_and_say_the_drop(points, scores):
    figure = figures.image_boxes(points[points["layer"] == LAYERS[0]], scores, classes=["healthy", "ill"])
    panels = drawn(figure)
    assert [ax.get_ylabel() for ax in panels] == ["severity 1", "severity 3"]
    assert [text.get_text() for text in panels[0].texts] == ["+0.030", "+0.060", "+0.090"]
    hatches = {box.get_hatch() for group in panels[0].containers for box in group.boxes}
    assert hatches == {"", "////"} or hatches == {None, "////"}
    assert legend_texts(figure) == ["healthy", "ill"]
    assert "of each class (the true label" in caption(figure, "05_boxes", method="Grad-CAM", layer="layer1.0")


@pytest.mark.parametrize("labels", [None, -1, "many"])
def test_labels_that_cannot_be_shown_are_drawn_as_one(points, scores, labels):
    if labels is None:
        rows = points.drop(columns="label")
    else:
        rows = points.assign(label=points["image"] % 9 if labels == "many" else labels)
    assert len(drawn(figures.image_scatter(rows))) == 4
    figure = figures.image_boxes(rows[rows["layer"] == LAYERS[0]], scores)
    assert not figure.legends
    assert "images of all classes together" in caption(figure, "05_boxes", method="x", layer="y")


def test_images_without_a_usable_map_are_said_in_words(points, scores):
    lost = points.assign(rmse=np.nan)
    for figure in (figures.image_scatter(lost), figures.image_boxes(lost, scores)):
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


@pytest.mark.parametrize(
    ("layers", "labels"),
    [
        (["layer1.0", "layer4.1"], ["1.0", "4.1"]),
        (["layer4.0", "layer4.1", "input"], ["4.0", "4.1", "input"]),
        (["features.1", "features.10", "features.norm5"], ["1", "10", "norm5"]),
        (["conv1", "blocks.3"], ["conv1", "blocks.3"]),
        (["input"], ["input"]),
    ],
)
def test_labels_of_layers_leave_out_what_all_share(layers, labels):
    assert style.layer_labels(layers) == labels


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


def test_pictures(scores):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)
    figure = figures.montage(images, np.array([0, 1, 0, 1, 0, 0]), ["a", "b"], columns=4)
    assert len([ax for ax in figure.axes if ax.get_images()]) == 6
    pictures = {("clean", 0): images[0], ("contrast", 1): images[1], ("contrast", 2): images[2]}
    figure = figures.corruption_grid(pictures, {("contrast", 1): 10.04, ("contrast", 2): 20.0}, title="a")
    assert [ax.get_xlabel() for ax in drawn(figure)] == ["", "10.0", "20.0"]
    drawn(figures.augmentations({"none": images[:3], "mixed": images[3:]}, images[0]))


def test_training_figures_mark_the_kept_epoch():
    history = pd.DataFrame(
        {"epoch": [1, 1, 2, 2, 3, 3], "split": ["train", "val"] * 3, "loss": [1, 1, 0.8, 0.9, 0.5, 1.2],
         "auc": [0.6, 0.6, 0.8, 0.9, 0.95, 0.7], "seconds": 1.0, "images_per_second": 9.0,
         "memory_mb": 7.0, "gpu_memory_mb": 0.0}
    )  # fmt: skip
    figure = figures.learning_curves(history)
    drawn(figure)
    assert "kept: epoch 2" in legend_texts(figure)
    drawn(figures.performance(history))


def test_reliability_draws_clean_and_corrupted(scores):
    conditions = [("clean", 0), *((n, 5) for n in NAMES)]
    bins = pd.DataFrame([(c, s, q, q - 0.1, 5) for c, s in conditions for q in (0.5, 0.9)])
    bins.columns = ["corruption", "severity", "confidence", "accuracy", "images"]
    for highest in (5, 3):
        figure = figures.reliability(bins.assign(severity=bins["severity"].clip(upper=highest)))
        panels = drawn(figure)
        assert [ax.get_title() for ax in panels] == ["gaussian noise", "motion blur", "contrast"]
        assert f"(severity {highest};" in figure.get_supxlabel()
        assert f"at severity {highest};" in caption(figure, "03_reliability")
    with pytest.raises(ValueError, match="the table bins lacks images"):
        figures.reliability(bins.drop(columns="images"))


def test_more_corruptions_than_colours_are_still_told_apart():
    names = [f"c{i}" for i in range(19)]
    assert len(set(figures.style.colours(names).values())) == 19


@pytest.mark.parametrize("width", [0, -3, "wide", float("nan"), True])
def test_text_width_must_be_points(width):
    with pytest.raises(ValueError, match=r"textwidth=.*418"):
        figures.use_style(width)


def test_figure_width_is_the_text_width():
    figures.use_style(300)
    assert figures.style.sized(0.5)[0].get_size_inches()[0] * 72.27 == pytest.approx(300)
