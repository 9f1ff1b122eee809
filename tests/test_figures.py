"""Figures of images, training, scores and maps: labels, every panel used, what is missing is said."""

import drawings
import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from drawings import NAMES, caption, drawn, legend_texts, no_text_on_text

from medrob import figures
from medrob.figures import draw
from medrob.figures.draw import sized


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


def test_drift_by_layer_shows_all_of_every_band(mean):
    figure = figures.drift_by_layer(mean[mean["severity"] == 5], note="severity 5")
    panels = drawn(figure)
    assert [ax.get_title() for ax in panels] == ["Grad-CAM", "LayerCAM"]
    low, high = panels[0].get_ylim()
    assert low == 0
    assert high >= 0.26
    no_text_on_text(figure)


def test_overlay_grid_says_when_a_map_is_empty():
    images = np.full((2, 16, 16, 1), 90, np.uint8)
    maps = {("gradcam", "layer1"): np.stack([np.eye(8), np.zeros((8, 8))])}
    maps["gradcam", "layer2"] = -np.ones((2, 4, 4))
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


def test_pictures(scores):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)
    figure = figures.montage(images, np.array([0, 1, 0, 1, 0, 0]), ["a", "b"])
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
    figure = figures.learning_curves(history, 2)
    drawn(figure)
    assert "kept: epoch 2" in legend_texts(figure)
    drawn(figures.performance(history))


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
    assert draw.layer_labels(layers) == labels


def test_more_corruptions_than_colours_are_still_told_apart():
    names = [f"c{i}" for i in range(19)]
    assert len({look.colour for look in draw.looks(names).values()}) == 19


def test_figure_width_is_the_text_width():
    figures.use_style(300)
    assert sized(0.5)[0].get_size_inches()[0] * 72.27 == pytest.approx(300)


LIMITS = dict(low=0.1, high=0.3, images=9, degenerate=0, chance=0.05)


def test_randomisation_draws_methods_of_the_same_values_once_and_no_marker_on_another():
    rows = [
        dict(method=m, layer="layer4.1", test="randomisation", stage=stage, value=value + step)
        for m, value in (("gradcam", 0.4), ("hirescam", 0.4), ("layercam", 0.4001 + 1e-3), ("xgradcam", 0.4))
        for step, stage in enumerate(("fc", "all"))
    ]
    frame = pd.DataFrame(rows).assign(**LIMITS)
    figure = figures.randomisation(frame, layer="layer4.1")
    ax = drawn(figure)[0]
    assert legend_texts(figure) == ["Grad-CAM = HiResCAM = XGrad-CAM", "LayerCAM"]
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


def test_the_scale_shows_methods_that_are_one_map_once_under_all_their_names():
    methods = ("gradcam", "hirescam", "layercam")
    rows = [
        dict(method=m, layer="layer4.1", test=test, value=value)
        for m in methods
        for test, value in (("floor", 0), ("ceiling-image", 0.4), ("ceiling-weights", 0.5))
    ]
    point = dict(layer="layer4.1", severity=3, value=0.2, low=0.15, high=0.3)
    mean = pd.DataFrame([dict(method=m, **point) for m in methods])
    same = pd.DataFrame([("hirescam", "layer4.1", "gradcam"), ("layercam", "layer1.0", "gradcam")])
    same = same.set_axis(["method", "layer", "same_as"], axis=1)
    figure = figures.drift_scale(pd.DataFrame(rows).assign(**LIMITS), mean, layer="layer4.1", twins=same)
    ax = drawn(figure)[0]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["Grad-CAM =\nHiResCAM", "LayerCAM"]
    assert [text.get_text() for text in ax.texts] == ["3", "3"]
    bars = [line.get_paths()[0].vertices[:, 0] for line in ax.collections]
    assert sum(np.allclose(sorted(bar), [0.15, 0.3]) for bar in bars) == 2  # the intervals of the corruption


def test_drift_by_layer_tells_how_many_images_count_and_where_maps_are_missing():
    mean = pd.DataFrame(dict(layer=["layer1", "layer2"], images=[9, 7], degenerate=[0.1, 0.3], value=0.2))
    mean = mean.assign(method="gradcam", corruption="fog", low=0.1, high=0.3)
    figure = figures.drift_by_layer(mean, note="severity 5")
    ax = drawn(figure)[0]
    said = (
        "layer, shallow to deep (severity 5; n = 7 to 9 images a point; open: over 10 % of maps degenerate)"
    )
    assert figure.get_supxlabel().replace("\n", " ") == said
    (open_,) = [line for line in ax.get_lines() if line.get_markerfacecolor() == "white"]
    assert list(open_.get_xdata()) == [1]
