"""Small made-up tables for the tests of figures, and what these tests ask of a drawing."""

import pandas as pd

from medrob.thesis import CAPTIONS

NAMES = ("gaussian_noise", "motion_blur", "contrast")
LAYERS = ("layer1.0", "layer2.0", "layer3.0", "layer4.0")
VALUE = ["value", "low", "high"]


def scores():
    """AUC and accuracy fall with severity, each corruption faster than the one before."""
    conditions = [("clean", 0), *((n, s) for n in NAMES for s in range(1, 6))]
    keys = [(*c, k, m) for c in conditions for k in ("all", "healthy", "ill") for m in ("auc", "accuracy")]
    rows = pd.DataFrame(keys, columns=["corruption", "severity", "class", "metric"])
    rows["drop"] = 0.03 * rows["severity"] * (rows["corruption"].map(("clean", *NAMES).index))
    rows["value"] = 0.95 - rows["drop"]
    ends = {"low": rows["value"] - 0.02, "high": rows["value"] + 0.02}
    return rows.assign(**ends, drop_low=rows["drop"] - 0.01, drop_high=rows["drop"] + 0.01)


def mean():
    """Mean drift of two methods, growing with severity."""
    keys = [(n, s, m, k) for n in NAMES for s in range(1, 6) for m in ("gradcam", "layercam") for k in LAYERS]
    rows = pd.DataFrame(keys, columns=["corruption", "severity", "method", "layer"])
    value = 0.05 * rows["severity"]
    return rows.assign(value=value, low=value - 0.01, high=value + 0.01, images=9, degenerate=0.0)


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
    return CAPTIONS[name].format(**given | figure.facts)


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
