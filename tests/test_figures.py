"""Figures drawn from small made-up tables: labels, every panel used, what is missing is said."""

import io
import itertools

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from medrob import analysis, figures
from medrob.figures import draw

NAMES = ("gaussian_noise", "motion_blur", "contrast")
LAYERS = ("layer1.0", "layer2.0", "layer3.0", "layer4.0")
CLASSES = ["healthy", "ill"]
LIMITS = dict(low=0.1, high=0.3, images=9, degenerate=0, chance=0.05)


@pytest.fixture(autouse=True)
def style():
    figures.use_style()
    yield
    plt.close("all")


@pytest.fixture
def scores():
    """AUC and accuracy fall with severity, each corruption faster than the one before."""
    conditions = [("clean", 0), *((n, s) for n in NAMES for s in range(1, 6))]
    keys = [(*c, k, m) for c in conditions for k in ("all", *CLASSES) for m in ("auc", "accuracy")]
    rows = pd.DataFrame(keys, columns=["corruption", "severity", "class", "metric"])
    rows["drop"] = 0.03 * rows["severity"] * (rows["corruption"].map(("clean", *NAMES).index))
    rows["value"] = 0.95 - rows["drop"]
    ends = {"low": rows["value"] - 0.02, "high": rows["value"] + 0.02}
    return rows.assign(**ends, drop_low=rows["drop"] - 0.01, drop_high=rows["drop"] + 0.01)


@pytest.fixture
def mean():
    """Mean drift of two methods, growing with severity."""
    keys = [(n, s, m, k) for n in NAMES for s in range(1, 6) for m in ("gradcam", "layercam") for k in LAYERS]
    rows = pd.DataFrame(keys, columns=["corruption", "severity", "method", "layer"])
    value = 0.05 * rows["severity"]
    return rows.assign(value=value, low=value - 0.01, high=value + 0.01, images=9, degenerate=0.0)


def drawn(figure):
    """Draw the figure; its panels that are switched on: at most twelve, but of pictures, and none empty.

    It fits a page, and no letter is smaller than 7 points.
    """
    figure.canvas.draw()
    panels = [ax for ax in figure.axes if ax.axison]
    assert panels and all(ax.has_data() for ax in panels)
    assert len(panels) <= 12 or all(ax.images for ax in panels)
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 7
    width, height = figure.get_size_inches()
    assert height <= 1.25 * width
    return panels


def legend_texts(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def words_in(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def titles(figure):
    return [ax.get_title() for ax in drawn(figure)]


def no_text_on_text(figure):
    """Axis labels of the whole figure, its title and its legend keep clear of one another."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    parts = [t for t in (figure._supxlabel, figure._supylabel, figure._suptitle) if t and t.get_text()]
    boxes = [part.get_window_extent(renderer).padded(-0.5) for part in [*parts, *figure.legends]]
    assert all(figure.bbox.padded(0.5).contains(*corner) for box in boxes for corner in (box.min, box.max))
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_severity_curves_begin_at_the_clean_score_and_have_a_panel_a_class(scores):
    assert titles(figures.severity_curves(scores)) == ["both classes (they are the same)"]
    apart = scores["value"] - 0.001 * (scores["class"] == "ill")
    figure = figures.severity_curves(scores.assign(value=apart))
    assert titles(figure) == ["all classes", "healthy", "ill"]
    line = figure.axes[0].get_lines()[0]
    assert [*line.get_xdata()] == [0, 1, 2, 3, 4, 5] and line.get_ydata()[0] == pytest.approx(0.95)
    assert legend_texts(figure) == ["gaussian noise", "motion blur", "contrast", "chance"]
    no_text_on_text(figure)


def test_what_is_drawn_of_too_many_has_the_largest_effect_up_or_down(scores):
    one = scores.query("`class` == 'all' and corruption in ['clean', 'contrast']")
    drops = {f"c{k}": d for k, d in enumerate([0.1, -0.9, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, -0.01])}
    many = [one[one["severity"] > 0].assign(corruption=name, drop=drop) for name, drop in drops.items()]
    figure = figures.severity_curves(pd.concat([one[one["severity"] == 0], *many]))
    assert legend_texts(figure) == ["others", *(f"c{k}" for k in range(1, 9)), "chance"]
    assert "in colour: the 8 of 10" in figure.get_supxlabel()
    grey = [line for line in figure.axes[0].get_lines() if line.get_label() == "others"]
    assert len(grey) == 2 and len(figure.axes[0].collections) == 8
    names = [f"class {k}" for k in range(20)]
    ill = scores[scores["class"] == "ill"]
    many = [ill.assign(**{"class": name, "drop": ill["drop"] * k}) for k, name in enumerate(names)]
    figure = figures.severity_curves(pd.concat([scores[scores["class"] == "all"], *many]))
    assert titles(figure) == ["all classes", *names[9:]]


def test_reliability_draws_clean_and_each_corruption_once_with_intervals_and_n():
    conditions = [("clean", 0), *((n, s) for n in NAMES for s in (1, 3))]
    rows = [(c, s, q, q - 0.1, q - 0.3, q, 5) for c, s in conditions for q in (0.5, 0.9)]
    columns = ["corruption", "severity", "confidence", "accuracy", "low", "high", "images"]
    figure = figures.reliability(pd.DataFrame(rows, columns=columns))
    assert titles(figure) == ["clean", "gaussian noise", "motion blur", "contrast"]
    assert legend_texts(figure) == ["right predictions", "as sure as right"]
    assert "severity 3; n = 10 a panel" in figure.get_supxlabel()
    for ax in figure.axes[:4]:
        [band] = [band.get_paths()[0].vertices[:, 1] for band in ax.collections]
        assert (band.min(), band.max()) == (pytest.approx(0.2), 0.9)


def test_a_map_lies_below_each_picture_and_the_lesion_is_outlined_in_both():
    images = np.full((2, 16, 16, 1), 90, np.uint8)
    maps, mask = np.stack([np.eye(8), -np.ones((8, 8))]), np.zeros((16, 16), bool)
    mask[:4, :4] = True  # at the edge of the picture, where its outline closes, too
    figure = figures.overlays(images, maps, ["clean", "noise"], mask=mask)
    panels = drawn(figure)
    assert [ax.get_title() for ax in panels] == ["clean", "noise", "", ""]
    assert [len(ax.images) for ax in panels] == [1, 1, 2, 1] and words_in(figure) == ["empty"]
    [outline] = panels[-1].collections[0].get_paths()
    np.testing.assert_allclose(outline.get_extents().get_points(), [[-0.5, -0.5], [3.5, 3.5]])


def test_map_grid_draws_maps_that_agree_once_and_at_most_eight_layers():
    images, rng = np.full((2, 16, 16, 1), 90, np.uint8), np.random.default_rng(0)
    one, other = rng.random((2, 2, 4, 4))
    maps = {("gradcam", "l"): one, ("hirescam", "l"): 16 * one, ("layercam", "l"): other}
    found = titles(figures.map_grid(images[:1], maps, ["clean"]))
    assert found == ["picture", "Grad-CAM =\nHiResCAM", "LayerCAM"]
    layers = {("gradcam", f"layer{k}"): rng.random((3, 4, 4)) for k in range(20)}
    figure = figures.map_grid(images, layers, ["clean", "gaussian noise 3"])
    found = titles(figure)[:9]
    assert found[1] == "layer0" and found[-1] == "layer19" and len(figure.axes) == 18
    assert [ax.get_ylabel() for ax in figure.axes[::9]] == ["clean", "gaussian\nnoise 3"]


def test_pictures():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)
    figure = figures.montage(images, np.array([0, 1, 0, 1, 0, 0]), ["a", "b"])
    strips = [ax.get_images()[0].get_array() for ax in figure.axes]
    assert titles(figure) == ["a (4)", "b (2)"] and [strip.shape for strip in strips] == [(12, 103, 3)] * 2
    assert np.array_equal(strips[0][:, 13:25], images[2]) and (strips[0][:, 12] == 255).all()
    assert (strips[1][:, 26:] == 255).all()
    pictures = {("clean", 0): images[0], ("contrast", 1): images[1], ("contrast", 2): images[2]}
    figure = figures.corruption_grid(pictures, {("contrast", 1): 10.04, ("contrast", 2): 20.0})
    [ax] = drawn(figure)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["clean", "1: 10.0", "2: 20.0"]


def test_labels_of_layers_leave_out_what_all_share_and_every_corruption_has_a_colour():
    names = [f"c{i}" for i in range(19)]
    assert len({look.colour for look in draw.looks(names).values()}) == 19
    labels = {("layer1.0", "layer4.1"): ["1.0", "4.1"], ("layer4.1", "input"): ["4.1", "input"]}
    labels |= {("features.1", "features.norm5"): ["1", "norm5"], ("conv1", "blocks.3"): ["conv1", "blocks.3"]}
    assert [draw.layer_labels(names) for names in labels] == list(labels.values())


def test_randomisation_draws_methods_of_the_same_values_once_and_no_marker_on_another():
    values = dict(gradcam=0.4, hirescam=0.4, layercam=0.4011, xgradcam=0.4).items()
    rows = [(m, stage, v + step) for m, v in values for step, stage in enumerate(("fc", "all"))]
    frame = pd.DataFrame(rows, columns=["method", "stage", "value"])
    frame = frame.assign(layer="layer4.1", test="randomisation", **LIMITS)
    figure = figures.randomisation(frame, layer="layer4.1")
    ax = drawn(figure)[0]
    assert legend_texts(figure)[:2] == ["Grad-CAM = HiResCAM = XGrad-CAM", "LayerCAM"]
    assert legend_texts(figure)[2:] == ["limit 0.5", "map of another image"]
    first, second = (line.get_xdata() for line in ax.get_lines()[:2])
    assert not np.allclose(first, second, atol=0.05) and np.allclose([first, second], [[0, 1]] * 2, atol=0.1)


def test_localisation_draws_chance_and_the_number_of_images_at_each_severity():
    rows = [("clean", 0, 12, 0.1), ("fog", 1, 12, 0.1), ("snow", 1, 10, 0.12), ("fog", 2, 8, 0.14)]
    rows += [("snow", 2, 0, np.nan)]
    frame = pd.DataFrame(rows, columns=["corruption", "severity", "images", "chance"])
    frame = pd.concat([frame.assign(test=test) for test in ("energy", "pointing", "iou")])
    frame = frame.assign(method="gradcam", layer="layer4.1", stage="", value=0.3, low=0.2, high=0.4)
    frame.loc[frame["images"] == 0, ["value", "low", "high"]] = np.nan
    figure = figures.localisation(frame, method="gradcam", layer="layer4.1")
    ax = drawn(figure)[0]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0\n12", "1\n10–12", "2\n0–8"]
    dashed = next(line for line in ax.get_lines() if line.get_linestyle() == "--")
    np.testing.assert_allclose(dashed.get_ydata(), [0.1, 0.11, 0.14])


def test_drift_by_layer_tells_how_many_images_count_and_where_maps_are_missing():
    mean = pd.DataFrame(dict(layer=["layer1", "layer2"], images=[9, 7], degenerate=[0.1, 0.3], value=0.2))
    mean = mean.assign(method="gradcam", corruption="fog", low=0.1, high=0.3)
    figure = figures.drift_by_layer(mean, note="severity 5")
    ax = drawn(figure)[0]
    assert figure.get_supxlabel() == "layer, shallow to deep (severity 5; n = 7 to 9 images a point)"
    (open_,) = [line for line in ax.get_lines() if line.get_markerfacecolor() == "white"]
    assert list(open_.get_xdata()) == [1]


@pytest.fixture(scope="module")
def failure():
    signals = ("drift", "low confidence", "entropy", "image rmse", "clean class")
    rows = [(s, "flipped", signal, 0.7, 0.6, 0.8) for s in range(1, 6) for signal in signals]
    return pd.DataFrame(rows, columns=["severity", "event", "signal", "auroc", "low", "high"])


@pytest.fixture(scope="module")
def drift():
    """Three images, one with nothing but degenerate maps under contrast."""
    keys = [range(3), NAMES, [5], ("gradcam", "dead"), LAYERS]
    names = ["image", "corruption", "severity", "method", "layer"]
    rows = pd.MultiIndex.from_product(keys, names=names).to_frame(index=False)
    lost = (rows["method"] == "dead") | ((rows["image"] == 0) & (rows["corruption"] == "contrast"))
    rows["normalised"] = (0.1 + 0.01 * rows["image"]).where(~lost)
    return rows.assign(label=rows["image"] % 2, preserved=True, degenerate=lost, another=1.0)


@pytest.fixture(scope="module")
def tests_of():
    keys = [["gradcam"], LAYERS, ("pooled", "within severity", "partial")]
    association = pd.MultiIndex.from_product(keys, names=["method", "layer", "kind"]).to_frame(index=False)
    association = association.assign(value=0.5, low=0.1, high=0.8)
    kinds = {"partial": 0.6, "per image, partial": 0.2, "wrong, partial": 0.17}
    rows = [("gradcam", "layer4.0", k, v, v - 0.1, v + 0.1, 0.01, 0.03) for k, v in kinds.items()]
    columns = ["method", "layer", "kind", "value", "low", "high", "p", "p_adjusted"]
    more = association[(association["kind"] != "partial") | (association["layer"] != "layer4.0")]
    plain = pd.DataFrame([("gradcam", "layer4.0", analysis.PER_IMAGE, 0.2, 0.1, 0.3)])
    plain = plain.set_axis(columns[:6], axis=1)
    declared = pd.DataFrame(rows, columns=columns).assign(family="declared", correction="Holm")
    tests = pd.concat([more, plain, declared], ignore_index=True)
    return tests.assign(controls="")


@pytest.fixture(scope="module")
def points():
    """Drift and loss of margin of 30 images."""
    rng = np.random.default_rng(0)
    keys = [(i, i % 2, n, s) for i in range(30) for n in NAMES for s in (1, 3)]
    rows = pd.DataFrame(keys, columns=["image", "label", "corruption", "severity"]).assign(layer=LAYERS[0])
    rmse = 0.1 * rows["severity"] * rng.random(len(rows))
    return rows.assign(method="gradcam", rmse=rmse, drop=2 * rmse + rng.normal(0, 0.01, len(rows)))


def by_class(drift, scores, method):
    where = dict(method=method, severity=5)
    return figures.drift_by_class(analysis.drift_by_class(drift, CLASSES, **where), scores, **where)


def against(scores, mean, layers):
    pairs = analysis.drop_and_drift(scores, mean, method="gradcam")
    return figures.drop_against_drift(pairs, layers=layers)


def scatter(points):
    return figures.image_scatter(points, classes=CLASSES)


def summarised(scores, mean, tests, failure, failed=()):
    pairs = analysis.drop_and_drift(scores, mean, method="gradcam")
    answers = analysis.answers(tests)
    tables = scores, pairs, tests, failure, answers
    return figures.summary(*tables, method="gradcam", layer="layer4.0", failed=failed)


@pytest.mark.parametrize("width", [418, 300])
def test_labels_of_the_whole_figure_fit_its_width(drift, scores, width):
    figures.use_style(width)
    figure = by_class(drift, scores, "gradcam")
    assert ("\n" in figure.get_supxlabel()) == (width == 300)
    assert figure.get_size_inches()[0] * 72.27 == pytest.approx(width)
    no_text_on_text(figure)


def test_drift_by_class_says_what_is_missing(drift, scores):
    assert by_class(drift, scores, "dead") is None
    lost = drift.assign(normalised=drift["normalised"].where(drift["corruption"] != "contrast"))
    assert words_in(by_class(lost, scores, "gradcam")) == ["every map is degenerate"]


def test_drop_against_drift_has_a_panel_for_each_layer_but_at_most_twelve(scores, mean):
    figure = against(scores, mean, LAYERS[:2])
    assert titles(figure) == [*LAYERS[:2]]
    no_text_on_text(figure)
    deep = [mean[mean["layer"] == LAYERS[0]].assign(layer=f"layer{k}") for k in range(14)]
    figure = against(scores, pd.concat(deep), [f"layer{k}" for k in range(14)])
    assert len(titles(figure)) == 12 and {"layer0", "layer13"} < set(titles(figure))


def test_drop_against_drift_without_a_drift(scores, mean):
    assert against(scores, mean.assign(value=np.nan), LAYERS[:2]) is None
    lost = mean.assign(value=mean["value"].where(mean["layer"] != LAYERS[1]))
    assert words_in(against(scores, lost, LAYERS[:2])) == ["no usable map,\nor no AUC"]


def test_the_summary_uses_every_panel_and_says_why_a_small_p_is_no_yes(scores, mean, tests_of, failure):
    passed = tests_of["controls"].mask(tests_of["kind"] == "wrong, partial", "untrained head in 1 of 3 draws")
    wide = tests_of["low"].mask(tests_of["kind"] == "per image, partial", -0.1)
    figure = summarised(scores, mean, tests_of.assign(controls=passed, low=wide), failure)
    panels = drawn(figure)
    assert len(panels) == 8
    assert {ax.get_title(): text.get_text() for ax in panels[5:] for text in ax.texts} == {
        "(f) between conditions": "yes\nHolm p = .030",
        "(g) image by image": "undecided: the interval holds 0\nHolm p = .030",
        "(h) wrong predictions": "undecided: a control stops it\nHolm p = .030",
    }
    assert [ax.get_xlabel() for ax in panels[5:]] == ["rank correlation"] * 2 + ["partial correlation"]
    no_text_on_text(figure)


def test_a_summary_of_nothing_says_so(scores, mean, tests_of, failure):
    lost = tests_of.assign(value=np.nan, low=np.nan, high=np.nan, p=np.nan, p_adjusted=np.nan)
    gone = mean.assign(value=np.nan, low=np.nan, high=np.nan)
    none = failure.assign(auroc=np.nan, low=np.nan, high=np.nan)
    figure = summarised(scores, gone, lost, none)
    figure.canvas.draw()
    texts = words_in(figure)
    assert any(text.startswith("no usable map") for text in texts)
    assert texts[0] == "every map is degenerate" and not figure.axes[1].get_lines()
    assert [text.get_text()[:11] for text in figure.axes[3].texts] == ["not defined"]
    assert texts[-3:] == ["not defined"] * 3
    assert sum(text.startswith("nothing to detect") for text in texts) == 1


def test_image_scatter_has_a_panel_a_corruption_and_a_colour_a_class_if_few_are_known(points):
    for labels, legend in ((points["label"], CLASSES), (-1, []), (points["image"] % 9, [])):
        figure = scatter(points.assign(label=labels))
        assert titles(figure) == ["gaussian noise", "motion blur", "contrast"]
        assert legend_texts(figure) == legend and "severity 3" in figure.get_supxlabel()
    assert scatter(points.assign(rmse=np.nan)) is None


def test_signals_of_each_event_and_what_has_to_be_known():
    leagues = {"entropy": analysis.WITHOUT, "clean class": analysis.WITH, "drift": analysis.WITH}
    rows = [(event, *row, 0.7, 0.6, 0.8) for event in ("flipped", "wrong") for row in leagues.items()]
    table = pd.DataFrame(rows, columns=["event", "signal", "league", "auroc", "low", "high"])
    figure = figures.signals(pd.concat([table.assign(severity=5), table.assign(severity=4, signal="other")]))
    assert titles(figure) == ["(a) prediction flipped", "(b) prediction wrong"]
    assert legend_texts(figure) == ["chance", analysis.WITHOUT, analysis.WITH]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(leagues)
    assert figures.signals(table.assign(auroc=np.nan, severity=5)) is None
    nothing = table.assign(severity=5, auroc=table["auroc"].where(table["event"] != "flipped"))
    assert "nothing to detect:\nwithin a class none or all are flipped" in words_in(figures.signals(nothing))


def test_runs_side_by_side():
    keys = itertools.product(("auc", "drop", "drift"), ("plain", "robust"), ("clean", "1", "2", "all"))
    compared = pd.DataFrame(keys, columns=["measure", "run", "severity"])
    compared = compared[(compared["severity"] != "clean") | (compared["measure"] == "auc")]
    difference = 0.2 * (compared["run"] == "robust")
    for name, value in {"value": 0.5 + difference, "difference": difference}.items():
        ends = {name: value, f"{name}_low": value - 0.1, f"{name}_high": value + 0.1}
        compared = compared.assign(**ends).rename(columns={"value_low": "low", "value_high": "high"})
    figure = figures.runs_compared(compared.assign(seeds=np.where(compared["run"] == "plain", 3, 1)))
    assert len(drawn(figure)) == 3 and legend_texts(figure) == ["plain and 2 other seeds", "robust"]


def test_methods_that_failed_are_marked_where_they_are_drawn(scores, mean, tests_of, failure):
    failed = [("gradcam", "layer4.0")]
    figure = summarised(scores, mean, tests_of, failure, failed)
    assert figure.axes[3].get_xlabel() == "layer (Grad-CAM†)"
    marked = figures.drift_by_layer(mean[mean["severity"] == 5], note="", failed=failed)
    assert titles(marked) == ["Grad-CAM†", "LayerCAM"]
    low, high = marked.axes[0].get_ylim()
    assert low == 0 and high >= 0.26  # all of every band
    no_text_on_text(marked)
    assert figures.word("gradcam") == "Grad-CAM"  # nothing is remembered


def test_names_of_classes_are_text_and_no_formula_and_fit():
    names = (r"costs $\frac{ 5$", "w" * 230)
    figure = figures.montage(np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 1, 0, 1]), names)
    figure.savefig(io.BytesIO(), format="pdf")  # a formula that is none would raise
    assert "$" in titles(figure)[0] and len(titles(figure)[1]) < 100
