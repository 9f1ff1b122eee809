"""Figures of trust: what they draw, and for how many images."""

import numpy as np
import pandas as pd
import pytest

from medrob import figures

LIMITS = dict(low=0.1, high=0.3, images=9, degenerate=0, chance=0.05)


@pytest.fixture(autouse=True)
def style():
    figures.use_style()


def drawn(figure):
    figure.canvas.draw()
    return figure.axes


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_randomisation_draws_methods_of_the_same_values_once_and_no_marker_on_another():
    rows = [
        dict(method=m, layer="layer4.1", test="randomisation", stage=stage, value=value + step)
        for m, value in (("gradcam", 0.4), ("hirescam", 0.4), ("layercam", 0.4001 + 1e-3), ("xgradcam", 0.4))
        for step, stage in enumerate(("fc", "all"))
    ]
    frame = pd.DataFrame(rows).assign(**LIMITS)
    figure = figures.randomisation(frame, layer="layer4.1")
    ax = drawn(figure)[0]
    assert legend(figure) == ["Grad-CAM = HiResCAM = XGrad-CAM", "LayerCAM"]
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


def test_localisation_of_what_is_not_there_is_refused():
    frame = pd.DataFrame([("gradcam", "layer4.1", "energy", "", "clean", 0)])
    frame.columns = ["method", "layer", "test", "stage", "corruption", "severity"]
    with pytest.raises(ValueError, match="the table trust lacks value"):
        figures.localisation(frame, method="gradcam", layer="layer4.1")
    whole = frame.assign(value=0.3, low=0.2, high=0.4, chance=0.1, images=4)
    with pytest.raises(ValueError, match="layer='deep' is not in the table trust"):
        figures.localisation(whole, method="gradcam", layer="deep")


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
